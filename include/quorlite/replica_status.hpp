/// @file
/// What a replica tells about itself: its office, its health, its counters, the fate of a
/// transaction.
#pragma once

#include <cstdint>
#include <string>
#include <system_error>

#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace v0 {

/// Who leads, as this replica knows it.
struct office {
  quorlite::term term;
  bool leading = false;     ///< this replica may propose in `term`
  std::string leader_hint;  ///< the adapter's name for the leader; empty: not known
};

/// Why a replica stopped, if it did. A halted replica applies nothing more; its files stay as they
/// are.
struct health {
  bool halted = false;
  std::error_code error;
  std::string what;  ///< database and log index where it happened
};

/// Counted since the machine was made.
struct machine_counters {
  std::uint64_t entries = 0;       ///< applied, of all kinds
  std::uint64_t transactions = 0;  ///< committed
  std::uint64_t conflicts = 0;     ///< refused on every replica: built on another base
  std::uint64_t malformed = 0;     ///< refused on every replica: not a valid entry
  std::uint64_t entry_bytes = 0;   ///< of frames entries
  std::uint64_t page_bytes = 0;    ///< what the same pages are in full
  std::uint64_t snapshots_taken = 0;
  std::uint64_t snapshots_installed = 0;
  std::uint64_t flushes = 0;
};

/// The fate of a transaction, asked by its id.
enum class transaction_fate : std::uint8_t {
  committed,      ///< it is applied here
  not_committed,  ///< it never will be: safe to run again
  open,     ///< neither is certain yet: ask again after a later entry, or on the leader behind a
            ///< barrier
  expired,  ///< older than what is remembered
};

}  // namespace v0
}  // namespace quorlite
