/// @file
/// Bodies of native.hpp: how the payload of an entry is written, counted and read.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <variant>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The kinds as they are written; also the order in the variant of `command`, from 1.
enum class entry_kind : std::uint8_t {
  open = 1,
  frames,
  undo,
  checkpoint,
  drop,
  barrier,
  identity,  // from version 2 on
};

static_assert(
    std::is_same_v<std::variant_alternative_t<1, decltype(command::body)>, write_set_command>);
static_assert(std::variant_size_v<decltype(command::body)> ==
              static_cast<std::size_t>(entry_kind::identity));

/// A writer that only counts, so that one description of the format gives sizes and bytes.
class wire_counter {
 public:
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  void u8(std::uint8_t) noexcept { count_ += 1; }
  void u32(std::uint32_t) noexcept { count_ += 4; }
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
  payload_writer(Writer& to, const command& written) noexcept : to_(&to), written_(&written) {}

  void write() {
    id(written_->id);
    if (written_->format >= 2 && !std::holds_alternative<identity_command>(written_->body)) {
      to_->varint(written_->witness.index.value);
      to_->u64(written_->witness.low);
    }
    std::visit(*this, written_->body);
  }

  void operator()(const open_command& open) { name(open.name); }
  void operator()(const undo_command& undo) { id(undo.target); }
  void operator()(const checkpoint_command& checkpoint) { name(checkpoint.name); }
  void operator()(const drop_command& drop) {
    name(drop.name);
    base(drop.builds_on);
  }
  void operator()(const barrier_command&) {}
  void operator()(const identity_command& identity) {
    to_->u32(identity.format);
    to_->u64(identity.cluster.low);
    to_->u64(identity.cluster.high);
  }
  void operator()(const write_set_command& frames) {
    to_->varint(std::uint64_t{frames.part} * 2 + (frames.commit ? 1 : 0));
    to_->varint(frames.databases.size());
    for (const database_write_set& one : frames.databases) {
      database(one);
    }
  }

 private:
  void id(const transaction_id& written) {
    to_->varint(written.term.value);
    to_->varint(written.sequence);
  }
  void name(std::string_view written) {
    to_->u8(static_cast<std::uint8_t>(written.size()));
    to_->text(written);
  }
  /// The id that something builds on. Nearly always one of the same term, a few before.
  void base(const transaction_id& builds_on) {
    if (written_->format < 2) {
      return;
    }
    if (builds_on == transaction_id{}) {
      to_->varint(0);
    } else if (builds_on.term == written_->id.term) {
      to_->varint(2 * (written_->id.sequence - builds_on.sequence));
    } else {
      to_->varint(1);
      id(builds_on);
    }
  }
  void database(const database_write_set& frames) {
    name(frames.name);
    to_->varint(frames.base_version.value);
    to_->u64(frames.base_hash);
    base(frames.builds_on);
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
  const command* written_;
};

QUORLITE_DECL std::size_t payload_bytes(const command& counted) {
  wire_counter counter;
  payload_writer<wire_counter>{counter, counted}.write();
  return counter.count();
}

/// Reads a payload of known kind. Gives false for bytes that are no such payload; the values are
/// checked by the rules afterwards. Nothing is allocated for a declared count before the bytes that
/// remain allow that many.
class payload_reader {
 public:
  explicit payload_reader(bytes_view payload) noexcept : from_(payload) {}

  /// @param into of the format that is to be read
  [[nodiscard]] bool read(entry_kind kind, command& into) {
    format_ = into.format;
    into.id = id();
    own_ = into.id;
    if (format_ >= 2 && kind != entry_kind::identity) {
      into.witness.index = log_index{from_.varint()};
      into.witness.low = from_.u64();
    }
    switch (kind) {
      case entry_kind::open: into.body = open_command{name()}; break;
      case entry_kind::frames: frames(into.body.emplace<write_set_command>()); break;
      case entry_kind::undo: into.body = undo_command{id()}; break;
      case entry_kind::checkpoint: into.body = checkpoint_command{name()}; break;
      case entry_kind::drop: drop(into.body.emplace<drop_command>()); break;
      case entry_kind::barrier: into.body = barrier_command{}; break;
      case entry_kind::identity: identity(into.body.emplace<identity_command>()); break;
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

  /// The id that something builds on. Nothing but what a writer makes of it is taken, so that an id
  /// has one form.
  [[nodiscard]] transaction_id base() noexcept {
    const std::uint64_t said = format_ < 2 ? 0 : from_.varint();
    if (said == 0) {
      return {};
    }
    if (said == 1) {
      const transaction_id other = id();
      if (other == transaction_id{} || other.term == own_.term) {
        from_.fail();
      }
      return other;
    }
    if (said % 2 != 0 || said / 2 >= own_.sequence) {
      from_.fail();
      return {};
    }
    return {own_.term, own_.sequence - said / 2};
  }

  void drop(drop_command& into) noexcept {
    into.name = name();
    into.builds_on = base();
  }

  void identity(identity_command& into) noexcept {
    into.format = from_.u32();
    into.cluster.low = from_.u64();
    into.cluster.high = from_.u64();
  }

  [[nodiscard]] std::size_t count(std::uint64_t at_most, std::size_t least_bytes_each) noexcept {
    const std::uint64_t declared = from_.varint();
    if (declared > at_most || declared > from_.remaining() / least_bytes_each) {
      from_.fail();
      return 0;
    }
    return static_cast<std::size_t>(declared);
  }

  void frames(write_set_command& into) {
    const std::uint64_t part_and_commit = from_.varint();
    if (part_and_commit / 2 > UINT32_MAX) {
      return from_.fail();
    }
    into.part = static_cast<std::uint32_t>(part_and_commit / 2);
    into.commit = part_and_commit % 2 == 1;
    into.databases.resize(count(limits::databases_per_transaction, database_bytes_min));
    std::size_t records_left = limits::pages_per_entry;
    for (database_write_set& one : into.databases) {
      database(one, records_left);
      records_left -= one.pages.size();
      if (from_.failed()) {
        return;
      }
    }
  }

  void database(database_write_set& into, std::size_t records_left) {
    into.name = name();
    into.base_version = version_number{from_.varint()};
    into.base_hash = from_.u64();
    into.builds_on = base();
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
  std::uint8_t format_ = 1;
  transaction_id own_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
