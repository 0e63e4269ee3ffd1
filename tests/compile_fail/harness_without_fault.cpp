// A harness that declares a fault must be able to make it.
// expected-error: partition_has_its_members
#include <cstddef>

#include "quorlite/adapter_kit.hpp"
#include "quorlite/testing/consensus_conformance.hpp"

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
};

struct harness {
  using adapter_type = adapter;
  static constexpr quorlite::testing::harness_faults faults{.partition = true};
  std::size_t size() const;
  adapter& node(std::size_t server);
  std::error_code start(std::size_t server, quorlite::state_machine& machine);
  void pump();
  template <class Condition>
  bool run_until(Condition condition);
#ifdef QUORLITE_WITHOUT_THE_FAULT
  void isolate(std::size_t server);
  void heal();
#endif
};

template <quorlite::testing::consensus_harness H>
void use(H& harness);

void try_it(harness& mine) { use(mine); }
