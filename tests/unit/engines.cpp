// The two engines that run simulated clients: the same behaviour, on stacks of their own.

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/testing/detail/simulation/client_scheduler.hpp"
#include "quorlite/testing/detail/simulation/engines.hpp"
#include "quorlite/testing/detail/simulation/event_queue.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"

namespace engines_test {

using namespace quorlite::testing;
using namespace quorlite::testing::detail;
using generator = quorlite::testing::detail::random;  // the C library has a random() too

TEMPLATE_TEST_CASE("a client runs only when it is resumed", "", fiber_engine, handoff_engine) {
  TestType engine;
  std::string trace;
  const client_id first = engine.spawn([&] {
    trace += 'a';
    engine.yield();
    trace += 'c';
  });
  const client_id second = engine.spawn([&] { trace += 'b'; });
  CHECK(first == client_id{1});
  CHECK(second == client_id{2});
  CHECK(trace.empty());
  engine.resume(first);
  CHECK(trace == "a");
  CHECK_FALSE(engine.finished(first));
  engine.resume(second);
  CHECK(trace == "ab");
  CHECK(engine.finished(second));
  engine.resume(first);
  CHECK(trace == "abc");
  CHECK(engine.finished(first));
}

TEMPLATE_TEST_CASE("a client that was never resumed is dropped", "", fiber_engine, handoff_engine) {
  const auto captured = std::make_shared<int>(1);
  {
    TestType engine;
    engine.spawn([captured] {});
    CHECK(captured.use_count() == 2);
  }
  CHECK(captured.use_count() == 1);
}

TEMPLATE_TEST_CASE("what a client captured goes when it ends", "", fiber_engine, handoff_engine) {
  const auto captured = std::make_shared<int>(1);
  TestType engine;
  const client_id id = engine.spawn([captured] {});
  engine.resume(id);
  CHECK(captured.use_count() == 1);
}

TEMPLATE_TEST_CASE("an exception that leaves a client comes out of resume", "", fiber_engine,
                   handoff_engine) {
  TestType engine;
  const client_id id = engine.spawn([&] {
    engine.yield();
    throw std::runtime_error("out");
  });
  engine.resume(id);
  CHECK_THROWS_AS(engine.resume(id), std::runtime_error);
  CHECK(engine.finished(id));
}

TEMPLATE_TEST_CASE("exceptions in flight do not mix across a switch", "", fiber_engine,
                   handoff_engine) {
  TestType engine;
  std::vector<client_id> ids;
  std::vector<std::string> caught(16);
  for (std::size_t i = 0; i < caught.size(); ++i) {
    ids.push_back(engine.spawn([&, i] {
      try {
        throw std::runtime_error(std::to_string(i));
      } catch (const std::runtime_error& outer) {
        engine.yield();  // others throw and catch meanwhile
        try {
          throw std::logic_error("inner");
        } catch (const std::logic_error&) {
          engine.yield();
        }
        try {
          throw;  // must be ours
        } catch (const std::runtime_error& again) {
          caught[i] = std::string(outer.what()) + again.what();
        }
      }
    }));
  }
  generator order{3};
  std::size_t left = ids.size();
  while (left > 0) {
    const client_id id = ids[static_cast<std::size_t>(order.below(ids.size()))];
    if (!engine.finished(id)) {
      try {
        throw 1;  // one in flight on the main stack, too
      } catch (int) {
        engine.resume(id);
      }
      left -= engine.finished(id) ? 1U : 0U;
    }
  }
  for (std::size_t i = 0; i < caught.size(); ++i) {
    CHECK(caught[i] == std::to_string(i) + std::to_string(i));
  }
  CHECK(std::uncaught_exceptions() == 0);
}

namespace {

struct unwinds {
  int& count;
  ~unwinds() { count += std::uncaught_exceptions() == 1 ? 1 : 100; }
};

}  // namespace

TEMPLATE_TEST_CASE("a switch while the stack unwinds keeps its count of exceptions", "",
                   fiber_engine, handoff_engine) {
  TestType engine;
  int seen = 0;
  struct yields {
    TestType& engine;
    ~yields() { engine.yield(); }
  };
  std::vector<client_id> ids;
  for (int i = 0; i < 3; ++i) {
    ids.push_back(engine.spawn([&] {
      try {
        const unwinds last{seen};
        const yields middle{engine};
        throw 1;
      } catch (int) {
      }
    }));
  }
  for (int round = 0; round < 2; ++round) {
    for (const client_id id : ids) {
      engine.resume(id);
      CHECK(std::uncaught_exceptions() == 0);
    }
  }
  CHECK(seen == 3);
}

TEMPLATE_TEST_CASE("clients come and go by the hundred", "", fiber_engine, handoff_engine) {
  TestType engine;
  std::uint64_t sum = 0;
  for (std::uint64_t round = 0; round < 20; ++round) {
    std::vector<client_id> ids;
    for (std::uint64_t i = 0; i < 20; ++i) {
      ids.push_back(engine.spawn([&, i] {
        char room[4096] = {};  // stacks are used again: what the last one left must not matter
        room[i] = static_cast<char>(i);
        engine.yield();
        sum += static_cast<std::uint64_t>(room[i]);
      }));
    }
    for (int pass = 0; pass < 2; ++pass) {
      for (const client_id id : ids) {
        engine.resume(id);
      }
    }
  }
  CHECK(sum == 20 * 190);
}

TEST_CASE("the generator gives the published numbers for a known state") {
  // SplitMix64 from 0, as its authors list it: 0xE220A8397B1DCDAF is the first.
  CHECK(mix_bits(0x9E3779B97F4A7C15ULL) == 0xE220A8397B1DCDAFULL);
}

TEST_CASE("equal seeds draw alike, others do not, and forks leave their parent alone") {
  generator one{7};
  generator two{7};
  const generator before = one;
  generator child = one.fork(1);
  generator other = one.fork(2);
  CHECK(child.next() != other.next());
  for (int i = 0; i < 100; ++i) {
    CHECK(one.next() == two.next());
  }
  CHECK(generator{before}.next() == generator{7}.next());
  CHECK(generator{8}.next() != generator{7}.next());
}

TEST_CASE("bounded draws stay in their bounds and reach both ends") {
  generator source{1};
  int ends = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t drawn = source.between(3, 6);
    CHECK((drawn >= 3 && drawn <= 6));
    ends |= drawn == 3 ? 1 : drawn == 6 ? 2 : 0;
  }
  CHECK(ends == 3);
  CHECK(source.between(0, ~std::uint64_t{0}) != source.between(0, ~std::uint64_t{0}));
  CHECK_FALSE(source.chance(0.0));
  CHECK(source.chance(1.0));
}

TEST_CASE("events come by time, and by order of posting at one time") {
  event_queue<int> queue;
  queue.post(5, 1);
  queue.post(3, 2);
  queue.post(5, 3);
  queue.post(3, 4);
  std::vector<int> order;
  while (!queue.empty()) {
    order.push_back(queue.take().event);
    if (order.size() == 1) {
      queue.post(5, 5);  // a freed place is used again, its order is not
    }
  }
  CHECK(order == std::vector<int>{2, 4, 1, 3, 5});
}

TEST_CASE("a raised signal wakes all its waiters") {
  for (const engine_kind kind : {engine_kind::fiber, engine_kind::handoff}) {
    client_scheduler clients{kind, generator{1}};
    client_signal signal;
    int woken = 0;
    for (int i = 0; i < 5; ++i) {
      clients.spawn([&] {
        static_cast<void>(clients.begin_wait(signal, 1000, 1));
        woken += clients.pause(signal) ? 1 : 0;
      });
    }
    while (clients.any_ready()) {
      clients.run(clients.draw());
    }
    CHECK(woken == 0);
    CHECK(clients.unfinished() == 5);
    signal.raise();
    while (clients.any_ready()) {
      clients.run(clients.draw());
    }
    CHECK(woken == 5);
    CHECK(clients.unfinished() == 0);
  }
}

}  // namespace engines_test
