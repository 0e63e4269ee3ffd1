/// @file
/// The folder of a log as its reader sees it: files to read, so that tests can make folders of
/// bytes. `libraft_disk_folder` is the real one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// An open file. One thread at a time.
class libraft_file {
 public:
  libraft_file() = default;
  libraft_file(const libraft_file&) = delete;
  libraft_file& operator=(const libraft_file&) = delete;
  virtual ~libraft_file() = default;

  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
  /// Fills all of `into`. @pre offset + into.size() <= size()
  /// @returns what the system says; std::errc::io_error if the file got shorter
  [[nodiscard]] virtual std::error_code read(std::uint64_t offset, bytes_span into) noexcept = 0;
};

/// A folder that nobody else changes meanwhile. One thread at a time. The functions throw
/// std::bad_alloc.
class libraft_folder {
 public:
  libraft_folder() = default;
  libraft_folder(const libraft_folder&) = delete;
  libraft_folder& operator=(const libraft_folder&) = delete;

  /// Of plain files, and of whatever has the name of one of ours; in any order.
  [[nodiscard]] virtual result<std::vector<std::string>> names() = 0;
  [[nodiscard]] virtual result<std::unique_ptr<libraft_file>> open(const std::string& name) = 0;

 protected:
  ~libraft_folder() = default;
};

/// Another folder, and which of its files was opened last: that is the one which cannot be read, if
/// one cannot.
class libraft_watched_folder final : public libraft_folder {
 public:
  /// @param whole outlives this
  explicit libraft_watched_folder(libraft_folder& whole) noexcept : whole_(whole) {}

  [[nodiscard]] result<std::vector<std::string>> names() override { return whole_.names(); }
  [[nodiscard]] result<std::unique_ptr<libraft_file>> open(const std::string& name) override {
    opened_ = name;
    return whole_.open(name);
  }
  /// Empty: none was.
  [[nodiscard]] const std::string& opened() const noexcept { return opened_; }

 private:
  libraft_folder& whole_;
  std::string opened_;
};

/// What the system says of a read may be otherwise the next time: memory or descriptors are short.
[[nodiscard]] QUORLITE_DECL bool libraft_may_pass(std::error_code error) noexcept;

/// The system has the file, and does not let this user read it. Nothing is lost then.
[[nodiscard]] inline bool libraft_is_forbidden(std::error_code error) noexcept {
  return error == std::errc::permission_denied || error == std::errc::operation_not_permitted;
}
/// There is something of that name, which is no plain file: a link to none, a folder, a pipe.
[[nodiscard]] inline bool libraft_is_no_file(std::error_code error) noexcept {
  return error == std::errc::no_such_file_or_directory || error == std::errc::is_a_directory;
}

/// Why a file that is there cannot be read, for its operator. Throws std::bad_alloc.
[[nodiscard]] QUORLITE_DECL std::string libraft_unread_text(std::error_code error);
/// What to do about that, where the server is not to be set up anew: what is whole would be thrown
/// away. Empty: nothing better is known.
[[nodiscard]] QUORLITE_DECL const char* libraft_unread_remedy(std::error_code error) noexcept;

/// A descriptor of the system, closed at the end.
class libraft_descriptor {
 public:
  /// @param flags of open(); what is made is for its owner to write and for all to read
  libraft_descriptor(const std::string& path, int flags) noexcept;
  /// @param opened it is its owner's from now on; negative: it is none
  explicit libraft_descriptor(int opened) noexcept : file_(opened) {}
  libraft_descriptor(const libraft_descriptor&) = delete;
  libraft_descriptor& operator=(const libraft_descriptor&) = delete;
  ~libraft_descriptor();

  [[nodiscard]] bool is_open() const noexcept { return file_ >= 0; }
  [[nodiscard]] int get() const noexcept { return file_; }
  /// Writes over bytes that the file has; durable on return. They may be torn by a power cut.
  [[nodiscard]] std::error_code overwrite(std::uint64_t offset, bytes_view content) const noexcept;

 private:
  int file_;
};

/// What the disk of this folder has left for this user, in bytes; as much as there can be where the
/// system does not say. Does not block on a disk that is not remote.
[[nodiscard]] QUORLITE_DECL std::uint64_t libraft_room_in(const std::string& folder) noexcept;

/// The system has no room for this, or a quota allows none: some may be made.
[[nodiscard]] QUORLITE_DECL bool libraft_lacks_room(std::error_code error) noexcept;
/// Whether a file in this folder gets so many bytes: the disk may have room that a quota does not
/// give. It is tried, and nothing stays. Blocks on the disk.
/// @returns false: it does not; true, too, where the system does not say
[[nodiscard]] QUORLITE_DECL bool libraft_gets_room(const std::string& folder,
                                                   std::uint64_t size) noexcept;

/// A folder on a disk.
class libraft_disk_folder final : public libraft_folder {
 public:
  explicit libraft_disk_folder(std::string path) : path_(std::move(path)) {}

  [[nodiscard]] result<std::vector<std::string>> names() override;
  [[nodiscard]] result<std::unique_ptr<libraft_file>> open(const std::string& name) override;

  /// Cuts a file; durable on return.
  [[nodiscard]] std::error_code cut(const std::string& name, std::uint64_t size);
  /// Removes a file; durable with sync().
  [[nodiscard]] std::error_code remove(const std::string& name);
  /// Gives a file another name, which no file has; durable with sync().
  [[nodiscard]] std::error_code rename(const std::string& name, const std::string& becomes);
  /// Makes this the content of a file, all of it or nothing; durable on return.
  [[nodiscard]] std::error_code replace(const std::string& name, bytes_view content);
  /// Makes names durable.
  [[nodiscard]] std::error_code sync();
  /// Makes its own name durable, if the folder above can be opened and synced.
  /// @param is_new it was made just now: then whatever fails is an error
  [[nodiscard]] std::error_code sync_name(bool is_new);
  /// Makes a file's content durable, if there is one.
  [[nodiscard]] std::error_code sync(const std::string& name);

 private:
  std::string path_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/log_folder.ipp"  // IWYU pragma: keep
#endif
