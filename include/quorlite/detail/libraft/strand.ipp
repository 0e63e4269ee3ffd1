/// @file
/// Bodies of libraft_strand: an entry applied, entries skipped, the end.
#pragma once

#include "quorlite/detail/libraft/strand.hpp"

#include <algorithm>
#include <cstdint>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/proposals.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void libraft_strand::attach(const ::raft& engine, state_machine& machine) noexcept {
  engine_ = &engine;
  machine_ = &machine;
}

QUORLITE_DECL void libraft_strand::end(std::error_code why) noexcept {
  ended_ = true;
  failure_ = failure_ ? failure_ : why;
}

QUORLITE_DECL void libraft_strand::apply(const raft_buffer& buffer) noexcept {
  const std::uint64_t entry = engine_->last_applied + 1;
  skip_to(entry - 1);
  if (ended_) {
    return;
  }
  applied_bytes_ += libraft_bytes_held(buffer.len);
  const result<libraft_batch> batch = libraft_batch::decode(libraft_bytes(buffer));
  if (!batch) {
    // Skipped here it might be applied elsewhere: whether it is damage or nonsense is not told.
    end(batch.error());
    return;
  }
  if (!batch->may_be_at(entry)) {
    end(make_error_code(errc::diverged));  // entries before it are not what they were
    return;
  }
  log_position at{cursor_.at.index, term_of(entry)};
  batch->for_each([&](bytes_view command) {
    at.index = at.index.next();
    ++commands_;
    return carried_on(machine_->apply({at, command}));
  });
  if (!ended_) {
    cursor_ = {entry, at};
  }
}

QUORLITE_DECL bool libraft_strand::carried_on(apply_result answer) noexcept {
  if (answer == apply_result::halted) {
    end(make_error_code(errc::halted));
  }
  return answer != apply_result::halted;
}

QUORLITE_DECL term libraft_strand::term_of(std::uint64_t entry) const noexcept {
  return std::max(libraft_term_at(engine_->log, entry), cursor_.at.term);
}

QUORLITE_DECL void libraft_strand::skip_to(std::uint64_t entry) noexcept {
  if (ended_ || entry <= cursor_.entry) {
    return;
  }
  for (std::uint64_t at = cursor_.entry + 1; at <= entry; ++at) {
    const raft_entry* const skipped = libraft_entry_at(engine_->log, at);
    applied_bytes_ += libraft_bytes_held(skipped == nullptr ? 0 : skipped->buf.len);
  }
  const log_index index{cursor_.at.index.value + (entry - cursor_.entry)};
  cursor_ = {entry, {index, term_of(entry)}};
  carried_on(machine_->skip(cursor_.at));
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
