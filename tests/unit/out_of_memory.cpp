// Memory runs out at one allocation after another: of a start, an open, a COMMIT, a flush; and of a
// whole run of the main job over files, SQLite's own allocations with ours.
#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/transfer.hpp"
#include "support/lone_engine.hpp"
#include "support/profile.hpp"
#include "support/sql.hpp"
#include "support/temporary_directory.hpp"

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

/// SQLite's own count as well, where a test says so.
thread_local bool counts_sqlite = false;
sqlite3_mem_methods plain_memory;

bool is_sqlite_short() {
  if (!counts_sqlite || left < 0) {
    return false;
  }
  if (left == 0) {
    left = -1;
    has_failed = true;
    return true;
  }
  --left;
  return false;
}
void* sqlite_allocate(int size) { return is_sqlite_short() ? nullptr : plain_memory.xMalloc(size); }
void* sqlite_reallocate(void* memory, int size) {
  return is_sqlite_short() ? nullptr : plain_memory.xRealloc(memory, size);
}

const bool has_own_memory = [] {
  sqlite3_config(SQLITE_CONFIG_GETMALLOC, &plain_memory);
  sqlite3_mem_methods counted = plain_memory;
  counted.xMalloc = sqlite_allocate;
  counted.xRealloc = sqlite_reallocate;
  return sqlite3_config(SQLITE_CONFIG_MALLOC, &counted) == SQLITE_OK;
}();

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

// ---- a run of the main job over files

namespace {

/// All the memory that it wants, as long as it lives.
class enough_memory {
 public:
  enough_memory() : kept_(std::exchange(left, -1)) {}
  enough_memory(const enough_memory&) = delete;
  enough_memory& operator=(const enough_memory&) = delete;
  ~enough_memory() { left = kept_; }

 private:
  const std::int64_t kept_;
};

/// An engine of one server with a log, which outlives it: it applies at once, and at a start what
/// comes behind the machine's files. Its own memory does not count.
class logging_engine {
 public:
  struct entry {
    log_position at;
    bytes content;
  };
  using log = std::vector<entry>;

  static constexpr consensus_abilities abilities{
      .entry_terms = true, .contiguous = true, .read_barrier = true};
  using signal_type = lone_engine::signal_type;

  explicit logging_engine(log& kept) : log_(kept) {}

  std::error_code start(state_machine& machine) noexcept {
    machine_ = &machine;
    const log_index from = machine.durable().index;
    for (const entry& one : log_) {
      if (one.at.index > from && machine.apply({one.at, one.content}) == apply_result::halted) {
        return {};  // it has withdrawn
      }
    }
    term_ = log_.empty() ? term{1} : log_.back().at.term.next();
    machine.leadership_changed({.term = term_, .leading = true, .leader_hint = "me"});
    leading_ = true;
    return {};
  }
  void stop() noexcept {
    if (std::exchange(leading_, false)) {
      machine_->leadership_changed({.term = term_, .leading = false, .leader_hint = ""});
    }
  }
  void propose(term expected, proposal_token token, bytes_view content) noexcept {
    if (!leading_ || withdrawn_.load() || expected != term_) {
      machine_->settled(token, outcome::not_applied, settle_reason::not_leader);
      return;
    }
    {
      const enough_memory here;
      log_.push_back({{log_index{log_.size() + 1}, term_}, bytes(content.begin(), content.end())});
    }
    const bool halted = machine_->apply({log_.back().at, content}) == apply_result::halted;
    machine_->settled(token, halted ? outcome::unknown : outcome::committed,
                      halted ? settle_reason::stopped : settle_reason::none);
  }
  void read_barrier(proposal_token token) noexcept {
    machine_->settled(token, outcome::committed, settle_reason::none);
  }
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return std::size_t{1} << 24U; }
  bool wait(signal_type& signal, milliseconds) noexcept { return signal.raised.load(); }
  void withdraw() noexcept { withdrawn_.store(true); }

  /// A snapshot, read as an engine reads it, and taken in as another server would.
  std::error_code copy_state() {
    const auto reader = machine_->take_snapshot();
    if (!reader) {
      return reader.error();
    }
    bytes content;
    {
      const enough_memory here;
      content.resize(static_cast<std::size_t>((*reader)->size_bytes()));
    }
    for (std::size_t at = 0; at < content.size();) {
      const std::size_t size = std::min<std::size_t>(1000, content.size() - at);
      if (const auto error = (*reader)->read(at, bytes_span(content).subspan(at, size))) {
        return error;
      }
      at += size;
    }
    const auto stage = machine_->begin_restore();
    if (!stage) {
      return stage.error();
    }
    const std::error_code error = (*stage)->append(content);
    return error ? error : (*stage)->finish();
  }

 private:
  log& log_;
  state_machine* machine_ = nullptr;
  term term_;
  bool leading_ = false;
  std::atomic<bool> withdrawn_{false};
};
static_assert(consensus<logging_engine>);

/// What a run of the job has been told, so that it can be held against what a restart finds.
class job_ledger {
 public:
  /// Each statement inserts its own number. @param error of the answer
  void told(int number, std::error_code error) {
    const enough_memory here;
    if (!error) {
      acknowledged_.push_back(number);
    } else if (error != failure::not_applied) {
      in_doubt_.push_back(number);
    }
  }
  /// @param rows of the table, each once, ascending
  void check(const std::vector<int>& rows) const {
    std::string found;
    for (const int number : rows) {
      found += std::to_string(number) + ' ';
    }
    INFO("found: " << found);
    for (const int number : acknowledged_) {
      CAPTURE(number);
      CHECK(std::count(rows.begin(), rows.end(), number) == 1);
    }
    for (const int number : rows) {
      const bool is_known = std::count(acknowledged_.begin(), acknowledged_.end(), number) != 0 ||
                            std::count(in_doubt_.begin(), in_doubt_.end(), number) != 0;
      CHECK(is_known);
      CHECK(std::count(rows.begin(), rows.end(), number) == 1);
    }
  }

 private:
  std::vector<int> acknowledged_;
  std::vector<int> in_doubt_;
};

/// One server's folder and log, and the main job on it.
class main_job {
 public:
  /// Runs it, each allocation but one there. @returns the names of what went wrong, for CHECKs
  std::vector<std::string> run_without(std::int64_t number) {
    std::vector<std::string> wrong;
    has_failed = false;
    left = number;
    try {
      run_all([&wrong](const char* step, std::error_code error, const health& now) {
        const enough_memory here;
        const bool is_memory = error == errc::out_of_memory;
        const bool has_halted = now.halted && now.error == errc::out_of_memory;
        if (error && !is_memory && !has_halted) {
          wrong.push_back(std::string(step) + ": " + error.message());
        }
        if (now.halted && !has_halted) {
          wrong.push_back(std::string(step) + ": halted: " + now.error.message() + ", " + now.what);
        }
      });
    } catch (const std::bad_alloc&) {
      left = -1;
      wrong.push_back("an exception left the library, behind " + step_);
    }
    left = -1;
    return wrong;
  }

  /// With memory again.
  void check_after_restart() {
    logging_engine engine(log_);
    file_storage storage(data_);
    result<replica> node = replica::start(engine, storage, options());
    REQUIRE(node.has_value());
    INFO(node->health().error.message() << " " << node->health().what);
    REQUIRE(node->health().ok());
    connection db = node->open("app.db", {.page_size = 512}).value();
    std::vector<int> rows;
    if (ask(db, "SELECT count(*) FROM sqlite_schema") != "0") {
      std::string listed = ask(db, "SELECT x FROM t ORDER BY x");
      std::replace(listed.begin(), listed.end(), ';', ' ');
      for (const char* at = listed.c_str(); *at != '\0';) {
        char* end = nullptr;
        rows.push_back(static_cast<int>(std::strtol(at, &end, 10)));
        at = *end == '\0' ? end : end + 1;
      }
    }
    CHECK(ask(db, "PRAGMA integrity_check") == "ok");
    ledger_.check(rows);
    CHECK(run(db, "CREATE TABLE IF NOT EXISTS t(x, y); INSERT INTO t VALUES(1000, 'later')") ==
          SQLITE_OK);
  }

 private:
  using watch = std::function<void(const char* step, std::error_code error, const health& now)>;

  static replica_options options() {
    replica_options made;
    made.entry_bytes = 3000;  // so that some transactions have several entries
    return made;
  }

  void run_all(const watch& tell) {
    logging_engine engine(log_);
    std::optional<file_storage> storage;
    try {
      storage.emplace(data_);
    } catch (const std::bad_alloc&) {
      return;  // as any constructor says it
    }
    result<replica> node = replica::start(engine, *storage, options());
    tell("start", node ? std::error_code{} : node.error(), {});
    if (!node) {
      return;
    }
    const auto after = [&](const char* step, std::error_code error) {
      const std::int64_t kept = std::exchange(left, -1);
      const health now = node->health();
      step_ = step;
      left = kept;
      tell(step, error, now);
    };
    use(engine, *node, after);
    after("stop", node->stop());
  }

  template <class After>
  void use(logging_engine& engine, replica& node, const After& after) {
    result<connection> db = node.open("app.db", {.page_size = 512});
    after("open", db ? std::error_code{} : db.error());
    if (!db) {
      return;
    }
    const auto say = [&](const char* step, const char* sql) {
      const int code = sqlite3_exec(*db, sql, nullptr, nullptr, nullptr);
      std::error_code error;
      if (code != SQLITE_OK) {
        const bool is_sqlites = (code & 0xFF) == SQLITE_NOMEM;
        error = db->last_error();
        error = !is_sqlites || (error && error != errc::sqlite_failed)
                    ? error
                    : make_error_code(errc::out_of_memory);
      }
      after(step, error);
      if (sqlite3_get_autocommit(*db) == 0) {
        const enough_memory here;
        sqlite3_exec(*db, "ROLLBACK", nullptr, nullptr, nullptr);
      }
      return error;
    };
    if (say("schema", "CREATE TABLE t(x, y); CREATE INDEX i ON t(y)")) {
      return;
    }
    ledger_.told(1, say("insert", "INSERT INTO t VALUES(1, randomblob(200))"));
    const std::error_code both =
        say("transaction", "BEGIN; INSERT INTO t VALUES(2, randomblob(2000));"
                           "INSERT INTO t VALUES(3, randomblob(6000)); COMMIT");
    ledger_.told(2, both);
    ledger_.told(3, both);
    after("flush", node.flush());
    after("snapshot", engine.copy_state());
    const write_result grouped = node.write("app.db", [](sqlite3* in) {
      return sqlite3_exec(in, "INSERT INTO t VALUES(4, 'grouped')", nullptr, nullptr, nullptr);
    });
    const bool is_sqlites = (grouped.code & 0xFF) == SQLITE_NOMEM;
    const std::error_code error = grouped.error == errc::sqlite_failed && is_sqlites
                                      ? make_error_code(errc::out_of_memory)
                                      : grouped.error;
    after("write()", error);
    ledger_.told(4, error);
    static_cast<void>(say("read", "SELECT count(*), max(y) FROM t GROUP BY x % 3 ORDER BY y"));
    static_cast<void>(say("update", "UPDATE t SET y = randomblob(300)"));
    after("barrier", node.read_barrier());
    after("flush again", node.flush());
    after("export", export_database(*db, copy_, {}, {.overwrite = true}));
    if (is_copied()) {
      after("import", import_database(node, "other.db", copy_));
    }
    after("drop", node.drop("other.db"));
    ledger_.told(5, say("last", "INSERT INTO t VALUES(5, 'last')"));
  }

  [[nodiscard]] bool is_copied() const {
    const enough_memory here;
    return std::filesystem::exists(copy_);
  }

  quorlite::tests::temporary_directory folder_;
  const std::string data_ = folder_ / "databases";
  const std::string copy_ = folder_ / "copy.db";
  logging_engine::log log_;
  std::string step_ = "nothing";  // the last that was done
  job_ledger ledger_;
};

}  // namespace

TEST_CASE("the main job over files without one allocation: an error that says so, or all of it") {
  REQUIRE(has_own_memory);
  if (std::getenv("TMPDIR") == nullptr && std::filesystem::is_directory("/dev/shm")) {
    ::setenv("TMPDIR", "/dev/shm", 1);  // thousands of runs, and each of them syncs
  }
  counts_sqlite = true;
  const std::int64_t stride = quorlite::tests::is_short_profile() ? 7 : 1;
  const char* const only = std::getenv("QUORLITE_TEST_ALLOCATION");
  std::int64_t number = only == nullptr ? 0 : std::atoll(only);
  std::int64_t failed = 0;
  for (bool goes_on = true; goes_on; number += stride) {
    REQUIRE(number < 100'000);
    CAPTURE(number);
    main_job job;
    const std::vector<std::string> wrong = job.run_without(number);
    goes_on = has_failed && only == nullptr;
    failed += has_failed ? 1 : 0;
    for (const std::string& one : wrong) {
      FAIL_CHECK(one);
    }
    job.check_after_restart();
  }
  counts_sqlite = false;
  CHECK((failed > 100 || only != nullptr));
}
