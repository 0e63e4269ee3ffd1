// What the machine of a leader does: heads, proposals, answers, and what lost leadership leaves.
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/commit/proposer.hpp"
#include "quorlite/detail/machine/transaction_assembly.hpp"
#include "support/manual_consensus.hpp"

namespace fsm_leader_test {
namespace {

using namespace quorlite::tests;

constexpr term one_term{1};

std::vector<change> pages_of_a(std::uint8_t value) { return {{"a.db", {{1, value}, {2, value}}}}; }

/// A leader of term 1 with two databases.
struct leading : bench {
  leading() {
    open("a.db");
    open("b.db");
    lead(1);
  }
  version_number head(std::string_view name) { return store(name)->head().version; }
  version_number committed(std::string_view name) { return store(name)->committed().version; }
  void settle(const sent& one, outcome how, settle_reason why = settle_reason::none) {
    for (std::size_t n = 0; n < one.entries.size(); ++n) {
      machine().settled(proposal_token{one.first.value + n}, how, why);
    }
  }
  settle_reason why_of(const sent& one) { return reason_of(one); }
};

}  // namespace

// ---- R1 … R8

TEST_CASE("the apply of its own entry answers a transaction (R1)") {
  leading l;
  const auto made = l.send(pages_of_a(1));
  CHECK(l.answer_of(made) == proposal_state::waiting);
  CHECK_FALSE(l.was_raised(made.row));
  l.apply_all(made);
  CHECK(l.answer_of(made) == proposal_state::applied);
  CHECK(l.was_raised(made.row));
  CHECK(l.position_of(made) == l->applied());
  CHECK(l->outcome_of(made.id) == transaction_outcome::committed);
}

TEST_CASE("an entry that was refused answers conflict (R1)") {
  leading l;
  const auto lost = l.send(pages_of_a(1));
  const auto built_on_it = l.send(pages_of_a(2));
  l.apply_all(built_on_it);
  CHECK(l.answer_of(built_on_it) == proposal_state::conflict);
  CHECK(l.committed("a.db") == version_number{0});
  CHECK(l.head("a.db") == version_number{0});
  CHECK(l.answer_of(lost) == proposal_state::waiting);
}

TEST_CASE("an entry that is applied before propose has returned (R1)") {
  leading l;
  l.engine.on_propose = [&](const auto& one) {
    CHECK(l.apply_next(one.entry, one.expected) == apply_result::applied);
    l->settled(one.token, outcome::committed, settle_reason::none);
  };
  const auto made = l.send(pages_of_a(1));
  CHECK(l.answer_of(made) == proposal_state::applied);
  CHECK(l.committed("a.db") == version_number{1});
  const auto many = l.send({{"a.db", {{1, 2}, {3, 2}, {4, 2}}}}, 700);
  CHECK(many.entries.size() > 1);
  CHECK(l.answer_of(many) == proposal_state::applied);
}

TEST_CASE("a refused proposal is not applied, and its pages leave the head (R2)") {
  leading l;
  const auto why =
      GENERATE(settle_reason::busy, settle_reason::not_leader, settle_reason::too_large);
  const auto made = l.send(pages_of_a(1));
  CHECK(l.head("a.db") == version_number{1});
  l.settle(made, outcome::not_applied, why);
  CHECK(l.answer_of(made) == proposal_state::not_applied);
  CHECK(l.why_of(made) == why);
  CHECK(l.head("a.db") == version_number{0});
}

TEST_CASE("a refusal from inside propose (R2)") {
  leading l;
  l.engine.on_propose = [&](const auto& one) {
    l->settled(one.token, outcome::not_applied, settle_reason::busy);
  };
  const auto made = l.send(pages_of_a(1));
  CHECK(l.answer_of(made) == proposal_state::not_applied);
  CHECK(l.head("a.db") == version_number{0});
}

TEST_CASE("what was pipelined behind a refused proposal ends in conflict (R2)") {
  leading l;
  const auto first = l.send(pages_of_a(1));
  const auto second = l.send(pages_of_a(2));
  const auto elsewhere = l.send({{"b.db", {{1, 1}}}});
  l.settle(first, outcome::not_applied, settle_reason::busy);
  const auto fresh = l.send(pages_of_a(3));
  l.apply_all(second);
  CHECK(l.answer_of(second) == proposal_state::conflict);
  l.apply_all(elsewhere);
  CHECK(l.answer_of(elsewhere) == proposal_state::applied);
  l.apply_all(fresh);
  CHECK(l.answer_of(fresh) == proposal_state::applied);
  CHECK(l.committed("a.db") == version_number{1});
  CHECK(l.is_sound());
}

TEST_CASE("a refusal behind a part that was doubted still takes the pages off the head (R2)") {
  leading l;
  const auto made = l.send(pages_of_a(1), 700);
  REQUIRE(made.entries.size() == 2);
  l->settled(made.first, outcome::unknown, settle_reason::timed_out);
  CHECK(l.answer_of(made) == proposal_state::unknown);
  CHECK(l.head("a.db") == version_number{1});
  l->settled(proposal_token{made.first.value + 1}, outcome::not_applied, settle_reason::busy);
  CHECK(l.answer_of(made) == proposal_state::unknown);  // answered once
  CHECK(l.head("a.db") == version_number{0});
}

TEST_CASE("a doubtful proposal is unknown, and may be committed all the same (R3)") {
  leading l;
  const auto made = l.send(pages_of_a(1));
  l.settle(made, outcome::unknown, settle_reason::log_failed);
  CHECK(l.answer_of(made) == proposal_state::unknown);
  CHECK(l.why_of(made) == settle_reason::log_failed);
  CHECK(l->outcome_of(made.id) == transaction_outcome::undecided);
  l.apply_all(made);
  CHECK(l.answer_of(made) == proposal_state::unknown);
  CHECK(l->outcome_of(made.id) == transaction_outcome::committed);
  CHECK(l.committed("a.db") == version_number{1});
}

TEST_CASE("good news alone answers nobody, before or after the apply (R4)") {
  leading l;
  const auto early = l.send(pages_of_a(1));
  l.settle(early, outcome::committed);
  CHECK(l.answer_of(early) == proposal_state::waiting);
  CHECK_FALSE(l.was_raised(early.row));
  l.apply_all(early);
  CHECK(l.answer_of(early) == proposal_state::applied);
  const auto late = l.send(pages_of_a(2));
  l.apply_all(late);
  l.settle(late, outcome::committed);
  CHECK(l.answer_of(late) == proposal_state::applied);
}

TEST_CASE("lost leadership makes everything on its way unknown (R5)") {
  leading l;
  const auto first = l.send(pages_of_a(1));
  const auto second = l.send({{"b.db", {{1, 1}}}});
  l.lose(1);
  for (const auto* one : {&first, &second}) {
    CHECK(l.answer_of(*one) == proposal_state::unknown);
    CHECK(l.why_of(*one) == settle_reason::leadership_lost);
    CHECK(l.was_raised(one->row));
  }
  // What the engine says later changes no answer.
  l.settle(first, outcome::not_applied, settle_reason::stopped);
  CHECK(l.answer_of(first) == proposal_state::unknown);
}

TEST_CASE("a loss while inside propose waits for what propose says (R5)") {
  leading l;
  l.engine.on_propose = [&](const auto& one) {
    l.lose(1);
    l->settled(one.token, outcome::not_applied, settle_reason::stale_term);
  };
  const auto made = l.send(pages_of_a(1));
  CHECK(l.answer_of(made) == proposal_state::not_applied);
  CHECK(l.why_of(made) == settle_reason::stale_term);
}

TEST_CASE("a loss while inside propose, of which propose says nothing, is unknown (R5)") {
  leading l;
  l.engine.on_propose = [&](const auto&) { l.lose(1); };
  const auto made = l.send(pages_of_a(1));
  CHECK(l.answer_of(made) == proposal_state::unknown);
  CHECK(l.why_of(made) == settle_reason::leadership_lost);
}

TEST_CASE("a gain of a later term is a loss of the former (R5)") {
  leading l;
  const auto made = l.send(pages_of_a(1));
  l.lead(2);
  CHECK(l.answer_of(made) == proposal_state::unknown);
  CHECK(l.head("a.db") == version_number{0});
  CHECK(l->leader().leading);
}

TEST_CASE("who waits until it is certain learns it from an entry of a later term (R6)") {
  leading l;
  const auto made = l.send(pages_of_a(1), 1U << 20U, true);
  l.lose(1);
  CHECK(l.answer_of(made) == proposal_state::waiting);
  l.apply_next(bytes{}, one_term);
  CHECK(l.answer_of(made) == proposal_state::waiting);
  l.apply_next(bytes{}, term{2});
  CHECK(l.answer_of(made) == proposal_state::not_applied);
  CHECK(l->outcome_of(made.id) == transaction_outcome::not_committed);
}

TEST_CASE("who waits until it is certain may learn that it was committed (R6)") {
  leading l;
  const auto made = l.send(pages_of_a(1), 1U << 20U, true);
  l.settle(made, outcome::unknown, settle_reason::leadership_lost);
  l.lose(1);
  CHECK(l.answer_of(made) == proposal_state::waiting);
  l.apply_all(made);
  CHECK(l.answer_of(made) == proposal_state::applied);
  CHECK(l.committed("a.db") == version_number{1});
}

TEST_CASE("a loss that is announced after the later term was applied is certain at once (R6)") {
  leading l;
  const auto hasty = l.send(pages_of_a(1));
  const auto patient = l.send(pages_of_a(2), 1U << 20U, true);
  l->skip({l->applied().index.next(), term{2}});
  CHECK(l.answer_of(hasty) == proposal_state::waiting);
  l.lose(2);
  CHECK(l.answer_of(hasty) == proposal_state::not_applied);
  CHECK(l.answer_of(patient) == proposal_state::not_applied);
}

TEST_CASE("an entry that is appended again in a later term is no contradiction (R6)") {
  leading l;
  const auto made = l.send(pages_of_a(1), 1U << 20U, true);
  l.lose(1);
  l.apply_next(made.entries[0], term{2});
  CHECK(l.answer_of(made) == proposal_state::applied);
}

TEST_CASE("without terms an unknown stays one (R6)") {
  basic_bench<basic_manual_consensus<false, true>> l;
  l.open("a.db");
  l.lead(1);
  const auto made = l.send(pages_of_a(1), 1U << 20U, true);
  l.lose(1);
  l.apply_next(bytes{}, term{2});
  CHECK(l.answer_of(made) == proposal_state::waiting);
}

TEST_CASE("a waiter that leaves without an answer leaves its row behind (R7)") {
  leading l;
  const auto made = l.send(pages_of_a(1));
  CHECK(l.answer_of(made) == proposal_state::waiting);
  l.apply_all(made);
  CHECK(l->outcome_of(made.id) == transaction_outcome::committed);
  CHECK(l.committed("a.db") == version_number{1});
  CHECK(l.store("a.db")->history() == history_number{1});  // it was committed, not built again
}

TEST_CASE("an installed snapshot answers what it contains (R8)") {
  leading l;
  const auto in_it = l.send(pages_of_a(1));
  const auto not_in_it = l.send({{"b.db", {{1, 1}}}});
  const auto patient = l.send({{"b.db", {{1, 2}}}}, 1U << 20U, true);
  bench other;
  other.open("a.db");
  other.open("b.db");
  other.apply_all(in_it);
  other.apply_next(bytes{}, term{2});
  REQUIRE_FALSE(l.restore(other.snapshot()));
  CHECK(l.installed == apply_result::applied);
  CHECK(l.answer_of(in_it) == proposal_state::applied);
  CHECK(l.position_of(in_it).index == log_index{3});
  l.lose(2);
  CHECK(l.answer_of(not_in_it) == proposal_state::not_applied);
  CHECK(l.answer_of(patient) == proposal_state::not_applied);
  CHECK(l.all() == other.all());
}

TEST_CASE("what a snapshot has forgotten stays unknown (R8)") {
  leading l;
  const auto old = l.send(pages_of_a(1), 1U << 20U, true);
  bench other;
  other.open("a.db");
  other.open("b.db");
  other.lead(2);
  for (std::size_t n = 0; n <= limits::outcomes; ++n) {
    other.commit({{"b.db", {{1, static_cast<std::uint8_t>(n)}}}});
  }
  REQUIRE_FALSE(l.restore(other.snapshot(), 1U << 16U));
  CHECK(l.answer_of(old) == proposal_state::unknown);
  CHECK(l->outcome_of(old.id) == transaction_outcome::expired);
}

// ---- heads and histories

TEST_CASE("a commit is visible to readers only once it is applied") {
  leading l;
  const auto before = l.copy("a.db");
  const auto made = l.send(pages_of_a(1));
  CHECK(l.copy("a.db") == before);
  CHECK(l.head("a.db") == version_number{1});
  l.apply_all(made);
  CHECK(l.copy("a.db") != before);
  CHECK(l.is_sound());
}

TEST_CASE("writers pipeline on the head and are answered in order") {
  leading l;
  std::vector<bench::sent> sent;
  for (std::uint8_t n = 1; n <= 10; ++n) {
    sent.push_back(l.send(pages_of_a(n)));
  }
  CHECK(l.head("a.db") == version_number{10});
  for (std::size_t n = 0; n < sent.size(); ++n) {
    l.apply_all(sent[n]);
    CHECK(l.answer_of(sent[n]) == proposal_state::applied);
    CHECK(l.committed("a.db").value == n + 1);
  }
  CHECK(l.store("a.db")->history() == history_number{1});
  CHECK(l.is_sound());
}

TEST_CASE("lost leadership drops the heads, invalidates the pins on them and starts a history") {
  leading l;
  l.commit(pages_of_a(1));
  l.send(pages_of_a(2));
  const auto store = l.store("a.db");
  const auto reader = store->pin_committed();
  const auto writer = store->pin_head();
  const auto history = store->history();
  CHECK_FALSE(l.is_quiet(*l->databases().find("a.db")));
  l.lose(1);
  CHECK(writer.invalidated());
  CHECK_FALSE(reader.invalidated());
  CHECK(store->history() > history);
  CHECK(store->head() == store->committed());
  CHECK(l.is_quiet(*l->databases().find("a.db")));
  CHECK(l.next_id(one_term).error() == errc::not_leader);
}

TEST_CASE("versions are used again after a loss, and the old history is refused") {
  leading l;
  const auto old = l.send(pages_of_a(1));
  const auto old_next = l.send(pages_of_a(2));
  l.lose(1);
  l.lead(3);
  const auto fresh = l.send(pages_of_a(9));
  l.apply_all(fresh);
  CHECK(l.answer_of(fresh) == proposal_state::applied);
  const auto before = l.all();
  l.apply_all(old_next);  // its base has the same version and another hash
  CHECK(l.all() == before);
  CHECK(l->counters().conflicts == 1);
  l.apply_all(old);
  CHECK(l.all() == before);
}

TEST_CASE("a foreign entry drops what a replica that thinks it leads has on that head") {
  leading l;
  bench other;
  other.open("a.db");
  other.open("b.db");
  other.lead(2);
  const auto mine = l.send(pages_of_a(1));
  const auto elsewhere = l.send({{"b.db", {{1, 1}}}});
  const auto theirs = other.commit(pages_of_a(5));
  l.apply_all(theirs);
  CHECK(l.copy("a.db") == other.copy("a.db"));
  CHECK(l.head("a.db") == version_number{1});
  CHECK(l.head("b.db") == version_number{1});
  CHECK(l.answer_of(mine) == proposal_state::waiting);
  l.apply_all(mine);
  CHECK(l.answer_of(mine) == proposal_state::conflict);
  CHECK(l.copy("a.db") == other.copy("a.db"));
  l.apply_all(elsewhere);
  CHECK(l.answer_of(elsewhere) == proposal_state::applied);
}

TEST_CASE("an entry whose head was dropped is built again from its bytes") {
  leading l;
  const auto first = l.send(pages_of_a(1));
  const auto second = l.send(pages_of_a(2));
  const auto third = l.send(pages_of_a(3));
  l.settle(third, outcome::not_applied, settle_reason::busy);
  CHECK(l.head("a.db") == version_number{0});
  l.apply_all(first);
  l.apply_all(second);
  CHECK(l.answer_of(first) == proposal_state::applied);
  CHECK(l.answer_of(second) == proposal_state::applied);
  bench follower;
  follower.open("a.db");
  follower.open("b.db");
  follower.apply_all(first);
  follower.apply_all(second);
  CHECK(follower.all() == l.all());
}

TEST_CASE("two databases on the head are committed together") {
  leading l;
  const auto both = l.send({{"a.db", {{1, 1}}}, {"b.db", {{1, 2}}}});
  const auto half_behind = l.send(pages_of_a(3));
  l.apply_all(both);
  CHECK(l.committed("a.db") == version_number{1});
  CHECK(l.committed("b.db") == version_number{1});
  l.apply_all(half_behind);
  CHECK(l.answer_of(half_behind) == proposal_state::applied);
  const auto broken = l.send({{"a.db", {{1, 4}}}, {"b.db", {{1, 5}}}});
  l.store("b.db")->discard_head();
  l.apply_all(broken);  // from the bytes, both of them
  CHECK(l.answer_of(broken) == proposal_state::applied);
  CHECK(l.is_sound());
}

TEST_CASE("a drop answers what was on its way to the dropped database with conflict") {
  leading l;
  l.commit(pages_of_a(1));
  const auto made = l.send(pages_of_a(2));
  const auto writer = l.store("a.db")->pin_head();
  const auto drop = l.send_command(drop_command{"a.db"});
  l.apply_all(drop);
  CHECK(l.answer_of(drop) == proposal_state::applied);
  CHECK(writer.invalidated());
  l.apply_all(made);
  CHECK(l.answer_of(made) == proposal_state::conflict);
}

TEST_CASE("a writer that was planned before a loss cannot enter after it") {
  leading l;
  l.commit(pages_of_a(1));
  const auto store = l.store("a.db");
  const auto base = store->pin_head();
  std::vector<database_write> writes(1);
  writes[0].target = l->databases().find("a.db");
  writes[0].store = store;
  writes[0].ticket = {one_term, base.history()};
  writes[0].version = base.version().next();
  writes[0].pages = painted(pages_of_a(2)[0], store, base, writes[0].page_count);
  const auto row = l.row_of(*l.next_id(one_term));
  SECTION("not leading any more") {
    l.lose(1);
    CHECK(l.enter(row, writes, 1).error() == errc::not_leader);
  }
  SECTION("leading again, in another term") {
    l.lose(1);
    l.lead(2);
    CHECK(l.enter(row, writes, 1).error() == errc::stale_term);
    row->id = *l.next_id(term{2});
    CHECK(l.enter(row, writes, 1).error() == errc::stale_term);  // the history moved
  }
  SECTION("halted") {
    l->apply({{log_index{100}, one_term}, {}});
    CHECK(l.enter(row, writes, 1).error() == errc::halted);
  }
  SECTION("the database was dropped and opened again") {
    l.apply_next({{one_term, 5000}, drop_command{"a.db"}}, one_term);
    l.open("a.db");
    CHECK(l.enter(row, writes, 1).error() == errc::stale_term);
  }
  CHECK(l.head("a.db") == l.committed("a.db"));
  CHECK(row->writes.empty());
}

// ---- names and leadership

TEST_CASE("no two transactions of a cluster have one id") {
  std::set<transaction_id> seen;
  bench l;
  l.open("a.db");
  for (const std::uint64_t in_term : {1U, 2U, 5U, 9U}) {
    l.lead(in_term);
    for (int n = 0; n < 50; ++n) {
      CHECK(seen.insert(*l.next_id(term{in_term})).second);
    }
    l.lead(in_term);  // said twice
    CHECK(seen.insert(*l.next_id(term{in_term})).second);
    CHECK(l.next_id(term{in_term + 1}).error() == errc::stale_term);
    l.lose(in_term);
  }
}

TEST_CASE("leadership that is heard of before it is gained counts on") {
  bench l;
  l.lead(1);
  const auto first = *l.next_id(one_term);
  l->leadership_changed({term{2}, false, "another"});
  CHECK(l->leader().leader_hint == "another");
  l.lead(2);
  CHECK(*l.next_id(term{2}) != transaction_id{term{2}, first.sequence - 1});
}

TEST_CASE("a halted machine leads no more and answers everybody") {
  leading l;
  const auto made = l.send(pages_of_a(1));
  const machine_state::row barrier = l.row_of({});
  {
    const auto held = l->state().hold();
    l->state().proposals().add_barrier(barrier);
  }
  CHECK(l->apply({{log_index{100}, one_term}, {}}) == apply_result::halted);
  CHECK(l.answer_of(made) == proposal_state::unknown);
  CHECK(l.why_of(made) == settle_reason::stopped);
  CHECK(barrier->state == proposal_state::unknown);
  CHECK(l.was_raised(barrier));
  CHECK_FALSE(l->leader().leading);
  CHECK(l.next_id(one_term).error() == errc::halted);
  l.lead(2);
  CHECK_FALSE(l->leader().leading);
}

TEST_CASE("a halt takes what is not committed off the heads") {
  leading l;
  static_cast<void>(l.send(pages_of_a(1)));
  const page_store::pin on_head = l.store("a.db")->pin_head();
  REQUIRE(l.head("a.db") == version_number{1});
  CHECK(l->apply({{log_index{100}, one_term}, {}}) == apply_result::halted);
  CHECK(l.head("a.db") == version_number{0});
  CHECK(on_head.invalidated());
}

TEST_CASE("a read barrier is answered by what the engine says of it") {
  leading l;
  const auto how = GENERATE(outcome::committed, outcome::not_applied, outcome::unknown);
  const machine_state::row asked = l.row_of({});
  const proposal_token token = [&] {
    const auto held = l->state().hold();
    return l->state().proposals().add_barrier(asked);
  }();
  l->settled(token, how, settle_reason::none);
  const bool good = how == outcome::committed;
  CHECK(asked->state == (good ? proposal_state::applied : proposal_state::not_applied));
  CHECK(l.was_raised(asked));
  l->settled(token, outcome::committed, settle_reason::none);  // a second time: nobody is there
}

// ---- the proposer

namespace {

/// A proposer on a leading machine, and one writer of "a.db" as the VFS would be one.
struct proposing {
  leading l;
  proposer on;
  std::vector<database_write> changes;
  std::vector<page_store::pin> bases;

  explicit proposing(proposer_options options = {})
      : on(l.port(), l.machine().state(), l.machine(), options) {}

  commit_result commit(std::vector<change> wanted) {
    changes.clear();
    bases.clear();
    bases.reserve(wanted.size());
    for (const change& one : wanted) {
      const auto target = *on.database_named(one.name);
      const auto store = target->store();
      bases.push_back(store->pin_head());
      REQUIRE(on.writers().try_acquire(*target, this));
      const auto ticket = on.begin_write(*store, bases.back());
      REQUIRE(ticket);
      database_write made;
      made.target = target;
      made.store = store;
      made.base = &bases.back();
      made.writer = this;
      made.ticket = *ticket;
      made.pages = painted(one, store, bases.back(), made.page_count);
      changes.push_back(std::move(made));
    }
    return on.commit(changes);
  }
  void apply_what_is_proposed() {
    for (const auto& one : std::exchange(l.engine.proposed, {})) {
      l.apply_next(one.entry, one.expected);
    }
  }
};

}  // namespace

TEST_CASE("a commit through the proposer opens its databases and returns when it is applied") {
  proposing p;
  p.l.engine.on_wait = [&] { p.apply_what_is_proposed(); };
  const commit_result first = p.commit({{"new.db", {{1, 1}}}, {"a.db", {{1, 2}}}});
  CHECK_FALSE(first.error);
  CHECK(p.l->outcome_of(first.id) == transaction_outcome::committed);
  CHECK(p.l.committed("new.db") == version_number{1});
  CHECK(p.on.writers().holder_of(**p.on.database_named("a.db")) == nullptr);
  REQUIRE(p.changes[0].committed);
  CHECK(p.changes[0].target->name() == "a.db");  // by name now
  CHECK(p.changes[0].committed->version() == version_number{1});
  CHECK(p.on.counters().transactions == 1);
}

TEST_CASE("a writer's slot goes to whoever comes, but at last to who has waited often in vain") {
  proposing p;
  writer_queue& turns = p.on.writers();
  const auto target = *p.on.database_named("a.db");
  const char owners[] = {'a', 'b'};
  std::uint32_t waits = 0;
  REQUIRE(turns.try_acquire(*target, &owners[0]));
  bool comes_first = false;
  p.l.engine.on_wait = [&] {  // whoever has it takes it again at once
    turns.release(*target, &owners[0]);
    comes_first = turns.try_acquire(*target, &owners[0]);
  };
  for (std::uint32_t vain = 0; vain < writer_queue::waits_max; ++vain) {
    CHECK(turns.wait(*target, &owners[1], waits) == writer_queue::waited::called);
    CHECK(comes_first);
  }
  CHECK(turns.wait(*target, &owners[1], waits) == writer_queue::waited::given);
  CHECK_FALSE(comes_first);
  CHECK(turns.holder_of(*target) == &owners[1]);
  turns.release(*target, &owners[1]);
  CHECK(turns.try_acquire(*target, &owners[0]));
}

TEST_CASE("of two who wait for a writer's slot in vain the one who did so for longer is given it") {
  proposing p;
  writer_queue& turns = p.on.writers();
  const auto target = *p.on.database_named("a.db");
  const char owners[] = {'a', 'b', 'c'};
  std::uint32_t longer = writer_queue::waits_max + 1;
  std::uint32_t shorter = writer_queue::waits_max;
  REQUIRE(turns.try_acquire(*target, &owners[0]));
  auto got = writer_queue::waited::a_slice;
  bool both = false;
  p.l.engine.on_wait = [&] {
    if (std::exchange(both, true)) {
      turns.release(*target, &owners[0]);
    } else {
      got = turns.wait(*target, &owners[1], longer);
    }
  };
  CHECK(turns.wait(*target, &owners[2], shorter) == writer_queue::waited::a_slice);
  CHECK(got == writer_queue::waited::given);
  CHECK(turns.holder_of(*target) == &owners[1]);
}

TEST_CASE("what lost leadership means to a commit is said in its error") {
  proposing p;
  p.l.engine.on_wait = [&] { p.l.lose(1); };
  const commit_result lost = p.commit({{"a.db", {{1, 1}}}});
  CHECK(lost.error == errc::leadership_lost);
  CHECK(lost.error == failure::outcome_unknown);
  CHECK(p.on.explain(lost.error).find("another") != std::string::npos);
}

TEST_CASE("a commit that is refused may be run again") {
  proposing p;
  p.l.engine.on_propose = [&](const auto& one) {
    p.l->settled(one.token, outcome::not_applied, settle_reason::busy);
  };
  const commit_result refused = p.commit({{"a.db", {{1, 1}}}});
  CHECK(refused.error == failure::not_applied);
  CHECK(refused.error != errc::busy);  // the pages are gone
  CHECK(p.l.head("a.db") == version_number{0});
}

TEST_CASE("a commit whose limit passes is unknown, and its fate is known later") {
  proposing p;
  const commit_result left = p.commit({{"a.db", {{1, 1}}}});
  CHECK(left.error == errc::timed_out);
  CHECK(p.l->outcome_of(left.id) == transaction_outcome::undecided);
  p.apply_what_is_proposed();
  CHECK(p.l->outcome_of(left.id) == transaction_outcome::committed);
}

TEST_CASE("too many bytes on their way make a commit busy and leave everything in place") {
  proposing p({.in_flight_bytes = 0});
  p.l.engine.on_wait = [&] {
    p.l.engine.on_wait = nullptr;
    proposing other({.in_flight_bytes = 0});
    other.l.engine.on_wait = [&] { other.apply_what_is_proposed(); };
    CHECK_FALSE(other.commit({{"a.db", {{1, 1}}}}).error);
    // From inside the wait of the first commit: its bytes are on their way.
    const auto target = *p.on.database_named("b.db");
    const auto base = target->store()->pin_head();
    REQUIRE(p.on.writers().try_acquire(*target, &other));
    std::vector<database_write> second(1);
    second[0].target = target;
    second[0].store = target->store();
    second[0].base = &base;
    second[0].writer = &other;
    second[0].ticket = *p.on.begin_write(*target->store(), base);
    second[0].pages = painted({"b.db", {{1, 1}}}, target->store(), base, second[0].page_count);
    CHECK(p.on.commit(second).error == errc::busy);
    CHECK(second[0].pages.size() == 1);
    CHECK(p.on.writers().holder_of(*target) == &other);
    p.apply_what_is_proposed();
  };
  CHECK_FALSE(p.commit({{"a.db", {{1, 1}}}}).error);
}

TEST_CASE("too many entries on their way make a commit busy, until one is settled") {
  proposing p;
  p.l.engine.on_wait = [&] { p.apply_what_is_proposed(); };
  const machine_state::row large = p.l.row_of({one_term, 1'000'000});
  const proposal_token first = [&] {
    const auto held = p.l->state().hold();
    return p.l->state().proposals().add(large, limits::proposals_in_flight);
  }();
  CHECK_FALSE(p.commit({{"a.db", {{1, 1}}}}).error);  // this one is on its way from here on
  CHECK(p.commit({{"a.db", {{1, 2}}}}).error == errc::busy);
  CHECK(p.l.head("a.db") == p.l.committed("a.db"));
  p.l.machine().settled(first, outcome::committed, settle_reason::none);
  CHECK_FALSE(p.commit({{"a.db", {{1, 3}}}}).error);
}

TEST_CASE("bytes are on their way until their commit is answered, whatever the answer") {
  proposing p({.in_flight_bytes = 0});
  const auto answer = [&] { p.apply_what_is_proposed(); };
  p.l.engine.on_wait = answer;
  CHECK_FALSE(p.commit({{"a.db", {{1, 1}}}}).error);
  p.l.engine.on_wait = nullptr;  // nobody answers, and the limit passes
  CHECK(p.commit({{"a.db", {{1, 2}}}}).error == errc::timed_out);
  p.apply_what_is_proposed();
  p.l.engine.on_wait = answer;
  CHECK_FALSE(p.commit({{"a.db", {{1, 3}}}}).error);
  p.l.engine.on_wait = [&] { p.l.lose(1); };
  CHECK(p.commit({{"a.db", {{1, 4}}}}).error == errc::leadership_lost);
  p.l.lead(2);
  p.l.engine.on_wait = answer;
  CHECK(p.commit({{"a.db", {{1, 5}}}}).error != errc::busy);
}

TEST_CASE("a commit is cut to what the engine takes") {
  proposing p;
  p.l.engine.entry_bytes = 700;
  p.l.engine.on_wait = [&] {
    for (const auto& one : p.l.engine.proposed) {
      CHECK(one.entry.size() <= 700);
    }
    CHECK(p.l.engine.proposed.size() == 3);
    p.apply_what_is_proposed();
  };
  CHECK_FALSE(p.commit({{"a.db", {{1, 1}, {2, 2}, {3, 3}}}}).error);
  p.l.engine.entry_bytes = 300;
  CHECK(p.commit({{"a.db", {{4, 1}}}}).error == errc::too_large);
  CHECK(p.on.writers().holder_of(**p.on.database_named("a.db")) == nullptr);
}

namespace {

/// One transaction of three parts, of 700 bytes at most.
struct three_parts : proposing {
  explicit three_parts(const proposer_options& options = {}) : proposing(options) {
    l.engine.entry_bytes = 700;
  }
  commit_result commit_it() { return commit({{"a.db", {{1, 1}, {2, 2}, {3, 3}}}}); }
  void refuse(proposal_token which) {
    l->settled(which, outcome::not_applied, settle_reason::busy);
    std::erase_if(l.engine.proposed, [&](const auto& one) { return one.token == which; });
  }
  /// Nothing of it is left where a later commit would meet it.
  void check_it_is_gone() {
    CHECK(l.head("a.db") == l.committed("a.db"));
    CHECK(on.writers().holder_of(**on.database_named("a.db")) == nullptr);
    {
      const auto held = l->state().hold();
      CHECK(l->state().proposals().rows().empty());
    }
    l.engine.on_propose = nullptr;
    l.engine.on_wait = [&] { apply_what_is_proposed(); };
    apply_what_is_proposed();
    on.undo_orphans();
    apply_what_is_proposed();
    {
      const auto held = l->state().hold();
      CHECK(l->state().assembly().entries_held() == 0);
    }
    CHECK_FALSE(commit({{"a.db", {{1, 9}}}}).error);
  }
};

}  // namespace

TEST_CASE("a part that finds no room waits for it, however often, and the transaction commits") {
  const std::uint64_t which = GENERATE(0U, 1U, 2U);
  three_parts p;
  std::uint64_t refusals = 0;
  p.l.engine.on_propose = [&](const auto& one) {
    if (p.l.engine.proposed.size() == which + 1 && refusals < 3) {
      ++refusals;
      p.refuse(one.token);
    }
  };
  int waits = 0;
  p.l.engine.on_wait = [&] {
    ++waits;
    if (p.l.engine.proposed.size() == 3) {
      p.apply_what_is_proposed();
    }
  };
  const commit_result made = p.commit_it();
  CHECK_FALSE(made.error);
  CHECK(refusals == 3);
  CHECK(waits == 4);  // and the one for the answer
  CHECK(p.l.committed("a.db") == version_number{1});
  p.check_it_is_gone();
}

TEST_CASE("a part is refused after propose() has returned, and before the next: it waits as well") {
  std::vector<proposal_token> seen;
  three_parts narrow({.in_flight_bytes = 0});  // one part at a time
  narrow.l.engine.on_propose = [&](const auto& one) { seen.push_back(one.token); };
  bool refused = false;
  narrow.l.engine.on_wait = [&] {
    if (seen.size() == 2 && !std::exchange(refused, true)) {
      narrow.refuse(seen.back());
    } else {
      narrow.apply_what_is_proposed();
    }
  };
  CHECK_FALSE(narrow.commit_it().error);
  CHECK(refused);
  CHECK(seen.size() == 4);
  CHECK(seen[2] != seen[1]);  // each call has a token of its own
  narrow.check_it_is_gone();
}

TEST_CASE("a part that is refused when a later one is under way ends the transaction") {
  three_parts p;
  p.l.engine.on_propose = [&](const auto& one) {
    if (p.l.engine.proposed.size() == 3) {
      p.refuse(proposal_token{one.token.value - 1});
    }
  };
  const commit_result refused = p.commit_it();
  CHECK(refused.error == errc::overloaded);
  p.l.engine.on_propose = nullptr;
  p.apply_what_is_proposed();
  CHECK(p.l.committed("a.db") == version_number{0});
  p.check_it_is_gone();
}

TEST_CASE("a transaction that never finds room is given up after the limit, and was not applied") {
  const std::uint64_t which = GENERATE(0U, 1U, 2U);
  three_parts p({.commit_timeout = milliseconds{200}});
  std::uint64_t taken = 0;
  p.l.engine.on_propose = [&](const auto& one) {
    if (taken == which) {
      p.refuse(one.token);
    } else {
      ++taken;
    }
  };
  int waits = 0;
  p.l.engine.on_wait = [&] {
    if (++waits == 10) {
      p.apply_what_is_proposed();  // that is progress, if there was a part before: it begins anew
    }
  };
  const commit_result refused = p.commit_it();
  CHECK(refused.error == errc::overloaded);
  CHECK(refused.error == failure::not_applied);
  CHECK(waits == (which == 0 ? 20 : 30));
  CHECK(p.l->outcome_of(refused.id) != transaction_outcome::committed);
  p.check_it_is_gone();
}

TEST_CASE("leadership that is lost while a part waits is told, and no other part is proposed") {
  three_parts p;
  std::size_t proposed = 0;
  p.l.engine.on_propose = [&](const auto& one) {
    if (++proposed > 1) {
      p.refuse(one.token);
    }
  };
  int waits = 0;
  p.l.engine.on_wait = [&] {
    if (++waits == 3) {
      p.l.lose(1);
    }
  };
  const commit_result lost = p.commit_it();
  CHECK(lost.error == errc::not_leader);  // certain: the part that commits was in nobody's log
  CHECK(waits == 3);
  CHECK(proposed == 1 + 3);
  p.l.lead(2);
  p.check_it_is_gone();
}

TEST_CASE("a replica that stops while a part waits lets its commit go") {
  three_parts p;
  p.l.engine.on_propose = [&](const auto& one) {
    if (p.l.engine.proposed.size() == 2) {
      p.refuse(one.token);
    }
  };
  p.l.engine.on_wait = [&] { p.l->state().end(); };
  CHECK(p.commit_it().error == errc::stopped_in_flight);
  CHECK(p.on.writers().holder_of(**p.on.database_named("a.db")) == nullptr);
}

TEST_CASE("of a large transaction no more is under way than leaves room for others") {
  // A quarter of it, and three entries of others have room beside one part.
  three_parts p({.in_flight_bytes = std::size_t{4} * 700});
  std::size_t most = 0;
  p.l.engine.on_propose = [&](const auto&) { most = std::max(most, p.l.engine.proposed.size()); };
  bool asked = false;
  p.l.engine.on_wait = [&] {
    if (!std::exchange(asked, true)) {
      const auto target = *p.on.database_named("b.db");
      const auto base = target->store()->pin_head();
      REQUIRE(p.on.writers().try_acquire(*target, &asked));
      std::vector<database_write> other(1);
      other[0].target = target;
      other[0].store = target->store();
      other[0].base = &base;
      other[0].writer = &asked;
      other[0].ticket = *p.on.begin_write(*target->store(), base);
      other[0].pages = painted({"b.db", {{1, 1}}}, target->store(), base, other[0].page_count);
      CHECK_FALSE(p.on.commit(other).error);
      CHECK(std::exchange(most, 0) <= 3);  // one part, what opens the other database, and its entry
    }
    p.apply_what_is_proposed();
  };
  CHECK_FALSE(p.commit_it().error);
  CHECK(asked);
  CHECK(most == 1);
}

TEST_CASE("a transaction that the engine never has room for is refused before its first part") {
  three_parts p;
  p.l.engine.largest = {1000, "half of what was asked for"};
  const commit_result refused = p.commit_it();
  CHECK(refused.error == errc::too_large);
  CHECK(refused.error == failure::refused);
  INFO(refused.text);
  CHECK(refused.text.find("1000 at most") != std::string::npos);
  CHECK(refused.text.find("half of what was asked for") != std::string::npos);
  CHECK(p.l.engine.proposed.empty());
  CHECK(p.changes.size() == 1);
  CHECK_FALSE(p.changes[0].committed);
  p.check_it_is_gone();
}

TEST_CASE("a submitted command returns when it is applied, or says why not") {
  proposing p;
  p.l.engine.on_wait = [&] { p.apply_what_is_proposed(); };
  CHECK_FALSE(p.on.submit(drop_command{"a.db"}));
  CHECK(p.l.all().count("a.db") == 0);
  CHECK_FALSE(p.on.submit(barrier_command{}));
  CHECK(p.on.submit(drop_command{"no name"}) == errc::malformed);
  p.l.lose(1);
  CHECK(p.on.submit(barrier_command{}) == errc::not_leader);
}

}  // namespace fsm_leader_test
