// A declared ability must exist: the compiler names the part of the concept that is missing.
// expected-error: reads_behind_a_barrier
#include "quorlite/adapter_kit.hpp"
#include "quorlite/consensus.hpp"

struct adapter {
  static constexpr quorlite::consensus_abilities abilities{.read_barrier = true};
  using signal_type = quorlite::thread_signal;
  std::error_code start(quorlite::state_machine& machine) noexcept;
  void stop() noexcept;
  void propose(quorlite::term expected, quorlite::proposal_token token,
               quorlite::bytes_view entry) noexcept;
  std::size_t max_entry_bytes() const noexcept;
  bool wait(quorlite::thread_signal& signal, quorlite::milliseconds limit) noexcept;
  void withdraw() noexcept;
#ifdef QUORLITE_WITHOUT_THE_FAULT
  void read_barrier(quorlite::proposal_token token) noexcept;
#endif
};

template <quorlite::consensus C>
void use(C& adapter);

void try_it(adapter& mine) { use(mine); }
