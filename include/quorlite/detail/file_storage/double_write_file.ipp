/// @file
/// How the double-write file is read and written. Templates, so always included.
#pragma once

#include "quorlite/detail/file_storage/double_write.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/file_storage/data_directory.hpp"
#include "quorlite/error.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

template <file_system FileSystem>
std::error_code double_write_file<FileSystem>::open() {
  if (!file_) {
    auto opened = directory_.open(place_names::double_write, open_mode::or_create);
    if (!opened) {
      return health_.after(opened.error(), place_names::double_write);
    }
    if (const auto error = health_.after_sync(directory_.sync(place_names::own))) {
      return error;
    }
    file_ = std::move(*opened);
  }
  restart();
  return {};
}

template <file_system FileSystem>
std::error_code double_write_file<FileSystem>::append(double_write_kind kind, std::string_view name,
                                                      std::span<const page_view> sorted,
                                                      std::uint32_t page_size,
                                                      std::size_t batch_pages) {
  std::vector<bytes_view> parts;
  while (!sorted.empty()) {
    const auto batch = sorted.first(std::min(sorted.size(), batch_pages));
    const bytes head = double_write_record::encode_head(kind, name, batch, page_size);
    parts.assign(1, head);
    for (const page_view& page : batch) {
      parts.push_back(page.image);
    }
    if (const auto error = health_.after(file_->write(extent_.length, parts))) {
      return error;
    }
    for (const bytes_view part : parts) {
      double_write_record::add_to(extent_, part);
    }
    sorted = sorted.subspan(batch.size());
  }
  return {};
}

template <file_system FileSystem>
std::error_code double_write_file<FileSystem>::read(std::uint64_t offset,
                                                    bytes_span into) noexcept {
  const auto got = file_->read(offset, into);
  if (!got) {
    return health_.after(got.error(), place_names::double_write);
  }
  return *got == into.size() ? std::error_code{} : make_error_code(errc::corrupt);
}

template <file_system FileSystem>
std::error_code double_write_file<FileSystem>::read_record(std::uint64_t offset, std::uint64_t end,
                                                           bytes& record) {
  if (end - offset < double_write_record::fixed_bytes) {
    return make_error_code(errc::corrupt);
  }
  const auto file_bytes = file_->size();
  if (!file_bytes) {
    return health_.after(file_bytes.error(), place_names::double_write);
  }
  record.resize(double_write_record::fixed_bytes);
  if (const auto error = read(offset, record)) {
    return error;
  }
  const std::uint64_t length = double_write_record(record).length();
  if (length == 0 || end > *file_bytes || length > end - offset) {
    return make_error_code(errc::corrupt);
  }
  record.resize(static_cast<std::size_t>(length));
  return read(offset, record);
}

template <file_system FileSystem>
template <class Visitor>
std::error_code double_write_file<FileSystem>::visit(const double_write_extent& extent,
                                                     Visitor visit) {
  double_write_extent seen;
  while (seen.length < extent.length) {
    bytes raw;
    if (const auto error = read_record(seen.length, extent.length, raw)) {
      return error;
    }
    const double_write_record record(raw);
    const auto pages = record.decode(seen);
    if (!pages) {
      return pages.error();
    }
    const std::error_code error =
        visit(record.kind(), record.name(), record.page_size(), std::span<const page_view>(*pages));
    if (error) {
      return error;
    }
  }
  return seen == extent ? std::error_code{} : make_error_code(errc::corrupt);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
