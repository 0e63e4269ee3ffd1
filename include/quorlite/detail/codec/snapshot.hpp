/// @file
/// The native snapshot: its format, a renderer of any range (snapshot_layout) and a parser of
/// pieces.
///
/// It is all databases of a replica as of one log position, in bytes. Equal state, equal bytes.
///
/// Version 2 is version 1 with other notes, which tell the history of the state: a build that does
/// not know them must not take the state without it. So what the notes are says which version it
/// is, and both must agree.
///
/// Integers are little-endian and of fixed width. The preamble is the same in every version:
///
/// | offset | bytes | preamble |
/// |--------|-------|----------|
/// | 0      | 8     | magic 89 71 6C 73 6E 61 70 0A (letters "qlsnap" within) |
/// | 8      | 4     | format version, 1; 2 if the notes begin with "QLNOTES2" |
/// | 12     | 8     | size of the header, H |
/// | 20     | 4     | CRC32C of bytes 0–19 |
/// | 24     | H     | header |
/// | 24 + H |       | pages of each database, in chunks; then the footer |
///
/// | field of the header | type | |
/// |---------------------|------|-|
/// | log index, term     | u64, u64 | the last entry that the state contains |
/// | database count      | u32  | then for each, ascending by name: |
/// | – name              | u8 length, letters | |
/// | – page size         | u32  | bytes; 0 while there is no page |
/// | – page count        | u64  | |
/// | – version           | u64  | transactions committed so far |
/// | – hash              | u64  | sum of the page hashes (page_hash.hpp) |
/// | notes               | u32 length, bytes | opaque, but for their first 8 bytes |
/// | staged count        | u32  | entries of uncommitted transactions, in log order; for each: |
/// | – entry             | u32 length, bytes | as it stood in the log |
/// | checksum            | u32  | CRC32C of the header before it |
///
/// | bytes | a chunk: 65536 bytes of pages, fewer in the last one of a database |
/// |-------|-----|
/// | n * page_size | images of n = 65536 / page_size pages in a row; zeros for the lock page |
/// | 4     | CRC32C of {u32 database's place in the header from 0, u32 first page number, images} |
///
/// | offset | bytes | footer |
/// |--------|-------|--------|
/// | 0      | 8     | magic 71 6C 73 65 6E 64 0A 8A (letters "qlsend" within) |
/// | 8      | 8     | size of the whole snapshot, footer included |
/// | 16     | 8     | sum of the hashes of all databases, modulo 2^64 |
/// | 24     | 4     | CRC32C of footer bytes 0–23 |
///
/// All chunks but the last of a database have one size, so the place of every page is arithmetic. A
/// chunk's checksum covers where it belongs, so one in the wrong place is found at once.
#pragma once

#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One database of a snapshot.
struct snapshot_database {
  std::string name;
  std::uint32_t page_size = 0;   ///< bytes; 0 if, and only if, page_count is 0
  std::uint64_t page_count = 0;  ///< pages
  version_number version;        ///< transactions committed so far
  std::uint64_t hash = 0;        ///< sum of the page hashes; 0 without pages
};

/// All of a snapshot but its pages.
struct snapshot_header {
  log_position at;                           ///< the last entry that the state contains
  std::vector<snapshot_database> databases;  ///< ascending by name; at most limits::databases
  bytes notes;  ///< opaque, but for snapshot_version_of(); at most limits::notes_bytes
  /// Entries of transactions under way, in log order, none empty; at most limits::staged_bytes and
  /// snapshot_staged_entries. Shared: they may be as long as everything else.
  std::vector<std::shared_ptr<const bytes>> staged;
};

/// The most staged entries in one snapshot: 1 GiB of them at 4 KiB each.
inline constexpr std::size_t snapshot_staged_entries = std::size_t{1} << 18U;

inline constexpr std::uint64_t snapshot_magic = 0x0A70616E736C7189U;
inline constexpr std::uint64_t snapshot_end_magic = 0x8A0A646E65736C71U;
inline constexpr int snapshot_magic_damage_bits = 8;  // so many are damage, more another format
inline constexpr std::uint32_t snapshot_version_max = 2;
inline constexpr std::size_t snapshot_preamble_bytes = 8 + 4 + 8 + 4;
inline constexpr std::size_t snapshot_footer_bytes = 8 + 8 + 8 + 4;
inline constexpr std::size_t snapshot_chunk_bytes = limits::page_size_max;  // of pages
inline constexpr std::size_t snapshot_crc_bytes = 4;
inline constexpr std::size_t snapshot_length_bytes = 4;  // before each staged entry
inline constexpr std::size_t snapshot_database_bytes_min = 1 + 1 + 4 + 8 + 8 + 8;

/// No header is longer: whatever is declared, a parser gathers no more than this.
inline constexpr std::uint64_t snapshot_header_bytes_max =
    8 + 8 + 4 + limits::databases * (snapshot_database_bytes_min + limits::database_name_bytes) +
    4 + limits::notes_bytes + 4 + snapshot_staged_entries * 4 + limits::staged_bytes + 4;

/// "QLNOTES2", as a little-endian number: how notes begin that tell a history.
inline constexpr std::uint64_t history_notes_magic = 0x32534554'4F4E4C51U;

/// The version of a snapshot with these notes: 1 or 2.
[[nodiscard]] QUORLITE_DECL std::uint32_t snapshot_version_of(bytes_view notes) noexcept;

/// Bytes of all chunks of a database. At most 2^32 pages of 2^16 bytes and 4 more for each; of all
/// databases together a header may tell 2^60 at most, so nothing here can wrap.
[[nodiscard]] constexpr std::uint64_t snapshot_pages_bytes(const snapshot_database& of) noexcept {
  const std::uint64_t images = of.page_count * of.page_size;
  const std::uint64_t chunks = (images + snapshot_chunk_bytes - 1) / snapshot_chunk_bytes;
  return images + chunks * snapshot_crc_bytes;
}

/// Where a chunk belongs: the start value of its checksum.
[[nodiscard]] QUORLITE_DECL std::uint32_t snapshot_chunk_seed(std::size_t ordinal,
                                                              std::uint64_t first_page) noexcept;

/// The rules of a header, for the writer and the parser alike.
[[nodiscard]] QUORLITE_DECL std::error_code validate_snapshot_header(
    const snapshot_header& header) noexcept;

/// Appends preamble and header of a valid `header` to `out`, up to the staged count: the entries
/// follow, each behind its length, and the checksum.
/// @returns bytes of preamble and header, with all that follows
QUORLITE_DECL std::uint64_t encode_snapshot_head(const snapshot_header& header, bytes& out);

/// Appends preamble and header of a valid `header` to `out`.
QUORLITE_DECL void encode_snapshot_header(const snapshot_header& header, bytes& out);

/// The header in `body`, which ends with its checksum.
/// @returns errc::corrupt, malformed or too_large
[[nodiscard]] QUORLITE_DECL result<snapshot_header> decode_snapshot_header(bytes_view body);

/// The footer of a snapshot of that size.
[[nodiscard]] QUORLITE_DECL std::array<std::byte, snapshot_footer_bytes> make_snapshot_footer(
    std::uint64_t size_bytes, std::uint64_t hash_sum) noexcept;

/// How many bits of the magic are wrong; more than there are if it is not there whole.
[[nodiscard]] QUORLITE_DECL int wrong_snapshot_magic_bits(bytes_view start) noexcept;

/// True for a snapshot that snapshot_parser takes for one of ours, whole or damaged; false: ask the
/// parser of another format.
/// @param start its first bytes, 8 at least
[[nodiscard]] QUORLITE_API QUORLITE_DECL bool is_native_snapshot(bytes_view start) noexcept;

/// What a parser tells, in this order: the header once, then each page of each database, ascending.
///
/// The views are valid during the call. An error of the sink ends the parse and is its result.
/// `hash` is page_hash() of the image. The lock page is left out. A page comes with its chunk's
/// checksum verified, before its database's hash is: believe in the whole only after finish().
template <class Sink>
concept snapshot_sink = requires(Sink& sink, const snapshot_header& header,
                                 std::size_t database_ordinal, page_number number,
                                 std::uint64_t hash, bytes_view image) {
  { sink.on_header(header) } -> std::same_as<std::error_code>;
  { sink.on_page(database_ordinal, number, hash, image) } -> std::same_as<std::error_code>;
};

/// A sink that is borrowed, so that the parser need not be a template.
class snapshot_sink_ref {
 public:
  template <snapshot_sink Sink>
  snapshot_sink_ref(Sink& sink) noexcept  // NOLINT: any sink is one
      : sink_(&sink),
        header_([](void* to, const snapshot_header& header) {
          return static_cast<Sink*>(to)->on_header(header);
        }),
        page_([](void* to, std::size_t database_ordinal, page_number number, std::uint64_t hash,
                 bytes_view image) {
          return static_cast<Sink*>(to)->on_page(database_ordinal, number, hash, image);
        }) {}

  // Not named as a sink's: a reference is no sink, so a copy refers to what the original does.
  [[nodiscard]] std::error_code tell_header(const snapshot_header& header) const {
    return header_(sink_, header);
  }
  [[nodiscard]] std::error_code tell_page(std::size_t database_ordinal, page_number number,
                                          std::uint64_t hash, bytes_view image) const {
    return page_(sink_, database_ordinal, number, hash, image);
  }

 private:
  void* sink_;
  std::error_code (*header_)(void*, const snapshot_header&);
  std::error_code (*page_)(void*, std::size_t, page_number, std::uint64_t, bytes_view);
};

/// Parses a snapshot that arrives in order, cut anywhere. One thread at a time.
///
/// Total: any bytes give calls of the sink that are right as far as they go, and an error where
/// they stop being so. The first error is final. Memory: the header (as its bytes arrive, never by
/// a declared size; at most limits::staged_bytes and some), later one chunk of 64 KiB; pieces that
/// hold whole chunks are not copied.
class QUORLITE_API snapshot_parser {
 public:
  /// @param lock_byte where the lock page lies; the same on every replica
  explicit snapshot_parser(std::uint64_t lock_byte = limits::lock_byte_default) noexcept
      : lock_byte_(lock_byte) {}
  /// For who does not know where the lock page lies: the checksums alone are looked at, not the
  /// pages' hashes, and no page is told.
  [[nodiscard]] static snapshot_parser of_checksums() noexcept {
    snapshot_parser made;
    made.takes_pages_ = false;
    return made;
  }

  /// Takes the next bytes; borrowed for the call.
  /// @returns errc::corrupt (a checksum or a hash differs), malformed (no snapshot, or one that
  ///          breaks a rule), too_large (over a limit), needs_upgrade (whole, of a newer version),
  ///          or the sink's error. Any of them is returned again by every later call.
  [[nodiscard]] std::error_code append(bytes_view piece, snapshot_sink_ref sink);

  /// The last byte was given.
  /// @returns the error of append(), errc::corrupt for a snapshot that stops early, or nothing: all
  ///          of it was verified
  [[nodiscard]] std::error_code finish() noexcept;

 private:
  enum class part : std::uint8_t { preamble, header, chunk, footer, end };

  /// Adds to the bytes of a part that came in pieces. @returns what is left of the piece
  [[nodiscard]] bytes_view gather(bytes_view piece, snapshot_sink_ref sink);
  /// One whole part. Sets error_, or part_ and wanted_ of the next.
  void take(bytes_view whole, snapshot_sink_ref sink);
  [[nodiscard]] std::error_code take_preamble(bytes_view whole) noexcept;
  [[nodiscard]] std::error_code take_header(bytes_view whole, snapshot_sink_ref sink);
  [[nodiscard]] std::error_code take_chunk(bytes_view whole, snapshot_sink_ref sink);
  [[nodiscard]] std::error_code take_pages(bytes_view images, snapshot_sink_ref sink);
  [[nodiscard]] std::error_code take_footer(bytes_view whole) noexcept;
  void expect_next_chunk() noexcept;

  std::uint64_t lock_byte_;
  bool takes_pages_ = true;
  std::error_code error_;
  part part_ = part::preamble;
  std::uint32_t version_ = 0;
  std::uint64_t wanted_ = snapshot_preamble_bytes;  // bytes of the part
  bytes gathered_;                                  // of the part, when it came in pieces
  std::vector<snapshot_database> databases_;
  std::size_t ordinal_ = 0;
  std::uint64_t next_page_ = 1;
  std::uint64_t hash_ = 0;  // of the pages of this database so far
  std::uint64_t size_bytes_ = 0;
  std::uint64_t hash_sum_ = 0;
};

/// Fills one page of the state that the snapshot shows: `source(database_ordinal, number, page)`.
///
/// The ordinal is the database's place in the header, from 0; `page` has its page_size bytes, all
/// to be written. The same page always has the same bytes. Never asked for the lock page. An error
/// ends the read and is its result.
template <class Source>
concept snapshot_page_source = requires(Source& source, std::size_t database_ordinal,
                                        page_number number, bytes_span page) {
  { source(database_ordinal, number, page) } -> std::same_as<std::error_code>;
};

/// A source that is borrowed, so that the layout need not be a template.
class snapshot_page_source_ref {
 public:
  template <snapshot_page_source Source>
  snapshot_page_source_ref(Source&& source) noexcept  // NOLINT: any source is one
      : source_(const_cast<void*>(static_cast<const void*>(&source))),
        call_([](void* from, std::size_t database_ordinal, page_number number, bytes_span page) {
          auto& fill_page = *static_cast<std::remove_reference_t<Source>*>(from);
          return fill_page(database_ordinal, number, page);
        }) {}

  // No call operator: a reference is no source, so a copy refers to what the original does.
  [[nodiscard]] std::error_code fill(std::size_t database_ordinal, page_number number,
                                     bytes_span page) const {
    return call_(source_, database_ordinal, number, page);
  }

 private:
  void* source_;
  std::error_code (*call_)(void*, std::size_t, page_number, bytes_span);
};

/// The bytes of one snapshot, by place. Holds the encoded header with its notes, 24 bytes for each
/// database and for each staged entry, which it shares; pages are asked for as they are read. Any
/// thread may read, several at once; who reads the header's checksum first goes over all entries.
class snapshot_layout {
 public:
  /// Takes no time for the bytes of staged entries, however long they are.
  /// @param header copied; its staged entries are shared
  /// @param lock_byte where the lock page lies; the same on every replica
  /// @returns errc::malformed (names, sizes or counts against the rules) or too_large (over a
  ///          limit)
  [[nodiscard]] static result<snapshot_layout> make(
      const snapshot_header& header, std::uint64_t lock_byte = limits::lock_byte_default);

  /// All of the snapshot, in bytes.
  [[nodiscard]] std::uint64_t size_bytes() const noexcept { return size_bytes_; }
  /// How many of them are preamble and header.
  [[nodiscard]] std::uint64_t header_bytes() const noexcept { return header_bytes_; }

  /// Fills all of `into` with the bytes from `offset` on; same offset, same bytes.
  ///
  /// Whole chunks are rendered in place; a part of one asks for the pages that it touches, and for
  /// all pages of the chunk if it touches the checksum. So read in order and in big pieces where
  /// you can. Memory: one chunk.
  /// @returns std::errc::invalid_argument (the range leaves the snapshot) or the source's error;
  ///          the content of `into` is then unspecified
  [[nodiscard]] std::error_code read(std::uint64_t offset, bytes_span into,
                                     snapshot_page_source_ref source) const;

 private:
  struct extent {
    std::uint64_t offset = 0;  // of the first chunk
    std::uint64_t page_count = 0;
    std::uint32_t page_size = 0;
  };

  struct chunk {
    std::size_t ordinal = 0;
    std::uint64_t first_page = 0;
    std::uint32_t page_size = 0;
    std::size_t images_bytes = 0;
    std::size_t skip = 0;  // bytes of the chunk before the ones that are wanted

    [[nodiscard]] std::size_t size() const noexcept { return images_bytes + snapshot_crc_bytes; }
  };

  /// A staged entry behind its length.
  struct staged_entry {
    std::uint64_t offset = 0;  // of the length
    std::shared_ptr<const bytes> content;
  };

  snapshot_layout(const snapshot_header& header, std::uint64_t lock_byte);

  /// Copies from `offset` on what lies next to each other there. @pre offset < header_bytes_
  [[nodiscard]] std::size_t read_header(std::uint64_t offset, bytes_span into) const;
  [[nodiscard]] std::uint32_t checksum_of_header() const;

  /// @pre head_.size() <= offset < footer_offset_
  [[nodiscard]] chunk chunk_at(std::uint64_t offset) const noexcept;
  /// Fills `into` with the bytes of the chunk from `which.skip` on.
  [[nodiscard]] std::error_code render(const chunk& which, bytes_span into, bytes& scratch,
                                       snapshot_page_source_ref source) const;
  /// Fills `images` with the whole pages of the chunk from byte `first` of it on.
  [[nodiscard]] std::error_code fill(const chunk& which, std::size_t first, bytes_span images,
                                     snapshot_page_source_ref source) const;
  static std::size_t copy_part(bytes_view from, std::uint64_t offset, bytes_span into) noexcept;
  /// Copies the bytes of the chunk's checksum from `skip` on, as many as `into` takes.
  static void put_checksum(const chunk& which, bytes_view images, std::size_t skip,
                           bytes_span into) noexcept;

  bytes head_;  // up to the staged count
  std::vector<staged_entry> staged_;
  /// The header's, made when it is wanted: who makes a layout may not have the time for it. Above
  /// 32 bits: not made yet. Two threads may make it at once, and find the same.
  std::shared_ptr<std::atomic<std::uint64_t>> checksum_;
  std::uint64_t header_bytes_ = 0;
  std::vector<extent> extents_;
  std::uint64_t lock_byte_;
  std::uint64_t footer_offset_ = 0;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t hash_sum_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/codec/snapshot_format.ipp"  // IWYU pragma: keep
#include "quorlite/detail/codec/snapshot_layout.ipp"  // IWYU pragma: keep
#include "quorlite/detail/codec/snapshot_parser.ipp"  // IWYU pragma: keep
#endif
