/// @file
/// Bodies of libraft_batch and libraft_proposals: from the queue to the engine, and the answers.
#pragma once

#include "quorlite/detail/libraft/proposals.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <list>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/io.hpp"
#include "quorlite/detail/libraft/strand.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL result<libraft_batch> libraft_batch::decode(bytes_view raw) noexcept {
  if (raw.size() < header_bytes || version_of(raw) == 0) {
    return fail(errc::corrupt);
  }
  const std::uint64_t entry = entry_in(raw);
  if (version_of(raw) == 2 && entry == 0) {
    return fail(errc::corrupt);  // no entry has this index
  }
  const std::size_t count = load_little_endian<std::uint32_t>(raw.data() + 8);
  const std::size_t payload = load_little_endian<std::uint32_t>(raw.data() + 12);
  const std::size_t sizes = size_of_header(entry);
  if (count == 0 || count > commands_max || (raw.size() - sizes) / 4 < count ||
      raw.size() != bytes_for(count, payload, entry)) {
    return fail(errc::corrupt);
  }
  const std::size_t start = sizes + 4 * count;
  std::size_t sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    sum += load_little_endian<std::uint32_t>(raw.data() + sizes + 4 * i);
  }
  const bytes_view rest = raw.subspan(start + payload);
  const bool whole =
      sum == payload &&
      load_little_endian<std::uint32_t>(raw.data() + 4) == check_of(raw.first(start)) &&
      std::all_of(rest.begin(), rest.end(), [](std::byte one) { return one == std::byte{0}; });
  if (!whole) {
    return fail(errc::corrupt);
  }
  return libraft_batch(raw, count);
}

namespace proposal_rules {

inline constexpr std::size_t own_bytes = 64;  // of a proposal beside its payload, about

/// Of the log. A large transaction whose parts wait until it is cut has no small one wait.
[[nodiscard]] inline std::uint64_t left_to_small_ones(std::uint64_t log_max) noexcept {
  return log_max / 8;
}

}  // namespace proposal_rules

struct libraft_proposals::waiting {
  proposal_token token;
  std::size_t bytes;
};

struct libraft_proposals::batch {
  struct raft_apply request {};
  libraft_proposals* owner = nullptr;
  std::vector<waiting> proposals;
  std::vector<proposal_token> barriers;
  std::list<batch>::iterator self;
};

struct libraft_proposals::barrier {
  struct raft_barrier request {};
  libraft_proposals* owner = nullptr;
  std::vector<proposal_token> tokens;
  std::list<barrier>::iterator self;
};

/// What the engine calls when it is done with an entry.
struct libraft_proposals::hooks {
  static void on_applied(struct raft_apply* request, int status, void* /*result*/) noexcept {
    batch& one = *static_cast<batch*>(request->data);
    one.owner->end(one, status == 0 ? outcome::committed : outcome::unknown,
                   status == 0 ? settle_reason::none : one.owner->reason_of(status));
  }

  static void on_barrier(struct raft_barrier* request, int status) noexcept {
    barrier& one = *static_cast<barrier*>(request->data);
    libraft_proposals& owner = *one.owner;
    const std::vector<proposal_token> tokens = std::move(one.tokens);
    owner.barriers_.erase(one.self);
    owner.settle_barriers(tokens, status == 0 ? outcome::committed : outcome::unknown,
                          status == 0 ? settle_reason::none : owner.reason_of(status));
  }
};

QUORLITE_DECL libraft_proposals::libraft_proposals(const libraft_options& options)
    : batch_bytes_(options.batch_bytes),
      batches_max_(options.batches_in_flight),
      in_flight_max_(options.in_flight_bytes),
      log_max_(options.log_bytes) {}

QUORLITE_DECL libraft_proposals::~libraft_proposals() = default;

QUORLITE_DECL void libraft_proposals::attach(::raft& engine, libraft_strand& strand,
                                             libraft_io& io) noexcept {
  engine_ = &engine;
  strand_ = &strand;
  io_ = &io;
}

QUORLITE_DECL bool libraft_proposals::is_crowded() const noexcept {
  return log_.load() + in_flight_.load() + proposal_rules::left_to_small_ones(log_max_) > log_max_;
}

QUORLITE_DECL bool libraft_proposals::admit(std::size_t size) noexcept {
  const std::size_t before = in_flight_.fetch_add(size + proposal_rules::own_bytes);
  const std::uint64_t left = std::min<std::uint64_t>(std::uint64_t{8} * size,
                                                     proposal_rules::left_to_small_ones(log_max_));
  if (before + size <= in_flight_max_ && log_.load() + before + left <= log_max_) {
    return true;
  }
  in_flight_.fetch_sub(size + proposal_rules::own_bytes);
  ++refused_;
  return false;
}

QUORLITE_DECL void libraft_proposals::submit(term open, std::vector<libraft_proposal> proposals,
                                             std::vector<proposal_token> barriers) noexcept {
  for (libraft_proposal& one : proposals) {
    queue_.push_back(std::move(one));
  }
  if (!barriers.empty()) {
    if (queue_.empty()) {
      ask(open, std::move(barriers));
    } else {
      riders_.insert(riders_.end(), barriers.begin(), barriers.end());
    }
  }
  pump(open);
}

QUORLITE_DECL void libraft_proposals::pump(term open) noexcept {
  while (!queue_.empty() && (batches_.size() < batches_max_ ||
                             refusal(open, queue_.front().expected) != settle_reason::none)) {
    std::vector<libraft_proposal> together;
    std::size_t payload = 0;
    while (!queue_.empty() && together.size() < libraft_batch::commands_max) {
      libraft_proposal& next = queue_.front();
      const settle_reason why = refusal(open, next.expected);
      if (why != settle_reason::none) {
        settle({next.token, next.size}, outcome::not_applied, why);
      } else if (together.empty() || payload + next.payload.size() <= batch_bytes_) {
        payload += next.payload.size();
        together.push_back(std::move(next));
      } else {
        break;
      }
      queue_.pop_front();
    }
    if (!together.empty()) {
      send(together, payload, std::exchange(riders_, {}));
    }
  }
  if (queue_.empty() && !riders_.empty()) {
    ask(open, std::exchange(riders_, {}));
  }
}

QUORLITE_DECL void libraft_proposals::nudge(term open) noexcept {
  if (barriers_.empty() && refusal(open, open) == settle_reason::none) {
    ask(open, {});
  }
}

QUORLITE_DECL void libraft_proposals::turn_away(const libraft_proposal& one,
                                                settle_reason why) noexcept {
  settle({one.token, one.size}, outcome::not_applied, why);
}

QUORLITE_DECL void libraft_proposals::sweep() noexcept {
  for (; !queue_.empty(); queue_.pop_front()) {
    turn_away(queue_.front(), reason_of(RAFT_SHUTDOWN));
  }
  settle_barriers(std::exchange(riders_, {}), outcome::not_applied, reason_of(RAFT_SHUTDOWN));
  for (batch& one : batches_) {
    settle_all(one, outcome::unknown, reason_of(RAFT_LEADERSHIPLOST));
  }
  for (barrier& one : barriers_) {
    settle_barriers(std::exchange(one.tokens, {}), outcome::unknown,
                    reason_of(RAFT_LEADERSHIPLOST));
  }
}

QUORLITE_DECL settle_reason libraft_proposals::refusal(term open, term expected) const noexcept {
  if (strand_->ended() || io_->failed()) {
    return io_->failed() ? settle_reason::log_failed : settle_reason::stopped;
  }
  if (engine_->state != RAFT_LEADER || open.value != engine_->current_term) {
    return settle_reason::not_leader;
  }
  if (closed_ != settle_reason::none) {
    return closed_;
  }
  return expected == open ? settle_reason::none : settle_reason::stale_term;
}

QUORLITE_DECL settle_reason libraft_proposals::reason_of(int code) const noexcept {
  if (blame_ != settle_reason::none) {
    return blame_;
  }
  switch (code) {
    case 0: return settle_reason::none;
    case RAFT_NOTLEADER: return settle_reason::not_leader;
    case RAFT_LEADERSHIPLOST: return settle_reason::leadership_lost;
    case RAFT_SHUTDOWN:
    case RAFT_CANCELED: return settle_reason::stopped;
    case RAFT_NOMEM: return settle_reason::no_memory;
    default: return settle_reason::log_failed;
  }
}

QUORLITE_DECL void libraft_proposals::send(const std::vector<libraft_proposal>& together,
                                           std::size_t payload,
                                           std::vector<proposal_token> barriers) noexcept {
  batch& one = batches_.emplace_back();
  one.self = std::prev(batches_.end());
  one.owner = this;
  one.request.data = &one;
  one.barriers = std::move(barriers);
  for (const libraft_proposal& proposal : together) {
    one.proposals.push_back({proposal.token, proposal.payload.size()});
  }
  handed_over_ += together.size();
  ++batch_count_;
  const std::uint64_t entry = tells_indices_ ? raft_last_index(engine_) + 1 : 0;
  raft_buffer buffer{};
  buffer.len = libraft_batch::bytes_for(together.size(), payload, entry);
  buffer.base = raft_malloc(buffer.len);
  int code = RAFT_NOMEM;
  if (buffer.base != nullptr) {
    libraft_batch::encode(
        {static_cast<std::byte*>(buffer.base), buffer.len}, together.size(),
        [&](std::size_t i) { return bytes_view(together[i].payload); }, entry);
    // May call back, also about this one, before it returns.
    code = ::raft_apply(engine_, &one.request, &buffer, 1, hooks::on_applied);
  }
  if (code == 0) {
    return;
  }
  if (io_->failed()) {
    io_->bury(buffer.base);
  } else {
    raft_free(buffer.base);
  }
  end(one, outcome::not_applied, reason_of(code));
}

QUORLITE_DECL void libraft_proposals::ask(term open, std::vector<proposal_token> tokens) noexcept {
  settle_reason why = refusal(open, open);
  if (why == settle_reason::none && !tokens.empty() && is_full()) {
    why = settle_reason::busy;
  }
  if (why == settle_reason::none) {
    barrier& one = barriers_.emplace_back();
    one.self = std::prev(barriers_.end());
    one.owner = this;
    one.request.data = &one;
    one.tokens = std::move(tokens);
    ++barrier_count_;
    const int code = ::raft_barrier(engine_, &one.request, hooks::on_barrier);
    if (code == 0) {
      return;
    }
    why = reason_of(code);
    tokens = std::move(one.tokens);
    barriers_.erase(one.self);
  }
  settle_barriers(tokens, outcome::not_applied, why);
}

QUORLITE_DECL void libraft_proposals::end(batch& one, outcome how, settle_reason why) noexcept {
  settle_all(one, how, why);
  batches_.erase(one.self);
}

QUORLITE_DECL void libraft_proposals::settle_all(batch& one, outcome how,
                                                 settle_reason why) noexcept {
  for (const waiting& each : std::exchange(one.proposals, {})) {
    settle(each, how, why);
  }
  settle_barriers(std::exchange(one.barriers, {}), how, why);
}

QUORLITE_DECL void libraft_proposals::settle_barriers(const std::vector<proposal_token>& tokens,
                                                      outcome how, settle_reason why) noexcept {
  // A machine that ended has not applied what this barrier stands behind.
  const bool behind = how == outcome::committed && strand_->ended();
  for (const proposal_token token : tokens) {
    strand_->machine().settled(token, behind ? outcome::unknown : how,
                               behind ? settle_reason::stopped : why);
  }
}

QUORLITE_DECL void libraft_proposals::settle(const waiting& one, outcome how,
                                             settle_reason why) noexcept {
  in_flight_.fetch_sub(one.bytes + proposal_rules::own_bytes);
  strand_->machine().settled(one.token, how, why);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
