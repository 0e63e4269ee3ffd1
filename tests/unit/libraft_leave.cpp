// A server over libraft that has no room leaves, and comes back: on a real folder, with some of the
// calls answered here that the engine makes of the system.

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <system_error>
#include <utility>

#include "catch2_shim.hpp"
#include "quorlite/adapter_kit.hpp"
#include "quorlite/detail/file_storage/basic_file_storage.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "support/libraft_cluster.hpp"
#include "support/started_replica.hpp"

namespace {

std::atomic<int> room_answer{0};    ///< errno of every allocation; 0: it is done
std::atomic<int> listen_answer{0};  ///< errno of every listen(); 0: it is done
std::atomic<std::uint64_t> room_told{~std::uint64_t{0}};  ///< what every disk says that it has

/// Called by whoever listens, before the answer.
std::function<void()>& on_listen() {
  static std::function<void()> hook;
  return hook;
}

}  // namespace

extern "C" {

int listen(int file, int backlog) noexcept {
  if (on_listen()) {
    on_listen()();
  }
  if (listen_answer != 0) {
    errno = listen_answer;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_listen, file, backlog));
}

int fallocate(int file, int mode, off_t offset, off_t size) {
  if (room_answer != 0) {
    errno = room_answer;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fallocate, file, mode, offset, size));
}

// By the name that libraft calls, as in tests/cluster/failing_calls.cpp.
int fallocate_as_libraft(int file, off_t offset, off_t size) asm("posix_fallocate");
int fallocate_as_libraft(int file, off_t offset, off_t size) {
  if (room_answer != 0) {
    return room_answer;
  }
  return ::syscall(SYS_fallocate, file, 0, offset, size) == 0 ? 0 : errno;
}

int statvfs(const char*, struct statvfs* told) noexcept {
  *told = {};
  told->f_frsize = 1;
  told->f_blocks = ~std::uint64_t{0};
  told->f_bavail = room_told;
  return 0;
}
}

namespace {

using namespace quorlite;
using quorlite::testing::faulty_disk;
using quorlite::testing::faulty_file_system;
using quorlite::tests::libraft_places;
using quorlite::tests::started_replica;
using quorlite::tests::wait_until;
using storage_type = quorlite::detail::basic_file_storage<faulty_file_system>;
using node_type = started_replica<libraft, storage_type>;

constexpr std::uint64_t mib = std::uint64_t{1} << 20U;

/// One server alone. Its log is on a real disk; its databases are on one that can be full.
class lone_server {
 public:
  explicit lone_server(const libraft_options& options)
      : raft(options), node(raft, storage_, {.flush_bytes = ~std::uint64_t{0}}) {
    REQUIRE_FALSE(node.status());
    REQUIRE(wait_until([&] { return node.leader().leading; }));
    REQUIRE(run("CREATE TABLE t(k INTEGER PRIMARY KEY, v)") == SQLITE_OK);
  }
  lone_server(const lone_server&) = delete;
  lone_server& operator=(const lone_server&) = delete;
  ~lone_server() {
    room_answer = 0;
    listen_answer = 0;
    room_told = ~std::uint64_t{0};
    on_listen() = nullptr;
  }

  int run(const std::string& sql) {
    auto db = node.open("app.db");
    REQUIRE(db.has_value());
    return sqlite3_exec(*db, sql.c_str(), nullptr, nullptr, nullptr);
  }
  [[nodiscard]] bool is_away() const {
    return raft.engine_error() == errc::storage_full && raft.status().role == libraft_role::stopped;
  }
  /// As replica::maintain() asks, and as often as it takes.
  [[nodiscard]] bool comes_back() {
    return wait_until([&] { return !raft.come_back(); }) &&
           wait_until([&] { return node.leader().leading; });
  }

  faulty_disk disk;

 private:
  storage_type storage_{faulty_file_system{disk}};

 public:
  libraft raft;
  node_type node;
};

libraft_options options_in(const libraft_places& places) {
  libraft_options options = places.options(0);
  options.bootstrap.clear();
  options.found = true;
  return options;
}

struct counted_task final : background_task {
  void run() noexcept override { ++runs; }
  std::atomic<int> runs{0};
};

}  // namespace

TEST_CASE("a start that fails on the way back loses no task, no caller, and not the reason") {
  const libraft_places places(1);
  lone_server one(options_in(places));
  one.raft.leave(make_error_code(errc::storage_full));
  REQUIRE(wait_until([&] { return one.is_away(); }));
  counted_task task;
  std::error_code told;
  std::error_code answer;
  bool is_first = true;
  on_listen() = [&] {  // on the new engine's thread, whose start is under way
    if (std::exchange(is_first, false)) {
      told = one.raft.engine_error();
      one.raft.run(task);
      answer = one.raft.transfer(server_id{7});
    }
  };
  listen_answer = EADDRINUSE;
  REQUIRE(wait_until([&] { return one.raft.come_back() == std::errc::address_in_use; }));
  CHECK_FALSE(is_first);
  CHECK(told == errc::storage_full);
  CHECK(task.runs == 1);
  CHECK(answer == errc::stopped);
  CHECK(one.raft.engine_error() == errc::storage_full);  // what the system refuses may pass
  listen_answer = 0;
  REQUIRE(one.comes_back());
  CHECK(one.run("INSERT INTO t(v) VALUES(1)") == SQLITE_OK);
}

TEST_CASE("a withdrawal behind a start that failed on the way back is told to who is there") {
  const libraft_places places(1);
  lone_server one(options_in(places));
  one.raft.leave(make_error_code(errc::storage_full));
  REQUIRE(wait_until([&] { return one.is_away(); }));
  listen_answer = EADDRINUSE;
  REQUIRE(wait_until([&] { return one.raft.come_back() == std::errc::address_in_use; }));
  one.raft.withdraw();
  CHECK_FALSE(one.raft.status().leading);
  listen_answer = 0;
}

TEST_CASE("a server that is away tells a barrier that there is no room, not that it was stopped") {
  const libraft_places places(1);
  const errc why = GENERATE(errc::storage_full, errc::out_of_memory);
  lone_server one(options_in(places));
  one.raft.leave(make_error_code(why));
  REQUIRE(wait_until([&] { return one.raft.status().role == libraft_role::stopped; }));
  CHECK(one.node.read_barrier() == why);
  std::error_code meanwhile;
  on_listen() = [&] { meanwhile = one.node.read_barrier(); };  // neither engine takes anything
  REQUIRE(one.comes_back());
  CHECK(meanwhile == why);
  CHECK_FALSE(one.node.read_barrier());
  one.node.stop();
}

TEST_CASE("a server comes back on the state that it has, though its databases find no room") {
  const libraft_places places(1);
  lone_server one(options_in(places));
  one.raft.compact();
  REQUIRE(wait_until([&] {
    REQUIRE(one.run("INSERT INTO t(v) VALUES(1)") == SQLITE_OK);
    return one.raft.status().counters.snapshots_taken != 0;
  }));
  REQUIRE(one.run("INSERT INTO t(v) VALUES(2)") == SQLITE_OK);
  REQUIRE(one.node.metrics().durable.index == log_index{});
  one.raft.leave(make_error_code(errc::storage_full));
  REQUIRE(wait_until([&] { return one.is_away(); }));
  const log_position before = one.node.applied();
  const std::uint64_t calls = one.disk.calls();
  one.disk.full_from(calls + 1);
  for (int times = 0; times < 2; ++times) {
    REQUIRE(one.comes_back());
    CHECK(one.disk.calls() == calls);
    CHECK(one.run("INSERT INTO t(v) VALUES(3)") == SQLITE_OK);
    CHECK(one.node.applied().index > before.index);
    one.raft.leave(make_error_code(errc::storage_full));
    REQUIRE(wait_until([&] { return one.is_away(); }));
  }
  one.disk.heal();
  REQUIRE(one.comes_back());
  CHECK_FALSE(one.node.flush());
  CHECK(one.node.metrics().durable == one.node.applied());
}

TEST_CASE("a server leaves before the next two segments of its log find no room") {
  const libraft_places places(1);
  libraft_options options = options_in(places);
  options.segment_bytes = 16 * mib;
  const bool is_more = GENERATE(false, true);
  options.room_bytes = is_more ? 40 * mib : mib;
  const std::uint64_t least = is_more ? 40 * mib : 32 * mib;
  lone_server one(options);
  room_told = least;
  CHECK_FALSE(wait_until([&] { return one.is_away(); }, 400));
  room_told = least - 1;
  REQUIRE(wait_until([&] { return one.is_away(); }));
  room_told = least + 64 * mib - 1;
  CHECK(one.raft.come_back() == errc::storage_full);
  room_told = least + 64 * mib;
  CHECK(one.comes_back());
}

TEST_CASE("a quota is a full disk: a server whose log meets it is away, and back when it may") {
  const libraft_places places(1);
  lone_server one(options_in(places));
  room_answer = EDQUOT;
  REQUIRE(wait_until([&] {
    static_cast<void>(one.run("INSERT INTO t(v) VALUES(randomblob(1000000))"));
    return one.is_away() || one.raft.engine_error() == errc::storage_broken;
  }));
  CHECK(one.raft.engine_error() == errc::storage_full);
  bool has_listened = false;
  on_listen() = [&] { has_listened = true; };
  CHECK(one.raft.come_back() == errc::storage_full);  // though the disk says that it has room
  CHECK_FALSE(has_listened);
  room_answer = 0;
  REQUIRE(one.comes_back());
  CHECK(one.run("INSERT INTO t(v) VALUES(1)") == SQLITE_OK);
}
