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

#include "history.hpp"
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
  std::uint64_t refused = 0;
  std::uint64_t resolved = 0;
  std::uint64_t reads = 0;

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
            std::string(call_) + " took " + std::to_string(took) + " ms");
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

[[nodiscard]] inline line connect(shared& all, server_id id, std::size_t database) {
  line made;
  const std::shared_ptr<process> here = all.cluster.running(id);
  made.to = here;
  if (!here) {
    return made;
  }
  quorlite::connection_options options;
  options.page_size = all.options().page_size;
  options.busy_timeout = milliseconds{300};
  if (auto opened = here->replica().open(shared::name_of(database), options)) {
    made.db = std::move(*opened);
    static_cast<void>(
        run(made.db, "PRAGMA cache_size=" + std::to_string(all.options().cache_pages)));
  } else {
    made.why = opened.error();
  }
  return made;
}

/// What may go wrong has a code of ours, or one that SQLite has for it.
inline void check_code(int code, const connection& db) {
  switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_IOERR:
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_SCHEMA: return;
    case SQLITE_CORRUPT:  // a damaged page of the base: the replica halts, and is asked why
      if (db.last_error() == quorlite::errc::corrupt) {
        return;
      }
      [[fallthrough]];
    default:
      throw violation("typed errors",
                      "SQLite said " + std::to_string(code) + ": " + db.error_message());
  }
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
        make_(random{all.options().seed}.fork(0xD000 + number)) {}

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
  }

  /// With nothing in the way, a database takes a transaction over a connection and one in a group.
  /// @returns false: not of this server, or not in time
  [[nodiscard]] bool is_welcome(server_id leader, std::size_t database) {
    plain_ = true;
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
      one.statements.push_back(
          {"INSERT INTO o.log(txn) VALUES(" + number + ")", SQLITE_OK, {}, true});
    } else if (dice_.chance(0.01 * work.large_percent)) {
      sql = make_.large(dice_.between(20'000, 200'000));
    } else if (dice_.chance(0.01 * work.statements_percent)) {
      sql = make_.any();
      // SQLite looks at a stale schema for some errors (a column that is there already), but not
      // once a statement has run.
      sql.insert(sql.begin(), "SELECT 1 FROM sqlite_schema");
      one.may_fail = true;
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
    }
    const std::optional<std::size_t> other = attach(to, database);
    transaction& one = all_.record.begin(database);
    one.other = other;
    choose_work(one);
    // A statement that fails to be prepared begins no transaction: behind a plain BEGIN it would
    // tell of an earlier state than the rest.
    int code = run(to.db, one.may_fail || dice_.chance(0.7) ? "BEGIN IMMEDIATE" : "BEGIN");
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
      finish(one, code, to, one.id != before);
    } else {
      all_.end(one, fate::refused);  // COMMIT was never said
      ++all_.refused;
      if (code != SQLITE_OK && !is_of_sql(code)) {
        check_code(code, to.db);
      }
    }
    static_cast<void>(run(to.db, "ROLLBACK"));
    require(sqlite3_get_autocommit(to.db) != 0, "typed errors", "a transaction does not end");
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
    if (dice_.chance(0.4)) {
      const std::error_code error = here->replica().drop(name);
      require(!error || fate_of(error) == fate::refused ||
                  error == quorlite::failure::outcome_unknown || error == quorlite::failure::fatal,
              "typed errors", "drop() says " + error.message());
      return;
    }
    if (auto opened = here->replica().open(name)) {
      static_cast<void>(run(*opened, "CREATE TABLE IF NOT EXISTS s(a, b)"));
      static_cast<void>(run(*opened, "INSERT INTO s VALUES(randomblob(0), zeroblob(" +
                                         std::to_string(dice_.below(20'000)) + "))"));
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
  bool plain_ = false;    ///< nothing but transfers
  std::size_t much_ = 0;  ///< or but transactions of about so many bytes
  std::map<std::pair<std::uint64_t, std::size_t>, line> lines_;
};

class reader {
 public:
  reader(shared& all, std::uint64_t number)
      : all_(all), dice_(random{all.options().seed}.fork(0xE000 + number)) {}

  void operator()() {
    while (all_.transactions_left > 0) {
      all_.sleep(dice_.between(5, 150));
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
    seen.linearizable = dice_.chance(0.5) && !here->replica().read_barrier(patience);
    limit.check();
    const bool in_copy = dice_.chance(0.05);
    if (!(in_copy ? look_at_copy(seen) : look_at_database(seen))) {
      line_.close();
      return;
    }
    seen.ended = all_.record.moment();
    seen.applied = here->replica().applied().index;
    require(!seen.linearizable || seen.prefix >= acknowledged, "linearizable",
            servers::name_of(at_) + " read " + std::to_string(seen.prefix) + " transactions of " +
                shared::name_of(database_) + " behind a barrier, and " +
                std::to_string(acknowledged) + " were acknowledged before");
    require(seen.prefix >= prefix_, "monotonic",
            "a connection saw " + std::to_string(prefix_) + " transactions, then " +
                std::to_string(seen.prefix));
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
    const std::string counted = ask(db, "SELECT count(*), ifnull(max(n),0) FROM log");
    if (counted.empty() || counted[0] == '!') {
      return is_excused(counted);
    }
    seen.prefix = std::stoull(counted);
    require(counted == std::to_string(seen.prefix) + "|" + std::to_string(seen.prefix),
            "atomic and isolated", "the log of " + shared::name_of(database_) + " is " + counted);
    const std::string sum = ask(db, "SELECT count(*), sum(balance) FROM accounts");
    if (sum[0] == '!') {
      return is_excused(sum);
    }
    require(sum == std::to_string(accounts) + "|" + std::to_string(accounts * opening_balance),
            "atomic and isolated", "the accounts of " + shared::name_of(database_) + ": " + sum);
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
