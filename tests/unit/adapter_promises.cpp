// What the how-to for adapters says of the library's side: positions, snapshots, installs, starts.
#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <system_error>
#include <utility>

#include "catch2_shim.hpp"
#include "quorlite/adapter_kit.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/file.hpp"
#include "support/sql.hpp"
#include "support/temporary_directory.hpp"

namespace adapter_promises_test {
namespace {

using namespace quorlite;

/// One server that commits at once, and lets a test do what an engine would.
class open_consensus {
 public:
  static constexpr consensus_abilities abilities{
      .entry_terms = true, .contiguous = true, .background_work = true};
  using signal_type = thread_signal;

  std::error_code start(state_machine& its_machine) noexcept {
    machine = &its_machine;
    at = machine->applied();
    pending.open(*machine);
    strand.open(*machine, "here");
    at.term = at.term.next();
    strand.elected(at.term, at.index);
    return {};
  }
  void stop() noexcept {
    strand.close();
    pending.close();
  }
  void propose(term expected, proposal_token token, bytes_view entry) noexcept {
    if (!pending.add(token)) {
      return;
    }
    if (const settle_reason why = strand.refusal(expected); why != settle_reason::none) {
      pending.settle(token, outcome::not_applied, why);
      return;
    }
    at.index = at.index.next();
    pending.place(token, at);
    static_cast<void>(strand.apply({at, entry}));
    pending.commit(at);
  }
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return std::size_t{1} << 20U; }
  bool wait(signal_type& signal, milliseconds limit) noexcept { return signal.wait(limit); }
  void withdraw() noexcept { strand.withdraw(); }
  void run(background_task& task) noexcept {
    ++tasks;
    task.run();
  }

  state_machine* machine = nullptr;
  gated_strand strand;
  pending_proposals pending;
  log_position at;
  int tasks = 0;
};

struct server {
  explicit server(const std::string& directory) : storage(directory) { start(); }
  void start(const replica_options& options = {}) {
    node = replica::start(raft, storage, options).value();
  }
  /// The engine stops and nothing is flushed, as after a crash.
  void end() { node = {}; }
  int run(const std::string& sql) {
    const connection db = node.open("app.db").value();
    return ::run(db, sql);
  }
  std::string ask(const std::string& sql) {
    const connection db = node.open("app.db").value();
    return ::ask(db, sql);
  }

  open_consensus raft;
  file_storage storage;
  replica node;
};

bytes all_of(snapshot_reader& reader) {
  bytes all(static_cast<std::size_t>(reader.size_bytes()));
  REQUIRE(!reader.read(0, all));
  return all;
}

/// What the leader's adapter and a follower's do together.
apply_result send(snapshot_reader& reader, open_consensus& to, log_position engine_at) {
  std::unique_ptr<snapshot_stage> stage = to.machine->begin_restore().value();
  REQUIRE(!stage->append(all_of(reader)));
  REQUIRE(!stage->finish());
  return to.strand.install(std::move(stage), engine_at);
}

const char* const some_rows =
    "CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(3000)); INSERT INTO t VALUES(zeroblob(9))";

}  // namespace

TEST_CASE("a snapshot stands where skips took the machine, with the term that was told") {
  quorlite::tests::temporary_directory folder;
  server one(folder / "one");
  REQUIRE(one.run(some_rows) == SQLITE_OK);
  const log_position skipped{one.raft.at.index.next(), term{9}};
  REQUIRE(one.raft.strand.skip(skipped) == apply_result::applied);
  const auto reader = one.raft.strand.take_snapshot().value();
  CHECK(reader->at() == skipped);
}

TEST_CASE("a snapshot can be read when its machine is gone, as long as the storage is there") {
  quorlite::tests::temporary_directory folder;
  server one(folder / "one");
  REQUIRE(one.run(some_rows) == SQLITE_OK);
  REQUIRE(!one.node.flush());  // so that pages are read from the file
  const auto reader = one.raft.strand.take_snapshot().value();
  const bytes before = all_of(*reader);
  one.end();
  CHECK(all_of(*reader) == before);
}

TEST_CASE("an install is not durable before a flush") {
  quorlite::tests::temporary_directory folder;
  server one(folder / "one");
  server two(folder / "two");
  REQUIRE(one.run(some_rows) == SQLITE_OK);
  const auto reader = one.raft.strand.take_snapshot().value();
  CHECK(send(*reader, two.raft, reader->at()) == apply_result::applied);
  CHECK(two.raft.machine->applied() == reader->at());
  CHECK(two.raft.machine->durable().index == log_index{0});
  CHECK(two.ask("SELECT count(*) FROM t") == "2");

  two.end();
  two.start();
  CHECK(two.raft.machine->applied().index == log_index{0});

  CHECK(send(*reader, two.raft, reader->at()) == apply_result::applied);
  REQUIRE(!two.raft.machine->flush(reader->at().index));
  CHECK(two.raft.machine->durable() == reader->at());
  two.end();
  two.start();
  CHECK(two.raft.machine->applied() == reader->at());
  CHECK(two.ask("SELECT count(*) FROM t") == "2");
}

TEST_CASE(
    "an older snapshot harms nothing, and where the engine stands counts beyond its content") {
  quorlite::tests::temporary_directory folder;
  server one(folder / "one");
  server two(folder / "two");
  REQUIRE(one.run(some_rows) == SQLITE_OK);
  const auto reader = one.raft.strand.take_snapshot().value();
  const log_position further{log_index{reader->at().index.value + 5}, term{1}};
  CHECK(send(*reader, two.raft, further) == apply_result::applied);
  CHECK(two.raft.machine->applied() == further);
  CHECK(send(*reader, two.raft, {}) == apply_result::already);
  CHECK(two.raft.machine->applied() == further);
  CHECK(two.ask("SELECT count(*) FROM t") == "2");
}

TEST_CASE("maintain() hands a flush that is due to an adapter that does background work") {
  quorlite::tests::temporary_directory folder;
  server one(folder / "one");
  one.end();
  one.start({.flush_bytes = 1});
  REQUIRE(one.run(some_rows) == SQLITE_OK);
  CHECK(one.raft.tasks == 0);  // nobody but the application asks for it
  CHECK(!one.node.maintain());
  CHECK(one.raft.tasks == 1);
  CHECK(one.raft.machine->durable() == one.raft.at);
}

TEST_CASE("a second replica starts the adapter that the first one stopped") {
  quorlite::tests::temporary_directory folder;
  server one(folder / "one");
  REQUIRE(one.run(some_rows) == SQLITE_OK);
  CHECK(!one.node.stop());
  CHECK(one.ask("SELECT count(*) FROM t") == "2");  // reads go on
  CHECK(one.run("INSERT INTO t VALUES(1)") == sqlite_not_leader);
  one.end();
  one.start();
  CHECK(one.run("INSERT INTO t VALUES(1)") == SQLITE_OK);
  CHECK(one.ask("SELECT count(*) FROM t") == "3");
}

}  // namespace adapter_promises_test
