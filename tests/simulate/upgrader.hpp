// The operator of a cluster that is older than histories: it begins one in the middle of writes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>

#include "clients.hpp"

namespace simulate {

class upgrader {
 public:
  explicit upgrader(shared& all) : all_(all), dice_(random{all.options().seed}.fork(0x09AD)) {}

  void operator()() {
    all_.sleep(dice_.between(1, 4000));
    while (all_.transactions_left > 0 && !is_upgraded()) {
      all_.sleep(100);
    }
  }

 private:
  [[nodiscard]] bool is_upgraded() {
    const std::optional<server_id> leader = all_.cluster.leader();
    const std::shared_ptr<process> here = leader ? all_.cluster.running(*leader) : nullptr;
    if (here == nullptr) {
      return false;
    }
    all_.causes.upgraded(*leader, here->replica().leader().term);
    const std::error_code error = here->replica().upgrade();
    require(!error || fate_of(error) == fate::refused ||
                error == quorlite::failure::outcome_unknown || error == quorlite::failure::fatal,
            "typed errors", "upgrade() says " + error.message());
    return !error;
  }

  shared& all_;
  random dice_;
};

}  // namespace simulate
