// A log and the files of its machine, held against each other before libraft may vote, and the
// snapshot whose header tells the history.
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <ios>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <sqlite3.h>

#include "catch2_shim.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/history_marks.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/history.hpp"
#include "quorlite/detail/libraft/proposals.hpp"
#include "quorlite/detail/libraft/snapshot.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/file.hpp"
#include "support/checked_folder.hpp"
#include "support/libraft_cluster.hpp"
#include "support/manual_consensus.hpp"
#include "support/started_replica.hpp"
#include "support/told_machine.hpp"

namespace libraft_history_test {
namespace {

using namespace quorlite::tests;
using fault = libraft_log_fault;

constexpr cluster_identity our_cluster{0xC1, 0xC2};
constexpr cluster_identity their_cluster{0xD1, 0xD2};

/// An entry of libraft, with its bytes.
struct stored {
  unsigned short type = RAFT_BARRIER;
  std::vector<bytes> commands;
  std::uint64_t told = 0;  // the index that its batch tells

  [[nodiscard]] bytes encoded() const {
    if (type != RAFT_COMMAND) {
      return bytes(8);
    }
    std::size_t payload = 0;
    for (const bytes& one : commands) {
      payload += one.size();
    }
    bytes whole(libraft_batch::bytes_for(commands.size(), payload, told));
    libraft_batch::encode(
        whole, commands.size(), [&](std::size_t i) { return bytes_view(commands[i]); }, told);
    return whole;
  }
};

/// A snapshot as libraft keeps it: the entries up to one are in it.
struct stored_snapshot {
  std::uint64_t index = 0;
  bytes whole;
};

/// The log of one server, with what libraft has of it.
struct stored_log {
  std::vector<stored> entries;  // the first one has index 1
  std::uint64_t first = 1;      // those before it are gone
  std::optional<stored_snapshot> snapshot;
  history_position noted{};  // what log_end says of it

  [[nodiscard]] std::optional<libraft_log_defect> walk(const state_machine& machine) {
    std::vector<bytes> content;
    std::vector<raft_entry> loaded;
    for (std::size_t i = static_cast<std::size_t>(first - 1); i < entries.size(); ++i) {
      content.push_back(entries[i].encoded());
      raft_entry one{};
      one.term = 1;
      one.type = entries[i].type;
      one.buf = {content.back().data(), content.back().size()};
      loaded.push_back(one);
    }
    raft_snapshot kept{};
    raft_buffer buffer{};
    if (snapshot) {
      buffer = {snapshot->whole.data(), snapshot->whole.size()};
      kept.index = snapshot->index;
      kept.bufs = &buffer;
      kept.n_bufs = 1;
    }
    return history.walk(machine, {snapshot ? &kept : nullptr, first, loaded, noted});
  }
  /// @returns the fault; nothing: it may start
  [[nodiscard]] std::optional<fault> fault_on(const state_machine& machine) {
    const std::optional<libraft_log_defect> defect = walk(machine);
    UNSCOPED_INFO((defect ? defect->text() : "it may start"));
    return defect ? std::optional(defect->fault) : std::nullopt;
  }
  [[nodiscard]] stored_log without(std::size_t entry) const {
    stored_log made = copy();
    made.entries.erase(made.entries.begin() + static_cast<std::ptrdiff_t>(entry));
    return made;
  }
  [[nodiscard]] stored_log up_to(std::size_t count) const {
    stored_log made = copy();
    made.entries.resize(count);
    return made;
  }
  [[nodiscard]] stored_log copy() const { return {entries, first, snapshot, noted, {}}; }

  libraft_history history{};
};

/// A server that leads alone: what it proposes is in its log, and applied.
class server {
 public:
  explicit server(cluster_identity cluster) : cluster_(cluster) {
    other(RAFT_CHANGE);
    machine.lead(1);
    command({open_command{"a.db"}});
  }

  void other(unsigned short type) {
    log.entries.push_back({type, {}, 0});
    machine->skip({next(), term{1}});
  }
  void command(decltype(command::body) body) {
    append({machine.send_command(std::move(body)).entries});
  }
  void begin() { command(identity_command{2, cluster_}); }
  /// One transaction in one entry.
  void write(std::uint8_t value) { append(changes(value).entries); }
  /// Several in one.
  void write_together(std::uint8_t value, int count) {
    std::vector<bytes> all;
    for (int i = 0; i < count; ++i) {
      for (bytes& one : changes(static_cast<std::uint8_t>(value + i)).entries) {
        all.push_back(std::move(one));
      }
    }
    append(std::move(all));
  }
  /// Writes, barriers and batches.
  void work(std::uint8_t from) {
    write(from);
    write(static_cast<std::uint8_t>(from + 1));
    other(RAFT_BARRIER);
    write_together(static_cast<std::uint8_t>(from + 2), 3);
    write(static_cast<std::uint8_t>(from + 5));
  }
  void append(std::vector<bytes> commands) {
    for (const bytes& one : commands) {
      REQUIRE(machine.apply_next(one, term{1}) == apply_result::applied);
    }
    log.entries.push_back({RAFT_COMMAND, std::move(commands), 0});
  }
  void flush() { REQUIRE_FALSE(machine->flush(machine->applied().index)); }
  void restart() { REQUIRE_FALSE(machine.restart()); }
  /// As libraft takes one. Entries before it stay.
  [[nodiscard]] stored_snapshot take_snapshot() {
    raft_buffer* buffers = nullptr;
    unsigned count = 0;
    auto reader = machine->take_snapshot();
    REQUIRE(reader.has_value());
    const libraft_cursor at{log.entries.size(), machine->applied()};
    REQUIRE(libraft_snapshot_buffers::fill(**reader, at, buffers, count) == 0);
    stored_snapshot made{log.entries.size(), {}};
    for (unsigned i = 0; i < count; ++i) {
      const bytes_view part = libraft_bytes(buffers[i]);
      made.whole.insert(made.whole.end(), part.begin(), part.end());
    }
    libraft_free_buffers(buffers, count);
    return made;
  }

  bench machine;
  stored_log log;

 private:
  [[nodiscard]] log_index next() { return machine->applied().index.next(); }
  bench::sent changes(std::uint8_t value) {
    bench::sent made = machine.send({{"a.db", {{1, value}, {2, value}}}});
    REQUIRE_FALSE(made.error);
    return made;
  }

  cluster_identity cluster_;
};

/// One whose history has begun behind a few entries of today.
struct begun_server : server {
  explicit begun_server(cluster_identity cluster = our_cluster, std::uint8_t value = 10)
      : server(cluster) {
    write(value);
    begin();
    work(static_cast<std::uint8_t>(value + 1));
  }
};

/// An entry as it was planned before the history began.
bytes planned_before(std::uint64_t in_term) {
  bytes made;
  REQUIRE_FALSE(native::encode({.id = {term{in_term}, 999}, .body = barrier_command{}}, made));
  return made;
}

/// Changes a byte of a page in a write set, and makes its checksum right.
void flip(bytes& command) {
  command[command.size() - 20] ^= std::byte{0x10};
  store_little_endian(command.data() + entry_crc_offset, entry_crc(command));
}

bool tells(const std::optional<libraft_log_defect>& defect, const std::string& word) {
  return defect && defect->what.find(word) != std::string::npos;
}

}  // namespace

// ---- the header of a snapshot

namespace {

libraft_snapshot_header some_header() {
  libraft_snapshot_header made{{77, {log_index{3 * history_marks::distance + 5}, term{5}}}, 3};
  made.history.begun = {log_index{9}, {}, our_cluster};
  made.history.at = {made.at.at.index, {11, 12}};
  for (std::uint64_t m = 1; m <= 3; ++m) {
    made.history.marks[m - 1] = {log_index{m * history_marks::distance}, {20 + m, 30 + m}};
  }
  made.history.mark_count = 3;
  return made;
}

bytes encoded(const libraft_snapshot_header& header) {
  bytes raw(header.size_bytes() + static_cast<std::size_t>(header.content_bytes));
  header.encode(raw);
  return raw;
}

/// After a change: the check is right again.
void mend(bytes& raw) {
  const bytes_view header = bytes_view(raw).first(libraft_snapshot_header::encoded_bytes_max);
  store_little_endian(raw.data() + 4,
                      libraft_check(header.subspan(8), libraft_check(header.first(4))));
}

bool is_read(const bytes& raw) { return libraft_snapshot_header::decode(raw).has_value(); }

}  // namespace

TEST_CASE("the header of a snapshot tells the history that it contains") {
  const libraft_snapshot_header made = some_header();
  const bytes raw = encoded(made);
  REQUIRE(raw.size() == 1112 + 3);
  CHECK(std::memcmp(raw.data(), "QLS2", 4) == 0);
  const auto found = libraft_snapshot_header::decode(raw);
  REQUIRE(found.has_value());
  CHECK(found->at.entry == 77);
  CHECK(found->at.at == made.at.at);
  CHECK(found->content_bytes == 3);
  CHECK(found->size_bytes() == 1112);
  CHECK(found->history == made.history);
}

TEST_CASE("a snapshot before the history has begun has the header of today") {
  libraft_snapshot_header made = some_header();
  made.history = {};
  const bytes raw = encoded(made);
  REQUIRE(raw.size() == 40 + 3);
  CHECK(std::memcmp(raw.data(), "QLS1", 4) == 0);
  const auto found = libraft_snapshot_header::decode(raw);
  REQUIRE(found.has_value());
  CHECK(found->size_bytes() == 40);
  CHECK(found->history == snapshot_history{});
}

TEST_CASE("a header with a history that is cut or changed at any byte is refused") {
  const bytes raw = encoded(some_header());
  for (std::size_t size = 0; size < raw.size(); ++size) {
    CHECK_FALSE(libraft_snapshot_header::decode(bytes_view(raw).first(size)).has_value());
    CHECK_FALSE(
        libraft_snapshot_header::decode_front(bytes_view(raw).first(size), size).has_value());
  }
  for (std::size_t at = 0; at < libraft_snapshot_header::encoded_bytes_max; ++at) {
    for (const unsigned bit : {0U, 4U, 7U}) {
      bytes changed = raw;
      changed[at] ^= static_cast<std::byte>(1U << bit);
      CHECK_FALSE(is_read(changed));
    }
  }
}

TEST_CASE("a header whose check is right and whose history cannot be is refused") {
  const bytes raw = encoded(some_header());
  const auto with = [&](std::size_t at, std::uint64_t value) {
    bytes changed = raw;
    store_little_endian(changed.data() + at, value);
    mend(changed);
    return is_read(changed);
  };
  CHECK(with(40, 0));  // half of a cluster id
  CHECK_FALSE(with(72, 0));
  CHECK_FALSE(with(72, 3 * history_marks::distance + 6));  // it begins behind the position
  CHECK_FALSE(with(80, 2));
  CHECK_FALSE(with(80, 4));
  CHECK_FALSE(with(80, ~std::uint64_t{0}));
  CHECK_FALSE(with(88 + 16 * 63, 1));  // a mark behind a place that has none
  bytes changed = raw;
  for (const std::size_t at : {40U, 56U}) {  // no cluster, no hash
    changed = raw;
    std::fill_n(changed.begin() + static_cast<std::ptrdiff_t>(at), 16, std::byte{0});
    mend(changed);
    CHECK_FALSE(is_read(changed));
  }
  changed = raw;  // more marks than multiples
  store_little_endian(changed.data() + 88 + 16 * 3, std::uint64_t{1});
  mend(changed);
  CHECK_FALSE(is_read(changed));
}

TEST_CASE("a machine's snapshot is stored with its history once that has begun") {
  server one(our_cluster);
  one.write(1);
  CHECK(std::memcmp(one.take_snapshot().whole.data(), "QLS1", 4) == 0);
  one.begin();
  one.write(2);
  const stored_snapshot taken = one.take_snapshot();
  const auto header = libraft_snapshot_header::decode(taken.whole);
  REQUIRE(header.has_value());
  CHECK(header->history.begun.cluster == our_cluster);
  CHECK(header->history.at == one.machine->history());

  // Another server restores it.
  server other(our_cluster);
  libraft_restore restore;
  const raft_buffer buffer{const_cast<std::byte*>(taken.whole.data()), taken.whole.size()};
  REQUIRE_FALSE(restore.prepare(other.machine.machine(), buffer));
  CHECK(other.machine.restore(bytes_view(taken.whole).subspan(header->size_bytes())) ==
        std::error_code{});
  CHECK(other.machine->history() == one.machine->history());
}

// ---- the walk

TEST_CASE("a healthy log starts, wherever the files stand, and its history is known") {
  for (int flushed = 0; flushed < 5; ++flushed) {
    server one(our_cluster);
    const std::array<std::function<void()>, 4> steps{[&] { one.write(1); }, [&] { one.begin(); },
                                                     [&] { one.work(2); }, [&] { one.work(50); }};
    for (int i = 0; i < 4; ++i) {
      if (i == flushed) {
        one.flush();
      }
      steps[static_cast<std::size_t>(i)]();
    }
    if (flushed == 4) {
      one.flush();
    }
    const history_position end = one.machine->history();
    one.restart();
    INFO("flushed before step " << flushed);
    REQUIRE(one.log.fault_on(one.machine.machine()) == std::nullopt);
    CHECK(one.log.history.trail().end_place().at == end);
    CHECK(one.log.history.trail().end_place().entry == one.log.entries.size());
    CHECK(one.log.history.trail().end_place().is_known);
  }
}

TEST_CASE("entries that nobody has committed are fine too, and so is a log that ends at the base") {
  begun_server one;
  one.flush();
  const std::size_t there = one.log.entries.size();
  one.work(40);
  one.restart();
  for (std::size_t count = there; count <= one.log.entries.size(); ++count) {
    stored_log shorter = one.log.up_to(count);
    CHECK(shorter.fault_on(one.machine.machine()) == std::nullopt);
  }
}

TEST_CASE("a log that ends below the files is too short, and names both ends") {
  begun_server one;
  one.flush();
  const log_index at = one.machine->applied().index;
  one.restart();
  for (std::size_t count = 0; count < one.log.entries.size(); ++count) {
    stored_log shorter = one.log.up_to(count);
    const auto defect = shorter.walk(one.machine.machine());
    REQUIRE(defect);
    CHECK(defect->fault == fault::too_short);
    CHECK(defect->error() == errc::log_too_short);
    CHECK(tells(defect, std::to_string(at.value)));
    CHECK(shorter.history.trail().is_empty());
  }
}

TEST_CASE("a log that is not what log_end says of it is refused, and names the place") {
  begun_server one;
  one.log.noted = one.machine->history();
  REQUIRE(one.log.noted.hash != history_hash{});
  one.work(40);
  CHECK(one.log.fault_on(one.machine.machine()) == std::nullopt);
  const std::uint64_t noted = one.log.noted.index.value;
  // The files hold nothing: nothing else says how far the log went.
  bench empty;
  CHECK(one.log.fault_on(empty.machine()) == std::nullopt);
  const stored_log shorter = one.log.up_to(4);
  stored_log cut = shorter.copy();
  CHECK(cut.fault_on(empty.machine()) == fault::too_short);
  CHECK(tells(cut.walk(empty.machine()), "by log_end log index " + std::to_string(noted)));
  stored_log other = one.log.copy();
  other.noted.hash.high ^= 1U;
  CHECK(other.fault_on(empty.machine()) == fault::diverged);
  CHECK(tells(other.walk(empty.machine()), std::to_string(noted)));
}

TEST_CASE("a log whose entries tell another index than they have is refused") {
  begun_server one;
  for (std::size_t i = 0; i < one.log.entries.size(); ++i) {
    one.log.entries[i].told = i + 1;
  }
  CHECK(one.log.fault_on(one.machine.machine()) == std::nullopt);
  bench empty;  // neither files nor witnesses say anything of what is before the history
  stored_log lost = one.log.without(1);
  CHECK(lost.fault_on(empty.machine()) == fault::diverged);
  CHECK(tells(lost.walk(empty.machine()), "was written as another one"));
}

TEST_CASE("after a crash in a flush the log has to reach as far as pages may have been written") {
  begun_server one;
  const history_position at = one.machine->history();
  one.work(40);
  const history_position ahead = one.machine->history();
  told_machine torn;
  torn.told = {one.machine->base().begun, at, at, ahead};
  CHECK(one.log.fault_on(torn) == std::nullopt);
  stored_log shorter = one.log.up_to(one.log.entries.size() - 1);
  CHECK(shorter.fault_on(torn) == fault::too_short);
  CHECK(shorter.walk(torn)->remedy.find("SQLite opens none") != std::string::npos);
  torn.told.ahead.hash.high ^= 1U;
  CHECK(one.log.fault_on(torn) == fault::diverged);
  CHECK(tells(one.log.walk(torn), std::to_string(at.index.value)));
  CHECK(tells(one.log.walk(torn), std::to_string(ahead.index.value)));
  torn.told.ahead = {at.index, {}};
  torn.told.replay_from.hash.high ^= 1U;
  CHECK(one.log.fault_on(torn) == fault::diverged);
}

TEST_CASE("the entry to which the files came is known, however much is behind it in the log") {
  begun_server one;
  one.write_together(60, 3);
  const std::uint64_t batch = one.log.entries.size();
  const log_index last = one.machine->history().index;
  one.other(RAFT_BARRIER);
  told_machine files;
  files.told = {one.machine->base().begun, {}, {}, {}};
  for (const bool is_long : {false, true}) {
    if (is_long) {
      one.log.entries.resize(one.log.entries.size() + history_trail::steps_max + 9);
    }
    for (std::uint64_t back = 0; back < 3; ++back) {  // also in the middle of an entry
      files.told.ahead = {log_index{last.value - back}, {}};
      REQUIRE(one.log.fault_on(files) == std::nullopt);
      CHECK(one.log.history.settled({}) == batch);
      CHECK(one.log.history.settled(their_cluster) == batch);
    }
    files.told.ahead = {log_index{last.value - 3}, {}};
    REQUIRE(one.log.fault_on(files) == std::nullopt);
    CHECK(one.log.history.settled({}) == batch - 1);
    files.told.ahead = {log_index{last.value + 1}, {}};  // nobody proposed the entry there
    REQUIRE(one.log.fault_on(files) == std::nullopt);
    CHECK(one.log.history.settled({}) == batch + 1);
  }
  files.told = {};  // they hold nothing: what the folder names is committed all the same
  REQUIRE(one.log.fault_on(files) == std::nullopt);
  CHECK(one.log.history.settled({}) == 0);
  CHECK(one.log.history.settled(their_cluster) == 0);
  CHECK(one.log.history.settled(our_cluster) == one.machine->base().begun.begins_at.value);
  one.log.noted = one.machine->history();  // by log_end: all of it was applied
  REQUIRE(one.log.fault_on(files) == std::nullopt);
  CHECK(one.log.history.settled({}) == batch + 1);
}

TEST_CASE("the log of another cluster is refused, and so are the databases of another cluster") {
  begun_server one;
  begun_server other(their_cluster);
  for (server* each : {static_cast<server*>(&one), static_cast<server*>(&other)}) {
    each->flush();
    each->work(60);
    each->restart();
  }
  CHECK(one.log.fault_on(other.machine.machine()) == fault::another_cluster);
  CHECK(other.log.fault_on(one.machine.machine()) == fault::another_cluster);
  const auto defect = other.log.walk(one.machine.machine());
  REQUIRE(defect);
  CHECK(defect->error() == errc::another_cluster);
  CHECK(tells(defect, "cluster 00000000000000d200000000000000d1"));
  CHECK(tells(defect, "cluster 00000000000000c200000000000000c1"));
  CHECK(defect->remedy.find("The log belongs to cluster 00000000000000d200000000000000d1: give "
                            "this server its own folder") == 0);
  CHECK(defect->remedy.find("found") == std::string::npos);
  CHECK(one.log.fault_on(one.machine.machine()) == std::nullopt);
  CHECK(other.log.fault_on(other.machine.machine()) == std::nullopt);
}

TEST_CASE("a log of the same cluster with other content is refused, wherever it differs first") {
  begun_server one;
  one.flush();
  one.restart();
  begun_server other(our_cluster, 10);
  for (int i = 0; i < 2; ++i) {
    CHECK(other.log.fault_on(one.machine.machine()) == std::nullopt);  // the same so far
    other.write(90);
  }
  begun_server differs(our_cluster, 11);
  differs.work(40);
  CHECK(differs.log.fault_on(one.machine.machine()) == fault::diverged);
}

TEST_CASE("a log that lost any entry contradicts itself, or the files") {
  begun_server one;
  const std::size_t flushed = one.log.entries.size();
  one.flush();
  one.work(40);
  one.restart();
  told_machine fresh;
  for (std::size_t lost = 0; lost + 1 < one.log.entries.size(); ++lost) {
    stored_log shifted = one.log.without(lost);
    INFO("entry " << lost + 1);
    CHECK(shifted.fault_on(one.machine.machine()) == fault::diverged);
    // Without files: what comes behind the gap was proposed on what stood there.
    CHECK(shifted.fault_on(fresh) == fault::diverged);
  }
  stored_log shorter = one.log.without(one.log.entries.size() - 1);
  CHECK(shorter.fault_on(one.machine.machine()) == std::nullopt);  // as any end is
  CHECK(one.log.without(flushed - 1).fault_on(one.machine.machine()) == fault::diverged);
}

TEST_CASE("an entry that changed, with its checksum made right, is found by what follows") {
  begun_server one;
  one.work(40);
  told_machine fresh;
  std::size_t changed = 0;
  for (std::size_t i = 0; i + 1 < one.log.entries.size(); ++i) {
    for (std::size_t j = 0; j < one.log.entries[i].commands.size(); ++j) {
      stored_log other = one.log.copy();
      bytes& command = other.entries[i].commands[j];
      const result<quorlite::detail::command> before = native::decode(command, lock_byte);
      if (!before || before->format != 2 ||
          !std::holds_alternative<write_set_command>(before->body)) {
        continue;
      }
      flip(command);
      ++changed;
      INFO("entry " << i + 1 << ", command " << j);
      CHECK(other.fault_on(fresh) == fault::diverged);
    }
  }
  CHECK(changed > 8);
}

TEST_CASE("a command whose claim is damaged is told as damage, for it says nothing of a history") {
  begun_server one;
  one.work(40);
  told_machine fresh;
  stored_log other = one.log.copy();
  bytes& command = other.entries.back().commands.front();
  command[16] ^= std::byte{0x40};  // in the hash that it tells
  const auto defect = other.walk(fresh);
  REQUIRE(defect);
  CHECK(defect->fault == fault::damaged);
  CHECK(defect->error() == errc::log_damaged);
}

TEST_CASE("a log without a history and files without one go on as they did") {
  server one(our_cluster);
  one.work(1);
  one.flush();
  one.work(20);
  one.restart();
  CHECK(one.log.fault_on(one.machine.machine()) == std::nullopt);
  CHECK(one.log.history.trail().end_place().at.hash == history_hash{});
  CHECK(one.log.up_to(4).fault_on(one.machine.machine()) == fault::too_short);
}

TEST_CASE("files without a history that stand behind its begin are not of this log") {
  begun_server one;
  told_machine files;
  const log_index begin = one.machine->base().begun.begins_at;
  files.told.at = files.told.ahead = files.told.replay_from = {log_index{begin.value - 1}, {}};
  CHECK(one.log.fault_on(files) == std::nullopt);
  for (std::uint64_t at = begin.value; at < begin.value + 3; ++at) {
    files.told.at = files.told.ahead = files.told.replay_from = {log_index{at}, {}};
    CHECK(one.log.fault_on(files) == fault::diverged);
  }
}

TEST_CASE("a log that begins late, with no snapshot before it, is told") {
  begun_server one;
  told_machine fresh;
  one.log.first = 3;
  const auto defect = one.log.walk(fresh);
  REQUIRE(defect);
  CHECK(defect->fault == fault::starts_late);
  CHECK(defect->error() == errc::log_starts_late);
}

TEST_CASE("the walk begins with the snapshot, and compares what the files hold behind it") {
  begun_server one;
  const stored_snapshot taken = one.take_snapshot();
  const std::string there = std::to_string(one.machine->applied().index.value);
  one.work(40);
  one.flush();
  one.work(80);
  one.restart();
  one.log.snapshot = taken;
  for (const std::uint64_t first : {std::uint64_t{1}, taken.index, taken.index + 1}) {
    one.log.first = first;
    CHECK(one.log.fault_on(one.machine.machine()) == std::nullopt);
  }
  told_machine fresh;
  CHECK(one.log.fault_on(fresh) == std::nullopt);
  one.log.first = taken.index + 2;
  CHECK(one.log.fault_on(one.machine.machine()) == fault::starts_late);
  one.log.first = taken.index + 1;
  CHECK(tells(one.log.without(static_cast<std::size_t>(taken.index)).walk(fresh),
              "between log index " + there + " and "));
  for (std::size_t lost = static_cast<std::size_t>(taken.index); lost + 1 < one.log.entries.size();
       ++lost) {
    stored_log shifted = one.log.without(lost);
    INFO("entry " << lost + 1);
    CHECK(shifted.fault_on(one.machine.machine()) == fault::diverged);
    CHECK(shifted.fault_on(fresh) == fault::diverged);
  }
}

TEST_CASE("a snapshot that is alone is enough, and has to reach the files") {
  begun_server one;
  one.flush();
  one.log.snapshot = one.take_snapshot();
  one.log.first = one.log.entries.size() + 1;
  one.restart();
  CHECK(one.log.fault_on(one.machine.machine()) == std::nullopt);
  begun_server more;
  more.work(40);
  more.flush();
  more.restart();
  CHECK(one.log.fault_on(more.machine.machine()) == fault::too_short);
}

TEST_CASE("a snapshot of another cluster, or without a history, is not of these files") {
  begun_server one;
  begun_server other(their_cluster);
  server old(our_cluster);
  old.write(10);
  old.work(20);
  old.work(30);
  one.flush();
  one.restart();
  const auto fault_of = [&](server& each) {
    stored_log log;
    log.snapshot = each.take_snapshot();
    log.entries = each.log.entries;
    log.first = log.entries.size() + 1;
    return log.fault_on(one.machine.machine());
  };
  CHECK(fault_of(other) == fault::another_cluster);
  CHECK(fault_of(old) == fault::diverged);
}

TEST_CASE("files without a history are not of a snapshot whose history begins below them") {
  begun_server one;
  told_machine files;
  stored_log log;
  log.snapshot = one.take_snapshot();
  log.entries = one.log.entries;
  log.first = log.entries.size() + 1;
  const log_index begin = one.machine->base().begun.begins_at;
  files.told.at = {log_index{begin.value - 1}, {}};
  CHECK(log.fault_on(files) == std::nullopt);
  files.told.at = {begin, {}};
  CHECK(log.fault_on(files) == fault::diverged);
}

TEST_CASE(
    "what was planned before the begin, in its term, stops no start; in another term it does") {
  begun_server one;
  const stored_snapshot taken = one.take_snapshot();
  one.append({planned_before(1)});
  one.work(40);
  one.flush();
  one.restart();
  told_machine fresh;
  CHECK(one.log.fault_on(one.machine.machine()) == std::nullopt);
  CHECK(one.log.fault_on(fresh) == std::nullopt);
  one.log.snapshot = taken;  // its header does not tell the term
  CHECK(one.log.fault_on(fresh) == std::nullopt);
  CHECK(one.log.fault_on(one.machine.machine()) == std::nullopt);

  one.log.entries.push_back({RAFT_COMMAND, {planned_before(2)}});
  CHECK(one.log.fault_on(one.machine.machine()) == fault::diverged);
  one.log.snapshot.reset();
  CHECK(one.log.fault_on(fresh) == fault::diverged);
}

TEST_CASE("what the engine cannot read is left to whoever applies it") {
  begun_server one;
  told_machine fresh;
  stored_log log = one.log.copy();
  log.snapshot = one.take_snapshot();
  log.first = log.entries.size() + 1;
  log.snapshot->whole[60] ^= std::byte{1};
  CHECK(log.fault_on(fresh) == std::nullopt);
  CHECK(log.history.trail().is_empty());
}

// ---- over sockets and files

namespace {

using disk_node = started_replica<libraft, file_storage>;

/// A cluster of one server, on a disk.
class lone_server {
 public:
  explicit lone_server(const replica_options& options = {}) : options_(options) {
    options_.found = true;
  }
  void start() {
    REQUIRE_FALSE(try_start());
    REQUIRE(wait_until([&] { return node_->leader().leading; }));
  }
  /// A check of the folder says before what the start will.
  [[nodiscard]] std::error_code try_start() {
    const libraft_log_report check = checked(log(), data());
    storage_.emplace(data());
    raft_.emplace(places_.options(0));
    node_.emplace(*raft_, *storage_, options_);
    const libraft_log_report& start = raft_->log_report();
    INFO((check.defects.empty() ? "a check says nothing" : check.defects.front().text()));
    CHECK(check.error() == start.error());
    CHECK(check.defects.size() == start.defects.size());
    if (!check.defects.empty() && !start.defects.empty()) {
      CHECK(check.defects.front().what == start.defects.front().what);
      CHECK_FALSE(check.defects.front().file.empty());
      CHECK(start.defects.front().file == check.defects.front().file);
      CHECK(start.defects.front().byte == check.defects.front().byte);
      CHECK((!node_->status() ||
             std::filesystem::is_regular_file(log() + "/" + start.defects.front().file)));
    }
    if (check.history.begins_at != log_index{} && !node_->status()) {
      CHECK(check.history == node_->machine().base().begun);
    }
    return node_->status();
  }
  void stop() {
    node_.reset();
    raft_.reset();
    storage_.reset();
  }
  /// Starts, writes rows, stores them, and stops.
  void work(int rows) {
    start();
    {
      connection db = std::move(*node_->open("app.db"));
      run(db, "CREATE TABLE IF NOT EXISTS t(x)");
      for (int i = 0; i < rows; ++i) {
        run(db, "INSERT INTO t VALUES(randomblob(50))");
      }
      REQUIRE_FALSE(node_->flush());
    }
    stop();
  }
  /// As work(), with one row, and a snapshot of all of it.
  void compact() {
    start();
    const std::uint64_t before = raft_->status().snapshot_index;
    raft_->compact();
    {
      connection db = std::move(*node_->open("app.db"));
      run(db, "INSERT INTO t VALUES(randomblob(50))");
    }
    REQUIRE(wait_until([&] { return raft_->status().snapshot_index > before; }));
    REQUIRE_FALSE(node_->flush());
    stop();
  }
  [[nodiscard]] bool await_snapshot_behind(std::uint64_t index) {
    return wait_until([&] { return raft_->status().snapshot_index > index; });
  }
  /// That of who is stopped.
  [[nodiscard]] libraft_log_report report() const { return *libraft::check(log()); }
  [[nodiscard]] const std::vector<libraft_log_defect>& defects() const {
    return raft_->log_report().defects;
  }
  [[nodiscard]] std::int64_t rows() {
    connection db = std::move(*node_->open("app.db"));
    std::int64_t found = -1;
    const auto take = [](void* to, int, char** columns, char**) {
      *static_cast<std::int64_t*>(to) = std::stoll(columns[0]);
      return 0;
    };
    REQUIRE(sqlite3_exec(db, "SELECT count(*) FROM t", take, &found, nullptr) == SQLITE_OK);
    return found;
  }
  /// That start() is refused, what the report says.
  [[nodiscard]] std::string refusal(errc why) {
    const std::error_code error = try_start();
    INFO(error.message());
    CHECK(error == why);
    const libraft_log_report& report = raft_->log_report();
    REQUIRE_FALSE(report.defects.empty());
    CHECK(report.error() == why);
    std::string text = report.defects.front().text();
    stop();
    return text;
  }

  [[nodiscard]] std::string log() const { return places_.directory(0); }
  [[nodiscard]] std::string data() const { return places_.directory(0) + ".data"; }

 private:
  static void run(sqlite3* db, const char* sql) {
    REQUIRE(sqlite3_exec(db, sql, nullptr, nullptr, nullptr) == SQLITE_OK);
  }

  libraft_places places_{1};
  replica_options options_;
  std::optional<file_storage> storage_;
  std::optional<libraft> raft_;
  std::optional<disk_node> node_;
};

void copy_folder(const std::string& from, const std::string& to) {
  std::filesystem::remove_all(to);
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
}

/// Whose the folder is stays: the log alone is exchanged.
void copy_log(const std::string& from, const std::string& to) {
  const auto is_of_log = [](const std::filesystem::path& file) {
    return file.filename() != "server" && file.filename() != "quorlite.lock";
  };
  std::vector<std::filesystem::path> old;
  for (const auto& one : std::filesystem::directory_iterator(to)) {
    old.push_back(one.path());
  }
  for (const std::filesystem::path& one : old) {
    if (is_of_log(one)) {
      std::filesystem::remove(one);
    }
  }
  for (const auto& one : std::filesystem::directory_iterator(from)) {
    if (is_of_log(one.path())) {
      std::filesystem::copy(one.path(), std::filesystem::path(to) / one.path().filename());
    }
  }
}

/// The log and the databases of a server, as they were.
struct image {
  explicit image(const lone_server& of, const std::string& name)
      : log(of.log() + name), data(of.data() + name) {
    copy_folder(of.log(), log);
    copy_folder(of.data(), data);
  }
  std::string log;
  std::string data;
};

}  // namespace

TEST_CASE("a server does not start on the log, or the databases, of another time or history") {
  lone_server one;
  one.work(3);
  const image early(one, ".early");
  one.work(3);
  const image own(one, ".own");
  copy_log(early.log, one.log());
  copy_folder(early.data, one.data());
  one.work(12);
  const image fork(one, ".fork");  // the same cluster, and what an old copy made of it

  copy_folder(own.data, one.data());
  const std::string exchanged = one.refusal(errc::diverged);
  INFO(exchanged);
  CHECK(exchanged.find(": the log and the files part between log index ") != std::string::npos);
  copy_log(own.log, one.log());
  copy_folder(fork.data, one.data());
  CHECK(one.refusal(errc::log_too_short).find("gone from the log") != std::string::npos);
  copy_log(early.log, one.log());
  copy_folder(own.data, one.data());
  CHECK(one.refusal(errc::log_too_short).find("gone from the log") != std::string::npos);

  copy_log(own.log, one.log());
  copy_folder(early.data, one.data());  // the log brings the rest again
  one.start();
  CHECK(one.rows() == 6);
  one.stop();
  copy_folder(own.data, one.data());
  one.start();
  CHECK(one.rows() == 6);
  one.stop();
}

TEST_CASE("a server that is alone starts without a snapshot that its databases do not need") {
  lone_server one;
  one.work(10);
  one.compact();
  one.work(3);
  const libraft_log_report whole = one.report();
  const std::string spoiled = one.log() + "/" + whole.snapshot_file;
  REQUIRE(std::filesystem::file_size(spoiled) > 4096);
  {
    std::fstream file(spoiled, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(3'000);
    file.put('!');
  }
  REQUIRE(one.report().error() == errc::log_damaged);
  SECTION("which have all of it: it says so, and makes another one") {
    one.start();
    CHECK(one.defects().size() == 1);
    CHECK(one.defects()[0].text().find("the content of this snapshot") != std::string::npos);
    CHECK(one.rows() == 14);
    CHECK(one.await_snapshot_behind(whole.snapshot_index));
    one.stop();
    CHECK_FALSE(one.report().error());
    one.start();
    CHECK(one.defects().empty());
    CHECK(one.rows() == 14);
    one.stop();
  }
  SECTION("and not, if they need it") {
    std::filesystem::remove_all(one.data());
    CHECK(one.refusal(errc::log_damaged).find("the content of this snapshot") != std::string::npos);
  }
}

TEST_CASE("a snapshot of a later version is told with its file, if the databases need it") {
  lone_server one;
  one.work(3);
  one.compact();
  const std::string name = one.report().snapshot_file;
  const std::string path = one.log() + "/" + name;
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    bytes front(libraft_snapshot_header::encoded_bytes_max + snapshot_preamble_bytes);
    file.read(reinterpret_cast<char*>(front.data()), static_cast<std::streamsize>(front.size()));
    const bytes_span preamble =
        bytes_span(front).subspan(libraft_snapshot_header::encoded_bytes_max);
    store_little_endian(preamble.data() + 8, std::uint32_t{99});
    store_little_endian(preamble.data() + 20, crc32c(preamble.first(20)));
    file.seekp(static_cast<std::streamoff>(libraft_snapshot_header::encoded_bytes_max));
    file.write(reinterpret_cast<const char*>(preamble.data()),
               static_cast<std::streamsize>(preamble.size()));
    REQUIRE(file.flush().good());
  }
  one.start();
  CHECK(one.rows() == 4);
  one.stop();
  std::filesystem::remove_all(one.data());
  CHECK(one.refusal(errc::needs_upgrade).find(name + ", byte ") == 0);
}

TEST_CASE("a server does not start on the log, or the databases, of another cluster") {
  lone_server one;
  lone_server other;
  one.work(3);
  other.work(9);
  const image own(one, ".own");
  copy_log(other.log(), one.log());
  CHECK(one.refusal(errc::another_cluster).find(": the log, by its entry") != std::string::npos);
  copy_log(own.log, one.log());
  copy_folder(other.data(), one.data());
  CHECK(one.refusal(errc::another_cluster).find("what the databases hold") != std::string::npos);
  copy_folder(own.data, one.data());
  one.start();
  CHECK(one.rows() == 3);
  one.stop();
}

}  // namespace libraft_history_test
