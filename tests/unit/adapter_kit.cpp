// The parts that adapters with threads have in common: alone, and with threads against each other.
#include "quorlite/adapter_kit.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "support/heard_machine.hpp"

namespace adapter_kit_test {
namespace {

using namespace quorlite;
using quorlite::tests::heard_machine;
using notes = std::vector<std::string>;

log_position at(std::uint64_t index, std::uint64_t term_number) {
  return {log_index{index}, term{term_number}};
}
log_entry entry(std::uint64_t index, std::uint64_t term_number) {
  return {at(index, term_number), {}};
}

// Settle reasons, as the notes have them.
const std::string none = std::to_string(static_cast<int>(settle_reason::none));
const std::string busy = std::to_string(static_cast<int>(settle_reason::busy));
const std::string lost = std::to_string(static_cast<int>(settle_reason::leadership_lost));
const std::string stopped = std::to_string(static_cast<int>(settle_reason::stopped));
const std::string log_failed = std::to_string(static_cast<int>(settle_reason::log_failed));

struct proposing {
  proposing() { pending.open(machine); }
  ~proposing() { pending.close(); }
  void place(std::uint64_t token, std::uint64_t index, std::uint64_t term_number) {
    REQUIRE(pending.add(proposal_token{token}));
    pending.place(proposal_token{token}, at(index, term_number));
  }
  heard_machine machine;
  pending_proposals pending;
};

struct stranded {
  stranded() { strand.open(machine, "here"); }
  ~stranded() { strand.close(); }
  heard_machine machine;
  gated_strand strand;
};

/// True if the call ends the process by an assertion: tried in a child.
template <class Call>
bool aborts(Call&& call) {
  const ::pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);
    ::close(STDERR_FILENO);
    std::forward<Call>(call)();
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

class counted_task final : public background_task {
 public:
  void run() noexcept override { ++runs; }
  std::atomic<int> runs{0};
};

}  // namespace

// ---- pending proposals

TEST_CASE("a proposal is settled by the first who knows, and by nobody else", "[adapter_kit]") {
  proposing p;
  REQUIRE(p.pending.add(proposal_token{7}));
  CHECK(p.pending.settle(proposal_token{7}, outcome::not_applied, settle_reason::busy));
  CHECK(!p.pending.settle(proposal_token{7}, outcome::committed));
  p.pending.place(proposal_token{7}, at(1, 1));
  p.pending.commit(at(1, 1));
  p.pending.lose();
  CHECK(p.machine.heard() == notes{"7 not_applied " + busy});
  CHECK(p.pending.size() == 0);
}

TEST_CASE("an entry commits what was placed there, and only in its own term", "[adapter_kit]") {
  proposing p;
  p.place(1, 5, 2);
  p.place(2, 6, 2);
  p.pending.commit(at(5, 2));
  CHECK(p.machine.heard() == notes{"1 committed " + none});
  p.pending.commit(at(6, 3));  // another leader's entry is there
  CHECK(p.machine.heard() == notes{"2 not_applied " + lost});
}

TEST_CASE("what an older and a newer leadership placed at one index is told apart",
          "[adapter_kit]") {
  proposing p;
  p.place(1, 5, 2);
  p.place(2, 5, 4);
  p.pending.commit(at(5, 4));
  CHECK(p.machine.heard() == notes{"1 not_applied " + lost, "2 committed " + none});
}

TEST_CASE("a commit that comes before the place is remembered for it", "[adapter_kit]") {
  proposing p;
  for (const std::uint64_t token : {1U, 2U, 3U}) {
    REQUIRE(p.pending.add(proposal_token{token}));
  }
  p.pending.commit(at(8, 2));
  p.pending.commit(at(9, 3));
  CHECK(p.machine.heard().empty());
  p.pending.place(proposal_token{1}, at(8, 2));
  p.pending.place(proposal_token{2}, at(9, 2));
  p.pending.place(proposal_token{3}, at(7, 2));  // nobody said what is there
  CHECK(p.machine.heard() ==
        notes{"1 committed " + none, "2 not_applied " + lost, "3 unknown " + none});
}

TEST_CASE("what a snapshot jumps over, or a commit passes over, is unknown", "[adapter_kit]") {
  proposing p;
  p.place(1, 5, 2);
  p.place(2, 6, 2);
  p.place(3, 9, 2);
  p.pending.jump(log_index{5});
  CHECK(p.machine.heard() == notes{"1 unknown " + none});
  p.pending.commit(at(8, 3));
  CHECK(p.machine.heard() == notes{"2 unknown " + none});
  p.pending.commit(at(8, 3));  // again: nothing is left there
  CHECK(p.machine.heard().empty());
  CHECK(p.pending.size() == 1);
}

TEST_CASE("a settled proposal leaves its place", "[adapter_kit]") {
  proposing p;
  p.place(1, 5, 2);
  p.place(2, 5, 4);
  CHECK(p.pending.settle(proposal_token{1}, outcome::unknown, settle_reason::log_failed));
  p.pending.commit(at(5, 4));
  CHECK(p.machine.heard() == notes{"1 unknown " + log_failed, "2 committed " + none});
}

TEST_CASE("a loss settles all that is pending, with or without a place", "[adapter_kit]") {
  proposing p;
  p.place(1, 5, 2);
  REQUIRE(p.pending.add(proposal_token{2}));
  p.pending.lose();
  notes heard = p.machine.heard();
  std::sort(heard.begin(), heard.end());
  CHECK(heard == notes{"1 unknown " + lost, "2 unknown " + lost});
  p.place(3, 5, 4);  // the next leadership counts from where the log ends then
  p.pending.commit(at(5, 4));
  CHECK(p.machine.heard() == notes{"3 committed " + none});
}

TEST_CASE("after a close proposals are refused, until the next open", "[adapter_kit]") {
  proposing p;
  p.place(1, 9, 2);
  p.pending.commit(at(8, 2));
  p.pending.close();
  p.pending.close(settle_reason::log_failed);  // the first word counts
  CHECK(p.machine.heard() == notes{"1 unknown " + stopped});
  CHECK(!p.pending.add(proposal_token{2}));
  CHECK(p.machine.heard() == notes{"2 not_applied " + stopped});
  p.pending.open(p.machine);
  p.place(3, 5, 3);  // the log may be another one
  p.pending.commit(at(5, 3));
  CHECK(p.machine.heard() == notes{"3 committed " + none});
}

TEST_CASE("many threads propose, commit and lose, and each proposal is settled once",
          "[adapter_kit][threads]") {
  constexpr std::uint64_t each = 2000;
  constexpr std::uint64_t threads = 4;
  proposing p;
  p.machine.keeps_notes = false;
  std::atomic<std::uint64_t> last{0};  // index that the "engine" gave away
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> refused{0};
  std::vector<std::thread> clients;
  for (std::uint64_t t = 0; t < threads; ++t) {
    clients.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < each; ++i) {
        const proposal_token token{t * each + i + 1};
        if (!p.pending.add(token)) {
          ++refused;
        } else if (i % 7 == 0) {
          p.pending.settle(token, outcome::not_applied, settle_reason::busy);
        } else {
          p.pending.place(token, at(++last, 1));
        }
      }
    });
  }
  std::thread engine([&] {
    for (std::uint64_t index = 1; !done; index += index < last ? 1 : 0) {
      p.pending.commit(at(index, 1));
    }
  });
  std::thread losses([&] {
    while (!done) {
      p.pending.lose();
      std::this_thread::yield();
    }
  });
  for (std::thread& client : clients) {
    client.join();
  }
  done = true;
  engine.join();
  losses.join();
  p.pending.close();
  CHECK(p.machine.settled_count == threads * each);
  CHECK(refused == 0);
}

TEST_CASE("when close has returned nothing is settled any more", "[adapter_kit][threads]") {
  for (int round = 0; round < 200; ++round) {
    proposing p;
    p.machine.keeps_notes = false;
    REQUIRE(p.pending.add(proposal_token{1}));
    std::thread engine([&] { p.pending.settle(proposal_token{1}, outcome::committed); });
    p.pending.close();
    const std::uint64_t settled = p.machine.settled_count;
    engine.join();
    CHECK(settled == 1);
    CHECK(p.machine.settled_count == 1);
  }
}

// ---- leadership

TEST_CASE("a gain waits for an entry of its own term", "[adapter_kit]") {
  leadership_tracker tracker;
  tracker.restart(at(4, 1), "here");
  tracker.elected(term{3});
  CHECK(!tracker.next());
  tracker.passed(at(5, 1));  // an older leader's, applied late
  CHECK(!tracker.next());
  CHECK(tracker.announced() == term{});
  tracker.passed(at(6, 3));
  const auto gain = tracker.next();
  REQUIRE(gain);
  CHECK(gain->leading);
  CHECK(gain->term == term{3});
  CHECK(gain->leader_hint == "here");
  CHECK(tracker.announced() == term{3});
  CHECK(!tracker.next());
}

TEST_CASE("a gain waits for the end of the log at the election", "[adapter_kit]") {
  leadership_tracker tracker;
  tracker.restart(at(4, 1));
  tracker.elected(term{3}, log_index{6});
  tracker.passed(at(5, 1));
  CHECK(!tracker.next());
  tracker.passed(at(6, 2));
  CHECK(tracker.next().value_or(leadership{}).leading);
}

TEST_CASE("a gain is due at once where nothing older is left", "[adapter_kit]") {
  leadership_tracker tracker;
  tracker.restart(at(4, 3));
  tracker.elected(term{3}, log_index{4});
  CHECK(tracker.next().value_or(leadership{}).leading);
  leadership_tracker told_late;  // the engine applies its first entry before it says who leads
  told_late.restart({});
  told_late.passed(at(1, 1));
  told_late.elected(term{1});
  CHECK(told_late.next().value_or(leadership{}).leading);
}

TEST_CASE("a loss carries the term that is lost, and comes first", "[adapter_kit]") {
  leadership_tracker tracker;
  tracker.restart({});
  tracker.elected(term{2}, log_index{0});
  REQUIRE(tracker.next());
  SECTION("another server leads") {
    tracker.follows(term{5}, "there");
    const auto loss = tracker.next();
    REQUIRE(loss);
    CHECK(!loss->leading);
    CHECK(loss->term == term{2});
    CHECK(loss->leader_hint.empty());
    const auto news = tracker.next();
    REQUIRE(news);
    CHECK(!news->leading);
    CHECK(news->term == term{5});
    CHECK(news->leader_hint == "there");
    CHECK(!tracker.next());
    tracker.follows(term{5}, "there");
    CHECK(!tracker.next());  // no news
  }
  SECTION("nobody leads") {
    tracker.deposed();
    CHECK(
        tracker.next().value_or(leadership{.term = {}, .leading = true, .leader_hint = {}}).term ==
        term{2});
    CHECK(!tracker.next());
  }
  SECTION("it leads again before anybody could be told of the loss") {
    tracker.deposed();
    tracker.elected(term{4}, log_index{0});
    CHECK(tracker.next().value_or(leadership{}).term == term{2});
    const auto gain = tracker.next();
    REQUIRE(gain);
    CHECK(gain->leading);
    CHECK(gain->term == term{4});
  }
}

TEST_CASE("no term is gained twice, and a gain that was overtaken is not told", "[adapter_kit]") {
  leadership_tracker tracker;
  tracker.restart({});
  tracker.elected(term{2}, log_index{0});
  REQUIRE(tracker.next());
  tracker.elected(term{2}, log_index{0});  // the engine repeats itself
  CHECK(!tracker.next());
  tracker.deposed();
  REQUIRE(tracker.next());
  tracker.elected(term{2}, log_index{0});
  CHECK(!tracker.next());
  tracker.elected(term{3}, log_index{9});
  tracker.follows(term{4}, "there");
  tracker.passed(at(9, 2));
  CHECK(tracker.next().value_or(leadership{}).term == term{4});
  CHECK(!tracker.next());
  // News that a gain overtook are old.
  leadership_tracker quick;
  quick.restart({});
  quick.follows(term{4}, "there");
  quick.elected(term{5}, log_index{0});
  REQUIRE(quick.next().value_or(leadership{}).leading);
  quick.deposed();
  REQUIRE(quick.next());
  CHECK(!quick.next());
  // The same server leads again, and then the same other one: that is news again.
  tracker.elected(term{5}, log_index{9});
  REQUIRE(tracker.next());
  tracker.follows(term{4}, "there");
  CHECK(tracker.next().value_or(leadership{}).term == term{5});
  CHECK(tracker.next().value_or(leadership{}).leader_hint == "there");
}

// ---- the strand

TEST_CASE("the strand announces a gain after the entry that makes it due", "[adapter_kit]") {
  stranded s;
  s.strand.elected(term{2});
  CHECK(s.strand.apply(entry(1, 1)) == apply_result::applied);
  CHECK(s.strand.refusal(term{2}) == settle_reason::not_leader);
  CHECK(s.strand.skip(at(2, 2)) == apply_result::applied);
  CHECK(s.strand.announced() == term{2});
  CHECK(s.strand.refusal(term{2}) == settle_reason::none);
  CHECK(s.strand.refusal(term{1}) == settle_reason::stale_term);
  CHECK(s.machine.heard() == notes{"apply 1", "skip 2", "gain 2 [here]"});
  s.strand.follows(term{3}, "there");
  CHECK(s.strand.refusal(term{2}) == settle_reason::not_leader);
  CHECK(s.machine.heard() == notes{"loss 2 []", "loss 3 [there]"});
}

TEST_CASE("an installed snapshot can make a gain due", "[adapter_kit]") {
  stranded s;
  s.strand.elected(term{2}, log_index{9});
  CHECK(s.strand.install(nullptr, at(9, 1)) == apply_result::applied);
  CHECK(s.machine.heard() == notes{"install 9", "gain 2 [here]"});
}

TEST_CASE("a machine that stands high enough already makes a gain due", "[adapter_kit]") {
  heard_machine machine;
  machine.stand_at(at(7, 3));
  gated_strand strand;
  strand.open(machine);
  strand.elected(term{4}, log_index{7});
  CHECK(machine.heard() == notes{"gain 4 []"});
  strand.close();
  strand.close();
  CHECK(machine.heard() == notes{"loss 4 []"});
}

TEST_CASE("after halted nothing passes but the loss, which is told at once", "[adapter_kit]") {
  stranded s;
  s.strand.elected(term{2}, log_index{0});
  s.machine.halts_next = true;
  CHECK(s.strand.apply(entry(1, 2)) == apply_result::halted);
  CHECK(s.strand.halted());
  CHECK(s.strand.refusal(term{2}) == settle_reason::not_leader);
  CHECK(s.machine.heard() == notes{"gain 2 [here]", "apply 1", "loss 2 []"});
  CHECK(s.strand.apply(entry(2, 2)) == apply_result::halted);
  CHECK(s.strand.skip(at(2, 2)) == apply_result::halted);
  CHECK(s.strand.install(nullptr, at(2, 2)) == apply_result::halted);
  const auto reader = s.strand.take_snapshot();
  REQUIRE(!reader);
  CHECK(reader.error() == errc::halted);
  s.strand.elected(term{3}, log_index{0});
  s.strand.follows(term{4}, "there");
  s.strand.deposed();
  s.strand.close();
  CHECK(s.machine.heard().empty());
}

TEST_CASE("withdraw tells the loss at once where nobody is in the machine", "[adapter_kit]") {
  stranded s;
  s.strand.elected(term{2}, log_index{0});
  s.strand.withdraw();
  CHECK(s.strand.halted());
  CHECK(s.strand.refusal(term{2}) == settle_reason::not_leader);
  CHECK(s.machine.heard() == notes{"gain 2 [here]", "loss 2 []"});
  s.strand.withdraw();
  CHECK(s.strand.apply(entry(1, 2)) == apply_result::halted);
  CHECK(s.strand.take_snapshot().error() == errc::halted);
  s.strand.elected(term{3}, log_index{0});
  s.strand.close();
  CHECK(s.machine.heard().empty());
  s.strand.open(s.machine, "after a restart");
  s.strand.elected(term{4}, log_index{0});
  CHECK(s.machine.heard() == notes{"gain 4 [after a restart]"});
}

TEST_CASE("withdraw from inside a call of the machine tells the loss when that call returns",
          "[adapter_kit]") {
  stranded s;
  s.strand.elected(term{2}, log_index{0});
  bool is_inside = false;
  s.machine.inside = [&] {
    if (!std::exchange(is_inside, true)) {  // the loss comes this way, too
      s.strand.withdraw();
      CHECK(s.strand.announced() == term{});
    }
  };
  CHECK(s.strand.apply(entry(1, 2)) == apply_result::applied);
  CHECK(s.machine.heard() == notes{"gain 2 [here]", "apply 1", "loss 2 []"});
  CHECK(s.machine.overlaps == 0);
  CHECK(s.strand.apply(entry(2, 2)) == apply_result::halted);
}

TEST_CASE("a gain that withdraw meets on its way is followed by the loss", "[adapter_kit]") {
  stranded s;
  bool is_inside = false;
  s.machine.inside = [&] {
    if (!std::exchange(is_inside, true)) {
      s.strand.withdraw();
    }
  };
  s.strand.elected(term{2}, log_index{0});
  CHECK(s.machine.heard() == notes{"gain 2 [here]", "loss 2 []"});
  CHECK(s.strand.announced() == term{});
}

TEST_CASE("a closed strand tells the loss once, and opens again", "[adapter_kit]") {
  stranded s;
  s.strand.elected(term{2}, log_index{0});
  s.strand.close();
  CHECK(s.machine.heard() == notes{"gain 2 [here]", "loss 2 []"});
  CHECK(s.strand.apply(entry(1, 2)) == apply_result::halted);
  CHECK(!s.strand.halted());
  CHECK(s.strand.take_snapshot().error() == errc::stopped);
  s.strand.open(s.machine, "here again");
  s.strand.elected(term{2}, log_index{0});  // an engine of one server, in its old term
  CHECK(s.strand.apply(entry(1, 2)) == apply_result::applied);
  CHECK(s.machine.heard() == notes{"gain 2 [here again]", "apply 1"});
}

namespace {

/// Four threads that call whatever there is.
std::vector<std::thread> use_from_threads(gated_strand& strand) {
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&strand, t] {
      for (std::uint64_t i = 1; i <= 2000; ++i) {
        switch ((i + t) % 4) {
          case 0: strand.apply(entry(i, i / 10)); break;
          case 1: strand.elected(term{i}, log_index{i}); break;
          case 2: strand.deposed(); break;
          default: static_cast<void>(strand.take_snapshot()); break;
        }
        static_cast<void>(strand.refusal(term{i}));
      }
    });
  }
  return threads;
}

}  // namespace

TEST_CASE("strand calls of many threads do not overlap", "[adapter_kit][threads]") {
  stranded s;
  s.machine.keeps_notes = false;
  s.machine.lingers = true;
  for (std::thread& thread : use_from_threads(s.strand)) {
    thread.join();
  }
  CHECK(s.machine.strand_calls >= 2000);
  CHECK(s.machine.overlaps == 0);
}

TEST_CASE("when close has returned no strand call follows", "[adapter_kit][threads]") {
  stranded s;
  s.machine.keeps_notes = false;
  std::vector<std::thread> threads = use_from_threads(s.strand);
  while (s.machine.strand_calls < 100) {
    std::this_thread::yield();
  }
  s.strand.close();
  const std::uint64_t calls = s.machine.strand_calls;
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(s.machine.strand_calls == calls);
}

TEST_CASE("withdraw among many threads overlaps no call, and no gain is left standing",
          "[adapter_kit][threads]") {
  for (int round = 0; round < 20; ++round) {
    stranded s;
    std::vector<std::thread> threads = use_from_threads(s.strand);
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&s] {
        while (s.machine.strand_calls < 100) {
          std::this_thread::yield();
        }
        s.strand.withdraw();
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    CHECK(s.machine.overlaps == 0);
    CHECK(s.strand.announced() == term{});
    std::string last = "loss";
    for (const std::string& note : s.machine.heard()) {
      last = note.rfind("gain", 0) == 0 || note.rfind("loss", 0) == 0 ? note : last;
    }
    CHECK(last.rfind("loss", 0) == 0);
    const std::uint64_t calls = s.machine.strand_calls;
    s.strand.close();
    CHECK(s.machine.strand_calls == calls);
  }
}

// ---- background work

TEST_CASE("each task runs once, and all have run when the thread that serves has ended",
          "[adapter_kit][threads]") {
  std::vector<counted_task> tasks(200);
  background_worker worker;
  for (int start = 1; start <= 2; ++start) {  // and once more after a stop
    worker.open();
    std::thread serving([&] { worker.serve(); });
    std::vector<std::thread> clients;
    for (std::size_t t = 0; t < 2; ++t) {
      clients.emplace_back([&, t] {
        for (std::size_t i = t; i < tasks.size(); i += 2) {
          worker.put(tasks[i]);
        }
      });
    }
    for (std::thread& client : clients) {
      client.join();
    }
    worker.close();
    serving.join();
    for (const counted_task& task : tasks) {
      CHECK(task.runs == start);
    }
  }
}

TEST_CASE("tasks that race with the stop run once, on one side or the other",
          "[adapter_kit][threads]") {
  for (int round = 0; round < 100; ++round) {
    std::vector<counted_task> tasks(20);
    background_worker worker;
    worker.open();
    std::thread serving([&] { worker.serve(); });
    std::thread client([&] {
      for (counted_task& task : tasks) {
        worker.put(task);
      }
    });
    worker.close();
    serving.join();
    client.join();
    for (const counted_task& task : tasks) {
      CHECK(task.runs == 1);
    }
  }
}

TEST_CASE("without a thread, the adapter runs tasks where it likes", "[adapter_kit]") {
  std::vector<counted_task> tasks(3);
  background_worker worker;
  worker.open();
  for (counted_task& task : tasks) {
    worker.put(task);
  }
  CHECK(tasks[0].runs == 0);
  CHECK(worker.run_one());
  CHECK(tasks[0].runs == 1);
  worker.close();
  worker.serve();
  CHECK(tasks[1].runs == 1);
  CHECK(tasks[2].runs == 1);
  CHECK(!worker.run_one());
}

TEST_CASE("what would otherwise wait in silence for a leader is asserted", "[adapter_kit]") {
  leadership_tracker tracker;
  CHECK(aborts([&] { tracker.elected(term{0}); }));
  CHECK(aborts([&] { tracker.elected(term{0}, log_index{0}); }));
  gated_strand forgotten;
  CHECK(aborts([&] { forgotten.elected(term{1}); }));
  CHECK(aborts([&] { forgotten.skip(at(1, 1)); }));
  CHECK(!aborts([&] { forgotten.close(); }));
  heard_machine machine;
  gated_strand strand;
  strand.open(machine);
  CHECK(aborts([&] { strand.apply({at(0, 1), {}}); }));
  CHECK(aborts([&] { strand.skip(at(0, 1)); }));
  CHECK(!aborts([&] { strand.apply({at(1, 1), {}}); }));
}

}  // namespace adapter_kit_test
