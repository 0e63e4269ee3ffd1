// The consensus suite on the adapter of docs/examples/custom_consensus.cpp: what a user would do.
#define main custom_consensus_main
#include "../../docs/examples/custom_consensus.cpp"
#undef main

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <system_error>

#include "catch2_shim.hpp"
#include "quorlite/testing/consensus_conformance.hpp"

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

}  // namespace

TEST_CASE("the example's adapter keeps every law that a server alone can keep") {
  quorlite::testing::conformance_report report;
  quorlite::testing::run_consensus_conformance(
      [](std::size_t servers) { return std::make_unique<log_file_harness>(servers); }, report);
  INFO(report.text());
  CHECK(report.clean());
  for (const char* law : {"P1", "P4", "P6", "P8", "P9", "A1", "L2", "L3"}) {
    INFO(law);
    CHECK(report.passed(law));
  }
}
