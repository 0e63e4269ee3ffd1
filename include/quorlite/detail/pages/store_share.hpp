/// @file
/// What a store takes and does about it: its share of the gauge, its part in the limit for readers,
/// and the work that calls leave to later ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "quorlite/config.hpp"
#include "quorlite/detail/core/memory_gauge.hpp"
#include "quorlite/detail/core/pin_limit.hpp"
#include "quorlite/detail/pages/database_state.hpp"
#include "quorlite/detail/pages/pin_ledger.hpp"
#include "quorlite/detail/pages/reclaim.hpp"
#include "quorlite/detail/pages/version_history.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One store's. Ends before what it was made of.
class store_share final : public pin_limit::holder {
 public:
  static constexpr std::size_t batch = 256;  // how much of others' work one call does

  /// @param mutex of the store @param gauge or nullptr: then nobody is told, and nothing is limited
  store_share(std::mutex& mutex, version_history& line, reclaimer& limbo,
              std::shared_ptr<memory_gauge> gauge) noexcept;
  store_share(const store_share&) = delete;
  store_share& operator=(const store_share&) = delete;
  ~store_share();

  // ---- under the store's mutex

  /// Ends whatever changed something. @param worth_a_scan so many nodes in limbo, before slots are
  ///   read @returns how much it did
  std::size_t work(std::size_t most = batch, std::size_t worth_a_scan = 32) noexcept;
  /// @pre the ledger's make_room() was called for it
  [[nodiscard]] pin_record* add_pin(const database_state& at, pin_kind kind) noexcept;
  /// See gauge_share.
  void retire(bool so) noexcept { told_.retire(so); }
  [[nodiscard]] std::size_t pinned_bytes() const noexcept { return told_.pinned_bytes(); }

  // ---- while it is free

  /// Ends readers, of any store of the gauge, if they keep too much.
  void enforce() noexcept;
  [[nodiscard]] std::uint64_t oldest_reader() const noexcept override;
  bool end_reader(std::uint64_t since) noexcept override;

 private:
  std::mutex& mutex_;
  version_history& line_;
  reclaimer& limbo_;
  gauge_share told_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/pages/store_share.ipp"  // IWYU pragma: keep
#endif
