/// @file
/// Where to begin a consensus adapter: every part that is required, over an engine that is to be
/// replaced, and the laws over it. docs/how-to/consensus_adapter.md goes on from here.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

#include "engine_of_one.hpp"
#include "quorlite/adapter_kit.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/testing/consensus_conformance.hpp"

namespace ql = quorlite;

// [adapter]
class my_adapter final : private engine_of_one::listener {
 public:
  static constexpr ql::consensus_abilities abilities{.entry_terms = true, .contiguous = true};
  using signal_type = ql::thread_signal;

  ~my_adapter() { stop(); }

  std::error_code start(ql::state_machine& machine) noexcept {
    pending_.open(machine);
    strand_.open(machine, "the address that clients know");
    const std::uint64_t kept = machine.durable().index.value;
    if (!strand_.halted()) {           // or it halted as it was asked: no vote may go out
      engine_.start(*this, kept + 1);  // what is above is replayed
    }
    if (strand_.halted()) {
      engine_.retire();  // it was told while it began, and has forgotten that
    }
    return {};  // on an error of the engine: close both again, and return it
  }

  void stop() noexcept {
    engine_.stop();    // its threads have ended: nothing calls us any more
    strand_.close();   // tells the loss, if we led
    pending_.close();  // answers what is left: unknown, stopped
  }

  void propose(ql::term expected, ql::proposal_token token, ql::bytes_view entry) noexcept {
    if (!pending_.add(token)) {
      return;
    }
    ql::settle_reason refusal = strand_.refusal(expected);
    if (entry.size() > max_entry_bytes()) {
      refusal = ql::settle_reason::too_large;
    }
    if (refusal == ql::settle_reason::none) {
      if (const auto at = engine_.append(expected.value, text_of(entry))) {
        pending_.place(token, position_of(*at));
        return;
      }
      refusal = ql::settle_reason::stale_term;  // leadership ended in between
    }
    pending_.settle(token, ql::outcome::not_applied, refusal);
  }

  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return std::size_t{1} << 20U; }

  bool wait(signal_type& signal, ql::milliseconds limit) noexcept { return signal.wait(limit); }

  void withdraw() noexcept {  // the machine has halted; from any thread, and from inside its calls
    strand_.withdraw();
    engine_.retire();  // hand over first, if others can lead, and then be silent
  }

 private:
  // What the engine calls.

  void on_leader(std::uint64_t term) override { strand_.elected(ql::term{term}); }

  void on_deposed() override {
    strand_.deposed();
    pending_.lose();
  }

  void on_commit(engine_of_one::place at, const std::string& text, bool is_no_op) override {
    const ql::log_position position = position_of(at);
    const auto* const first = reinterpret_cast<const std::byte*>(text.data());
    const ql::apply_result result =
        is_no_op ? strand_.skip(position) : strand_.apply({position, {first, text.size()}});
    if (result != ql::apply_result::halted) {
      pending_.commit(position);
    } else {
      engine_.retire();  // this server is done
    }
  }

  static ql::log_position position_of(engine_of_one::place at) {
    return {ql::log_index{at.index}, ql::term{at.term}};
  }
  static std::string text_of(ql::bytes_view entry) {
    return {reinterpret_cast<const char*>(entry.data()), entry.size()};
  }

  engine_of_one engine_;
  ql::gated_strand strand_;
  ql::pending_proposals pending_;
};

static_assert(ql::consensus<my_adapter>);
// [/adapter]

// [harness]
struct my_harness : ql::testing::threaded_harness<my_adapter> {
  static constexpr ql::testing::harness_faults faults{.threads = true};

  explicit my_harness(std::size_t /*servers*/)  // this engine knows no cluster larger than one
      : threaded_harness(1, [](std::size_t) { return std::make_unique<my_adapter>(); }) {}
};

// Says what was found as it is found: of a run that crashed or hangs it is all that there is.
struct spoken_report final : ql::testing::conformance_report {
  void found(const ql::testing::law_finding& finding) override {
    static constexpr const char* results[] = {"skipped", "passed", "FAILED"};
    const char* const result = results[static_cast<int>(finding.result)];
    std::fprintf(stderr, "%s %s\n", finding.law.c_str(), result);
  }
};

int main() {
  spoken_report report;
  ql::testing::run_consensus_conformance(
      [](std::size_t servers) { return std::make_unique<my_harness>(servers); }, report);
  std::puts(report.text().c_str());
  return report.clean() ? 0 : 1;
}
// [/harness]
