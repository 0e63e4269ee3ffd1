// file_storage on a disk that fails: what lasts, what is tried again, and what a crash leaves of
// opening and closing.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/file_storage/basic_file_storage.hpp"
#include "quorlite/detail/file_storage/bounded_files.hpp"
#include "quorlite/detail/file_storage/posix.hpp"
#include "quorlite/testing/detail/laws/storage_examination.hpp"
#include "quorlite/testing/detail/laws/storage_history.hpp"
#include "quorlite/testing/detail/laws/storage_scene.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "support/lowered_limit.hpp"
#include "support/temporary_directory.hpp"

// A disk that forgets: what is made durable when is looked at elsewhere, and here it takes time.
extern "C" int fdatasync(int /*opened*/) { return 0; }
extern "C" int fsync(int /*opened*/) { return 0; }

namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::testing::crash_fates;
using quorlite::testing::crash_images;
using quorlite::testing::disk_call_kind;
using quorlite::testing::fault_duration;
using quorlite::testing::faulty_disk;
using quorlite::testing::faulty_file_system;
using quorlite::testing::pending_unit;
using quorlite::testing::sector_bytes;
using quorlite::testing::unit_fate;
using quorlite::testing::unit_kind;
using quorlite::testing::detail::commit_change;
using quorlite::testing::detail::difference_in_pages;
using quorlite::testing::detail::difference_in_position;
using quorlite::testing::detail::fill_flush;
using quorlite::testing::detail::fill_stage;
using quorlite::testing::detail::history_progress;
using quorlite::testing::detail::history_step;
using quorlite::testing::detail::model_content;
using quorlite::testing::detail::model_position;
using quorlite::testing::detail::sample_content;

using faulty_storage = basic_file_storage<faulty_file_system>;

std::unique_ptr<faulty_storage> mount(faulty_disk& disk, bool twice = false) {
  return std::make_unique<faulty_storage>(faulty_file_system(disk), file_options{twice, 3});
}

// sample_content(5, 1), and what a flush makes of it.
model_content changed() {
  model_content next = sample_content(5, 1);
  next.at.index = log_index{6};
  next.databases["app.db"].write(1, 3, 9).write(9, 11, 9);
  return next;
}

// A storage with sample_content(5, 1), recovered: its files are open under their own names.
std::unique_ptr<faulty_storage> mount_sample(faulty_disk& disk) {
  {
    const auto storage = mount(disk);
    REQUIRE(storage->recover());
    REQUIRE(!commit_change(*storage, {}, sample_content(5, 1)));
  }
  auto storage = mount(disk);
  REQUIRE(storage->recover());
  return storage;
}

// The first call after `from` of this kind on a path that ends so; 0 if there is none.
std::uint64_t find_call(const faulty_disk& disk, std::uint64_t from, disk_call_kind kind,
                        std::string_view path) {
  for (std::uint64_t ordinal = from + 1; ordinal <= disk.calls(); ++ordinal) {
    if (disk.call(ordinal).kind == kind && disk.call(ordinal).path.ends_with(path)) {
      return ordinal;
    }
  }
  return 0;
}

// For messages.
std::string text_of_call(const faulty_disk& disk, std::uint64_t ordinal) {
  const auto call = disk.call(ordinal);
  return std::to_string(ordinal) + ", " + std::string(name_of(call.kind)) + " " + call.path;
}

// What is wrong with a disk that was found after a crash and must hold `content` exactly.
std::string look(faulty_disk& disk, const model_content& content, bool twice) {
  const auto storage = mount(disk, twice);
  const auto found = storage->recover();
  if (!found) {
    return "recover() fails: " + found.error().message();
  }
  if (found->ahead != found->at.index) {
    return "pages may be ahead";
  }
  const std::string difference = difference_in_position(*found, content);
  return difference.empty() ? difference_in_pages(*storage, content) : difference;
}

// A disk whose sectors have 4096 bytes: with each small one that was on its way, its neighbours go
// too.
void tear_large_sectors(const faulty_disk& before, faulty_disk& image) {
  constexpr std::uint64_t large = 4096;
  std::set<std::pair<std::uint64_t, std::uint64_t>> torn;  // a file, and which of its sectors
  for (const pending_unit& unit : before.pending_units()) {
    if (unit.kind == unit_kind::sector) {
      torn.emplace(unit.node, unit.number * sector_bytes / large);
    }
  }
  for (const std::string& path : image.files()) {
    const auto node = image.open(path, open_mode::existing).value().node;
    for (const auto& [file, sector] : torn) {
      for (std::uint64_t offset = 0; file == node && offset < large; offset += 61) {
        static_cast<void>(image.damage(path, sector * large + offset, std::byte{0x55}));
      }
    }
  }
}

}  // namespace

TEST_CASE("`ahead` is durable before the first page is overwritten", "[file_storage]") {
  faulty_disk disk;
  const auto storage = mount_sample(disk);
  const std::uint64_t before = disk.calls();
  const auto flush = fill_flush(*storage, sample_content(5, 1), changed());
  REQUIRE(flush);
  const auto page = find_call(disk, before, disk_call_kind::write, "app.db");
  const auto first = find_call(disk, before, disk_call_kind::sync, "superblock-0");
  const auto second = find_call(disk, before, disk_call_kind::sync, "superblock-1");
  CHECK(page != 0);
  CHECK(std::max(first, second) != 0);
  CHECK(std::max(first, second) < page);
}

TEST_CASE("a promise of `ahead` that found no room is made by the next flush, before it overwrites",
          "[file_storage]") {
  const auto record_of = [](const faulty_disk& disk, std::uint64_t before, disk_call_kind kind) {
    return std::max(find_call(disk, before, kind, "superblock-0"),
                    find_call(disk, before, kind, "superblock-1"));
  };
  std::uint64_t promise = 0;
  {
    faulty_disk whole;
    const auto storage = mount_sample(whole);
    const std::uint64_t before = whole.calls();
    REQUIRE(fill_flush(*storage, sample_content(5, 1), changed()));
    promise = record_of(whole, before, disk_call_kind::write);
    REQUIRE(promise != 0);
  }
  faulty_disk disk;
  disk.fail_at(promise, std::errc::no_space_on_device);
  const auto storage = mount_sample(disk);
  REQUIRE(fill_flush(*storage, sample_content(5, 1), changed()).error() == errc::storage_full);
  const std::uint64_t before = disk.calls();
  const auto flush = fill_flush(*storage, sample_content(5, 1), changed());
  REQUIRE(flush);
  const auto page = find_call(disk, before, disk_call_kind::write, "app.db");
  const auto record = record_of(disk, before, disk_call_kind::sync);
  CHECK(page != 0);
  CHECK(record != 0);
  CHECK(record < page);
}

TEST_CASE("pages and hashes are durable before the record, cuts and names come after it",
          "[file_storage]") {
  faulty_disk disk;
  const auto storage = mount_sample(disk);
  model_content next = changed();
  next.databases["logs_2.db"].resize(2);
  next.databases["new.db"].write(1, 2, 3);
  auto flush = fill_flush(*storage, sample_content(5, 1), next);
  REQUIRE(flush);
  const std::uint64_t before = disk.calls();
  REQUIRE(!storage->commit(std::move(*flush), model_position(next).view()));
  const auto record = std::max(find_call(disk, before, disk_call_kind::write, "superblock-0"),
                               find_call(disk, before, disk_call_kind::write, "superblock-1"));
  REQUIRE(record != 0);
  const auto data = find_call(disk, before, disk_call_kind::sync, "app.db");
  const auto hashes = find_call(disk, data, disk_call_kind::sync, "hashes/app.db");
  CHECK(data != 0);
  CHECK(hashes != 0);
  CHECK(hashes < record);
  CHECK(find_call(disk, before, disk_call_kind::resize, "logs_2.db") > record);
  CHECK(find_call(disk, before, disk_call_kind::rename, "") > record);
  CHECK(find_call(disk, before, disk_call_kind::sync_directory, "") < record);
}

TEST_CASE("a failed sync breaks the storage for good, and is never tried again", "[file_storage]") {
  for (const std::string_view path : {"app.db", "hashes/app.db", "superblock-0", "superblock-1"}) {
    INFO(path);
    faulty_disk disk;
    std::uint64_t before = 0;
    std::uint64_t ordinal = 0;
    {
      const auto storage = mount_sample(disk);
      before = disk.calls();
      REQUIRE(!commit_change(*storage, sample_content(5, 1), changed()));
      ordinal = find_call(disk, before, disk_call_kind::sync, path);
      REQUIRE(ordinal != 0);
    }
    faulty_disk again;
    again.fail_at(ordinal, std::errc::no_space_on_device);  // whatever it says
    const auto storage = mount_sample(again);
    auto stage = storage->begin_stage();
    const auto handle = storage->open("logs_2.db", 1024);
    CHECK(commit_change(*storage, sample_content(5, 1), changed()) == errc::storage_broken);
    const std::uint64_t calls = again.calls();
    CHECK(storage->begin_flush({log_index{9}, {}}).error() == errc::storage_broken);
    CHECK(storage->begin_stage().error() == errc::storage_broken);
    CHECK(storage->publish(std::move(*stage), {}) == errc::storage_broken);
    CHECK(storage->recover().error() == errc::storage_broken);
    CHECK(storage->close() == errc::storage_broken);
    CHECK(again.calls() == calls);
    CHECK(quorlite::testing::detail::reads(*storage, *handle, 2, 1024, 2));
  }
}

TEST_CASE(
    "a full disk is told as one, memory that ran out as that, and the flush can be made again",
    "[file_storage]") {
  const bool twice = GENERATE(false, true);
  for (const std::errc why :
       {std::errc::no_space_on_device, std::errc::not_enough_memory, std::errc::too_many_files_open,
        std::errc::too_many_files_open_in_system}) {
    faulty_disk disk;
    const auto storage = mount(disk, twice);
    REQUIRE(storage->recover());
    REQUIRE(!commit_change(*storage, {}, sample_content(5, 1)));
    disk.fail_at(disk.calls() + 1, why, fault_duration::persistent);
    const errc told =
        why == std::errc::not_enough_memory ? errc::out_of_memory : errc::storage_full;
    CHECK(commit_change(*storage, sample_content(5, 1), changed()) == told);
    disk.heal();
    REQUIRE(!commit_change(*storage, sample_content(5, 1), changed()));
    CHECK(difference_in_pages(*storage, changed()).empty());
    disk.fail_at(disk.calls() + 1, std::errc::permission_denied);
    model_content more = changed();
    more.at.index = log_index{7};
    more.databases["app.db"].write(1, 1, 30);
    CHECK(commit_change(*storage, changed(), more) == errc::storage_broken);
  }
}

namespace {

// changed() by a flush that creates and drops a database too, and what a flush makes of that.
model_content renewed() {
  model_content next = changed();
  next.databases.erase("logs_2.db");
  next.databases["new.db"].write(1, 2, 3);
  return next;
}
model_content last() {
  model_content next = renewed();
  next.at.index = log_index{7};
  next.databases["new.db"].write(2, 2, 4);
  return next;
}

// What the contract of file_system lets a call tell.
bool may_want_a_descriptor(disk_call_kind kind) {
  return kind == disk_call_kind::open || kind == disk_call_kind::lock ||
         kind == disk_call_kind::make_directory || kind == disk_call_kind::remove ||
         kind == disk_call_kind::rename || kind == disk_call_kind::list;
}

// From which call on no descriptor is left, and up to which.
struct shortage {
  std::uint64_t from = 0;
  std::uint64_t until = 0;
  std::uint64_t calls = 0;
  [[nodiscard]] bool counts() noexcept {
    ++calls;
    return calls >= from && calls < until;
  }
};

// Opens a storage, makes three flushes and closes it; what no descriptor was left for, again, when
// there are some. What is wrong; empty: nothing.
template <class Storage, class End>
std::string work_through_a_shortage(Storage& storage, End end_shortage) {
  const auto make = [&](auto step, std::string_view name) -> std::string {
    const std::error_code told = step();
    if (told && told != errc::storage_full) {
      return std::string(name) + ": " + told.message();
    }
    if (told) {
      end_shortage();
    }
    const std::error_code again = told ? step() : told;
    return again ? std::string(name) + ", again: " + again.message() : "";
  };
  const auto recover = [&] {
    const auto found = storage.recover();
    return found ? std::error_code{} : found.error();
  };
  std::string wrong = make(recover, "recover()");
  model_content stands;
  for (const model_content& next : {sample_content(5, 1), renewed(), last()}) {
    const auto commit = [&] { return commit_change(storage, stands, next); };
    wrong = wrong.empty() ? make(commit, std::to_string(next.at.index.value)) : wrong;
    wrong = wrong.empty() ? difference_in_pages(storage, next) : wrong;
    stands = next;
  }
  end_shortage();
  const auto close = [&] { return storage.close(); };
  return wrong.empty() ? make(close, "close()") : wrong;
}

// The real file system, in a process that has used its descriptors up.
class starved_file_system {
 public:
  using file_type = posix_file;

  starved_file_system(const std::string& root, shortage& when) : files_(root), when_(&when) {}

  [[nodiscard]] result<file_type> open(std::string_view path, open_mode mode) noexcept {
    return starve([&] { return files_.open(path, mode); });
  }
  [[nodiscard]] std::error_code lock(std::string_view path) noexcept {
    return starve([&] { return files_.lock(path); });
  }
  [[nodiscard]] std::error_code make_directory(std::string_view path) noexcept {
    return starve([&] { return files_.make_directory(path); });
  }
  [[nodiscard]] std::error_code remove(std::string_view path) noexcept {
    return starve([&] { return files_.remove(path); });
  }
  [[nodiscard]] std::error_code rename(std::string_view from, std::string_view to) noexcept {
    return starve([&] { return files_.rename(from, to); });
  }
  [[nodiscard]] result<std::vector<std::string>> list(std::string_view path) noexcept {
    return starve([&] { return files_.list(path); });
  }
  [[nodiscard]] std::error_code sync_directory(std::string_view path) noexcept {
    return starve([&] { return files_.sync_directory(path); });
  }

 private:
  template <class Call>
  std::invoke_result_t<Call> starve(Call call) {
    if (!when_->counts()) {
      return call();
    }
    const auto none = quorlite::tests::lowered_limit::no_descriptors();
    return call();
  }

  posix_file_system files_;
  shortage* when_;
};

}  // namespace

TEST_CASE("descriptors that run out in any call leave a storage that goes on", "[file_storage]") {
  const bool twice = GENERATE(false, true);
  faulty_disk whole;
  REQUIRE(work_through_a_shortage(*mount(whole, twice), [] {}) == "");
  std::size_t failed = 0;
  for (std::uint64_t ordinal = 1; ordinal <= whole.calls(); ++ordinal) {
    if (may_want_a_descriptor(whole.call(ordinal).kind)) {
      ++failed;
      faulty_disk disk;
      disk.fail_at(ordinal, std::errc::too_many_files_open);
      INFO("call " << text_of_call(whole, ordinal));
      CHECK(work_through_a_shortage(*mount(disk, twice), [] {}) == "");
      CHECK(look(disk, last(), twice) == "");
    }
  }
  CHECK(failed > 10);
}

TEST_CASE("a process without a free descriptor has a storage that goes on when there is one",
          "[file_storage]") {
  const bool twice = GENERATE(false, true);
  const bool lasting = GENERATE(false, true);
  const auto run_in = [&](const std::string& folder, shortage& when) {
    basic_file_storage<starved_file_system> storage(starved_file_system(folder, when), {twice, 3});
    return work_through_a_shortage(storage, [&] { when.until = 0; });
  };
  const quorlite::tests::temporary_directory place;
  shortage never;
  REQUIRE(run_in(place / "whole", never) == "");
  REQUIRE(never.calls > 20);
  for (std::uint64_t from = 1; from <= never.calls; ++from) {
    INFO("call " << from);
    const std::string folder = place / std::to_string(from);
    shortage when{from, lasting ? never.calls : from + 1};
    CHECK(run_in(folder, when) == "");
    basic_file_storage<posix_file_system> storage(posix_file_system(folder), {twice, 3});
    REQUIRE(storage.recover());
    CHECK(difference_in_pages(storage, last()) == "");
  }
}

TEST_CASE(
    "a page that no descriptor was left to read is there when there is one, and never damaged",
    "[file_storage]") {
  using few_files = bounded_files<starved_file_system>;
  const quorlite::tests::temporary_directory place;
  constexpr std::uint64_t never = ~std::uint64_t{0};
  shortage when{never, never};
  basic_file_storage<few_files> storage(few_files(starved_file_system(place / "data", when), 1),
                                        {false, 3});
  REQUIRE(storage.recover());
  const model_content content = sample_content(5, 1);
  REQUIRE(!commit_change(storage, {}, content));
  std::size_t refused = 0;
  for (const auto& [name, database] : content.databases) {
    const auto handle = storage.open(name, database.page_size);
    REQUIRE(handle);
    bytes page(database.page_size);
    std::vector<std::uint64_t> hashes(1);
    when = {0, never};
    for (const std::error_code told : {storage.read(*handle, page_number{1}, page),
                                       storage.read_hashes(*handle, page_number{1}, hashes)}) {
      CHECK((!told || told == errc::storage_full));
      refused += told ? 1 : 0;
    }
    when = {never, never};
  }
  CHECK(refused > content.databases.size());  // but one file is open all the time
  CHECK(difference_in_pages(storage, content) == "");
}

TEST_CASE("a crash in opening or closing keeps every page", "[file_storage]") {
  const bool twice = GENERATE(false, true);
  const bool garbage = GENERATE(false, true);
  if (garbage && !twice) {
    return;  // the ordinary contract: sectors are old or new
  }
  const model_content content = sample_content(5, 1);
  faulty_disk made;
  {
    const auto storage = mount(made, twice);
    REQUIRE(storage->recover());
    REQUIRE(!commit_change(*storage, {}, content));
  }
  std::uint64_t calls = 0;
  {
    faulty_disk disk(made);
    mount(disk, twice)->recover().value();
    calls = disk.calls();
  }
  REQUIRE(calls > 20);
  std::string wrong;
  for (std::uint64_t ordinal = 1; ordinal <= calls && wrong.empty(); ++ordinal) {
    faulty_disk disk(made);
    disk.crash_at(ordinal);
    {
      const auto storage = mount(disk, twice);
      static_cast<void>(storage->recover());
    }
    crash_images(disk, 40,
                 [&](faulty_disk& image, const crash_fates& fates) {
                   const std::string found = look(image, content, twice);
                   if (!found.empty()) {
                     wrong = found + ", crash in call " + std::to_string(ordinal) + ": " +
                             text_of(fates);
                   }
                 },
                 {garbage, ordinal});
  }
  CHECK(wrong == "");
}

namespace {

/// Runs a history with double write, the power lost in each of its calls.
/// @param look what is wrong with the disk that is left; empty: nothing
template <class Look>
void lose_power_in_each_call(const std::vector<history_step>& steps, Look look) {
  const auto run_on = [&](faulty_disk& disk) {
    history_progress progress;
    const auto storage = mount(disk, true);
    run_history(*storage, steps, progress);
    return progress;
  };
  faulty_disk whole;
  REQUIRE(!run_on(whole).error);
  std::string wrong;
  for (std::uint64_t ordinal = 1; ordinal <= whole.calls() && wrong.empty(); ++ordinal) {
    faulty_disk disk;
    disk.crash_at(ordinal);
    const history_progress progress = run_on(disk);
    wrong = look(disk, progress, ordinal);
    wrong += wrong.empty() ? "" : ", crash in call " + text_of_call(disk, ordinal);
  }
  CHECK(wrong == "");
}

std::string what_is_wrong(faulty_disk& image, const history_progress& progress) {
  const auto storage = mount(image, true);
  const auto found = examine(*storage, progress, true);
  return found.law.empty() ? "" : found.law + ": " + found.broken;
}

}  // namespace

TEST_CASE("an opening that cannot read a file names it", "[file_storage]") {
  const bool twice = GENERATE(false, true);
  faulty_disk disk;
  {
    const auto storage = mount(disk, twice);
    REQUIRE(storage->recover());
    REQUIRE(!commit_change(*storage, {}, sample_content(5, 1)));
  }
  faulty_disk whole(disk);
  REQUIRE(mount(whole, twice)->recover());
  std::set<std::string> named;
  for (std::uint64_t ordinal = 1; ordinal <= whole.calls(); ++ordinal) {
    const auto call = whole.call(ordinal);
    if (twice && call.kind == disk_call_kind::write) {
      break;  // behind that the guards are set, by a flush of its own
    }
    constexpr disk_call_kind looks[] = {disk_call_kind::read, disk_call_kind::size,
                                        disk_call_kind::lock, disk_call_kind::make_directory,
                                        disk_call_kind::list};
    if (std::find(std::begin(looks), std::end(looks), call.kind) == std::end(looks)) {
      continue;
    }
    faulty_disk next(disk);
    next.fail_at(ordinal, std::errc::io_error);
    const auto storage = mount(next, twice);
    INFO(call.path);
    const auto found = storage->recover();
    REQUIRE_FALSE(found.has_value());
    CHECK(found.error() == errc::storage_broken);
    const std::string_view told = storage->damage();
    INFO(told);
    const std::string name(told.substr(0, told.find(": ")));
    const bool is_root = call.kind == disk_call_kind::list && !call.path.ends_with("hashes");
    CHECK((!name.empty() && (is_root ? name == "." : call.path.ends_with(name))));
    named.insert(name);
  }
  for (const char* const one : {".", ".quorlite", ".quorlite/lock", ".quorlite/hashes"}) {
    INFO(one);
    CHECK(named.count(one) == 1);
  }
  CHECK(named.count(".quorlite/superblock-0") == 1);
  CHECK((twice || named.count("app.db") == 1));
  CHECK((twice || named.count(".quorlite/hashes/app.db") == 1));
}

// What a failed sync was for can be read until the power is cut, and never reaches the disk. What
// was durable before stays, though garbage is left where the next process was writing.
TEST_CASE("a call that failed and a power cut while the next process opens lose nothing",
          "[file_storage]") {
  const bool twice = GENERATE(false, true);
  const std::vector<history_step> steps = quorlite::testing::detail::make_history();
  const auto run_on = [&](faulty_disk& disk) {
    history_progress progress;
    const auto storage = mount(disk, twice);
    run_history(*storage, steps, progress);
    return progress;
  };
  faulty_disk whole;
  REQUIRE(!run_on(whole).error);
  std::string wrong;
  std::size_t failed = 0;
  for (std::uint64_t ordinal = 1; ordinal <= whole.calls() && wrong.empty(); ++ordinal) {
    const disk_call_kind kind = whole.call(ordinal).kind;
    if (kind != disk_call_kind::write && kind != disk_call_kind::sync &&
        kind != disk_call_kind::sync_directory) {
      continue;
    }
    ++failed;
    faulty_disk disk;
    disk.fail_at(ordinal, std::errc::io_error);
    const history_progress progress = run_on(disk);
    faulty_disk opened(disk);
    static_cast<void>(mount(opened, twice)->recover());
    for (std::uint64_t cut = 1; cut <= opened.calls() && wrong.empty(); ++cut) {
      faulty_disk next(disk);
      next.crash_at(cut);
      static_cast<void>(mount(next, twice)->recover());
      crash_images(next, 4,
                   [&](faulty_disk& image, const crash_fates& fates) {
                     const auto storage = mount(image, twice);
                     const auto found = examine(*storage, progress, twice);
                     if (!found.law.empty()) {
                       wrong = found.law + ": " + found.broken + ", call " +
                               text_of_call(whole, ordinal) + " fails, crash in call " +
                               text_of_call(next, cut) + " of the opening: " + text_of(fates);
                     }
                   },
                   {twice, cut});
    }
  }
  CHECK(failed > 20);
  CHECK(wrong == "");
}

TEST_CASE("with double_write not even garbage in the sectors under way hurts", "[file_storage]") {
  lose_power_in_each_call(
      quorlite::testing::detail::make_history(),
      [](const faulty_disk& disk, const history_progress& progress, std::uint64_t ordinal) {
        std::string wrong;
        crash_images(disk, 24,
                     [&](faulty_disk& image, const crash_fates& fates) {
                       const std::string found = what_is_wrong(image, progress);
                       wrong = found.empty() ? wrong : found + ", " + text_of(fates);
                     },
                     {true, ordinal});
        return wrong;
      });
}

TEST_CASE("with double_write torn sectors of 4096 bytes hurt no page of that size",
          "[file_storage]") {
  std::vector<history_step> steps = quorlite::testing::detail::make_history();
  for (history_step& step : steps) {
    for (auto& [name, database] : step.next.databases) {
      database.page_size *= 8;  // from 512 and 1024 bytes
    }
  }
  lose_power_in_each_call(steps, [](const faulty_disk& disk, const history_progress& progress,
                                    std::uint64_t /*ordinal*/) {
    std::string wrong;
    for (const bool survive : {false, true}) {
      const crash_fates fates(disk.pending(), survive ? unit_fate::survived : unit_fate::lost);
      faulty_disk image = disk.after_crash(fates);
      tear_large_sectors(disk, image);
      const std::string found = what_is_wrong(image, progress);
      wrong = found.empty() ? wrong : found;
    }
    return wrong;
  });
}

TEST_CASE("with double_write a flush leaves sectors of 4096 bytes alone that have old pages",
          "[file_storage]") {
  faulty_disk disk;
  const auto storage = mount(disk, true);
  REQUIRE(storage->recover());
  model_content old;
  old.at = {log_index{5}, term{1}};
  old.databases["a.db"].page_size = 512;
  old.databases["a.db"].write(1, 6, 1);
  REQUIRE(!commit_change(*storage, {}, old));
  model_content next = old;
  next.at.index = log_index{6};
  next.databases["a.db"].write(7, 40, 2);
  const auto flush = fill_flush(*storage, old, next);
  REQUIRE(flush);
  const auto data = disk.open("a.db", open_mode::existing).value().node;
  std::size_t writes = 0;
  for (const pending_unit& unit : disk.pending_units()) {
    if (unit.node == data && unit.kind == unit_kind::sector) {
      ++writes;
      CHECK(unit.number * sector_bytes >= 4096);
    }
  }
  CHECK(writes > 20);  // the others are written at once: a full disk is met before the commit
}

TEST_CASE("a publish takes away the files of databases that it does not have", "[file_storage]") {
  faulty_disk disk;
  const auto storage = mount_sample(disk);
  model_content next = sample_content(9, 2);
  next.databases.erase("logs_2.db");
  auto stage = fill_stage(*storage, next);
  REQUIRE(stage);
  REQUIRE(!storage->publish(std::move(*stage), model_position(next).view()));
  const auto left = disk.files();
  const auto has = [&left](std::string_view name) {
    return std::any_of(left.begin(), left.end(),
                       [name](const std::string& path) { return path.ends_with(name); });
  };
  CHECK(has("app.db"));
  CHECK(has("hashes/app.db"));
  CHECK_FALSE(has("logs_2.db"));
}

TEST_CASE("a damaged double-write file is told, whatever is in it", "[file_storage]") {
  faulty_disk made;
  const auto first = mount(made, true);
  REQUIRE(first->recover());
  REQUIRE(!commit_change(*first, {}, sample_content(5, 1)));
  REQUIRE(!commit_change(*first, sample_content(5, 1), changed()));
  // Again, with the power gone when the record says that pages are on their way.
  std::uint64_t pending = 0;
  for (std::uint64_t ordinal = made.calls(); ordinal > 0 && pending == 0; --ordinal) {
    const auto call = made.call(ordinal);
    if (call.kind == disk_call_kind::sync && call.path.ends_with("double-write")) {
      pending = ordinal + 3;  // after the record: write, sync, the first page
    }
  }
  REQUIRE(pending > 3);
  faulty_disk disk;
  disk.crash_at(pending);
  {
    const auto storage = mount(disk, true);
    REQUIRE(storage->recover());
    REQUIRE(!commit_change(*storage, {}, sample_content(5, 1)));
    static_cast<void>(commit_change(*storage, sample_content(5, 1), changed()));
  }
  const faulty_disk left = disk.after_crash({});
  const auto size = left.content(".quorlite/double-write").size();
  REQUIRE(size > 1000);
  {
    faulty_disk image(left);
    CHECK(look(image, changed(), true) == "");
  }
  for (std::uint64_t offset = 0; offset < size; offset += offset < 200 ? 1 : 37) {
    for (const unsigned mask : {1U, 0x80U}) {
      faulty_disk image(left);
      REQUIRE(image.damage(".quorlite/double-write", offset, static_cast<std::byte>(mask)));
      const auto storage = mount(image, true);
      const auto found = storage->recover();
      INFO("byte " << offset << " of " << size << ", bits " << mask);
      REQUIRE_FALSE(found.has_value());
      REQUIRE(found.error() == errc::corrupt);
    }
  }
}

TEST_CASE("a storage may be opened with the other way to write", "[file_storage]") {
  faulty_disk disk;
  model_content content;
  for (std::uint64_t life = 1; life < 6; ++life) {
    const auto storage = mount(disk, life % 2 == 0);
    const auto found = storage->recover();
    REQUIRE(found);
    CHECK(difference_in_position(*found, content).empty());
    CHECK(difference_in_pages(*storage, content).empty());
    model_content next = sample_content(life * 5, life);
    REQUIRE(!commit_change(*storage, content, next));
    content = next;
  }
}
