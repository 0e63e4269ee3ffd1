/// @file
/// SQLiteCpp over a replicated database: a wrapper that takes SQLite's file names opens ours.

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdio>
#include <string>
#include <system_error>

#include "quorlite/quorlite.hpp"
#include "quorlite/testing/simulation.hpp"

namespace {

// [open]
SQLite::Database open(const quorlite::replica& replica, const std::string& name) {
  const int flags = SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE | SQLite::OPEN_URI;
  SQLite::Database db("file:" + name + "?vfs=" + replica.vfs_name(), flags);
  if (const std::error_code error = replica.set_up(db.getHandle())) {
    throw std::system_error(error);
  }
  return db;
}
// [/open]

/// @returns SQLite's extended code
int code_of(SQLite::Database& db, const char* sql) {
  try {
    db.exec(sql);
    return SQLite::OK;
  } catch (const SQLite::Exception& thrown) {
    const std::string why = db.execAndGet("PRAGMA quorlite_error").getString();
    std::printf("%d, %s: %s\n", thrown.getExtendedErrorCode(), thrown.what(), why.c_str());
    return thrown.getExtendedErrorCode();
  }
}

}  // namespace

int main() {
  quorlite::testing::replica_cluster cluster{{.replicas = 3}};
  const quorlite::server_id leader = cluster.wait_for_leader().value();
  {
    SQLite::Database db = open(cluster.replica(leader), "app.db");
    SQLite::Transaction transaction(db);
    db.exec("CREATE TABLE note(text)");
    SQLite::Statement insert(db, "INSERT INTO note VALUES(?)");
    insert.bind(1, "hello");
    insert.exec();
    transaction.commit();  // two of the three have it, or this throws
  }
  bool good = cluster.wait_until_even();
  for (const quorlite::server_id server : cluster.servers()) {
    SQLite::Database db = open(cluster.replica(server), "app.db");
    good = good && db.execAndGet("SELECT text FROM note").getString() == "hello";
    const int expected = server == leader ? SQLite::OK : quorlite::sqlite_not_leader;
    good = good && code_of(db, "INSERT INTO note VALUES('again')") == expected;
  }
  return good ? 0 : 1;
}
