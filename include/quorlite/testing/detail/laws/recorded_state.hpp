/// @file
/// The states, snapshots and restores of the consensus suite's machine.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/laws/consensus_ledger.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// What a machine holds: entries by index, and how far it is.
struct recorded_state {
  log_position at;
  std::map<std::uint64_t, recorded_entry> entries;

  /// Numbers of eight bytes, lowest first: index and term of the position, then index, term, size
  /// and bytes of each entry.
  [[nodiscard]] bytes to_bytes() const {
    bytes image;
    const auto put = [&image](std::uint64_t number) {
      for (unsigned shift = 0; shift < 64; shift += 8) {
        image.push_back(static_cast<std::byte>(number >> shift));
      }
    };
    put(at.index.value);
    put(at.term.value);
    for (const auto& [index, entry] : entries) {
      put(index);
      put(entry.term.value);
      put(entry.payload.size());
      image.insert(image.end(), entry.payload.begin(), entry.payload.end());
    }
    return image;
  }
  /// @returns false if the bytes are not whole
  [[nodiscard]] bool from_bytes(bytes_view image) {
    std::size_t place = 0;
    bool whole = true;
    const auto take = [&]() {
      std::uint64_t number = 0;
      whole = whole && image.size() - place >= 8;
      for (std::size_t i = 0; whole && i < 8; ++i) {
        number |= std::to_integer<std::uint64_t>(image[place + i]) << (8 * i);
      }
      place += whole ? 8U : 0U;
      return number;
    };
    at.index = log_index{take()};
    at.term = quorlite::term{take()};
    while (whole && place < image.size()) {
      const std::uint64_t index = take();
      recorded_entry entry{quorlite::term{take()}, {}};
      const std::uint64_t size = take();
      whole = whole && size <= image.size() - place;
      if (whole) {
        const auto start = image.begin() + static_cast<std::ptrdiff_t>(place);
        entry.payload.assign(start, start + static_cast<std::ptrdiff_t>(size));
        entries.emplace(index, std::move(entry));
        place += static_cast<std::size_t>(size);
      }
    }
    return whole;
  }
};

/// What happened to the restores of one machine. Shared with its stages, which may outlive it.
struct stage_counters {
  std::atomic<std::size_t> begun{0};
  std::atomic<std::size_t> appended_bytes{0};
  std::atomic<std::size_t> failed{0};     ///< finish() refused, as it was told to
  std::atomic<std::size_t> abandoned{0};  ///< destroyed before finish() was called
  std::atomic<std::size_t> installed{0};
  std::atomic<bool> fail_next{false};
};

class recording_stage final : public snapshot_stage {
 public:
  explicit recording_stage(std::shared_ptr<stage_counters> counters)
      : counters_(std::move(counters)) {
    ++counters_->begun;
  }
  ~recording_stage() override { counters_->abandoned += ended_ ? 0U : 1U; }

  [[nodiscard]] std::error_code append(bytes_view chunk) noexcept override {
    image_.insert(image_.end(), chunk.begin(), chunk.end());
    counters_->appended_bytes += chunk.size();
    return {};
  }
  [[nodiscard]] std::error_code finish() noexcept override {
    ended_ = true;
    if (counters_->fail_next.exchange(false)) {
      ++counters_->failed;
      return make_error_code(errc::corrupt);
    }
    finished_ = state_.from_bytes(image_);
    return finished_ ? std::error_code{} : make_error_code(errc::corrupt);
  }
  [[nodiscard]] bool finished() const noexcept { return finished_; }
  [[nodiscard]] recorded_state& state() noexcept { return state_; }

 private:
  std::shared_ptr<stage_counters> counters_;
  bytes image_;
  recorded_state state_;
  bool ended_ = false;
  bool finished_ = false;
};

class recording_reader final : public snapshot_reader {
 public:
  explicit recording_reader(const recorded_state& state)
      : at_(state.at), image_(state.to_bytes()) {}
  [[nodiscard]] log_position at() const noexcept override { return at_; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return image_.size(); }
  [[nodiscard]] std::error_code read(std::uint64_t offset, bytes_span into) noexcept override {
    if (offset > image_.size() || into.size() > image_.size() - offset) {
      return make_error_code(errc::malformed);
    }
    if (!into.empty()) {
      std::memcpy(into.data(), image_.data() + offset, into.size());
    }
    return {};
  }

 private:
  log_position at_;
  bytes image_;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
