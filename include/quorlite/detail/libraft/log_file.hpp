/// @file
/// The files of a log, as their names tell of them.
#pragma once

#include <cstdint>
#include <string>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/log_format.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// For what is said of them.
[[nodiscard]] inline std::string entries_text(std::uint64_t first, std::uint64_t last) {
  return first == last ? "entry " + std::to_string(first)
                       : "entries " + std::to_string(first) + " to " + std::to_string(last);
}

/// A segment by its name.
struct libraft_log_file {
  std::string file;
  std::uint64_t first = 0;  ///< entry; of an open one: its number
  std::uint64_t last = 0;   ///< entry; of an open one: 0
  bool unclosed = false;    ///< a closed one by what it holds, with the name of an open one
};

/// A snapshot by its names.
struct libraft_snapshot_file {
  std::string file;  ///< without ".meta"
  std::uint64_t term = 0;
  std::uint64_t index = 0;
  std::uint64_t time = 0;
  bool has_meta = false;
  bool has_content = false;

  /// It was taking the place of the log, by the note.
  [[nodiscard]] bool replaces_log(const libraft_log_note& note) const noexcept {
    return note.of == libraft_log_note::step::install && index == note.index && term == note.term;
  }
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
