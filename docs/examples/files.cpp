/// @file
/// A replica whose database is an ordinary SQLite file: written, ended, and read by plain SQLite.

#include <sqlite3.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "quorlite/quorlite.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/testing/test_raft.hpp"

// [readme]
using quorlite::testing::test_raft;

struct server {
  server(quorlite::testing::simulation& cluster, std::uint64_t id, const std::string& folder)
      : raft{cluster, quorlite::server_id{id}},
        storage{folder},
        replica{quorlite::replica::start(raft, storage).value()} {}
  test_raft raft;
  quorlite::file_storage storage;  // folder/app.db is app.db
  quorlite::replica replica;
};
// [/readme]

static int print_row(void*, int, char** row, char**) { return std::puts(row[0]) < 0 ? 1 : 0; }

int main() {
  char folder[] = "/tmp/quorlite-files-XXXXXX";
  if (mkdtemp(folder) == nullptr) {
    return 1;
  }
  const std::string data = std::string(folder) + "/1";
  int code = SQLITE_ERROR;
  {
    quorlite::testing::simulation cluster{{.replicas = 1}};
    server one{cluster, 1, data};
    cluster.run_until([&] { return cluster.leader().has_value(); }, quorlite::milliseconds{5000});
    quorlite::connection db = one.replica.open("app.db").value();
    const char* const sql = "CREATE TABLE note(text); INSERT INTO note VALUES('hello')";
    code = sqlite3_exec(db, sql, nullptr, nullptr, nullptr);
    if (one.replica.stop()) {  // flushes
      return 1;
    }
  }  // the storage ends, and only now its files are databases for everybody
  sqlite3* plain = nullptr;
  code = code == SQLITE_OK ? sqlite3_open((data + "/app.db").c_str(), &plain) : code;
  code = code == SQLITE_OK
             ? sqlite3_exec(plain, "SELECT text FROM note", print_row, nullptr, nullptr)
             : code;
  sqlite3_close(plain);
  const std::string remove = "rm -r " + std::string(folder);
  return std::system(remove.c_str()) == 0 && code == SQLITE_OK ? 0 : 1;
}
