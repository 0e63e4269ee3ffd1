/// @file
/// Bodies of page_delta.hpp: two deltas of one page become one, what the older sets and then the
/// newer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/core/wire.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The ranges of a valid delta, one after the other.
class delta_cursor {
 public:
  explicit delta_cursor(bytes_view delta) noexcept : reader_(delta) { next(); }

  /// False behind the last range.
  explicit operator bool() const noexcept { return !range_.empty(); }
  [[nodiscard]] std::size_t first() const noexcept { return first_; }
  [[nodiscard]] std::size_t last() const noexcept { return first_ + range_.size(); }
  /// The bytes from `from` on. @pre from in [first, last]
  [[nodiscard]] bytes_view bytes_from(std::size_t from) const noexcept {
    return range_.subspan(from - first_);
  }
  void next() noexcept {
    first_ += range_.size();
    range_ = {};
    if (reader_.remaining() > 0) {
      first_ += static_cast<std::size_t>(reader_.varint());
      range_ = reader_.take(reader_.varint());
    }
  }

 private:
  wire_reader reader_;
  std::size_t first_ = 0;
  bytes_view range_;
};

/// Writes ranges that ascend and do not overlap; joins those that touch.
class delta_joiner {
 public:
  explicit delta_joiner(bytes& out) noexcept : out_(out) {}

  void add(std::size_t first, bytes_view some) {
    if (some.empty()) {
      return;
    }
    if (!open_.empty() && open_first_ + open_.size() != first) {
      flush();
    }
    open_first_ = open_.empty() ? first : open_first_;
    open_.insert(open_.end(), some.begin(), some.end());
  }
  void flush() {
    if (open_.empty()) {
      return;
    }
    wire_writer write{out_};
    write.varint(open_first_ - written_to_);
    write.varint(open_.size());
    write.raw(open_);
    written_to_ = open_first_ + open_.size();
    open_.clear();
  }

 private:
  bytes& out_;
  bytes open_;
  std::size_t open_first_ = 0;
  std::size_t written_to_ = 0;
};

QUORLITE_DECL void merge_deltas(bytes_view older, bytes_view newer, bytes& out) {
  delta_cursor old{older};
  delta_cursor fresh{newer};
  delta_joiner joined{out};
  std::size_t done = 0;  // every byte before it is decided
  while (old || fresh) {
    if (fresh && (!old || fresh.first() <= std::max(old.first(), done))) {
      joined.add(fresh.first(), fresh.bytes_from(fresh.first()));
      done = fresh.last();
      fresh.next();
    } else if (old.last() <= done) {
      old.next();
    } else {
      const std::size_t from = std::max(old.first(), done);
      const std::size_t until = fresh ? std::min(old.last(), fresh.first()) : old.last();
      joined.add(from, old.bytes_from(from).first(until - from));
      done = until;
    }
  }
  joined.flush();
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
