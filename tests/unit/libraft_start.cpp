// Starts over libraft on real folders: one server founds a cluster, the others join it, and a
// folder that is none of theirs is refused with nothing changed (docs/design/history.md, 9).
// fsync is this program's own, which looks at the call and hands it on.

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <sys/stat.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <ios>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/server_file.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/storage/memory.hpp"
#include "support/checked_folder.hpp"
#include "support/libraft_cluster.hpp"
#include "support/libraft_folders.hpp"
#include "support/lowered_limit.hpp"
#include "support/started_replica.hpp"
#include "support/temporary_directory.hpp"

namespace {

std::atomic<::ino_t> watched{0};     ///< a folder
std::atomic<int> watched_syncs{0};   ///< of it
std::atomic<int> watched_answer{0};  ///< errno of a sync of it; 0: it is done

::ino_t number_of(const std::string& path) {
  struct ::stat about {};
  return ::stat(path.c_str(), &about) == 0 ? about.st_ino : 0;
}

}  // namespace

extern "C" int fsync(int opened) {
  struct ::stat about {};
  if (watched != 0 && ::fstat(opened, &about) == 0 && about.st_ino == watched) {
    ++watched_syncs;
    if (watched_answer != 0) {
      errno = watched_answer;
      return -1;
    }
  }
  return static_cast<int>(::syscall(SYS_fsync, opened));
}

namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::tests::folder_in_memory;
using quorlite::tests::libraft_places;
using quorlite::tests::started_replica;
using quorlite::tests::temporary_directory;
using quorlite::tests::uv_disk;
using quorlite::tests::wait_until;
using node_type = quorlite::tests::started_replica<libraft, memory_storage>;
using stage = libraft_server_file::stage;

/// What a start is asked, besides the place.
enum class flag { none, found, join, moved };

libraft_options options_of(const libraft_places& places, std::size_t index, flag asked) {
  libraft_options options = places.options(index);
  options.bootstrap.clear();
  options.found = asked == flag::found;
  options.join = asked == flag::join;
  options.moved = asked == flag::moved;
  return options;
}

/// A server with databases in memory.
class server {
 public:
  explicit server(const libraft_options& options) : raft(options), node(raft, storage_) {}

 private:
  memory_storage storage_;

 public:
  libraft raft;
  node_type node;
};

std::error_code error_of(const libraft_options& options) { return server(options).node.status(); }

/// The first defect that the refusal tells.
std::string refusal_of(const libraft_options& options) {
  const server refused(options);
  REQUIRE(!refused.raft.log_report().defects.empty());
  CHECK(!refused.raft.log_report().defects.front().remedy.empty());
  return refused.raft.log_report().defects.front().text();
}

std::optional<libraft_server_file> file_in(const std::string& directory) {
  libraft_disk_folder folder(directory);
  const auto read = read_server_file(folder);
  REQUIRE((read && !read->defect));
  return read->file;
}

std::map<std::string, bytes> content_of(const std::string& directory) {
  return folder_in_memory(directory).files;
}

void copy_folder(const std::string& from, const std::string& to) {
  std::filesystem::remove_all(to);
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
}

void write_bytes(const std::string& path, const bytes& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(content.data()),
             static_cast<std::streamsize>(content.size()));
  REQUIRE(file.flush().good());
}

bool leads(server& one) {
  return wait_until([&] { return one.node.leader().leading; });
}

template <class Node>
int run(Node& node, const std::string& sql) {
  auto opened = node.open("app.db");
  REQUIRE(opened.has_value());
  return sqlite3_exec(*opened, sql.c_str(), nullptr, nullptr, nullptr);
}

int run(server& one, const std::string& sql) { return run(one.node, sql); }

/// The first row is behind the entry that names the cluster.
void name_cluster(server& founder, const std::string& directory) {
  REQUIRE(run(founder, "CREATE TABLE t(x)") == SQLITE_OK);
  REQUIRE(wait_until([&] { return file_in(directory)->cluster != cluster_identity{}; }));
}

std::error_code until_done(const std::function<std::error_code()>& change) {
  std::error_code error;
  static_cast<void>(wait_until([&] {
    error = change();
    return error != errc::busy;
  }));
  return error;
}

std::error_code take_in(server& leader, const server& joiner, const std::string& address) {
  const server_id id = joiner.raft.status().id;
  const std::error_code error = until_done([&] { return leader.raft.add({id, address}); });
  return error ? error : until_done([&] { return leader.raft.promote(id); });
}

}  // namespace

TEST_CASE("one server founds, another joins and waits, and is added by the id that it tells") {
  const libraft_places places(2);
  server first(options_of(places, 0, flag::found));
  REQUIRE(!first.node.status());
  REQUIRE(leads(first));
  CHECK(first.raft.founds());
  const libraft_status founder = first.raft.status();
  CHECK((libraft_number_of(founder.id) == 1 && founder.id.value > std::uint64_t{1} << 40U));
  CHECK((!founder.waits && founder.namesake == server_id{}));
  REQUIRE(founder.members.size() == 1);
  CHECK(founder.members.front() == libraft_server{founder.id, places.server(0).address});
  REQUIRE(run(first, "CREATE TABLE t(x); INSERT INTO t VALUES(1)") == SQLITE_OK);

  std::optional<server> second(options_of(places, 1, flag::join));
  REQUIRE(!second->node.status());
  const server_id id = second->raft.status().id;
  CHECK((libraft_number_of(id) == 2 && second->raft.status().waits));
  CHECK(second->raft.status().members.empty());
  CHECK(!second->raft.founds());
  second.reset();  // it waits under the same id when it comes back, with the flag and without
  second.emplace(options_of(places, 1, flag::none));
  REQUIRE(!second->node.status());
  CHECK((second->raft.status().id == id && second->raft.status().waits));

  REQUIRE(!take_in(first, *second, places.server(1).address));
  CHECK(wait_until([&] { return !second->raft.status().waits; }));
  CHECK(wait_until([&] { return second->node.applied() == first.node.applied(); }));
  second.reset();
  second.emplace(options_of(places, 1, flag::join));  // may stay in a service file
  REQUIRE(!second->node.status());
  CHECK(second->raft.status().id == id);
  CHECK(wait_until([&] { return second->node.applied() == first.node.applied(); }));
}

// Else a power cut takes the whole log, however often that was synced. Nobody knows whether the
// process that made the folder lived long enough to sync its name.
TEST_CASE("the name of the log's folder is durable before a server takes part, whoever made it") {
  const libraft_places places(1);
  libraft_options options = options_of(places, 0, flag::found);
  options.directory += "/log";
  watched = number_of(places.directory(0));
  watched_answer = EINVAL;
  CHECK(error_of(options) == std::errc::invalid_argument);
  REQUIRE(std::filesystem::remove_all(options.directory) == 1);
  for (const flag asked : {flag::found, flag::none}) {
    INFO((asked == flag::found ? "made" : "found"));
    options.found = asked == flag::found;
    watched_syncs = 0;
    watched_answer = EIO;
    CHECK(error_of(options) == std::errc::io_error);
    CHECK(watched_syncs == 1);
    watched_answer = 0;
    CHECK_FALSE(error_of(options));
    CHECK(watched_syncs == 2);
  }
  for (const int code : {EINVAL, EROFS}) {  // whose disk it is, or was when the folder was made
    watched_answer = code;
    CHECK_FALSE(error_of(options));
  }
  watched = 0;
  watched_answer = 0;
}

// The engine reads term and vote, goes by them, and does not write them again: what a process that
// was killed had not synced could still go with the power, after others were told of it.
TEST_CASE("term and vote that an earlier run has left are durable before a server takes part") {
  const libraft_places places(3);
  const libraft_options options = places.options(0);
  CHECK_FALSE(error_of(options));
  int files = 0;
  for (const char* const name : {"/metadata1", "/metadata2"}) {
    const std::string path = options.directory + name;
    if (!std::filesystem::exists(path)) {
      continue;
    }
    ++files;
    INFO(path);
    watched = number_of(path);
    watched_syncs = 0;
    watched_answer = EIO;
    CHECK(error_of(options) == std::errc::io_error);
    CHECK(watched_syncs == 1);
    watched_answer = 0;
    CHECK_FALSE(error_of(options));
    CHECK(watched_syncs == 2);
  }
  CHECK(files > 0);
  watched = 0;
}

TEST_CASE("an empty folder without found or join is refused, and stays empty") {
  const libraft_places places(1);
  const libraft_options asked = options_of(places, 0, flag::none);
  CHECK(error_of(asked) == errc::not_founded);
  const std::string text = refusal_of(asked);
  INFO(text);
  CHECK(text.find("found on one server, once in the life of a cluster") != std::string::npos);
  const auto content = content_of(places.directory(0));
  REQUIRE(content.size() == 1);
  CHECK(content.count("quorlite.lock") == 1);
}

TEST_CASE("found, join and bootstrap go one at a time, and a number has 24 bits") {
  const libraft_places places(1);
  libraft_options asked = options_of(places, 0, flag::found);
  asked.join = true;
  CHECK(error_of(asked) == std::errc::invalid_argument);
  asked.join = false;
  asked.bootstrap.push_back(places.server(0));
  CHECK(error_of(asked) == std::errc::invalid_argument);
  asked.bootstrap.clear();
  asked.id = server_id{libraft_number_max + 1};
  CHECK(error_of(asked) == std::errc::invalid_argument);
  CHECK(content_of(places.directory(0)).size() == 1);
  asked.id = server_id{libraft_number_max};
  CHECK(!error_of(asked));
}

TEST_CASE("a cluster is founded once: a folder that waits or takes part refuses found") {
  const libraft_places places(2);
  CHECK(!error_of(options_of(places, 0, flag::join)));
  CHECK(error_of(options_of(places, 0, flag::found)) == errc::already_founded);
  REQUIRE(!error_of(options_of(places, 1, flag::found)));
  CHECK(file_in(places.directory(1))->at == stage::founded);
  CHECK(file_in(places.directory(1))->cluster == cluster_identity{});
  {
    server again(options_of(places, 1, flag::found));  // its cluster has no name yet: it goes on
    REQUIRE(leads(again));
    name_cluster(again, places.directory(1));
  }
  const libraft_server_file known = *file_in(places.directory(1));
  CHECK(error_of(options_of(places, 1, flag::found)) == errc::already_founded);
  CHECK(!error_of(options_of(places, 1, flag::none)));
  CHECK(libraft::check(places.directory(1))->server == known.id);
  CHECK(libraft::check(places.directory(1))->cluster == known.cluster);
}

TEST_CASE("once the log names its cluster the folder does, and databases of another are refused") {
  const libraft_places places(3);
  memory_storage storage;
  {
    libraft raft(options_of(places, 0, flag::found));
    node_type node(raft, storage);
    REQUIRE(!node.status());
    REQUIRE(wait_until([&] { return node.leader().leading; }));
    REQUIRE(run(node, "CREATE TABLE t(x)") == SQLITE_OK);
    REQUIRE(
        wait_until([&] { return file_in(places.directory(0))->cluster != cluster_identity{}; }));
    REQUIRE(!node.stop());  // flushed
  }
  const libraft_server_file first = *file_in(places.directory(0));
  CHECK(error_of(options_of(places, 0, flag::found)) == errc::already_founded);
  {
    libraft raft(options_of(places, 0, flag::join));
    node_type founder(raft, storage);
    REQUIRE(!founder.status());
    CHECK(!raft.founds());
    REQUIRE(wait_until([&] { return founder.leader().leading; }));
    const server joiner(options_of(places, 1, flag::join));
    const server_id id = joiner.raft.status().id;
    REQUIRE(!until_done([&] { return raft.add({id, places.server(1).address}); }));
    REQUIRE(!until_done([&] { return raft.promote(id); }));
    CHECK(wait_until([&] { return file_in(places.directory(1))->cluster == first.cluster; }));
    CHECK(file_in(places.directory(0)) == first);
  }
  {
    server other(options_of(places, 2, flag::found));
    REQUIRE(leads(other));
    REQUIRE(run(other, "CREATE TABLE t(x)") == SQLITE_OK);
    REQUIRE(
        wait_until([&] { return file_in(places.directory(2))->cluster != cluster_identity{}; }));
  }
  CHECK(file_in(places.directory(2))->cluster != first.cluster);
  libraft wrong(options_of(places, 2, flag::none));
  const node_type mixed(wrong, storage);
  CHECK(mixed.status() == errc::another_cluster);
  REQUIRE(wrong.log_report().defects.size() >= 1);
  CHECK(wrong.log_report().defects.front().what.find("what the databases hold") !=
        std::string::npos);

  // A log of the other cluster, in the folder of this one.
  const auto is_ours = [](const std::string& name) {
    return name == "server" || name == "quorlite.lock";
  };
  for (const auto& [name, content] : content_of(places.directory(0))) {
    if (!is_ours(name)) {
      std::filesystem::remove(places.directory(0) + '/' + name);
    }
  }
  for (const auto& [name, content] : content_of(places.directory(2))) {
    if (!is_ours(name)) {
      write_bytes(places.directory(0) + '/' + name, content);
    }
  }
  CHECK(error_of(options_of(places, 0, flag::none)) == errc::another_cluster);
  CHECK(refusal_of(options_of(places, 0, flag::none)).find("its log to cluster") !=
        std::string::npos);
}

namespace {

/// One cluster of one server of today's builds, which was upgraded: its log and its databases, as
/// they were before and after. The server has the id 1 in each of them.
class upgraded_cluster {
 public:
  upgraded_cluster(int rows_before, int rows_after) {
    work(rows_before, false);
    take(log_before, data_before);
    for (int i = 0; i < 3; ++i) {
      work(20, false);  // as if it was never upgraded
    }
    copy_folder(log(), log_never);
    restore(log_before, data_before);
    work(rows_after, true);
    take(log_after, data_after);
    cluster = file_in(log())->cluster;
    REQUIRE(cluster != cluster_identity{});
  }

  /// Starts with these. @param named in the file `server`; nothing: there is no such file
  [[nodiscard]] std::error_code start_with(const std::string& log_of, const std::string& data_of,
                                           const std::optional<cluster_identity>& named) {
    restore(log_of, data_of);
    std::filesystem::remove(log() + "/server");
    if (named) {
      libraft_server_file file;
      file.id = server_id{1};
      file.cluster = *named;
      REQUIRE(!file.write(log()));
    }
    const auto before = all_but_lock();
    const libraft_log_report check = quorlite::tests::checked(log(), data());
    CHECK(all_but_lock() == before);
    file_storage storage(data());
    libraft raft(options());
    const started_replica<libraft, file_storage> node(raft, storage);
    text.clear();
    for (const libraft_log_defect& one : raft.log_report().defects) {
      text += one.text() + '\n';
    }
    if (node.status()) {
      CHECK(all_but_lock() == before);
    }
    check_says_the_same(check, raft.log_report(), node.status());
    return node.status();
  }

  [[nodiscard]] std::string log() const { return place_ / "log"; }
  [[nodiscard]] std::string data() const { return place_ / "data"; }

 private:
  const temporary_directory place_;

 public:
  const std::string empty = place_ / "empty";
  const std::string log_before = place_ / "log.before";
  const std::string data_before = place_ / "data.before";
  const std::string log_never = place_ / "log.never";
  const std::string log_after = place_ / "log.after";
  const std::string data_after = place_ / "data.after";
  cluster_identity cluster;
  std::string text;  ///< what the last start said

 private:
  [[nodiscard]] libraft_options options() const {
    libraft_options options;
    options.id = server_id{1};
    options.address = quorlite::tests::free_addresses(1)[0];
    options.directory = log();
    options.election_timeout = milliseconds{300};
    options.heartbeat = milliseconds{50};
    return options;
  }
  void work(int rows, bool upgrade) {
    libraft_options asked = options();
    asked.address = address_;
    asked.bootstrap = {{server_id{1}, address_}};
    file_storage storage(data());
    libraft raft(asked);
    started_replica<libraft, file_storage> node(raft, storage);
    REQUIRE(!node.status());
    REQUIRE(wait_until([&] { return node.leader().leading; }));
    if (upgrade) {
      REQUIRE(!node.upgrade());
      REQUIRE(wait_until([&] { return file_in(log())->cluster != cluster_identity{}; }));
    }
    REQUIRE(run(node, "CREATE TABLE IF NOT EXISTS t(x)") == SQLITE_OK);
    for (int i = 0; i < rows; ++i) {
      REQUIRE(run(node, "INSERT INTO t VALUES(randomblob(50))") == SQLITE_OK);
    }
    REQUIRE(!node.stop());  // flushed
  }
  void take(const std::string& to_log, const std::string& to_data) const {
    copy_folder(log(), to_log);
    copy_folder(data(), to_data);
  }
  /// A check asks for no flag, so nothing speaks against an empty folder.
  void check_says_the_same(const libraft_log_report& check, const libraft_log_report& start,
                           const std::error_code& refusal) const {
    INFO((check.defects.empty() ? "a check says nothing" : check.defects.front().text()));
    if (refusal == errc::not_founded) {
      CHECK(check.defects.empty());
      return;
    }
    CHECK(check.error() == refusal);
    CHECK(check.defects.empty() == start.defects.empty());
    if (!check.defects.empty() && !start.defects.empty()) {
      CHECK(check.defects.front().what == start.defects.front().what);
      CHECK(check.defects.front().remedy == start.defects.front().remedy);
      CHECK(start.defects.front().file == check.defects.front().file);
      CHECK(start.defects.front().byte == check.defects.front().byte);
      const auto is_of_log = [](const auto& one) { return one.first != "quorlite.lock"; };
      const auto left = content_of(log());
      CHECK(start.defects.front().file.empty() ==
            std::none_of(left.begin(), left.end(), is_of_log));
    }
  }
  [[nodiscard]] std::map<std::string, bytes> all_but_lock() const {
    auto content = content_of(log());
    content.erase("quorlite.lock");  // a start makes it
    return content;
  }
  void restore(const std::string& from_log, const std::string& from_data) const {
    std::filesystem::create_directories(empty);
    copy_folder(from_log, log());
    copy_folder(from_data, data());
  }

  const std::string address_ = quorlite::tests::free_addresses(1)[0];
};

}  // namespace

TEST_CASE("folder, log and databases start together only if they can be of one cluster") {
  upgraded_cluster a(3, 2);
  upgraded_cluster b(0, 20);  // it began earlier, and has more
  const std::string empty = a.empty;
  constexpr int fine = 0;
  constexpr int none = static_cast<int>(errc::not_founded);
  constexpr int gone = static_cast<int>(errc::log_damaged);
  constexpr int short_ = static_cast<int>(errc::log_too_short);
  constexpr int other = static_cast<int>(errc::another_cluster);
  constexpr int parts = static_cast<int>(errc::diverged);
  using named = std::optional<cluster_identity>;
  const std::array<std::pair<const char*, named>, 4> files{
      {{"no file", {}}, {"a file", named(std::in_place)}, {"A", a.cluster}, {"B", b.cluster}}};
  const std::array<std::pair<const char*, std::string>, 4> databases{
      {{"blank", empty}, {"none", a.data_before}, {"A", a.data_after}, {"B", b.data_after}}};
  const std::array<std::pair<const char*, std::string>, 5> logs{{{"empty", empty},
                                                                 {"none", a.log_before},
                                                                 {"none, long", a.log_never},
                                                                 {"A", a.log_after},
                                                                 {"B", b.log_after}}};
  // By file, by databases, by log.
  constexpr int expected[4][4][5] = {
      // no file: an older folder
      {{none, fine, fine, fine, fine},
       {short_, fine, fine, fine, parts},
       {short_, short_, parts, fine, other},
       {short_, short_, parts, short_, fine}},
      // a file that names no cluster: it waits, or a founding or an upgrade was cut short
      {{fine, fine, fine, fine, fine},
       {short_, fine, fine, fine, parts},
       {short_, short_, parts, fine, other},
       {short_, short_, parts, short_, fine}},
      // A
      {{gone, other, other, fine, other},
       {gone, other, other, fine, parts},
       {gone, short_, parts, fine, other},
       {other, other, other, other, other}},
      // B
      {{gone, other, other, other, fine},
       {gone, other, other, other, parts},
       {other, other, other, other, other},
       {gone, short_, parts, short_, fine}}};
  for (std::size_t file = 0; file < files.size(); ++file) {
    for (std::size_t data = 0; data < databases.size(); ++data) {
      for (std::size_t log = 0; log < logs.size(); ++log) {
        const std::error_code said =
            a.start_with(logs[log].second, databases[data].second, files[file].second);
        INFO("server: " << files[file].first << ", databases: " << databases[data].first
                        << ", log: " << logs[log].first << ": " << said.message() << ": "
                        << a.text);
        const int wanted = expected[file][data][log];
        CHECK((wanted == fine ? !said : said == static_cast<errc>(wanted)));
        CHECK(a.text.empty() == (wanted == fine));
      }
    }
  }
  // An upgrade that was cut short right behind its entry ends as it would have.
  REQUIRE(!a.start_with(a.log_after, a.data_before, cluster_identity{}));
}

TEST_CASE(
    "what has the name of a file and is none is told by a start and a check, and neither waits") {
  const libraft_places places(1);
  const std::string directory = places.directory(0);
  {
    server whole(options_of(places, 0, flag::found));
    REQUIRE((leads(whole) && run(whole, "CREATE TABLE t(x)") == SQLITE_OK));
  }
  const auto content = content_of(directory);
  std::size_t tried = 0;
  for (const auto& [name, bytes_of_it] : content) {
    const std::string path = directory + '/' + name;
    if (name == libraft_lock_name) {
      continue;  // nothing is read of it
    }
    std::filesystem::rename(path, directory + "-aside");
    for (int kind = 0; kind < 3; ++kind) {
      INFO(name << ", " << (kind == 0 ? "a pipe" : kind == 1 ? "a folder" : "a link to none"));
      if (kind == 0) {
        REQUIRE(::mkfifo(path.c_str(), 0644) == 0);
      } else if (kind == 1) {
        std::filesystem::create_directory(path);
      } else {
        std::filesystem::create_symlink("nowhere", path);
      }
      CHECK(error_of(options_of(places, 0, flag::none)) == errc::log_damaged);
      CHECK(refusal_of(options_of(places, 0, flag::none))
                .find(name + ", byte 0: it is no plain file") == 0);
      const auto checked = libraft::check(directory);
      REQUIRE(checked.has_value());
      CHECK(checked->error() == errc::log_damaged);
      std::filesystem::remove(path);
      ++tried;
    }
    std::filesystem::rename(directory + "-aside", path);
  }
  CHECK(tried >= 15);
  CHECK(!error_of(options_of(places, 0, flag::none)));
}

TEST_CASE("a server that cannot listen says why, and starts as soon as it can") {
  const libraft_places places(2);
  auto other = std::make_unique<server>(options_of(places, 0, flag::found));
  REQUIRE(!other->node.status());
  libraft_options options = options_of(places, 1, flag::found);
  options.address = places.server(0).address;
  CHECK(error_of(options) == std::errc::address_in_use);
  options.listen_address = "192.0.2.1:9999";  // nobody's (RFC 5737)
  CHECK(error_of(options) == std::errc::address_not_available);
  options.listen_address.clear();
  other.reset();
  options.found = false;
  server late(options);
  REQUIRE(!late.node.status());
  CHECK((leads(late) && run(late, "CREATE TABLE t(x)") == SQLITE_OK));
}

TEST_CASE("a start without enough descriptors does not say that anything is broken") {
  const libraft_places places(1);
  {
    server whole(options_of(places, 0, flag::found));
    REQUIRE((leads(whole) && run(whole, "CREATE TABLE t(x)") == SQLITE_OK));
  }
  std::size_t refused = 0;
  std::size_t named = 0;
  bool starts = false;
  // More by two: libuv keeps one open when it fails to open the second.
  for (unsigned more = 0; more < 120 && !starts; more += 2) {
    const auto limit = quorlite::tests::lowered_limit::descriptors(more);
    server one(options_of(places, 0, flag::none));
    const std::error_code error = one.node.status();
    INFO(more << " descriptors more: " << error.message());
    starts = !error;
    refused += error ? 1 : 0;
    named += one.raft.log_report().error() == std::errc::io_error ? 1 : 0;
    CHECK((starts || error == std::errc::too_many_files_open || error == std::errc::io_error));
    CHECK((error != std::errc::io_error || error == one.raft.log_report().error()));
  }
  CHECK((starts && refused > 0 && named > 0));
}

TEST_CASE("a founding that was cut short behind the entry that names the cluster goes on") {
  const libraft_places places(1);
  const std::string directory = places.directory(0);
  {
    server founder(options_of(places, 0, flag::found));
    REQUIRE(leads(founder));
    name_cluster(founder, directory);
  }
  const libraft_server_file named = *file_in(directory);
  for (const flag asked : {flag::found, flag::none}) {
    libraft_server_file cut = named;
    cut.cluster = {};
    REQUIRE(!cut.write(directory));
    server again(options_of(places, 0, asked));
    REQUIRE(!again.node.status());
    REQUIRE(leads(again));
    CHECK(wait_until([&] { return file_in(directory) == named; }));
  }
}

TEST_CASE("the same object founds once, however often it is started") {
  const libraft_places places(1);
  libraft raft(options_of(places, 0, flag::found));
  memory_storage storage;
  fsm<libraft, memory_storage> machine(storage);
  REQUIRE(!machine.load());
  REQUIRE(!raft.start(machine));
  CHECK(raft.founds());
  raft.stop();
  {
    server another(options_of(places, 0, flag::none));
    REQUIRE(leads(another));
    name_cluster(another, places.directory(0));
  }
  CHECK(!raft.start(machine));
  CHECK(!raft.founds());
  raft.stop();
}

TEST_CASE("a founding that was cut short anywhere goes on with the same flag, and is the same") {
  const libraft_places places(2);
  const std::string directory = places.directory(0);
  const std::string model = places.directory(1);
  {
    uv_disk disk(model);  // what the engine writes at a founding: its term, then a segment
    disk.load();
    disk.bootstrap();
  }
  const auto written = content_of(model);
  const bytes& term = written.at("metadata1");
  const std::string segment_name = "0000000000000001-0000000000000001";
  const bytes& segment = written.at(segment_name);
  REQUIRE(written.size() == 2);
  const auto part = [](const bytes& whole, std::size_t count) {
    return bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(count));
  };
  struct left_behind {
    std::optional<bytes> term;
    std::optional<bytes> segment;
  };
  std::vector<left_behind> states{{{}, {}}};
  for (const std::size_t count : {std::size_t{0}, std::size_t{16}, term.size()}) {
    states.push_back({part(term, count), {}});
  }
  states.push_back({bytes(term.size()), {}});
  for (const std::size_t count :
       {std::size_t{0}, std::size_t{8}, std::size_t{40}, segment.size() - 1, segment.size()}) {
    states.push_back({term, part(segment, count)});
  }
  states.push_back({term, bytes(segment.size())});
  states.push_back({{}, segment});  // the names of a folder may come back in any order
  for (const flag asked : {flag::found, flag::none}) {
    for (const left_behind& state : states) {
      std::filesystem::remove_all(directory);
      REQUIRE(!error_of(options_of(places, 0, flag::found)));
      const libraft_server_file founder = *file_in(directory);
      libraft_server_file cut = founder;
      cut.at = stage::founding;
      for (const auto& [name, content] : content_of(directory)) {
        if (name != "quorlite.lock") {
          std::filesystem::remove(directory + '/' + name);
        }
      }
      REQUIRE(!cut.write(directory));
      if (state.term) {
        write_bytes(directory + "/metadata1", *state.term);
      }
      if (state.segment) {
        write_bytes(directory + '/' + segment_name, *state.segment);
      }
      const libraft_log_report check = quorlite::tests::checked(directory);
      server again(options_of(places, 0, asked));
      INFO("term " << (state.term ? state.term->size() : 9999) << ", segment "
                   << (state.segment ? state.segment->size() : 9999));
      for (const libraft_log_defect& defect : again.raft.log_report().defects) {
        UNSCOPED_INFO(defect.text());
      }
      CHECK(check.defects.empty());
      CHECK(check.leftovers.size() == (state.term ? 1U : 0U) + (state.segment ? 1U : 0U));
      REQUIRE(!again.node.status());
      REQUIRE(leads(again));
      CHECK(again.raft.status().id == founder.id);
      CHECK(file_in(directory) == founder);
    }
  }
}

TEST_CASE("a cluster does not begin beside databases that stand at an entry of another log") {
  const libraft_places places(1);
  const std::string databases = places.directory(0) + ".databases";
  const auto started = [&](flag how) {
    file_storage storage(databases);
    libraft raft(options_of(places, 0, how));
    started_replica<libraft, file_storage> node(raft, storage);
    if (!node.status()) {
      REQUIRE(wait_until([&] { return node.leader().leading; }));
      REQUIRE(run(node, "CREATE TABLE t(x)") == SQLITE_OK);
      REQUIRE_FALSE(node.stop());
      return std::string();
    }
    CHECK(node.status() == errc::diverged);
    CHECK(raft.log_report().error() == errc::diverged);
    return raft.log_report().defects.front().text();
  };
  REQUIRE(started(flag::found).empty());
  libraft_server_file founding = *file_in(places.directory(0));
  std::filesystem::remove_all(places.directory(0));
  CHECK(started(flag::found).find("a cluster is to begin in this folder, and its databases") == 0);
  founding.at = stage::founding;
  founding.cluster = {};
  founding.seal = {};
  std::filesystem::create_directories(places.directory(0));
  REQUIRE(!founding.write(places.directory(0)));
  CHECK(started(flag::found).find("server, byte 12: a cluster is to begin") == 0);
}

TEST_CASE("a founding does not go on over a log that is not its own") {
  const libraft_places places(1);
  const std::string directory = places.directory(0);
  {
    server founder(options_of(places, 0, flag::found));
    REQUIRE(leads(founder));
    REQUIRE(run(founder, "CREATE TABLE t(x)") == SQLITE_OK);
  }
  libraft_server_file cut = *file_in(directory);
  cut.at = stage::founding;
  cut.cluster = {};
  REQUIRE(!cut.write(directory));
  const auto content = content_of(directory);
  CHECK(quorlite::tests::checked(directory).error() == errc::log_damaged);
  CHECK(error_of(options_of(places, 0, flag::found)) == errc::log_damaged);
  CHECK(content_of(directory) == content);
}

TEST_CASE("a folder whose disk was lost is another server, which has no vote and says so") {
  const libraft_places places(4);
  std::optional<server> first(options_of(places, 0, flag::found));
  REQUIRE(leads(*first));
  std::vector<std::optional<server>> others(3);
  for (std::size_t i = 1; i < 3; ++i) {
    others[i].emplace(options_of(places, i, flag::join));
    REQUIRE(!take_in(*first, *others[i], places.server(i).address));
  }
  REQUIRE(run(*first, "CREATE TABLE t(x)") == SQLITE_OK);
  const server_id lost = others[2]->raft.status().id;
  others[2].reset();
  std::filesystem::remove_all(places.directory(2));
  CHECK(error_of(options_of(places, 2, flag::none)) == errc::not_founded);
  others[2].emplace(options_of(places, 2, flag::join));
  REQUIRE(!others[2]->node.status());
  const server_id made = others[2]->raft.status().id;
  CHECK((made != lost && libraft_number_of(made) == 3));
  REQUIRE(run(*first, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  CHECK(others[2]->raft.status().waits);

  first.reset();  // of three voters one is left, beside a stranger at the place of the third
  std::this_thread::sleep_for(std::chrono::milliseconds(2000));  // some six elections
  CHECK(!others[1]->node.leader().leading);
  CHECK(others[1]->raft.status().role != libraft_role::leader);
  CHECK(others[2]->raft.status().role == libraft_role::follower);

  first.emplace(options_of(places, 0, flag::none));
  REQUIRE(!first->node.status());
  server* leader = nullptr;
  REQUIRE(wait_until([&] {
    leader = first->node.leader().leading       ? &*first
             : others[1]->node.leader().leading ? &*others[1]
                                                : nullptr;
    return leader != nullptr;
  }));
  // As long as the lost one has its address nobody can be added there; at another one it is told
  // of, and the cluster counts four.
  CHECK(leader->raft.add({made, places.server(2).address}) == std::errc::invalid_argument);
  others[2].reset();
  libraft_options elsewhere = options_of(places, 2, flag::join);
  elsewhere.address = places.server(3).address;
  others[2].emplace(elsewhere);
  REQUIRE(!others[2]->node.status());
  CHECK(others[2]->raft.status().id == made);
  REQUIRE(!take_in(*leader, *others[2], elsewhere.address));
  CHECK(wait_until([&] { return others[2]->raft.status().namesake == lost; }));
  CHECK(!others[2]->raft.status().waits);
  REQUIRE(!until_done([&] { return leader->raft.remove(lost); }));
  CHECK(wait_until([&] { return others[2]->raft.status().namesake == server_id{}; }));
  CHECK(wait_until([&] { return others[2]->node.applied() == leader->node.applied(); }));
}

TEST_CASE("a copied folder is refused until it is said to have moved, another server's always") {
  const libraft_places places(3);
  const std::string copy = places.directory(1);
  {
    server first(options_of(places, 0, flag::found));
    REQUIRE(leads(first));
  }
  if (libraft_seal::of(places.directory(0))->inode == 0) {
    WARN("inodes do not count on this file system: a copy is not noticed here");
    return;
  }
  copy_folder(places.directory(0), copy);
  const auto content = content_of(copy);
  libraft_options there = options_of(places, 0, flag::none);
  there.directory = copy;
  CHECK(error_of(there) == errc::copied);
  there.join = true;
  CHECK(error_of(there) == errc::copied);
  CHECK(refusal_of(there).find("start it once with moved") != std::string::npos);
  there.join = false;
  there.id = server_id{2};
  CHECK(error_of(there) == errc::another_server);
  CHECK(refusal_of(there).find("server 1.") != std::string::npos);
  CHECK(content_of(copy) == content);
  there.id = server_id{1};
  there.moved = true;
  CHECK(!error_of(there));
  there.moved = false;
  CHECK(!error_of(there));                              // the seal is that of this folder now
  CHECK(!error_of(options_of(places, 0, flag::none)));  // and the original has its own
}

TEST_CASE("a copy that was said to have moved is sealed once its log was looked at, not before") {
  const libraft_places places(2);
  const std::string directory = places.directory(0);
  {
    server first(options_of(places, 0, flag::found));
    REQUIRE(leads(first));
    name_cluster(first, directory);
  }
  if (libraft_seal::of(directory)->inode == 0) {
    WARN("inodes do not count on this file system: a copy is not noticed here");
    return;
  }
  {
    server other(options_of(places, 1, flag::found));
    REQUIRE(leads(other));
    name_cluster(other, places.directory(1));
  }
  // A copy of the folder, with the log of another cluster in it.
  const std::string copy = directory + ".copy";
  copy_folder(places.directory(1), copy);
  const auto files = content_of(directory);
  for (const char* const name : {"server", "quorlite.lock"}) {
    write_bytes(copy + '/' + name, files.at(name));
  }
  const auto content = content_of(copy);
  libraft_options there = options_of(places, 0, flag::moved);
  there.directory = copy;
  CHECK(error_of(there) == errc::another_cluster);
  CHECK(content_of(copy) == content);
  there.moved = false;
  CHECK(error_of(there) == errc::copied);  // still
  copy_folder(directory, copy);
  there.moved = true;
  CHECK(!error_of(there));
  there.moved = false;
  CHECK(!error_of(there));
}

TEST_CASE("a folder that was rolled back in place is not told from the one that it was") {
  const libraft_places places(1);
  const std::string directory = places.directory(0);
  std::optional<server> one(options_of(places, 0, flag::found));
  REQUIRE(leads(*one));
  REQUIRE(run(*one, "CREATE TABLE t(x)") == SQLITE_OK);
  one.reset();
  const auto before = content_of(directory);
  one.emplace(options_of(places, 0, flag::none));
  REQUIRE(leads(*one));
  REQUIRE(run(*one, "INSERT INTO t VALUES(1)") == SQLITE_OK);
  one.reset();
  for (const auto& [name, content] : content_of(directory)) {
    if (before.count(name) == 0) {
      std::filesystem::remove(directory + '/' + name);
    }
  }
  for (const auto& [name, content] : before) {
    write_bytes(directory + '/' + name, content);  // into the same inodes
  }
  one.emplace(options_of(places, 0, flag::none));
  CHECK(!one->node.status());
}

TEST_CASE("a vote that an older cluster counts is not given by whoever lost that disk") {
  for (const bool is_joined : {false, true}) {
    const libraft_places places(3);
    std::vector<std::optional<server>> servers(3);
    for (std::size_t i = 0; i < 3; ++i) {
      servers[i].emplace(places.options(i));  // ids without R
    }
    const auto leader = [&]() -> std::optional<std::size_t> {
      for (std::size_t i = 0; i < 3; ++i) {
        if (servers[i] && servers[i]->node.leader().leading) {
          return i;
        }
      }
      return {};
    };
    REQUIRE(wait_until([&] { return leader().has_value(); }));
    const std::size_t first = *leader();
    const std::size_t wiped = (first + 1) % 3;
    const std::size_t other = (first + 2) % 3;
    REQUIRE(run(*servers[first], "CREATE TABLE t(x)") == SQLITE_OK);
    servers[wiped].reset();
    std::filesystem::remove_all(places.directory(wiped));
    servers[wiped].emplace(is_joined ? options_of(places, wiped, flag::join)
                                     : places.options(wiped));
    REQUIRE(!servers[wiped]->node.status());
    servers[first].reset();
    // A list that is the same everywhere takes the wiped server for the old one.
    const int limit_ms = is_joined ? 2000 : 20'000;  // some six elections; until there is one
    CHECK(wait_until([&] { return leader().has_value(); }, limit_ms) == !is_joined);
    CHECK(servers[wiped]->raft.status().waits == is_joined);
    CHECK(!servers[other]->raft.status().waits);
  }
}

TEST_CASE("a server's file that changed is told, with what can be done, and checked as well") {
  const libraft_places places(1);
  const std::string directory = places.directory(0);
  REQUIRE(!error_of(options_of(places, 0, flag::found)));
  bytes file = content_of(directory).at("server");
  file[20] ^= std::byte{1};
  write_bytes(directory + "/server", file);
  CHECK(error_of(options_of(places, 0, flag::none)) == errc::log_damaged);
  CHECK(refusal_of(options_of(places, 0, flag::none)).find("server, byte ") == 0);
  CHECK(libraft::check(directory)->error() == errc::log_damaged);
  std::filesystem::remove(directory + "/server");  // then it is like an older folder, but its log
  CHECK(error_of(options_of(places, 0, flag::none)) == errc::log_damaged);
  CHECK(refusal_of(options_of(places, 0, flag::none)).find("it is gone: the log names") !=
        std::string::npos);
}

TEST_CASE("an older folder is sealed once its cluster has a name, and keeps its id") {
  const libraft_places places(1);
  const std::string directory = places.directory(0);
  {
    server older(places.options(0));
    REQUIRE(leads(older));
    REQUIRE(run(older, "CREATE TABLE t(x)") == SQLITE_OK);
    CHECK(file_in(directory)->cluster == cluster_identity{});
    REQUIRE(!older.node.upgrade());
    CHECK(wait_until([&] { return file_in(directory)->cluster != cluster_identity{}; }));
  }
  const libraft_server_file named = *file_in(directory);
  CHECK((named.id == server_id{1} && named.seal.is_made()));
  CHECK(libraft_seal::of(directory) == named.seal);
  CHECK(!error_of(options_of(places, 0, flag::none)));
  CHECK(error_of(options_of(places, 0, flag::found)) == errc::already_founded);
  CHECK(file_in(directory) == named);
}

TEST_CASE("a folder that begins with bootstrap has its id recorded, and no other server's") {
  const libraft_places places(2);
  CHECK(!error_of(places.options(0)));
  const auto recorded = file_in(places.directory(0));
  REQUIRE(recorded.has_value());
  CHECK((recorded->id == server_id{1} && !recorded->seal.is_made()));
  const libraft_options founds = options_of(places, 0, flag::found);
  CHECK(error_of(founds) == errc::already_founded);
  CHECK(refusal_of(founds).find("server, byte 12: there is a log") == 0);
  libraft_options other = options_of(places, 1, flag::none);
  other.directory = places.directory(0);
  CHECK(error_of(other) == errc::another_server);
  std::filesystem::remove(places.directory(0) + "/server");  // older than such files
  const std::string first_entry = std::string(libraft_first_segment) + ", byte 8: ";
  CHECK(error_of(founds) == errc::already_founded);
  CHECK(refusal_of(founds).find(std::string(libraft_first_segment) + ", byte 0: there is") == 0);
  other.address = places.server(0).address;
  CHECK(error_of(other) == errc::another_server);
  CHECK(refusal_of(other).find(first_entry + "this folder is server 1's") == 0);
  CHECK(!std::filesystem::exists(places.directory(0) + "/server"));
  CHECK(!error_of(options_of(places, 0, flag::none)));
  CHECK(file_in(places.directory(0)) == recorded);
}
