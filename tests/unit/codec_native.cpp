// The native entry: round trips, golden bytes, and everything that must be refused.
#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <deque>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "unit/codec_support.hpp"

namespace codec_native_test {

using quorlite::bytes;
using quorlite::bytes_view;
using quorlite::errc;
using quorlite::log_index;
using quorlite::page_number;
using quorlite::term;
using quorlite::transaction_id;
using quorlite::version_number;
using quorlite::detail::command;
using quorlite::detail::database_write_set;
using quorlite::detail::page_encoding;
using quorlite::detail::page_record;
using quorlite::detail::write_set_command;
using quorlite::tests::from_hex;
using quorlite::tests::generator;
using quorlite::tests::hex;
namespace limits = quorlite::limits;
namespace native = quorlite::detail::native;

namespace {

/// A command together with the memory that it borrows.
struct owned_command {
  command made;
  std::deque<std::string> names;
  std::deque<bytes> payloads;
};

std::string random_name(generator& random) {
  constexpr std::string_view letters = "abcXYZ019_-.";
  std::string name{"d"};
  for (std::uint64_t i = random.below(random.below(10) == 0 ? 80 : 12); i > 0; --i) {
    name += letters[random.below(letters.size())];
  }
  return name + "q";  // ends in no derived name
}

transaction_id random_id(generator& random) {
  return {term{random.skewed() | 1U}, random.skewed() | 1U};
}

/// What a command of that id may build on: nothing, an earlier one of its term, one of another.
transaction_id random_base(generator& random, transaction_id own) {
  const transaction_id other = random_id(random);
  const std::uint64_t back = random.skewed() / 2 + 1;
  switch (random.below(3)) {
    case 0: return other.term == own.term ? transaction_id{} : other;
    case 1:
      return back < own.sequence ? transaction_id{own.term, own.sequence - back} : transaction_id{};
    default: return {};
  }
}

page_record random_record(generator& random, std::uint32_t number, std::uint32_t page_size,
                          std::deque<bytes>& payloads) {
  page_record page{page_number{number}, page_encoding::zero, random.next(), {}};
  const std::uint64_t choice = random.below(8);
  if (choice == 0) {
    return page;
  }
  const bytes before = random.some_bytes(page_size);
  bytes after = before;
  for (std::uint64_t i = random.below(6); i > 0; --i) {
    after[random.below(page_size)] = random.byte();
  }
  bytes& payload = payloads.emplace_back();
  page.encoding = page_encoding::delta;
  if (choice == 1 || !quorlite::detail::encode_delta(before, after, page_size, payload)) {
    page.encoding = page_encoding::full;
    payload = after;
  }
  page.payload = payload;
  return page;
}

void fill_frames(generator& random, write_set_command& frames, owned_command& owner) {
  frames.part = static_cast<std::uint32_t>(random.skewed());
  frames.commit = random.below(2) == 0;
  std::uint64_t databases = random.below(3) + 1;
  std::string name;
  while (databases-- > 0) {
    name = name.substr(0, 200) + random_name(random);  // longer than the one before: ascending
    database_write_set one;
    one.name = owner.names.emplace_back(name);
    one.base_version = version_number{random.skewed()};
    one.base_hash = random.next();
    if (owner.made.format == 2 && one.base_version.value != 0) {
      one.builds_on = random_base(random, owner.made.id);
    }
    one.page_size = 512U << random.below(4);
    one.result_hash = random.next();
    std::uint64_t number = 0;
    for (std::uint64_t i = random.below(7) + (frames.part == 0 ? 1 : 0); i > 0; --i) {
      number += 1 + random.below(random.below(4) == 0 ? 100000 : 3);
      number += number == quorlite::lock_page(one.page_size) ? 1 : 0;
      one.pages.push_back(
          random_record(random, static_cast<std::uint32_t>(number), one.page_size, owner.payloads));
    }
    one.page_count = std::max<std::uint64_t>(number, 1) + random.below(1000);
    frames.databases.push_back(one);
  }
}

void fill_command(generator& random, owned_command& owner, std::uint8_t format) {
  owner.made.id = random_id(random);
  owner.made.format = format;
  if (format == 2) {
    owner.made.witness = {log_index{random.skewed() | 1U}, random.next()};
  }
  std::string& name = owner.names.emplace_back(random_name(random));
  switch (random.below(format == 2 ? 11 : 10)) {
    case 0: owner.made.body = quorlite::detail::open_command{name}; break;
    case 1: owner.made.body = quorlite::detail::undo_command{random_id(random)}; break;
    case 2: owner.made.body = quorlite::detail::checkpoint_command{name}; break;
    case 3: owner.made.body = quorlite::detail::checkpoint_command{}; break;
    case 4:
      owner.made.body = quorlite::detail::drop_command{
          name, format == 2 ? random_base(random, owner.made.id) : transaction_id{}};
      break;
    case 5: owner.made.body = quorlite::detail::barrier_command{}; break;
    case 10:
      owner.made.witness = {};
      owner.made.body = quorlite::detail::identity_command{
          static_cast<std::uint32_t>(2 + random.below(3)), {random.next(), random.below(2)}};
      break;
    default: fill_frames(random, owner.made.body.emplace<write_set_command>(), owner); break;
  }
}

bool same(bytes_view left, bytes_view right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end());
}

bool same(const database_write_set& left, const database_write_set& right) {
  bool equal = left.name == right.name && left.base_version == right.base_version &&
               left.base_hash == right.base_hash && left.builds_on == right.builds_on &&
               left.page_size == right.page_size && left.page_count == right.page_count &&
               left.result_hash == right.result_hash && left.pages.size() == right.pages.size();
  for (std::size_t i = 0; equal && i < left.pages.size(); ++i) {
    const page_record& a = left.pages[i];
    const page_record& b = right.pages[i];
    equal = a.number == b.number && a.encoding == b.encoding && a.hash == b.hash &&
            same(a.payload, b.payload);
  }
  return equal;
}

struct same_body {
  const command* other;
  bool operator()(const quorlite::detail::barrier_command&) const { return true; }
  bool operator()(const quorlite::detail::identity_command& one) const {
    const auto& two = std::get<quorlite::detail::identity_command>(other->body);
    return one.format == two.format && one.cluster == two.cluster;
  }
  bool operator()(const quorlite::detail::drop_command& one) const {
    const auto& two = std::get<quorlite::detail::drop_command>(other->body);
    return one.name == two.name && one.builds_on == two.builds_on;
  }
  bool operator()(const quorlite::detail::undo_command& one) const {
    return one.target == std::get<quorlite::detail::undo_command>(other->body).target;
  }
  bool operator()(const write_set_command& one) const {
    const auto& two = std::get<write_set_command>(other->body);
    bool equal = one.part == two.part && one.commit == two.commit &&
                 one.databases.size() == two.databases.size();
    for (std::size_t i = 0; equal && i < one.databases.size(); ++i) {
      equal = same(one.databases[i], two.databases[i]);
    }
    return equal;
  }
  template <class Named>
  bool operator()(const Named& one) const {
    return one.name == std::get<Named>(other->body).name;
  }
};

bool same(const command& left, const command& right) {
  return left.id == right.id && left.format == right.format && left.witness == right.witness &&
         left.body.index() == right.body.index() && std::visit(same_body{&right}, left.body);
}

std::error_code error_of(bytes_view entry, std::uint64_t lock = limits::lock_byte_default) {
  const auto decoded = native::decode(entry, lock);
  return decoded ? std::error_code{} : decoded.error();
}

/// An entry with any header and payload and a right checksum: what a hostile proposer can send.
bytes forge(bytes_view payload, std::uint64_t kind, unsigned version = 1) {
  bytes entry = from_hex("c5514c9a");
  quorlite::detail::wire_writer writer{entry};
  writer.u8(static_cast<std::uint8_t>(version));
  writer.u8(static_cast<std::uint8_t>(kind));
  writer.u32(0);
  writer.varint(payload.size());
  writer.raw(payload);
  quorlite::detail::store_little_endian(entry.data() + 6, quorlite::detail::entry_crc(entry));
  return entry;
}

/// The fields of a frames payload with one database; each test bends some.
struct frames_fields {
  std::uint64_t part_and_commit = 1;
  std::uint64_t databases = 1;
  std::string name = "app.db";
  unsigned size_log2 = 9;
  std::uint64_t page_count = 9;
  std::uint64_t records = 1;
  bytes record = from_hex("06"
                          "0102030405060708");  // page 1, zero
  bytes after{};                                // more databases, or too much
  unsigned version = 1;
  std::uint64_t base_version = 3;
  std::string_view witness = "09"
                             "1122334455667788";  // of version 2
  std::string_view builds_on = "02";              // of version 2

  [[nodiscard]] bytes payload() const {
    bytes made;
    quorlite::detail::wire_writer writer{made};
    writer.varint(5);
    writer.varint(6);
    writer.raw(from_hex(version == 1 ? "" : witness));
    writer.varint(part_and_commit);
    writer.varint(databases);
    writer.u8(static_cast<std::uint8_t>(name.size()));
    writer.text(name);
    writer.varint(base_version);
    writer.u64(0x1111);
    writer.raw(from_hex(version == 1 ? "" : builds_on));
    writer.u8(static_cast<std::uint8_t>(size_log2));
    writer.varint(page_count);
    writer.u64(0x2222);
    writer.varint(records);
    writer.raw(record);
    writer.raw(after);
    return made;
  }
  [[nodiscard]] bytes entry() const { return forge(payload(), 2, version); }
  [[nodiscard]] std::error_code error() const { return error_of(entry()); }
};

bytes zero_record(std::uint64_t gap) {
  bytes made;
  quorlite::detail::wire_writer writer{made};
  writer.varint(gap * 4 + 2);
  writer.u64(0);
  return made;
}

bytes joined(const bytes& left, const bytes& right) {
  bytes both = left;
  both.insert(both.end(), right.begin(), right.end());
  return both;
}

owned_command small_transaction(std::uint8_t format = 1) {
  generator random{3};
  owned_command owner;
  owner.made.id = {term{4}, 1234};
  owner.made.format = format;
  if (format == 2) {
    owner.made.witness = {log_index{70'000}, 0x1122334455667788};
  }
  auto& frames = owner.made.body.emplace<write_set_command>();
  frames.databases.resize(1);
  database_write_set& one = frames.databases[0];
  one.name = owner.names.emplace_back("app.db");
  one.base_version = version_number{77};
  one.base_hash = 0x0123456789ABCDEF;
  if (format == 2) {
    one.builds_on = {term{4}, 1230};
  }
  one.result_hash = 0xFEDCBA9876543210;
  one.page_size = 512;
  one.page_count = 40;
  one.pages.push_back({page_number{1}, page_encoding::delta, random.next(), {}});
  one.pages.back().payload = owner.payloads.emplace_back(from_hex("1802aabb4401cc"));
  one.pages.push_back({page_number{17}, page_encoding::full, random.next(), {}});
  one.pages.back().payload = owner.payloads.emplace_back(random.some_bytes(512));
  one.pages.push_back({page_number{40}, page_encoding::zero, random.next(), {}});
  return owner;
}

}  // namespace

TEST_CASE("a command survives its entry, and its entry is the only one") {
  const std::uint64_t seed = 20261123;
  generator random{seed};
  for (int round = 0; round < 6000; ++round) {
    CAPTURE(seed, round);
    owned_command owner;
    fill_command(random, owner, round % 2 == 0 ? 1 : 2);
    const bytes prefix = random.some_bytes(random.below(3));
    bytes out = prefix;
    REQUIRE_FALSE(native::encode(owner.made, out));
    const bytes_view entry = bytes_view{out}.subspan(prefix.size());
    REQUIRE(entry.size() == native::encoded_bytes(owner.made));
    const auto decoded = native::decode(entry);
    REQUIRE(decoded.has_value());
    REQUIRE(same(*decoded, owner.made));
    bytes again;
    REQUIRE_FALSE(native::encode(*decoded, again));
    REQUIRE(same(again, entry));
    REQUIRE(native::is_ours(entry));
  }
}

TEST_CASE("entries of format version 1 never change their bytes") {
  const auto entry_of = [](auto body) {
    bytes out;
    REQUIRE_FALSE(native::encode(command{{term{3}, 200}, body}, out));
    return hex(out);
  };
  CHECK(entry_of(quorlite::detail::open_command{"app.db"}) ==
        "c5514c9a010116debb480a03c801066170702e6462");
  CHECK(entry_of(quorlite::detail::undo_command{{term{2}, 9}}) ==
        "c5514c9a0103daa572040503c8010209");
  CHECK(entry_of(quorlite::detail::checkpoint_command{}) == "c5514c9a010478fbca6c0403c80100");
  CHECK(entry_of(quorlite::detail::drop_command{"a"}) == "c5514c9a0105af5a6cae0503c8010161");
  CHECK(entry_of(quorlite::detail::barrier_command{}) == "c5514c9a01060c7ec90e0303c801");

  const owned_command owner = small_transaction();
  bytes out;
  REQUIRE_FALSE(native::encode(owner.made, out));
  CHECK(hex(bytes_view{out}.first(64)) ==
        "c5514c9a010257133704c30404d2090101066170702e64624defcdab89674523010928"
        "1032547698badcfe0305ed8f01dbe4140b1d071802aabb4401cc4089a9");
  CHECK(out.size() == 591);
  CHECK(quorlite::detail::crc32c(out) == 0xCB3B275FU);
}

TEST_CASE("entries of format version 2 never change their bytes") {
  const auto entry_of = [](auto body) {
    bytes out;
    command made{{term{3}, 200}, body, 2};
    if (!std::is_same_v<decltype(body), quorlite::detail::identity_command>) {
      made.witness = {log_index{300}, 0x1122334455667788};
    }
    REQUIRE_FALSE(native::encode(made, out));
    return hex(out);
  };
  CHECK(entry_of(quorlite::detail::open_command{"app.db"}) ==
        "c5514c9a02011fc5557f1403c801ac028877665544332211066170702e6462");
  CHECK(entry_of(quorlite::detail::undo_command{{term{2}, 9}}) ==
        "c5514c9a02033d163c3d0f03c801ac0288776655443322110209");
  CHECK(entry_of(quorlite::detail::checkpoint_command{}) ==
        "c5514c9a020429ce95e70e03c801ac02887766554433221100");
  CHECK(entry_of(quorlite::detail::drop_command{"a"}) ==
        "c5514c9a0205a144e78b1003c801ac028877665544332211016100");
  CHECK(entry_of(quorlite::detail::drop_command{"a", {term{3}, 100}}) ==
        "c5514c9a0205ddfc14661103c801ac0288776655443322110161c801");
  CHECK(entry_of(quorlite::detail::drop_command{"a", {term{2}, 300}}) ==
        "c5514c9a0205ebfd22541303c801ac02887766554433221101610102ac02");
  CHECK(entry_of(quorlite::detail::barrier_command{}) ==
        "c5514c9a0206aff47ed70d03c801ac028877665544332211");
  CHECK(entry_of(quorlite::detail::identity_command{2, {0x0102030405060708, 0x1112131415161718}}) ==
        "c5514c9a0207605817031703c8010200000008070605040302011817161514131211");

  const owned_command owner = small_transaction(2);
  bytes out;
  REQUIRE_FALSE(native::encode(owner.made, out));
  CHECK(hex(bytes_view{out}.first(76)) ==
        "c5514c9a0202d4581155cf0404d209f0a204887766554433221101010661"
        "70702e64624defcdab89674523010809281032547698badcfe0305ed8f01"
        "dbe4140b1d071802aabb4401cc4089a9");
  CHECK(out.size() == 603);
  CHECK(quorlite::detail::crc32c(out) == 0x18133A5DU);
}

TEST_CASE("each cut entry is refused as damaged") {
  const owned_command owner = small_transaction(GENERATE(std::uint8_t{1}, std::uint8_t{2}));
  bytes entry;
  REQUIRE_FALSE(native::encode(owner.made, entry));
  for (std::size_t kept = 0; kept < entry.size(); ++kept) {
    CAPTURE(kept);
    const auto error = error_of(bytes_view{entry}.first(kept));
    CHECK(error == (kept < 4 ? errc::malformed : errc::corrupt));
  }
}

TEST_CASE("each damaged byte of an entry is refused, whatever its new value") {
  owned_command owner = small_transaction(GENERATE(std::uint8_t{1}, std::uint8_t{2}));
  bytes entry;
  REQUIRE_FALSE(native::encode(owner.made, entry));
  bool all_refused = true;
  for (std::size_t at = 0; at < entry.size(); ++at) {
    for (unsigned mask = 1; mask < 256; ++mask) {
      bytes damaged = entry;
      damaged[at] ^= static_cast<std::byte>(mask);
      const auto error = error_of(damaged);
      // From six bits on, the first byte may be another format's: refused, but not as damage.
      const bool foreign = at == 0 && std::popcount(mask) > 5;
      all_refused &= error == (foreign ? errc::malformed : errc::corrupt);
    }
  }
  CHECK(all_refused);
}

TEST_CASE("foreign bytes are malformed, never damage or a crash") {
  CHECK(error_of({}) == errc::malformed);
  for (unsigned value = 0; value < 256; ++value) {
    const bytes one(1, static_cast<std::byte>(value));
    CHECK(error_of(one) == errc::malformed);
  }
  CHECK(error_of(bytes(100)) == errc::malformed);
  CHECK(error_of(bytes(100, std::byte{0xFF})) == errc::malformed);
  // Entries of the go-dqlite formats, by their first bytes, with any length after them.
  generator random{1};
  for (const unsigned tag : {0x0AU, 0x12U, 0x1AU, 0x22U, 0x2AU, 0x32U}) {
    for (const std::string_view rest : {"514c9a", "090a07", "ffffff", "d14c1a"}) {
      CAPTURE(tag, rest);
      const bytes entry = joined(bytes(1, static_cast<std::byte>(tag)), from_hex(rest));
      CHECK_FALSE(native::is_ours(entry));
      CHECK(error_of(entry) == errc::malformed);
    }
  }
  int refused = 0;
  for (int round = 0; round < 5000; ++round) {
    refused += error_of(random.some_bytes(random.below(80))) ? 1 : 0;
  }
  CHECK(refused == 5000);
}

TEST_CASE("a newer version or kind asks for an upgrade, but only when whole") {
  const bytes payload = from_hex("0506");
  CHECK_FALSE(error_of(forge(payload, 6)));
  CHECK(error_of(forge(payload, 7)) == errc::needs_upgrade);
  CHECK(error_of(forge(payload, 0)) == errc::needs_upgrade);
  CHECK(error_of(forge(payload, 255)) == errc::needs_upgrade);
  CHECK(error_of(forge(payload, 6, 3)) == errc::needs_upgrade);
  CHECK(error_of(forge(payload, 6, 0)) == errc::needs_upgrade);
  CHECK(error_of(forge(from_hex("ff"), 99, 77)) == errc::needs_upgrade);
  CHECK(error_of(forge(payload, 8, 2)) == errc::needs_upgrade);
  CHECK(error_of(forge(payload, 0, 2)) == errc::needs_upgrade);
  bytes damaged = forge(payload, 6, 3);
  damaged.back() ^= std::byte{1};
  CHECK(error_of(damaged) == errc::corrupt);
}

TEST_CASE("bytes after a whole entry, inside or outside its payload, are malformed") {
  bytes entry = forge(from_hex("0506"), 6);
  entry.push_back(std::byte{0});
  CHECK(error_of(entry) == errc::malformed);
  CHECK(error_of(forge(from_hex("050600"), 6)) == errc::malformed);
  frames_fields fields;
  CHECK_FALSE(fields.error());
  fields.after = from_hex("00");
  CHECK(fields.error() == errc::malformed);
}

TEST_CASE("a payload that ends early is malformed at each byte") {
  for (const unsigned version : {1U, 2U}) {
    frames_fields fields;
    fields.version = version;
    fields.builds_on = "010409";
    const bytes whole = fields.payload();
    CHECK_FALSE(error_of(forge(whole, 2, version)));
    for (std::size_t kept = 0; kept < whole.size(); ++kept) {
      CAPTURE(version, kept);
      CHECK(error_of(forge(bytes_view{whole}.first(kept), 2, version)) == errc::malformed);
    }
  }
  const std::string witness = "0506091122334455667788";
  const std::vector<std::pair<unsigned, std::string>> others{
      {1, witness + "0161"}, {3, witness + "0408"},
      {4, witness + "0161"}, {5, witness + "0161" + "02"},
      {6, witness},          {7, "05060200000001000000000000000000000000000000"},
  };
  for (const auto& [kind, payload] : others) {
    const bytes whole = from_hex(payload);
    CHECK_FALSE(error_of(forge(whole, kind, 2)));
    for (std::size_t kept = 0; kept < whole.size(); ++kept) {
      CAPTURE(kind, kept);
      CHECK(error_of(forge(bytes_view{whole}.first(kept), kind, 2)) == errc::malformed);
    }
    CHECK(error_of(forge(joined(whole, from_hex("00")), kind, 2)) == errc::malformed);
  }
}

TEST_CASE("a witness has an index, and it is in every entry of format 2 but an identity") {
  CHECK_FALSE(error_of(forge(from_hex("0506091122334455667788"), 6, 2)));
  CHECK_FALSE(error_of(forge(from_hex("0506090000000000000000"), 6, 2)));
  CHECK(error_of(forge(from_hex("0506001122334455667788"), 6, 2)) == errc::malformed);
  CHECK(error_of(forge(from_hex("0506000000000000000000"), 6, 2)) == errc::malformed);
  CHECK(error_of(forge(from_hex("050689001122334455667788"), 6, 2)) == errc::malformed);
  CHECK(error_of(forge(from_hex("0506"), 6, 2)) == errc::malformed);
  frames_fields fields;
  fields.version = 2;
  CHECK_FALSE(fields.error());
  fields.witness = "001122334455667788";
  CHECK(fields.error() == errc::malformed);
}

TEST_CASE("what a write set or a drop builds on has one form, and is older than the entry") {
  const auto error = [](std::string_view builds_on, std::uint64_t base_version = 3) {
    frames_fields fields;
    fields.version = 2;
    fields.builds_on = builds_on;
    fields.base_version = base_version;
    const std::error_code of_frames = fields.error();
    const bytes drop = joined(from_hex("05060911223344556677880161"), from_hex(builds_on));
    CHECK((base_version == 0 || error_of(forge(drop, 5, 2)) == of_frames));
    return of_frames;
  };
  // The entry is 5.6.
  const std::error_code fine;
  CHECK(error("00") == fine);
  CHECK(error("02") == fine);             // 5.5
  CHECK(error("0a") == fine);             // 5.1
  CHECK(error("0c") == errc::malformed);  // 5.0 is nobody
  CHECK(error("0e") == errc::malformed);
  CHECK(error("feffffffffffffffff01") == errc::malformed);
  CHECK(error("03") == errc::malformed);  // odd, and not 1
  CHECK(error("8200") == errc::malformed);
  CHECK(error("8000") == errc::malformed);
  CHECK(error("010409") == fine);
  CHECK(error("010701") == fine);
  CHECK(error("81000409") == errc::malformed);
  CHECK(error("01840009") == errc::malformed);
  CHECK(error("01048900") == errc::malformed);
  CHECK(error("010504") == errc::malformed);  // its own term: another form says that
  CHECK(error("010507") == errc::malformed);
  CHECK(error("010000") == errc::malformed);  // nothing: another form says that
  CHECK(error("010400") == errc::malformed);
  CHECK(error("010009") == errc::malformed);
  CHECK(error("00", 0) == fine);
  CHECK(error("02", 0) == errc::malformed);
  CHECK(error("010409", 0) == errc::malformed);
}

TEST_CASE("an identity names a cluster and a format from 2 on, also one that is not known yet") {
  const auto error = [](std::string_view format, std::string_view cluster) {
    return error_of(
        forge(joined(from_hex("0506"), joined(from_hex(format), from_hex(cluster))), 7, 2));
  };
  const std::string some = "01000000000000000000000000000000";
  CHECK_FALSE(error("02000000", some));
  CHECK_FALSE(error("02000000", "00000000000000000000000000000001"));
  CHECK_FALSE(error("03000000", some));
  CHECK_FALSE(error("ffffffff", some));
  CHECK(error("00000000", some) == errc::malformed);
  CHECK(error("01000000", some) == errc::malformed);
  CHECK(error("02000000", "00000000000000000000000000000000") == errc::malformed);
  const auto decoded =
      native::decode(forge(from_hex("05060300000001020304050607081112131415161718"), 7, 2));
  REQUIRE(decoded);
  const auto& identity = std::get<quorlite::detail::identity_command>(decoded->body);
  CHECK(identity.format == 3);
  CHECK(identity.cluster == quorlite::cluster_identity{0x0807060504030201, 0x1817161514131211});
}

TEST_CASE("declared counts are bounded before anything is made for them") {
  const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  for (const std::uint64_t lie : {std::uint64_t{2}, std::uint64_t{17}, std::uint64_t{1} << 32U,
                                  std::uint64_t{1} << 60U, most}) {
    CAPTURE(lie);
    frames_fields fields;
    fields.databases = lie;
    CHECK(fields.error() == errc::malformed);
    fields = {};
    fields.records = lie;
    CHECK(fields.error() == errc::malformed);
    fields = {};
    fields.record = from_hex("05"
                             "0102030405060708");  // a delta of that length
    quorlite::detail::wire_writer{fields.record}.varint(lie);
    CHECK(fields.error() == errc::malformed);
  }
  frames_fields none;
  none.databases = 0;
  CHECK(none.error() == errc::malformed);
  frames_fields too_many;
  too_many.page_count = 1U << 20U;
  too_many.records = limits::pages_per_entry + 1;
  too_many.record.clear();
  quorlite::detail::wire_writer writer{too_many.record};
  for (std::uint64_t i = 0; i < too_many.records; ++i) {
    writer.varint(6);  // the next page, zero
    writer.u64(0);
  }
  CHECK(too_many.error() == errc::malformed);
  too_many.records -= 1;
  too_many.record.resize(too_many.record.size() - 9);
  CHECK_FALSE(too_many.error());
}

TEST_CASE("a declared payload length beyond the bytes is damage, whatever it claims") {
  for (const std::string_view length : {"7f", "ffffffff0f", "ffffffffffffffffff01", "8000"}) {
    CAPTURE(length);
    const bytes entry =
        joined(joined(from_hex("c5514c9a010600000000"), from_hex(length)), from_hex("0506"));
    CHECK(error_of(entry) == errc::corrupt);
  }
}

TEST_CASE("an entry over the size limit is refused unread") {
  bytes entry = forge(from_hex("0506"), 6);
  entry.resize(limits::entry_bytes + 1);
  CHECK(error_of(entry) == errc::malformed);
}

TEST_CASE("page sizes other than those of SQLite are refused") {
  for (unsigned size_log2 = 0; size_log2 < 256; ++size_log2) {
    CAPTURE(size_log2);
    frames_fields fields;
    fields.size_log2 = size_log2;
    const bool fine = size_log2 >= 9 && size_log2 <= 16;
    CHECK(fields.error() == (fine ? std::error_code{} : make_error_code(errc::malformed)));
  }
}

TEST_CASE("page numbers are ascending, inside the database and never the lock page") {
  const auto error = [](const bytes& record, std::uint64_t records, std::uint64_t page_count) {
    frames_fields fields;
    fields.record = record;
    fields.records = records;
    fields.page_count = page_count;
    return fields.error();
  };
  const std::uint64_t most = limits::page_count_max;
  CHECK_FALSE(error(zero_record(9), 1, 9));
  CHECK(error(zero_record(0), 1, 9) == errc::malformed);                          // page 0
  CHECK(error(zero_record(10), 1, 9) == errc::malformed);                         // beyond the end
  CHECK(error(joined(zero_record(3), zero_record(0)), 2, 9) == errc::malformed);  // twice
  CHECK(error(zero_record(1), 1, 0) == errc::malformed);                          // no pages at all
  CHECK_FALSE(error(zero_record(most), 1, most));
  CHECK(error(zero_record(1), 1, most + 1) == errc::malformed);
  CHECK(error(zero_record(1), 1, std::numeric_limits<std::uint64_t>::max()) == errc::malformed);
  CHECK(error(zero_record(std::uint64_t{1} << 32U), 1, most) == errc::malformed);  // wraps to 0
  // The sum of two gaps wraps around to page 5.
  CHECK(error(joined(zero_record(10), zero_record((std::uint64_t{1} << 32U) - 5)), 2, 100) ==
        errc::malformed);
  const std::uint64_t lock = quorlite::lock_page(512);
  CHECK(error(zero_record(lock), 1, lock + 5) == errc::malformed);
  CHECK_FALSE(error(zero_record(lock - 1), 1, lock));
  CHECK_FALSE(error(zero_record(lock + 1), 1, lock + 5));
}

TEST_CASE("the lock page follows the lock byte") {
  frames_fields fields;
  fields.record = zero_record(3);
  const bytes entry = forge(fields.payload(), 2);
  CHECK_FALSE(error_of(entry));
  CHECK(error_of(entry, 1024) == errc::malformed);
  CHECK_FALSE(error_of(entry, 1536));
}

TEST_CASE("payloads have the length of their encoding, and deltas are valid") {
  const auto error = [](std::string_view head, std::size_t payload_bytes) {
    frames_fields fields;
    fields.record = from_hex(head);
    fields.record.resize(fields.record.size() + payload_bytes);
    return fields.error();
  };
  // clang-format off
  CHECK_FALSE(error("04" "0102030405060708", 512));
  CHECK(error("04" "0102030405060708", 511) == errc::malformed);
  CHECK(error("04" "0102030405060708", 513) == errc::malformed);
  CHECK(error("04" "0102030405060708", 0) == errc::malformed);
  CHECK(error("06" "0102030405060708", 1) == errc::malformed);
  CHECK(error("07" "0102030405060708", 0) == errc::malformed);  // no such encoding
  CHECK_FALSE(error("05" "0102030405060708" "00", 0));          // an empty delta
  CHECK_FALSE(error("05" "0102030405060708" "03" "0001aa", 0));
  CHECK(error("05" "0102030405060708" "02" "0001aa", 0) == errc::malformed);
  CHECK(error("05" "0102030405060708" "03" "0002aa", 0) == errc::malformed);
  CHECK(error("05" "0102030405060708" "05" "ff0302aabb", 0) == errc::malformed);
  // A delta as long as the page: 4 bytes of range head and 508 bytes.
  CHECK(error("05" "0102030405060708" "8004" "8100fc03", 508) == errc::malformed);
  CHECK(error("05" "0102030405060708" "8004" "01fd03", 509) == errc::malformed);
  // clang-format on
}

TEST_CASE("names that are no database's are refused in every command") {
  const std::string bad[] = {"",      "../../etc/x", "/abs",      "a/b",
                             "x-wal", "x-shm",       "x-journal", ".",
                             "..",    ".hidden",     "a\nb",      "\xff\xfe",
                             "a b",   "a\\b",        "d:b",       std::string("a\0b", 3)};
  for (const std::string& name : bad) {
    CAPTURE(name);
    bytes payload = from_hex("0506");
    quorlite::detail::wire_writer writer{payload};
    writer.u8(static_cast<std::uint8_t>(name.size()));
    writer.text(name);
    CHECK(error_of(forge(payload, 1)) == errc::malformed);
    CHECK(error_of(forge(payload, 5)) == errc::malformed);
    if (!name.empty()) {
      CHECK(error_of(forge(payload, 4)) == errc::malformed);
    }
    frames_fields fields;
    fields.name = name;
    CHECK(fields.error() == errc::malformed);
  }
}

TEST_CASE("databases are ascending by name and each is named once") {
  const auto two = [](std::string first, std::string second) {
    frames_fields other;
    other.name = std::move(second);
    const bytes tail = other.payload();
    frames_fields fields;
    fields.name = std::move(first);
    fields.databases = 2;
    fields.after = bytes(tail.begin() + 4, tail.end());  // without ids, part and count
    return fields.error();
  };
  CHECK_FALSE(two("a", "b"));
  CHECK_FALSE(two("a", "aa"));
  CHECK(two("b", "a") == errc::malformed);
  CHECK(two("a", "a") == errc::malformed);
}

TEST_CASE("a database without pages is for later parts only") {
  frames_fields fields;
  fields.records = 0;
  fields.record.clear();
  CHECK(fields.error() == errc::malformed);
  fields.part_and_commit = 0;
  CHECK(fields.error() == errc::malformed);
  fields.part_and_commit = 3;  // part 1, commit
  CHECK_FALSE(fields.error());
  fields.part_and_commit = std::uint64_t{1} << 33U;  // part 2^32
  CHECK(fields.error() == errc::malformed);
}

TEST_CASE("a command without an id is refused") {
  CHECK(error_of(forge(from_hex("0006"), 6)) == errc::malformed);
  CHECK(error_of(forge(from_hex("0500"), 6)) == errc::malformed);
  // clang-format off
  CHECK(error_of(forge(from_hex("0506" "0100"), 3)) == errc::malformed);  // an undo of none
  CHECK_FALSE(error_of(forge(from_hex("0506" "0001"), 3)));  // of a foreign transaction
  // clang-format on
  CHECK(error_of(forge(from_hex("850006"), 6)) == errc::malformed);  // a padded term
}

TEST_CASE("what breaks a rule is not encoded and leaves the output as it was") {
  const bytes prefix = from_hex("0102");
  const auto refused = [&](const command& bad) {
    bytes out = prefix;
    return native::encode(bad, out) == errc::malformed && out == prefix;
  };
  CHECK(refused({{term{1}, 1}, quorlite::detail::open_command{"x-wal"}}));
  CHECK(refused({{}, quorlite::detail::barrier_command{}}));
  CHECK(refused({{term{1}, 1}, write_set_command{}}));
  const auto bent = [&](auto bend) {
    owned_command owner = small_transaction();
    bend(std::get<write_set_command>(owner.made.body).databases[0]);
    return refused(owner.made);
  };
  CHECK_FALSE(bent([](database_write_set&) {}));
  CHECK(bent([](database_write_set& one) { one.page_size = 100000; }));
  CHECK(bent([](database_write_set& one) { one.page_count = 39; }));
  CHECK(bent([](database_write_set& one) { one.pages.clear(); }));
  CHECK(bent([](database_write_set& one) { std::swap(one.pages[0], one.pages[1]); }));
  CHECK(bent([](database_write_set& one) { one.pages[1].payload = {}; }));
  CHECK(bent([](database_write_set& one) { one.pages[0].encoding = page_encoding::zero; }));
  CHECK(bent([](database_write_set& one) { one.pages[2].encoding = page_encoding{9}; }));
}

TEST_CASE("a format cannot say what only another one says") {
  const bytes prefix = from_hex("0102");
  const auto refused = [&](const command& bad) {
    bytes out = prefix;
    const bool invalid = native::validate(bad) == errc::malformed;
    return native::encode(bad, out) == errc::malformed && out == prefix && invalid;
  };
  const auto bent = [&](std::uint8_t format, auto bend) {
    owned_command owner = small_transaction(format);
    bend(owner.made, std::get<write_set_command>(owner.made.body).databases[0]);
    return refused(owner.made);
  };
  const auto base = [](term in, std::uint64_t sequence) {
    return [=](command&, database_write_set& one) { one.builds_on = {in, sequence}; };
  };
  CHECK(bent(1, [](command& made, auto&) { made.witness.index = log_index{1}; }));
  CHECK(bent(1, [](command& made, auto&) { made.witness.low = 1; }));
  CHECK(bent(1, base(term{4}, 1230)));
  CHECK(bent(1, base(term{3}, 1)));
  CHECK_FALSE(bent(2, [](command&, auto&) {}));
  CHECK(bent(2, [](command& made, auto&) { made.witness.index = {}; }));
  CHECK(bent(2, [](command&, database_write_set& one) { one.base_version = {}; }));
  CHECK_FALSE(bent(2, base(term{4}, 1)));
  CHECK(bent(2, base(term{4}, 0)));
  CHECK(bent(2, base(term{4}, 1234)));
  CHECK(bent(2, base(term{4}, 1235)));
  CHECK(bent(2, base(term{3}, 0)));
  CHECK(bent(2, base({}, 1)));
  CHECK_FALSE(bent(2, base(term{5}, 9)));
  for (const unsigned format : {0U, 3U, 255U}) {
    CAPTURE(format);
    CHECK(bent(1, [=](command& made, auto&) { made.format = static_cast<std::uint8_t>(format); }));
    CHECK(bent(2, [=](command& made, auto&) { made.format = static_cast<std::uint8_t>(format); }));
  }
  const transaction_id own{term{4}, 9};
  const quorlite::detail::history_witness witness{log_index{1}, 2};
  const quorlite::detail::drop_command drop{"a", {term{4}, 8}};
  CHECK(refused({own, drop}));
  CHECK_FALSE(refused({own, drop, 2, witness}));
  const auto identity = [](std::uint32_t format, std::uint64_t low) {
    return quorlite::detail::identity_command{format, {low, 0}};
  };
  CHECK(refused({own, identity(2, 7)}));
  CHECK(refused({own, identity(2, 7), 2, witness}));
  CHECK_FALSE(refused({own, identity(2, 7), 2}));
  CHECK_FALSE(refused({own, identity(3, 7), 2}));
  CHECK(refused({own, identity(1, 7), 2}));
  CHECK(refused({own, identity(0, 7), 2}));
  CHECK(refused({own, identity(2, 0), 2}));
  // The farthest that has a form.
  const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  command far{
      {term{4}, most}, quorlite::detail::drop_command{"a", {term{4}, most / 2 + 1}}, 2, witness};
  CHECK_FALSE(refused(far));
  std::get<quorlite::detail::drop_command>(far.body).builds_on.sequence -= 1;
  CHECK(refused(far));
}

TEST_CASE("an entry that would be too big is not encoded") {
  const bytes page = generator{1}.some_bytes(65536);
  command big{{term{1}, 1}, write_set_command{}};
  auto& frames = std::get<write_set_command>(big.body);
  frames.databases.resize(1);
  database_write_set& one = frames.databases[0];
  one.name = "app.db";
  one.page_size = 65536;
  one.page_count = 1024;
  for (std::uint32_t i = 1; i <= 1024; ++i) {
    one.pages.push_back({page_number{i}, page_encoding::full, 1, page});
  }
  bytes out;
  CHECK(native::encode(big, out) == errc::too_large);
  CHECK(out.empty());
  one.pages.pop_back();
  CHECK_FALSE(native::encode(big, out));
  CHECK(out.size() <= limits::entry_bytes);
  CHECK_FALSE(error_of(out));
}

TEST_CASE("the bounds for cutting transactions are never below the truth") {
  const std::uint64_t seed = 31;
  generator random{seed};
  for (int round = 0; round < 1000; ++round) {
    CAPTURE(seed, round);
    owned_command owner;
    owner.made.id = random_id(random);
    if (round % 2 != 0) {
      owner.made.format = 2;
      owner.made.witness = {log_index{random.skewed() | 1U}, random.next()};
    }
    auto& frames = owner.made.body.emplace<write_set_command>();
    fill_frames(random, frames, owner);
    std::size_t names = 0;
    std::size_t records = 0;
    for (const database_write_set& one : frames.databases) {
      names += one.name.size();
      for (const page_record& page : one.pages) {
        records += page.payload.size() + native::page_record_overhead_bytes;
      }
    }
    CHECK(native::encoded_bytes(owner.made) <=
          native::frames_overhead_bytes(frames.databases.size(), names) + records);
  }
  // The widest of everything but the payload.
  const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  const std::string name(255, 'x');
  command widest{
      {term{most}, most}, write_set_command{UINT32_MAX, true, {}}, 2, {log_index{most}, most}};
  auto& frames = std::get<write_set_command>(widest.body);
  frames.databases.resize(1);
  frames.databases[0] = {name,  version_number{most},   most, {term{most - 1}, most},
                         65536, limits::page_count_max, most, {}};
  const bytes page(65536);
  frames.databases[0].pages.push_back({page_number{4294967294U}, page_encoding::full, most, page});
  REQUIRE_FALSE(native::validate(widest));
  CHECK(native::encoded_bytes(widest) <=
        native::frames_overhead_bytes(1, 255) + native::page_record_overhead_bytes + 65536);
}

TEST_CASE("a one-row transaction costs little besides its deltas") {
  owned_command owner = small_transaction();
  auto& pages = std::get<write_set_command>(owner.made.body).databases[0].pages;
  pages.erase(pages.begin() + 1, pages.end());
  CHECK(native::encoded_bytes(owner.made) - pages[0].payload.size() == 53);
  // A history adds an index of 3 bytes, half of a hash, and a distance.
  owned_command with_history = small_transaction(2);
  std::get<write_set_command>(with_history.made.body).databases[0].pages = pages;
  CHECK(native::encoded_bytes(with_history.made) - pages[0].payload.size() == 53 + 12);
}

TEST_CASE("mutated entries with right checksums give a valid command or an error") {
  const std::uint64_t seed = 77;
  generator random{seed};
  frames_fields with_history;
  with_history.version = 2;
  const bytes starts[] = {frames_fields{}.payload(), with_history.payload()};
  std::array<int, 2> accepted{};
  for (int round = 0; round < 60000; ++round) {
    CAPTURE(seed, round);
    owned_command owner;
    const std::uint8_t format = round % 4 < 2 ? 1 : 2;
    bytes payload = starts[format - 1U];
    if (round % 2 == 0) {
      fill_command(random, owner, format);
      bytes whole;
      REQUIRE_FALSE(native::encode(owner.made, whole));
      if (whole.size() < 600) {
        payload = bytes(whole.begin() + (whole.size() < 138 ? 11 : 12), whole.end());
      }
    }
    for (std::uint64_t i = random.below(3) + 1; i > 0 && !payload.empty(); --i) {
      const std::size_t at = random.below(payload.size());
      switch (random.below(3)) {
        case 0: payload[at] = random.byte(); break;
        case 1: payload.resize(at); break;
        default: payload.insert(payload.begin() + static_cast<std::ptrdiff_t>(at), random.byte());
      }
    }
    const std::uint64_t kinds = format == 1 ? 6 : 7;
    const bytes entry = forge(payload, random.below(3) > 0 ? 2 : 1 + random.next() % kinds, format);
    const auto decoded = native::decode(entry);
    if (!decoded) {
      if (decoded.error() != errc::malformed) {
        FAIL("the checksum was right, so malformed is the only answer");
      }
      continue;
    }
    ++accepted[format - 1U];
    bytes again;
    if (native::encode(*decoded, again) || again != entry) {
      FAIL("accepted, but not what an encoder writes");
    }
  }
  CHECK(accepted[0] > 100);
  CHECK(accepted[1] > 100);
}

}  // namespace codec_native_test
