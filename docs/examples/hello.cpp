/// @file
/// The shortest whole program: three replicas in this process, one writes, all of them read.

#include <sqlite3.h>

#include <cstdio>

#include "quorlite/quorlite.hpp"
#include "quorlite/testing/simulation.hpp"

static int print_row(void*, int, char** row, char**) { return std::puts(row[0]) < 0 ? 1 : 0; }

// [readme]
int main() {
  quorlite::testing::replica_cluster cluster{{.replicas = 3}};  // servers, network, all in here
  const quorlite::server_id leader = cluster.wait_for_leader().value();

  quorlite::connection db = cluster.connect(leader, "app.db");  // owns an ordinary sqlite3*
  const char* const sql = "CREATE TABLE note(text); INSERT INTO note VALUES('hello')";
  const int code = sqlite3_exec(db, sql, {}, {}, {});  // SQLITE_OK: two of the three have it

  const bool even = cluster.wait_until_even();  // the third has it, too
  for (const quorlite::server_id server : cluster.servers()) {
    quorlite::connection reader = cluster.connect(server, "app.db");
    sqlite3_exec(reader, "SELECT text FROM note", print_row, {}, {});
  }
  return code == SQLITE_OK && even ? 0 : 1;
}
// [/readme]
