// What the writers of golden folders put into their databases. It is the same in every run, and it
// may change for new cases: what is there already says itself what is in it.
#pragma once

#include <string>

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

inline std::string numbers(int from, int to) {
  return "(WITH RECURSIVE n(i) AS (SELECT " + std::to_string(from) +
         " UNION ALL SELECT i + 1 FROM n WHERE i < " + std::to_string(to) + ") SELECT i FROM n)";
}

// The tables of "app.db".
inline const char* const app_schema =
    "PRAGMA user_version = 7; PRAGMA application_id = 1903;"
    "CREATE TABLE note(id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL, number REAL,"
    " raw BLOB, long AS (length(text)) STORED);"
    "CREATE INDEX note_text ON note(text COLLATE NOCASE, number DESC);"
    "CREATE TABLE pair(a TEXT, b INTEGER, c, PRIMARY KEY(a, b)) WITHOUT ROWID;"
    "CREATE TABLE heard(id INTEGER PRIMARY KEY, what TEXT) STRICT;"
    "CREATE VIEW long_note AS SELECT id, long FROM note WHERE long > 20;"
    "CREATE TRIGGER hears AFTER INSERT ON note BEGIN"
    " INSERT INTO heard(what) VALUES('note ' || new.id); END;";

// Rows `from` to `to`, with every type, NULLs, long values that need pages of their own.
inline std::string app_rows(int from, int to) {
  const std::string some = numbers(from, to);
  return "INSERT INTO note(text, number, raw) SELECT printf('note %d, äöü %.*c', i, i % 30, 'x'),"
         " CASE i % 4 WHEN 0 THEN NULL ELSE i / 8.0 END,"
         " CASE i % 9 WHEN 0 THEN zeroblob(3000 + i) WHEN 1 THEN NULL"
         " ELSE CAST(printf('raw %08d', i * 7919) AS BLOB) END FROM " +
         some +
         ";INSERT INTO pair SELECT printf('%c', 97 + i % 5), i, CASE i % 3 WHEN 0 THEN i * 1e17"
         " WHEN 1 THEN -i ELSE printf('c%.*c', 200 + i, 'y') END FROM " +
         some + ";";
}

// Zeroes what it deletes.
inline std::string app_changes(int from, int to) {
  const std::string some = " BETWEEN " + std::to_string(from) + " AND " + std::to_string(to) + ";";
  return "PRAGMA secure_delete = ON; UPDATE note SET number = id * 2, text = text || '!' WHERE id" +
         some + "UPDATE note SET raw = NULL WHERE raw IS NOT NULL AND length(raw) > 100 AND id" +
         some + "DELETE FROM pair WHERE b % 2 = 1 AND b" + some;
}

// "small.db": pages of 512 bytes that come and go. On a connection that says the page size.
inline const char* const small_schema =
    "PRAGMA auto_vacuum = FULL; CREATE TABLE t(k INTEGER PRIMARY KEY, v);";

inline std::string small_rows(int from, int to) {
  return "INSERT INTO t(v) SELECT printf('%d %.*c', i, 40 + i * 13 % 700, 'z') FROM " +
         numbers(from, to) + ";";
}

inline const char* const small_cut = "DELETE FROM t WHERE k % 4 > 0;";

// "words.db": needs FTS5.
inline const char* const words_schema = "CREATE VIRTUAL TABLE words USING fts5(text);";

inline std::string words_rows(int from, int to) {
  return "INSERT INTO words SELECT printf('word%d is not word%d', i, i + 1) FROM " +
         numbers(from, to) + ";";
}

// "wide.db": UTF-16.
inline const char* const wide_schema =
    "PRAGMA encoding = 'UTF-16le'; CREATE TABLE w(a, b);"
    "INSERT INTO w VALUES('äöü', 1.5), ('ü', x'00ff'), (17, NULL);";

}  // namespace quorlite::tests
