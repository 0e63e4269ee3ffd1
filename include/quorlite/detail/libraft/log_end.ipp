/// @file
/// Bodies of log_end.hpp: the bytes of a slot, and when they are written.
#pragma once

#include "quorlite/detail/libraft/log_end.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

// ---- bytes

inline constexpr std::array<char, 4> libraft_log_end_magic{'Q', 'L', 'E', '1'};

QUORLITE_DECL void libraft_log_end::encode(bytes_span into) const noexcept {
  std::byte* const to = into.data();
  std::memcpy(to, libraft_log_end_magic.data(), libraft_log_end_magic.size());
  store_little_endian(to + 8, write);
  store_little_endian(to + 16, entry);
  store_little_endian(to + 24, entry_term);
  store_little_endian(to + 32, applied.index.value);
  store_little_endian(to + 40, applied.hash.low);
  store_little_endian(to + 48, applied.hash.high);
  store_little_endian(to + 56, term);
  store_little_endian(to + 64, vote);
  store_little_endian(to + 72, std::uint64_t{0});
  store_little_endian(to + 4, crc32c(into.subspan(8, encoded_bytes - 8)));
}

QUORLITE_DECL std::optional<libraft_log_end> libraft_log_end::decode(bytes_view slot) noexcept {
  if (slot.size() != encoded_bytes ||
      std::memcmp(slot.data(), libraft_log_end_magic.data(), libraft_log_end_magic.size()) != 0 ||
      load_little_endian<std::uint32_t>(slot.data() + 4) != crc32c(slot.subspan(8))) {
    return {};
  }
  const auto at = [&](std::size_t offset) {
    return load_little_endian<std::uint64_t>(slot.data() + offset);
  };
  libraft_log_end made;
  made.write = at(8);
  made.entry = at(16);
  made.entry_term = at(24);
  made.applied = {log_index{at(32)}, {at(40), at(48)}};
  made.term = at(56);
  made.vote = at(64);
  return made;
}

QUORLITE_DECL std::array<std::optional<libraft_log_end>, 2> libraft_log_end::slots_in(
    bytes_view file) noexcept {
  std::array<std::optional<libraft_log_end>, 2> slots;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const std::size_t begin = i * slot_distance;
    if (file.size() >= begin + encoded_bytes) {
      slots[i] = decode(file.subspan(begin, encoded_bytes));
    }
    if (slots[i] && slots[i]->offset() != begin) {
      slots[i].reset();
    }
  }
  return slots;
}

QUORLITE_DECL std::optional<libraft_log_end> libraft_log_end::newest_in(bytes_view file) noexcept {
  const auto slots = slots_in(file);
  return !slots[0] || (slots[1] && slots[0]->write < slots[1]->write) ? slots[1] : slots[0];
}

QUORLITE_DECL result<std::optional<libraft_log_end>> libraft_log_end::read(libraft_folder& from) {
  const result<bytes> whole = read_file(from);
  if (!whole) {
    return fail(whole.error());
  }
  return newest_in(*whole);
}

QUORLITE_DECL result<bytes> libraft_log_end::read_file(libraft_folder& from) {
  auto file = from.open(file_name);
  if (!file) {
    return fail(file.error());
  }
  bytes whole(static_cast<std::size_t>(std::min<std::uint64_t>((*file)->size(), file_bytes)));
  if (const std::error_code error = (*file)->read(0, whole)) {
    return fail(error);
  }
  return whole;
}

// ---- when it is written

QUORLITE_DECL int libraft_end_keeper::load(std::uint64_t term, std::uint64_t vote,
                                           history_position& applied) noexcept try {
  bytes file;
  if (!directory_.empty()) {
    libraft_disk_folder folder(directory_);
    result<bytes> told = libraft_log_end::read_file(folder);
    if (!told && told.error() != std::errc::no_such_file_or_directory) {
      return RAFT_IOERR;  // who took that for none would forget how far the log went
    }
    file = told ? std::move(*told) : bytes();
  }
  const std::optional<libraft_log_end> left = libraft_log_end::newest_in(file);
  if (left) {
    if (const int code = open(); code != 0) {
      return code;
    }
  }
  const std::lock_guard guard(mutex_);
  now_ = written_ = left.value_or(libraft_log_end{});
  // What the last run could not sync is read like the rest, and a power cut takes it. So it is
  // written again, in its own place: the other one has to last until then.
  failed_ = left.has_value();
  const auto slots = libraft_log_end::slots_in(file);
  written_.write -= slots[0] && slots[1] ? 1U : 0U;
  now_.term = term;
  now_.vote = vote;
  applied = now_.applied;
  return 0;
} catch (const std::bad_alloc&) {
  return RAFT_NOMEM;
}

QUORLITE_DECL int libraft_end_keeper::open() noexcept try {
  file_.emplace(directory_ + '/' + libraft_log_end::file_name, O_WRONLY);
  if (!file_->is_open()) {
    file_.reset();
    return RAFT_IOERR;
  }
  return 0;
} catch (const std::bad_alloc&) {
  return RAFT_NOMEM;
}

QUORLITE_DECL int libraft_end_keeper::begin(std::uint64_t entry, std::uint64_t entry_term) noexcept
    try {
  begun_ = !directory_.empty();
  {
    const std::lock_guard guard(mutex_);
    now_.entry = entry;
    now_.entry_term = entry_term;
  }
  if (!begun_ || file_) {
    return write();
  }
  std::array<std::byte, libraft_log_end::file_bytes> whole{};
  written_ = now_;     // nobody else is here yet
  written_.write = 2;  // the first slot; the second one is not whole yet
  written_.encode(bytes_span(whole).first(libraft_log_end::encoded_bytes));
  const bool made = !libraft_disk_folder(directory_).replace(libraft_log_end::file_name, whole);
  return made ? open() : RAFT_IOERR;
} catch (const std::bad_alloc&) {
  return RAFT_NOMEM;
}

QUORLITE_DECL void libraft_end_keeper::note_term(std::uint64_t now) noexcept {
  const std::lock_guard guard(mutex_);
  now_.vote = now_.term == now ? now_.vote : 0;
  now_.term = now;
}

QUORLITE_DECL int libraft_end_keeper::note_vote(std::uint64_t id) noexcept {
  {
    const std::lock_guard guard(mutex_);
    now_.vote = id;
  }
  return write();
}

QUORLITE_DECL void libraft_end_keeper::advance(std::uint64_t entry, std::uint64_t entry_term,
                                               const history_position& applied) noexcept {
  const std::lock_guard guard(mutex_);
  if (entry > now_.entry) {
    now_.entry = entry;
    now_.entry_term = entry_term;
  }
  if (applied.index > now_.applied.index && applied.hash != history_hash{}) {
    now_.applied = applied;
  }
}

QUORLITE_DECL int libraft_end_keeper::pull_back(std::uint64_t entry,
                                                std::uint64_t entry_term) noexcept {
  {
    const std::lock_guard guard(mutex_);
    if (now_.entry > entry) {
      now_.entry = entry;
      now_.entry_term = entry_term;
    }
  }
  return write();
}

QUORLITE_DECL bool libraft_end_keeper::has_changed() const noexcept { return next().has_value(); }

QUORLITE_DECL std::optional<libraft_log_end> libraft_end_keeper::next() const noexcept {
  const std::lock_guard guard(mutex_);
  libraft_log_end made = now_;
  made.write = written_.write;
  if (!file_ || (made == written_ && !failed_)) {
    return {};  // without a file: begin() will write all of it
  }
  ++made.write;
  return made;
}

QUORLITE_DECL bool libraft_end_keeper::is_removed() noexcept {
  const std::lock_guard order(writing_);
  struct ::stat told {};
  return file_ && ::fstat(file_->get(), &told) == 0 && told.st_nlink == 0;
}

/// The number counts on with what is on the disk only: while a write fails, the other slot stays.
QUORLITE_DECL int libraft_end_keeper::write() noexcept {
  const std::lock_guard order(writing_);
  const auto told = next();
  if (!told) {
    return 0;
  }
  std::array<std::byte, libraft_log_end::encoded_bytes> slot{};
  told->encode(slot);
  const bool done = !file_->overwrite(told->offset(), slot);
  const std::lock_guard guard(mutex_);
  failed_ = !done;
  if (done) {
    written_ = *told;
  }
  return done ? 0 : RAFT_IOERR;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
