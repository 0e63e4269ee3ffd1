// The members that a server over libraft goes by: those of its log, which may lose the entry that
// names them. Replicas on libraft's own fixture.

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/libraft/log_members.hpp"
#include "quorlite/detail/libraft/members.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/memory.hpp"
#include "support/libraft_fixture.hpp"
#include "support/started_replica.hpp"

namespace libraft_members_test {
namespace {

using namespace quorlite;
using namespace quorlite::detail;
using quorlite::tests::fixture_flaw;
using quorlite::tests::fixture_raft;
using quorlite::tests::fixture_simulation;
using node_type = quorlite::tests::started_replica<fixture_raft, memory_storage>;
using request = std::shared_ptr<libraft_request>;
using ids = std::vector<std::uint64_t>;

/// Between each server and its disk and network: what it puts into snapshots, and a way to tell it
/// something.
namespace overheard {

struct snapshot {
  std::uint64_t index;
  std::size_t members;
};

decltype(raft_io::snapshot_put) put = nullptr;  // the same for all
decltype(raft_io::start) start = nullptr;
raft_io_recv_cb receive = nullptr;
std::vector<snapshot> snapshots;

int on_put(raft_io* io, unsigned trailing, raft_io_snapshot_put* asked, const raft_snapshot* taken,
           raft_io_snapshot_put_cb answer) {
  snapshots.push_back({taken->index, taken->configuration.n});
  return put(io, trailing, asked, taken, answer);
}
int on_start(raft_io* io, unsigned tick_ms, raft_io_tick_cb tick, raft_io_recv_cb told) {
  receive = told;  // the same for all
  return start(io, tick_ms, tick, told);
}
void listen(raft_io& io) {
  put = std::exchange(io.snapshot_put, on_put);
  start = std::exchange(io.start, on_start);
}

/// A leader puts an entry behind `previous`, and tells what is committed.
void append(::raft& to, std::uint64_t from, raft_term in, std::uint64_t previous,
            std::uint64_t committed) {
  raft_message made{};
  made.type = RAFT_IO_APPEND_ENTRIES;
  made.server_id = from;
  made.server_address = "1";
  raft_append_entries& tells = made.append_entries;
  tells.term = in;
  tells.prev_log_index = previous;
  tells.prev_log_term = libraft_term_at(to.log, previous).value;
  tells.leader_commit = committed;
  tells.n_entries = 1;
  tells.entries = static_cast<raft_entry*>(raft_calloc(1, sizeof(raft_entry)));
  void* const batch = raft_calloc(1, 8);
  tells.entries[0] = {in, RAFT_BARRIER, {batch, 8}, batch};
  receive(to.io, &made);
}

/// One that was called to lead asks for a vote.
void ask_for_vote(::raft& to, std::uint64_t from, raft_term in, std::uint64_t last) {
  raft_message made{};
  made.type = RAFT_IO_REQUEST_VOTE;
  made.server_id = from;
  made.server_address = "1";
  raft_request_vote& asks = made.request_vote;
  asks.term = in;
  asks.candidate_id = from;
  asks.last_log_index = last;
  asks.last_log_term = libraft_term_at(to.log, last).value;
  asks.disrupt_leader = true;
  receive(to.io, &made);
}

}  // namespace overheard

/// Three replicas.
class cluster {
 public:
  cluster() : raft(3, fixture_flaw::none, options()), storages_(3), nodes_(3) {
    overheard::snapshots.clear();
    for (std::size_t i = 0; i < 3; ++i) {
      overheard::listen(*raft.engine(i)->io);
      nodes_[i].emplace(raft.node(i), storages_[i].emplace());
      REQUIRE_FALSE(nodes_[i]->status());
    }
    await_leader();
    write("CREATE TABLE t(x)");
  }
  cluster(const cluster&) = delete;
  cluster& operator=(const cluster&) = delete;
  ~cluster() {
    for (auto& node : nodes_) {
      node->stop();
    }
  }

  /// Of several the one of the highest term.
  bool look_for_leader(std::optional<std::size_t> but = std::nullopt) {
    std::optional<std::size_t> found;
    for (std::size_t i = 0; i < 3; ++i) {
      const bool is_newest =
          !found || raft.engine(i)->current_term > raft.engine(*found)->current_term;
      if (i != but && nodes_[i]->leader().leading && is_newest) {
        found = i;
      }
    }
    leader = found.value_or(leader);
    return found.has_value();
  }
  void await_leader(std::optional<std::size_t> but = std::nullopt) {
    REQUIRE(raft.run_until([&] { return look_for_leader(but); }));
  }
  void write(const std::string& sql) {
    connection db = std::move(*nodes_[leader]->open("app.db"));
    REQUIRE(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
  }
  void insert(int rows) {
    for (int i = 0; i < rows; ++i) {
      write("INSERT INTO t VALUES(randomblob(300))");
    }
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
  request ask(std::size_t server, libraft_request::kind what, std::uint64_t id) {
    auto made = std::make_shared<libraft_request>(what, server_id{id}, std::to_string(id));
    raft.node(server).mail().requests.push_back(made);
    return made;
  }
  [[nodiscard]] std::error_code await(const request& asked) {
    REQUIRE(raft.run_until([&] { return asked->done.wait(milliseconds{0}); }));
    return asked->answer;
  }
  /// One that is not there: it has no vote.
  void add(std::uint64_t id) {
    REQUIRE_FALSE(await(ask(leader, libraft_request::kind::add, id)));
    REQUIRE(await_even());
  }
  [[nodiscard]] ids members_of(std::size_t server) {
    ids all;
    for (const libraft_server& one : raft.node(server).status().members) {
      all.push_back(one.id.value);
    }
    std::sort(all.begin(), all.end());
    return all;
  }
  /// Their logs begin behind all that named members so far.
  void compact() {
    for (std::size_t i = 0; i < 3; ++i) {
      raft.node(i).mail().compact = true;
    }
    insert(3);
    REQUIRE(await_even());
    raft.run_for(500);
    for (std::size_t i = 0; i < 3; ++i) {
      REQUIRE(raft.engine(i)->log.offset >= raft.engine(i)->configuration_index);
    }
  }
  /// The leader is cut off, and has a change on its disk that nobody else has; others lead on.
  std::size_t change_alone(libraft_request::kind what, std::uint64_t id) {
    const std::size_t alone = leader;
    raft.isolate(alone);
    changes_.push_back(ask(alone, what, id));
    raft.run_for(100);
    REQUIRE(raft.engine(alone)->state == RAFT_LEADER);
    await_leader(alone);
    return alone;
  }
  /// The engines look at the time next when most of a heartbeat has passed.
  void await_tick() {
    REQUIRE(
        raft.run_until([this] { return raft.now_ms() % raft.engine(0)->heartbeat_timeout < 20; }));
  }
  void kill(std::size_t server) {
    raft.node(server).machine().go();
    nodes_[server]->stop();
  }
  void restart(std::size_t server) {
    kill(server);
    nodes_[server].reset();
    raft.renew(server);
    nodes_[server].emplace(raft.node(server), *storages_[server]);
    REQUIRE_FALSE(nodes_[server]->status());
    raft.revive(server);
  }
  [[nodiscard]] bool is_up(std::size_t server) { return !raft.node(server).core().failure(); }
  [[nodiscard]] std::size_t other() const noexcept { return (leader + 1) % 3; }
  [[nodiscard]] std::size_t third() const noexcept { return (leader + 2) % 3; }

  static libraft_options options() {
    libraft_options options = fixture_simulation::default_options();
    options.trailing_bytes = 1;
    return options;
  }

  std::size_t leader = 0;
  fixture_simulation raft;

 private:
  std::vector<std::optional<memory_storage>> storages_;
  std::vector<std::optional<node_type>> nodes_;
  std::vector<request> changes_;
};

}  // namespace

TEST_CASE(
    "over libraft a change of members that another leader's log does not have is taken back") {
  cluster all;
  SECTION("where the log names those before it") {}
  SECTION("where a snapshot has replaced the entry that named those before it") { all.compact(); }
  const std::size_t alone =
      all.change_alone(libraft_request::kind::remove, (all.leader + 1) % 3 + 1);
  REQUIRE(all.members_of(alone).size() == 2);
  all.raft.heal();
  all.insert(5);
  REQUIRE(all.await_even());
  CHECK(all.is_up(alone));
  CHECK(all.members_of(alone) == ids{1, 2, 3});
}

TEST_CASE(
    "over libraft a change of members is taken back by a server that loaded it from its log") {
  cluster all;
  ids before{1, 2, 3};
  SECTION("where the log names those before it") {}
  SECTION("where it names two sets of members before it") {
    all.add(4);
    before = {1, 2, 3, 4};
  }
  SECTION("where a snapshot has replaced the entry that named those before it") {
    all.add(4);
    all.compact();
    before = {1, 2, 3, 4};
  }
  const std::size_t removed = all.other();
  const std::size_t last = all.third();
  const std::size_t alone = all.change_alone(libraft_request::kind::remove, removed + 1);
  all.restart(alone);
  REQUIRE(all.members_of(alone).size() == before.size() - 1);
  all.raft.run_for(100);
  all.raft.heal();
  all.insert(5);
  REQUIRE(all.await_even());
  CHECK(all.is_up(alone));
  CHECK(all.members_of(alone) == before);
  // It alone has all that is committed, and needs the vote of who would have been removed.
  if (all.leader != last) {
    REQUIRE_FALSE(all.await(all.ask(all.leader, libraft_request::kind::transfer, last + 1)));
    REQUIRE(all.raft.run_until([&] { return all.look_for_leader() && all.leader == last; }));
  }
  all.raft.isolate(removed);
  all.insert(2);
  REQUIRE(all.await_even(removed));
  all.kill(last);
  all.raft.heal();
  CHECK(all.raft.run_until([&] { return all.look_for_leader(last) && all.leader == alone; }));
}

TEST_CASE(
    "over libraft a leader with a change of its own takes it back in the step that ends its term") {
  cluster all;
  all.compact();
  all.raft.isolate(all.leader);
  ::raft& engine = *all.raft.engine(all.leader);
  const std::uint64_t last = raft_last_index(&engine);
  const auto asked = all.ask(all.leader, libraft_request::kind::add, 4);
  all.raft.run_for(100);
  REQUIRE(engine.state == RAFT_LEADER);
  REQUIRE(raft_last_index(&engine) == last + 1);
  REQUIRE(all.members_of(all.leader) == ids{1, 2, 3, 4});
  all.raft.node(all.leader).mail().compact = true;
  all.await_tick();
  overheard::append(engine, all.other() + 1, engine.current_term + 1, last, last + 1);
  REQUIRE(engine.state == RAFT_FOLLOWER);
  REQUIRE(libraft_term_at(engine.log, last + 1) == term{engine.current_term});
  SECTION("and the snapshot that it was to take names those before it") {
    overheard::snapshots.clear();
    all.raft.run_for(200);
    REQUIRE(engine.last_applied == last + 1);
    overheard::append(engine, all.other() + 1, engine.current_term, last + 1, last + 2);
    all.raft.run_for(200);
    REQUIRE(overheard::snapshots.size() == 1);
    for (const overheard::snapshot& one : overheard::snapshots) {
      CHECK(one.members == 3);
    }
  }
  all.raft.run_for(200);
  CHECK(all.is_up(all.leader));
  CHECK(all.members_of(all.leader) == ids{1, 2, 3});
}

TEST_CASE("over libraft a change that is written in a later term is taken back as any other") {
  cluster all;
  all.compact();
  const std::size_t follower = all.other();
  ::raft& engine = *all.raft.engine(follower);
  const std::uint64_t last = raft_last_index(&engine);
  SECTION("after the engine has looked at the time") { all.raft.disk(follower).set_latency(300); }
  SECTION("before that") {
    all.raft.disk(follower).set_latency(20);
    all.await_tick();
  }
  const auto asked = all.ask(all.leader, libraft_request::kind::add, 4);
  REQUIRE(all.raft.run_until([&] { return raft_last_index(&engine) == last + 1; }));
  for (std::size_t i = 0; i < 3; ++i) {
    all.raft.isolate(i);
  }
  const raft_term next = engine.current_term + 1;
  overheard::ask_for_vote(engine, all.third() + 1, next, last + 1);
  REQUIRE(engine.current_term == next);
  REQUIRE(engine.last_stored == last);
  REQUIRE(all.raft.run_until([&] { return engine.last_stored == last + 1; }));
  overheard::append(engine, all.third() + 1, next, last, last);
  REQUIRE(libraft_term_at(engine.log, last + 1) == term{next});
  all.raft.run_for(200);
  CHECK(all.is_up(follower));
  CHECK(all.members_of(follower) == ids{1, 2, 3});
}

TEST_CASE("over libraft a snapshot names no members that may be taken back") {
  cluster all;
  const auto asked = all.ask(all.leader, libraft_request::kind::add, 4);
  for (std::size_t i = 0; i < 3; ++i) {
    all.raft.node(i).mail().compact = true;
  }
  all.insert(1);  // one entry before the change, and in the same round
  REQUIRE_FALSE(all.await(asked));
  all.insert(3);
  REQUIRE(all.await_even());
  all.raft.run_for(500);
  const std::uint64_t changed = all.raft.engine(all.leader)->configuration_index;
  REQUIRE(changed > 1);
  CHECK(overheard::snapshots.size() >= 3);  // none was given up
  for (const overheard::snapshot& one : overheard::snapshots) {
    CAPTURE(one.index, changed);
    CHECK((one.members == 4) == (one.index >= changed));
  }
}

TEST_CASE("over libraft a change whose write ends in a candidate counts") {
  cluster all;
  const std::size_t old = all.leader;
  const std::size_t next = all.other();
  all.raft.isolate(all.third());
  all.raft.disk(next).set_latency(8'000);
  const auto asked = all.ask(old, libraft_request::kind::add, 4);
  all.raft.run_for(100);
  const std::uint64_t changed = raft_last_index(all.raft.engine(old));
  REQUIRE(raft_last_index(all.raft.engine(next)) == changed);
  REQUIRE(all.raft.engine(next)->last_stored < changed);
  all.raft.heal();
  all.raft.isolate(old);
  REQUIRE(all.raft.run_until([&] { return all.raft.engine(next)->state != RAFT_FOLLOWER; }));
  REQUIRE(all.raft.engine(next)->last_stored < changed);
  REQUIRE(all.raft.run_until([&] { return all.raft.engine(next)->last_applied >= changed; }));
  all.raft.disk(next).set_latency(10);
  CHECK(all.members_of(next) == ids{1, 2, 3, 4});
}

TEST_CASE("over libraft who is left alone by a change leads when that is written") {
  cluster all;
  const std::size_t old = all.leader;
  const std::size_t left = all.other();
  ::raft& engine = *all.raft.engine(left);
  const auto removed = libraft_request::kind::remove;
  REQUIRE_FALSE(all.await(all.ask(old, removed, all.third() + 1)));
  REQUIRE(all.await_even(all.third()));
  all.raft.disk(left).set_latency(6'000);
  const auto asked = all.ask(old, removed, old + 1);
  all.raft.run_for(100);
  const std::uint64_t changed = raft_last_index(&engine);
  REQUIRE(engine.last_stored < changed);
  REQUIRE(changed == raft_last_index(all.raft.engine(old)));
  all.raft.isolate(left);
  REQUIRE(all.raft.run_until([&] { return engine.state == RAFT_LEADER; }));
  CHECK(engine.last_stored >= changed);
  CHECK(all.members_of(left) == ids{left + 1});
}

TEST_CASE("over libraft of two changes the later one counts while it is written") {
  cluster all;
  const std::size_t slow = all.other();
  ::raft& engine = *all.raft.engine(slow);
  all.raft.disk(slow).set_latency(4'000);
  const auto change = [&all](std::uint64_t id) {
    REQUIRE_FALSE(all.await(all.ask(all.leader, libraft_request::kind::add, id)));
    return raft_last_index(all.raft.engine(all.leader));
  };
  const std::uint64_t first = change(4);
  const std::uint64_t second = change(5);
  REQUIRE(second > first);
  REQUIRE(all.raft.run_until([&] { return raft_last_index(&engine) == second; }));
  REQUIRE(all.raft.run_until([&] { return engine.last_stored >= first; }));
  all.raft.isolate(slow);
  REQUIRE(all.raft.run_until([&] { return engine.state == RAFT_CANDIDATE; }));
  REQUIRE(engine.last_stored < second);
  CHECK(all.members_of(slow) == ids{1, 2, 3, 4, 5});
}

TEST_CASE("over libraft members of a snapshot that came hold again") {
  cluster all;
  const std::size_t late = all.third();
  all.raft.isolate(late);
  REQUIRE_FALSE(all.await(all.ask(all.leader, libraft_request::kind::add, 4)));
  all.insert(3);
  all.raft.compact(all.leader);
  all.insert(3);
  REQUIRE(all.raft.engine(all.leader)->log.offset > raft_last_index(all.raft.engine(late)));
  all.raft.heal();
  REQUIRE(all.await_even());
  REQUIRE(all.raft.node(late).status().counters.snapshots_restored == 1);
  REQUIRE_FALSE(all.await(all.ask(all.leader, libraft_request::kind::transfer, late + 1)));
  REQUIRE(all.raft.run_until([&] { return all.look_for_leader() && all.leader == late; }));
  REQUIRE(all.change_alone(libraft_request::kind::add, 5) == late);
  REQUIRE(all.members_of(late) == ids{1, 2, 3, 4, 5});
  all.raft.heal();
  all.insert(3);
  REQUIRE(all.await_even());
  CHECK(all.members_of(late) == ids{1, 2, 3, 4});
}

TEST_CASE("over libraft a server whose change is gone with its log leads on as any other") {
  cluster all;
  all.raft.isolate(all.leader);
  std::vector<struct raft_barrier> before(100);  // so that the change lies behind all that follows
  for (struct raft_barrier& one : before) {
    REQUIRE(::raft_barrier(all.raft.engine(all.leader), &one, nullptr) == 0);
  }
  const std::size_t alone = all.change_alone(libraft_request::kind::add, 4);
  const std::uint64_t changed = raft_last_index(all.raft.engine(alone));
  all.insert(5);
  REQUIRE(all.await_even(alone));
  all.raft.compact(all.leader);
  all.insert(3);
  REQUIRE(all.raft.engine(all.leader)->log.offset > changed - before.size());
  all.raft.heal();
  REQUIRE(all.await_even());
  REQUIRE(all.raft.node(alone).status().counters.snapshots_restored == 1);
  REQUIRE(all.members_of(alone) == ids{1, 2, 3});
  REQUIRE_FALSE(all.await(all.ask(all.leader, libraft_request::kind::transfer, alone + 1)));
  REQUIRE(all.raft.run_until([&] { return all.look_for_leader() && all.leader == alone; }));
  const std::uint64_t taken = all.raft.node(alone).status().counters.snapshots_taken;
  all.raft.compact(alone);
  all.insert(1);
  all.raft.run_for(500);
  REQUIRE(raft_last_index(all.raft.engine(alone)) < changed);
  CHECK(all.raft.node(alone).status().counters.snapshots_taken > taken);
  CHECK_FALSE(all.await(all.ask(alone, libraft_request::kind::add, 5)));
  CHECK(all.members_of(alone) == ids{1, 2, 3, 5});
}

TEST_CASE("over libraft who is made a voter by an entry that it never got has a vote") {
  cluster all;
  const std::size_t first = all.leader;
  const std::size_t made = all.other();
  const std::size_t gone = all.third();
  for (const std::size_t each : {made, gone}) {
    REQUIRE_FALSE(all.await(all.ask(first, libraft_request::kind::remove, each + 1)));
  }
  REQUIRE_FALSE(all.await(all.ask(first, libraft_request::kind::add, made + 1)));
  all.insert(2);
  const auto asked = all.ask(first, libraft_request::kind::promote, made + 1);
  const auto voters = [&](std::size_t at) {
    const auto members = all.raft.node(at).status().members;
    return std::count_if(members.begin(), members.end(),
                         [](const libraft_server& one) { return one.voter; });
  };
  REQUIRE(all.raft.run_until([&] { return voters(first) == 2; }));
  all.raft.isolate(made);  // before the entry came to it
  REQUIRE(all.raft.run_until([&] { return all.raft.engine(first)->state != RAFT_LEADER; }));
  REQUIRE(voters(made) == 1);
  all.raft.run_for(5'000);
  all.raft.heal();
  REQUIRE(all.raft.run_until([&] { return all.look_for_leader() && all.leader == first; }));
  all.insert(1);
  REQUIRE(all.await_even(gone));
  CHECK(voters(made) == 2);
  CHECK(all.is_up(made));
}

TEST_CASE("over libraft who refuses a pre-vote tells its term, so that the better log can lead") {
  cluster all;
  const std::size_t better = all.leader;
  const std::size_t behind = all.other();
  all.raft.isolate(behind);
  all.insert(3);
  REQUIRE(all.raft.run_until([&] { return all.raft.engine(behind)->state == RAFT_CANDIDATE; }));
  // It was called to lead once, or had a vote, and campaigned alone for long.
  ::raft& engine = *all.raft.engine(behind);
  REQUIRE(engine.io->set_term(engine.io, engine.current_term + 20) == 0);
  engine.current_term += 20;
  all.kill(all.third());
  REQUIRE(all.raft.run_until([&] { return all.raft.engine(better)->state != RAFT_LEADER; }));
  all.raft.heal();
  REQUIRE(all.raft.run_until([&] { return all.look_for_leader(all.third()); }));
  CHECK(all.leader == better);
  CHECK(all.raft.engine(better)->current_term > engine.current_term - 2);
}

TEST_CASE("over libraft members are read out of whole entries alone") {
  raft_configuration given;
  raft_configuration_init(&given);
  REQUIRE(raft_configuration_add(&given, 7, "127.0.0.1:9000", RAFT_VOTER) == 0);
  REQUIRE(raft_configuration_add(&given, std::uint64_t{1} << 40U, "b", RAFT_SPARE) == 0);
  raft_buffer encoded{};
  REQUIRE(raft_configuration_encode(&given, &encoded) == 0);
  const bytes whole(static_cast<const std::byte*>(encoded.base),
                    static_cast<const std::byte*>(encoded.base) + encoded.len);
  raft_free(encoded.base);
  const std::size_t used = 9 + (8 + 15 + 1) + (8 + 2 + 1);
  REQUIRE(whole.size() >= used);
  const auto decode = [](const bytes& entry, ids& into) {
    raft_configuration made;
    raft_configuration_init(&made);
    const int code = libraft_decode_members(entry, made);
    for (unsigned i = 0; i < made.n; ++i) {
      into.push_back(made.servers[i].id);
      into.push_back(static_cast<std::uint64_t>(made.servers[i].role));
      into.push_back(std::strlen(made.servers[i].address));
    }
    raft_configuration_close(&made);
    return code;
  };
  ids read;
  REQUIRE(decode(whole, read) == 0);
  CHECK(read == ids{7, RAFT_VOTER, 14, std::uint64_t{1} << 40U, RAFT_SPARE, 1});
  ids none;
  for (std::size_t size = 0; size < used; ++size) {
    CAPTURE(size);
    CHECK(decode(bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)), none) ==
          RAFT_MALFORMED);
  }
  const auto with = [&whole](std::size_t at, std::byte value) {
    bytes changed = whole;
    changed[at] = value;
    return changed;
  };
  CHECK(decode(with(0, std::byte{2}), none) == RAFT_MALFORMED);           // format
  CHECK(decode(with(8, std::byte{0xff}), none) == RAFT_MALFORMED);        // how many
  CHECK(decode(with(9, std::byte{0}), none) == RAFT_MALFORMED);           // no id
  CHECK(decode(with(9 + 8 + 15, std::byte{9}), none) == RAFT_MALFORMED);  // no role
  raft_configuration_close(&given);
}

}  // namespace libraft_members_test
