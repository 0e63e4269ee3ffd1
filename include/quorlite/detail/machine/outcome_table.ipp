/// @file
/// Bodies of outcome_table.hpp.
#pragma once

#include "quorlite/detail/machine/outcome_table.hpp"

#include <cstdint>
#include <optional>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void outcome_table::record(transaction_id id, log_index at) {
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

QUORLITE_DECL std::optional<log_index> outcome_table::find(transaction_id id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? std::nullopt : std::optional(found->second);
}

QUORLITE_DECL void outcome_table::encode(bytes& out) const {
  wire_writer(out).u64(cluster_id_);
  encode_list(out);
}

QUORLITE_DECL void outcome_table::encode_list(bytes& out) const {
  wire_writer write(out);
  write.u64(floor_.term.value);
  write.u64(floor_.sequence);
  write.u64(order_.size());
  for (const transaction_id& id : order_) {
    write.u64(id.term.value);
    write.u64(id.sequence);
    write.u64(by_id_.at(id).value);
  }
}

QUORLITE_DECL result<outcome_table> outcome_table::decode(bytes_view encoded) {
  wire_reader read(encoded);
  const std::uint64_t cluster_id = read.u64();
  return decode_list(cluster_id, read.take(read.remaining()));
}

QUORLITE_DECL result<outcome_table> outcome_table::decode_list(std::uint64_t cluster_id,
                                                               bytes_view encoded) {
  wire_reader read(encoded);
  outcome_table table(cluster_id);
  table.floor_.term = term{read.u64()};
  table.floor_.sequence = read.u64();
  const std::uint64_t count = read.u64();
  if (read.failed() || count > limits::outcomes || read.remaining() != count * 24) {
    return fail(errc::malformed);
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    transaction_id id;
    id.term = term{read.u64()};
    id.sequence = read.u64();
    table.record(id, log_index{read.u64()});
  }
  if (table.size() != count) {
    return fail(errc::malformed);
  }
  return table;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
