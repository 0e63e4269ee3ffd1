/// @file
/// Rows chosen by chance, the same ones again from the same seed.
#pragma once

#include <cstdint>

namespace bench {

class random_rows {
 public:
  /// @param rows how many there are, numbered from 1; fewer than 2^31
  explicit random_rows(std::uint64_t rows, std::uint64_t seed = 1) : rows_(rows), state_(seed) {}

  std::int64_t next() {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::int64_t>(1 + (state_ >> 33U) % rows_);
  }

 private:
  std::uint64_t rows_;
  std::uint64_t state_;
};

}  // namespace bench
