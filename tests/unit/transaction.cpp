// The one transition table of transactions, and what is staged of them.
#include <array>
#include <memory>
#include <string>

#include "catch2_shim.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/machine/transaction.hpp"

namespace transaction_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using enum transaction_state;

constexpr std::array all_states{pending, writing, written, undone, failed};

transaction in_state(transaction_state wanted) {
  transaction made(transaction_id{term{1}, 1});
  std::string why;
  if (wanted == written || wanted == undone || wanted == writing) {
    REQUIRE(made.become(wanted, why));
  } else if (wanted == failed) {
    REQUIRE(made.become(writing, why));
    REQUIRE(made.become(failed, why));
  }
  REQUIRE(made.state() == wanted);
  return made;
}

transaction::part part_of(std::size_t size) { return std::make_shared<const bytes>(size); }

transaction_id id(std::uint64_t in_term, std::uint64_t sequence) {
  return {term{in_term}, sequence};
}

/// One entry of `size` bytes of transaction `which`, on `database`.
void stage(staged_transactions& into, transaction_id which, std::string_view database,
           std::size_t size, log_index first) {
  transaction& open = into.begin(which, first);
  std::string why;
  REQUIRE(open.become(writing, why));
  open.touch(database);
  open.stage(part_of(size));
}

}  // namespace

TEST_CASE("a transaction moves along the edges of the table and along no other") {
  // Rows: from; columns: to; in the order of all_states.
  constexpr bool table[5][5] = {
      {false, true, true, true, false},    // pending
      {false, true, true, true, true},     // writing
      {false, false, false, false, true},  // written
      {false, false, false, false, true},  // undone
      {false, false, false, false, false}  // failed
  };
  for (std::size_t from = 0; from < 5; ++from) {
    for (std::size_t to = 0; to < 5; ++to) {
      CAPTURE(name_of(all_states[from]), name_of(all_states[to]));
      CHECK(may_become(all_states[from], all_states[to]) == table[from][to]);
      transaction moved = in_state(all_states[from]);
      std::string why = "untouched";
      CHECK(moved.become(all_states[to], why) == table[from][to]);
      if (table[from][to]) {
        CHECK(moved.state() == all_states[to]);
        CHECK(why == "untouched");
      } else {
        CHECK(moved.state() == all_states[from]);
        CHECK(why == "invalid transition of a transaction from " +
                         std::string(name_of(all_states[from])) + " to " +
                         std::string(name_of(all_states[to])));
      }
    }
  }
}

TEST_CASE("every state has a name of its own") {
  CHECK(name_of(pending) == "pending");
  CHECK(name_of(writing) == "writing");
  CHECK(name_of(written) == "written");
  CHECK(name_of(undone) == "undone");
  CHECK(name_of(failed) == "failed");
}

TEST_CASE("a transaction counts the bytes that wait for its commit") {
  transaction open = in_state(writing);
  open.stage(part_of(10));
  open.stage(part_of(20));
  CHECK(open.parts().size() == 2);
  CHECK(open.staged_bytes() == 30);
}

TEST_CASE("a transaction knows the databases it has frames for") {
  transaction open = in_state(writing);
  CHECK_FALSE(open.touches("a.db"));
  open.touch("a.db");
  open.touch("a.db");
  CHECK(open.touches("a.db"));
  CHECK_FALSE(open.touches("b.db"));
}

TEST_CASE("of one database only one transaction stays staged") {
  staged_transactions staged;
  stage(staged, id(1, 1), "a.db", 10, log_index{5});
  stage(staged, id(1, 2), "b.db", 10, log_index{6});
  staged.drop_others("a.db", id(1, 3));
  CHECK(staged.find(id(1, 1)) == nullptr);
  CHECK(staged.find(id(1, 2)) != nullptr);
  staged.drop_others("b.db", id(1, 2));
  CHECK(staged.find(id(1, 2)) != nullptr);
}

TEST_CASE("what older terms left is dropped and the present term's stays") {
  staged_transactions staged;
  stage(staged, id(1, 9), "a.db", 10, log_index{5});
  stage(staged, id(2, 1), "b.db", 10, log_index{6});
  stage(staged, id(3, 1), "c.db", 10, log_index{7});
  staged.drop_older(term{3});
  CHECK(staged.all().size() == 1);
  CHECK(staged.find(id(3, 1)) != nullptr);
  staged.drop_older(term{0});
  CHECK(staged.all().size() == 1);
}

TEST_CASE("a replay starts before everything that is staged") {
  staged_transactions staged;
  CHECK(staged.replay_from({log_index{9}, {}}).index == log_index{9});
  stage(staged, id(1, 2), "b.db", 10, log_index{7});
  stage(staged, id(1, 1), "a.db", 10, log_index{5});
  CHECK(staged.replay_from({log_index{9}, {}}).index == log_index{4});
  CHECK_FALSE(staged.any_from_snapshot());
  stage(staged, id(1, 3), "c.db", 10, log_index{0});
  CHECK(staged.any_from_snapshot());
}

TEST_CASE("the number of staged transactions is bounded and the last one may go on") {
  staged_transactions staged;
  for (std::uint64_t n = 1; n <= limits::staged_transactions; ++n) {
    REQUIRE(staged.has_room_for(10, true));
    stage(staged, id(1, n), "db" + std::to_string(n), 10, log_index{n});
  }
  CHECK_FALSE(staged.has_room_for(10, true));
  CHECK(staged.has_room_for(10, false));
}

TEST_CASE("the staged bytes are bounded over all transactions") {
  staged_transactions staged;
  stage(staged, id(1, 1), "a.db", 1000, log_index{1});
  stage(staged, id(1, 2), "b.db", 500, log_index{2});
  CHECK(staged.bytes_held() == 1500);
  CHECK(staged.has_room_for(limits::staged_bytes - 1500, true));
  CHECK_FALSE(staged.has_room_for(limits::staged_bytes - 1499, true));
}

TEST_CASE("the staged entries are bounded by what a snapshot can carry") {
  staged_transactions staged;
  transaction& open = staged.begin(id(1, 1), log_index{1});
  std::string why;
  REQUIRE(open.become(writing, why));
  const transaction::part one = part_of(1);
  for (std::size_t n = 0; n < snapshot_staged_entries; ++n) {
    open.stage(one);
  }
  CHECK(staged.entries_held() == snapshot_staged_entries);
  CHECK_FALSE(staged.has_room_for(1, false));
}

}  // namespace transaction_test
