/// @file
/// How posix_file and posix_file_system call the system.
#pragma once

#include "quorlite/detail/file_storage/posix.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
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
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

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

[[nodiscard]] constexpr bool is_posix_offset(std::uint64_t offset) noexcept {
  return offset <= static_cast<std::uint64_t>(std::numeric_limits<::off_t>::max());
}

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

/// What modes and flags posix_file_system gives to the system.
namespace posix_flags {

inline constexpr ::mode_t directory_mode = 0700;
inline constexpr ::mode_t file_mode = 0600;
inline constexpr int open_directory = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

}  // namespace posix_flags

[[nodiscard]] inline std::error_code unless_missing(std::error_code error) noexcept {
  return error == std::errc::no_such_file_or_directory ? std::error_code{} : error;
}

/// A directory that may not be read, or of a file system that cannot be written or does not sync.
[[nodiscard]] inline bool is_not_ours_to_sync(std::error_code error) noexcept {
  return error == std::errc::permission_denied || error == std::errc::operation_not_permitted ||
         error == std::errc::read_only_file_system || error == std::errc::invalid_argument;
}

struct close_directory_stream {
  void operator()(::DIR* stream) const noexcept { ::closedir(stream); }
};

/// A name and the directory that it is in.
struct posix_file_system::location {
  descriptor below;  // none: the root itself
  int root = -1;
  part name{};
  [[nodiscard]] int number() const noexcept { return below ? below.number() : root; }
};

// ---- descriptors and files

QUORLITE_DECL descriptor& descriptor::operator=(descriptor&& other) noexcept {
  descriptor old(std::exchange(number_, other.release()));
  return *this;
}

QUORLITE_DECL descriptor::~descriptor() {
  if (number_ >= 0) {
    ::close(number_);  // never again after EINTR: the number may be somebody else's by then
  }
}

QUORLITE_DECL result<std::size_t> posix_file::read(std::uint64_t offset,
                                                   bytes_span into) const noexcept {
  std::size_t done = 0;
  while (done < into.size()) {
    if (!is_posix_offset(offset + done)) {
      return fail(posix_error(EINVAL));
    }
    const ::ssize_t count = uninterrupted([&] {
      return ::pread(opened_.number(), into.data() + done, into.size() - done,
                     static_cast<::off_t>(offset + done));
    });
    if (count < 0) {
      return fail(last_posix_error());
    }
    if (count == 0) {
      break;
    }
    done += static_cast<std::size_t>(count);
  }
  return done;
}

QUORLITE_DECL result<std::uint64_t> posix_file::size() const noexcept {
  struct ::stat about {};
  if (::fstat(opened_.number(), &about) != 0) {
    return fail(last_posix_error());
  }
  return static_cast<std::uint64_t>(about.st_size);
}

QUORLITE_DECL std::error_code posix_file::write(std::uint64_t offset,
                                                std::span<const bytes_view> parts) noexcept {
  pending_parts left(parts);
  while (!left.empty()) {
    if (!is_posix_offset(offset)) {
      return posix_error(EFBIG);
    }
    const std::span<const ::iovec> vectors = left.next();
    const ::ssize_t count = uninterrupted([&] {
      return ::pwritev(opened_.number(), vectors.data(), static_cast<int>(vectors.size()),
                       static_cast<::off_t>(offset));
    });
    if (count < 0) {
      return last_posix_error();
    }
    if (count == 0) {
      return posix_error(EIO);  // no progress and no reason: do not try for ever
    }
    left.skip(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

QUORLITE_DECL std::error_code posix_file::resize(std::uint64_t size) noexcept {
  if (!is_posix_offset(size)) {
    return posix_error(EFBIG);
  }
  const int answer =
      uninterrupted([&] { return ::ftruncate(opened_.number(), static_cast<::off_t>(size)); });
  return answer < 0 ? last_posix_error() : std::error_code{};
}

QUORLITE_DECL std::error_code posix_file::sync() noexcept {
  const int answer = uninterrupted([&] { return ::fdatasync(opened_.number()); });
  return answer < 0 ? last_posix_error() : std::error_code{};
}

QUORLITE_DECL bool posix_file::is_removed() const noexcept {
  struct ::stat told {};
  return ::fstat(opened_.number(), &told) == 0 && told.st_nlink == 0;
}

QUORLITE_DECL posix_file_system::posix_file_system(const std::string& root) {
  const bool made = ::mkdir(root.c_str(), posix_flags::directory_mode) == 0;
  status_ = made || errno == EEXIST ? open_root(root) : last_posix_error();
  status_ = status_ ? status_ : sync_parent(made);
}

QUORLITE_DECL result<posix_file_system::file_type> posix_file_system::open(
    std::string_view path, open_mode mode) noexcept {
  const int flags = mode == open_mode::existing    ? 0
                    : mode == open_mode::or_create ? O_CREAT
                                                   : O_CREAT | O_TRUNC;
  auto opened = open_regular(path, flags);
  if (!opened) {
    return fail(opened.error());
  }
  return file_type(std::move(*opened));
}

QUORLITE_DECL std::error_code posix_file_system::lock(std::string_view path) noexcept {
  auto opened = open_regular(path, O_CREAT);
  if (!opened) {
    return opened.error();
  }
  const int number = opened->number();
  if (uninterrupted([number] { return ::flock(number, LOCK_EX | LOCK_NB); }) < 0) {
    return errno == EWOULDBLOCK ? std::make_error_code(std::errc::device_or_resource_busy)
                                : last_posix_error();
  }
  try {
    locks_.push_back(std::move(*opened));
  } catch (const std::bad_alloc&) {
    return posix_error(ENOMEM);
  }
  return {};
}

QUORLITE_DECL std::error_code posix_file_system::make_directory(std::string_view path) noexcept {
  if (path.empty()) {
    return status_;
  }
  const auto place = find(path);
  if (!place) {
    return place.error();
  }
  if (::mkdirat(place->number(), place->name.data(), posix_flags::directory_mode) == 0) {
    return keep(path);
  }
  const int why = errno;
  struct ::stat about {};
  const bool is_there =
      why == EEXIST &&
      ::fstatat(place->number(), place->name.data(), &about, AT_SYMLINK_NOFOLLOW) == 0 &&
      S_ISDIR(about.st_mode);
  return is_there ? keep(path) : posix_error(why);
}

QUORLITE_DECL std::error_code posix_file_system::keep(std::string_view path) noexcept try {
  auto opened = open_directory(path);
  if (!opened) {
    return opened.error();
  }
  std::string name(path);
  directories_.reserve(directories_.size() + 1);
  forget(path);
  directories_.push_back({std::move(name), std::move(*opened)});
  return {};
} catch (const std::bad_alloc&) {
  return posix_error(ENOMEM);
}

/// The path, and what is below it, may be another directory from now on, or none.
QUORLITE_DECL void posix_file_system::forget(std::string_view path) noexcept {
  const auto is_meant = [path](const kept_directory& one) {
    const std::string_view name = one.path;
    return name.substr(0, path.size()) == path &&
           (name.size() == path.size() || name[path.size()] == '/');
  };
  directories_.erase(std::remove_if(directories_.begin(), directories_.end(), is_meant),
                     directories_.end());
}

QUORLITE_DECL std::error_code posix_file_system::remove(std::string_view path) noexcept {
  const auto place = find(path);
  if (!place) {
    return unless_missing(place.error());
  }
  if (::unlinkat(place->number(), place->name.data(), 0) == 0) {
    return {};
  }
  if (errno != EISDIR && errno != EPERM) {  // what Linux, and what POSIX says of a directory
    return unless_missing(last_posix_error());
  }
  if (::unlinkat(place->number(), place->name.data(), AT_REMOVEDIR) != 0) {
    return unless_missing(last_posix_error());
  }
  forget(path);
  return {};
}

QUORLITE_DECL std::error_code posix_file_system::rename(std::string_view from,
                                                        std::string_view to) noexcept {
  const auto old_place = find(from);
  if (!old_place) {
    return old_place.error();
  }
  const auto place = find(to);
  if (!place) {
    return place.error();
  }
  if (::renameat(old_place->number(), old_place->name.data(), place->number(),
                 place->name.data()) != 0) {
    return last_posix_error();
  }
  forget(from);
  forget(to);
  return {};
}

QUORLITE_DECL result<std::vector<std::string>> posix_file_system::list(
    std::string_view path) noexcept {
  auto opened = open_directory(path);
  if (!opened) {
    return fail(opened.error());
  }
  const std::unique_ptr<::DIR, close_directory_stream> stream(::fdopendir(opened->number()));
  if (!stream) {
    return fail(last_posix_error());
  }
  static_cast<void>(opened->release());  // the stream closes it
  try {
    std::vector<std::string> names;
    errno = 0;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody else reads this stream
    while (const ::dirent* const entry = ::readdir(stream.get())) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") {
        names.emplace_back(name);
      }
      errno = 0;
    }
    if (errno != 0) {
      return fail(last_posix_error());
    }
    std::sort(names.begin(), names.end());
    return names;
  } catch (const std::bad_alloc&) {
    return fail(posix_error(ENOMEM));
  }
}

QUORLITE_DECL std::error_code posix_file_system::sync_directory(std::string_view path) noexcept {
  if (status_ || path.empty()) {
    return status_ ? status_ : sync(root_);
  }
  const auto kept = std::find_if(directories_.begin(), directories_.end(),
                                 [path](const kept_directory& one) { return one.path == path; });
  if (kept != directories_.end()) {
    return sync(kept->opened);
  }
  const auto opened = open_directory(path);
  return opened ? sync(*opened) : opened.error();
}

QUORLITE_DECL std::error_code posix_file_system::sync(const descriptor& directory) noexcept {
  const int answer = uninterrupted([&] { return ::fsync(directory.number()); });
  return answer < 0 ? last_posix_error() : std::error_code{};
}

QUORLITE_DECL std::error_code posix_file_system::copy_name(std::string_view name,
                                                           part& into) noexcept {
  if (name.empty() || name == "." || name == ".." ||
      name.find_first_of(std::string_view("/\0", 2)) != std::string_view::npos) {
    return posix_error(EINVAL);
  }
  if (name.size() >= into.size()) {
    return posix_error(ENAMETOOLONG);
  }
  std::memcpy(into.data(), name.data(), name.size());
  into[name.size()] = '\0';
  return {};
}

QUORLITE_DECL result<descriptor> posix_file_system::open_at(int directory, const part& name,
                                                            int flags) noexcept {
  descriptor opened(uninterrupted([&] {
    return ::openat(directory, name.data(), flags | O_NOFOLLOW | O_CLOEXEC, posix_flags::file_mode);
  }));
  if (!opened) {
    return fail(last_posix_error());
  }
  return opened;
}

QUORLITE_DECL result<posix_file_system::location> posix_file_system::find(
    std::string_view path) const noexcept {
  if (status_) {
    return fail(status_);
  }
  location place;
  place.root = root_.number();
  for (auto slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/')) {
    if (const std::error_code error = copy_name(path.substr(0, slash), place.name)) {
      return fail(error);
    }
    auto next = open_at(place.number(), place.name, posix_flags::open_directory);
    if (!next) {
      return fail(next.error());
    }
    place.below = std::move(*next);
    path.remove_prefix(slash + 1);
  }
  if (const std::error_code error = copy_name(path, place.name)) {
    return fail(error);
  }
  return place;
}

QUORLITE_DECL result<descriptor> posix_file_system::open_directory(
    std::string_view path) const noexcept {
  if (status_) {
    return fail(status_);
  }
  if (path.empty()) {  // anew: a duplicate would share the place of readdir()
    return open_at(root_.number(), part{'.'}, posix_flags::open_directory);
  }
  const auto place = find(path);
  if (!place) {
    return fail(place.error());
  }
  return open_at(place->number(), place->name, posix_flags::open_directory);
}

QUORLITE_DECL result<descriptor> posix_file_system::open_regular(std::string_view path,
                                                                 int flags) const noexcept {
  const auto place = find(path);
  if (!place) {
    return fail(place.error());
  }
  auto opened = open_at(place->number(), place->name, flags | O_RDWR | O_NONBLOCK | O_NOCTTY);
  if (!opened) {
    return opened;
  }
  struct ::stat about {};
  if (::fstat(opened->number(), &about) != 0) {
    return fail(last_posix_error());
  }
  if (!S_ISREG(about.st_mode)) {
    return fail(posix_error(EINVAL));
  }
  return opened;
}

QUORLITE_DECL std::error_code posix_file_system::open_root(const std::string& root) noexcept {
  root_ =
      descriptor(uninterrupted([&] { return ::open(root.c_str(), posix_flags::open_directory); }));
  return root_ ? std::error_code{} : last_posix_error();
}

/// Whoever made the root may have died before its name was durable, so it is not asked who it was.
QUORLITE_DECL std::error_code posix_file_system::sync_parent(bool made) const noexcept {
  const auto parent = open_at(root_.number(), part{'.', '.'}, posix_flags::open_directory);
  const std::error_code error = parent ? sync(*parent) : parent.error();
  return made || !is_not_ours_to_sync(error) ? error : std::error_code{};
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
