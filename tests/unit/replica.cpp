// The handle that users hold: starting it, moving it, ending it while connections are open, and
// what it says when something is wrong.
#include <sqlite3.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/testing/test_raft.hpp"
#include "quorlite/transfer.hpp"
#include "support/lone_engine.hpp"
#include "support/sql.hpp"
#include "support/started_replica.hpp"
#include "support/temporary_directory.hpp"

namespace replica_test {
namespace {

using namespace quorlite;
using quorlite::testing::test_raft;
using tests::lone_engine;
using tests::started_replica;
using tests::temporary_directory;

struct lone_replica {
  explicit lone_replica(const replica_options& options = {})
      : node(replica::start(engine, storage, options).value()) {}

  lone_engine engine;
  memory_storage storage;
  replica node;
};

/// What a replica said.
struct heard {
  std::vector<std::string> lines;

  void listen(replica_options& options) {
    options.log_context = this;
    options.log = [](void* context, std::string_view text) {
      static_cast<heard*>(context)->lines.emplace_back(text);
    };
  }
  [[nodiscard]] bool has(std::string_view part) const {
    for (const std::string& line : lines) {
      if (line.find(part) != std::string::npos) {
        return true;
      }
    }
    return false;
  }
};

/// Everything that a program may have open when its replica ends.
struct survivors {
  connection reader;
  connection writer;
  connection idle;
  sqlite3_stmt* cursor = nullptr;
  write_result told;

  explicit survivors(replica& on) {
    writer = on.open("app.db", {.page_size = 512}).value();
    REQUIRE(run(writer, "CREATE TABLE t(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                        " FROM n WHERE i < 200) INSERT INTO t SELECT hex(zeroblob(200)) FROM n") ==
            SQLITE_OK);
    REQUIRE_FALSE(on.flush());  // pages are in the storage
    reader = on.open("app.db").value();
    idle = on.open("app.db").value();
    REQUIRE(run(reader, "PRAGMA cache_size=2") == SQLITE_OK);
    REQUIRE(sqlite3_prepare_v2(reader, "SELECT x FROM t", -1, &cursor, nullptr) == SQLITE_OK);
    REQUIRE(sqlite3_step(cursor) == SQLITE_ROW);
    told = on.write("app.db",
                    [](sqlite3* db) { return run(db, "INSERT INTO t VALUES('of a group')"); });
    REQUIRE(told.ok());
    REQUIRE(run(writer, "BEGIN IMMEDIATE; INSERT INTO t VALUES('never')") == SQLITE_OK);
  }
  ~survivors() { sqlite3_finalize(cursor); }

  void check_stopped() {
    int code = SQLITE_ROW;
    while (code == SQLITE_ROW) {
      code = sqlite3_step(cursor);
    }
    CHECK((code & 0xFF) == SQLITE_IOERR);
    CHECK(reader.last_error() == errc::stopped);
    CHECK(reader.last_error() == failure::not_applied);
    CHECK(reader.error_message() == make_error_code(errc::stopped).message());
    CHECK(run(writer, "COMMIT") == sqlite_not_leader);
    CHECK(writer.last_error() == errc::stopped);
    CHECK(run(idle, "SELECT count(*) FROM t") == sqlite_not_leader);
    CHECK(idle.last_error() == errc::stopped);
    CHECK(run(idle, "INSERT INTO t VALUES(1)") == sqlite_not_leader);
    CHECK(run(idle, "PRAGMA optimize") == SQLITE_OK);
    CHECK(run(idle, "ATTACH 'other.db' AS other") == SQLITE_CANTOPEN);
    CHECK(told.ok());
    reader = {};  // its statement is not finalized yet
  }
};

template <class Engine, class Storage>
void end_before_connections(std::unique_ptr<Engine> engine, std::unique_ptr<Storage> storage,
                            const std::function<void()>& wait_for_leader) {
  std::optional<survivors> open;
  {
    replica node = replica::start(*engine, *storage).value();
    wait_for_leader();
    open.emplace(node);
  }
  storage.reset();
  engine.reset();
  open->check_stopped();
}

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

static_assert(!std::is_convertible_v<connection, sqlite3*>);
static_assert(std::is_convertible_v<connection&, sqlite3*>);
static_assert(std::is_nothrow_move_constructible_v<replica> &&
              std::is_nothrow_move_assignable_v<replica> && !std::is_copy_constructible_v<replica>);

TEST_CASE("connections, statements and transactions may outlive their replica and its storage") {
  const auto at_once = [] {};
  end_before_connections(std::make_unique<lone_engine>(), std::make_unique<memory_storage>(),
                         at_once);
  const temporary_directory place;
  end_before_connections(std::make_unique<lone_engine>(),
                         std::make_unique<file_storage>(place / "data"), at_once);
}

TEST_CASE("connections outlive a replica on the test Raft, over memory and over files") {
  const temporary_directory place;
  quorlite::testing::simulation simulation{{.replicas = 1}};
  const auto wait = [&] {
    REQUIRE(simulation.run_until([&] { return simulation.leader().has_value(); },
                                 milliseconds{20'000}));
  };
  end_before_connections(std::make_unique<test_raft>(simulation, server_id{1}),
                         std::make_unique<memory_storage>(), wait);
  quorlite::testing::simulation other{{.replicas = 1}};
  const auto wait_for_other = [&] {
    REQUIRE(other.run_until([&] { return other.leader().has_value(); }, milliseconds{20'000}));
  };
  end_before_connections(std::make_unique<test_raft>(other, server_id{1}),
                         std::make_unique<file_storage>(place / "data"), wait_for_other);
}

TEST_CASE("a snapshot and a restore on their way outlive the replica's storage") {
  lone_engine engine;
  auto storage = std::make_unique<memory_storage>();
  std::unique_ptr<snapshot_stage> stage;
  {
    const replica node = replica::start(engine, *storage).value();
    fsm<lone_engine, memory_storage> machine(*storage);
    stage = machine.begin_restore().value();
    machine.leave_storage();
  }
  storage.reset();
  CHECK(stage->finish());
}

TEST_CASE("an empty replica answers stopped, and a moved one goes on") {
  replica empty;
  CHECK_FALSE(empty);
  CHECK(empty.open("app.db").error() == errc::stopped);
  CHECK(empty.write("app.db", [](sqlite3*) { return SQLITE_OK; }).error == errc::stopped);
  CHECK(empty.drop("app.db") == errc::stopped);
  CHECK(empty.read_barrier() == errc::stopped);
  CHECK(empty.flush() == errc::stopped);
  CHECK(empty.maintain() == errc::stopped);
  CHECK_FALSE(empty.stop());
  CHECK(empty.outcome({term{1}, 1}) == transaction_outcome::undecided);
  CHECK_FALSE(empty.leader().leading);
  CHECK_FALSE(empty.health().ok());
  CHECK(empty.databases().empty());
  CHECK(empty.metrics().applied == log_position{});
  CHECK(empty.applied() == log_position{});
  CHECK(empty.vfs_name().empty());
  CHECK(empty.set_up(nullptr) == errc::stopped);
  CHECK_FALSE(empty.wait_for_leadership_change({}, milliseconds{1}));

  lone_replica one;
  connection db = one.node.open("app.db").value();
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  empty = std::move(one.node);
  CHECK(empty);
  CHECK(one.node.open("app.db").error() == errc::stopped);
  CHECK(run(db, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  lone_replica two;
  empty = std::move(two.node);  // ends the first
  CHECK(one.engine.stops == 1);
  CHECK(run(db, "INSERT INTO t VALUES(2)") == sqlite_not_leader);
  CHECK(ask(empty.open("app.db").value(), "SELECT count(*) FROM sqlite_schema") == "0");
}

TEST_CASE("members of an empty connection are safe") {
  const connection empty;
  CHECK(empty.get() == nullptr);
  CHECK(empty.last_error() == errc::sqlite_failed);
  CHECK_FALSE(empty.error_message().empty());
  CHECK(empty.last_transaction() == transaction_id{});
  connection none;
  CHECK(export_database(none, "/nowhere/copy.db") == errc::sqlite_failed);
}

TEST_CASE("stop() on several threads at once stops the engine once, and reads go on") {
  lone_replica one;
  connection db = one.node.open("app.db").value();
  REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(7)") == SQLITE_OK);
  std::vector<std::thread> all;
  for (int i = 0; i < 8; ++i) {
    all.emplace_back([&] { static_cast<void>(one.node.stop()); });
  }
  for (std::thread& each : all) {
    each.join();
  }
  CHECK(one.engine.stops == 1);
  CHECK(one.node.metrics().durable == one.node.applied());
  CHECK(ask(db, "SELECT x FROM t") == "7");
  CHECK(run(db, "INSERT INTO t VALUES(8)") == sqlite_not_leader);
  CHECK(db.last_error() == errc::stopped);
  CHECK(one.node.read_barrier() == errc::stopped);
}

namespace {

/// Says that a crash tore its pages.
struct torn_storage : memory_storage {
  [[nodiscard]] result<recovery> recover() noexcept {
    result<recovery> found = memory_storage::recover();
    found->ahead = log_index{found->at.index.value + 2};
    return found;
  }
};

}  // namespace

TEST_CASE("health says that a replica recovers, while open() answers busy") {
  lone_engine engine;
  engine.follows = true;
  torn_storage storage;
  started_replica<lone_engine, torn_storage> node(engine, storage);
  CHECK(node.health().recovering);
  CHECK_FALSE(node.health().ok());
  CHECK(node.open("app.db").error() == errc::busy);
  for (const std::uint64_t index : {1U, 2U}) {  // two entries, whatever they do
    CHECK(node.machine().skip({log_index{index}, term{1}}) == apply_result::applied);
  }
  engine.lead(term{2});
  CHECK(node.health().ok());
  CHECK(node.open("app.db").has_value());
}

TEST_CASE(
    "a leader whose log ended within a flush of its files does not lead, and says both ends") {
  lone_engine engine;
  torn_storage storage;
  for (const int brought : {0, 1}) {  // of the two entries that the log had
    engine.follows = brought != 0;
    engine.withdrawn = false;
    started_replica<lone_engine, torn_storage> node(engine, storage);
    for (int i = 0; i < brought; ++i) {
      static_cast<void>(node.machine().skip({log_index{1}, term{1}}));
    }
    if (brought != 0) {
      engine.lead(term{2});
    }
    const health now = node.health();
    CHECK((now.halted && now.recovering && now.error == errc::log_too_short));
    INFO(now.what);
    CHECK(now.what.find("ends at " + std::to_string(brought)) != std::string::npos);
    CHECK(now.what.find("on the way to log index 2") != std::string::npos);
    CHECK(now.what.find("are no databases") != std::string::npos);  // nothing can be exported
    CHECK(now.what.find("export") == std::string::npos);
    CHECK(engine.withdrawn.load());
    CHECK_FALSE(node.leader().leading);
    CHECK(node.open("app.db").error() == errc::log_too_short);
    const write_result said = node.write("app.db", [](sqlite3*) { return SQLITE_OK; });
    CHECK(said.error == errc::log_too_short);
    CHECK(said.message.find(now.what) != std::string::npos);
    CHECK(node.drop("app.db") == errc::halted);
  }
  // Where another server leads, its log brings what this one has lost.
  engine.follows = true;
  started_replica<lone_engine, torn_storage> node(engine, storage);
  for (const std::uint64_t index : {1U, 2U}) {
    CHECK(node.machine().skip({log_index{index}, term{3}}) == apply_result::applied);
  }
  CHECK(node.health().ok());
  CHECK(node.open("app.db").has_value());
}

TEST_CASE("a read barrier says what went wrong, each as itself") {
  const struct {
    settle_reason why;
    errc expected;
  } rows[] = {{settle_reason::not_leader, errc::not_leader},
              {settle_reason::busy, errc::overloaded},
              {settle_reason::leadership_lost, errc::leadership_lost},
              {settle_reason::log_failed, errc::log_failed},
              {settle_reason::timed_out, errc::timed_out},
              {settle_reason::stopped, errc::stopped}};
  for (const auto& row : rows) {
    lone_replica one;
    CHECK_FALSE(one.node.read_barrier());
    one.engine.refuses = row.why;
    CHECK(one.node.read_barrier() == row.expected);
  }
  lone_replica silent;
  silent.engine.is_silent = true;
  CHECK(silent.node.read_barrier(milliseconds{1}) == errc::timed_out);
}

TEST_CASE("a refusal by a stopped engine or a failed log says so, and was not applied") {
  for (const auto& [why, expected] : {std::pair{settle_reason::stopped, errc::stopped},
                                      std::pair{settle_reason::log_failed, errc::log_failed}}) {
    lone_replica one;
    connection db = one.node.open("app.db").value();
    REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
    one.engine.refuses = why;
    CHECK(run(db, "INSERT INTO t VALUES(1)") == sqlite_not_leader);
    CHECK(db.last_error() == expected);
    CHECK(db.last_error() == failure::not_applied);
  }
}

TEST_CASE("options that cannot be are an answer of start(), as the engine's error is") {
  lone_engine engine;
  memory_storage storage;
  replica_options options;
  options.groups = 0;
  CHECK(replica::start(engine, storage, options).error() == std::errc::invalid_argument);
  options.groups = 1;
  options.group_closures = 0;
  CHECK(replica::start(engine, storage, options).error() == std::errc::invalid_argument);
  options.group_closures = 1;
  heard log;
  log.listen(options);
  options.cluster_id = 0x325345544F4E4C51;  // as its docstring says
  CHECK(replica::start(engine, storage, options).error() == std::errc::invalid_argument);
  CHECK(log.has("cluster_id"));
  engine.start_error = std::make_error_code(std::errc::address_in_use);
  CHECK(replica::start(engine, storage).error() == std::errc::address_in_use);
  CHECK(engine.stops == 0);
  engine.start_error = {};
  CHECK(replica::start(engine, storage).has_value());
  lone_engine other_engine;
  memory_storage other_storage;
  options.cluster_id += 1;
  CHECK(replica::start(other_engine, other_storage, options).has_value());
}

TEST_CASE("an engine that gave up is in health(), and people are told once") {
  heard log;
  replica_options options;
  log.listen(options);
  lone_replica one(options);
  CHECK(one.node.health().ok());
  one.engine.broken = make_error_code(errc::storage_broken);
  CHECK(one.node.health().engine == errc::storage_broken);
  CHECK_FALSE(one.node.health().ok());
  CHECK_FALSE(one.node.maintain());
  CHECK(log.lines.size() == 1);
  CHECK(log.has("engine gave up"));
}

TEST_CASE("a replica that halts, or refuses a snapshot, says so") {
  heard log;
  replica_options options;
  log.listen(options);
  memory_storage storage;
  fsm<lone_engine, memory_storage> machine(
      storage, {.log = options.log, .log_context = options.log_context});
  auto stage = machine.begin_restore().value();
  const bytes nonsense(100, std::byte{7});
  CHECK(stage->append(nonsense));
  CHECK(log.has("a snapshot was refused"));
  CHECK(machine.apply({{log_index{2}, term{1}}, {}}) == apply_result::halted);  // 1 is missing
  CHECK(log.has("halted"));
  CHECK(log.lines.size() == 2);
}

TEST_CASE("an export overwrites nothing unless it is asked to, and keeps off others' files") {
  const temporary_directory place;
  lone_replica one;
  connection db = one.node.open("app.db").value();
  REQUIRE(run(db,
              "CREATE TABLE t(x); CREATE TABLE more(x); INSERT INTO t VALUES('new');"
              " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)"
              " INSERT INTO more SELECT zeroblob(4000) FROM n") == SQLITE_OK);  // several steps
  const std::string path = place / "copy.db";
  std::ofstream(path + ".partial") << "somebody's";
  std::ofstream(path) << "old";
  CHECK(export_database(db, path) == std::errc::file_exists);
  CHECK(content_of(path) == "old");
  int calls = 0;
  const auto intrude = [&](transfer_progress) {
    std::ofstream(path) << "intruder";
    return ++calls > 0;
  };
  std::remove(path.c_str());
  CHECK(export_database(db, path, intrude) == std::errc::file_exists);
  REQUIRE(calls > 0);
  CHECK(content_of(path) == "intruder");
  CHECK_FALSE(export_database(db, path, no_progress{}, {.overwrite = true}));
  CHECK(content_of(path + ".partial") == "somebody's");
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(place / "")) {
    files += entry.is_regular_file() ? 1U : 0U;
  }
  CHECK(files == 2);  // nothing is left behind
  sqlite3* copy = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &copy) == SQLITE_OK);
  CHECK(ask(copy, "SELECT x FROM t") == "new");
  sqlite3_close(copy);
}

TEST_CASE(
    "a database with a malformed schema opens, is copied, mended and replaced, as a file is") {
  const temporary_directory place;
  lone_replica one;
  connection db = one.node.open("app.db").value();
  REQUIRE(run(db, "CREATE TABLE t(x); CREATE TABLE u(x); INSERT INTO u VALUES(7)") == SQLITE_OK);
  const std::string sound = place / "sound.db";
  REQUIRE_FALSE(export_database(db, sound));
  const auto spoil = [&] {
    REQUIRE(run(one.node.open("app.db").value(),
                "PRAGMA writable_schema=ON;"
                "UPDATE sqlite_schema SET sql='no SQL' WHERE name='t'") == SQLITE_OK);
  };
  spoil();
  {
    connection fresh = one.node.open("app.db").value();
    CHECK(run(fresh, "SELECT x FROM u") == SQLITE_CORRUPT);
    CHECK(fresh.error_message().find("malformed database schema (t)") != std::string::npos);
    CHECK(ask(fresh, "PRAGMA writable_schema") == "0");
    const std::string copy = place / "copy.db";
    CHECK_FALSE(export_database(fresh, copy));
    sqlite3* plain = nullptr;
    REQUIRE(sqlite3_open(copy.c_str(), &plain) == SQLITE_OK);
    CHECK(run(plain, "SELECT x FROM u") == SQLITE_CORRUPT);  // nothing was made up
    sqlite3_close(plain);
    CHECK_FALSE(
        one.node.write("app.db", [](sqlite3* in) { return run(in, "DELETE FROM u"); }).ok());
    CHECK(run(fresh, "PRAGMA writable_schema=ON;"
                     "UPDATE sqlite_schema SET sql='CREATE TABLE t(x)' WHERE name='t';"
                     "PRAGMA writable_schema=RESET") == SQLITE_OK);
    CHECK(ask(fresh, "SELECT x FROM u") == "7");
    CHECK(ask(fresh, "PRAGMA synchronous") == "2");
    CHECK(ask(fresh, "PRAGMA integrity_check") == "ok");
  }
  spoil();
  CHECK_FALSE(import_database(one.node, "app.db", sound));
  CHECK(ask(one.node.open("app.db").value(), "SELECT x FROM u") == "7");
  // Set up for another wrapper.
  spoil();
  sqlite3* foreign = nullptr;
  REQUIRE(sqlite3_open_v2("app.db", &foreign, SQLITE_OPEN_READWRITE, one.node.vfs_name().c_str()) ==
          SQLITE_OK);
  CHECK_FALSE(one.node.set_up(foreign));
  CHECK(run(foreign, "SELECT x FROM u") == SQLITE_CORRUPT);
  sqlite3_close(foreign);
}

TEST_CASE("what a progress function throws ends an export or an import, and leaves nothing open") {
  struct thrown {};
  const temporary_directory place;
  replica_options options;
  options.vfs_name = "quorlite-thrown";
  {
    lone_replica one(options);
    connection db = one.node.open("app.db").value();
    REQUIRE(run(db,
                "CREATE TABLE t(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                " FROM n WHERE i < 700) INSERT INTO t SELECT zeroblob(4000) FROM n") == SQLITE_OK);
    const std::string source = place / "source.db";
    REQUIRE_FALSE(export_database(db, source));
    const auto thrower = [](transfer_progress) -> bool { throw thrown{}; };
    CHECK_THROWS_AS(export_database(db, place / "copy.db", thrower), thrown);
    CHECK_FALSE(std::filesystem::exists(place / "copy.db"));
    CHECK(sqlite3_get_autocommit(db) == 1);
    CHECK_THROWS_AS(import_database(one.node, "new.db", source, thrower), thrown);
    CHECK(one.node.open("new.db", {.create = false}).error() == errc::no_such_database);
    CHECK_FALSE(import_database(one.node, "new.db", source));
    CHECK_FALSE(export_database(db, place / "copy.db"));
  }
  CHECK(sqlite3_vfs_find("quorlite-thrown") == nullptr);  // no connection is left that uses it
}

TEST_CASE(
    "SQLite opens a database file once the replica is stopped and its storage has ended or is "
    "closed") {
  const bool closes = GENERATE(false, true);
  const temporary_directory place;
  const auto rows = [&place] {
    sqlite3* plain = nullptr;
    REQUIRE(sqlite3_open((place / "data/app.db").c_str(), &plain) == SQLITE_OK);
    const std::string answer = ask(plain, "SELECT x FROM t");
    sqlite3_close(plain);
    return answer;
  };
  const std::string refused = "!" + std::to_string(SQLITE_NOTADB);
  {
    lone_engine engine;
    file_storage storage{place / "data"};
    replica node = replica::start(engine, storage).value();
    REQUIRE(run(node.open("app.db").value(), "CREATE TABLE t(x); INSERT INTO t VALUES(7)") ==
            SQLITE_OK);
    REQUIRE_FALSE(node.flush());
    CHECK(rows() == refused);
    REQUIRE_FALSE(node.stop());
    CHECK(rows() == refused);
    if (closes) {
      REQUIRE_FALSE(storage.close());
      CHECK(rows() == "7");
    }
  }
  CHECK(rows() == "7");
}

TEST_CASE("a server with data but no history is not founded by a start that says so") {
  memory_storage storage;
  const auto database = GENERATE("stays", "was dropped", "was never there");
  INFO("its database " << database);
  const bool is_blank = std::string_view(database) == "was never there";
  {
    lone_engine engine;
    started_replica<lone_engine, memory_storage> node(engine, storage);
    REQUIRE_FALSE(node.status());
    if (!is_blank) {
      REQUIRE(run(node.open("app.db").value(), "CREATE TABLE t(x); INSERT INTO t VALUES(7)") ==
              SQLITE_OK);
    }
    if (std::string_view(database) == "was dropped") {
      REQUIRE_FALSE(node.drop("app.db"));
    }
    REQUIRE_FALSE(node.stop());
  }
  lone_engine engine;
  started_replica<lone_engine, memory_storage> node(engine, storage, {.found = true});
  REQUIRE_FALSE(node.status());
  REQUIRE_FALSE(node.maintain());
  CHECK((node.metrics().history == history_identity{}) == !is_blank);
  REQUIRE(run(node.open("app.db").value(),
              "CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(8)") == SQLITE_OK);
  REQUIRE_FALSE(node.maintain());
  CHECK((node.metrics().history == history_identity{}) == !is_blank);
  CHECK(node.metrics().machine.conflicts == 0);
  if (!is_blank) {
    REQUIRE_FALSE(node.upgrade());  // which is how it gets one
    CHECK(node.metrics().history != history_identity{});
  }
}

TEST_CASE("VFS names: a free number by default, the user's own as it is, a taken one is an error") {
  lone_replica one;
  lone_replica two;
  CHECK(one.node.vfs_name() != two.node.vfs_name());
  CHECK(sqlite3_vfs_find(one.node.vfs_name().c_str()) != nullptr);
  replica_options options;
  options.vfs_name = "quorlite";
  {
    lone_replica named(options);
    CHECK(named.node.vfs_name() == "quorlite");
    lone_engine engine;
    memory_storage storage;
    CHECK(replica::start(engine, storage, options).error() == errc::name_taken);
  }
  CHECK(sqlite3_vfs_find("quorlite") == nullptr);
  const sqlite3_vfs* table = nullptr;
  {
    lone_replica again(options);
    table = sqlite3_vfs_find("quorlite");
  }
  lone_replica once_more(options);
  CHECK(sqlite3_vfs_find("quorlite") == table);  // doors are used again
  // What another copy of the library, or anybody, has registered is passed over.
  const std::string last = two.node.vfs_name();
  const std::string next = "quorlite-" + std::to_string(std::stoi(last.substr(9)) + 1);
  sqlite3_vfs stranger = *sqlite3_vfs_find(nullptr);
  stranger.pNext = nullptr;
  stranger.zName = next.c_str();
  REQUIRE(sqlite3_vfs_register(&stranger, 0) == SQLITE_OK);
  {
    lone_replica three;
    CHECK(three.node.vfs_name() != next);
  }
  sqlite3_vfs_unregister(&stranger);
}

TEST_CASE("a connection that another wrapper opened by the VFS's name is set up as one of ours") {
  lone_replica one;
  sqlite3* foreign = nullptr;
  const std::string uri = "file:app.db?vfs=" + one.node.vfs_name();
  REQUIRE(sqlite3_open_v2(uri.c_str(), &foreign,
                          SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
                          nullptr) == SQLITE_OK);
  REQUIRE_FALSE(one.node.set_up(foreign, milliseconds{1234}));
  CHECK(ask(foreign, "PRAGMA busy_timeout") == "1234");
  CHECK(ask(foreign, "SELECT quorlite_vfs()") == one.node.vfs_name());
  CHECK(run(foreign, "CREATE TABLE t(x); INSERT INTO t VALUES(1)") == SQLITE_OK);
  CHECK(ask(one.node.open("app.db").value(), "SELECT x FROM t") == "1");
  one.engine.refuses = settle_reason::not_leader;
  CHECK(sqlite3_exec(foreign, "INSERT INTO t VALUES(2)", nullptr, nullptr, nullptr) ==
        sqlite_not_leader);
  sqlite3* plain = nullptr;
  REQUIRE(sqlite3_open(":memory:", &plain) == SQLITE_OK);
  CHECK(one.node.set_up(plain) == errc::unsupported);
  sqlite3_close(plain);
  sqlite3_close(foreign);
}

TEST_CASE("on a connection of ours SQL means what it means on one of plain SQLite") {
  lone_replica one;
  const connection ours = one.node.open("app.db").value();
  sqlite3* plain = nullptr;
  REQUIRE(sqlite3_open(":memory:", &plain) == SQLITE_OK);
  for (const char* const mode :
       {"foreign_keys", "ignore_check_constraints", "recursive_triggers", "defer_foreign_keys",
        "legacy_alter_table", "reverse_unordered_selects", "trusted_schema", "writable_schema",
        "query_only", "read_uncommitted", "automatic_index", "full_column_names",
        "short_column_names", "count_changes", "encoding", "secure_delete", "temp_store"}) {
    const std::string sql = std::string("PRAGMA ") + mode;
    CHECK(ask(ours, sql) == ask(plain, sql));
  }
  for (const char* const sql :
       {"CREATE TABLE t(a INTEGER PRIMARY KEY CHECK(a < 9), b UNIQUE, c REFERENCES t(b))",
        "INSERT INTO t VALUES(10, 1, 1)", "INSERT INTO t VALUES(1, 1, 7)",
        "INSERT OR IGNORE INTO t VALUES(2, 1, 7)", "SELECT \"no such column\"",
        "SELECT 'A' LIKE 'a', count(*) FROM t"}) {
    CHECK(run(ours, sql) == run(plain, sql));
    CHECK(ask(ours, "SELECT * FROM t") == ask(plain, "SELECT * FROM t"));
  }
  sqlite3_close(plain);
}

TEST_CASE("a connection in memory that knows the VFS may outlive the replica too") {
  sqlite3* foreign = nullptr;
  {
    lone_replica one;
    const std::string uri = "file::memory:?vfs=" + one.node.vfs_name();
    REQUIRE(sqlite3_open_v2(uri.c_str(), &foreign,
                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
                            nullptr) == SQLITE_OK);
    REQUIRE(run(foreign, "ATTACH 'app.db' AS a; CREATE TABLE a.t(x); DETACH a") == SQLITE_OK);
  }
  CHECK(run(foreign, "ATTACH 'app.db' AS a") != SQLITE_OK);
  CHECK(run(foreign, "CREATE TABLE t(x); SELECT random(), datetime('now')") == SQLITE_OK);
  sqlite3_close(foreign);
}

TEST_CASE("a database that nobody has written yet is not opened where none is to be created") {
  lone_replica one;
  CHECK(one.node.open("app.db", {.create = false}).error() == errc::no_such_database);
  REQUIRE(run(one.node.open("app.db").value(), "CREATE TABLE t(x)") == SQLITE_OK);
  connection db = one.node.open("app.db", {.create = false}).value();
  CHECK(run(db, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  CHECK(one.node.open("app.db", {.read_only = true, .create = false}).has_value());
}

TEST_CASE("who may not create a database cannot open one that is not there, as in plain SQLite") {
  lone_replica one;
  const int any = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI;
  const auto open = [&](const std::string& name, int flags) {
    sqlite3* opened = nullptr;
    const int code = sqlite3_open_v2(name.c_str(), &opened, flags, one.node.vfs_name().c_str());
    sqlite3_close(opened);
    return code;
  };
  const auto check_all = [&](int code) {
    CHECK(open("file:app.db?mode=rw", any) == code);
    CHECK(open("file:app.db?mode=ro", any) == code);
    CHECK(open("app.db", SQLITE_OPEN_READWRITE) == code);
    CHECK(open("app.db", SQLITE_OPEN_READONLY) == code);
  };
  check_all(SQLITE_CANTOPEN);
  // Ours may wait for the leader to create it.
  connection early = one.node.open("app.db", {.read_only = true}).value();
  CHECK(ask(early, "SELECT count(*) FROM sqlite_schema") == "0");
  CHECK(run(early, "CREATE TABLE t(x)") == SQLITE_READONLY);
  CHECK(run(early, "ATTACH 'other.db' AS other") == SQLITE_CANTOPEN);
  CHECK(early.error_message().find("mode=rwc") != std::string::npos);
  check_all(SQLITE_CANTOPEN);
  CHECK(open("file:app.db?mode=rwc", any) == SQLITE_OK);
  check_all(SQLITE_CANTOPEN);  // who opens one writes nothing yet
  REQUIRE(run(one.node.open("app.db").value(), "CREATE TABLE t(x)") == SQLITE_OK);
  check_all(SQLITE_OK);
  CHECK(ask(early, "SELECT count(*) FROM t") == "0");
  REQUIRE_FALSE(one.node.drop("app.db"));
  check_all(SQLITE_CANTOPEN);
}

TEST_CASE("a transaction that begins one database too many is refused, not to be run again") {
  lone_replica one;
  std::size_t begun = 0;
  const auto begin = [&one](const std::string& name) {
    const connection db = one.node.open(name).value();
    const int code = run(db, "PRAGMA user_version=1");
    return code == SQLITE_OK ? std::error_code{} : db.last_error();
  };
  for (; begun < limits::databases_before_history - 1; ++begun) {
    REQUIRE_FALSE(begin("db" + std::to_string(begun)));
  }
  // Two at once are one too many.
  connection both = one.node.open("left.db").value();
  REQUIRE(run(both, "ATTACH 'right.db' AS r") == SQLITE_OK);
  REQUIRE(run(both, "BEGIN; PRAGMA main.user_version=1; PRAGMA r.user_version=1") == SQLITE_OK);
  CHECK(run(both, "COMMIT") == SQLITE_FULL);  // 10250 would say to run it again
  CHECK(both.last_error() == errc::too_many_databases);
  CHECK(both.error_message() == "too many databases: drop one");
  CHECK(ask(both, "PRAGMA quorlite_error") == "too many databases: drop one");
  CHECK(sqlite3_get_autocommit(both) == 1);
  CHECK(one.node.open("left.db", {.create = false}).error() == errc::no_such_database);
  CHECK(one.node.open("right.db", {.create = false}).error() == errc::no_such_database);
  CHECK(run(both, "PRAGMA user_version=1") == SQLITE_OK);
  CHECK(begin("more.db") == errc::too_many_databases);
  CHECK(begin("more.db") == failure::refused);
  CHECK_FALSE(begin("db0"));
  REQUIRE_FALSE(one.node.drop("db0"));
  CHECK_FALSE(begin("more.db"));
}

TEST_CASE("who waits for a change of leadership is told when there is one") {
  lone_replica one;
  const leader_info seen = one.node.leader();
  CHECK(seen.leading);
  CHECK_FALSE(one.node.wait_for_leadership_change(seen, milliseconds{1}));
  one.engine.while_waiting = [](lone_engine& engine) { engine.follow("another"); };
  CHECK(one.node.wait_for_leadership_change(seen, milliseconds{1}));
  CHECK(one.node.leader().leader_hint == "another");
  CHECK(one.node.wait_for_leadership_change(seen, milliseconds{1}));  // at once
}

TEST_CASE("metrics gather what all parts have counted") {
  lone_replica one;
  connection db = one.node.open("app.db", {.page_size = 4096}).value();
  REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  REQUIRE(one.node.write("app.db", [](sqlite3* in) { return run(in, "INSERT INTO t VALUES(1)"); })
              .ok());
  const replica_metrics now = one.node.metrics();
  CHECK(now.machine.transactions == 2);
  CHECK(now.proposed.transactions == 2);
  CHECK(now.groups.closures == 1);
  CHECK(now.open_files == 2);
  CHECK(now.dirty_bytes > 0);
  CHECK(now.memory_bytes >= now.dirty_bytes);
  CHECK(now.applied == one.node.applied());
  const std::vector<database_status> all = one.node.databases();
  REQUIRE(all.size() == 1);
  CHECK(all[0].name == "app.db");
  CHECK(all[0].page_size == 4096);
  CHECK(std::to_string(all[0].page_count) == ask(db, "PRAGMA page_count"));
  CHECK(all[0].version == version_number{2});
}

TEST_CASE("a span of time may be any duration that is a whole number of milliseconds") {
  using namespace std::chrono_literals;
  CHECK(milliseconds(2s) == milliseconds{2000});
  CHECK(milliseconds(1h) == milliseconds{3'600'000});
  CHECK(milliseconds(7ms) == milliseconds{7});
  CHECK(milliseconds(-7ms) == milliseconds{0});
  const connection_options options{.busy_timeout = 3s};
  CHECK(options.busy_timeout == milliseconds{3000});
  static_assert(!std::is_convertible_v<std::chrono::microseconds, milliseconds>);
  static_assert(!std::is_convertible_v<std::chrono::duration<double>, milliseconds>);
  static_assert(!std::is_convertible_v<int, milliseconds>);
}

}  // namespace replica_test
