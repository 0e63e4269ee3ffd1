/// @file
/// Which transactions were committed lately, by id: the answer to "did my lost COMMIT happen?".
///
/// The table is a function of the applied log alone (invariant I1), travels in snapshots, and is
/// stored with the base position. It says nothing of a transaction at or below its floor.
///
/// Encoding, all integers little-endian u64, in the order in which the transactions were applied:
///
///     offset  size  field
///     0       8     cluster id
///     8       16    floor: term, sequence
///     24      8     n, at most limits::outcomes
///     32      24n   term, sequence, log index of the commit
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Recent commits. Not synchronised.
class outcome_table {
 public:
  explicit outcome_table(std::uint64_t cluster_id = 0) : cluster_id_(cluster_id) {}

  [[nodiscard]] std::uint64_t cluster_id() const noexcept { return cluster_id_; }
  /// Ids at or below it have been forgotten, if they ever were here.
  [[nodiscard]] transaction_id floor() const noexcept { return floor_; }
  [[nodiscard]] std::size_t size() const noexcept { return order_.size(); }

  /// Nothing is known of transactions up to this one, unless they are recorded.
  void forget_up_to(transaction_id last) noexcept { floor_ = floor_ < last ? last : floor_; }

  void record(transaction_id id, log_index at);

  /// The entry that committed it. Nothing: not committed so far, or forgotten (see floor()).
  [[nodiscard]] std::optional<log_index> find(transaction_id id) const;

  void encode(bytes& out) const;
  /// What encode() appends, without the cluster id.
  void encode_list(bytes& out) const;

  /// @returns errc::malformed for anything that encode() did not write
  [[nodiscard]] static result<outcome_table> decode(bytes_view encoded);
  /// @returns errc::malformed for anything that encode_list() did not write
  [[nodiscard]] static result<outcome_table> decode_list(std::uint64_t cluster_id,
                                                         bytes_view encoded);

 private:
  std::uint64_t cluster_id_;
  transaction_id floor_;
  std::deque<transaction_id> order_;
  std::unordered_map<transaction_id, log_index> by_id_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/outcome_table.ipp"  // IWYU pragma: keep
#endif
