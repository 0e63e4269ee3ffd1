// However the disk fails under libraft, its server can be stopped, also where the kernel refuses a
// write (io_submit), which 0.15 takes and then waits for, and while the log is being cut, for which
// 0.15 does not wait.

#include <dlfcn.h>
#include <sqlite3.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <list>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "catch2_shim.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/io.hpp"
#include "quorlite/detail/libraft/transport.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/memory.hpp"
#include "support/libraft_cluster.hpp"
#include "support/sql.hpp"
#include "support/started_replica.hpp"
#include "support/temporary_directory.hpp"

namespace {

/// So many writes are submitted, then one is refused, and all later ones go on. Below 0: none is.
std::atomic<int> writes_until_refusal{-1};
std::atomic<int> refusals{0};

/// A closed file of a log is removed after so long, and one is being removed: libraft does when it
/// cuts its log.
std::atomic<int> removal_ms{0};
std::atomic<bool> is_removing{false};
/// What this thread syncs fails.
thread_local bool syncs_fail = false;

}  // namespace

extern "C" {

/// Stands before the C library's: a number and up to six words. libraft calls io_submit through it.
long syscall(long number, ...) noexcept {
  using plain_syscall = long (*)(long, ...);
  static const auto plain = reinterpret_cast<plain_syscall>(::dlsym(RTLD_NEXT, "syscall"));
  va_list list;
  va_start(list, number);
  long words[6];
  for (long& word : words) {
    word = va_arg(list, long);
  }
  va_end(list);
  if (number == SYS_io_submit && writes_until_refusal.fetch_sub(1) == 0) {
    ++refusals;
    errno = EIO;
    return -1;
  }
  return plain(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

/// Stand before the C library's, too: libuv calls them.
int unlink(const char* path) noexcept {
  static const auto plain = reinterpret_cast<int (*)(const char*)>(::dlsym(RTLD_NEXT, "unlink"));
  const std::string name = std::filesystem::path(path).filename();
  if (removal_ms == 0 || name.find('-') != 16) {
    return plain(path);
  }
  is_removing = true;
  std::this_thread::sleep_for(std::chrono::milliseconds(removal_ms));
  const int code = plain(path);
  is_removing = false;
  return code;
}
int fsync(int file) {
  static const auto plain = reinterpret_cast<int (*)(int)>(::dlsym(RTLD_NEXT, "fsync"));
  if (syncs_fail) {
    errno = EIO;
    return -1;
  }
  return plain(file);
}

/// What an engine that was left behind held is lost, as its adapter says.
const char* __lsan_default_suppressions() { return "leak:libraft\n"; }
}

namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::tests::libraft_places;
using quorlite::tests::wait_until;
using node_type = quorlite::tests::started_replica<libraft, memory_storage>;

struct server {
  explicit server(const libraft_options& options) : raft(options) {
    node.emplace(raft, storage, replica_options{.commit_timeout = milliseconds{1000}});
  }
  /// On a thread of its own: one that does not end is a failure, not a test that hangs.
  bool ends() {
    std::atomic<bool> ended{false};
    std::thread stopping([&] {
      static_cast<void>(node->stop());
      node.reset();
      ended = true;
    });
    if (!wait_until([&] { return ended.load(); }, 40'000)) {
      std::fputs("a server does not stop\n", stderr);
      std::_Exit(1);
    }
    stopping.join();
    return true;
  }

  memory_storage storage;
  libraft raft;
  std::optional<node_type> node;
};

}  // namespace

TEST_CASE("a server whose kernel refuses a write of the log says so, and can be stopped") {
  for (int nth = 0; nth < 4; ++nth) {
    INFO("write " << nth);
    const libraft_places places(1);
    writes_until_refusal = -1;
    server one(places.options(0));
    REQUIRE(!one.node->status());
    REQUIRE(wait_until([&] { return one.node->leader().leading; }));
    {
      const connection db = one.node->open("app.db").value();
      REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
      refusals = 0;
      writes_until_refusal = nth;
      for (int i = 0; i < 8 && one.raft.engine_error() == std::error_code{}; ++i) {
        static_cast<void>(run(db, "INSERT INTO t VALUES(1)"));
      }
      writes_until_refusal = -1;
    }
    CHECK(refusals == 1);
    CHECK(wait_until([&] { return one.raft.engine_error() == errc::storage_broken; }));
    CHECK(one.node->health().engine == errc::storage_broken);
    CHECK_FALSE(one.node->health().ok());
    CHECK_FALSE(one.node->leader().leading);
    CHECK_FALSE(one.raft.status().leading);
    CHECK(one.ends());
  }
}

TEST_CASE("a server whose folder is removed acknowledges nothing for long, and says so") {
  const libraft_places places(1);
  libraft_options options = places.options(0);
  options.bootstrap.clear();
  options.found = true;
  server one(options);
  REQUIRE(wait_until([&] { return one.node->leader().leading; }));
  {
    const connection db = one.node->open("app.db").value();
    REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
    // The engine makes and renames files meanwhile, which remove_all() does not survive.
    const std::string removal = "rm -rf '" + options.directory + "'";
    REQUIRE(wait_until([&] {
      return std::system(removal.c_str()) == 0 && !std::filesystem::exists(options.directory);
    }));
    CHECK(wait_until([&] {
      static_cast<void>(run(db, "INSERT INTO t VALUES(1)"));
      return one.raft.engine_error() == errc::storage_broken;
    }));
    CHECK(run(db, "INSERT INTO t VALUES(2)") != SQLITE_OK);
  }
  CHECK(std::string(one.raft.status().error_why).find("was removed while it ran") !=
        std::string::npos);
  CHECK_FALSE(one.node->health().ok());
  CHECK(one.ends());
}

TEST_CASE("a leader whose kernel refuses a write is followed by another one") {
  const libraft_places places(3);
  writes_until_refusal = -1;
  std::optional<server> servers[3];
  for (std::size_t i = 0; i < 3; ++i) {
    servers[i].emplace(places.options(i));
    REQUIRE(!servers[i]->node->status());
  }
  const auto leader = [&]() -> std::optional<std::size_t> {
    for (std::size_t i = 0; i < 3; ++i) {
      if (servers[i]->node->leader().leading) {
        return i;
      }
    }
    return std::nullopt;
  };
  REQUIRE(wait_until([&] { return leader().has_value(); }));
  const std::size_t first = *leader();
  {
    const connection db = servers[first]->node->open("app.db").value();
    REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
    refusals = 0;
    writes_until_refusal = 0;  // of whichever server comes next
    static_cast<void>(run(db, "INSERT INTO t VALUES(1)"));
  }
  REQUIRE(wait_until([&] { return refusals == 1; }));
  CHECK(wait_until([&] {
    const auto now = leader();  // the first one, until it has noticed
    if (!now) {
      return false;
    }
    const result<connection> db = servers[*now]->node->open("app.db");
    return db && run(*db, "INSERT INTO t VALUES(2)") == SQLITE_OK;
  }));
  for (auto& one : servers) {
    CHECK(one->ends());
  }
}

namespace {

/// The disk of an engine on a loop of this thread, and the guard before it. The test says in the
/// place of the engine what is appended and what is cut.
class guarded_disk : public libraft_io_listener {
 public:
  explicit guarded_disk(std::string directory)
      : directory_(std::move(directory)), guard(directory_, std::size_t{1} << 20U) {
    const bool is_new = std::filesystem::create_directory(directory_);
    const auto addresses = quorlite::tests::free_addresses(2);
    fsm_.version = 1;
    fsm_.data = this;
    REQUIRE(uv_loop_init(&loop_) == 0);
    REQUIRE(raft_uv_tcp_init(&tcp_, &loop_) == 0);
    REQUIRE(raft_uv_init(&io, &loop_, directory_.c_str(), &tcp_) == 0);
    io.version = 2;
    REQUIRE(raft_init(&engine_, &io, &fsm_, 1, addresses[0].c_str()) == 0);
    raft_set_election_timeout(&engine_, 60'000);
    raft_set_heartbeat_timeout(&engine_, 20);
    guard.attach(engine_, *this);
    raft_configuration members{};
    raft_configuration_init(&members);
    for (std::size_t i = 0; i < 2; ++i) {
      REQUIRE(raft_configuration_add(&members, i + 1, addresses[i].c_str(), RAFT_VOTER) == 0);
    }
    REQUIRE(raft_bootstrap(&engine_, &members) == (is_new ? 0 : RAFT_CANTBOOTSTRAP));
    raft_configuration_close(&members);
    REQUIRE(raft_start(&engine_) == 0);
    REQUIRE(guard.begin() == 0);
  }
  ~guarded_disk() {
    if (closed) {
      raft_uv_close(&io);
      raft_uv_tcp_close(&tcp_);
      CHECK(uv_loop_close(&loop_) == 0);
    }
  }

  struct append {
    raft_io_append request{};
    raft_entry entry{};
    alignas(8) char bytes[8] = "entry";
    bool answered = false;
  };
  append& add(raft_term in_term) {
    append& one = appends_.emplace_back();
    one.request.data = &one;
    one.entry.term = in_term;
    one.entry.type = RAFT_COMMAND;
    one.entry.buf = {one.bytes, sizeof one.bytes};
    REQUIRE(io.append(&io, &one.request, &one.entry, 1, [](raft_io_append* done, int) {
      static_cast<append*>(done->data)->answered = true;
    }) == 0);
    return one;
  }
  /// Entries 2 and 3 are there, and a thread of the pool removes the second one.
  void be_cut() {
    add(1);
    const append& last = add(1);
    REQUIRE(run_until([&] { return last.answered; }));
    removal_ms = 300;
    REQUIRE(io.truncate(&io, 3) == 0);
    REQUIRE(run_until([] { return is_removing.load(); }));
  }
  void close() {
    raft_close(&engine_, [](::raft* engine) {
      auto& self = *static_cast<guarded_disk*>(engine->fsm->data);
      self.closed = true;
      self.closed_while_cut = is_removing;
    });
  }
  template <class Condition>
  bool run_until(Condition condition, int ms = 10'000) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
    while (!condition() && std::chrono::steady_clock::now() < end) {
      uv_run(&loop_, UV_RUN_NOWAIT);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return condition();
  }
  [[nodiscard]] const raft_log& log() const noexcept { return engine_.log; }
  [[nodiscard]] bool has(const char* name) const {
    return std::filesystem::exists(directory_ + '/' + name);
  }

  [[nodiscard]] bool log_loaded(const libraft_loaded_log&) noexcept override { return true; }
  [[nodiscard]] bool members_loaded() noexcept override { return true; }
  [[nodiscard]] bool admits(const raft_message&) noexcept override { return true; }
  void received() noexcept override {}
  void disk_failed(int) noexcept override { ++failures; }
  int prepare_restore(const raft_buffer&) noexcept override { return 0; }
  void restore_failed(int) noexcept override {}

 private:
  const std::string directory_;

 public:
  raft_io io{};
  libraft_io guard;
  int failures = 0;
  bool closed = false;
  bool closed_while_cut = false;

 private:
  uv_loop_t loop_{};
  raft_uv_transport tcp_{};
  raft_fsm fsm_{};
  ::raft engine_{};
  std::list<append> appends_;
};

}  // namespace

TEST_CASE("an engine that is closed while its log is cut waits for the end of that") {
  const quorlite::tests::temporary_directory place;
  guarded_disk disk(place / "log");
  disk.be_cut();
  const guarded_disk::append& behind = disk.add(2);
  disk.close();
  REQUIRE(disk.run_until([&] { return disk.closed; }));
  CHECK_FALSE(disk.closed_while_cut);
  CHECK(behind.answered);
  CHECK(disk.failures == 0);
  // It was cut, and what came behind is there.
  CHECK(disk.has("0000000000000002-0000000000000002"));
  CHECK_FALSE(disk.has("0000000000000002-0000000000000003"));
  CHECK(disk.has("0000000000000003-0000000000000003"));
  removal_ms = 0;
}

TEST_CASE("an engine whose disk fails while its log is cut is closed when nothing runs any more") {
  const quorlite::tests::temporary_directory place;
  guarded_disk disk(place / "log");
  disk.be_cut();
  syncs_fail = true;
  CHECK(disk.io.set_term(&disk.io, 2) != 0);
  syncs_fail = false;
  CHECK(disk.failures == 1);
  const guarded_disk::append& behind = disk.add(2);  // it is written no more
  disk.close();
  REQUIRE(disk.run_until([] { return !is_removing; }));
  CHECK_FALSE(disk.run_until([&] { return disk.closed; }, 300));
  CHECK(disk.guard.close_late());
  CHECK_FALSE(disk.guard.close_late());  // once
  REQUIRE(disk.run_until([&] { return disk.closed; }));
  CHECK_FALSE(disk.closed_while_cut);
  CHECK(behind.answered);
  removal_ms = 0;
}

TEST_CASE("entries of one file have memory of their own once a start has loaded them") {
  const quorlite::tests::temporary_directory place;
  for (int start = 0; start < 3; ++start) {
    INFO("start " << start);
    guarded_disk disk(place / "log");
    const std::uint64_t before = 1 + 3 * static_cast<std::uint64_t>(start);
    REQUIRE(libraft_entry_at(disk.log(), before) != nullptr);
    CHECK(libraft_entry_at(disk.log(), before + 1) == nullptr);
    for (std::uint64_t index = 1; index <= before; ++index) {
      const raft_entry& entry = *libraft_entry_at(disk.log(), index);
      CHECK(entry.batch == nullptr);
      const std::string held(static_cast<const char*>(entry.buf.base), entry.buf.len);
      CHECK((index == 1 || held == std::string("entry\0\0", 8)));
    }
    const guarded_disk::append* last = nullptr;
    for (int i = 0; i < 3; ++i) {
      last = &disk.add(1);
    }
    REQUIRE(disk.run_until([&] { return last->answered; }));
    disk.close();
    REQUIRE(disk.run_until([&] { return disk.closed; }));
  }
}

TEST_CASE("a server that is stopped while its log is cut ends, and can start again") {
  const bool kernel_refuses = GENERATE(false, true);  // the write behind the cut
  CAPTURE(kernel_refuses);
  const libraft_places places(3);
  std::optional<server> servers[3];
  const auto start = [&](std::size_t i) {
    servers[i].emplace(places.options(i));
    REQUIRE(!servers[i]->node->status());
  };
  const auto stop = [&](std::size_t i) {
    CHECK(servers[i]->ends());
    servers[i].reset();
  };
  const auto leader = [&]() -> std::optional<std::size_t> {
    for (std::size_t i = 0; i < 3; ++i) {
      if (servers[i] && servers[i]->node->leader().leading) {
        return i;
      }
    }
    return std::nullopt;
  };
  const auto write = [&](std::size_t to, const char* sql) {
    const result<connection> db = servers[to]->node->open("app.db");
    return db && run(*db, sql) == SQLITE_OK;
  };
  for (std::size_t i = 0; i < 3; ++i) {
    start(i);
  }
  REQUIRE(wait_until([&] { return leader().has_value(); }));
  const std::size_t former = *leader();
  const std::size_t others[] = {(former + 1) % 3, (former + 2) % 3};
  REQUIRE(write(former, "CREATE TABLE t(x)"));
  for (const std::size_t other : others) {
    stop(other);
  }
  CHECK_FALSE(write(former, "INSERT INTO t VALUES(1)"));  // nobody else has it
  stop(former);
  for (const std::size_t other : others) {
    start(other);
  }
  REQUIRE(wait_until([&] { return leader() && write(*leader(), "INSERT INTO t VALUES(2)"); }));

  removal_ms = 1000;
  start(former);
  REQUIRE(wait_until([] { return is_removing.load(); }));
  refusals = 0;
  writes_until_refusal = kernel_refuses ? 0 : -1;
  stop(former);
  CHECK_FALSE(is_removing);
  CHECK(refusals == (kernel_refuses ? 1 : 0));
  removal_ms = 0;
  writes_until_refusal = -1;

  if (!kernel_refuses) {  // else its files are open yet
    start(former);
    CHECK(wait_until([&] {
      const auto now = leader();
      return now && servers[former]->node->applied() == servers[*now]->node->applied();
    }));
    stop(former);
  }
  for (const std::size_t other : others) {
    stop(other);
  }
}
