// An optional member that may throw is none, and its limit would be ignored in silence.
// expected-error: largest_transaction_fits
#include "quorlite/adapter_kit.hpp"
#include "quorlite/consensus.hpp"

struct adapter {
  static constexpr quorlite::consensus_abilities abilities{};
  using signal_type = quorlite::thread_signal;
  std::error_code start(quorlite::state_machine& machine) noexcept;
  void stop() noexcept;
  void propose(quorlite::term expected, quorlite::proposal_token token,
               quorlite::bytes_view entry) noexcept;
  std::size_t max_entry_bytes() const noexcept;
  bool wait(quorlite::thread_signal& signal, quorlite::milliseconds limit) noexcept;
  void withdraw() noexcept;
#ifndef QUORLITE_WITHOUT_THE_FAULT
  quorlite::transaction_limit largest_transaction() const;
#else
  quorlite::transaction_limit largest_transaction() const noexcept;
#endif
};

template <quorlite::consensus C>
void use(C& adapter);

void try_it(adapter& mine) { use(mine); }
