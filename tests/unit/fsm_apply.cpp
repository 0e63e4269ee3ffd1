// What entries do to a machine, whoever proposed them.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "codec_support.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "support/manual_consensus.hpp"

namespace fsm_apply_test {
namespace {

using namespace quorlite::tests;

constexpr term first_term{1};

/// A leader that writes a log, and a follower that reads it.
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
  bench::sent commit(std::vector<change> changes, std::size_t at_most = 1U << 20U) {
    bench::sent made = leader.commit(std::move(changes), at_most);
    REQUIRE_FALSE(made.error);
    CHECK(leader.answer_of(made) == proposal_state::applied);
    return made;
  }
  /// Both commit it.
  bench::sent both(std::vector<change> changes, std::size_t at_most = 1U << 20U) {
    bench::sent made = commit(std::move(changes), at_most);
    CHECK(follower.apply_all(made) == apply_result::applied);
    return made;
  }
};

std::vector<change> some_pages(std::uint8_t value) {
  return {{"a.db", {{1, value}, {2, value}, {3, value}}}};
}
constexpr std::size_t one_page_an_entry = 700;

/// Decodes an entry, lets the caller change it, and encodes it again.
template <class Edit>
bytes edited(bytes_view entry, Edit edit) {
  auto decoded = native::decode(entry, lock_byte);
  REQUIRE(decoded);
  edit(*decoded, std::get<write_set_command>(decoded->body));
  bytes out;
  REQUIRE_FALSE(native::encode(*decoded, out, lock_byte));
  return out;
}

}  // namespace

TEST_CASE("what a follower builds is what the leader had on its head") {
  pair p;
  for (std::uint8_t round = 1; round <= 20; ++round) {
    p.both({{"a.db", {{1, round}, {round == 6 ? 7U : round, round}}, 50U - round}});
    CHECK(p.leader.copy("a.db") == p.follower.copy("a.db"));
    CHECK(p.leader.is_sound());
  }
  CHECK(p.leader.copy("a.db").state.version == version_number{20});
  CHECK(p.leader->applied() == p.follower->applied());
  CHECK(p.leader.snapshot() == p.follower.snapshot());
}

TEST_CASE("an entry built on another version is refused and changes nothing") {
  pair p;
  p.both(some_pages(1));
  const bench::sent stale = p.commit(some_pages(2));
  p.commit(some_pages(3));
  const auto before = p.follower.all();
  const bytes behind = edited(stale.entries[0], [](command&, write_set_command& frames) {
    frames.databases[0].base_version = version_number{7};
  });
  CHECK(p.follower.apply_next(behind, first_term) == apply_result::applied);
  CHECK(p.follower.all() == before);
  CHECK(p.follower->applied().index == log_index{4});
  CHECK(p.follower->counters().conflicts == 1);
  CHECK(p.follower->outcome_of(stale.id) == transaction_outcome::undecided);
}

TEST_CASE("an entry built on another history with the same version is refused") {
  pair p;
  p.both(some_pages(1));
  const bench::sent next = p.commit(some_pages(2));
  const auto before = p.follower.all();
  const bytes other = edited(next.entries[0], [](command&, write_set_command& frames) {
    frames.databases[0].base_hash ^= 1U;
  });
  CHECK(p.follower.apply_next(other, first_term) == apply_result::applied);
  CHECK(p.follower.all() == before);
  CHECK(p.follower->counters().conflicts == 1);
  CHECK_FALSE(p.follower->health().halted);
}

TEST_CASE("an entry is refused if its database was never opened, or was dropped") {
  pair p;
  const bench::sent made = p.commit(some_pages(1));
  bench other;
  CHECK(other.apply_next(made.entries[0], first_term) == apply_result::applied);
  CHECK(other->counters().malformed == 1);
  CHECK(other.all().empty());
  p.follower.apply_next({{first_term, 999}, drop_command{"a.db"}}, first_term);
  CHECK(p.follower.apply_all(made) == apply_result::applied);
  CHECK(p.follower->counters().malformed == 1);
  CHECK(p.follower.all().count("a.db") == 0);
}

TEST_CASE("a replay of what is applied touches nothing") {
  pair p;
  const bench::sent made = p.both(some_pages(1));
  const bytes before = p.follower.snapshot();
  for (std::uint64_t index = 1; index <= 3; ++index) {
    CHECK(p.follower.apply({{log_index{index}, first_term}, made.entries[0]}) ==
          apply_result::already);
  }
  CHECK(p.follower->skip({log_index{2}, first_term}) == apply_result::already);
  CHECK(p.follower.snapshot() == before);
}

TEST_CASE("a hole in the log halts a replica whose engine has none") {
  pair p;
  const bench::sent made = p.commit(some_pages(1));
  const log_index far{p.follower->applied().index.value + 2};
  CHECK(p.follower.apply({{far, first_term}, made.entries[0]}) == apply_result::halted);
  const health state = p.follower->health();
  CHECK(state.halted);
  CHECK(state.error == errc::corrupt);
  CHECK(state.what.find("log index 4") != std::string::npos);
  CHECK(p.follower.apply_next(made.entries[0], first_term) == apply_result::halted);
  CHECK(p.follower->skip({far, first_term}) == apply_result::halted);
  CHECK_FALSE(p.follower->take_snapshot());
  CHECK(p.follower->flush(far) == errc::halted);
}

TEST_CASE("a hole is nothing special where the engine hides entries") {
  basic_bench<basic_manual_consensus<true, false>> follower;
  bench leader;
  leader.lead(1);
  leader.open("a.db");
  follower.open("a.db");
  const bench::sent made = leader.commit(some_pages(1));
  CHECK(follower.apply({{log_index{17}, first_term}, made.entries[0]}) == apply_result::applied);
  CHECK(follower.copy("a.db") == leader.copy("a.db"));
}

TEST_CASE("skipped entries move the position and nothing else") {
  pair p;
  const auto before = p.follower.all();
  CHECK(p.follower->skip({log_index{9}, term{3}}) == apply_result::applied);
  CHECK(p.follower->applied() == log_position{log_index{9}, term{3}});
  CHECK(p.follower->skip({log_index{10}, {}}) == apply_result::applied);
  CHECK(p.follower->applied() == log_position{log_index{10}, term{3}});
  CHECK(p.follower.all() == before);
  CHECK(p.follower.apply_next(bytes{}, term{3}) == apply_result::applied);
  CHECK(p.follower->applied().index == log_index{11});
}

TEST_CASE("a damaged entry halts the replica before it changes anything") {
  pair p;
  bench::sent made = p.commit(some_pages(1));
  const auto before = p.follower.all();
  made.entries[0][made.entries[0].size() / 2] ^= std::byte{1};
  CHECK(p.follower.apply_next(made.entries[0], first_term) == apply_result::halted);
  CHECK(p.follower->health().error == errc::corrupt);
  CHECK(p.follower->health().what.find("log index 3") != std::string::npos);
  CHECK(p.follower->applied().index == log_index{2});
  CHECK(p.follower.all() == before);
}

TEST_CASE("bytes that are not ours are refused and counted") {
  pair p;
  CHECK(p.follower.apply_next(quorlite::tests::from_text("not an entry at all"), first_term) ==
        apply_result::applied);
  CHECK(p.follower->counters().malformed == 1);
  CHECK(p.follower->applied().index == log_index{3});
  CHECK_FALSE(p.follower->health().halted);
}

TEST_CASE("an entry of a newer version halts the replica until it is upgraded") {
  pair p;
  bench::sent made = p.commit(some_pages(1));
  bytes newer = made.entries[0];
  newer[4] = std::byte{3};
  detail::store_little_endian(newer.data() + detail::entry_crc_offset, detail::entry_crc(newer));
  CHECK(p.follower.apply_next(newer, first_term) == apply_result::halted);
  CHECK(p.follower->health().error == errc::needs_upgrade);
}

TEST_CASE("another result than the leader's halts the replica and says where") {
  pair p;
  p.both(some_pages(1));
  const bench::sent made = p.commit(some_pages(2));
  const auto before = p.follower.all();
  const bytes other = edited(made.entries[0], [](command&, write_set_command& frames) {
    frames.databases[0].result_hash ^= 1U;
  });
  CHECK(p.follower.apply_next(other, first_term) == apply_result::halted);
  const health state = p.follower->health();
  CHECK(state.error == errc::diverged);
  CHECK(state.what.find("'a.db'") != std::string::npos);
  CHECK(state.what.find("log index 4") != std::string::npos);
  CHECK(p.follower.all() == before);
}

TEST_CASE("a delta that gives another page than the leader's halts the replica") {
  pair p;
  p.both(some_pages(1));
  const bench::sent made = p.commit(some_pages(2));
  const bytes other = edited(made.entries[0], [](command&, write_set_command& frames) {
    REQUIRE(frames.databases[0].pages[0].encoding == page_encoding::delta);
    frames.databases[0].pages[0].hash ^= 1U;
  });
  CHECK(p.follower.apply_next(other, first_term) == apply_result::halted);
  CHECK(p.follower->health().error == errc::diverged);
}

TEST_CASE("a full page whose hash is wrong in the entry itself is refused alike everywhere") {
  pair p;
  const bench::sent made = p.commit(some_pages(2));
  const bytes other = edited(made.entries[0], [](command&, write_set_command& frames) {
    REQUIRE(frames.databases[0].pages[0].encoding == page_encoding::full);
    frames.databases[0].pages[0].hash ^= 1U;
  });
  CHECK(p.follower.apply_next(other, first_term) == apply_result::applied);
  CHECK(p.follower->counters().malformed == 1);
  CHECK_FALSE(p.follower->health().halted);
}

TEST_CASE("a database keeps the page size that its first entry gave it") {
  pair p;
  p.both({{"a.db", {{1, 1}}}});
  const page_store::state base = p.follower.copy("a.db").state;
  database_write_set frames;
  frames.name = "a.db";
  frames.base_version = base.version;
  frames.base_hash = base.hash;
  frames.page_size = 1024;
  frames.page_count = 1;
  frames.pages.push_back({page_number{1}, page_encoding::zero, 0, {}});
  const command other{{first_term, 50}, write_set_command{0, true, {frames}}};
  CHECK(p.follower.apply_next(other, first_term) == apply_result::applied);
  CHECK(p.follower->counters().malformed == 1);
  CHECK(p.follower.copy("a.db").state == base);
}

TEST_CASE("an entry that adds too many pages without carrying them is refused") {
  pair p;
  p.both({{"a.db", {{1, 1}}}});
  const bench::sent made = p.commit({{"a.db", {{1, 2}}}});
  const bytes huge = edited(made.entries[0], [](command&, write_set_command& frames) {
    frames.databases[0].page_count = limits::page_count_max;
  });
  CHECK(p.follower.apply_next(huge, first_term) == apply_result::applied);
  CHECK(p.follower->counters().malformed == 1);
}

TEST_CASE("a few bytes that stand for more pages than a transaction may make are refused unread") {
  pair p;
  constexpr std::uint32_t page_size = 65536;
  const bytes zeros(page_size);
  write_set_command frames;
  database_write_set& one = frames.databases.emplace_back();
  one.name = "a.db";
  one.page_size = page_size;
  while (one.pages.size() * page_size <= limits::transaction_bytes) {
    const page_number next{static_cast<std::uint32_t>(++one.page_count)};
    if (next.value != lock_page(page_size, lock_byte)) {
      const std::uint64_t hash = page_hash(next, zeros);
      one.pages.push_back({next, page_encoding::zero, hash, {}});
      one.result_hash += hash;
    }
  }
  bytes entry;
  REQUIRE_FALSE(native::encode({transaction_id{first_term, 99}, frames}, entry, lock_byte));
  CHECK(entry.size() < 400'000);
  const auto before = p.follower.all();
  CHECK(p.follower.apply_next(entry, first_term) == apply_result::applied);
  CHECK(p.follower->counters().malformed == 1);
  CHECK(p.follower->counters().transactions == 0);
  CHECK(p.follower.all() == before);
}

TEST_CASE("frames of a transaction of several entries are invisible until its commit") {
  pair p;
  p.both(some_pages(1));
  const auto before = p.follower.all();
  const bench::sent made = p.commit({{"a.db", {{7, 1}, {8, 1}, {9, 1}}}}, one_page_an_entry);
  REQUIRE(made.entries.size() == 3);
  for (std::size_t n = 0; n + 1 < made.entries.size(); ++n) {
    CHECK(p.follower.apply_next(made.entries[n], first_term) == apply_result::applied);
    CHECK(p.follower.all() == before);
  }
  CHECK(p.follower.apply_next(made.entries.back(), first_term) == apply_result::applied);
  CHECK(p.follower.all() == p.leader.all());
  CHECK(p.follower.snapshot() == p.leader.snapshot());
}

TEST_CASE("an undo drops what is staged, and the commit that follows all the same is refused") {
  pair p;
  const bench::sent made = p.commit(some_pages(1), one_page_an_entry);
  const auto before = p.follower.all();
  p.follower.apply_next(made.entries[0], first_term);
  p.follower.apply_next({{first_term, 77}, undo_command{made.id}}, first_term);
  p.follower.apply_next(made.entries[1], first_term);
  p.follower.apply_next(made.entries[2], first_term);
  CHECK(p.follower.all() == before);
  CHECK(p.follower->counters().malformed == 2);
  // An undo of what nobody knows is nothing special.
  CHECK(p.follower.apply_next({{first_term, 78}, undo_command{{term{9}, 9}}}, first_term) ==
        apply_result::applied);
}

TEST_CASE("the next transaction on a database drops what an abandoned one staged") {
  pair p;
  bench other;
  other.open("a.db");
  other.lead(1);
  const bench::sent abandoned = p.leader.send(some_pages(1), one_page_an_entry);
  p.follower.apply_next(abandoned.entries[0], first_term);
  other.apply_next(bytes{}, first_term);
  other.apply_next(bytes{}, first_term);
  other.next_id(first_term).value();  // ids differ from those of the first leader
  const bench::sent next = other.commit(some_pages(2));
  p.follower.apply_all(next);
  CHECK(p.follower.copy("a.db") == other.copy("a.db"));
  const auto before = p.follower.all();
  p.follower.apply_next(abandoned.entries[1], first_term);
  p.follower.apply_next(abandoned.entries[2], first_term);
  CHECK(p.follower.all() == before);
  CHECK(p.follower->counters().malformed == 2);
}

TEST_CASE("a missing part drops the transaction on every replica") {
  pair p;
  const bench::sent made = p.commit(some_pages(1), one_page_an_entry);
  const auto before = p.follower.all();
  p.follower.apply_next(made.entries[0], first_term);
  p.follower.apply_next(made.entries[2], first_term);
  p.follower.apply_next(made.entries[1], first_term);
  CHECK(p.follower.all() == before);
  CHECK(p.follower->counters().malformed == 2);
}

TEST_CASE("staged transactions are bounded, and one too many is refused whole") {
  bench machine;
  machine.lead(1);
  std::vector<bench::sent> sent;
  for (std::size_t n = 0; n <= limits::staged_transactions; ++n) {
    const std::string name = "db" + std::to_string(n);
    machine.open(name);
    sent.push_back(machine.send({{name, {{1, 1}, {2, 2}}}}, one_page_an_entry));
    REQUIRE(sent.back().entries.size() == 2);
  }
  for (const bench::sent& one : sent) {
    machine.apply_next(one.entries[0], first_term);
  }
  CHECK(machine.answer_of(sent.back()) == proposal_state::conflict);
  CHECK(machine->counters().malformed == 1);
  for (const bench::sent& one : sent) {
    machine.apply_next(one.entries[1], first_term);
  }
  for (std::size_t n = 0; n < limits::staged_transactions; ++n) {
    CHECK(machine.answer_of(sent[n]) == proposal_state::applied);
  }
  CHECK(machine.copy("db64").state.version == version_number{0});
}

TEST_CASE("transactions on two databases may come interleaved") {
  pair p;
  const bench::sent on_a = p.leader.send(some_pages(1), one_page_an_entry);
  const bench::sent on_b = p.leader.send({{"b.db", {{1, 9}, {2, 9}}}}, one_page_an_entry);
  REQUIRE(on_a.entries.size() == 3);
  REQUIRE(on_b.entries.size() == 2);
  for (bench* one : {&p.leader, &p.follower}) {
    one->apply_next(on_a.entries[0], first_term);
    one->apply_next(on_b.entries[0], first_term);
    one->apply_next(on_a.entries[1], first_term);
    one->apply_next(on_b.entries[1], first_term);
    CHECK(one->copy("b.db").state.version == version_number{1});
    CHECK(one->copy("a.db").state.version == version_number{0});
    one->apply_next(on_a.entries[2], first_term);
  }
  CHECK(p.leader.all() == p.follower.all());
  CHECK(p.leader.answer_of(on_a) == proposal_state::applied);
  CHECK(p.leader.answer_of(on_b) == proposal_state::applied);
}

TEST_CASE("one entry commits two databases together or neither") {
  pair p;
  p.both({{"a.db", {{1, 1}}}, {"b.db", {{1, 2}, {2, 3}}}});
  CHECK(p.leader.all() == p.follower.all());
  const bench::sent next = p.commit({{"a.db", {{1, 4}}}, {"b.db", {{1, 5}}}});
  const auto before = p.follower.all();
  const bytes half = edited(next.entries[0], [](command&, write_set_command& frames) {
    frames.databases[1].base_hash ^= 1U;
  });
  CHECK(p.follower.apply_next(half, first_term) == apply_result::applied);
  CHECK(p.follower.all() == before);
  CHECK(p.follower->counters().conflicts == 1);
}

TEST_CASE("opening and dropping may be said twice") {
  bench machine;
  machine.open("a.db");
  machine.open("a.db");
  CHECK(machine.all().size() == 1);
  machine.lead(1);
  machine.commit(some_pages(1));
  machine.open("a.db");
  CHECK(machine.copy("a.db").state.version == version_number{1});
  const command drop{{first_term, 500}, drop_command{"a.db"}};
  CHECK(machine.apply_next(drop, first_term) == apply_result::applied);
  CHECK(machine.apply_next(drop, first_term) == apply_result::applied);
  CHECK(machine.all().empty());
  machine.open("a.db");
  CHECK(machine.copy("a.db").state == page_store::state{});
  CHECK_FALSE(machine->health().halted);
}

TEST_CASE("a reader that stands on a dropped database reads on") {
  bench machine;
  machine.open("a.db");
  machine.lead(1);
  machine.commit(some_pages(1));
  const auto old = machine.store("a.db");
  const auto standing = old->pin_committed();
  const database_copy before = copy_of(old, standing);
  machine.apply_next({{first_term, 500}, drop_command{"a.db"}}, first_term);
  CHECK(copy_of(old, standing) == before);
}

TEST_CASE("no more databases exist than the limit allows") {
  bench machine;
  for (std::size_t n = 0; n < limits::databases_before_history; ++n) {
    REQUIRE(machine.open("db" + std::to_string(n)) == apply_result::applied);
  }
  CHECK(machine.open("one.more") == apply_result::applied);
  CHECK(machine->counters().malformed == 1);
  CHECK(machine.all().size() == limits::databases_before_history);
  machine.apply_next({{first_term, 500}, drop_command{"db0"}}, first_term);
  CHECK(machine.open("one.more") == apply_result::applied);
  CHECK(machine.all().count("one.more") == 1);
}

TEST_CASE("names that local callers hold do not stand in the way of the log") {
  bench machine;
  registry::list held;
  for (std::size_t n = 0; n < 100'000; ++n) {
    auto one = machine->databases().find_or_make("held" + std::to_string(n));
    if (!one) {
      CHECK(one.error() == errc::too_many_databases);
      break;
    }
    held.push_back(std::move(*one));
  }
  REQUIRE(held.size() < 100'000);
  CHECK(machine.open("a.db") == apply_result::applied);
  CHECK(machine.all().count("a.db") == 1);
  CHECK(machine->databases().find_or_make("a.db"));
  held.clear();
  CHECK(machine->databases().find_or_make("another"));
}

TEST_CASE("a checkpoint and a barrier change nothing but the position") {
  pair p;
  p.both(some_pages(1));
  const auto before = p.follower.all();
  p.follower.apply_next({{first_term, 60}, checkpoint_command{"a.db"}}, first_term);
  p.follower.apply_next({{first_term, 61}, barrier_command{}}, first_term);
  CHECK(p.follower.all() == before);
  CHECK(p.follower->applied().index == log_index{5});
}

TEST_CASE("the outcome of a transaction is exact once a later term was applied") {
  pair p;
  const bench::sent made = p.both(some_pages(1));
  const transaction_id never{first_term, 4000};
  CHECK(p.follower->outcome_of(made.id) == transaction_outcome::committed);
  CHECK(p.follower->outcome_of(never) == transaction_outcome::undecided);
  p.follower->skip({log_index{4}, term{2}});
  CHECK(p.follower->outcome_of(never) == transaction_outcome::not_committed);
  CHECK(p.follower->outcome_of({term{2}, 1}) == transaction_outcome::undecided);
  basic_bench<basic_manual_consensus<false, true>> without_terms;
  without_terms->skip({log_index{4}, term{2}});
  CHECK(without_terms->outcome_of(never) == transaction_outcome::undecided);
}

TEST_CASE("hostile bytes at the end of a log never move a database") {
  const std::uint64_t seed = 77;
  quorlite::tests::generator random{seed};
  bench leader;
  leader.lead(1);
  leader.open("a.db");
  leader.commit(some_pages(1));
  const bytes state = leader.snapshot();
  const bench::sent made = leader.commit(some_pages(2));
  for (int round = 0; round < 500; ++round) {
    CAPTURE(seed, round);
    bench follower;  // a new one: damage halts
    REQUIRE_FALSE(follower.restore(state));
    const auto before = follower.all();
    bytes hostile = random.below(2) == 0 ? random.some_bytes(random.below(300)) : made.entries[0];
    for (std::uint64_t n = 1 + random.below(4); n > 0 && !hostile.empty(); --n) {
      hostile[random.below(hostile.size())] ^= static_cast<std::byte>(1 + random.below(255));
    }
    if (hostile != made.entries[0]) {
      const apply_result said = follower.apply_next(hostile, first_term);
      CHECK((said == apply_result::halted) == follower->health().halted);
      CHECK(follower.all() == before);
    }
  }
}

}  // namespace fsm_apply_test
