// Bugs of libraft 0.15, in its messages and with the memory of loaded entries, that the guard in
// detail/libraft/io.hpp keeps from the adapter, on the engine's own fixture. Each test fails if
// its part of the guard is gone.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/testing/consensus_conformance.hpp"
#include "support/libraft_fixture.hpp"

namespace libraft_guard_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::testing::conformance_report;
using quorlite::tests::fixture_simulation;
using scene_type = quorlite::testing::detail::consensus_scene<fixture_simulation>;

/// Steps until another server than `former` is the engine's leader: its first heartbeats have not
/// left it yet.
std::size_t await_engine_leader(fixture_simulation& simulation, std::size_t former) {
  std::size_t found = former;
  REQUIRE(simulation.run_until([&] {
    for (std::size_t i = 0; i < simulation.size(); ++i) {
      if (i != former && raft_state(simulation.engine(i)) == RAFT_LEADER) {
        found = i;
      }
    }
    return found != former;
  }));
  return found;
}

/// The heap of libraft, which counts and may fail.
class counting_heap {
 public:
  explicit counting_heap(int allocations) : left_(allocations) {
    heap_.data = this;
    heap_.malloc = [](void* self, std::size_t size) { return of(self).give(size); };
    heap_.free = [](void* self, void* piece) {
      of(self).held -= piece == nullptr ? 0 : 1;
      std::free(piece);
    };
    raft_heap_set(&heap_);
  }
  counting_heap(const counting_heap&) = delete;
  counting_heap& operator=(const counting_heap&) = delete;
  ~counting_heap() { raft_heap_set_default(); }

  int held = 0;

 private:
  static counting_heap& of(void* self) { return *static_cast<counting_heap*>(self); }
  void* give(std::size_t size) {
    if (left_ == 0) {
      return nullptr;
    }
    --left_;
    ++held;
    return std::malloc(size);
  }

  raft_heap heap_{};
  int left_;
};

}  // namespace

TEST_CASE("a log whose entries are separated stays whole wherever memory ends") {
  // Pieces of three, one and two entries. One entry is empty, and one has memory of its own.
  constexpr std::size_t in_piece[] = {3, 1, 2};
  for (int allowed = 0; allowed <= 7; ++allowed) {
    INFO(allowed << " allocations");
    std::vector<raft_entry> entries;
    counting_heap heap(4 + allowed);
    char letter = 'a';
    for (const std::size_t count : in_piece) {
      auto* const piece = static_cast<char*>(raft_malloc(8 * count));
      for (std::size_t i = 0; i < count; ++i, ++letter) {
        std::memset(piece + 8 * i, letter, 8);
        entries.push_back({1, RAFT_COMMAND, {piece + 8 * i, letter == 'b' ? 0U : 8U}, piece});
      }
    }
    auto* const own = static_cast<char*>(raft_malloc(8));
    std::memset(own, letter, 8);
    entries.push_back({1, RAFT_COMMAND, {own, 8}, nullptr});
    entries.emplace_back();  // the ring has room
    raft_log log{};
    log.entries = entries.data();
    log.size = entries.size();
    log.back = entries.size() - 1;

    CHECK(libraft_separate_entries(log) == (allowed < 6 ? RAFT_NOMEM : 0));
    letter = 'a';
    const void* freed = nullptr;
    for (std::size_t i = 0; i < log.back; ++i, ++letter) {
      const raft_entry& one = entries[i];
      CHECK(one.buf.len == (letter == 'b' ? 0U : 8U));
      const auto* const bytes = static_cast<const char*>(one.buf.base);
      CHECK(std::all_of(bytes, bytes + one.buf.len, [&](char byte) { return byte == letter; }));
      CHECK((allowed < 6 || one.batch == nullptr));
    }
    for (std::size_t i = 0; i < log.back; ++i) {  // as logClose frees them
      const raft_entry& one = entries[i];
      if (one.batch == nullptr) {
        raft_free(one.buf.base);
      } else if (one.batch != freed) {
        freed = one.batch;
        raft_free(one.batch);
      }
    }
    CHECK(heap.held == 0);
  }
}

TEST_CASE("a new leader that cannot send at first still reaches a follower with a newer snapshot") {
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3), report);
  fixture_simulation& simulation = scene.harness();
  const std::size_t former = scene.await_leader();
  const std::size_t next = (former + 1) % 3;
  const std::size_t follower = (former + 2) % 3;
  REQUIRE(scene.write(5));
  simulation.compact(next);
  REQUIRE(scene.write(5));
  simulation.compact(follower);
  REQUIRE(simulation.disk(next).snapshot_index() > 0);
  REQUIRE(simulation.disk(follower).snapshot_index() > simulation.disk(next).snapshot_index());

  scene.crash(former);
  REQUIRE(await_engine_leader(simulation, former) == next);
  const auto from = static_cast<unsigned>(next);
  const auto to = static_cast<unsigned>(follower);
  raft_fixture_disconnect(&simulation.fixture(), from, to);
  simulation.run_for(200);
  raft_fixture_reconnect(&simulation.fixture(), from, to);

  simulation.run_for(3000);
  CHECK(raft_state(simulation.engine(next)) == RAFT_LEADER);
  CHECK(raft_fixture_n_send(&simulation.fixture(), from, RAFT_IO_INSTALL_SNAPSHOT) == 0);
  CHECK(raft_last_index(simulation.engine(follower)) == raft_last_index(simulation.engine(next)));
  REQUIRE(scene.machine(next).leading());  // its barrier is on both

  CHECK(scene.write(2));
  scene.finish({});
  INFO(report.text());
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

TEST_CASE("leftovers of an old leader are no vote for what a new leader has in their place") {
  conformance_report report;
  scene_type scene(std::make_unique<fixture_simulation>(3), report);
  fixture_simulation& simulation = scene.harness();
  const std::size_t former = scene.await_leader();
  REQUIRE(scene.write(3));
  const std::uint64_t common = raft_last_index(simulation.engine(former));
  simulation.isolate(former);
  scene.propose_now(former);
  simulation.step();
  REQUIRE(raft_last_index(simulation.engine(former)) > common);

  // From here on nobody but `former` hears the new leader, and only what it says first.
  const std::size_t next = await_engine_leader(simulation, former);
  REQUIRE(raft_last_index(simulation.engine(next)) == common + 1);  // its barrier, unsent
  const std::uint64_t new_term = simulation.engine(next)->current_term;
  simulation.heal();
  simulation.isolate(3 - former - next);
  REQUIRE(
      simulation.run_until([&] { return simulation.engine(former)->current_term == new_term; }));
  const auto from = static_cast<unsigned>(next);
  const auto to = static_cast<unsigned>(former);
  raft_fixture_saturate(&simulation.fixture(), from, to);
  REQUIRE(raft_state(simulation.engine(next)) == RAFT_LEADER);
  simulation.run_for(300);

  CHECK(raft_state(simulation.engine(next)) == RAFT_LEADER);
  const raft_log& leftovers = simulation.engine(former)->log;
  REQUIRE(libraft_entry_at(leftovers, common + 1) != nullptr);
  CHECK(libraft_term_at(leftovers, common + 1).value < new_term);
  CHECK(simulation.engine(next)->commit_index == common);
  CHECK_FALSE(scene.machine(next).leading());

  simulation.heal();
  CHECK(scene.write(2));
  scene.finish({});
  INFO(report.text());
  CHECK(report.laws(quorlite::testing::law_result::failed).empty());
}

}  // namespace libraft_guard_test
