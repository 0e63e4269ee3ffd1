// The history along a log that is stored, and what came from another server held against it.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/codec/history_judge.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/core/history_hash.hpp"
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "support/told_machine.hpp"
#include "unit/codec_support.hpp"

namespace history_judge_test {
namespace {

using namespace quorlite;
using namespace quorlite::detail;
using quorlite::tests::generator;
using quorlite::tests::told_machine;

constexpr cluster_identity ours{0xC1, 0xC2};
constexpr cluster_identity theirs{0xD1, 0xD2};

bytes encoded(const command& one) {
  bytes made;
  REQUIRE_FALSE(native::encode(one, made));
  return made;
}
bytes identity(cluster_identity cluster, std::uint64_t in = 1) {
  return encoded({.id = {term{in}, 1}, .body = identity_command{2, cluster}, .format = 2});
}
/// An entry of today.
bytes plain(std::uint64_t in, std::uint64_t sequence = 1) {
  return encoded({.id = {term{in}, sequence}, .body = barrier_command{}});
}
bytes witness(std::uint64_t w, std::uint64_t low, std::uint64_t sequence = 1) {
  return encoded({.id = {term{1}, sequence},
                  .body = barrier_command{},
                  .format = 2,
                  .witness = {log_index{w}, low}});
}

/// A trail whose history began at index 4, with entries 1 to 9; entry n has index n.
struct begun_log {
  told_machine machine;
  history_trail trail;
  std::vector<history_hash> hashes{10};

  begun_log() {
    trail.begin({0, {}, true, {}});
    for (std::uint64_t n = 1; n <= 9; ++n) {
      carry(trail, n, n == 4 ? identity(ours) : plain(1, n));
      hashes[n] = trail.end_place().at.hash;
    }
    machine.told.begun = trail.end_place().begun;
    machine.stands = {log_index{9}, hashes[9]};
  }
  [[nodiscard]] history_judge behind(std::uint64_t entry) const {
    const std::optional<history_place> place = trail.behind(entry);
    REQUIRE(place);
    return {machine, trail, *place};
  }
  [[nodiscard]] history_verdict say(const bytes& entry) const { return behind(9).add(10, entry); }
};

}  // namespace

// ---- the trail

TEST_CASE("the history along a log that is cut and grows again is that of a plain list") {
  generator random{20261130};
  const std::array<bytes, 3> commands{plain(1), witness(4, 7), bytes{}};
  struct told {
    std::uint64_t entry;
    history_position at;
  };
  for (int round = 0; round < 50; ++round) {
    const std::uint64_t first = random.next() % 5;
    history_trail trail;
    trail.begin({first, {log_index{2 * first}, {}}, true, {}});
    std::vector<told> list{{first, {log_index{2 * first}, {}}}};
    std::uint64_t begins_at = 0;  // index of the identity; 0: it is not in the list
    for (int step = 0; step < 200; ++step) {
      const std::uint64_t entry = list.back().entry + 1;
      const std::uint64_t what = random.next() % 8;
      if (what == 0) {
        const std::uint64_t from = first + 1 + random.next() % (entry - first);
        trail.cut(from);
        while (list.back().entry >= from) {
          list.pop_back();
        }
        begins_at = list.back().at.index.value < begins_at ? 0 : begins_at;
      } else if (what == 1) {
        trail.pass(entry);
        list.push_back({entry, {list.back().at.index.next(), list.back().at.hash}});
      } else {
        const std::uint64_t count = 1 + random.next() % 3;
        for (std::uint64_t i = 0; i < count; ++i) {
          const bool begins = begins_at == 0 && random.next() % 8 == 0;
          const bytes command = begins ? identity(ours) : commands[random.next() % 3];
          const log_index n = list.back().at.index.next();
          begins_at = begins ? n.value : begins_at;
          const history_hash hash =
              begins_at == 0 || command.empty()
                  ? list.back().at.hash
                  : extend_history(list.back().at.hash, n, command.size(), entry_digest(command));
          carry(trail, entry, command);
          list.push_back({entry, {n, hash}});
        }
      }
      REQUIRE(trail.end_place().entry == list.back().entry);
      REQUIRE(trail.end_place().at == list.back().at);
      REQUIRE(trail.end_place().begun.begins_at.value == begins_at);
      const told& any = list[random.next() % list.size()];
      REQUIRE(trail.low_as_of(any.at.index) == any.at.hash.low);
      const told* last = &any;
      while (last != &list.back() && (last + 1)->entry == any.entry) {
        ++last;
      }
      const std::optional<history_place> found = trail.behind(any.entry);
      REQUIRE(found);
      REQUIRE(found->at == last->at);
      REQUIRE(found->begun.begins_at.value == (last->at.index.value >= begins_at ? begins_at : 0));
    }
    REQUIRE_FALSE(trail.behind(list.back().entry + 1));
    REQUIRE_FALSE(trail.low_as_of(list.back().at.index.next()));
    REQUIRE_FALSE((first > 0 && trail.behind(first - 1)));
    REQUIRE_FALSE((first > 0 && trail.low_as_of(log_index{2 * first - 1})));
  }
}

TEST_CASE("a trail forgets its oldest steps, and knows nothing of them then") {
  history_trail trail;
  trail.begin({0, {}, true, {}});
  carry(trail, 1, identity(ours));
  const bytes command = plain(1);
  for (std::uint64_t n = 2; n <= history_trail::steps_max + 10; ++n) {
    trail.add((n + 1) / 2, command);  // two to an entry: 3 and 4 are of entry 2
  }
  const history_place oldest = trail.begin_place();
  CHECK(oldest.at.index == log_index{10});
  CHECK(trail.low_as_of(log_index{10}) == oldest.at.hash.low);
  CHECK_FALSE(trail.low_as_of(log_index{9}));
  CHECK_FALSE(trail.behind(4));
  CHECK(trail.behind(5)->at.index == log_index{10});
  CHECK(trail.behind(6)->at.index == log_index{12});
  trail.cut(5);  // where it begins is gone
  CHECK(trail.is_empty());
}

TEST_CASE("a history that is not known becomes so at its anchor, or where it begins") {
  const bytes command = plain(1);
  history_trail trail;
  const history_identity begun{log_index{3}, term{1}, ours};
  SECTION("an anchor") {
    trail.begin({7, {log_index{7}, {}}, false, begun}, {log_index{9}, {5, 6}});
    trail.add(8, command);
    CHECK_FALSE(trail.behind(8)->is_known);
    CHECK_FALSE(trail.low_as_of(log_index{8}));
    trail.add(9, command);
    CHECK(trail.behind(9)->is_known);
    CHECK(trail.low_as_of(log_index{9}) == 5);
    trail.add(10, command);
    CHECK(trail.end_place().at.hash ==
          extend_history({5, 6}, log_index{10}, command.size(), entry_digest(command)));
    trail.cut(9);
    CHECK_FALSE(trail.end_place().is_known);
    trail.add(9, command);
    CHECK(trail.low_as_of(log_index{9}) == 5);
  }
  SECTION("its begin") {
    const bytes first = identity(ours);
    trail.begin({1, {log_index{1}, {}}, false, begun});
    carry(trail, 2, command);
    CHECK_FALSE(trail.end_place().is_known);
    carry(trail, 3, first);
    CHECK(trail.end_place().is_known);
    CHECK(trail.end_place().at.hash ==
          extend_history({}, log_index{3}, first.size(), entry_digest(first)));
  }
}

TEST_CASE("a trail takes over the steps of one that begins where it ends") {
  const bytes command = plain(1);
  history_trail all;  // entry n has the indices 2n - 1 and 2n; the history begins at 5, in entry 3
  history_trail begin;
  all.begin({0, {}, true, {}});
  begin.begin({0, {}, true, {}});
  for (std::uint64_t index = 1; index <= 12; ++index) {
    const bytes next = index == 5 ? identity(ours) : command;
    carry(all, (index + 1) / 2, next);
    if (index <= 4) {
      carry(begin, (index + 1) / 2, next);
    }
  }
  history_trail rest;
  rest.begin(begin.end_place());
  for (std::uint64_t index = 5; index <= 12; ++index) {
    carry(rest, (index + 1) / 2, index == 5 ? identity(ours) : command);
  }
  for (std::uint64_t upto = 2; upto <= 6; ++upto) {
    history_trail taken = begin;
    taken.follow(rest, upto);
    CHECK(taken.end_place() == *all.behind(upto));
    CHECK(taken.behind(1) == all.behind(1));
    carry(taken, upto + 1, upto == 2 ? identity(ours) : command);
    CHECK(taken.end_place().begun.begins_at == log_index{5});
  }
  for (std::uint64_t index = 0; index <= 12; ++index) {
    CHECK(all.entry_of(log_index{index}) == (index + 1) / 2);
  }
  CHECK_FALSE(all.entry_of(log_index{13}));
  CHECK_FALSE(rest.entry_of(log_index{3}));
}

// ---- entries

TEST_CASE("an entry whose witness is the history of our log is fine") {
  const begun_log log;
  for (std::uint64_t w = 4; w <= 9; ++w) {
    CHECK(log.say(witness(w, log.hashes[w].low)) == history_verdict::fine);
  }
  history_judge judge = log.behind(7);  // sent again, and what follows
  CHECK(judge.add(8, plain(1, 8)) == history_verdict::fine);
  CHECK(judge.add(9, plain(1, 9)) == history_verdict::fine);
  judge.pass(10);
  CHECK(judge.add(11, witness(9, log.hashes[9].low)) == history_verdict::fine);
  CHECK(judge.add(12, witness(10, log.hashes[9].low, 2)) == history_verdict::fine);
  CHECK(judge.run().behind(9)->at.hash == log.hashes[9]);
}

TEST_CASE("a witness that differs refuses its sender, and tells both indices") {
  const begun_log log;
  for (std::uint64_t w = 4; w <= 9; ++w) {
    history_judge judge = log.behind(9);
    REQUIRE(judge.add(10, witness(w, log.hashes[w].low ^ 1U)) == history_verdict::refuse);
    CHECK(judge.objection().at == log_index{10});
    CHECK(judge.objection().compared == log_index{w});
  }
}

TEST_CASE("a witness within the message is compared too") {
  const begun_log log;
  const bytes between = witness(9, log.hashes[9].low);
  history_judge judge = log.behind(9);
  REQUIRE(judge.add(10, between) == history_verdict::fine);
  const std::uint64_t low = judge.run().end_place().at.hash.low;
  CHECK(judge.add(11, witness(10, low ^ 1U, 2)) == history_verdict::refuse);
  history_judge again = log.behind(9);
  REQUIRE(again.add(10, between) == history_verdict::fine);
  CHECK(again.add(11, witness(10, low, 2)) == history_verdict::fine);
}

TEST_CASE("what a long message is forgotten to have held is not looked for in our own tail") {
  begun_log log;
  // Behind entry 6 we have a tail of our own; the message has another one there, and a long one.
  history_judge judge = log.behind(6);
  const std::uint64_t end = 6 + history_trail::steps_max + 9;
  std::vector<std::uint64_t> lows(1, log.hashes[6].low);
  for (std::uint64_t entry = 7; entry <= end; ++entry) {
    REQUIRE(judge.add(entry, plain(1, 1'000 + entry)) == history_verdict::fine);
    lows.push_back(judge.run().end_place().at.hash.low);
  }
  REQUIRE(judge.run().begin_place().at.index > log_index{9});
  CHECK(lows[2] != log.hashes[8].low);
  const auto said = [&judge](std::uint64_t w, std::uint64_t low) {
    history_judge once = judge;
    return once.add(judge.run().end_place().entry + 1, witness(w, low));
  };
  log.machine.stands = {log_index{6}, log.hashes[6]};
  CHECK(said(8, lows[2]) == history_verdict::fine);  // not known any more
  CHECK(said(8, log.hashes[8].low) == history_verdict::fine);
  CHECK(said(6, lows[0]) == history_verdict::fine);  // where both logs are one
  CHECK(said(6, lows[0] ^ 1U) == history_verdict::refuse);
  CHECK(said(5, log.hashes[5].low ^ 1U) == history_verdict::refuse);
  CHECK(said(end, lows.back()) == history_verdict::fine);  // and where it is remembered
  CHECK(said(end, lows.back() ^ 1U) == history_verdict::refuse);
  log.machine.known = {{log_index{8}, log.hashes[8]}};  // what was applied here counts
  CHECK(said(8, lows[2]) == history_verdict::refuse);
}

TEST_CASE("a witness at or above its entry, or below the begin, refuses its sender") {
  const begun_log log;
  CHECK(log.say(witness(10, 1)) == history_verdict::refuse);
  CHECK(log.say(witness(11, 1)) == history_verdict::refuse);
  CHECK(log.say(witness(3, 0)) == history_verdict::refuse);
  CHECK(log.say(witness(4, log.hashes[4].low)) == history_verdict::fine);
}

TEST_CASE("what lies before the log that is known here, the machine is asked") {
  begun_log log;
  history_trail later;
  later.begin({8, {log_index{8}, log.hashes[8]}, true, log.machine.told.begun});
  carry(later, 9, plain(1, 9));
  log.machine.known = {{log_index{6}, log.hashes[6]}};
  const auto say = [&](std::uint64_t w, std::uint64_t low) {
    history_judge judge(log.machine, later, *later.behind(9));
    return judge.add(10, witness(w, low));
  };
  CHECK(say(8, log.hashes[8].low) == history_verdict::fine);  // the oldest place
  CHECK(say(8, log.hashes[8].low ^ 1U) == history_verdict::refuse);
  CHECK(say(7, log.hashes[7].low ^ 1U) == history_verdict::fine);  // one below: not known
  CHECK(say(6, log.hashes[6].low) == history_verdict::fine);
  CHECK(say(6, log.hashes[6].low ^ 1U) == history_verdict::refuse);
}

TEST_CASE("an entry of today counts behind the begin if it is of the begin's own term") {
  const begun_log log;
  CHECK(log.say(plain(1)) == history_verdict::fine);
  CHECK(log.say(plain(2)) == history_verdict::refuse);
}

TEST_CASE("the identity of another cluster refuses its sender, unless it is a later one") {
  begun_log log;
  CHECK(log.say(identity(theirs)) == history_verdict::fine);
  history_judge early = log.behind(3);
  CHECK(early.add(4, identity(theirs)) == history_verdict::refuse);
  CHECK(early.objection().at == log_index{4});
  history_judge again = log.behind(3);
  CHECK(again.add(4, identity(ours)) == history_verdict::fine);
  log.machine.told.begun = {};  // a server that has no history takes the first that comes
  history_judge fresh = log.behind(3);
  CHECK(fresh.add(4, identity(theirs)) == history_verdict::fine);
  CHECK(fresh.run().end_place().begun == history_identity{log_index{4}, term{1}, theirs});
}

TEST_CASE("before the begin entries of today are fine, and others cannot be") {
  told_machine machine;
  history_trail trail;
  trail.begin(place_of(machine, 0));
  history_judge judge(machine, trail, *trail.behind(0));
  CHECK(judge.add(1, plain(1)) == history_verdict::fine);
  CHECK(judge.add(2, plain(7)) == history_verdict::fine);
  CHECK(judge.add(3, witness(1, 0)) == history_verdict::refuse);
}

TEST_CASE("as long as the history of our log is not known, nobody is refused for a hash") {
  begun_log log;
  log.machine.stands = {log_index{9}, {}};
  history_trail unknown;
  unknown.begin(place_of(log.machine, 9));
  history_judge judge(log.machine, unknown, *unknown.behind(9));
  CHECK(judge.add(10, witness(9, 1)) == history_verdict::fine);
  CHECK(judge.add(11, witness(11, 1, 2)) == history_verdict::refuse);
}

TEST_CASE("a damaged entry speaks against nobody: the message is lost") {
  const begun_log log;
  const bytes good = witness(9, log.hashes[9].low ^ 1U);
  REQUIRE(log.say(good) == history_verdict::refuse);
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      bytes damaged = good;
      damaged[at] ^= static_cast<std::byte>(1U << bit);
      CHECK(log.say(damaged) != history_verdict::refuse);
    }
  }
  bytes wrong = witness(9, log.hashes[9].low);
  wrong[entry_crc_offset] ^= std::byte{1};
  CHECK(log.say(wrong) == history_verdict::fine);  // nothing speaks against it: as ever
}

TEST_CASE("whatever is no entry of ours, or against its rules, refuses nobody") {
  const begun_log log;
  const bytes whole = witness(9, log.hashes[9].low ^ 1U);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CHECK(log.say(bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))) !=
          history_verdict::refuse);
  }
  CHECK(log.say(quorlite::tests::from_text("another format")) == history_verdict::fine);
  bytes longer = whole;  // every replica refuses it alike
  longer.push_back(std::byte{0});
  CHECK(log.say(longer) == history_verdict::fine);
}

// ---- snapshots

TEST_CASE("a snapshot of another cluster or history refuses its sender") {
  begun_log log;
  log.machine.known = {{log_index{9}, log.hashes[9]}, {log_index{5}, log.hashes[5]}};
  snapshot_history told;
  told.begun = log.machine.told.begun;
  told.at = {log_index{30}, {7, 7}};
  told.marks[0] = {log_index{5}, log.hashes[5]};
  told.mark_count = 1;
  const auto say = [&] { return objection_to(told, log_index{30}, log.machine); };
  REQUIRE_FALSE(say());
  SECTION("its own position") {
    told.at = {log_index{9}, log.hashes[9]};
    CHECK_FALSE(say());
    told.at.hash.low ^= 1U;
    REQUIRE(say());
    CHECK(say()->at == log_index{30});
    CHECK(say()->compared == log_index{9});
  }
  SECTION("a mark") {
    told.marks[0].hash.low ^= 1U;
    REQUIRE(say());
    CHECK(say()->compared == log_index{5});
    told.mark_count = 0;
    CHECK_FALSE(say());
  }
  SECTION("the cluster") {
    told.begun.cluster = theirs;
    CHECK(say());
  }
  SECTION("the begin") {
    told.begun.begins_at = log_index{5};
    CHECK(say());
  }
  SECTION("a form that tells nothing, from the begin on") {
    told = {};
    CHECK(objection_to(told, log_index{4}, log.machine));
    CHECK_FALSE(objection_to(told, log_index{3}, log.machine));
  }
  SECTION("whoever has no history takes any") {
    log.machine.told = {};
    told.begun.cluster = theirs;
    CHECK_FALSE(say());
  }
}

}  // namespace history_judge_test
