/// @file
/// Bodies of assembled_transaction.hpp.
#pragma once

#include <memory>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/machine/assembled_transaction.hpp"
#include "quorlite/detail/machine/database_write.hpp"
#include "quorlite/detail/machine/prepare_frames.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL assembled_transaction::assembled_transaction() = default;
QUORLITE_DECL assembled_transaction::assembled_transaction(assembled_transaction&& other) noexcept =
    default;
QUORLITE_DECL assembled_transaction& assembled_transaction::operator=(
    assembled_transaction&& other) noexcept = default;
QUORLITE_DECL assembled_transaction::~assembled_transaction() = default;

QUORLITE_DECL prepared_transaction::prepared_transaction() = default;
QUORLITE_DECL prepared_transaction::~prepared_transaction() = default;

QUORLITE_DECL std::error_code prepared_transaction::prepare(const assembled_transaction& whole,
                                                            const registry& databases,
                                                            std::uint64_t lock_byte, bool redo) {
  for (const database_write_set& frames : whole.databases) {
    std::shared_ptr<database> target = databases.find(frames.name);
    result<database_write> write = fail(errc::no_such_database);
    if (target != nullptr && target->exists()) {
      write = prepare_frames(frames, std::move(target), lock_byte, redo);
    }
    if (!write) {
      where_ = frames.name;
      return write.error();
    }
    writes_.push_back(std::move(*write));
  }
  return {};
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
