// Closures that share a transaction: what one of them can do to the others.
#include <sqlite3.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/detail/sqlite/group/write_group.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "support/built_with.hpp"
#include "support/local_host.hpp"
#include "support/sql.hpp"

namespace write_group_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::tests::local_host;
using closure = std::function<int(sqlite3*)>;
using task = detail::closure_task<closure>;

constexpr int unique_violation = SQLITE_CONSTRAINT_UNIQUE;

closure sql(std::string text) {
  return [text = std::move(text)](sqlite3* db) { return run(db, text); };
}

struct fixture {
  local_host host;
  vfs door;
  std::unique_ptr<detail::group_executor> executor;
  int commits = 0;

  explicit fixture(std::uint64_t write_set_bytes = std::uint64_t{512} << 20U)
      : door(host, {.name = "vfs-group", .write_set_bytes = write_set_bytes}),
        executor(detail::group_executor::open(door, "a.db", {}).value()) {
    REQUIRE(run(open(), "CREATE TABLE t(x UNIQUE)") == SQLITE_OK);
  }

  connection open() { return std::move(open_connection(door, "a.db").value()); }

  std::vector<std::unique_ptr<task>> run_all(std::vector<closure>& closures) {
    std::vector<std::unique_ptr<task>> tasks;
    std::vector<detail::write_task*> group;
    for (closure& one : closures) {
      tasks.push_back(std::make_unique<task>(one));
      group.push_back(tasks.back().get());
    }
    executor->run(group, [this] { ++commits; });
    return tasks;
  }
  std::vector<write_result> answers_of(std::vector<closure> closures) {
    std::vector<write_result> answers;
    for (const auto& one : run_all(closures)) {
      answers.push_back(one->answer);
    }
    return answers;
  }
  std::string rows() { return ask(open(), "SELECT x FROM t ORDER BY x"); }
};

std::string rows_of_pages(int pages) {
  return "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<" +
         std::to_string(pages) + ") INSERT INTO big SELECT randomblob(3000) FROM n";
}

}  // namespace

TEST_CASE("closures of a group are one entry, and each sees what those before it did") {
  fixture w;
  const std::size_t before = w.host.entry_count();
  std::string seen;
  const auto answers = w.answers_of({sql("INSERT INTO t VALUES(1)"), sql("INSERT INTO t VALUES(2)"),
                                     [&seen](sqlite3* db) {
                                       seen = ask(db, "SELECT x FROM t");
                                       return SQLITE_OK;
                                     },
                                     sql("CREATE TABLE u(y); INSERT INTO u VALUES(3)"),
                                     sql("INSERT INTO u VALUES(4)")});
  for (const write_result& one : answers) {
    CHECK(one.ok());
    CHECK(one.message.empty());
    CHECK(one.id == answers.front().id);
    CHECK(one.id != transaction_id{});
  }
  CHECK(seen == "1;2");
  CHECK(w.host.entry_count() == before + 1);
  CHECK(w.rows() == "1;2");
  CHECK(ask(w.open(), "SELECT y FROM u") == "3;4");
  CHECK(w.commits == 1);
  CHECK(w.host.replays_equal());
}

TEST_CASE("a closure that fails takes only itself back, and is told why") {
  fixture w;
  const auto answers = w.answers_of(
      {sql("INSERT INTO t VALUES(1)"), sql("INSERT INTO t VALUES(5); INSERT INTO t VALUES(1)"),
       sql("CREATE TABLE gone(y); nonsense"), sql("INSERT INTO t VALUES(2)"), [](sqlite3* db) {
         run(db, "INSERT INTO t VALUES(6)");
         return 77;
       }});
  CHECK(answers[0].ok());
  CHECK(answers[1].error == errc::sqlite_failed);
  CHECK(answers[1].code == unique_violation);
  CHECK(answers[1].message == "UNIQUE constraint failed: t.x");
  CHECK(answers[2].code == SQLITE_ERROR);
  CHECK(answers[2].message == "near \"nonsense\": syntax error");
  CHECK(answers[3].ok());
  CHECK(answers[4].error == failure::refused);
  CHECK(answers[4].code == 77);
  CHECK(w.rows() == "1;2");
  CHECK(ask(w.open(), "SELECT count(*) FROM sqlite_schema WHERE name='gone'") == "0");
}

TEST_CASE("what would harm the others is denied with a sentence, and the others commit") {
  const std::string denied =
      GENERATE(std::string("BEGIN"), std::string("COMMIT"), std::string("ROLLBACK"),
               std::string("END"), std::string("SAVEPOINT \"QL:mine\""),
               std::string("RELEASE \"ql:closure\""), std::string("ROLLBACK TO \"ql:closure\""),
               std::string("ATTACH 'b.db' AS b"), std::string("DETACH main"),
               std::string("CREATE TEMP TABLE v(y)"), std::string("CREATE TEMP VIEW v AS SELECT 1"),
               std::string("CREATE VIRTUAL TABLE temp.v USING fts5(x)"),
               std::string("PRAGMA defer_foreign_keys=1"),
               std::string("PRAGMA recursive_triggers=1"), std::string("PRAGMA cache_size=10"));
  INFO(denied);
  fixture w;
  const auto answers =
      w.answers_of({sql("INSERT INTO t VALUES(1)"), sql("INSERT INTO t VALUES(2); " + denied),
                    sql("INSERT INTO t VALUES(3)")});
  CHECK(answers[0].ok());
  CHECK(answers[1].code == SQLITE_AUTH);
  CHECK(answers[1].message.find("write()") != std::string::npos);
  CHECK(answers[2].ok());
  CHECK(w.rows() == "1;3");
  CHECK(w.commits == 1);
}

TEST_CASE("savepoints of its own, and pragmas that are part of the transaction, are allowed") {
  fixture w;
  const auto answers = w.answers_of(
      {sql("SAVEPOINT a; INSERT INTO t VALUES(1); ROLLBACK TO a; INSERT INTO t VALUES(2)"),
       sql("SAVEPOINT a; INSERT INTO t VALUES(3); RELEASE a; PRAGMA user_version=7"),
       [](sqlite3* db) {
         return ask(db, "PRAGMA table_info(t)") == "0|x||0||0" ? SQLITE_OK : SQLITE_ERROR;
       }});
  for (const write_result& one : answers) {
    CHECK(one.ok());
  }
  CHECK(w.rows() == "2;3");
  CHECK(ask(w.open(), "PRAGMA user_version") == "7");
}

TEST_CASE("a closure that leaves references broken is the only one undone") {
  fixture w;
  REQUIRE(run(w.open(),
              "CREATE TABLE p(id INTEGER PRIMARY KEY);"
              "CREATE TABLE c(p REFERENCES p DEFERRABLE INITIALLY DEFERRED)") == SQLITE_OK);
  closure on = [](sqlite3* db) {
    return sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_FKEY, 1, nullptr);
  };
  static_cast<void>(w.answers_of({on}));  // not a PRAGMA: it holds from the next transaction on
  const auto answers =
      w.answers_of({sql("INSERT INTO c VALUES(1); INSERT INTO p VALUES(1)"),
                    sql("INSERT INTO c VALUES(2)"), sql("INSERT INTO t VALUES(1)")});
  CHECK(answers[0].ok());
  CHECK(answers[1].code == SQLITE_CONSTRAINT_FOREIGNKEY);
  CHECK(answers[2].ok());
  CHECK(ask(w.open(), "SELECT p FROM c") == "1");
  CHECK(w.rows() == "1");
}

TEST_CASE(
    "a closure that rolls all of the transaction back is answered, and the others run again") {
  fixture w;
  int first = 0;
  int last = 0;
  const auto answers = w.answers_of({[&first](sqlite3* db) {
                                       ++first;
                                       return run(db, "INSERT INTO t VALUES(1)");
                                     },
                                     sql("INSERT OR ROLLBACK INTO t VALUES(1)"),
                                     [&last](sqlite3* db) {
                                       ++last;
                                       return run(db, "INSERT INTO t VALUES(2)");
                                     }});
  CHECK(answers[0].ok());
  CHECK(answers[1].code == unique_violation);
  CHECK(answers[2].ok());
  CHECK(first == 2);
  CHECK(last == 1);
  CHECK(w.rows() == "1;2");
}

TEST_CASE("a statement that somebody prepares outside is not taken for one that a closure left") {
  fixture w;
  sqlite3* kept = nullptr;
  static_cast<void>(w.answers_of({[&kept](sqlite3* db) {
    kept = db;
    return SQLITE_OK;
  }}));
  sqlite3_stmt* statement = nullptr;
  REQUIRE(sqlite3_prepare_v2(kept, "SELECT 1", -1, &statement, nullptr) == SQLITE_OK);
  sqlite3_stmt* left = nullptr;
  const auto answers = w.answers_of(
      {sql("INSERT INTO t VALUES(1)"),
       [&left](sqlite3* db) { return sqlite3_prepare_v2(db, "SELECT 2", -1, &left, nullptr); },
       sql("INSERT INTO t VALUES(2)")});
  CHECK(answers[0].ok());
  CHECK(answers[1].code == SQLITE_MISUSE);
  CHECK(answers[2].ok());
  CHECK(w.rows() == "1;2");
  sqlite3_finalize(left);
  sqlite3_finalize(statement);
}

TEST_CASE("statements prepared outside cannot end the transaction unnoticed") {
  const std::string end = GENERATE(std::string("COMMIT"), std::string("ROLLBACK"));
  INFO(end);
  fixture w;
  sqlite3* kept = nullptr;
  static_cast<void>(w.answers_of({[&kept](sqlite3* db) {
    kept = db;
    return SQLITE_OK;
  }}));
  sqlite3_stmt* statement = nullptr;
  REQUIRE(sqlite3_prepare_v2(kept, end.c_str(), -1, &statement, nullptr) == SQLITE_OK);
  const std::size_t before = w.host.entry_count();
  const auto answers = w.answers_of({sql("INSERT INTO t VALUES(1)"),
                                     [statement](sqlite3* db) {
                                       sqlite3_step(statement);
                                       sqlite3_reset(statement);
                                       run(db, "INSERT INTO t VALUES(9)");
                                       return SQLITE_OK;
                                     },
                                     sql("INSERT INTO t VALUES(2)")});
  sqlite3_finalize(statement);
  CHECK(answers[0].ok());
  CHECK(answers[1].code == SQLITE_MISUSE);
  CHECK(answers[2].ok());
  CHECK(w.rows() == "1;2");
  CHECK(w.host.entry_count() == before + 1);
}

TEST_CASE("a closure that goes on after a denied end of the transaction is undone and told so") {
  const std::string end =
      GENERATE(std::string("COMMIT"), std::string("ROLLBACK"), std::string("END"),
               std::string("RELEASE \"ql:closure\""), std::string("ROLLBACK TO \"ql:closure\""));
  INFO(end);
  fixture w;
  const auto answers = w.answers_of({sql("INSERT INTO t VALUES(1)"),
                                     [&end](sqlite3* db) {
                                       run(db, end);
                                       return run(db, "INSERT INTO t VALUES(9)");
                                     },
                                     sql("INSERT INTO t VALUES(2)")});
  CHECK(answers[0].ok());
  CHECK(answers[1].error == errc::sqlite_failed);
  CHECK(answers[1].code == SQLITE_MISUSE);
  CHECK(answers[2].ok());
  CHECK(w.rows() == "1;2");
  CHECK(w.commits == 1);
}

TEST_CASE("a group that is too large is cut, and only what is too large alone is refused") {
  fixture w(60 * 4096);
  REQUIRE(run(w.open(), "CREATE TABLE big(y)") == SQLITE_OK);
  const auto fit =
      w.answers_of({sql(rows_of_pages(25)), sql(rows_of_pages(25)), sql(rows_of_pages(20))});
  for (const write_result& one : fit) {
    CHECK(one.ok());
  }
  const auto one_too_large =
      w.answers_of({sql(rows_of_pages(5)), sql(rows_of_pages(200)), sql(rows_of_pages(5))});
  CHECK(one_too_large[0].ok());
  CHECK((one_too_large[1].code & 0xFF) == SQLITE_FULL);
  CHECK(one_too_large[2].ok());
  CHECK(ask(w.open(), "SELECT count(*) FROM big") == "80");
  CHECK(w.host.replays_equal());
}

TEST_CASE("a group that is too large before its COMMIT, as the cache runs over, is cut as well") {
  fixture w(700 * 4096);  // SQLite's cache holds about 480 more
  REQUIRE(run(w.open(), "CREATE TABLE big(y)") == SQLITE_OK);
  const auto answers =
      w.answers_of({sql(rows_of_pages(500)), sql(rows_of_pages(500)), sql(rows_of_pages(500)),
                    sql(rows_of_pages(1500)), sql("INSERT INTO t VALUES(1)")});
  CHECK(answers[0].ok());
  CHECK(answers[1].ok());
  CHECK(answers[2].ok());
  CHECK((answers[3].code & 0xFF) == SQLITE_FULL);
  CHECK(answers[4].ok());
  CHECK(ask(w.open(), "SELECT count(*) FROM big") == "1500");
  CHECK(w.host.replays_equal());
}

TEST_CASE(
    "a group is cut, too, where a small cache makes COMMIT change the file before it is told") {
  fixture w(60 * 4096);
  {
    const connection first = open_connection(w.door, "small.db", {.page_size = 1024}).value();
    REQUIRE(run(first, "PRAGMA default_cache_size=10; CREATE TABLE big(y)") == SQLITE_OK);
  }
  w.executor = detail::group_executor::open(w.door, "small.db", {}).value();
  const auto answers =
      w.answers_of({sql(rows_of_pages(5)), sql(rows_of_pages(200)), sql(rows_of_pages(5))});
  CHECK(answers[0].ok());
  CHECK((answers[1].code & 0xFF) == SQLITE_FULL);
  CHECK(answers[2].ok());
  const connection reader = open_connection(w.door, "small.db").value();
  CHECK(ask(reader, "SELECT count(*) FROM big") == "10");
  CHECK(w.host.replays_equal());
}

TEST_CASE("a group is cut, too, where SQLite may not pass on that it is too large") {
  fixture w(700 * 4096);
  REQUIRE(run(w.open(), "CREATE TABLE big(y); INSERT INTO t VALUES(zeroblob(9))") == SQLITE_OK);
  const auto beside_a_blob = [](int pages) -> closure {
    return [pages](sqlite3* db) {
      sqlite3_blob* blob = nullptr;
      const int opened = sqlite3_blob_open(db, "main", "t", "x", 1, 0, &blob);
      const int code = opened == SQLITE_OK ? run(db, rows_of_pages(pages)) : opened;
      sqlite3_blob_close(blob);
      return code;
    };
  };
  const auto answers = w.answers_of({sql(rows_of_pages(500)), beside_a_blob(500),
                                     beside_a_blob(1500), sql("INSERT INTO t VALUES(1)")});
  CHECK(answers[0].ok());
  CHECK(answers[1].ok());
  const bool reads_meanwhile = sqlite3_compileoption_used("DEFAULT_CACHE_SIZE=10") != 0;
  CHECK(answers[2].code == (reads_meanwhile ? sqlite_transaction_over : SQLITE_FULL));  // F10
  CHECK(answers[3].ok());
  CHECK(ask(w.open(), "SELECT count(*) FROM big") == "1000");
  CHECK(w.host.replays_equal());
}

TEST_CASE("an interrupt ends the closure that it meets alone, and no other") {
  fixture w;
  const closure interrupted = [](sqlite3* db) {
    sqlite3_create_function(
        db, "stop", 0, SQLITE_UTF8, nullptr,
        [](sqlite3_context* context, int, sqlite3_value**) {
          sqlite3_interrupt(sqlite3_context_db_handle(context));
          sqlite3_result_int(context, 1);
        },
        nullptr, nullptr);
    return run(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100000) "
                   "INSERT INTO t SELECT i+stop() FROM n");
  };
  const auto answers =
      w.answers_of({sql("INSERT INTO t VALUES(1)"), interrupted, sql("INSERT INTO t VALUES(2)")});
  CHECK(answers[0].ok());
  CHECK(answers[1].code == SQLITE_INTERRUPT);
  CHECK(answers[2].ok());
  CHECK(w.rows() == "1;2");
}

TEST_CASE("an interrupt that may have been meant for another costs a second run and no closure") {
  fixture w;
  int runs = 0;
  const auto answers = w.answers_of({sql("INSERT INTO t VALUES(1)"), [&runs](sqlite3* db) {
                                       if (++runs > 1) {
                                         return run(db, "INSERT INTO t VALUES(2)");
                                       }
                                       sqlite3_progress_handler(
                                           db, 1, [](void*) { return 1; }, nullptr);
                                       const int code = run(db, "INSERT INTO t VALUES(2)");
                                       sqlite3_progress_handler(db, 0, nullptr, nullptr);
                                       return code;
                                     }});
  CHECK(answers[0].ok());
  CHECK(answers[1].ok());
  CHECK(runs == 2);
  CHECK(w.rows() == "1;2");
}

TEST_CASE("a group that the quorum refuses is refused to all, those that failed themselves too") {
  fixture w;
  w.host.refuse_next(make_error_code(errc::not_leader));
  const auto answers =
      w.answers_of({sql("INSERT INTO t VALUES(1)"), sql("INSERT INTO t VALUES(1)")});
  for (const write_result& one : answers) {
    CHECK(one.error == errc::not_leader);
    CHECK(one.code == sqlite_not_leader);
  }
  CHECK(w.rows().empty());
  CHECK(w.answers_of({sql("INSERT INTO t VALUES(1)")})[0].ok());
}

TEST_CASE("a group whose outcome is unknown says so to all, with the id to ask about") {
  fixture w;
  w.host.lie_next(make_error_code(errc::leadership_lost));
  const auto answers =
      w.answers_of({sql("INSERT INTO t VALUES(1)"), sql("INSERT INTO t VALUES(2)")});
  for (const write_result& one : answers) {
    CHECK(one.error == failure::outcome_unknown);
    CHECK(one.code == sqlite_outcome_unknown);
    CHECK(one.id != transaction_id{});
    CHECK(one.id == answers[0].id);
  }
}

TEST_CASE("a closure that was undone is not applied, though the outcome of its group is unknown") {
  fixture w;
  w.host.lie_next(make_error_code(errc::leadership_lost));
  const auto answers = w.answers_of({sql("INSERT INTO t VALUES(1)"), sql("INSERT INTO nowhere")});
  CHECK(answers[0].error == failure::outcome_unknown);
  CHECK(answers[1].error == failure::not_applied);
  CHECK(answers[1].id == transaction_id{});  // its fate is not that of the others
}

TEST_CASE("on a replica that does not lead, nothing runs and no id is named") {
  fixture w;
  REQUIRE(w.answers_of({sql("INSERT INTO t VALUES(1)")})[0].id != transaction_id{});
  w.host.lead(false);
  int ran = 0;
  const auto answers = w.answers_of({[&ran](sqlite3*) {
    ++ran;
    return SQLITE_OK;
  }});
  CHECK(answers[0].error == errc::not_leader);
  CHECK(answers[0].id == transaction_id{});
  CHECK(ran == 0);
}

TEST_CASE("a COMMIT that finds no room is told as busy, and the next group commits") {
  fixture w;
  w.host.refuse_next(make_error_code(errc::busy));
  const auto answers =
      w.answers_of({sql("INSERT INTO t VALUES(1)"), sql("INSERT INTO t VALUES(2)")});
  for (const write_result& one : answers) {
    CHECK(one.error == errc::busy);
  }
  CHECK(w.answers_of({sql("INSERT INTO t VALUES(3)")})[0].ok());
  CHECK(w.rows() == "3");
}

TEST_CASE("what a closure throws undoes it and reaches its caller, and the others commit") {
  fixture w;
  std::vector<closure> closures{sql("INSERT INTO t VALUES(1)"),
                                [](sqlite3* db) -> int {
                                  run(db, "INSERT INTO t VALUES(2)");
                                  throw std::runtime_error("no");
                                },
                                sql("INSERT INTO t VALUES(3)")};
  const auto tasks = w.run_all(closures);
  CHECK(tasks[0]->answer.ok());
  CHECK_FALSE(tasks[1]->answer.ok());
  CHECK_THROWS_AS(tasks[1]->rethrow(), std::runtime_error);
  CHECK_NOTHROW(tasks[2]->rethrow());
  CHECK(w.rows() == "1;3");
}

TEST_CASE("a closure that leaves a statement or a blob is told, and the next ones work") {
  fixture w;
  sqlite3_stmt* idle = nullptr;
  sqlite3_stmt* stepped = nullptr;
  sqlite3_stmt* failed = nullptr;
  sqlite3_blob* blob = nullptr;
  const auto leaves = [](const char* text, sqlite3_stmt*& left) {
    return [text, &left](sqlite3* db) {
      REQUIRE(sqlite3_prepare_v2(db, text, -1, &left, nullptr) == SQLITE_OK);
      return run(db, "INSERT INTO t VALUES(2)");
    };
  };
  std::string rowid;
  const auto answers = w.answers_of(
      {sql("INSERT INTO t VALUES(1)"), leaves("SELECT x FROM t", idle),
       [&stepped](sqlite3* db) {
         const char* const text = "INSERT INTO t VALUES(3), (4) RETURNING x";
         REQUIRE(sqlite3_prepare_v2(db, text, -1, &stepped, nullptr) == SQLITE_OK);
         return sqlite3_step(stepped) == SQLITE_ROW ? SQLITE_OK : SQLITE_ERROR;
       },
       [&blob](sqlite3* db) {
         REQUIRE(run(db, "INSERT INTO t VALUES(zeroblob(9))") == SQLITE_OK);
         return sqlite3_blob_open(db, "main", "t", "x", sqlite3_last_insert_rowid(db), 0, &blob);
       },
       [&](sqlite3* db) { return leaves("SELECT 7", failed)(db) + run(db, "nonsense"); },
       [&rowid](sqlite3* db) {
         rowid = std::to_string(sqlite3_last_insert_rowid(db));
         return run(db, "INSERT INTO t VALUES(6)");
       }});
  CHECK(answers[0].ok());
  for (const std::size_t leaver : {1U, 2U, 3U}) {
    INFO(leaver);
    CHECK(answers[leaver].error == errc::sqlite_failed);
    CHECK(answers[leaver].code == SQLITE_MISUSE);
    CHECK(answers[leaver].message.find("left a statement") != std::string::npos);
  }
  CHECK(answers[4].code == SQLITE_ERROR);  // its own reason
  CHECK(answers[5].ok());
  CHECK(rowid == "0");
  CHECK(w.rows() == "1;6");
  CHECK(w.answers_of({sql("INSERT INTO t VALUES(7)")})[0].ok());
  // They are still theirs.
  CHECK(sqlite3_step(idle) == SQLITE_ROW);
  for (sqlite3_stmt* const one : {idle, stepped, failed}) {
    sqlite3_finalize(one);
  }
  sqlite3_blob_close(blob);
  CHECK(w.answers_of({sql("INSERT INTO t VALUES(8)")})[0].ok());
  CHECK(w.rows() == "1;6;7;8");
}

TEST_CASE("statements of virtual tables stay, and no closure is told that it left them") {
  if (!quorlite::tests::is_built_with("ENABLE_FTS5")) {
    return;
  }
  fixture w;
  for (const closure& one : {sql("CREATE VIRTUAL TABLE f USING fts5(x)"),
                             sql("INSERT INTO f VALUES('a b'); SELECT * FROM f WHERE f MATCH 'b'"),
                             sql("CREATE TABLE more(x); DELETE FROM f"), sql("DROP TABLE f")}) {
    CHECK(w.answers_of({one, sql("DELETE FROM t")})[0].ok());
  }
}

TEST_CASE("a closure that sets a hook or the authorizer is told, and the next ones work") {
  fixture w;
  int place = 0;
  using setter = std::function<void(sqlite3*)>;
  const auto refuse = [](void*) { return 1; };
  const auto authorize =
      [](sqlite3* db, int (*says)(void*, int, const char*, const char*, const char*, const char*)) {
        sqlite3_set_authorizer(db, says, nullptr);
      };
  const std::vector<std::pair<std::string, setter>> setters{
      {"hook", [&](sqlite3* db) { sqlite3_commit_hook(db, refuse, nullptr); }},
      {"hook", [&](sqlite3* db) { sqlite3_commit_hook(db, nullptr, nullptr); }},
      {"hook",
       [&](sqlite3* db) {
         sqlite3_rollback_hook(
             db, [](void*) {}, &place);
       }},
      {"hook",
       [&](sqlite3* db) {
         const auto touch = [](void*, int, const char*, const char*, sqlite3_int64) {};
         sqlite3_update_hook(db, touch, &place);
       }},
      {"authorizer",
       [&](sqlite3* db) {
         authorize(db, [](void*, int, const char*, const char*, const char*, const char*) {
           return SQLITE_DENY;
         });
       }},
      {"authorizer",
       [&](sqlite3* db) {
         authorize(db, [](void*, int, const char*, const char*, const char*, const char*) {
           return SQLITE_IGNORE;  // makes a ROLLBACK TO of nothing
         });
       }},
      {"authorizer",
       [&](sqlite3* db) {
         authorize(db, [](void*, int, const char*, const char*, const char*, const char*) {
           return SQLITE_OK;
         });
       }},
      {"authorizer", [&](sqlite3* db) { authorize(db, nullptr); }}};
  int rows = 0;
  for (std::size_t at = 0; at < setters.size(); ++at) {
    INFO(at);
    for (const bool fails : {false, true}) {
      INFO(fails);
      const auto answers = w.answers_of(
          {sql("INSERT INTO t VALUES(" + std::to_string(++rows) + ")"),
           [&](sqlite3* db) {
             const int code = run(db, "INSERT INTO t VALUES('never')");
             setters[at].second(db);
             return fails ? SQLITE_ABORT : code;
           },
           sql("INSERT INTO t VALUES(" + std::to_string(++rows) + ")"), sql("ATTACH 'b.db' AS b")});
      CHECK(answers[0].ok());
      CHECK_FALSE(answers[1].ok());
      if (!fails) {
        CHECK(answers[1].code == SQLITE_MISUSE);
        CHECK(answers[1].message.find(setters[at].first) != std::string::npos);
      }
      CHECK(answers[2].ok());
      CHECK(answers[3].code == SQLITE_AUTH);  // the rules hold
      CHECK(w.answers_of({sql("INSERT INTO t VALUES(" + std::to_string(++rows) + ")")})[0].ok());
      CHECK(ask(w.open(), "SELECT count(*), max(x) FROM t") ==
            std::to_string(rows) + '|' + std::to_string(rows));
    }
  }
}

TEST_CASE(
    "an authorizer that a closure sets as SQLite rolls all back does not reach the next one") {
  fixture w;
  const auto answers = w.answers_of({sql("INSERT INTO t VALUES(1)"), [](sqlite3* db) {
                                       const int code =
                                           run(db, "INSERT OR ROLLBACK INTO t VALUES(1)");
                                       sqlite3_set_authorizer(
                                           db,
                                           [](void*, int, const char*, const char*, const char*,
                                              const char*) { return SQLITE_DENY; },
                                           nullptr);
                                       return code;
                                     }});
  CHECK(answers[0].ok());
  CHECK(answers[1].code == unique_violation);
  CHECK(w.answers_of({sql("INSERT INTO t VALUES(2)")})[0].ok());
  CHECK(w.rows() == "1;2");
}

TEST_CASE("a progress or busy handler that a closure sets does not reach the next one") {
  fixture w;
  bool was_asked = false;
  w.answers_of({[](sqlite3* db) {
                  sqlite3_progress_handler(
                      db, 1, [](void*) { return 1; }, nullptr);
                  return SQLITE_OK;
                },
                [&was_asked](sqlite3* db) {
                  const auto ask_me = [](void* was, int) {
                    *static_cast<bool*>(was) = true;
                    return 0;
                  };
                  sqlite3_busy_handler(db, ask_me, &was_asked);
                  return SQLITE_OK;
                }});
  w.host.answer(local_host::answers::detached);
  for (const std::string row : {"1", "2", "3"}) {  // each builds on the one before
    CHECK(w.answers_of({sql("INSERT INTO t VALUES(" + row + ")")})[0].ok());
  }
  CHECK_FALSE(was_asked);
  w.host.commit_all();
  CHECK(w.rows() == "1;2;3");
}

TEST_CASE("a group that writes nothing is answered from the head") {
  fixture w;
  connection db = w.open();
  w.host.answer(local_host::answers::detached);
  REQUIRE(run(db, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  std::string seen;
  const auto answers = w.answers_of({[&seen](sqlite3* in) {
    seen = ask(in, "SELECT count(*) FROM t");
    return SQLITE_OK;
  }});
  CHECK(answers[0].ok());
  CHECK(seen == "1");
  w.host.lose();
  CHECK(w.rows().empty());
}

TEST_CASE("a group that writes nothing proposes nothing, and names no transaction") {
  fixture w;
  REQUIRE(w.answers_of({sql("INSERT INTO t VALUES(1)")})[0].id != transaction_id{});
  const std::size_t before = w.host.entry_count();
  const auto answers = w.answers_of({sql("SELECT count(*) FROM t"), sql("nonsense")});
  CHECK(answers[0].ok());
  CHECK(answers[0].id == transaction_id{});
  CHECK(answers[1].code == SQLITE_ERROR);
  CHECK(w.host.entry_count() == before);
}

}  // namespace write_group_test
