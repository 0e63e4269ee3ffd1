/// @file
/// Storage laws about pages: D4, D6, D7, D9, D11, D12, D20.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"
#include "quorlite/testing/detail/laws/storage_scene.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// D4: a long history of small flushes; after each the living pages, at the end those of a fresh
/// start.
template <storage_harness H>
void check_pages_at_position(H& harness, conformance_report& report) {
  law_check law(report, "D4", "with ahead == at every page reads as of at");
  auto storage = harness.make();
  if (!law.expect(storage->recover().has_value(), "recover() of an empty place works")) {
    return;
  }
  model_content content;
  for (std::uint64_t round = 1; round <= 24; ++round) {
    model_content next = content;
    next.at = {log_index{round * 3}, term{1 + round / 8}};
    next.replay_from = log_index{round * 3 - round % 3};
    model_database& database = next.databases[round % 4 == 0 ? "b.db" : "a.db"];
    const auto first = static_cast<std::uint32_t>(1 + round * 7 % 11);
    // A database grows page by page: no hole may be left below a first write.
    const auto start = static_cast<std::uint32_t>(
        database.page_count + 1 < first ? database.page_count + 1 : first);
    database.write(start, first + static_cast<std::uint32_t>(round % 3), round).version = round;
    if (round % 5 == 0) {
      database.resize(first);
    }
    if (!law.expect(!commit_change(*storage, content, next),
                    "a flush of ascending pages commits")) {
      return;
    }
    content = next;
    if (const auto difference = difference_in_pages(*storage, content);
        !law.expect(difference.empty(), difference)) {
      return;
    }
  }
  const std::string difference = difference_after_reopen(harness, storage, content);
  law.expect(difference.empty(), difference);
}

/// D6 and D7: a flush begun, filled and dropped.
template <storage_harness H>
void check_dropped_flush(H& harness, conformance_report& report) {
  law_check dropped(report, "D6",
                    "a dropped flush leaves whole pages, and the next flush sets all right");
  auto storage = harness.make();
  const model_content old = sample_content(10, 1);
  if (!dropped.expect(storage->recover() && !commit_change(*storage, {}, old),
                      "a first flush commits")) {
    return;
  }
  model_content next = old;
  next.at.index = log_index{20};
  next.databases["app.db"].write(3, 12, 77).version = 20;
  {
    const auto flush = fill_flush(*storage, old, next);
    dropped.expect(flush.has_value(), "a flush can be filled");
  }
  const auto database = storage->open("app.db", 4096);
  if (!dropped.expect(database.has_value(), "open works after a dropped flush")) {
    return;
  }
  for (std::uint32_t page = 1; page <= 9; ++page) {
    dropped.expect(
        reads(*storage, *database, page, 4096, 1) || reads(*storage, *database, page, 4096, 77),
        "each page is the old or the new image, whole");
  }
  if constexpr (H::atomic) {
    law_check atomic(report, "D7", "a dropped flush leaves no trace");
    std::string difference = difference_in_pages(*storage, old);
    atomic.expect(difference.empty(), difference);
    difference = difference_after_reopen(harness, storage, old);
    atomic.expect(difference.empty(), difference);
  } else {
    report.skip("D7", "the harness does not call this storage atomic");
  }
  dropped.expect(!commit_change(*storage, old, next), "the same pages can be flushed again");
  std::string difference = difference_in_pages(*storage, next);
  dropped.expect(difference.empty(), difference);
  difference = difference_after_reopen(harness, storage, next);
  dropped.expect(difference.empty(), difference);
}

/// D9: every page size; the first page, the last one, and the neighbours of the page that holds the
/// lock byte.
template <storage_harness H>
void check_page_sizes(H& harness, conformance_report& report) {
  law_check law(report, "D9", "read returns exactly the last image that was committed");
  for (std::uint32_t size = limits::page_size_min; size <= limits::page_size_max; size *= 2) {
    auto storage = harness.make();
    const auto lock = static_cast<std::uint32_t>(lock_page(size));
    model_content content;
    content.at = {log_index{1}, term{1}};
    content.replay_from = log_index{1};
    model_database& database = content.databases["sizes.db"];
    database.page_size = size;
    database.write(1, 3, 5).write(lock - 1, lock - 1, 6).write(lock + 1, lock + 2, 7).version = 1;
    const std::string at_size = " at page size " + std::to_string(size);
    if (!law.expect(storage->recover() && !commit_change(*storage, {}, content),
                    "a commit works" + at_size)) {
      return;
    }
    model_content next = content;  // overwrites some of them, and the last one twice
    next.at.index = log_index{2};
    next.replay_from = log_index{2};
    next.databases["sizes.db"].write(2, 2, 8).write(lock + 2, lock + 2, 9).version = 2;
    law.expect(!commit_change(*storage, content, next), "a second commit works" + at_size);
    std::string difference = difference_in_pages(*storage, next);
    law.expect(difference.empty(), difference + at_size);
    const auto handle = storage->open("sizes.db", size);
    if (law.expect(handle.has_value(), "open works" + at_size)) {
      law.expect(refuses(*storage, *handle, 0, size), "page 0 is refused" + at_size);
      law.expect(refuses(*storage, *handle, 1, size / 2),
                 "a read of another size is refused" + at_size);
    }
    difference = difference_after_reopen(harness, storage, next);
    law.expect(difference.empty(), difference + at_size);
  }
}

/// D11: pages beyond a smaller page count are gone for good.
template <storage_harness H>
void check_shrink(H& harness, conformance_report& report) {
  law_check law(report, "D11",
                "pages beyond a smaller page count are gone, also after growing again");
  auto storage = harness.make();
  const model_content wide = sample_content(1, 3);
  model_content small = wide;
  small.at.index = log_index{2};
  small.databases["app.db"].resize(4).version = 2;
  law.expect(storage->recover() && !commit_change(*storage, {}, wide), "a first flush commits");
  law.expect(!commit_change(*storage, wide, small), "a flush that only shrinks commits");
  const auto handle = storage->open("app.db", 4096);
  if (!law.expect(handle.has_value(), "open works")) {
    return;
  }
  for (std::uint32_t page = 5; page <= 9; ++page) {
    law.expect(refuses(*storage, *handle, page, 4096),
               "a page beyond the smaller count is refused");
  }
  model_content again = small;  // grows, and writes the last page only
  again.at.index = log_index{3};
  again.databases["app.db"].write(9, 9, 4).version = 3;
  law.expect(!commit_change(*storage, small, again), "a flush that grows again commits");
  const auto expect_gone = [&] {
    const auto grown = storage->open("app.db", 4096);
    for (std::uint32_t page = 5; grown && page <= 8; ++page) {
      law.expect(!reads(*storage, *grown, page, 4096, 3),
                 "growing again does not bring old pages back");
    }
  };
  expect_gone();
  const std::string difference = difference_after_reopen(harness, storage, again);
  law.expect(difference.empty(), difference);
  expect_gone();
}

/// D12: a second thread reads pages that no flush touches.
template <storage_harness H>
void check_concurrent_reads(H& harness, conformance_report& report) {
  law_check law(report, "D12", "reads of other pages are right while a flush writes");
  auto storage = harness.make();
  model_content content;
  content.at = {log_index{1}, term{1}};
  content.replay_from = log_index{1};
  content.databases["app.db"].write(1, 16, 1).version = 1;
  law.expect(storage->recover() && !commit_change(*storage, {}, content), "a first flush commits");
  const auto handle = storage->open("app.db", 4096);
  if (!law.expect(handle.has_value(), "open works")) {
    return;
  }
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> wrong{0};
  std::thread reader([&, &still = *storage, &database = *handle] {
    for (std::uint32_t turn = 0; !stop; ++turn) {
      wrong += reads(still, database, 1 + turn % 8, 4096, 1) ? 0U : 1U;
    }
  });
  for (std::uint64_t round = 2; round <= 40; ++round) {
    model_content next = content;
    next.at.index = log_index{round};
    next.replay_from = log_index{round};
    next.databases["app.db"].write(9, 16 + static_cast<std::uint32_t>(round % 5), round).version =
        round;
    law.expect(!commit_change(*storage, content, next),
               "a flush commits while another thread reads");
    content = next;
  }
  stop = true;
  reader.join();
  law.expect(wrong == 0, "no read of an untouched page went wrong during the flushes");
}

/// D20: the hashes are those that came with the pages.
template <storage_harness H>
void check_page_hashes(H& harness, conformance_report& report) {
  using storage_type = typename H::storage_type;
  if constexpr (storage_type::abilities.page_hashes) {
    law_check law(report, "D20", "read_hashes gives the hashes that were given to write");
    auto storage = harness.make();
    const model_content first = sample_content(1, 21);
    model_content content = first;
    content.at.index = log_index{2};
    content.databases["app.db"].write(4, 6, 22).version = 2;
    law.expect(storage->recover() && !commit_change(*storage, {}, first), "a first flush commits");
    law.expect(!commit_change(*storage, first, content), "a second flush commits");
    for (int turn = 0; turn < 2; ++turn) {  // alive, then after a fresh start
      const auto handle = storage->open("app.db", 4096);
      std::vector<std::uint64_t> hashes(8);
      if (!law.expect(handle && !storage->read_hashes(*handle, page_number{2}, hashes),
                      "read_hashes works")) {
        return;
      }
      for (std::uint32_t page = 2; page <= 9; ++page) {
        const auto seed = content.databases["app.db"].seeds[page];
        law.expect(hashes[page - 2] ==
                       quorlite::detail::page_hash(page_number{page}, page_image(seed, page, 4096)),
                   "the hash of page " + std::to_string(page) + " is the one that was given");
      }
      storage = harness.reopen(std::move(storage));
      law.expect(storage->recover().has_value(), "recover() works");
    }
  } else {
    report.skip("D20", "page_hashes is not declared");
  }
}

template <storage_harness H>
void run_storage_page_laws(H& harness, conformance_report& report) {
  check_pages_at_position(harness, report);
  check_dropped_flush(harness, report);
  check_page_sizes(harness, report);
  check_shrink(harness, report);
  check_concurrent_reads(harness, report);
  check_page_hashes(harness, report);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
