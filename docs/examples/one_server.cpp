/// @file
/// One server over libraft, with its databases in files: what a program does that is no test.
/// `one_server DIRECTORY ADDRESS --found` begins, adds a row and prints how many there are.
/// Without --found it goes on where it was. More servers start with `join` in place of `found`, and
/// are taken in by its add() and promote().

#include <sqlite3.h>

#include <chrono>
#include <cstdio>
#include <string>

#include "quorlite/quorlite.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/storage/file.hpp"

static int print_row(void*, int, char** row, char**) { return std::puts(row[0]) < 0 ? 1 : 0; }

static int add_a_row(const std::string& directory, const std::string& address, bool founds) {
  // [readme]
  quorlite::file_storage storage{directory + "/databases"};
  quorlite::libraft raft{{.id = quorlite::server_id{1},
                          .address = address,  // "127.0.0.1:9001"
                          .directory = directory + "/raft",
                          .found = founds}};  // once in the life of a cluster
  quorlite::replica replica = quorlite::replica::start(raft, storage).value();

  quorlite::leader_info known = replica.leader();
  while (!known.leading && replica.wait_for_leadership_change(known, std::chrono::seconds{10})) {
    known = replica.leader();
  }
  quorlite::connection db = replica.open("app.db").value();
  const char* const sql = "CREATE TABLE IF NOT EXISTS note(text); INSERT INTO note VALUES('hello')";
  const int code = sqlite3_exec(db, sql, {}, {}, {});  // SQLITE_OK: a quorum has it on its disks
  // [/readme]
  sqlite3_exec(db, "SELECT count(*) FROM note", print_row, {}, {});
  return code;
}

int main(int count, char** arguments) {
  const bool founds = count == 4 && std::string(arguments[3]) == "--found";
  if (count != 3 && !founds) {
    std::fputs("usage: one_server DIRECTORY ADDRESS [--found]\n", stderr);
    return 2;
  }
  return add_a_row(arguments[1], arguments[2], founds) == SQLITE_OK ? 0 : 1;
}
