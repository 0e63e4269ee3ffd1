// The whole library as most programs have it: the engine that comes with it, databases in files.
#include "quorlite/quorlite.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/storage/file.hpp"

int main(int count, char** arguments) {
  if (count != 3) {
    return 2;
  }
  quorlite::libraft_options options{
      .id = quorlite::server_id{1}, .address = arguments[1], .directory = arguments[2]};
  options.found = true;
  quorlite::file_storage storage{options.directory + "/databases"};
  quorlite::libraft raft{options};
  auto replica = quorlite::replica::start(raft, storage);
  return replica && replica->open("app.db") ? 0 : 1;
}
