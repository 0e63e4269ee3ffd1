// The consensus suite on the adapters of the examples, the benchmarks and the stress tests: each
// runs one server here, for that is all that the first two know.
#define main custom_consensus_main
#include "../../docs/examples/custom_consensus.cpp"
#undef main

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <system_error>
#include <thread>

#include "../../benchmarks/immediate_consensus.hpp"
#include "catch2_shim.hpp"
#include "quorlite/testing/consensus_conformance.hpp"
#include "support/threaded_cluster.hpp"

namespace {

/// A folder of its own for each cluster, which is one server: this engine knows no other size.
class log_file_harness {
 public:
  using adapter_type = log_file;
  static constexpr quorlite::testing::harness_faults faults{.restart = true};

  explicit log_file_harness(std::size_t) {
    char folder[] = "/tmp/quorlite-log-XXXXXX";
    REQUIRE(mkdtemp(folder) != nullptr);
    folder_ = folder;
    open();
  }
  log_file_harness(const log_file_harness&) = delete;
  log_file_harness& operator=(const log_file_harness&) = delete;
  ~log_file_harness() {
    log_.reset();
    static_cast<void>(::unlink((folder_ + "/app.log").c_str()));
    static_cast<void>(::rmdir(folder_.c_str()));
  }

  [[nodiscard]] std::size_t size() const noexcept { return 1; }
  [[nodiscard]] log_file& node(std::size_t) noexcept { return *log_; }
  std::error_code start(std::size_t, quorlite::state_machine& machine) {
    return log_->start(machine);
  }
  std::error_code restart(std::size_t, quorlite::state_machine& machine) {
    open();
    return log_->start(machine);
  }
  void pump() {}  // whatever is proposed is applied before propose() returns
  template <class Condition>
  bool run_until(Condition condition) {
    return condition();
  }

 private:
  void open() {
    log_.reset();
    log_ = std::make_unique<log_file>(folder_ + "/app.log");
  }

  std::string folder_;
  std::unique_ptr<log_file> log_;
};

/// Everything happens inside propose().
class immediate_harness {
 public:
  using adapter_type = bench::immediate_consensus;
  static constexpr quorlite::testing::harness_faults faults{};

  explicit immediate_harness(std::size_t) {}
  [[nodiscard]] std::size_t size() const noexcept { return 1; }
  [[nodiscard]] adapter_type& node(std::size_t) noexcept { return node_; }
  std::error_code start(std::size_t, quorlite::state_machine& machine) {
    return node_.start(machine);
  }
  void pump() {}
  template <class Condition>
  bool run_until(Condition condition) {
    return condition();
  }

 private:
  adapter_type node_;
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
  for (const char* law : {"P1", "P4", "P6", "P8", "P9", "A1", "A3", "L2", "L3", "W1", "W2"}) {
    INFO(law);
    CHECK(report.passed(law));
  }
}

}  // namespace

TEST_CASE("the example's log file keeps every law that a server alone can keep") {
  check_laws_of_one_server<log_file_harness>();
}

TEST_CASE("the benchmarks' consensus keeps every law that a server alone can keep") {
  check_laws_of_one_server<immediate_harness>();
}

TEST_CASE("the stress tests' log thread keeps every law that a server alone can keep") {
  check_laws_of_one_server<threaded_harness>();
}
