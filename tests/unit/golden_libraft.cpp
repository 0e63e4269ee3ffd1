// Folders of servers over libraft that earlier builds have written: log, snapshots and databases.
// They are opened, mean what they meant, and go on.
//
// The hidden cases, [.write], are those that wrote them: tests/data/golden/README.md.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/libraft/log_end.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/transfer.hpp"
#include "support/checked_folder.hpp"
#include "support/golden.hpp"
#include "support/golden_content.hpp"
#include "support/libraft_cluster.hpp"
#include "support/log_player.hpp"
#include "support/sql.hpp"
#include "support/started_replica.hpp"
#include "support/temporary_directory.hpp"

namespace golden_libraft_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using namespace quorlite::tests;

// ---- addresses -------------------------------------------------------------------------

// A log names its servers by their addresses, so these stay what they are. Nothing else is at home
// there, below the ports that systems give away.
std::string address_of(std::size_t index) {
  return "127.77.0." + std::to_string(index + 1) + ":17701";
}

// Two of these tests at the same time would meet there, so one waits for the other: who has the
// door may go in. It goes with its process, however that ends.
class door {
 public:
  door() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(17700);
    name.sin_addr.s_addr = htonl(0x7F4D00FEU);  // 127.77.0.254
    REQUIRE(wait_until(
        [&] { return ::bind(socket_, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0; },
        90'000));
  }
  door(const door&) = delete;
  door& operator=(const door&) = delete;
  ~door() { ::close(socket_); }

 private:
  int socket_;
};

// ---- servers ---------------------------------------------------------------------------

// An engine that can keep proposals back.
class keeping_libraft : public libraft {
 public:
  using libraft::libraft;

  [[nodiscard]] std::error_code start(state_machine& machine) noexcept {
    machine_ = &machine;
    return libraft::start(machine);
  }
  void propose(term expected, proposal_token token, bytes_view entry) noexcept {
    if (passes == 0) {
      kept.push_back({expected, {entry.begin(), entry.end()}});
      machine_->settled(token, outcome::unknown, settle_reason::leadership_lost);
      return;
    }
    --passes;
    libraft::propose(expected, token, entry);
  }

  std::atomic<std::size_t> passes = 1'000'000;
  std::vector<golden_entry> kept;  // the others

 private:
  state_machine* machine_ = nullptr;
};

using files = file_storage;
using node_type = quorlite::tests::started_replica<keeping_libraft, files>;

replica_options many_entries() {
  replica_options options;
  options.entry_bytes = 5000;
  return options;
}

// How a server comes to its folder. Old: a list of members, none of which draws an id. The others
// as their options say; `unpacked` is a folder of one that is not where it was written.
enum class start_of { old, founded, joined, unpacked, again };

start_of first_start(const golden_case& one) {
  return one.manifest().contains("history") ? start_of::unpacked : start_of::old;
}

start_of next_start(start_of first) {
  return first == start_of::old ? start_of::old : start_of::again;
}

// One server on a folder that is as docs/examples/sql_node.cpp has it: the log, and `databases`.
class server {
 public:
  server(std::size_t index, std::size_t of, const std::string& directory,
         start_of how = start_of::old, const replica_options& options = {})
      : storage_((std::filesystem::create_directories(directory), directory + "/databases")),
        raft_(options_of(index, of, directory, how)),
        node_(raft_, storage_, options) {
    INFO(node_.status().message());
    REQUIRE_FALSE(node_.status());
  }

  [[nodiscard]] node_type& operator*() noexcept { return node_; }
  [[nodiscard]] node_type* operator->() noexcept { return &node_; }
  [[nodiscard]] keeping_libraft& raft() noexcept { return raft_; }

  [[nodiscard]] connection open(const std::string& name, std::uint32_t page_size = 0) {
    auto opened = node_.open(name, {.page_size = page_size});
    REQUIRE(opened.has_value());
    return std::move(*opened);
  }
  void run(const std::string& name, const std::string& sql, std::uint32_t page_size = 0) {
    connection db = open(name, page_size);
    INFO(sql);
    const int code = ::run(db, sql);
    INFO(sqlite3_errmsg(db));
    REQUIRE(code == SQLITE_OK);
  }
  void await_leadership() {
    REQUIRE(wait_until([&] { return node_.leader().leading; }));
    REQUIRE_FALSE(node_.read_barrier());
  }
  // A snapshot of the engine, and a log that keeps little of what is before it.
  void compact() {
    const std::uint64_t before = raft_.status().snapshot_index;
    raft_.compact();
    REQUIRE(wait_until([&] { return raft_.status().snapshot_index > before; }));
  }

 private:
  static libraft_options options_of(std::size_t index, std::size_t of, const std::string& directory,
                                    start_of how) {
    libraft_options options{
        .id = server_id{index + 1}, .address = address_of(index), .directory = directory};
    options.found = how == start_of::founded;
    options.join = how == start_of::joined;
    options.moved = how == start_of::unpacked;
    for (std::size_t i = 0; how == start_of::old && i < of; ++i) {
      options.bootstrap.push_back({server_id{i + 1}, address_of(i)});
    }
    options.election_timeout = milliseconds{300};
    options.heartbeat = milliseconds{50};
    return options;
  }

  files storage_;
  keeping_libraft raft_;
  node_type node_;
};

// ---- writing ---------------------------------------------------------------------------

void must(sqlite3* db, const std::string& sql) {
  INFO(sql);
  REQUIRE(::run(db, sql) == SQLITE_OK);
}

void fill(server& in) {
  in.run("app.db", app_schema, 4096);
  in.run("app.db", app_rows(1, 30));
  in.run("app.db", app_changes(5, 14));
  in.run("words.db", std::string(words_schema) + words_rows(1, 20), 2048);
  in.run("small.db", std::string(small_schema) + small_rows(1, 50), 512);
  in.run("small.db", small_cut);
  in.run("reborn.db", "CREATE TABLE first(a); INSERT INTO first VALUES(zeroblob(5000))", 1024);
  REQUIRE_FALSE(in->drop("reborn.db"));
  in.run("reborn.db", wide_schema, 4096);
}

void go_on(server& in) {
  in.run("app.db", app_rows(31, 40));
  in.run("app.db", app_changes(20, 33));
  in.run("small.db", small_rows(51, 58));
}

// "imported.db" from a file in WAL mode with a WAL beside it.
void import(server& in) {
  const temporary_directory place;
  sqlite3* source = nullptr;
  REQUIRE(sqlite3_open((place / "source.db").c_str(), &source) == SQLITE_OK);
  must(source, "PRAGMA page_size = 1024; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
  must(source, std::string(app_schema) + app_rows(1, 20));
  must(source, "PRAGMA wal_checkpoint");
  must(source, app_rows(21, 30));
  REQUIRE(std::filesystem::file_size(place / "source.db-wal") > 1024);
  REQUIRE_FALSE(import_database(*in, "imported.db", place / "source.db"));
  {
    connection db = in.open("imported.db");
    REQUIRE(dump_of(db) == dump_of(source));
  }
  sqlite3_close(source);
}

// A transaction of "app.db" of which the log gets two entries, and a later one of another database.
void leave_staged(server& in) {
  connection app = in.open("app.db");
  must(app, "BEGIN");
  must(app, app_rows(101, 130));
  must(app, app_changes(1, 20));
  in.raft().passes = 2;
  REQUIRE(::run(app, "COMMIT") != SQLITE_OK);
  REQUIRE(in.raft().kept.size() > 1);
  in.raft().passes = 1'000'000;
  in.run("small.db", small_rows(51, 58));
}

// Servers that wait become voters of the cluster that the first one founded.
void take_in_all(const std::vector<std::unique_ptr<server>>& servers) {
  servers[0]->await_leadership();
  for (std::size_t i = 1; i < servers.size(); ++i) {
    const server_id id = servers[i]->raft().status().id;
    libraft& leader = servers[0]->raft();
    REQUIRE(wait_until([&] { return leader.add({id, address_of(i)}) != errc::busy; }));
    REQUIRE(wait_until([&] { return leader.promote(id) != errc::busy; }));
  }
  REQUIRE(servers[0]->raft().status().members.size() == servers.size());
}

std::string case_of(bool founded, const std::string& name) {
  return founded ? "founded_" + name : name;
}

void describe(golden_writer& writer, server& in) {
  const libraft_status status = in.raft().status();
  writer.manifest()["applied"] = in->applied().index.value;
  writer.manifest()["snapshot_index"] = status.snapshot_index;
  const history_position history = in->machine().history();
  if (history.hash != history_hash{}) {
    writer.manifest()["history"] = history_of(history);
  }
  writer.expect(content_of(*in));
}

// ---- reading ---------------------------------------------------------------------------

const char* const new_row = "INSERT INTO note(text) VALUES('and so on')";
const char* const new_row_query = "SELECT count(*) FROM note WHERE text = 'and so on'";

std::uint64_t low_half_of(const ordered_json& history) {
  return std::stoull(history.at("hash").get<std::string>().substr(16), nullptr, 16);
}

void check_content(const golden_case& one, server& in) {
  CHECK(in->applied().index.value >= one.manifest().at("applied").get<std::uint64_t>());
  if (one.manifest().contains("history")) {  // a server that leads adds entries of its own
    const history_position now = in->machine().history();
    const auto then = one.manifest().at("history").at("index").get<std::uint64_t>();
    CHECK(now.index.value >= then);
    CHECK((now.index.value > then || history_of(now) == one.manifest().at("history")));
    CHECK(in->machine().matches(log_index{then}, low_half_of(one.manifest().at("history"))) ==
          history_match::equal);
  }
  check_same(content_of(*in), one.expected());
  INFO(in->health().what);
  CHECK_FALSE(in->health().halted);
  CHECK_FALSE(in.raft().status().error);
}

// And a check says which cluster's, if it has a name.
void check_is_whole(const std::string& directory) {
  const libraft_log_report told = checked(directory, directory + "/databases");
  INFO((told.defects.empty() ? "" : told.defects.front().text()));
  CHECK(told.defects.empty());
  CHECK(told.was_compared);
  CHECK(told.history.cluster == told.cluster);
  CHECK((told.end_history == history_hash{}) == (told.cluster == cluster_identity{}));
}

// The databases are what they were, every page of them; and one more row is there after a restart.
void check_server(const golden_case& one, const std::string& directory) {
  const start_of first = first_start(one);
  check_is_whole(directory);
  {
    server in(0, 1, directory, first);
    in.await_leadership();
    CHECK(in.raft().status().snapshot_index >=
          one.manifest().at("snapshot_index").get<std::uint64_t>());
    check_content(one, in);
    CHECK_FALSE(in->stop());
    check_same(content_of_snapshot(snapshot_of(*in)), one.expected());
  }
  {
    server in(0, 1, directory, next_start(first));
    in.await_leadership();
    in.run("app.db", new_row);
    CHECK_FALSE(in->stop());
  }
  server in(0, 1, directory, next_start(first));
  in.await_leadership();
  connection app = in.open("app.db");
  CHECK(ask(app, new_row_query) == "1");
  CHECK(ask(app, "PRAGMA integrity_check") == "ok");
}

// As it is, and again with its databases lost: the engine's log and snapshot have all of it.
void check_folder(const std::string& name) {
  CAPTURE(name);
  const door own;
  const golden_case one(name);
  const temporary_directory place;
  one.unpack_to(place / "whole");
  check_server(one, place / "whole");
  one.unpack_to(place / "log");
  std::filesystem::remove_all(place / "log/databases");
  check_server(one, place / "log");
}

// What waited for its last parts waits again after the start; they make of it what they were to. (A
// build that proposes something by itself in a new term drops it there, and may: not the format.)
void check_staged(const std::string& name) {
  const door own;
  const golden_case one(name);
  for (const bool whole : {true, false}) {
    CAPTURE(name, whole);
    const temporary_directory place;
    one.unpack_to(place / "data");
    if (!whole) {
      std::filesystem::remove_all(place / "data/databases");
    }
    server in(0, 1, place / "data", first_start(one));
    REQUIRE(wait_until([&] { return in->leader().leading; }));
    static_cast<void>(in->stop());
    check_same(content_of_snapshot(snapshot_of(*in), one.entries("kept.bin")),
               one.expected("committed"));
  }
}

}  // namespace

TEST_CASE("the folder of a server that was stopped is opened and goes on") {
  check_folder("libraft_clean");
}

TEST_CASE("the folder of a server that was killed is opened and goes on") {
  check_folder("libraft_killed");
  check_folder("founded_libraft_killed");
  check_folder("numbered_libraft_killed");
}

TEST_CASE("the folder of a server that took a snapshot is opened and goes on") {
  check_folder("libraft_snapshot");
  check_folder("founded_libraft_snapshot");
}

TEST_CASE("the folder of a server whose cluster was upgraded is opened and goes on") {
  check_folder("upgraded_libraft");
}

TEST_CASE("a folder whose log has parts of a transaction is opened and goes on") {
  check_folder("libraft_staged");
  check_folder("founded_libraft_staged");
  check_staged("libraft_staged");
  check_staged("founded_libraft_staged");
}

TEST_CASE("a folder whose snapshot has parts of a transaction is opened and goes on") {
  check_folder("libraft_staged_snapshot");
  check_folder("founded_libraft_staged_snapshot");
  check_staged("libraft_staged_snapshot");
  check_staged("founded_libraft_staged_snapshot");
}

TEST_CASE("the folders of three servers, two killed and one behind, are a cluster again") {
  const door own;
  const golden_case one(GENERATE(as<std::string>(), "libraft_three", "founded_libraft_three"));
  const start_of first = first_start(one);
  const temporary_directory place;
  for (std::size_t i = 0; i < 3; ++i) {  // none needs the others to have its whole log
    CAPTURE(i);
    const std::string name = std::to_string(i + 1);
    one.unpack_to(place / ("alone" + name), name);
    check_is_whole(place / ("alone" + name));
    server alone(i, 3, place / ("alone" + name), first);
    CHECK(wait_until([&] { return alone.raft().status().last_index != 0; }));
    CHECK(alone.raft().status().last_index ==
          one.manifest().at("last_index").at(i).get<std::uint64_t>());
  }
  for (const char* const name : {"1", "2", "3"}) {
    one.unpack_to(place / name, name);
  }
  for (const bool again : {false, true}) {
    CAPTURE(again);
    std::vector<std::unique_ptr<server>> servers;
    for (std::size_t i = 0; i < 3; ++i) {
      servers.push_back(std::make_unique<server>(i, 3, place / std::to_string(i + 1),
                                                 again ? next_start(first) : first));
    }
    const auto leads = [](const auto& each) { return (*each)->leader().leading; };
    REQUIRE(wait_until([&] { return std::any_of(servers.begin(), servers.end(), leads); }));
    server& leader = **std::find_if(servers.begin(), servers.end(), leads);
    leader.await_leadership();
    const auto await_even = [&] {
      REQUIRE(wait_until([&] {
        return std::all_of(servers.begin(), servers.end(), [&](const auto& each) {
          return (*each)->applied() == leader->applied();
        });
      }));
    };
    await_even();
    CHECK(leader.raft().status().members.size() == 3);
    if (!again) {
      for (const auto& each : servers) {
        check_content(one, *each);
      }
      leader.run("app.db", new_row);
      await_even();
    }
    for (const auto& each : servers) {
      connection app = each->open("app.db");
      CHECK(ask(app, new_row_query) == "1");
      CHECK(ask(app, "PRAGMA integrity_check") == "ok");
    }
    for (const auto& each : servers) {
      CHECK_FALSE((*each)->stop());
    }
  }
}

// ---- writing them

TEST_CASE("writes libraft_clean", "[.write]") {
  const door own;
  golden_writer writer("libraft_clean", "a server after a clean stop");
  const temporary_directory place;
  {
    server in(0, 1, place / "1");
    in.await_leadership();
    fill(in);
    REQUIRE_FALSE(in->flush());
    import(in);
    go_on(in);
    describe(writer, in);
    REQUIRE_FALSE(in->stop());
  }
  writer.take_in(place / "1");
  writer.seal();
}

TEST_CASE("writes libraft_killed", "[.write]") {
  const bool founded = GENERATE(false, true);
  golden_writer writer(case_of(founded, "libraft_killed"),
                       "a server after SIGKILL: the log is ahead of the files");
  const temporary_directory place;
  write_and_die(writer, [&] {
    const door own;
    server in(0, 1, place / "1", founded ? start_of::founded : start_of::old);
    in.await_leadership();
    fill(in);
    REQUIRE_FALSE(in->flush());
    go_on(in);
    describe(writer, in);
    writer.seal();
    ::raise(SIGKILL);
  });
  writer.take_in(place / "1");
  writer.seal();
}

TEST_CASE("writes numbered_libraft_killed", "[.write]") {
  golden_writer writer("numbered_libraft_killed",
                       "a founded server after SIGKILL: batches tell their index, and log_end how "
                       "far the log went");
  const temporary_directory place;
  write_and_die(writer, [&] {
    const door own;
    server in(0, 1, place / "1", start_of::founded);
    in.await_leadership();
    fill(in);
    REQUIRE_FALSE(in->flush());
    go_on(in);
    const std::uint64_t last = in.raft().status().last_index;
    REQUIRE(wait_until([&] {
      libraft_disk_folder log(place / "1");
      const auto told = libraft_log_end::read(log);
      return told && *told && (*told)->entry >= last;
    }));
    describe(writer, in);
    writer.seal();
    ::raise(SIGKILL);
  });
  writer.take_in(place / "1");
  writer.seal();
}

TEST_CASE("writes libraft_snapshot", "[.write]") {
  const bool founded = GENERATE(false, true);
  golden_writer writer(case_of(founded, "libraft_snapshot"),
                       "a server that took two snapshots, after SIGKILL: the log goes on behind "
                       "them, the files are older");
  const temporary_directory place;
  write_and_die(writer, [&] {
    const door own;
    server in(0, 1, place / "1", founded ? start_of::founded : start_of::old);
    in.await_leadership();
    fill(in);
    REQUIRE_FALSE(in->flush());
    in.compact();
    go_on(in);
    in.compact();
    in.run("app.db", app_rows(41, 44));
    describe(writer, in);
    writer.seal();
    ::raise(SIGKILL);
  });
  writer.take_in(place / "1");
  writer.seal();
}

TEST_CASE("writes upgraded_libraft", "[.write]") {
  golden_writer writer("upgraded_libraft",
                       "a server of a list of members whose history began later, after SIGKILL");
  const temporary_directory place;
  write_and_die(writer, [&] {
    const door own;
    server in(0, 1, place / "1");
    in.await_leadership();
    fill(in);
    REQUIRE_FALSE(in->flush());
    REQUIRE_FALSE(in->upgrade());
    go_on(in);
    REQUIRE_FALSE(in->flush());
    in.run("app.db", app_rows(41, 44));
    describe(writer, in);
    writer.seal();
    ::raise(SIGKILL);
  });
  writer.take_in(place / "1");
  writer.seal();
}

TEST_CASE("writes libraft_staged and libraft_staged_snapshot", "[.write]") {
  const door own;
  const bool snapshot = GENERATE(false, true);
  const bool founded = GENERATE(false, true);
  golden_writer writer(case_of(founded, snapshot ? "libraft_staged_snapshot" : "libraft_staged"),
                       snapshot ? "a server with parts of a transaction in its snapshot; the "
                                  "others are kept.bin"
                                : "a server with parts of a transaction in its log; the others "
                                  "are kept.bin");
  const temporary_directory place;
  {
    server in(0, 1, place / "1", founded ? start_of::founded : start_of::old, many_entries());
    in.await_leadership();
    fill(in);
    REQUIRE_FALSE(in->flush());
    leave_staged(in);
    if (snapshot) {
      in.compact();
    }
    in.run("small.db", small_rows(59, 60));
    describe(writer, in);
    write_file(writer / "kept.bin", encode_entries(in.raft().kept));
    REQUIRE_FALSE(in->stop());
    writer.expect(content_of_snapshot(snapshot_of(*in), in.raft().kept), "committed");
  }
  writer.take_in(place / "1");
  writer.seal();
}

TEST_CASE("writes libraft_three", "[.write]") {
  const bool founded = GENERATE(false, true);
  golden_writer writer(case_of(founded, "libraft_three"),
                       "three servers: the last was stopped early, then the others were killed");
  const temporary_directory place;
  write_and_die(writer, [&] {
    const door own;
    std::vector<std::unique_ptr<server>> servers;
    for (std::size_t i = 0; i < 3; ++i) {
      const start_of how = i == 0 ? start_of::founded : start_of::joined;
      servers.push_back(std::make_unique<server>(i, 3, place / std::to_string(i + 1),
                                                 founded ? how : start_of::old));
    }
    if (founded) {
      take_in_all(servers);
    }
    REQUIRE(wait_until([&] {
      return std::any_of(servers.begin(), servers.end(),
                         [](const auto& each) { return (*each)->leader().leading; });
    }));
    if ((*servers[2])->leader().leading) {
      REQUIRE_FALSE(servers[2]->raft().transfer(servers[0]->raft().status().id));
    }
    server* leader = nullptr;
    REQUIRE(wait_until([&] {
      for (std::size_t i = 0; i < 2; ++i) {
        leader = (*servers[i])->leader().leading ? servers[i].get() : leader;
      }
      return leader != nullptr;
    }));
    leader->await_leadership();
    fill(*leader);
    REQUIRE(wait_until([&] { return (*servers[2])->applied() == (*leader)->applied(); }));
    const std::uint64_t early = servers[2]->raft().status().last_index;
    REQUIRE_FALSE((*servers[2])->stop());
    servers[2].reset();
    REQUIRE_FALSE((*servers[0])->flush());
    go_on(*leader);
    REQUIRE(wait_until([&] { return (*servers[0])->applied() == (*servers[1])->applied(); }));
    describe(writer, *leader);
    const std::uint64_t last = leader->raft().status().last_index;
    writer.manifest()["last_index"] = {last, last, early};
    writer.seal();
    ::raise(SIGKILL);
  });
  for (const char* const name : {"1", "2", "3"}) {
    writer.take_in(place / name, name);
  }
  writer.seal();
}

}  // namespace golden_libraft_test
