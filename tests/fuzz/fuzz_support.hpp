// What the fuzz targets share. A target takes any bytes, and stops the process if a promise of the
// parser it feeds does not hold; sanitizers watch over the rest.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/detail/core/crc32c.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace quorlite::tests {

/// Ends the process, so that whoever drives the target keeps the input.
inline void demand(bool holds, const char* promise) {
  if (!holds) {
    std::fprintf(stderr, "broken promise: %s\n", promise);
    std::abort();
  }
}

inline quorlite::bytes_view view_of(const std::uint8_t* data, std::size_t size) {
  return std::as_bytes(std::span<const std::uint8_t>{data, size});
}

/// Sums up what a parser told, so that two runs can be compared.
class event_sum {
 public:
  void add(std::uint64_t value) noexcept {
    sum_ = (sum_ ^ value) * 0x9E3779B97F4A7C15ULL;
    sum_ ^= sum_ >> 29U;
  }
  void add(quorlite::bytes_view data) noexcept {
    add(data.size());
    add(quorlite::detail::crc32c(data));
  }
  friend bool operator==(const event_sum&, const event_sum&) noexcept = default;

 private:
  std::uint64_t sum_ = 0;
};

/// Gives `parser` the input, `piece_bytes` at a time. The first error, or that of finish().
template <class Parser, class Sink>
std::error_code parse_in_pieces(Parser& parser, Sink& sink, quorlite::bytes_view input,
                                std::size_t piece_bytes) {
  while (!input.empty()) {
    const quorlite::bytes_view piece = input.first(std::min(piece_bytes, input.size()));
    if (const std::error_code error = parser.append(piece, sink)) {
      demand(parser.append(piece, sink) == error, "the first error is final");
      return error;
    }
    input = input.subspan(piece.size());
  }
  return parser.finish();
}

}  // namespace quorlite::tests
