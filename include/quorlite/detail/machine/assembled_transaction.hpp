/// @file
/// A whole transaction: put together from its entries, and prepared for its install.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/command.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

struct database_write;
class registry;

/// All frames of one transaction that is being committed. The views point into the last entry and
/// into `parts`.
struct QUORLITE_API assembled_transaction {
  assembled_transaction();
  assembled_transaction(assembled_transaction&& other) noexcept;
  assembled_transaction& operator=(assembled_transaction&& other) noexcept;
  ~assembled_transaction();

  std::vector<database_write_set> databases;        ///< ascending by name, pages ascending
  std::vector<std::shared_ptr<const bytes>> parts;  ///< keeps earlier entries alive
};

/// What a whole transaction commits, in every database that it touches, ready to be installed.
class QUORLITE_API prepared_transaction {
 public:
  prepared_transaction();
  prepared_transaction(const prepared_transaction&) = delete;
  prepared_transaction& operator=(const prepared_transaction&) = delete;
  ~prepared_transaction();

  /// Judges the base of every database, then builds, off every lock.
  /// @returns errors of prepare_frames(), of the bases errc::diverged before any other;
  ///   errc::no_such_database: one of them was never opened, or was dropped
  [[nodiscard]] std::error_code prepare(const assembled_transaction& whole,
                                        const registry& databases, std::uint64_t lock_byte,
                                        bool redo);
  [[nodiscard]] std::vector<database_write>& writes() noexcept { return writes_; }
  /// After errc::diverged: what differs, in words that name the database.
  [[nodiscard]] const std::string& what() const noexcept { return what_; }

 private:
  [[nodiscard]] std::error_code judge(const assembled_transaction& whole,
                                      const registry& databases);

  std::vector<database_write> writes_;
  std::string what_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/assembled_transaction.ipp"  // IWYU pragma: keep
#endif
