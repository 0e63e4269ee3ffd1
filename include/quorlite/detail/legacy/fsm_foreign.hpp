/// @file
/// What entries of a foreign format do to the machine, where the codec policy admits one. A part of
/// fsm.hpp; include that.
///
/// Where the system that wrote such a log stopped its process, the entry is refused here: nothing
/// changes, the index moves on, counters().malformed tells.
///
/// | entry | outcome |
/// |-------|---------|
/// | bytes against the rules of the format | refused |
/// | open of a database that exists | nothing |
/// | frames for a database that was never opened | refused |
/// | frames without commit | wait, see foreign_staging.hpp |
/// | frames with commit | all that waited and these are one transaction |
/// | frames of another page size than the database's | refused, with all that waited for them |
/// | undo of a transaction that nobody knows | nothing: it may have been undone before, or have
/// |                                         | begun without a frame |
/// | begin, end | nothing |
/// | checkpoint | nothing; refused for a database that was never opened |
#pragma once

#include "quorlite/config.hpp"
#include "quorlite/fsm.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::apply_foreign(const log_entry& entry) {
  const result<detail::foreign_command> decoded = Codec::decode(entry.bytes, options_.lock_byte);
  if (!decoded) {
    const std::lock_guard guard(mutex_);
    return undecodable(entry, decoded.error());
  }
  return std::visit([&](const auto& body) { return carry_out_foreign(entry, body); }, *decoded);
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::carry_out_foreign(const log_entry& entry,
                                                          const detail::foreign_frames& frames) {
  std::shared_ptr<database> target = databases_.find(frames.name);
  {
    const std::lock_guard guard(mutex_);
    counters_.entry_bytes += entry.bytes.size();
    counters_.page_bytes += std::uint64_t{frames.page_size} * frames.pages.size();
    if (target == nullptr || !target->exists()) {
      assembly_.note_refusal(entry.at.index);
      return refuse(entry, frames.id, make_error_code(errc::no_such_database));
    }
    if (const std::error_code error = take_foreign(entry, frames)) {
      return refuse(entry, frames.id, error);
    }
    if (!frames.commit) {
      advance(entry.at);
      return verdict::applied;
    }
  }
  const detail::staged_foreign* const waiting = assembly_.foreign().find(frames.name);
  const std::span<const detail::foreign_frames> earlier =
      waiting == nullptr ? std::span<const detail::foreign_frames>{} : waiting->frames;
  result<detail::prepared_frames> ready =
      detail::prepare_foreign(earlier, frames, std::move(target), options_.lock_byte);
  const std::lock_guard guard(mutex_);
  if (redo_until_.value != 0) {
    // These entries do not say which hash their result has, and the base cannot be asked for one.
    return halt(errc::corrupt, "a crash tore the base, and a foreign log cannot mend it, at",
                entry.at.index);
  }
  if (!ready) {
    assembly_.refuse(frames, entry.at.index);
    return refuse(entry, frames.id, ready.error());
  }
  if (ready->store->tip().version != ready->store->committed().version) {
    ready->store->discard_tip();  // what this replica hoped for is void
  }
  ready->store->install_committed(std::move(ready->pages), ready->page_count, ready->hash, true);
  assembly_.foreign().drop(frames.name);
  return committed(entry, frames.id);
}

/// What frames do to what waits, short of the commit itself. With mutex_ held.
template <consensus Consensus, storage Storage, detail::entry_codec Codec>
std::error_code fsm<Consensus, Storage, Codec>::take_foreign(const log_entry& entry,
                                                             const detail::foreign_frames& frames) {
  std::error_code error = assembly_.admit(frames);
  if (!error && !frames.commit) {
    error = stage_foreign<Codec>(assembly_, entry, options_.lock_byte);
  }
  if (error) {
    assembly_.refuse(frames, entry.at.index);
  }
  return error;
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::carry_out_foreign(const log_entry& entry,
                                                          const detail::foreign_undo& undo) {
  const std::lock_guard guard(mutex_);
  if (const std::error_code error = assembly_.foreign().undo(undo.target)) {
    assembly_.note_refusal(entry.at.index);
    return refuse(entry, {}, error);
  }
  return done(entry, {});
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
verdict fsm<Consensus, Storage, Codec>::carry_out_foreign(const log_entry& entry,
                                                          const detail::checkpoint_command& checkpoint) {
  const std::shared_ptr<database> target = databases_.find(checkpoint.name);
  const std::lock_guard guard(mutex_);
  if (target == nullptr || !target->exists()) {
    return refuse(entry, {}, make_error_code(errc::no_such_database));
  }
  return done(entry, {});
}

/// See stage_again().
template <consensus Consensus, storage Storage, detail::entry_codec Codec>
void fsm<Consensus, Storage, Codec>::stage_foreign_again(const log_entry& entry) {
  const result<detail::foreign_command> decoded = Codec::decode(entry.bytes, options_.lock_byte);
  if (!decoded) {
    return;
  }
  if (const auto* const frames = std::get_if<detail::foreign_frames>(&*decoded)) {
    if (!take_foreign(entry, *frames) && frames->commit) {
      assembly_.foreign().drop(frames->name);
    }
  } else if (const auto* const undo = std::get_if<detail::foreign_undo>(&*decoded)) {
    static_cast<void>(assembly_.foreign().undo(undo->target));
  }
}

template <consensus Consensus, storage Storage, detail::entry_codec Codec>
result<std::unique_ptr<snapshot_reader>>
fsm<Consensus, Storage, Codec>::take_foreign_snapshot() noexcept {
  if constexpr (Codec::foreign) {
    const lane_visit lane(in_lane_);
    result<detail::captured_state> state = capture_whole();
    if (!state) {
      return failed(state.error());
    }
    return detail::basic_pinned_snapshot<typename Codec::snapshot_layout>::make(std::move(*state),
                                                                        options_.lock_byte);
  } else {
    return failed(errc::unsupported);
  }
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
