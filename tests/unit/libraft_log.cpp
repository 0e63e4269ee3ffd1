// The folder of a log, read before libraft reads it: every state that its steps leave when they are
// cut short is whole, or is cleared away and loads; everything else is told, with file and byte.
// The folders are written by libraft itself, see tests/support/libraft_folders.hpp.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "fuzz/libraft_log_input.hpp"
#include "quorlite/detail/libraft/io.hpp"
#include "quorlite/detail/libraft/log_end.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/log_notes.hpp"
#include "quorlite/detail/libraft/log_reader.hpp"
#include "quorlite/detail/libraft/log_segment.hpp"
#include "quorlite/detail/libraft/server_file.hpp"
#include "quorlite/detail/libraft/writes.hpp"
#include "support/golden.hpp"
#include "support/libraft_folders.hpp"
#include "support/lowered_limit.hpp"
#include "support/temporary_directory.hpp"

namespace libraft_log_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::tests::folder_in_memory;
using quorlite::tests::lowered_limit;
using quorlite::tests::memory_log_file;
using quorlite::tests::memory_log_folder;
using quorlite::tests::temporary_directory;
using quorlite::tests::uv_disk;
using quorlite::tests::write_folder;

constexpr const char* note_name = libraft_log_note::file_name;
constexpr std::size_t sector = libraft_sector_bytes;

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
  folder.files[note_name] = whole;
}

/// A folder on the disk that libraft works in.
class log_place {
 public:
  log_place() { std::filesystem::create_directory(path()); }
  [[nodiscard]] std::string path() const { return folder_ / "log"; }
  /// As it is now: with a server in it, what is left when that is killed.
  [[nodiscard]] memory_log_folder now(std::size_t zeros = std::size_t{1} << 30U) const {
    return folder_in_memory(path(), zeros);
  }
  void bring_back(const memory_log_folder& folder) const { write_folder(folder, path()); }

  /// Entry 1 has the members; 2 to 4, 5 to 7 and 8 to 9 come in three runs, each stopped in good
  /// order. Terms: 1, then 2 from entry 5 on.
  void write_three_runs() const {
    {
      uv_disk disk(path());
      disk.bootstrap();
      disk.set_vote(1);
      static_cast<void>(disk.load());
      disk.append(1, 2, 100);
      disk.append(1, 1, 700);
    }
    {
      uv_disk disk(path());
      static_cast<void>(disk.load());
      disk.set_term(2);
      disk.set_vote(1);
      disk.append(2, 1, 100);
      disk.append(2, 2, 300);
    }
    uv_disk disk(path());
    static_cast<void>(disk.load());
    disk.append(2, 2, 50);
  }

 private:
  temporary_directory folder_;
};

/// Real libraft takes what the reader leaves of it, and sees the same.
void require_loads(const log_place& place, memory_log_folder folder) {
  const libraft_log_report found = folder.read();
  INFO(text_of(found));
  REQUIRE(found.defects.empty());
  folder.clear_away(found);
  const libraft_log_report cleared = folder.read();
  INFO("afterwards: " << text_of(cleared));
  CHECK(cleared.defects.empty());
  CHECK(cleared.leftovers.empty());
  CHECK(cleared.last_index == found.last_index);
  place.bring_back(folder);
  uv_disk disk(place.path());
  const uv_disk::loaded loaded = disk.load();
  REQUIRE(loaded.code == 0);
  CHECK(loaded.term == cleared.term.value);
  CHECK(loaded.snapshot_index == cleared.snapshot_index);
  CHECK(std::max<std::uint64_t>(loaded.start + loaded.terms.size() - 1, loaded.snapshot_index) ==
        cleared.last_index);
  std::vector<raft_term> terms;
  for (const libraft_log_range& one : cleared.ranges) {
    terms.insert(terms.end(), one.last - one.first + 1, one.term.value);
  }
  CHECK(loaded.terms == terms);
}

/// A folder with one file that cannot be opened, or read.
class unreadable_folder final : public libraft_folder {
 public:
  unreadable_folder(memory_log_folder whole, std::string name, std::error_code why)
      : whole_(std::move(whole)), name_(std::move(name)), why_(why) {}
  [[nodiscard]] result<std::vector<std::string>> names() override { return whole_.names(); }
  [[nodiscard]] result<std::unique_ptr<libraft_file>> open(const std::string& name) override {
    class bad_file final : public libraft_file {
     public:
      bad_file(std::unique_ptr<libraft_file> whole, std::error_code why)
          : whole_(std::move(whole)), why_(why) {}
      [[nodiscard]] std::uint64_t size() const noexcept override { return whole_->size(); }
      [[nodiscard]] std::error_code read(std::uint64_t, bytes_span) noexcept override {
        return why_;
      }

     private:
      std::unique_ptr<libraft_file> whole_;
      std::error_code why_;
    };
    auto file = whole_.open(name);
    if (name != name_ || !file) {
      return file;
    }
    return std::make_unique<bad_file>(std::move(*file), why_);
  }

 private:
  memory_log_folder whole_;
  std::string name_;
  std::error_code why_;
};

void for_each_subset(std::size_t count, const std::function<void(std::size_t)>& visit) {
  REQUIRE(count <= 12);
  for (std::size_t chosen = 0; chosen < (std::size_t{1} << count); ++chosen) {
    visit(chosen);
  }
}

std::vector<std::string> closed_in(const memory_log_folder& folder) {
  std::vector<std::string> found;
  for (const auto& [name, content] : folder.files) {
    if (libraft_file_name::of(name).is == libraft_file_name::kind::closed) {
      found.push_back(name);
    }
  }
  return found;
}

}  // namespace

TEST_CASE("the check of libraft's formats is the one that libraft makes") {
  const std::string digits = "123456789";
  const bytes_view whole = std::as_bytes(std::span(digits));
  CHECK(libraft_crc(whole) == 0x89A1897FU);  // CRC-32/CKSUM without its length and inversion
  for (std::size_t at = 0; at <= whole.size(); ++at) {
    CHECK(libraft_crc(whole.subspan(at), libraft_crc(whole.first(at))) == libraft_crc(whole));
  }
}

TEST_CASE("names are read as libraft reads them") {
  using kind = libraft_file_name::kind;
  const auto is = [](const std::string& name) { return libraft_file_name::of(name).is; };
  CHECK(is("0000000000000002-0000000000000009") == kind::closed);
  CHECK(libraft_file_name::of("0000000000000002-0000000000000009").written_so);
  CHECK(is("2-9") == kind::closed);
  CHECK_FALSE(libraft_file_name::of("2-9").written_so);
  CHECK_FALSE(libraft_file_name::of("0000000000000009-0000000000000002").written_so);
  CHECK_FALSE(libraft_file_name::of("0000000000000000-0000000000000002").written_so);
  CHECK(is("open-12") == kind::open);
  CHECK(libraft_file_name::of("open-12").written_so);
  CHECK_FALSE(libraft_file_name::of("open-012").written_so);
  CHECK(is("open-") == kind::other);
  CHECK(is("open-99999999999999999999999") == kind::other);
  CHECK(is("snapshot-2-35-1307492") == kind::snapshot);
  CHECK(is("snapshot-2-35-1307492.meta") == kind::snapshot_meta);
  CHECK(is("snapshot-2-35-1307492.met") == kind::other);
  CHECK(is("snapshot-2-35") == kind::other);
  CHECK_FALSE(libraft_file_name::of("snapshot-2-0-1").written_so);
  CHECK_FALSE(libraft_file_name::of("snapshot-2-18446744073709551615-1").written_so);
  for (const char* other : {"", "-", "metadata1", "quorlite.lock", "00000000000000002-1", "1-",
                            "-1", "1-2-3", "corrupt-5-open-1"}) {
    CHECK(is(other) == kind::other);
  }
}

TEST_CASE("folders that earlier builds have left are whole") {
  const std::filesystem::path cases = quorlite::tests::golden_case::golden_folder();
  std::size_t seen = 0;
  for (const auto& one : std::filesystem::directory_iterator(cases)) {
    const std::string name = one.path().filename().string();
    if (name.rfind("libraft_", 0) != 0) {
      continue;
    }
    const auto manifest = quorlite::tests::ordered_json::parse(
        quorlite::tests::text_of(one.path() / "manifest.json"));
    for (const auto& [part, sizes] : manifest.at("sizes").items()) {
      INFO(name << '/' << part);
      const temporary_directory folder;
      const std::string copy = folder / "copy";
      quorlite::tests::unpack(one.path() / part, copy, sizes);
      memory_log_folder log = folder_in_memory(copy);
      const libraft_log_report report = log.read();
      INFO(text_of(report));
      CHECK(report.defects.empty());
      CHECK(report.leftovers.empty());
      CHECK(report.term.value > 0);
      CHECK(report.snapshot_index == manifest.value("snapshot_index", std::uint64_t{0}));
      CHECK(report.end.value > 0);
      ++seen;
    }
  }
  CHECK(seen >= 8);
}

TEST_CASE("each byte of a snapshot's content that changes is told, and the snapshot is named") {
  const std::filesystem::path one =
      quorlite::tests::golden_case::golden_folder() / "libraft_snapshot";
  const auto manifest =
      quorlite::tests::ordered_json::parse(quorlite::tests::text_of(one / "manifest.json"));
  const temporary_directory folder;
  const std::string copy = folder / "copy";
  quorlite::tests::unpack(one / "files", copy, manifest.at("sizes").at("files"));
  memory_log_folder log = folder_in_memory(copy);
  const std::string newest = log.read().snapshot_file;
  REQUIRE(log.files.count(newest) == 1);
  bytes& content = log.files.at(newest);
  REQUIRE(content.size() > 4096);
  for (std::size_t at = 0; at < content.size(); at += 1 + content.size() / 400) {
    content[at] ^= std::byte{0x10};
    const libraft_log_report report = log.read();
    content[at] ^= std::byte{0x10};
    INFO("byte " << at << ": " << text_of(report));
    REQUIRE(report.defects.size() == 1);
    CHECK(report.defects.front().file == newest);
    CHECK(report.error() == errc::log_damaged);
  }
  content.pop_back();
  CHECK(log.read().error() == errc::log_damaged);
}

TEST_CASE("the reader sees what libraft has written: term, vote, entries and their terms") {
  const log_place place;
  CHECK(place.now().read().is_empty());
  place.write_three_runs();
  memory_log_folder folder = place.now();
  const libraft_log_report report = folder.read();
  INFO(text_of(report));
  CHECK(report.defects.empty());
  CHECK(report.term == term{2});
  CHECK(report.vote == server_id{1});
  CHECK(report.last_index == 9);
  CHECK(report.end == log_index{9});
  REQUIRE(report.ranges.size() == 4);
  CHECK(report.ranges[1] == libraft_log_range{"0000000000000002-0000000000000004", 2, 4, term{1}});
  CHECK(report.ranges[2] == libraft_log_range{"0000000000000005-0000000000000007", 5, 7, term{2}});
  require_loads(place, folder);
}

// ---- power cuts: each state must start

TEST_CASE("a write that a power cut interrupts at any sectors is cut, or was whole") {
  const log_place place;
  place.write_three_runs();
  const bool with_note = GENERATE(false, true);
  const std::size_t before_it = GENERATE(0U, 1U, 3U);  // batches in the segment before
  using shape = std::pair<std::size_t, std::size_t>;
  const shape batch = GENERATE(shape(1, 2500), shape(100, 0), shape(1, 400), shape(3, 700));
  const std::size_t entries = batch.first;
  const std::size_t size = batch.second;
  INFO(before_it << " batches, then " << entries << " entries of " << size << " bytes");
  memory_log_folder before;
  memory_log_folder after;
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    for (std::size_t i = 0; i < before_it; ++i) {
      disk.append(2, 1, 150);
    }
    before = place.now(8192);
    disk.append(2, entries, size);
    after = place.now(8192);
  }
  const std::string open = "open-1";
  const bytes written = after.files.at(open);
  bytes old = before.files[open];  // no file: the segment may not be durable either
  old.resize(written.size());
  std::vector<std::size_t> changed;
  for (std::size_t at = 0; at < written.size(); at += sector) {
    const auto from = static_cast<std::ptrdiff_t>(at);
    const auto to = static_cast<std::ptrdiff_t>(std::min(at + sector, written.size()));
    if (!std::equal(written.begin() + from, written.begin() + to, old.begin() + from)) {
      changed.push_back(at);
    }
  }
  REQUIRE_FALSE(changed.empty());
  const std::uint64_t last_before = 9 + before_it;
  for_each_subset(changed.size(), [&](std::size_t arrived) {
    memory_log_folder cut = after;
    bytes& content = cut.files.at(open);
    content = old;
    std::size_t count = 0;
    for (std::size_t i = 0; i < changed.size(); ++i) {
      if ((arrived >> i & 1U) != 0) {
        std::copy_n(written.begin() + static_cast<std::ptrdiff_t>(changed[i]),
                    std::min(sector, written.size() - changed[i]),
                    content.begin() + static_cast<std::ptrdiff_t>(changed[i]));
        ++count;
      }
    }
    if (with_note) {
      put_note(cut, {});
    }
    const libraft_log_report report = cut.read(last_before);
    INFO("sectors that arrived: " << arrived << " of " << changed.size() << ": "
                                  << text_of(report));
    CHECK(report.defects.empty());
    const bool whole = count == changed.size();
    CHECK(report.last_index == last_before + (whole ? entries : 0));
    CHECK(report.leftovers.size() == (whole || count == 0 ? 0U : 1U));
    if (arrived % 7 == 1) {
      require_loads(place, cut);
    }
  });
}

TEST_CASE("the write of a batch that is larger than a segment may end with the file") {
  const log_place place;
  place.write_three_runs();
  memory_log_folder folder;
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    disk.append(2, 1, 100);
    disk.append(2, 3, 300'000);
    folder = place.now(0);
  }
  const std::string file = "open-2";
  CHECK(folder.read().last_index == 13);
  const std::size_t size = folder.files.at(file).size();
  REQUIRE(size > 900'000);
  for (const std::size_t cut : {uv_disk::segment_bytes, std::size_t{800'256}}) {
    for (const std::size_t arrived : {std::size_t{0}, std::size_t{4096}, cut}) {
      memory_log_folder torn = folder;
      bytes& content = torn.files.at(file);
      content.resize(cut);
      std::fill(content.begin() + static_cast<std::ptrdiff_t>(arrived), content.end(),
                std::byte{0});
      INFO(cut << ", " << arrived << ": " << text_of(torn.read()));
      CHECK(torn.read().last_index == 10);
      CHECK(torn.read().leftovers.size() == (arrived == 0 ? 0U : 1U));
      require_loads(place, torn);
    }
  }
  for (const std::size_t cut : {std::size_t{100'352}, std::size_t{700'001}}) {
    memory_log_folder damaged = folder;
    damaged.files.at(file).resize(cut);
    CHECK(damaged.read().error() == errc::log_damaged);  // nothing leaves such a size
  }
}

TEST_CASE("segments that were prepared and never written are no damage, whatever their size") {
  const log_place place;
  place.write_three_runs();
  memory_log_folder folder = place.now();
  for (const std::size_t size : {0U, 1U, 7U, 8U, 15U, 16U, 512U, 4096U, 524288U}) {
    for (const std::size_t other : {0U, 524288U}) {
      INFO(size << ", " << other);
      memory_log_folder one = folder;
      one.files["open-1"] = bytes(size);
      one.files["open-2"] = bytes(other);
      require_loads(place, one);
    }
  }
}

TEST_CASE("a segment that is being closed is whole at each step") {
  const log_place place;
  place.write_three_runs();
  memory_log_folder killed;
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    disk.append(2, 2, 100);
    killed = place.now(1024);
  }
  require_loads(place, killed);
  bytes& open = killed.files.at("open-1");
  while (open.back() == std::byte{0}) {
    open.pop_back();
  }
  require_loads(place, killed);  // cut to its size, with its name of before
  // libraft does not bear 1 to 15 zeros behind the last batch: they are cut.
  for (const std::size_t zeros : {8U, 15U, 16U, 24U}) {
    memory_log_folder padded = killed;
    padded.files.at("open-1").resize(open.size() + zeros);
    INFO(zeros);
    require_loads(place, padded);
  }
  memory_log_folder next = killed;
  next.files["0000000000000010-0000000000000011"] = open;
  next.files.erase("open-1");
  require_loads(place, next);
}

TEST_CASE("a truncation that is cut short anywhere is finished, or had not begun") {
  const log_place place;
  place.write_three_runs();
  const std::uint64_t from = GENERATE(8U, 7U, 6U, 5U, 3U);
  INFO("from entry " << from);
  const memory_log_folder before = place.now();
  memory_log_folder after;
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    disk.truncate(from);
    disk.set_term(3);
    disk.append(3, 1, 100);
    after = place.now(1024);
  }
  CHECK(after.read().defects.empty());
  CHECK(after.read().last_index == from);
  memory_log_folder all = before;
  std::vector<std::string> removed;
  for (const std::string& name : closed_in(after)) {
    all.files[name] = after.files.at(name);
  }
  for (const std::string& name : closed_in(before)) {
    if (after.files.count(name) == 0) {
      removed.push_back(name);
    }
  }
  REQUIRE_FALSE(removed.empty());
  put_note(all, {libraft_log_note::step::truncate, from, 0});
  for_each_subset(removed.size(), [&](std::size_t gone) {
    memory_log_folder cut = all;
    for (std::size_t i = 0; i < removed.size(); ++i) {
      if ((gone >> i & 1U) != 0) {
        cut.files.erase(removed[i]);
      }
    }
    INFO("gone: " << gone);
    const libraft_log_report report = cut.read();
    INFO(text_of(report));
    CHECK(report.defects.empty());
    CHECK(report.last_index == from - 1);
    require_loads(place, cut);
  });
  memory_log_folder announced = before;
  put_note(announced, {libraft_log_note::step::truncate, from, 0});
  const std::map<std::uint64_t, std::uint64_t> ends{{8, 7}, {7, 7}, {6, 7}, {5, 4}, {3, 4}};
  CHECK(announced.read().last_index == ends.at(from));  // a file that is to be cut is whole yet
  require_loads(place, announced);
  memory_log_folder over = after;
  put_note(over, {libraft_log_note::step::truncate, from, 0});
  CHECK(over.read().last_index == from);
  require_loads(place, over);
}

TEST_CASE("entries that are gone in front of a truncation are told, with the note that names it") {
  const log_place place;
  place.write_three_runs();
  memory_log_folder folder = place.now();
  folder.files.erase("0000000000000005-0000000000000007");
  put_note(folder, {libraft_log_note::step::truncate, 8, 0});
  const libraft_log_report report = folder.read();
  INFO(text_of(report));
  REQUIRE(report.error() == errc::log_damaged);
  CHECK(report.defects.front().fault == libraft_log_fault::missing);
  CHECK(report.defects.front().file == note_name);
  CHECK(report.defects.front().what.find("entries 5 to 7, which") != std::string::npos);
}

TEST_CASE("a truncation that is noted and has not begun leaves no entry with another's number") {
  const log_place place;
  place.write_three_runs();
  memory_log_folder folder;
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    disk.append(2, 3, 100);
    folder = place.now(1024);  // entries 10 to 12 are in an open segment
  }
  using state = std::pair<std::uint64_t, std::uint64_t>;
  const auto [from, last] =
      GENERATE(state(11, 12), state(10, 12), state(9, 9), state(8, 7), state(6, 7), state(5, 4));
  INFO("from entry " << from);
  put_note(folder, {libraft_log_note::step::truncate, from, 0});
  const libraft_log_report report = folder.read();
  INFO(text_of(report));
  CHECK(report.defects.empty());
  CHECK(report.last_index == last);
  // So it is when the clearing away is cut short, too.
  memory_log_folder cleared = folder;
  for (const libraft_log_leftover& one : report.leftovers) {
    REQUIRE(one.whole);
    cleared.files.erase(one.file);
    CHECK(cleared.read().defects.empty());
    CHECK(cleared.read().last_index == last);
  }
  require_loads(place, folder);
}

TEST_CASE("what was written after a truncation that failed goes, for nobody was told of it") {
  const log_place place;
  place.write_three_runs();
  const memory_log_folder before = place.now();
  memory_log_folder after;
  bytes closed;
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    disk.truncate(6);
    disk.set_term(3);
    disk.append(3, 2, 100);
    after = place.now(1024);
  }
  closed = place.now().files.at("0000000000000006-0000000000000007");
  memory_log_folder failed = before;
  failed.files["metadata1"] = after.files.at("metadata1");
  failed.files["metadata2"] = after.files.at("metadata2");
  put_note(failed, {libraft_log_note::step::truncate, 6, 0});
  const bool is_closed = GENERATE(false, true);
  failed.files[is_closed ? "0000000000000006-0000000000000007" : "open-1"] =
      is_closed ? closed : after.files.at("open-1");
  const libraft_log_report report = failed.read();
  INFO(text_of(report));
  CHECK(report.defects.empty());
  CHECK(report.last_index == 7);
  CHECK(report.ranges.back().term == term{2});
  require_loads(place, failed);
}

TEST_CASE("without a note a truncated segment beside the whole one is the older of two states") {
  const log_place place;
  place.write_three_runs();
  memory_log_folder folder = place.now();
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    disk.truncate(6);
    disk.append(2, 1, 100);
    const memory_log_folder after = place.now(1024);
    const std::string cut = "0000000000000005-0000000000000005";
    folder.files[cut] = after.files.at(cut);
  }
  CHECK(folder.read().last_index == 9);
  require_loads(place, folder);
  folder.files.erase("0000000000000005-0000000000000007");
  CHECK(folder.read().error() == errc::log_damaged);  // 0.15 itself refuses it
}

TEST_CASE("a snapshot that takes the place of the log is whole at each step") {
  const log_place place;
  place.write_three_runs();
  const std::uint64_t index = GENERATE(20U, 9U, 6U, 2U);
  INFO("up to entry " << index);
  const memory_log_folder before = place.now();
  memory_log_folder after;
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    disk.set_term(3);
    disk.put(index, 3, 0, 30);
    after = place.now(1024);
  }
  REQUIRE(closed_in(after).empty());
  CHECK(after.read().end == log_index{30});
  memory_log_folder all = after;
  const std::vector<std::string> removed = closed_in(before);
  for (const std::string& name : removed) {
    all.files[name] = before.files.at(name);
  }
  put_note(all, {libraft_log_note::step::install, index, 3});
  for_each_subset(removed.size(), [&](std::size_t gone) {
    memory_log_folder cut = all;
    for (std::size_t i = 0; i < removed.size(); ++i) {
      if ((gone >> i & 1U) != 0) {
        cut.files.erase(removed[i]);
      }
    }
    INFO("gone: " << gone);
    CHECK(cut.read().last_index == index);
    require_loads(place, cut);
  });
  // Before: without its content, or without anything, a snapshot is none.
  for (const bool with_meta : {true, false}) {
    memory_log_folder announced = all;
    for (const auto& [name, content] : after.files) {
      if (name.rfind("snapshot-", 0) == 0 &&
          (!with_meta || name.find(".meta") == std::string::npos)) {
        announced.files.erase(name);
      }
    }
    CHECK(announced.read().last_index == 9);
    require_loads(place, announced);
  }
}

TEST_CASE("a snapshot that is taken is whole at each step, and so is what it makes needless") {
  const log_place place;
  place.write_three_runs();
  memory_log_folder before;
  memory_log_folder after;
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    disk.append(2, 1, 100);
    before = place.now(1024);
    disk.put(9, 2, 1, 9);
    disk.append(2, 1, 100);
    after = place.now(1024);
  }
  CHECK(after.read().last_index == 11);
  require_loads(place, after);
  memory_log_folder all = after;
  std::vector<std::string> removed;
  for (const std::string& name : closed_in(before)) {
    if (after.files.count(name) == 0) {
      all.files[name] = before.files.at(name);
      removed.push_back(name);
    }
  }
  REQUIRE(removed.size() == 3);
  put_note(all, {});
  for_each_subset(removed.size(), [&](std::size_t gone) {
    memory_log_folder cut = all;
    for (std::size_t i = 0; i < removed.size(); ++i) {
      if ((gone >> i & 1U) != 0) {
        cut.files.erase(removed[i]);
      }
    }
    INFO("gone: " << gone);
    CHECK(cut.read().last_index == 11);
    require_loads(place, cut);
  });
}

TEST_CASE("a metadata file that is being made is none yet") {
  const log_place place;
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    disk.set_term(1);
  }
  memory_log_folder folder = place.now();
  for (const std::size_t size : {0U, 8U, 31U, 32U}) {
    INFO(size);
    memory_log_folder first;
    first.files["metadata1"] = bytes(size);
    CHECK(first.read().is_empty());
    require_loads(place, first);
    memory_log_folder second = folder;
    second.files["metadata2"] = bytes(size);
    CHECK(second.read().term == term{1});
    require_loads(place, second);
  }
}

// ---- damage: each must be told

TEST_CASE("a byte that changed in an open segment, with whole batches behind it, is told") {
  const log_place place;
  place.write_three_runs();
  memory_log_folder folder;
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    for (int i = 0; i < 10; ++i) {
      disk.append(2, 1, 200);
    }
    folder = place.now(1024);
  }
  const bool with_note = GENERATE(false, true);
  if (with_note) {
    put_note(folder, {});
  }
  CHECK(folder.read().last_index == 19);
  constexpr std::size_t batch = 16 + 16 + 224;  // 200 bytes, with what is around them
  for (std::size_t at = 0; at < 10 * batch; at += 13) {
    memory_log_folder damaged = folder;
    damaged.files.at("open-1")[8 + at] ^= std::byte{0x10};
    const libraft_log_report report = damaged.read();
    INFO("byte " << 8 + at << ": " << text_of(report));
    REQUIRE(report.error() == errc::log_damaged);
    CHECK(report.defects.front().file == "open-1");
    CHECK(report.defects.front().byte == 8 + at / batch * batch);
    if (with_note && at < 9 * batch) {
      CHECK(report.defects.front().what.find("a whole batch is behind it") != std::string::npos);
    }
  }
}

TEST_CASE("a sector that went to zeros in the middle of a log is damage, not a torn write") {
  const log_place place;
  place.write_three_runs();
  memory_log_folder folder;
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    for (int i = 0; i < 5; ++i) {
      disk.append(2, 1, 1500);
    }
    folder = place.now(1024);
  }
  put_note(folder, {});
  const std::size_t data = 5 * (16 + 16 + 1520) + 8;
  for (std::size_t at = 0; at + 2 * sector < data - 1552; at += sector) {
    memory_log_folder damaged = folder;
    std::fill_n(damaged.files.at("open-1").begin() + static_cast<std::ptrdiff_t>(at), sector,
                std::byte{0});
    INFO(at << ": " << text_of(damaged.read()));
    CHECK(damaged.read().error() == errc::log_damaged);
  }
}

TEST_CASE("a torn write that holds a segment of this log looks like damage") {
  const log_place place;
  place.write_three_runs();
  memory_log_folder folder;
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    disk.append(2, 1, 2000);
    folder = place.now(1024);
  }
  put_note(folder, {});
  bytes& open = folder.files.at("open-1");
  std::fill_n(open.begin(), sector, std::byte{0});
  CHECK(folder.read().defects.empty());
  const bytes& stored = folder.files.at("0000000000000008-0000000000000009");
  std::copy(stored.begin(), stored.end(), open.begin() + 1024);
  CHECK(folder.read().error() == errc::log_damaged);
}

TEST_CASE("a closed segment that is gone is told by the gap, and against the snapshot") {
  const log_place place;
  place.write_three_runs();
  const memory_log_folder folder = place.now();
  for (const std::string& name : closed_in(folder)) {
    memory_log_folder without = folder;
    without.files.erase(name);
    const libraft_log_report report = without.read(9);
    INFO(name << ": " << text_of(report));
    CHECK(report.error());
    if (name != "0000000000000008-0000000000000009") {
      const bool is_first = name == "0000000000000001-0000000000000001";
      CHECK(report.error() == (is_first ? errc::log_starts_late : errc::log_damaged));
      CHECK(report.defects.front().what.find("are gone") != std::string::npos);
    } else {
      CHECK(report.error() == errc::log_too_short);  // no name tells of it
    }
  }

  memory_log_folder snapshot;
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    disk.append(2, 1, 100);
    disk.put(9, 2, 1, 9);
    disk.append(2, 1, 100);
    snapshot = place.now(1024);
  }
  put_note(snapshot, {});
  CHECK(snapshot.read().last_index == 11);
  for (const auto& [name, content] : snapshot.files) {
    if (name.rfind("snapshot-", 0) == 0) {
      memory_log_folder without = snapshot;
      without.files.erase(name);
      INFO(name << ": " << text_of(without.read()));
      CHECK(without.read().error() == errc::log_starts_late);  // entries 1 to 9 are in it alone
    }
  }
}

TEST_CASE("entries that lost some before them say so by their own index, whatever the names say") {
  const bool tells = GENERATE(true, false);
  const log_place place;
  memory_log_folder whole;
  for (const raft_index first : {2U, 5U, 8U}) {
    uv_disk disk(place.path());
    if (first == 2) {
      disk.bootstrap();
    }
    static_cast<void>(disk.load());
    disk.append(1, 1, 100, tells ? first : 0);
    disk.append(1, first == 8 ? 9 : 2, 100, tells ? first + 1 : 0);
    whole = place.now(1024);
  }
  put_note(whole, {});
  require_loads(place, whole);
  REQUIRE(whole.read().last_index == 17);
  const std::string early = "0000000000000002-0000000000000004";
  const std::string late = "0000000000000005-0000000000000007";
  memory_log_folder changed = whole;
  SECTION("the last closed segment is gone") {
    changed.files.erase(late);
    const libraft_log_report report = changed.read();
    INFO(text_of(report));
    CHECK(report.error() == (tells ? errc::log_damaged : std::error_code{}));
    if (tells) {
      const libraft_log_defect& defect = report.defects.front();
      CHECK((report.defects.size() == 1 && defect.fault == libraft_log_fault::missing));
      CHECK((defect.file == "open-1" && defect.byte == 8));
      CHECK(defect.what.find("entries 5 to 7, before it, are gone") != std::string::npos);
    }
  }
  SECTION("segments have each other's names") {
    std::swap(changed.files.at(early), changed.files.at(late));
    const libraft_log_report report = changed.read();
    INFO(text_of(report));
    CHECK(report.error() == (tells ? errc::log_damaged : std::error_code{}));
    CHECK((!tells || report.defects.front().file == early));
  }
  SECTION("an older copy of one has its place and its length") {
    changed.files.at(late) = changed.files.at(early);
    const libraft_log_report report = changed.read();
    INFO(text_of(report));
    CHECK(report.error() == (tells ? errc::log_damaged : std::error_code{}));
    CHECK((!tells || report.defects.front().file == late));
  }
}

TEST_CASE("a log that ends before the databases' state is told") {
  const log_place place;
  place.write_three_runs();
  memory_log_folder folder;
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    disk.append(2, 3, 100);
    folder = place.now(1024);
  }
  CHECK(folder.read(12).defects.empty());
  folder.files.erase("open-1");
  CHECK(folder.read(9).defects.empty());
  const libraft_log_report report = folder.read(12);
  INFO(text_of(report));
  CHECK(report.error() == errc::log_too_short);
  CHECK(report.defects.front().file == "0000000000000008-0000000000000009");
  CHECK(report.defects.front().text().find("ends at position 9, and the databases stand at 12") !=
        std::string::npos);
  memory_log_folder nothing;
  CHECK(nothing.read(1).error() == errc::log_too_short);
  CHECK(nothing.read(1).defects.front().file.empty());
  CHECK(nothing.read(0).defects.empty());
  nothing.files["metadata1"] = folder.files.at("metadata1");
  nothing.files["metadata2"] = folder.files.at("metadata2");
  REQUIRE(nothing.read(1).error() == errc::log_too_short);
  CHECK(nothing.files.count(nothing.read(1).defects.front().file) == 1);
}

TEST_CASE("a file that the disk does not give is told, whichever it is") {
  const log_place place;
  place.write_three_runs();
  memory_log_folder whole;
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    disk.append(2, 1, 100);
    disk.put(9, 2, 20, 9);
    disk.append(2, 1, 100);
    whole = place.now(1024);
  }
  put_note(whole, {});
  REQUIRE(whole.read().defects.empty());
  whole.files["server"] = bytes(80, std::byte{1});
  std::size_t told = 0;
  for (const auto& [name, content] : whole.files) {
    for (const std::errc why :
         {std::errc::io_error, std::errc::permission_denied, std::errc::too_many_files_open,
          std::errc::no_such_file_or_directory}) {
      unreadable_folder folder(whole, name, std::make_error_code(why));
      INFO(name);
      const auto who = read_server_file(folder);
      const auto report = libraft_log_reader(folder, {}).read();
      if (why == std::errc::too_many_files_open) {  // the next time it may be otherwise
        REQUIRE_FALSE((name == "server" ? who.has_value() : report.has_value()));
        CHECK((name == "server" ? who.error() : report.error()) == why);
        continue;
      }
      REQUIRE((who.has_value() && report.has_value()));
      std::vector<libraft_log_defect> defects = report->defects;
      if (name == "server") {
        REQUIRE(who->defect.has_value());
        defects.push_back(*who->defect);
      }
      REQUIRE(defects.size() == 1);
      CHECK((defects[0].file == name && defects[0].error() == errc::log_damaged));
      const bool is_no_file = why == std::errc::no_such_file_or_directory;  // a link to none
      CHECK((defects[0].what.find("it cannot be read") == 0) == !is_no_file);
      CHECK((defects[0].what.find("it is no plain file") == 0) == is_no_file);
      CHECK((defects[0].remedy.find("the volume is mounted") != std::string::npos) == is_no_file);
      // To empty a folder that is whole is the one thing not to be told.
      const bool is_forbidden = why == std::errc::permission_denied;
      CHECK((defects[0].remedy.find("the right to read") != std::string::npos) == is_forbidden);
      CHECK((defects[0].remedy.find("empty") == std::string::npos) == (is_forbidden || is_no_file));
      ++told;
    }
  }
  CHECK(told == 3 * whole.files.size());
  CHECK(told >= 9);
}

TEST_CASE("term and vote that are gone, cut or older than the log are told") {
  const log_place place;
  place.write_three_runs();
  const memory_log_folder folder = place.now();
  const auto told = [&](const std::function<void(memory_log_folder&)>& change) {
    memory_log_folder changed = folder;
    change(changed);
    const libraft_log_report report = changed.read();
    INFO(text_of(report));
    CHECK(report.error() == errc::log_damaged);
    return report.defects.front().file;
  };
  using files = memory_log_folder&;
  CHECK(told([](files in) { in.files.erase("metadata1"); }) == "metadata1");
  CHECK(told([](files in) { in.files.erase("metadata2"); }) == "metadata2");
  CHECK(told([](files in) {
          in.files.erase("metadata1");
          in.files.erase("metadata2");
        }) == "metadata1");
  CHECK(told([](files in) { in.files.at("metadata1").resize(31); }) == "metadata1");
  CHECK(told([](files in) { in.files.at("metadata2").resize(0); }) == "metadata2");
  // The older copy of one of them, or both.
  memory_log_folder first;
  {
    const log_place other;
    uv_disk disk(other.path());
    disk.bootstrap();
    disk.set_vote(1);
    first = other.now();
  }
  CHECK(told([&](files in) { in.files.at("metadata1") = first.files.at("metadata1"); }) ==
        "metadata2");
  CHECK(told([&](files in) {
          in.files.at("metadata1") = first.files.at("metadata1");
          in.files.at("metadata2") = first.files.at("metadata2");
        }) == "metadata2");
}

TEST_CASE("segments twice, out of order, or of another log are told") {
  const log_place place;
  place.write_three_runs();
  const memory_log_folder folder = place.now();
  const log_place elsewhere;
  elsewhere.write_three_runs();
  const auto error = [](memory_log_folder changed) {
    const libraft_log_report report = changed.read();
    INFO(text_of(report));
    return report.error();
  };
  const bytes second = folder.files.at("0000000000000002-0000000000000004");
  memory_log_folder twice = folder;
  twice.files["0000000000000004-0000000000000006"] = second;
  CHECK(error(twice) == errc::log_damaged);
  memory_log_folder renamed = folder;
  renamed.files["0000000000000010-0000000000000012"] = second;  // terms fall
  CHECK(error(renamed) == errc::log_damaged);
  memory_log_folder longer = folder;
  longer.files["0000000000000010-0000000000000013"] =
      folder.files.at("0000000000000005-0000000000000007");
  CHECK(error(longer) == errc::log_damaged);
  memory_log_folder headless = folder;
  headless.files["0000000000000001-0000000000000003"] = second;
  headless.files.erase("0000000000000001-0000000000000001");
  headless.files.erase("0000000000000002-0000000000000004");
  CHECK(error(headless) == errc::log_damaged);
  memory_log_folder odd = folder;
  odd.files["open-01"] = {};
  CHECK(error(odd) == errc::needs_upgrade);
  memory_log_folder long_name = folder;
  long_name.files[std::string(128, 'x')] = {};
  CHECK(error(long_name) == errc::needs_upgrade);
  memory_log_folder note = folder;
  put_note(note, {});
  note.files.at(note_name)[9] ^= std::byte{1};
  CHECK(error(note) == errc::log_damaged);
}

TEST_CASE("each bit of a folder that changes is told, or is in bytes that carry nothing") {
  const bool as_allocated = GENERATE(false, true);  // open segments in their full size
  const log_place place;
  memory_log_folder folder;
  {
    uv_disk disk(place.path());
    disk.bootstrap();
    disk.set_vote(1);
    static_cast<void>(disk.load());
    disk.append(1, 2, 30);
    disk.put(2, 1, 1, 2);
    disk.append(1, 1, 60);
    disk.append(1, 2, 20);
    folder = as_allocated ? place.now() : place.now(600);
  }
  put_note(folder, {});
  const libraft_log_report honest = folder.read();
  INFO(text_of(honest));
  REQUIRE(honest.defects.empty());
  REQUIRE(honest.last_index == 6);
  std::size_t bits = 0;
  std::map<std::string, std::size_t> untold;
  memory_log_folder changed = folder;
  for (const auto& [name, content] : folder.files) {
    if (as_allocated && name != "open-2") {
      continue;  // the others are as they were
    }
    const std::size_t looked_at = as_allocated ? 300 : content.size();
    for (std::size_t bit = 0; bit < 8 * looked_at; ++bit) {
      changed.files.at(name)[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
      const libraft_log_report report = changed.read();
      changed.files.at(name)[bit / 8] = content[bit / 8];
      ++bits;
      if (report.error()) {
        continue;
      }
      INFO(name << ", bit " << bit << ": " << text_of(report));
      const std::size_t at = bit / 8;
      const bool is_term_or_vote = name.rfind("metadata", 0) == 0 && at >= 16;
      const bool is_content_of_snapshot =
          name.rfind("snapshot-", 0) == 0 && name.find(".meta") == std::string::npos && at >= 40;
      const bool is_behind_the_end = name.rfind("open-", 0) == 0 && content[at] == std::byte{0};
      const bool excused = is_term_or_vote || is_content_of_snapshot || is_behind_the_end;
      REQUIRE(excused);
      CHECK(report.last_index == honest.last_index);
      ++untold[is_term_or_vote ? "term or vote" : is_behind_the_end ? "zeros" : "snapshot"];
    }
  }
  CHECK(bits > 2'000);
  CHECK((as_allocated || (untold["zeros"] > 0 && untold["snapshot"] > 0)));
}

TEST_CASE("each file that is cut is told, or ends where a log may end") {
  const log_place place;
  memory_log_folder folder;
  {
    uv_disk disk(place.path());
    disk.bootstrap();
    static_cast<void>(disk.load());
    disk.append(1, 2, 30);
    disk.put(2, 1, 1, 2);
    disk.append(1, 1, 60);
    disk.append(1, 1, 600);
    disk.append(1, 2, 20);
    folder = place.now(600);
  }
  put_note(folder, {});
  const libraft_log_report honest = folder.read();
  REQUIRE(honest.defects.empty());
  REQUIRE(honest.last_index == 7);
  std::set<std::uint64_t> ends;
  for (const auto& [name, content] : folder.files) {
    for (std::size_t size = 0; size < content.size(); ++size) {
      memory_log_folder cut = folder;
      cut.files.at(name).resize(size);
      const libraft_log_report report = cut.read();
      if (report.error()) {
        continue;
      }
      INFO(name << " cut to " << size << ": " << text_of(report));
      REQUIRE(name.rfind("open-", 0) == 0);  // no file tells where it ended
      CHECK(report.leftovers.size() <= 1);
      ends.insert(report.last_index);
      CHECK(cut.read(honest.last_index).error() ==
            (report.last_index < honest.last_index ? errc::log_too_short : std::error_code{}));
    }
  }
  CHECK(ends == std::set<std::uint64_t>{3, 4, 5, 7});  // between batches only
}

// ---- one write, one batch

namespace {

/// A disk that writes when it is told to, and remembers what it was given.
struct slow_disk {
  slow_disk() {
    io.impl = this;
    io.append = [](raft_io* self, raft_io_append* request, const raft_entry[], unsigned count,
                   raft_io_append_cb answer) {
      auto& disk = *static_cast<slow_disk*>(self->impl);
      request->cb = answer;
      disk.waiting.push_back(request);
      disk.batches.push_back(count);
      return disk.refuses ? RAFT_IOERR : 0;
    };
  }
  void write(int status = 0) {
    raft_io_append* const done = waiting.front();
    waiting.erase(waiting.begin());
    done->cb(done, status);
  }

  raft_io io{};
  std::vector<raft_io_append*> waiting;
  std::vector<unsigned> batches;
  bool refuses = false;
};

struct one_append {
  raft_io_append request{};
  std::vector<raft_entry> entries;
  std::vector<int>* answers = nullptr;
  int number = 0;
};

class writes_bench : public libraft_writes_listener {
 public:
  explicit writes_bench(std::size_t batch_bytes) {
    writes.attach(disk.io, disk.io, batch_bytes, *this);
  }

  int append(unsigned count, bool refusable = false) {
    one_append& one = *appends.emplace_back(std::make_unique<one_append>());
    one.entries.resize(count);
    for (raft_entry& entry : one.entries) {
      entry.buf.len = 100;
    }
    one.answers = &answers;
    one.number = static_cast<int>(appends.size());
    one.request.data = &one;
    const auto answer = [](raft_io_append* done, int status) {
      auto& self = *static_cast<one_append*>(done->data);
      self.answers->push_back(status == 0 ? self.number : -self.number);
    };
    return writes.append(&one.request, one.entries.data(), count, answer, refusable);
  }

  std::uint64_t write_stamp() const noexcept override { return stamp; }
  void write_landed(std::uint64_t) noexcept override {}
  int written(std::uint64_t told) noexcept override {
    stamps.push_back(told);
    return 0;
  }
  void write_failed(int) noexcept override { ++failures; }

  slow_disk disk;
  libraft_writes writes;
  std::vector<std::unique_ptr<one_append>> appends;
  std::vector<int> answers;
  std::vector<std::uint64_t> stamps;
  std::uint64_t stamp = 0;
  int failures = 0;
};

using numbers = std::vector<int>;
using counts = std::vector<unsigned>;

}  // namespace

TEST_CASE("what comes while a write is under way goes together, as one batch") {
  writes_bench bench(1'000'000);
  CHECK(bench.append(2) == 0);
  CHECK(bench.append(1) == 0);
  CHECK(bench.append(3) == 0);
  CHECK(bench.disk.batches == counts{2});
  bench.disk.write();
  CHECK(bench.answers == numbers{1});
  CHECK(bench.disk.batches == counts{2, 4});
  CHECK(bench.append(1) == 0);
  bench.disk.write();
  CHECK(bench.answers == numbers{1, 2, 3});
  bench.disk.write();
  CHECK(bench.answers == numbers{1, 2, 3, 4});
  CHECK(bench.disk.batches == counts{2, 4, 1});
  CHECK(bench.disk.waiting.empty());
}

TEST_CASE("a batch of several appends is no larger than a segment") {
  writes_bench bench(250);
  for (int i = 0; i < 4; ++i) {
    CHECK(bench.append(1) == 0);
  }
  bench.disk.write();
  CHECK(bench.disk.batches == counts{1, 2});
  bench.disk.write();
  CHECK(bench.disk.batches == counts{1, 2, 1});
  CHECK(bench.append(9) == 0);  // alone it may be
  bench.disk.write();
  bench.disk.write();
  CHECK(bench.answers == numbers{1, 2, 3, 4, 5});
}

TEST_CASE("what must not be overtaken is handed over first") {
  writes_bench bench(1'000'000);
  CHECK(bench.append(1) == 0);
  CHECK(bench.append(1) == 0);
  bench.writes.hand_over();
  bench.stamp = 1;
  CHECK(bench.append(1) == 0);
  CHECK(bench.disk.batches == counts{1, 1});
  bench.disk.write();
  CHECK(bench.disk.batches == counts{1, 1});  // one write is under way still
  bench.disk.write();
  bench.disk.write();
  CHECK(bench.answers == numbers{1, 2, 3});
  CHECK(bench.stamps == std::vector<std::uint64_t>{0, 0, 1});
}

TEST_CASE("a write that fails is told to nobody before the close") {
  writes_bench bench(1'000'000);
  CHECK(bench.append(1) == 0);
  CHECK(bench.append(1) == 0);
  bench.disk.write(RAFT_IOERR);
  CHECK(bench.failures == 1);
  CHECK(bench.append(1) == 0);
  CHECK(bench.answers.empty());
  CHECK(bench.disk.batches == counts{1});
  bench.writes.close();
  bench.writes.answer_all();
  CHECK(bench.answers == numbers{1, 2, 3});  // as written, for the engine is closed
}

TEST_CASE("an append that the disk refuses is refused only if nobody can have it") {
  const bool refusable = GENERATE(true, false);
  writes_bench bench(1'000'000);
  bench.disk.refuses = true;
  CHECK(bench.append(1, refusable) == (refusable ? RAFT_IOERR : 0));
  CHECK(bench.failures == 1);
  bench.writes.close();
  bench.writes.answer_all();
  CHECK(bench.answers == (refusable ? numbers{} : numbers{1}));
}

TEST_CASE("a note stays until what was appended after it is on the disk") {
  const log_place place;
  using step = libraft_log_note::step;
  const auto noted = [&]() -> libraft_log_note {
    return *libraft_log_note::decode(place.now().files.at(note_name));
  };
  libraft_notes notes(place.path());
  REQUIRE(notes.begin() == 0);
  CHECK(noted().of == step::none);
  REQUIRE(notes.announce({step::truncate, 9, 0}) == 0);
  CHECK(noted().index == 9);
  REQUIRE(notes.announce({step::truncate, 12, 0}) == 0);
  CHECK(noted().index == 9);  // both are in it
  REQUIRE(notes.done(0) == 0);
  CHECK(noted().index == 9);
  REQUIRE(notes.done(1) == 0);
  CHECK(noted().index == 12);
  REQUIRE(notes.announce({step::install, 40, 3}) == 0);
  CHECK(noted().index == 12);  // the snapshot takes its place after that
  REQUIRE(notes.done(2) == 0);
  CHECK(noted().of == step::install);
  CHECK(noted().term == 3);
  REQUIRE(notes.done(notes.announced()) == 0);
  CHECK(noted().of == step::none);
  libraft_notes nowhere(place.path() + "/missing");
  CHECK(nowhere.begin() == RAFT_IOERR);
}

TEST_CASE("a truncation whose entries are there yet is not done, and stays noted") {
  const log_place place;
  place.write_three_runs();
  const auto noted = [&] { return *libraft_log_note::decode(place.now().files.at(note_name)); };
  libraft_notes notes(place.path());
  REQUIRE(notes.begin() == 0);
  REQUIRE(notes.announce({libraft_log_note::step::truncate, 9, 0}) == 0);
  CHECK(notes.done(1) == RAFT_IOERR);
  CHECK(noted().index == 9);
  REQUIRE(std::filesystem::remove(place.path() + "/0000000000000008-0000000000000009"));
  CHECK(notes.done(1) == 0);
  CHECK(noted().of == libraft_log_note::step::none);
}

TEST_CASE("a truncation that is done is not taken for one behind it that is not") {
  using step = libraft_log_note::step;
  const log_place place;
  place.write_three_runs();
  const auto noted = [&] { return *libraft_log_note::decode(place.now().files.at(note_name)); };
  libraft_notes notes(place.path());
  REQUIRE(notes.begin() == 0);
  REQUIRE(notes.announce({step::truncate, 20, 0}) == 0);  // no entry is there from 20 on
  REQUIRE(notes.announce({step::truncate, 9, 0}) == 0);   // these still are
  CHECK(notes.done(1) == 0);
  CHECK(noted().index == 9);
  CHECK(notes.done(2) == RAFT_IOERR);
  CHECK(noted().index == 9);
}

namespace {

/// libraft_io between an engine that is none and a disk that does what it is told when it is told.
class io_bench : public libraft_io_listener {
 public:
  explicit io_bench(const std::string& directory) : guard(directory, std::size_t{1} << 20U) {
    disk.io.data = &engine;
    disk.io.truncate = [](raft_io* io, raft_index) {
      of(io).steps.push_back("truncate");
      of(io).on_truncate();
      return 0;
    };
    disk.io.set_term = [](raft_io* io, raft_term) {
      of(io).steps.push_back("term");
      return 0;
    };
    disk.io.set_vote = [](raft_io* io, raft_id) {
      of(io).steps.push_back("vote");
      of(io).on_vote();
      return 0;
    };
    disk.io.snapshot_put = [](raft_io* io, unsigned trailing, raft_io_snapshot_put* request,
                              const raft_snapshot*, raft_io_snapshot_put_cb answer) {
      of(io).steps.push_back(trailing == 0 ? "install" : "take");
      request->cb = answer;
      of(io).put = request;
      return 0;
    };
    disk.io.async_work = [](raft_io* io, raft_io_async_work* request,
                            raft_io_async_work_cb answer) {
      of(io).work = [=] { answer(request, request->work(request)); };
      if (!of(io).holds_work) {
        of(io).work();
      }
      return 0;
    };
    disk.io.close = [](raft_io* io, raft_io_close_cb then) { of(io).disk_closed = then; };
    disk.io.start = [](raft_io* io, unsigned, raft_io_tick_cb told_of_time,
                       raft_io_recv_cb told_to) {
      of(io).tick = told_of_time;
      of(io).receive = told_to;
      return 0;
    };
    disk.io.time = [](raft_io* io) { return of(io).now; };
    engine.io = &disk.io;
    guard.attach(engine, *this);
    mine = this;
  }

  void append(const std::function<void()>& then) {
    auto& one = appends.emplace_back();
    one.second = then;
    one.first.data = &one;
    raft_entry entry{};
    REQUIRE(disk.io.append(&disk.io, &one.first, &entry, 1, [](raft_io_append* done, int) {
      static_cast<std::pair<raft_io_append, std::function<void()>>*>(done->data)->second();
    }) == 0);
  }
  void snapshot_put(unsigned trailing, const raft_snapshot& snapshot,
                    const std::function<void()>& then) {
    put_answered = then;
    REQUIRE(disk.io.snapshot_put(&disk.io, trailing, &put_asked, &snapshot,
                                 [](raft_io_snapshot_put*, int) { mine->put_answered(); }) == 0);
  }

  /// A leader sends an entry of this term behind index 1. @returns false: nobody was told
  [[nodiscard]] bool deliver(raft_term in_term) {
    auto* const entries = static_cast<raft_entry*>(raft_malloc(2 * sizeof(raft_entry)));
    entries[0] = entries[1] = raft_entry{};
    entries[0].batch = entries[1].batch = raft_malloc(64);
    entries[0].term = entries[1].term = in_term;
    raft_message message{};
    message.type = RAFT_IO_APPEND_ENTRIES;
    message.append_entries.term = in_term;
    message.append_entries.prev_log_index = 1;
    message.append_entries.prev_log_term = 1;
    message.append_entries.entries = entries;
    message.append_entries.n_entries = 2;
    told = 0;
    receive(&disk.io, &message);
    if (told != 0) {
      raft_free(entries[0].batch);
      raft_free(entries);
    }
    return told != 0;
  }

  bool log_loaded(const libraft_loaded_log&) noexcept override { return true; }
  bool members_loaded() noexcept override { return true; }
  [[nodiscard]] bool admits(const raft_message&) noexcept override { return true; }
  void received() noexcept override {}
  [[nodiscard]] history_position applied() const noexcept override { return was_applied; }
  void disk_failed(int) noexcept override { ++failures; }
  int prepare_restore(const raft_buffer&) noexcept override { return 0; }
  void restore_failed(int) noexcept override { ++failures; }

  static io_bench& of(const raft_io*) { return *mine; }
  static inline io_bench* mine = nullptr;

  slow_disk disk;
  ::raft engine{};
  libraft_io guard;
  std::list<std::pair<raft_io_append, std::function<void()>>> appends;
  raft_io_snapshot_put put_asked{};
  raft_io_snapshot_put* put = nullptr;
  std::function<void()> put_answered;
  std::vector<std::string> steps;
  std::function<void()> work;  // that is under way, or was
  bool holds_work = false;
  std::function<void()> on_truncate = [] {};
  std::function<void()> on_vote = [] {};
  raft_io_close_cb disk_closed = nullptr;
  raft_io_recv_cb receive = nullptr;
  raft_io_tick_cb tick = nullptr;
  raft_time now = 0;
  history_position was_applied;
  int told = 0;
  int failures = 0;
};

}  // namespace

TEST_CASE("entries that would cut the log come later while it is cut or a snapshot is written") {
  const log_place place;
  io_bench bench(place.path());
  REQUIRE(bench.guard.begin() == 0);
  REQUIRE(bench.disk.io.start(
              &bench.disk.io, 10, [](raft_io*) {},
              [](raft_io* io, raft_message*) { ++io_bench::of(io).told; }) == 0);
  raft_entry held[4]{};  // a log with entries 1 and 2, both of term 1
  held[0].term = held[1].term = 1;
  bench.engine.log.entries = held;
  bench.engine.log.size = 4;
  bench.engine.log.back = 2;
  bench.engine.current_term = 1;
  CHECK(bench.deliver(2));
  raft_snapshot snapshot{};
  bool answered = false;
  bench.snapshot_put(1000, snapshot, [&] { answered = true; });
  CHECK_FALSE(bench.deliver(2));
  CHECK(bench.deliver(1));  // nothing is to be cut for these
  bench.put->cb(bench.put, 0);
  CHECK(answered);
  CHECK(bench.deliver(2));

  // Nor may it be cut again before it has been: the disk would forget that too.
  REQUIRE(bench.disk.io.truncate(&bench.disk.io, 2) == 0);
  CHECK_FALSE(bench.deliver(2));
  CHECK(bench.deliver(1));
  bench.append([] {});
  bench.disk.write();
  CHECK(bench.deliver(2));
  bench.engine.log = {};
}

TEST_CASE("what is replaced is noted before it is, until what came later is on the disk") {
  using step = libraft_log_note::step;
  const log_place place;
  const auto noted = [&] { return *libraft_log_note::decode(place.now().files.at(note_name)); };
  io_bench bench(place.path());
  REQUIRE(bench.guard.begin() == 0);
  std::vector<step> seen;
  const auto look = [&] { seen.push_back(noted().of); };

  bench.append(look);
  bench.append(look);  // waits
  REQUIRE(bench.disk.io.truncate(&bench.disk.io, 7) == 0);
  CHECK(bench.disk.batches == counts{1, 1});  // it was handed over first
  CHECK(noted().of == step::truncate);
  CHECK(noted().index == 7);
  bench.append(look);
  bench.disk.write();
  bench.disk.write();
  CHECK(seen == std::vector<step>{step::truncate, step::truncate});
  bench.disk.write();
  CHECK(seen.back() == step::none);

  raft_buffer content{nullptr, 0};
  raft_snapshot snapshot{};
  snapshot.index = 30;
  snapshot.term = 4;
  snapshot.bufs = &content;
  snapshot.n_bufs = 1;
  bench.append(look);
  bench.append(look);
  bench.snapshot_put(0, snapshot, look);
  CHECK(bench.disk.batches == counts{1, 1, 1, 1, 1});
  CHECK(noted().of == step::install);
  CHECK(noted().index == 30);
  CHECK(noted().term == 4);
  bench.disk.write();
  bench.disk.write();
  CHECK(seen.back() == step::install);
  bench.put->cb(bench.put, 0);
  CHECK(seen.back() == step::none);

  // One that is taken stands behind what it is made of, and replaces nothing.
  bench.append(look);
  bench.append(look);
  bench.snapshot_put(1000, snapshot, look);
  CHECK(bench.disk.waiting.size() == 2);
  CHECK(noted().of == step::none);
  CHECK(bench.steps == std::vector<std::string>{"truncate", "install", "take"});
  CHECK(bench.failures == 0);
}

TEST_CASE("a snapshot that could not take the place of the log ends the engine, and stays noted") {
  using step = libraft_log_note::step;
  const log_place place;
  const auto noted = [&] { return *libraft_log_note::decode(place.now().files.at(note_name)); };
  io_bench bench(place.path());
  REQUIRE(bench.guard.begin() == 0);
  raft_buffer content{nullptr, 0};
  raft_snapshot snapshot{};
  snapshot.index = 30;
  snapshot.term = 4;
  snapshot.bufs = &content;
  snapshot.n_bufs = 1;
  bool answered = false;
  bench.snapshot_put(0, snapshot, [&] { answered = true; });
  bench.put->cb(bench.put, RAFT_IOERR);
  CHECK(noted().of == step::install);
  CHECK(bench.failures == 1);
  CHECK_FALSE(answered);  // the engine would acknowledge entries behind what is not there
  bench.append([] {});
  CHECK(bench.disk.waiting.empty());
  CHECK(noted().of == step::install);
  bench.disk.io.close(&bench.disk.io, [](raft_io*) {});
  bench.guard.close_now();
  CHECK(answered);
}

TEST_CASE("behind a failed write of the log neither term nor vote is written") {
  const log_place place;
  io_bench bench(place.path());
  CHECK(bench.disk.io.set_term(&bench.disk.io, 3) == 0);
  bench.append([] {});
  bench.disk.write(RAFT_IOERR);
  CHECK(bench.failures == 1);
  CHECK(bench.disk.io.set_term(&bench.disk.io, 4) == RAFT_IOERR);
  CHECK(bench.disk.io.set_vote(&bench.disk.io, 1) == RAFT_IOERR);
  CHECK(bench.steps == std::vector<std::string>{"term"});
}

TEST_CASE("a note that cannot be written ends the engine before anything is replaced") {
  const log_place place;
  io_bench bench(place.path() + "/missing");
  CHECK(bench.disk.io.truncate(&bench.disk.io, 7) != 0);
  CHECK(bench.failures == 1);
  CHECK(bench.steps.empty());
}

// ---- log_end

namespace {

/// A log with entries up to `last`, of the first terms each.
void hold(io_bench& bench, std::vector<raft_entry>& held, const std::vector<raft_term>& terms) {
  held.assign(terms.size() + 1, raft_entry{});
  for (std::size_t i = 0; i < terms.size(); ++i) {
    held[i].term = terms[i];
  }
  bench.engine.log.entries = held.data();
  bench.engine.log.size = held.size();
  bench.engine.log.back = terms.size();
  bench.engine.last_stored = terms.size();
}

libraft_log_end end_in(const log_place& place) {
  const bytes file = place.now().files.at(libraft_log_end::file_name);
  return *libraft_log_end::newest_in(file);
}

}  // namespace

TEST_CASE("log_end goes back before anything is replaced, and on twice a second at most") {
  const log_place place;
  std::vector<raft_entry> held;
  io_bench bench(place.path());
  hold(bench, held, {1, 1, 2});
  REQUIRE(bench.guard.begin() == 0);
  CHECK((end_in(place).entry == 3 && end_in(place).entry_term == 2));
  CHECK(libraft_log_note::decode(place.now().files.at(note_name))->keeps_end);
  REQUIRE(bench.disk.io.start(
              &bench.disk.io, 10, [](raft_io*) {}, [](raft_io*, raft_message*) {}) == 0);
  const auto tick_at = [&](raft_time now) {
    bench.now = now;
    bench.tick(&bench.disk.io);
    return end_in(place);
  };
  CHECK(tick_at(1'000).write == end_in(place).write);  // it knows that much
  hold(bench, held, {1, 1, 2, 2, 2});
  CHECK(tick_at(1'499).entry == 3);
  CHECK(tick_at(1'500).entry == 5);
  bench.was_applied = {log_index{4}, {1, 2}};
  hold(bench, held, {1, 1, 2, 2, 2, 2});
  CHECK(tick_at(1'999).entry == 5);
  CHECK((tick_at(2'000).entry == 6 && end_in(place).applied == bench.was_applied));

  // A cut: first it goes back, then that is noted, then the disk hears of it.
  std::vector<std::uint64_t> seen;
  bench.on_truncate = [&] { seen.push_back(end_in(place).entry); };
  REQUIRE(bench.disk.io.truncate(&bench.disk.io, 4) == 0);
  CHECK(seen == std::vector<std::uint64_t>{3});
  CHECK(end_in(place).entry_term == 2);
  hold(bench, held, {1, 1, 2, 3, 3});
  CHECK(tick_at(9'000).entry == 3);  // as long as it is under way
  bench.append([] {});
  bench.disk.write();
  CHECK((tick_at(10'000).entry == 5 && end_in(place).entry_term == 3));

  raft_buffer content{nullptr, 0};
  raft_snapshot snapshot{};
  snapshot.index = 30;
  snapshot.term = 4;
  snapshot.bufs = &content;
  snapshot.n_bufs = 1;
  bench.snapshot_put(0, snapshot, [] {});
  CHECK((end_in(place).entry == 0 && end_in(place).applied == bench.was_applied));
  CHECK(tick_at(11'000).entry == 0);
  bench.engine.log = {};
  bench.engine.log.snapshot.last_index = 30;
  bench.engine.log.snapshot.last_term = 4;
  bench.engine.last_stored = 30;
  bench.put->cb(bench.put, 0);
  CHECK((tick_at(12'000).entry == 30 && end_in(place).entry_term == 4));
  bench.engine.log = {};
  CHECK(bench.failures == 0);
}

TEST_CASE("a vote is in log_end before anybody hears of it, and after libraft has stored it") {
  const log_place place;
  io_bench bench(place.path());
  REQUIRE(bench.guard.begin() == 0);
  std::vector<std::uint64_t> seen;
  bench.on_vote = [&] { seen.push_back(end_in(place).vote); };
  REQUIRE(bench.disk.io.set_term(&bench.disk.io, 3) == 0);
  CHECK(end_in(place).term == 0);
  REQUIRE(bench.disk.io.set_vote(&bench.disk.io, 2) == 0);
  CHECK((end_in(place).term == 3 && end_in(place).vote == 2));
  REQUIRE(bench.disk.io.set_term(&bench.disk.io, 4) == 0);
  REQUIRE(bench.disk.io.set_vote(&bench.disk.io, 5) == 0);
  CHECK((end_in(place).term == 4 && end_in(place).vote == 5));
  CHECK(seen == std::vector<std::uint64_t>{0, 2});
  bench.on_vote = [] {};
  REQUIRE(bench.disk.io.set_term(&bench.disk.io, 5) == 0);
  int code = 0;
  {
    const lowered_limit none = lowered_limit::no_bytes();
    code = bench.disk.io.set_vote(&bench.disk.io, 6);
  }
  CHECK(code != 0);
  CHECK(bench.failures == 1);
}

TEST_CASE(
    "log_end that cannot be told how far the log goes is told again, before a cut it must be") {
  const log_place place;
  std::vector<raft_entry> held;
  io_bench bench(place.path());
  hold(bench, held, {1, 1, 1});
  REQUIRE(bench.guard.begin() == 0);
  REQUIRE(bench.disk.io.start(
              &bench.disk.io, 10, [](raft_io*) {}, [](raft_io*, raft_message*) {}) == 0);
  hold(bench, held, {1, 1, 1, 1, 1});
  for (raft_time now = 1'000; now < 3'000; now += 500) {
    bench.now = now;
    const lowered_limit none = lowered_limit::no_bytes();
    bench.tick(&bench.disk.io);
  }
  CHECK(end_in(place).entry == 3);
  CHECK(bench.guard.end_errors() == 4);
  CHECK(bench.failures == 0);
  bench.now = 3'000;
  bench.tick(&bench.disk.io);
  CHECK(end_in(place).entry == 5);
  CHECK(bench.guard.end_errors() == 4);
  int code = 0;
  {
    const lowered_limit none = lowered_limit::no_bytes();
    code = bench.disk.io.truncate(&bench.disk.io, 4);
  }
  CHECK(code != 0);
  CHECK(bench.failures == 1);
  CHECK(bench.steps.empty());
  CHECK(end_in(place).entry == 5);
  bench.engine.log = {};
}

TEST_CASE("a segment that could not be closed ends the engine at the next look") {
  const bool writes = GENERATE(true, false);
  const log_place place;
  const auto make = [&](int number) {
    REQUIRE(std::ofstream(place.path() + "/open-" + std::to_string(number)).put('x').flush());
  };
  make(1);
  make(2);
  make(3);
  std::vector<raft_entry> held;
  io_bench bench(place.path());
  hold(bench, held, {1});
  REQUIRE(bench.guard.begin() == 0);
  REQUIRE(bench.disk.io.start(
              &bench.disk.io, 10, [](raft_io*) {}, [](raft_io*, raft_message*) {}) == 0);
  std::vector<int> failures;
  for (raft_time now = 1'000; now < 4'000; now += 500) {
    if (now == 1'500) {
      REQUIRE(std::filesystem::remove(place.path() + "/open-2"));  // it was closed, and 1 was not
    }
    if (writes || now == 2'000) {
      hold(bench, held, std::vector<raft_term>(now / 500, 1));
    }
    bench.now = now;
    bench.tick(&bench.disk.io);
    failures.push_back(bench.failures);
  }
  CHECK(failures ==
        (writes ? std::vector<int>{0, 1, 1, 1, 1, 1} : std::vector<int>{0, 0, 1, 1, 1, 1}));
  CHECK(std::string(bench.guard.why()).find("could not be closed") != std::string::npos);
  CHECK(bench.disk.io.set_vote(&bench.disk.io, 1) == RAFT_IOERR);
  bench.engine.log = {};
}

TEST_CASE("what a look sees of a disk that is being closed is no failure") {
  const bool closes = GENERATE(true, false);
  const log_place place;
  for (const char* const name : {"/open-1", "/open-2", "/open-3"}) {
    REQUIRE(std::ofstream(place.path() + name).put('x').flush());
  }
  std::vector<raft_entry> held;
  io_bench bench(place.path());
  hold(bench, held, {1});
  REQUIRE(bench.guard.begin() == 0);
  REQUIRE(bench.disk.io.start(
              &bench.disk.io, 10, [](raft_io*) {}, [](raft_io*, raft_message*) {}) == 0);
  bench.now = 1'000;
  bench.tick(&bench.disk.io);
  bench.holds_work = true;
  hold(bench, held, {1, 1});
  bench.now = 2'000;
  bench.tick(&bench.disk.io);
  if (closes) {
    bench.disk.io.close(&bench.disk.io, [](raft_io*) {});
  }
  REQUIRE(std::filesystem::remove(place.path() + "/open-2"));
  bench.work();
  CHECK(bench.failures == (closes ? 0 : 1));
  CHECK(std::filesystem::exists(place.path() + "/open-1") == closes);
  CHECK(std::filesystem::exists(place.path() + "/unclosed-1") != closes);
  bench.engine.log = {};
}

TEST_CASE("at a stop log_end says all that was answered, unless the disk has failed") {
  const bool fails = GENERATE(false, true);
  const log_place place;
  std::vector<raft_entry> held;
  io_bench bench(place.path());
  hold(bench, held, {1});
  REQUIRE(bench.guard.begin() == 0);
  hold(bench, held, {1, 1, 1});
  if (fails) {
    bench.append([] {});
    bench.disk.write(RAFT_IOERR);
  }
  bench.disk.io.close(&bench.disk.io, [](raft_io*) {});
  CHECK(end_in(place).entry == 1);
  REQUIRE(bench.disk_closed != nullptr);
  bench.disk_closed(&bench.disk.io);
  CHECK(end_in(place).entry == (fails ? 1 : 3));
  bench.engine.log = {};
}

// ---- seeds of the fuzz target

TEST_CASE("the seeds of libraft_log_fuzz are written", "[.corpus]") {
  const char* const folder = std::getenv("QUORLITE_CORPUS_OUT");
  REQUIRE(folder != nullptr);
  const auto seed = [&](const std::string& name, const memory_log_folder& log) {
    bytes all{std::byte{1}};
    const bytes files = quorlite::tests::log_input_of(log);
    all.insert(all.end(), files.begin(), files.end());
    quorlite::tests::write_file(std::filesystem::path(folder) / name, all);
    bytes at_most{std::byte{1 + 2 * 5}};
    at_most.insert(at_most.end(), files.begin(), files.end());
    quorlite::tests::write_file(std::filesystem::path(folder) / (name + "_at_5"), at_most);
  };
  const log_place place;
  {
    uv_disk disk(place.path());
    disk.bootstrap();
    disk.set_vote(1);
    static_cast<void>(disk.load());
    disk.append(1, 1, 20);
    disk.append(1, 2, 20);
    seed("killed", place.now(1024));
  }
  seed("stopped", place.now());
  memory_log_folder ended = place.now();
  libraft_log_note kept;
  kept.keeps_end = true;
  put_note(ended, kept);
  bytes& end = ended.files[libraft_log_end::file_name];
  end.resize(libraft_log_end::file_bytes);
  for (const std::uint64_t write : {2U, 3U}) {
    libraft_log_end told;
    told.write = write;
    told.entry = write + 1;
    told.entry_term = told.term = told.vote = 1;
    told.encode(bytes_span(end).subspan(told.offset(), libraft_log_end::encoded_bytes));
  }
  seed("ended", ended);
  {
    const log_place numbered;
    uv_disk disk(numbered.path());
    disk.bootstrap();
    disk.set_vote(1);
    static_cast<void>(disk.load());
    disk.append(1, 1, 20, 2);
    disk.append(1, 2, 20, 3);
    seed("numbered", numbered.now(1024));
  }
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    disk.append(1, 2, 20);
  }
  memory_log_folder twice = place.now();
  twice.files["0000000000000002-0000000000000003"] =
      twice.files.at("0000000000000002-0000000000000004");
  put_note(twice, {libraft_log_note::step::truncate, 4, 0});
  seed("truncated", twice);
  memory_log_folder taken = place.now();
  {
    uv_disk disk(place.path());
    static_cast<void>(disk.load());
    disk.set_term(2);
    disk.put(5, 2, 0, 9);
    disk.append(2, 1, 1200);
    taken = place.now(1024);
  }
  for (const char* part : {"", ".meta"}) {
    for (const auto& [name, content] : memory_log_folder(taken).files) {
      const bool is_meta = name.find(".meta") != std::string::npos;
      if (name.rfind("snapshot-2-5-", 0) == 0 && is_meta == (std::string(part) == ".meta")) {
        taken.files["snapshot-2-5-2000" + std::string(part)] = content;
      }
    }
  }
  put_note(taken, {libraft_log_note::step::install, 5, 2});
  seed("installed", taken);
  bytes& open = taken.files.at("open-1");
  std::fill_n(open.begin() + 512, 512, std::byte{0});
  put_note(taken, {});
  seed("torn", taken);
}

}  // namespace libraft_log_test
