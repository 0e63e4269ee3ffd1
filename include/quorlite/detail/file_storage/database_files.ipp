/// @file
/// How the two files of a database are read and written. Templates, so always included.
#pragma once

#include "quorlite/detail/file_storage/database_files.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/file_storage/health.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/storage/file_system.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

template <file_system FileSystem>
std::error_code database_files<FileSystem>::read(page_number page, bytes_span into) const noexcept {
  if (page.value == 0 || page.value > page_count() || into.size() != page_size()) {
    return make_error_code(errc::storage_broken);
  }
  const auto count = data_->read(database_layout::offset_of(page, page_size()), into);
  if (!count) {
    return storage_error(count.error());  // without a descriptor, say, nothing is damaged
  }
  if (*count != into.size()) {
    return make_error_code(errc::storage_broken);
  }
  if (page.value == 1) {
    into[database_layout::guard_offset] = true_byte_.load(std::memory_order_acquire);
  }
  return {};
}

template <file_system FileSystem>
std::error_code database_files<FileSystem>::read_hashes(
    page_number first, std::span<std::uint64_t> into) const noexcept {
  const std::uint64_t count = page_count();
  if (first.value == 0 || first.value > count || into.size() > count - first.value + 1) {
    return make_error_code(errc::storage_broken);
  }
  const bytes_span raw = std::as_writable_bytes(into);
  const auto got = hashes_->read(std::uint64_t{first.value} * database_layout::hash_bytes, raw);
  if (!got) {
    return storage_error(got.error());
  }
  if (*got != raw.size()) {
    return make_error_code(errc::storage_broken);
  }
  for (std::size_t i = 0; i < into.size(); ++i) {
    into[i] = load_little_endian<std::uint64_t>(raw.data() + i * database_layout::hash_bytes);
  }
  return {};
}

template <file_system FileSystem>
std::error_code database_files<FileSystem>::read_hash_block(std::uint64_t block,
                                                            bytes_span into) const noexcept {
  const auto got = hashes_->read(block * into.size(), into);
  return got ? std::error_code{} : got.error();
}

template <file_system FileSystem>
std::error_code database_files<FileSystem>::begin(file_type data, file_type hashes,
                                                  std::uint64_t generation) noexcept {
  data_.emplace(std::move(data));
  hashes_.emplace(std::move(hashes));
  generation_ = generation;
  extent_ = 0;
  data_staged_ = true;
  hashes_staged_ = true;
  true_byte_.store(std::byte{});
  return write_head();
}

template <file_system FileSystem>
void database_files<FileSystem>::forget_files() noexcept {
  data_.reset();
  hashes_.reset();
  generation_ = 0;
  data_staged_ = false;
  hashes_staged_ = false;
}

template <file_system FileSystem>
file_adoption database_files<FileSystem>::adopt(file_type data, file_type hashes,
                                                std::uint64_t generation, std::uint32_t page_size,
                                                std::uint64_t page_count,
                                                file_state state) noexcept {
  data_.emplace(std::move(data));
  hashes_.emplace(std::move(hashes));
  generation_ = generation;
  const auto data_bytes = data_->size();
  const auto hashes_bytes = hashes_->size();
  std::array<std::byte, database_layout::hash_bytes> head{};
  const auto got = hashes_->read(0, head);
  if (!data_bytes) {
    return {data_bytes.error()};
  }
  if (!hashes_bytes || !got) {
    return {hashes_bytes ? got.error() : hashes_bytes.error(), nullptr, true};
  }
  const auto value = load_little_endian<std::uint64_t>(head.data());
  const bool other = state != file_state::garbled &&
                     (value >> 8U) != (generation & database_layout::generation_mask);
  if (*got != head.size() || *hashes_bytes < database_layout::hashes_size(page_count)) {
    return {{}, "it is shorter than its database is", true, *hashes_bytes};
  }
  if (other) {
    return {{}, "it is of another database, or its begin is not what was written", true};
  }
  if (*data_bytes < page_count * page_size) {
    return {{}, "it is shorter than the record says", false, *data_bytes};
  }
  true_byte_.store(static_cast<std::byte>(value & 0xFFU));
  if (*data_bytes != page_count * page_size ||
      *hashes_bytes != database_layout::hashes_size(page_count)) {
    if (const auto error = set_extent(page_count, page_size)) {
      return {error};
    }
  }
  extent_ = page_count;
  show(page_size, page_count);
  if (state != file_state::exact || page_count == 0) {
    return {};
  }
  const std::error_code error = check_guard();
  return error == errc::corrupt ? file_adoption{{}, "its first page was changed by somebody else"}
                                : file_adoption{error};
}

template <file_system FileSystem>
std::error_code database_files<FileSystem>::write(std::span<const page_view> sorted,
                                                  std::uint32_t page_size, std::size_t batch_pages,
                                                  bool with_hashes) {
  std::vector<bytes_view> parts;
  bytes hashes;
  while (!sorted.empty()) {
    std::size_t run = 1;
    while (run < sorted.size() && run < batch_pages &&
           sorted[run].number == sorted[run - 1].number.next()) {
      ++run;
    }
    if (const auto error = write_run(sorted.first(run), page_size, parts, hashes)) {
      return error;
    }
    const bytes_view part = hashes;
    const std::uint64_t slot = sorted.front().number.value == 1 ? 0 : sorted.front().number.value;
    if (with_hashes) {
      if (const auto error = hashes_->write(slot * database_layout::hash_bytes, {&part, 1})) {
        return error;
      }
    }
    sorted = sorted.subspan(run);
  }
  return {};
}

template <file_system FileSystem>
std::error_code database_files<FileSystem>::write_hash_blocks(
    std::span<const page_view> blocks) noexcept {
  for (const page_view& block : blocks) {
    const std::uint64_t offset = std::uint64_t{block.number.value - 1} * block.image.size();
    const std::uint64_t end = database_layout::hashes_size(extent_);
    if (offset >= end) {
      break;
    }
    const bytes_view part = block.image.first(
        static_cast<std::size_t>(std::min<std::uint64_t>(block.image.size(), end - offset)));
    if (const auto error = hashes_->write(offset, {&part, 1})) {
      return error;
    }
  }
  return {};
}

template <file_system FileSystem>
std::error_code database_files<FileSystem>::set_extent(std::uint64_t page_count,
                                                       std::uint32_t page_size) noexcept {
  extent_ = std::max(extent_, page_count);  // until both are done
  if (const auto error = data_->resize(page_count * page_size)) {
    return error;
  }
  if (const auto error = hashes_->resize(database_layout::hashes_size(page_count))) {
    return error;
  }
  if (page_count == 0 && true_byte_.load() != std::byte{}) {
    true_byte_.store(std::byte{});
    if (const auto error = write_head()) {
      return error;
    }
  }
  extent_ = page_count;
  return {};
}

template <file_system FileSystem>
std::error_code database_files<FileSystem>::sync() noexcept {
  const std::error_code error = data_->sync();
  return error ? error : hashes_->sync();
}

template <file_system FileSystem>
void database_files<FileSystem>::show(std::uint32_t page_size, std::uint64_t page_count) noexcept {
  page_size_.store(page_size, std::memory_order_relaxed);
  page_count_.store(page_count, std::memory_order_release);
}

template <file_system FileSystem>
result<bool> database_files<FileSystem>::lacks_guard() const noexcept {
  if (page_count() == 0) {
    return false;
  }
  std::byte found{};
  const auto got = data_->read(database_layout::guard_offset, {&found, 1});
  if (!got) {
    return fail(got.error());
  }
  return *got != 1 || found != database_layout::guard;
}

template <file_system FileSystem>
std::error_code database_files<FileSystem>::set_guard(bool on) noexcept {
  const std::byte value = on ? database_layout::guard : true_byte_.load();
  const bytes_view part(&value, 1);
  return page_count() == 0 ? std::error_code{}
                           : data_->write(database_layout::guard_offset, {&part, 1});
}

template <file_system FileSystem>
std::error_code database_files<FileSystem>::write_head() noexcept {
  std::array<std::byte, database_layout::hash_bytes> head{};
  store_little_endian(head.data(), head_with(true_byte_.load()));
  const bytes_view part = head;
  return hashes_->write(0, {&part, 1});
}

template <file_system FileSystem>
std::error_code database_files<FileSystem>::check_guard() const noexcept {
  std::byte found{};
  const auto got = data_->read(database_layout::guard_offset, {&found, 1});
  if (!got) {
    return got.error();
  }
  const bool ours = *got == 1 && (found == database_layout::guard || found == true_byte_.load());
  return ours ? std::error_code{} : make_error_code(errc::corrupt);
}

template <file_system FileSystem>
std::error_code database_files<FileSystem>::write_run(std::span<const page_view> run,
                                                      std::uint32_t page_size,
                                                      std::vector<bytes_view>& parts,
                                                      bytes& hashes) {
  const bool begins_with_first = run.front().number.value == 1;
  parts.clear();
  hashes.clear();
  if (begins_with_first) {
    parts.push_back(run.front().image.first(database_layout::guard_offset));
    parts.emplace_back(&database_layout::guard, 1);
    parts.push_back(run.front().image.subspan(database_layout::guard_offset + 1));
    wire_writer(hashes).u64(head_with(run.front().image[database_layout::guard_offset]));
  }
  for (const page_view& page : run) {
    if (page.number.value != 1) {
      parts.push_back(page.image);
    }
    wire_writer(hashes).u64(page.hash);
  }
  extent_ = std::max<std::uint64_t>(extent_, run.back().number.value);
  if (const auto error =
          data_->write(database_layout::offset_of(run.front().number, page_size), parts)) {
    return error;
  }
  if (begins_with_first) {
    true_byte_.store(run.front().image[database_layout::guard_offset], std::memory_order_release);
  }
  return {};
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
