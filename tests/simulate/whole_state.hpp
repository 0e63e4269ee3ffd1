// A state of a database, page by page, as SQLite gets it from its file.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "clients.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace simulate {

/// Stands on the state that was committed when it was made, until it is gone. Only SQLite's cache
/// stands between a query and what this reads.
class whole_state {
 public:
  /// @param to is used for nothing else meanwhile
  whole_state(const line& to, const plan& options)
      : page_size_(options.page_size), lock_byte_(options.lock_byte) {
    if (to.is_open()) {
      static_cast<void>(sqlite3_file_control(to.db.get(), "main", SQLITE_FCNTL_FILE_POINTER,
                                             static_cast<void*>(&file_)));
    }
    if (file_ != nullptr && file_->pMethods != nullptr) {
      stands_ = file_->pMethods->xLock(file_, SQLITE_LOCK_SHARED) == SQLITE_OK;
    }
  }
  whole_state(const whole_state&) = delete;
  whole_state& operator=(const whole_state&) = delete;
  ~whole_state() {
    if (stands_) {
      static_cast<void>(file_->pMethods->xUnlock(file_, SQLITE_LOCK_NONE));
    }
  }

  [[nodiscard]] bool stands() const noexcept { return stands_; }

  /// Reads all of it. @returns whether every page could be read. @pre stands()
  [[nodiscard]] bool read() {
    image_.clear();
    hash_ = 0;
    unread_ = 0;
    was_ended_ = false;
    sqlite3_int64 size = 0;
    if (file_->pMethods->xFileSize(file_, &size) != SQLITE_OK) {
      return false;
    }
    image_.resize(static_cast<std::size_t>(size));
    for (std::size_t at = 0; at < image_.size(); at += page_size_) {
      const quorlite::page_number number{static_cast<std::uint32_t>(at / page_size_ + 1)};
      if (number.value == quorlite::lock_page(page_size_, lock_byte_)) {
        continue;
      }
      const quorlite::bytes_span page = quorlite::bytes_span(image_).subspan(at, page_size_);
      const int code = file_->pMethods->xRead(file_, page.data(), static_cast<int>(page_size_),
                                              static_cast<sqlite3_int64>(at));
      if (code != SQLITE_OK) {
        unread_ = number.value;
        was_ended_ = code == quorlite::sqlite_snapshot_ended;
        return false;
      }
      hash_ += quorlite::detail::page_hash(number, page);
    }
    return true;
  }
  /// The number of the page that could not be read; 0: there is none. After read().
  [[nodiscard]] std::uint64_t unread() const noexcept { return unread_; }
  /// It could not be read because readers kept too much. After read().
  [[nodiscard]] bool was_ended() const noexcept { return was_ended_; }
  /// All pages, one behind the other; zeros where there is no data. After read().
  [[nodiscard]] const quorlite::bytes& image() const noexcept { return image_; }
  /// The page in which another image begins to differ. After read().
  [[nodiscard]] std::uint64_t first_difference(const quorlite::bytes& other) const {
    const std::size_t both = std::min(image_.size(), other.size());
    const auto end = image_.begin() + static_cast<std::ptrdiff_t>(both);
    const auto found = std::mismatch(image_.begin(), end, other.begin()).first;
    return static_cast<std::uint64_t>(found - image_.begin()) / page_size_ + 1;
  }
  /// As a replica keeps it of its databases. After read().
  [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }

 private:
  const std::uint32_t page_size_;
  const std::uint64_t lock_byte_;
  sqlite3_file* file_ = nullptr;
  bool stands_ = false;
  quorlite::bytes image_;
  std::uint64_t hash_ = 0;
  std::uint64_t unread_ = 0;
  bool was_ended_ = false;
};

}  // namespace simulate
