// An adapter with exactly the members that the consensus concept requires: declared, never defined.
// Whatever else a template does with its adapter fails to compile on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>

#include "quorlite/consensus.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

class signal_archetype {
 public:
  signal_archetype();
  signal_archetype(const signal_archetype&) = delete;
  signal_archetype& operator=(const signal_archetype&) = delete;
  ~signal_archetype();
  void operator&() = delete;
  template <class T>
  void operator,(T&&) = delete;

  void raise() noexcept;
};

// Nothing optional is declared, and nothing optional is there.
class consensus_archetype {
 public:
  static constexpr consensus_abilities abilities{};
  using signal_type = signal_archetype;

  consensus_archetype() = delete;
  consensus_archetype(const consensus_archetype&) = delete;
  consensus_archetype& operator=(const consensus_archetype&) = delete;
  void operator&() = delete;
  template <class T>
  void operator,(T&&) = delete;

  std::error_code start(state_machine& machine) noexcept;
  void stop() noexcept;
  void propose(term expected, proposal_token token, bytes_view entry) noexcept;
  std::size_t max_entry_bytes() const noexcept;
  bool wait(signal_archetype& signal, milliseconds limit) noexcept;
  void withdraw() noexcept;
};

// Everything optional is declared, and there.
class able_consensus_archetype {
 public:
  static constexpr consensus_abilities abilities{.entry_terms = true,
                                                 .contiguous = true,
                                                 .read_barrier = true,
                                                 .leadership_transfer = true,
                                                 .background_work = true,
                                                 .now = true,
                                                 .random = true};
  using signal_type = signal_archetype;

  able_consensus_archetype() = delete;
  able_consensus_archetype(const able_consensus_archetype&) = delete;
  able_consensus_archetype& operator=(const able_consensus_archetype&) = delete;
  void operator&() = delete;
  template <class T>
  void operator,(T&&) = delete;

  std::error_code start(state_machine& machine) noexcept;
  void stop() noexcept;
  void propose(term expected, proposal_token token, bytes_view entry) noexcept;
  std::size_t max_entry_bytes() const noexcept;
  bool wait(signal_archetype& signal, milliseconds limit) noexcept;
  void withdraw() noexcept;
  void read_barrier(proposal_token token) noexcept;
  void transfer_leadership() noexcept;
  void run(background_task& task) noexcept;
  clock_reading now() noexcept;
  std::uint64_t random() noexcept;
};

// A clock without random numbers, and the reverse.
class clock_archetype : public consensus_archetype {
 public:
  static constexpr consensus_abilities abilities{.now = true};
  clock_reading now() noexcept;
};
class random_archetype : public consensus_archetype {
 public:
  static constexpr consensus_abilities abilities{.random = true};
  std::uint64_t random() noexcept;
};

}  // namespace quorlite::tests
