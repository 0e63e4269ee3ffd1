// However the disk fails under libraft, its server can be stopped, also where the kernel refuses a
// write (io_submit), which 0.15 takes and then waits for.

#include <dlfcn.h>
#include <sqlite3.h>
#include <sys/syscall.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>

#include "catch2_shim.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/memory.hpp"
#include "support/libraft_cluster.hpp"
#include "support/sql.hpp"
#include "support/started_replica.hpp"

namespace {

/// So many writes are submitted, then one is refused, and all later ones go on. Below 0: none is.
std::atomic<int> writes_until_refusal{-1};
std::atomic<int> refusals{0};

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
