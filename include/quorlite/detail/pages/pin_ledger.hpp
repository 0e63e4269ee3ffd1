/// @file
/// Which versions of a database somebody stands on.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/pages/database_state.hpp"
#include "quorlite/detail/pages/page_version.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// All pins of one state. Not found by its version alone: after a loss the number names another
/// state, and a record of the old one must neither protect nor count for the new one.
struct pin_record {
  database_state at;
  std::atomic<bool> invalidated{false};  // read without a lock, after a copy
  std::uint64_t count = 0;
  node_list held;  // superseded versions that this record keeps, each in one record only
};

/// The pinned states of one history, ascending by version, and the invalidated ones apart from
/// them. Under the store's mutex.
class pin_ledger {
 public:
  pin_ledger() = default;
  pin_ledger(const pin_ledger&) = delete;
  pin_ledger& operator=(const pin_ledger&) = delete;
  /// @pre no pin is left
  ~pin_ledger() { QUORLITE_ASSERT(live_.empty() && pins_ == 0); }

  /// Makes sure that the next add() cannot fail. @throws std::bad_alloc
  void make_room();

  /// Counts one more pin of `state`, the only state with that version now. O(log pinned states)
  /// near the head. @pre make_room() was called
  [[nodiscard]] pin_record* add(const database_state& state) noexcept;

  /// Counts one pin less. @returns what it alone had kept: to be looked at again
  [[nodiscard]] node_list remove(pin_record* record) noexcept;

  /// Some pinned state in [from, before), or nullptr. The oldest: it is likely to stay longest.
  [[nodiscard]] pin_record* any_within(version_number from, version_number before) const noexcept;

  /// True if some pinned state older than `before` has page `number`. O(such states).
  [[nodiscard]] bool any_with_page(page_number number, version_number before) const noexcept;

  /// Tells every pin above `committed` that its state is taken back. Called before any page is
  /// unlinked: whoever copies a page and then finds its pin sound has copied the right page.
  void invalidate_above(version_number committed) noexcept;

  /// Pins, invalidated ones included.
  [[nodiscard]] std::uint64_t size() const noexcept { return pins_; }

 private:
  [[nodiscard]] std::vector<pin_record*>::const_iterator first_from(
      version_number from) const noexcept;

  std::vector<pin_record*> live_;      // owned by their count: the last pin deletes its record
  std::unique_ptr<pin_record> spare_;  // the last one that ended: most transactions need just one
  std::uint64_t pins_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/pages/pin_ledger.ipp"  // IWYU pragma: keep
#endif
