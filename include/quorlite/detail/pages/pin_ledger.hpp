/// @file
/// Which versions of a database somebody stands on.
#pragma once

#include <atomic>
#include <cstddef>
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

/// What may be done to a pin.
enum class pin_kind : std::uint8_t {
  kept,    ///< nothing: for flushes, snapshots, and looks that are over at once
  reader,  ///< it may be ended, to have the memory: every read through it asks whether it was
};

/// What became of the state of a pin.
enum class pin_fate : std::uint8_t {
  sound,
  taken_back,  ///< leadership was lost, and it was not committed
  ended,       ///< readers kept too much
};

/// All pins of one state. Not found by its version alone: after a loss the number names another
/// state, and a record of the old one must neither protect nor count for the new one.
struct pin_record {
  database_state at;
  std::atomic<pin_fate> fate{pin_fate::sound};  // read without a lock, after a copy
  std::uint64_t count = 0;
  std::uint64_t kept = 0;   // of these, such as must not be ended
  std::uint64_t since = 0;  // when the first of them was taken, in the order of all stores
  node_list held;           // superseded versions that this record keeps, each in one record only
};

/// The pinned states of one history, ascending by version, and the invalidated ones, ended or taken
/// back, apart from them. Under the store's mutex.
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
  /// near the head. @pre make_room() was called @param moment if it is the first of that state
  [[nodiscard]] pin_record* add(const database_state& state, pin_kind kind,
                                std::uint64_t moment = 0) noexcept;

  /// Counts one pin less. @returns what it alone had kept: to be looked at again
  [[nodiscard]] node_list remove(pin_record* record, pin_kind kind) noexcept;

  /// A pin of this record becomes one of another kind.
  void change(pin_record& record, pin_kind from, pin_kind to) noexcept;

  /// A superseded version is kept by this record.
  void hold(pin_record& record, page_version* node) noexcept;

  /// The oldest state that keeps something and that readers alone stand on, or nullptr.
  [[nodiscard]] pin_record* oldest_reader() const noexcept;
  /// What such states keep. Bytes.
  [[nodiscard]] std::size_t readers_bytes() const noexcept { return readers_bytes_; }

  /// Ends it: it protects nothing any more. Its pins learn of it first. @pre oldest_reader()
  /// @returns what it had kept: to be looked at again
  [[nodiscard]] node_list end(pin_record& record) noexcept;

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
  void count_kept(pin_record& record) noexcept;
  void uncount_kept(pin_record& record) noexcept;
  [[nodiscard]] std::vector<pin_record*>::const_iterator first_from(
      version_number from) const noexcept;

  std::vector<pin_record*> live_;      // owned by their count: the last pin deletes its record
  std::unique_ptr<pin_record> spare_;  // the last one that ended: most transactions need just one
  std::uint64_t pins_ = 0;
  std::size_t readers_bytes_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/pages/pin_ledger.ipp"  // IWYU pragma: keep
#endif
