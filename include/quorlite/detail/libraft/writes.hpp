/// @file
/// The engine's appends on their way to its disk: one write at a time, and one batch a write.
///
/// libraft puts all appends that wait into one write, each as a batch of its own. A power cut may
/// then keep a later batch of that write and lose an earlier one, which looks like damage to a log
/// that was whole. So appends that come while a write is under way wait here, and go together as
/// one: as many writes as before, and one check for all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/engine.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Who is told of writes. On the loop.
class libraft_writes_listener {
 public:
  libraft_writes_listener() = default;
  libraft_writes_listener(const libraft_writes_listener&) = delete;
  libraft_writes_listener& operator=(const libraft_writes_listener&) = delete;

  /// A number that written() is told for writes submitted from now on.
  [[nodiscard]] virtual std::uint64_t write_stamp() const noexcept = 0;
  /// A write is on the disk, and those who asked are about to hear of it. @returns 0, or a code
  [[nodiscard]] virtual int written(std::uint64_t stamp) noexcept = 0;
  /// A write is on the disk, and whatever was before it is over. Before written(), also once the
  /// disk has failed.
  virtual void write_landed(std::uint64_t stamp) noexcept = 0;
  /// A write failed. From inside the engine or its disk.
  virtual void write_failed(int code) noexcept = 0;

 protected:
  ~libraft_writes_listener() = default;
};

/// One engine's, on its loop.
class libraft_writes {
 public:
  libraft_writes() noexcept;
  libraft_writes(const libraft_writes&) = delete;
  libraft_writes& operator=(const libraft_writes&) = delete;
  ~libraft_writes();

  /// @param io for the disk's functions; @param disk what does append; @param batch_bytes one batch
  ///   of several appends is not larger
  void attach(raft_io& io, const raft_io& disk, std::size_t batch_bytes,
              libraft_writes_listener& listener) noexcept;

  /// For raft_io::append. @returns a code only if the disk refused and `refusable`
  [[nodiscard]] int append(raft_io_append* asked, const raft_entry entries[], unsigned count,
                           raft_io_append_cb answer, bool refusable) noexcept;

  /// Something waits, or is under way.
  [[nodiscard]] bool any() const noexcept;

  /// Hands over everything that waits: what follows must not overtake it.
  void hand_over() noexcept;

  /// The disk failed elsewhere: nothing is submitted any more, or answered before the close.
  void halt() noexcept { failed_ = true; }
  /// The engine is being closed: nothing is submitted any more.
  void close() noexcept { closing_ = true; }
  /// The disk is closed, and gives nothing back any more: what it owes is answered, as written.
  /// The engine only lets go of the memory then, while an error would make it truncate its log once
  /// for each.
  void answer_all() noexcept;

 private:
  struct request;  // an append of the engine
  struct write;    // an append of the disk

  static void on_written(raft_io_append* which, int status) noexcept;
  [[nodiscard]] int submit() noexcept;
  [[nodiscard]] std::size_t count_that_fit() const noexcept;
  void finish(write& one) noexcept;
  void fail(int code) noexcept;

  raft_io* io_ = nullptr;
  const raft_io* disk_ = nullptr;
  std::size_t batch_bytes_ = 0;
  libraft_writes_listener* listener_ = nullptr;
  std::list<request> waiting_;
  std::list<write> under_way_;
  bool answering_ = false;
  bool failed_ = false;
  bool closing_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/writes.ipp"  // IWYU pragma: keep
#endif
