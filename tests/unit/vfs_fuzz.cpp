// Random transactions against an ordinary SQLite as the oracle, and a follower fed by the entries.
// QUORLITE_TEST_PROFILE=short|full, QUORLITE_TEST_SEED=n.
#include <sqlite3.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "support/local_host.hpp"
#include "support/profile.hpp"
#include "support/sql.hpp"

namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::tests::follower;
using quorlite::tests::local_host;

std::uint64_t first_seed() {
  const char* const seed = std::getenv("QUORLITE_TEST_SEED");
  return seed == nullptr ? 1 : std::strtoull(seed, nullptr, 10);
}

struct setup {
  std::uint32_t page_size = 4096;
  int auto_vacuum = 0;
  bool lock_page_inside = false;
};

/// SQLite's lock byte, moved into small files for as long as this lives.
class lock_byte {
 public:
  explicit lock_byte(const setup& how) {
    if (how.lock_page_inside) {
      value_ = std::uint64_t{how.page_size} * 24;
      sqlite3_test_control(SQLITE_TESTCTRL_PENDING_BYTE, static_cast<unsigned>(value_));
    }
  }
  lock_byte(const lock_byte&) = delete;
  lock_byte& operator=(const lock_byte&) = delete;
  ~lock_byte() {
    sqlite3_test_control(SQLITE_TESTCTRL_PENDING_BYTE,
                         static_cast<unsigned>(limits::lock_byte_default));
  }
  [[nodiscard]] std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = limits::lock_byte_default;
};

sqlite3* memory_database() {
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open(":memory:", &db) == SQLITE_OK);
  sqlite3_extended_result_codes(db, 1);
  return db;
}

const std::string content_of_all =
    "SELECT (SELECT group_concat(id||':'||length(b)||':'||hex(substr(b,1,8))||coalesce(c,'-'),',')"
    " FROM (SELECT * FROM t ORDER BY id)), (SELECT count(*) FROM t INDEXED BY tc),"
    " (SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema ORDER BY name))";

class fuzzer {
 public:
  explicit fuzzer(std::uint64_t seed) : random_(seed) {}

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  bool chance(int percent) { return below(100) < static_cast<std::uint64_t>(percent); }

  /// A statement that does the same wherever it runs. Blobs are made of hex digits.
  std::string statement(std::uint32_t page_size, bool with_schema) {
    const std::string id = std::to_string(below(400));
    const std::string size = std::to_string(1 + below(chance(10) ? 5 * page_size : 700));
    const std::string blob = "CAST(printf('%." + size + "c','" +
                             std::string(1, static_cast<char>('a' + below(26))) + "') AS BLOB)";
    switch (below(with_schema ? 14 : 12)) {
      case 0:
      case 1:
      case 2: return "INSERT OR REPLACE INTO t VALUES(" + id + "," + blob + "," + id + "%7)";
      case 3:
      case 4: return "UPDATE t SET b=" + blob + " WHERE id BETWEEN " + id + " AND " + id + "+30";
      case 5: return "DELETE FROM t WHERE id BETWEEN " + id + " AND " + id + "+60";
      case 6:
        return "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<60) "
               "INSERT OR IGNORE INTO t SELECT " +
               id + "+i*3, " + blob + ", i FROM n";
      case 7: return "UPDATE t SET c=c+1 WHERE id%13=" + id + "%13";
      case 8: return "DELETE FROM t WHERE c%5=" + id + "%5";
      case 9: return "PRAGMA incremental_vacuum";
      case 10: return "INSERT INTO t(id,b) VALUES(" + id + ",1)";  // may violate the key
      case 11: return "DELETE FROM t WHERE id>" + id;
      case 12: return "CREATE TABLE s" + std::to_string(below(3)) + "(x CHECK(x>0), y)";
      default: return "DROP TABLE s" + std::to_string(below(3));
    }
  }

  std::mt19937_64 random_;
};

struct totals {
  std::size_t committed = 0;
  std::size_t refused = 0;
  std::size_t rolled_back = 0;
  std::size_t lost = 0;
};

/// Runs a whole transaction on `db` and on the oracle. True if both committed it.
bool transaction(fuzzer& fuzz, local_host& host, sqlite3* db, sqlite3* oracle, const setup& how,
                 totals& sum) {
  REQUIRE(run(db, fuzz.chance(50) ? "BEGIN" : "BEGIN IMMEDIATE") == SQLITE_OK);
  REQUIRE(run(oracle, "BEGIN") == SQLITE_OK);
  const auto both = [&](const std::string& sql) {
    const int code = run(db, sql);
    const int expected = run(oracle, sql);
    INFO(sql);
    REQUIRE(code == expected);
  };
  int savepoints = 0;
  for (std::uint64_t left = 1 + fuzz.below(6); left > 0; --left) {
    if (fuzz.chance(25)) {
      both("SAVEPOINT p" + std::to_string(savepoints++));
    }
    both(fuzz.statement(how.page_size, fuzz.chance(20)));
    if (savepoints > 0 && fuzz.chance(30)) {
      const std::string which = std::to_string(fuzz.below(static_cast<std::uint64_t>(savepoints)));
      both("ROLLBACK TO p" + which);
      savepoints = std::stoi(which) + 1;
    }
  }
  if (fuzz.chance(10)) {
    both("ROLLBACK");
    ++sum.rolled_back;
    return false;
  }
  if (fuzz.chance(30)) {
    constexpr errc why[] = {errc::not_leader, errc::leadership_lost, errc::busy, errc::too_large};
    host.refuse_next(why[fuzz.below(4)]);
  }
  const std::size_t before = host.commit_calls();
  int code = run(db, "COMMIT");
  if (code == SQLITE_BUSY) {
    REQUIRE(sqlite3_get_autocommit(db) == 0);
    if (fuzz.chance(50)) {
      both(fuzz.statement(how.page_size, false));
    }
    code = run(db, fuzz.chance(70) ? "COMMIT" : "ROLLBACK");
    REQUIRE(code == SQLITE_OK);
    if (host.commit_calls() == before + 1) {
      code = SQLITE_ABORT;
    }
  }
  REQUIRE(sqlite3_get_autocommit(db) == 1);
  REQUIRE(run(oracle, code == SQLITE_OK ? "COMMIT" : "ROLLBACK") == SQLITE_OK);
  ++(code == SQLITE_OK ? sum.committed : sum.refused);
  return code == SQLITE_OK;
}

void prepare(sqlite3* db, const setup& how) {
  REQUIRE(run(db, "PRAGMA auto_vacuum=" + std::to_string(how.auto_vacuum)) == SQLITE_OK);
  REQUIRE(run(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, b, c)") == SQLITE_OK);
  REQUIRE(run(db, "CREATE INDEX tc ON t(c, b)") == SQLITE_OK);
}

/// One configuration: two connections, refusals, spills, VACUUM.
totals fuzz_commits(const setup& how, std::uint64_t seed, int transactions) {
  const lock_byte moved{how};
  local_host host{moved.value()};
  vfs door{host, {.name = "vfs-fuzz"}};
  fuzzer fuzz{seed};
  totals sum;
  connection db[2];
  for (connection& one : db) {
    one = open_connection(door, "f.db", {.page_size = how.page_size}).value();
    REQUIRE(run(one, "PRAGMA cache_size=" + std::to_string(5 + fuzz.below(10))) == SQLITE_OK);
  }
  sqlite3* const oracle = memory_database();
  prepare(db[0], how);
  prepare(oracle, how);
  REQUIRE(run(db[1], "PRAGMA journal_mode=PERSIST") == SQLITE_OK);
  follower replica{moved.value()};
  std::size_t fed = 0;
  for (int round = 0; round < transactions; ++round) {
    transaction(fuzz, host, db[fuzz.below(2)], oracle, how, sum);
    if (fuzz.chance(4)) {
      if (fuzz.chance(30)) {
        host.refuse_next(errc::not_leader);
      }
      run(db[fuzz.below(2)], "VACUUM");
    }
    host.forget_refusals();
    const auto entries = host.entries_from(fed);
    fed += entries.size();
    for (const auto& entry : entries) {
      REQUIRE(replica.apply(entry));
    }
    REQUIRE(quorlite::tests::committed_image(host.store("f.db")) ==
            quorlite::tests::committed_image(replica.of("f.db")));
    if (round % 5 == 0) {
      const std::string expected = ask(oracle, content_of_all);
      REQUIRE(ask(db[0], content_of_all) == expected);
      REQUIRE(ask(db[1], content_of_all) == expected);
    }
    if (round % 25 == 0) {
      REQUIRE(ask(db[fuzz.below(2)], "PRAGMA integrity_check") == "ok");
    }
  }
  sqlite3_close(oracle);
  return sum;
}

/// Transactions in flight, committed in order or lost together; readers compare with what is
/// committed. One thread.
class pipeline {
 public:
  pipeline(const setup& how, std::uint64_t seed)
      : how_(how), host_(limits::lock_byte_default), fuzz_(seed) {
    for (connection& one : db_) {
      one = open_connection(door_, "f.db",
                            {.page_size = how.page_size, .busy_timeout = milliseconds{2}})
                .value();
      REQUIRE(run(one, "PRAGMA cache_size=6") == SQLITE_OK);
    }
    reader_ = open_connection(door_, "f.db").value();
    prepare(db_[0], how);
    prepare(oracle_, how);
    host_.answer(local_host::answers::detached);
  }
  pipeline(const pipeline&) = delete;
  pipeline& operator=(const pipeline&) = delete;
  ~pipeline() { sqlite3_close(oracle_); }

  void step(totals& sum) {
    write(sum);
    if (fuzz_.chance(40) && !scripts_.empty()) {
      commit_next();
    }
    if (fuzz_.chance(6)) {
      sum.lost += scripts_.size();
      scripts_.clear();
      host_.lose();
    }
    if (fuzz_.chance(15)) {
      while (!scripts_.empty()) {
        commit_next();
      }
    }
    if (fuzz_.chance(30)) {
      REQUIRE(ask(reader_, content_of_all) == ask(oracle_, content_of_all));
    }
    if (fuzz_.chance(3)) {
      REQUIRE(ask(reader_, "PRAGMA integrity_check") == "ok");
    }
  }
  void finish() {
    while (!scripts_.empty()) {
      commit_next();
    }
    for (connection& one : db_) {
      REQUIRE(ask(one, content_of_all) == ask(oracle_, content_of_all));
      REQUIRE(ask(one, "PRAGMA integrity_check") == "ok");
    }
    REQUIRE(host_.replays_equal());
  }

 private:
  void commit_next() {
    host_.commit_next();
    for (const std::string& statement : scripts_.front()) {
      REQUIRE(run(oracle_, statement) == SQLITE_OK);
    }
    scripts_.pop_front();
  }

  void write(totals& sum) {
    sqlite3* const db = db_[fuzz_.below(4)];
    if (run(db, "BEGIN IMMEDIATE") != SQLITE_OK) {
      return;  // a change of the schema is pending
    }
    std::vector<std::string> script{"BEGIN"};
    for (std::uint64_t left = 1 + fuzz_.below(4); left > 0; --left) {
      const std::string statement = fuzz_.statement(how_.page_size, fuzz_.chance(10));
      if (run(db, statement) == SQLITE_OK) {
        script.push_back(statement);
      } else if (sqlite3_get_autocommit(db) != 0) {
        ++sum.refused;  // what it stood on is gone: SQLite has rolled all of it back
        return;
      }
      if (fuzz_.chance(2)) {  // in the middle of its transaction
        sum.lost += scripts_.size();
        scripts_.clear();
        host_.lose();
      }
    }
    script.push_back("COMMIT");
    const std::size_t before = host_.pending_count();
    const bool rolls_back = fuzz_.chance(10);
    const int code = run(db, rolls_back ? "ROLLBACK" : "COMMIT");
    if (code != SQLITE_OK) {
      run(db, "ROLLBACK");
    }
    if (host_.pending_count() == before + 1) {
      REQUIRE(code == SQLITE_OK);
      scripts_.push_back(std::move(script));
      ++sum.committed;
    } else {
      ++(rolls_back ? sum.rolled_back : sum.refused);
    }
  }

  const setup how_;
  local_host host_;
  vfs door_{host_, {.name = "vfs-pipeline"}};
  fuzzer fuzz_;
  connection db_[4];
  connection reader_;
  sqlite3* oracle_ = memory_database();
  std::deque<std::vector<std::string>> scripts_;
};

}  // namespace

TEST_CASE("random transactions with refusals equal an ordinary SQLite and a follower") {
  const int transactions = quorlite::tests::is_short_profile() ? 40 : 150;
  std::uint64_t seed = first_seed() * 1000;
  totals sum;
  for (const std::uint32_t page_size : {512U, 1024U, 4096U, 16384U, 65536U}) {
    for (int auto_vacuum = 0; auto_vacuum < 3; ++auto_vacuum) {
      for (const bool inside : {false, true}) {
        const setup how{page_size, auto_vacuum, inside};
        INFO("page size " << page_size << ", auto_vacuum " << auto_vacuum << ", lock page inside "
                          << inside << ", seed " << seed);
        const totals one = fuzz_commits(how, ++seed, transactions);
        sum.committed += one.committed;
        sum.refused += one.refused;
        sum.rolled_back += one.rolled_back;
      }
    }
  }
  WARN(sum.committed << " committed, " << sum.refused << " refused, " << sum.rolled_back
                     << " rolled back");
}

TEST_CASE("random pipelined transactions with losses equal an ordinary SQLite and a follower") {
  const int steps = quorlite::tests::is_short_profile() ? 200 : 1500;
  std::uint64_t seed = first_seed() * 1000;
  totals sum;
  for (const std::uint32_t page_size : {512U, 4096U}) {
    for (int auto_vacuum = 0; auto_vacuum < 3; ++auto_vacuum) {
      INFO("page size " << page_size << ", auto_vacuum " << auto_vacuum << ", seed " << seed);
      pipeline one{{page_size, auto_vacuum, false}, ++seed};
      for (int i = 0; i < steps; ++i) {
        one.step(sum);
      }
      one.finish();
    }
  }
  WARN(sum.committed << " committed, " << sum.lost << " lost, " << sum.refused << " refused, "
                     << sum.rolled_back << " rolled back");
}
