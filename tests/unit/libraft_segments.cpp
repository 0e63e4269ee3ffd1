// Segments that libraft was to close and could not: it goes on without a word. A running server
// sees it, and a start gives them the names that they were to have. libraft itself makes these
// folders: a folder that has the name of the closed segment lets its rename fail.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/log_notes.hpp"
#include "quorlite/detail/libraft/log_reader.hpp"
#include "quorlite/detail/libraft/open_segments.hpp"
#include "quorlite/detail/libraft/unclosed_segments.hpp"
#include "support/libraft_folders.hpp"
#include "support/memory_log_folder.hpp"
#include "support/temporary_directory.hpp"

namespace libraft_segments_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::tests::folder_in_memory;
using quorlite::tests::memory_log_folder;
using quorlite::tests::temporary_directory;
using quorlite::tests::uv_disk;
using quorlite::tests::write_folder;

using step = libraft_log_note::step;

/// Two entries of that size do not fit into one segment.
constexpr std::size_t large = 300'000;

std::string text_of(const libraft_log_report& report) {
  std::string all;
  for (const libraft_log_defect& one : report.defects) {
    all += one.text() + "\n";
  }
  for (const libraft_log_leftover& one : report.leftovers) {
    all += one.file + ": " + one.what + "\n";
  }
  return all;
}

void put_note(memory_log_folder& folder, const libraft_log_note& note) {
  bytes whole(libraft_log_note::encoded_bytes);
  note.encode(whole);
  folder.files[libraft_log_note::file_name] = whole;
}

/// A folder in which libraft works, and some of its segments cannot be closed.
class failing_place {
 public:
  failing_place() { std::filesystem::create_directory(path()); }
  [[nodiscard]] std::string path() const { return folder_ / "log"; }
  [[nodiscard]] std::string closed(std::uint64_t first, std::uint64_t last) const {
    return path() + "/" + libraft_file_name::closed(first, last);
  }
  void let_fail(std::uint64_t first, std::uint64_t last) const {
    REQUIRE(std::filesystem::create_directory(closed(first, last)));
  }
  /// libraft would not be able to remove a folder.
  void let_work(std::uint64_t first, std::uint64_t last) const {
    REQUIRE(std::filesystem::remove(closed(first, last)));
  }
  void await_closed(std::uint64_t first, std::uint64_t last) const {
    for (int tries = 0; tries < 2'000 && !std::filesystem::is_regular_file(closed(first, last));
         ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    REQUIRE(std::filesystem::is_regular_file(closed(first, last)));
  }
  /// What a kill leaves, as soon as the disk has room again.
  [[nodiscard]] memory_log_folder now(const libraft_log_note& note = {}) const {
    memory_log_folder made = folder_in_memory(path(), 1024);
    put_note(made, note);
    return made;
  }

 private:
  temporary_directory folder_;
};

/// Entry 1 has the members. Each of the next ones, up to `last`, has a segment of its own, and
/// those of `unclosed` stay open; so does the last one, which is being written.
void write_segments(const failing_place& place, uv_disk& disk, std::uint64_t last,
                    const std::vector<std::uint64_t>& unclosed, bool tells = true) {
  disk.bootstrap();
  REQUIRE(disk.load().code == 0);
  for (const std::uint64_t entry : unclosed) {
    place.let_fail(entry, entry);
  }
  std::uint64_t wait_for = 0;
  for (std::uint64_t entry = 2; entry <= last; ++entry) {
    disk.append(1, 1, large, tells ? entry : 0);
    const bool stays = std::find(unclosed.begin(), unclosed.end(), entry - 1) != unclosed.end();
    wait_for = entry > 2 && !stays ? entry - 1 : wait_for;
  }
  if (wait_for != 0) {
    disk.append(1, 1, 8, tells ? last + 1 : 0);  // the loop goes round once more
    place.await_closed(wait_for, wait_for);
  }
}

/// A start clears away, and libraft takes what is left and sees the same entries.
libraft_log_report require_loads(memory_log_folder folder) {
  libraft_log_report found = folder.read();
  INFO(text_of(found));
  REQUIRE(found.defects.empty());
  for (const libraft_log_leftover& one : found.leftovers) {
    libraft_log_report step_only;
    step_only.leftovers.push_back(one);
    folder.clear_away(step_only);
    const libraft_log_report on_the_way = folder.read();
    INFO("on the way: " << text_of(on_the_way));
    CHECK(on_the_way.defects.empty());
    CHECK(on_the_way.last_index == found.last_index);
  }
  const libraft_log_report cleared = folder.read();
  CHECK(cleared.leftovers.empty());
  const temporary_directory made;
  const std::string path = made / "log";
  write_folder(folder, path);
  uv_disk disk(path);
  const uv_disk::loaded loaded = disk.load();
  REQUIRE(loaded.code == 0);
  CHECK(loaded.start + loaded.terms.size() - 1 == found.last_index);
  return found;
}

}  // namespace

TEST_CASE("a segment that could not be closed gets its name at the next start") {
  const failing_place place;
  std::vector<std::uint64_t> unclosed{3};
  SECTION("one") {}
  SECTION("the first one of all") { unclosed = {2}; }
  SECTION("two next to each other") { unclosed = {3, 4}; }
  SECTION("two with a closed one between them") { unclosed = {2, 4}; }
  memory_log_folder killed;
  {
    uv_disk disk(place.path());
    write_segments(place, disk, 6, unclosed);
    killed = place.now();
  }
  REQUIRE(killed.read().last_index == 7);
  const libraft_log_report report = require_loads(killed);
  REQUIRE(report.leftovers.size() == unclosed.size());
  for (std::size_t i = 0; i < unclosed.size(); ++i) {
    const libraft_log_leftover& one = report.leftovers[i];
    CHECK(one.file == "open-" + std::to_string(unclosed[i] - 1));
    CHECK(one.becomes == libraft_file_name::closed(unclosed[i], unclosed[i]));
    CHECK_FALSE(one.whole);
  }
  // The file may have its size of before, or not.
  memory_log_folder longer = killed;
  bytes& open = longer.files.at("open-" + std::to_string(unclosed.front() - 1));
  open.resize(uv_disk::segment_bytes);
  CHECK(require_loads(longer).leftovers.size() == unclosed.size());
  // Bytes that changed are damage, as in any other one.
  open[large / 2] ^= std::byte{1};
  CHECK(longer.read().error() == errc::log_damaged);
}

TEST_CASE("a segment that could not be closed and tells no index is not guessed at") {
  const failing_place place;
  uv_disk disk(place.path());
  write_segments(place, disk, 6, {3}, false);
  CHECK(place.now().read().error() == errc::log_damaged);
}

TEST_CASE("a gap that an open segment fills in part is a gap") {
  const failing_place place;
  uv_disk disk(place.path());
  write_segments(place, disk, 6, {3, 4});
  memory_log_folder one_gone = place.now();
  one_gone.files.erase("open-3");
  const libraft_log_report report = one_gone.read();
  INFO(text_of(report));
  CHECK(report.error() == errc::log_damaged);
  CHECK(text_of(report).find("entry 4, which should be before it, are gone") != std::string::npos);
}

TEST_CASE("a segment that could not be closed before a snapshot of what is in it gets its name") {
  const failing_place place;
  memory_log_folder killed;
  {
    uv_disk disk(place.path());
    disk.bootstrap();
    REQUIRE(disk.load().code == 0);
    place.let_fail(2, 4);
    disk.append(1, 3, 100, 2);
    disk.put(3, 1, 100, 3);
    disk.append(1, 1, 100, 5);
    killed = place.now();
  }
  const libraft_log_report report = require_loads(killed);
  CHECK(report.last_index == 5);
  REQUIRE(report.leftovers.size() == 1);
  CHECK(report.leftovers.front().becomes == libraft_file_name::closed(2, 4));
}

TEST_CASE("a segment that could not be closed and lies before the snapshot goes") {
  const std::uint32_t trailing = GENERATE(1U, 100U);
  const failing_place place;
  memory_log_folder killed;
  {
    uv_disk disk(place.path());
    write_segments(place, disk, 6, {3});
    place.let_work(3, 3);
    disk.put(6, 1, trailing, 6);
    disk.append(1, 1, 100, 8);
    killed = place.now();
  }
  const libraft_log_report report = require_loads(killed);
  CHECK(report.last_index == 8);
  REQUIRE(report.leftovers.size() == 1);
  CHECK((report.leftovers.front().file == "open-2" && report.leftovers.front().whole));
}

TEST_CASE("a segment that could not be closed before a snapshot took the place of the log goes") {
  const bool is_over = GENERATE(true, false);
  const failing_place place;
  memory_log_folder killed;
  {
    uv_disk disk(place.path());
    disk.bootstrap();
    REQUIRE(disk.load().code == 0);
    place.let_fail(2, 2);
    for (const std::uint64_t entry : {2U, 3U, 4U}) {
      disk.append(1, 1, large, entry);
    }
    place.await_closed(3, 3);
    place.let_work(2, 2);
    disk.put(9, 1, 0, 9);
    if (is_over) {
      disk.append(1, 1, 100, 10);
    }
    killed = is_over ? place.now() : place.now({step::install, 9, 1});
  }
  const libraft_log_report report = killed.read();
  INFO(text_of(report));
  REQUIRE(report.defects.empty());
  CHECK(report.last_index == (is_over ? 10 : 9));
  REQUIRE(report.leftovers.size() == 1);
  CHECK((report.leftovers.front().file == "open-1" && report.leftovers.front().whole));
}

TEST_CASE("a cut behind or in a segment that could not be closed loses nothing before it") {
  const failing_place place;
  memory_log_folder killed;
  {
    uv_disk disk(place.path());
    disk.bootstrap();
    REQUIRE(disk.load().code == 0);
    place.let_fail(2, 4);
    disk.append(1, 3, 100'000, 2);
    disk.append(1, 1, large, 5);
    disk.append(1, 1, large, 6);
    disk.append(1, 1, 8, 7);
    place.await_closed(5, 5);
    killed = place.now();
  }
  REQUIRE(require_loads(killed).last_index == 7);
  SECTION("behind it") {
    put_note(killed, {step::truncate, 5, 0});
    CHECK(require_loads(killed).last_index == 4);
  }
  SECTION("in it: that had not begun, and nobody was told of what came later") {
    put_note(killed, {step::truncate, 3, 0});
    CHECK(require_loads(killed).last_index == 4);
  }
  SECTION("all of it: the entries before stay") {
    put_note(killed, {step::truncate, 2, 0});
    CHECK(require_loads(killed).last_index == 1);
  }
}

TEST_CASE("a cut is not done while a segment from before it could not be closed") {
  const bool fails = GENERATE(true, false);
  const failing_place place;
  libraft_notes notes(place.path());
  uv_disk disk(place.path());
  disk.bootstrap();
  REQUIRE(disk.load().code == 0);
  REQUIRE(notes.begin() == 0);
  disk.append(1, 3, 100, 2);
  if (fails) {
    place.let_fail(2, 4);
  }
  REQUIRE(notes.announce({step::truncate, fails ? 5U : 4U, 0}) == 0);
  if (!fails) {
    disk.truncate(4);  // libraft asserts that it finds a closed segment that has the entry
  }
  if (fails) {
    disk.put(4, 1, 100, 4);
  }
  disk.append(2, 1, 100, fails ? 5 : 4);
  CHECK(notes.done(1) == (fails ? RAFT_IOERR : 0));
  CHECK(
      libraft_log_note::decode(folder_in_memory(place.path()).files.at(libraft_log_note::file_name))
          ->of == (fails ? step::truncate : step::none));
}

// ---- while a server runs

TEST_CASE("a look finds the segment that could not be closed once a later one was") {
  const bool tells = GENERATE(true, false);
  const failing_place place;
  libraft_open_segments segments(place.path());
  uv_disk disk(place.path());
  disk.bootstrap();
  REQUIRE(disk.load().code == 0);
  place.let_fail(3, 3);
  std::vector<bool> closed;
  for (std::uint64_t entry = 2; entry <= 5; ++entry) {
    disk.append(1, 1, large, tells ? entry : 0);
    if (entry == 3 || entry == 5) {
      place.await_closed(entry - 1, entry - 1);
    }
    closed.push_back(segments.look() == 0);
  }
  // With entry 4 its segment is the last one that was to be closed: nothing is lost yet.
  CHECK(closed == std::vector<bool>{true, true, true, false});
  libraft_unclosed_segments::set_aside(place.path(), 2);
  CHECK(std::filesystem::exists(place.path() + "/open-2") == tells);
  CHECK(std::filesystem::exists(place.path() + "/unclosed-2") != tells);
  CHECK(place.now().read().error() == (tells ? std::error_code{} : errc::log_damaged));
  place.let_work(3, 3);
  disk.put(5, 1, 1, 5);
  disk.append(1, 1, 100, tells ? 6 : 0);
  CHECK(require_loads(place.now()).last_index == 6);
}

TEST_CASE("a server whose segments are closed is let alone, however often they are looked at") {
  const failing_place place;
  libraft_open_segments segments(place.path());
  uv_disk disk(place.path());
  disk.bootstrap();
  REQUIRE(disk.load().code == 0);
  for (std::uint64_t entry = 2; entry <= 40; ++entry) {
    disk.append(1, 1, large, entry);
    const std::uint64_t looks = entry % 4;
    for (std::uint64_t i = 0; i < looks; ++i) {
      CHECK(segments.look() == 0);
    }
  }
  disk.put(20, 1, 4, 20);
  CHECK(((segments.look() == 0) && (segments.look() == 0)));
}

TEST_CASE(
    "a segment that cannot be made is no failure, and neither is a folder that cannot be read") {
  const temporary_directory folder;
  const std::string path = folder / "log";
  REQUIRE(std::filesystem::create_directory(path));
  const auto make = [&](std::uint64_t number) {
    REQUIRE(std::ofstream(path + "/open-" + std::to_string(number)).put('x').flush().good());
  };
  const auto remove = [&](std::uint64_t number) {
    REQUIRE(std::filesystem::remove(path + "/open-" + std::to_string(number)));
  };
  libraft_open_segments segments(path);
  CHECK(segments.look() == 0);
  for (const std::uint64_t number : {1U, 2U, 3U}) {
    make(number);
  }
  CHECK(segments.look() == 0);
  SECTION("the disk was full while the last one was made") {
    remove(3);
    make(4);
    CHECK(((segments.look() == 0) && (segments.look() == 0) && (segments.look() == 0)));
  }
  SECTION("they are closed one after the other") {
    remove(1);
    CHECK(segments.look() == 0);
    make(4);
    remove(2);
    CHECK(((segments.look() == 0) && (segments.look() == 0)));
  }
  SECTION("it stays") {
    remove(2);
    CHECK(segments.look() == 1);
  }
  SECTION("the folder cannot be read meanwhile") {
    remove(2);
    std::filesystem::rename(path, folder / "elsewhere");
    CHECK(segments.look() == 0);
    std::filesystem::rename(folder / "elsewhere", path);
    CHECK(segments.look() == 1);
  }
}

}  // namespace libraft_segments_test
