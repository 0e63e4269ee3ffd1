// A user's program, built by tests/consumers/run_consumer.py from nothing but an installed library
// or a subproject: three replicas in one process, one row, read everywhere.

#include <sqlite3.h>

#include <cstdio>
#include <optional>
#include <quorlite/quorlite.hpp>
#include <quorlite/testing/simulation.hpp>

int main() {
  quorlite::testing::replica_cluster cluster({.seed = 1, .replicas = 3});
  const std::optional<quorlite::server_id> leader = cluster.wait_for_leader();
  if (!leader) {
    return 1;
  }
  const quorlite::connection db = cluster.connect(*leader);
  const char* const sql = "CREATE TABLE t(x); INSERT INTO t VALUES(1)";
  if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    std::fprintf(stderr, "%s\n", db.error_message().c_str());
    return 1;
  }
  if (!cluster.wait_until_even() || !cluster.are_identical()) {
    return 1;
  }
  std::printf("quorlite %d.%d.%d: three replicas are identical\n", QUORLITE_VERSION_MAJOR,
              QUORLITE_VERSION_MINOR, QUORLITE_VERSION_PATCH);
  return 0;
}
