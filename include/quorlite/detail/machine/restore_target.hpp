/// @file
/// Where a snapshot puts what it brings: a place beside the present state, whatever the storage is.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/pages/database_state.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

class page_store;

/// One restore on its way in. One thread at a time; every call may block on the storage. Destroyed:
/// abandoned, without a trace. After an error it is of no use.
class restore_target {
 public:
  restore_target() = default;
  restore_target(const restore_target&) = delete;
  restore_target& operator=(const restore_target&) = delete;
  virtual ~restore_target() = default;

  /// Begins the next database. @pre names ascend, or differ at least
  /// @returns a store that stands at `at`, its pages to come; errors of the storage
  [[nodiscard]] virtual result<std::shared_ptr<page_store>> begin(std::string_view name,
                                                                  const database_state& at) = 0;
  /// A page of the database that was begun last. Copies it.
  /// @pre pages ascend; `hash` is the page's @returns errors of the storage
  [[nodiscard]] virtual std::error_code put(page_number number, std::uint64_t hash,
                                            bytes_view image) = 0;
  /// All pages of all databases were put. @returns errors of the storage
  [[nodiscard]] virtual std::error_code finish() = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
