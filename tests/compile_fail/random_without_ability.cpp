// Random numbers that no ability declares would never be drawn: the compiler names what is missing.
// expected-error: random_is_declared
#include "quorlite/adapter_kit.hpp"
#include "quorlite/consensus.hpp"

struct adapter {
#ifndef QUORLITE_WITHOUT_THE_FAULT
  static constexpr quorlite::consensus_abilities abilities{};
#else
  static constexpr quorlite::consensus_abilities abilities{.random = true};
#endif
  using signal_type = quorlite::thread_signal;
  std::error_code start(quorlite::state_machine& machine) noexcept;
  void stop() noexcept;
  void propose(quorlite::term expected, quorlite::proposal_token token,
               quorlite::bytes_view entry) noexcept;
  std::size_t max_entry_bytes() const noexcept;
  bool wait(quorlite::thread_signal& signal, quorlite::milliseconds limit) noexcept;
  void withdraw() noexcept;
  std::uint64_t random() noexcept;
};

template <quorlite::consensus C>
void use(C& adapter);

void try_it(adapter& mine) { use(mine); }
