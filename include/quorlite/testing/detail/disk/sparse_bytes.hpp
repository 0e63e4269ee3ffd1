/// @file
/// The bytes of a file on a disk that exists in memory only: holes cost nothing, and copies share
/// what they have in common.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// What survives a crash survives in units of this many bytes.
inline constexpr std::size_t sector_bytes = 512;

/// A value: copies are independent. One thread at a time.
class sparse_bytes {
 public:
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// Fills `into` from `offset` on, holes with zeros.
  /// @returns bytes read, fewer than asked for only where the file ends
  std::size_t read(std::uint64_t offset, bytes_span into) const {
    const std::uint64_t left = offset < size_ ? size_ - offset : 0;
    into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(left, into.size())));
    for (std::size_t done = 0; done < into.size();) {
      const piece next(offset + done, into.size() - done);
      const auto found = blocks_.find(next.block);
      const bytes_span part = into.subspan(done, next.count);
      if (found == blocks_.end()) {
        std::fill(part.begin(), part.end(), std::byte{});
      } else {
        std::copy_n(found->second->begin() + next.start, next.count, part.begin());
      }
      done += next.count;
    }
    return into.size();
  }

  void write(std::uint64_t offset, bytes_view data) {
    for (std::size_t done = 0; done < data.size();) {
      const piece next(offset + done, data.size() - done);
      std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(done), next.count,
                  own(next.block).begin() + next.start);
      done += next.count;
    }
    if (!data.empty()) {
      size_ = std::max<std::uint64_t>(size_, offset + data.size());
    }
  }

  /// Cuts, or adds zeros.
  void resize(std::uint64_t size) {
    if (size < size_) {
      blocks_.erase(blocks_.lower_bound((size + block_bytes - 1) / block_bytes), blocks_.end());
      const piece last(size, block_bytes);
      if (last.start != 0 && blocks_.count(last.block) != 0) {
        block& cut = own(last.block);
        std::fill(cut.begin() + last.start, cut.end(), std::byte{});  // must not come back
      }
    }
    size_ = size;
  }

  /// True if this part of the file takes no room: it was never written, or cut.
  [[nodiscard]] bool is_hole(std::uint64_t offset) const noexcept {
    return blocks_.count(offset / block_bytes) == 0;
  }

 private:
  static constexpr std::size_t block_bytes = 4096;
  using block = std::array<std::byte, block_bytes>;

  /// The part of a transfer that is in one block.
  struct piece {
    std::uint64_t block;
    std::ptrdiff_t start;  // in the block, bytes
    std::size_t count;     // bytes
    piece(std::uint64_t offset, std::size_t left) noexcept
        : block(offset / block_bytes),
          start(static_cast<std::ptrdiff_t>(offset % block_bytes)),
          count(std::min(left, block_bytes - static_cast<std::size_t>(start))) {}
  };

  /// Blocks are shared with copies, so the first write to one makes it anew.
  block& own(std::uint64_t number) {
    std::shared_ptr<block>& found = blocks_[number];
    if (!found) {
      found = std::make_shared<block>();
    } else if (found.use_count() > 1) {
      found = std::make_shared<block>(*found);
    }
    return *found;
  }

  std::uint64_t size_ = 0;
  std::map<std::uint64_t, std::shared_ptr<block>> blocks_;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
