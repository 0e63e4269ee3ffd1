// What memory_storage promises beyond the laws of every storage.
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/storage/memory.hpp"

namespace memory_storage_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;

bytes filled(std::size_t size, int value) { return bytes(size, static_cast<std::byte>(value)); }

// Commits one batch of pages of one database, all with the same byte.
std::error_code put(memory_storage& storage, std::uint64_t index, const std::string& name,
                    std::vector<std::uint32_t> numbers, int value, std::uint64_t page_count,
                    std::uint32_t page_size = 512) {
  auto flush = storage.begin_flush({log_index{index}, {}});
  const auto database = storage.open(name, page_size);
  if (!flush || !database) {
    return database ? flush.error() : database.error();
  }
  const bytes image = filled(page_size, value);
  std::vector<page_view> pages;
  for (const std::uint32_t number : numbers) {
    pages.push_back({page_number{number}, static_cast<std::uint64_t>(value), image});
  }
  if (const auto error = flush->write(*database, pages, page_count)) {
    return error;
  }
  const std::array<database_image, 1> lines{
      {{name, page_size, page_count, 7, version_number{index}}}};
  return storage.commit(std::move(*flush),
                        {{log_index{index}, term{1}}, log_index{index}, lines, {}});
}

bool holds(memory_storage& storage, const std::string& name, std::uint32_t page, int value) {
  bytes into = filled(512, 0xFF);
  const auto database = storage.open(name, 512);
  return database && !storage.read(*database, page_number{page}, into) &&
         into == filled(512, value);
}

}  // namespace

TEST_CASE("a new owner finds what the last one committed", "[memory_storage]") {
  memory_storage storage;
  REQUIRE(!put(storage, 5, "b.db", {1, 2, 3}, 9, 3));
  auto found = storage.recover();
  REQUIRE(found);
  CHECK(found->at == log_position{log_index{5}, term{1}});
  CHECK(found->ahead == log_index{5});
  REQUIRE(found->databases.size() == 1);
  CHECK(found->databases[0].version == version_number{5});
  CHECK(found->databases[0].hash == 7);
  { const auto dropped = storage.begin_flush({log_index{6}, {}}); }
  found = storage.recover();
  CHECK(found->at.index == log_index{5});
}

TEST_CASE("databases are listed by name", "[memory_storage]") {
  memory_storage storage;
  const std::array<database_image, 3> lines{
      {{"c.db", 0, 0, 0, {}}, {"A.db", 0, 0, 0, {}}, {"b.db", 0, 0, 0, {}}}};
  auto flush = storage.begin_flush({log_index{1}, {}});
  REQUIRE(flush);
  REQUIRE(!storage.commit(std::move(*flush), {{log_index{1}, term{1}}, log_index{0}, lines, {}}));
  const auto found = storage.recover();
  REQUIRE(found->databases.size() == 3);
  CHECK(found->databases[0].name == "A.db");
  CHECK(found->databases[1].name == "b.db");
  CHECK(found->databases[2].name == "c.db");
  CHECK(storage.open("b.db", 8192).has_value());  // still without a page: any size will do
}

TEST_CASE("pages inside the count that were never written are zeros", "[memory_storage]") {
  memory_storage storage;
  REQUIRE(!put(storage, 1, "a.db", {1, 3}, 4, 3));
  CHECK(holds(storage, "a.db", 1, 4));
  CHECK(holds(storage, "a.db", 2, 0));
  std::array<std::uint64_t, 3> hashes{1, 1, 1};
  const auto database = storage.open("a.db", 512);
  REQUIRE(!storage.read_hashes(*database, page_number{1}, hashes));
  CHECK(hashes == std::array<std::uint64_t, 3>{4, 0, 4});
  std::array<std::uint64_t, 2> beyond{};
  CHECK(storage.read_hashes(*database, page_number{3}, beyond) == errc::storage_broken);
  CHECK(storage.read_hashes(*database, page_number{0}, beyond) == errc::storage_broken);
}

TEST_CASE("reads of what is not there are broken promises", "[memory_storage]") {
  memory_storage storage;
  REQUIRE(!put(storage, 1, "a.db", {1, 2}, 4, 2));
  const auto database = storage.open("a.db", 512);
  bytes page(512);
  bytes small(256);
  CHECK(storage.read(*database, page_number{0}, page) == errc::storage_broken);
  CHECK(storage.read(*database, page_number{3}, page) == errc::storage_broken);
  CHECK(storage.read(*database, page_number{1}, small) == errc::storage_broken);
  const auto absent = storage.open("none.db", 512);
  CHECK(storage.read(*absent, page_number{1}, page) == errc::storage_broken);
}

TEST_CASE("writes that contradict the contract are refused whole", "[memory_storage]") {
  memory_storage storage;
  REQUIRE(!put(storage, 1, "a.db", {1, 2}, 4, 2));
  CHECK(put(storage, 2, "a.db", {2, 1}, 5, 2) == errc::malformed);
  CHECK(put(storage, 2, "a.db", {1, 1}, 5, 2) == errc::malformed);
  CHECK(put(storage, 2, "a.db", {0}, 5, 2) == errc::malformed);
  CHECK(put(storage, 2, "a.db", {3}, 5, 2) == errc::malformed);
  CHECK(put(storage, 2, "a.db", {1}, 5, limits::page_count_max + 1) == errc::malformed);
  CHECK(put(storage, 2, "a.db", {1}, 5, 2, 1024) == errc::malformed);
  CHECK(put(storage, 2, "bad/name", {1}, 5, 2) == errc::invalid_name);
  CHECK(put(storage, 0, "a.db", {1}, 5, 2) == errc::malformed);  // back
  CHECK(holds(storage, "a.db", 1, 4));
  CHECK(storage.recover()->at.index == log_index{1});

  auto flush = storage.begin_flush({log_index{2}, {}});
  const auto database = storage.open("a.db", 512);
  const bytes small = filled(100, 1);
  const std::array<page_view, 1> short_page{{{page_number{1}, 0, small}}};
  CHECK(flush->write(*database, short_page, 2) == errc::malformed);
  CHECK(!flush->write(*database, {}, 2));
  const bytes image = filled(512, 6);
  const std::array<page_view, 1> second{{{page_number{2}, 0, image}}};
  const std::array<page_view, 1> first{{{page_number{1}, 0, image}}};
  CHECK(!flush->write(*database, second, 2));
  CHECK(!flush->write(*database, first, 2));  // ascending within a call only
}

TEST_CASE("positions that contradict themselves are refused", "[memory_storage]") {
  memory_storage storage;
  const auto attempt = [&](std::vector<database_image> lines, std::uint64_t at,
                           std::uint64_t replay_from, std::size_t notes_bytes) {
    const bytes notes(notes_bytes);
    auto flush = storage.begin_flush({log_index{at}, {}});
    auto stage = storage.begin_stage();
    const base_position position{{log_index{at}, term{1}}, log_index{replay_from}, lines, notes};
    const std::error_code error = storage.commit(std::move(*flush), position);
    CHECK(storage.publish(std::move(*stage), position) == error);
    return error;
  };
  CHECK(attempt({}, 5, 6, 0) == errc::malformed);
  CHECK(attempt({}, 5, 5, limits::notes_bytes + 1) == errc::malformed);
  CHECK(attempt({{"a.db", 512, 1, 0, {}}, {"a.db", 512, 1, 0, {}}}, 5, 5, 0) == errc::malformed);
  CHECK(attempt({{"a.db", 0, 1, 0, {}}}, 5, 5, 0) == errc::malformed);
  CHECK(attempt({{"a.db", 1000, 1, 0, {}}}, 5, 5, 0) == errc::malformed);
  CHECK(attempt({{"a.db", 512, limits::page_count_max + 1, 0, {}}}, 5, 5, 0) == errc::malformed);
  CHECK(attempt({{"../a.db", 512, 0, 0, {}}}, 5, 5, 0) == errc::invalid_name);
  std::vector<std::string> names;
  std::vector<database_image> many;
  for (std::size_t i = 0; i <= limits::databases; ++i) {
    names.push_back("d" + std::to_string(i));
  }
  for (const std::string& name : names) {
    many.push_back({name, 0, 0, 0, {}});
  }
  CHECK(attempt(many, 5, 5, 0) == errc::malformed);
  CHECK(storage.recover()->at.index == log_index{0});
  many.pop_back();
  CHECK(!attempt(many, 5, 5, limits::notes_bytes));
}

TEST_CASE("page sizes that SQLite has not are refused", "[memory_storage]") {
  memory_storage storage;
  for (const std::uint32_t size : {0U, 1U, 256U, 511U, 513U, 1000U, 65535U, 131072U}) {
    INFO(size);
    CHECK(storage.open("a.db", size).error() == errc::malformed);
    CHECK(storage.begin_stage()->open("a.db", size).error() == errc::malformed);
  }
}

TEST_CASE("a handle of the stage serves the storage after publish", "[memory_storage]") {
  memory_storage storage;
  REQUIRE(!put(storage, 9, "a.db", {1, 2}, 4, 2));
  auto stage = storage.begin_stage();
  const auto database = stage->open("a.db", 1024);
  REQUIRE(database);
  const bytes image = filled(1024, 3);
  const std::array<page_view, 1> pages{{{page_number{1}, 0, image}}};
  REQUIRE(!stage->write(*database, pages, 1));
  bytes into(1024);
  CHECK(!storage.read(*database, page_number{1}, into));  // its own pages, before the publish
  const std::array<database_image, 1> lines{{{"a.db", 1024, 1, 0, {}}}};
  REQUIRE(!storage.publish(std::move(*stage), {{log_index{3}, term{1}}, log_index{3}, lines, {}}));
  CHECK(!storage.read(*database, page_number{1}, into));
  CHECK(into == image);
  REQUIRE(
      !put(storage, 4, "a.db", {1}, 8, 1, 1024));  // a commit after a publish keeps the books right
  REQUIRE(!put(storage, 5, "b.db", {1}, 8, 1, 512));
  CHECK(storage.recover()->databases.size() == 1);
  CHECK(storage.recover()->databases[0].name == "b.db");
}

TEST_CASE("a handle reads its own content after a drop, a rebirth and a publish",
          "[memory_storage]") {
  memory_storage storage;
  REQUIRE(!put(storage, 1, "a.db", {1, 2}, 4, 2));
  const auto first = storage.open("a.db", 512);
  REQUIRE(!put(storage, 2, "b.db", {1}, 5, 1));  // without a.db in the position
  CHECK(storage.recover()->databases.size() == 1);
  bytes into(512);
  CHECK(!storage.read(*first, page_number{2}, into));
  CHECK(into == filled(512, 4));
  REQUIRE(!put(storage, 3, "a.db", {1}, 6, 1));
  CHECK(!storage.read(*first, page_number{2}, into));
  CHECK(into == filled(512, 4));
  CHECK(holds(storage, "a.db", 1, 6));
  auto flush = storage.begin_flush({log_index{4}, {}});  // the old content is for reading only
  const bytes image = filled(512, 7);
  const std::array<page_view, 1> pages{{{page_number{1}, 0, image}}};
  CHECK(!flush->write(*first, pages, 1));
  const std::array<database_image, 1> lines{{{"a.db", 512, 1, 0, {}}}};
  CHECK(storage.commit(std::move(*flush), {{log_index{4}, term{1}}, log_index{4}, lines, {}}) ==
        errc::malformed);
  CHECK(holds(storage, "a.db", 1, 6));
}

TEST_CASE("a flush begins a database anew, also with another page size", "[memory_storage]") {
  memory_storage storage;
  REQUIRE(!put(storage, 1, "a.db", {1, 2, 3}, 4, 3));
  const auto old = storage.open("a.db", 512);
  const bytes image = filled(1024, 3);
  const std::array<page_view, 1> pages{{{page_number{1}, 8, image}}};
  bytes into(1024);
  {
    auto dropped = storage.begin_flush({log_index{2}, {}});
    const auto fresh = dropped->open("a.db", 1024);
    CHECK(storage.read(*fresh, page_number{1}, into) == errc::storage_broken);
    REQUIRE(!dropped->write(*fresh, pages, 1));
    CHECK(!storage.read(*fresh, page_number{1}, into));
    CHECK(into == image);
  }
  CHECK(holds(storage, "a.db", 3, 4));
  auto flush = storage.begin_flush({log_index{2}, {}});
  const auto fresh = flush->open("a.db", 1024);
  REQUIRE(!flush->write(*fresh, pages, 1));
  CHECK(flush->write(*old, {}, 3) == errc::malformed);  // two contents of one name
  const std::array<database_image, 1> lines{{{"a.db", 1024, 1, 0, {}}}};
  REQUIRE(!storage.commit(std::move(*flush), {{log_index{2}, term{1}}, log_index{2}, lines, {}}));
  CHECK(!storage.read(*fresh, page_number{1}, into));
  bytes small(512);
  CHECK(!storage.read(*old, page_number{3}, small));
  CHECK(small == filled(512, 4));
  CHECK(storage.open("a.db", 512).error() == errc::malformed);
}

TEST_CASE("handles on a name without a content share the one that comes", "[memory_storage]") {
  memory_storage storage;
  const auto early = storage.open("a.db", 512);
  REQUIRE(!put(storage, 1, "a.db", {1}, 4, 1));
  bytes into(512);
  CHECK(!storage.read(*early, page_number{1}, into));
  const auto waiting = storage.open("b.db", 512);
  auto flush = storage.begin_flush({log_index{2}, {}});
  const auto fresh = flush->open("b.db", 512);
  REQUIRE(!flush->write(*fresh, {}, 0));
  const std::array<database_image, 1> lines{{{"b.db", 512, 0, 0, {}}}};
  REQUIRE(!storage.commit(std::move(*flush), {{log_index{2}, term{1}}, log_index{2}, lines, {}}));
  REQUIRE(!put(storage, 3, "b.db", {1}, 5, 1));
  CHECK(!storage.read(*fresh, page_number{1}, into));
  CHECK(storage.read(*waiting, page_number{1}, into) == errc::storage_broken);
}

TEST_CASE("a stage writes only what it has opened", "[memory_storage]") {
  memory_storage storage;
  REQUIRE(!put(storage, 1, "a.db", {1}, 4, 1));
  const auto living = storage.open("a.db", 512);
  auto stage = storage.begin_stage();
  const bytes image = filled(512, 7);
  const std::array<page_view, 1> pages{{{page_number{1}, 0, image}}};
  static_cast<void>(stage->write(*living, pages, 1));
  const std::array<database_image, 1> lines{{{"a.db", 512, 1, 0, {}}}};
  CHECK(storage.publish(std::move(*stage), {{log_index{2}, term{1}}, log_index{2}, lines, {}}) ==
        errc::malformed);
  CHECK(holds(storage, "a.db", 1, 4));
}

TEST_CASE("readers see whole images while pages are replaced", "[memory_storage][threads]") {
  memory_storage storage;
  REQUIRE(!put(storage, 1, "a.db", {1, 2, 3, 4}, 0, 4));
  std::atomic<bool> stop{false};
  std::atomic<int> torn{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      const auto database = storage.open("a.db", 512);
      bytes into(512);
      for (std::uint32_t turn = 0; !stop; ++turn) {
        if (storage.read(*database, page_number{1 + turn % 4}, into) ||
            into != bytes(512, into[0])) {
          ++torn;
        }
      }
    });
  }
  for (int round = 2; round < 300; ++round) {
    REQUIRE(!put(storage, static_cast<std::uint64_t>(round), "a.db", {1, 2, 3, 4}, round % 256, 4));
  }
  stop = true;
  for (std::thread& reader : readers) {
    reader.join();
  }
  CHECK(torn == 0);
}

}  // namespace memory_storage_test
