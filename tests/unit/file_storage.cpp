// What file_storage promises beyond the laws of every storage: ordinary SQLite files, one process,
// strangers left alone, errors that last.
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/testing/detail/laws/storage_scene.hpp"
#include "support/temporary_directory.hpp"

namespace file_storage_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::testing::detail::commit_change;
using quorlite::testing::detail::difference_in_pages;
using quorlite::testing::detail::fill_flush;
using quorlite::testing::detail::fill_stage;
using quorlite::testing::detail::model_content;
using quorlite::testing::detail::model_database;
using quorlite::testing::detail::model_position;
using quorlite::testing::detail::sample_content;
using quorlite::testing::detail::write_pages;
using quorlite::tests::temporary_directory;

using posix_storage = file_storage;

bytes contents_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> all{std::istreambuf_iterator<char>(file), {}};
  const auto view = std::as_bytes(std::span<const char>(all));
  return bytes(view.begin(), view.end());
}
void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}
void damage_file(const std::string& path, std::size_t offset) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(offset));
  const int old = file.get();
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(old ^ 1));
}

// ---- SQLite

int run(const std::string& path, const char* sql) {
  sqlite3* connection = nullptr;
  int code = sqlite3_open(path.c_str(), &connection);
  code = code == SQLITE_OK ? sqlite3_exec(connection, sql, nullptr, nullptr, nullptr) : code;
  sqlite3_close(connection);
  return code;
}
std::string first_column(const std::string& path, const char* sql) {
  sqlite3* connection = nullptr;
  sqlite3_stmt* statement = nullptr;
  std::string text = "no row";
  if (sqlite3_open(path.c_str(), &connection) == SQLITE_OK &&
      sqlite3_prepare_v2(connection, sql, -1, &statement, nullptr) == SQLITE_OK &&
      sqlite3_step(statement) == SQLITE_ROW) {
    text = reinterpret_cast<const char*>(sqlite3_column_text(statement, 0));
  }
  sqlite3_finalize(statement);
  sqlite3_close(connection);
  return text;
}
bytes sqlite_database(const temporary_directory& place) {
  const std::string path = place / "made.db";
  REQUIRE(run(path, "PRAGMA page_size = 1024; CREATE TABLE t(a, b);"
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
                    "INSERT INTO t SELECT i, hex(randomblob(20)) FROM n;") == SQLITE_OK);
  return contents_of(path);
}

std::vector<page_view> pages_of(const bytes& database, std::uint32_t page_size) {
  std::vector<page_view> pages;
  for (std::uint32_t number = 1; std::size_t{number} * page_size <= database.size(); ++number) {
    const page_number page{number};
    const bytes_view image = bytes_view(database).subspan((number - 1) * page_size, page_size);
    pages.push_back({page, page_hash(page, image), image});
  }
  return pages;
}
// Commits a whole database of 1024-byte pages.
std::error_code put(posix_storage& storage, std::uint64_t index, const std::string& name,
                    const bytes& database) {
  const auto pages = pages_of(database, 1024);
  auto flush = storage.begin_flush({log_index{index}, {}});
  const auto handle = storage.open(name, 1024);
  if (!flush || !handle) {
    return flush ? handle.error() : flush.error();
  }
  if (const auto error = flush->write(*handle, pages, pages.size())) {
    return error;
  }
  const std::array<database_image, 1> lines{{{name, 1024, pages.size(), 0, {}}}};
  return storage.commit(std::move(*flush),
                        {{log_index{index}, term{1}}, log_index{index}, lines, {}});
}
bool holds(posix_storage& storage, const std::string& name, const bytes& database) {
  const auto handle = storage.open(name, 1024);
  bytes into(1024);
  for (const page_view& page : pages_of(database, 1024)) {
    if (!handle || storage.read(*handle, page.number, into) ||
        !std::equal(into.begin(), into.end(), page.image.begin())) {
      return false;
    }
  }
  return true;
}

// The answer of recover() for a place that a test has changed by hand.
std::error_code answer(const std::string& path) {
  posix_storage storage(path);
  const auto found = storage.recover();
  return found ? std::error_code{} : found.error();
}
// A place with sample_content(5, 1), closed.
void make_sample(const std::string& path) {
  posix_storage storage(path);
  REQUIRE(storage.recover());
  REQUIRE(!commit_change(storage, {}, sample_content(5, 1)));
}

}  // namespace

TEST_CASE("SQLite refuses a database while the storage runs, and opens it afterwards",
          "[file_storage]") {
  const temporary_directory place;
  const bytes database = sqlite_database(place);
  const bool twice = GENERATE(false, true);
  const std::string path = place / "data/app.db";
  file_storage storage{place / "data", {twice, 3}};
  REQUIRE(storage.recover());
  REQUIRE(!put(storage, 5, "app.db", database));
  CHECK(run(path, "SELECT * FROM t") == SQLITE_NOTADB);
  CHECK(run(path, "INSERT INTO t VALUES(1, 2)") == SQLITE_NOTADB);
  CHECK(holds(storage, "app.db", database));
  REQUIRE(!storage.close());
  CHECK(contents_of(path) == database);
  CHECK(first_column(path, "PRAGMA integrity_check") == "ok");
  CHECK(first_column(path, "SELECT count(*) FROM t") == "500");
  CHECK(holds(storage, "app.db", database));  // reads work on
  CHECK(storage.begin_flush({log_index{9}, {}}).error() == errc::storage_broken);
  CHECK(storage.begin_stage().error() == errc::storage_broken);
}

TEST_CASE("the guard is back after a restart, and page 1 reads as it was", "[file_storage]") {
  const temporary_directory place;
  bytes database = sqlite_database(place);
  const std::string path = place / "data/app.db";
  for (std::uint64_t life = 1; life <= 3; ++life) {
    {
      file_storage storage{place / "data"};
      REQUIRE(storage.recover());
      database[18] = database[19] = static_cast<std::byte>(life);  // its version numbers move
      REQUIRE(!put(storage, life, "app.db", database));
    }
    CHECK(contents_of(path) == database);
    file_storage storage{place / "data"};
    REQUIRE(storage.recover());
    CHECK(contents_of(path)[19] == std::byte{0x7F});
    CHECK(run(path, "SELECT * FROM t") == SQLITE_NOTADB);
    CHECK(holds(storage, "app.db", database));
  }
}

TEST_CASE("a directory has one process, and one storage in it", "[file_storage]") {
  const temporary_directory place;
  const std::string path = place / "data";
  auto first = std::make_unique<posix_storage>(path);
  REQUIRE(first->recover());
  CHECK(answer(path) == errc::busy);
  const ::pid_t child = ::fork();
  if (child == 0) {
    posix_storage other(path);
    const auto found = other.recover();
    ::_exit(!found && found.error() == errc::busy ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  REQUIRE(!commit_change(*first, {}, sample_content(5, 1)));
  CHECK(first->recover());  // again
  first.reset();
  CHECK(!answer(path));
}

TEST_CASE("a storage does nothing before it has recovered", "[file_storage]") {
  const temporary_directory place;
  posix_storage storage(place / "data");
  CHECK(storage.begin_flush({log_index{1}, {}}).error() == errc::storage_broken);
  CHECK(storage.begin_stage().error() == errc::storage_broken);
  CHECK(!storage.close());
}

TEST_CASE("files of strangers are left alone", "[file_storage]") {
  const temporary_directory place;
  std::filesystem::create_directory(place / "data");
  write_file(place / "data/notes.txt", "mine");
  write_file(place / "data/.quorlite-staged-x", "mine");
  write_file(place / "data/taken.db", "mine");
  std::filesystem::create_directory(place / "data/folder.db");
  std::filesystem::create_symlink(place / "data/notes.txt", place / "data/link.db");
  auto owner = std::make_unique<posix_storage>(place / "data");
  posix_storage& storage = *owner;
  REQUIRE(storage.recover());
  const model_content content = sample_content(5, 1);
  REQUIRE(!commit_change(storage, {}, content));
  for (const char* const name : {"taken.db", "folder.db", "link.db"}) {
    INFO(name);
    auto flush = storage.begin_flush({log_index{6}, {}});
    REQUIRE(flush);
    CHECK(flush->open(name, 4096).error() == errc::corrupt);
    const auto handle = storage.open(name, 4096);
    CHECK(flush->write(*handle, {}, 0) == errc::corrupt);
    CHECK(storage.begin_stage()->open(name, 4096).error() == errc::corrupt);
  }
  model_content next = content;
  next.at.index = log_index{6};
  next.databases.erase("app.db");
  CHECK(!commit_change(storage, content, next));  // nothing broke
  CHECK(!std::filesystem::exists(place / "data/app.db"));
  for (const char* const name : {"notes.txt", ".quorlite-staged-x", "taken.db"}) {
    CHECK(contents_of(place / ("data/" + std::string(name))).size() == 4);
  }
  write_file(place / "data/app.db", "mine");  // the name of a database that is gone
  owner.reset();
  CHECK(!answer(place / "data"));
  CHECK(contents_of(place / "data/app.db").size() == 4);
}

TEST_CASE("a journal of somebody else is damage, an empty one is not", "[file_storage]") {
  const temporary_directory place;
  make_sample(place / "data");
  for (const char* const name : {"data/app.db-journal", "data/logs_2.db-wal"}) {
    write_file(place / name, "");
    CHECK(!answer(place / "data"));
    write_file(place / name, "frames");
    CHECK(answer(place / "data") == errc::corrupt);
    std::filesystem::remove(place / name);
    CHECK(!answer(place / "data"));
  }
  write_file(place / "data/other.db-wal", "frames");
  CHECK(!answer(place / "data"));
}

TEST_CASE("a file that is too long is cut, one that is too short or missing is damage",
          "[file_storage]") {
  const temporary_directory place;
  const std::string hashes = "data/.quorlite/hashes/app.db";
  for (const std::string& name : {std::string("data/app.db"), hashes}) {
    INFO(name);
    const std::string copy = place / "copy";
    make_sample(place / "data");
    const auto size = std::filesystem::file_size(place / name);
    std::filesystem::resize_file(place / name, size + 5000);
    CHECK(!answer(place / "data"));
    CHECK(std::filesystem::file_size(place / name) == size);
    std::filesystem::copy_file(place / name, copy);
    std::filesystem::resize_file(place / name, size - 1);
    CHECK(answer(place / "data") == errc::corrupt);
    std::filesystem::remove(place / name);
    CHECK(answer(place / "data") == errc::corrupt);
    std::filesystem::rename(copy, place / name);
    CHECK(!answer(place / "data"));
    std::filesystem::remove_all(place / "data");
  }
}

TEST_CASE("verify() reads every page, and names the first that is not as its hash says",
          "[file_storage]") {
  const temporary_directory place;
  const bytes database = sqlite_database(place);
  const auto pages = pages_of(database, 1024);
  std::uint64_t sum = 0;
  for (const page_view& page : pages) {
    sum += page.hash;
  }
  const auto commit = [&](std::uint64_t index, std::uint64_t hash) {
    posix_storage storage(place / "files");
    REQUIRE(storage.recover().has_value());
    auto flush = storage.begin_flush({log_index{index}, {}});
    const auto handle = storage.open("a.db", 1024);
    REQUIRE((flush && handle));
    REQUIRE(!flush->write(*handle, pages, pages.size()));
    const std::array<database_image, 1> lines{{{"a.db", 1024, pages.size(), hash, {}}}};
    REQUIRE(!storage.commit(std::move(*flush),
                            {{log_index{index}, term{1}}, log_index{index}, lines, {}}));
  };
  const auto verified = [&] {
    posix_storage storage(place / "files");
    auto found = verify(storage);
    REQUIRE(found.has_value());
    REQUIRE(found->databases.size() == 1);
    return std::move(*found);
  };
  commit(3, sum);
  CHECK(verified().is_whole());
  CHECK(verified().at.index == log_index{3});
  CHECK(verified().databases[0].page_count == pages.size());
  damage_file(place / "files/a.db", 4 * 1024 + 7);
  damage_file(place / "files/a.db", 9 * 1024 + 1000);
  CHECK_FALSE(verified().is_whole());
  CHECK(verified().databases[0].bad_pages == 2);
  CHECK(verified().databases[0].first_bad == page_number{5});
  CHECK(verified().databases[0].hashes_add_up);
  damage_file(place / "files/a.db", 4 * 1024 + 7);
  damage_file(place / "files/a.db", 9 * 1024 + 1000);
  CHECK(verified().is_whole());

  commit(4, sum + 1);  // pages of another state than the position is of
  CHECK_FALSE(verified().is_whole());
  CHECK(verified().databases[0].bad_pages == 0);
  CHECK_FALSE(verified().databases[0].hashes_add_up);

  {
    posix_storage storage(place / "files");
    REQUIRE(storage.recover().has_value());
    auto flush = storage.begin_flush({log_index{9}, {}});
    const auto handle = storage.open("a.db", 1024);
    REQUIRE((flush && handle));
    REQUIRE(!flush->write(*handle, std::span(pages).first(1), pages.size()));
  }  // dropped: as after a crash
  CHECK(verified().ahead == log_index{9});
  CHECK(verified().is_whole());  // as far as can be told before a replay
}

TEST_CASE("a database that SQLite has changed to WAL mode is damage", "[file_storage]") {
  const temporary_directory place;
  const bytes database = sqlite_database(place);
  {
    posix_storage storage(place / "data");
    REQUIRE(storage.recover());
    REQUIRE(!put(storage, 5, "app.db", database));
  }
  REQUIRE(run(place / "data/app.db", "PRAGMA journal_mode = WAL; INSERT INTO t VALUES(1, 2)") ==
          SQLITE_OK);
  CHECK(answer(place / "data") == errc::corrupt);
}

TEST_CASE("damaged records are told, one whole record is enough", "[file_storage]") {
  const temporary_directory place;
  make_sample(place / "data");
  const std::array<std::string, 2> slots{place / "data/.quorlite/superblock-0",
                                         place / "data/.quorlite/superblock-1"};
  damage_file(slots[0], 60);
  CHECK(!answer(place / "data"));  // and it is whole again
  damage_file(slots[1], 60);
  CHECK(!answer(place / "data"));
  damage_file(slots[0], 60);
  damage_file(slots[1], 60);
  CHECK(answer(place / "data") == errc::corrupt);
  for (const std::string& slot : slots) {
    std::filesystem::remove(slot);
  }
  CHECK(answer(place / "data") == errc::corrupt);  // the hashes show that there was a record
}

TEST_CASE("the hashes of another content are damage", "[file_storage]") {
  const temporary_directory place;
  make_sample(place / "data");
  std::filesystem::copy_file(place / "data/.quorlite/hashes/logs_2.db", place / "other");
  std::filesystem::resize_file(place / "other", 8 * 10);
  std::filesystem::rename(place / "other", place / "data/.quorlite/hashes/app.db");
  CHECK(answer(place / "data") == errc::corrupt);
}

TEST_CASE("a database may have a name of 255 bytes", "[file_storage]") {
  const temporary_directory place;
  const std::string name(limits::database_name_bytes, 'n');
  model_content content;
  content.at = {log_index{5}, term{1}};
  content.databases[name].write(1, 3, 8);
  {
    posix_storage storage(place / "data");
    REQUIRE(storage.recover());
    REQUIRE(!commit_change(storage, {}, content));
  }
  posix_storage storage(place / "data");
  REQUIRE(storage.recover());
  CHECK(difference_in_pages(storage, content).empty());
}

TEST_CASE("a dropped flush leaves `ahead` behind, and no guard is taken off", "[file_storage]") {
  const temporary_directory place;
  const model_content old = sample_content(5, 1);
  model_content next = old;
  next.at.index = log_index{8};
  next.databases["app.db"].write(1, 2, 4);
  {
    posix_storage storage(place / "data");
    REQUIRE(storage.recover());
    REQUIRE(!commit_change(storage, {}, old));
    { REQUIRE(fill_flush(storage, old, next)); }
    CHECK(storage.recover()->ahead == log_index{8});
    CHECK(storage.begin_flush({log_index{4}, {}}).error() == errc::malformed);
  }
  CHECK(contents_of(place / "data/app.db")[19] == std::byte{0x7F});
  posix_storage storage(place / "data");
  const auto found = storage.recover();
  REQUIRE(found);
  CHECK(found->at.index == log_index{5});
  CHECK(found->ahead == log_index{8});
  {  // a flush that stays behind says so still
    model_content less = old;
    less.at.index = log_index{6};
    REQUIRE(!commit_change(storage, old, less));
    CHECK(storage.recover()->ahead == log_index{8});
    REQUIRE(!commit_change(storage, less, next));
  }
  CHECK(storage.recover()->ahead == log_index{8});
  CHECK(storage.recover()->at.index == log_index{8});
  CHECK(difference_in_pages(storage, next).empty());
}

TEST_CASE("one flush is alive at a time", "[file_storage]") {
  const temporary_directory place;
  posix_storage storage(place / "data");
  REQUIRE(storage.recover());
  {
    auto first = storage.begin_flush({log_index{5}, {}});
    REQUIRE(first);
    CHECK(storage.begin_flush({log_index{5}, {}}).error() == errc::busy);
    auto moved = std::move(*first);
    CHECK(storage.begin_flush({log_index{5}, {}}).error() == errc::busy);
    CHECK(moved.open("a.db", 512));
  }
  CHECK(storage.begin_flush({log_index{5}, {}}).has_value());
}

namespace {

// The version of the format of the newest record.
std::uint32_t version_of_record(const std::string& directory) {
  std::uint64_t newest = 0;
  std::uint32_t version = 0;
  for (const char* const slot : {"/.quorlite/superblock-0", "/.quorlite/superblock-1"}) {
    const bytes record = contents_of(directory + slot);
    REQUIRE(record.size() >= 120);
    const auto sequence = load_little_endian<std::uint64_t>(record.data() + 16);
    if (sequence > newest) {
      newest = sequence;
      version = load_little_endian<std::uint32_t>(record.data() + 8);
    }
  }
  return version;
}

}  // namespace

TEST_CASE("the record stays what an older build reads until a flush brings a history",
          "[file_storage]") {
  const temporary_directory place;
  const bool double_write = GENERATE(false, true);
  const std::string path = place / "data";
  const auto started = [&] {
    auto storage = std::make_unique<posix_storage>(path, file_options{double_write, 3});
    REQUIRE(storage->recover());
    return storage;
  };
  const auto at = [](std::uint64_t index, std::uint64_t seed) {
    model_content content = sample_content(index, seed);
    content.databases.erase("logs_2.db");
    return content;
  };
  auto storage = started();
  CHECK(version_of_record(path) == 1);
  REQUIRE(!commit_change(*storage, {}, at(5, 1)));
  REQUIRE(!commit_change(*storage, at(5, 1), at(6, 2)));  // overwrites: in place, a promise
  CHECK(version_of_record(path) == 1);
  storage = nullptr;
  storage = started();
  CHECK(version_of_record(path) == 1);
  REQUIRE(!commit_change(*storage, at(6, 2), at(11, 3)));  // the first one with a history
  CHECK(version_of_record(path) == 2);
  storage = nullptr;
  CHECK(version_of_record(path) == 2);
  storage = started();
  CHECK(version_of_record(path) == 2);
  { const auto dropped = fill_flush(*storage, at(11, 3), at(12, 4)); }
  REQUIRE(!commit_change(*storage, at(11, 3), at(13, 5)));
  auto stage = fill_stage(*storage, at(8, 6));  // of a state without one
  REQUIRE(stage);
  REQUIRE(!storage->publish(std::move(*stage), model_position(at(8, 6)).view()));
  CHECK(version_of_record(path) == 2);
}

TEST_CASE("the history of ahead is the one of that flush, through restarts and later ones",
          "[file_storage]") {
  const temporary_directory place;
  const std::string path = place / "data";
  const auto promised = [&](posix_storage& storage) {
    const auto found = storage.recover();
    REQUIRE(found);
    return history_position{found->ahead, found->ahead_history};
  };
  const model_content old = sample_content(5, 1);
  auto storage = std::make_unique<posix_storage>(path);
  REQUIRE(storage->recover());
  REQUIRE(!commit_change(*storage, {}, old));
  CHECK(promised(*storage) == history_position{log_index{5}, {}});
  const auto drop = [&](std::uint64_t index, const history_hash& history) {
    auto flush = storage->begin_flush({log_index{index}, history});
    const auto handle = storage->open("app.db", 4096);
    REQUIRE((flush && handle));
    model_database touched = old.databases.at("app.db");
    touched.write(1, 1, index);
    REQUIRE(!write_pages(*flush, *handle, old.databases.at("app.db"), touched));
  };
  drop(20, {7, 8});
  CHECK(promised(*storage) == history_position{log_index{20}, {7, 8}});
  drop(15, {9, 9});  // less than was promised
  CHECK(promised(*storage) == history_position{log_index{20}, {7, 8}});
  for (int restart = 0; restart < 3; ++restart) {
    storage = nullptr;
    storage = std::make_unique<posix_storage>(path);
    CHECK(promised(*storage) == history_position{log_index{20}, {7, 8}});
  }
  model_content behind = old;
  behind.at.index = log_index{12};
  behind.databases["app.db"].write(1, 1, 12).version = 12;
  REQUIRE(!commit_change(*storage, old, behind));
  CHECK(promised(*storage) == history_position{log_index{20}, {7, 8}});
  drop(30, {1, 2});
  CHECK(promised(*storage) == history_position{log_index{30}, {1, 2}});
  model_content next = behind;
  next.at.index = log_index{30};
  next.databases["app.db"].write(1, 9, 30).version = 30;
  REQUIRE(!commit_change(*storage, behind, next));
  CHECK(promised(*storage) == history_position{log_index{30}, {}});
}

TEST_CASE("a stale handle cannot be written through", "[file_storage]") {
  const temporary_directory place;
  posix_storage storage(place / "data");
  REQUIRE(storage.recover());
  const model_content old = sample_content(5, 1);
  REQUIRE(!commit_change(storage, {}, old));
  const auto living = storage.open("app.db", 4096);
  auto stage = storage.begin_stage();
  CHECK(stage->write(*living, {}, 9) == errc::malformed);
  const auto staged = stage->open("app.db", 4096);
  {
    auto flush = storage.begin_flush({log_index{6}, {}});
    CHECK(flush->write(*staged, {}, 0) == errc::malformed);
    REQUIRE(flush->open("app.db", 4096));
    CHECK(flush->write(*living, {}, 9) == errc::malformed);
  }
  model_content without = old;
  without.at.index = log_index{7};
  without.databases.erase("app.db");
  REQUIRE(!commit_change(storage, old, without));
  auto flush = storage.begin_flush({log_index{8}, {}});
  CHECK(flush->write(*living, {}, 9) == errc::malformed);
}

TEST_CASE("a stage is filled by one thread while another one flushes", "[file_storage][threads]") {
  const temporary_directory place;
  posix_storage storage(place / "data");
  REQUIRE(storage.recover());
  model_content content = sample_content(5, 1);
  REQUIRE(!commit_change(storage, {}, content));
  model_content other;
  other.at = {log_index{90}, term{4}};
  for (int i = 0; i < 20; ++i) {
    other.databases["d" + std::to_string(i)].write(1, 20, 50);
  }
  result<posix_storage::stage_type> stage = fail(errc::busy);
  std::thread filler([&] { stage = fill_stage(storage, other); });
  std::thread reader([&, handle = *storage.open("logs_2.db", 1024)] {
    for (int i = 0; i < 300; ++i) {
      static_cast<void>(quorlite::testing::detail::reads(storage, handle, 2, 1024, 2));
    }
  });
  bool fine = true;
  for (std::uint64_t index = 6; index < 26; ++index) {
    model_content next = content;
    next.at.index = log_index{index};
    next.databases["app.db"].write(1, 9, index);
    next.databases["e" + std::to_string(index)].write(1, 2, index);
    fine = fine && !commit_change(storage, content, next);
    content = next;
  }
  filler.join();
  reader.join();
  CHECK(fine);
  CHECK(difference_in_pages(storage, content).empty());
  REQUIRE(stage);
  REQUIRE(!storage.publish(std::move(*stage), model_position(other).view()));
  CHECK(difference_in_pages(storage, other).empty());
}

}  // namespace file_storage_test
