/// @file
/// A file_system over a disk that fails on demand: what one process sees of a faulty_disk.
///
/// @code
/// quorlite::testing::faulty_disk disk;
/// disk.crash_at(17);
/// { basic_file_storage storage(quorlite::testing::faulty_file_system{disk}); … }  // until it fails
/// quorlite::testing::crash_images(disk, 256, [](auto& image, const auto& fates) {
///   basic_file_storage storage(quorlite::testing::faulty_file_system{image});  // what does it find?
/// });
/// @endcode
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/error.hpp"
#include "quorlite/storage/file_system.hpp"
#include "quorlite/testing/faulty_disk.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// An open file. Stays readable and writable when its name goes.
class faulty_file {
 public:
  faulty_file(faulty_disk& disk, faulty_disk::opened file) : disk_(&disk), file_(std::move(file)) {}

  [[nodiscard]] result<std::size_t> read(std::uint64_t offset, bytes_span into) const noexcept {
    return disk_->read(file_, offset, into);
  }
  [[nodiscard]] result<std::uint64_t> size() const noexcept { return disk_->size(file_); }
  [[nodiscard]] std::error_code write(std::uint64_t offset,
                                      std::span<const bytes_view> parts) noexcept {
    return disk_->write(file_, offset, parts);
  }
  [[nodiscard]] std::error_code resize(std::uint64_t size) noexcept {
    return disk_->resize(file_, size);
  }
  [[nodiscard]] std::error_code sync() noexcept { return disk_->sync(file_); }

 private:
  faulty_disk* disk_;
  faulty_disk::opened file_;
};

/// One process. Destroying it gives up its locks, nothing else. The disk outlives it and its files.
class faulty_file_system {
 public:
  using file_type = faulty_file;

  explicit faulty_file_system(faulty_disk& disk) : disk_(&disk), user_(disk.add_user()) {}
  faulty_file_system(faulty_file_system&& other) noexcept
      : disk_(other.disk_), user_(std::exchange(other.user_, 0)) {}
  faulty_file_system& operator=(faulty_file_system&& other) noexcept {
    std::swap(disk_, other.disk_);
    std::swap(user_, other.user_);
    return *this;
  }
  ~faulty_file_system() {
    if (user_ != 0) {
      disk_->remove_user(user_);
    }
  }

  [[nodiscard]] result<file_type> open(std::string_view path, open_mode mode) noexcept {
    auto file = disk_->open(path, mode);
    if (!file) {
      return failed(file.error());
    }
    return file_type(*disk_, std::move(*file));
  }
  [[nodiscard]] std::error_code lock(std::string_view path) noexcept {
    return disk_->lock(path, user_);
  }
  [[nodiscard]] std::error_code make_directory(std::string_view path) noexcept {
    return disk_->make_directory(path);
  }
  [[nodiscard]] std::error_code remove(std::string_view path) noexcept {
    return disk_->remove(path);
  }
  [[nodiscard]] std::error_code rename(std::string_view from, std::string_view to) noexcept {
    return disk_->rename(from, to);
  }
  [[nodiscard]] result<std::vector<std::string>> list(std::string_view path) noexcept {
    return disk_->list(path);
  }
  [[nodiscard]] std::error_code sync_directory(std::string_view path) noexcept {
    return disk_->sync_directory(path);
  }

 private:
  faulty_disk* disk_;
  std::uint64_t user_;
};

static_assert(file_system<faulty_file_system>);

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
