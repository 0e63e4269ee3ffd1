// Both models of the file_system concept keep its promises; the disk for tests loses what it must.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/detail/file_storage/bounded_files.hpp"
#include "quorlite/detail/file_storage/posix.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "support/lowered_limit.hpp"
#include "support/temporary_directory.hpp"

namespace file_systems_test {
namespace {

using quorlite::bytes;
using quorlite::bytes_view;
using quorlite::open_mode;
using quorlite::detail::bounded_files;
using quorlite::detail::posix_file_system;
using quorlite::testing::crash_fates;
using quorlite::testing::disk_call_kind;
using quorlite::testing::fault_duration;
using quorlite::testing::faulty_disk;
using quorlite::testing::faulty_file_system;
using quorlite::testing::unit_fate;
using quorlite::tests::temporary_directory;

bytes bytes_of(std::string_view text) {
  bytes data;
  for (const char letter : text) {
    data.push_back(static_cast<std::byte>(letter));
  }
  return data;
}

template <class File>
std::error_code write_text(File&& file, std::uint64_t offset, std::string_view text) {
  const bytes data = bytes_of(text);
  const bytes_view part = data;
  return file.write(offset, {&part, 1});
}

template <class File>
std::string read_text(const File& file, std::uint64_t offset, std::size_t count) {
  bytes into(count);
  const auto done = file.read(offset, into);
  std::string text;
  for (std::size_t i = 0; done && i < *done; ++i) {
    text += static_cast<char>(into[i]);
  }
  return done ? text : "error: " + done.error().message();
}

/// What is in a file, or "-" if there is none.
template <class Files>
std::string whole(Files&& files, std::string_view path) {
  const auto file = files.open(path, open_mode::existing);
  const auto size = file ? file->size() : quorlite::result<std::uint64_t>(0);
  return file && size ? read_text(*file, 0, static_cast<std::size_t>(*size)) : "-";
}

/// A place that several "processes" open one after another, or at a time.
struct posix_place {
  temporary_directory directory;
  posix_file_system open() const { return posix_file_system(directory / "root"); }
};
/// One of its files at most is open.
struct bounded_place {
  temporary_directory directory;
  bounded_files<posix_file_system> open() const {
    return {posix_file_system(directory / "root"), 1};
  }
};
struct faulty_place {
  mutable faulty_disk disk;
  faulty_file_system open() const { return faulty_file_system(disk); }
};

template <class Place>
void check_files(const Place& place) {
  auto files = place.open();
  CHECK(files.open("a", open_mode::existing).error() == std::errc::no_such_file_or_directory);
  auto file = files.open("a", open_mode::or_create);
  REQUIRE(file);
  CHECK(*file->size() == 0);
  CHECK(read_text(*file, 0, 10).empty());

  const bytes first = bytes_of("hello ");
  const bytes second = bytes_of("world");
  const std::vector<bytes_view> parts{first, {}, second, {}};
  CHECK(!file->write(3, parts));
  CHECK(*file->size() == 14);
  CHECK(read_text(*file, 0, 100) == std::string("\0\0\0hello world", 14));
  CHECK(read_text(*file, 12, 2) == "ld");
  CHECK(read_text(*file, 14, 2).empty());
  CHECK(read_text(*file, 9999, 2).empty());
  CHECK(!file->write(100, {}));
  CHECK(*file->size() == 14);

  CHECK(!file->resize(8));
  CHECK(!file->resize(12));
  CHECK(read_text(*file, 3, 100) == std::string("hello\0\0\0\0", 9));
  CHECK(!file->sync());

  CHECK(whole(files, "a").size() == 12);
  CHECK(files.open("a", open_mode::or_create)->size().value() == 12);
  CHECK(files.open("a", open_mode::truncated)->size().value() == 0);
  CHECK(*file->size() == 0);
  CHECK(whole(files, "a").empty());
}

template <class Place>
void check_large_transfers(const Place& place) {
  auto files = place.open();
  auto file = files.open("large", open_mode::or_create);
  REQUIRE(file);
  std::string expected;
  std::vector<bytes> pieces;
  for (std::size_t i = 0; i < 3000; ++i) {  // more than any system takes in one call
    const std::string piece(i % 7, static_cast<char>('a' + i % 26));
    expected += piece;
    pieces.push_back(bytes_of(piece));
  }
  const std::vector<bytes_view> parts(pieces.begin(), pieces.end());
  CHECK(!file->write(511, parts));
  CHECK(*file->size() == 511 + expected.size());
  CHECK(read_text(*file, 511, expected.size()) == expected);
  const std::uint64_t far = std::uint64_t{5} << 30U;  // a hole below
  CHECK(!write_text(*file, far, "far"));
  CHECK(*file->size() == far + 3);
  CHECK(read_text(*file, far - 1, 9) == std::string("\0far", 4));
}

template <class Place>
void check_directories(const Place& place) {
  auto files = place.open();
  CHECK(files.list("")->empty());
  CHECK(files.open("d/a", open_mode::or_create).error() == std::errc::no_such_file_or_directory);
  CHECK(!files.make_directory("d"));
  CHECK(!files.make_directory("d"));
  CHECK(!files.make_directory("d/e"));
  CHECK(files.make_directory("x/y") == std::errc::no_such_file_or_directory);
  for (const char* path : {"d/b", "d/a", "d/e/z", "c"}) {
    REQUIRE(files.open(path, open_mode::or_create));
  }
  CHECK(files.make_directory("c") == std::errc::file_exists);
  CHECK(*files.list("") == std::vector<std::string>{"c", "d"});
  CHECK(*files.list("d") == std::vector<std::string>{"a", "b", "e"});
  CHECK(files.list("c").error() == std::errc::not_a_directory);
  CHECK(files.list("no").error() == std::errc::no_such_file_or_directory);
  CHECK(files.open("d", open_mode::or_create).error() == std::errc::is_a_directory);
  CHECK(files.open("c/a", open_mode::or_create).error() == std::errc::not_a_directory);
  for (const char* path : {"", "d", "d/e"}) {
    CHECK(!files.sync_directory(path));
  }
  CHECK(files.sync_directory("c") == std::errc::not_a_directory);

  CHECK(files.remove("d/e") == std::errc::directory_not_empty);
  CHECK(!files.remove("d/e/z"));
  CHECK(!files.remove("d/e"));
  CHECK(!files.remove("d/e"));
  CHECK(!files.remove("d/e/z"));
  CHECK(!files.remove("never"));
  CHECK(*files.list("d") == std::vector<std::string>{"a", "b"});
}

template <class Place>
void check_renames(const Place& place) {
  auto files = place.open();
  REQUIRE(!files.make_directory("d"));
  auto first = files.open("one", open_mode::or_create);
  auto second = files.open("d/two", open_mode::or_create);
  REQUIRE((first && second));
  CHECK(!write_text(*first, 0, "1"));
  CHECK(!write_text(*second, 0, "22"));
  CHECK(files.rename("none", "x") == std::errc::no_such_file_or_directory);
  CHECK(files.rename("one", "d") == std::errc::is_a_directory);
  CHECK(files.rename("d", "d/inside") == std::errc::invalid_argument);
  CHECK(!files.rename("one", "one"));
  CHECK(!files.rename("one", "d/two"));
  CHECK(whole(files, "d/two") == "1");
  CHECK(whole(files, "one") == "-");
  CHECK(read_text(*second, 0, 9) == "22");  // the old file lives on without a name
  CHECK(!write_text(*second, 1, "33"));
  CHECK(read_text(*second, 0, 9) == "233");
  CHECK(!files.rename("d", "e"));
  CHECK(whole(files, "e/two") == "1");
  CHECK(!files.remove("e/two"));
  CHECK(read_text(*first, 0, 9) == "1");
}

template <class Place>
void check_paths_are_refused(const Place& place) {
  auto files = place.open();
  REQUIRE(!files.make_directory("d"));
  const std::string_view hostile[] = {
      "/etc/passwd", "..",   "../x", "d/../../x", ".",
      "d/./x",       "d//x", "d/",   "/",         std::string_view("a\0b", 3)};
  for (const std::string_view path : hostile) {
    INFO(path);
    CHECK(files.open(path, open_mode::or_create).error() == std::errc::invalid_argument);
    CHECK(files.lock(path) == std::errc::invalid_argument);
    CHECK(files.make_directory(path) == std::errc::invalid_argument);
    CHECK(files.remove(path) == std::errc::invalid_argument);
    CHECK(files.rename(path, "y") == std::errc::invalid_argument);
    CHECK(files.list(path).error() == std::errc::invalid_argument);
    CHECK(files.sync_directory(path) == std::errc::invalid_argument);
  }
  CHECK(files.open("", open_mode::or_create).error() == std::errc::invalid_argument);
  CHECK(files.remove("") == std::errc::invalid_argument);
  CHECK(!files.make_directory(""));
}

template <class Place>
void check_locks(const Place& place) {
  auto first = std::make_unique<decltype(place.open())>(place.open());
  auto second = place.open();
  CHECK(!first->lock("LOCK"));
  CHECK(second.lock("LOCK") == std::errc::device_or_resource_busy);
  CHECK(!second.lock("other"));
  auto moved = std::make_unique<decltype(place.open())>(std::move(*first));
  first.reset();
  CHECK(second.lock("LOCK") == std::errc::device_or_resource_busy);
  moved.reset();
  CHECK(!second.lock("LOCK"));
}

template <class Place>
void check_file_system() {
  SECTION("files read, write, grow and shrink") { check_files(Place{}); }
  SECTION("transfers are not cut short, and holes read as zeros") {
    check_large_transfers(Place{});
  }
  SECTION("directories are made, listed in order and removed") { check_directories(Place{}); }
  SECTION("rename replaces, and open files go on without a name") { check_renames(Place{}); }
  SECTION("paths that could leave the root are refused") { check_paths_are_refused(Place{}); }
  SECTION("a lock is exclusive until its object goes") { check_locks(Place{}); }
}

/// A file "f" with 4 sectors of 'a' that no crash can touch.
void prepare(faulty_disk& disk) {
  faulty_file_system files(disk);
  auto file = files.open("f", open_mode::or_create);
  REQUIRE(file);
  REQUIRE(!write_text(*file, 0, std::string(2048, 'a')));
  REQUIRE(!file->sync());
  REQUIRE(!files.sync_directory(""));
  REQUIRE(disk.pending() == 0);
}

/// One letter a sector: the sector's letter, or '!' if it is mixed.
std::string letters(faulty_disk& disk, std::string_view path) {
  const std::string text = whole(faulty_file_system(disk), path);
  std::string found;
  for (std::size_t at = 0; at < text.size(); at += 512) {
    const std::string sector = text.substr(at, 512);
    found += sector == std::string(sector.size(), sector[0]) ? sector[0] : '!';
  }
  return found;
}

std::string letters_after(const faulty_disk& disk, std::uint64_t survivors,
                          std::string_view path = "f") {
  faulty_disk image = disk.after_crash(survivors);
  return letters(image, path);
}

}  // namespace

TEST_CASE("posix_file_system keeps the promises of the concept", "[files]") {
  check_file_system<posix_place>();
}

TEST_CASE("faulty_file_system keeps the promises of the concept", "[files]") {
  check_file_system<faulty_place>();
}

TEST_CASE("bounded_files keeps the promises of the concept", "[files]") {
  check_file_system<bounded_place>();
}

TEST_CASE("no more files are open than the bound says, and all can be used", "[files]") {
  const temporary_directory directory;
  bounded_files<posix_file_system> files(posix_file_system(directory / "root"), 3);
  std::vector<decltype(files)::file_type> opened;
  for (int i = 0; i < 20; ++i) {
    opened.push_back(std::move(*files.open("f" + std::to_string(i), open_mode::or_create)));
    CHECK(!write_text(opened.back(), 0, std::to_string(i)));
    CHECK(files.open_count() <= 3);
  }
  for (int i = 0; i < 20; ++i) {
    CHECK(read_text(opened[static_cast<std::size_t>(i)], 0, 9) == std::to_string(i));
    CHECK(files.open_count() == 3);
  }
  REQUIRE(!files.rename("f0", "g"));  // by which it is found from now on
  for (int i = 1; i < 20; ++i) {
    static_cast<void>(read_text(opened[static_cast<std::size_t>(i)], 0, 9));
  }
  CHECK(read_text(opened[0], 0, 9) == "0");
  REQUIRE(!files.remove("f1"));  // who has it, keeps it
  REQUIRE(files.open("f1", open_mode::or_create));
  CHECK(read_text(opened[1], 0, 9) == "1");
  // It needs no other descriptor than that of the one that it closes.
  const quorlite::tests::lowered_limit few = quorlite::tests::lowered_limit::no_descriptors();
  CHECK(read_text(opened[2], 0, 9) == "2");
}

TEST_CASE("a file gives its descriptor to another one where the process has no more", "[files]") {
  const temporary_directory directory;
  bounded_files<posix_file_system> files(posix_file_system(directory / "root"), 1000);
  std::vector<decltype(files)::file_type> opened;
  const quorlite::tests::lowered_limit few = quorlite::tests::lowered_limit::descriptors(8);
  for (int i = 0; i < 20; ++i) {
    auto one = files.open("f" + std::to_string(i), open_mode::or_create);
    REQUIRE(one);
    opened.push_back(std::move(*one));
  }
  CHECK(files.open_count() <= 8);
  for (int i = 0; i < 20; ++i) {
    CHECK(!write_text(opened[static_cast<std::size_t>(i)], 0, std::to_string(i)));
    CHECK(read_text(opened[static_cast<std::size_t>(i)], 0, 9) == std::to_string(i));
  }
}

TEST_CASE("a file that cannot be opened again for want of a descriptor was not removed",
          "[files]") {
  const temporary_directory directory;
  bounded_files<posix_file_system> files(posix_file_system(directory / "root"), 1);
  const auto file = files.open("f", open_mode::or_create);
  REQUIRE(file);
  REQUIRE(files.open("other", open_mode::or_create));  // for which the first one was closed
  REQUIRE(files.open_count() == 0);
  {
    const quorlite::tests::lowered_limit few = quorlite::tests::lowered_limit::no_descriptors();
    CHECK_FALSE(file->is_removed());
  }
  std::filesystem::remove(directory / "root/f");
  CHECK(file->is_removed());
}

TEST_CASE("what is closed for another is synced first, and a sync that fails is told", "[files]") {
  const bool fails = GENERATE(false, true);
  faulty_disk disk;
  prepare(disk);
  bounded_files<faulty_file_system> files(faulty_file_system(disk), 1);
  auto file = files.open("f", open_mode::existing);
  REQUIRE(!write_text(*file, 0, std::string(512, 'b')));
  if (fails) {
    disk.fail_at(disk.calls() + 1, std::errc::io_error);
  }
  REQUIRE(files.open("other", open_mode::or_create));
  CHECK(disk.call(disk.calls() - 1).kind == disk_call_kind::sync);
  CHECK(letters_after(disk, 0) == (fails ? "aaaa" : "baaa"));
  const std::uint64_t calls = disk.calls();
  if (fails) {
    CHECK(file->sync() == std::errc::io_error);
    CHECK(disk.calls() == calls);
  } else {
    CHECK(!file->sync());
    CHECK(disk.calls() == calls);  // there is nothing to do
    REQUIRE(!write_text(*file, 0, std::string(512, 'c')));
    CHECK(!file->sync());
    CHECK(letters_after(disk, 0) == "caaa");
  }
}

TEST_CASE("a file that was synced needs no descriptor to be synced again", "[files]") {
  const temporary_directory directory;
  bounded_files<posix_file_system> files(posix_file_system(directory / "root"), 1);
  auto file = files.open("f", open_mode::or_create);
  REQUIRE(!write_text(*file, 0, "1"));
  REQUIRE(!file->sync());
  REQUIRE(files.open("other", open_mode::or_create));  // for which the first one was closed
  {
    const quorlite::tests::lowered_limit few = quorlite::tests::lowered_limit::no_descriptors();
    CHECK(!file->sync());
    CHECK(write_text(*file, 0, "2") == std::errc::too_many_files_open);
  }
  REQUIRE(!write_text(*file, 0, "2"));
  CHECK(!file->sync());
}

TEST_CASE("a root that cannot be opened fails every call", "[files]") {
  const temporary_directory scratch;
  posix_file_system files(scratch / "missing/root");
  CHECK(files.status() == std::errc::no_such_file_or_directory);
  CHECK(files.open("a", open_mode::or_create).error() == files.status());
  CHECK(files.lock("a") == files.status());
  CHECK(files.make_directory("a") == files.status());
  CHECK(files.make_directory("") == files.status());
  CHECK(files.rename("a", "b") == files.status());
  CHECK(files.list("").error() == files.status());
  CHECK(files.sync_directory("") == files.status());
  REQUIRE(posix_file_system(scratch / "root").open("file", open_mode::or_create));
  CHECK(posix_file_system(scratch / "root/file").status() == std::errc::not_a_directory);
}

TEST_CASE("no symbolic link below the root is followed", "[files]") {
  const temporary_directory scratch;
  posix_file_system files(scratch / "root");
  REQUIRE(!files.status());
  posix_file_system outside(scratch / "outside");
  auto secret = outside.open("secret", open_mode::or_create);
  REQUIRE((secret && !write_text(*secret, 0, "secret")));
  REQUIRE(::symlink("../outside", (scratch / "root/dir").c_str()) == 0);
  REQUIRE(::symlink("../outside/secret", (scratch / "root/file").c_str()) == 0);
  REQUIRE(::symlink("../outside/new", (scratch / "root/dangling").c_str()) == 0);

  for (const auto mode : {open_mode::existing, open_mode::or_create, open_mode::truncated}) {
    for (const char* path : {"file", "dangling", "dir", "dir/secret"}) {
      INFO(path);
      CHECK(!files.open(path, mode));
    }
  }
  CHECK(files.lock("file"));
  CHECK(files.lock("dangling"));
  CHECK(files.make_directory("dir"));
  CHECK(files.make_directory("dir/sub"));
  CHECK(!files.list("dir"));
  CHECK(files.sync_directory("dir"));
  CHECK(files.remove("dir/secret"));
  CHECK(files.rename("dir/secret", "stolen"));
  CHECK(*outside.list("") == std::vector<std::string>{"secret"});
  CHECK(whole(outside, "secret") == "secret");
  CHECK(!files.remove("file"));  // the link itself, not what it points to
  CHECK(!files.remove("dir"));
  CHECK(whole(outside, "secret") == "secret");

  REQUIRE(::symlink("root", (scratch / "alias").c_str()) == 0);
  CHECK(!posix_file_system(scratch / "alias").status());  // the root itself may be one
}

TEST_CASE("what is not a regular file is refused without waiting for anybody", "[files]") {
  const temporary_directory scratch;
  posix_file_system files(scratch / "root");
  REQUIRE(::mkfifo((scratch / "root/pipe").c_str(), 0600) == 0);
  CHECK(files.open("pipe", open_mode::existing).error() == std::errc::invalid_argument);
  CHECK(files.open(std::string(256, 'x'), open_mode::or_create).error() ==
        std::errc::filename_too_long);
  auto file = files.open("file", open_mode::or_create);
  REQUIRE(file);
  CHECK(file->resize(~std::uint64_t{0}) == std::errc::file_too_large);
  CHECK(write_text(*file, ~std::uint64_t{0}, "x") == std::errc::file_too_large);
  bytes one(1);
  CHECK(!file->read(~std::uint64_t{0}, one));
}

TEST_CASE("another process cannot take a lock that is held", "[files]") {
  const temporary_directory scratch;
  const auto ask_in_a_child = [&] {
    const ::pid_t child = ::fork();
    if (child == 0) {
      posix_file_system files(scratch / "root");
      const std::error_code error = files.lock("LOCK");
      ::_exit(!error ? 1 : error == std::errc::device_or_resource_busy ? 2 : 3);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  {
    posix_file_system files(scratch / "root");
    REQUIRE(!files.lock("LOCK"));
    CHECK(ask_in_a_child() == 2);
  }
  CHECK(ask_in_a_child() == 1);
  CHECK(ask_in_a_child() == 1);  // the child's lock went with the child
}

TEST_CASE("unsynced sectors survive a crash one by one", "[files][crash]") {
  faulty_disk disk;
  prepare(disk);
  faulty_file_system files(disk);
  auto file = files.open("f", open_mode::existing);
  REQUIRE(file);
  REQUIRE(!write_text(*file, 512, std::string(1024, 'b')));
  REQUIRE(disk.pending() == 2);
  CHECK(letters_after(disk, 0b00) == "aaaa");
  CHECK(letters_after(disk, 0b01) == "abaa");
  CHECK(letters_after(disk, 0b10) == "aaba");
  CHECK(letters_after(disk, 0b11) == "abba");
  REQUIRE(!write_text(*file, 1024, std::string(512, 'c')));
  CHECK(letters_after(disk, 0b110) == "aaca");  // the later one wins
  CHECK(letters_after(disk, 0b010) == "aaba");
  CHECK(letters(disk, "f") == "abca");
  REQUIRE(!file->sync());
  CHECK(disk.pending() == 0);
  CHECK(letters_after(disk, 0) == "abca");
}

TEST_CASE("a sector goes to the disk whole, with earlier writes in it", "[files][crash]") {
  faulty_disk disk;
  prepare(disk);
  auto file = faulty_file_system(disk).open("f", open_mode::existing);
  REQUIRE(!write_text(*file, 0, std::string(256, 'b')));
  REQUIRE(!write_text(*file, 256, std::string(256, 'b')));
  CHECK(letters_after(disk, 0b01) == "!aaa");
  CHECK(letters_after(disk, 0b10) == "baaa");
}

TEST_CASE("sizes survive a crash apart from bytes", "[files][crash]") {
  faulty_disk disk;
  prepare(disk);
  auto file = faulty_file_system(disk).open("f", open_mode::existing);
  SECTION("growing leaves zeros") {
    REQUIRE(!file->resize(2560));
    REQUIRE(!write_text(*file, 2560, std::string(512, 'b')));
    REQUIRE(disk.pending() == 2);
    CHECK(letters_after(disk, 0b01) == std::string("aaaa\0", 5));
    CHECK(letters_after(disk, 0b10) == std::string("aaaa\0b", 6));
    CHECK(letters_after(disk, 0b00) == "aaaa");
  }
  SECTION("cutting may come alone, or not at all") {
    REQUIRE(!file->resize(512));
    REQUIRE(!write_text(*file, 512, std::string(512, 'b')));
    CHECK(letters_after(disk, 0b01) == "a");
    CHECK(letters_after(disk, 0b10) == "abaa");
    CHECK(letters_after(disk, 0b11) == "ab");
  }
  SECTION("opening truncated is such a cut") {
    REQUIRE(faulty_file_system(disk).open("f", open_mode::truncated));
    CHECK(disk.pending() == 1);
    CHECK(letters_after(disk, 0) == "aaaa");
    CHECK(letters_after(disk, 1).empty());
  }
  SECTION("the last sector may be short") {
    REQUIRE(!write_text(*file, 2048, "xyz"));
    CHECK(disk.after_crash(1).content("f").size() == 2051);
  }
}

TEST_CASE("a name is durable when its directory was synced", "[files][crash]") {
  faulty_disk disk;
  prepare(disk);
  faulty_file_system files(disk);
  auto made = files.open("new", open_mode::or_create);
  REQUIRE((made && !write_text(*made, 0, "n") && !made->sync()));
  CHECK(disk.pending() == 1);  // the sync of a file does not save its name
  CHECK(disk.after_crash(0).files() == std::vector<std::string>{"f"});
  CHECK(disk.after_crash(1).files() == std::vector<std::string>{"f", "new"});
  CHECK(letters_after(disk, 1, "new") == "n");
  REQUIRE(!files.sync_directory(""));
  CHECK(disk.pending() == 0);

  SECTION("nor does the sync of a directory save the bytes") {
    REQUIRE((files.open("later", open_mode::or_create) && !files.sync_directory("")));
    REQUIRE(!write_text(*files.open("later", open_mode::existing), 0, "x"));
    CHECK(disk.after_crash(0).content("later").size() == 0);
    CHECK(disk.after_crash(0).files() == std::vector<std::string>{"f", "later", "new"});
  }
  SECTION("a rename happens or not, in one step") {
    REQUIRE(!files.rename("new", "f"));
    CHECK(disk.pending() == 1);
    CHECK(letters_after(disk, 0) == "aaaa");
    CHECK(letters_after(disk, 0, "new") == "n");
    CHECK(letters_after(disk, 1) == "n");
    CHECK(disk.after_crash(1).files() == std::vector<std::string>{"f"});
  }
  SECTION("a rename of unsynced bytes may leave an empty file") {
    auto fresh = files.open("fresh", open_mode::or_create);
    REQUIRE((fresh && !write_text(*fresh, 0, "x") && !files.rename("fresh", "f")));
    CHECK(disk.pending() == 3);
    CHECK(letters_after(disk, 0b100).empty());
    CHECK(letters_after(disk, 0b110) == "x");
    CHECK(letters_after(disk, 0b011) == "aaaa");
  }
  SECTION("a removal can be undone") {
    REQUIRE(!files.remove("f"));
    CHECK(letters_after(disk, 0) == "aaaa");
    CHECK(letters_after(disk, 1) == "-");
    REQUIRE(!files.sync_directory(""));
    CHECK(disk.after_crash(0).files() == std::vector<std::string>{"new"});
  }
  SECTION("each directory saves its own names") {
    REQUIRE((!files.make_directory("d") && files.open("d/x", open_mode::or_create)));
    REQUIRE(!files.sync_directory("d"));
    CHECK(disk.after_crash(0).files() == std::vector<std::string>{"f", "new"});
    REQUIRE(!files.sync_directory(""));
    CHECK(disk.after_crash(0).files() == std::vector<std::string>{"d/x", "f", "new"});
  }
  SECTION("between two directories a file may have both names, or none") {
    REQUIRE((!files.make_directory("d") && !files.sync_directory("")));
    REQUIRE(!files.rename("new", "d/new"));
    CHECK(disk.pending() == 2);
    CHECK(disk.after_crash(0b01).files() == std::vector<std::string>{"d/new", "f", "new"});
    CHECK(disk.after_crash(0b10).files() == std::vector<std::string>{"f"});
  }
  SECTION("what no crash can give a name is not pending") {
    auto gone = files.open("gone", open_mode::or_create);
    REQUIRE((gone && !write_text(*gone, 0, "x") && !files.remove("gone")));
    CHECK(disk.pending() == 3);
    REQUIRE(!files.sync_directory(""));
    CHECK(disk.pending() == 0);
  }
}

TEST_CASE("after a failed sync the bytes are gone, whatever the next sync says", "[files][crash]") {
  faulty_disk disk;
  prepare(disk);
  faulty_file_system files(disk);
  auto file = files.open("f", open_mode::existing);
  REQUIRE(!write_text(*file, 0, std::string(512, 'b')));
  disk.fail_at(disk.calls() + 1, std::errc::io_error);
  CHECK(file->sync() == std::errc::io_error);
  CHECK(letters(disk, "f") == "baaa");
  CHECK(!file->sync());
  CHECK(disk.pending() == 0);
  CHECK(letters_after(disk, 0) == "aaaa");
  REQUIRE(!write_text(*file, 0, std::string(512, 'c')));  // written again, it gets there
  CHECK(!file->sync());
  CHECK(letters_after(disk, 0) == "caaa");
}

TEST_CASE("the disk fails the call that a test names", "[files][faults]") {
  faulty_disk disk;
  prepare(disk);
  faulty_file_system files(disk);
  auto file = files.open("f", open_mode::existing);
  REQUIRE(file);
  const std::uint64_t before = disk.calls();
  CHECK(disk.call(before).kind == disk_call_kind::open);
  CHECK(disk.call(before).path == "f");
  CHECK(quorlite::testing::detail::name_of(disk_call_kind::sync_directory) == "sync_directory");

  SECTION("once") {
    disk.fail_at(before + 2, std::errc::io_error);
    CHECK(!write_text(*file, 0, "x"));
    CHECK(write_text(*file, 0, "y") == std::errc::io_error);
    CHECK(read_text(*file, 0, 1) == "x");
    CHECK(!write_text(*file, 0, "z"));
  }
  SECTION("until it heals") {
    disk.fail_at(before + 1, std::errc::io_error, fault_duration::persistent);
    CHECK(write_text(*file, 0, "x") == std::errc::io_error);
    CHECK(file->size().error() == std::errc::io_error);
    CHECK(files.list("").error() == std::errc::io_error);
    CHECK(files.lock("l") == std::errc::io_error);
    disk.heal();
    CHECK(read_text(*file, 0, 1) == "a");
  }
  SECTION("when it needs room") {
    disk.full_from(before + 1);
    CHECK(write_text(*file, 0, "x") == std::errc::no_space_on_device);
    CHECK(file->resize(9999) == std::errc::no_space_on_device);
    CHECK(files.open("n", open_mode::or_create).error() == std::errc::no_space_on_device);
    CHECK(files.make_directory("d") == std::errc::no_space_on_device);
    CHECK(files.open("f", open_mode::or_create));
    CHECK(!file->resize(1024));
    CHECK(!file->sync());
    CHECK(read_text(*file, 0, 1) == "a");
    CHECK(!files.remove("f"));
    disk.heal();
    CHECK(!write_text(*file, 0, "x"));
  }
  SECTION("when it needs more room than is left") {
    disk.full_from(before + 1, 512);
    const bytes b(512, std::byte{'b'});
    const std::vector<bytes_view> one{b};
    const std::vector<bytes_view> two{b, b};
    CHECK(file->write(0, two) == std::errc::no_space_on_device);
    CHECK(letters(disk, "f") == "aaaa");
    CHECK(!file->write(0, one));
    CHECK(!file->write(512, one));
    CHECK(letters(disk, "f") == "bbaa");
    CHECK(files.open("n", open_mode::or_create));
    CHECK(!file->resize(9999));  // a hole takes none
    disk.heal();
    CHECK(!file->write(0, two));
  }
  SECTION("in the middle of a write") {
    disk.short_write_at(before + 1);
    const bytes b(512, std::byte{'b'});
    const std::vector<bytes_view> parts{b, b, b, b};
    CHECK(file->write(0, parts) == std::errc::no_space_on_device);
    CHECK(letters(disk, "f") == "bbaa");
    CHECK(!file->write(0, parts));
  }
  SECTION("by a wrong byte, for that read only") {
    disk.rot_read_at(before + 1);
    CHECK(read_text(*file, 0, 512) != std::string(512, 'a'));
    CHECK(read_text(*file, 0, 512) == std::string(512, 'a'));
  }
}

TEST_CASE("damage at rest stays", "[files][faults]") {
  faulty_disk disk;
  prepare(disk);
  CHECK(disk.damage("f", 600));
  CHECK(!disk.damage("f", 2048));
  CHECK(!disk.damage("g", 0));
  CHECK(letters(disk, "f") == "a!aa");
  CHECK(letters_after(disk, 0) == "a!aa");
  CHECK(disk.damage("f", 600));
  CHECK(letters(disk, "f") == "aaaa");
}

TEST_CASE("a crash ends all calls, and its last write may have happened", "[files][crash]") {
  faulty_disk disk;
  prepare(disk);
  faulty_file_system files(disk);
  auto file = files.open("f", open_mode::existing);
  disk.crash_at(disk.calls() + 2);
  REQUIRE(!write_text(*file, 0, std::string(512, 'b')));
  CHECK(!disk.crashed());
  SECTION("in a write") {
    CHECK(write_text(*file, 512, std::string(512, 'c')) == std::errc::io_error);
    CHECK(disk.pending() == 2);
    CHECK(letters_after(disk, 0b11) == "bcaa");
  }
  SECTION("in a sync") {
    CHECK(file->sync() == std::errc::io_error);
    CHECK(disk.pending() == 1);
    CHECK(letters_after(disk, 0) == "aaaa");
    CHECK(letters_after(disk, 1) == "baaa");
  }
  SECTION("in the making of a file") {
    CHECK(files.open("n", open_mode::or_create).error() == std::errc::io_error);
    CHECK(disk.after_crash(0b10).files() == std::vector<std::string>{"f", "n"});
  }
  CHECK(disk.crashed());
  const std::size_t pending = disk.pending();
  CHECK(write_text(*file, 0, "x") == std::errc::io_error);
  CHECK(files.open("m", open_mode::or_create).error() == std::errc::io_error);
  CHECK(file->read(0, {}).error() == std::errc::io_error);
  CHECK(disk.pending() == pending);
  CHECK(!disk.after_crash(0).crashed());

  faulty_disk killed(disk);  // the process died, the power stayed on
  CHECK(!killed.crashed());
  CHECK(killed.pending() == pending);
  CHECK(letters(killed, "f").front() == 'b');
  CHECK(letters_after(killed, 0) == "aaaa");
}

TEST_CASE("sectors in flight may hold garbage", "[files][crash]") {
  faulty_disk disk;
  prepare(disk);
  auto file = faulty_file_system(disk).open("f", open_mode::existing);
  REQUIRE(!write_text(*file, 0, std::string(1024, 'b')));
  REQUIRE(!file->resize(1024));
  const crash_fates fates{unit_fate::survived, unit_fate::garbage, unit_fate::garbage};
  faulty_disk image = disk.after_crash(fates, 7);
  CHECK(letters(image, "f") == "b!aa");
  faulty_disk again = disk.after_crash(fates, 7);
  CHECK(whole(faulty_file_system(again), "f") == whole(faulty_file_system(image), "f"));
}

TEST_CASE("crash images are all there are, or a fair choice", "[files][crash]") {
  using quorlite::testing::choose_crash_fates;
  CHECK(choose_crash_fates(0, 256) == std::vector<crash_fates>{crash_fates{}});
  CHECK(choose_crash_fates(3, 256).size() == 8);
  CHECK(choose_crash_fates(8, 256).size() == 256);
  CHECK(choose_crash_fates(3, 256, {.garbage = true}).size() == 27);
  for (const std::size_t pending : {9U, 40U, 64U, 300U}) {
    for (const bool garbage : {false, true}) {
      const auto chosen = choose_crash_fates(pending, 256, {.garbage = garbage});
      const std::set<crash_fates> different(chosen.begin(), chosen.end());
      CHECK(chosen.size() == 256);
      CHECK(different.size() == 256);
      CHECK(different.count(crash_fates(pending, unit_fate::lost)) == 1);
      CHECK(different.count(crash_fates(pending, unit_fate::survived)) == 1);
      CHECK(chosen == choose_crash_fates(pending, 256, {.garbage = garbage}));
      std::size_t prefixes = 0;
      for (std::size_t count = 1; count < pending; ++count) {
        crash_fates prefix(pending, unit_fate::lost);
        std::fill_n(prefix.begin(), count, unit_fate::survived);
        prefixes += different.count(prefix);
      }
      CHECK(prefixes >= (pending <= 256 ? pending - 1 : 64));
    }
  }
  CHECK(choose_crash_fates(100, 256) != choose_crash_fates(100, 256, {.seed = 2}));
  CHECK(choose_crash_fates(100, 1).size() == 1);
  CHECK(quorlite::testing::detail::text_of(
            {unit_fate::lost, unit_fate::survived, unit_fate::garbage}) == "-x?");

  faulty_disk disk;
  prepare(disk);
  auto file = faulty_file_system(disk).open("f", open_mode::existing);
  REQUIRE(!write_text(*file, 0, std::string(2048, 'b')));
  std::set<std::string> seen;
  CHECK(quorlite::testing::crash_images(disk, 256, [&](faulty_disk& image, const crash_fates&) {
          seen.insert(letters(image, "f"));
        }) == 16);
  CHECK(seen.size() == 16);
  CHECK(disk.pending() == 4);
}

}  // namespace file_systems_test
