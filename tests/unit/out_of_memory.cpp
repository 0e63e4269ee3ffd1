// Memory runs out at one allocation after another: of a start, an open, a COMMIT, a flush.
#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/memory.hpp"
#include "support/lone_engine.hpp"
#include "support/sql.hpp"

namespace {

/// Allocations of this thread that still succeed; below 0: all do.
thread_local std::int64_t left = -1;
thread_local bool has_failed = false;

void* allocate(std::size_t size) {
  if (left == 0) {
    left = -1;
    has_failed = true;
    throw std::bad_alloc();
  }
  left -= left > 0 ? 1 : 0;
  if (void* const memory = std::malloc(size == 0 ? 1 : size)) {
    return memory;
  }
  throw std::bad_alloc();
}

/// So that every allocation of SQLite's is one that its limit counts.
const bool has_no_lookaside = sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK;

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

using namespace quorlite;
using tests::lone_engine;

/// Runs `work` with the n-th allocation failing. @returns false if there was none
template <class Work>
bool without_allocation(std::int64_t number, Work work) {
  has_failed = false;
  left = number;
  work();
  left = -1;
  return has_failed;
}

struct lone_replica {
  lone_engine engine;
  memory_storage storage;
  replica node = replica::start(engine, storage).value();
};

/// Applies what is proposed when somebody waits, and has a signal that takes memory of its own. It
/// has all the memory that it wants.
struct late_engine : lone_engine {
  struct signal_type : lone_engine::signal_type {
    char much[512] = {};
  };

  void propose(term expected, proposal_token token, bytes_view entry) noexcept {
    const std::int64_t kept = std::exchange(left, -1);
    proposed.push_back({expected, token, bytes(entry.begin(), entry.end())});
    left = kept;
  }
  void apply_all() noexcept {
    const std::int64_t kept = std::exchange(left, -1);
    for (const auto& one : std::exchange(proposed, {})) {
      lone_engine::propose(one.expected, one.token, one.content);
    }
    left = kept;
  }
  bool wait(signal_type& signal, milliseconds) noexcept {
    apply_all();
    return signal.raised.load();
  }

  struct late_entry {
    term expected;
    proposal_token token;
    bytes content;
  };
  std::vector<late_entry> proposed;
};

TEST_CASE("a write() that SQLite has no memory to roll back leaves the database to the next one") {
  REQUIRE(has_no_lookaside);
  lone_engine engine;
  memory_storage storage;
  replica one = replica::start(engine, storage).value();
  connection db = one.open("app.db").value();
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  const write_result lost = one.write("app.db", [](sqlite3* shared) {
    const int code = run(shared, "CREATE TABLE z(x); INSERT INTO t VALUES(1)");
    sqlite3_hard_heap_limit64(sqlite3_memory_used());
    return code == SQLITE_OK ? SQLITE_ABORT : code;  // to be undone
  });
  sqlite3_hard_heap_limit64(0);
  sqlite3_soft_heap_limit64(0);
  CHECK_FALSE(lost.ok());
  CHECK(run(db, "PRAGMA busy_timeout=0; INSERT INTO t VALUES(2)") == SQLITE_OK);
  const write_result next =
      one.write("app.db", [](sqlite3* in) { return run(in, "INSERT INTO t VALUES(3)"); });
  CHECK(next.ok());
  CHECK(ask(db, "SELECT group_concat(x) FROM t") == "2,3");
}

}  // namespace

TEST_CASE("a COMMIT of several entries without memory is not applied if it says so") {
  constexpr const char* many =
      "INSERT INTO t VALUES(randomblob(2000)),(randomblob(2000)),(randomblob(2000))";
  replica_options options;
  options.entry_bytes = 1200;
  std::int64_t refused = 0;
  std::int64_t number = 0;
  for (bool failed = true; failed; ++number) {
    REQUIRE(number < 2000);
    CAPTURE(number);
    late_engine engine;
    memory_storage storage;
    replica node = replica::start(engine, storage, options).value();
    connection db = node.open("app.db", {.page_size = 512}).value();
    REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)") == SQLITE_OK);
    int code = SQLITE_OK;
    failed = without_allocation(number,
                                [&] { code = sqlite3_exec(db, many, nullptr, nullptr, nullptr); });
    const std::error_code error = db.last_error();
    engine.apply_all();
    REQUIRE_FALSE(node.health().halted);
    if (code == SQLITE_OK) {
      CHECK(ask(db, "SELECT count(*) FROM t") == "4");
      continue;
    }
    ++refused;
    INFO(error.message());
    CHECK(error == failure::not_applied);
    CHECK(ask(db, "SELECT count(*) FROM t") == "1");
    CHECK(run(db, many) == SQLITE_OK);
    CHECK(ask(db, "SELECT count(*) FROM t") == "4");
    CHECK(ask(db, "PRAGMA integrity_check") == "ok");
  }
  CHECK(refused > 10);
}

TEST_CASE("a COMMIT without memory is not applied, and the replica is whole or has halted") {
  std::int64_t refused = 0;
  std::int64_t halted = 0;
  std::int64_t number = 0;
  for (bool failed = true; failed; ++number) {
    REQUIRE(number < 2000);
    CAPTURE(number);
    lone_replica one;
    connection db = one.node.open("app.db", {.page_size = 512}).value();
    REQUIRE(run(db, "CREATE TABLE t(x); CREATE INDEX i ON t(x); INSERT INTO t VALUES(1)") ==
            SQLITE_OK);
    int code = SQLITE_OK;
    std::error_code error;
    failed = without_allocation(number, [&] {
      code = sqlite3_exec(db, "INSERT INTO t VALUES(2)", nullptr, nullptr, nullptr);
    });
    error = db.last_error();
    const health now = one.node.health();
    if (code == SQLITE_OK) {
      CHECK_FALSE(now.halted);
      CHECK(ask(db, "SELECT count(*) FROM t") == "2");
      continue;
    }
    if (now.halted) {  // an entry that is committed cannot be refused by one replica
      ++halted;
      CHECK(now.error == errc::out_of_memory);
      CHECK(error == failure::outcome_unknown);
      continue;
    }
    ++refused;
    INFO(error.message());
    CHECK(code == SQLITE_NOMEM);
    CHECK(error == errc::out_of_memory);
    CHECK(error == failure::not_applied);
    CHECK(ask(db, "SELECT count(*) FROM t") == "1");
    CHECK(run(db, "INSERT INTO t VALUES(3)") == SQLITE_OK);
    CHECK(ask(db, "SELECT group_concat(x) FROM t") == "1,3");
    CHECK(ask(db, "PRAGMA integrity_check") == "ok");
  }
  CHECK(refused > 5);
  CHECK(halted > 0);
}

TEST_CASE("a start and an open without memory say so") {
  std::int64_t number = 0;
  for (bool failed = true; failed; ++number) {
    REQUIRE(number < 2000);
    CAPTURE(number);
    lone_engine engine;
    memory_storage storage;
    std::optional<result<replica>> started;
    failed = without_allocation(number, [&] { started.emplace(replica::start(engine, storage)); });
    CHECK(started->has_value() == !failed);
    CHECK((!failed || started->error() == errc::out_of_memory));
  }
  CHECK(number > 10);
  lone_replica one;
  std::int64_t opens = 0;
  for (bool failed = true; failed; ++opens) {
    REQUIRE(opens < 2000);
    CAPTURE(opens);
    const std::string name = "n" + std::to_string(opens) + ".db";
    std::optional<result<connection>> opened;
    failed = without_allocation(opens, [&] { opened.emplace(one.node.open(name)); });
    CHECK(opened->has_value() == !failed);
    CHECK((!failed || opened->error() == errc::out_of_memory));
  }
  CHECK(opens > 2);
}

TEST_CASE("a flush and a snapshot without memory say so, and work when there is some") {
  memory_storage storage;
  lone_engine engine;
  replica node = replica::start(engine, storage).value();
  REQUIRE(run(node.open("app.db").value(), "CREATE TABLE t(x); INSERT INTO t VALUES(1)") ==
          SQLITE_OK);
  std::int64_t number = 0;
  for (bool failed = true; failed; ++number) {
    REQUIRE(number < 2000);
    CAPTURE(number);
    std::error_code error;
    failed = without_allocation(number, [&] { error = node.flush(); });
    CHECK((failed ? error == errc::out_of_memory : !error));
    CHECK_FALSE(node.health().halted);
  }
  CHECK(number > 5);
  CHECK(node.metrics().durable == node.applied());
}
