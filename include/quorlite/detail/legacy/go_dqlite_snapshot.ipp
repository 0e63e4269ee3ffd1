/// @file
/// Bodies of go_dqlite_snapshot.hpp.
#pragma once

#include "quorlite/detail/legacy/go_dqlite_snapshot.hpp"

#include <cstddef>
#include <cstdint>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {
namespace go_dqlite {

QUORLITE_DECL std::error_code record_parser::finish() noexcept {
  if (!error_ && (part_ != part::database_size || integer_bytes_ != 0)) {
    error_ = errc::corrupt;
  }
  return error_;
}

QUORLITE_DECL void append_record(const record_parts& parts, bytes& out) {
  wire_writer writer{out};
  writer.u64(parts.database.size());
  writer.raw(parts.database);
  writer.u64(parts.wal.size());
  writer.raw(parts.wal);
  writer.text(parts.name);
  writer.u8(0);
}

QUORLITE_DECL result<snapshot_layout> snapshot_layout::make(const snapshot_header& header,
                                                            std::uint64_t lock_byte) {
  if (const auto bad = quorlite::detail::validate_snapshot_header(header)) {
    return fail(bad);
  }
  if (!header.staged.empty()) {
    return fail(errc::unsupported);
  }
  if (header.databases.size() > limits::databases_before_history) {
    return fail(errc::too_large);  // record_parser would refuse it
  }
  return snapshot_layout{header, lock_byte};
}

QUORLITE_DECL snapshot_layout::snapshot_layout(const snapshot_header& header,
                                               std::uint64_t lock_byte)
    : lock_byte_(lock_byte), parts_(header.databases.size() + 1) {
  append_index(header.at.index, parts_.front().head);
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    part_layout& part = parts_[i];
    part.offset = size_bytes_;
    wire_writer writer{part.head};
    if (i > 0) {
      writer.u64(0);  // no WAL part
      writer.text(header.databases[i - 1].name);
      writer.u8(0);
    }
    if (i < header.databases.size()) {
      part.page_size = header.databases[i].page_size;
      part.page_count = header.databases[i].page_count;
      writer.u64(part.file_bytes());
    }
    size_bytes_ += part.head.size() + part.file_bytes();
  }
}

QUORLITE_DECL std::uint64_t snapshot_layout::page_rest(const part_layout& part,
                                                       std::uint64_t skip) noexcept {
  return part.page_size - (skip - part.head.size()) % part.page_size;
}

}  // namespace go_dqlite
}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
