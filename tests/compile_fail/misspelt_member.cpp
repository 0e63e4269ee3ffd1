// A declared ability whose member has another name: the compiler says which ability it is.
// expected-error: leadership_transfer_has_its_member
#include "quorlite/adapter_kit.hpp"
#include "quorlite/consensus.hpp"

struct adapter {
  static constexpr quorlite::consensus_abilities abilities{.leadership_transfer = true};
  using signal_type = quorlite::thread_signal;
  std::error_code start(quorlite::state_machine& machine) noexcept;
  void stop() noexcept;
  void propose(quorlite::term expected, quorlite::proposal_token token,
               quorlite::bytes_view entry) noexcept;
  std::size_t max_entry_bytes() const noexcept;
  bool wait(quorlite::thread_signal& signal, quorlite::milliseconds limit) noexcept;
  void withdraw() noexcept;
#ifndef QUORLITE_WITHOUT_THE_FAULT
  void transfer_leadershp() noexcept;
#else
  void transfer_leadership() noexcept;
#endif
};

template <quorlite::consensus C>
void use(C& adapter);

void try_it(adapter& mine) { use(mine); }
