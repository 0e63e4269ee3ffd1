/// @file
/// Bodies of libraft_writes: what waits, what is under way, and who hears of it.
#pragma once

#include "quorlite/detail/libraft/writes.hpp"

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <list>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/log_format.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// An append of the engine. Its entries' memory stays until it is answered; the array may not.
struct libraft_writes::request {
  raft_io_append* asked = nullptr;  // none once it was refused
  std::vector<raft_entry> entries;
  std::size_t bytes = 0;
};

/// An append of the disk, of one request or more.
struct libraft_writes::write {
  raft_io_append inner{};
  libraft_writes* owner = nullptr;
  std::uint64_t stamp = 0;
  std::vector<raft_entry> entries;
  std::list<request> requests;
  std::list<write>::iterator self;
};

QUORLITE_DECL libraft_writes::libraft_writes() noexcept = default;
QUORLITE_DECL libraft_writes::~libraft_writes() = default;

QUORLITE_DECL void libraft_writes::attach(raft_io& io, const raft_io& disk, std::size_t batch_bytes,
                                          libraft_writes_listener& listener) noexcept {
  io_ = &io;
  disk_ = &disk;
  batch_bytes_ = batch_bytes;
  listener_ = &listener;
}

QUORLITE_DECL int libraft_writes::append(raft_io_append* asked, const raft_entry entries[],
                                         unsigned count, raft_io_append_cb answer,
                                         bool refusable) noexcept {
  asked->cb = answer;
  request& one = waiting_.emplace_back();
  one.asked = asked;
  one.entries.assign(entries, entries + count);
  for (const raft_entry& entry : one.entries) {
    one.bytes += libraft_head_bytes + entry.buf.len;
  }
  if (failed_ || closing_ || answering_ || !under_way_.empty()) {
    return 0;  // with the next write; answered at the close if there is none
  }
  const int code = submit();
  if (code == 0) {
    return 0;
  }
  // It was sent to nobody yet, if it is a leader's own: it can be refused for good. Elsewhere the
  // engine's way back from an error is not safe.
  fail(code);
  if (refusable) {
    under_way_.back().requests.back().asked = nullptr;
    return code;
  }
  return 0;
}

QUORLITE_DECL std::size_t libraft_writes::count_that_fit() const noexcept {
  std::size_t bytes = 0;
  std::size_t entries = 0;
  std::size_t count = 0;
  for (const request& one : waiting_) {
    bytes += one.bytes;
    entries += one.entries.size();
    if (count > 0 && (bytes > batch_bytes_ || entries > libraft_batch_entries_max)) {
      break;
    }
    ++count;
  }
  return count;
}

/// The disk may look at what it refused until it is closed: the write stays.
QUORLITE_DECL int libraft_writes::submit() noexcept {
  write& one = under_way_.emplace_back();
  one.self = std::prev(under_way_.end());
  one.owner = this;
  one.inner.data = &one;
  one.stamp = listener_->write_stamp();
  const auto end = std::next(waiting_.begin(), static_cast<std::ptrdiff_t>(count_that_fit()));
  one.requests.splice(one.requests.end(), waiting_, waiting_.begin(), end);
  for (const request& part : one.requests) {
    one.entries.insert(one.entries.end(), part.entries.begin(), part.entries.end());
  }
  return disk_->append(io_, &one.inner, one.entries.data(),
                       static_cast<unsigned>(one.entries.size()), on_written);
}

QUORLITE_DECL bool libraft_writes::any() const noexcept {
  return !waiting_.empty() || !under_way_.empty();
}

QUORLITE_DECL void libraft_writes::hand_over() noexcept {
  while (!waiting_.empty() && !failed_ && !closing_) {
    if (const int code = submit(); code != 0) {
      fail(code);
    }
  }
}

QUORLITE_DECL void libraft_writes::on_written(raft_io_append* which, int status) noexcept {
  write& one = *static_cast<write*>(which->data);
  libraft_writes& self = *one.owner;
  if (status == 0) {
    self.listener_->write_landed(one.stamp);
  }
  if (status != 0 && !self.failed_ && !self.closing_) {
    self.fail(status);
  }
  if (!self.failed_ && status == 0) {
    if (const int code = self.listener_->written(one.stamp); code != 0) {
      self.fail(code);
    }
  }
  if (!self.failed_ || self.closing_) {
    self.finish(one);
  }
}

QUORLITE_DECL void libraft_writes::finish(write& one) noexcept {
  std::list<request> done = std::move(one.requests);
  under_way_.erase(one.self);
  const bool outermost = !std::exchange(answering_, true);
  while (!done.empty()) {
    if (failed_ && !closing_) {
      waiting_.splice(waiting_.begin(), done);  // answered at the close
      break;
    }
    raft_io_append* const asked = done.front().asked;
    done.pop_front();
    if (asked != nullptr) {
      asked->cb(asked, 0);
    }
  }
  if (!outermost) {
    return;
  }
  answering_ = false;
  if (under_way_.empty() && !waiting_.empty() && !failed_ && !closing_) {
    if (const int code = submit(); code != 0) {
      fail(code);
    }
  }
}

QUORLITE_DECL void libraft_writes::answer_all() noexcept {
  while (!under_way_.empty()) {
    finish(under_way_.front());
  }
  while (!waiting_.empty()) {
    raft_io_append* const asked = waiting_.front().asked;
    waiting_.pop_front();
    if (asked != nullptr) {
      asked->cb(asked, 0);
    }
  }
}

QUORLITE_DECL void libraft_writes::fail(int code) noexcept {
  failed_ = true;
  listener_->write_failed(code);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
