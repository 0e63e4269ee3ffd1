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
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Recent commits. Not synchronised.
class outcome_table {
 public:
  explicit outcome_table(std::uint64_t cluster_id = 0) noexcept : cluster_id_(cluster_id) {}

  [[nodiscard]] std::uint64_t cluster_id() const noexcept { return cluster_id_; }
  /// Ids at or below it have been forgotten, if they ever were here.
  [[nodiscard]] transaction_id floor() const noexcept { return floor_; }
  [[nodiscard]] std::size_t size() const noexcept { return order_.size(); }

  /// Nothing is known of transactions up to this one, unless they are recorded.
  void forget_up_to(transaction_id last) noexcept { floor_ = floor_ < last ? last : floor_; }

  void record(transaction_id id, log_index at) {
    if (!by_id_.try_emplace(id, at).second) {
      return;
    }
    order_.push_back(id);
    if (order_.size() > limits::outcomes) {
      const transaction_id oldest = order_.front();
      order_.pop_front();
      by_id_.erase(oldest);
      floor_ = floor_ < oldest ? oldest : floor_;
    }
  }

  /// The entry that committed it. Nothing: not committed so far, or forgotten (see floor()).
  [[nodiscard]] std::optional<log_index> find(transaction_id id) const {
    const auto found = by_id_.find(id);
    return found == by_id_.end() ? std::nullopt : std::optional(found->second);
  }

  void encode(bytes& out) const {
    wire_writer write(out);
    write.u64(cluster_id_);
    write.u64(floor_.term.value);
    write.u64(floor_.sequence);
    write.u64(order_.size());
    for (const transaction_id& id : order_) {
      write.u64(id.term.value);
      write.u64(id.sequence);
      write.u64(by_id_.at(id).value);
    }
  }

  /// @returns errc::malformed for anything that encode() did not write
  [[nodiscard]] static result<outcome_table> decode(bytes_view encoded) {
    wire_reader read(encoded);
    outcome_table table(read.u64());
    table.floor_.term = term{read.u64()};
    table.floor_.sequence = read.u64();
    const std::uint64_t count = read.u64();
    if (read.failed() || count > limits::outcomes || read.remaining() != count * 24) {
      return failed(errc::malformed);
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      transaction_id id;
      id.term = term{read.u64()};
      id.sequence = read.u64();
      table.record(id, log_index{read.u64()});
    }
    if (table.size() != count) {
      return failed(errc::malformed);
    }
    return table;
  }

 private:
  std::uint64_t cluster_id_;
  transaction_id floor_;
  std::deque<transaction_id> order_;
  std::unordered_map<transaction_id, log_index> by_id_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
