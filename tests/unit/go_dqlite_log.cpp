// A log that go-dqlite wrote, replayed: the same databases, and a refusal wherever go-dqlite
// stopped its process.
#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/file_storage/basic_file_storage.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "support/go_dqlite_history.hpp"
#include "support/sql.hpp"
#include "support/started_replica.hpp"
#include "unit/codec_support.hpp"

namespace go_dqlite_log_test {
namespace {

using namespace quorlite::tests;  // NOLINT: tests of this library only

constexpr const char* some_rows =
    "WITH RECURSIVE row(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM row WHERE i < 60) "
    "INSERT INTO t(b) SELECT hex(randomblob(60)) FROM row";

void some_sql(history& made) {
  made.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  made.execute(some_rows);
  made.execute("UPDATE t SET b = 'x' WHERE a % 7 = 0");
}

/// Everything that the three eras wrote, on one database; page 1 says WAL mode.
struct mixed_history : history {
  mixed_history() : history("db.bin", 512, era::v1a, 3) {
    some_sql(*this);
    write_as(era::v1b);
    execute(some_rows);
    write_as(era::v2);
    execute("DELETE FROM t WHERE a % 3 = 0");
    execute(some_rows);
  }
};

/// A machine with an empty database.
struct opened : machine {
  opened() { REQUIRE(apply(open("t.db")) == apply_result::applied); }
};

std::uint64_t refused(machine& m) { return m->counters().malformed; }

/// Applies an entry that must change nothing but the index.
void must_refuse(machine& m, const bytes& entry) {
  const auto before = m.all();
  const std::uint64_t so_far = refused(m);
  const log_index at = m->applied().index;
  CHECK(m.apply(entry) == apply_result::applied);
  CHECK((m.all() == before));
  CHECK(refused(m) == so_far + 1);
  CHECK(m->applied().index == at.next());
}

batch part(std::uint64_t txid, std::vector<page> pages, std::uint32_t truncate = 0) {
  return {txid, "t.db", 512, std::move(pages), truncate, era::v2};
}

}  // namespace

TEST_CASE("a log of all three eras gives the database that SQLite made") {
  const auto page_size = GENERATE(512U, 4096U, 65536U);
  const std::size_t batch_pages = GENERATE(1U, 4U, 1000U);
  history made("db.bin", page_size, era::v1a, batch_pages);
  some_sql(made);
  made.write_as(era::v1b);
  made.execute("CREATE INDEX i ON t(b)");
  made.write_as(era::v2);
  made.execute(some_rows);
  machine m;
  m.apply_all(made.log);
  CHECK((m.image("db.bin") == made.image()));
  CHECK(refused(m) == 0);
  CHECK(m->applied().index.value == made.log.size());
}

TEST_CASE("a database that shrinks and grows again is the one that SQLite made") {
  history made("v.db", 512);
  made.execute("PRAGMA auto_vacuum=FULL");
  some_sql(made);
  made.execute("DELETE FROM t");
  made.execute(some_rows);
  made.execute("VACUUM");
  machine m;
  m.apply_all(made.log);
  CHECK((m.image("v.db") == made.image()));
}

TEST_CASE("the same log gives the same bytes, again and with a restart at every entry") {
  const mixed_history made;
  machine straight;
  straight.apply_all(made.log);
  const bytes whole = straight.snapshot();
  for (std::size_t stop = 1; stop < made.log.size(); stop += 3) {
    machine m;
    m.apply_all({made.log.begin(), made.log.begin() + static_cast<std::ptrdiff_t>(stop)});
    m.flush();
    m.restart_on(made.log);
    CHECK((m.all() == straight.all()));
    CHECK((m.snapshot() == whole));
  }
}

TEST_CASE("a base that a crash tore is not mended by this log, and is not torn by double write") {
  using quorlite::testing::faulty_disk;
  using quorlite::testing::faulty_file_system;
  using storage_type = basic_file_storage<faulty_file_system>;
  using machine_type = fsm<manual_consensus, storage_type>;
  const bool twice = GENERATE(false, true);
  const mixed_history made;
  const fsm_options options{.cluster_id = 7, .legacy = &go_dqlite_format()};
  const auto play = [&made](machine_type& m, std::size_t end) {
    for (std::size_t at = m.durable().index.value; at < end; ++at) {
      if (m.apply({{log_index{at + 1}, term{1}}, made.log[at]}) == apply_result::halted) {
        return;
      }
    }
  };
  std::uint64_t calls_before = 0;  // the second flush
  const auto live = [&](faulty_disk& disk) {
    storage_type storage(faulty_file_system(disk), {.double_write = twice});
    machine_type m(storage, options);
    REQUIRE_FALSE(m.load());
    play(m, made.log.size() / 2);
    REQUIRE_FALSE(m.flush(m.applied().index));
    play(m, made.log.size());
    calls_before = disk.calls();
    return m.flush(m.applied().index);
  };
  faulty_disk whole;
  REQUIRE_FALSE(live(whole));
  std::size_t torn = 0;
  for (std::uint64_t at = calls_before + 1; at <= whole.calls(); ++at) {
    faulty_disk disk;
    disk.crash_at(at);
    static_cast<void>(live(disk));
    faulty_disk left =
        disk.after_crash(std::vector(disk.pending(), quorlite::testing::unit_fate::survived));
    storage_type storage(faulty_file_system(left), {.double_write = twice});
    machine_type m(storage, options);
    REQUIRE_FALSE(m.load());
    play(m, made.log.size());
    if (m.health().halted) {
      CHECK(m.health().error == errc::corrupt);
      ++torn;
    } else {
      CHECK((machine::content_of(*m.databases().find("db.bin")).image == made.image()));
    }
  }
  CHECK((torn > 0) == !twice);
}

TEST_CASE("a native snapshot at any entry carries the frames that wait") {
  const mixed_history made;
  machine straight;
  straight.apply_all(made.log);
  for (std::size_t stop = 1; stop < made.log.size(); stop += 5) {
    machine from;
    machine to;
    const auto middle = made.log.begin() + static_cast<std::ptrdiff_t>(stop);
    from.apply_all({made.log.begin(), middle});
    REQUIRE_FALSE(to.restore(from.snapshot()));
    CHECK((to.snapshot() == from.snapshot()));
    to.apply_all({middle, made.log.end()});
    CHECK((to.snapshot() == straight.snapshot()));
  }
}

TEST_CASE("frames without a commit are visible to nobody until their commit") {
  opened m;
  const auto before = m.all();
  m.apply(frames(part(2, {plain(1, 1), plain(2, 2)})));
  m.apply(frames(part(2, {plain(2, 3), plain(3, 4)})));
  CHECK((m.all() == before));
  m.apply(frames(part(2, {plain(1, 5)}, 3)));
  const bytes image = m.image("t.db");
  REQUIRE(image.size() == 3 * 512);
  CHECK(image[0] == std::byte{5});
  CHECK(image[512] == std::byte{3});  // the last image of a page counts
  CHECK(image[1024] == std::byte{4});
  CHECK(m->outcome_of({term{0}, 2}) == transaction_outcome::committed);
}

TEST_CASE("an undo drops what waits, may come twice, and may name an unknown transaction") {
  opened m;
  const auto before = m.all();
  m.apply(frames(part(2, {plain(1, 1)})));
  m.apply(undo(2));
  m.apply(undo(2));
  m.apply(begin(9, "t.db"));
  m.apply(undo(9));
  m.apply(undo(0));
  m.apply(end(2));
  m.apply(checkpoint("t.db"));
  CHECK((m.all() == before));
  CHECK(refused(m) == 0);
  CHECK(m->applied().index == log_index{9});
}

TEST_CASE("frames that wait outlive later terms, until a newer transaction or an undo") {
  opened m;
  m.apply(frames(part(2, {plain(1, 1)})), 1);
  m.apply(open("u.db"), 5);
  CHECK(m->outcome_of({term{0}, 2}) == transaction_outcome::undecided);
  m.apply(frames(part(2, {plain(2, 2)}, 2)), 6);
  CHECK(m.all().at("t.db").page_count == 2);
  CHECK(m->outcome_of({term{0}, 2}) == transaction_outcome::committed);
  m.apply(frames(part(7, {plain(1, 3)})), 6);
  m.apply(frames(part(9, {plain(2, 4)}, 2)), 7);  // its leader never knew of 7
  const bytes image = m.image("t.db");
  CHECK(image[0] == std::byte{1});
  CHECK(image[512] == std::byte{4});
  CHECK(refused(m) == 0);
}

TEST_CASE("pages that a commit adds without carrying them are zeros, those beyond it are cut") {
  opened m;
  m.apply(frames(part(2, {plain(1, 1), plain(4, 4), plain(9, 9)}, 5)));
  bytes image = m.image("t.db");
  REQUIRE(image.size() == 5 * 512);
  CHECK(image[2 * 512] == std::byte{0});
  CHECK(image[3 * 512] == std::byte{4});
  m.apply(frames(part(3, {plain(1, 2)}, 3)));
  m.apply(frames(part(4, {plain(1, 3)}, 4)));
  image = m.image("t.db");
  REQUIRE(image.size() == 4 * 512);
  CHECK(image[3 * 512] == std::byte{0});  // not what it was before the shrink
}

TEST_CASE("one txid on two databases is two transactions, and an undo of both is refused (W3)") {
  opened m;
  m.apply(open("u.db"));
  batch other{5, "u.db", 512, {plain(1, 7)}, 0, era::v2};
  m.apply(frames(part(5, {plain(1, 1)})));
  m.apply(frames(other));
  must_refuse(m, undo(5));
  other.truncate = 1;
  other.pages = {plain(1, 8)};
  m.apply(frames(other));
  CHECK(m.all().at("t.db").page_count == 0);
  CHECK(m.image("u.db")[0] == std::byte{8});
  m.apply(undo(5));
  m.apply(frames(part(6, {plain(1, 2)}, 1)));
  CHECK(m.image("t.db")[0] == std::byte{2});
}

TEST_CASE("a second open and a checkpoint in mid-transaction change nothing (W7, W10)") {
  opened m;
  m.apply(frames(part(2, {plain(1, 1)})));
  m.apply(open("t.db"));
  m.apply(checkpoint("t.db"));
  m.apply(frames(part(2, {plain(2, 2)}, 2)));
  CHECK(m.all().at("t.db").page_count == 2);
  CHECK(refused(m) == 0);
}

TEST_CASE("what stopped go-dqlite's process is refused, and the log goes on (W12, W13)") {
  opened m;
  m.apply(frames(part(2, {plain(1, 1), plain(2, 1)}, 2)));
  must_refuse(m, quorlite::tests::from_text("garbage"));
  must_refuse(m, quorlite::tests::from_hex("7801"));                          // no command
  must_refuse(m, quorlite::tests::from_hex("1a0c0801108020200128013a0174"));  // no page
  must_refuse(m, frames({3, "other.db", 512, {plain(1, 1)}, 1, era::v2}));    // never opened
  must_refuse(m, frames({3, "other.db", 512, {plain(1, 1)}, 0, era::v2}));
  must_refuse(m, checkpoint("other.db"));
  must_refuse(m, open("../x"));
  must_refuse(m, frames({3, "t.db", 1024, {plain(1, 1, 1024)}, 1, era::v2}));  // another page size
  must_refuse(m, frames({3, "t.db", 100, {plain(1, 1, 100)}, 1, era::v2}));
  must_refuse(m, frames(part(3, {plain(1, 1)}, 4'000'000'000U)));  // more growth than pages
  must_refuse(m, quorlite::tests::from_hex(                        // v1 and v2 pages at once
                     "1a1e080110041a080a04000000001801200128013a01744201014a0400000000"));
  CHECK_FALSE(m->health().halted);
  m.apply(frames(part(20, {plain(1, 9)}, 1)));
  CHECK(m.image("t.db")[0] == std::byte{9});
}

TEST_CASE("a transaction of which a part was refused never commits, here or after a snapshot") {
  const bool restored = GENERATE(false, true);
  opened m;
  m.apply(frames(part(2, {plain(1, 1), plain(2, 1)}, 2)));
  m.apply(frames(part(3, {plain(1, 2)})));
  must_refuse(m, frames({3, "t.db", 1024, {plain(1, 1, 1024)}, 0, era::v2}));
  if (restored) {
    machine next;
    REQUIRE_FALSE(next.restore(m.snapshot()));
    CHECK((next.snapshot() == m.snapshot()));
    must_refuse(next, frames(part(3, {plain(2, 3)}, 2)));
    CHECK((next.all() == m.all()));
    return;
  }
  must_refuse(m, frames(part(3, {plain(2, 2)})));
  must_refuse(m, frames(part(3, {plain(2, 3)}, 2)));
  m.apply(frames(part(9, {plain(2, 4)}, 2)));
  CHECK(m.image("t.db")[512] == std::byte{4});
}

TEST_CASE("frames older than those that wait are refused, and those still commit") {
  opened m;
  m.apply(frames(part(7, {plain(1, 7)})));
  must_refuse(m, frames(part(5, {plain(1, 5)}, 1)));
  must_refuse(m, frames(part(5, {plain(1, 5)})));
  m.apply(frames(part(7, {plain(2, 7)}, 2)));
  CHECK(m.image("t.db")[0] == std::byte{7});
}

TEST_CASE("a restart does not stage again what was refused while something else waited") {
  opened m;
  std::vector<bytes> log{open("t.db"), frames(part(2, {plain(1, 1)})),
                         frames({3, "u.db", 512, {plain(1, 3)}, 0, era::v2}), open("u.db"),
                         frames({3, "u.db", 512, {plain(2, 4)}, 2, era::v2})};
  machine straight;
  straight.apply_all({log.begin(), log.begin() + 4});
  straight.flush();
  const auto before = straight.all();
  straight.restart_on({log.begin(), log.begin() + 4});
  CHECK((straight.all() == before));
  straight.apply(log[4]);
  machine again;
  again.apply_all(log);
  CHECK((again.all() == straight.all()));
}

TEST_CASE("a native drop or transaction ends what waits on the database") {
  opened m;
  m.apply(frames(part(2, {plain(1, 1)})));
  bytes drop;
  REQUIRE_FALSE(native::encode({{term{1}, 1}, drop_command{"t.db"}}, drop));
  m.apply(drop);
  m.apply(open("t.db"));
  m.apply(frames(part(3, {plain(2, 2)}, 2)));
  CHECK(m.image("t.db")[0] == std::byte{0});
}

TEST_CASE("without the policy an entry of go-dqlite is foreign: refused and counted") {
  const mixed_history made;
  machine m{nullptr};
  m.apply_all(made.log);
  CHECK(m.all().empty());
  CHECK(m->counters().malformed == made.log.size());
  CHECK(m->take_legacy_snapshot().error() == errc::unsupported);
}

TEST_CASE("a damaged native entry is never taken for one of go-dqlite") {
  machine m;
  bytes entry;
  REQUIRE_FALSE(native::encode({{term{1}, 1}, open_command{"t.db"}}, entry));
  entry[1] ^= std::byte{0x18};
  CHECK(m.apply(entry) == apply_result::halted);
  CHECK(m->health().error == errc::corrupt);
}

// ---- on top of it, natively ---------------------------------------------------------------------

namespace {

replica_options with_legacy() {
  replica_options options;
  options.legacy = &go_dqlite_format();
  return options;
}

/// A leader and a follower that get the same log.
struct cluster_of_two {
  struct member {
    manual_consensus engine;
    memory_storage storage;
    quorlite::tests::started_replica<manual_consensus, memory_storage> node{engine, storage,
                                                                            with_legacy()};
  };
  member leader;
  member follower;
  std::uint64_t next = 0;

  cluster_of_two() {
    leader.engine.on_propose = [this](const manual_consensus::proposed_entry& proposed) {
      apply(proposed.entry, proposed.expected);
    };
  }
  void apply(const bytes& entry, term in_term = term{1}) {
    ++next;
    for (member* one : {&leader, &follower}) {
      one->node.machine().apply({{log_index{next}, in_term}, entry});
    }
  }
  void lead(std::uint64_t in_term) {
    leader.node.machine().leadership_changed({term{in_term}, true, "me"});
  }
  static content held_by(member& one, std::string_view name) {
    return machine::content_of(*one.node.machine().databases().find(name));
  }
};

void check_even(cluster_of_two& both, std::string_view name) {
  CHECK(
      (cluster_of_two::held_by(both.leader, name) == cluster_of_two::held_by(both.follower, name)));
  CHECK(both.leader.node.counters().conflicts == 0);
  CHECK(both.follower.node.counters().conflicts == 0);
}

}  // namespace

TEST_CASE(
    "a database of go-dqlite is read and written through SQLite, on leader and follower alike") {
  history made("app.db", 4096, era::v1b, 2);
  some_sql(made);
  made.write_as(era::v2);
  made.execute(some_rows);
  cluster_of_two both;
  for (const bytes& entry : made.log) {
    both.apply(entry);
  }
  REQUIRE(made.image()[18] == std::byte{2});
  connection reading = both.follower.node.open("app.db").value();
  CHECK(ask(reading, "PRAGMA integrity_check") == "ok");
  CHECK(ask(reading, "SELECT count(*) FROM t") == "120");
  CHECK(both.leader.node.machine().applied().index.value == made.log.size());

  both.lead(2);
  connection db = both.leader.node.open("app.db").value();
  CHECK(ask(db, "PRAGMA journal_mode") != "wal");
  REQUIRE(run(db, "BEGIN; INSERT INTO t(b) VALUES('gone'); ROLLBACK") == SQLITE_OK);
  CHECK(both.leader.engine.proposed.empty());
  REQUIRE(run(db, "INSERT INTO t(b) VALUES('native')") == SQLITE_OK);
  REQUIRE(run(db, "CREATE TABLE u(x); INSERT INTO u SELECT a FROM t") == SQLITE_OK);
  CHECK(ask(reading, "SELECT count(*) FROM u") == "121");
  CHECK(ask(reading, "PRAGMA integrity_check") == "ok");
  check_even(both, "app.db");
  const content held = cluster_of_two::held_by(both.follower, "app.db");
  CHECK(held.image[18] == std::byte{2});  // kept as it was
  REQUIRE(run(db, "VACUUM") == SQLITE_OK);
  CHECK(ask(db, "PRAGMA integrity_check") == "ok");
  check_even(both, "app.db");
}

TEST_CASE("a rollback with a spilled cache leaves a database in WAL mode as it was") {
  history made("app.db", 512);
  some_sql(made);
  cluster_of_two both;
  for (const bytes& entry : made.log) {
    both.apply(entry);
  }
  both.lead(2);
  connection db = both.leader.node.open("app.db").value();
  REQUIRE(run(db, "PRAGMA cache_size=2; PRAGMA cache_spill=1") == SQLITE_OK);
  REQUIRE(run(db, "BEGIN; UPDATE t SET b = hex(randomblob(200)); CREATE TABLE w(x)") == SQLITE_OK);
  REQUIRE(run(db, "ROLLBACK") == SQLITE_OK);
  CHECK(both.leader.engine.proposed.empty());
  CHECK((cluster_of_two::held_by(both.leader, "app.db").image == made.image()));
}

TEST_CASE("replicas that came to the same state by log and by snapshot take native entries alike") {
  history made("app.db", 512);
  some_sql(made);
  cluster_of_two both;
  machine other;
  other.apply_all(made.log);
  const bytes snapshot = other.seed_snapshot();
  for (const bytes& entry : made.log) {
    both.leader.node.machine().apply({{log_index{++both.next}, term{1}}, entry});
  }
  auto stage = both.follower.node.machine().begin_restore().value();
  REQUIRE_FALSE(stage->append(snapshot));
  REQUIRE_FALSE(stage->finish());
  REQUIRE(both.follower.node.machine().install(std::move(stage), {log_index{both.next}, term{1}}) ==
          apply_result::applied);
  both.lead(2);
  connection db = both.leader.node.open("app.db").value();
  REQUIRE(run(db, "INSERT INTO t(b) VALUES('native')") == SQLITE_OK);
  REQUIRE(run(db, "INSERT INTO t(b) VALUES('again')") == SQLITE_OK);
  check_even(both, "app.db");
  CHECK(cluster_of_two::held_by(both.follower, "app.db").version == version_number{3});
}

TEST_CASE("an entry of go-dqlite takes back what a native writer has pending") {
  history made("app.db", 512);
  some_sql(made);
  cluster_of_two both;
  for (const bytes& entry : made.log) {
    both.apply(entry);
  }
  both.lead(2);
  const std::size_t known = made.log.size();
  made.execute("INSERT INTO t(b) VALUES('seed')");
  both.leader.engine.on_propose = [&](const manual_consensus::proposed_entry& proposed) {
    for (std::size_t at = known; at < made.log.size(); ++at) {
      both.apply(made.log[at], term{2});
    }
    both.apply(proposed.entry, proposed.expected);
  };
  connection db = both.leader.node.open("app.db").value();
  CHECK(run(db, "INSERT INTO t(b) VALUES('native')") != SQLITE_OK);
  CHECK(cluster_of_two::held_by(both.leader, "app.db") ==
        cluster_of_two::held_by(both.follower, "app.db"));
  CHECK((cluster_of_two::held_by(both.follower, "app.db").image == made.image()));
}

}  // namespace go_dqlite_log_test
