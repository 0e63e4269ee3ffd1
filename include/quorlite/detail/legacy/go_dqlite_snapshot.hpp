/// @file
/// The snapshot of go-dqlite: all databases as of one log index, as SQLite files in a row.
///
/// All integers are little-endian:
///
/// | bytes | snapshot |
/// |-------|----------|
/// | 8     | log index: the last entry that the state contains |
/// |       | records, until the bytes end |
///
/// | bytes | record |
/// |-------|--------|
/// | 8     | D, size of the database part |
/// | D     | database part: the database file |
/// | 8     | W, size of the WAL part |
/// | W     | WAL part: the file beside it (wal_fold.hpp) |
/// |       | name, then a byte 00; it can be told from the next record only by its place |
///
/// There is no magic, no count and no checksum: a snapshot that is cut between two records is a
/// snapshot of fewer databases, and a database part can be anything. (Its writer meant to add a
/// transaction id after the name, but what it wrote was always empty, and never ended.)
///
/// Read in three steps: record_parser takes the bytes apart; snapshot_parser
/// (go_dqlite_snapshot_parser.hpp) makes pages of them; snapshot_layout writes them again, in name
/// order and without WAL parts: equal state, equal bytes.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {
namespace go_dqlite {

/// The largest database file that SQLite could have written.
inline constexpr std::uint64_t file_bytes_max = limits::page_count_max * limits::page_size_max;

/// What record_parser tells: the index once, then for each record the pieces of its database part,
/// the pieces of its WAL part, and its end with its name. Pieces are not empty, of any size, and
/// valid during the call. An error of the sink ends the parse and is its result.
template <class Sink>
concept record_sink = requires(Sink& sink, log_index index, bytes_view piece,
                               std::string_view name) {
  { sink.on_index(index) } -> std::same_as<std::error_code>;
  { sink.on_database_piece(piece) } -> std::same_as<std::error_code>;
  { sink.on_wal_piece(piece) } -> std::same_as<std::error_code>;
  { sink.on_record_end(name) } -> std::same_as<std::error_code>;
};

/// Takes a snapshot apart that arrives in order, cut anywhere. It looks at sizes and places only.
///
/// Total; the first error is final. Memory: one name. One thread at a time.
class record_parser {
 public:
  /// Takes the next bytes; borrowed for the call.
  /// @returns errc::too_large (a part larger than any SQLite file, or more parts than
  ///          limits::databases_before_history),
  ///          malformed (a name longer than any of ours, or none), or the sink's error. Any of them
  ///          is returned again by every later call.
  template <class Sink>
  requires record_sink<Sink>
  [[nodiscard]] std::error_code append(bytes_view piece, Sink& sink) {
    while (!error_ && !piece.empty()) {
      switch (part_) {
        case part::index:
        case part::database_size:
        case part::wal_size: piece = gather_integer(piece, sink); break;
        case part::database:
        case part::wal: piece = pass_on(piece, sink); break;
        case part::name: piece = gather_name(piece, sink); break;
      }
    }
    return error_;
  }

  /// The last byte was given.
  /// @returns the error of append(), errc::corrupt for a snapshot that stops within a record, or
  ///          nothing
  [[nodiscard]] std::error_code finish() noexcept;

 private:
  enum class part : std::uint8_t { index, database_size, database, wal_size, wal, name };

  template <class Sink>
  [[nodiscard]] bytes_view gather_integer(bytes_view piece, Sink& sink) {
    const std::size_t count = std::min(8 - integer_bytes_, piece.size());
    for (const std::byte next : piece.first(count)) {
      integer_ |= std::to_integer<std::uint64_t>(next) << (8 * integer_bytes_);
      ++integer_bytes_;
    }
    if (integer_bytes_ == 8) {
      take_integer(integer_, sink);
      integer_ = 0;
      integer_bytes_ = 0;
    }
    return piece.subspan(count);
  }

  template <class Sink>
  void take_integer(std::uint64_t value, Sink& sink) {
    if (part_ == part::index) {
      error_ = sink.on_index(log_index{value});
      part_ = part::database_size;
      return;
    }
    // A WAL may well be larger than its database; one larger than any database has no use.
    if (value > file_bytes_max || records_ == limits::databases_before_history) {
      error_ = errc::too_large;
      return;
    }
    left_ = value;
    if (part_ == part::database_size) {
      part_ = value == 0 ? part::wal_size : part::database;
    } else {
      part_ = value == 0 ? part::name : part::wal;
    }
  }

  template <class Sink>
  [[nodiscard]] bytes_view pass_on(bytes_view piece, Sink& sink) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left_, piece.size()));
    const bool is_database = part_ == part::database;
    error_ = is_database ? sink.on_database_piece(piece.first(count))
                         : sink.on_wal_piece(piece.first(count));
    left_ -= count;
    if (left_ == 0) {
      part_ = is_database ? part::wal_size : part::name;
    }
    return piece.subspan(count);
  }

  template <class Sink>
  [[nodiscard]] bytes_view gather_name(bytes_view piece, Sink& sink) {
    const auto end = std::find(piece.begin(), piece.end(), std::byte{0});
    const auto count = static_cast<std::size_t>(end - piece.begin());
    if (name_.size() + count > limits::database_name_bytes) {
      error_ = errc::malformed;
      return {};
    }
    name_.append(reinterpret_cast<const char*>(piece.data()), count);
    if (end == piece.end()) {
      return {};
    }
    error_ = name_.empty() ? make_error_code(errc::malformed)
                           : sink.on_record_end(std::string_view{name_});
    name_.clear();
    ++records_;
    part_ = part::database_size;
    return piece.subspan(count + 1);
  }

  std::error_code error_;
  part part_ = part::index;
  std::uint64_t integer_ = 0;  // as far as it has arrived
  std::size_t integer_bytes_ = 0;
  std::uint64_t left_ = 0;  // of the part
  std::string name_;
  std::size_t records_ = 0;
};

/// Appends the start of a snapshot; records follow.
inline void append_index(log_index index, bytes& out) { wire_writer{out}.u64(index.value); }

/// What one record holds, borrowed.
struct record_parts {
  bytes_view database;
  bytes_view wal;
  std::string_view name;  ///< without a byte 00
};
/// Appends one record as it is, without a look at what its parts hold.
QUORLITE_DECL void append_record(const record_parts& parts, bytes& out);

/// The bytes of one snapshot, by place. Holds its sizes and names; pages are asked for as they are
/// read. Any thread may read, several at once.
class snapshot_layout {
 public:
  /// @param header copied, as far as the format has room: index, names, page sizes and counts
  /// @param lock_byte where the lock page lies; the same on every replica
  /// @returns errc::malformed (names, sizes or counts against the rules), too_large (over a limit),
  ///          unsupported (a transaction is staged: this format cannot say so), or the layout
  [[nodiscard]] static result<snapshot_layout> make(
      const snapshot_header& header, std::uint64_t lock_byte = limits::lock_byte_default);

  /// All of the snapshot, in bytes.
  [[nodiscard]] std::uint64_t size_bytes() const noexcept { return size_bytes_; }

  /// Fills all of `into` with the bytes from `offset` on; same offset, same bytes. A part of a page
  /// asks for the whole page. Memory: one page.
  /// @param source ordinals count the databases of the header
  /// @returns std::errc::invalid_argument (the range leaves the snapshot) or the source's error;
  ///          the content of `into` is then unspecified
  template <class Source>
  requires snapshot_page_source<Source>
  [[nodiscard]] std::error_code read(std::uint64_t offset, bytes_span into, Source&& source) const {
    if (offset > size_bytes_ || into.size() > size_bytes_ - offset) {
      return std::make_error_code(std::errc::invalid_argument);
    }
    bytes scratch;
    auto part = parts_.begin();
    while (!into.empty()) {
      while (offset - part->offset >= part->head.size() + part->file_bytes()) {
        ++part;
      }
      const std::uint64_t skip = offset - part->offset;
      std::size_t count = 0;
      if (skip < part->head.size()) {
        count = std::min(into.size(), static_cast<std::size_t>(part->head.size() - skip));
        std::memcpy(into.data(), part->head.data() + skip, count);
      } else {
        const auto ordinal = static_cast<std::size_t>(part - parts_.begin());
        count = std::min(into.size(), static_cast<std::size_t>(page_rest(*part, skip)));
        if (const auto error = render(*part, ordinal, skip, into.first(count), scratch, source)) {
          return error;
        }
      }
      offset += count;
      into = into.subspan(count);
    }
    return {};
  }

 private:
  /// Bytes that stand as they are, then a database file. The last one has no file.
  struct part_layout {
    std::uint64_t offset = 0;
    bytes head;
    std::uint32_t page_size = 0;
    std::uint64_t page_count = 0;

    [[nodiscard]] std::uint64_t file_bytes() const noexcept { return page_count * page_size; }
  };

  snapshot_layout(const snapshot_header& header, std::uint64_t lock_byte);

  /// Bytes from there to the end of the page.
  [[nodiscard]] static std::uint64_t page_rest(const part_layout& part,
                                               std::uint64_t skip) noexcept;

  template <class Source>
  [[nodiscard]] std::error_code render(const part_layout& part, std::size_t ordinal,
                                       std::uint64_t skip, bytes_span into, bytes& scratch,
                                       Source& source) const {
    const std::uint64_t in_file = skip - part.head.size();
    const page_number number{static_cast<std::uint32_t>(in_file / part.page_size + 1)};
    if (number.value == lock_page(part.page_size, lock_byte_)) {
      std::fill(into.begin(), into.end(), std::byte{0});
      return {};
    }
    if (into.size() == part.page_size) {
      return source(ordinal, number, into);
    }
    scratch.resize(part.page_size);
    if (const auto error = source(ordinal, number, bytes_span{scratch})) {
      return error;
    }
    std::memcpy(into.data(), scratch.data() + in_file % part.page_size, into.size());
    return {};
  }

  std::uint64_t lock_byte_;
  std::uint64_t size_bytes_ = 0;
  std::vector<part_layout> parts_;
};

}  // namespace go_dqlite
}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/legacy/go_dqlite_snapshot.ipp"  // IWYU pragma: keep
#endif
