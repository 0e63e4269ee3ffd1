/// @file
/// Storage laws about the position and the list of databases: D1, D2, D8, D10, D13, D19, D21, D22,
/// D26.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"
#include "quorlite/testing/detail/laws/storage_scene.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// D1 and D2: nothing at first; then exactly what was committed, as often as one looks.
template <storage_harness H>
void check_recovery(H& harness, conformance_report& report) {
  auto storage = harness.make();
  {
    law_check law(report, "D1", "an empty place recovers to position 0 without databases or notes");
    const auto found = storage->recover();
    const std::string difference =
        found ? difference_in_position(*found, {}) : "recover() failed: " + found.error().message();
    law.expect(difference.empty(), difference);
    law.expect(!found || found->ahead == log_index{}, "ahead is 0 in an empty place");
  }
  law_check law(report, "D2",
                "after commit returns, recover gives exactly that position, notes and list");
  model_content content;
  for (std::uint64_t round = 1; round <= 4; ++round) {
    model_content next = sample_content(round * 5, round);
    next.replay_from = log_index{round * 5 - 2};
    if (round == 3) {
      next.databases.erase("logs_2.db");
      next.notes.clear();
    }
    law.expect(!commit_change(*storage, content, next), "commit works");
    content = next;
    for (int look = 0; look < 2; ++look) {
      const std::string difference = difference_after_reopen(harness, storage, content);
      law.expect(difference.empty(), difference);
    }
  }
  model_content moved = content;  // a flush without any page: only the position advances
  moved.at.index = log_index{content.at.index.value + 9};
  law.expect(!commit_change(*storage, content, moved), "a commit without pages works");
  const std::string difference = difference_after_reopen(harness, storage, moved);
  law.expect(difference.empty(), difference);
}

/// D8: a commit cannot go back; a publish can.
template <storage_harness H>
void check_positions_advance(H& harness, conformance_report& report) {
  law_check law(report, "D8", "positions never go back, except by publish");
  auto storage = harness.make();
  const model_content later = sample_content(50, 1);
  const model_content earlier = sample_content(40, 1);
  law.expect(storage->recover() && !commit_change(*storage, {}, later), "a first flush commits");
  law.expect(!!commit_change(*storage, later, earlier),
             "a commit at an earlier position is refused");
  std::string difference = difference_after_reopen(harness, storage, later);
  law.expect(difference.empty(), difference);
  auto stage = fill_stage(*storage, earlier);
  law.expect(stage && !storage->publish(std::move(*stage), model_position(earlier).view()),
             "a publish may go back");
  difference = difference_after_reopen(harness, storage, earlier);
  law.expect(difference.empty(), difference);
}

/// D10: only the committed position says which databases exist.
template <storage_harness H>
void check_catalogue(H& harness, conformance_report& report) {
  law_check law(report, "D10",
                "a database outside the committed position does not exist, and is reborn empty");
  auto storage = harness.make();
  const model_content both = sample_content(5, 1);
  law.expect(storage->recover() && !commit_change(*storage, {}, both), "a first flush commits");
  law.expect(storage->open("only_opened.db", 512).has_value(), "a new name can be opened");
  {
    model_content with_third = both;  // its pages are written, but the position does not name it
    with_third.databases["unlisted.db"].write(1, 3, 9);
    auto flush = fill_flush(*storage, both, with_third);
    model_content dropped = both;
    dropped.at.index = log_index{6};
    dropped.databases.erase("app.db");
    law.expect(flush && !storage->commit(std::move(*flush), model_position(dropped).view()),
               "a commit may name fewer databases than were written");
    const std::string difference = difference_after_reopen(harness, storage, dropped);
    law.expect(difference.empty(), difference);
    for (const char* name : {"app.db", "unlisted.db", "only_opened.db"}) {
      const auto gone = storage->open(name, 4096);
      law.expect(gone && refuses(*storage, *gone, 1, 4096),
                 "a database that does not exist has no page");
    }
    model_content reborn = dropped;
    reborn.at.index = log_index{7};
    reborn.databases["app.db"].write(1, 1, 30).write(6, 6, 30).version = 1;
    law.expect(!commit_change(*storage, dropped, reborn), "the name can be used again");
    const auto fresh = storage->open("app.db", 4096);
    for (std::uint32_t page = 2; fresh && page <= 5; ++page) {
      law.expect(!reads(*storage, *fresh, page, 4096, 1), "a reborn database has no old page");
    }
    const std::string after = difference_after_reopen(harness, storage, reborn);
    law.expect(after.empty(), after);
  }
}

/// D13: the lines of two databases move together.
template <storage_harness H>
void check_common_advance(H& harness, conformance_report& report) {
  law_check law(report, "D13", "two databases in one flush advance together or not at all");
  auto storage = harness.make();
  const model_content old = sample_content(5, 1);
  model_content next = old;
  next.at.index = log_index{6};
  next.databases["app.db"].write(2, 3, 40).version = 6;
  next.databases["logs_2.db"].write(4, 6, 41).version = 6;
  law.expect(storage->recover() && !commit_change(*storage, {}, old), "a first flush commits");
  {
    const auto flush = fill_flush(*storage, old, next);
    law.expect(flush.has_value(), "a flush of two databases can be filled");
  }
  std::string difference = difference_after_reopen(harness, storage, old, false);
  law.expect(difference.empty(), difference);
  law.expect(!commit_change(*storage, old, next), "a flush of two databases commits");
  difference = difference_after_reopen(harness, storage, next);
  law.expect(difference.empty(), difference);
}

/// D19: names that could leave the place, or mean something else there.
template <storage_harness H>
void check_names(H& harness, conformance_report& report) {
  law_check law(report, "D19", "names outside the allowed set are refused before any effect");
  const std::string too_long(limits::database_name_bytes + 1, 'x');
  const std::array<std::string_view, 14> hostile{"",
                                                 ".",
                                                 "..",
                                                 "../up.db",
                                                 "/etc/passwd",
                                                 "a/b.db",
                                                 "a\\b.db",
                                                 ".hidden",
                                                 "main.db-wal",
                                                 "x-journal",
                                                 "x-shm",
                                                 std::string_view("nul\0.db", 7),
                                                 "caf\xC3\xA9.db",
                                                 too_long};
  auto storage = harness.make();
  const model_content content = sample_content(5, 1);
  law.expect(storage->recover() && !commit_change(*storage, {}, content), "a first flush commits");
  for (const std::string_view name : hostile) {
    const std::string which = "'" + std::string(name.substr(0, 20)) + "'";
    law.expect(!storage->open(name, 4096), "open refuses " + which);
    if (auto stage = storage->begin_stage(); law.expect(stage.has_value(), "begin_stage works")) {
      law.expect(!stage->open(name, 4096), "a stage refuses " + which);
    }
    model_content bad = content;
    bad.at.index = log_index{6};
    bad.databases[std::string(name)].version = 1;
    auto flush = storage->begin_flush({bad.at.index, {}});
    law.expect(flush && storage->commit(std::move(*flush), model_position(bad).view()),
               "commit refuses a position with " + which);
  }
  const std::string longest(limits::database_name_bytes, 'x');
  law.expect(storage->open(longest, 4096).has_value(), "the longest name is allowed");
  const std::string difference = difference_after_reopen(harness, storage, content, H::atomic);
  law.expect(difference.empty(), difference);
}

/// D21: the recorded page size is the page size.
template <storage_harness H>
void check_page_size_is_kept(H& harness, conformance_report& report) {
  law_check law(report, "D21", "open with another page size than recorded is an error");
  auto storage = harness.make();
  const model_content content = sample_content(5, 1);
  law.expect(storage->recover() && !commit_change(*storage, {}, content), "a first flush commits");
  for (int turn = 0; turn < 2; ++turn) {  // alive, then after a fresh start
    law.expect(!storage->open("app.db", 8192) && !storage->open("logs_2.db", 4096),
               "another page size is refused");
    law.expect(storage->open("app.db", 4096).has_value(), "the recorded page size is accepted");
    storage = harness.reopen(std::move(storage));
    law.expect(storage->recover().has_value(), "recover() works");
  }
}

/// D22: notes of any size up to the limit.
template <storage_harness H>
void check_notes(H& harness, conformance_report& report) {
  law_check law(report, "D22", "notes up to the limit come back byte for byte");
  auto storage = harness.make();
  law.expect(storage->recover().has_value(), "recover() works");
  model_content content;
  std::uint64_t index = 0;
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{4095}, limits::notes_bytes, std::size_t{0}, std::size_t{513}}) {
    model_content next = content;
    next.at = {log_index{++index}, term{1}};
    next.notes = page_image(index, 0, static_cast<std::uint32_t>(size));
    law.expect(!commit_change(*storage, content, next), "a commit with notes works");
    content = next;
    const std::string difference = difference_after_reopen(harness, storage, content);
    law.expect(difference.empty(),
               difference + " with notes of " + std::to_string(size) + " bytes");
  }
}

/// D25 and D26: what goes with `ahead`, after flushes that were dropped, and one behind them.
template <storage_harness H>
void check_ahead_history(H& harness, conformance_report& report) {
  law_check kept(report, "D25", "with ahead > at, recover tells the history that came with ahead");
  law_check none(report, "D26", "with ahead == at, recover tells no history");
  auto storage = harness.make();
  const auto look = [&](std::unique_ptr<typename H::storage_type> old) {
    auto fresh = harness.reopen(std::move(old));
    const auto found = fresh->recover();
    if (none.expect(found.has_value(), "recover() works")) {
      const std::string difference = difference_in_history(*found);
      law_check& law = found->ahead == found->at.index ? none : kept;
      law.expect(difference.empty(), difference);
    }
    return fresh;
  };
  const model_content old = sample_content(20, 1);
  const auto moved = [&old](std::uint64_t index) {
    model_content next = old;
    next.at.index = log_index{index};
    next.databases["app.db"].write(2, 3, index).version = index;
    return next;
  };
  none.expect(storage->recover() && !commit_change(*storage, {}, old), "a first flush commits");
  storage = look(std::move(storage));
  for (const std::uint64_t index : {30U, 25U}) {
    const auto dropped = fill_flush(*storage, old, moved(index));
    none.expect(dropped.has_value(), "a flush can be filled");
  }
  storage = look(std::move(storage));
  none.expect(!commit_change(*storage, old, moved(22)), "a commit behind a dropped flush works");
  storage = look(std::move(storage));
  none.expect(!commit_change(*storage, moved(22), moved(31)), "a commit beyond it works");
  const std::string difference = difference_after_reopen(harness, storage, moved(31));
  none.expect(difference.empty(), difference);
  storage = look(std::move(storage));
  const model_content other = sample_content(40, 7);
  auto stage = fill_stage(*storage, other);
  none.expect(stage && !storage->publish(std::move(*stage), model_position(other).view()),
              "publish works");
  look(std::move(storage));
}

template <storage_harness H>
void run_storage_catalogue_laws(H& harness, conformance_report& report) {
  check_recovery(harness, report);
  check_positions_advance(harness, report);
  check_catalogue(harness, report);
  check_common_advance(harness, report);
  check_names(harness, report);
  check_page_size_is_kept(harness, report);
  check_notes(harness, report);
  check_ahead_history(harness, report);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
