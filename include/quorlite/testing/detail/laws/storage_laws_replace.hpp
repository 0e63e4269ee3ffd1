/// @file
/// Storage laws about stages, the way of restores: D14, D15, D16.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"
#include "quorlite/testing/detail/laws/storage_scene.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// Another content than sample_content: one name in common, with another page size and fewer pages.
[[nodiscard]] QUORLITE_API QUORLITE_DECL model_content other_content(std::uint64_t index);

/// D14: after publish there is the stage, whole, and nothing else.
template <storage_harness H>
void check_publish(H& harness, conformance_report& report) {
  law_check law(report, "D14", "publish replaces everything");
  auto storage = harness.make();
  const model_content old = sample_content(10, 1);
  law.expect(storage->recover() && !commit_change(*storage, {}, old), "a first flush commits");
  const model_content next = other_content(30);
  auto stage = fill_stage(*storage, next);
  if (!law.expect(stage.has_value(), "a stage can be filled")) {
    return;
  }
  law.expect(!storage->publish(std::move(*stage), model_position(next).view()), "publish works");
  std::string difference = difference_in_pages(*storage, next);
  law.expect(difference.empty(), difference);
  const auto gone = storage->open("logs_2.db", 1024);
  law.expect(gone && refuses(*storage, *gone, 1, 1024), "a database outside the stage is gone");
  difference = difference_after_reopen(harness, storage, next);
  law.expect(difference.empty(), difference);

  model_content after = next;  // life goes on from there
  after.at.index = log_index{31};
  after.databases["app.db"].write(2, 5, 63).version = 3;
  law.expect(!commit_change(*storage, next, after), "a flush after a publish commits");
  difference = difference_after_reopen(harness, storage, after);
  law.expect(difference.empty(), difference);

  model_content sparse = after;  // a stage with holes: the pages below must not shine through
  sparse.at.index = log_index{40};
  sparse.databases["new.db"].seeds.erase(2);
  sparse.databases["new.db"].seeds.erase(3);
  stage = fill_stage(*storage, sparse);
  law.expect(stage && !storage->publish(std::move(*stage), model_position(sparse).view()),
             "publish works");
  const auto holes = storage->open("new.db", 4096);
  law.expect(holes && !reads(*storage, *holes, 2, 4096, 61), "pages outside the stage are gone");
}

/// D15 and D16: a stage beside the living state, dropped half-way or filled while flushes go on.
template <storage_harness H>
void check_stage_beside(H& harness, conformance_report& report) {
  auto storage = harness.make();
  const model_content old = sample_content(10, 1);
  {
    law_check law(report, "D15", "a stage that is dropped half-way leaves the state as before");
    law.expect(storage->recover() && !commit_change(*storage, {}, old), "a first flush commits");
    {
      const auto same_shape = fill_stage(*storage, sample_content(30, 70));
      law.expect(same_shape.has_value(), "a stage can be filled");
    }
    {
      const auto other_shape = fill_stage(*storage, other_content(30));
      law.expect(other_shape.has_value(), "a second stage can be filled");
    }
    std::string difference = difference_in_pages(*storage, old);
    law.expect(difference.empty(), difference);
    difference = difference_after_reopen(harness, storage, old);
    law.expect(difference.empty(), difference);
  }
  law_check law(report, "D16", "reading and flushing the old state go on while a stage is filled");
  auto stage = fill_stage(*storage, other_content(30));
  model_content next = old;
  next.at.index = log_index{11};
  next.databases["app.db"].write(1, 10, 50).version = 11;
  law.expect(!commit_change(*storage, old, next), "a flush commits beside a stage");
  std::string difference = difference_in_pages(*storage, next);
  law.expect(difference.empty(), difference);
  const auto extra = stage ? stage->open("late.db", 4096) : stage->open("", 0);
  model_database late;
  late.write(1, 2, 51);
  law.expect(extra && !write_pages(*stage, *extra, {}, late),
             "the stage can be filled on after a flush");
  model_content published = other_content(30);
  published.databases["late.db"] = late;
  law.expect(stage && !storage->publish(std::move(*stage), model_position(published).view()),
             "publish works");
  difference = difference_after_reopen(harness, storage, published);
  law.expect(difference.empty(), difference);
}

template <storage_harness H>
void run_storage_replace_laws(H& harness, conformance_report& report) {
  check_publish(harness, report);
  check_stage_beside(harness, report);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/laws/storage_laws_replace.ipp"  // IWYU pragma: keep
#endif
