/// @file
/// An entry of the native format, taken apart.
#pragma once

#include <cstdint>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// A command, or why the entry holds none. Views point into the entry.
class QUORLITE_API decoded_entry {
 public:
  /// @param entry borrowed for as long as this lives
  decoded_entry(bytes_view entry, std::uint64_t lock_byte);
  decoded_entry(const decoded_entry&) = delete;
  decoded_entry& operator=(const decoded_entry&) = delete;
  ~decoded_entry();

  /// Errors of native::decode(); errc::needs_upgrade for format 2 as well, until it is applied.
  [[nodiscard]] std::error_code error() const noexcept;
  /// @pre no error
  [[nodiscard]] const command& what() const noexcept { return *decoded_; }
  /// What changes pages; nullptr: another kind of command, or none.
  [[nodiscard]] const write_set_command* frames() const noexcept;

 private:
  const result<command> decoded_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/decoded_entry.ipp"  // IWYU pragma: keep
#endif
