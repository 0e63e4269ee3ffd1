/// @file
/// The record that says what the files of a `file_storage` mean. All integers little-endian.
///
///     offset  bytes
///          0      8  magic "QLSUPER\n"
///          8      4  version of the format: 1
///         12      4  zero
///         16      8  sequence number: the greater of two whole records counts
///         24      8  length of the body
///         32      8  XXH3-64 of the body, seeded by the XXH3-64 of bytes 0 … 31
///         40         the body:
///          0      8    position: index      8      8    position: term
///         16      8    replay_from         24      8    ahead
///         32      8    the next generation
///         40      8    flags: 1 closed in good order, 2 the double-write file is to be copied
///         48      8    length of the double-write file, 0 without flag 2
///         56      8    its checksum (double_write.hpp), 0 without flag 2
///         64      4    number of databases
///         68      4    number of removals
///         72      8    length of the notes
///         80           databases, ascending by name:
///            8 page count, 8 hash, 8 version, 8 generation, 4 page size, 2 length of name, name
///                      removals, ascending by name: 8 generation, 2 length of name, name
///                      the notes
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/storage/little_endian.hpp"
#include "quorlite/xxh3.hpp"

namespace quorlite {
inline namespace v0 {
namespace detail {

/// Pages of a commit that may not be in their places yet.
struct double_write_extent {
  std::uint64_t length = 0;    ///< bytes of the double-write file, never 0
  std::uint64_t checksum = 0;  ///< of its records

  friend bool operator==(const double_write_extent&, const double_write_extent&) = default;
};

/// A decoded superblock. Owns everything.
struct superblock {
  struct database {
    std::string name;
    std::uint32_t page_size = 0;  ///< bytes; 0: still without a page
    std::uint64_t page_count = 0;
    std::uint64_t hash = 0;
    version_number version;
    std::uint64_t generation = 0;  ///< of the files that hold it, never 0

    friend bool operator==(const database&, const database&) = default;
  };
  /// Files of ours that may still be there and are not wanted.
  struct removal {
    std::string name;
    std::uint64_t generation = 0;

    friend bool operator==(const removal&, const removal&) = default;
  };

  std::uint64_t sequence = 0;
  log_position at;
  log_index replay_from;
  log_index ahead;
  std::uint64_t next_generation = 1;  ///< greater than all that are named here
  bool clean = false;                 ///< closed in good order: the files are ordinary ones
  std::optional<double_write_extent> double_write;
  std::vector<database> databases;  ///< ascending by name
  std::vector<removal> removals;    ///< ascending by name, none of them in `databases`
  bytes notes;

  friend bool operator==(const superblock&, const superblock&) = default;
};

namespace superblock_format {

inline constexpr std::string_view magic = "QLSUPER\n";
inline constexpr std::uint32_t version = 1;
inline constexpr std::size_t header_bytes = 40;
inline constexpr std::size_t seeded_bytes = 32;  // of the header: all but the checksum
inline constexpr std::uint64_t flag_clean = 1;
inline constexpr std::uint64_t flag_double_write = 2;
inline constexpr std::size_t body_bytes_min = 80;
inline constexpr std::size_t database_bytes_max = 38 + limits::database_name_bytes;
inline constexpr std::size_t removal_bytes_max = 10 + limits::database_name_bytes;
/// The largest superblock there can be.
inline constexpr std::size_t bytes_max =
    header_bytes + body_bytes_min + limits::databases * (database_bytes_max + removal_bytes_max) +
    limits::notes_bytes;

[[nodiscard]] inline std::uint64_t checksum(bytes_view header, bytes_view body) noexcept {
  return XXH3_64bits_withSeed(body.data(), body.size(), XXH3_64bits(header.data(), seeded_bytes));
}

}  // namespace superblock_format

/// Throws std::bad_alloc.
[[nodiscard]] inline bytes encode(const superblock& block) {
  namespace format = superblock_format;
  bytes out;
  append_bytes(out, bytes_of(format::magic));
  append_little_endian(out, format::version);
  append_little_endian(out, std::uint32_t{0});
  append_little_endian(out, block.sequence);
  append_little_endian(out, std::uint64_t{0});  // length and checksum come last
  append_little_endian(out, std::uint64_t{0});

  const double_write_extent extent = block.double_write.value_or(double_write_extent{});
  append_little_endian(out, block.at.index.value);
  append_little_endian(out, block.at.term.value);
  append_little_endian(out, block.replay_from.value);
  append_little_endian(out, block.ahead.value);
  append_little_endian(out, block.next_generation);
  append_little_endian(out, (block.clean ? format::flag_clean : 0) |
                                (block.double_write ? format::flag_double_write : 0));
  append_little_endian(out, extent.length);
  append_little_endian(out, extent.checksum);
  append_little_endian(out, static_cast<std::uint32_t>(block.databases.size()));
  append_little_endian(out, static_cast<std::uint32_t>(block.removals.size()));
  append_little_endian(out, std::uint64_t{block.notes.size()});
  for (const superblock::database& line : block.databases) {
    append_little_endian(out, line.page_count);
    append_little_endian(out, line.hash);
    append_little_endian(out, line.version.value);
    append_little_endian(out, line.generation);
    append_little_endian(out, line.page_size);
    append_little_endian(out, static_cast<std::uint16_t>(line.name.size()));
    append_bytes(out, bytes_of(line.name));
  }
  for (const superblock::removal& line : block.removals) {
    append_little_endian(out, line.generation);
    append_little_endian(out, static_cast<std::uint16_t>(line.name.size()));
    append_bytes(out, bytes_of(line.name));
  }
  append_bytes(out, block.notes);

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
  [[nodiscard]] bool decode(superblock& into) {
    const std::uint32_t databases = take_head(into);
    return !fields_.failed() && is_sound(into) && databases <= limits::databases &&
           removals_ <= limits::databases && notes_ <= limits::notes_bytes &&
           take_databases(into, databases) && take_removals(into) && take_notes(into);
  }

 private:
  [[nodiscard]] std::uint32_t take_head(superblock& into) noexcept {
    into.at.index = log_index{fields_.take<std::uint64_t>()};
    into.at.term = term{fields_.take<std::uint64_t>()};
    into.replay_from = log_index{fields_.take<std::uint64_t>()};
    into.ahead = log_index{fields_.take<std::uint64_t>()};
    into.next_generation = fields_.take<std::uint64_t>();
    flags_ = fields_.take<std::uint64_t>();
    extent_.length = fields_.take<std::uint64_t>();
    extent_.checksum = fields_.take<std::uint64_t>();
    const auto databases = fields_.take<std::uint32_t>();
    removals_ = fields_.take<std::uint32_t>();
    notes_ = fields_.take<std::uint64_t>();
    into.clean = (flags_ & superblock_format::flag_clean) != 0;
    if ((flags_ & superblock_format::flag_double_write) != 0) {
      into.double_write = extent_;
    }
    return databases;
  }

  [[nodiscard]] bool is_sound(const superblock& head) const noexcept {
    const bool extent_is_right =
        head.double_write ? extent_.length != 0 && !head.clean : extent_ == double_write_extent{};
    return (flags_ >> 2U) == 0 && extent_is_right && head.replay_from <= head.at.index &&
           head.ahead >= head.at.index && head.next_generation != 0;
  }

  [[nodiscard]] bool take_databases(superblock& into, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
      superblock::database line;
      line.page_count = fields_.take<std::uint64_t>();
      line.hash = fields_.take<std::uint64_t>();
      line.version = version_number{fields_.take<std::uint64_t>()};
      line.generation = fields_.take<std::uint64_t>();
      line.page_size = fields_.take<std::uint32_t>();
      line.name = fields_.take_text(fields_.take<std::uint16_t>());
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

  [[nodiscard]] bool take_removals(superblock& into) {
    for (std::uint32_t i = 0; i < removals_; ++i) {
      superblock::removal line;
      line.generation = fields_.take<std::uint64_t>();
      line.name = fields_.take_text(fields_.take<std::uint16_t>());
      const auto lower =
          std::lower_bound(into.databases.begin(), into.databases.end(), line.name,
                           [](const superblock::database& listed, const std::string& name) {
                             return listed.name < name;
                           });
      const bool listed = lower != into.databases.end() && lower->name == line.name;
      if (!is_line(line.name, line.generation, into.next_generation) || listed ||
          (!into.removals.empty() && into.removals.back().name >= line.name)) {
        return false;
      }
      into.removals.push_back(std::move(line));
    }
    return true;
  }

  [[nodiscard]] bool take_notes(superblock& into) {
    const bytes_view notes = fields_.take_bytes(notes_);
    into.notes.assign(notes.begin(), notes.end());
    return fields_.done();
  }

  [[nodiscard]] bool is_line(std::string_view name, std::uint64_t generation,
                             std::uint64_t next_generation) const noexcept {
    return !fields_.failed() && is_database_name(name) && generation != 0 &&
           generation < next_generation;
  }

  field_reader fields_;
  std::uint64_t flags_ = 0;
  double_write_extent extent_;
  std::uint32_t removals_ = 0;
  std::uint64_t notes_ = 0;
};

/// Bytes behind the superblock are left alone: an older, longer one may have been there.
/// @returns errc::corrupt for bytes that are not a whole superblock, errc::needs_upgrade for a
/// whole one of a newer version. Throws std::bad_alloc.
[[nodiscard]] inline result<superblock> decode_superblock(bytes_view from) {
  namespace format = superblock_format;
  field_reader fields(from);
  const std::string_view magic = fields.take_text(format::magic.size());
  const auto version = fields.take<std::uint32_t>();
  const auto reserved = fields.take<std::uint32_t>();
  superblock block;
  block.sequence = fields.take<std::uint64_t>();
  const auto length = fields.take<std::uint64_t>();
  const auto checksum = fields.take<std::uint64_t>();
  const bytes_view body = fields.take_bytes(length);
  if (fields.failed() || magic != format::magic || checksum != format::checksum(from, body)) {
    return failed(errc::corrupt);
  }
  if (version > format::version) {
    return failed(errc::needs_upgrade);
  }
  if (version != format::version || reserved != 0 || block.sequence == 0 ||
      !superblock_body_decoder(body).decode(block)) {
    return failed(errc::corrupt);
  }
  return block;
}

}  // namespace detail
}  // namespace v0
}  // namespace quorlite
