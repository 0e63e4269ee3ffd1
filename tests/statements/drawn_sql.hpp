// SQL as sqllogictest has it, drawn from a seed: schemas, queries, changes, transactions. What it
// answers depends on the database alone, so two SQLites must answer alike; many statements fail,
// and those alike, too.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace statements {

/// Numbers out of a seed, the same everywhere.
class dice {
 public:
  explicit dice(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {  // splitmix64
    state_ += 0x9E37'79B9'7F4A'7C15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30U)) * 0xBF58'476D'1CE4'E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D0'49BB'1331'11EBU;
    return z ^ (z >> 31U);
  }
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  std::uint64_t between(std::uint64_t first, std::uint64_t last) {
    return first + below(last - first + 1);
  }
  bool chance(unsigned percent) { return below(100) < percent; }

 private:
  std::uint64_t state_;
};

/// A table or view that exists.
struct known_table {
  std::string schema, bare;
  std::vector<std::string> columns;
  std::uint64_t rows = 0;
  bool is_view = false;

  [[nodiscard]] std::string name() const { return schema + "." + bare; }
};

class sql_maker {
 public:
  explicit sql_maker(std::uint64_t seed) : dice_(seed) {}

  /// What there is now, so that most statements find what they name.
  void know(std::vector<known_table> tables) { tables_ = std::move(tables); }
  void know(bool in_transaction) { in_transaction_ = in_transaction; }

  [[nodiscard]] std::string statement() {
    const std::uint64_t kind = dice_.below(100);
    return kind < 38   ? query()
           : kind < 60 ? insertion()
           : kind < 71 ? update()
           : kind < 76 ? deletion()
           : kind < 86 ? transaction()
           : kind < 95 ? schema_change()
           : kind < 98 ? virtual_table()
                       : upkeep();
  }
  /// For a cursor that is left open.
  [[nodiscard]] std::string query() {
    columns_.clear();
    aliases_ = 0;
    if (dice_.chance(3)) {
      return one_of({"SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema",
                     "SELECT count(*) FROM sqlite_schema", "PRAGMA table_list",
                     "SELECT * FROM sqlite_stat1", "SELECT * FROM sqlite_sequence"});
    }
    return dice_.chance(7) ? with() + compound(2, 2) : compound(2, dice_.between(1, 4));
  }

 private:
  using words = std::vector<std::string>;

  // ---- small parts

  [[nodiscard]] std::string one_of(const words& some) { return some[dice_.below(some.size())]; }
  [[nodiscard]] std::string number(std::uint64_t first, std::uint64_t last) {
    return std::to_string(dice_.between(first, last));
  }
  /// Nothing, in so many of a hundred cases.
  [[nodiscard]] std::string maybe(unsigned percent, const std::string& text) {
    return dice_.chance(percent) ? text : "";
  }
  [[nodiscard]] std::string value() {
    switch (dice_.below(12)) {
      case 0: return "NULL";
      case 1: return one_of({"9223372036854775807", "-9223372036854775808", "4294967296", "0"});
      case 2: return one_of({"1.5", "-0.25", "1e300", "3.0", "-1e-5", "0.1"});
      case 3: return "x'" + one_of({"", "00", "ff", "616263", "deadbeef"}) + "'";
      case 4: return "zeroblob(" + number(0, dice_.chance(10) ? 9000 : 60) + ")";
      case 5:
        return "printf('%." + number(1, dice_.chance(10) ? 6000 : 40) + "c', '" +
               one_of({"a", "Z", "7"}) + "')";
      case 6: return one_of({"'abc'", "'ABC'", "'a b c'", "''", "'12'", "'1e2'", "' 3 '", "'ö€'"});
      case 7: return one_of({"'[1,2,{\"a\":3}]'", "'{\"a\":[4,null],\"b\":\"x\"}'", "'{bad'"});
      case 8: return "'" + one_of({"2020-02-29", "1999-12-31 23:59:59", "2459000.5"}) + "'";
      default: return maybe(20, "-") + number(0, 60);
    }
  }
  [[nodiscard]] std::string column() {
    return columns_.empty() || dice_.chance(1) ? one_of({"1", "'c'", "NULL", "rowid"})
                                               : one_of(columns_);
  }
  /// One that is written. Never the rowid: behind the largest one SQLite draws others at random.
  [[nodiscard]] std::string target() { return columns_.empty() ? "a" : one_of(columns_); }
  [[nodiscard]] known_table any_table() {
    return tables_.empty() || dice_.chance(1)
               ? known_table{"main", one_of({"t0", "t1", "v0", "nowhere"}), {"a", "b", "c"}}
               : tables_[dice_.below(tables_.size())];
  }
  /// One that can be written, but for a few.
  [[nodiscard]] known_table written_table() {
    known_table found = any_table();
    for (int i = 0; i < 3 && found.is_view; ++i) {
      found = any_table();
    }
    return found;
  }
  [[nodiscard]] std::string json_text() {
    return one_of({"'[1,2,{\"a\":3}]'", "'{\"a\":[4,null],\"b\":\"x\"}'", "'[]'", "'7'"});
  }
  [[nodiscard]] std::string collation() { return one_of({"NOCASE", "BINARY", "RTRIM"}); }

  // ---- expressions

  [[nodiscard]] std::string expression(int depth) {
    if (depth <= 0) {
      return dice_.chance(60) ? column() : value();
    }
    const int less = depth - 1;
    switch (dice_.below(16)) {
      case 0:
      case 1: return value();
      case 2:
      case 3: return column();
      case 4:
      case 5: return binary(less);
      case 6: return one_of({"NOT ", "-", "~", "+"}) + "(" + expression(less) + ")";
      case 7:
        return "(" + expression(less) + maybe(40, " NOT") + " BETWEEN " + value() + " AND " +
               value() + ")";
      case 8: return membership(less);
      case 9:
        return "CASE " + maybe(30, expression(less)) + " WHEN " + expression(less) + " THEN " +
               expression(less) + maybe(60, " ELSE " + expression(less)) + " END";
      case 10:
        return "CAST(" + expression(less) + " AS " +
               one_of({"INTEGER", "TEXT", "REAL", "BLOB", "NUMERIC"}) + ")";
      case 11: return "(" + expression(less) + " COLLATE " + collation() + ")";
      case 12: return scalar_subquery(less);
      default: return function(less);
    }
  }
  [[nodiscard]] std::string binary(int depth) {
    return "(" + expression(depth) + " " +
           one_of({"+",  "-", "*",  "/", "%",  "||",     "&",   "|",  "<<",   ">>",  "<",
                   "<=", "=", "<>", ">", "IS", "IS NOT", "AND", "OR", "LIKE", "GLOB"}) +
           " " + expression(depth) + ")";
  }
  [[nodiscard]] std::string membership(int depth) {
    const std::string left = "(" + expression(depth) + maybe(30, " NOT") + " IN (";
    if (dice_.chance(40)) {
      return left + subquery(depth, 1) + "))";
    }
    std::string list;
    for (std::uint64_t i = dice_.below(4); i > 0; --i) {
      list += value() + (i > 1 ? "," : "");
    }
    return left + list + "))";
  }
  [[nodiscard]] std::string scalar_subquery(int depth) {
    return dice_.chance(40) ? maybe(30, "NOT ") + "EXISTS (" + subquery(depth, 1) + ")"
                            : "(" + subquery(depth, 1) + ")";
  }
  [[nodiscard]] std::string function(int depth) {
    const std::string one = expression(depth);
    const std::string other = expression(0);
    switch (dice_.below(15)) {
      case 0:
        return one_of({"abs", "length", "lower", "upper", "hex", "quote", "typeof", "unicode",
                       "trim", "ltrim", "rtrim"}) +
               "(" + one + ")";
      case 1:
        return one_of({"coalesce", "ifnull", "nullif", "instr"}) + "(" + one + "," + other + ")";
      case 2: return one_of({"min", "max"}) + "(" + one + "," + other + "," + value() + ")";
      case 3: return "substr(" + one + "," + value() + maybe(60, "," + number(0, 9)) + ")";
      case 4: return "replace(" + one + ",'a'," + one_of({"''", "'bb'", "x'00'"}) + ")";
      case 5: return "round(" + one + maybe(50, "," + number(0, 5)) + ")";
      case 6: return "printf('" + one_of({"%d", "%5.2f|%s", "%q", "%x-%c"}) + "'," + one + ")";
      case 7:
        return one_of({"json", "json_type", "json_array_length"}) + "(" +
               (dice_.chance(95) ? json_text() : one) + ")";
      case 8:
        return "json_extract(" + json_text() + ",'$" + one_of({"", ".a", "[0]", "[#-1]"}) + "')";
      case 9: return one_of({"json_array", "json_object"}) + "('k',quote(" + one + "))";
      case 10:
        return one_of({"date", "time", "datetime", "julianday"}) + "(" + one + ",'" +
               one_of({"+1 day", "start of month", "-1 year", "weekday 0", "nonsense"}) + "')";
      case 11: return "strftime('%Y-%j %s'," + one + ")";
      case 12: return "iif(" + one + "," + other + "," + value() + ")";
      case 13: return "(" + json_text() + one_of({" -> ", " ->> "}) + "'$.a')";
      default: return "json_valid(" + one + ")";
    }
  }
  [[nodiscard]] std::string aggregate(int depth) {
    const std::string of = expression(depth);
    switch (dice_.below(8)) {
      case 0: return "count(*)";
      case 1: return "count(DISTINCT " + of + ")";
      case 2: return "group_concat(" + of + maybe(40, ",'|'") + ")";
      case 3: return "json_group_array(quote(" + of + "))";
      default:
        return one_of({"sum", "total", "avg", "min", "max", "count"}) + "(" + of + ")" +
               maybe(20, " FILTER (WHERE " + expression(depth) + ")");
    }
  }
  [[nodiscard]] std::string window() {
    const std::string of = column();
    return one_of({"row_number()", "rank()", "dense_rank()", "ntile(3)", "lag(" + of + ")",
                   "lead(" + of + ",2,0)", "first_value(" + of + ")", "sum(" + of + ")",
                   "nth_value(" + of + ",2)", "count(*)", "percent_rank()", "cume_dist()"}) +
           " OVER (" + maybe(50, "PARTITION BY " + column() + " ") + "ORDER BY " + column() +
           maybe(30, " DESC") +
           maybe(40, one_of({" ROWS", " RANGE", " GROUPS"}) +
                         one_of({" BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
                                 " BETWEEN 1 PRECEDING AND 1 FOLLOWING",
                                 " BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING"}) +
                         maybe(30, one_of({" EXCLUDE CURRENT ROW", " EXCLUDE TIES"}))) +
           ")";
  }

  // ---- queries

  /// What stands around it may be named inside, and nothing of it outside.
  [[nodiscard]] std::string subquery(int depth, std::uint64_t width) {
    const words outside = columns_;
    std::string made = compound(depth, width);
    columns_ = outside;
    return made;
  }
  [[nodiscard]] std::string source(int depth) {
    const std::string alias = "x" + std::to_string(aliases_++);
    const auto add = [&](const words& names) {
      for (const std::string& name : names) {
        columns_.push_back(alias + "." + name);
      }
    };
    if (depth > 0 && dice_.chance(12)) {
      const words outside = std::exchange(columns_, {});
      const std::string made = "(" + compound(depth - 1, 2) + ") AS " + alias;
      columns_ = outside;
      add({"c0", "c1"});
      return made;
    }
    if (dice_.chance(6)) {
      add({"key", "value", "type"});
      return one_of({"json_each", "json_tree"}) + "(" + json_text() + ") AS " + alias;
    }
    const known_table table = any_table();
    add(table.columns);
    return table.name() + " AS " + alias + maybe(4, " NOT INDEXED");
  }
  [[nodiscard]] std::string sources(int depth) {
    std::string made = source(depth);
    for (std::uint64_t more = dice_.chance(25) ? dice_.between(1, 2) : 0; more > 0; --more) {
      const std::string join = one_of({" JOIN ", " LEFT JOIN ", " CROSS JOIN ", " NATURAL JOIN "});
      made += join + source(0);
      made += maybe(join == " NATURAL JOIN " ? 0 : 80, " ON " + column() + " = " + column());
    }
    return made;
  }
  [[nodiscard]] std::string core(int depth, std::uint64_t width) {
    const words outside = columns_;
    const std::string from = dice_.chance(94) ? " FROM " + sources(depth) : "";
    const bool groups = dice_.chance(20);
    std::string list;
    for (std::uint64_t i = 0; i < width; ++i) {
      list += i == 0 ? "" : ", ";
      list += groups && dice_.chance(60)                ? aggregate(depth - 1)
              : !groups && width > 1 && dice_.chance(6) ? window()
                                                        : expression(depth);
      list += " AS c" + std::to_string(i);
    }
    std::string made = "SELECT " + maybe(10, "DISTINCT ") + list + from;
    made += maybe(55, " WHERE " + expression(depth));
    if (groups) {
      made += maybe(70, " GROUP BY " + column() + maybe(30, " HAVING " + aggregate(0)));
    }
    columns_ = outside;
    return made;
  }
  [[nodiscard]] std::string compound(int depth, std::uint64_t width) {
    if (depth > 0 && dice_.chance(3)) {
      return "VALUES(" + values(width) + "),(" + values(width) + ")";
    }
    std::string made = core(depth, width);
    if (dice_.chance(8)) {
      made +=
          one_of({" UNION ", " UNION ALL ", " INTERSECT ", " EXCEPT "}) + core(depth - 1, width);
    }
    made += maybe(50, " ORDER BY " + number(1, width) + maybe(30, " DESC") +
                          maybe(15, one_of({" NULLS LAST", " NULLS FIRST"})));
    return made + maybe(30, " LIMIT " + number(0, 9) + maybe(30, " OFFSET " + number(0, 4)));
  }
  [[nodiscard]] std::string with() {
    const std::string made =
        dice_.chance(50)
            ? "WITH RECURSIVE w(c0, c1) AS (SELECT 1, " + value() +
                  " UNION ALL SELECT c0 + 1, c1 || c0 FROM w WHERE c0 < " + number(1, 9) + ") "
            : "WITH w AS " + one_of({"", "MATERIALIZED ", "NOT MATERIALIZED "}) + "(" +
                  subquery(1, 2) + ") ";
    columns_.clear();
    return made + maybe(80, "SELECT * FROM w UNION ALL SELECT c1, c0 FROM w UNION ALL ");
  }
  [[nodiscard]] std::string values(std::uint64_t width) {
    std::string made;
    for (std::uint64_t i = 0; i < width; ++i) {
      made += (i == 0 ? "" : ", ") + value();
    }
    return made;
  }

  // ---- changes

  /// Nothing that grows each time it is read and written again.
  [[nodiscard]] std::string stored() {
    switch (dice_.below(5)) {
      case 0: return column();
      case 1: return "substr(" + expression(2) + ", 1, 300)";
      case 2: return "(" + expression(1) + ") + " + number(0, 9);
      default: return value();
    }
  }
  [[nodiscard]] std::string conflict() {
    return maybe(35, "OR " + one_of({"IGNORE", "REPLACE", "ABORT", "FAIL", "ROLLBACK"}) + " ");
  }
  [[nodiscard]] std::string returning(const known_table& table) {
    columns_ = table.columns;
    return maybe(15, " RETURNING " + one_of({"*", "rowid", expression(1)}));
  }
  [[nodiscard]] std::string condition(const known_table& table) {
    columns_ = table.columns;
    aliases_ = 0;
    return table.rows < 60 ? " WHERE " + expression(2) : "";
  }
  [[nodiscard]] std::string insertion() {
    const known_table table = written_table();
    columns_.clear();
    aliases_ = 0;
    if (table.rows > 60) {
      return "DELETE FROM " + table.name();
    }
    if (dice_.chance(2)) {
      return "INSERT INTO " + table.name() + " DEFAULT VALUES";
    }
    const std::uint64_t width =
        dice_.chance(99) ? std::max<std::size_t>(table.columns.size(), 1) : 2;
    std::string made = dice_.chance(10) ? "REPLACE INTO " : "INSERT " + conflict() + "INTO ";
    made += table.name() + " ";
    if (dice_.chance(15)) {
      const known_table from = any_table();
      columns_ = from.columns;
      made += "SELECT ";
      for (std::uint64_t i = 0; i < width; ++i) {
        made += i == 0 ? dice_.chance(90) ? "NULL" : stored() : ", " + stored();
      }
      made += " FROM " + from.name() + " WHERE " + expression(1) + " LIMIT " + number(1, 9);
    } else {
      made += "VALUES" + row(width);
      for (std::uint64_t more = dice_.below(3); more > 0; --more) {
        made += "," + row(width);
      }
    }
    columns_ = table.columns;
    if (dice_.chance(12)) {
      made += " ON CONFLICT" + maybe(40, "(" + (dice_.chance(80) ? "a" : target()) + ")") + " DO " +
              (dice_.chance(40) ? "NOTHING"
                                : "UPDATE SET " + target() + " = excluded." + target() +
                                      maybe(40, " WHERE " + expression(1)));
    }
    return made + returning(table);
  }
  /// The first column is often the rowid.
  [[nodiscard]] std::string row(std::uint64_t width) {
    std::string made = dice_.chance(5) ? value() : dice_.chance(30) ? "NULL" : number(0, 99);
    for (std::uint64_t i = 1; i < width; ++i) {
      made += ", " + value();
    }
    return "(" + made + ")";
  }
  [[nodiscard]] std::string update() {
    const known_table table = written_table();
    const std::string where = condition(table);
    std::string made =
        "UPDATE " + conflict() + table.name() + " SET " + target() + " = " + stored();
    made += maybe(40, ", " + target() + " = " + stored());
    if (dice_.chance(8)) {
      const known_table from = any_table();
      return made + " FROM " + from.name() + " AS y WHERE y." +
             (from.columns.empty() ? "a" : one_of(from.columns)) + " = " + table.bare + "." +
             target();
    }
    return made + where + returning(table);
  }
  [[nodiscard]] std::string deletion() {
    const known_table table = written_table();
    const std::string where = condition(table);
    return "DELETE FROM " + table.name() + where + returning(table);
  }
  [[nodiscard]] std::string transaction() {
    const std::string name = one_of({"s", "s", "r"});
    if (in_transaction_ == dice_.chance(96)) {
      return one_of({"COMMIT", "COMMIT", "COMMIT", "END", "ROLLBACK", "SAVEPOINT " + name,
                     "SAVEPOINT " + name, "RELEASE s", "ROLLBACK TO " + name});
    }
    return one_of({"BEGIN", "BEGIN", "BEGIN IMMEDIATE", "SAVEPOINT s"});
  }

  // ---- schemas

  [[nodiscard]] std::string table_name() {
    const std::string digit = number(0, 3);
    return dice_.chance(12) ? "aux.u" + digit : dice_.chance(8) ? "temp.k" + digit : "t" + digit;
  }
  [[nodiscard]] std::string column_definition(const std::string& name) {
    std::string made =
        name + " " + one_of({"", "INTEGER", "TEXT", "REAL", "BLOB", "NUMERIC", "VARCHAR(9)"});
    made += maybe(8, " NOT NULL") + maybe(12, " UNIQUE") + maybe(10, " DEFAULT " + number(0, 9));
    made += maybe(10, " COLLATE " + collation());
    made += maybe(8, " CHECK(" + name + " IS NOT " + number(0, 9) + ")");
    return made + maybe(6, " REFERENCES t" + number(0, 3) + maybe(60, " ON DELETE CASCADE"));
  }
  [[nodiscard]] std::string new_table() {
    const std::string start =
        "CREATE " + maybe(3, "TEMP ") + "TABLE " + maybe(40, "IF NOT EXISTS ") + table_name();
    if (dice_.chance(10)) {
      columns_.clear();
      aliases_ = 0;
      return start + " AS " + compound(1, 3);
    }
    const std::uint64_t kind = dice_.below(5);
    std::string made = start + "(a " +
                       (kind == 0   ? "INTEGER PRIMARY KEY CHECK(a < 1e12)"
                        : kind == 1 ? "INTEGER PRIMARY KEY AUTOINCREMENT"
                                    : "INT");
    for (const std::string name : {"b", "c", "d"}) {
      made += dice_.chance(85) ? ", " + column_definition(name) : "";
    }
    made += maybe(12, ", g AS (a + 1) " + one_of({"STORED", "VIRTUAL"}));
    made += kind == 3   ? ", PRIMARY KEY(a)) WITHOUT ROWID"
            : kind == 2 ? ", PRIMARY KEY(a, b))"
                        : ")";
    return made + maybe(4, kind == 3 ? ", STRICT" : " STRICT");
  }
  [[nodiscard]] std::string schema_change() {
    const known_table table = written_table();
    columns_ = table.columns;
    aliases_ = 0;
    const std::string digit = number(0, 4);
    switch (dice_.below(16)) {
      case 0:
      case 1:
      case 2:
      case 3: return new_table();
      case 4:
      case 5:
        return "CREATE " + maybe(25, "UNIQUE ") + "INDEX IF NOT EXISTS " + table.schema + ".i" +
               digit + " ON " + table.bare + "(" + column() + maybe(30, " DESC") +
               maybe(40, ", " + column()) + maybe(15, ", " + expression(1)) + ")" +
               maybe(20, " WHERE " + column() + " > 3");
      case 6: return "DROP INDEX IF EXISTS i" + digit;
      case 7: return "DROP TABLE IF EXISTS " + table_name();
      case 8: return view(digit);
      case 9:
      case 10: return trigger(table, digit);
      case 11: return "DROP TRIGGER IF EXISTS g" + digit;
      case 12:
        return "ALTER TABLE " + table.name() + " ADD COLUMN e" + digit + maybe(50, " DEFAULT 7");
      case 13:
        return "ALTER TABLE " + table.name() + " RENAME " +
               (dice_.chance(50) ? target() + " TO e" + digit : "TO t" + number(0, 3));
      case 14: return "ALTER TABLE " + table.name() + " DROP COLUMN " + target();
      default: return one_of({"REINDEX", "ANALYZE", "REINDEX " + table.name(), "ANALYZE t0"});
    }
  }
  [[nodiscard]] std::string view(const std::string& digit) {
    columns_.clear();
    return dice_.chance(30) ? "DROP VIEW IF EXISTS v" + digit
                            : "CREATE VIEW IF NOT EXISTS v" + digit + " AS " + compound(1, 2);
  }
  [[nodiscard]] std::string trigger(const known_table& table, const std::string& digit) {
    const std::string event = one_of({"INSERT", "UPDATE", "DELETE"});
    const std::string row = event == "DELETE" ? "old." : "new.";
    const std::string made = "CREATE TRIGGER IF NOT EXISTS " + table.schema + ".g" + digit +
                             (table.is_view ? " INSTEAD OF " : one_of({" AFTER ", " BEFORE "})) +
                             event + " ON " + table.bare +
                             maybe(40, " WHEN " + row + target() + " > 5") + " BEGIN ";
    const std::string mine = target();
    known_table other = written_table();
    for (int i = 0; i < 5 && other.schema != table.schema; ++i) {
      other = written_table();
    }
    columns_ = other.columns;
    const std::string theirs = target();
    const std::string does = one_of(
        {"UPDATE " + other.bare + " SET " + theirs + " = " + row + mine + " WHERE " + theirs +
             " = " + row + mine,
         "DELETE FROM " + other.bare + " WHERE " + theirs + " = " + row + mine,
         "INSERT OR IGNORE INTO " + other.bare + "(" + theirs + ") VALUES(" + row + mine + ")",
         "SELECT RAISE(" + one_of({"IGNORE", "ABORT, 'no'", "FAIL, 'no'", "ROLLBACK, 'no'"}) +
             ") WHERE " + row + mine + " = 7"});
    return made + does + "; END";
  }

  // ---- modules and upkeep

  [[nodiscard]] std::string virtual_table() {
    const std::string words_ = one_of({"one two", "two three three", "alpha", "beta two", ""});
    const std::string id = number(1, 40);
    switch (dice_.below(12)) {
      case 0: return "CREATE VIRTUAL TABLE IF NOT EXISTS f USING fts5(x, y)";
      case 1:
      case 2:
      case 3:
        return "INSERT INTO f(rowid, x, y) VALUES(" + id + ", '" + words_ + "', " + value() + ")";
      case 4: return "UPDATE f SET x = x || ' four' WHERE rowid = " + id;
      case 5: return "DELETE FROM f WHERE rowid % 5 = " + number(0, 4);
      case 6:
        return "SELECT rowid, highlight(f, 0, '<', '>'), round(bm25(f), 3) FROM f('" +
               one_of({"two", "tw*", "alpha OR three", "NEAR(one two)", "\"\"\"", "y:a*"}) +
               "') ORDER BY rank";
      case 7:
        return "INSERT INTO f(f) VALUES('" + one_of({"optimize", "rebuild", "integrity-check"}) +
               "')";
      case 8: return "CREATE VIRTUAL TABLE IF NOT EXISTS r USING rtree(id, x0, x1)";
      case 9: return "INSERT OR REPLACE INTO r VALUES(" + id + ", " + id + ", " + id + " + 5)";
      case 10: return "SELECT id, x0 FROM r WHERE x0 < " + id + " AND x1 > " + number(0, 40);
      default: return one_of({"DROP TABLE f", "DROP TABLE r", "DELETE FROM r WHERE id % 3 = 1"});
    }
  }
  [[nodiscard]] std::string upkeep() {
    switch (dice_.below(12)) {
      case 0: return "VACUUM" + maybe(20, " aux");
      case 1: return "PRAGMA user_version = " + number(0, 99);
      case 2: return "PRAGMA foreign_keys = " + number(0, 1);
      case 3: return "PRAGMA incremental_vacuum(" + number(0, 9) + ")";
      case 4: return "PRAGMA reverse_unordered_selects = " + number(0, 1);
      case 5: return "PRAGMA cache_size = " + one_of({"5", "10", "200", "-100"});
      case 6: return "PRAGMA auto_vacuum = " + number(0, 2);
      case 7:
        return "PRAGMA " + one_of({"defer_foreign_keys", "recursive_triggers"}) + " = " +
               number(0, 1);
      case 8: return "PRAGMA case_sensitive_like = " + number(0, 1);
      default:
        return "PRAGMA " + one_of({"integrity_check", "foreign_key_check", "page_count",
                                   "freelist_count", "user_version", "quick_check", "auto_vacuum",
                                   "encoding", "page_size", "optimize", "application_id"});
    }
  }

  dice dice_;
  std::vector<known_table> tables_;
  words columns_;  // that the place where we are may name
  std::uint64_t aliases_ = 0;
  bool in_transaction_ = false;
};

}  // namespace statements
