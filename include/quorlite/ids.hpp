/// @file
/// The strong integers of the library: a term is not an index is not a page number.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string_view>  // std::hash, at less cost than <functional>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// An integer that only compares with its own kind. `Tag` tells the kinds apart; zero is the
/// default and means "none" wherever a kind has such a value.
template <class Tag, class Integer = std::uint64_t>
struct strong_integer {
  using integer_type = Integer;
  Integer value = 0;

  constexpr strong_integer() noexcept = default;
  constexpr explicit strong_integer(Integer initial) noexcept : value(initial) {}

  friend constexpr auto operator<=>(strong_integer, strong_integer) noexcept = default;

  /// The next one. Overflow of a 64-bit counter is out of reach; of a page number it is bounded by
  /// limits.hpp.
  [[nodiscard]] constexpr Tag next() const noexcept { return Tag{static_cast<Integer>(value + 1)}; }
};

}  // namespace detail

/// A term of the consensus engine (Raft paper, 5.1). 0: none, or not told.
struct term : detail::strong_integer<term> {
  using strong_integer::strong_integer;
};
/// A place in the replicated log, counted from 1. 0: before the first entry.
struct log_index : detail::strong_integer<log_index> {
  using strong_integer::strong_integer;
};
/// A page of a database, counted from 1 (sqlite.org/fileformat2.html, 1.2). 0: none.
struct page_number : detail::strong_integer<page_number, std::uint32_t> {
  using strong_integer::strong_integer;
};
/// A member of the cluster. 0: none.
struct server_id : detail::strong_integer<server_id> {
  using strong_integer::strong_integer;
};
/// How many transactions have been committed to one database. 0: it was just born and has no page.
struct version_number : detail::strong_integer<version_number> {
  using strong_integer::strong_integer;
};
/// Counts the histories of one database on this replica: it grows whenever states that a connection
/// may have seen are taken back (lost leadership) or replaced (restore, drop). Local, never in the
/// log.
struct history_number : detail::strong_integer<history_number> {
  using strong_integer::strong_integer;
};
/// Names one call of propose() to its settled(). Chosen by the library, never in the log.
struct proposal_token : detail::strong_integer<proposal_token> {
  using strong_integer::strong_integer;
};

/// An entry's place and the term it was created in.
struct log_position {
  log_index index;      ///< 0: before the first entry
  quorlite::term term;  ///< 0 where an adapter does not know it (abilities.entry_terms == false)

  friend constexpr bool operator==(const log_position&, const log_position&) noexcept = default;
};

/// The name of a replicated transaction, unique in the life of a cluster without any random number:
/// a term has one leader at most, and that leader counts. Ordered as proposed within a term, and
/// terms never decrease in the log, so ids are (nearly) sorted there. {0, 0}: none; term 0 is left
/// to entries of foreign formats.
struct transaction_id {
  quorlite::term term;         ///< of the leader that proposed it
  std::uint64_t sequence = 0;  ///< counted from 1 within the term

  friend constexpr auto operator<=>(const transaction_id&,
                                    const transaction_id&) noexcept = default;
};

/// A hash over a history: 128 bits, of the entries that were applied, in their order. All zero:
/// before the first of them.
struct history_hash {
  std::uint64_t low = 0;   ///< the half that witnesses tell
  std::uint64_t high = 0;  ///< the other half

  friend constexpr bool operator==(const history_hash&, const history_hash&) noexcept = default;
};

/// A place in the log, and the hash of the history that ends there.
struct history_position {
  log_index index;    ///< the last one that the history covers
  history_hash hash;  ///< as of that index

  friend constexpr bool operator==(const history_position&,
                                   const history_position&) noexcept = default;
};

/// Names one history, and by it one cluster: random, made once, when the history begins. All zero:
/// none.
struct cluster_identity {
  std::uint64_t low = 0;   ///< 64 random bits
  std::uint64_t high = 0;  ///< 64 more

  friend constexpr bool operator==(const cluster_identity&,
                                   const cluster_identity&) noexcept = default;
};

/// What begins a history: its first entry. All zero: it has not begun.
struct history_identity {
  log_index begins_at;       ///< k, the entry's index: nothing below it is hashed
  quorlite::term begins_in;  ///< the term in the entry's id; 0 where it is not told
  cluster_identity cluster;  ///< the cluster that the entry names

  friend constexpr bool operator==(const history_identity&,
                                   const history_identity&) noexcept = default;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite

template <>
struct std::hash<quorlite::transaction_id> {
  std::size_t operator()(const quorlite::transaction_id& id) const noexcept {
    return static_cast<std::size_t>((id.term.value * 0x9E3779B97F4A7C15ULL) ^ id.sequence);
  }
};
