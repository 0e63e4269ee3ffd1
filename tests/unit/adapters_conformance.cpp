// The consensus suite on the adapters of the examples, the benchmarks and the stress tests: each
// runs one server here, for that is all that the first two know.
#define main custom_consensus_main
#include "../../docs/examples/custom_consensus.cpp"
#undef main

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "../../benchmarks/immediate_consensus.hpp"
#include "catch2_shim.hpp"
#include "quorlite/testing/consensus_conformance.hpp"
#include "support/heard_machine.hpp"
#include "support/temporary_directory.hpp"
#include "support/threaded_cluster.hpp"

namespace adapters_conformance_test {
namespace {

/// A folder of its own for each cluster, which is one server: this engine knows no other size.
/// Whatever is proposed is applied before propose() returns, so there is nothing to wait for.
class log_file_harness : public quorlite::testing::threaded_harness<log_file> {
 public:
  static constexpr quorlite::testing::harness_faults faults{.restart = true, .threads = true};

  explicit log_file_harness(std::size_t)
      : threaded_harness(
            1, [this](std::size_t) { return std::make_unique<log_file>(folder_ / "app.log"); },
            {.quiet = std::chrono::milliseconds(0)}) {}
  ~log_file_harness() { end_all(); }

 private:
  quorlite::tests::temporary_directory folder_;
};

/// Everything happens inside propose(), on one thread.
class immediate_harness : public quorlite::testing::threaded_harness<bench::immediate_consensus> {
 public:
  static constexpr quorlite::testing::harness_faults faults{};

  explicit immediate_harness(std::size_t)
      : threaded_harness(1,
                         [](std::size_t) { return std::make_unique<bench::immediate_consensus>(); },
                         {.quiet = std::chrono::milliseconds(0)}) {}
};

/// A log thread of its own, running from the start.
class threaded_harness {
 public:
  using adapter_type = quorlite::tests::threaded_consensus;
  static constexpr quorlite::testing::harness_faults faults{.threads = true};

  explicit threaded_harness(std::size_t) : cluster_({.replicas = 1, .early_per_1000 = 0}) {}
  [[nodiscard]] std::size_t size() const noexcept { return 1; }
  [[nodiscard]] adapter_type& node(std::size_t) noexcept { return cluster_.adapter(0); }
  std::error_code start(std::size_t, quorlite::state_machine& machine) {
    const std::error_code error = cluster_.adapter(0).start(machine);
    cluster_.run();
    return error;
  }
  void pump() { std::this_thread::sleep_for(std::chrono::milliseconds(20)); }
  template <class Condition>
  bool run_until(Condition condition) {
    for (int tries = 0; tries < 20'000 && !condition(); ++tries) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return condition();
  }

 private:
  quorlite::tests::threaded_cluster cluster_;
};

template <class Harness>
void check_laws_of_one_server() {
  quorlite::testing::conformance_report report;
  quorlite::testing::run_consensus_conformance(
      [](std::size_t servers) { return std::make_unique<Harness>(servers); }, report);
  INFO(report.text());
  CHECK(report.clean());
  for (const char* law :
       {"P1", "P4", "P6", "P8", "P9", "A1", "A3", "L2", "L3", "L7", "L8", "L10", "W1", "W2"}) {
    INFO(law);
    CHECK(report.passed(law));
  }
}

}  // namespace

TEST_CASE("the example's log file keeps every law that a server alone can keep") {
  check_laws_of_one_server<log_file_harness>();
}

TEST_CASE("the example's log file is started again after a stop, and brings back its entries") {
  quorlite::tests::temporary_directory folder;
  quorlite::tests::heard_machine first;
  log_file log(folder / "app.log");
  REQUIRE(!log.start(first));
  log.propose(quorlite::term{1}, quorlite::proposal_token{7}, {});
  log.stop();
  log.propose(quorlite::term{1}, quorlite::proposal_token{8}, {});
  CHECK(first.heard() == std::vector<std::string>{"skip 1", "gain 1 [here]", "apply 2",
                                                  "7 committed 0", "loss 1 []", "8 not_applied 8"});
  quorlite::tests::heard_machine second;
  REQUIRE(!log.start(second));
  CHECK(second.heard() == std::vector<std::string>{"skip 1", "apply 2", "skip 3", "gain 2 [here]"});
  log.stop();
}

TEST_CASE("the benchmarks' consensus keeps every law that a server alone can keep") {
  check_laws_of_one_server<immediate_harness>();
}

TEST_CASE("the stress tests' log thread keeps every law that a server alone can keep") {
  check_laws_of_one_server<threaded_harness>();
}

}  // namespace adapters_conformance_test
