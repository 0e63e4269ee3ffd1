/// @file
/// The native entry: a command as bytes, small because every COMMIT sends and stores it.
///
/// Envelope, the same in every version, so that damage and age can be told apart without knowing the rest:
///
/// | offset | bytes | field |
/// |--------|-------|-------|
/// | 0      | 4     | magic C5 51 4C 9A |
/// | 4      | 1     | format version, 1 |
/// | 5      | 1     | kind: 1 open, 2 frames, 3 undo, 4 checkpoint, 5 drop, 6 barrier |
/// | 6      | 4     | CRC32C of all bytes of the entry but these four |
/// | 10     | 1–4   | payload length, varint; the payload follows, and nothing follows it |
///
/// Payload: transaction id (term varint, sequence varint), then by kind
///
/// | kind                   | fields |
/// |------------------------|--------|
/// | open, checkpoint, drop | name |
/// | undo                   | target id: term varint, sequence varint |
/// | barrier                | – |
/// | frames                 | varint part * 2 + commit, varint database count, the databases |
///
/// | type          | fields |
/// |---------------|--------|
/// | name          | u8 length, letters |
/// | database      | name, base version varint, base hash u64, page size as its logarithm to base 2 (u8: 9 … 16), page count varint, result hash u64, varint record count, the records |
/// | record        | varint gap * 4 + encoding (page_encoding), hash u64, payload |
/// | record payload| full: page_size bytes. delta: varint length, the delta. zero: none |
///
/// *gap* is the page's number less that of the record before it (less 0 for the first). Integers as in wire.hpp, every
/// varint in its shortest form, so a command has exactly one encoding. The rules on values: native_rules.hpp.
///
/// The magic is far (at least 6 bits in its first byte) from the first byte of every entry of the go-dqlite formats, so
/// the two can share a log.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>

#include "quorlite/bytes.hpp"
#include "quorlite/codec/crc32c.hpp"
#include "quorlite/codec/native_rules.hpp"
#include "quorlite/codec/wire.hpp"
#include "quorlite/command.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace v0 {
namespace detail {

inline constexpr std::uint32_t entry_magic = 0x9A4C51C5U;  // little-endian: C5 51 4C 9A
inline constexpr std::uint8_t entry_version = 1;
inline constexpr std::size_t entry_magic_bytes = 4;
inline constexpr std::size_t entry_crc_offset = 6;
inline constexpr std::size_t entry_crc_end = 10;

/// The kinds as they are written; also the order in the variant of `command`, from 1.
enum class entry_kind : std::uint8_t { open = 1, frames, undo, checkpoint, drop, barrier };

static_assert(std::is_same_v<std::variant_alternative_t<1, decltype(command::body)>,
                             frames_command>);
static_assert(std::variant_size_v<decltype(command::body)> ==
              static_cast<std::size_t>(entry_kind::barrier));

/// A writer that only counts, so that one description of the format gives sizes and bytes.
class wire_counter {
 public:
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  void u8(std::uint8_t) noexcept { count_ += 1; }
  void u64(std::uint64_t) noexcept { count_ += 8; }
  void varint(std::uint64_t value) noexcept { count_ += varint_bytes(value); }
  void raw(bytes_view data) noexcept { count_ += data.size(); }
  void text(std::string_view letters) noexcept { count_ += letters.size(); }

 private:
  std::size_t count_ = 0;
};

/// Writes the payload of a valid command.
template <class Writer>
class payload_writer {
 public:
  explicit payload_writer(Writer& to) noexcept : to_(&to) {}

  void id(const transaction_id& written) {
    to_->varint(written.term.value);
    to_->varint(written.sequence);
  }
  void operator()(const open_command& open) { name(open.name); }
  void operator()(const undo_command& undo) { id(undo.target); }
  void operator()(const checkpoint_command& checkpoint) { name(checkpoint.name); }
  void operator()(const drop_command& drop) { name(drop.name); }
  void operator()(const barrier_command&) {}
  void operator()(const frames_command& frames) {
    to_->varint(std::uint64_t{frames.part} * 2 + (frames.commit ? 1 : 0));
    to_->varint(frames.databases.size());
    for (const database_frames& one : frames.databases) {
      database(one);
    }
  }

 private:
  void name(std::string_view written) {
    to_->u8(static_cast<std::uint8_t>(written.size()));
    to_->text(written);
  }
  void database(const database_frames& frames) {
    name(frames.name);
    to_->varint(frames.base_version.value);
    to_->u64(frames.base_hash);
    to_->u8(static_cast<std::uint8_t>(std::countr_zero(frames.page_size)));
    to_->varint(frames.page_count);
    to_->u64(frames.result_hash);
    to_->varint(frames.pages.size());
    std::uint64_t before = 0;
    for (const page_record& page : frames.pages) {
      to_->varint((page.number.value - before) * 4 + static_cast<std::uint64_t>(page.encoding));
      to_->u64(page.hash);
      if (page.encoding == page_encoding::delta) {
        to_->varint(page.payload.size());
      }
      to_->raw(page.payload);
      before = page.number.value;
    }
  }

  Writer* to_;
};

[[nodiscard]] inline std::size_t payload_bytes(const command& counted) {
  wire_counter counter;
  payload_writer<wire_counter> writer{counter};
  writer.id(counted.id);
  std::visit(writer, counted.body);
  return counter.count();
}

/// Reads a payload of known kind. Gives false for bytes that are no such payload; the values are checked by the rules
/// afterwards. Nothing is allocated for a declared count before the bytes that remain allow that many.
class payload_reader {
 public:
  explicit payload_reader(bytes_view payload) noexcept : from_(payload) {}

  [[nodiscard]] bool read(entry_kind kind, command& into) {
    into.id = id();
    switch (kind) {
      case entry_kind::open: into.body = open_command{name()}; break;
      case entry_kind::frames: frames(into.body.emplace<frames_command>()); break;
      case entry_kind::undo: into.body = undo_command{id()}; break;
      case entry_kind::checkpoint: into.body = checkpoint_command{name()}; break;
      case entry_kind::drop: into.body = drop_command{name()}; break;
      case entry_kind::barrier: into.body = barrier_command{}; break;
    }
    return from_.finished();
  }

 private:
  // The least that one of them takes; a count above remaining / least is a lie.
  static constexpr std::size_t database_bytes_min = 1 + 1 + 1 + 8 + 1 + 1 + 8 + 1;
  static constexpr std::size_t record_bytes_min = 1 + 8;

  [[nodiscard]] transaction_id id() noexcept {
    const std::uint64_t term_value = from_.varint();
    const std::uint64_t sequence = from_.varint();
    return {term{term_value}, sequence};
  }
  [[nodiscard]] std::string_view name() noexcept { return from_.text(from_.u8()); }

  [[nodiscard]] std::size_t count(std::uint64_t at_most, std::size_t least_bytes_each) noexcept {
    const std::uint64_t declared = from_.varint();
    if (declared > at_most || declared > from_.remaining() / least_bytes_each) {
      from_.fail();
      return 0;
    }
    return static_cast<std::size_t>(declared);
  }

  void frames(frames_command& into) {
    const std::uint64_t part_and_commit = from_.varint();
    if (part_and_commit / 2 > UINT32_MAX) {
      return from_.fail();
    }
    into.part = static_cast<std::uint32_t>(part_and_commit / 2);
    into.commit = part_and_commit % 2 == 1;
    into.databases.resize(count(limits::databases_per_transaction, database_bytes_min));
    std::size_t records_left = limits::pages_per_entry;
    for (database_frames& one : into.databases) {
      database(one, records_left);
      records_left -= one.pages.size();
      if (from_.failed()) {
        return;
      }
    }
  }

  void database(database_frames& into, std::size_t records_left) {
    into.name = name();
    into.base_version = version_number{from_.varint()};
    into.base_hash = from_.u64();
    const unsigned size_log2 = from_.u8();
    into.page_count = from_.varint();
    into.result_hash = from_.u64();
    if (size_log2 > 16) {
      return from_.fail();  // smaller ones that are no page size fall to the rules
    }
    into.page_size = std::uint32_t{1} << size_log2;
    into.pages.resize(count(records_left, record_bytes_min));
    std::uint64_t before = 0;
    for (page_record& page : into.pages) {
      before = record(page, before, into.page_size);
      if (from_.failed()) {
        return;
      }
    }
  }

  /// @returns the page's number
  std::uint64_t record(page_record& into, std::uint64_t before, std::uint32_t page_size) noexcept {
    const std::uint64_t gap_and_encoding = from_.varint();
    const std::uint64_t gap = gap_and_encoding / 4;
    into.hash = from_.u64();
    if (gap > UINT32_MAX - before) {
      from_.fail();
      return before;
    }
    into.number = page_number{static_cast<std::uint32_t>(before + gap)};
    switch (gap_and_encoding % 4) {
      case 0:
        into.encoding = page_encoding::full;
        into.payload = from_.take(page_size);
        break;
      case 1:
        into.encoding = page_encoding::delta;
        into.payload = from_.take(from_.varint());
        break;
      case 2: into.encoding = page_encoding::zero; break;
      default: from_.fail(); break;
    }
    return before + gap;
  }

  wire_reader from_;
};

/// How the first bytes of an entry compare with the magic.
enum class magic_match : std::uint8_t { exact, damaged, foreign };

/// Up to 8 wrong bits are damage to an entry of ours; but at most 5 in the first byte, since at 6 begin the entries of
/// the go-dqlite formats, which must never be taken for damage.
[[nodiscard]] inline magic_match match_entry_magic(bytes_view entry) noexcept {
  if (entry.size() < entry_magic_bytes) {
    return magic_match::foreign;
  }
  const std::uint32_t wrong = load_little_endian<std::uint32_t>(entry.data()) ^ entry_magic;
  if (wrong == 0) {
    return magic_match::exact;
  }
  return std::popcount(wrong) <= 8 && std::popcount(wrong & 0xFFU) <= 5 ? magic_match::damaged
                                                                        : magic_match::foreign;
}

[[nodiscard]] inline std::uint32_t entry_crc(bytes_view entry) noexcept {
  return crc32c_extend(crc32c(entry.first(entry_crc_offset)), entry.subspan(entry_crc_end));
}

/// What an envelope holds, once its checksum was right.
struct entry_envelope {
  std::uint8_t version = 0;
  std::uint8_t kind = 0;
  bytes_view payload;
  bool trailing = false;  ///< bytes follow that are no part of the entry
};

[[nodiscard]] inline result<entry_envelope> open_envelope(bytes_view entry) noexcept {
  if (entry.size() > limits::entry_bytes) {
    return failed(errc::malformed);
  }
  switch (match_entry_magic(entry)) {
    case magic_match::exact: break;
    case magic_match::damaged: return failed(errc::corrupt);
    case magic_match::foreign: return failed(errc::malformed);
  }
  wire_reader reader{entry};
  static_cast<void>(reader.u32());
  entry_envelope opened;
  opened.version = reader.u8();
  opened.kind = reader.u8();
  const std::uint32_t crc = reader.u32();
  opened.payload = reader.take(reader.varint());
  // A short one was cut: our proposer never sends it, so this replica's copy is at fault.
  if (reader.failed() || entry_crc(entry.first(reader.position())) != crc) {
    return failed(errc::corrupt);
  }
  opened.trailing = !reader.finished();
  return opened;
}

}  // namespace detail

namespace native {

/// More than one page record takes besides its payload, in bytes.
inline constexpr std::size_t page_record_overhead_bytes = 5 + 8 + 3;

/// More than a frames entry takes besides its page records, in bytes. An entry whose records add up to at most
/// `n - frames_overhead_bytes(…)`, each counted as its payload and page_record_overhead_bytes, has at most n bytes.
/// @param database_count databases in the entry
/// @param names_bytes the lengths of their names, added
[[nodiscard]] constexpr std::size_t frames_overhead_bytes(std::size_t database_count,
                                                          std::size_t names_bytes) noexcept {
  constexpr std::size_t envelope = detail::entry_crc_end + 4;
  constexpr std::size_t head = varint_bytes_max + varint_bytes_max + 5 + 1;
  constexpr std::size_t database = 1 + varint_bytes_max + 8 + 1 + 5 + 8 + 3;
  return envelope + head + database_count * database + names_bytes;
}

/// The exact size of the entry that encode() makes of a valid command, in bytes. O(page records), any thread.
[[nodiscard]] inline std::size_t encoded_bytes(const command& counted) {
  const std::size_t payload = detail::payload_bytes(counted);
  return detail::entry_crc_end + varint_bytes(payload) + payload;
}

/// True for entries that decode() takes for one of ours, whole or damaged; false: ask the codec of another format.
[[nodiscard]] inline bool is_ours(bytes_view entry) noexcept {
  return detail::match_entry_magic(entry) != detail::magic_match::foreign;
}

/// Appends the command's entry to `out`, after checking it with validate(). Any thread.
/// @param lock_byte where the lock page lies; the same on every replica
/// @returns errc::malformed (a rule is broken) or too_large (over limits::entry_bytes), and `out` is as it was; or
///          nothing
[[nodiscard]] inline std::error_code encode(
    const command& encoded, bytes& out, std::uint64_t lock_byte = limits::lock_byte_default) {
  if (const auto bad = validate(encoded, lock_byte)) {
    return bad;
  }
  const std::size_t payload = detail::payload_bytes(encoded);
  const std::size_t total = detail::entry_crc_end + varint_bytes(payload) + payload;
  if (total > limits::entry_bytes) {
    return errc::too_large;
  }
  const std::size_t start = out.size();
  out.reserve(start + total);
  wire_writer writer{out};
  writer.u32(detail::entry_magic);
  writer.u8(detail::entry_version);
  writer.u8(static_cast<std::uint8_t>(encoded.body.index() + 1));
  writer.u32(0);
  writer.varint(payload);
  detail::payload_writer<wire_writer> payload_writer{writer};
  payload_writer.id(encoded.id);
  std::visit(payload_writer, encoded.body);
  const std::uint32_t crc = detail::entry_crc(bytes_view{out}.subspan(start));
  detail::store_little_endian(out.data() + start + detail::entry_crc_offset, crc);
  return {};
}

/// The command that an entry holds. Total: any bytes give a valid command or an error.
///
/// O(entry). Memory: at most 4 bytes for each byte of the entry. Any thread.
/// @param entry borrowed by the command for as long as that lives
/// @param lock_byte where the lock page lies; the same on every replica
/// @returns errc::corrupt: this replica's copy is damaged, others may hold it whole. errc::needs_upgrade: whole, but
///          of a newer version: never skip it. errc::malformed: foreign, or whole and against the rules: every replica
///          refuses it alike.
[[nodiscard]] inline result<command> decode(
    bytes_view entry, std::uint64_t lock_byte = limits::lock_byte_default) {
  const result<detail::entry_envelope> opened = detail::open_envelope(entry);
  if (!opened) {
    return failed(opened.error());
  }
  if (opened->version != detail::entry_version || opened->kind == 0 ||
      opened->kind > static_cast<std::uint8_t>(detail::entry_kind::barrier)) {
    return failed(errc::needs_upgrade);
  }
  command decoded;
  detail::payload_reader reader{opened->payload};
  if (opened->trailing || !reader.read(static_cast<detail::entry_kind>(opened->kind), decoded)) {
    return failed(errc::malformed);
  }
  if (const auto bad = validate(decoded, lock_byte)) {
    return failed(bad);
  }
  return decoded;
}

}  // namespace native
}  // namespace v0
}  // namespace quorlite
