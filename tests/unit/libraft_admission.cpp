// What a server over libraft takes of its peers: nothing of another history, before it is
// acknowledged. Replicas on libraft's own fixture.

#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/detail/codec/history_judge.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/detail/libraft/admission.hpp"
#include "quorlite/detail/libraft/history.hpp"
#include "quorlite/detail/libraft/proposals.hpp"
#include "quorlite/detail/libraft/snapshot.hpp"
#include "quorlite/fsm.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/memory.hpp"
#include "support/libraft_cluster.hpp"
#include "support/libraft_disk.hpp"
#include "support/libraft_fixture.hpp"
#include "support/started_replica.hpp"
#include "support/told_machine.hpp"
#include "unit/codec_support.hpp"

namespace libraft_admission_test {
namespace {

using namespace quorlite;
using namespace quorlite::detail;
using quorlite::tests::fixture_disk;
using quorlite::tests::fixture_flaw;
using quorlite::tests::fixture_raft;
using quorlite::tests::fixture_simulation;
using quorlite::tests::generator;
using node_type = quorlite::tests::started_replica<fixture_raft, memory_storage>;

/// Three replicas whose history has begun.
class cluster {
 public:
  explicit cluster(const libraft_options& options = fixture_simulation::default_options())
      : raft(3, fixture_flaw::none, options), storages_(3), nodes_(3) {
    for (std::size_t i = 0; i < 3; ++i) {
      nodes_[i].emplace(raft.node(i), storages_[i].emplace());
      REQUIRE_FALSE(nodes_[i]->status());
    }
    await_leader();
    write("CREATE TABLE t(x)");
    REQUIRE_FALSE(nodes_[leader]->upgrade());
  }
  cluster(const cluster&) = delete;
  cluster& operator=(const cluster&) = delete;
  ~cluster() {
    for (auto& node : nodes_) {
      node->stop();
    }
  }

  /// Of several the one of the highest term.
  bool look_for_leader() {
    std::optional<std::size_t> found;
    for (std::size_t i = 0; i < 3; ++i) {
      const bool is_newest =
          !found || raft.engine(i)->current_term > raft.engine(*found)->current_term;
      if (nodes_[i]->leader().leading && is_newest) {
        found = i;
      }
    }
    leader = found.value_or(leader);
    return found.has_value();
  }
  void await_leader() {
    REQUIRE(raft.run_until([this] { return look_for_leader(); }));
  }
  [[nodiscard]] connection open(std::size_t server) {
    return std::move(*nodes_[server]->open("app.db"));
  }
  void write(const std::string& sql) {
    connection db = open(leader);
    REQUIRE(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
  }
  /// It may be refused, or its fate be unknown.
  bool try_write(std::size_t server) {
    connection db = open(server);
    return sqlite3_exec(db, "INSERT INTO t VALUES(randomblob(300))", nullptr, nullptr, nullptr) ==
           SQLITE_OK;
  }
  void insert(int rows) {
    for (int i = 0; i < rows; ++i) {
      write("INSERT INTO t VALUES(randomblob(300))");
    }
  }
  [[nodiscard]] std::int64_t rows_at(std::size_t server) {
    connection db = open(server);
    std::int64_t count = -1;
    const auto take = [](void* to, int, char** columns, char**) {
      *static_cast<std::int64_t*>(to) = std::stoll(columns[0]);
      return 0;
    };
    static_cast<void>(sqlite3_exec(db, "SELECT count(*) FROM t", take, &count, nullptr));
    return count;
  }
  [[nodiscard]] bool await_even(std::optional<std::size_t> but = std::nullopt) {
    return raft.run_until([&] {
      for (std::size_t i = 0; i < 3; ++i) {
        if (i != but && nodes_[i]->applied() != nodes_[leader]->applied()) {
          return false;
        }
      }
      return true;
    });
  }
  [[nodiscard]] std::size_t other() const noexcept { return (leader + 1) % 3; }
  [[nodiscard]] std::size_t third() const noexcept { return (leader + 2) % 3; }
  [[nodiscard]] std::vector<libraft_refused> refused_by(std::size_t server) {
    return raft.node(server).status().refused;
  }
  [[nodiscard]] std::uint64_t dropped_by(std::size_t server) {
    return raft.node(server).status().counters.messages_dropped;
  }
  [[nodiscard]] bool refuses(std::size_t server, std::size_t peer) {
    const auto all = refused_by(server);
    return all.size() == 1 && all[0].id == server_id{peer + 1};
  }
  [[nodiscard]] health health_of(std::size_t server) { return nodes_[server]->health(); }
  [[nodiscard]] bool halted(std::size_t server) { return nodes_[server]->health().halted; }
  [[nodiscard]] bool leads(std::size_t server) { return nodes_[server]->leader().leading; }
  [[nodiscard]] bool is_engines_leader(std::size_t server) {
    return raft.engine(server)->state == RAFT_LEADER;
  }
  [[nodiscard]] state_machine& machine(std::size_t server) { return nodes_[server]->machine(); }
  /// It stops, and begins again with what it has.
  void restart(
      std::size_t server, void (*before)(raft_io&) = [](raft_io&) {}) {
    raft.node(server).machine().go();
    nodes_[server]->stop();
    nodes_[server].reset();
    raft.renew(server);
    before(*raft.engine(server)->io);
    nodes_[server].emplace(raft.node(server), *storages_[server]);
    REQUIRE_FALSE(nodes_[server]->status());
    raft.revive(server);
  }
  /// It stops, and begins again with that log and no databases.
  void exchange_folder(std::size_t server, const fixture_disk& disk) {
    raft.node(server).machine().go();
    nodes_[server]->stop();
    nodes_[server].reset();
    raft.renew(server);
    raft.disk(server).take(disk);
    nodes_[server].emplace(raft.node(server), storages_[server].emplace());
    REQUIRE_FALSE(nodes_[server]->status());
    raft.revive(server);
  }

  std::size_t leader = 0;
  fixture_simulation raft;

 private:
  std::vector<std::optional<memory_storage>> storages_;
  std::vector<std::optional<node_type>> nodes_;
};

libraft_options with_snapshots() {
  libraft_options options = fixture_simulation::default_options();
  options.snapshot_min_bytes = std::uint64_t{8} << 10U;
  options.snapshot_percent = 0;
  options.trailing_bytes = 1;
  return options;
}

/// @param entry the index that it tells
bytes batch_of(const bytes& command, std::uint64_t entry = 0) {
  bytes raw(libraft_batch::bytes_for(1, command.size(), entry));
  libraft_batch::encode(
      raw, 1, [&](std::size_t) { return bytes_view(command); }, entry);
  return raw;
}

/// Between one server and its network: what it answers, and a way to tell it something.
namespace overheard {

raft_io_recv_cb receive = nullptr;
decltype(raft_io::start) start = nullptr;
decltype(raft_io::send) send = nullptr;
std::vector<std::uint64_t> answers;  // the ends that it vouched for

int on_start(raft_io* io, unsigned tick_ms, raft_io_tick_cb tick, raft_io_recv_cb told) {
  receive = told;
  return start(io, tick_ms, tick, told);
}
int on_send(raft_io* io, raft_io_send* asked, const raft_message* message, raft_io_send_cb sent) {
  if (message->type == RAFT_IO_APPEND_ENTRIES_RESULT &&
      message->append_entries_result.rejected == 0) {
    answers.push_back(message->append_entries_result.last_log_index);
  }
  return send(io, asked, message, sent);
}
void listen(raft_io& io) {
  start = std::exchange(io.start, on_start);
  send = std::exchange(io.send, on_send);
}

/// That a leader hands over, to who has its log up to there.
void call(::raft& to, std::uint64_t from, raft_term in, std::uint64_t last, raft_term last_term) {
  raft_message made{};
  made.type = RAFT_IO_TIMEOUT_NOW;
  made.server_id = from;
  made.server_address = "1";
  made.timeout_now = {in, last, last_term};
  receive(to.io, &made);
}

/// That who was called asks for a vote, and may disturb a leader for it.
void ask(::raft& to, std::uint64_t candidate, raft_term in, std::uint64_t last,
         raft_term last_term) {
  raft_message made{};
  made.type = RAFT_IO_REQUEST_VOTE;
  made.server_id = candidate;
  made.server_address = "1";
  raft_request_vote& asks = made.request_vote;
  asks.term = in;
  asks.candidate_id = candidate;
  asks.last_log_index = last;
  asks.last_log_term = last_term;
  asks.disrupt_leader = true;
  receive(to.io, &made);
}

/// A message of a leader, with entries of these types; a command is no batch.
/// @param of their term; 0: the leader's
void say(::raft& to, std::uint64_t from, raft_term in, std::uint64_t previous,
         raft_term previous_term, const std::vector<unsigned short>& types, raft_term of = 0) {
  raft_message made{};
  made.type = RAFT_IO_APPEND_ENTRIES;
  made.server_id = from;
  made.server_address = "1";
  raft_append_entries& append = made.append_entries;
  append.term = in;
  append.prev_log_index = previous;
  append.prev_log_term = previous_term;
  append.leader_commit = previous;
  append.n_entries = static_cast<unsigned>(types.size());
  if (!types.empty()) {
    append.entries = static_cast<raft_entry*>(raft_calloc(types.size(), sizeof(raft_entry)));
    auto* const batch = static_cast<std::byte*>(raft_calloc(types.size(), 8));
    for (std::size_t i = 0; i < types.size(); ++i) {
      append.entries[i] = {of == 0 ? in : of, types[i], {batch + 8 * i, 8}, batch};
    }
  }
  receive(to.io, &made);
}

}  // namespace overheard

/// Another look at what comes to a follower of an idle cluster.
struct bystander {
  cluster& all;
  std::size_t self;
  history_trail trail;
  libraft_admission admission;
  std::vector<raft_entry> entries;
  bytes content;

  explicit bystander(cluster& of) : bystander(of, of.other()) {}
  bystander(cluster& of, std::size_t server) : all(of), self(server) {
    all.insert(5);
    REQUIRE(all.await_even());
    all.raft.run_for(500);
    admission.attach(engine(), all.raft.node(self).core().strand(), trail);
    admission.begin(0, {});
  }
  [[nodiscard]] ::raft& engine() { return *all.raft.engine(self); }
  [[nodiscard]] std::uint64_t last() { return raft_last_index(&engine()); }
  [[nodiscard]] raft_message from_leader(unsigned short type) {
    raft_message made{};
    made.type = type;
    made.server_id = all.leader + 1;
    return made;
  }
  /// What the leader might send behind the end of the log.
  [[nodiscard]] raft_message append(const bytes& batch) {
    content = batch;
    raft_entry one{};
    one.term = engine().current_term;
    one.type = RAFT_COMMAND;
    one.buf = {content.data(), content.size()};
    entries = {one};
    raft_message made = from_leader(RAFT_IO_APPEND_ENTRIES);
    made.append_entries.term = engine().current_term;
    made.append_entries.prev_log_index = last();
    made.append_entries.prev_log_term = libraft_term_at(engine().log, last()).value;
    made.append_entries.entries = entries.data();
    made.append_entries.n_entries = 1;
    return made;
  }
  /// @param flip of the witness
  [[nodiscard]] bytes next_command(std::uint64_t flip) {
    const history_position now = all.machine(self).history();
    bytes made;
    REQUIRE_FALSE(native::encode({.id = {term{engine().current_term}, 1'000},
                                  .body = barrier_command{},
                                  .format = 2,
                                  .witness = {now.index, now.hash.low ^ flip}},
                                 made));
    return made;
  }
  [[nodiscard]] raft_message ask_for_vote(std::uint64_t last_index) {
    raft_message made = from_leader(RAFT_IO_REQUEST_VOTE);
    made.request_vote.term = engine().current_term + 1;
    made.request_vote.last_log_index = last_index;
    return made;
  }
  [[nodiscard]] raft_message send_snapshot(const libraft_snapshot_header& header) {
    content.assign(header.size_bytes(), std::byte{0});
    header.encode(content);
    raft_message made = from_leader(RAFT_IO_INSTALL_SNAPSHOT);
    made.install_snapshot.term = engine().current_term;
    made.install_snapshot.last_index = header.at.entry;
    made.install_snapshot.last_term = header.at.at.term.value;
    made.install_snapshot.data = {content.data(), content.size()};
    return made;
  }
};

}  // namespace

TEST_CASE("over libraft an entry whose witness differs refuses its sender, who is not heard then") {
  cluster all;
  bystander follower(all);
  REQUIRE(follower.admission.admits(follower.append(batch_of(follower.next_command(0)))));
  follower.admission.received();  // the engine did not take it after all
  CHECK(follower.trail.end_place().entry == follower.last());
  const raft_message wrong = follower.append(batch_of(follower.next_command(1)));
  CHECK_FALSE(follower.admission.admits(wrong));
  REQUIRE(follower.admission.refused().size() == 1);
  const libraft_refused refused = follower.admission.refused()[0];
  CHECK(refused.id == server_id{all.leader + 1});
  CHECK(refused.at == all.machine(follower.self).history().index.next());
  CHECK(refused.compared == all.machine(follower.self).history().index);
  for (const unsigned short type :
       {RAFT_IO_APPEND_ENTRIES, RAFT_IO_APPEND_ENTRIES_RESULT, RAFT_IO_REQUEST_VOTE,
        RAFT_IO_REQUEST_VOTE_RESULT, RAFT_IO_INSTALL_SNAPSHOT, RAFT_IO_TIMEOUT_NOW}) {
    CHECK_FALSE(follower.admission.admits(follower.from_leader(type)));
  }
  CHECK(follower.admission.dropped() == 7);
  follower.admission.readmit(refused.id);
  CHECK(follower.admission.admits(follower.append(batch_of(follower.next_command(0)))));
}

TEST_CASE("over libraft what is lost on the way in is vouched for in no answer") {
  cluster all;
  all.insert(5);
  REQUIRE(all.await_even());
  const std::size_t follower = all.other();
  for (std::size_t i = 0; i < 3; ++i) {
    all.raft.isolate(i);
  }
  all.restart(follower, overheard::listen);
  ::raft& engine = *all.raft.engine(follower);
  const std::uint64_t common = raft_last_index(&engine);
  const raft_term common_term = libraft_term_at(engine.log, common).value;
  const raft_term first = engine.current_term + 1;
  const std::uint64_t leader = all.leader + 1;
  // Of a first leader it has an entry that nobody else has.
  overheard::say(engine, leader, first, common, common_term, {RAFT_BARRIER});
  REQUIRE(raft_last_index(&engine) == common + 1);
  all.raft.run_for(50);
  // A second one sends others in its place, which cannot be read, and then what it has to say.
  overheard::say(engine, leader, first + 1, common, common_term, {RAFT_BARRIER, RAFT_COMMAND});
  REQUIRE(libraft_term_at(engine.log, common + 1) == term{first});
  overheard::answers.clear();
  overheard::say(engine, leader, first + 1, common, common_term, {});
  all.raft.run_for(50);
  REQUIRE_FALSE(overheard::answers.empty());
  CHECK(overheard::answers.back() == common);
}

TEST_CASE("over libraft a message of an older term is not judged") {
  cluster all;
  bystander follower(all);
  raft_message old = follower.append(batch_of(follower.next_command(1)));
  old.append_entries.term -= 1;
  CHECK(follower.admission.admits(old));
}

TEST_CASE("over libraft a leader refuses who leads in its own term: that is another cluster's") {
  cluster all;
  bystander leader(all, all.leader);
  const auto from_stranger = [](raft_message made) {
    made.server_id = 9;
    return made;
  };
  raft_message old = from_stranger(leader.append(batch_of(leader.next_command(0))));
  old.append_entries.term -= 1;
  CHECK(leader.admission.admits(old));
  raft_message heartbeat = from_stranger(leader.append(batch_of(leader.next_command(0))));
  heartbeat.append_entries.n_entries = 0;
  SECTION("by a heartbeat") { CHECK_FALSE(leader.admission.admits(heartbeat)); }
  SECTION("by a snapshot") {
    CHECK_FALSE(leader.admission.admits(from_stranger(leader.send_snapshot({}))));
  }
  REQUIRE(leader.admission.refused().size() == 1);
  CHECK(leader.admission.refused()[0].id == server_id{9});
  heartbeat.append_entries.term += 1;
  CHECK_FALSE(leader.admission.admits(heartbeat));  // nor is it heard any more
}

TEST_CASE("over libraft another entry of one term and index refuses its sender") {
  cluster all;
  bystander follower(all);
  // It is the last one of our log, which nobody need have committed.
  const raft_entry& last = *libraft_entry_at(follower.engine().log, follower.last());
  raft_message again = follower.append(batch_of(follower.next_command(0)));
  again.append_entries.prev_log_index -= 1;
  again.append_entries.prev_log_term =
      libraft_term_at(follower.engine().log, follower.last() - 1).value;
  follower.entries[0] = last;
  CHECK(follower.admission.admits(again));
  follower.admission.received();
  bytes other(last.buf.len);
  std::memcpy(other.data(), last.buf.base, other.size());
  SECTION("of other bytes") { other.back() ^= std::byte{1}; }
  SECTION("that is longer") { other.push_back({}); }
  SECTION("of another kind") { follower.entries[0].type = RAFT_BARRIER; }
  follower.entries[0].buf = {other.data(), other.size()};
  CHECK_FALSE(follower.admission.admits(again));
  REQUIRE(follower.admission.refused().size() == 1);
  CHECK(follower.admission.refused()[0].at == all.machine(follower.self).history().index);
}

TEST_CASE("over libraft who answers in the place of a member is told, and not refused") {
  cluster all;
  bystander leader(all, all.leader);
  const server_id member{all.other() + 1};
  const server_id stranger{member.value << 40U | 7U};  // of the same number
  const auto answer_of = [&](server_id id, unsigned short type) {
    raft_message made{};
    made.type = type;
    made.server_id = id.value;
    return made;
  };
  CHECK(leader.admission.admits(answer_of(member, RAFT_IO_APPEND_ENTRIES_RESULT)));
  CHECK(leader.admission.admits(answer_of(server_id{9}, RAFT_IO_APPEND_ENTRIES_RESULT)));
  CHECK(leader.admission.strangers().empty());
  for (const unsigned short type :
       {RAFT_IO_REQUEST_VOTE_RESULT, RAFT_IO_APPEND_ENTRIES_RESULT, RAFT_IO_REQUEST_VOTE_RESULT}) {
    CHECK(leader.admission.admits(answer_of(stranger, type)));
  }
  CHECK(leader.admission.strangers() == std::vector<libraft_stranger>{{stranger, member}});
  CHECK(leader.admission.refused().empty());
  SECTION("until it is added, or the member is removed: then nobody is missed") {
    raft_server& entry = leader.engine().configuration.servers[member.value - 1];
    REQUIRE(std::exchange(entry.id, stranger.value) == member.value);
    CHECK(leader.admission.strangers().empty());
    entry.id = member.value;
  }
  SECTION("until the member answers again, with its folder back") {
    CHECK(leader.admission.admits(answer_of(member, RAFT_IO_APPEND_ENTRIES_RESULT)));
    CHECK(leader.admission.strangers().empty());
  }
  SECTION("and of those that come one after the other, the newest is") {
    for (std::uint64_t made = 8; made < 1'008; ++made) {
      const server_id next{member.value << 40U | made};
      CHECK(leader.admission.admits(answer_of(next, RAFT_IO_APPEND_ENTRIES_RESULT)));
      REQUIRE(leader.admission.strangers() == std::vector<libraft_stranger>{{next, member}});
    }
  }
}

TEST_CASE("over libraft another log below what is committed refuses its sender") {
  cluster all;
  bystander follower(all);
  raft_message wrong = follower.append(batch_of(follower.next_command(0)));
  SECTION("where the entries follow") { wrong.append_entries.prev_log_term += 1; }
  SECTION("among the entries") {
    wrong.append_entries.prev_log_index -= 1;
    follower.entries[0].term += 1;
  }
  CHECK_FALSE(follower.admission.admits(wrong));
  CHECK(follower.admission.refused().size() == 1);
}

TEST_CASE("over libraft a batch that cannot be read is lost, and nobody is refused") {
  cluster all;
  bystander follower(all);
  bytes batch = batch_of(follower.next_command(1));
  batch[9] ^= std::byte{1};
  CHECK_FALSE(follower.admission.admits(follower.append(batch)));
  CHECK(follower.admission.refused().empty());
  CHECK(follower.admission.dropped() == 1);
}

TEST_CASE("over libraft an entry that was written under another index refuses its sender") {
  cluster all;
  bystander follower(all);
  const bytes command = follower.next_command(0);
  const std::uint64_t next = follower.last() + 1;
  CHECK(follower.admission.admits(follower.append(batch_of(command, next))));
  follower.admission.received();
  raft_message wrong = follower.append(batch_of(command, next + 3));
  SECTION("in our log") {}
  SECTION("behind what our log has, where no history can be held against it") {
    wrong.append_entries.prev_log_index += 1;
  }
  SECTION("and damaged, it is lost, and nobody is refused") {
    follower.content[9] ^= std::byte{1};
    CHECK_FALSE(follower.admission.admits(wrong));
    CHECK(follower.admission.refused().empty());
    return;
  }
  CHECK_FALSE(follower.admission.admits(wrong));
  CHECK(follower.admission.refused().size() == 1);
}

TEST_CASE("over libraft batches tell their index once the history has begun, and not before") {
  cluster all;
  all.insert(3);
  REQUIRE(all.await_even());
  for (std::size_t server = 0; server < 3; ++server) {
    const raft_log& log = all.raft.engine(server)->log;
    std::size_t before = 0;
    std::size_t after = 0;
    for (std::uint64_t index = 1; index <= raft_last_index(all.raft.engine(server)); ++index) {
      const raft_entry* const entry = libraft_entry_at(log, index);
      REQUIRE(entry != nullptr);
      if (entry->type != RAFT_COMMAND) {
        continue;
      }
      const std::uint64_t told = libraft_batch::entry_in(libraft_bytes(entry->buf));
      CHECK((told == index || (told == 0 && after == 0)));
      ++(told == 0 ? before : after);
    }
    CHECK(before >= 2);  // what was there, and the entry that begins it
    CHECK(after >= 3);
  }
}

TEST_CASE("over libraft an entry that is applied under another index ends the server") {
  ::raft engine{};
  quorlite::tests::told_machine machine;
  libraft_strand strand;
  strand.attach(engine, machine);
  bytes raw = batch_of(bytes(20), 9);
  strand.apply({raw.data(), raw.size()});  // it is the first one
  CHECK(strand.ended());
  CHECK(strand.failure() == errc::diverged);
}

TEST_CASE("over libraft entries that do not follow on our log are the engine's business") {
  cluster all(with_snapshots());
  all.insert(60);
  bystander follower(all);
  REQUIRE(follower.engine().log.offset > 0);
  raft_message other = follower.append(batch_of(follower.next_command(1)));
  SECTION("behind its end") {
    other.append_entries.prev_log_index += 1;
    CHECK(follower.admission.admits(other));
  }
  SECTION("from the first entry on, which it has no more") {
    other.append_entries.prev_log_index = 0;
    other.append_entries.prev_log_term = 0;
    CHECK_FALSE(follower.admission.admits(other));  // what is below ours is left out before this
  }
  CHECK(follower.admission.refused().empty());
}

TEST_CASE("over libraft who has a vote gives no second one in its term, to a transferee neither") {
  struct raft_transfer transfer {};  // the engine may keep it until it ends
  cluster all;
  all.restart(all.other(), overheard::listen);
  all.raft.run_for(500);
  all.await_leader();
  all.insert(3);
  REQUIRE(all.await_even());
  all.raft.run_for(500);
  ::raft& former = *all.raft.engine(all.leader);
  const std::uint64_t first = all.other() + 1;  // called at a first transfer, which was given up
  const std::uint64_t second = all.third() + 1;
  const raft_term led = former.current_term;
  const std::uint64_t last = raft_last_index(&former);
  const raft_term last_term = libraft_term_at(former.log, last).value;
  const auto call = [&](std::uint64_t id) {
    overheard::call(*all.raft.engine(static_cast<std::size_t>(id - 1)), former.id, led, last,
                    last_term);
    REQUIRE(all.raft.engine(static_cast<std::size_t>(id - 1))->current_term == led + 1);
  };
  REQUIRE(::raft_transfer(&former, &transfer, second, nullptr) == 0);
  call(first);  // it comes late
  call(second);
  overheard::ask(former, first, led + 1, last, last_term);
  REQUIRE(former.voted_for == first);
  overheard::ask(former, second, led + 1, last, last_term);
  CHECK(former.voted_for == first);
  std::vector<std::optional<std::size_t>> leaders(20);
  for (int i = 0; i < 200; ++i) {
    all.raft.step();
    for (std::size_t server = 0; server < 3; ++server) {
      const raft_term term = all.raft.engine(server)->current_term;
      if (all.is_engines_leader(server)) {
        REQUIRE(term < leaders.size());
        REQUIRE(leaders[static_cast<std::size_t>(term)].value_or(server) == server);
        leaders[static_cast<std::size_t>(term)] = server;
      }
    }
  }
  CHECK(leaders[static_cast<std::size_t>(led + 1)] == first - 1);
  all.await_leader();
  all.insert(1);
  REQUIRE(all.await_even());
}

TEST_CASE(
    "over libraft a leader commits what earlier terms have left with an entry of its own only") {
  cluster all;
  all.insert(3);
  REQUIRE(all.await_even());
  const std::size_t leader = all.leader;
  const std::size_t other = all.other();
  const std::size_t third = all.third();
  const std::uint64_t before = raft_last_index(all.raft.engine(leader));
  all.raft.isolate(leader);
  all.raft.isolate(other);
  all.try_write(leader);
  const std::uint64_t left = raft_last_index(all.raft.engine(leader));
  REQUIRE(left > before);  // on its own disk alone
  REQUIRE(all.raft.run_until([&] { return !all.is_engines_leader(leader); }));
  all.raft.heal();
  all.raft.isolate(third);
  REQUIRE(all.raft.run_until([&] { return all.is_engines_leader(leader); }));
  all.raft.disk(leader).freeze();  // its first entry of this term does not come to the disk
  REQUIRE(all.raft.engine(leader)->last_stored == left);
  all.raft.run_for(1'000);
  CHECK(all.is_engines_leader(leader));
  CHECK(all.raft.engine(other)->last_stored > left);  // it has all of it
  CHECK(all.raft.engine(leader)->commit_index < left);
  all.raft.disk(leader).thaw();
  all.raft.heal();
  REQUIRE(all.raft.run_until([&] { return all.raft.engine(leader)->commit_index > left; }));
  all.await_leader();
  all.insert(1);
  REQUIRE(all.await_even());
  CHECK(all.rows_at(third) == 5);
}

// So many in one batch on the disk are damage to whoever reads it.
TEST_CASE("over libraft of very many entries that come at once the first ones are taken") {
  cluster all;
  const std::size_t follower = all.other();
  all.restart(follower, overheard::listen);
  all.await_leader();
  REQUIRE(all.leader != follower);
  REQUIRE(all.await_even());
  ::raft& engine = *all.raft.engine(follower);
  const std::uint64_t last = raft_last_index(&engine);
  const raft_term in = engine.current_term;
  constexpr std::size_t many = 300'000;
  constexpr std::uint64_t most = 65'536;
  all.raft.isolate(follower);
  overheard::say(engine, all.leader + 1, in, last, libraft_term_at(engine.log, last).value,
                 std::vector<unsigned short>(many, RAFT_BARRIER));
  CHECK(raft_last_index(&engine) == last + most);
  REQUIRE(all.raft.run_until([&] { return engine.last_stored == last + most; }));
  overheard::say(engine, all.leader + 1, in, last + most, in,
                 std::vector<unsigned short>(10, RAFT_BARRIER));
  CHECK(raft_last_index(&engine) == last + most + 10);
}

TEST_CASE("over libraft who is called to lead and cannot write it down is closed in good order") {
  cluster all;
  all.restart(all.other(), overheard::listen);
  all.raft.run_for(500);
  all.await_leader();
  all.insert(3);
  REQUIRE(all.await_even());
  all.raft.run_for(500);
  const std::size_t called = all.other();
  ::raft& engine = *all.raft.engine(called);
  const raft_term led = engine.current_term;
  const std::uint64_t last = raft_last_index(&engine);
  const raft_term last_term = libraft_term_at(engine.log, last).value;
  SECTION("the term") { all.raft.disk(called).fail_next_term(); }
  SECTION("the vote") { all.raft.disk(called).fail_next_vote(); }
  SECTION("anything, for its disk has failed before it was called") {
    all.raft.disk(called).fail_next_append(quorlite::tests::disk_failure::late);
    overheard::say(engine, all.leader + 1, led, last, last_term, {RAFT_BARRIER});
    all.raft.disk(called).poll(all.raft.now_ms() + 1'000);
    REQUIRE(all.raft.node(called).core().must_close());
    REQUIRE(engine.state == RAFT_FOLLOWER);
  }
  overheard::call(engine, all.leader + 1, led, raft_last_index(&engine),
                  libraft_term_at(engine.log, raft_last_index(&engine)).value);
  CHECK(all.raft.node(called).core().must_close());
  CHECK(all.raft.node(called).core().failure() == errc::storage_broken);
  all.raft.run_for(500);
  all.await_leader();
  all.insert(1);
  REQUIRE(all.await_even(called));
}

namespace {

/// Three voters, of which one is so far behind that it is sent a snapshot, and whose disk stops as
/// soon as that has come.
struct slow_install {
  cluster all;
  std::size_t self = 0;

  explicit slow_install(const libraft_options& options = with_snapshots()) : all(options) {
    self = all.other();
    all.raft.isolate(self);
    all.insert(60);
    all.raft.compact(all.leader);  // nobody else does it, unless the options say so
    REQUIRE(all.raft.run_until([this] { return all.raft.engine(all.leader)->log.offset != 0; }));
    all.restart(self, overheard::listen);
    all.raft.heal();
    REQUIRE(all.raft.run_until([this] { return is_under_way(); }));
    all.raft.disk(self).freeze();
    REQUIRE(engine().state == RAFT_FOLLOWER);
  }
  [[nodiscard]] ::raft& engine() { return *all.raft.engine(self); }
  /// The engine has the log of the snapshot, and nothing is stored.
  [[nodiscard]] bool is_under_way() {
    return engine().snapshot.put.data != nullptr && engine().last_stored == 0;
  }
  /// @returns it was a follower all the time, and the snapshot was not stored
  [[nodiscard]] bool rests_for(std::uint64_t ms) {
    for (const std::uint64_t end = all.raft.now_ms() + ms; all.raft.now_ms() < end;) {
      all.raft.step();
      if (engine().state != RAFT_FOLLOWER || !is_under_way()) {
        return false;
      }
    }
    return true;
  }
  void store() {
    all.raft.disk(self).thaw();
    REQUIRE(all.raft.run_until([this] { return !is_under_way(); }));
    CHECK(engine().last_stored >= engine().log.snapshot.last_index);
  }
  void end_well() {
    all.raft.heal();
    all.raft.run_for(6'000);  // who led before has heard of it
    all.await_leader();
    all.insert(3);
    REQUIRE(all.await_even());
    for (std::size_t i = 0; i < 3; ++i) {
      CHECK(all.refused_by(i).empty());
      CHECK_FALSE(all.halted(i));
      CHECK(all.rows_at(i) == all.rows_at(all.leader));
    }
  }
};

}  // namespace

TEST_CASE("over libraft a follower does not campaign while a snapshot is being stored") {
  slow_install one;
  SECTION("though its leader is silent, and campaigns once it is stored") {
    one.all.raft.isolate(one.self);
    REQUIRE(one.rests_for(10'000));
    const raft_term before = one.engine().current_term;
    one.store();
    CHECK(one.engine().state == RAFT_FOLLOWER);
    CHECK(one.all.raft.run_until([&] { return one.engine().state == RAFT_CANDIDATE; }));
    CHECK(one.engine().current_term == before);  // it asks before it raises the term
  }
  SECTION("though it is called to lead") {
    const raft_log& log = one.engine().log;
    overheard::call(one.engine(), one.engine().follower_state.current_leader.id,
                    one.engine().current_term, log.snapshot.last_index, log.snapshot.last_term);
    REQUIRE(one.engine().state == RAFT_FOLLOWER);
    REQUIRE(one.rests_for(2'000));
    one.store();
  }
  SECTION("though a server of a higher term asks for its vote") {
    one.all.raft.isolate(one.all.leader);
    one.all.raft.isolate(one.self);
    REQUIRE(one.rests_for(4'000));
    const std::size_t former = one.all.leader;
    one.all.raft.heal();
    one.all.raft.isolate(former);
    REQUIRE(one.rests_for(1'000));
    one.store();
  }
  one.end_well();
}

TEST_CASE("over libraft who stores a snapshot has a vote to give, once its leader is silent") {
  slow_install one;
  const std::size_t former = one.all.leader;
  const std::size_t other = 3 - former - one.self;
  one.all.raft.isolate(former);
  for (std::uint64_t end = one.all.raft.now_ms() + 20'000; !one.all.is_engines_leader(other);) {
    REQUIRE(one.all.raft.now_ms() < end);
    one.all.raft.step();
    REQUIRE(one.is_under_way());
    REQUIRE(one.engine().state == RAFT_FOLLOWER);
  }
  CHECK(one.all.raft.run_until(
      [&] { return one.engine().follower_state.current_leader.id == other + 1; }));
  CHECK(one.is_under_way());
  one.store();
  one.end_well();
}

TEST_CASE("over libraft a leader that was given up is not told of the snapshot, and nothing ends") {
  slow_install one;
  one.all.raft.isolate(one.self);
  REQUIRE(one.rests_for(4'000));
  CHECK(one.engine().follower_state.current_leader.id == 0);
  CHECK(one.all.raft.node(one.self).status().leader == libraft_server{});
  overheard::answers.clear();
  one.store();
  CHECK(overheard::answers.empty());
  one.end_well();
}

TEST_CASE("over libraft a leader that sends its first entry is heard where the log begins later") {
  cluster all(with_snapshots());
  all.insert(60);
  REQUIRE(all.await_even());
  const std::size_t follower = all.other();
  for (std::size_t i = 0; i < 3; ++i) {
    all.raft.isolate(i);
  }
  all.restart(follower, overheard::listen);
  ::raft& engine = *all.raft.engine(follower);
  REQUIRE(engine.log.offset > 0);
  const std::uint64_t last = raft_last_index(&engine);
  const std::uint64_t committed = engine.commit_index;
  all.raft.run_for(50);
  overheard::answers.clear();
  const raft_term next = engine.current_term + 1;
  SECTION("and what is committed is vouched for") {
    overheard::say(engine, all.leader + 1, next, 0, 0, {RAFT_CHANGE, RAFT_BARRIER}, 1);
    all.raft.run_for(50);
    CHECK(engine.state == RAFT_FOLLOWER);
    CHECK(engine.current_term == next);
    CHECK(engine.follower_state.current_leader.id == all.leader + 1);
    REQUIRE(overheard::answers.size() == 1);
    CHECK(overheard::answers[0] == 2);
    CHECK(all.refused_by(follower).empty());
  }
  SECTION("but not to a leader of an older term, who may lead by now in ours") {
    overheard::say(engine, all.leader + 1, next, 0, 0, {});
    overheard::say(engine, all.leader + 1, next - 1, 0, 0, {RAFT_CHANGE, RAFT_BARRIER}, 1);
    overheard::say(engine, all.leader + 1, next - 1, 1, 1, {});
    all.raft.run_for(50);
    CHECK(overheard::answers == std::vector<std::uint64_t>{0, 0});
  }
  SECTION("but not to the second leader of a term, for what the first one has told") {
    const raft_term last_term = libraft_term_at(engine.log, last).value;
    overheard::say(engine, all.leader + 1, next, last, last_term,
                   {RAFT_BARRIER, RAFT_BARRIER, RAFT_BARRIER});
    all.raft.run_for(200);
    CHECK(overheard::answers == std::vector<std::uint64_t>{last + 3});
    REQUIRE(all.raft.run_until([&] { return engine.state == RAFT_CANDIDATE; }));
    REQUIRE(engine.current_term == next);
    overheard::answers.clear();
    overheard::say(engine, all.third() + 1, next, last, last_term, {});
    all.raft.run_for(50);
    CHECK(engine.follower_state.current_leader.id == all.third() + 1);
    CHECK(overheard::answers == std::vector<std::uint64_t>{last});
    return;
  }
  SECTION("but not if its entries there are later than ours: then it has another log") {
    overheard::say(engine, all.leader + 1, next, 0, 0, {RAFT_CHANGE, RAFT_BARRIER});
    all.raft.run_for(50);
    CHECK(overheard::answers.empty());
    CHECK(all.refuses(follower, all.leader));
  }
  CHECK(raft_last_index(&engine) == last);
  CHECK(engine.commit_index == committed);
}

TEST_CASE("over libraft of two leaders of one term the second is not heard, and not refused") {
  cluster all;
  bystander follower(all);
  raft_message first = follower.from_leader(RAFT_IO_APPEND_ENTRIES);
  first.append_entries.term = follower.engine().current_term;
  raft_message second = first;
  second.server_id = 9;
  CHECK(follower.admission.admits(first));
  CHECK_FALSE(follower.admission.admits(second));
  CHECK(follower.admission.admits(first));
  CHECK(follower.admission.refused().empty());
  second.append_entries.term += 1;  // it was elected
  CHECK(follower.admission.admits(second));
  first.append_entries.term += 1;
  CHECK_FALSE(follower.admission.admits(first));
  SECTION("until that one is silent") {
    follower.engine().state = RAFT_CANDIDATE;
    CHECK(follower.admission.admits(first));
    follower.engine().state = RAFT_FOLLOWER;
  }
  SECTION("until that one is silent for an election timeout, whoever has no vote hears it too") {
    all.raft.run_for(2 * follower.engine().election_timeout);
    REQUIRE(follower.engine().state == RAFT_FOLLOWER);
    CHECK(follower.admission.admits(first));
  }
  SECTION("until that one is refused") {
    const bytes batch = batch_of(follower.next_command(1));
    raft_message wrong = follower.append(batch);
    wrong.server_id = second.server_id;
    wrong.append_entries.term = second.append_entries.term;
    CHECK_FALSE(follower.admission.admits(wrong));
    REQUIRE(follower.admission.refused().size() == 1);
    CHECK(follower.admission.admits(first));
  }
}

TEST_CASE("over libraft a leader without a snapshot goes on with who was sent one by the last") {
  libraft_options options = with_snapshots();
  options.snapshot_min_bytes = std::uint64_t{1} << 40U;
  slow_install one(options);
  const std::size_t former = one.all.leader;
  const std::size_t other = 3 - former - one.self;
  one.all.raft.isolate(former);
  REQUIRE(one.all.raft.run_until([&] { return one.all.is_engines_leader(other); }));
  REQUIRE(one.all.raft.engine(other)->log.offset == 0);  // it tells its log from the first entry on
  one.all.raft.run_for(2'000);
  CHECK(one.is_under_way());
  CHECK(one.all.is_engines_leader(other));  // it is answered meanwhile
  one.store();
  one.all.await_leader();
  REQUIRE(one.all.leader == other);
  one.all.insert(3);
  CHECK(one.all.await_even(former));
  CHECK(one.all.rows_at(one.self) == one.all.rows_at(other));
  CHECK(one.all.refused_by(one.self).empty());
  one.end_well();
}

TEST_CASE("over libraft who asks for a vote has to have what is committed") {
  cluster all;
  bystander follower(all);
  CHECK(follower.admission.admits(follower.ask_for_vote(follower.last())));
  CHECK_FALSE(follower.admission.admits(follower.ask_for_vote(follower.last() - 1)));
  CHECK(follower.admission.refused().empty());
  raft_message old = follower.ask_for_vote(1);
  old.request_vote.term = follower.engine().current_term - 1;
  CHECK(follower.admission.admits(old));
}

TEST_CASE(
    "over libraft the entry that names the folder's cluster is committed after a restart too") {
  constexpr cluster_identity ours{1, 2};
  // A server that was just started: its machine and its engine know of nothing that is committed.
  ::raft engine{};
  memory_storage storage;
  fsm<fixture_raft, memory_storage> machine(storage);
  libraft_strand strand;
  strand.attach(engine, machine);
  bytes identity;
  REQUIRE_FALSE(native::encode({.id = {term{1}, 1}, .body = identity_command{2, ours}, .format = 2},
                               identity));
  bytes batch = batch_of(identity);
  bytes nothing(8);
  // Whatever comes behind it: the walk remembers no more than the newest of that.
  std::vector<raft_entry> entries(GENERATE(std::size_t{3}, history_trail::steps_max + 9));
  for (std::size_t i = 0; i < entries.size(); ++i) {
    bytes& content = i == 1 ? batch : nothing;
    entries[i] = {1,
                  static_cast<unsigned short>(i == 1 ? RAFT_COMMAND : RAFT_BARRIER),
                  {content.data(), content.size()},
                  nullptr};
  }
  libraft_history history;
  REQUIRE_FALSE(history.walk(machine, {nullptr, 1, entries}).has_value());
  libraft_admission admission;
  admission.attach(engine, strand, history.trail());
  const auto may_be_elected = [&](std::uint64_t last) {
    raft_message asks{};
    asks.type = RAFT_IO_REQUEST_VOTE;
    asks.server_id = 2;
    asks.request_vote.term = 9;
    asks.request_vote.last_log_index = last;
    return admission.admits(asks);
  };
  admission.begin(history.settled(ours), ours);
  CHECK(may_be_elected(2));
  CHECK_FALSE(may_be_elected(1));
  admission.begin(history.settled({}), {});
  CHECK(may_be_elected(1));
  admission.begin(history.settled({3, 4}),
                  {3, 4});  // the log is another's: the start has refused it by then
  CHECK(may_be_elected(1));
}

TEST_CASE("over libraft a snapshot of another history refuses its sender before it is written") {
  cluster all;
  bystander follower(all);
  const state_machine& machine = all.machine(follower.self);
  libraft_snapshot_header header;
  header.at.entry = follower.last() + 10;
  header.at.at = {log_index{machine.history().index.value + 10},
                  term{follower.engine().current_term}};
  header.history.begun = machine.base().begun;
  header.history.at = {header.at.at.index, {1, 2}};
  SECTION("of ours") {
    CHECK(follower.admission.admits(follower.send_snapshot(header)));
    CHECK(follower.admission.refused().empty());
  }
  SECTION("of another cluster") {
    header.history.begun.cluster.low ^= 1U;
    CHECK_FALSE(follower.admission.admits(follower.send_snapshot(header)));
    CHECK(follower.admission.refused().size() == 1);
  }
  SECTION("that tells none") {
    header.history = {};
    CHECK_FALSE(follower.admission.admits(follower.send_snapshot(header)));
    CHECK(follower.admission.refused().size() == 1);
  }
  SECTION("whose header is damaged") {
    header.history.begun.cluster.low ^= 1U;
    raft_message damaged = follower.send_snapshot(header);
    follower.content[41] ^= std::byte{1};
    CHECK_FALSE(follower.admission.admits(damaged));
    REQUIRE(follower.admission.refused().size() == 1);
    CHECK(follower.admission.refused()[0].why == std::string("sends a damaged snapshot"));
  }
  SECTION("whose header is damaged, and of which the engine needs nothing") {
    header.at.entry = 2;
    header.at.at = {log_index{1}, libraft_term_at(follower.engine().log, 2)};
    header.history = {};
    raft_message damaged = follower.send_snapshot(header);
    follower.content[9] ^= std::byte{1};
    CHECK(follower.admission.admits(damaged));
    CHECK(follower.admission.refused().empty());
  }
}

TEST_CASE("over libraft who sends a damaged snapshot is refused, and whoever needs it goes on") {
  libraft_options options = with_snapshots();
  options.snapshot_min_bytes = std::uint64_t{1} << 40U;
  cluster all(options);
  const std::size_t follower = all.other();
  all.insert(3);
  REQUIRE(all.await_even());
  all.raft.isolate(follower);
  all.insert(20);
  all.raft.compact(all.leader);
  REQUIRE(all.raft.run_until([&] { return all.raft.disk(all.leader).snapshot_index() > 0; }));
  bytes& stored = all.raft.disk(all.leader).snapshot_bytes();
  const std::size_t sender = all.leader;
  const std::size_t changed = GENERATE(std::size_t{16}, std::size_t{1200}, std::size_t{9000});
  CAPTURE(changed, stored.size());
  REQUIRE(changed < stored.size());
  stored[changed] ^= std::byte{4};
  const std::uint64_t before = raft_last_index(all.raft.engine(follower));
  all.raft.heal();
  REQUIRE(all.raft.run_until([&] { return all.refuses(follower, sender); }));
  CHECK_FALSE(all.halted(follower));
  CHECK(all.health_of(follower).refused.find("sends a damaged snapshot") != std::string::npos);
  CHECK(raft_last_index(all.raft.engine(follower)) == before);  // its log is kept
  stored[changed] ^= std::byte{4};
  all.raft.node(follower).mail().readmitted.push_back(server_id{sender + 1});
  all.await_leader();
  all.insert(1);
  all.raft.run_for(40'000);  // the engine sends it again after 30 s
  CHECK(all.await_even());
  CHECK(all.rows_at(follower) == 24);
}

TEST_CASE("over libraft who was just started takes no snapshot of another cluster than its own") {
  cluster all;
  bystander follower(all);
  // Its databases are in memory, or older than its history: the machine knows of none yet.
  memory_storage storage;
  fsm<fixture_raft, memory_storage> machine(storage);
  libraft_strand strand;
  strand.attach(follower.engine(), machine);
  history_trail trail;
  libraft_admission admission;
  admission.attach(follower.engine(), strand, trail);
  libraft_snapshot_header header;
  header.at.entry = follower.last() + 10;
  header.at.at = {log_index{follower.last() + 10}, term{follower.engine().current_term}};
  header.history.begun = all.machine(follower.self).base().begun;
  header.history.at = {header.at.at.index, {1, 2}};
  admission.begin(0, header.history.begun.cluster);
  CHECK(admission.admits(follower.send_snapshot(header)));
  SECTION("that names it") {
    header.history.begun.cluster.low ^= 1U;
    CHECK_FALSE(admission.admits(follower.send_snapshot(header)));
    CHECK(admission.refused().size() == 1);
  }
  SECTION("that was never upgraded") {
    header.history = {};
    CHECK_FALSE(admission.admits(follower.send_snapshot(header)));
    CHECK(admission.refused().size() == 1);
  }
  SECTION("but an older one of its own, of which the engine needs nothing") {
    header.history = {};
    header.at.entry = 2;
    header.at.at = {log_index{1}, libraft_term_at(follower.engine().log, 2)};
    admission.begin(3, cluster_identity{1, 2});
    CHECK(admission.admits(follower.send_snapshot(header)));
    CHECK(admission.refused().empty());
  }
}

TEST_CASE("over libraft a leader with another folder gets no ack for a row, and is replaced") {
  const bool has_snapshot = GENERATE(false, true);
  cluster foreign(has_snapshot ? with_snapshots() : fixture_simulation::default_options());
  foreign.insert(60);
  REQUIRE(foreign.await_even());
  REQUIRE((foreign.raft.disk(foreign.leader).snapshot_index() > 0) == has_snapshot);

  cluster healthy;
  healthy.insert(5);
  REQUIRE(healthy.await_even());
  const std::size_t usurper = healthy.third();
  const std::size_t follower = healthy.other();
  const std::size_t before = healthy.leader;
  healthy.raft.isolate(before);
  healthy.exchange_folder(usurper, foreign.raft.disk(foreign.leader));
  healthy.raft.isolate(before);
  REQUIRE(healthy.raft.run_until([&] { return healthy.refuses(follower, usurper); }));
  const libraft_refused said = healthy.refused_by(follower)[0];
  CHECK(said.at > log_index{});
  const health told = healthy.health_of(follower);
  CHECK(told.ok());
  CHECK(told.refused.find("server " + std::to_string(usurper + 1) + " has ") == 0);
  CHECK(told.refused.find("at log index " + std::to_string(said.at.value)) != std::string::npos);
  CHECK(healthy.health_of(usurper).refused.empty());
  CHECK(healthy.dropped_by(follower) > 0);
  CHECK_FALSE(healthy.leads(usurper));
  healthy.raft.run_for(4000);
  CHECK_FALSE(healthy.is_engines_leader(usurper));

  healthy.raft.heal();
  healthy.raft.run_for(4000);
  healthy.await_leader();
  REQUIRE(healthy.leader != usurper);
  healthy.insert(3);
  REQUIRE(healthy.await_even(usurper));
  CHECK(healthy.rows_at(before) == 8);
  CHECK(healthy.rows_at(follower) == 8);
  CHECK_FALSE(healthy.halted(before));
  CHECK_FALSE(healthy.halted(follower));
  CHECK(healthy.refused_by(follower).size() == 1);  // said once
}

TEST_CASE("over libraft who has rows that the others lost leads nobody, though it is called to") {
  struct raft_transfer transfer {};  // the engine may keep it until it ends
  const bool restarts = GENERATE(false, true);
  INFO("restarts: " << restarts);
  cluster all;
  all.insert(5);
  REQUIRE(all.await_even());
  const std::size_t longer = all.leader;
  const std::size_t wiped = all.other();
  const std::size_t away = all.third();
  fixture_disk older(10);
  older.take(all.raft.disk(wiped));
  all.raft.isolate(away);
  all.insert(4);  // which two of three have
  REQUIRE(all.await_even(away));
  all.raft.isolate(longer);
  all.exchange_folder(wiped, older);
  all.raft.heal();
  all.raft.isolate(longer);
  REQUIRE(all.raft.run_until([&] { return all.leads(wiped) || all.leads(away); }));
  all.await_leader();
  REQUIRE(all.leader != longer);
  all.insert(1);
  REQUIRE(all.await_even(longer));
  CHECK(all.rows_at(away) == 6);

  if (restarts) {
    all.restart(longer, overheard::listen);
  }
  all.raft.heal();
  all.raft.run_for(4000);
  all.await_leader();
  REQUIRE(all.leader != longer);
  CHECK((all.halted(longer) || all.refuses(longer, all.leader)));
  static_cast<void>(::raft_transfer(all.raft.engine(all.leader), &transfer, longer + 1, nullptr));
  for (int i = 0; i < 5; ++i) {
    CHECK_FALSE(all.try_write(longer));
    all.raft.run_for(500);
  }
  CHECK_FALSE(all.leads(longer));
  if (restarts && !all.halted(longer)) {  // it is called, whatever it has
    ::raft& now = *all.raft.engine(all.leader);
    const std::uint64_t last = raft_last_index(&now);
    overheard::call(*all.raft.engine(longer), now.id, now.current_term, last,
                    libraft_term_at(now.log, last).value);
    for (int i = 0; i < 5; ++i) {
      CHECK_FALSE(all.try_write(longer));
      all.raft.run_for(500);
    }
    CHECK_FALSE(all.leads(longer));
  }
  all.await_leader();
  REQUIRE(all.leader != longer);
  all.insert(2);
  REQUIRE(all.await_even(longer));
  CHECK(all.rows_at(wiped) == 8);
  CHECK(all.rows_at(away) == 8);
  CHECK_FALSE(all.halted(wiped));
  CHECK_FALSE(all.halted(away));
}

TEST_CASE("over libraft a leader that skipped an entry gets no ack for a row, and is replaced") {
  struct raft_transfer transfer {};  // the engine may keep it until it ends
  cluster all;
  all.insert(5);
  REQUIRE(all.await_even());
  const std::size_t before = all.leader;
  const std::size_t skipping = all.other();
  const std::size_t third = all.third();
  all.raft.node(skipping).machine().skip_next();
  all.insert(1);
  REQUIRE(all.await_even());
  CHECK(all.rows_at(skipping) == 5);
  CHECK_FALSE(all.halted(skipping));
  REQUIRE(::raft_transfer(all.raft.engine(before), &transfer, skipping + 1, nullptr) == 0);
  REQUIRE(all.raft.run_until([&] { return all.is_engines_leader(skipping); }));
  for (int i = 0; i < 5; ++i) {
    CHECK_FALSE(all.try_write(skipping));
    all.raft.run_for(200);
  }
  all.raft.run_for(4000);
  all.await_leader();
  REQUIRE(all.leader != skipping);
  all.insert(2);
  REQUIRE(all.await_even(skipping));
  CHECK(all.rows_at(before) == 8);
  CHECK(all.rows_at(third) == 8);
  CHECK_FALSE(all.halted(before));
  CHECK_FALSE(all.halted(third));
  CHECK((all.halted(skipping) || all.refuses(before, skipping) || all.refuses(third, skipping)));
}

TEST_CASE("over libraft a refused server is heard again once it is readmitted") {
  cluster foreign;
  foreign.insert(30);
  REQUIRE(foreign.await_even());
  cluster healthy;
  healthy.insert(5);
  REQUIRE(healthy.await_even());
  const std::size_t usurper = healthy.third();
  const std::size_t follower = healthy.other();
  fixture_disk right(10);
  right.take(healthy.raft.disk(usurper));
  healthy.raft.isolate(healthy.leader);
  healthy.exchange_folder(usurper, foreign.raft.disk(foreign.leader));
  healthy.raft.isolate(healthy.leader);
  REQUIRE(healthy.raft.run_until([&] { return healthy.refuses(follower, usurper); }));
  healthy.exchange_folder(usurper, right);
  healthy.raft.heal();
  healthy.raft.run_for(6000);
  healthy.await_leader();
  CHECK(healthy.refuses(follower, usurper));
  for (std::size_t i = 0; i < 3; ++i) {
    healthy.raft.node(i).mail().readmitted.push_back(server_id{usurper + 1});
  }
  healthy.raft.run_for(4000);
  CHECK(healthy.refused_by(follower).empty());
  CHECK(healthy.health_of(follower).refused.empty());
  healthy.await_leader();
  healthy.insert(2);
  REQUIRE(healthy.await_even());
  CHECK(healthy.rows_at(usurper) == 7);
}

TEST_CASE("over libraft who restarts with entries that nobody else has takes others for them") {
  cluster all;
  all.insert(5);
  const std::size_t former = all.leader;
  all.raft.isolate(former);
  const std::uint64_t common = raft_last_index(all.raft.engine(former));
  {
    connection db = all.open(former);
    static_cast<void>(sqlite3_exec(db, "INSERT INTO t VALUES(1)", nullptr, nullptr, nullptr));
  }
  REQUIRE(raft_last_index(all.raft.engine(former)) > common);
  REQUIRE(all.raft.run_until(
      [&] { return all.leads((former + 1) % 3) || all.leads((former + 2) % 3); }));
  all.await_leader();
  REQUIRE(all.leader != former);
  all.restart(former);
  all.insert(3);
  all.raft.heal();
  REQUIRE(all.await_even());
  all.insert(10);
  REQUIRE(all.await_even());
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(all.refused_by(i).empty());
    CHECK_FALSE(all.halted(i));
    CHECK(all.rows_at(i) == 18);
  }
}

TEST_CASE("over libraft a leader that was only paused is heard again") {
  cluster all(GENERATE(false, true) ? with_snapshots() : fixture_simulation::default_options());
  all.insert(5);
  const std::size_t paused = all.leader;
  all.raft.isolate(paused);
  {
    connection db = all.open(paused);
    static_cast<void>(sqlite3_exec(db, "INSERT INTO t VALUES(1)", nullptr, nullptr, nullptr));
  }
  REQUIRE(all.raft.run_until(
      [&] { return all.leads((paused + 1) % 3) || all.leads((paused + 2) % 3); }));
  all.await_leader();
  REQUIRE(all.leader != paused);
  all.insert(40);
  all.raft.heal();
  REQUIRE(all.await_even());
  all.insert(3);
  REQUIRE(all.await_even());
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(all.refused_by(i).empty());
    CHECK_FALSE(all.halted(i));
    CHECK(all.rows_at(i) >= 48);
  }
}

TEST_CASE("over libraft servers that are cut off, restart and fall behind refuse nobody") {
  const std::uint64_t seed = GENERATE(range(std::uint64_t{1}, std::uint64_t{13}));
  generator dice{seed};
  cluster all(dice.below(2) == 0 ? with_snapshots() : fixture_simulation::default_options());
  std::optional<std::size_t> cut;
  for (int round = 0; round < 30; ++round) {
    const std::size_t any = static_cast<std::size_t>(dice.below(3));
    switch (dice.below(6)) {
      case 0:
      case 1:
        if (!cut) {
          cut = any;
          all.raft.isolate(any);
        }
        break;
      case 2:
      case 3:
        cut.reset();
        all.raft.heal();
        break;
      case 4:
        all.try_write(any);  // who is cut off has entries that nobody else has
        all.restart(any);
        break;
      default: all.raft.run_for(dice.below(3'000));
    }
    all.try_write(all.leader);
    all.raft.run_for(dice.below(200));
    all.look_for_leader();
    for (std::uint64_t i = dice.below(8); i > 0; --i) {
      all.try_write(all.leader);
    }
  }
  all.raft.heal();
  all.raft.run_for(5'000);
  all.await_leader();
  all.insert(3);
  REQUIRE(all.await_even());
  for (std::size_t i = 0; i < 3; ++i) {
    INFO("seed " << seed);
    CHECK(all.refused_by(i).empty());
    CHECK_FALSE(all.halted(i));
    CHECK(all.rows_at(i) == all.rows_at(all.leader));
  }
}

TEST_CASE("over libraft to readmit who was not refused changes nothing", "[libraft]") {
  quorlite::tests::libraft_places places(1);
  memory_storage storage;
  libraft raft(places.options(0));
  raft.readmit(server_id{7});
  quorlite::tests::started_replica<libraft, memory_storage> node(raft, storage);
  REQUIRE_FALSE(node.status());
  REQUIRE(quorlite::tests::wait_until([&] { return node.leader().leading; }));
  raft.readmit(server_id{7});
  CHECK(raft.status().refused.empty());
  node.stop();
  raft.readmit(server_id{7});
}

}  // namespace libraft_admission_test
