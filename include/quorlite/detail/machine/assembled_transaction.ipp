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
  if (const std::error_code unfit = judge(whole, databases)) {
    return unfit;
  }
  for (const database_write_set& frames : whole.databases) {
    result<database_write> write =
        prepare_frames(frames, databases.find(frames.name), lock_byte, redo);
    if (!write) {
      what_ = "other bytes than the leader's in '" + std::string(frames.name) + "'";
      return write.error();
    }
    writes_.push_back(std::move(*write));
  }
  return {};
}

/// All databases, before a page of any is built. That one differs goes before that another does not
/// fit: the others' refusal would hide it.
QUORLITE_DECL std::error_code prepared_transaction::judge(const assembled_transaction& whole,
                                                          const registry& databases) {
  std::error_code first;
  for (const database_write_set& frames : whole.databases) {
    const std::shared_ptr<database> target = databases.find(frames.name);
    const bool exists = target != nullptr && target->exists();
    const std::error_code unfit = exists ? check_base(frames, target->store()->committed())
                                         : make_error_code(errc::no_such_database);
    if (unfit == errc::diverged) {
      what_ = "what transaction " + std::to_string(frames.builds_on.term.value) + "." +
              std::to_string(frames.builds_on.sequence) + " made is something else here, in '" +
              std::string(frames.name) + "'";
      return unfit;
    }
    first = first ? first : unfit;
  }
  return first;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
