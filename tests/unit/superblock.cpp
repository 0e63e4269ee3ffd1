// The record of file_storage: what is written is read, and nothing else is.
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/file_storage/superblock.hpp"

namespace superblock_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using detail::superblock;

superblock sample(bool tells_history = false) {
  superblock block;
  block.tells_history = tells_history;
  if (tells_history) {
    block.ahead_history = {0x1112131415161718U, 0x2122232425262728U};
  }
  block.sequence = 7;
  block.at = {log_index{40}, term{3}};
  block.replay_from = log_index{38};
  block.ahead = log_index{44};
  block.next_generation = 12;
  block.double_write = detail::double_write_extent{4096, 99};
  block.databases.push_back({"app.db", 4096, 9, 77, version_number{5}, 3});
  block.databases.push_back({"blank.db", 0, 0, 0, {}, 4});
  block.databases.push_back({std::string(limits::database_name_bytes, 'x'), 65536,
                             limits::page_count_max, ~std::uint64_t{0}, version_number{1}, 11});
  block.removals.push_back({"gone.db", 2});
  block.notes = bytes(20, std::byte{0x5A});
  return block;
}

// Encodes after a change: the checksum fits, so the fields themselves are put to the test.
template <class Change>
std::error_code after(Change change, bool tells_history = false) {
  superblock block = sample(tells_history);
  change(block);
  const auto decoded = detail::decode_superblock(detail::encode(block));
  return decoded ? std::error_code{} : decoded.error();
}

// Changes a byte of the image and makes the checksum fit again.
bytes forged(std::size_t offset, std::uint8_t value, bool tells_history = false) {
  bytes image = detail::encode(sample(tells_history));
  image[offset] = static_cast<std::byte>(value);
  const bytes_view body = bytes_view(image).subspan(detail::superblock_format::header_bytes);
  detail::store_little_endian(image.data() + 32, detail::superblock_format::checksum(image, body));
  return image;
}

}  // namespace

TEST_CASE("a superblock comes back as it was", "[superblock]") {
  for (const bool tells : {false, true}) {
    const auto same = detail::decode_superblock(detail::encode(sample(tells)));
    REQUIRE(same);
    CHECK(*same == sample(tells));
  }
  superblock empty;
  empty.sequence = 1;
  empty.clean = true;
  const auto nothing = detail::decode_superblock(detail::encode(empty));
  REQUIRE(nothing);
  CHECK(*nothing == empty);
}

TEST_CASE("the bytes of a superblock are those of its table", "[superblock]") {
  superblock block;
  block.sequence = 1;
  block.at = {log_index{0x0102030405060708}, term{2}};
  block.ahead = block.at.index;
  const bytes image = detail::encode(block);
  CHECK(image.size() == 120);
  CHECK(image[7] == std::byte{'\n'});
  CHECK(image[8] == std::byte{1});
  CHECK(image[16] == std::byte{1});
  CHECK(image[24] == std::byte{80});
  CHECK(image[40] == std::byte{8});
  CHECK(image[47] == std::byte{1});
  CHECK(image[48] == std::byte{2});
}

TEST_CASE("a superblock that tells a history has it before its databases", "[superblock]") {
  superblock block = sample();
  const bytes without = detail::encode(block);
  block.promise({block.ahead, {0x1112131415161718U, 0x2122232425262728U}});
  CHECK(block.tells_history);
  const bytes image = detail::encode(block);
  REQUIRE(image.size() == without.size() + 16);
  CHECK(image[8] == std::byte{2});
  CHECK(image[40 + 80] == std::byte{0x18});
  CHECK(image[40 + 87] == std::byte{0x11});
  CHECK(image[40 + 88] == std::byte{0x28});
  CHECK(image[40 + 95] == std::byte{0x21});
  bytes rest(image.begin() + 40, image.end());
  rest.erase(rest.begin() + 80, rest.begin() + 96);
  CHECK(rest == bytes(without.begin() + 40, without.end()));

  block.promise({log_index{50}, {}});  // once told, always told: that there is none now
  CHECK(detail::encode(block)[8] == std::byte{2});
  superblock old = sample();
  old.promise({log_index{50}, {}});
  CHECK(detail::encode(old)[8] == std::byte{1});
}

TEST_CASE("what is behind a superblock does not matter", "[superblock]") {
  bytes image = detail::encode(sample());
  image.resize(image.size() + 700, std::byte{0xEE});
  CHECK(detail::decode_superblock(image).has_value());
}

TEST_CASE("a superblock that is cut anywhere is damaged", "[superblock]") {
  const bytes image = detail::encode(sample(GENERATE(false, true)));
  for (std::size_t size = 0; size < image.size(); ++size) {
    INFO(size);
    const bytes exact(image.begin(), image.begin() + static_cast<std::ptrdiff_t>(size));
    REQUIRE(detail::decode_superblock(exact).error() == errc::corrupt);
  }
}

TEST_CASE("a superblock with any bit flipped is damaged", "[superblock]") {
  const bytes image = detail::encode(sample(GENERATE(false, true)));
  for (std::size_t offset = 0; offset < image.size(); ++offset) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      INFO(offset << '.' << bit);
      bytes other = image;
      other[offset] ^= static_cast<std::byte>(1U << bit);
      REQUIRE(detail::decode_superblock(other).error() == errc::corrupt);
    }
  }
}

TEST_CASE("a forged superblock is refused, or is one that could be", "[superblock]") {
  const bool tells_history = GENERATE(false, true);
  const std::size_t size = detail::encode(sample(tells_history)).size();
  for (std::size_t offset = 40; offset < size; ++offset) {
    for (const unsigned value : {0U, 1U, 0x2FU, 0x7FU, 0x80U, 0xFFU}) {
      INFO(offset << " = " << value);
      const auto block = detail::decode_superblock(
          forged(offset, static_cast<std::uint8_t>(value), tells_history));
      if (!block) {
        REQUIRE(block.error() == errc::corrupt);
        continue;
      }
      REQUIRE(detail::decode_superblock(detail::encode(*block)) == *block);
    }
  }
}

TEST_CASE("a newer superblock asks for an upgrade", "[superblock]") {
  CHECK(detail::decode_superblock(forged(8, 3)).error() == errc::needs_upgrade);
  CHECK(detail::decode_superblock(forged(8, 3, true)).error() == errc::needs_upgrade);
  // Neither version is taken for the other one.
  CHECK(detail::decode_superblock(forged(8, 2)).error() == errc::corrupt);
  CHECK(detail::decode_superblock(forged(8, 1, true)).error() == errc::corrupt);
  CHECK(detail::decode_superblock(forged(12, 1, true)).error() == errc::corrupt);
  CHECK(detail::decode_superblock(forged(8, 0)).error() == errc::corrupt);
  CHECK(detail::decode_superblock(forged(12, 1)).error() == errc::corrupt);
  CHECK(detail::decode_superblock(forged(0, 'q')).error() == errc::corrupt);
}

TEST_CASE("a superblock that contradicts itself is refused", "[superblock]") {
  CHECK(!after([](superblock&) {}));
  const auto corrupt = make_error_code(errc::corrupt);
  CHECK(after([](superblock& b) { b.sequence = 0; }) == corrupt);
  CHECK(after([](superblock& b) { b.ahead = log_index{39}; }) == corrupt);
  CHECK(after([](superblock& b) { b.replay_from = log_index{41}; }) == corrupt);
  CHECK(after([](superblock& b) { b.next_generation = 11; }) == corrupt);
  CHECK(after([](superblock& b) { b.clean = true; }) == corrupt);  // with pages on their way
  CHECK(after([](superblock& b) { b.double_write->length = 0; }) == corrupt);
  CHECK(after([](superblock& b) { b.databases[0].name = "../up"; }) == corrupt);
  CHECK(after([](superblock& b) { b.databases[0].name = "zz.db"; }) == corrupt);
  CHECK(after([](superblock& b) { b.databases[1] = b.databases[0]; }) == corrupt);
  CHECK(after([](superblock& b) { b.databases[0].page_size = 1000; }) == corrupt);
  CHECK(after([](superblock& b) { b.databases[1].page_count = 1; }) == corrupt);
  CHECK(after([](superblock& b) { b.databases[0].generation = 0; }) == corrupt);
  CHECK(after([](superblock& b) { ++b.databases[2].page_count; }) == corrupt);
  CHECK(after([](superblock& b) { b.removals[0].name = "app.db"; }) == corrupt);
  CHECK(after([](superblock& b) { b.removals.push_back(b.removals[0]); }) == corrupt);
  CHECK(after([](superblock& b) { b.notes.resize(limits::notes_bytes + 1); }) == corrupt);
  CHECK(!after([](superblock& b) { b.notes.resize(limits::notes_bytes); }));

  CHECK(!after([](superblock&) {}, true));
  CHECK(!after([](superblock& b) { b.ahead_history = {}; }, true));
  // A base at one position tells none.
  CHECK(after([](superblock& b) { b.ahead = b.at.index; }, true) == corrupt);
  CHECK(!after([](superblock& b) { b.promise({b.at.index, {}}); }, true));
  CHECK(after([](superblock& b) { b.ahead = log_index{39}; }, true) == corrupt);
  CHECK(after([](superblock& b) { b.databases[0].name = "../up"; }, true) == corrupt);
}

TEST_CASE("the largest superblock fits into the bound that readers have", "[superblock]") {
  superblock block;
  block.sequence = 1;
  block.next_generation = 2;
  block.notes.resize(limits::notes_bytes);
  block.tells_history = true;
  for (std::size_t i = 0; i < limits::databases; ++i) {
    std::string name(limits::database_name_bytes, 'x');
    name.replace(0, 5, std::to_string(10000 + i));
    block.databases.push_back({name, 512, 1, 0, {}, 1});
    name.back() = 'y';
    block.removals.push_back({name, 1});
  }
  const bytes image = detail::encode(block);
  CHECK(image.size() == detail::superblock_format::bytes_max);
  CHECK(detail::decode_superblock(image) == block);
  block.databases.push_back({"y", 512, 1, 0, {}, 1});
  CHECK(detail::decode_superblock(detail::encode(block)).error() == errc::corrupt);
}

}  // namespace superblock_test
