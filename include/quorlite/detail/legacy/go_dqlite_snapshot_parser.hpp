/// @file
/// Makes pages of a go-dqlite snapshot (go_dqlite_snapshot.hpp), its WAL parts folded in.
///
/// | record | outcome |
/// |--------|---------|
/// | empty database part, empty WAL part | a database without a page |
/// | empty database part, some WAL part | refused: SQLite would throw the WAL away |
/// | database part that does not start as a SQLite file, or of no whole pages | refused |
/// | WAL part of 32 bytes or fewer | as if it were empty: nothing can be in it |
/// | WAL part whose header is damaged | refused: SQLite would go on without all of it |
/// | WAL part whose header tells another page size or version | refused |
/// | frame that is cut or damaged, frames without a commit | dropped with all behind them, as |
/// |        | SQLite does; the summary tells how much that was |
/// | page 1 of the WAL that does not start as a SQLite file of that page size | refused |
/// | pages that the WAL adds without carrying them | zeros; limits::growth_pages at most |
/// | lock page | left out: SQLite never reads it |
/// | name that is not one of ours, or is there twice | refused |
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/legacy/go_dqlite_snapshot.hpp"
#include "quorlite/detail/legacy/wal_fold.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {
namespace go_dqlite {

/// A database of a snapshot, once all of it was read.
struct parsed_database {
  std::string_view name;         ///< valid during the call
  std::uint32_t page_size = 0;   ///< bytes; 0 if, and only if, page_count is 0
  std::uint64_t page_count = 0;  ///< pages
  wal_summary wal;               ///< what its WAL part amounted to
};

/// What snapshot_parser tells: the index once, then for each database its pages and its end.
///
/// Pages come ascending, first those of the database part; then, ascending again, those of the WAL
/// part, which take the place of what came before. Only the end tells the name and the page count:
/// pages beyond it are to be dropped, pages below it that did not come are zeros. Views are valid
/// during the call. An error of the sink ends the parse and is its result.
template <class Sink>
concept snapshot_sink = requires(Sink& sink, log_index index, std::size_t database_ordinal,
                                 page_number number, bytes_view image,
                                 const parsed_database& database) {
  { sink.on_index(index) } -> std::same_as<std::error_code>;
  { sink.on_page(database_ordinal, number, image) } -> std::same_as<std::error_code>;
  { sink.on_database(database_ordinal, database) } -> std::same_as<std::error_code>;
};

/// Parses a snapshot that arrives in order, cut anywhere. One thread at a time.
///
/// Total: any bytes give calls of the sink and then, perhaps, an error; so believe in nothing
/// before finish(). The first error is final. Memory: one page, the names, and the WAL part of one
/// database as far as it counts (at most limits::staged_bytes), all of it as bytes arrive.
class snapshot_parser {
 public:
  /// @param lock_byte where the lock page lies; the same on every replica
  explicit snapshot_parser(std::uint64_t lock_byte = limits::lock_byte_default) noexcept
      : state_{lock_byte} {}

  /// Takes the next bytes; borrowed for the call.
  /// @returns errc::malformed (see the table), invalid_name, corrupt (the header of a WAL part),
  ///          too_large (over a limit), or the sink's error. Any of them is returned again by every
  ///          later call.
  template <class Sink>
  requires snapshot_sink<Sink>
  [[nodiscard]] std::error_code append(bytes_view piece, Sink& sink) {
    record_pages<Sink> pages{state_, sink};
    return records_.append(piece, pages);
  }

  /// The last byte was given.
  /// @returns the error of append(), errc::corrupt for a snapshot that stops within a record, or
  ///          nothing
  [[nodiscard]] std::error_code finish() noexcept { return records_.finish(); }

 private:
  static constexpr std::size_t start_bytes = 18;  // of page 1: up to the page size

  /// What is kept from piece to piece.
  struct parse_state {
    std::uint64_t lock_byte;
    std::vector<std::string> names = {};  // of the databases that were read
    std::uint32_t page_size = 0;          // 0 until the file's start is there
    std::uint64_t file_pages = 0;         // whole ones so far
    bytes gathered = {};                  // of a page that is not whole yet
    std::optional<wal_fold> wal = {};
  };

  /// The page size that page 1 of a SQLite file tells; 0 if it is none.
  [[nodiscard]] static std::uint32_t page_size_of(bytes_view start) noexcept;

  template <class Sink>
  class record_pages {
   public:
    record_pages(parse_state& state, Sink& sink) noexcept : state_(&state), sink_(&sink) {}

    [[nodiscard]] std::error_code on_index(log_index index) { return sink_->on_index(index); }

    [[nodiscard]] std::error_code on_database_piece(bytes_view piece) {
      while (!piece.empty()) {
        const std::size_t wanted = state_->page_size == 0 ? start_bytes : state_->page_size;
        if (state_->page_size != 0 && state_->gathered.empty() && piece.size() >= wanted) {
          if (const auto error = take_page(piece.first(wanted))) {
            return error;
          }
          piece = piece.subspan(wanted);
          continue;
        }
        const std::size_t count = std::min(wanted - state_->gathered.size(), piece.size());
        state_->gathered.insert(state_->gathered.end(), piece.begin(),
                                piece.begin() + static_cast<std::ptrdiff_t>(count));
        piece = piece.subspan(count);
        if (state_->gathered.size() == wanted) {
          if (const auto error = take_gathered()) {
            return error;
          }
        }
      }
      return {};
    }

    [[nodiscard]] std::error_code on_wal_piece(bytes_view piece) {
      if (!is_whole_file() || state_->file_pages == 0) {
        return errc::malformed;
      }
      if (!state_->wal) {
        state_->wal.emplace(state_->page_size);
      }
      return state_->wal->append(piece);
    }

    [[nodiscard]] std::error_code on_record_end(std::string_view name) {
      const bool twice =
          std::find(state_->names.begin(), state_->names.end(), name) != state_->names.end();
      if (!is_database_name(name)) {
        return errc::invalid_name;
      }
      if (twice || !is_whole_file()) {
        return errc::malformed;
      }
      parsed_database database{name, state_->page_size, state_->file_pages, {}};
      if (state_->wal) {
        if (const auto error = fold(database)) {
          return error;
        }
      }
      const std::size_t ordinal = state_->names.size();
      state_->names.emplace_back(name);
      state_->page_size = 0;
      state_->file_pages = 0;
      state_->wal.reset();
      return sink_->on_database(ordinal, database);
    }

   private:
    [[nodiscard]] bool is_whole_file() const noexcept { return state_->gathered.empty(); }

    [[nodiscard]] std::error_code take_gathered() {
      if (state_->page_size == 0) {
        state_->page_size = page_size_of(state_->gathered);
        return state_->page_size == 0 ? make_error_code(errc::malformed) : std::error_code{};
      }
      const std::error_code error = take_page(state_->gathered);
      state_->gathered.clear();
      return error;
    }

    [[nodiscard]] std::error_code take_page(bytes_view image) {
      if (state_->file_pages == limits::page_count_max) {
        return errc::too_large;
      }
      ++state_->file_pages;
      return tell(page_number{static_cast<std::uint32_t>(state_->file_pages)}, image);
    }

    /// Passes a page on, unless it is the lock page.
    [[nodiscard]] std::error_code tell(page_number number, bytes_view image) {
      return number.value == lock_page(state_->page_size, state_->lock_byte)
                 ? std::error_code{}
                 : sink_->on_page(state_->names.size(), number, image);
    }

    /// Passes on what the WAL adds, and sets the page count.
    [[nodiscard]] std::error_code fold(parsed_database& database) {
      database.wal = state_->wal->summary();
      if (database.wal.state == wal_state::ignored) {
        return errc::corrupt;
      }
      if (database.wal.commits == 0) {
        return {};
      }
      database.page_count = database.wal.page_count;
      std::uint64_t present = std::min(state_->file_pages, database.page_count);
      for (const auto& [number, image] : state_->wal->pages()) {
        if (number.value > database.page_count) {
          break;
        }
        present += number.value > state_->file_pages ? 1 : 0;
      }
      if (database.page_count > limits::page_count_max ||
          database.page_count - present > limits::growth_pages) {
        return errc::malformed;
      }
      return tell_wal_pages(database.page_count);
    }

    [[nodiscard]] std::error_code tell_wal_pages(std::uint64_t page_count) {
      for (const auto& [number, image] : state_->wal->pages()) {
        if (number.value > page_count) {
          break;
        }
        if (number.value == 1 && page_size_of(image) != state_->page_size) {
          return errc::malformed;
        }
        if (const auto error = tell(number, image)) {
          return error;
        }
      }
      return {};
    }

    parse_state* state_;
    Sink* sink_;
  };

  parse_state state_;
  record_parser records_;
};

}  // namespace go_dqlite
}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/legacy/go_dqlite_snapshot_parser.ipp"  // IWYU pragma: keep
#endif
