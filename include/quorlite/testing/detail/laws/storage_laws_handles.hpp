/// @file
/// Storage laws about handles, which stand for one content of a name: D23, D24.
#pragma once

#include <cstdint>
#include <memory>
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

/// True if the handle reads every page of `content`, whatever the name leads to by now.
template <class S>
[[nodiscard]] bool reads_all(const S& storage, const typename S::database_type& handle,
                             const model_database& content) {
  for (const auto& [number, seed] : content.seeds) {
    if (!reads(storage, handle, number, content.page_size, seed)) {
      return false;
    }
  }
  return refuses(storage, handle, content.page_count + 1, content.page_size);
}

/// D23: what a flush or a stage begins can be read when it is written, and ever after.
template <storage_harness H>
void check_new_handles(H& harness, conformance_report& report) {
  law_check law(report, "D23",
                "a handle from a flush or a stage reads what was written, before and after");
  auto storage = harness.make();
  const model_content old = sample_content(10, 1);
  law.expect(storage->recover() && !commit_change(*storage, {}, old), "a first flush commits");
  model_content next = old;
  next.at.index = log_index{11};
  next.databases["app.db"] = {};
  next.databases["app.db"].write(1, 4, 90).version = 1;
  next.databases["born.db"].write(1, 3, 91).version = 1;
  {
    auto flush = storage->begin_flush({next.at.index, {}});
    if (!law.expect(flush.has_value(), "a flush begins")) {
      return;
    }
    const auto again = flush->open("app.db", 4096);
    const auto born = flush->open("born.db", 4096);
    if (!law.expect(again && born, "a flush begins databases")) {
      return;
    }
    law.expect(!write_pages(*flush, *again, {}, next.databases["app.db"]) &&
                   !write_pages(*flush, *born, {}, next.databases["born.db"]),
               "a flush writes to the databases that it began");
    const auto expect_all = [&](const std::string& when) {
      law.expect(reads_all(*storage, *again, next.databases["app.db"]) &&
                     reads_all(*storage, *born, next.databases["born.db"]),
                 "the handle of a flush reads what was written, " + when);
    };
    expect_all("before the commit");
    law.expect(!storage->commit(std::move(*flush), model_position(next).view()), "commit works");
    expect_all("after the commit");
    model_content later = next;
    later.at.index = log_index{12};
    later.databases["app.db"].write(2, 6, 92).version = 2;
    law.expect(!commit_change(*storage, next, later), "a later flush commits");
    next = later;
    expect_all("after a later flush of the same content");
  }
  model_content other;
  other.at = {log_index{30}, term{9}};
  other.databases["app.db"].write(1, 2, 93).version = 1;
  {
    auto stage = storage->begin_stage();
    const auto staged = stage ? stage->open("app.db", 4096) : fail(stage.error());
    if (!law.expect(staged.has_value(), "a stage begins a database")) {
      return;
    }
    law.expect(!write_pages(*stage, *staged, {}, other.databases["app.db"]), "a stage writes");
    law.expect(reads_all(*storage, *staged, other.databases["app.db"]),
               "the handle of a stage reads what was written, before the publish");
    law.expect(!storage->publish(std::move(*stage), model_position(other).view()), "publish works");
    law.expect(reads_all(*storage, *staged, other.databases["app.db"]),
               "the handle of a stage reads what was written, after the publish");
  }
  const std::string difference = difference_after_reopen(harness, storage, other);
  law.expect(difference.empty(), difference);
}

/// D24 for one page size of the new content.
template <storage_harness H>
void check_old_handle_beside_flush(H& harness, law_check& law, std::uint32_t page_size) {
  auto storage = harness.make();
  const model_content old = sample_content(10, 1);
  const model_database& before = old.databases.at("app.db");
  law.expect(storage->recover() && !commit_change(*storage, {}, old), "a first flush commits");
  model_content next = old;
  next.at.index = log_index{11};
  next.databases["app.db"] = {};
  next.databases["app.db"].page_size = page_size;
  next.databases["app.db"].write(1, 4, 94).version = 1;
  const auto rewrite = [&] {
    auto flush = storage->begin_flush({next.at.index, {}});
    const auto fresh = flush ? flush->open("app.db", page_size) : fail(flush.error());
    law.expect(fresh && !write_pages(*flush, *fresh, {}, next.databases["app.db"]),
               "a flush begins a database anew under a name that exists");
    return flush;
  };
  {
    const auto handle = storage->open("app.db", before.page_size);
    if (!law.expect(handle.has_value(), "open works")) {
      return;
    }
    { const auto dropped = rewrite(); }
    const std::string untouched = difference_in_pages(*storage, old);
    law.expect(untouched.empty(), untouched);
    auto flush = rewrite();
    law.expect(reads_all(*storage, *handle, before),
               "the old handle reads the old content before the commit");
    law.expect(flush && !storage->commit(std::move(*flush), model_position(next).view()),
               "commit works");
    law.expect(reads_all(*storage, *handle, before),
               "the old handle reads the old content after the commit");
    const std::string difference = difference_in_pages(*storage, next);
    law.expect(difference.empty(), difference);
  }
  const std::string difference = difference_after_reopen(harness, storage, next);
  law.expect(difference.empty(), difference);
}

/// D24: names come and go, the content of a handle stays.
template <storage_harness H>
void check_old_handles(H& harness, conformance_report& report) {
  law_check law(report, "D24", "an old handle goes on reading the old content of its name");
  check_old_handle_beside_flush(harness, law, 4096);
  check_old_handle_beside_flush(harness, law, 1024);

  auto storage = harness.make();
  const model_content old = sample_content(10, 1);
  law.expect(storage->recover() && !commit_change(*storage, {}, old), "a first flush commits");
  model_content without = old;
  without.at.index = log_index{11};
  without.databases.erase("app.db");
  model_content other;
  other.at = {log_index{30}, term{9}};
  other.databases["app.db"].write(1, 2, 95).version = 1;
  other.databases["logs_2.db"].write(1, 2, 96).version = 1;
  {
    const auto dropped = storage->open("app.db", 4096);
    const auto replaced = storage->open("logs_2.db", 1024);
    law.expect(!commit_change(*storage, old, without), "a commit that drops a database works");
    law.expect(dropped && reads_all(*storage, *dropped, old.databases.at("app.db")),
               "the handle of a dropped database reads on");
    auto stage = fill_stage(*storage, other);
    law.expect(stage && !storage->publish(std::move(*stage), model_position(other).view()),
               "publish works");
    law.expect(dropped && reads_all(*storage, *dropped, old.databases.at("app.db")),
               "the handle of a dropped database reads on after its name was used again");
    law.expect(replaced && reads_all(*storage, *replaced, old.databases.at("logs_2.db")),
               "the handle of a replaced database reads on after a publish");
  }
  const std::string difference = difference_after_reopen(harness, storage, other);
  law.expect(difference.empty(), difference);
}

template <storage_harness H>
void run_storage_handle_laws(H& harness, conformance_report& report) {
  check_new_handles(harness, report);
  check_old_handles(harness, report);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
