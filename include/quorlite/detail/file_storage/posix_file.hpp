/// @file
/// An open file of a POSIX system, and the descriptor that it owns.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/storage/file_system.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

static_assert(sizeof(::off_t) == 8, "files beyond 2 GiB: compile with -D_FILE_OFFSET_BITS=64");

[[nodiscard]] inline std::error_code posix_error(int code) noexcept {
  return {code, std::generic_category()};
}
[[nodiscard]] inline std::error_code last_posix_error() noexcept { return posix_error(errno); }

/// Repeats a system call for as long as a signal interrupts it.
template <class Call>
[[nodiscard]] auto uninterrupted(Call call) noexcept {
  auto answer = call();
  while (answer < 0 && errno == EINTR) {
    answer = call();
  }
  return answer;
}

/// Owns one file descriptor, or none.
class descriptor {
 public:
  descriptor() = default;
  explicit descriptor(int number) noexcept : number_(number) {}
  descriptor(descriptor&& other) noexcept : number_(other.release()) {}
  descriptor& operator=(descriptor&& other) noexcept {
    descriptor old(std::exchange(number_, other.release()));
    return *this;
  }
  ~descriptor() {
    if (number_ >= 0) {
      ::close(number_);  // never again after EINTR: the number may be somebody else's by then
    }
  }
  [[nodiscard]] int number() const noexcept { return number_; }
  [[nodiscard]] explicit operator bool() const noexcept { return number_ >= 0; }
  /// Hands the number over to the caller.
  [[nodiscard]] int release() noexcept { return std::exchange(number_, -1); }

 private:
  int number_ = -1;
};

/// Parts of a write that is under way: what is left of them, a few at a time.
class pending_parts {
 public:
  explicit pending_parts(std::span<const bytes_view> parts) noexcept : parts_(parts) { skip(0); }

  [[nodiscard]] bool empty() const noexcept { return parts_.empty(); }
  /// The next parts in the shape that the system call wants; valid until skip().
  [[nodiscard]] std::span<const ::iovec> next() noexcept {
    std::size_t count = 0;
    std::size_t offset = done_;
    for (const bytes_view part : parts_.first(std::min(parts_.size(), vectors_.size()))) {
      // The interface is shared with reading, hence the cast; pwritev only reads.
      vectors_[count++] = {const_cast<std::byte*>(part.data()) + offset, part.size() - offset};
      offset = 0;
    }
    return std::span<const ::iovec>(vectors_).first(count);
  }
  /// So many bytes are written.
  void skip(std::size_t count) noexcept {
    done_ += count;
    while (!parts_.empty() && done_ >= parts_.front().size()) {
      done_ -= parts_.front().size();
      parts_ = parts_.subspan(1);
    }
  }

 private:
  static constexpr std::size_t vectors_at_once = 64;  // IOV_MAX is at least 16, 1024 on Linux
#if defined(IOV_MAX)
  static_assert(vectors_at_once <= IOV_MAX);
#endif

  std::span<const bytes_view> parts_;
  std::size_t done_ = 0;  // of the first part, bytes
  std::array<::iovec, vectors_at_once> vectors_{};
};

/// A regular file, open for reading and writing. Made by posix_file_system.
///
/// Threads, errors: as the concept `file` says. A transfer that the system cuts short is continued,
/// one that a signal interrupts is repeated.
class posix_file {
 public:
  /// @param opened an open regular file
  explicit posix_file(detail::descriptor opened) noexcept : opened_(std::move(opened)) {}

  /// @param offset bytes from the start
  /// @returns bytes read: fewer than asked for only where the file ends
  [[nodiscard]] result<std::size_t> read(std::uint64_t offset, bytes_span into) const noexcept {
    std::size_t done = 0;
    while (done < into.size()) {
      if (!is_offset(offset + done)) {
        return failed(detail::posix_error(EINVAL));
      }
      const ::ssize_t count = detail::uninterrupted([&] {
        return ::pread(opened_.number(), into.data() + done, into.size() - done,
                       static_cast<::off_t>(offset + done));
      });
      if (count < 0) {
        return failed(detail::last_posix_error());
      }
      if (count == 0) {
        break;
      }
      done += static_cast<std::size_t>(count);
    }
    return done;
  }

  /// @returns bytes
  [[nodiscard]] result<std::uint64_t> size() const noexcept {
    struct ::stat about {};
    if (::fstat(opened_.number(), &about) != 0) {
      return failed(detail::last_posix_error());
    }
    return static_cast<std::uint64_t>(about.st_size);
  }

  /// Writes all parts, one behind the other, from `offset` on.
  [[nodiscard]] std::error_code write(std::uint64_t offset,
                                      std::span<const bytes_view> parts) noexcept {
    detail::pending_parts left(parts);
    while (!left.empty()) {
      if (!is_offset(offset)) {
        return detail::posix_error(EFBIG);
      }
      const std::span<const ::iovec> vectors = left.next();
      const ::ssize_t count = detail::uninterrupted([&] {
        return ::pwritev(opened_.number(), vectors.data(), static_cast<int>(vectors.size()),
                         static_cast<::off_t>(offset));
      });
      if (count < 0) {
        return detail::last_posix_error();
      }
      if (count == 0) {
        return detail::posix_error(EIO);  // no progress and no reason: do not try for ever
      }
      left.skip(static_cast<std::size_t>(count));
      offset += static_cast<std::uint64_t>(count);
    }
    return {};
  }

  /// @param size bytes
  [[nodiscard]] std::error_code resize(std::uint64_t size) noexcept {
    if (!is_offset(size)) {
      return detail::posix_error(EFBIG);
    }
    const int answer = detail::uninterrupted(
        [&] { return ::ftruncate(opened_.number(), static_cast<::off_t>(size)); });
    return answer < 0 ? detail::last_posix_error() : std::error_code{};
  }

  /// Blocks until the disk has bytes and size. Only an interruption is tried again: after any other
  /// failure the system may have dropped what was written, and would call the next attempt a
  /// success.
  [[nodiscard]] std::error_code sync() noexcept {
    const int answer = detail::uninterrupted([&] { return ::fdatasync(opened_.number()); });
    return answer < 0 ? detail::last_posix_error() : std::error_code{};
  }

 private:
  [[nodiscard]] static constexpr bool is_offset(std::uint64_t offset) noexcept {
    return offset <= static_cast<std::uint64_t>(std::numeric_limits<::off_t>::max());
  }

  detail::descriptor opened_;
};

static_assert(file<posix_file>);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
