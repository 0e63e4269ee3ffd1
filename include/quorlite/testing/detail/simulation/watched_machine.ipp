/// @file
/// Bodies of watched_machine.
#pragma once

#include "quorlite/testing/detail/simulation/watched_machine.hpp"

#include <cstdint>
#include <memory>
#include <new>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// A crash at a phase makes the engine destroy what the call was made on, so the watch is kept by
/// the call.
class watched_reader final : public snapshot_reader {
 public:
  watched_reader(std::unique_ptr<snapshot_reader> real, std::shared_ptr<process_watch> watch)
      : real_(std::move(real)), watch_(std::move(watch)) {}

  [[nodiscard]] log_position at() const noexcept override { return real_->at(); }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return real_->size_bytes(); }
  [[nodiscard]] snapshot_history history() const noexcept override { return real_->history(); }
  [[nodiscard]] std::error_code read(std::uint64_t offset, bytes_span into) noexcept override {
    if (const std::error_code error = real_->read(offset, into)) {
      return error;
    }
    const bool is_last = offset + into.size() == real_->size_bytes();
    const std::shared_ptr<process_watch> watch = watch_;
    const bool lives =
        watch->reached(is_last ? server_phase::snapshot_finished : server_phase::snapshot_read);
    return lives ? std::error_code{} : make_error_code(errc::stopped);
  }

 private:
  std::unique_ptr<snapshot_reader> real_;
  std::shared_ptr<process_watch> watch_;
};

/// As watched_reader.
class watched_stage final : public snapshot_stage {
 public:
  watched_stage(std::unique_ptr<snapshot_stage> real, std::shared_ptr<process_watch> watch)
      : real_(std::move(real)), watch_(std::move(watch)) {}

  [[nodiscard]] std::error_code append(bytes_view chunk) noexcept override {
    return told(real_->append(chunk), server_phase::restore_appended);
  }
  [[nodiscard]] std::error_code finish() noexcept override {
    return told(real_->finish(), server_phase::restore_finished);
  }
  [[nodiscard]] std::unique_ptr<snapshot_stage> release() noexcept { return std::move(real_); }

 private:
  [[nodiscard]] std::error_code told(std::error_code error, server_phase what) const noexcept {
    const std::shared_ptr<process_watch> watch = watch_;
    return error || watch->reached(what) ? error : make_error_code(errc::stopped);
  }

  std::unique_ptr<snapshot_stage> real_;
  std::shared_ptr<process_watch> watch_;
};

QUORLITE_DECL apply_result watched_machine::apply(const log_entry& entry) noexcept {
  return told(real_->apply(entry));
}

QUORLITE_DECL apply_result watched_machine::skip(log_position upto) noexcept {
  return told(real_->skip(upto));
}

QUORLITE_DECL void watched_machine::leadership_changed(const leadership& now) noexcept {
  real_->leadership_changed(now);
}

QUORLITE_DECL result<std::unique_ptr<snapshot_reader>> watched_machine::take_snapshot() noexcept
    try {
  auto taken = real_->take_snapshot();
  if (!taken) {
    return taken;
  }
  auto watched = std::make_unique<watched_reader>(*std::move(taken), watch_);
  if (!watch_->reached(server_phase::snapshot_taken)) {
    return fail(errc::stopped);
  }
  return watched;
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

QUORLITE_DECL apply_result watched_machine::install(std::unique_ptr<snapshot_stage> finished,
                                                    log_position engine_at) noexcept {
  // The stage is one of begin_restore().
  auto& watched = static_cast<watched_stage&>(*finished);
  const apply_result said = real_->install(watched.release(), engine_at);
  if (said != apply_result::applied) {
    return said;
  }
  watch_->listener.installed(watch_->self, real_->applied());
  told(said);
  return watch_->reached(server_phase::restore_installed) ? said : apply_result::halted;
}

QUORLITE_DECL void watched_machine::settled(proposal_token token, outcome answer,
                                            settle_reason reason) noexcept {
  real_->settled(token, answer, reason);
}

QUORLITE_DECL result<std::unique_ptr<snapshot_stage>> watched_machine::begin_restore() noexcept
    try {
  auto begun = real_->begin_restore();
  if (!begun) {
    return begun;
  }
  auto watched = std::make_unique<watched_stage>(*std::move(begun), watch_);
  if (!watch_->reached(server_phase::restore_begun)) {
    return fail(errc::stopped);
  }
  return watched;
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

QUORLITE_DECL std::error_code watched_machine::flush(log_index upto) noexcept {
  return real_->flush(upto);
}

QUORLITE_DECL apply_result watched_machine::told(apply_result said) noexcept {
  if (said == apply_result::applied) {
    watch_->listener.moved(watch_->self, real_->applied());
  }
  return said;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
