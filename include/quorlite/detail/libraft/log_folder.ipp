/// @file
/// Bodies of log_folder.hpp: POSIX calls.
#pragma once

#include "quorlite/detail/libraft/log_folder.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL bool libraft_may_pass(std::error_code error) noexcept {
  return error == errc::out_of_memory || error == std::errc::not_enough_memory ||
         error == std::errc::too_many_files_open ||
         error == std::errc::too_many_files_open_in_system;
}

QUORLITE_DECL std::string libraft_unread_text(std::error_code error) {
  return libraft_is_no_file(error) ? "it is no plain file, or a link to none"
                                   : "it cannot be read: " + error.message();
}

QUORLITE_DECL const char* libraft_unread_remedy(std::error_code error) noexcept {
  if (libraft_is_no_file(error)) {
    return "If it is a link, see that the volume is mounted to which it leads. Else put the file "
           "in its place that was there";
  }
  return libraft_is_forbidden(error) ? "Give the user that this server runs as the right to read "
                                       "and to write this folder and all that is in it. Nothing of "
                                       "it is lost"
                                     : "";
}

/// Who opens a pipe must not wait for its other end.
QUORLITE_DECL libraft_descriptor::libraft_descriptor(const std::string& path, int flags) noexcept
    : file_(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0644)) {}

QUORLITE_DECL libraft_descriptor::~libraft_descriptor() {
  if (file_ >= 0) {
    ::close(file_);
  }
}

[[nodiscard]] inline std::error_code libraft_errno() noexcept {
  return {errno, std::generic_category()};
}

QUORLITE_DECL std::error_code libraft_descriptor::overwrite(std::uint64_t offset,
                                                            bytes_view content) const noexcept {
  ::ssize_t written = -1;
  do {
    written = ::pwrite(file_, content.data(), content.size(), static_cast<::off_t>(offset));
  } while (written < 0 && errno == EINTR);
  if (written >= 0 && written != static_cast<::ssize_t>(content.size())) {
    return std::make_error_code(std::errc::no_space_on_device);
  }
  return written < 0 || ::fdatasync(file_) != 0 ? libraft_errno() : std::error_code{};
}

class libraft_disk_file final : public libraft_file {
 public:
  explicit libraft_disk_file(const std::string& path) noexcept : file_(path, O_RDONLY) {}

  [[nodiscard]] std::error_code look() noexcept {
    struct ::stat told {};
    if (!file_.is_open() || ::fstat(file_.get(), &told) != 0) {
      return libraft_errno();
    }
    size_ = static_cast<std::uint64_t>(told.st_size);
    return S_ISREG(told.st_mode) ? std::error_code{}
                                 : std::make_error_code(std::errc::is_a_directory);
  }
  [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }
  [[nodiscard]] std::error_code read(std::uint64_t offset, bytes_span into) noexcept override {
    while (!into.empty()) {
      const ::ssize_t got =
          ::pread(file_.get(), into.data(), into.size(), static_cast<::off_t>(offset));
      if (got < 0 && errno == EINTR) {
        continue;
      }
      if (got <= 0) {
        return got < 0 ? libraft_errno() : std::make_error_code(std::errc::io_error);
      }
      offset += static_cast<std::uint64_t>(got);
      into = into.subspan(static_cast<std::size_t>(got));
    }
    return {};
  }

 private:
  libraft_descriptor file_;
  std::uint64_t size_ = 0;
};

/// A plain file of that name is read by the engine, or by us.
[[nodiscard]] inline bool is_read_at_start(std::string_view name) noexcept {
  return libraft_file_name::of(name).is != libraft_file_name::kind::other || name == "metadata1" ||
         name == "metadata2" || name == "log_end" || name == "server" ||
         name == libraft_log_note::file_name;
}

QUORLITE_DECL std::uint64_t libraft_room_in(const std::string& folder) noexcept {
  struct statvfs told {};
  // A file system without a size, as a tmpfs can be, tells none.
  if (::statvfs(folder.c_str(), &told) != 0 || told.f_blocks == 0) {
    return std::numeric_limits<std::uint64_t>::max();
  }
  return std::uint64_t{told.f_bavail} * told.f_frsize;
}

QUORLITE_DECL bool libraft_lacks_room(std::error_code error) noexcept {
#if defined(EDQUOT)
  if (error.category() == std::generic_category() && error.value() == EDQUOT) {
    return true;
  }
#endif
  return error == std::errc::no_space_on_device;
}

QUORLITE_DECL bool libraft_gets_room(const std::string& folder, std::uint64_t size) noexcept try {
  const std::string path = folder + "/tmp-room";
  const libraft_descriptor file(path, O_WRONLY | O_CREAT);
  if (!file.is_open()) {
    return !libraft_lacks_room(libraft_errno());
  }
  ::unlink(path.c_str());
  // The size stays: a process with a limit for the size of a file would be sent a signal.
  return ::fallocate(file.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<::off_t>(size)) == 0 ||
         !libraft_lacks_room(libraft_errno());
} catch (const std::bad_alloc&) {
  return true;
}

QUORLITE_DECL result<std::vector<std::string>> libraft_disk_folder::names() {
  // Not opendir(): the thread sanitizer would not see that this thread has opened what it closes.
  const int file = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<::DIR, int (*)(::DIR*)> folder(file < 0 ? nullptr : ::fdopendir(file),
                                                       ::closedir);
  if (folder == nullptr && file >= 0) {
    const int why = errno;
    ::close(file);
    errno = why;
  }
  if (folder == nullptr) {
    return fail(libraft_errno());
  }
  std::vector<std::string> found;
  errno = 0;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody else reads this stream
  while (const ::dirent* const one = ::readdir(folder.get())) {
    struct ::stat told {};
    std::string name = one->d_name;
    const bool is_plain =
        ::fstatat(::dirfd(folder.get()), name.c_str(), &told, 0) == 0 && S_ISREG(told.st_mode);
    if (is_plain || is_read_at_start(name)) {
      found.push_back(std::move(name));
    }
    errno = 0;
  }
  if (errno != 0) {
    return fail(libraft_errno());
  }
  return found;
}

QUORLITE_DECL result<std::unique_ptr<libraft_file>> libraft_disk_folder::open(
    const std::string& name) {
  auto file = std::make_unique<libraft_disk_file>(path_ + '/' + name);
  if (const std::error_code error = file->look()) {
    return fail(error);
  }
  return file;
}

QUORLITE_DECL std::error_code libraft_disk_folder::cut(const std::string& name,
                                                       std::uint64_t size) {
  const libraft_descriptor file(path_ + '/' + name, O_WRONLY);
  const bool done = file.is_open() && ::ftruncate(file.get(), static_cast<::off_t>(size)) == 0 &&
                    ::fsync(file.get()) == 0;
  return done ? std::error_code{} : libraft_errno();
}

QUORLITE_DECL std::error_code libraft_disk_folder::remove(const std::string& name) {
  return ::unlink((path_ + '/' + name).c_str()) == 0 ? std::error_code{} : libraft_errno();
}

QUORLITE_DECL std::error_code libraft_disk_folder::rename(const std::string& name,
                                                          const std::string& becomes) {
  const std::string path = path_ + '/';
  return std::rename((path + name).c_str(), (path + becomes).c_str()) == 0 ? std::error_code{}
                                                                           : libraft_errno();
}

QUORLITE_DECL std::error_code libraft_disk_folder::replace(const std::string& name,
                                                           bytes_view content) {
  const std::string made = path_ + "/tmp-" + name;
  {
    const libraft_descriptor file(made, O_WRONLY | O_CREAT | O_TRUNC);
    if (!file.is_open()) {
      return libraft_errno();
    }
    const ::ssize_t written = ::write(file.get(), content.data(), content.size());
    if (written >= 0 && written != static_cast<::ssize_t>(content.size())) {
      return std::make_error_code(std::errc::no_space_on_device);
    }
    if (written < 0 || ::fsync(file.get()) != 0) {
      return libraft_errno();
    }
  }
  return std::rename(made.c_str(), (path_ + '/' + name).c_str()) == 0 ? sync() : libraft_errno();
}

QUORLITE_DECL std::error_code libraft_disk_folder::sync() {
  const libraft_descriptor folder(path_, O_RDONLY | O_DIRECTORY);
  return folder.is_open() && ::fsync(folder.get()) == 0 ? std::error_code{} : libraft_errno();
}

QUORLITE_DECL std::error_code libraft_disk_folder::sync_name(bool is_new) {
  const std::error_code error = libraft_disk_folder(path_ + "/..").sync();
  const bool is_not_ours =
      error == std::errc::permission_denied || error == std::errc::operation_not_permitted ||
      error == std::errc::read_only_file_system || error == std::errc::invalid_argument;
  return is_new || !is_not_ours ? error : std::error_code{};
}

QUORLITE_DECL std::error_code libraft_disk_folder::sync(const std::string& name) {
  const libraft_descriptor file(path_ + '/' + name, O_RDONLY);
  struct ::stat told {};
  if (file.is_open() ? ::fstat(file.get(), &told) == 0 && !S_ISREG(told.st_mode)
                     : errno == ENOENT) {
    return {};  // there is none: who reads it says so
  }
  return file.is_open() && ::fsync(file.get()) == 0 ? std::error_code{} : libraft_errno();
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
