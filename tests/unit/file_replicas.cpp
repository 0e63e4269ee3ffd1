// Replicas whose databases are files: larger than their memory, damaged, on a full disk, imported
// and exported.
#include <sqlite3.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "catch2_shim.hpp"
#include "quorlite/detail/file_storage/basic_file_storage.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "quorlite/testing/simulation.hpp"
#include "quorlite/testing/test_raft.hpp"
#include "quorlite/transfer.hpp"
#include "support/kept_out.hpp"
#include "support/lone_engine.hpp"
#include "support/lowered_limit.hpp"
#include "support/profile.hpp"
#include "support/sql.hpp"
#include "support/started_replica.hpp"
#include "support/temporary_directory.hpp"

namespace file_replicas_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::testing::disk_call_kind;
using quorlite::testing::faulty_disk;
using quorlite::testing::faulty_file_system;
using quorlite::testing::test_raft;
using quorlite::tests::temporary_directory;

std::unique_ptr<file_storage> storage_on(const std::string& directory) {
  return std::make_unique<file_storage>(directory);
}
std::unique_ptr<basic_file_storage<faulty_file_system>> storage_on(faulty_disk& disk) {
  return std::make_unique<basic_file_storage<faulty_file_system>>(faulty_file_system{disk});
}

/// A cluster of one, restarted as often as one likes.
template <class Storage>
class single {
 public:
  template <class Place>
  explicit single(std::size_t memory_bytes, Place& place, std::uint64_t flush_bytes = 0,
                  std::size_t pinned_bytes = 0)
      : make_([&place] { return storage_on(place); }) {
    options_.memory_bytes = memory_bytes;
    options_.pinned_bytes = pinned_bytes;
    options_.flush_bytes = flush_bytes != 0 ? flush_bytes : options_.flush_bytes;
    options_.log_context = &said_;
    options_.log = [](void* said, std::string_view text) {
      static_cast<std::string*>(said)->append(text).append("\n");
    };
    start();
  }
  ~single() { simulation_.finish_clients(); }
  single(const single&) = delete;
  single& operator=(const single&) = delete;

  void start() {
    storage_ = make_();
    raft_.emplace(simulation_, server_id{1});
    replica_.emplace(*raft_, *storage_, options_);
    if (!replica_->status()) {
      REQUIRE(simulation_.run_until([this] { return replica_->leader().leading; },
                                    milliseconds{20'000}));
    }
  }
  /// As a process that is killed, or one that is asked to end.
  void end(bool clean) {
    if (clean) {
      CHECK_FALSE(replica_->stop());
    }
    replica_.reset();
    raft_.reset();
    storage_.reset();
  }
  [[nodiscard]] quorlite::tests::started_replica<test_raft, Storage>& operator*() {
    return *replica_;
  }
  [[nodiscard]] quorlite::tests::started_replica<test_raft, Storage>* operator->() {
    return &*replica_;
  }
  /// Time for what was handed to the engine.
  void run_for(milliseconds span) { simulation_.run_for(span); }
  /// What the replicas told people.
  [[nodiscard]] const std::string& said() const noexcept { return said_; }
  [[nodiscard]] connection open(const std::string& name = "app.db") {
    return replica_->open(name).value();
  }

 private:
  quorlite::testing::simulation simulation_{{.replicas = 1}};
  std::string said_;
  replica_options options_;
  std::function<std::unique_ptr<Storage>()> make_;
  std::unique_ptr<Storage> storage_;
  std::optional<test_raft> raft_;
  std::optional<quorlite::tests::started_replica<test_raft, Storage>> replica_;
};

using file_single = single<file_storage>;
using faulty_single = single<basic_file_storage<faulty_file_system>>;

struct plain_file {
  explicit plain_file(const std::string& path, int flags = SQLITE_OPEN_READWRITE) {
    static_cast<void>(sqlite3_open_v2(path.c_str(), &db, flags, nullptr));
  }
  plain_file(const plain_file&) = delete;
  plain_file& operator=(const plain_file&) = delete;
  ~plain_file() { sqlite3_close(db); }
  sqlite3* db = nullptr;
};

std::string insert(int count, int size) {
  return "INSERT INTO t(v) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT " +
         std::to_string(count) + ") SELECT randomblob(" + std::to_string(size) + ") FROM n";
}

void flip(const std::string& path, std::uint64_t at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(at));
  const int was = file.get();
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(was ^ 0x40));
}

}  // namespace

TEST_CASE("a database of many times the memory is written, updated, restarted and read") {
  const temporary_directory place;
  const std::string directory = place / "data";
  constexpr std::size_t memory_bytes = std::size_t{2} << 20U;
  file_single one(memory_bytes, directory);
  std::string sum;
  {
    connection db = one.open();
    REQUIRE(run(db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v)") == SQLITE_OK);
    std::size_t peak = 0;
    for (int round = 0; round < 120; ++round) {
      REQUIRE(run(db, insert(100, 1000)) == SQLITE_OK);  // 12 MB in the end
      peak = std::max(peak, one->machine().databases().gauge()->bytes());
    }
    std::uint64_t state = 1;
    for (int round = 0; round < 400; ++round) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      REQUIRE(run(db, "UPDATE t SET v = randomblob(1000) WHERE k = " +
                          std::to_string(1 + (state >> 33U) % 12000)) == SQLITE_OK);
      peak = std::max(peak, one->machine().databases().gauge()->bytes());
    }
    INFO("peak " << peak << " bytes of " << memory_bytes);
    CHECK(peak <= memory_bytes + memory_bytes / 10);
    CHECK(one->counters().flushes > 5);
    sum = ask(db, "SELECT count(*), sum(length(v)), max(k), hex(max(v)) FROM t");
    CHECK(ask(db, "PRAGMA integrity_check") == "ok");
  }
  SECTION("after a clean stop any tool reads the file") {
    one.end(true);
    const plain_file shell(directory + "/app.db");
    CHECK(ask(shell.db, "PRAGMA integrity_check") == "ok");
    CHECK(ask(shell.db, "SELECT count(*), sum(length(v)), max(k), hex(max(v)) FROM t") == sum);
  }
  SECTION("while it runs SQLite refuses the file") {
    {
      const plain_file shell(directory + "/app.db");
      CHECK(ask(shell.db, "SELECT count(*) FROM t") == "!26");  // SQLITE_NOTADB
      CHECK(run(shell.db, "INSERT INTO t(v) VALUES(1)") == SQLITE_NOTADB);
    }
    one.end(true);
  }
  SECTION("a restart brings the same, by the log where the base is behind") {
    one.end(false);
    one.start();
    REQUIRE_FALSE(one->status());
    CHECK(one->machine().databases().gauge()->bytes() <= memory_bytes + memory_bytes / 10);
    connection db = one.open();
    CHECK(ask(db, "SELECT count(*), sum(length(v)), max(k), hex(max(v)) FROM t") == sum);
    CHECK(ask(db, "PRAGMA integrity_check") == "ok");
  }
}

TEST_CASE("a reader keeps its state over flushes that overwrite and cut what it stands on") {
  const temporary_directory place;
  const std::string directory = place / "data";
  file_single one(std::size_t{1} << 20U, directory);
  connection writer = one.open();
  REQUIRE(run(writer, "PRAGMA auto_vacuum=FULL; CREATE TABLE t(k INTEGER PRIMARY KEY, v)") ==
          SQLITE_OK);
  REQUIRE(run(writer, insert(300, 900)) == SQLITE_OK);
  REQUIRE_FALSE(one->flush());
  connection reader = one.open();
  const std::string before = ask(reader, "SELECT count(*), hex(max(v)), hex(min(v)) FROM t");
  REQUIRE(run(reader, "BEGIN; SELECT 1 FROM t LIMIT 1") == SQLITE_OK);
  REQUIRE(run(writer, "UPDATE t SET v = randomblob(900) WHERE k % 3 = 0") == SQLITE_OK);
  REQUIRE_FALSE(one->flush());
  REQUIRE(run(writer, "DELETE FROM t WHERE k > 20") == SQLITE_OK);
  REQUIRE_FALSE(one->flush());
  REQUIRE(run(writer, insert(100, 700)) == SQLITE_OK);
  REQUIRE_FALSE(one->flush());
  CHECK(ask(reader, "SELECT count(*), hex(max(v)), hex(min(v)) FROM t") == before);
  CHECK(ask(reader, "PRAGMA integrity_check") == "ok");
  REQUIRE(run(reader, "COMMIT") == SQLITE_OK);
  CHECK(ask(reader, "SELECT count(*) FROM t") == "120");
}

TEST_CASE("a page that is damaged on the disk is this replica's fault, and is never served") {
  const temporary_directory place;
  const std::string directory = place / "data";
  file_single one(std::size_t{1} << 20U, directory);
  {
    connection db = one.open();
    REQUIRE(run(db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v)") == SQLITE_OK);
    REQUIRE(run(db, insert(500, 2000)) == SQLITE_OK);
  }
  one.end(true);
  SECTION("found when it is read") {
    flip(directory + "/app.db", 150 * 4096 + 999);
    one.start();
    REQUIRE_FALSE(one->status());
    connection db = one.open();
    CHECK(ask(db, "SELECT sum(length(v)) FROM t") == "!" + std::to_string(SQLITE_CORRUPT));
    CHECK(db.last_error() == errc::corrupt);
    const health told = one->health();
    INFO(told.what);
    CHECK(told.halted);
    CHECK(told.error == errc::corrupt);
    CHECK(told.what.find("page 151 of 'app.db', from byte 614400 of its file on") !=
          std::string::npos);
    CHECK(told.what.find("log index") != std::string::npos);
    CHECK(run(db, "INSERT INTO t(v) VALUES(1)") != SQLITE_OK);
  }
  SECTION("a damaged hash is found at the start") {
    flip(directory + "/.quorlite/hashes/app.db", 8 * 40);
    one.start();
    CHECK(one->status() == errc::corrupt);
    INFO(one.said());
    CHECK(one.said().find("page 40 of 'app.db', from byte 159744 of its file on, or hash 40") !=
          std::string::npos);
  }
  SECTION("in the first page, whoever opens it is told") {
    flip(directory + "/app.db", 50);
    one.start();
    REQUIRE_FALSE(one->status());
    const auto refused = one->open("app.db");
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error() == errc::corrupt);
    CHECK(one->health().what.find("from byte 0 of its file on") != std::string::npos);
  }
  SECTION("a damaged record is not believed, and without any nothing starts") {
    flip(directory + "/.quorlite/superblock-0", 90);
    flip(directory + "/.quorlite/superblock-1", 90);
    one.start();
    CHECK(one->status() == errc::corrupt);
    CHECK(one.said().find("the storage cannot be used") != std::string::npos);
    CHECK(one.said().find("halted") != std::string::npos);
  }
  one.end(false);
}

TEST_CASE("a start that is refused over a file of the databases names it") {
  const temporary_directory place;
  const std::string directory = place / "data";
  file_single one(std::size_t{1} << 20U, directory);
  {
    connection db = one.open();
    REQUIRE(run(db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v)") == SQLITE_OK);
    REQUIRE(run(db, insert(50, 2000)) == SQLITE_OK);
  }
  one.end(true);
  const std::string own = directory + "/.quorlite/";
  std::string names;
  SECTION("which is gone") {
    std::filesystem::remove(directory + "/app.db");
    names = ": app.db: it is gone";
  }
  SECTION("which is gone, of the hashes") {
    std::filesystem::remove(own + "hashes/app.db");
    names = ": .quorlite/hashes/app.db: it is gone";
  }
  SECTION("which is too short") {
    std::filesystem::resize_file(directory + "/app.db", 4096);
    names = ": app.db, byte 4096: it is shorter";
  }
  SECTION("which is too short, of the hashes") {
    std::filesystem::resize_file(own + "hashes/app.db", 16);
    names = ": .quorlite/hashes/app.db, byte 16: it is shorter";
  }
  SECTION("which is another database's") {
    flip(own + "hashes/app.db", 3);
    names = ": .quorlite/hashes/app.db, byte 0: it is of another database";
  }
  SECTION("which somebody else wrote to") {
    flip(directory + "/app.db", 19);
    names = ": app.db, byte 0: its first page was changed";
  }
  SECTION("which somebody else is writing to") {
    std::ofstream(directory + "/app.db-journal") << "a journal";
    names = ": app.db-journal: somebody else has written";
  }
  SECTION("which say what there is") {
    flip(own + "superblock-0", 90);
    flip(own + "superblock-1", 90);
    names = ": .quorlite/superblock-0 and .quorlite/superblock-1, from byte 0 on: neither is";
  }
  SECTION("which say what there is, of which one is gone") {
    std::filesystem::remove(own + "superblock-0");
    flip(own + "superblock-1", 90);
    names = ": .quorlite/superblock-0 and .quorlite/superblock-1: one is gone and the other is not "
            "what "
            "was written";
  }
  SECTION("which say what there is, and are gone") {
    std::filesystem::remove(own + "superblock-0");
    std::filesystem::remove(own + "superblock-1");
    names = ": .quorlite/superblock-0 and .quorlite/superblock-1: they are gone";
  }
  one.start();
  CHECK(one->status() == errc::corrupt);
  INFO(one.said());
  CHECK(one.said().find("the storage cannot be used: " + one->status().message() + names) !=
        std::string::npos);
  one.end(false);
}

TEST_CASE("a replica whose folder was removed halts at the next flush") {
  const temporary_directory place;
  const std::string directory = place / "data";
  file_single one(std::size_t{1} << 20U, directory);
  connection db = one.open();
  REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)") == SQLITE_OK);
  REQUIRE_FALSE(one->flush());
  std::filesystem::remove_all(directory);
  REQUIRE(run(db, "INSERT INTO t VALUES(2)") == SQLITE_OK);
  CHECK(one->flush() == errc::storage_broken);
  const health told = one->health();
  INFO(told.what);
  CHECK((told.halted && told.error == errc::storage_broken));
}

TEST_CASE("a path into the data folder is refused to SQLite, whichever way it gets there") {
  const temporary_directory place;
  const std::string data = place / "data";
  file_single one(std::size_t{1} << 20U, data);
  connection db = one->open("app.db", {.flags = SQLITE_OPEN_URI}).value();
  REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)") == SQLITE_OK);
  quorlite::tests::check_kept_out(db, data);
  quorlite::tests::check_kept_out(db, data + "/.quorlite");
  {
    connection other = one.open("other.db");
    CHECK(run(other, "CREATE TABLE o(x)") == SQLITE_OK);
  }
  CHECK_FALSE(one->flush());
  CHECK(one->health().ok());
}

TEST_CASE(
    "on a full disk commits go on while there is memory, then fail, and go on when it is over") {
  faulty_disk disk;
  faulty_single one(std::size_t{512} << 10U, disk);
  connection db = one.open();
  REQUIRE(run(db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v)") == SQLITE_OK);
  REQUIRE(run(db, insert(20, 900)) == SQLITE_OK);
  REQUIRE_FALSE(one->flush());
  disk.full_from(disk.calls() + 1);
  REQUIRE(run(db, "INSERT INTO t(v) VALUES('one more')") == SQLITE_OK);
  CHECK(one->flush() == errc::storage_full);
  int committed = 0;
  int code = SQLITE_OK;
  for (int i = 0; i < 1000 && code == SQLITE_OK; ++i) {
    code = run(db, insert(5, 900));
    committed += code == SQLITE_OK ? 1 : 0;
  }
  CHECK(code == SQLITE_FULL);
  CHECK(db.last_error() == errc::storage_full);
  CHECK(db.last_error() == failure::not_applied);
  CHECK_FALSE(one->health().halted);
  CHECK(committed > 10);
  CHECK(one->machine().databases().gauge()->bytes() <= (std::size_t{512} << 10U) * 11 / 10);
  CHECK(ask(db, "SELECT count(*) FROM t") == std::to_string(21 + 5 * committed));
  disk.heal();
  CHECK(run(db, insert(5, 900)) == SQLITE_OK);
  CHECK(ask(db, "SELECT count(*) FROM t") == std::to_string(26 + 5 * committed));
  CHECK_FALSE(one->flush());
  CHECK(one->machine().durable() == one->applied());
}

namespace {

/// An engine that leaves when it is told to, and comes back.
struct leaving_engine : quorlite::tests::lone_engine {
  void leave(std::error_code why) noexcept {
    broken = why;
    ++times_left;
  }
  [[nodiscard]] std::error_code come_back() noexcept {
    ++times_asked;
    if (has_room) {
      broken = {};
    }
    return broken;
  }

  int times_left = 0;
  int times_asked = 0;
  bool has_room = true;
};
static_assert(quorlite::comes_back<leaving_engine>);

/// A replica with that engine, and a table. Its disk has room until fill().
struct leaving_replica {
  leaving_replica() {
    REQUIRE(run(db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v)") == SQLITE_OK);
    REQUIRE_FALSE(one.flush());
  }
  /// Writes as long as memory takes what the disk does not. @returns how many rows
  int fill() {
    disk.full_from(disk.calls() + 1);
    int rows = 0;
    while (run(db, insert(5, 900)) == SQLITE_OK) {
      rows += 5;
    }
    return rows;
  }

  faulty_disk disk;
  basic_file_storage<faulty_file_system> storage{faulty_file_system{disk}};
  leaving_engine engine;
  const replica_options options{.memory_bytes = std::size_t{512} << 10U};
  replica one = replica::start(engine, storage, options).value();
  connection db = one.open("app.db").value();
};

}  // namespace

TEST_CASE("a follower whose flushes find no room leaves before it must halt, and comes back") {
  leaving_replica with;
  auto& [disk, storage, engine, options, one, db] = with;
  const int rows = with.fill();
  REQUIRE(one.metrics().dirty_bytes > options.memory_bytes / 2);
  CHECK(one.maintain() == errc::storage_full);
  CHECK(engine.times_left == 0);  // a leader refuses what is too much
  engine.follow("another");
  CHECK(one.maintain() == errc::storage_full);
  CHECK(engine.times_left == 1);
  CHECK(one.health().engine == errc::storage_full);
  CHECK_FALSE(one.health().halted);
  CHECK(ask(db, "SELECT count(*) FROM t") == std::to_string(rows));
  CHECK(one.maintain() == errc::storage_full);
  CHECK(engine.times_asked == 0);  // not before there is room here
  disk.heal();
  CHECK_FALSE(one.maintain());
  engine.has_room = false;
  CHECK_FALSE(one.maintain());
  CHECK(engine.times_asked == 1);
  CHECK(one.health().engine == errc::storage_full);
  engine.has_room = true;
  CHECK_FALSE(one.maintain());
  CHECK(engine.times_asked == 2);
  CHECK(one.health().ok());
  CHECK(engine.times_left == 1);
  CHECK_FALSE(one.maintain());
  CHECK(engine.times_asked == 2);
}

TEST_CASE("a follower that was sent away is back also if the application flushes by itself") {
  leaving_replica with;
  auto& [disk, storage, engine, options, one, db] = with;
  REQUIRE(with.fill() > 0);
  engine.follow("another");
  CHECK(one.maintain() == errc::storage_full);
  REQUIRE(engine.times_left == 1);
  disk.heal();
  REQUIRE_FALSE(one.flush());  // nothing is due any more, so maintain() does not flush
  CHECK_FALSE(one.maintain());
  CHECK(engine.times_asked == 1);
  CHECK(one.health().ok());
}

TEST_CASE("a server that came back is not away again before as much is dirty, nor back unflushed") {
  leaving_replica with;
  auto& [disk, storage, engine, options, one, db] = with;
  REQUIRE(with.fill() > 0);
  engine.follow("another");
  REQUIRE(one.maintain() == errc::storage_full);
  disk.heal();
  REQUIRE_FALSE(one.maintain());  // a flush
  REQUIRE_FALSE(one.maintain());
  REQUIRE((engine.times_left == 1 && engine.times_asked == 1 && one.health().ok()));
  disk.full_from(disk.calls() + 1);
  engine.lead(term{9});
  REQUIRE(run(db, insert(5, 900)) == SQLITE_OK);
  engine.follow("another");
  CHECK(one.flush() == errc::storage_full);
  static_cast<void>(one.maintain());
  CHECK(engine.times_left == 1);  // there is memory for it
  engine.lead(term{10});
  REQUIRE(with.fill() > 0);
  REQUIRE(one.metrics().dirty_bytes > options.memory_bytes / 2);
  engine.follow("another");
  for (int i = 0; i < 5; ++i) {
    CHECK(one.maintain() == errc::storage_full);
    CHECK((engine.times_left == 2 && engine.times_asked == 1));
  }
  disk.heal();
  CHECK_FALSE(one.maintain());
  CHECK_FALSE(one.maintain());
  CHECK((engine.times_left == 2 && engine.times_asked == 2 && one.health().ok()));
}

TEST_CASE("an engine that gave up by itself has its files flushed when it is back, not before") {
  faulty_disk disk;
  basic_file_storage<faulty_file_system> storage{faulty_file_system{disk}};
  leaving_engine engine;
  replica one = replica::start(engine, storage).value();
  connection db = one.open("app.db").value();
  REQUIRE(run(db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v)") == SQLITE_OK);
  engine.broken = make_error_code(errc::storage_full);  // its log may have lost that entry
  CHECK(one.flush() == errc::storage_full);
  CHECK(one.metrics().durable.index == log_index{});
  CHECK_FALSE(one.maintain());
  CHECK(engine.times_asked == 1);
  CHECK_FALSE(one.flush());
  CHECK(one.metrics().durable == one.applied());
}

TEST_CASE("a commit that found no room leaves the turn to others") {
  faulty_disk disk;
  faulty_single one(std::size_t{512} << 10U, disk);
  connection db = one.open();
  connection other = one.open();
  REQUIRE(run(db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v)") == SQLITE_OK);
  REQUIRE_FALSE(one->flush());
  disk.full_from(disk.calls() + 1);
  int code = SQLITE_OK;
  for (int i = 0; i < 1000 && code == SQLITE_OK; ++i) {
    code = run(db, insert(5, 900));
  }
  REQUIRE(code == SQLITE_FULL);
  REQUIRE(db.last_error() == errc::storage_full);
  disk.heal();
  CHECK(run(other, insert(5, 900)) == SQLITE_OK);
  CHECK(run(db, insert(5, 900)) == SQLITE_OK);
}

TEST_CASE("after a flush that found no room the next one is made when it is due") {
  faulty_disk disk;
  faulty_single one(std::size_t{64} << 20U, disk, 1000);
  connection db = one.open();
  REQUIRE(run(db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v)") == SQLITE_OK);
  const std::uint64_t before = one->counters().flushes;
  disk.full_from(disk.calls() + 1);
  REQUIRE(run(db, insert(5, 900)) == SQLITE_OK);
  CHECK_FALSE(one->maintain());  // beside the strand: it is told in the log
  one.run_for(milliseconds{1000});
  CHECK(one->counters().flushes == before);
  CHECK(one.said().find("a flush failed") != std::string::npos);
  disk.heal();
  REQUIRE(run(db, insert(5, 900)) == SQLITE_OK);
  CHECK_FALSE(one->maintain());
  one.run_for(milliseconds{1000});
  CHECK(one->counters().flushes == before + 1);
}

TEST_CASE("a disk that is full in the middle of a restore ends it, wherever that is") {
  faulty_disk disk;
  faulty_single one(std::size_t{64} << 20U, disk);
  connection db = one.open();
  REQUIRE(run(db, "CREATE TABLE t(v)") == SQLITE_OK);
  REQUIRE(run(db, insert(400, 1000)) == SQLITE_OK);  // more than goes to the disk at once
  auto snapshot = one->machine().take_snapshot();
  REQUIRE(snapshot);
  bytes content(static_cast<std::size_t>((**snapshot).size_bytes()));
  REQUIRE_FALSE((**snapshot).read(0, content));
  const auto restore = [&]() -> std::error_code {
    auto stage = one->machine().begin_restore();
    if (!stage) {
      return stage.error();
    }
    const std::error_code error = (**stage).append(content);
    return error ? error : (**stage).finish();
  };
  const std::uint64_t begun = disk.calls();
  REQUIRE_FALSE(restore());
  const std::uint64_t calls = disk.calls() - begun;
  REQUIRE(calls > 4);
  for (std::uint64_t call = 1; call <= calls; ++call) {
    CAPTURE(call, calls);
    const std::uint64_t first = disk.calls() + 1;
    disk.fail_at(first + call - 1, std::errc::no_space_on_device);
    const std::error_code told = restore();
    // What is taken away at the end of a stage may fail: it is gone after the next start.
    const bool is_clean_up = disk.call(first + call - 1).kind == disk_call_kind::remove;
    CHECK((told == errc::storage_full || is_clean_up));
    disk.heal();
  }
  CHECK_FALSE(restore());
  CHECK_FALSE(one->health().halted);
  CHECK(ask(db, "SELECT count(*) FROM t") == "400");
}

TEST_CASE("a failed sync halts the replica, and what was committed is there after a restart") {
  faulty_disk disk;
  faulty_single one(std::size_t{8} << 20U, disk);
  {
    connection db = one.open();
    REQUIRE(run(db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v)") == SQLITE_OK);
    REQUIRE(run(db, insert(50, 900)) == SQLITE_OK);
    for (std::uint64_t call = disk.calls() + 1; call < disk.calls() + 60; ++call) {
      disk.fail_at(call, std::errc::io_error, quorlite::testing::fault_duration::once);
    }
    CHECK(one->flush() == failure::fatal);
    CHECK(one->health().halted);
    CHECK(run(db, "INSERT INTO t(v) VALUES(1)") != SQLITE_OK);
  }
  disk.heal();
  one.end(false);
  one.start();
  REQUIRE_FALSE(one->status());
  connection db = one.open();
  CHECK(ask(db, "SELECT count(*) FROM t") == "50");
  CHECK_FALSE(one->flush());
}

TEST_CASE("a replica whose storage breaks during a restore halts and says so") {
  faulty_disk disk;
  faulty_single one(std::size_t{64} << 20U, disk);
  {
    connection db = one.open();
    REQUIRE(run(db, "CREATE TABLE t(v)") == SQLITE_OK);
    REQUIRE(run(db, insert(50, 1000)) == SQLITE_OK);
  }
  auto snapshot = one->machine().take_snapshot();
  REQUIRE(snapshot);
  bytes content(static_cast<std::size_t>((**snapshot).size_bytes()));
  REQUIRE_FALSE((**snapshot).read(0, content));

  disk.fail_at(disk.calls() + 6, std::errc::io_error);
  bool has_failed = false;
  for (int attempt = 0; attempt < 3 && !has_failed; ++attempt) {
    auto stage = one->machine().begin_restore();
    has_failed = !stage || (**stage).append(content) || (**stage).finish();
  }
  REQUIRE(has_failed);
  CHECK(one->health().halted);
  CHECK(one->health().error == errc::storage_broken);
  CHECK(one->health().what.find("restore") != std::string::npos);
}

TEST_CASE("a file becomes a replicated database, and a replicated database a file") {
  const char* const mode = GENERATE("DELETE", "WAL");
  CAPTURE(mode);
  const temporary_directory place;
  const std::string source = place / "source.db";
  {
    const plain_file made(source, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    REQUIRE(run(made.db, "PRAGMA page_size=1024; PRAGMA journal_mode=" + std::string(mode)) ==
            SQLITE_OK);
    REQUIRE(run(made.db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v); CREATE INDEX i ON t(v)") ==
            SQLITE_OK);
    REQUIRE(run(made.db, insert(700, 300)) == SQLITE_OK);
  }
  const std::string directory = place / "data";
  file_single one(std::size_t{4} << 20U, directory);
  connection db = one.open();
  std::uint64_t calls = 0;
  REQUIRE_FALSE(import_database(*one, "app.db", source, [&](transfer_progress now) {
    ++calls;
    return now.done <= now.total;
  }));
  CHECK(calls > 0);
  CHECK(ask(db, "PRAGMA integrity_check") == "ok");
  CHECK(ask(db, "SELECT count(*) FROM t") == "700");
  const std::string sum = ask(db, "SELECT hex(max(v)), hex(min(v)) FROM t");
  REQUIRE(run(db, "INSERT INTO t(v) VALUES('more')") == SQLITE_OK);

  const std::string copy = place / "copy.db";
  connection writer = one.open();
  bool wrote = false;
  REQUIRE_FALSE(export_database(db, copy, [&](transfer_progress) {
    wrote = wrote || run(writer, "INSERT INTO t(v) VALUES('meanwhile')") == SQLITE_OK;
    return true;
  }));
  CHECK(wrote);
  {
    const plain_file exported(copy);
    CHECK(ask(exported.db, "PRAGMA integrity_check") == "ok");
    CHECK(ask(exported.db, "SELECT count(*) FROM t") == "701");
    CHECK(ask(exported.db, "SELECT hex(max(v)), hex(min(v)) FROM t WHERE v != 'more'") == sum);
  }
  CHECK(export_database(db, copy) == std::errc::file_exists);
  CHECK(export_database(db, place / "no/such/copy.db") == std::errc::no_such_file_or_directory);
  CHECK(export_database(db, place / "ended.db", [](transfer_progress) { return false; }) ==
        std::errc::operation_canceled);
  CHECK_FALSE(std::filesystem::exists(place / "ended.db"));
  for (const auto& left : std::filesystem::directory_iterator(place / "")) {
    CHECK(left.path().string().find("partial") == std::string::npos);
  }
  CHECK(import_database(*one, "app.db", place / "nothing.db") ==
        std::errc::no_such_file_or_directory);
  std::ofstream(place / "empty.db")
      .close();  // a backup that failed: it must not take the rows away
  CHECK(import_database(*one, "app.db", place / "empty.db") == errc::sqlite_failed);
  REQUIRE(run(db, "BEGIN") == SQLITE_OK);
  CHECK(export_database(db, place / "other.db") == errc::sqlite_failed);
  REQUIRE(run(db, "COMMIT") == SQLITE_OK);
  CHECK(ask(db, "SELECT count(*) FROM t") == "702");
}

TEST_CASE("a snapshot that is taken while readers are ended shows its moment, flushes or not") {
  const temporary_directory place;
  const std::string directory = place / "data";
  file_single one(500'000, directory, 0, 1);
  connection db = one.open();
  REQUIRE(run(db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v)") == SQLITE_OK);
  REQUIRE(run(db, insert(300, 1000)) == SQLITE_OK);
  auto snapshot = one->machine().take_snapshot();
  REQUIRE(snapshot);
  bytes before(static_cast<std::size_t>((**snapshot).size_bytes()));
  REQUIRE_FALSE((**snapshot).read(0, before));
  connection reader = one.open();
  for (int round = 0; round < 5; ++round) {
    REQUIRE(run(reader, "BEGIN; SELECT k FROM t LIMIT 1") == SQLITE_OK);
    REQUIRE(run(db, "UPDATE t SET v = randomblob(1000)") == SQLITE_OK);
    REQUIRE(run(db, "UPDATE t SET v = randomblob(1000)") == SQLITE_OK);  // after a flush
    const int code = run(reader, "SELECT sum(length(v)) FROM t");
    CHECK(code == (round == 0 ? SQLITE_OK : sqlite_snapshot_ended));  // the snapshot's own state
    static_cast<void>(run(reader, "ROLLBACK"));
  }
  CHECK(one->counters().flushes > 2);
  bytes after(before.size());
  REQUIRE_FALSE((**snapshot).read(0, after));
  CHECK(after == before);
  snapshot->reset();
  CHECK(one->metrics().snapshots_ended == 4);
  CHECK(one->health().ok());
  CHECK(ask(db, "PRAGMA integrity_check") == "ok");
}

TEST_CASE("an export that keeps too much is ended by an error of its own and leaves no file") {
  const temporary_directory place;
  const std::string directory = place / "data";
  file_single one(std::size_t{64} << 20U, directory, 0, 100'000);
  connection db = one.open();
  REQUIRE(run(db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v)") == SQLITE_OK);
  REQUIRE(run(db, insert(3000, 1000)) == SQLITE_OK);
  connection writer = one.open();
  const std::string copy = place / "copy.db";
  CHECK(export_database(db, copy, [&](transfer_progress) {
          return run(writer, "UPDATE t SET v = randomblob(1000)") == SQLITE_OK;
        }) == errc::snapshot_ended);
  CHECK_FALSE(std::filesystem::exists(copy));
  CHECK_FALSE(export_database(db, copy));
  const plain_file exported(copy);
  CHECK(ask(exported.db, "SELECT count(*) FROM t") == "3000");
}

TEST_CASE("a file of another page size is not imported over a database, and nothing changes") {
  const temporary_directory place;
  const std::string source = place / "source.db";
  {
    const plain_file made(source, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    REQUIRE(run(made.db, "PRAGMA page_size=8192; CREATE TABLE t(x)") == SQLITE_OK);
  }
  const std::string directory = place / "data";
  file_single one(std::size_t{1} << 20U, directory);
  connection db = one.open();
  REQUIRE(run(db, "CREATE TABLE mine(x)") == SQLITE_OK);
  CHECK(import_database(*one, "app.db", source) == errc::other_page_size);
  CHECK(import_database(*one, "app.db", source) == failure::refused);
  CHECK(ask(db, "SELECT group_concat(name) FROM sqlite_schema") == "mine");
  CHECK_FALSE(import_database(*one, "new.db", source));  // a new one may have any
  CHECK(one->health().ok());
}

TEST_CASE("databases by the thousand begin, are used, and start again with few descriptors") {
  // By hand QUORLITE_TEST_DATABASES=5000, with a thousand descriptors: some minutes.
  const char* const asked = std::getenv("QUORLITE_TEST_DATABASES");
  const int usual = quorlite::tests::is_short_profile() ? 200 : 1000;
  const int count = asked != nullptr ? std::max(std::atoi(asked), usual) : usual;
  const temporary_directory place;
  const std::string directory = place / "data";
  const auto few =
      quorlite::tests::lowered_limit::descriptors(static_cast<::rlim_t>(count / 5 + 60));
  file_single one(std::size_t{64} << 20U, directory);
  REQUIRE_FALSE(one->upgrade());
  const auto name = [](int i) { return "d" + std::to_string(i) + ".db"; };
  for (int i = 0; i < count; ++i) {
    connection db = one->open(name(i)).value();
    REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(" + std::to_string(i) + ")") ==
            SQLITE_OK);
    if (i % 100 == 99) {
      REQUIRE_FALSE(one->flush());
    }
  }
  for (const int added : {1, 2}) {  // starts
    REQUIRE_FALSE(one->flush());
    one.end(added == 1);
    one.start();
    CHECK(one->health().ok());
    for (int i = 0; i < count; i += 7) {
      connection db = one->open(name(i)).value();
      CHECK(ask(db, "SELECT sum(x) FROM t") == std::to_string(i + added - 1));
      CHECK(run(db, "INSERT INTO t VALUES(1)") == SQLITE_OK);
    }
  }
  CHECK_FALSE(one->flush());
  REQUIRE_FALSE(one->drop(name(7)));
  CHECK_FALSE(one->flush());
}

TEST_CASE("a file that is larger than a write set may be is not imported, and nothing changes") {
  const temporary_directory place;
  const std::string source = place / "source.db";
  {
    const plain_file made(source, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    REQUIRE(run(made.db, "CREATE TABLE t(k INTEGER PRIMARY KEY, v)") == SQLITE_OK);
    REQUIRE(run(made.db, insert(100, 3000)) == SQLITE_OK);
  }
  replica_options small;
  small.write_set_bytes = std::uint64_t{100} << 10U;
  quorlite::testing::replica_cluster cluster({.replicas = 1}, small);
  const server_id leader = cluster.wait_for_leader().value();
  CHECK(import_database(cluster.replica(leader), "app.db", source) == errc::too_large);
  connection db = cluster.connect(leader);
  CHECK(ask(db, "SELECT count(*) FROM sqlite_schema") == "0");
  CHECK(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
}

}  // namespace file_replicas_test
