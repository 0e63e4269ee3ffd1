// log_end: how far a log went, and the term and vote of its server. What is gone from the end of a
// log is told; a write of log_end that is cut short anywhere, or a build that does not know it, is
// no reason to refuse a server.

#include <fcntl.h>
#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/libraft/log_end.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/storage/memory.hpp"
#include "support/libraft_cluster.hpp"
#include "support/libraft_folders.hpp"
#include "support/lowered_limit.hpp"
#include "support/started_replica.hpp"
#include "support/temporary_directory.hpp"

namespace libraft_log_end_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::tests::folder_in_memory;
using quorlite::tests::libraft_places;
using quorlite::tests::lowered_limit;
using quorlite::tests::memory_log_folder;
using quorlite::tests::temporary_directory;
using quorlite::tests::uv_disk;
using quorlite::tests::wait_until;
using quorlite::tests::write_folder;
using node_type = quorlite::tests::started_replica<libraft, memory_storage>;

constexpr const char* end_name = libraft_log_end::file_name;
constexpr const char* note_name = libraft_log_note::file_name;
constexpr std::size_t slot_bytes = libraft_log_end::encoded_bytes;

libraft_log_end sample(std::uint64_t write) {
  libraft_log_end made;
  made.write = write;
  made.entry = 9;
  made.entry_term = 2;
  made.applied = {log_index{8}, {0x0123456789abcdef, 77}};
  made.term = 2;
  made.vote = 1;
  return made;
}

bytes slot_of(const libraft_log_end& told) {
  bytes slot(slot_bytes);
  told.encode(slot);
  return slot;
}

void put(bytes& file, const libraft_log_end& told) {
  file.resize(std::max(file.size(), libraft_log_end::file_bytes));
  const bytes slot = slot_of(told);
  std::copy(slot.begin(), slot.end(), file.begin() + static_cast<std::ptrdiff_t>(told.offset()));
}

void put_note(memory_log_folder& folder, libraft_log_note note, bool keeps_end = true) {
  note.keeps_end = keeps_end;
  bytes whole(libraft_log_note::encoded_bytes);
  note.encode(whole);
  folder.files[note_name] = whole;
}

std::string text_of(const libraft_log_report& report) {
  std::string all;
  for (const libraft_log_defect& one : report.defects) {
    all += one.text() + "\n";
  }
  return all;
}

bool says(const libraft_log_report& report, const std::string& text) {
  return text_of(report).find(text) != std::string::npos;
}

/// Entry 1 has the members; 2 to 4 are of term 1, 5 to 7 and 8 to 9 of term 2. Each run was stopped
/// in good order but the last, which is in open-1. Its log_end says all of it.
memory_log_folder honest_folder() {
  const temporary_directory folder;
  const std::string path = folder / "log";
  std::filesystem::create_directory(path);
  const auto run = [&](std::uint64_t term, bool begins, const std::vector<std::size_t>& appends) {
    uv_disk disk(path);
    if (begins) {
      disk.bootstrap();
      disk.set_vote(1);
    }
    static_cast<void>(disk.load());
    if (term == 2) {
      disk.set_term(2);
      disk.set_vote(1);
    }
    for (const std::size_t count : appends) {
      disk.append(term, count, 100);
    }
    return folder_in_memory(path, 1024);
  };
  static_cast<void>(run(1, true, {2, 1}));
  static_cast<void>(run(2, false, {1, 2}));
  memory_log_folder made = run(2, false, {1, 1});
  put(made.files[end_name], sample(4));
  put_note(made, {});
  return made;
}

}  // namespace

// ---- the file

TEST_CASE("log_end: a slot tells what was written, and nothing once any bit of it has changed") {
  const libraft_log_end told = sample(7);
  bytes slot = slot_of(told);
  CHECK(libraft_log_end::decode(slot) == told);
  for (std::size_t bit = 0; bit < 8 * slot.size(); ++bit) {
    slot[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    CHECK(libraft_log_end::decode(slot) == std::nullopt);
    slot[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
  }
  CHECK(libraft_log_end::decode(bytes_view(slot).first(slot.size() - 1)) == std::nullopt);
  CHECK(libraft_log_end::decode(bytes(slot_bytes)) == std::nullopt);
  CHECK(libraft_log_end::newest_in({}) == std::nullopt);
}

TEST_CASE(
    "log_end: a write that is cut short at any byte leaves the one before it, or the new one") {
  bytes before;
  put(before, sample(4));
  put(before, sample(5));
  libraft_log_end next = sample(6);
  next.entry = 12;
  bytes after = before;
  put(after, next);
  REQUIRE(libraft_log_end::newest_in(after) == next);
  for (std::size_t arrived = 0; arrived <= slot_bytes; ++arrived) {
    bytes torn = before;
    std::copy_n(after.begin(), arrived, torn.begin());  // write 6 is in the first slot
    const auto found = libraft_log_end::newest_in(torn);
    REQUIRE(found.has_value());
    CHECK(*found == (arrived == slot_bytes || torn == after ? next : sample(5)));
  }
  bytes moved(libraft_log_end::file_bytes);  // a slot is at its own place, or is none
  const bytes slot = slot_of(sample(7));
  std::copy(slot.begin(), slot.end(), moved.begin());
  CHECK(libraft_log_end::newest_in(moved) == std::nullopt);
}

TEST_CASE("log_end is written in turns, and takes on what an earlier run has left") {
  const temporary_directory folder;
  const std::string path = folder / "log";
  std::filesystem::create_directory(path);
  const auto told = [&] {
    libraft_disk_folder disk(path);
    return **libraft_log_end::read(disk);
  };
  {
    libraft_end_keeper keeper(path);
    history_position applied_before{log_index{1}, {}};
    REQUIRE(keeper.load(3, 1, applied_before) == 0);
    CHECK(applied_before == history_position{});
    REQUIRE(keeper.note_vote(2) == 0);  // there is nothing to write it to, and begin() will
    CHECK_FALSE(std::filesystem::exists(path + "/log_end"));
    REQUIRE(keeper.begin(9, 2) == 0);
    CHECK((told().entry == 9 && told().entry_term == 2 && told().term == 3 && told().vote == 2));
    CHECK_FALSE(keeper.has_changed());
    const history_position applied{log_index{8}, {5, 6}};
    keeper.advance(11, 3, applied);
    CHECK(keeper.has_changed());
    CHECK(told().entry == 9);
    REQUIRE(keeper.write() == 0);
    CHECK((told().entry == 11 && told().entry_term == 3 && told().applied == applied));
    const std::uint64_t writes = told().write;
    REQUIRE(keeper.write() == 0);
    CHECK(told().write == writes);  // nothing has changed
    keeper.advance(10, 3, {log_index{7}, {7, 7}});
    keeper.advance(11, 3, {log_index{9}, {}});  // a hash that is not known tells nothing
    CHECK_FALSE(keeper.has_changed());
  }
  libraft_end_keeper keeper(path);
  history_position applied;
  REQUIRE(keeper.load(4, 0, applied) == 0);
  CHECK(applied.index == log_index{8});
  REQUIRE(keeper.note_vote(7) == 0);  // a server that is alone chooses itself in its start
  CHECK((told().entry == 11 && told().term == 4 && told().vote == 7));
  REQUIRE(keeper.begin(10, 3) == 0);  // as the engine has read it, whatever an older build cut
  CHECK(told().entry == 10);
  CHECK(std::filesystem::file_size(path + "/log_end") == libraft_log_end::file_bytes);

  REQUIRE(keeper.pull_back(12, 3) == 0);
  CHECK(told().entry == 10);
  keeper.advance(20, 4, {});
  REQUIRE(keeper.pull_back(15, 4) == 0);  // it was on its way to the disk
  CHECK((told().entry == 15 && told().entry_term == 4));
  REQUIRE(keeper.pull_back(0, 0) == 0);
  CHECK((told().entry == 0 && told().applied.index == log_index{8}));

  keeper.note_term(5);
  CHECK(told().term == 4);
  REQUIRE(keeper.note_vote(2) == 0);
  CHECK((told().term == 5 && told().vote == 2));
  keeper.note_term(5);
  CHECK(told().vote == 2);

  libraft_end_keeper nowhere(path + "/missing");
  CHECK(nowhere.begin(1, 1) == RAFT_IOERR);
  libraft_end_keeper without_disk{std::string()};
  CHECK(without_disk.begin(1, 1) == 0);
  CHECK_FALSE(without_disk.has_begun());
}

// A sync that failed may have dropped the newest slot; the system shows it until the power is cut.
TEST_CASE(
    "log_end: what an earlier run has left is written again, where it stands, before all else") {
  const temporary_directory folder;
  const std::string path = folder / "log";
  std::filesystem::create_directory(path);
  const std::uint64_t writes = GENERATE(std::uint64_t{2}, std::uint64_t{3}, std::uint64_t{4});
  CAPTURE(writes);
  const auto slots = [&] {
    libraft_disk_folder disk(path);
    return libraft_log_end::slots_in(*libraft_log_end::read_file(disk));
  };
  {
    libraft_end_keeper keeper(path);
    history_position applied;
    REQUIRE(keeper.load(1, 0, applied) == 0);
    REQUIRE(keeper.begin(10, 1) == 0);
    for (std::uint64_t i = 2; i < writes; ++i) {
      keeper.advance(10 + i, 1, {});
      REQUIRE(keeper.write() == 0);
    }
  }
  const auto before = slots();
  const std::size_t newest = writes % 2;
  REQUIRE((before[newest] && before[newest]->write == writes));
  libraft_end_keeper keeper(path);
  history_position applied;
  REQUIRE(keeper.load(1, 0, applied) == 0);
  CHECK(keeper.has_changed());
  keeper.advance(30, 1, {});
  REQUIRE(keeper.write() == 0);
  const auto after = slots();
  if (writes == 2) {  // the other one was never written: this one has to last
    CHECK(after[0] == before[0]);
    CHECK((after[1] && after[1]->entry == 30));
  } else {
    CHECK(after[1 - newest] == before[1 - newest]);
    CHECK((after[newest] && after[newest]->entry == 30 && after[newest]->write == writes));
  }
  CHECK_FALSE(keeper.has_changed());
}

namespace {

/// The file of a log that ends with entry 3 of term 1.
struct kept_end {
  const temporary_directory folder;
  const std::string path = folder / "log";
  libraft_end_keeper keeper{path};

  kept_end() {
    std::filesystem::create_directory(path);
    history_position applied;
    REQUIRE(keeper.load(1, 0, applied) == 0);
    REQUIRE(keeper.begin(3, 1) == 0);
  }
  [[nodiscard]] libraft_log_end told() const {
    libraft_disk_folder disk(path);
    return **libraft_log_end::read(disk);
  }
};

template <class Call>
int without_room(Call call) {
  const lowered_limit none = lowered_limit::no_bytes();
  return call();
}

}  // namespace

TEST_CASE("log_end: a write that fails is tried again at its own place, and the other one stays") {
  kept_end one;
  one.keeper.advance(5, 1, {});
  REQUIRE(one.keeper.write() == 0);
  const libraft_log_end before = one.told();
  one.keeper.advance(7, 1, {});
  for (int i = 0; i < 3; ++i) {
    CHECK(without_room([&] { return one.keeper.write(); }) == RAFT_IOERR);
    CHECK(one.keeper.has_changed());
  }
  CHECK(one.told() == before);
  one.keeper.advance(9, 1, {});
  int code = -1;
  {
    const lowered_limit none = lowered_limit::no_descriptors();
    code = one.keeper.write();
  }
  CHECK(code == 0);
  CHECK_FALSE(one.keeper.has_changed());
  CHECK((one.told().entry == 9 && one.told().write == before.write + 1));
}

TEST_CASE(
    "log_end: where a write has failed it may have been written, and goes back all the same") {
  kept_end one;
  const libraft_log_end before = one.told();
  one.keeper.advance(9, 1, {});
  REQUIRE(without_room([&] { return one.keeper.write(); }) == RAFT_IOERR);
  libraft_log_end landed = before;
  landed.entry = 9;
  ++landed.write;
  REQUIRE(!libraft_descriptor(one.path + "/" + end_name, O_WRONLY)
               .overwrite(landed.offset(), slot_of(landed)));
  REQUIRE(one.told() == landed);
  REQUIRE(one.keeper.pull_back(3, 1) == 0);
  CHECK(one.told().entry == 3);
  CHECK(without_room([&] { return one.keeper.pull_back(2, 1); }) == RAFT_IOERR);
  REQUIRE(one.keeper.pull_back(2, 1) == 0);
  CHECK(one.told().entry == 2);
}

TEST_CASE("log_end: who writes beside the loop overtakes nothing that goes back or is chosen") {
  kept_end one;
  std::atomic<bool> done{false};
  std::atomic<int> failures{0};
  std::thread beside([&] {
    while (!done) {
      failures += one.keeper.write() == 0 ? 0 : 1;
    }
  });
  for (std::uint64_t i = 1; i <= 50; ++i) {
    one.keeper.advance(10 * i + 9, i, {});
    CHECK(one.keeper.pull_back(10 * i, i) == 0);
    CHECK(one.told().entry == 10 * i);
    one.keeper.note_term(i);
    CHECK(one.keeper.note_vote(i) == 0);
    CHECK((one.told().term == i && one.told().vote == i));
  }
  done = true;
  beside.join();
  CHECK(failures == 0);
}

TEST_CASE("log_end: what cannot be read is not taken for none") {
  const temporary_directory folder;
  const std::string path = folder / "log";
  std::filesystem::create_directories(path + "/log_end");  // as good as any other error
  libraft_end_keeper keeper(path);
  history_position applied;
  CHECK(keeper.load(1, 0, applied) == RAFT_IOERR);
  std::filesystem::remove(path + "/log_end");
  CHECK(keeper.load(1, 0, applied) == 0);
}

// ---- held against the log

TEST_CASE("a log whose end is gone is told by log_end, with both ends and what can be done") {
  const memory_log_folder honest = honest_folder();
  memory_log_folder folder = honest;
  const libraft_log_report whole = folder.read();
  INFO(text_of(whole));
  REQUIRE(whole.defects.empty());
  CHECK((whole.last_index == 9 && whole.noted_index == 9 && whole.noted_term == term{2}));

  SECTION("all open segments") {
    folder.files.erase("open-1");
    const libraft_log_report report = folder.read();
    INFO(text_of(report));
    CHECK(report.error() == errc::log_too_short);
    CHECK(says(report, "ends with entry 7 of term 2, and by log_end it had entry 9 of term 2"));
    CHECK(says(report, "Keep this folder"));
    CHECK(report.defects.front().file == "0000000000000005-0000000000000007");
  }
  SECTION("a cut between two writes, or in one") {
    std::size_t told = 0;
    const bytes& open = honest.files.at("open-1");
    for (std::size_t size = 0; size < open.size(); ++size) {
      folder.files.at("open-1").resize(size);
      const libraft_log_report report = folder.read();
      INFO(size << ": " << text_of(report));
      CHECK((report.error() || report.last_index == 9));
      told += report.error() == errc::log_too_short ? 1 : 0;
      folder.files.at("open-1") = open;
    }
    CHECK(told > 0);
  }
  SECTION("the closed segment before the open one, whose entries get the numbers of others") {
    folder.files.erase("0000000000000005-0000000000000007");
    const libraft_log_report report = folder.read();
    INFO(text_of(report));
    CHECK(report.error() == errc::log_too_short);
  }
  SECTION("it is a lower bound: a log that goes on is whole") {
    libraft_log_end less = sample(5);
    for (const std::uint64_t entry : {0U, 1U, 4U, 8U}) {
      less.entry = entry;
      less.entry_term = entry == 8 ? 2 : entry == 0 ? 0 : 1;
      put(folder.files.at(end_name), less);
      CHECK(folder.read().defects.empty());
    }
  }
  SECTION("an entry of another term where it had one") {
    libraft_log_end other = sample(5);
    other.entry = 4;
    put(folder.files.at(end_name), other);  // term 2, and the log has term 1
    const libraft_log_report report = folder.read();
    INFO(text_of(report));
    CHECK(report.error() == errc::diverged);
    CHECK(report.defects.front().file == end_name);
    CHECK(says(report, "had entry 4 of term 2, and now has entry 4 of term 1"));
  }
}

TEST_CASE("a log that a build without log_end may have cut is not held against it") {
  memory_log_folder folder = honest_folder();
  folder.files.erase("open-1");
  REQUIRE(folder.read().error() == errc::log_too_short);
  SECTION("it was started there") { put_note(folder, {}, false); }
  SECTION("and was killed while it cut") {
    put_note(folder, {libraft_log_note::step::truncate, 8, 0}, false);
  }
  SECTION("or while a snapshot took the place of the log") {
    put_note(folder, {libraft_log_note::step::install, 5, 2}, false);
  }
  SECTION("and both files were removed, after an older one yet, which notes nothing") {
    folder.files.erase(note_name);
    folder.files.erase(end_name);
  }
  const libraft_log_report report = folder.read();
  INFO(text_of(report));
  CHECK(report.defects.empty());
  CHECK(report.noted_index == 0);
}

TEST_CASE("log_end without quorlite.log is held against the log all the same") {
  memory_log_folder folder = honest_folder();
  folder.files.erase(note_name);  // a first start was killed between the two
  CHECK(folder.read().defects.empty());
  CHECK(folder.read().noted_index == 9);
  folder.files.erase("open-1");
  const libraft_log_report report = folder.read();
  INFO(text_of(report));
  CHECK(report.error() == errc::log_too_short);
}

TEST_CASE("a folder that had a log_end and lost it is refused, one that never had it is not") {
  memory_log_folder folder = honest_folder();
  SECTION("gone") { folder.files.erase(end_name); }
  SECTION("both slots") {
    for (const std::size_t at : {std::size_t{20}, libraft_log_end::slot_distance + 20}) {
      folder.files.at(end_name)[at] ^= std::byte{1};
    }
  }
  SECTION("empty") { folder.files.at(end_name).clear(); }
  const libraft_log_report report = folder.read();
  INFO(text_of(report));
  CHECK(report.error() == errc::log_damaged);
  CHECK(report.defects.front().file == end_name);
  CHECK(says(report, "nothing else tells where the log ended"));
  put_note(folder, {}, false);
  CHECK(folder.read().defects.empty());
  folder.files.erase(note_name);  // as the remedy says
  CHECK(folder.read().defects.empty());
}

TEST_CASE("one slot of log_end that is damaged is no reason to refuse, and the other one counts") {
  const memory_log_folder honest = honest_folder();
  for (const bool newer : {false, true}) {
    memory_log_folder folder = honest;
    libraft_log_end next = sample(5);
    next.entry = 8;
    put(folder.files.at(end_name), next);
    bytes& file = folder.files.at(end_name);
    file[static_cast<std::size_t>(newer ? next.offset() : sample(4).offset()) + 16] ^= std::byte{4};
    const libraft_log_report report = folder.read();
    CHECK(report.defects.empty());
    CHECK(report.noted_index == (newer ? 9 : 8));
  }
}

TEST_CASE("log_end: an older or another vote in libraft's files is told, a newer one is not") {
  const memory_log_folder honest = honest_folder();
  const auto with = [&](std::uint64_t version, std::uint64_t term, std::uint64_t vote) {
    memory_log_folder made = honest;
    const auto put_metadata = [&](const libraft_metadata& told) {
      bytes& file = made.files.at(told.version % 2 == 1 ? "metadata1" : "metadata2");
      store_little_endian(file.data() + 8, told.version);
      store_little_endian(file.data() + 16, told.term);
      store_little_endian(file.data() + 24, told.vote);
    };
    put_metadata({1, version, term, vote});
    put_metadata({1, version - 1, vote == 0 ? term - 1 : term, 0});  // as it was right before
    return made;
  };
  CHECK(with(4, 2, 1).read().defects.empty());
  CHECK(with(5, 3, 0).read().defects.empty());  // a term is in log_end with the next write only
  CHECK(with(6, 3, 5).read().defects.empty());  // or the server was killed between the two
  for (memory_log_folder folder : {with(3, 2, 0), with(4, 2, 3), with(2, 1, 1)}) {
    const libraft_log_report report = folder.read();
    INFO(text_of(report));
    CHECK(report.error() == errc::log_damaged);
    CHECK(says(report, "could make two leaders"));
  }
  memory_log_folder gone = honest;
  for (const char* name : {"metadata1", "metadata2"}) {
    gone.files.erase(name);
  }
  CHECK(gone.read().error() == errc::log_damaged);
  memory_log_folder all_gone;  // no log is left either
  all_gone.files[end_name] = honest.files.at(end_name);
  all_gone.files[note_name] = honest.files.at(note_name);
  CHECK(all_gone.read().error() == errc::log_damaged);
  CHECK_FALSE(all_gone.read().is_empty());
}

TEST_CASE("log_end: each bit of term and vote that changes is told, but for a higher term") {
  const memory_log_folder honest = honest_folder();
  REQUIRE(honest_folder().read().defects.empty());
  std::size_t higher = 0;
  for (const char* name : {"metadata1", "metadata2"}) {
    for (std::size_t bit = 16 * 8; bit < 32 * 8; ++bit) {
      memory_log_folder folder = honest;
      folder.files.at(name)[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
      const libraft_log_report report = folder.read();
      const bool is_older = libraft_metadata::decode(honest.files.at(name)).vote == 0;
      INFO(name << ", bit " << bit << ": " << text_of(report));
      const bool excused = is_older || report.term > term{2};
      CHECK((report.error() == errc::log_damaged || excused));
      higher += report.error() ? 0 : 1;
    }
  }
  CHECK(higher > 0);
}

// ---- servers

namespace {

libraft_options lone_options(const libraft_places& places) {
  libraft_options options = places.options(0);
  options.bootstrap.clear();
  options.found = true;
  return options;
}

class server {
 public:
  explicit server(const libraft_options& options) : raft(options), node(raft, storage_) {}

  /// @returns the rows; nothing: it does not write
  [[nodiscard]] std::optional<int> insert() {
    if (node.status() || !wait_until([&] { return node.leader().leading; })) {
      return {};
    }
    auto opened = node.open("app.db");
    int rows = 0;
    const auto take = [](void* into, int, char** values, char**) {
      *static_cast<int*>(into) = std::stoi(values[0]);
      return 0;
    };
    const bool done =
        opened &&
        sqlite3_exec(*opened, "CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(1)", nullptr,
                     nullptr, nullptr) == SQLITE_OK &&
        sqlite3_exec(*opened, "SELECT count(*) FROM t", take, &rows, nullptr) == SQLITE_OK;
    const bool is_quiet = wait_until([&] {
      const libraft_status now = raft.status();
      return now.applied_index == now.last_index;
    });
    return done && is_quiet ? std::optional(rows) : std::nullopt;
  }

 private:
  memory_storage storage_;

 public:
  libraft raft;
  node_type node;
};

std::error_code error_of(const libraft_options& options) { return server(options).node.status(); }

libraft_log_report report_of(const libraft_options& options) {
  auto report = libraft::check(options.directory);
  REQUIRE(report.has_value());
  return *report;
}

}  // namespace

TEST_CASE("log_end is exact at a stop, grows while a server runs, and a shorter log is refused") {
  const libraft_places places(1);
  libraft_options options = lone_options(places);
  {
    server one(options);
    REQUIRE(one.insert() == 1);
  }
  options.found = false;
  const libraft_log_report stopped = report_of(options);
  CHECK(stopped.defects.empty());
  CHECK(stopped.noted_index == stopped.last_index);
  CHECK(stopped.noted_term == stopped.ranges.back().term);
  memory_log_folder killed;
  {
    server one(options);
    REQUIRE(one.insert() == 2);
    const std::uint64_t now = one.raft.status().last_index;
    CHECK(wait_until([&] {
      libraft_disk_folder folder(options.directory);
      const auto told = libraft_log_end::read(folder);
      return told && *told && (*told)->entry >= now && (*told)->applied.index.value > 0;
    }));
    killed = folder_in_memory(options.directory, 4096);
  }
  write_folder(killed, options.directory);
  options.moved = true;  // the copy has another lock file
  std::uint64_t rows = 2;
  {
    server one(options);
    REQUIRE(one.insert() == static_cast<int>(++rows));
  }
  options.moved = false;
  const memory_log_folder whole = folder_in_memory(options.directory);
  std::vector<std::string> closed;
  for (const auto& [name, content] : whole.files) {
    if (libraft_file_name::of(name).is == libraft_file_name::kind::closed) {
      closed.push_back(name);
    }
  }
  REQUIRE(closed.size() >= 3);
  std::filesystem::rename(options.directory + "/" + closed.back(), options.directory + "/moved");
  const memory_log_folder before = folder_in_memory(options.directory);
  {
    server refused(options);
    CHECK(refused.node.status() == errc::log_too_short);
    INFO(text_of(refused.raft.log_report()));
    CHECK(says(refused.raft.log_report(), "by log_end it had entry"));
  }
  CHECK(folder_in_memory(options.directory).files == before.files);  // nothing was changed
  std::filesystem::rename(options.directory + "/moved", options.directory + "/" + closed.back());
  server again(options);
  CHECK(again.insert() == static_cast<int>(++rows));
}

TEST_CASE("log_end is written where no file can be opened, and the server goes on") {
  const libraft_places places(1);
  server one(lone_options(places));
  REQUIRE(one.insert() == 1);
  auto opened = one.node.open("app.db");
  REQUIRE(opened);
  const auto told = [&] {
    libraft_disk_folder folder(places.options(0).directory);
    const auto read = libraft_log_end::read(folder);
    return read && *read ? (*read)->entry : 0;
  };
  REQUIRE(wait_until([&] { return told() == one.raft.status().last_index; }));
  bool stays = false;
  {
    const lowered_limit none = lowered_limit::no_descriptors();
    stays =
        sqlite3_exec(*opened, "INSERT INTO t VALUES(2)", nullptr, nullptr, nullptr) == SQLITE_OK;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    while (stays && std::chrono::steady_clock::now() < end) {
      stays = one.node.leader().leading;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  CHECK(stays);
  CHECK(!one.raft.status().error);
  CHECK(told() == one.raft.status().last_index);
  CHECK(one.raft.status().counters.log_end_errors == 0);
}

TEST_CASE("a folder of a build without log_end gets one, and goes back to that build and on") {
  const libraft_places places(1);
  libraft_options options = lone_options(places);
  {
    server one(options);
    REQUIRE(one.insert() == 1);
  }
  options.found = false;
  const auto as_older_build = [&](bool knew_notes) {
    std::filesystem::remove(options.directory + "/" + end_name);
    libraft_disk_folder folder(options.directory);
    bytes whole(libraft_log_note::encoded_bytes);
    libraft_log_note{}.encode(whole);
    if (knew_notes) {
      REQUIRE(!folder.replace(note_name, whole));
    } else {
      REQUIRE(!folder.remove(note_name));
    }
  };
  int rows = 1;
  for (const bool knew_notes : {true, false}) {
    as_older_build(knew_notes);
    server one(options);
    CHECK(one.insert() == ++rows);
  }
  CHECK(report_of(options).noted_index == report_of(options).last_index);

  // The older build ran here again, and cut entries that its leader did not have.
  libraft_disk_folder folder(options.directory);
  libraft_log_end further = **libraft_log_end::read(folder);
  further.entry += 5;
  ++further.write;
  REQUIRE(!libraft_descriptor(options.directory + "/" + end_name, O_WRONLY)
               .overwrite(further.offset(), slot_of(further)));
  CHECK(error_of(options) == errc::log_too_short);
  const bytes ours = folder_in_memory(options.directory).files.at(end_name);
  as_older_build(true);
  REQUIRE(!folder.replace(end_name, ours));
  CHECK(report_of(options).defects.empty());
  {
    server one(options);
    CHECK(one.insert() == ++rows);
  }
  CHECK(report_of(options).noted_index == report_of(options).last_index);

  std::filesystem::remove(options.directory + "/" + end_name);
  CHECK(error_of(options) == errc::log_damaged);
  std::filesystem::remove(options.directory + "/" + note_name);
  CHECK(!error_of(options));
}

}  // namespace libraft_log_end_test
