/// @file
/// The base of one database, as its page_store sees it: where pages are that are not in memory.
#pragma once

#include <cstdint>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Reads pages of the base. Any thread, several at once. Outlives its store.
class page_source {
 public:
  page_source() = default;
  page_source(const page_source&) = delete;
  page_source& operator=(const page_source&) = delete;
  virtual ~page_source() = default;

  /// Fills `into`, one page, with what the base holds. While that page is being written it may be
  /// torn. Blocks on the storage. @returns errc::storage_broken, errc::storage_full (try again)
  [[nodiscard]] virtual std::error_code read(page_number number,
                                             bytes_span into) const noexcept = 0;

  /// A page of the base cannot be read, or is not what it was when it was written: this replica's
  /// fault. Called on the thread that met it, with no lock held.
  virtual void damaged(page_number number, std::error_code why) const noexcept = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
