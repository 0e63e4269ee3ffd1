/// @file
/// Bodies of the history of a storage, and of how far one came.
#pragma once

#include "quorlite/testing/detail/laws/storage_history.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/storage_scene.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::vector<history_step> make_history() {
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

QUORLITE_DECL bool history_progress::is_touched(const std::string& name, std::uint32_t page) const {
  for (const model_content& flight : flights) {
    const auto database = flight.databases.find(name);
    if (database != flight.databases.end() &&
        database->second.page_size == settled.databases.at(name).page_size &&
        database->second.seeds.contains(page) &&
        database->second.seeds.at(page) != settled.databases.at(name).seeds.at(page)) {
      return true;
    }
  }
  return false;
}

QUORLITE_DECL bool history_progress::may_be_ahead(log_index index) const {
  for (const model_content& flight : flights) {
    if (flight.at.index == index) {
      return true;
    }
  }
  return false;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
