// What is drawn. One seed gives the same numbers wherever the program runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace damage {

class chance {
 public:
  // @param of, and of so many streams the one of this number
  explicit chance(std::uint64_t of, std::uint64_t number = 0) noexcept
      : state_(of * 0x9E3779B97F4A7C15U + number * 0xD1B54A32D192ED03U + 1) {}

  std::uint64_t next() noexcept {  // splitmix64
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }
  // @pre end > 0
  std::uint64_t below(std::uint64_t end) noexcept { return next() % end; }
  std::uint64_t between(std::uint64_t least, std::uint64_t most) noexcept {
    return least + below(most - least + 1);
  }
  bool percent(std::uint64_t of_hundred) noexcept { return below(100) < of_hundred; }
  // @pre not empty
  template <class T>
  const T& one_of(const std::vector<T>& all) noexcept {
    return all[static_cast<std::size_t>(below(all.size()))];
  }

 private:
  std::uint64_t state_;
};

}  // namespace damage
