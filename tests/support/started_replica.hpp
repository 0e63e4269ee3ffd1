// A replica that a test makes in place, and what lies below it.
#pragma once

#include <system_error>
#include <utility>

#include "quorlite/detail/replica/replica_access.hpp"
#include "quorlite/replica.hpp"

namespace quorlite::tests {

// Empty if it does not start; status() says why then.
template <class Consensus, class Storage>
class started_replica : public replica {
 public:
  started_replica(Consensus& engine, Storage& storage, const replica_options& options = {}) {
    result<replica> started = replica::start(engine, storage, options);
    if (started) {
      static_cast<replica&>(*this) = std::move(*started);
    } else {
      status_ = started.error();
    }
  }

  [[nodiscard]] std::error_code status() const noexcept { return status_; }
  // Once it was started.
  [[nodiscard]] fsm<Consensus, Storage>& machine() noexcept {
    return detail::replica_access::machine<Consensus, Storage>(*this);
  }
  [[nodiscard]] machine_counters counters() const { return metrics().machine; }

 private:
  std::error_code status_;
};

}  // namespace quorlite::tests
