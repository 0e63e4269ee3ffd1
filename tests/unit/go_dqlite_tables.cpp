// go-dqlite's decision tables, row by row: how transactions change state (section 3.1 of its
// description), what each entry does to the state machine (6), what a client is told (5). Each row
// holds go-dqlite's cell in words, and what became of it here. Where go-dqlite stopped the process
// (PANIC), the row says whether that is refused alike on every replica, or cannot come about.
#include <sqlite3.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "codec_support.hpp"
#include "quorlite/detail/legacy/go_dqlite.hpp"
#include "quorlite/detail/machine/transaction.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/testing/detail/raft/node.hpp"
#include "quorlite/testing/simulation.hpp"
#include "support/manual_consensus.hpp"
#include "support/scripted_replica.hpp"

namespace go_dqlite_tables_test {
namespace {

using namespace quorlite::tests;
using enum transaction_state;
using quorlite::tests::from_hex;

/// What a cell of go-dqlite is here.
enum class kept : std::uint8_t {
  as_it_was,      ///< the same for whoever looks on
  better,         ///< a defect of go-dqlite, mended
  refused_alike,  ///< a PANIC: here it has no effect, the same on every replica, and all go on
  cannot_exist,   ///< a PANIC: here no such state can be reached
};

/// One row of a table.
struct row {
  std::string_view situation;
  std::string_view seed;
  kept how;
  std::string_view here;
  void (*check)();
};

bool stopped_the_seed(std::string_view cell) { return cell.find("PANIC") != cell.npos; }

bool is_for_a_panic(kept how) { return how == kept::refused_alike || how == kept::cannot_exist; }

template <std::size_t Size>
void check_rows(const std::array<row, Size>& rows) {
  for (const row& one : rows) {
    INFO(one.situation << ": " << one.seed << "; here: " << one.here);
    CHECK(stopped_the_seed(one.seed) == is_for_a_panic(one.how));
    CHECK_FALSE(one.here.empty());
    one.check();
  }
}

// ---- 3.1 ----------------------------------------------------------------------------------------

enum class event : std::uint8_t { part, commit, undo };

/// Columns: go-dqlite's cells for a follower and for a leader, then what is seen here afterwards.
struct transition {
  event what;
  transaction_state from;
  std::string_view follower;
  std::string_view leader;
  kept how;
  bool staged;
  std::uint64_t version;
  std::uint64_t refused;
};

constexpr std::array transitions{
    transition{event::part, pending, "SQL frames -> writing", "keep the batch -> writing",
               kept::as_it_was, true, 0, 0},
    transition{event::part, writing, "SQL frames -> writing", "keep the batch -> writing",
               kept::as_it_was, true, 0, 0},
    transition{event::part, written, "PANIC", "PANIC", kept::refused_alike, false, 1, 1},
    transition{event::part, undone, "PANIC", "PANIC", kept::refused_alike, false, 0, 1},
    transition{event::part, failed, "PANIC", "-", kept::cannot_exist, false, 0, 0},
    transition{event::commit, pending, "SQL frames -> written", "drop the batches -> written",
               kept::as_it_was, false, 1, 0},
    transition{event::commit, writing, "SQL frames -> written", "drop the batches -> written",
               kept::as_it_was, false, 1, 0},
    transition{event::commit, written, "PANIC", "PANIC", kept::refused_alike, false, 1, 1},
    transition{event::commit, undone, "PANIC", "PANIC", kept::refused_alike, false, 0, 1},
    transition{event::commit, failed, "PANIC", "-", kept::cannot_exist, false, 0, 0},
    transition{event::undo, pending, "SQL undo -> undone", "drop the batches -> undone",
               kept::as_it_was, false, 0, 0},
    transition{event::undo, writing, "SQL undo -> undone", "drop the batches -> undone",
               kept::as_it_was, false, 0, 0},
    transition{event::undo, written, "PANIC invalid written -> undone transition", "PANIC",
               kept::refused_alike, false, 1, 0},
    transition{event::undo, undone, "PANIC", "PANIC", kept::refused_alike, false, 0, 0},
    transition{event::undo, failed, "PANIC", "-", kept::cannot_exist, false, 0, 0},
};

transaction_state state_after(event what) {
  return what == event::part ? writing : what == event::commit ? written : undone;
}

/// Moves a fresh transaction there along legal edges.
transaction in_state(transaction_state wanted) {
  transaction made(transaction_id{term{1}, 1});
  std::string why;
  if (wanted == failed) {
    REQUIRE(made.become(writing, why));
  }
  if (wanted != pending) {
    REQUIRE(made.become(wanted, why));
  }
  return made;
}

constexpr term first_term{1};

/// "a.db" and "b.db" exist.
struct machine : bench {
  machine() {
    open("a.db");
    open("b.db");
  }
  [[nodiscard]] std::uint64_t version(std::string_view name) {
    return store(name)->committed().version.value;
  }
  [[nodiscard]] std::uint64_t head(std::string_view name) {
    return store(name)->head().version.value;
  }
  [[nodiscard]] std::uint64_t refused() {
    return (*this)->counters().malformed + (*this)->counters().conflicts;
  }
  apply_result undo(transaction_id target, term in_term = first_term) {
    return apply_next({{in_term, 800'000 + ++undone_}, undo_command{target}}, in_term);
  }
  /// A base that is stored now needs older entries again exactly if something is staged.
  [[nodiscard]] bool has_staged() {
    REQUIRE_FALSE((*this)->flush((*this)->applied().index));
    return (*this)->durable().index < (*this)->applied().index;
  }

 private:
  std::uint64_t undone_ = 0;
};

struct leading_machine : machine {
  leading_machine() { lead(1); }
};

std::vector<change> three_pages(std::string_view name = "a.db", std::uint8_t value = 1) {
  return {{std::string(name), {{1, value}, {2, value}, {3, value}}}};
}
constexpr std::size_t one_page_an_entry = 700;

enum class role : std::uint8_t { follower, leader, deposed };

/// Carries a row out on a machine in one role: the entries are the same in all of them.
void carry_out(const transition& row, role as, bytes& left_behind) {
  machine m;
  m.lead(1);
  const bool whole = row.what == event::commit && row.from == pending;
  const auto sent = m.send(three_pages(), whole ? 1U << 20U : one_page_an_entry);
  REQUIRE(sent.entries.size() == (whole ? 1U : 3U));
  if (as == role::deposed) {
    m.lose(1);
  } else if (as == role::follower) {
    m.lose(1);
    m.restart();  // knows nothing of what it sent
    m.open("a.db");
    m.open("b.db");
  }
  std::size_t next = 0;
  const std::size_t before = row.from == pending                                ? 0
                             : row.from == written                              ? 3
                             : row.from == writing && row.what == event::commit ? 2
                                                                                : 1;
  while (next < before) {
    REQUIRE(m.apply_next(sent.entries[next++], first_term) == apply_result::applied);
  }
  if (row.from == undone) {
    REQUIRE(m.undo(sent.id) == apply_result::applied);
  }
  if (row.from == failed) {  // a replica that fails stops; none that fails goes on
    bytes damaged = sent.entries[1];
    damaged[damaged.size() / 2] ^= std::byte{1};
    REQUIRE(m.apply_next(damaged, first_term) == apply_result::halted);
  }
  const std::uint64_t refused_before = m.refused();
  const apply_result expected = row.from == failed ? apply_result::halted : apply_result::applied;
  if (row.what == event::undo) {
    CHECK(m.undo(sent.id) == expected);
  } else {
    const std::size_t which = row.what == event::commit ? sent.entries.size() - 1
                              : row.from == pending     ? 0U
                                                        : 1U;
    CHECK(m.apply_next(sent.entries[which], first_term) == expected);
  }
  CHECK(m.version("a.db") == row.version);
  CHECK(m.refused() - refused_before == row.refused);
  if (row.from != failed) {
    CHECK(m.has_staged() == row.staged);
    const bytes state = m.snapshot();
    CHECK((left_behind.empty() || left_behind == state));
    left_behind = state;
  }
}

}  // namespace

TEST_CASE("frames and undo in every state, one table for leader, follower and surrogate (3.1)") {
  for (const transition& row : transitions) {
    INFO(name_of(row.from) << ", seed's follower: " << row.follower << ", leader: " << row.leader);
    const bool panics = stopped_the_seed(row.follower);
    CHECK(panics == is_for_a_panic(row.how));
    // The record itself: what go-dqlite forbade is forbidden, with both states in the message.
    transaction record = in_state(row.from);
    std::string why;
    CHECK(record.become(state_after(row.what), why) == !panics);
    CHECK(record.state() == (panics ? row.from : state_after(row.what)));
    CHECK((why.find(name_of(row.from)) != why.npos) == panics);
    // The machine, in the three roles: equal outcomes, equal state to the byte.
    bytes left_behind;
    for (const role as : {role::follower, role::leader, role::deposed}) {
      CAPTURE(static_cast<int>(as));
      carry_out(row, as, left_behind);
    }
  }
}

TEST_CASE("the marks that go-dqlite put on transactions, and their guards (3.1)") {
  static constexpr std::array rows{
      row{"Leader() twice", "PANIC transaction is already marked as leader", kept::cannot_exist,
          "transactions have no role; leadership that is told twice is no news",
          [] {
            leading_machine m;
            const auto sent = m.send(three_pages());
            m.lead(1);
            CHECK(m.head("a.db") == 1);
            m.apply_all(sent);
            CHECK(m.answer_of(sent) == proposal_state::applied);
          }},
      row{"DryRun() twice", "PANIC transaction is already in dry-run mode", kept::cannot_exist,
          "no replica runs SQLite to apply, so none has to pretend",
          [] {
            leading_machine m;
            machine other;
            const auto sent = m.commit(three_pages());
            other.apply_all(sent);
            CHECK(m.snapshot() == other.snapshot());
          }},
      row{"Zombie() of a follower's", "PANIC follower transactions can't be marked as zombie",
          kept::cannot_exist, "a loss concerns what was proposed here and nothing else",
          [] {
            leading_machine m;
            machine other;
            const auto sent = m.send(three_pages(), one_page_an_entry);
            other.apply_next(sent.entries[0], first_term);
            other.lose(1);
            other.apply_next(sent.entries[1], first_term);
            other.apply_next(sent.entries[2], first_term);
            CHECK(other.version("a.db") == 1);
          }},
      row{"Zombie() twice", "PANIC transaction is already marked as zombie", kept::cannot_exist,
          "a waiter is answered once, however often a loss is told",
          [] {
            leading_machine m;
            const auto sent = m.send(three_pages());
            m.lose(1);
            m.lose(2);
            CHECK(m.answer_of(sent) == proposal_state::unknown);
            CHECK(m.head("a.db") == 0);
          }},
      row{"Resurrect() of a follower's, of no zombie, of a settled one",
          "three PANICs, in this order", kept::cannot_exist,
          "a lost transaction is built from its own entries, whoever sent them",
          [] {
            leading_machine m;
            machine other;
            const auto sent = m.send(three_pages(), one_page_an_entry);
            m.lose(1);
            for (const bytes& entry : sent.entries) {
              m.apply_next(entry, first_term);
              other.apply_next(entry, first_term);
            }
            CHECK(m.version("a.db") == 1);
            CHECK(m.snapshot() == other.snapshot());
          }},
  };
  check_rows(rows);
}

// ---- 6.2 ----------------------------------------------------------------------------------------

namespace {

/// Applies an entry on all and wants the same state on all.
void apply_on(std::vector<machine*> machines, bytes_view entry, term in_term = first_term) {
  for (machine* const one : machines) {
    CHECK(one->apply_next(entry, in_term) == apply_result::applied);
    CHECK(one->snapshot() == machines.front()->snapshot());
  }
}

/// A transaction of the leader of term 2, on what `built_on` replays.
bench::sent of_the_next_leader(const std::vector<bytes>& log, std::vector<change> changes,
                               std::size_t at_most = 1U << 20U) {
  machine next;
  for (const bytes& entry : log) {
    next.apply_next(entry, first_term);
  }
  next.lead(2);
  bench::sent made = next.send(std::move(changes), at_most);
  made.row.reset();
  return made;
}

std::error_code legacy_refusal(std::string_view hex, std::string_view says) {
  const bytes entry = from_hex(hex);
  go_dqlite::decode_fault why;
  const auto decoded = go_dqlite::decode(entry, &why);
  CHECK(go_dqlite::explain(why) == says);
  return decoded ? std::error_code{} : decoded.error();
}

}  // namespace

TEST_CASE("what frames do, whatever the machine knows of their transaction (6.2)") {
  static constexpr std::array rows{
      row{"0: no file name", "file := db.bin", kept::as_it_was,
          "entries of go-dqlite mean db.bin; our own must name their databases",
          [] {
            const bytes entry = from_hex("1a1108071004200228014201024a0400000000");
            const auto decoded = go_dqlite::decode(entry);
            REQUIRE(decoded);
            CHECK(std::get<go_dqlite::frames_command>(*decoded).database_name() == "db.bin");
            database_write_set nameless;
            nameless.page_size = 512;
            nameless.page_count = 1;
            nameless.pages = {{page_number{1}, page_encoding::zero, 0, {}}};
            bytes out;
            CHECK(native::encode({{first_term, 1}, write_set_command{0, true, {nameless}}}, out,
                                 lock_byte));
          }},
      row{"1: a zombie's, no commit", "replace by a surrogate, dry run", kept::as_it_was,
          "staged as anywhere else; its pages left the head with leadership",
          [] {
            leading_machine m;
            machine other;
            const auto sent = m.send(three_pages(), one_page_an_entry);
            m.lose(1);
            apply_on({&m, &other}, sent.entries[0]);
            CHECK(m.has_staged());
            CHECK(m.head("a.db") == 0);
          }},
      row{"2: a zombie's, commit", "resurrect: replay the batches, then commit", kept::as_it_was,
          "built from the staged entries; the fate is committed",
          [] {
            leading_machine m;
            machine other;
            const auto sent = m.send(three_pages(), one_page_an_entry);
            m.lose(1);
            for (const bytes& entry : sent.entries) {
              apply_on({&m, &other}, entry);
            }
            CHECK(m->outcome_of(sent.id) == transaction_outcome::committed);
          }},
      row{"3: a live leader's own", "only move its state", kept::as_it_was,
          "its version on the head becomes the committed one",
          [] {
            leading_machine m;
            const auto sent = m.send(three_pages());
            CHECK(m.version("a.db") == 0);
            m.apply_all(sent);
            CHECK(m.version("a.db") == 1);
            CHECK(m.answer_of(sent) == proposal_state::applied);
          }},
      row{"4: a follower's that is writing", "continue", kept::as_it_was, "the next part is staged",
          [] {
            leading_machine m;
            machine other;
            const auto sent = m.send(three_pages(), one_page_an_entry);
            other.apply_next(sent.entries[0], first_term);
            other.apply_next(sent.entries[1], first_term);
            CHECK(other.has_staged());
            CHECK(other.refused() == 0);
          }},
      row{"5: a follower's in any other state", "PANIC unexpected transaction", kept::refused_alike,
          "a part that does not follow on ends its transaction everywhere",
          [] {
            leading_machine m;
            machine other;
            const auto sent = m.send(three_pages(), one_page_an_entry);
            apply_on({&m, &other}, sent.entries[0]);
            apply_on({&m, &other}, sent.entries[2]);  // the one between is missing
            CHECK(other.refused() == 1);
            CHECK_FALSE(other.has_staged());
            CHECK(m.answer_of(sent) == proposal_state::conflict);
          }},
      row{"6: unknown, nothing else on the file", "add a follower transaction", kept::as_it_was,
          "applied",
          [] {
            leading_machine m;
            machine other;
            other.apply_all(m.send(three_pages()));
            CHECK(other.version("a.db") == 1);
          }},
      row{"6: … the file was never opened", "PANIC no follower connection", kept::refused_alike,
          "no such database: refused",
          [] {
            leading_machine m;
            m.open("c.db");
            machine other;
            other.apply_all(m.send(three_pages("c.db")));
            CHECK(other.refused() == 1);
            CHECK(other.store("c.db") == nullptr);
          }},
      row{"7: a zombie of a higher id", "PANIC zombie transaction too recent", kept::cannot_exist,
          "ids are not compared: terms never decrease in the log, and the base decides",
          [] {
            leading_machine m;
            const auto older = m.send(three_pages("b.db"));
            const auto newer = m.send(three_pages("a.db"));
            m.lose(1);
            m.apply_all(older);
            m.apply_all(newer);
            CHECK(m.version("a.db") == 1);
            CHECK(m.version("b.db") == 1);
          }},
      row{"8: a zombie that has written", "PANIC unexpected transaction state", kept::refused_alike,
          "what it staged is dropped on every replica, the new one applied",
          [] {
            leading_machine m;
            machine other;
            const auto left = m.send(three_pages(), one_page_an_entry);
            m.lose(1);
            apply_on({&m, &other}, left.entries[0]);
            const auto next = of_the_next_leader({}, three_pages("a.db", 9));
            apply_on({&m, &other}, next.entries[0], term{2});
            CHECK(m.version("a.db") == 1);
            CHECK_FALSE(m.has_staged());
            apply_on({&m, &other}, left.entries[1]);  // a straggler is refused
            CHECK(m.refused() == 1);
          }},
      row{"9: a zombie that is pending", "delete it, then as 6", kept::as_it_was,
          "its pages left the head with leadership",
          [] {
            leading_machine m;
            machine other;
            const auto left = m.send(three_pages());
            m.lose(1);
            const auto next = of_the_next_leader({}, three_pages("a.db", 9));
            apply_on({&m, &other}, next.entries[0], term{2});
            CHECK(m->outcome_of(left.id) == transaction_outcome::not_committed);
          }},
      row{"10: a live leader transaction", "PANIC unexpected transaction", kept::refused_alike,
          "the log is right: the head is dropped, the foreign entry applied, our own a conflict",
          [] {
            leading_machine m;
            const auto own = m.send(three_pages());
            const auto next = of_the_next_leader({}, three_pages("a.db", 9));
            CHECK(m.apply_next(next.entries[0], term{2}) == apply_result::applied);
            CHECK(m.version("a.db") == 1);
            m.apply_all(own);
            CHECK(m.version("a.db") == 1);
            CHECK(m.refused() == 1);
          }},
      row{"11: a follower transaction", "PANIC follower transactions can't be zombie",
          kept::refused_alike, "it is left over, so it is dropped; the new one goes on",
          [] {
            leading_machine m;
            machine one;
            machine other;
            const auto left = m.send(three_pages(), one_page_an_entry);
            apply_on({&one, &other}, left.entries[0]);
            const auto next = of_the_next_leader({}, three_pages("a.db", 9), one_page_an_entry);
            for (const bytes& entry : next.entries) {
              apply_on({&one, &other}, entry, term{2});
            }
            CHECK(one.version("a.db") == 1);
            CHECK_FALSE(one.has_staged());
          }},
  };
  check_rows(rows);
}

TEST_CASE("what is wrong with the frames themselves (6.2)") {
  static constexpr std::array rows{
      row{"v1 and v2 pages in one entry", "PANIC unexpected data mix between v1 and v2",
          kept::refused_alike, "the decoder refuses it before anything is touched",
          [] {
            CHECK(legacy_refusal("1a1e080110041a080a04000000001801200128013a01744201014a0400000000",
                                 "unexpected data mix between v1 and v2") == errc::malformed);
          }},
      row{"no pages", "runtime PANIC, index out of range", kept::refused_alike,
          "the decoder refuses it",
          [] {
            CHECK(legacy_refusal("1a0c0801108020200128013a0174", "frames without a page") ==
                  errc::malformed);
          }},
      row{"page data of another length", "not compared: reads out of bounds", kept::better,
          "the decoder refuses it",
          [] {
            CHECK(legacy_refusal("1a1308051004200128013a01614201014a03deadbe",
                                 "frames whose page data is not as long as their pages") ==
                  errc::malformed);
          }},
      row{"SQLite fails", "-> doomed, an error, the process ends on all nodes", kept::better,
          "apply runs no SQLite; a base that differs is a conflict on every replica",
          [] {
            leading_machine m;
            machine other;
            const auto first = m.commit(three_pages());
            const auto second = m.commit(three_pages("a.db", 2));
            apply_on({&other}, second.entries[0]);
            CHECK(other->counters().conflicts == 1);
            CHECK(other.version("a.db") == 0);
            apply_on({&other}, first.entries[0]);
            CHECK(other.version("a.db") == 1);
          }},
  };
  check_rows(rows);
}

// ---- 6.1 and 6.3 --------------------------------------------------------------------------------

TEST_CASE("every other entry (6.1 and 6.3)") {
  static constexpr std::array rows{
      row{"bytes that are no command", "PANIC corrupted command data", kept::refused_alike,
          "refused and counted; the position moves on",
          [] {
            machine m;
            CHECK(m.apply_next(quorlite::tests::from_text("garbage"), first_term) ==
                  apply_result::applied);
            CHECK(m.refused() == 1);
          }},
      row{"a command without payload", "runtime PANIC, a nil type", kept::refused_alike,
          "unknown command",
          [] {
            CHECK(legacy_refusal("", "unknown command") == errc::malformed);
            CHECK(legacy_refusal("7801", "unknown command") == errc::malformed);
          }},
      row{"Open", "opens a follower", kept::as_it_was, "the database exists",
          [] {
            machine m;
            CHECK(m.open("c.db") == apply_result::applied);
            CHECK(m.store("c.db") != nullptr);
          }},
      row{"Open again", "a second connection, the first one leaks", kept::better, "changes nothing",
          [] {
            machine m;
            const auto before = m.all();
            CHECK(m.open("a.db") == apply_result::applied);
            CHECK(m.all() == before);
          }},
      row{"Begin, End", "no-ops", kept::as_it_was,
          "decoded as such; our own log has no entry for them",
          [] {
            const bytes begin = from_hex("1208087b120474657374");
            const bytes end = from_hex("2a02087b");
            CHECK(go_dqlite::name_of(*go_dqlite::decode(begin)) == "begin");
            CHECK(go_dqlite::name_of(*go_dqlite::decode(end)) == "end");
          }},
      row{"Undo of a live leader's", "undone; the record is kept for End", kept::as_it_was,
          "what is staged is dropped; the rest of it is refused",
          [] {
            leading_machine m;
            const auto sent = m.send(three_pages(), one_page_an_entry);
            m.apply_next(sent.entries[0], first_term);
            CHECK(m.undo(sent.id) == apply_result::applied);
            CHECK_FALSE(m.has_staged());
            m.apply_next(sent.entries[1], first_term);
            CHECK(m.answer_of(sent) == proposal_state::conflict);
          }},
      row{"Undo of a zombie's, a follower's, a surrogate's", "undone; the record is deleted",
          kept::as_it_was, "what is staged is dropped, alike on all",
          [] {
            leading_machine deposed;
            machine other;
            const auto sent = deposed.send(three_pages(), one_page_an_entry);
            deposed.lose(1);
            apply_on({&deposed, &other}, sent.entries[0]);
            CHECK(deposed.undo(sent.id, term{2}) == apply_result::applied);
            CHECK(other.undo(sent.id, term{2}) == apply_result::applied);
            CHECK(deposed.snapshot() == other.snapshot());
            CHECK_FALSE(other.has_staged());
          }},
      row{"Undo of one that is written", "PANIC invalid written -> undone transition",
          kept::refused_alike, "a commit is final: the undo finds nothing staged",
          [] {
            leading_machine m;
            const auto sent = m.commit(three_pages());
            CHECK(m.undo(sent.id) == apply_result::applied);
            CHECK(m.version("a.db") == 1);
            CHECK(m->outcome_of(sent.id) == transaction_outcome::committed);
          }},
      row{"Undo of an unknown one", "PANIC txn not found", kept::refused_alike,
          "there is nothing to undo: no effect",
          [] {
            machine m;
            const auto before = m.all();
            CHECK(m.undo({first_term, 4711}) == apply_result::applied);
            CHECK(m.undo({first_term, 4711}) == apply_result::applied);
            CHECK(m.all() == before);
          }},
      row{"Checkpoint of an unknown database", "PANIC no follower connection", kept::refused_alike,
          "a hint without an object",
          [] {
            machine m;
            const command hint{{first_term, 1}, checkpoint_command{"nowhere.db"}};
            CHECK(m.apply_next(hint, first_term) == apply_result::applied);
          }},
      row{"Checkpoint while a transaction is written",
          "PANIC can't run checkpoint concurrently with transaction", kept::refused_alike,
          "a hint, taken or not: the transaction goes on",
          [] {
            leading_machine m;
            const auto sent = m.send(three_pages(), one_page_an_entry);
            m.apply_next(sent.entries[0], first_term);
            const command hint{{first_term, 700'000}, checkpoint_command{"a.db"}};
            CHECK(m.apply_next(hint, first_term) == apply_result::applied);
            m.apply_next(sent.entries[1], first_term);
            m.apply_next(sent.entries[2], first_term);
            CHECK(m.answer_of(sent) == proposal_state::applied);
          }},
      row{"Checkpoint with a local reader", "BUSY; PANIC frames are still in the WAL",
          kept::cannot_exist, "there is no WAL that a reader could pin; it reads on",
          [] {
            leading_machine m;
            m.commit(three_pages());
            const auto store = m.store("a.db");
            const page_store::pin reading = store->pin_committed();
            const database_copy before = copy_of(store, reading);
            const command hint{{first_term, 700'000}, checkpoint_command{"a.db"}};
            CHECK(m.apply_next(hint, first_term) == apply_result::applied);
            m.commit(three_pages("a.db", 2));
            CHECK(copy_of(store, reading) == before);
          }},
  };
  check_rows(rows);
}

// ---- 5 ------------------------------------------------------------------------------------------

namespace {

using kind = ruling::kind;

/// What the engine says of a COMMIT's last entry, and what its client is told.
struct mapping {
  std::string_view outcome;
  std::string_view seed;
  ruling says;
  int code;
  std::optional<errc> error;
  bool may_commit_later;
};

constexpr std::array mappings{
    mapping{"ok", "0", {kind::commits, settle_reason::none}, SQLITE_OK, std::nullopt, false},
    mapping{"not leader",
            "IOERR_NOT_LEADER",
            {kind::refuses, settle_reason::not_leader},
            sqlite_not_leader,
            errc::not_leader,
            false},
    mapping{"another term",
            "IOERR_NOT_LEADER",
            {kind::refuses, settle_reason::stale_term},
            sqlite_not_leader,
            errc::stale_term,
            false},
    mapping{"shut down before",
            "IOERR_NOT_LEADER",
            {kind::refuses, settle_reason::stopped},
            sqlite_not_leader,
            errc::stopped,
            false},
    mapping{"shut down meanwhile",
            "IOERR_NOT_LEADER",
            {kind::doubts, settle_reason::stopped},
            sqlite_outcome_unknown,
            errc::stopped_in_flight,
            true},
    mapping{"leadership lost",
            "IOERR_LEADERSHIP_LOST",
            {kind::deposes, settle_reason::none},
            sqlite_outcome_unknown,
            errc::leadership_lost,
            true},
    mapping{"enqueue timeout",
            "INTERRUPT",
            {kind::refuses, settle_reason::busy},
            sqlite_not_leader,
            errc::overloaded,
            false},
    mapping{"no answer",
            "waits for ever",
            {kind::is_silent, settle_reason::none},
            sqlite_outcome_unknown,
            errc::timed_out,
            true},
    mapping{"the log store fails",
            "INTERNAL",
            {kind::doubts, settle_reason::log_failed},
            sqlite_outcome_unknown,
            errc::log_failed_in_flight,
            true},
    mapping{"too large for the engine",
            "INTERNAL",
            {kind::refuses, settle_reason::too_large},
            SQLITE_FULL,
            errc::too_large,
            false},
};

/// A table of one row on a leader; transactions of `several` go in more than one entry.
struct client {
  scripted_replica on;
  connection db;

  explicit client(bool several = false)
      : on(impatient(several ? 1200U : 65536U)), db(on.connect()) {
    REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
  }
  [[nodiscard]] std::string rows() { return ask(db, "SELECT count(*) FROM t"); }
  [[nodiscard]] bool is_idle() { return sqlite3_get_autocommit(db) == 1; }
};

const std::string three_rows =
    "INSERT INTO t VALUES(hex(zeroblob(300))),(hex(zeroblob(301))),(hex(randomblob(900)))";

/// Enough of a transaction for SQLite to write pages before COMMIT.
const std::string spilling =
    "PRAGMA cache_size=1; BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n "
    "WHERE i<100) INSERT INTO t SELECT randomblob(300) FROM n";

}  // namespace

TEST_CASE("what the engine says becomes one code, one error, one conclusion (5)") {
  const bool several = GENERATE(false, true);
  for (const mapping& row : mappings) {
    INFO(row.outcome << ": " << row.seed);
    CAPTURE(several);
    client c(several);
    c.on.rule({{}});  // one transaction to see how many entries it takes
    const std::uint64_t before = c.on->metrics().proposed.entries;
    REQUIRE(run(c.db, three_rows) == SQLITE_OK);
    const std::uint64_t entries = c.on->metrics().proposed.entries - before;
    REQUIRE((entries > 1) == several);
    REQUIRE(run(c.db, "DELETE FROM t") == SQLITE_OK);

    std::vector<ruling> rulings(static_cast<std::size_t>(entries));
    rulings.back() = row.says;
    c.on.rule(rulings);
    // A part that found no room is proposed again, a whole transaction is not.
    const bool waits = several && row.says.why == settle_reason::busy;
    const int code = waits ? SQLITE_OK : row.code;
    const std::optional<errc> refusal = waits ? std::nullopt : row.error;
    CHECK(run(c.db, three_rows) == code);
    CHECK(c.is_idle());
    const std::error_code error = c.db.last_error();
    CHECK(error == (refusal ? make_error_code(*refusal) : std::error_code{}));
    CHECK((error == failure::outcome_unknown) == row.may_commit_later);
    CHECK((c.rows() == "3") == (code == SQLITE_OK));

    // Afterwards: an unknown one commits after all, or never will; and writing goes on.
    const transaction_id id = c.db.last_transaction();
    if (row.may_commit_later) {
      CHECK(c.on->outcome(id) == transaction_outcome::undecided);
      c.on.rule({});
      REQUIRE(c.on.commit_oldest() == apply_result::applied);
      CHECK(c.on->outcome(id) == transaction_outcome::committed);
      CHECK(c.rows() == "3");
    }
    c.on.follow(2);
    c.on.lead(3);
    c.on.rule({});
    CHECK(run(c.db, "INSERT INTO t VALUES('on')") == SQLITE_OK);
    CHECK(c.on->outcome(id) != transaction_outcome::undecided);
  }
}

TEST_CASE("BEGIN, that is the first statement that writes (5.1)") {
  static constexpr std::array rows{
      row{"not leader", "NOT_LEADER, nothing changed", kept::as_it_was, "10250 at once",
          [] {
            client c;
            c.on.follow(2);
            const std::size_t proposed = c.on.engine().proposed.size();
            CHECK(run(c.db, "BEGIN IMMEDIATE") == sqlite_not_leader);
            CHECK(run(c.db, "INSERT INTO t VALUES(1)") == sqlite_not_leader);
            CHECK(c.db.last_error() == errc::not_leader);
            CHECK(c.is_idle());
            CHECK(c.on.engine().proposed.size() == proposed);
          }},
      row{"no follower yet", "Open goes first", kept::as_it_was, "with the first commit",
          [] {
            client c;
            connection other = c.on.connect("new.db");
            CHECK(run(other, "CREATE TABLE t(x)") == SQLITE_OK);
            CHECK(c.on->databases().size() == 2);
          }},
      row{"another connection writes", "BUSY", kept::as_it_was, "SQLITE_BUSY",
          [] {
            client c;
            connection other = c.on.connect();
            REQUIRE(run(c.db, "BEGIN IMMEDIATE") == SQLITE_OK);
            CHECK((run(other, "BEGIN IMMEDIATE") & 0xFF) == SQLITE_BUSY);
            REQUIRE(run(c.db, "COMMIT") == SQLITE_OK);
            CHECK(run(other, "INSERT INTO t VALUES(1)") == SQLITE_OK);
          }},
      row{"another connection's zombie", "BUSY for ever", kept::better, "it holds nothing",
          [] {
            client c;
            connection other = c.on.connect();
            c.on.rule({{kind::deposes, settle_reason::none}});
            REQUIRE(run(c.db, "INSERT INTO t VALUES(1)") == sqlite_outcome_unknown);
            c.on.follow(2);
            c.on.lead(3);
            CHECK(run(other, "INSERT INTO t VALUES(2)") == SQLITE_OK);
          }},
      row{"the same connection, live", "PANIC unexpected transaction on same connection",
          kept::cannot_exist, "SQLite refuses a BEGIN inside a transaction",
          [] {
            client c;
            REQUIRE(run(c.db, "BEGIN IMMEDIATE") == SQLITE_OK);
            CHECK(run(c.db, "BEGIN IMMEDIATE") == SQLITE_ERROR);
            CHECK(run(c.db, "INSERT INTO t VALUES(1); COMMIT") == SQLITE_OK);
          }},
      row{"the same connection, a zombie that is pending", "PANIC unexpected transaction",
          kept::cannot_exist, "nothing is left of it",
          [] {
            client c;
            c.on.rule({{kind::deposes, settle_reason::none}});
            REQUIRE(run(c.db, "INSERT INTO t VALUES(1)") == sqlite_outcome_unknown);
            c.on.follow(2);
            c.on.lead(3);
            CHECK(run(c.db, "BEGIN; INSERT INTO t VALUES(2); COMMIT") == SQLITE_OK);
            CHECK(c.rows() == "1");
          }},
      row{"the same connection, a zombie that is writing", "an Undo is tried", kept::better,
          "what is staged is dropped by the next transaction: no Undo",
          [] {
            client c(true);
            c.on.rule({{}, {kind::deposes, settle_reason::none}});
            CHECK(run(c.db, three_rows) != SQLITE_OK);
            c.on.follow(2);
            c.on.lead(3);
            CHECK(run(c.db, three_rows) == SQLITE_OK);
            CHECK(c.rows() == "3");
          }},
  };
  check_rows(rows);
}

TEST_CASE("abort, frames, undo and end (5.2 to 5.5)") {
  static constexpr std::array rows{
      row{"5.2 Abort without a transaction", "PANIC no in-progress transaction", kept::cannot_exist,
          "a lock that is not got leaves no record behind",
          [] {
            client c;
            connection other = c.on.connect();
            REQUIRE(run(c.db, "BEGIN IMMEDIATE") == SQLITE_OK);
            for (int i = 0; i < 3; ++i) {
              CHECK((run(other, "INSERT INTO t VALUES(1)") & 0xFF) == SQLITE_BUSY);
            }
            REQUIRE(run(c.db, "ROLLBACK") == SQLITE_OK);
            CHECK(run(other, "INSERT INTO t VALUES(1)") == SQLITE_OK);
          }},
      row{"5.3 Frames, not leader, pending", "NOT_LEADER; End deletes it", kept::as_it_was,
          "10250 from COMMIT; nothing was sent",
          [] {
            client c;
            REQUIRE(run(c.db, "BEGIN; INSERT INTO t VALUES(1)") == SQLITE_OK);
            c.on.follow(2);
            const std::size_t proposed = c.on.engine().proposed.size();
            CHECK(run(c.db, "COMMIT") == sqlite_not_leader);
            CHECK(c.db.last_error() == failure::not_applied);
            CHECK(c.is_idle());
            CHECK(c.on.engine().proposed.size() == proposed);
          }},
      row{"5.3 Frames, not leader, writing", "a zombie; NOT_LEADER", kept::as_it_was,
          "10250 from COMMIT: spilled pages stay local, so nobody else has a record",
          [] {
            client c;
            const std::size_t proposed = c.on.engine().proposed.size();
            REQUIRE(run(c.db, spilling) == SQLITE_OK);
            CHECK(c.on.engine().proposed.size() == proposed);
            c.on.follow(2);
            CHECK(run(c.db, "COMMIT") == sqlite_not_leader);
            CHECK(c.rows() == "0");
          }},
      row{"5.3 Frames without a transaction", "PANIC no in-progress transaction",
          kept::cannot_exist, "nothing is proposed outside of COMMIT",
          [] {
            client c;
            const std::size_t proposed = c.on.engine().proposed.size();
            CHECK(run(c.db, "BEGIN; SELECT * FROM t; COMMIT") == SQLITE_OK);
            CHECK(c.on.engine().proposed.size() == proposed);
          }},
      row{"5.4 Undo, zombie", "0, nothing done", kept::as_it_was, "COMMIT has rolled back already",
          [] {
            client c;
            c.on.rule({{kind::deposes, settle_reason::none}});
            REQUIRE(run(c.db, "BEGIN; INSERT INTO t VALUES(1)") == SQLITE_OK);
            CHECK(run(c.db, "COMMIT") == sqlite_outcome_unknown);
            CHECK(c.is_idle());
            CHECK(c.rows() == "0");
          }},
      row{"5.4 Undo, pending", "0", kept::as_it_was, "ROLLBACK is local",
          [] {
            client c;
            const std::size_t proposed = c.on.engine().proposed.size();
            CHECK(run(c.db, "BEGIN; INSERT INTO t VALUES(1); ROLLBACK") == SQLITE_OK);
            CHECK(c.on.engine().proposed.size() == proposed);
          }},
      row{"5.4 Undo, not leader", "NOT_LEADER; the record vanishes here alone", kept::better,
          "ROLLBACK is local even when pages were spilled",
          [] {
            client c;
            REQUIRE(run(c.db, spilling) == SQLITE_OK);
            c.on.follow(2);
            CHECK(run(c.db, "ROLLBACK") == SQLITE_OK);
            CHECK(c.rows() == "0");
          }},
      row{"5.5 End without a follower", "PANIC no follower connection", kept::cannot_exist,
          "a first transaction that is refused leaves an empty database that can be written",
          [] {
            client c;
            connection fresh = c.on.connect("new.db");
            c.on.rule({{kind::refuses, settle_reason::not_leader}});
            CHECK(run(fresh, "CREATE TABLE t(x)") == sqlite_not_leader);
            CHECK(run(fresh, "CREATE TABLE t(x)") == SQLITE_OK);
          }},
  };
  check_rows(rows);
}

TEST_CASE("recovery, concurrency, checkpoints (5.7 to 5.9)") {
  static constexpr std::array rows{
      row{"5.7 Recover(token)", "a stub that says yes", kept::better, "committed, or not, or open",
          [] {
            client c;
            c.on.rule({{kind::deposes, settle_reason::none}});
            REQUIRE(run(c.db, "INSERT INTO t VALUES(1)") == sqlite_outcome_unknown);
            const transaction_id id = c.db.last_transaction();
            CHECK(c.on->outcome(id) == transaction_outcome::undecided);
            c.on.follow(2);
            CHECK(c.on->outcome(id) == transaction_outcome::not_committed);
          }},
      row{"5.8 readers", "are not blocked", kept::as_it_was, "nor do they see what is open",
          [] {
            client c;
            connection reader = c.on.connect();
            REQUIRE(run(c.db, "BEGIN IMMEDIATE; INSERT INTO t VALUES(1)") == SQLITE_OK);
            CHECK(ask(reader, "SELECT count(*) FROM t") == "0");
            REQUIRE(run(c.db, "COMMIT") == SQLITE_OK);
            CHECK(ask(reader, "SELECT count(*) FROM t") == "1");
          }},
      row{"5.8 two databases", "interleave between hooks", kept::as_it_was, "at any time",
          [] {
            client c;
            connection other = c.on.connect("b.db");
            REQUIRE(run(c.db, "BEGIN IMMEDIATE; INSERT INTO t VALUES(1)") == SQLITE_OK);
            CHECK(run(other, "CREATE TABLE t(x); INSERT INTO t VALUES(1)") == SQLITE_OK);
            CHECK(run(c.db, "COMMIT") == SQLITE_OK);
          }},
      row{"5.9 checkpoints", "replicated through a wal_hook, with lock probes", kept::better,
          "there is no WAL: nothing to probe, nothing to replicate",
          [] {
            client c;
            connection reader = c.on.connect();
            REQUIRE(run(reader, "BEGIN; SELECT * FROM t") == SQLITE_OK);
            const std::size_t proposed = c.on.engine().proposed.size();
            CHECK(ask(c.db, "PRAGMA wal_checkpoint(TRUNCATE)") == "0|-1|-1");
            CHECK(ask(c.db, "PRAGMA journal_mode") == "delete");
            CHECK(c.on.engine().proposed.size() == proposed);
          }},
  };
  check_rows(rows);
}

TEST_CASE("the fates of a commit whose leadership is lost, in a whole cluster (5.6)") {
  using quorlite::testing::commit_phase;
  using quorlite::testing::leadership_loss;
  using quorlite::testing::replica_cluster;
  const struct {
    std::string_view fate;
    commit_phase lost_when;
    int code;
    transaction_outcome of_it;
  } rows[] = {{"Frames, commit; no quorum, another leader: purged", commit_phase::enqueued,
               sqlite_outcome_unknown, transaction_outcome::not_committed},
              {"Frames, commit; on a quorum: the client saw an error, but it is committed",
               commit_phase::appended, sqlite_outcome_unknown, transaction_outcome::committed},
              {"Frames, commit; committed before the fall: the client is told",
               commit_phase::committed, SQLITE_OK, transaction_outcome::committed}};
  for (const auto& row : rows) {
    INFO(row.fate);
    replica_cluster cluster({.seed = 61});
    const server_id old_leader = cluster.wait_for_leader().value();
    connection db = cluster.connect(old_leader);
    REQUIRE(run(db, "CREATE TABLE t(x)") == SQLITE_OK);
    REQUIRE(cluster.wait_until_even());
    cluster.simulation().depose_leader_when(
        row.lost_when, cluster.simulation().node(old_leader).leading_state().commands + 1,
        leadership_loss::isolate);
    CHECK(run(db, "INSERT INTO t VALUES(1)") == row.code);
    const transaction_id id = db.last_transaction();
    const server_id leader = cluster.wait_for_leader(old_leader).value();
    REQUIRE_FALSE(cluster.replica(leader).read_barrier());
    CHECK(cluster.replica(leader).outcome(id) == row.of_it);
    CHECK(run(db, "INSERT INTO t VALUES(2)") != SQLITE_OK);  // cut off, noticed or not
    cluster.simulation().heal();
    REQUIRE(cluster.wait_until_even());
    CHECK(cluster.are_identical());
    const bool is_there = row.of_it == transaction_outcome::committed;
    CHECK(ask(db, "SELECT x FROM t") == (is_there ? "1" : ""));
  }
}

}  // namespace go_dqlite_tables_test
