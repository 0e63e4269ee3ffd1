/// @file
/// A life of a storage to be interrupted at every call, and what may be found afterwards.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/testing/detail/laws/storage_scene.hpp"
#include "quorlite/testing/faulty_disk.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// A harness whose storage can live on a faulty_disk. `mount`: a storage on what the disk holds, as
/// a process that starts finds it; the disk outlives it.
template <class H>
concept faulty_storage_harness = storage_harness<H> && requires(H& harness, faulty_disk& disk) {
  { harness.mount(disk) } -> std::same_as<std::unique_ptr<typename H::storage_type>>;
};

enum class step_kind : std::uint8_t { commit, drop_flush, drop_stage, publish };

struct history_step {
  step_kind kind = step_kind::commit;
  model_content next;
};

/// Databases that are written, shrink, grow, go, come and are begun anew; a flush and a stage that
/// are dropped; a publish. What a dropped flush wrote, the next one writes again. Pages are small,
/// so that the ways to survive a crash are few.
[[nodiscard]] QUORLITE_DECL std::vector<history_step> make_history();

/// How far a storage came.
struct history_progress {
  bool recovered = false;
  std::size_t done = 0;                ///< steps
  model_content settled;               ///< by the last commit or publish that returned
  std::optional<history_step> trying;  ///< the step that did not return, or failed
  std::vector<model_content> flights;  ///< flushes begun since then: how far pages may be ahead
  std::error_code error;               ///< that ended it

  /// True if a flush wrote to this page after the position was settled.
  [[nodiscard]] bool is_touched(const std::string& name, std::uint32_t page) const;
  [[nodiscard]] bool may_be_ahead(log_index index) const;
};

template <class S>
[[nodiscard]] std::error_code take_step(S& storage, const model_content& old,
                                        const history_step& step) {
  if (step.kind == step_kind::commit || step.kind == step_kind::drop_flush) {
    auto flush = fill_flush(storage, old, step.next);
    if (!flush) {
      return flush.error();
    }
    return step.kind == step_kind::drop_flush
               ? std::error_code{}
               : storage.commit(std::move(*flush), model_position(step.next).view());
  }
  auto stage = fill_stage(storage, step.next);
  if (!stage) {
    return stage.error();
  }
  return step.kind == step_kind::drop_stage
             ? std::error_code{}
             : storage.publish(std::move(*stage), model_position(step.next).view());
}

/// Goes on until the end or the first error. A step that failed is tried again.
template <class S>
void run_history(S& storage, const std::vector<history_step>& steps, history_progress& progress) {
  progress.error = {};
  if (!progress.recovered) {
    const auto found = storage.recover();
    progress.recovered = found.has_value();
    progress.error = found ? std::error_code{} : found.error();
  }
  for (; !progress.error && progress.done < steps.size(); ++progress.done) {
    const history_step& step = steps[progress.done];
    const bool is_flush = step.kind == step_kind::commit || step.kind == step_kind::drop_flush;
    progress.trying = step;
    if (is_flush) {
      progress.flights.push_back(step.next);
    }
    progress.error = take_step(storage, progress.settled, step);
    if (progress.error) {
      return;
    }
    progress.trying.reset();
    if (step.kind == step_kind::commit || step.kind == step_kind::publish) {
      progress.settled = step.next;
      progress.flights.clear();
    }
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/laws/storage_history.ipp"  // IWYU pragma: keep
#endif
