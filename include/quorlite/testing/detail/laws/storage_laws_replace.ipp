/// @file
/// Bodies of the laws about stages, apart from their templates.
#pragma once

#include "quorlite/testing/detail/laws/storage_laws_replace.hpp"

#include <cstdint>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/storage_scene.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL model_content other_content(std::uint64_t index) {
  model_content content;
  content.at = {log_index{index}, term{9}};
  content.replay_from = content.at.index;
  content.databases["app.db"].page_size = 2048;
  content.databases["app.db"].write(1, 3, 60).version = 2;
  content.databases["new.db"].write(1, 4, 61).version = 7;
  content.notes = page_image(62, 0, 40);
  return content;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
