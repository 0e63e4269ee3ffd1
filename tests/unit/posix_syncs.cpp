// What posix_file_system asks the system for when it is to make something durable, and an export.
// The calls are this program's own, which counts them and hands them on.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <vector>

#include <sqlite3.h>

#include "catch2_shim.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/detail/file_storage/posix.hpp"
#include "quorlite/transfer.hpp"
#include "support/lowered_limit.hpp"
#include "support/temporary_directory.hpp"

namespace {

/// What a call was for, and what it is to answer.
struct syncs {
  std::vector<::ino_t> files;
  std::vector<::ino_t> directories;
  std::vector<int> answers;  ///< errno values for the next calls, the last one first
  std::string name{};        ///< of a file
  ::ino_t named = 0;         ///< what had that name when a directory was synced last
};
syncs seen;

::ino_t number_of(int opened) {
  struct ::stat about {};
  return ::fstat(opened, &about) == 0 ? about.st_ino : 0;
}
::ino_t number_of(const std::string& path) {
  struct ::stat about {};
  return ::stat(path.c_str(), &about) == 0 ? about.st_ino : 0;
}

int answer(long call, int opened, std::vector<::ino_t>& into) {
  into.push_back(number_of(opened));
  if (!seen.answers.empty()) {
    errno = seen.answers.back();
    seen.answers.pop_back();
    return -1;
  }
  return static_cast<int>(::syscall(call, opened));
}

}  // namespace

extern "C" int fdatasync(int opened) { return answer(SYS_fdatasync, opened, seen.files); }
extern "C" int fsync(int opened) {
  seen.named = number_of(seen.name);
  return answer(SYS_fsync, opened, seen.directories);
}

namespace {

using quorlite::open_mode;
using quorlite::detail::posix_file_system;
using quorlite::tests::temporary_directory;

}  // namespace

TEST_CASE("a sync of a file reaches the system, and tells what the system says", "[files]") {
  const temporary_directory place;
  posix_file_system files(place / "root");
  auto file = files.open("a", open_mode::or_create);
  REQUIRE(file);
  seen = {};
  CHECK_FALSE(file->sync());
  CHECK(seen.files == std::vector{number_of(place / "root/a")});

  seen = {.files = {}, .directories = {}, .answers = {EIO}};
  CHECK(file->sync() == std::errc::io_error);
  CHECK(seen.files.size() == 1);

  seen = {.files = {}, .directories = {}, .answers = {EINTR, EINTR}};
  CHECK_FALSE(file->sync());
  CHECK(seen.files.size() == 3);
}

TEST_CASE("a sync of a directory reaches the system, and tells what the system says", "[files]") {
  const temporary_directory place;
  posix_file_system files(place / "root");
  REQUIRE(!files.make_directory("below"));
  seen = {};
  CHECK_FALSE(files.sync_directory("below"));
  CHECK_FALSE(files.sync_directory(""));
  CHECK(seen.directories ==
        std::vector{number_of(place / "root/below"), number_of(place / "root")});

  seen = {.files = {}, .directories = {}, .answers = {EIO}};
  CHECK(files.sync_directory("below") == std::errc::io_error);
  CHECK(seen.directories.size() == 1);
}

// Nobody knows whether the process that made it lived long enough to sync the name.
TEST_CASE("the name of the root is made durable at every start, whoever has made it", "[files]") {
  const temporary_directory place;
  for (const bool is_there : {false, true}) {
    INFO((is_there ? "found" : "made"));
    seen = {};
    CHECK_FALSE(posix_file_system(place / "root").status());
    CHECK(seen.directories == std::vector{number_of(place / "")});
    seen = {.files = {}, .directories = {}, .answers = {EIO}};
    CHECK(posix_file_system(place / (is_there ? "root" : "other")).status() == std::errc::io_error);
  }
}

TEST_CASE("a root that was there may be in a directory that cannot be opened or synced",
          "[files]") {
  const temporary_directory place;
  REQUIRE(::mkdir((place / "root").c_str(), 0777) == 0);
  for (const int code : {EINVAL, EROFS}) {
    seen = {.files = {}, .directories = {}, .answers = {code}};
    CHECK_FALSE(posix_file_system(place / "root").status());
    CHECK(seen.directories.size() == 1);
  }
  REQUIRE(
      (::chmod((place / "root").c_str(), 0777) == 0 && ::chmod((place / "").c_str(), 0311) == 0));
  const ::uid_t me = ::geteuid();
  const bool is_root = me == 0;
  REQUIRE((!is_root || ::seteuid(65534) == 0));  // whom permissions bind
  seen = {};
  const bool is_reached = ::faccessat(AT_FDCWD, (place / "root").c_str(), R_OK, AT_EACCESS) == 0;
  const std::error_code status = posix_file_system(place / "root").status();
  REQUIRE((!is_root || ::seteuid(me) == 0));
  REQUIRE(::chmod((place / "").c_str(), 0700) == 0);
  if (!is_reached) {
    WARN("directories above " << (place / "") << " are closed to others, so this was not tried");
    return;
  }
  CHECK_FALSE(status);
  CHECK(seen.directories.empty());
}

TEST_CASE("a directory that was asked for is synced without a descriptor, and so is the root",
          "[files]") {
  const temporary_directory place;
  posix_file_system files(place / "root");
  REQUIRE((!files.make_directory("a") && !files.make_directory("a/b")));
  seen = {};
  {
    const auto none = quorlite::tests::lowered_limit::no_descriptors();
    CHECK_FALSE(files.sync_directory(""));
    CHECK_FALSE(files.sync_directory("a"));
    CHECK_FALSE(files.sync_directory("a/b"));
    CHECK(files.make_directory("a") == std::errc::too_many_files_open);
    CHECK_FALSE(files.sync_directory("a"));
  }
  CHECK(seen.directories.size() == 4);

  // It is the directory of that name, whatever becomes of the name.
  REQUIRE(!files.remove("a/b"));
  CHECK(files.sync_directory("a/b") == std::errc::no_such_file_or_directory);
  REQUIRE(!files.make_directory("a/b"));
  REQUIRE(!files.rename("a", "c"));
  CHECK(files.sync_directory("a/b") == std::errc::no_such_file_or_directory);
  REQUIRE(!files.make_directory("a"));
  seen = {};
  CHECK_FALSE(files.sync_directory("a"));
  CHECK_FALSE(files.sync_directory("c"));
  CHECK_FALSE(files.sync_directory("c/b"));
  CHECK(seen.directories == std::vector{number_of(place / "root/a"), number_of(place / "root/c"),
                                        number_of(place / "root/c/b")});
  CHECK(files.make_directory("x") == std::error_code{});
  REQUIRE(!files.rename("c", "a"));
  seen = {};
  CHECK_FALSE(files.sync_directory("a"));
  CHECK(seen.directories == std::vector{number_of(place / "root/a")});
}

// What SQLite syncs for a journal of its own it syncs before the file has its name.
TEST_CASE("the name of an exported file is durable once the export has ended", "[files]") {
  const temporary_directory place;
  const std::string path = place / "copy.db";
  sqlite3* from = nullptr;
  REQUIRE(sqlite3_open(":memory:", &from) == SQLITE_OK);
  REQUIRE(sqlite3_exec(from, "CREATE TABLE t(x)", nullptr, nullptr, nullptr) == SQLITE_OK);
  for (const bool overwrites : {false, true}) {
    INFO((overwrites ? "renamed" : "linked"));
    const ::ino_t old = number_of(path);
    seen = {};
    seen.name = path;
    CHECK_FALSE(quorlite::detail::export_pages(from, path, {.overwrite = overwrites},
                                               quorlite::no_progress{}));
    CHECK(number_of(path) != old);
    REQUIRE_FALSE(seen.directories.empty());
    CHECK(seen.directories.back() == number_of(place / ""));
    CHECK(seen.named == number_of(path));
  }
  sqlite3_close(from);
}
