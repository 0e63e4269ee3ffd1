// Pages of a database, read and written through SQLite's file as a pager does.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <system_error>
#include <vector>

#include "clients.hpp"
#include "quorlite/detail/sqlite/result_code.hpp"

namespace simulate {

/// Each page but the first is full of one number, and the first page has the list of them: a state
/// tells by itself whether it is whole. A number of 0 is a page of zeros.
class page_file {
 public:
  using page = std::vector<unsigned char>;
  /// Of pages 1, 2, …; the first means nothing.
  using numbers = std::vector<std::uint32_t>;

  page_file(sqlite3* db, const char* schema, const plan& options)
      : page_size_(options.page_size), most_(most_of(options)) {
    static_cast<void>(
        sqlite3_file_control(db, schema, SQLITE_FCNTL_FILE_POINTER, static_cast<void*>(&file_)));
  }
  /// So many pages at most: below the one that has no data.
  [[nodiscard]] static std::uint64_t most_of(const plan& options) {
    return std::min<std::uint64_t>(10, options.lock_byte / options.page_size);
  }
  [[nodiscard]] bool is_open() const { return file_ != nullptr && file_->pMethods != nullptr; }

  [[nodiscard]] int lock(int level) const { return file_->pMethods->xLock(file_, level); }
  void unlock() const { static_cast<void>(file_->pMethods->xUnlock(file_, SQLITE_LOCK_NONE)); }
  /// Of a super-journal, or nullptr: it commits alone.
  [[nodiscard]] int sync(const char* super) const {
    return file_->pMethods->xFileControl(file_, SQLITE_FCNTL_SYNC, const_cast<char*>(super));
  }

  /// Why the last call failed.
  [[nodiscard]] std::error_code error() const {
    std::error_code its;
    static_cast<void>(file_->pMethods->xFileControl(
        file_, static_cast<int>(quorlite::detail::file_control::last_error), &its));
    return its;
  }

  /// Reads all pages of the state that it stands on.
  [[nodiscard]] int look() {
    all_.clear();
    first_.clear();
    sqlite3_int64 size = 0;
    int code = file_->pMethods->xFileSize(file_, &size);
    if (code != SQLITE_OK || size == 0) {
      return code;
    }
    code = read(1, first_);
    if (code != SQLITE_OK) {
      return code;
    }
    const std::uint64_t count = get(first_, 28);
    require(count >= 1 && count <= most_ && static_cast<std::uint64_t>(size) == count * page_size_,
            "atomic and isolated", [&] {
              return "a file of " + std::to_string(size) + " bytes says that it has " +
                     std::to_string(count) + " pages";
            });
    for (std::uint64_t i = 0; i < count; ++i) {
      all_.push_back(get(first_, list_at + 4 * i));
    }
    return look_at_all();
  }
  /// Of the last transaction that wrote to both files; 0: there was none. After look().
  [[nodiscard]] std::uint32_t pair() const { return first_.empty() ? 0 : get(first_, pair_at); }

  /// Transactions so far, on this history. After look().
  [[nodiscard]] std::uint32_t counter() const { return first_.empty() ? 0 : get(first_, 24); }
  /// Whether it has more than its first page, which alone a writer reads before his write lock.
  /// After look().
  [[nodiscard]] bool has_others() const noexcept { return all_.size() > 1; }
  /// After look() of both.
  [[nodiscard]] bool is_same_as(const page_file& other) const { return first_ == other.first_; }

  /// One transaction's pages. After look(). @param pair 0: as it was
  [[nodiscard]] int change(random& dice, std::uint32_t pair) {
    if (pair == 0 && !all_.empty() && dice.chance(0.15)) {
      return write_the_same();
    }
    int code = SQLITE_OK;
    const std::uint64_t count = dice.between(1, most_);
    if (all_.size() > 1 && dice.chance(0.5)) {
      all_.resize(static_cast<std::size_t>(dice.between(1, all_.size() - 1)));
      code =
          file_->pMethods->xTruncate(file_, static_cast<sqlite3_int64>(all_.size() * page_size_));
    }
    all_.resize(static_cast<std::size_t>(count));
    for (std::uint64_t number = 2; number <= count && code == SQLITE_OK; ++number) {
      if (dice.chance(0.4) || number == count) {  // the last one, or the file is not so long
        all_[number - 1] = static_cast<std::uint32_t>(dice.next() | 1U);
        code = write(number, filled(all_[number - 1]));
      }
    }
    code = code == SQLITE_OK ? look_at_all() : code;  // written, as it was, or zeros
    return code == SQLITE_OK ? write(1, first_page(counter() + 1, pair == 0 ? this->pair() : pair))
                             : code;
  }

 private:
  [[nodiscard]] int read(std::uint64_t number, page& into) const {
    into.assign(page_size_, 0xEE);
    return file_->pMethods->xRead(file_, into.data(), static_cast<int>(page_size_),
                                  static_cast<sqlite3_int64>((number - 1) * page_size_));
  }
  [[nodiscard]] int write(std::uint64_t number, const page& from) const {
    return file_->pMethods->xWrite(file_, from.data(), static_cast<int>(page_size_),
                                   static_cast<sqlite3_int64>((number - 1) * page_size_));
  }
  [[nodiscard]] int look_at_all() const {
    page seen;
    int code = SQLITE_OK;
    for (std::uint64_t number = 2; number <= all_.size() && code == SQLITE_OK; ++number) {
      code = read(number, seen);
      require(code != SQLITE_OK || seen == filled(all_[number - 1]), "atomic and isolated", [&] {
        return "page " + std::to_string(number) + " of " + std::to_string(all_.size()) +
               " is not what the first page says";
      });
    }
    return code;
  }
  /// From nothing, byte for byte what is there.
  [[nodiscard]] int write_the_same() const {
    int code = file_->pMethods->xTruncate(file_, 0);
    for (std::uint64_t number = 2; number <= all_.size() && code == SQLITE_OK; ++number) {
      code = write(number, filled(all_[number - 1]));
    }
    return code == SQLITE_OK ? write(1, first_) : code;
  }

  [[nodiscard]] page filled(std::uint32_t with) const {
    page made(page_size_);
    for (std::size_t at = 0; at + sizeof with <= made.size(); at += sizeof with) {
      std::memcpy(made.data() + at, &with, sizeof with);
    }
    return made;
  }
  static void put(page& into, std::size_t at, std::uint64_t value) {
    for (std::size_t i = 0; i < 4; ++i) {
      into[at + i] = static_cast<unsigned char>(value >> (24 - 8 * i));
    }
  }
  [[nodiscard]] static std::uint32_t get(const page& from, std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      value = value << 8U | from[at + i];
    }
    return value;
  }
  /// An SQLite database without a table (fileformat2.html, 1.3 and 1.6), with the list behind.
  [[nodiscard]] page first_page(std::uint32_t transactions, std::uint32_t pair) const {
    page made(page_size_);
    std::memcpy(made.data(), "SQLite format 3", 16);
    made[16] = static_cast<unsigned char>(page_size_ >> 8U);
    made[17] = static_cast<unsigned char>(page_size_ >> 16U);
    made[18] = made[19] = 1;
    made[21] = 64;
    made[22] = made[23] = 32;
    put(made, 24, transactions);
    put(made, 28, all_.size());
    put(made, 44, 4);
    put(made, 56, 1);
    put(made, 92, transactions);
    made[100] = 0x0D;
    made[105] = static_cast<unsigned char>(page_size_ >> 8U);
    put(made, pair_at, pair);
    for (std::size_t i = 0; i < all_.size(); ++i) {
      put(made, list_at + 4 * i, all_[i]);
    }
    return made;
  }

  static constexpr std::size_t pair_at = 196;
  static constexpr std::size_t list_at = 200;

  std::uint64_t page_size_;
  std::uint64_t most_;
  sqlite3_file* file_ = nullptr;
  numbers all_;
  page first_;
};

}  // namespace simulate
