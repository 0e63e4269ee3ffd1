// C engines call through adapters: a function that may throw is refused.
// expected-error: proposes
#include "quorlite/adapter_kit.hpp"
#include "quorlite/consensus.hpp"

struct adapter {
  static constexpr quorlite::consensus_abilities abilities{};
  using signal_type = quorlite::thread_signal;
  std::error_code start(quorlite::state_machine& machine) noexcept;
  void stop() noexcept;
#ifndef QUORLITE_WITHOUT_THE_FAULT
  void propose(quorlite::term expected, quorlite::proposal_token token, quorlite::bytes_view entry);
#else
  void propose(quorlite::term expected, quorlite::proposal_token token,
               quorlite::bytes_view entry) noexcept;
#endif
  std::size_t max_entry_bytes() const noexcept;
  bool wait(quorlite::thread_signal& signal, quorlite::milliseconds limit) noexcept;
  void withdraw() noexcept;
};

template <quorlite::consensus C>
void use(C& adapter);

void try_it(adapter& mine) { use(mine); }
