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
#include "quorlite/testing/faulty_disk.hpp"
#include "quorlite/testing/detail/laws/storage_scene.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

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
[[nodiscard]] inline std::vector<history_step> make_history() {
  std::vector<history_step> steps;
  model_content now;
  const auto stand_at = [&now](std::uint64_t index) {
    now.at = {log_index{index}, term{1 + index / 10}};
    now.replay_from = log_index{index - 1};
    now.notes = page_image(index, 0, 600);  // so that no record fits into one sector
  };
  const auto add = [&](step_kind kind) {
    for (auto& entry : now.databases) {
      entry.second.version = now.at.index.value;
    }
    steps.push_back({kind, now});
  };
  now.databases["a.db"].page_size = 512;
  now.databases["a.db"].write(1, 6, 1);
  now.databases["b.db"].page_size = 1024;
  now.databases["b.db"].write(1, 3, 2);
  stand_at(5);
  add(step_kind::commit);
  now.databases["a.db"].write(2, 3, 3).resize(4);
  now.databases["b.db"].write(4, 5, 4);
  stand_at(9);
  add(step_kind::commit);
  now.databases["a.db"].write(1, 1, 5).write(5, 7, 5);
  now.databases["b.db"].resize(2);
  stand_at(12);
  add(step_kind::drop_flush);
  now.databases["b.db"].write(1, 1, 6);
  stand_at(13);
  add(step_kind::commit);
  now.databases.erase("b.db");
  now.databases["c.db"].page_size = 512;
  now.databases["c.db"].write(1, 2, 7);
  stand_at(14);
  add(step_kind::commit);
  now.databases["a.db"] = {};
  now.databases["a.db"].page_size = 1024;
  now.databases["a.db"].write(1, 3, 8);
  stand_at(15);
  add(step_kind::commit);
  const model_content living = now;
  now.databases["a.db"].write(1, 4, 9);
  now.databases["d.db"].page_size = 512;
  now.databases["d.db"].write(1, 2, 10);
  now.databases.erase("c.db");
  stand_at(30);
  add(step_kind::drop_stage);
  add(step_kind::publish);
  now.databases["a.db"].write(2, 2, 11).write(5, 5, 11);
  stand_at(31);
  add(step_kind::commit);
  return steps;
}

/// How far a storage came.
struct history_progress {
  bool recovered = false;
  std::size_t done = 0;                ///< steps
  model_content settled;               ///< by the last commit or publish that returned
  std::optional<history_step> trying;  ///< the step that did not return, or failed
  std::vector<model_content> flights;  ///< flushes begun since then: how far pages may be ahead
  std::error_code error;               ///< that ended it

  /// True if a flush wrote to this page after the position was settled.
  [[nodiscard]] bool is_touched(const std::string& name, std::uint32_t page) const {
    for (const model_content& flight : flights) {
      const auto database = flight.databases.find(name);
      if (database != flight.databases.end() &&
          database->second.page_size == settled.databases.at(name).page_size &&
          database->second.seeds.count(page) != 0 &&
          database->second.seeds.at(page) != settled.databases.at(name).seeds.at(page)) {
        return true;
      }
    }
    return false;
  }
  [[nodiscard]] bool may_be_ahead(log_index index) const {
    for (const model_content& flight : flights) {
      if (flight.at.index == index) {
        return true;
      }
    }
    return false;
  }
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

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
