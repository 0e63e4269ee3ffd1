/// @file
/// What each row of the large database must be, known without asking the database.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "random_rows.hpp"

namespace bench {

/// A row's text follows from its number and from how often it was updated; how often, from the
/// number of updates alone. So a process that starts anew knows it too.
class row_model {
 public:
  static constexpr std::size_t text_bytes = 896;  // four rows on a page of 4096 bytes

  /// After the first `updates` updates. 4 bytes of memory a row.
  row_model(std::uint64_t rows, std::uint64_t updates)
      : versions_(rows), chance_(rows, chance_seed) {
    for (std::uint64_t i = 0; i < updates; ++i) {
      next_update();
    }
  }

  /// @returns the row that is updated now, its version already moved on
  std::int64_t next_update() {
    const std::int64_t row = chance_.next();
    ++versions_[static_cast<std::size_t>(row - 1)];
    return row;
  }

  [[nodiscard]] std::uint64_t rows() const { return versions_.size(); }
  /// Updates of this row so far.
  [[nodiscard]] std::uint32_t version_of(std::int64_t row) const {
    return versions_[static_cast<std::size_t>(row - 1)];
  }

  /// Fills `into`; it takes its capacity from the call before.
  static void write_text(std::int64_t row, std::uint32_t version, std::string& into) {
    constexpr char digits[] = "0123456789abcdef";
    std::uint64_t state = static_cast<std::uint64_t>(row) << 32U | version;
    into.resize(text_bytes);
    for (std::size_t at = 0; at < text_bytes; at += 16) {
      std::uint64_t word = mixed(state += 0x9E3779B97F4A7C15U);
      for (std::size_t i = 0; i < 16; ++i, word >>= 4U) {
        into[at + i] = digits[word & 0xFU];
      }
    }
  }

 private:
  static constexpr std::uint64_t chance_seed = 7;

  /// The finalizer of splitmix64: nothing that compresses, nothing that repeats.
  static std::uint64_t mixed(std::uint64_t word) {
    word = (word ^ (word >> 30U)) * 0xBF58476D1CE4E5B9U;
    word = (word ^ (word >> 27U)) * 0x94D049BB133111EBU;
    return word ^ (word >> 31U);
  }

  std::vector<std::uint32_t> versions_;
  random_rows chance_;
};

}  // namespace bench
