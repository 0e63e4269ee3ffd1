/// @file
/// The engine as the plain parts see it: a port, made from any model of the consensus concept.
///
/// What waits for consensus (the proposer, group commit) does not depend on which engine it is, so
/// it is compiled once and calls back through here. The template beside it is all that a new
/// adapter instantiates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The engine's kind of signal, its type forgotten.
class signal_port {
 public:
  signal_port() = default;
  signal_port(const signal_port&) = delete;
  signal_port& operator=(const signal_port&) = delete;
  virtual ~signal_port() = default;
  virtual void raise() noexcept = 0;
};

/// Memory for a signal of usual size, so that making one allocates nothing.
struct signal_place {
  static constexpr std::size_t size = 128;
  alignas(std::max_align_t) std::byte bytes[size];
};

/// start() and stop() by who owns the replica; all else on any thread, several at once, between
/// them.
class consensus_port {
 public:
  consensus_port(const consensus_port&) = delete;
  consensus_port& operator=(const consensus_port&) = delete;

  [[nodiscard]] virtual const consensus_abilities& abilities() const noexcept = 0;
  /// See `runs_a_state_machine`.
  [[nodiscard]] virtual std::error_code start(state_machine& machine) noexcept = 0;
  virtual void stop() noexcept = 0;

  /// A signal, in `place` if it fits there; end it with destroy_signal().
  [[nodiscard]] virtual signal_port* make_signal(signal_place& place) = 0;

  /// See `waits`. @param raised one that make_signal() of this port gave
  virtual bool wait(signal_port& raised, milliseconds limit) noexcept = 0;

  /// See `proposes`.
  virtual void propose(term expected, proposal_token token, bytes_view entry) noexcept = 0;
  [[nodiscard]] virtual std::size_t max_entry_bytes() const noexcept = 0;

  /// The machine has halted: see `withdraws`. Also from inside start(), and after stop().
  virtual void withdraw() noexcept = 0;

  /// Why the engine gave up, if it did and the adapter tells: see `tells_why_it_gave_up`.
  [[nodiscard]] virtual std::error_code engine_error() const noexcept = 0;
  /// See `comes_back`. An engine that does not stays away: errc::unsupported.
  [[nodiscard]] virtual bool comes_back() const noexcept { return false; }
  virtual void leave(std::error_code /*why*/) noexcept {}
  [[nodiscard]] virtual std::error_code come_back() noexcept {
    return make_error_code(errc::unsupported);
  }
  /// See `tells_whom_it_refuses`. May throw std::bad_alloc.
  [[nodiscard]] virtual std::string refused_peers() const = 0;
  /// See `limits_a_transaction`.
  [[nodiscard]] virtual transaction_limit largest_transaction() const noexcept = 0;
  /// See `tells_whether_it_founds`.
  [[nodiscard]] virtual bool founds() const noexcept = 0;

  // ---- abilities: only where they are declared

  virtual void read_barrier(proposal_token token) noexcept = 0;
  virtual void transfer_leadership() noexcept = 0;
  virtual void run(background_task& task) noexcept = 0;
  /// Also before start() and after stop(), as random(): see `tells_the_time`.
  [[nodiscard]] virtual clock_reading now() noexcept = 0;
  [[nodiscard]] virtual std::uint64_t random() noexcept = 0;

 protected:
  consensus_port() = default;
  ~consensus_port() = default;
};

/// A signal of one port: raised once, by any thread; waited for through the port.
class port_signal {
 public:
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): place_ is memory, not a value
  explicit port_signal(consensus_port& port) : signal_(port.make_signal(place_)) {}
  port_signal(const port_signal&) = delete;
  port_signal& operator=(const port_signal&) = delete;
  ~port_signal() {
    if (static_cast<void*>(signal_) == static_cast<void*>(place_.bytes)) {
      signal_->~signal_port();
    } else {
      delete signal_;
    }
  }

  void raise() noexcept { signal_->raise(); }
  [[nodiscard]] bool wait(consensus_port& port, milliseconds limit) noexcept {
    return port.wait(*signal_, limit);
  }

 private:
  signal_place place_;
  signal_port* signal_;
};

/// The port of one engine, which must outlive it.
template <consensus Consensus>
class consensus_port_of final : public consensus_port {
 public:
  explicit consensus_port_of(Consensus& engine) noexcept : engine_(engine) {}
  ~consensus_port_of() = default;

  [[nodiscard]] const consensus_abilities& abilities() const noexcept override {
    return Consensus::abilities;
  }
  [[nodiscard]] std::error_code start(state_machine& machine) noexcept override {
    return engine_.start(machine);
  }
  void stop() noexcept override { engine_.stop(); }
  [[nodiscard]] signal_port* make_signal(signal_place& place) override {
    // NOLINTNEXTLINE(misc-redundant-expression): it compares sizes, and some are just this
    constexpr bool has_room = sizeof(signal) <= signal_place::size;
    if constexpr (has_room && alignof(signal) <= alignof(std::max_align_t)) {
      return ::new (static_cast<void*>(place.bytes)) signal;
    } else {
      return new signal;
    }
  }
  bool wait(signal_port& raised, milliseconds limit) noexcept override {
    return engine_.wait(static_cast<signal&>(raised).own, limit);
  }
  void propose(term expected, proposal_token token, bytes_view entry) noexcept override {
    engine_.propose(expected, token, entry);
  }
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept override {
    return static_cast<const Consensus&>(engine_).max_entry_bytes();
  }
  void withdraw() noexcept override { engine_.withdraw(); }
  [[nodiscard]] bool founds() const noexcept override {
    if constexpr (tells_whether_it_founds<Consensus>) {
      return static_cast<const Consensus&>(engine_).founds();
    } else {
      return false;
    }
  }
  [[nodiscard]] std::error_code engine_error() const noexcept override {
    if constexpr (tells_why_it_gave_up<Consensus>) {
      return static_cast<const Consensus&>(engine_).engine_error();
    } else {
      return {};
    }
  }
  [[nodiscard]] bool comes_back() const noexcept override {
    return quorlite::comes_back<Consensus>;
  }
  void leave([[maybe_unused]] std::error_code why) noexcept override {
    if constexpr (quorlite::comes_back<Consensus>) {
      engine_.leave(why);
    }
  }
  [[nodiscard]] std::error_code come_back() noexcept override {
    if constexpr (quorlite::comes_back<Consensus>) {
      return engine_.come_back();
    } else {
      return make_error_code(errc::unsupported);
    }
  }
  [[nodiscard]] std::string refused_peers() const override {
    if constexpr (tells_whom_it_refuses<Consensus>) {
      return static_cast<const Consensus&>(engine_).refused_peers();
    } else {
      return {};
    }
  }
  [[nodiscard]] transaction_limit largest_transaction() const noexcept override {
    if constexpr (limits_a_transaction<Consensus>) {
      return static_cast<const Consensus&>(engine_).largest_transaction();
    } else {
      return {};
    }
  }
  void read_barrier([[maybe_unused]] proposal_token token) noexcept override {
    if constexpr (Consensus::abilities.read_barrier) {
      engine_.read_barrier(token);
    } else {
      QUORLITE_ASSERT(Consensus::abilities.read_barrier);
    }
  }
  void transfer_leadership() noexcept override {
    if constexpr (Consensus::abilities.leadership_transfer) {
      engine_.transfer_leadership();
    }
  }
  void run([[maybe_unused]] background_task& task) noexcept override {
    if constexpr (Consensus::abilities.background_work) {
      engine_.run(task);
    } else {
      QUORLITE_ASSERT(Consensus::abilities.background_work);
    }
  }
  [[nodiscard]] clock_reading now() noexcept override {
    if constexpr (Consensus::abilities.now) {
      return engine_.now();
    } else {
      QUORLITE_ASSERT(Consensus::abilities.now);
      return {};
    }
  }
  [[nodiscard]] std::uint64_t random() noexcept override {
    if constexpr (Consensus::abilities.random) {
      return engine_.random();
    } else {
      QUORLITE_ASSERT(Consensus::abilities.random);
      return 0;
    }
  }

 private:
  struct signal final : signal_port {
    typename Consensus::signal_type own;
    void raise() noexcept override { own.raise(); }
  };

  Consensus& engine_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
