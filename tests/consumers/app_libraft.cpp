// A user's program with the adapter for libraft: it links, and an engine can be made and dropped.

#include <cstdio>
#include <quorlite/raft/libraft.hpp>

int main() {
  quorlite::libraft_options options;
  options.id = quorlite::server_id{1};
  options.address = "127.0.0.1:9001";
  options.directory = "nowhere";
  const quorlite::libraft raft(options);
  std::printf("quorlite: a libraft engine, stopped\n");
  return raft.status().role == quorlite::libraft_role::stopped ? 0 : 1;
}
