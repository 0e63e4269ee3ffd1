// Random SQL on a replica's connection and on plain SQLite beside it, statement by statement: both
// must answer alike, to the last word. See --help.
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "quorlite/quorlite.hpp"
#include "quorlite/storage/memory.hpp"
#include "statements/drawn_sql.hpp"
#include "support/lone_engine.hpp"

namespace {

using namespace quorlite;
using quorlite::tests::lone_engine;
using statements::dice;
using statements::known_table;
using statements::sql_maker;

constexpr const char* usage =
    R"(usage: statements [--statements N] [--seed S] [--round N] [--spoil N] [--show] [--json]

Draws SQL statements, runs each on a replica's connection and on plain SQLite, and compares result
code, message, names of columns, rows with their types, sqlite3_changes(), sqlite3_total_changes(),
sqlite3_last_insert_rowid(), and whether a transaction is open; also rows of cursors that stay open
over other statements. Each round has new databases of another page size and auto_vacuum; plain is a
file in one half of them and in memory in the other. At its end both are checked and compared whole.

  --statements N  how many (default: 20000)
  --seed S        the first round's; the same build draws the same again (default: 1)
  --round N       statements in a round (default: 1000)
  --spoil N       the Nth statement is another one on the replica: that must be found
  --show          each statement with its result code, as they run
  --json          the counts as an object

Exit status: 0 none differs, 1 some do, 2 it cannot be said.
)";

struct arguments {
  std::uint64_t statements = 20000, seed = 1, round = 1000, spoil = 0;
  bool show = false, json = false;
};

/// All that a statement answers.
struct answer {
  int code = SQLITE_OK;
  std::string message, rows;
  std::int64_t changes = 0, total = 0, rowid = 0;
  bool autocommit = true;

  bool operator==(const answer&) const = default;
  [[nodiscard]] std::string text() const {
    return std::to_string(code) + " (" + message + "), " + std::to_string(changes) + " of " +
           std::to_string(total) + " changes, rowid " + std::to_string(rowid) +
           (autocommit ? "" : ", in a transaction") + "; rows: " + rows.substr(0, 4000);
  }
};

void add_value(std::string& to, sqlite3_stmt* of, int column) {
  static constexpr char letters[] = "?irtb-";
  const int type = sqlite3_column_type(of, column);
  to += letters[type];
  if (type != SQLITE_NULL) {
    const auto* const bytes = static_cast<const char*>(
        type == SQLITE_BLOB ? sqlite3_column_blob(of, column)
                            : static_cast<const void*>(sqlite3_column_text(of, column)));
    to.append(bytes == nullptr ? "" : bytes,
              static_cast<std::size_t>(sqlite3_column_bytes(of, column)));
  }
  to += '|';
}

/// One connection, what it was asked, and the cursor that it has open.
class side {
 public:
  explicit side(sqlite3* db) : db_(db) {
    sqlite3_extended_result_codes(db, 1);
    sqlite3_limit(db, SQLITE_LIMIT_TRIGGER_DEPTH, 4);
    sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 200'000);
    // A query that does not end is ended, after as many steps on both sides.
    sqlite3_progress_handler(
        db, 1000, [](void* left) { return --*static_cast<int*>(left) < 0 ? 1 : 0; }, &steps_left_);
  }
  side(const side&) = delete;
  side& operator=(const side&) = delete;
  ~side() { sqlite3_finalize(open_); }

  [[nodiscard]] sqlite3* db() const { return db_; }
  [[nodiscard]] bool has_cursor() const { return open_ != nullptr; }

  answer run(const std::string& sql) {
    answer made;
    sqlite3_stmt* statement = nullptr;
    steps_left_ = most_steps;
    made.code = sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr);
    if (made.code == SQLITE_OK) {
      made.code = step(statement, made.rows, 100'000);
    }
    look(made);
    sqlite3_finalize(statement);
    return made;
  }
  /// A cursor that stays open behind some rows.
  answer open(const std::string& sql) {
    answer made;
    steps_left_ = most_steps;
    made.code = sqlite3_prepare_v2(db_, sql.c_str(), -1, &open_, nullptr);
    return made.code == SQLITE_OK ? go_on() : made;
  }
  /// Some more rows of it.
  answer go_on() {
    answer made;
    steps_left_ = most_steps;
    made.code = step(open_, made.rows, 2);
    look(made);
    if (made.code != SQLITE_ROW) {
      close();
    }
    return made;
  }
  void close() {
    sqlite3_finalize(open_);
    open_ = nullptr;
  }

 private:
  static constexpr int most_steps = 3000;

  static int step(sqlite3_stmt* statement, std::string& rows, int most) {
    const int columns = sqlite3_column_count(statement);
    for (int i = 0; i < columns; ++i) {
      rows += std::string(sqlite3_column_name(statement, i)) + '|';
    }
    int code = SQLITE_ROW;
    for (int i = 0; i < most && code == SQLITE_ROW; ++i) {
      code = sqlite3_step(statement);
      rows += '\n';
      for (int column = 0; code == SQLITE_ROW && column < columns; ++column) {
        add_value(rows, statement, column);
      }
    }
    return code;
  }
  void look(answer& into) const {
    const bool failed = into.code != SQLITE_ROW && into.code != SQLITE_DONE;
    into.message = failed ? sqlite3_errmsg(db_) : "";  // else it is that of whatever was before
    into.changes = sqlite3_changes(db_);
    into.total = sqlite3_total_changes(db_);
    into.rowid = sqlite3_last_insert_rowid(db_);
    into.autocommit = sqlite3_get_autocommit(db_) != 0;
  }

  sqlite3* const db_;
  sqlite3_stmt* open_ = nullptr;
  int steps_left_ = 0;
};

struct counts {
  std::uint64_t statements = 0, failed = 0, rows = 0, cursors = 0, rounds = 0, different = 0;
  std::map<std::string, std::uint64_t> by_verb;
};

/// Databases of one round, on both sides.
class round_of_two {
 public:
  round_of_two(replica& node, std::uint64_t seed, const arguments& how, counts& sum)
      : how_(how),
        sum_(sum),
        seed_(seed),
        dice_(seed),
        maker_(dice_.next()),
        page_size_(512U << dice_.below(8)) {
    const std::string number = std::to_string(seed);
    ours_ = node.open("r" + number + ".db", {.page_size = page_size_}).value();
    const bool in_memory = dice_.chance(50);
    folder_ = in_memory ? ""
                        : std::filesystem::temp_directory_path() /
                              ("quorlite-statements-" + std::to_string(::getpid()));
    if (!in_memory) {
      std::filesystem::create_directories(folder_);
    }
    const std::string main = in_memory ? ":memory:" : (folder_ / "main.db").string();
    if (sqlite3_open(main.c_str(), &plain_) != SQLITE_OK) {
      std::fprintf(stderr, "%s: %s\n", main.c_str(), sqlite3_errmsg(plain_));
      std::exit(2);
    }
    left_ = std::make_unique<side>(ours_.get());
    right_ = std::make_unique<side>(plain_);
    left_->run("ATTACH 's" + number + ".db' AS aux");
    right_->run("ATTACH '" + (in_memory ? main : (folder_ / "aux.db").string()) + "' AS aux");
    right_->run("PRAGMA page_size = " + std::to_string(page_size_));
    set_up();
  }
  round_of_two(const round_of_two&) = delete;
  round_of_two& operator=(const round_of_two&) = delete;
  ~round_of_two() {
    left_.reset();
    right_.reset();
    sqlite3_close(plain_);
    if (!folder_.empty()) {
      std::filesystem::remove_all(folder_);
    }
  }

  /// False if an answer differs: what comes after it would differ as well.
  bool run() {
    ++sum_.rounds;
    for (std::uint64_t i = 0; i < how_.round && sum_.statements < how_.statements; ++i) {
      if (i % 20 == 0) {
        look_around();
      }
      if (!next()) {
        return false;
      }
    }
    return ends_alike();
  }

 private:
  void set_up() {
    const std::string vacuum = std::to_string(dice_.below(3));
    for (side* const one : {left_.get(), right_.get()}) {
      // What a build may have otherwise, and what only a file has.
      one->run("PRAGMA aux.synchronous = FULL");
      one->run("PRAGMA aux.page_size = " + std::to_string(page_size_));
      one->run("PRAGMA main.auto_vacuum = " + vacuum);
      one->run("PRAGMA aux.auto_vacuum = " + vacuum);
    }
    // The plain side need not outlive the machine.
    right_->run("PRAGMA main.synchronous = OFF");
    right_->run("PRAGMA aux.synchronous = OFF");
    for (const std::string sql :
         {"CREATE TABLE t0(a INTEGER PRIMARY KEY CHECK(a < 1e12), b, c TEXT)",
          "CREATE TABLE t1(a INT, b, c, d)",
          "CREATE TABLE t2(a PRIMARY KEY, b, c UNIQUE) WITHOUT ROWID",
          "CREATE TABLE aux.u0(a INTEGER PRIMARY KEY CHECK(a < 1e12), b, c)"}) {
      left_->run(sql);
      right_->run(sql);
    }
  }

  /// What there is, as the plain side says. The other one is asked as well: what is asked may make
  /// SQLite load a schema again.
  void look_around() {
    std::vector<known_table> found;
    for (sqlite3* const db : {ours_.get(), plain_}) {
      found = tables_of(db);
    }
    maker_.know(std::move(found));
  }
  static std::vector<known_table> tables_of(sqlite3* db) {
    std::map<std::string, known_table> found;
    const auto add = [](void* to, int, char** row, char**) {
      auto& tables = *static_cast<std::map<std::string, known_table>*>(to);
      known_table& table = tables[std::string(row[0]) + "." + row[1]];
      table.schema = row[0];
      table.bare = row[1];
      table.is_view = std::string_view(row[3]) == "view";
      table.columns.emplace_back(row[2]);
      return 0;
    };
    for (const std::string schema : {"main", "aux", "temp"}) {
      const std::string sql = "SELECT '" + schema + "', m.name, p.name, m.type FROM " + schema +
                              ".sqlite_schema m, pragma_table_info(m.name, '" + schema +
                              "') p WHERE m.type IN ('table', 'view') AND m.name NOT LIKE "
                              "'sqlite%' AND m.name NOT GLOB '[fr]*'";
      sqlite3_exec(db, sql.c_str(), add, &found, nullptr);
    }
    std::vector<known_table> tables;
    for (auto& [name, table] : found) {
      const auto count = [](void* to, int, char** row, char**) {
        *static_cast<std::uint64_t*>(to) = std::strtoull(row[0], nullptr, 10);
        return 0;
      };
      sqlite3_exec(db, ("SELECT count(*) FROM " + name).c_str(), count, &table.rows, nullptr);
      tables.push_back(std::move(table));
    }
    return tables;
  }

  bool next() {
    ++sum_.statements;
    const bool spoilt = sum_.statements == how_.spoil;
    if (left_->has_cursor() && dice_.chance(15)) {
      if (dice_.chance(10)) {
        left_->close();
        right_->close();
        return true;
      }
      return compare("more rows of: " + cursor_, left_->go_on(), right_->go_on());
    }
    if (!left_->has_cursor() && dice_.chance(2)) {
      ++sum_.cursors;
      cursor_ = maker_.query();
      const answer ours = left_->open(cursor_);
      return compare("first rows of: " + cursor_, ours, right_->open(cursor_));
    }
    maker_.know(sqlite3_get_autocommit(plain_) == 0);
    const std::string sql = maker_.statement();
    ++sum_.by_verb[sql.substr(0, sql.find_first_of(" ("))];
    const answer ours = left_->run(spoilt ? "SELECT 'spoilt'" : sql);
    return compare(sql, ours, right_->run(sql));
  }

  bool compare(const std::string& sql, const answer& ours, const answer& plain) {
    if (how_.show) {
      std::printf("%d\t%s\t%s\n", plain.code, plain.message.c_str(), sql.c_str());
    }
    sum_.failed += plain.code != SQLITE_DONE && plain.code != SQLITE_ROW ? 1 : 0;
    sum_.rows += static_cast<std::uint64_t>(std::count(plain.rows.begin(), plain.rows.end(), '\n'));
    if (ours == plain) {
      return true;
    }
    ++sum_.different;
    std::printf("statement %llu, round of seed %llu, differs: %s\n  replica: %s\n  plain:   %s\n",
                static_cast<unsigned long long>(sum_.statements),
                static_cast<unsigned long long>(seed_), sql.c_str(), ours.text().c_str(),
                plain.text().c_str());
    return false;
  }

  bool ends_alike() {
    left_->close();
    right_->close();
    const answer committed = left_->run("COMMIT");
    if (!compare("at the end: COMMIT", committed, right_->run("COMMIT"))) {
      return false;
    }
    look_around();
    std::vector<std::string> asked = {"ROLLBACK"};
    for (const std::string schema : {"main", "aux"}) {
      asked.push_back("PRAGMA " + schema + ".integrity_check");
      asked.push_back("PRAGMA " + schema + ".page_count");
      asked.push_back("PRAGMA " + schema + ".freelist_count");
      asked.push_back("SELECT * FROM " + schema + ".sqlite_schema");
    }
    std::vector<std::string> names;
    for (sqlite3* const db : {ours_.get(), plain_}) {
      const auto add = [](void* to, int, char** row, char**) {
        static_cast<std::vector<std::string>*>(to)->emplace_back(row[0]);
        return 0;
      };
      names.clear();
      sqlite3_exec(db,
                   "SELECT 'main.\"' || name || '\"' FROM main.sqlite_schema WHERE type = 'table' "
                   "UNION ALL SELECT 'aux.\"' || name || '\"' FROM aux.sqlite_schema WHERE type = "
                   "'table'",
                   add, &names, nullptr);
    }
    for (const std::string& name : names) {
      asked.push_back("SELECT * FROM " + name);
    }
    return std::all_of(asked.begin(), asked.end(), [this](const std::string& sql) {
      const answer ours = left_->run(sql);
      return compare("at the end: " + sql, ours, right_->run(sql));
    });
  }

  const arguments& how_;
  counts& sum_;
  const std::uint64_t seed_;
  dice dice_;
  sql_maker maker_;
  const std::uint32_t page_size_;
  connection ours_;
  std::filesystem::path folder_;
  sqlite3* plain_ = nullptr;
  std::unique_ptr<side> left_, right_;
  std::string cursor_;
};

arguments read(int count, char** words) {
  arguments how;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    std::uint64_t* const number = word == "--statements" ? &how.statements
                                  : word == "--seed"     ? &how.seed
                                  : word == "--round"    ? &how.round
                                  : word == "--spoil"    ? &how.spoil
                                                         : nullptr;
    if (number != nullptr && i + 1 < count) {
      *number = std::strtoull(words[++i], nullptr, 10);
    } else if (word == "--show") {
      how.show = true;
    } else if (word == "--json") {
      how.json = true;
    } else {
      const bool asked = word == "--help" || word == "-h";
      std::fputs(usage, asked ? stdout : stderr);
      std::exit(asked ? 0 : 2);
    }
  }
  return how;
}

void tell(const counts& sum, const arguments& how) {
  const auto number = [](std::uint64_t of) { return std::to_string(of); };
  if (how.json) {
    std::string verbs;
    for (const auto& [verb, times] : sum.by_verb) {
      verbs += (verbs.empty() ? "\"" : ", \"") + verb + "\": " + number(times);
    }
    std::printf("{\"sqlite\": \"%s\", \"seed\": %s, \"statements\": %s, \"different\": %s, "
                "\"failed_alike\": %s, \"rows\": %s, \"cursors\": %s, \"rounds\": %s, "
                "\"by_verb\": {%s}}\n",
                sqlite3_libversion(), number(how.seed).c_str(), number(sum.statements).c_str(),
                number(sum.different).c_str(), number(sum.failed).c_str(), number(sum.rows).c_str(),
                number(sum.cursors).c_str(), number(sum.rounds).c_str(), verbs.c_str());
    return;
  }
  std::printf("SQLite %s: %s statements (%s of them failed, %s rows, %s cursors), %s differ\n",
              sqlite3_libversion(), number(sum.statements).c_str(), number(sum.failed).c_str(),
              number(sum.rows).c_str(), number(sum.cursors).c_str(), number(sum.different).c_str());
}

}  // namespace

int main(int count, char** words) {
  const arguments how = read(count, words);
  sqlite3_initialize();
  counts sum;
  std::uint64_t seed = how.seed;
  std::uint64_t told = 0;
  while (sum.statements < how.statements && sum.different < 20) {
    lone_engine engine;
    memory_storage storage;
    replica node = replica::start(engine, storage).value();
    for (int i = 0; i < 20 && sum.statements < how.statements && sum.different < 20; ++i) {
      round_of_two(node, seed++, how, sum).run();
    }
    if (sum.statements - told >= 50'000) {
      told = sum.statements;
      std::fprintf(stderr, "%llu of %llu statements, %llu differ\n",
                   static_cast<unsigned long long>(told),
                   static_cast<unsigned long long>(how.statements),
                   static_cast<unsigned long long>(sum.different));
    }
  }
  tell(sum, how);
  return sum.different == 0 ? 0 : 1;
}
