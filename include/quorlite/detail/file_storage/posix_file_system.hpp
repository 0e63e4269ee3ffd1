/// @file
/// A directory of a POSIX system as a file_system.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/storage/file_system.hpp"
#include "quorlite/detail/file_storage/posix_file.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What is below one directory. Reaches every file from the directory's descriptor, part by part,
/// and follows no symbolic link on the way, so that nobody who plants one leads it elsewhere. New
/// files and directories are for their owner only (modes 0600 and 0700).
///
/// Threads: as the concept says; calls on different objects need no care. Every call may block on
/// the disk. A lock belongs to the open file: a child that fork() makes shares it.
///
/// Errors: errno in std::generic_category. Paths that are empty where a name is needed, that have
/// an empty part (a leading '/' too), "." or "..", or a NUL, are std::errc::invalid_argument.
class posix_file_system {
 public:
  using file_type = posix_file;

  /// Opens `root`, which may itself be a symbolic link. Makes it if it is missing, but not its
  /// parent. See status().
  explicit posix_file_system(const std::string& root) {
    if (::mkdir(root.c_str(), directory_mode) == 0) {
      status_ = open_root(root);
      status_ = status_ ? status_ : sync_parent();
    } else {
      status_ = errno == EEXIST ? open_root(root) : detail::last_posix_error();
    }
  }

  /// Why there is no root; every call gives this error then.
  [[nodiscard]] std::error_code status() const noexcept { return status_; }

  /// A regular file. Blocks on nothing else that may bear the name (a pipe, a device): those are
  /// std::errc::invalid_argument.
  [[nodiscard]] result<file_type> open(std::string_view path, open_mode mode) noexcept {
    const int flags = mode == open_mode::existing    ? 0
                      : mode == open_mode::or_create ? O_CREAT
                                                     : O_CREAT | O_TRUNC;
    auto opened = open_regular(path, flags);
    if (!opened) {
      return failed(opened.error());
    }
    return file_type(std::move(*opened));
  }

  [[nodiscard]] std::error_code lock(std::string_view path) noexcept {
    auto opened = open_regular(path, O_CREAT);
    if (!opened) {
      return opened.error();
    }
    const int number = opened->number();
    if (detail::uninterrupted([number] { return ::flock(number, LOCK_EX | LOCK_NB); }) < 0) {
      return errno == EWOULDBLOCK ? std::make_error_code(std::errc::device_or_resource_busy)
                                  : detail::last_posix_error();
    }
    try {
      locks_.push_back(std::move(*opened));
    } catch (const std::bad_alloc&) {
      return detail::posix_error(ENOMEM);
    }
    return {};
  }

  [[nodiscard]] std::error_code make_directory(std::string_view path) noexcept {
    if (path.empty()) {
      return status_;
    }
    const auto place = find(path);
    if (!place) {
      return place.error();
    }
    if (::mkdirat(place->number(), place->name.data(), directory_mode) == 0) {
      return {};
    }
    const int why = errno;
    struct ::stat about {};
    const bool is_there =
        why == EEXIST &&
        ::fstatat(place->number(), place->name.data(), &about, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISDIR(about.st_mode);
    return is_there ? std::error_code{} : detail::posix_error(why);
  }

  [[nodiscard]] std::error_code remove(std::string_view path) noexcept {
    const auto place = find(path);
    if (!place) {
      return unless_missing(place.error());
    }
    if (::unlinkat(place->number(), place->name.data(), 0) == 0) {
      return {};
    }
    if (errno != EISDIR && errno != EPERM) {  // what Linux, and what POSIX says of a directory
      return unless_missing(detail::last_posix_error());
    }
    return ::unlinkat(place->number(), place->name.data(), AT_REMOVEDIR) == 0
               ? std::error_code{}
               : unless_missing(detail::last_posix_error());
  }

  [[nodiscard]] std::error_code rename(std::string_view from, std::string_view to) noexcept {
    const auto old_place = find(from);
    if (!old_place) {
      return old_place.error();
    }
    const auto place = find(to);
    if (!place) {
      return place.error();
    }
    return ::renameat(old_place->number(), old_place->name.data(), place->number(),
                      place->name.data()) == 0
               ? std::error_code{}
               : detail::last_posix_error();
  }

  [[nodiscard]] result<std::vector<std::string>> list(std::string_view path) noexcept {
    auto opened = open_directory(path);
    if (!opened) {
      return failed(opened.error());
    }
    const std::unique_ptr<::DIR, close_directory> stream(::fdopendir(opened->number()));
    if (!stream) {
      return failed(detail::last_posix_error());
    }
    static_cast<void>(opened->release());  // the stream closes it
    try {
      std::vector<std::string> names;
      errno = 0;
      while (const ::dirent* const entry = ::readdir(stream.get())) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") {
          names.emplace_back(name);
        }
        errno = 0;
      }
      if (errno != 0) {
        return failed(detail::last_posix_error());
      }
      std::sort(names.begin(), names.end());
      return names;
    } catch (const std::bad_alloc&) {
      return failed(detail::posix_error(ENOMEM));
    }
  }

  [[nodiscard]] std::error_code sync_directory(std::string_view path) noexcept {
    const auto opened = open_directory(path);
    return opened ? sync(*opened) : opened.error();
  }

 private:
  static constexpr ::mode_t directory_mode = 0700;
  static constexpr ::mode_t file_mode = 0600;
  static constexpr int directory_flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

  struct close_directory {
    void operator()(::DIR* stream) const noexcept { ::closedir(stream); }
  };
  /// A name with the NUL that system calls want.
  using part = std::array<char, NAME_MAX + 1>;
  /// A name and the directory that it is in.
  struct location {
    detail::descriptor below;  // none: the root itself
    int root = -1;
    part name{};
    [[nodiscard]] int number() const noexcept { return below ? below.number() : root; }
  };

  [[nodiscard]] static std::error_code unless_missing(std::error_code error) noexcept {
    return error == std::errc::no_such_file_or_directory ? std::error_code{} : error;
  }

  [[nodiscard]] static std::error_code sync(const detail::descriptor& directory) noexcept {
    const int answer = detail::uninterrupted([&] { return ::fsync(directory.number()); });
    return answer < 0 ? detail::last_posix_error() : std::error_code{};
  }

  [[nodiscard]] static std::error_code copy_name(std::string_view name, part& into) noexcept {
    if (name.empty() || name == "." || name == ".." ||
        name.find_first_of(std::string_view("/\0", 2)) != std::string_view::npos) {
      return detail::posix_error(EINVAL);
    }
    if (name.size() >= into.size()) {
      return detail::posix_error(ENAMETOOLONG);
    }
    std::memcpy(into.data(), name.data(), name.size());
    into[name.size()] = '\0';
    return {};
  }

  [[nodiscard]] static result<detail::descriptor> open_at(int directory, const part& name,
                                                          int flags) noexcept {
    detail::descriptor opened(detail::uninterrupted([&] {
      return ::openat(directory, name.data(), flags | O_NOFOLLOW | O_CLOEXEC, file_mode);
    }));
    if (!opened) {
      return failed(detail::last_posix_error());
    }
    return opened;
  }

  /// Walks down to the directory that holds the last part of `path`.
  [[nodiscard]] result<location> find(std::string_view path) const noexcept {
    if (status_) {
      return failed(status_);
    }
    location place;
    place.root = root_.number();
    for (auto slash = path.find('/'); slash != path.npos; slash = path.find('/')) {
      if (const std::error_code error = copy_name(path.substr(0, slash), place.name)) {
        return failed(error);
      }
      auto next = open_at(place.number(), place.name, directory_flags);
      if (!next) {
        return failed(next.error());
      }
      place.below = std::move(*next);
      path.remove_prefix(slash + 1);
    }
    if (const std::error_code error = copy_name(path, place.name)) {
      return failed(error);
    }
    return place;
  }

  [[nodiscard]] result<detail::descriptor> open_directory(std::string_view path) const noexcept {
    if (status_) {
      return failed(status_);
    }
    if (path.empty()) {  // anew: a duplicate would share the place of readdir()
      return open_at(root_.number(), part{'.'}, directory_flags);
    }
    const auto place = find(path);
    if (!place) {
      return failed(place.error());
    }
    return open_at(place->number(), place->name, directory_flags);
  }

  [[nodiscard]] result<detail::descriptor> open_regular(std::string_view path,
                                                        int flags) const noexcept {
    const auto place = find(path);
    if (!place) {
      return failed(place.error());
    }
    auto opened = open_at(place->number(), place->name, flags | O_RDWR | O_NONBLOCK | O_NOCTTY);
    if (!opened) {
      return opened;
    }
    struct ::stat about {};
    if (::fstat(opened->number(), &about) != 0) {
      return failed(detail::last_posix_error());
    }
    if (!S_ISREG(about.st_mode)) {
      return failed(detail::posix_error(EINVAL));
    }
    return opened;
  }

  [[nodiscard]] std::error_code open_root(const std::string& root) noexcept {
    root_ = detail::descriptor(
        detail::uninterrupted([&] { return ::open(root.c_str(), directory_flags); }));
    return root_ ? std::error_code{} : detail::last_posix_error();
  }

  /// The name of a new root must survive a crash as well.
  [[nodiscard]] std::error_code sync_parent() const noexcept {
    const auto parent = open_at(root_.number(), part{'.', '.'}, directory_flags);
    return parent ? sync(*parent) : parent.error();
  }

  detail::descriptor root_;
  std::error_code status_;
  std::vector<detail::descriptor> locks_;
};

static_assert(file_system<posix_file_system>);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
