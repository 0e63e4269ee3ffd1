// Clients: writers that keep a record of what they were told, readers that compare.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "causes.hpp"
#include "history.hpp"
#include "quorlite/detail/sqlite/database_file.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "quorlite/detail/sqlite/view.hpp"
#include "servers.hpp"
#include "statements.hpp"
#include "support/sql.hpp"

namespace simulate {

using quorlite::connection;

/// What all clients of a run share.
struct shared {
  servers& cluster;
  simulate::history& record;
  std::uint32_t transactions_left;
  bool is_over = false;  ///< every wait returns at once: whoever polls ends
  std::uint64_t refused = 0;
  std::uint64_t resolved = 0;
  std::uint64_t reads = 0;
  simulate::causes causes{};
  std::uint64_t next_client = 1000;  ///< whoever comes for one call: names its random numbers

  [[nodiscard]] const plan& options() const { return cluster.options(); }
  [[nodiscard]] static std::string name_of(std::size_t database) {
    return "db" + std::to_string(database) + ".sqlite";
  }
  /// Ends a transaction, and tells of it.
  void end(transaction& one, fate how) {
    record.end(one, how);
    if (cluster.trace().is_read()) {
      const char* const fates[] = {"running", "acknowledged", "refused", "unknown"};
      cluster.trace().tell(
          "client", "transaction ends",
          {{"transaction", one.number},
           {"database", name_of(one.database)},
           {"other", one.other ? name_of(*one.other) : ""},
           {"fate", fates[static_cast<int>(how)]},
           {"id", std::to_string(one.id.term.value) + "." + std::to_string(one.id.sequence)},
           {"in_group", one.grouped}});
    }
  }
  void sleep(std::uint64_t span) { cluster.world().sleep(milliseconds{span}); }
};

/// A call that has a limit answers: not much later than the limit, the longest pause of a process
/// and the longest delay on the wires allow.
class in_time {
 public:
  in_time(shared& all, const char* call)
      : world_(all.cluster.world()), call_(call), begun_(world_.now().value) {}
  void check() const {
    const std::uint64_t took = world_.now().value - begun_;
    require(took <= 20'000, "answers in time",
            [&] { return std::string(call_) + " took " + std::to_string(took) + " ms"; });
  }

 private:
  quorlite::testing::simulation& world_;
  const char* call_;
  std::uint64_t begun_;
};

/// A connection, and the process that it goes to. Whoever makes calls holds the process meanwhile:
/// it must not be destroyed while a call is inside.
struct line {
  std::weak_ptr<process> to;  ///< may end before the connection is closed
  connection db;
  std::error_code why;  ///< it is not open

  [[nodiscard]] bool is_open() const { return db.get() != nullptr; }
  void close() {
    db = connection{};
    to.reset();
  }
};

[[nodiscard]] inline line connect(shared& all, server_id id, const std::string& name) {
  line made;
  const std::shared_ptr<process> here = all.cluster.running(id);
  made.to = here;
  if (!here) {
    return made;
  }
  quorlite::connection_options options;
  options.page_size = all.options().page_size;
  options.busy_timeout = milliseconds{all.options().busy_timeout_ms};
  if (auto opened = here->replica().open(name, options)) {
    made.db = std::move(*opened);
    static_cast<void>(
        run(made.db, "PRAGMA cache_size=" + std::to_string(all.options().cache_pages) +
                         ";PRAGMA secure_delete=" + (all.options().secure_delete ? "1" : "0")));
  } else {
    made.why = opened.error();
  }
  return made;
}
[[nodiscard]] inline line connect(shared& all, server_id id, std::size_t database) {
  return connect(all, id, shared::name_of(database));
}

/// Whether it has the turn of a writer, which SQL does not tell.
[[nodiscard]] inline bool has_turn(const line& to) {
  quorlite::detail::database_file* const file =
      quorlite::detail::replicated_file(to.db.get(), "main");
  return file != nullptr && file->turn().holds();
}
/// Whether a change of the schema waits for its quorum. Until then whoever gets the turn of a
/// writer gives it back and is busy: a statement is prepared on the committed schema.
[[nodiscard]] inline bool is_schema_pending(const line& to) {
  quorlite::detail::database_file* const file =
      quorlite::detail::replicated_file(to.db.get(), "main");
  if (file == nullptr || file->core().is_closed.load()) {
    return false;
  }
  const auto target = file->core().host.database_named(file->name());
  if (!target.has_value()) {
    return false;
  }
  quorlite::detail::database_view view(*target);
  view.turn_to_current();
  return view.is_schema_pending();
}

/// All that clients know of a database, in one text, and the columns of a table as the connection
/// has them in its own schema.
/// In an order of its own, for a VACUUM puts the rows of the schema into another one, and counts
/// for nothing in the log.
inline constexpr const char* picture =
    "SELECT (SELECT count(*) || '/' || ifnull(max(n), 0) || '/' || ifnull(sum(txn), 0) FROM log), "
    "(SELECT group_concat(balance) FROM accounts), "
    "(SELECT group_concat(key || '=' || txn) FROM (SELECT key, txn FROM registers ORDER BY key)), "
    "(SELECT group_concat(sql) FROM (SELECT sql FROM sqlite_schema ORDER BY type, name)), "
    "(SELECT group_concat(name) FROM pragma_table_info('shape', 'main'))";

/// The same of a database that comes and goes.
inline constexpr const char* scratch_picture =
    "SELECT (SELECT group_concat(a) FROM s), (SELECT group_concat(sql) FROM sqlite_schema), "
    "(SELECT group_concat(name) FROM pragma_table_info('s'))";

/// A connection that was kept sees what a new one sees at that moment, whatever it has in its
/// caches.
inline void compare_with_new(shared& all, const line& kept, server_id id, const std::string& name,
                             const std::string& query) {
  const std::shared_ptr<process> here = kept.to.lock();
  if (!kept.is_open() || !here || here != all.cluster.running(id)) {
    return;
  }
  // Without a table there is nothing to see, which is something to see.
  const auto is_seen = [](const std::string& said) { return said[0] != '!' || said == "!1"; };
  const std::string seen = ask(kept.db, query);
  const quorlite::log_position at = here->replica().applied();
  if (!is_seen(seen) || here != all.cluster.running(id)) {
    return;
  }
  const line fresh = connect(all, id, name);
  const std::string expected = fresh.is_open() ? ask(fresh.db, query) : "!";
  require(!is_seen(expected) || here->replica().applied() != at || seen == expected, "monotonic",
          "a connection to " + name + " on " + servers::name_of(id) + " that was kept sees `" +
              seen.substr(0, 300) + "`, a new one `" + expected.substr(0, 300) + "`");
}

/// What may go wrong has a code of ours, or one that SQLite has for it.
/// @param here where the statement ran, if that is known
inline void check_code(int code, const connection& db, const quorlite::replica* here = nullptr) {
  switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_IOERR:
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_SCHEMA: return;
    case SQLITE_PROTOCOL:  // a failure that SQLite might not have passed on
      if (db.last_error()) {
        return;
      }
      break;
    case SQLITE_CORRUPT:  // a damaged page of the base: the replica halts, and is asked why
      // SQLite may go on over a page that it could not read, and find something out of place then.
      if (db.last_error() == quorlite::errc::corrupt ||
          (here != nullptr && here->health().error == quorlite::errc::corrupt)) {
        return;
      }
      break;
    default: break;
  }
  throw violation("typed errors",
                  "SQLite said " + std::to_string(code) + ": " + db.error_message());
}
[[nodiscard]] inline bool is_of_sql(int code) {
  return (code & 0xFF) == SQLITE_ERROR || (code & 0xFF) == SQLITE_CONSTRAINT;
}
[[nodiscard]] inline fate fate_of(std::error_code error) {
  return error == quorlite::failure::not_applied || error == quorlite::failure::refused
             ? fate::refused
             : fate::unknown;
}

class writer {
 public:
  writer(shared& all, std::uint64_t number)
      : all_(all),
        dice_(random{all.options().seed}.fork(0xC000 + number)),
        make_(random{all.options().seed}.fork(0xD000 + number)),
        later_dice_(random{all.options().seed}.fork(0xF000 + number)) {}

  void operator()() {
    while (all_.transactions_left > 0) {
      const std::optional<server_id> leader = all_.cluster.leader();
      if (!leader) {
        all_.sleep(dice_.between(5, 100));
        continue;
      }
      --all_.transactions_left;
      const auto database = static_cast<std::size_t>(dice_.below(all_.options().work.databases));
      if (dice_.chance(0.01 * all_.options().work.groups_percent)) {
        if (dice_.chance(0.3)) {
          bring_others(*leader, database);
        }
        static_cast<void>(in_group(*leader, database));
      } else {
        static_cast<void>(over_connection(*leader, database));
      }
      if (dice_.chance(0.03)) {
        scratch(*leader);
      }
      if (dice_.chance(0.3)) {
        all_.sleep(dice_.between(1, 60));
      }
    }
    lines_.clear();
    scratch_lines_.clear();
  }

  /// With nothing in the way, a database takes a transaction over a connection and one in a group.
  /// @param bytes that it writes at least
  /// @returns false: not of this server, or not in time
  [[nodiscard]] bool is_welcome(server_id leader, std::size_t database, std::size_t bytes = 0) {
    plain_ = true;
    much_ = bytes;
    bool over = false;
    bool grouped = false;
    for (int attempt = 0; attempt < 20 && !(over && grouped); ++attempt) {
      if (all_.cluster.leader() != leader) {
        break;
      }
      over = over || over_connection(leader, database);
      grouped = grouped || in_group(leader, database);
      if (!over || !grouped) {
        all_.sleep(200);
      }
    }
    lines_.clear();
    much_ = 0;
    plain_ = false;
    return over && grouped;
  }

  /// A transaction of about so many bytes.
  void write_much(server_id leader, std::size_t database, std::size_t bytes) {
    plain_ = true;
    much_ = bytes;
    static_cast<void>(over_connection(leader, database));
    lines_.clear();
    much_ = 0;
    plain_ = false;
  }

 private:
  // ---- what a transaction does

  void choose_work(transaction& one) {
    const workload& work = all_.options().work;
    std::vector<std::string> sql;
    if (plain_) {
      sql = much_ == 0 ? make_.transfer() : make_.large(much_);
    } else if (one.other) {
      one.key = make_.key();
      one.other_key = make_.key();
      const std::string number = std::to_string(one.number);
      const auto set = [&](const char* where, std::uint64_t key) {
        return std::string("INSERT OR REPLACE INTO ") + where + "registers VALUES(" +
               std::to_string(key) + ", " + number + ")";
      };
      sql.push_back(set("", one.key));
      one.statements.push_back({set("o.", one.other_key), SQLITE_OK, {}, true});
      if (dice_.chance(0.15)) {  // more than the first database has, perhaps more than may be
        for (const char* const each :
             {"CREATE TABLE IF NOT EXISTS o.bulk(v)",
              "INSERT INTO o.bulk WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM i "
              "LIMIT 50) SELECT zeroblob(900) FROM i"}) {
          one.statements.push_back({each, SQLITE_OK, {}, true});
        }
      }
      one.statements.push_back(
          {"INSERT INTO o.log(txn) VALUES(" + number + ")", SQLITE_OK, {}, true});
    } else if (later_dice_.chance(0.01 * work.halves_percent)) {
      sql = make_.half(all_.options().page_size,
                       all_.options().write_set_bytes / all_.options().page_size);
      one.may_fail = true;
    } else if (dice_.chance(0.01 * work.large_percent)) {
      sql = make_.large(dice_.between(20'000, 200'000));
    } else if (dice_.chance(0.01 * work.statements_percent)) {
      sql = make_.any();
      // SQLite looks at a stale schema for some errors (a column that is there already), but not
      // once a statement has run.
      sql.insert(sql.begin(), "SELECT 1 FROM sqlite_schema");
      one.may_fail = true;
    } else if (dice_.chance(0.015)) {
      sql = make_.other_shape(std::to_string(one.number));
    } else if (dice_.chance(0.02)) {
      sql = make_.spare_pages(std::uint64_t{all_.options().page_size} * dice_.between(2, 12));
    } else if (dice_.chance(0.3)) {
      one.key = make_.key();
      sql = {"INSERT OR REPLACE INTO registers VALUES(" + std::to_string(one.key) + ", " +
             std::to_string(one.number) + ")"};
    } else {
      sql = make_.transfer();
    }
    sql.push_back("INSERT INTO log(txn) VALUES(" + std::to_string(one.number) + ")");
    for (std::string& each : sql) {
      one.statements.push_back({std::move(each), SQLITE_OK, {}, false});
    }
  }
  /// Runs it up to its end, which is not its COMMIT. @returns SQLITE_OK, or what ended it early
  static int run_statements(sqlite3* db, transaction& one) {
    for (statement& each : one.statements) {
      each.code = run(db, each.sql);
      each.said = each.code == SQLITE_OK ? "" : sqlite3_errmsg(db);
      if (each.code != SQLITE_OK && !is_of_sql(each.code)) {
        return each.code;
      }
    }
    // A statement may have undone the row of the log with a savepoint, or all of it.
    return one.statements.back().code;
  }

  // ---- over a connection

  /// @returns true: acknowledged
  [[nodiscard]] bool over_connection(server_id leader, std::size_t database) {
    line& to = line_to(leader, database);
    const std::shared_ptr<process> here = to.to.lock();
    if (!here || !to.is_open()) {
      all_.sleep(dice_.between(5, 50));
      return false;
    }
    if (dice_.chance(0.02) && run(to.db, "VACUUM") != SQLITE_OK) {
      check_code(sqlite3_extended_errcode(to.db), to.db);
      transaction of_vacuum;
      of_vacuum.database = database;
      all_.causes.refused(leader, here->replica().leader().term, of_vacuum);
    }
    const std::optional<std::size_t> other = attach(to, database);
    transaction& one = all_.record.begin(database);
    one.other = other;
    choose_work(one);
    // A statement that fails to be prepared begins no transaction: behind a plain BEGIN it would
    // tell of an earlier state than the rest.
    const bool at_once = one.may_fail || dice_.chance(0.7);
    int code = run(to.db, at_once ? "BEGIN IMMEDIATE" : "BEGIN");
    const quorlite::leader_info led = here->replica().leader();
    if (code == SQLITE_OK && !at_once && dice_.chance(0.5)) {
      code = look_first(to);
    }
    if (code == SQLITE_OK) {
      code = run_statements(to.db, one);
    }
    if (code == SQLITE_OK && dice_.chance(0.05)) {
      all_.sleep(dice_.between(1, 200));  // an application that takes its time
    }
    if (code == SQLITE_OK && dice_.chance(0.95)) {
      const quorlite::transaction_id before = to.db.last_transaction();
      one.applied = here->replica().applied().index;
      const in_time limit(all_, "COMMIT");
      code = run(to.db, "COMMIT");
      if (!all_.options().wait_until_certain) {
        limit.check();
      }
      one.id = to.db.last_transaction();
      if (one.id != before) {
        all_.causes.joined(leader, one.id.term, one);
      }
      finish(one, code, to, one.id != before);
      if (code != SQLITE_OK) {
        judge(one, leader, at_once ? led : quorlite::leader_info{}, *here, to.db.last_error());
      }
    } else {
      all_.end(one, fate::refused);  // COMMIT was never said
      ++all_.refused;
      if (code != SQLITE_OK && !is_of_sql(code)) {
        check_code(code, to.db, &here->replica());
      }
    }
    static_cast<void>(run(to.db, "ROLLBACK"));
    require(sqlite3_get_autocommit(to.db) != 0, "typed errors", "a transaction does not end");
    if (one.fate != fate::acknowledged && dice_.chance(0.1)) {
      read_instead(to, leader, database, (code & 0xFF) == SQLITE_BUSY ? 0.6 : 0.3);
    }
    // Connections that live through a lost leadership have caches of a state that never came.
    if (one.other || dice_.chance(one.fate == fate::acknowledged ? 0.05 : 0.3)) {
      lines_.clear();
    }
    ask_anybody(one);
    if (one.fate == fate::unknown && dice_.chance(0.5)) {
      resolve(one);
    }
    return one.fate == fate::acknowledged;
  }
  /// What a transaction has read may be old by the time that it writes.
  [[nodiscard]] int look_first(const line& to) {
    const std::string seen = ask(to.db, "SELECT count(*) FROM log");
    if (seen[0] == '!') {
      return std::stoi(seen.substr(1));
    }
    all_.sleep(dice_.between(1, 80));
    return SQLITE_OK;
  }
  /// What the answer of a COMMIT that failed tells of the server.
  /// @param led who led when it got the turn of a writer; not leading: not known
  void judge(const transaction& one, server_id leader, const quorlite::leader_info& led,
             process& here, std::error_code error) {
    const quorlite::leader_info now = here.replica().leader();
    if (error == quorlite::errc::timed_out && one.id.term.value != 0 &&
        !all_.options().wait_until_certain) {
      require(now.leading && now.term == one.id.term, "answers in time",
              "transaction " + std::to_string(one.number) + " waited for its limit, and " +
                  servers::name_of(leader) + " knew that it had lost its leadership");
    }
    const bool overtaken = error == quorlite::errc::stale_term || error == quorlite::errc::conflict;
    const bool leads_on = led.leading && now.leading && led.term == now.term &&
                          all_.cluster.running(leader).get() == &here;
    if (overtaken && leads_on) {
      all_.causes.overtaken(leader, led.term, one);
    } else if (!overtaken && error != quorlite::errc::timed_out) {
      all_.causes.refused(leader, led.term, one);
      all_.causes.refused(leader, now.term, one);
    }
  }
  /// Whoever was refused reads with the connection that he has. Nothing of what did not come may be
  /// in its caches, and it has no turn any more.
  void read_instead(line& to, server_id leader, std::size_t database, double keeps_reading) {
    if (dice_.chance(keeps_reading)) {
      keep_nobody_out(to, leader, database);
    }
    for (std::uint64_t times = dice_.between(1, 3); times > 0; --times) {
      compare_with_new(all_, to, leader, shared::name_of(database), picture);
      all_.sleep(dice_.between(1, 120));
    }
  }
  void keep_nobody_out(line& to, server_id leader, std::size_t database) {
    const std::shared_ptr<process> here = to.to.lock();
    // A writer reads page 1 before his write lock, and nothing else: so does this reader at times.
    const char* const query =
        dice_.chance(0.5) ? "PRAGMA user_version" : "SELECT count(*) FROM log";
    const bool reads = here && run(to.db, "BEGIN") == SQLITE_OK && ask(to.db, query)[0] != '!';
    require(!reads || !has_turn(to), "answers in time",
            "a connection that only reads has the turn of a writer of " +
                shared::name_of(database) + " on " + servers::name_of(leader));
    const line other = reads ? connect(all_, leader, database) : line{};
    static_cast<void>(other.is_open() ? run(other.db, "PRAGMA busy_timeout=300") : SQLITE_OK);
    const quorlite::term term = here ? here->replica().leader().term : quorlite::term{};
    int attempts = 0;
    while (other.is_open() && !all_.is_over) {
      const int code = run(other.db, "BEGIN IMMEDIATE");
      static_cast<void>(run(other.db, "ROLLBACK"));
      const quorlite::leader_info now = here->replica().leader();
      if ((code & 0xFF) != SQLITE_BUSY || !now.leading || now.term != term ||
          here != all_.cluster.running(leader)) {
        break;
      }
      // Each waits for 300 ms. Whoever has the turn may wait for his COMMIT as long as is allowed,
      // and another one after him. Who leads on without a quorum that stores what he sends may have
      // a change of the schema pending for longer.
      attempts += is_schema_pending(other) ? 0 : 1;
      require(
          static_cast<std::uint64_t>(attempts) <= 12 + 2 * all_.options().commit_timeout_ms / 300,
          "answers in time",
          "nobody gets the turn of a writer of " + shared::name_of(database) + " on " +
              servers::name_of(leader) + " while a connection reads");
      all_.sleep(dice_.between(50, 250));
    }
    static_cast<void>(run(to.db, "ROLLBACK"));
  }
  /// Another database beside this one, for a commit of both.
  [[nodiscard]] std::optional<std::size_t> attach(const line& to, std::size_t database) {
    const std::uint32_t all = all_.options().work.databases;
    if (plain_ || all < 2 || !dice_.chance(0.01 * all_.options().work.attach_percent)) {
      return std::nullopt;
    }
    const std::size_t other = (database + 1 + dice_.below(all - 1)) % all;
    return run(to.db, "ATTACH '" + shared::name_of(other) + "' AS o") == SQLITE_OK
               ? std::optional{other}
               : std::nullopt;
  }
  void finish(transaction& one, int code, const line& to, bool was_proposed) {
    if (code == SQLITE_OK) {
      all_.end(one, fate::acknowledged);
      return;
    }
    const std::error_code error = to.db.last_error();
    // A virtual table that a savepoint took back fails in COMMIT: SQLite's own doing.
    if (!(one.may_fail && is_of_sql(code) && error == quorlite::errc::sqlite_failed)) {
      check_code(code, to.db);
    }
    require(static_cast<bool>(error), "typed errors",
            "a COMMIT failed with " + std::to_string(code) + " and has no error");
    const bool is_open = was_proposed && error != quorlite::errc::sqlite_failed;
    all_.end(one, is_open ? fate_of(error) : fate::refused);
    ++all_.refused;
  }
  [[nodiscard]] line& line_to(server_id leader, std::size_t database) {
    line& to = lines_[{leader.value, database}];
    if (!to.is_open() || to.to.lock() != all_.cluster.running(leader)) {
      to.close();
      to = connect(all_, leader, database);
    }
    return to;
  }

  // ---- in a group

  /// Clients who come at the same moment, so that the group has several closures.
  void bring_others(server_id leader, std::size_t database) {
    for (std::uint64_t more = dice_.between(1, 3); more > 0 && all_.transactions_left > 0; --more) {
      --all_.transactions_left;
      all_.cluster.world().spawn(
          [mine = std::make_shared<writer>(all_, all_.next_client++), leader, database] {
            static_cast<void>(mine->in_group(leader, database));
          });
    }
  }
  /// @returns true: acknowledged
  [[nodiscard]] bool in_group(server_id leader, std::size_t database) {
    const std::shared_ptr<process> here = all_.cluster.running(leader);
    if (!here) {
      return false;
    }
    transaction& one = all_.record.begin(database);
    one.grouped = true;
    choose_work(one);
    one.applied = here->replica().applied().index;
    const quorlite::term term = here->replica().leader().term;
    const bool gives_up = !plain_ && dice_.chance(0.1);
    const quorlite::write_result told =
        here->replica().write(shared::name_of(database), [&one, gives_up](sqlite3* db) {
          const int code = run_statements(db, one);
          return code == SQLITE_OK && gives_up ? SQLITE_ABORT : code;
        });
    one.id = told.id;
    if (told.ok()) {
      all_.end(one, fate::acknowledged);
      return true;
    }
    if (told.error != quorlite::errc::sqlite_failed && told.error != quorlite::errc::stale_term &&
        told.error != quorlite::errc::conflict && told.error != quorlite::errc::timed_out) {
      all_.causes.refused(leader, term, one);
      all_.causes.refused(leader, here->replica().leader().term, one);
    }
    // A closure that gave up, or whose statement failed, is undone whatever came of its group.
    all_.end(one,
             told.error == quorlite::errc::sqlite_failed ? fate::refused : fate_of(told.error));
    ++all_.refused;
    ask_anybody(one);
    if (one.fate == fate::unknown && dice_.chance(0.5)) {
      resolve(one);
    }
    return false;
  }

  // ---- a database that comes and goes

  /// What is in it is compared by the replicas alone.
  void scratch(server_id leader) {
    const std::shared_ptr<process> here = all_.cluster.running(leader);
    if (!here) {
      return;
    }
    const std::string name = "scratch" + std::to_string(dice_.below(2)) + ".sqlite";
    line& kept = scratch_lines_[name];
    compare_with_new(all_, kept, leader, name, scratch_picture);
    if (later_dice_.chance(0.1)) {
      bear_twins(leader, name, kept);
      return;
    }
    if (dice_.chance(0.4)) {
      const std::error_code error = here->replica().drop(name);
      require(!error || fate_of(error) == fate::refused ||
                  error == quorlite::failure::outcome_unknown || error == quorlite::failure::fatal,
              "typed errors", "drop() says " + error.message());
      return;
    }
    if (!kept.is_open() || kept.to.lock() != here) {
      kept.close();
      kept = connect(all_, leader, name);
    }
    // A connection of its own: what the other one has in its caches stays there.
    if (const line writes = connect(all_, leader, name); writes.is_open()) {
      const std::string number = std::to_string(dice_.below(100));
      const std::uint64_t bytes = dice_.chance(0.5) ? 10 : dice_.below(20'000);
      static_cast<void>(run(writes.db, "CREATE TABLE IF NOT EXISTS s(a, b, c" + number + ")"));
      static_cast<void>(run(writes.db, "INSERT INTO s(a, b) VALUES(" + number + ", zeroblob(" +
                                           std::to_string(bytes) + "))"));
    }
    if (kept.is_open()) {
      static_cast<void>(ask(kept.db, "SELECT count(*), max(a) FROM s"));
    }
  }

  /// Two databases of one name, one after the other, that were changed as often and have as many
  /// pages: whoever has looked at the first one sees the second one all the same.
  void bear_twins(server_id leader, const std::string& name, line& kept) {
    const std::uint64_t first = later_dice_.below(1000);
    for (const std::uint64_t number : {first, first + 1}) {
      const std::shared_ptr<process> here = all_.cluster.running(leader);
      if (!here || here->replica().drop(name)) {
        return;
      }
      const line writes = connect(all_, leader, name);
      const std::string text = std::to_string(number);
      if (!writes.is_open() || run(writes.db, "CREATE TABLE s(a, c" + text + ")") != SQLITE_OK ||
          run(writes.db, "INSERT INTO s(a) VALUES(" + text + ")") != SQLITE_OK) {
        return;
      }
      if (!kept.is_open() || kept.to.lock() != here) {
        kept.close();
        kept = connect(all_, leader, name);
      }
      compare_with_new(all_, kept, leader, name, scratch_picture);
    }
  }

  /// Whoever is asked about a transaction may not know; what is said must be so.
  void ask_anybody(transaction& one) {
    if (one.id == quorlite::transaction_id{} || one.fate == fate::refused || !dice_.chance(0.2)) {
      return;
    }
    const std::vector<server_id> ids = all_.cluster.ids();
    const std::shared_ptr<process> here = all_.cluster.running(ids[dice_.below(ids.size())]);
    if (!here) {
      return;
    }
    switch (here->replica().outcome(one.id)) {
      case quorlite::transaction_outcome::committed: one.told.push_back(fate::acknowledged); break;
      case quorlite::transaction_outcome::not_committed: one.told.push_back(fate::refused); break;
      default: break;
    }
  }
  /// Asks a leader of a later term, behind a barrier: it knows.
  void resolve(transaction& one) {
    lines_.clear();
    for (int attempt = 0; attempt < 50; ++attempt) {
      const std::optional<server_id> leader = all_.cluster.leader();
      const std::shared_ptr<process> here = leader ? all_.cluster.running(*leader) : nullptr;
      if (here && here->replica().leader().leading && here->replica().leader().term > one.id.term &&
          !here->replica().read_barrier(milliseconds{3000})) {
        switch (here->replica().outcome(one.id)) {
          case quorlite::transaction_outcome::committed:
            one.resolved = fate::acknowledged;
            ++all_.resolved;
            return;
          case quorlite::transaction_outcome::not_committed:
            one.resolved = fate::refused;
            ++all_.resolved;
            return;
          default: break;  // leadership may have moved meanwhile
        }
      }
      all_.sleep(dice_.between(20, 200));
    }
  }

  shared& all_;
  random dice_;
  statement_maker make_;
  random later_dice_;     ///< for what came later: the rest of a seed stays what it was
  bool plain_ = false;    ///< nothing but transfers
  std::size_t much_ = 0;  ///< or but transactions of about so many bytes
  std::map<std::pair<std::uint64_t, std::size_t>, line> lines_;
  std::map<std::string, line> scratch_lines_;
};

class reader {
 public:
  reader(shared& all, std::uint64_t number)
      : all_(all), dice_(random{all.options().seed}.fork(0xE000 + number)) {}

  void operator()() {
    while (all_.transactions_left > 0) {
      all_.sleep(dice_.between(5, 200));
      const server_id id = somebody();
      const auto database = static_cast<std::size_t>(dice_.below(all_.options().work.databases));
      if (!line_.is_open() || line_.to.lock() != all_.cluster.running(at_) || dice_.chance(0.3)) {
        line_.close();
        line_ = connect(all_, id, database);
        at_ = id;
        database_ = database;
        prefix_ = 0;
      }
      if (line_.is_open()) {
        look();
      }
    }
    line_.close();
  }

 private:
  /// Any server; rather one that says that it leads, be it so or not.
  [[nodiscard]] server_id somebody() {
    const std::vector<server_id> ids = all_.cluster.ids();
    const server_id drawn = ids[dice_.below(ids.size())];
    if (dice_.chance(0.5)) {
      return drawn;
    }
    for (const server_id id : ids) {
      const std::shared_ptr<process> here = all_.cluster.running(id);
      if (here && here->replica().leader().leading) {
        return id;
      }
    }
    return drawn;
  }
  void look() {
    const std::shared_ptr<process> here = line_.to.lock();
    if (!here) {
      return;
    }
    observation seen;
    seen.database = database_;
    seen.begun = all_.record.moment();
    const std::uint64_t acknowledged = all_.record.acknowledged(database_);
    const in_time limit(all_, "read_barrier");
    const milliseconds patience{dice_.chance(0.3) ? dice_.between(0, 60) : 3000};
    seen.linearizable = dice_.chance(0.5) && barrier(*here, patience);
    limit.check();
    if (dice_.chance(0.02)) {
      compare_with_new(all_, line_, at_, shared::name_of(database_), picture);
    }
    const bool in_copy = dice_.chance(0.05);
    if (!(in_copy ? look_at_copy(seen) : look_at_database(seen))) {
      line_.close();
      return;
    }
    seen.ended = all_.record.moment();
    seen.applied = here->replica().applied().index;
    require(!seen.linearizable || seen.prefix >= acknowledged, "linearizable", [&] {
      return servers::name_of(at_) + " read " + std::to_string(seen.prefix) + " transactions of " +
             shared::name_of(database_) + " behind a barrier, and " + std::to_string(acknowledged) +
             " were acknowledged before";
    });
    require(seen.prefix >= prefix_, "monotonic", [&] {
      return "a connection saw " + std::to_string(prefix_) + " transactions, then " +
             std::to_string(seen.prefix);
    });
    prefix_ = seen.prefix;
    ++all_.reads;
    if (!in_copy && dice_.chance(0.2)) {  // What an open transaction reads stays
      all_.sleep(dice_.between(10, 1500));
      observation again;
      if (look_once(line_.db, again)) {
        require(again.prefix == seen.prefix && again.registers == seen.registers,
                "readers are stable", "an open transaction saw two states");
      }
    }
    all_.record.add(std::move(seen));
    static_cast<void>(run(line_.db, "ROLLBACK"));
  }
  /// Behind it nothing is missing, be it acknowledged or not. Who answers cannot know that before
  /// somebody else was asked, and has answered.
  [[nodiscard]] bool barrier(process& here, milliseconds patience) {
    const plan& options = all_.options();
    const std::uint64_t begun_us = all_.cluster.world().now_us();
    const quorlite::log_index committed = all_.cluster.newest_committed();
    const bool passed = !here.replica().read_barrier(patience);
    const std::uint64_t took_us = all_.cluster.world().now_us() - begun_us;
    const bool has_others = options.world.replicas > 1 && options.faults.membership == 0;
    const std::uint64_t there_and_back_us =
        2 * std::min<std::uint64_t>(options.world.network.delay_min_us, 500);
    require(!passed || !has_others || took_us >= there_and_back_us, "linearizable", [&] {
      return servers::name_of(at_) + " answered for a barrier after " + std::to_string(took_us) +
             " us, before anybody can have heard of it";
    });
    require(!here.replica().health().halted || is_told_of_halt(here, begun_us),
            "a halted server answers",
            [&] { return servers::name_of(at_) + " let somebody wait for a barrier"; });
    require(!passed || here.replica().applied().index >= committed, "linearizable", [&] {
      return servers::name_of(at_) + " answered for a barrier with " +
             std::to_string(here.replica().applied().index.value) + " applied, and " +
             std::to_string(committed.value) + " was committed before";
    });
    return passed;
  }
  /// Its engine may take its time to leave: whoever waits is answered by the machine.
  [[nodiscard]] bool is_told_of_halt(const process& here, std::uint64_t begun_us) {
    constexpr std::uint64_t at_once_us = 1000;
    const auto since_us = all_.cluster.halted_since_us(at_, here);
    return !since_us || all_.cluster.world().now_us() <= std::max(*since_us, begun_us) + at_once_us;
  }
  [[nodiscard]] bool look_at_database(observation& seen) {
    return run(line_.db, "BEGIN") == SQLITE_OK && look_once(line_.db, seen);
  }
  /// A backup is one state as well.
  [[nodiscard]] bool look_at_copy(observation& seen) {
    sqlite3* copy = nullptr;
    static_cast<void>(sqlite3_open(":memory:", &copy));
    const std::unique_ptr<sqlite3, int (*)(sqlite3*)> owned(copy, &sqlite3_close);
    sqlite3_backup* const steps = sqlite3_backup_init(copy, "main", line_.db.get(), "main");
    if (steps == nullptr) {
      check_code(sqlite3_extended_errcode(copy), line_.db);
      return false;
    }
    int code = SQLITE_OK;
    for (int step = 0; code == SQLITE_OK; ++step) {  // a commit in between begins it anew
      code = sqlite3_backup_step(steps, step < 20 ? 3 : -1);
      all_.sleep(dice_.between(0, 30));
    }
    static_cast<void>(sqlite3_backup_finish(steps));
    if (code != SQLITE_DONE) {
      check_code(code, line_.db);
      return false;
    }
    const std::string sound = ask(copy, "PRAGMA quick_check");
    require(sound == "ok", "atomic and isolated", "a backup is not sound: " + sound);
    return look_once(copy, seen);
  }
  [[nodiscard]] bool look_once(sqlite3* db, observation& seen) {
    const std::string counted =
        ask(db, "SELECT count(*), ifnull(max(n),0), ifnull((SELECT txn FROM log ORDER BY n DESC "
                "LIMIT 1), 0) FROM log");
    if (counted.empty() || counted[0] == '!') {
      return is_excused(counted);
    }
    seen.prefix = std::stoull(counted);
    seen.last = std::stoull(counted.substr(counted.rfind('|') + 1));
    const std::string prefix = std::to_string(seen.prefix);
    require(counted == prefix + "|" + prefix + "|" + std::to_string(seen.last),
            "atomic and isolated",
            [&] { return "the log of " + shared::name_of(database_) + " is " + counted; });
    const std::string sum = ask(db, "SELECT count(*), sum(balance) FROM accounts");
    if (sum[0] == '!') {
      return is_excused(sum);
    }
    require(sum == std::to_string(accounts) + "|" + std::to_string(accounts * opening_balance),
            "atomic and isolated",
            [&] { return "the accounts of " + shared::name_of(database_) + ": " + sum; });
    for (int key = 1; key <= registers; ++key) {
      const std::string value =
          ask(db, "SELECT txn FROM registers WHERE key=" + std::to_string(key));
      if (!value.empty() && value[0] == '!') {
        return is_excused(value);
      }
      seen.registers.emplace_back(key, value.empty() ? 0 : std::stoull(value));
    }
    return true;
  }
  /// A read fails where a disk fails, a replica stopped, or a database is not there yet.
  [[nodiscard]] bool is_excused(const std::string& said) const {
    const int code = said.empty() ? SQLITE_OK : std::stoi(said.substr(1));
    if (code != SQLITE_ERROR) {  // "no such table": this replica is behind the setup
      check_code(code, line_.db);
    }
    return false;
  }

  shared& all_;
  random dice_;
  line line_;
  server_id at_;
  std::size_t database_ = 0;
  std::uint64_t prefix_ = 0;
};

}  // namespace simulate
