/// @file
/// Records of the double-write file to bytes and back.
#pragma once

#include "quorlite/detail/file_storage/double_write.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/core/xxh3.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL bytes double_write_record::encode_head(double_write_kind kind, std::string_view name,
                                                     std::span<const page_view> pages,
                                                     std::uint32_t page_size) {
  bytes head;
  head.reserve(fixed_bytes + name.size() + pages.size() * page_bytes);
  wire_writer write(head);
  write.u16(static_cast<std::uint16_t>(name.size()));
  write.u16(static_cast<std::uint16_t>(kind));
  write.u32(page_size);
  write.u32(static_cast<std::uint32_t>(pages.size()));
  write.u32(std::uint32_t{0});
  write.text(name);
  for (const page_view& page : pages) {
    write.u32(page.number.value);
    write.u64(page.hash);
  }
  return head;
}

QUORLITE_DECL void double_write_record::add_to(double_write_extent& seen,
                                               bytes_view part) noexcept {
  seen.checksum = XXH3_64bits_withSeed(part.data(), part.size(), seen.checksum);
  seen.length += part.size();
}

QUORLITE_DECL double_write_kind double_write_record::kind() const noexcept {
  return static_cast<double_write_kind>(load_little_endian<std::uint16_t>(&record_[2]));
}
QUORLITE_DECL std::uint32_t double_write_record::page_size() const noexcept {
  return load_little_endian<std::uint32_t>(&record_[4]);
}
QUORLITE_DECL std::uint32_t double_write_record::count() const noexcept {
  return load_little_endian<std::uint32_t>(&record_[8]);
}
QUORLITE_DECL std::uint64_t double_write_record::length() const noexcept {
  const bool is_possible = is_page_size(page_size()) && count() != 0;
  return is_possible ? head_bytes() + std::uint64_t{count()} * page_size() : 0;
}
QUORLITE_DECL std::uint64_t double_write_record::head_bytes() const noexcept {
  return fixed_bytes + load_little_endian<std::uint16_t>(record_.data()) +
         std::uint64_t{count()} * page_bytes;
}
QUORLITE_DECL std::string_view double_write_record::name() const noexcept {
  return {reinterpret_cast<const char*>(record_.data()) + fixed_bytes,
          load_little_endian<std::uint16_t>(record_.data())};
}

QUORLITE_DECL result<std::vector<page_view>> double_write_record::decode(
    double_write_extent& seen) const {
  const auto head = static_cast<std::size_t>(head_bytes());
  add_to(seen, record_.first(head));
  wire_reader fields(record_.first(head));
  static_cast<void>(fields.take(fixed_bytes + name().size()));
  std::vector<page_view> pages(count());
  bytes_view images = record_.subspan(head);
  std::uint32_t last = 0;
  for (page_view& page : pages) {
    page.number = page_number{fields.u32()};
    page.hash = fields.u64();
    page.image = images.first(page_size());
    images = images.subspan(page_size());
    add_to(seen, page.image);
    if (page.number.value <= last) {
      return fail(errc::corrupt);
    }
    last = page.number.value;
  }
  const bool is_known = kind() == double_write_kind::pages ||
                        (kind() == double_write_kind::hashes && page_size() == double_write_block);
  if (!is_database_name(name()) || !is_known ||
      load_little_endian<std::uint32_t>(&record_[12]) != 0) {
    return fail(errc::corrupt);
  }
  return pages;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
