// One server of the test Raft without the others: a test says what it receives, and when.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::tests {

// A node without a simulation: what it sends is kept, what it wants to be woken for is forgotten.
class lone_environment final : public testing::detail::node_environment {
 public:
  std::uint64_t now_us() const noexcept override { return now; }
  void send(testing::detail::message what) override { sent.push_back(std::move(what)); }
  void wake_at(server_id /*whom*/, testing::detail::wake_kind kind, std::uint64_t at_us,
               std::uint64_t stamp) override {
    if (kind == testing::detail::wake_kind::timer) {
      timer = {at_us, stamp};
    } else if (kind == testing::detail::wake_kind::outbox) {
      outbox = stamp;
    } else if (kind == testing::detail::wake_kind::disk) {
      synced = stamp;
    } else if (kind == testing::detail::wake_kind::snapshot) {
      snapshot = stamp;
    }
  }
  bool is_any_armed() const noexcept override { return false; }
  bool is_armed(testing::commit_phase /*what*/, std::uint64_t /*ordinal*/) const noexcept override {
    return false;
  }
  testing::leadership_loss depose(server_id /*whom*/, testing::commit_phase /*what*/,
                                  std::uint64_t /*ordinal*/, log_index /*at*/) override {
    return testing::leadership_loss::step_down;
  }
  void retired(server_id /*whom*/) override {}
  bool is_traced() const noexcept override { return false; }
  void trace_line(server_id /*whom*/, const char* /*text*/) override {}

  void fire_timer(testing::detail::raft_node& node) {
    const auto [at_us, stamp] = timer;
    now = std::max(now, at_us);
    node.wake(testing::detail::wake_kind::timer, stamp);
  }

  std::uint64_t now = 1;
  std::vector<testing::detail::message> sent;
  std::pair<std::uint64_t, std::uint64_t> timer;
  std::uint64_t outbox = 0;
  std::uint64_t synced = 0;
  std::uint64_t snapshot = 0;
};

}  // namespace quorlite::tests
