/// @file
/// From whoever is about to make pages dirty to the machine that can flush them.
#pragma once

#include <system_error>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

class flush_port {
 public:
  flush_port(const flush_port&) = delete;
  flush_port& operator=(const flush_port&) = delete;

  /// Flushes, if so much is dirty that more would not fit into the memory. Blocks on the storage;
  /// any thread but the strand, with no lock held. @returns as state_machine::flush()
  [[nodiscard]] virtual std::error_code flush_if_crowded() noexcept = 0;

 protected:
  flush_port() = default;
  ~flush_port() = default;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
