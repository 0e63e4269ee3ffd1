/// @file
/// Which entries and snapshots a machine takes besides its own: a policy, chosen by type.
///
/// Native ones are taken always. A policy may admit one other format. Which of the two an entry or
/// a snapshot is, its magic says; what is neither is refused. Nothing is guessed from content.
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <variant>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// A page of a foreign transaction.
struct foreign_page {
  page_number number;
  bytes_view image;  ///< page_size bytes at most; zeros follow a shorter one
};

/// Whole pages for one database, on whatever state it has: no base, no hash. They wait, visible to
/// nobody, for the frames of the same id and database that commit.
struct foreign_frames {
  transaction_id id;  ///< of term 0
  std::string_view name;
  std::uint32_t page_size = 0;   ///< bytes, a valid one
  std::uint64_t page_count = 0;  ///< pages after the commit; else without meaning
  bool commit = false;
  std::vector<foreign_page> pages;  ///< any order; of a page that comes twice the last one counts
};
/// What waits of this transaction is dropped. It may be one that nobody knows.
struct foreign_undo {
  transaction_id target;
};
/// Names a transaction of a database. In the log it changes nothing; among what a snapshot stages
/// it stands for a transaction that was refused, so that no later frames of it may commit.
struct foreign_mark {
  transaction_id id;
  std::string_view name;
};
/// Changes nothing.
struct foreign_nothing {};

/// What an entry of the foreign format means to a machine. Views point into the entry.
using foreign_command = std::variant<open_command, foreign_frames, foreign_undo, foreign_mark,
                                     checkpoint_command, foreign_nothing>;

// clang-format off

/// How a policy reads entries; all static.
template <class Codec>
concept foreign_entries = requires(bytes_view entry, std::uint64_t lock_byte,
                                   const foreign_mark& mark, bytes& out) {
  // True: the entry is not a native one, not even a damaged one, and decode() is asked.
  { Codec::admits(entry) } -> std::same_as<bool>;
  // Total; every replica gets the same answer. What it gives keeps to limits.hpp.
  { Codec::decode(entry, lock_byte) } -> std::same_as<result<foreign_command>>;
  // Appends an entry that decode() reads as this mark.
  { Codec::encode(mark, out) } -> std::same_as<std::error_code>;
};

/// How it reads and writes snapshots: go_dqlite_snapshot_parser.hpp, go_dqlite_snapshot.hpp.
template <class Codec>
concept foreign_snapshots = requires(std::uint64_t lock_byte, const snapshot_header& header) {
  typename Codec::snapshot_parser;
  { Codec::snapshot_layout::make(header, lock_byte) }
      -> std::same_as<result<typename Codec::snapshot_layout>>;
};

/// A policy: `foreign` says whether it admits another format.
template <class Codec>
concept entry_codec = foreign_entries<Codec> && requires {
  { Codec::foreign } -> std::convertible_to<bool>;
} && (!Codec::foreign || foreign_snapshots<Codec>);

// clang-format on

/// Nothing but native entries and snapshots: the rest is refused, alike on every replica.
struct native_codec {
  static constexpr bool foreign = false;
  [[nodiscard]] static bool admits(bytes_view) noexcept { return false; }
  [[nodiscard]] static result<foreign_command> decode(bytes_view, std::uint64_t) noexcept {
    return failed(errc::malformed);
  }
  [[nodiscard]] static std::error_code encode(const foreign_mark&, bytes&) noexcept {
    return make_error_code(errc::unsupported);
  }
};
static_assert(entry_codec<native_codec>);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
