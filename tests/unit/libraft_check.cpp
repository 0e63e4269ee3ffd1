// A folder that is looked at where no engine runs: what a check says of it is what a start would.
// That they agree where folders, logs and databases are exchanged: libraft_start.cpp and
// libraft_history.cpp.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sqlite3.h>

#include "catch2_shim.hpp"
#include "fuzz/libraft_log_input.hpp"
#include "quorlite/detail/libraft/folder_check.hpp"
#include "quorlite/detail/libraft/log_end.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/log_segment.hpp"
#include "quorlite/detail/libraft/server_file.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/storage/file.hpp"
#include "support/checked_folder.hpp"
#include "support/libraft_cluster.hpp"
#include "support/libraft_folders.hpp"
#include "support/started_replica.hpp"

namespace libraft_check_test {
namespace {

using namespace quorlite;
using namespace quorlite::detail;
using namespace quorlite::tests;
using fault = libraft_log_fault;
using node_type = started_replica<libraft, file_storage>;

/// A server that founded its cluster, wrote, and was stopped: all of it is in the databases.
class stopped_server {
 public:
  explicit stopped_server(int rows = 3) {
    libraft_options options = places_.options(0);
    options.bootstrap.clear();
    options.found = true;
    file_storage storage(databases());
    libraft raft(options);
    node_type node(raft, storage);
    REQUIRE_FALSE(node.status());
    REQUIRE(wait_until([&] { return node.leader().leading; }));
    {
      auto opened = node.open("app.db", {.page_size = 512});
      REQUIRE(opened.has_value());
      run(*opened, "CREATE TABLE t(x)");
      for (int i = 0; i < rows; ++i) {
        run(*opened, "INSERT INTO t VALUES(randomblob(20))");
      }
      run(*opened, "INSERT INTO t VALUES(randomblob(700))");  // more than a sector
    }
    REQUIRE(wait_until([&] { return raft.status().applied_index == raft.status().last_index; }));
    began = node.metrics().history;
    stood_at = node.metrics().history_at;
    killed = folder_in_memory(log(), 16);
    REQUIRE_FALSE(node.stop());  // flushed
  }

  [[nodiscard]] std::string log() const { return places_.directory(0); }
  [[nodiscard]] std::string databases() const { return places_.directory(0) + ".databases"; }
  [[nodiscard]] libraft_log_report check() const { return checked(log(), databases()); }
  /// With the databases in memory.
  [[nodiscard]] libraft_log_report check_alone() const { return checked(log()); }

  history_identity began;
  history_position stood_at;
  memory_log_folder killed;  ///< the log's folder right before the stop

 private:
  static void run(sqlite3* db, const char* sql) {
    REQUIRE(sqlite3_exec(db, sql, nullptr, nullptr, nullptr) == SQLITE_OK);
  }

  libraft_places places_{1};
};

void write(const std::string& path, const bytes& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(content.data()),
             static_cast<std::streamsize>(content.size()));
  REQUIRE(file.flush().good());
}

bytes content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  bytes content(text.size());
  std::memcpy(content.data(), text.data(), text.size());
  return content;
}

/// The one defect that there is.
libraft_log_defect only_defect(const libraft_log_report& report) {
  REQUIRE(report.defects.size() == 1);
  return report.defects.front();
}

}  // namespace

TEST_CASE("a check tells the history of a log and of its databases, as the server knew it") {
  const stopped_server one;
  for (const libraft_log_report& told : {one.check(), one.check_alone()}) {
    CHECK(told.defects.empty());
    CHECK(told.was_compared);
    CHECK(told.history == one.began);
    CHECK(told.history.cluster == told.cluster);
    CHECK(told.end_history == one.stood_at.hash);
    CHECK(told.noted_applied.hash == one.stood_at.hash);
    CHECK(told.noted_applied.index <= told.end);
  }
  const libraft_log_report without = *libraft::check(one.log());  // reads no entry
  CHECK(without.defects.empty());
  CHECK_FALSE(without.was_compared);
  CHECK(without.history == history_identity{});
}

TEST_CASE("a check changes nothing in the folder of a log") {
  const stopped_server one;
  const auto before = folder_in_memory(one.log()).files;
  static_cast<void>(one.check());
  static_cast<void>(one.check_alone());
  CHECK(folder_in_memory(one.log()).files == before);
}

TEST_CASE("what log_end says of the history is compared where the databases are in memory too") {
  const stopped_server one;
  const std::string path = one.log() + "/" + libraft_log_end::file_name;
  bytes whole = content_of(path);
  libraft_log_end noted = *libraft_log_end::newest_in(whole);
  noted.applied.hash.low ^= 1;
  noted.encode(bytes_span(whole).subspan(static_cast<std::size_t>(noted.offset()),
                                         libraft_log_end::encoded_bytes));
  write(path, whole);
  for (const libraft_log_report& told : {one.check(), one.check_alone()}) {
    const libraft_log_defect found = only_defect(told);
    CHECK(found.fault == fault::diverged);
    CHECK(found.what.find("by log_end the log had another history there") != std::string::npos);
    CHECK(libraft_file_name::of(found.file).is == libraft_file_name::kind::closed);
    CHECK_FALSE(told.was_compared);
  }
}

TEST_CASE("a folder whose log is gone, or names another cluster than the folder, is told") {
  const stopped_server one;
  const stopped_server other;
  const auto ours = folder_in_memory(one.log()).files;
  SECTION("gone") {
    for (const auto& [name, content] : ours) {
      if (name != "server" && name != "quorlite.lock") {
        std::filesystem::remove(one.log() + "/" + name);
      }
    }
    const libraft_log_defect found = only_defect(one.check_alone());
    CHECK(found.fault == fault::missing);
    CHECK(found.what == "this server took part in a cluster, and its log is gone");
    CHECK(found.file == "server");
    CHECK(one.check().defects.size() == 2);  // and the databases stand behind it
  }
  SECTION("of another cluster") {
    libraft_server_file file = *libraft_server_file::decode(ours.at("server"));
    file.cluster = other.began.cluster;
    REQUIRE_FALSE(file.write(one.log()));
    for (const libraft_log_report& told : {one.check(), one.check_alone()}) {
      const libraft_log_defect found = only_defect(told);
      CHECK(found.fault == fault::another_cluster);
      CHECK(found.file == "server");
    }
    CHECK(one.check().defects[0].what.find("what the databases hold") != std::string::npos);
    CHECK(one.check_alone().defects[0].what.find("its log to cluster") != std::string::npos);
    CHECK(one.check_alone().history == one.began);  // and the entries were looked at
  }
  SECTION("the databases of another one") {
    const libraft_log_defect found = only_defect(checked(one.log(), other.databases()));
    CHECK(found.fault == fault::another_cluster);
    std::filesystem::remove(one.log() + "/server");  // then it is the entries that say so
    const libraft_log_defect by_log = only_defect(checked(one.log(), other.databases()));
    CHECK(by_log.fault == fault::another_cluster);
    CHECK(by_log.what.find("the log, by its entry at log index") == 0);
    CHECK(libraft_file_name::of(by_log.file).is == libraft_file_name::kind::closed);
    CHECK(by_log.byte >= libraft_format_bytes);
  }
}

TEST_CASE(
    "a start that was refused over an entry names the file that has it, as it is called then") {
  const stopped_server one;
  const stopped_server other;
  const libraft_places places(1);
  const std::string log = places.directory(0);
  memory_log_folder killed = one.killed;
  killed.files.erase("server");  // then it is the entries that say so
  write_folder(killed, log);
  const libraft_log_defect before = only_defect(checked(log, other.databases()));
  CHECK(libraft_file_name::of(before.file).is == libraft_file_name::kind::open);
  libraft_options options = places.options(0);
  options.bootstrap.clear();
  file_storage storage(other.databases());
  libraft raft(options);
  const node_type node(raft, storage);
  CHECK(node.status() == errc::another_cluster);
  const libraft_log_defect after = only_defect(raft.log_report());
  CHECK((after.what == before.what && after.byte == before.byte));
  CHECK(libraft_file_name::of(after.file).is == libraft_file_name::kind::closed);
  CHECK(std::filesystem::is_regular_file(log + '/' + after.file));
  CHECK(!std::filesystem::exists(log + '/' + before.file));
}

TEST_CASE("a folder in which a cluster was about to begin is what its start makes of it") {
  const temporary_directory place;
  const std::string path = place / "1";
  std::filesystem::create_directory(path);
  libraft_server_file file;
  file.id = server_id{1};
  file.at = libraft_server_file::stage::founding;
  REQUIRE_FALSE(file.write(path));
  CHECK(checked(path).defects.empty());
  write(path + "/metadata1", bytes(5, std::byte{1}));
  write(path + '/' + libraft_first_segment, bytes(100, std::byte{1}));
  const libraft_log_report told = checked(path);
  CHECK(told.defects.empty());
  REQUIRE(told.leftovers.size() == 2);
  CHECK(told.leftovers[0].file == libraft_first_segment);
  CHECK(told.leftovers[1].file == "metadata1");
  write(path + "/open-1", bytes(100, std::byte{1}));
  const libraft_log_defect found = only_defect(checked(path));
  CHECK(found.fault == fault::damaged);
  CHECK(found.what.find("there is a log already") != std::string::npos);
}

TEST_CASE("a folder that is empty, or waits to be added, has nothing against it") {
  const temporary_directory place;
  const std::string path = place / "1";
  std::filesystem::create_directory(path);
  CHECK(checked(path).defects.empty());
  libraft_server_file file;
  file.id = server_id{(std::uint64_t{1} << 40U) + 7};
  REQUIRE_FALSE(file.write(path));
  const libraft_log_report told = checked(path);
  CHECK(told.defects.empty());
  CHECK(told.server == file.id);
  CHECK(told.history == history_identity{});
}

namespace {

/// Where the commands of a segment are, without the zeros that fill them up.
std::vector<bool> commands_in(const bytes& segment) {
  std::vector<bool> found(segment.size());
  memory_log_file file(segment);
  libraft_segment_reader reader(file);
  while (reader.next()) {
    std::size_t at = static_cast<std::size_t>(reader.begin()) + libraft_preamble_bytes +
                     reader.entries().size() * libraft_head_bytes;
    for (const libraft_entry_head& head : reader.entries()) {
      const std::size_t end = at + head.data_bytes;
      for (std::size_t i = at; head.type == libraft_entry_head::command && i < end; ++i) {
        found[i] = true;
      }
      for (std::size_t i = end; i > at && i > end - 7 && segment[i - 1] == std::byte{0}; --i) {
        found[i - 1] = false;
      }
      at = end;
    }
  }
  return found;
}

struct tally {
  std::size_t changed = 0;
  std::map<fault, std::size_t> told;
  std::size_t untold = 0;
};

/// Changes each byte of each file, one after the other.
/// @param mend what is done to a file that was changed
/// @param must true: a change there has to be told
tally change_each_byte(const memory_log_folder& folder, const state_machine& machine,
                       const std::function<void(bytes&)>& mend,
                       const std::function<bool(const std::string&, std::size_t)>& must) {
  tally made;
  memory_log_folder changed = folder;
  for (const auto& [name, content] : folder.files) {
    for (std::size_t at = 0; at < content.size(); ++at) {
      if (name == libraft_log_end::file_name && at == libraft_log_end::encoded_bytes) {
        at = libraft_log_end::slot_distance;  // there is nothing between its slots
      }
      bytes& file = changed.files.at(name);
      file[at] ^= static_cast<std::byte>(1U << at % 8);
      mend(file);
      if (file == content) {
        continue;  // it was a check
      }
      const auto report = check_folder(changed, machine);
      file = content;
      REQUIRE(report.has_value());
      ++made.changed;
      for (const libraft_log_defect& one : report->defects) {
        ++made.told[one.fault];
      }
      if (report->defects.empty()) {
        INFO(name << ", byte " << at);
        CHECK_FALSE(must(name, at));
        ++made.untold;
      }
    }
  }
  return made;
}

}  // namespace

namespace {

/// What a check says where the databases are in memory.
libraft_log_report checked_alone(memory_log_folder& folder) {
  memory_storage storage;
  fsm<libraft, memory_storage> machine(storage);
  REQUIRE_FALSE(machine.load());
  auto report = check_folder(folder, machine);
  REQUIRE(report.has_value());
  return std::move(*report);
}

/// The first sector of the last write did not arrive.
void tear_last_write(memory_log_folder& folder) {
  bytes* last = nullptr;
  for (auto& [name, content] : folder.files) {
    last = name.find("open-") == 0 && content.size() > libraft_sector_bytes ? &content : last;
  }
  REQUIRE(last != nullptr);
  std::size_t begin = 0;
  {
    memory_log_file file(*last);
    libraft_segment_reader reader(file);
    while (reader.next()) {
      begin = static_cast<std::size_t>(reader.begin());
    }
  }
  const std::size_t end = (begin / libraft_sector_bytes + 1) * libraft_sector_bytes;
  std::fill(last->begin() + static_cast<std::ptrdiff_t>(begin),
            last->begin() + static_cast<std::ptrdiff_t>(end), std::byte{0});
}

}  // namespace

TEST_CASE("the log of a server that was killed is compared up to the write that was cut short") {
  stopped_server one;
  const libraft_log_report whole = checked_alone(one.killed);
  CHECK(whole.defects.empty());
  CHECK(whole.history == one.began);
  CHECK(whole.end_history == one.stood_at.hash);
  // log_end would know of that write if it was answered.
  one.killed.files.erase(libraft_log_end::file_name);
  one.killed.files.erase(libraft_log_note::file_name);
  tear_last_write(one.killed);
  const libraft_log_report torn = checked_alone(one.killed);
  CHECK(torn.defects.empty());
  REQUIRE(torn.leftovers.size() == 1);
  CHECK(torn.last_index + 1 == whole.last_index);
  CHECK(torn.was_compared);
  CHECK(torn.history == one.began);
  CHECK(torn.end_history != whole.end_history);
  one.killed.clear_away(torn);
  const libraft_log_report cleared = checked_alone(one.killed);
  CHECK(cleared.end_history == torn.end_history);
  // The databases are ahead of that.
  file_storage storage(one.databases());
  fsm<libraft, file_storage> machine(storage);
  REQUIRE_FALSE(machine.load());
  CHECK(check_folder(one.killed, machine)->error() == errc::log_too_short);
}

TEST_CASE("seeds of libraft_log_fuzz with a history are written", "[.corpus]") {
  const char* const folder = std::getenv("QUORLITE_CORPUS_OUT");
  REQUIRE(folder != nullptr);
  const stopped_server one(1);
  bytes all{std::byte{1}};
  const bytes files = log_input_of(one.killed);
  all.insert(all.end(), files.begin(), files.end());
  write(std::string(folder) + "/founded", all);
  all.front() = static_cast<std::byte>(1 + 2 * 5);
  write(std::string(folder) + "/founded_at_5", all);
}

TEST_CASE("a byte that changes is told, or changes nothing that a check tells of the history") {
  const stopped_server one(1);
  const memory_log_folder folder = folder_in_memory(one.log(), 16);
  file_storage storage(one.databases());
  fsm<libraft, file_storage> machine(storage);
  REQUIRE_FALSE(machine.load());
  std::map<std::string, std::vector<bool>> commands;
  for (const auto& [name, content] : folder.files) {
    if (name.find("open-") == 0 || name.find("0") == 0) {
      commands[name] = commands_in(content);
    }
  }
  const auto in_command = [&](const std::string& name, std::size_t at) {
    const auto found = commands.find(name);
    return found != commands.end() && found->second[at];
  };
  SECTION("as it is") {
    const tally made = change_each_byte(
        folder, machine, [](bytes&) {}, in_command);
    CHECK(made.changed > 1'000);
    CHECK(made.told.at(fault::damaged) > 1'000);
  }
  // Then it is the history that tells: the databases have been made from what was there.
  SECTION("with the checks of libraft made right") {
    const auto mend = [](bytes& file) {
      if (file.size() > libraft_format_bytes) {
        put_batches_right(file);
      }
    };
    const tally made = change_each_byte(folder, machine, mend, in_command);
    CHECK(made.told.at(fault::diverged) > 100);
    CHECK(made.told.at(fault::damaged) > 100);
    CHECK(made.told.at(fault::unknown) > 10);
  }
  SECTION("with those of entries and commands made right too") {
    const auto mend = [](bytes& file) {
      if (file.size() > libraft_format_bytes) {
        put_entries_right(file);
      }
    };
    const tally made = change_each_byte(folder, machine, mend, in_command);
    CHECK(made.told.at(fault::diverged) > 100);
    CHECK(made.told.at(fault::another_cluster) >= 16);
  }
}

}  // namespace libraft_check_test
