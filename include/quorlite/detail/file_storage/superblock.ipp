/// @file
/// The superblock to bytes and back.
#pragma once

#include "quorlite/detail/file_storage/superblock.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/core/xxh3.hpp"
#include "quorlite/detail/file_storage/data_directory.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {
namespace superblock_format {

QUORLITE_DECL std::uint64_t checksum(bytes_view header, bytes_view body) noexcept {
  return XXH3_64bits_withSeed(body.data(), body.size(), XXH3_64bits(header.data(), seeded_bytes));
}

}  // namespace superblock_format

QUORLITE_DECL bytes encode(const superblock& block) {
  namespace format = superblock_format;
  bytes out;
  out.reserve(4096);  // usually all of it; and g++ -O3 sees where the first bytes go
  wire_writer write(out);
  write.text(format::magic);
  write.u32(block.tells_history ? format::version : format::version_without_history);
  write.u32(std::uint32_t{0});
  write.u64(block.sequence);
  write.u64(std::uint64_t{0});  // length and checksum come last
  write.u64(std::uint64_t{0});

  const double_write_extent extent = block.double_write.value_or(double_write_extent{});
  write.u64(block.at.index.value);
  write.u64(block.at.term.value);
  write.u64(block.replay_from.value);
  write.u64(block.ahead.value);
  write.u64(block.next_generation);
  write.u64((block.clean ? format::flag_clean : 0) |
            (block.double_write ? format::flag_double_write : 0));
  write.u64(extent.length);
  write.u64(extent.checksum);
  write.u32(static_cast<std::uint32_t>(block.databases.size()));
  write.u32(static_cast<std::uint32_t>(block.removals.size()));
  write.u64(std::uint64_t{block.notes.size()});
  if (block.tells_history) {
    write.u64(block.ahead_history.low);
    write.u64(block.ahead_history.high);
  }
  for (const superblock::database& line : block.databases) {
    write.u64(line.page_count);
    write.u64(line.hash);
    write.u64(line.version.value);
    write.u64(line.generation);
    write.u32(line.page_size);
    write.u16(static_cast<std::uint16_t>(line.name.size()));
    write.text(line.name);
  }
  for (const superblock::removal& line : block.removals) {
    write.u64(line.generation);
    write.u16(static_cast<std::uint16_t>(line.name.size()));
    write.text(line.name);
  }
  write.raw(block.notes);

  const bytes_view body = bytes_view(out).subspan(format::header_bytes);
  store_little_endian(out.data() + 24, std::uint64_t{body.size()});
  store_little_endian(out.data() + 32, format::checksum(out, body));
  return out;
}

/// What is inside a body that is whole. Checks every field: a checksum that fits proves nothing
/// about who wrote it.
class superblock_body_decoder {
 public:
  explicit superblock_body_decoder(bytes_view body) noexcept : fields_(body) {}

  /// False if a field is missing, out of its range or too much. Throws std::bad_alloc.
  /// @param into says whether the body tells a history
  [[nodiscard]] bool decode(superblock& into);

 private:
  [[nodiscard]] std::uint32_t take_head(superblock& into) noexcept;
  [[nodiscard]] bool is_sound(const superblock& head) const noexcept;
  [[nodiscard]] bool take_databases(superblock& into, std::uint32_t count);
  [[nodiscard]] bool take_removals(superblock& into);
  [[nodiscard]] bool take_notes(superblock& into);
  [[nodiscard]] bool is_line(std::string_view name, std::uint64_t generation,
                             std::uint64_t next_generation) const noexcept;

  wire_reader fields_;
  std::uint64_t flags_ = 0;
  double_write_extent extent_;
  std::uint32_t removals_ = 0;
  std::uint64_t notes_ = 0;
};

QUORLITE_DECL bool superblock_body_decoder::decode(superblock& into) {
  const std::uint32_t databases = take_head(into);
  return !fields_.failed() && is_sound(into) && databases <= limits::databases &&
         removals_ <= limits::databases && notes_ <= limits::notes_bytes &&
         take_databases(into, databases) && take_removals(into) && take_notes(into);
}

QUORLITE_DECL std::uint32_t superblock_body_decoder::take_head(superblock& into) noexcept {
  into.at.index = log_index{fields_.u64()};
  into.at.term = term{fields_.u64()};
  into.replay_from = log_index{fields_.u64()};
  into.ahead = log_index{fields_.u64()};
  into.next_generation = fields_.u64();
  flags_ = fields_.u64();
  extent_.length = fields_.u64();
  extent_.checksum = fields_.u64();
  const auto databases = fields_.u32();
  removals_ = fields_.u32();
  notes_ = fields_.u64();
  if (into.tells_history) {
    into.ahead_history.low = fields_.u64();
    into.ahead_history.high = fields_.u64();
  }
  into.clean = (flags_ & superblock_format::flag_clean) != 0;
  if ((flags_ & superblock_format::flag_double_write) != 0) {
    into.double_write = extent_;
  }
  return databases;
}

QUORLITE_DECL bool superblock_body_decoder::is_sound(const superblock& head) const noexcept {
  const bool extent_is_right =
      head.double_write ? extent_.length != 0 && !head.clean : extent_ == double_write_extent{};
  const bool history_is_right = head.ahead != head.at.index || head.ahead_history == history_hash{};
  return (flags_ >> 2U) == 0 && extent_is_right && history_is_right &&
         head.replay_from <= head.at.index && head.ahead >= head.at.index &&
         head.next_generation != 0;
}

QUORLITE_DECL bool superblock_body_decoder::take_databases(superblock& into, std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    superblock::database line;
    line.page_count = fields_.u64();
    line.hash = fields_.u64();
    line.version = version_number{fields_.u64()};
    line.generation = fields_.u64();
    line.page_size = fields_.u32();
    line.name = fields_.text(fields_.u16());
    const bool size_is_right =
        line.page_size == 0 ? line.page_count == 0 : is_page_size(line.page_size);
    if (!is_line(line.name, line.generation, into.next_generation) || !size_is_right ||
        line.page_count > limits::page_count_max ||
        (!into.databases.empty() && into.databases.back().name >= line.name)) {
      return false;
    }
    into.databases.push_back(std::move(line));
  }
  return true;
}

QUORLITE_DECL bool superblock_body_decoder::take_removals(superblock& into) {
  for (std::uint32_t i = 0; i < removals_; ++i) {
    superblock::removal line;
    line.generation = fields_.u64();
    line.name = fields_.text(fields_.u16());
    const auto lower = std::lower_bound(into.databases.begin(), into.databases.end(), line.name,
                                        [](const superblock::database& listed,
                                           const std::string& name) { return listed.name < name; });
    const bool listed = lower != into.databases.end() && lower->name == line.name;
    if (!is_line(line.name, line.generation, into.next_generation) || listed ||
        (!into.removals.empty() && into.removals.back().name >= line.name)) {
      return false;
    }
    into.removals.push_back(std::move(line));
  }
  return true;
}

QUORLITE_DECL bool superblock_body_decoder::take_notes(superblock& into) {
  const bytes_view notes = fields_.take(notes_);
  into.notes.assign(notes.begin(), notes.end());
  return fields_.finished();
}

QUORLITE_DECL bool superblock_body_decoder::is_line(std::string_view name, std::uint64_t generation,
                                                    std::uint64_t next_generation) const noexcept {
  return !fields_.failed() && is_database_name(name) && generation != 0 &&
         generation < next_generation;
}

QUORLITE_DECL result<superblock> decode_superblock(bytes_view from) {
  namespace format = superblock_format;
  wire_reader fields(from);
  const std::string_view magic = fields.text(format::magic.size());
  const auto version = fields.u32();
  const auto reserved = fields.u32();
  superblock block;
  block.sequence = fields.u64();
  const auto length = fields.u64();
  const auto checksum = fields.u64();
  const bytes_view body = fields.take(length);
  if (fields.failed() || magic != format::magic || checksum != format::checksum(from, body)) {
    return fail(errc::corrupt);
  }
  if (version > format::version) {
    return fail(errc::needs_upgrade);
  }
  block.tells_history = version == format::version;
  if (version < format::version_without_history || reserved != 0 || block.sequence == 0 ||
      !superblock_body_decoder(body).decode(block)) {
    return fail(errc::corrupt);
  }
  return block;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
