/// @file
/// Bodies of journal.hpp.
#pragma once

#include "quorlite/detail/sqlite/journal.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <string_view>
#include <utility>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL int heap_file::read(std::byte* into, std::size_t amount,
                                  std::uint64_t from) const noexcept {
  const std::uint64_t there = from < size_ ? size_ - from : 0;
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(there, amount));
  for (std::size_t done = 0; done < wanted;) {
    const std::uint64_t at = from + done;
    const std::size_t part = std::min(wanted - done, piece_bytes - at % piece_bytes);
    std::memcpy(into + done, pieces_[at / piece_bytes].get() + at % piece_bytes, part);
    done += part;
  }
  if (wanted == amount) {
    return SQLITE_OK;
  }
  std::memset(into + wanted, 0, amount - wanted);
  return SQLITE_IOERR_SHORT_READ;
}

QUORLITE_DECL void heap_file::write(const std::byte* from, std::size_t amount, std::uint64_t to) {
  while (pieces_.size() * piece_bytes < to + amount) {
    pieces_.push_back(std::unique_ptr<std::byte[]>(new std::byte[piece_bytes]));
  }
  if (to > size_) {
    fill(size_, to);
  }
  for (std::size_t done = 0; done < amount;) {
    const std::uint64_t at = to + done;
    const std::size_t part = std::min(amount - done, piece_bytes - at % piece_bytes);
    std::memcpy(pieces_[at / piece_bytes].get() + at % piece_bytes, from + done, part);
    done += part;
  }
  size_ = std::max(size_, to + amount);
}

QUORLITE_DECL int heap_file::resize(std::uint64_t size) noexcept {
  size_ = std::min(size_, size);
  pieces_.resize(static_cast<std::size_t>((size_ + piece_bytes - 1) / piece_bytes));
  return SQLITE_OK;
}

QUORLITE_DECL void heap_file::fill(std::uint64_t from, std::uint64_t to) noexcept {
  while (from < to) {
    const std::uint64_t part = std::min<std::uint64_t>(to - from, piece_bytes - from % piece_bytes);
    std::memset(pieces_[from / piece_bytes].get() + from % piece_bytes, 0,
                static_cast<std::size_t>(part));
    from += part;
  }
}

QUORLITE_DECL int journal_slot::open(sqlite3_file* file,
                                     std::shared_ptr<heap_file> content) noexcept {
  auto* const owned = new (std::nothrow) std::shared_ptr<heap_file>(std::move(content));
  if (owned == nullptr) {
    return SQLITE_NOMEM;
  }
  auto* const slot = reinterpret_cast<journal_slot*>(file);
  slot->content = owned;
  slot->base.pMethods = &methods();
  return SQLITE_OK;
}

QUORLITE_DECL int journal_slot::close(sqlite3_file* file) noexcept {
  auto* const slot = reinterpret_cast<journal_slot*>(file);
  delete slot->content;
  slot->content = nullptr;
  return SQLITE_OK;
}

QUORLITE_DECL int journal_slot::read(sqlite3_file* file, void* into, int amount,
                                     sqlite3_int64 from) noexcept {
  return of(file).read(static_cast<std::byte*>(into), static_cast<std::size_t>(amount),
                       static_cast<std::uint64_t>(from));
}

QUORLITE_DECL int journal_slot::write(sqlite3_file* file, const void* from, int amount,
                                      sqlite3_int64 to) noexcept {
  try {
    of(file).write(static_cast<const std::byte*>(from), static_cast<std::size_t>(amount),
                   static_cast<std::uint64_t>(to));
    return SQLITE_OK;
  } catch (const std::bad_alloc&) {
    return SQLITE_IOERR_NOMEM;
  }
}

QUORLITE_DECL int journal_slot::file_size(sqlite3_file* file, sqlite3_int64* size) noexcept {
  *size = static_cast<sqlite3_int64>(of(file).size());
  return SQLITE_OK;
}

QUORLITE_DECL int journal_slot::check_reserved(sqlite3_file*, int* reserved) noexcept {
  *reserved = 0;
  return SQLITE_OK;
}

QUORLITE_DECL const sqlite3_io_methods& journal_slot::methods() noexcept {
  static constexpr sqlite3_io_methods table{
      1,       close,          read,    write,       truncate,        sync,    file_size, lock,
      lock,    check_reserved, control, sector_size, characteristics, nullptr, nullptr,   nullptr,
      nullptr, nullptr,        nullptr};
  return table;
}

QUORLITE_DECL std::shared_ptr<heap_file> super_journals::open(std::string_view name, bool create) {
  const std::lock_guard guard(mutex_);
  const auto found = by_name_.find(name);
  if (found != by_name_.end()) {
    return found->second.content;
  }
  if (!create) {
    return nullptr;
  }
  return by_name_.emplace(name, record{std::make_shared<heap_file>(), {}, false})
      .first->second.content;
}

QUORLITE_DECL bool super_journals::exists(std::string_view name) const {
  const std::lock_guard guard(mutex_);
  return by_name_.find(name) != by_name_.end();
}

QUORLITE_DECL bool super_journals::join(std::string_view name, database_file* member) {
  const std::lock_guard guard(mutex_);
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) {
    return false;
  }
  found->second.inside.push_back(member);
  return true;
}

QUORLITE_DECL void super_journals::refuse(std::string_view name) noexcept {
  const std::lock_guard guard(mutex_);
  const auto found = by_name_.find(name);
  if (found != by_name_.end()) {
    found->second.refused = true;
  }
}

QUORLITE_DECL void super_journals::leave(std::string_view name, database_file* member) noexcept {
  const std::lock_guard guard(mutex_);
  const auto found = by_name_.find(name);
  if (found != by_name_.end()) {
    members& inside = found->second.inside;
    inside.erase(std::remove(inside.begin(), inside.end(), member), inside.end());
    found->second.refused = true;
  }
}

QUORLITE_DECL super_journals::fate super_journals::remove(std::string_view name, bool commits,
                                                          members& inside) {
  const std::lock_guard guard(mutex_);
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) {
    return fate::removed;
  }
  record& one = found->second;
  if (one.inside.empty()) {
    by_name_.erase(found);
    return fate::removed;
  }
  if (commits && !one.refused) {
    inside = one.inside;
    return fate::commit;
  }
  const bool expected = one.refused && !commits;
  one.refused = true;
  return expected ? fate::stays : fate::refused;
}

QUORLITE_DECL void super_journals::conclude(std::string_view name, bool committed) noexcept {
  const std::lock_guard guard(mutex_);
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) {
    return;
  }
  if (committed) {
    by_name_.erase(found);
  } else {
    found->second.refused = true;
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
