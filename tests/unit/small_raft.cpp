// The adapter that was written from the how-to alone, over an engine made for the purpose: the laws,
// and replicas on top.
#include "../../docs/examples/small_raft_adapter.hpp"

#include <cstddef>
#include <memory>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/testing/consensus_conformance.hpp"

namespace {

// [harness]
class small_raft_harness : public ql::testing::threaded_harness<small_raft_adapter> {
 public:
  static constexpr ql::testing::harness_faults faults{.partition = true,
                                                      .crash = true,
                                                      .restart = true,
                                                      .compact = true,
                                                      .fail_log_write = true,
                                                      .threads = true};

  explicit small_raft_harness(std::size_t servers)
      : threaded_harness(servers, [this](std::size_t i) { return make(i); },
                         {.quiet = std::chrono::milliseconds(250)}),
        net_(servers),
        disks_(servers) {}
  ~small_raft_harness() { end_all(); }

  void isolate(std::size_t server) { net_.cut(server, true); }
  void heal() {
    for (std::size_t i = 0; i < size(); ++i) {
      net_.cut(i, false);
    }
  }
  void compact(std::size_t server) { node(server).compact(); }
  void fail_log_write(std::size_t server) { node(server).engine().fail_next_write(); }

 private:
  std::unique_ptr<small_raft_adapter> make(std::size_t i) {
    return std::make_unique<small_raft_adapter>(i, net_, disks_[i]);
  }

  small_raft::network net_;
  std::vector<small_raft::disk> disks_;  // survive the adapters
};
// [/harness]

}  // namespace

TEST_CASE("the adapter for the small Raft keeps every law") {
  ql::testing::conformance_report report;
  ql::testing::run_consensus_conformance(
      [](std::size_t servers) { return std::make_unique<small_raft_harness>(servers); }, report);
  INFO(report.text());
  CHECK(report.clean());
  for (const char* law :
       {"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10", "P11", "P12", "A1",
        "A2", "A3", "A4", "A5", "A6", "A7", "L1", "L2", "L3", "L4",  "L5",  "L6",  "S1",
        "S2", "S3", "S4", "S5", "S6", "S7", "W1", "W2", "W3", "W4",  "T1"}) {
    INFO(law);
    CHECK(report.passed(law));
  }
}
