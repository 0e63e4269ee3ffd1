/// @file
/// How often each latency was seen, within about 1 %, in constant memory.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bench {

/// Buckets of equal width inside each power of two, up to 2^40 ns (18 minutes).
class latency_histogram {
 public:
  latency_histogram() : counts_(bucket_of(largest) + 1) {}

  void add(std::uint64_t ns) {
    ++counts_[bucket_of(std::min(ns, largest))];
    ++total_;
  }

  void merge(const latency_histogram& other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      counts_[i] += other.counts_[i];
    }
    total_ += other.total_;
  }

  [[nodiscard]] std::uint64_t count() const { return total_; }

  /// Microseconds that `share` (0 to 1) of all did not exceed; 0 if there are none.
  [[nodiscard]] double quantile_us(double share) const {
    const auto wanted = static_cast<std::uint64_t>(share * static_cast<double>(total_));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen > wanted || (seen == total_ && seen > 0)) {
        return middle_ns_of(i) / 1000;
      }
    }
    return 0;
  }

 private:
  static constexpr unsigned precision_bits = 6;  // 64 buckets a power of two
  static constexpr std::uint64_t per_power = std::uint64_t{1} << precision_bits;
  static constexpr std::uint64_t largest = (std::uint64_t{1} << 40U) - 1;

  [[nodiscard]] static std::size_t bucket_of(std::uint64_t ns) {
    if (ns < per_power) {
      return static_cast<std::size_t>(ns);
    }
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - precision_bits - 1;
    return static_cast<std::size_t>((shift + 1) * per_power + (ns >> shift) - per_power);
  }
  [[nodiscard]] static double middle_ns_of(std::size_t bucket) {
    if (bucket < per_power) {
      return static_cast<double>(bucket);
    }
    const std::uint64_t shift = bucket / per_power - 1;
    const std::uint64_t begin = (bucket % per_power + per_power) << shift;
    return static_cast<double>(begin) + static_cast<double>((std::uint64_t{1} << shift) - 1) / 2;
  }

  std::vector<std::uint64_t> counts_;
  std::uint64_t total_ = 0;
};

}  // namespace bench
