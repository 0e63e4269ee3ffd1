/// @file
/// What an entry of a go-dqlite log means, as values, and what such a value must keep to.
///
/// The schema. An entry is one Command, with no envelope, version or checksum around it; the byte
/// is the field's tag. How fields are read: protobuf.hpp; which bytes we write: go_dqlite.hpp.
///
/// | message     | field        | no. | type       | byte  | notes |
/// |-------------|--------------|-----|------------|-------|-------|
/// | Command     | open         | 1   | Open       | 0a    | of these six the last one counts |
/// |             | begin        | 2   | Begin      | 12    | legacy: changes nothing |
/// |             | frames       | 3   | Frames     | 1a    | |
/// |             | undo         | 4   | Undo       | 22    | |
/// |             | end          | 5   | End        | 2a    | legacy: changes nothing |
/// |             | checkpoint   | 6   | Checkpoint | 32    | |
/// | Open        | name         | 1   | string     | 0a    | |
/// | Begin       | txid         | 1   | uint64     | 08    | |
/// |             | name         | 2   | string     | 12    | |
/// | Frames      | txid         | 1   | uint64     | 08    | |
/// |             | page_size    | 2   | int32      | 10    | bytes |
/// |             | pages        | 3   | FramesPage | 1a    | v1 only; repeated |
/// |             | truncate     | 4   | uint32     | 20    | pages of the database after a commit |
/// |             | is_commit    | 5   | int32      | 28    | commits if above 0 |
/// |             | sync_flags   | 6   | uint32     | 30    | v1 only, without effect |
/// |             | filename     | 7   | string     | 3a    | empty (as in v1a): "db.bin" |
/// |             | page_numbers | 8   | uint32     | 42/40 | v2 only; repeated, packed or not |
/// |             | page_data    | 9   | bytes      | 4a    | v2 only; the pages one after another |
/// | FramesPage  | data         | 1   | bytes      | 0a    | filled with zeros, or cut |
/// |             | flags        | 2   | uint32     | 10    | without effect |
/// |             | number       | 3   | uint32     | 18    | page number |
/// | Undo, End   | txid         | 1   | uint64     | 08    | |
/// | Checkpoint  | name         | 1   | string     | 0a    | |
///
/// | era | since   | what entries hold |
/// |-----|---------|-------------------|
/// | v1a | 2018-02 | pages and sync_flags, no filename; Begin and End around them |
/// | v1b | 2018-03 | as v1a, with filename |
/// | v2  | 2018-07 | page_numbers and page_data; no Begin, no End |
///
/// Older ones (JSON; text for a txid) are refused. v1 is told from v2 by its pages alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <variant>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/legacy/protobuf.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {
namespace go_dqlite {

/// The database that frames without a file name are for.
inline constexpr std::string_view default_database_name = "db.bin";

/// A database of this name exists from here on.
struct open_command {
  std::string_view name;
};
/// Changes nothing. But see undo_command: an undo may be of a transaction that only began.
struct begin_command {
  std::uint64_t txid = 0;
  std::string_view name;  ///< anything: never looked up
};
/// A page of a v1 entry.
struct page_v1 {
  bytes_view data;  ///< of any length; see frames_command::page()
  std::uint32_t flags = 0;
  page_number number;
};
/// A page of either version.
struct page_view {
  page_number number;
  bytes_view data;  ///< page_size bytes at most; zeros follow a shorter one
};

/// Pages of a transaction, in the order that SQLite gave them: of a page that comes twice the last
/// image counts. Either `pages` (v1) or `page_numbers` and `page_data` (v2) are filled. Fields keep
/// what the entry said, so that it can be written again.
struct frames_command {
  std::uint64_t txid = 0;
  std::int32_t page_size = 0;  ///< bytes
  std::vector<page_v1> pages;
  std::uint32_t truncate = 0;  ///< pages of the database after the commit; else without meaning
  std::int32_t is_commit = 0;
  std::uint32_t sync_flags = 0;
  std::string_view filename;
  std::vector<page_number> page_numbers;
  bytes_view page_data;

  [[nodiscard]] bool commits() const noexcept { return is_commit > 0; }
  /// Whose pages these are; never empty.
  [[nodiscard]] std::string_view database_name() const noexcept {
    return filename.empty() ? default_database_name : filename;
  }
  /// How many page(i) there are.
  [[nodiscard]] std::size_t page_count() const noexcept {
    return pages.empty() ? page_numbers.size() : pages.size();
  }
  /// One page, from 0. O(1).
  /// @pre decode() gave this command, and index < page_count()
  [[nodiscard]] page_view page(std::size_t index) const noexcept;
  /// Fills `into`, of page_size bytes, with the whole image of page(index).
  void copy_page(std::size_t index, bytes_span into) const noexcept;
};

/// The pages of this transaction are dropped. It may be one that no frames were sent for: then the
/// last begin_command has to have named it.
struct undo_command {
  std::uint64_t txid = 0;
};
/// Changes nothing.
struct end_command {
  std::uint64_t txid = 0;
};
/// A good moment for a checkpoint. Changes nothing that a reader can see.
struct checkpoint_command {
  std::string_view name;
};

/// One entry. Views point into the bytes that were decoded. The alternatives stand in the order of
/// their field numbers.
using command = std::variant<open_command, begin_command, frames_command, undo_command, end_command,
                             checkpoint_command>;

/// What it is called in traces: "open", "begin", "frames", "undo", "end", "checkpoint".
[[nodiscard]] QUORLITE_DECL std::string_view name_of(const command& named) noexcept;

/// What decode() asks of a command beyond protobuf.
enum class rule : std::uint8_t {
  none,
  has_payload,  ///< one of the six is there
  one_version,  ///< v1 and v2 pages are not mixed
  has_pages,    ///< frames have one page at least
  page_size,    ///< 1 to limits::page_size_max
  page_number,  ///< none is 0
  data_length,  ///< page_data is page_size bytes for each of page_numbers
  page_limit,   ///< limits::pages_per_entry, and limits::entry_bytes of whole pages
  entry_limit,  ///< limits::entry_bytes
};

/// Why an entry was refused: at most one of the two is set.
struct decode_fault {
  protobuf_fault wire;
  rule broken = rule::none;
};

/// One line for logs, in the words of the system whose format this is where it had some.
[[nodiscard]] QUORLITE_DECL std::string explain(const decode_fault& fault);

namespace detail {

/// The first rule that the frames break. All products are of 64 bits: at most 2^17 pages of 2^16.
[[nodiscard]] QUORLITE_DECL rule broken_rule(const frames_command& frames) noexcept;

[[nodiscard]] QUORLITE_DECL errc code_of(rule broken) noexcept;

/// Whether a database of ours could take the command.
struct command_rules {
  std::uint64_t lock_byte;

  [[nodiscard]] std::error_code operator()(const open_command& open) const noexcept {
    return of_name(open.name);
  }
  [[nodiscard]] std::error_code operator()(const checkpoint_command& checkpoint) const noexcept {
    return of_name(checkpoint.name);
  }
  [[nodiscard]] std::error_code operator()(const begin_command&) const noexcept { return {}; }
  [[nodiscard]] std::error_code operator()(const undo_command&) const noexcept { return {}; }
  [[nodiscard]] std::error_code operator()(const end_command&) const noexcept { return {}; }

  [[nodiscard]] std::error_code operator()(const frames_command& frames) const noexcept;

 private:
  [[nodiscard]] static std::error_code of_name(std::string_view name) noexcept {
    return is_database_name(name) ? std::error_code{} : make_error_code(errc::invalid_name);
  }
};

}  // namespace detail

/// Whether a database of ours could take the command: its name, SQLite's page sizes, page numbers
/// up to limits::page_count_max and none of the lock page, a page count with every commit. decode()
/// leaves these to its caller, since the format knows nothing of them. O(pages), no allocation, any
/// thread.
/// @param lock_byte where the lock page lies; the same on every replica
/// @returns errc::invalid_name, malformed, too_large, or nothing
[[nodiscard]] QUORLITE_DECL std::error_code validate(
    const command& checked, std::uint64_t lock_byte = limits::lock_byte_default) noexcept;

}  // namespace go_dqlite
}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/legacy/go_dqlite_command.ipp"  // IWYU pragma: keep
#endif
