// Entries of a go-dqlite log: the golden vectors, the decoder's rules one by one, random commands
// in canonical and in every other legal form, and everything that must be refused.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/legacy/go_dqlite.hpp"
#include "support/profile.hpp"
#include "unit/codec_support.hpp"

namespace go_dqlite_commands_test {

using quorlite::bytes;
using quorlite::bytes_view;
using quorlite::errc;
using quorlite::page_number;
using quorlite::detail::wire_writer;
using quorlite::detail::go_dqlite::begin_command;
using quorlite::detail::go_dqlite::checkpoint_command;
using quorlite::detail::go_dqlite::command;
using quorlite::detail::go_dqlite::end_command;
using quorlite::detail::go_dqlite::frames_command;
using quorlite::detail::go_dqlite::open_command;
using quorlite::detail::go_dqlite::undo_command;
using quorlite::tests::from_hex;
using quorlite::tests::from_text;
using quorlite::tests::generator;
using quorlite::tests::hex;
namespace go_dqlite = quorlite::detail::go_dqlite;
namespace limits = quorlite::limits;

namespace {

bool same(bytes_view left, bytes_view right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end());
}

bool same(const frames_command& left, const frames_command& right) {
  const auto same_page = [](const go_dqlite::page_v1& a, const go_dqlite::page_v1& b) {
    return a.number == b.number && a.flags == b.flags && same(a.data, b.data);
  };
  return left.txid == right.txid && left.page_size == right.page_size &&
         std::equal(left.pages.begin(), left.pages.end(), right.pages.begin(), right.pages.end(),
                    same_page) &&
         left.truncate == right.truncate && left.is_commit == right.is_commit &&
         left.sync_flags == right.sync_flags && left.filename == right.filename &&
         left.page_numbers == right.page_numbers && same(left.page_data, right.page_data);
}

/// Compares by fields, which is what the canonical bytes must do as well.
bool same(const command& left, const command& right) {
  if (left.index() != right.index()) {
    return false;
  }
  if (const auto* const frames = std::get_if<frames_command>(&left)) {
    return same(*frames, std::get<frames_command>(right));
  }
  if (const auto* const open = std::get_if<open_command>(&left)) {
    return open->name == std::get<open_command>(right).name;
  }
  if (const auto* const begin = std::get_if<begin_command>(&left)) {
    const auto& other = std::get<begin_command>(right);
    return begin->txid == other.txid && begin->name == other.name;
  }
  if (const auto* const undo = std::get_if<undo_command>(&left)) {
    return undo->txid == std::get<undo_command>(right).txid;
  }
  if (const auto* const end = std::get_if<end_command>(&left)) {
    return end->txid == std::get<end_command>(right).txid;
  }
  return std::get<checkpoint_command>(left).name == std::get<checkpoint_command>(right).name;
}

std::string encoded(const command& one) {
  bytes out;
  const std::error_code error = go_dqlite::encode(one, out);
  return error ? error.message() : hex(out);
}

/// Decodes, checks that the canonical bytes are `canonical` and mean the same, and gives the
/// command to `check`.
template <class Command>
void golden(std::string_view input, std::string_view canonical,
            const std::function<void(const Command&)>& check) {
  const bytes entry = from_hex(input);
  const auto decoded = go_dqlite::decode(entry);
  REQUIRE(decoded.has_value());
  REQUIRE(std::holds_alternative<Command>(*decoded));
  check(std::get<Command>(*decoded));
  CHECK(encoded(*decoded) == canonical);
  const bytes again_entry = from_hex(canonical);
  const auto again = go_dqlite::decode(again_entry);
  REQUIRE(again.has_value());
  CHECK(same(*decoded, *again));
}
template <class Command>
void golden(std::string_view input, const std::function<void(const Command&)>& check) {
  golden<Command>(input, input, check);
}

/// All images of the frames, one after another.
std::string images(const frames_command& frames) {
  bytes all;
  for (std::size_t i = 0; i < frames.page_count(); ++i) {
    bytes image(static_cast<std::size_t>(frames.page_size), std::byte{0xAA});
    frames.copy_page(i, image);
    all.insert(all.end(), image.begin(), image.end());
  }
  return hex(all);
}

std::vector<std::uint32_t> numbers(const frames_command& frames) {
  std::vector<std::uint32_t> all;
  for (std::size_t i = 0; i < frames.page_count(); ++i) {
    all.push_back(frames.page(i).number.value);
  }
  return all;
}

void refused(std::string_view input, std::string_view explanation, errc code = errc::malformed) {
  CAPTURE(input);
  const bytes entry = from_hex(input);
  go_dqlite::decode_fault why;
  const auto decoded = go_dqlite::decode(entry, &why);
  REQUIRE_FALSE(decoded.has_value());
  CHECK(decoded.error() == make_error_code(code));
  CHECK(go_dqlite::explain(why) == explanation);
}

/// A block field with that tag; spaces in its content are for the reader.
std::string message(std::string_view tag, std::string_view content) {
  std::string body{content};
  body.erase(std::remove(body.begin(), body.end(), ' '), body.end());
  return std::string{tag} + hex(bytes{static_cast<std::byte>(body.size() / 2)}) + body;
}

const std::string protobuf_failure = "corrupted command data: protobuf failure: ";

const std::vector<std::uint32_t> one_two{1, 2};

}  // namespace

TEST_CASE("open, begin, undo, end, checkpoint (G01 to G06)") {
  golden<open_command>("0a090a07746573742e6462",
                       [](const open_command& open) { CHECK(open.name == "test.db"); });
  golden<begin_command>("1208087b120474657374", [](const begin_command& begin) {
    CHECK(begin.txid == 123);
    CHECK(begin.name == "test");
  });
  golden<undo_command>("2202087b", [](const undo_command& undo) { CHECK(undo.txid == 123); });
  golden<undo_command>("2200", [](const undo_command& undo) { CHECK(undo.txid == 0); });
  golden<end_command>("2a02087b", [](const end_command& end) { CHECK(end.txid == 123); });
  golden<checkpoint_command>("32060a0474657374", [](const checkpoint_command& checkpoint) {
    CHECK(checkpoint.name == "test");
  });
}

TEST_CASE("frames v2 (G07)") {
  golden<frames_command>("1a1a08051004200128013a07746573742e64624201014a04deadbeef",
                         [](const frames_command& frames) {
                           CHECK(frames.txid == 5);
                           CHECK(frames.page_size == 4);
                           CHECK(frames.truncate == 1);
                           CHECK(frames.commits());
                           CHECK(frames.database_name() == "test.db");
                           CHECK(numbers(frames) == std::vector<std::uint32_t>{1});
                           CHECK(images(frames) == "deadbeef");
                         });
}

TEST_CASE("frames v2 with large varints (G08)") {
  golden<frames_command>(
      "1a280885808080808080808001100220ac023a04612e6462420801ac02ffffffff0f4a06010203040506",
      [](const frames_command& frames) {
        CHECK(frames.txid == (std::uint64_t{1} << 63U) + 5);
        CHECK(frames.page_size == 2);
        CHECK(frames.truncate == 300);
        CHECK_FALSE(frames.commits());
        CHECK(frames.database_name() == "a.db");
        CHECK(numbers(frames) == std::vector<std::uint32_t>{1, 300, 4294967295U});
        CHECK(images(frames) == "010203040506");
      });
}

TEST_CASE("frames v2 without a file name are for db.bin (G09)") {
  golden<frames_command>("1a1108071004200228014201024a0400000000",
                         [](const frames_command& frames) {
                           CHECK(frames.txid == 7);
                           CHECK(frames.filename.empty());
                           CHECK(frames.database_name() == "db.bin");
                           CHECK(frames.commits());
                           CHECK(numbers(frames) == std::vector<std::uint32_t>{2});
                           CHECK(images(frames) == "00000000");
                         });
}

TEST_CASE("frames v1 (G10)") {
  golden<frames_command>(
      "1a2a087b10041a0a0a0401020304100118011a0a0a0405060708100118022002280130023a0664622e62696e",
      [](const frames_command& frames) {
        CHECK(frames.txid == 123);
        CHECK(frames.truncate == 2);
        CHECK(frames.commits());
        CHECK(frames.sync_flags == 2);
        CHECK(frames.filename == "db.bin");
        CHECK(frames.pages.at(0).flags == 1);
        CHECK(numbers(frames) == one_two);
        CHECK(images(frames) == "0102030405060708");
      });
}

TEST_CASE("frames v1a, a long page is cut and a short one padded (G11)") {
  golden<frames_command>("1a1d080910041a090a0501020304ee18011a060a0205061802200228013002",
                         [](const frames_command& frames) {
                           CHECK(frames.database_name() == "db.bin");
                           CHECK(numbers(frames) == one_two);
                           CHECK(frames.page(0).data.size() == 4);
                           CHECK(frames.page(1).data.size() == 2);
                           CHECK(images(frames) == "0102030405060000");
                         });
}

TEST_CASE("unpacked page numbers become packed (G12)") {
  golden<frames_command>("1a1908051002200128013a04612e6462400140ac024a0409080706",
                         "1a1908051002200128013a04612e6462420301ac024a0409080706",
                         [](const frames_command& frames) {
                           CHECK(numbers(frames) == std::vector<std::uint32_t>{1, 300});
                           CHECK(images(frames) == "09080706");
                         });
}

TEST_CASE("unknown fields, several commands, one command twice (G13 to G15)") {
  golden<undo_command>("2204087b7801a2060178", "2202087b",
                       [](const undo_command& undo) { CHECK(undo.txid == 123); });
  golden<undo_command>("0a030a016122020805", "22020805",
                       [](const undo_command& undo) { CHECK(undo.txid == 5); });
  golden<open_command>("0a030a01610a00", "0a00", [](const open_command& open) {
    CHECK(open.name.empty());  // replaced, not merged
    CHECK(go_dqlite::validate(open) == make_error_code(errc::invalid_name));
  });
}

TEST_CASE("a negative is_commit does not commit (G16)") {
  golden<frames_command>("1a1d08011004200128ffffffffffffffffff013a01744201014a0400000000",
                         [](const frames_command& frames) {
                           CHECK(frames.is_commit == -1);
                           CHECK_FALSE(frames.commits());
                         });
}

TEST_CASE("v1 and v2 pages in one entry are refused (G17)") {
  refused("1a1e080110041a080a04000000001801200128013a01744201014a0400000000",
          "unexpected data mix between v1 and v2");
}

TEST_CASE("the largest txid (G18)") {
  golden<undo_command>("220b08ffffffffffffffffff01",
                       [](const undo_command& undo) { CHECK(undo.txid == UINT64_MAX); });
}

TEST_CASE("frames without a page are refused (G19)") {
  refused("1a0c0801108020200128013a0174", "frames without a page");
}

TEST_CASE("two real pages (G20)") {
  bytes pages;
  for (unsigned i = 0; i < 512; ++i) {
    pages.push_back(static_cast<std::byte>((7 * i + 3) & 255U));
  }
  for (unsigned i = 0; i < 512; ++i) {
    pages.push_back(static_cast<std::byte>((5 * i + 1) & 255U));
  }
  frames_command frames;
  frames.txid = 42;
  frames.page_size = 512;
  frames.truncate = 2;
  frames.is_commit = 1;
  frames.filename = "test.db";
  frames.page_numbers = {page_number{1}, page_number{2}};
  frames.page_data = pages;
  bytes entry;
  REQUIRE_FALSE(go_dqlite::encode(frames, entry));
  REQUIRE(entry.size() == 1052);
  // Of the bytes whose SHA-256 is dfb422ef905483d170343e57fbac04f75b8f0d4235385afef69b6d0e4f895849.
  CHECK(quorlite::detail::crc32c(entry) == 0x2868DBB0U);
  CHECK(hex(entry).starts_with("1a9908082a108004200228013a07746573742e6462420201024a8008030a1118"));
  const auto decoded = go_dqlite::decode(entry);
  REQUIRE(decoded.has_value());
  CHECK(same(*decoded, command{frames}));
  CHECK(images(std::get<frames_command>(*decoded)) == hex(pages));
  CHECK_FALSE(go_dqlite::validate(*decoded));
}

TEST_CASE("the nine negative vectors") {
  refused(hex(from_text("garbage")), protobuf_failure + "proto: illegal wireType 7");
  refused("0a090a0774", protobuf_failure + "unexpected EOF");
  refused("207b", protobuf_failure + "proto: wrong wireType = 0 for field Undo");
  refused("22030a0131", protobuf_failure + "proto: wrong wireType = 2 for field Txid");  // v0
  refused("220c08ffffffffffffffffffff01", protobuf_failure + "proto: integer overflow");
  refused("0000", protobuf_failure + "proto: illegal tag");
  refused("0c", protobuf_failure + "proto: wiretype end group for non-group");
  refused("", "unknown command");
  refused("7801", "unknown command");
}

TEST_CASE("unknown fields of every wire type are skipped at any depth") {
  const std::string undo = "2202087b";
  const std::vector<std::string> unknown{
      "7801",                    // varint
      "790102030405060708",      // 8 bytes
      "7a03616263",              // block
      "7d01020304",              // 4 bytes
      "7b7c",                    // an empty group
      "7b08017a01617c",          // one of fields that would be known outside
      "7b7b7b7c7c7c",            // groups in groups
      "7b00007c",                // field number 0 is not looked at in there
      "7b1c",                    // nor is the number that a group ends with
      "78ffffffffffffffffff7f",  // bits above the 64th are dropped
      "f8ffffff0f01",            // field number 2^29 - 1
  };
  for (const std::string& one : unknown) {
    CAPTURE(one);
    for (const std::string& input : {one + undo, undo + one}) {
      golden<undo_command>(input, undo, [](const undo_command& of) { CHECK(of.txid == 123); });
    }
    const std::string nested = message("22", one + "087b");
    golden<undo_command>(nested, undo, [](const undo_command& of) { CHECK(of.txid == 123); });
  }
  bytes groups(100000, std::byte{0x7B});
  groups.resize(200000, std::byte{0x7C});
  golden<undo_command>(hex(groups) + undo, undo, [](const undo_command&) {});
}

TEST_CASE("unknown fields that are not whole are refused") {
  const std::string end_of_input = protobuf_failure + "unexpected EOF";
  for (const std::string_view one : {"78", "7880", "7901020304050607", "7a02aa", "7a", "7d010203",
                                     "7b", "7b7801", "7b7b7c", "7b7a05aa7c"}) {
    refused("2202087b" + std::string{one}, end_of_input);
  }
  refused("7b7f7c", protobuf_failure + "proto: illegal wireType 7");
  refused("7e", protobuf_failure + "proto: illegal wireType 6");
  refused("7b787c", protobuf_failure + "unexpected EOF");
  refused("7c", protobuf_failure + "proto: wiretype end group for non-group");
  refused("78ffffffffffffffffffff01", protobuf_failure + "proto: integer overflow");
  refused("7affffffffffffffffff01", protobuf_failure + "proto: negative length found during "
                                                       "unmarshaling");
  refused("7affffffffffffffff7f", protobuf_failure + "unexpected EOF");  // 2^63 - 1
}

TEST_CASE("field numbers are 32 bits with a sign") {
  refused("02"
          "00",
          protobuf_failure + "proto: illegal tag");
  refused("80808080"
          "40"
          "01",
          protobuf_failure + "proto: illegal tag");  // 2^31
  // 2^32 + 4: the fields of Undo
  golden<undo_command>("a280808080"
                       "01"
                       "02087b",
                       "2202087b", [](const undo_command& undo) { CHECK(undo.txid == 123); });
}

TEST_CASE("known fields of another wire type are refused, however deep") {
  refused("0801", protobuf_failure + "proto: wrong wireType = 0 for field Open");
  refused("15"
          "00000000",
          protobuf_failure + "proto: wrong wireType = 5 for field Begin");
  refused("1b1c", protobuf_failure + "proto: wrong wireType = 3 for field Frames");
  refused("2f", protobuf_failure + "proto: wrong wireType = 7 for field End");
  refused("310000000000000000",
          protobuf_failure + "proto: wrong wireType = 1 for field Checkpoint");
  refused("0a020801", protobuf_failure + "proto: wrong wireType = 0 for field Name");
  refused("1a020a00", protobuf_failure + "proto: wrong wireType = 2 for field Txid");
  refused("1a021200", protobuf_failure + "proto: wrong wireType = 2 for field PageSize");
  refused("1a021801", protobuf_failure + "proto: wrong wireType = 0 for field Pages");
  refused("1a022200", protobuf_failure + "proto: wrong wireType = 2 for field Truncate");
  refused("1a022a00", protobuf_failure + "proto: wrong wireType = 2 for field IsCommit");
  refused("1a023200", protobuf_failure + "proto: wrong wireType = 2 for field SyncFlags");
  refused("1a023801", protobuf_failure + "proto: wrong wireType = 0 for field Filename");
  refused("1a0545"
          "00000000",
          protobuf_failure + "proto: wrong wireType = 5 for field PageNumbers");
  refused("1a024801", protobuf_failure + "proto: wrong wireType = 0 for field PageData");
  refused("1a041a020801", protobuf_failure + "proto: wrong wireType = 0 for field Data");
  refused("1a041a021200", protobuf_failure + "proto: wrong wireType = 2 for field Flags");
  refused("1a041a021a00", protobuf_failure + "proto: wrong wireType = 2 for field Number");
  // An earlier command counts no more, but it still has to be whole.
  refused("0a020801"
          "2202087b",
          protobuf_failure + "proto: wrong wireType = 0 for field Name");
}

TEST_CASE("the last of several values counts, and 32-bit fields take their low bits") {
  golden<begin_command>(message("12", "0801 120161 0802 1200"), "12020802",
                        [](const begin_command& begin) {
                          CHECK(begin.txid == 2);
                          CHECK(begin.name.empty());
                        });
  golden<frames_command>(
      message("1a",
              "0801 1002 108480808010 2001 2081808080f0ffffffff01 2801 288080808010 420101 4a01aa"
              "4a04deadbeef"),
      message("1a", "0801 1004 2001 420101 4a04deadbeef"), [](const frames_command& frames) {
        CHECK(frames.page_size == 4);
        CHECK(frames.truncate == 1);
        CHECK(frames.is_commit == 0);
      });
  golden<open_command>("0a040a02fffe", [](const open_command& open) {
    CHECK(open.name == "\xff\xfe");  // no UTF-8, and taken as it is
  });
}

TEST_CASE("page numbers packed, unpacked and both are appended in their order") {
  golden<frames_command>(message("1a", "1001 4001 42020203 4200 4004 4a0401020304 0801"),
                         message("1a", "0801 1001 420401020304 4a0401020304"),
                         [](const frames_command& frames) {
                           CHECK(numbers(frames) == std::vector<std::uint32_t>{1, 2, 3, 4});
                         });
}

// go-dqlite crashed, read beyond its buffers or went on with nonsense on each of these.
TEST_CASE("what go-dqlite did not look at is refused (W13)") {
  const auto frames = [](std::string_view body) { return message("1a", body); };
  const std::string_view size = "frames with an impossible page size";
  refused(frames("4201014a0400000000"), size);
  refused(frames("10ffffffffffffffffff01 4201014a0400000000"), size);
  refused(frames("10818004 4201014a0400000000"), size);

  const std::string_view number = "frames with page number 0";
  refused(frames("1004 4201004a0400000000"), number);
  refused(frames("1004 1a060a0400000000"), number);

  const std::string_view length = "frames whose page data is not as long as their pages";
  refused(frames("1004 4201014a03000000"), length);
  refused(frames("1004 4201014a050000000000"), length);
  refused(frames("1004 420101"), length);
  refused(frames("108080024203010203 4a0400000000"), length);  // 3 * 32768

  const std::string_view mix = "unexpected data mix between v1 and v2";
  refused(frames("1004 1a080a04000000001801 4a00420101"), mix);
  refused(frames("1004 1a080a04000000001801 4a0100"), mix);

  refused(frames("1004 4a0400000000"), "frames without a page");
  refused(frames("1004 420201804a0400000000"), protobuf_failure + "packed number beyond its block");
}

TEST_CASE("page counts are bounded before anything grows (W13)") {
  const auto entry_of = [](std::size_t pages, std::uint32_t page_size) {
    bytes body;
    wire_writer writer{body};
    writer.u8(0x10);
    writer.varint(page_size);
    for (std::size_t i = 0; i < pages; ++i) {
      writer.u8(0x1A);
      writer.u8(2);
      writer.u8(0x18);
      writer.u8(1);
    }
    bytes entry;
    wire_writer envelope{entry};
    envelope.u8(0x1A);
    envelope.varint(body.size());
    envelope.raw(body);
    return entry;
  };
  const bytes most = entry_of(limits::pages_per_entry, 512);
  const auto decoded = go_dqlite::decode(most);
  REQUIRE(decoded.has_value());
  CHECK(std::get<frames_command>(*decoded).page_count() == limits::pages_per_entry);

  const bytes more = entry_of(limits::pages_per_entry + 1, 1);
  CHECK(go_dqlite::decode(more).error() == make_error_code(errc::too_large));
  // 1024 pages of 64 KiB are 64 MiB; few bytes may not stand for more.
  CHECK(go_dqlite::decode(entry_of(1024, 65536)).has_value());
  CHECK(go_dqlite::decode(entry_of(1025, 65536)).error() == make_error_code(errc::too_large));

  bytes packed(limits::pages_per_entry + 10, std::byte{1});
  bytes entry;
  wire_writer writer{entry};
  writer.u8(0x1A);
  writer.varint(packed.size() + 1 + quorlite::detail::varint_bytes(packed.size()));
  writer.u8(0x42);
  writer.varint(packed.size());
  writer.raw(packed);
  CHECK(go_dqlite::decode(entry).error() == make_error_code(errc::too_large));

  const bytes zeros(limits::entry_bytes + 1);
  go_dqlite::decode_fault why;
  CHECK(go_dqlite::decode(zeros, &why).error() == make_error_code(errc::too_large));
  CHECK(go_dqlite::explain(why) == "entry too large");
}

TEST_CASE("encode() refuses what decode() would, and leaves the output alone") {
  bytes out = from_text("before");
  frames_command frames;
  frames.page_size = 4;
  CHECK(go_dqlite::encode(frames, out) == make_error_code(errc::malformed));
  const bytes name(limits::entry_bytes, std::byte{'a'});
  const std::string_view text{reinterpret_cast<const char*>(name.data()), name.size()};
  CHECK(go_dqlite::encode(open_command{text}, out) == make_error_code(errc::too_large));
  CHECK(same(out, from_text("before")));
  // The largest that fits.
  const std::size_t head = 2 * (1 + quorlite::detail::varint_bytes(limits::entry_bytes));
  REQUIRE_FALSE(go_dqlite::encode(open_command{text.substr(head)}, out));
  const bytes_view entry = bytes_view{out}.subspan(6);
  CHECK(entry.size() == limits::entry_bytes);
  CHECK(go_dqlite::decode(entry).has_value());
}

TEST_CASE("validate() knows what a database can take") {
  const bytes data(1024);
  const auto with = [&](const std::function<void(frames_command&)>& change) {
    frames_command frames;
    frames.page_size = 512;
    frames.truncate = 2;
    frames.is_commit = 1;
    frames.filename = "a.db";
    frames.page_numbers = {page_number{2}, page_number{1}};
    frames.page_data = data;
    change(frames);
    return go_dqlite::validate(frames);
  };
  const std::error_code fine;
  const auto malformed = make_error_code(errc::malformed);
  CHECK(with([](frames_command&) {}) == fine);
  CHECK(with([](frames_command& of) { of.filename = {}; }) == fine);
  CHECK(with([](frames_command& of) { of.filename = "../x"; }) ==
        make_error_code(errc::invalid_name));
  CHECK(with([](frames_command& of) { of.page_numbers[0] = page_number{0}; }) == malformed);
  CHECK(with([](frames_command& of) { of.page_numbers[0] = page_number{UINT32_MAX}; }) ==
        malformed);
  CHECK(with([](frames_command& of) { of.page_numbers[0] = page_number{2097153}; }) == malformed);
  CHECK(with([](frames_command& of) { of.truncate = 0; }) == malformed);
  CHECK(with([](frames_command& of) { of.truncate = of.is_commit = 0; }) == fine);
  CHECK(with([](frames_command& of) { of.truncate = UINT32_MAX; }) == malformed);
  CHECK(with([&](frames_command& of) {
          of.page_size = 256;
          of.page_data = bytes_view{data}.first(512);
        }) == malformed);
  CHECK(go_dqlite::validate(begin_command{1, ""}) == fine);
  CHECK(go_dqlite::validate(undo_command{}) == fine);
  CHECK(go_dqlite::validate(checkpoint_command{""}) == make_error_code(errc::invalid_name));
  CHECK(go_dqlite::validate(open_command{"test.db"}) == fine);
}

TEST_CASE("commands have names") {
  const std::vector<command> all{open_command{}, begin_command{}, frames_command{},
                                 undo_command{}, end_command{},   checkpoint_command{}};
  std::string names;
  for (const command& one : all) {
    names += std::string{go_dqlite::name_of(one)} + " ";
  }
  CHECK(names == "open begin frames undo end checkpoint ");
}

TEST_CASE("native entries and ours are never taken for each other") {
  for (const unsigned first : {0x0AU, 0x12U, 0x1AU, 0x22U, 0x2AU, 0x32U}) {
    for (unsigned rest = 0; rest < 65536; rest += 13) {
      const bytes entry{std::byte(first), std::byte(rest & 255U), std::byte(rest >> 8U),
                        std::byte{0x9A}};
      REQUIRE_FALSE(quorlite::detail::native::is_ours(entry));
    }
  }
}

// ---- random commands ----------------------------------------------------------------------------

namespace {

/// A command together with the memory that it borrows.
struct owned_command {
  command made;
  std::deque<std::string> names;
  std::deque<bytes> payloads;
};

std::string_view random_name(generator& random, owned_command& owner) {
  std::string& name = owner.names.emplace_back();
  for (std::uint64_t i = random.below(12); i > 0; --i) {
    name += static_cast<char>(random.below(256));
  }
  return name;
}

void fill_frames(generator& random, owned_command& owner, frames_command& frames) {
  frames.txid = random.skewed();
  frames.page_size = static_cast<std::int32_t>(1 + random.below(random.below(8) == 0 ? 600 : 9));
  frames.truncate = static_cast<std::uint32_t>(random.skewed());
  frames.is_commit = static_cast<std::int32_t>(random.skewed());
  frames.filename = random_name(random, owner);
  const auto page_size = static_cast<std::size_t>(frames.page_size);
  const std::size_t count = 1 + random.below(5);
  const auto any_number = [&] {
    return page_number{static_cast<std::uint32_t>(random.skewed()) | 1U};
  };
  if (random.below(2) == 0) {
    frames.sync_flags = static_cast<std::uint32_t>(random.skewed());
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t length = random.below(3) == 0 ? random.below(page_size * 2) : page_size;
      frames.pages.push_back({owner.payloads.emplace_back(random.some_bytes(length)),
                              static_cast<std::uint32_t>(random.skewed()), any_number()});
    }
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    frames.page_numbers.push_back(any_number());
  }
  frames.page_data = owner.payloads.emplace_back(random.some_bytes(count * page_size));
}

void fill_command(generator& random, owned_command& owner) {
  switch (random.below(9)) {
    case 0: owner.made = open_command{random_name(random, owner)}; break;
    case 1: owner.made = begin_command{random.skewed(), random_name(random, owner)}; break;
    case 2: owner.made = undo_command{random.skewed()}; break;
    case 3: owner.made = end_command{random.skewed()}; break;
    case 4: owner.made = checkpoint_command{random_name(random, owner)}; break;
    default: fill_frames(random, owner, owner.made.emplace<frames_command>()); break;
  }
}

/// Writes messages in any of the forms that mean the same.
class loose_writer {
 public:
  explicit loose_writer(generator& random) : random_(&random) {}

  bytes entry(const command& one) {
    bytes out;
    while (random_->below(3) == 0) {
      noise(out);
      block(out, 1 + random_->below(6), {});  // a command that the last one replaces
    }
    noise(out);
    block(out, one.index() + 1, std::visit([this](const auto& of) { return message(of); }, one));
    noise(out);
    return out;
  }

 private:
  bytes message(const open_command& of) { return shuffled({text_field(1, of.name)}); }
  bytes message(const begin_command& of) {
    return shuffled({number_field(1, of.txid), text_field(2, of.name)});
  }
  bytes message(const undo_command& of) { return shuffled({number_field(1, of.txid)}); }
  bytes message(const end_command& of) { return shuffled({number_field(1, of.txid)}); }
  bytes message(const checkpoint_command& of) { return shuffled({text_field(1, of.name)}); }
  bytes message(const go_dqlite::page_v1& of) {
    return shuffled(
        {bytes_field(1, of.data), small_field(2, of.flags), small_field(3, of.number.value)});
  }
  bytes message(const frames_command& of) {
    bytes pages;
    for (const go_dqlite::page_v1& page : of.pages) {
      noise(pages, 20);
      block(pages, 3, message(page));
    }
    return shuffled(
        {number_field(1, of.txid), small_field(2, static_cast<std::uint32_t>(of.page_size)), pages,
         small_field(4, of.truncate), small_field(5, static_cast<std::uint32_t>(of.is_commit)),
         small_field(6, of.sync_flags), text_field(7, of.filename), page_numbers(of),
         bytes_field(9, of.page_data)});
  }
  bytes page_numbers(const frames_command& of) {
    bytes out;
    for (std::size_t i = 0; i < of.page_numbers.size();) {
      if (random_->below(2) == 0) {
        varint(out, 8 << 3U);
        varint(out, of.page_numbers[i++].value | upper_bits());
        continue;
      }
      bytes packed;
      for (std::uint64_t n = random_->below(4); n > 0 && i < of.page_numbers.size(); --n) {
        varint(packed, of.page_numbers[i++].value | upper_bits());
      }
      block(out, 8, packed);
    }
    return out;
  }

  /// The value, perhaps after others that it replaces; perhaps left out if it is the default.
  bytes number_field(unsigned field, std::uint64_t value) {
    bytes out;
    while (random_->below(5) == 0) {
      varint(out, field << 3U);
      varint(out, random_->skewed());
    }
    if (value != 0 || !out.empty() || random_->below(2) == 0) {
      varint(out, field << 3U);
      varint(out, value);
    }
    return out;
  }
  bytes small_field(unsigned field, std::uint32_t value) {
    return number_field(field, value | upper_bits());
  }
  bytes bytes_field(unsigned field, bytes_view value) {
    bytes out;
    while (random_->below(5) == 0) {
      block(out, field, random_->some_bytes(random_->below(5)));
    }
    if (!value.empty() || !out.empty() || random_->below(2) == 0) {
      block(out, field, value);
    }
    // An empty page_data beside v1 pages is as good as none.
    return out;
  }
  bytes text_field(unsigned field, std::string_view value) {
    return bytes_field(field, from_text(value));
  }

  bytes shuffled(std::vector<bytes> fields) {
    for (std::size_t i = fields.size(); i > 1; --i) {
      std::swap(fields[i - 1], fields[random_->below(i)]);
    }
    bytes out;
    for (const bytes& field : fields) {
      noise(out, 20);
      out.insert(out.end(), field.begin(), field.end());
    }
    noise(out, 20);
    return out;
  }

  /// Perhaps an unknown field.
  void noise(bytes& out, std::uint64_t one_of = 4) {
    if (random_->below(one_of) != 0) {
      return;
    }
    const std::uint64_t field = (10 + random_->below(500)) << 3U;
    switch (random_->below(5)) {
      case 0:
        varint(out, field);
        varint(out, random_->skewed());
        break;
      case 1:
        varint(out, field | 1U);
        raw(out, random_->some_bytes(8));
        break;
      case 2: block(out, field >> 3U, random_->some_bytes(random_->below(6))); break;
      case 3:
        varint(out, field | 3U);
        noise(out, 2);
        noise(out, 2);
        varint(out, field | 4U);
        break;
      default:
        varint(out, field | 5U);
        raw(out, random_->some_bytes(4));
        break;
    }
  }

  void block(bytes& out, std::uint64_t field, bytes_view value) {
    varint(out, field << 3U | 2U);
    varint(out, value.size());
    raw(out, value);
  }
  void raw(bytes& out, bytes_view value) { out.insert(out.end(), value.begin(), value.end()); }
  /// Sometimes longer than it need be, as far as 10 bytes go.
  void varint(bytes& out, std::uint64_t value) {
    const std::size_t start = out.size();
    wire_writer{out}.varint(value);
    while (random_->below(10) == 0 && out.size() - start < 10) {
      out.back() |= std::byte{0x80};
      out.push_back(std::byte{0});
    }
  }
  std::uint64_t upper_bits() { return random_->below(10) == 0 ? random_->next() << 32U : 0; }

  generator* random_;
};

std::size_t property_cases() { return quorlite::tests::is_short_profile() ? 5000 : 100000; }

}  // namespace

TEST_CASE("random commands round-trip, and every other form of them means the same") {
  generator random{20180730};
  loose_writer loose{random};
  for (std::size_t i = 0; i < property_cases(); ++i) {
    CAPTURE(i);
    owned_command owner;
    fill_command(random, owner);
    bytes entry;
    REQUIRE_FALSE(go_dqlite::encode(owner.made, entry));
    const auto decoded = go_dqlite::decode(entry);
    REQUIRE(decoded.has_value());
    REQUIRE(same(*decoded, owner.made));

    const bytes other = loose.entry(owner.made);
    const auto meant = go_dqlite::decode(other);
    CAPTURE(hex(entry), hex(other));
    REQUIRE(meant.has_value());
    REQUIRE(same(*meant, owner.made));
    bytes canonical;
    REQUIRE_FALSE(go_dqlite::encode(*meant, canonical));
    REQUIRE(same(canonical, entry));
  }
}

TEST_CASE(
    "every truncation of an entry is refused; every flipped bit is, or means something whole") {
  generator random{20190322};
  const std::size_t entries = property_cases() / 200;
  for (std::size_t i = 0; i < entries; ++i) {
    owned_command owner;
    fill_command(random, owner);
    bytes entry;
    REQUIRE_FALSE(go_dqlite::encode(owner.made, entry));
    for (std::size_t length = 0; length < entry.size(); ++length) {
      const bytes cut(entry.begin(), entry.begin() + static_cast<std::ptrdiff_t>(length));
      REQUIRE_FALSE(go_dqlite::decode(cut).has_value());
    }
    for (std::size_t bit = 0; bit < std::min<std::size_t>(entry.size() * 8, 800); ++bit) {
      bytes flipped = entry;
      flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      const auto decoded = go_dqlite::decode(flipped);
      if (!decoded) {
        continue;
      }
      bytes canonical;
      REQUIRE_FALSE(go_dqlite::encode(*decoded, canonical));
      const auto again = go_dqlite::decode(canonical);
      REQUIRE(again.has_value());
      REQUIRE(same(*again, *decoded));
    }
  }
}

}  // namespace go_dqlite_commands_test
