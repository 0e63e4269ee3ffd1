// Snapshots of go-dqlite in a machine: restored whole or not at all, and written byte for byte.
#include <sqlite3.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/legacy/go_dqlite_snapshot.hpp"
#include "support/go_dqlite_history.hpp"
#include "support/sql.hpp"
#include "support/started_replica.hpp"
#include "unit/codec_support.hpp"

namespace go_dqlite_snapshots_test {
namespace {

using namespace quorlite::tests;  // NOLINT: tests of this library only
using quorlite::tests::from_hex;

constexpr const char* some_rows =
    "WITH RECURSIVE row(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM row WHERE i < 40) "
    "INSERT INTO t(b) SELECT hex(randomblob(60)) FROM row";

/// A database whose last transactions are in its WAL only.
struct made_database : history {
  explicit made_database(std::string name, std::uint32_t page_size = 512)
      : history(std::move(name), page_size) {
    execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    execute(some_rows);
    execute("UPDATE t SET b = 'x' WHERE a % 5 = 0");
  }
};

/// As SQLite leaves a database that was checkpointed: all of it in the database file, no WAL.
quorlite::tests::database_files checkpointed(const history& made) { return {made.image(), {}}; }
/// The first transactions in the database file, all of them in the WAL besides.
quorlite::tests::database_files both_parts(const history& made) {
  return {made.image(), made.files().wal};
}

bytes snapshot_of(
    std::uint64_t index,
    const std::vector<std::pair<std::string, quorlite::tests::database_files>>& databases) {
  bytes out;
  go_dqlite::append_index(log_index{index}, out);
  for (const auto& [name, files] : databases) {
    go_dqlite::append_record({files.database, files.wal, name}, out);
  }
  return out;
}

/// A machine that has seen something, and must have it still after a refused restore.
struct used_machine : machine {
  used_machine() {
    REQUIRE(apply(open("old.db")) == apply_result::applied);
    REQUIRE(apply(frames({1, "old.db", 512, {plain(1, 1)}, 1, era::v2})) == apply_result::applied);
    REQUIRE(apply(frames({2, "old.db", 512, {plain(1, 2)}, 0, era::v2})) == apply_result::applied);
  }
};

void must_refuse(const bytes& snapshot) {
  used_machine m;
  const auto before = m.all();
  const bytes whole = m.snapshot();
  CHECK(m.restore(snapshot, 1000));
  CHECK((m.all() == before));
  CHECK((m.snapshot() == whole));
}

}  // namespace

TEST_CASE("a snapshot of no database, and one of an empty database, are read and written exactly") {
  const std::string golden = GENERATE(
      "0700000000000000", "080706050403020100000000000000000000000000000000746573742e646200");
  const std::size_t piece = GENERATE(1U, 3U, 4096U);
  used_machine m;
  REQUIRE_FALSE(m.restore(from_hex(golden), piece));
  CHECK(m.installed == apply_result::applied);
  CHECK(m->applied().index == log_index{golden.size() == 16 ? 7U : 0x0102030405060708U});
  CHECK(m.all().size() == (golden.size() == 16 ? 0U : 1U));
  CHECK((m.seed_snapshot() == from_hex(golden)));
}

TEST_CASE("snapshots of one, two and many databases, in any order, with and without a WAL (W2)") {
  const std::size_t count = GENERATE(1U, 2U, 9U);
  std::vector<std::pair<std::string, quorlite::tests::database_files>> records;
  std::map<std::string, bytes> images;
  for (std::size_t n = 0; n < count; ++n) {
    const std::string name = "db" + std::to_string((n * 7) % count) + ".bin";
    const made_database made(name, n % 3 == 1 ? 4096 : 512);
    records.emplace_back(name, n % 2 == 0 ? both_parts(made) : checkpointed(made));
    images[name] = made.image();
  }
  const bytes snapshot = snapshot_of(50, records);
  used_machine m;
  const log_position at{log_index{51}, term{4}};
  REQUIRE_FALSE(m.restore(snapshot, GENERATE(7U, 4096U), at));
  CHECK(m->applied() == at);
  REQUIRE(m.all().size() == count);  // what was there before is gone
  for (const auto& [name, image] : images) {
    CHECK((m.image(name) == image));
  }
  // In name order, with nothing in WAL parts: what the same state always gives.
  std::sort(records.begin(), records.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [name, files] : records) {
    files = {images[name], {}};
  }
  const bytes written = m.seed_snapshot();
  CHECK((written == snapshot_of(51, records)));
  machine again;
  REQUIRE_FALSE(again.restore(written, 4096, at));
  CHECK((again.all() == m.all()));
  CHECK((again.seed_snapshot() == written));
  CHECK((again.snapshot() == m.snapshot()));
}

TEST_CASE("transactions that stand in the WAL part only are folded into the pages") {
  made_database made("a.db");
  // The file as a first checkpoint might have left it: one page.
  const bytes image = made.image();
  const quorlite::tests::database_files start{bytes(image.begin(), image.begin() + 512),
                                              made.files().wal};
  machine m;
  REQUIRE_FALSE(m.restore(snapshot_of(9, {{"a.db", start}})));
  CHECK((m.image("a.db") == image));
  // A torn tail is dropped, as SQLite does.
  made_database other("b.db");
  const bytes before = other.image();
  const std::size_t so_far = other.files().wal.size();
  other.execute(some_rows);
  quorlite::tests::database_files torn{bytes(before.begin(), before.begin() + 512),
                                       other.files().wal};
  torn.wal.resize(so_far + 100);
  machine n;
  REQUIRE_FALSE(n.restore(snapshot_of(9, {{"b.db", torn}})));
  CHECK((n.image("b.db") == before));
}

TEST_CASE("a snapshot in the middle of the log and the rest of it give what the whole log gives") {
  made_database made("a.db");
  const std::size_t middle = made.log.size();
  const quorlite::tests::database_files then = both_parts(made);
  made.execute(some_rows);
  made.execute("DELETE FROM t WHERE a % 2 = 0");
  machine straight;
  straight.apply_all(made.log);
  machine m;
  REQUIRE_FALSE(m.restore(snapshot_of(middle, {{"a.db", then}})));
  m.flush();
  m.restart_on(made.log);
  CHECK((m.all() == straight.all()));
  CHECK((m.image("a.db") == made.image()));
}

TEST_CASE("a snapshot cut anywhere but between records is refused, and nothing is lost (I8)") {
  const made_database one("a.db");
  const made_database two("b.db");
  const bytes first = snapshot_of(50, {{"a.db", both_parts(one)}});
  const bytes whole = snapshot_of(50, {{"a.db", both_parts(one)}, {"b.db", checkpointed(two)}});
  used_machine m;
  const auto before = m.all();
  const bytes native = m.snapshot();
  for (std::size_t size = 0; size < whole.size();
       size += size < 40 || whole.size() - size < 40 ? 1 : 509) {
    CAPTURE(size);
    if (size != 8 && size != first.size()) {
      CHECK(m.restore(bytes_view{whole}.first(size)));
    }
  }
  CHECK((m.all() == before));
  CHECK((m.snapshot() == native));
  REQUIRE_FALSE(m.restore(whole));
}

TEST_CASE("what is no SQLite file, or is damaged where it can be seen, is refused (I8)") {
  const made_database made("a.db");
  const quorlite::tests::database_files files = both_parts(made);
  must_refuse(from_hex("0700000000000000"
                       "02000000000000004442010000000000000057"
                       "6100"));  // go-dqlite's own golden: its parts are letters
  for (const std::size_t at : {8U, 13U, 15U, 16U, 20U, 32U, 33U}) {  // sizes, the file's head
    CAPTURE(at);
    bytes damaged = snapshot_of(50, {{"a.db", files}});
    damaged[at] ^= std::byte{0x40};
    must_refuse(damaged);
  }
  quorlite::tests::database_files other = files;
  other.wal[3] ^= std::byte{0x40};
  must_refuse(snapshot_of(50, {{"a.db", other}}));
  must_refuse(snapshot_of(50, {{"a.db", {{}, files.wal}}}));
  must_refuse(snapshot_of(50, {{"a/b", files}}));
  must_refuse(snapshot_of(50, {{"", files}}));
  must_refuse(snapshot_of(50, {{"a.db", files}, {"a.db", files}}));
  other.database = bytes(files.database.begin(), files.database.end() - 1);
  must_refuse(snapshot_of(50, {{"a.db", {other.database, {}}}}));
}

TEST_CASE("the magic alone says whether a snapshot is native, and a damaged native one stays so") {
  used_machine from;
  bytes native = from.snapshot();
  machine m;
  REQUIRE_FALSE(m.restore(native, 5));
  CHECK((m.snapshot() == native));
  native[1] ^= std::byte{0x11};
  machine n;
  CHECK(n.restore(native) == make_error_code(errc::corrupt));
  machine plain{nullptr};
  CHECK(plain.restore(from_hex("0700000000000000")));
  CHECK(plain.restore(snapshot_of(50, {{"a.db", checkpointed(made_database("a.db"))}})) ==
        make_error_code(errc::malformed));
  CHECK(plain->applied().index == log_index{0});
}

TEST_CASE("a snapshot of go-dqlite cannot be written while a transaction waits for its commit") {
  used_machine m;
  CHECK(m->take_legacy_snapshot().error() == make_error_code(errc::unsupported));
  CHECK(m->take_snapshot());  // W9: the native one carries it
  m.apply(undo(2));
  CHECK(m.seed_snapshot().size() == 8 + 16 + 512 + 7);
}

TEST_CASE(
    "a restore takes everything away that was there, frames that wait and outcomes too (W6)") {
  used_machine m;
  REQUIRE(m->outcome_of({term{0}, 1}) == transaction_outcome::committed);
  const made_database made("a.db");
  REQUIRE_FALSE(
      m.restore(snapshot_of(50, {{"a.db", checkpointed(made)}}), 4096, {log_index{52}, term{3}}));
  CHECK(m->applied() == log_position{log_index{52}, term{3}});
  CHECK(m->outcome_of({term{0}, 1}) == transaction_outcome::expired);
  CHECK(m->outcome_of({term{3}, 1}) == transaction_outcome::expired);
  CHECK(m->outcome_of({term{4}, 1}) == transaction_outcome::undecided);
  m.apply(open("old.db"), 4);
  m.apply(frames({2, "old.db", 512, {plain(2, 2)}, 2, era::v2}), 4);
  CHECK(m.image("old.db")[0] == std::byte{0});
  CHECK(m->outcome_of({term{0}, 2}) == transaction_outcome::committed);
}

TEST_CASE("a snapshot that is older than the state is not installed") {
  used_machine m;
  const auto before = m.all();
  REQUIRE_FALSE(m.restore(snapshot_of(2, {{"a.db", checkpointed(made_database("a.db"))}})));
  CHECK(m.installed == apply_result::already);
  CHECK((m.all() == before));
}

TEST_CASE("stock SQLite opens what is written, natively changed pages included") {
  manual_consensus engine;
  memory_storage storage;
  replica_options options;
  options.legacy = &go_dqlite_format();
  quorlite::tests::started_replica<manual_consensus, memory_storage> node{engine, storage, options};
  const made_database made("a.db");
  auto stage = node.machine().begin_restore().value();
  REQUIRE_FALSE(stage->append(snapshot_of(50, {{"a.db", both_parts(made)}})));
  REQUIRE_FALSE(stage->finish());
  REQUIRE(node.machine().install(std::move(stage), {log_index{50}, term{1}}) ==
          apply_result::applied);
  std::uint64_t index = 50;
  engine.on_propose = [&](const manual_consensus::proposed_entry& proposed) {
    node.machine().apply({{log_index{++index}, proposed.expected}, proposed.entry});
  };
  node.machine().leadership_changed({term{2}, true, "me"});
  connection db = node.open("a.db").value();
  REQUIRE(run(db, "CREATE TABLE n(x); INSERT INTO n VALUES('native')") == SQLITE_OK);
  const bytes written = machine::read(node.machine().take_legacy_snapshot());

  const std::uint64_t size =
      machine::content_of(*node.machine().databases().find("a.db")).image.size();
  const quorlite::tests::temporary_directory folder;
  quorlite::tests::write_file(folder / "a.db", bytes_view{written}.subspan(16, size));
  sqlite3* stock = nullptr;
  REQUIRE(sqlite3_open((folder / "a.db").c_str(), &stock) == SQLITE_OK);
  CHECK(ask(stock, "PRAGMA integrity_check") == "ok");
  CHECK(ask(stock, "PRAGMA journal_mode") == "wal");
  CHECK(ask(stock, "SELECT x FROM n") == "native");
  sqlite3_close(stock);
}

}  // namespace go_dqlite_snapshots_test
