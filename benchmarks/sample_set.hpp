/// @file
/// What several rounds measured of one thing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace bench {

class sample_set {
 public:
  void add(double value) { values_.push_back(value); }

  [[nodiscard]] bool empty() const { return values_.empty(); }
  [[nodiscard]] const std::vector<double>& values() const { return values_; }  ///< round by round

  /// Of an even number, the mean of the two in the middle. @pre !empty(), as for the others
  [[nodiscard]] double median() const {
    std::vector<double> sorted = values_;
    std::sort(sorted.begin(), sorted.end());
    const std::size_t middle = sorted.size() / 2;
    return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }
  [[nodiscard]] double min() const { return *std::min_element(values_.begin(), values_.end()); }
  [[nodiscard]] double max() const { return *std::max_element(values_.begin(), values_.end()); }

 private:
  std::vector<double> values_;
};

}  // namespace bench
