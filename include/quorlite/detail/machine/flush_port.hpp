/// @file
/// From the plain parts to the machine, which knows the storage.
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

  /// Finds the base in the storage. Once, before the engine starts. Blocks.
  /// @returns errc::corrupt (health() says where), errc::malformed (another cluster's), storage
  ///   errors: do not start
  [[nodiscard]] virtual std::error_code load() = 0;

  /// The storage's time is over: nothing of it is touched from now on. Waits for calls that run.
  virtual void leave_storage() noexcept = 0;

 protected:
  flush_port() = default;
  ~flush_port() = default;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
