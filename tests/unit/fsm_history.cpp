// What a machine makes of the history that an entry tells of. The rows are those of the tables in
// docs/design/history.md, section 4.
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "catch2_shim.hpp"
#include "codec_support.hpp"
#include "quorlite/detail/core/history_hash.hpp"
#include "quorlite/detail/core/history_marks.hpp"
#include "quorlite/detail/machine/transaction_assembly.hpp"
#include "support/manual_consensus.hpp"

namespace fsm_history_test {
namespace {

using namespace quorlite::tests;

constexpr term first_term{1};
constexpr cluster_identity our_cluster{0x0123456789ABCDEFU, 0xFEDCBA9876543210U};

std::vector<change> some_pages(std::uint8_t value) {
  return {{"a.db", {{1, value}, {2, value}, {3, value}}}};
}
constexpr std::size_t one_page_an_entry = 700;

/// Decodes an entry, lets the caller change it, and encodes it again.
template <class Edit>
bytes edited(bytes_view entry, Edit edit) {
  auto decoded = native::decode(entry, lock_byte);
  REQUIRE(decoded);
  edit(*decoded);
  bytes out;
  REQUIRE_FALSE(native::encode(*decoded, out, lock_byte));
  return out;
}
template <class Edit>
bytes with_frames(bytes_view entry, Edit edit) {
  return edited(entry, [&](command& what) { edit(std::get<write_set_command>(what.body)); });
}

/// A leader that writes a log, and a follower that reads it. The history has not begun.
struct pair {
  bench leader;
  bench follower;

  pair() {
    leader.lead(1);
    for (const char* name : {"a.db", "b.db"}) {
      leader.open(name);
      follower.open(name);
    }
  }
  bench::sent both(std::vector<change> changes, std::size_t at_most = 1U << 20U) {
    return applied_by_both(leader.send(std::move(changes), at_most));
  }
  bench::sent both(decltype(command::body) body) {
    return applied_by_both(leader.send_command(std::move(body)));
  }
  void begin() { both(identity_command{2, our_cluster}); }
  void same() {
    CHECK(leader.all() == follower.all());
    CHECK(leader->applied() == follower->applied());
    CHECK(leader.snapshot() == follower.snapshot());
    CHECK_FALSE(leader->health().halted);
    CHECK_FALSE(follower->health().halted);
  }

 private:
  bench::sent applied_by_both(bench::sent made) {
    REQUIRE_FALSE(made.error);
    leader.apply_all(made);
    follower.apply_all(made);
    return made;
  }
};

/// A pair whose history has begun, with one transaction in it.
struct hashed_pair : pair {
  hashed_pair() {
    begin();
    both(some_pages(1));
  }
  /// The follower has not seen it.
  bytes next(std::uint8_t value = 2) { return leader.commit(some_pages(value)).entries[0]; }
};

transaction_id maker(bench& of, std::string_view name) {
  return of.store(name)->committed().made_by;
}

void check_diverged(bench& of, std::string_view word) {
  const health state = of->health();
  CHECK(state.halted);
  CHECK(state.error == errc::diverged);
  INFO(state.what);
  CHECK(state.what.find(word) != std::string::npos);
}

}  // namespace

TEST_CASE(
    "once the history has begun more databases may exist, and the entry that began it decides") {
  pair p;
  std::size_t names = 0;
  const auto begin = [&p, &names] {
    const bench::sent made = p.both(open_command{"d" + std::to_string(names++)});
    CHECK(p.leader->counters().malformed == p.follower->counters().malformed);
    return p.leader.answer_of(made) == proposal_state::applied;
  };
  const auto count = [&p] { return p.follower->databases().existing_count(); };
  while (count() < limits::databases_before_history) {
    REQUIRE(begin());
  }
  CHECK_FALSE(begin());  // of an older log: refused by every build
  p.begin();
  CHECK(begin());
  CHECK(begin());
  p.same();
  while (count() < limits::databases) {
    REQUIRE(begin());
  }
  CHECK_FALSE(begin());
  p.both(drop_command{"d2", {}});
  CHECK(begin());
  CHECK(p.leader->databases().existing().size() == limits::databases);
  CHECK(p.follower->databases().existing().size() == limits::databases);
}

TEST_CASE("a version has the id of its transaction on leader and follower alike") {
  pair p;
  p.both(some_pages(1));
  CHECK(maker(p.leader, "a.db") == transaction_id{});
  p.begin();
  CHECK(maker(p.leader, "a.db") == transaction_id{});
  const bench::sent made = p.both(some_pages(2));
  CHECK(maker(p.leader, "a.db") == made.id);
  p.same();
  p.both(drop_command{"a.db", made.id});
  CHECK(p.leader.all().count("a.db") == 0);
  p.both(open_command{"a.db"});
  CHECK(maker(p.leader, "a.db") == transaction_id{});
  p.same();
}

TEST_CASE("what was on its way when the history began is refused by all, and can be tried again") {
  pair p;
  p.both(some_pages(1));
  const bench::sent identity = p.leader.send_command(identity_command{2, our_cluster});
  const bench::sent early = p.leader.send(some_pages(2));
  CHECK(native::decode(early.entries[0], lock_byte)->format == 1);
  for (const bench::sent* one : {&identity, &early}) {
    CHECK(p.leader.apply_all(*one) == apply_result::applied);
    CHECK(p.follower.apply_all(*one) == apply_result::applied);
  }
  CHECK(p.leader.answer_of(identity) == proposal_state::applied);
  CHECK(p.leader.answer_of(early) == proposal_state::conflict);
  CHECK(p.leader->counters().conflicts == 1);
  p.same();
  const bench::sent again = p.both(some_pages(2));
  CHECK(native::decode(again.entries[0], lock_byte)->format == 2);
  CHECK(p.leader.answer_of(again) == proposal_state::applied);
  p.same();
}

TEST_CASE("parts that wait when the history begins are dropped by all") {
  pair p;
  const bench::sent parts = p.leader.send(some_pages(2), one_page_an_entry);
  REQUIRE(parts.entries.size() == 3);
  const bench::sent identity = p.leader.send_command(identity_command{2, our_cluster});
  for (bench* one : {&p.leader, &p.follower}) {
    one->apply_next(parts.entries[0], first_term);
    one->apply_next(parts.entries[1], first_term);
    one->apply_all(identity);
    CHECK(one->machine().state().assembly().entries_held() == 0);
    one->apply_next(parts.entries[2], first_term);
  }
  CHECK(p.leader.answer_of(parts) == proposal_state::conflict);
  p.both(some_pages(3));
  p.same();
}

TEST_CASE("the first entry that begins a history counts, a second one is refused by all") {
  hashed_pair p;
  const bench::sent second = p.both(identity_command{2, {1, 1}});
  CHECK(p.leader.answer_of(second) == proposal_state::conflict);
  p.both(some_pages(4));
  p.same();
}

TEST_CASE("a history of a newer format stops a replica before it begins") {
  pair p;
  const command newer{{first_term, 77}, identity_command{3, our_cluster}, 2, {}};
  CHECK(p.follower.apply_next(newer, first_term) == apply_result::halted);
  CHECK(p.follower->health().error == errc::needs_upgrade);
}

TEST_CASE("an entry without a history halts who has one, if no leader of ours can have sent it") {
  hashed_pair p;
  const command late{{term{2}, 1}, barrier_command{}};
  CHECK(p.follower.apply_next(late, term{2}) == apply_result::halted);
  check_diverged(p.follower, "does not begin where ours does");
}

TEST_CASE("an entry with a history halts who has none") {
  hashed_pair p;
  const bytes entry = p.next();
  bench stranger;
  stranger.open("a.db");
  CHECK(stranger.apply_next(entry, first_term) == apply_result::halted);
  check_diverged(stranger, "has not begun here");
}

TEST_CASE("an entry whose proposer had another history halts, and names where") {
  hashed_pair p;
  p.both(some_pages(3));
  const bytes entry =
      edited(p.next(), [](command& what) { what.witness.low ^= std::uint64_t{1} << 63U; });
  CHECK(p.follower.apply_next(entry, first_term) == apply_result::halted);
  check_diverged(p.follower, "another history as of log index 5 (equal as of 4), at log index 6");
}

TEST_CASE("who is told to skip an entry that held a transaction halts at the next entry") {
  hashed_pair p;
  const bench::sent skipped = p.leader.commit(some_pages(2));
  REQUIRE(p.leader.position_of(skipped).index == log_index{5});
  REQUIRE(p.follower->skip({log_index{5}, first_term}) == apply_result::applied);
  CHECK_FALSE(p.follower->health().halted);  // nothing tells a no-op from it yet
  SECTION("whatever that holds") {
    const bench::sent barrier = p.leader.send_command(barrier_command{});
    CHECK(p.follower.apply_all(barrier) == apply_result::halted);
  }
  SECTION("which builds on what was skipped: it is no conflict") {
    CHECK(p.follower.apply_next(p.next(3), first_term) == apply_result::halted);
  }
  // What it skipped would have told that they were equal as of 4, too.
  check_diverged(p.follower, "another history as of log index 5 (equal as of 3), at log index 6");
  CHECK(p.follower->counters().conflicts == 0);
}

TEST_CASE("what was on its way before an entry that is skipped does not hide that for long") {
  hashed_pair p;
  const bench::sent skipped = p.leader.send(some_pages(2));
  const bench::sent behind = p.leader.send(some_pages(3));  // tells the same history: up to 4
  p.leader.apply_all(skipped);
  p.leader.apply_all(behind);
  REQUIRE(p.follower->skip({log_index{5}, first_term}) == apply_result::applied);
  CHECK(p.follower.apply_all(behind) == apply_result::applied);
  CHECK(p.follower->counters().conflicts == 1);
  CHECK(p.follower.apply_next(p.next(4), first_term) == apply_result::halted);
  check_diverged(p.follower, "another history as of log index 6 (equal as of 4), at log index 7");
  CHECK(p.follower->counters().conflicts == 1);
}

TEST_CASE("the first entry of a leader that skipped one halts the others, who did not") {
  hashed_pair p;
  bench third;
  REQUIRE_FALSE(third.restore(p.leader.snapshot()));
  const bench::sent skipped = p.leader.commit(some_pages(2));
  third.apply_all(skipped);
  REQUIRE(p.follower->skip({log_index{5}, first_term}) == apply_result::applied);
  p.leader.lose(2);
  p.follower.lead(2);
  const bench::sent made = p.follower.send(some_pages(3));
  REQUIRE_FALSE(made.error);
  for (bench* one : {&p.leader, &third}) {
    const auto before = one->all();
    CHECK(one->apply_all(made) == apply_result::halted);
    check_diverged(*one, "another history as of log index 5 (equal as of 4), at log index 6");
    CHECK((*one)->counters().conflicts == 0);
    CHECK(one->all() == before);
  }
  CHECK(p.follower.answer_of(made) == proposal_state::waiting);
}

TEST_CASE("an entry that tells of itself, or of what was before the history, halts") {
  for (const std::uint64_t index : {2U, 5U, 6U}) {
    hashed_pair p;  // the history begins at 3, and the next entry is 5
    const bytes entry =
        edited(p.next(), [&](command& what) { what.witness.index = log_index{index}; });
    CHECK(p.follower.apply_next(entry, first_term) == apply_result::halted);
    check_diverged(p.follower, "another history");
  }
}

TEST_CASE("an older witness that is known is compared too") {
  hashed_pair p;
  const bytes held_up = p.leader.send(some_pages(2)).entries[0];
  const history_witness as_of_4 = native::decode(held_up, lock_byte)->witness;
  REQUIRE(as_of_4.index == log_index{4});
  for (std::uint64_t i = 0; i < 5; ++i) {
    const command barrier{{first_term, 500 + i}, barrier_command{}, 2, as_of_4};
    CHECK(p.follower.apply_next(barrier, first_term) == apply_result::applied);
  }
  CHECK(p.follower.apply_next(held_up, first_term) == apply_result::applied);
  CHECK_FALSE(p.follower->health().halted);
  const command wrong{{first_term, 600}, barrier_command{}, 2, {log_index{4}, 1}};
  CHECK(p.follower.apply_next(wrong, first_term) == apply_result::halted);
}

TEST_CASE("what is planned on another transaction is a conflict, whatever version and hash say") {
  hashed_pair p;
  const auto before = p.follower.all();
  const bytes entry = with_frames(
      p.next(), [](write_set_command& frames) { frames.databases[0].builds_on.sequence = 1; });
  CHECK(p.follower.apply_next(entry, first_term) == apply_result::applied);
  CHECK(p.follower->counters().conflicts == 1);
  CHECK(p.follower.all() == before);
}

TEST_CASE("what is planned on nothing, over a content with an id, is a conflict") {
  hashed_pair p;
  const bytes entry =
      with_frames(p.next(), [](write_set_command& frames) { frames.databases[0].builds_on = {}; });
  CHECK(p.follower.apply_next(entry, first_term) == apply_result::applied);
  CHECK(p.follower->counters().conflicts == 1);
}

TEST_CASE("the same transaction with another content halts") {
  hashed_pair p;
  const bytes entry =
      with_frames(p.next(), [](write_set_command& frames) { frames.databases[0].base_hash ^= 1U; });
  CHECK(p.follower.apply_next(entry, first_term) == apply_result::halted);
  check_diverged(p.follower, "'a.db'");
}

TEST_CASE("another content that no transaction is known to have made is a conflict") {
  pair p;
  p.both(some_pages(1));
  p.begin();
  const bytes entry =
      with_frames(p.leader.commit(some_pages(2)).entries[0],
                  [](write_set_command& frames) { frames.databases[0].base_hash ^= 1U; });
  CHECK(p.follower.apply_next(entry, first_term) == apply_result::applied);
  CHECK(p.follower->counters().conflicts == 1);
}

TEST_CASE("that one database differs goes before that another does not fit") {
  hashed_pair p;
  p.both({{"b.db", {{1, 1}}}});
  const bytes entry =
      with_frames(p.leader.commit({{"a.db", {{1, 7}}}, {"b.db", {{1, 7}}}}).entries[0],
                  [](write_set_command& frames) {
                    frames.databases[0].builds_on.sequence = 1;
                    frames.databases[1].base_hash ^= 1U;
                  });
  CHECK(p.follower.apply_next(entry, first_term) == apply_result::halted);
  check_diverged(p.follower, "'b.db'");
}

TEST_CASE("of several databases none is changed if one does not fit") {
  hashed_pair p;
  p.both({{"b.db", {{1, 1}}}});
  const auto before = p.follower.all();
  const bytes entry =
      with_frames(p.leader.commit({{"a.db", {{1, 7}}}, {"b.db", {{1, 7}}}}).entries[0],
                  [](write_set_command& frames) { frames.databases[1].builds_on.sequence = 1; });
  CHECK(p.follower.apply_next(entry, first_term) == apply_result::applied);
  CHECK(p.follower->counters().conflicts == 1);
  CHECK(p.follower.all() == before);
}

TEST_CASE("a drop of another content than the last one is a conflict") {
  hashed_pair p;
  const bench::sent stale = p.both(drop_command{"a.db", {first_term, 1}});
  CHECK(p.leader.answer_of(stale) == proposal_state::conflict);
  CHECK(p.leader.all().count("a.db") == 1);
  p.same();
}

TEST_CASE("a COMMIT planned on a database that was dropped and born again is a conflict") {
  hashed_pair p;
  const transaction_id last = maker(p.leader, "a.db");
  const bench::sent dropped = p.leader.send_command(drop_command{"a.db", last});
  const bench::sent late = p.leader.send(some_pages(9));
  const bench::sent born = p.leader.send_command(open_command{"a.db"});
  for (bench* one : {&p.leader, &p.follower}) {
    one->apply_all(dropped);
    one->apply_all(born);
    one->apply_all(late);
  }
  CHECK(p.leader.answer_of(late) == proposal_state::conflict);
  CHECK(p.leader.copy("a.db").state.page_count == 0);
  p.same();
}

// ---- what engines are told

TEST_CASE("a machine without a history tells where its files stand, and no hash") {
  pair p;
  p.both(some_pages(1));
  CHECK(p.leader->base().at == history_position{});
  REQUIRE_FALSE(p.leader->flush(p.leader->applied().index));
  const history_position there{p.leader->applied().index, {}};
  CHECK(p.leader->history() == there);
  REQUIRE_FALSE(p.leader.restart());
  for (const history_position& one :
       {p.leader->base().replay_from, p.leader->base().at, p.leader->base().ahead}) {
    CHECK(one == there);
  }
  CHECK(p.leader->base().begun == history_identity{});
  CHECK(p.leader->history() == there);
  CHECK(p.leader->matches(there.index, 0) == history_match::not_known);
  CHECK((*p.follower->take_snapshot())->history() == snapshot_history{});
}

TEST_CASE("a machine tells its history, what it was as of older entries, and that of its files") {
  hashed_pair p;
  const history_position there = p.leader->history();
  CHECK(there.index == p.leader->applied().index);
  CHECK(there.hash != history_hash{});
  CHECK(p.follower->history() == there);
  const base_history before = p.follower->base();
  CHECK(before.begun.cluster == our_cluster);
  CHECK(before.begun.begins_in == first_term);
  CHECK(before.at == history_position{});
  REQUIRE_FALSE(p.follower->flush(there.index));
  CHECK(p.follower->base().at == there);
  CHECK(p.follower->base().replay_from == there);
  CHECK(p.follower->base().ahead == there);
  p.both(some_pages(2));

  CHECK(p.follower->matches(there.index, there.hash.low) == history_match::equal);
  CHECK(p.follower->matches(there.index, there.hash.low + 1) == history_match::differs);
  CHECK(p.follower->matches(there.index, p.follower->history().hash.low) == history_match::differs);
  CHECK(p.follower->matches(p.follower->applied().index.next(), there.hash.low) ==
        history_match::not_known);
  const log_index below{before.begun.begins_at.value - 1};
  CHECK(p.follower->matches(below, 0) == history_match::not_known);

  REQUIRE_FALSE(p.follower.restart());
  CHECK(p.follower->base().begun == before.begun);
  CHECK(p.follower->base().at == there);
  CHECK(p.follower->history() == there);
}

TEST_CASE("a replay is where the log is, not where the files are") {
  pair p;
  p.begin();
  std::vector<log_line> log;
  const auto apply = [&](const bench::sent& made) {
    for (const bytes& entry : made.entries) {
      log.push_back({{p.follower->applied().index.next(), made.id.term}, entry});
      p.follower.apply(log.back());
    }
    p.leader.apply_all(made);
  };
  apply(p.leader.send(some_pages(1)));
  const bench::sent parts = p.leader.send({{"b.db", {{1, 2}, {2, 2}, {3, 2}}}}, one_page_an_entry);
  REQUIRE(parts.entries.size() > 2);
  log.push_back({{p.follower->applied().index.next(), first_term}, parts.entries[0]});
  const history_position replay_from = p.follower->history();
  p.follower.apply(log.back());
  const history_position at = p.follower->history();
  REQUIRE_FALSE(p.follower->flush(at.index));

  REQUIRE_FALSE(p.follower.restart());
  CHECK(p.follower->applied().index == at.index);
  CHECK(p.follower->base().replay_from == replay_from);
  CHECK(p.follower->base().at == at);
  CHECK(p.follower->history() == replay_from);
  CHECK(p.follower.apply(log.back()) == apply_result::already);
  CHECK(p.follower->history() == at);
}

TEST_CASE("a snapshot tells the history that it contains, marks too") {
  hashed_pair p;
  const log_position far{log_index{3 * history_marks::distance + 5}, first_term};
  const history_position before = p.leader->history();
  p.leader->skip(far);
  const snapshot_history told = (*p.leader->take_snapshot())->history();
  CHECK(told.begun == p.leader->base().begun);
  CHECK(told.at == history_position{far.index, before.hash});
  REQUIRE(told.mark_count == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(told.marks[i] ==
          history_position{log_index{(i + 1) * history_marks::distance}, before.hash});
    CHECK(p.leader->matches(told.marks[i].index, told.marks[i].hash.low) == history_match::equal);
  }
  CHECK(told.marks[3] == history_position{});
}

TEST_CASE("the history is made of the log's bytes alone: what is refused is in it, skips are not") {
  hashed_pair p;
  const history_position before = p.follower->history();
  const bytes stale = with_frames(
      p.next(), [](write_set_command& frames) { frames.databases[0].builds_on.sequence = 1; });
  const bytes foreign(12, std::byte{0x55});
  REQUIRE(p.follower.apply_next(stale, first_term) == apply_result::applied);
  REQUIRE(p.follower->skip({log_index{6}, first_term}) == apply_result::applied);
  REQUIRE(p.follower.apply_next(bytes{}, first_term) == apply_result::applied);
  REQUIRE(p.follower.apply_next(foreign, first_term) == apply_result::applied);
  history_hash expected = before.hash;
  expected = extend_history(expected, log_index{5}, stale.size(), entry_digest(stale));
  expected = extend_history(expected, log_index{8}, foreign.size(), entry_digest(foreign));
  CHECK(p.follower->history() == history_position{log_index{8}, expected});
  CHECK(p.follower->counters().conflicts == 1);
  CHECK(p.follower->counters().malformed == 1);
}

// ---- restarts, snapshots, gains of leadership

namespace {

/// A follower whose base holds a state while parts of a transaction wait, so that a replay begins
/// below it.
struct stored_pair : hashed_pair {
  std::vector<bytes> replayed;  ///< the entries from 5 on, up to the base's position
  bytes rest;                   ///< the last part, which commits

  stored_pair() {
    const bench::sent parts = leader.send({{"b.db", {{1, 5}, {2, 5}}}}, one_page_an_entry);
    REQUIRE(parts.entries.size() == 2);
    const bench::sent other = leader.send(some_pages(6));
    replayed = {parts.entries[0], other.entries[0]};
    rest = parts.entries[1];
    for (const bytes& entry : replayed) {
      follower.apply_next(entry, first_term);
    }
    REQUIRE_FALSE(follower->flush(log_index{6}));
    REQUIRE_FALSE(follower.restart());
    REQUIRE(follower->applied().index == log_index{6});
    REQUIRE(follower->durable().index == log_index{4});
  }
  apply_result replay(std::uint64_t index, const bytes& entry) {
    return follower.apply({{log_index{index}, first_term}, entry});
  }
};

}  // namespace

TEST_CASE("a log that is the base's brings back what was staged, and goes on") {
  stored_pair p;
  CHECK(p.replay(5, p.replayed[0]) == apply_result::already);
  CHECK(p.replay(6, p.replayed[1]) == apply_result::already);
  CHECK(p.follower.apply_next(p.rest, first_term) == apply_result::applied);
  CHECK_FALSE(p.follower->health().halted);
  CHECK(p.follower.copy("b.db").state.page_count == 2);
  CHECK(maker(p.follower, "a.db") == transaction_id{first_term, 4});
}

TEST_CASE("a log that is not the base's halts where that shows, and names both ends") {
  stored_pair p;
  const bytes other = with_frames(
      p.replayed[1], [](write_set_command& frames) { frames.databases[0].result_hash ^= 1U; });
  static_cast<void>(p.replay(5, p.replayed[0]));
  CHECK(p.replay(6, other) == apply_result::halted);
  check_diverged(p.follower, "part after log index 4, at the latest at log index 6");
}

TEST_CASE("a log that lost an entry below the base's position halts") {
  stored_pair p;
  static_cast<void>(p.replay(5, p.replayed[1]));
  CHECK(p.replay(6, p.rest) == apply_result::halted);
  check_diverged(p.follower, "part after log index 4");
}

TEST_CASE("a skip over the rest of a replay says that it held nothing, and is held to that") {
  SECTION("it held an entry: the log is another one, or lost it") {
    stored_pair p;
    static_cast<void>(p.replay(5, p.replayed[0]));
    CHECK(p.follower->skip({log_index{8}, first_term}) == apply_result::halted);
    check_diverged(p.follower, "part after log index 4, at the latest at log index 6");
  }
  SECTION("all of it held something") {
    stored_pair p;
    CHECK(p.follower->skip({log_index{8}, first_term}) == apply_result::halted);
    check_diverged(p.follower, "part after log index 4, at the latest at log index 6");
  }
  SECTION("it held nothing indeed") {
    hashed_pair p;
    REQUIRE(p.follower->skip({log_index{5}, first_term}) == apply_result::applied);
    const bench::sent parts = p.leader.send({{"b.db", {{1, 5}, {2, 5}}}}, one_page_an_entry);
    REQUIRE(parts.entries.size() == 2);
    REQUIRE(p.follower.apply_next(parts.entries[0], first_term) == apply_result::applied);
    REQUIRE(p.follower->skip({log_index{8}, first_term}) == apply_result::applied);
    REQUIRE_FALSE(p.follower->flush(log_index{8}));
    REQUIRE_FALSE(p.follower.restart());
    REQUIRE(p.follower->durable().index == log_index{5});
    CHECK(p.follower.apply({{log_index{6}, first_term}, parts.entries[0]}) ==
          apply_result::already);
    CHECK(p.follower->skip({log_index{9}, first_term}) == apply_result::applied);
    CHECK(p.follower.apply_next(parts.entries[1], first_term) == apply_result::applied);
    CHECK_FALSE(p.follower->health().halted);
    CHECK(p.follower.copy("b.db").state.page_count == 2);
  }
  SECTION("nothing was to be brought again") {
    hashed_pair p;
    REQUIRE_FALSE(p.follower->flush(log_index{4}));
    REQUIRE_FALSE(p.follower.restart());
    CHECK(p.follower->skip({log_index{9}, first_term}) == apply_result::applied);
    CHECK_FALSE(p.follower->health().halted);
  }
}

TEST_CASE("a leader whose log ended before its base does not lead") {
  stored_pair p;
  static_cast<void>(p.replay(5, p.replayed[0]));
  p.follower.lead(2);
  CHECK(p.follower->health().error == errc::log_too_short);
  CHECK_FALSE(p.follower->leader().leading);
  const bench::sent refused = p.follower.send(some_pages(9));
  CHECK(refused.error == errc::halted);
}

TEST_CASE("a leader whose log ended before its base does not lead, if nothing is staged either") {
  for (const bool is_told : {true, false}) {
    hashed_pair p;
    REQUIRE_FALSE(p.follower->flush(log_index{4}));
    REQUIRE_FALSE(p.follower.restart());
    REQUIRE(p.follower->durable().index == log_index{4});
    if (is_told) {
      CHECK(p.follower->skip({log_index{3}, term{2}}) == apply_result::already);
    }
    p.follower.lead(2);
    CHECK(p.follower->health().halted == is_told);
    // Who is told nothing before the gain learns of it by the first entry of its own.
    const command own{{term{2}, 1}, barrier_command{}, 2, {log_index{4}, 1}};
    CHECK(p.follower.apply({{log_index{4}, term{2}}, bench::encoded(own)}) == apply_result::halted);
    CHECK(p.follower->health().error == errc::log_too_short);
  }
}

TEST_CASE("a leader that brought all of its log again leads") {
  stored_pair p;
  static_cast<void>(p.replay(5, p.replayed[0]));
  static_cast<void>(p.replay(6, p.replayed[1]));
  p.follower.lead(2);
  CHECK_FALSE(p.follower->health().halted);
  CHECK(p.follower->leader().leading);
}

TEST_CASE("no flush begins before the log has brought back what is staged") {
  stored_pair p;
  static_cast<void>(p.replay(5, p.replayed[0]));
  CHECK_FALSE(p.follower->flush(log_index{6}));
  CHECK(p.follower->durable().index == log_index{4});
}

TEST_CASE("a snapshot brings the history, and who made each database") {
  hashed_pair p;
  bench late;
  REQUIRE_FALSE(late.restore(p.leader.snapshot()));
  CHECK(maker(late, "a.db") == maker(p.leader, "a.db"));
  const bytes next = p.next();
  CHECK(late.apply_next(next, first_term) == apply_result::applied);
  CHECK(late.snapshot() == p.leader.snapshot());
  REQUIRE_FALSE(late->flush(late->applied().index));
  REQUIRE_FALSE(late.restart());
  CHECK(late.apply_next(p.next(3), first_term) == apply_result::applied);
  CHECK(late.snapshot() == p.leader.snapshot());
}

TEST_CASE("a snapshot of another history is refused, and the old state goes on") {
  hashed_pair p;
  pair other;
  other.both(identity_command{2, {5, 5}});
  for (std::uint8_t i = 1; i <= 4; ++i) {
    other.both(some_pages(i));
  }
  const auto before = p.follower.all();
  CHECK(p.follower.restore(other.leader.snapshot()) == errc::diverged);
  pair old;
  for (std::uint8_t i = 1; i <= 5; ++i) {
    old.both(some_pages(i));
  }
  CHECK(p.follower.restore(old.leader.snapshot()) == errc::diverged);
  CHECK(p.follower.all() == before);
  CHECK_FALSE(p.follower->health().halted);
  p.follower.apply_next(p.next(), first_term);
  p.same();
}

// The identity is the same. The hash tells, where both histories are known.
TEST_CASE("a snapshot of our cluster that parts from our history is refused, by a mark at last") {
  const auto with_pages = [](hashed_pair& of, std::uint8_t value) { of.both(some_pages(value)); };
  hashed_pair p;
  hashed_pair other;
  with_pages(p, 2);
  with_pages(other, 3);
  const bytes older = other.follower.snapshot();
  with_pages(p, 4);
  CHECK(p.follower.restore(older) == errc::diverged);

  // What lies between is told by skips alone, and of all that was before only the mark is left.
  const log_index passed{history_marks::distance + 1};
  p.follower->skip({passed, first_term});
  hashed_pair same;
  with_pages(same, 2);
  with_pages(same, 4);
  for (bench* const one : {&other.follower, &same.follower}) {
    (*one)->skip({log_index{passed.value + 9}, first_term});
  }
  const auto before = p.follower.all();
  CHECK(p.follower.restore(other.follower.snapshot()) == errc::diverged);
  CHECK(p.follower.all() == before);
  CHECK_FALSE(p.follower->health().halted);
  CHECK_FALSE(p.follower.restore(same.follower.snapshot()));
  CHECK(p.follower.installed == apply_result::applied);
}

TEST_CASE("entries of older systems mean nothing once a history has begun") {
  hashed_pair p;
  const bytes foreign(12, std::byte{0x08});
  for (bench* one : {&p.leader, &p.follower}) {
    CHECK(one->apply_next(foreign, first_term) == apply_result::applied);
    CHECK((*one)->counters().malformed == 1);
  }
  p.both(some_pages(7));
  p.same();
}

}  // namespace fsm_history_test
