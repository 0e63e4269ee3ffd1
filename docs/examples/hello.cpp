/// @file
/// The shortest whole program: three replicas in this process, one writes, all of them read.

#include <sqlite3.h>

#include <cstdint>
#include <cstdio>

#include "quorlite/quorlite.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/testing/test_raft.hpp"

static int print_row(void*, int, char** row, char**) { return std::puts(row[0]) < 0 ? 1 : 0; }

// [readme]
using quorlite::testing::test_raft;

struct server {  // an engine, a place for the pages, and the replica that joins them
  server(quorlite::testing::simulation& cluster, std::uint64_t id)
      : raft{cluster, quorlite::server_id{id}},
        replica{quorlite::replica::start(raft, storage).value()} {}
  test_raft raft;
  quorlite::memory_storage storage;
  quorlite::replica replica;
};

int main() {
  quorlite::testing::simulation cluster{{.replicas = 3}};  // a network in this thread
  server servers[] = {{cluster, 1}, {cluster, 2}, {cluster, 3}};
  cluster.run_until([&] { return cluster.leader().has_value(); }, quorlite::milliseconds{5000});

  server& leader = servers[cluster.leader().value().value - 1];
  quorlite::connection db = leader.replica.open("app.db").value();  // owns an ordinary sqlite3*
  const char* const sql = "CREATE TABLE note(text); INSERT INTO note VALUES('hello')";
  const int code = sqlite3_exec(db, sql, {}, {}, {});  // SQLITE_OK: two of the three have it

  cluster.run_for(quorlite::milliseconds{100});  // the others hear of it
  for (server& each : servers) {
    quorlite::connection reader = each.replica.open("app.db").value();
    sqlite3_exec(reader, "SELECT text FROM note", print_row, {}, {});
  }
  return code == SQLITE_OK ? 0 : 1;
}
// [/readme]
