/// @file
/// A table for people: columns as wide as what is in them.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace bench {

/// The first column is set flush left, the others flush right.
class text_table {
 public:
  explicit text_table(std::vector<std::string> header) { add(std::move(header)); }

  /// @pre as many cells as the header has
  void add(std::vector<std::string> cells) {
    widths_.resize(std::max(widths_.size(), cells.size()));
    for (std::size_t i = 0; i < cells.size(); ++i) {
      widths_[i] = std::max(widths_[i], cells[i].size());
    }
    rows_.push_back(std::move(cells));
  }

  void print(std::FILE* to) const {
    for (const std::vector<std::string>& row : rows_) {
      std::string line;
      for (std::size_t i = 0; i < row.size(); ++i) {
        line += i == 0 ? fmt::format("{:<{}}", row[i], widths_[i])
                       : fmt::format("  {:>{}}", row[i], widths_[i]);
      }
      fmt::print(to, "{}\n", line);
    }
  }

 private:
  std::vector<std::size_t> widths_;
  std::vector<std::vector<std::string>> rows_;
};

/// Few digits, but never fewer than three that mean something.
[[nodiscard]] inline std::string short_number(double value) {
  if (value >= 100 || value == 0) {
    return fmt::format("{:.0f}", value);
  }
  return value >= 10 ? fmt::format("{:.1f}", value) : fmt::format("{:.2f}", value);
}

}  // namespace bench
