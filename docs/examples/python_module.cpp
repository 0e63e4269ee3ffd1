/// @file
/// A module for from_python.py: it runs replicas inside a Python process, whose sqlite3 opens their
/// databases by name. A real one would start its server here, as one_server.cpp does.

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>

#include "quorlite/quorlite.hpp"
#include "quorlite/testing/simulation.hpp"

namespace {

std::unique_ptr<quorlite::testing::replica_cluster> cluster;
std::string vfs_name;

// [set_up]
/// SQLite calls it as each connection of the process has been opened. Those of other databases stay
/// as they are.
int set_up_new(sqlite3* db, char**, const sqlite3_api_routines*) {
  for (const quorlite::server_id server : cluster->servers()) {
    const std::error_code error = cluster->replica(server).set_up(db);
    if (error != quorlite::errc::unsupported) {  // which it is for whoever has another database
      return error ? SQLITE_ERROR : SQLITE_OK;
    }
  }
  return SQLITE_OK;
}
// [/set_up]

}  // namespace

extern "C" {

/// @returns how many replicas run, numbered from 1
[[gnu::visibility("default")]] std::uint32_t example_start() {
  cluster = std::make_unique<quorlite::testing::replica_cluster>(
      quorlite::testing::simulation_options{.replicas = 3});
  sqlite3_auto_extension(reinterpret_cast<void (*)()>(&set_up_new));
  return cluster->wait_for_leader() ? 3 : 0;
}

[[gnu::visibility("default")]] std::uint64_t example_leader() {
  return cluster->wait_for_leader().value_or(quorlite::server_id{}).value;
}

/// Of a replica. Valid until the next call.
[[gnu::visibility("default")]] const char* example_vfs_name(std::uint64_t number) {
  vfs_name = cluster->replica(quorlite::server_id{number}).vfs_name();
  return vfs_name.c_str();
}

/// Until all have what any one has.
[[gnu::visibility("default")]] int example_settle() { return cluster->wait_until_even() ? 1 : 0; }

/// @pre no connection is open
[[gnu::visibility("default")]] void example_stop() {
  sqlite3_cancel_auto_extension(reinterpret_cast<void (*)()>(&set_up_new));
  cluster.reset();
}

}  // extern "C"
