// The state as a whole: sent, restored, flushed, loaded; and three machines on one log.
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "codec_support.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/file_storage/basic_file_storage.hpp"
#include "quorlite/detail/machine/outcome_table.hpp"
#include "quorlite/detail/machine/transaction_assembly.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "support/manual_consensus.hpp"
#include "support/profile.hpp"

namespace fsm_snapshot_test {
namespace {

using namespace quorlite::tests;

constexpr term one_term{1};
constexpr std::size_t one_page_an_entry = 700;

std::vector<change> pages_of(const char* name, std::uint8_t value) {
  return {{name, {{1, value}, {2, value}, {7, value}}}};
}

/// Pages that busy_machine's "a.db" does not have yet: three full ones.
std::vector<change> new_pages(std::uint8_t value) {
  return {{"a.db", {{8, value}, {9, value}, {10, value}}}};
}

/// A machine with two databases, a few commits, and leadership.
struct busy_machine : bench {
  explicit busy_machine(std::uint64_t cluster_id = 7) : bench(cluster_id) {
    open("a.db");
    open("b.db");
    open("empty.db");
    lead(1);
    for (std::uint8_t n = 1; n <= 5; ++n) {
      commit(pages_of("a.db", n));
      commit({{"b.db", {{1, n}}, 200}});
    }
  }
};

/// Feeds `to` with everything after what it has.
void replay(bench& to, const std::vector<log_line>& log) {
  for (const log_line& line : log) {
    if (line.at.index > to->durable().index) {
      REQUIRE(to.apply(line) != apply_result::halted);
    }
  }
}

/// The entries of `sent` as lines of a log that goes on behind `after`.
std::vector<log_line> lines_of(const bench::sent& sent, log_index after) {
  std::vector<log_line> lines;
  for (const bytes& entry : sent.entries) {
    after = after.next();
    lines.push_back({{after, sent.id.term}, entry});
  }
  return lines;
}

bytes snapshot_bytes(const snapshot_header& header) {
  const auto layout = snapshot_layout::make(header, lock_byte);
  REQUIRE(layout);
  bytes whole(static_cast<std::size_t>(layout->size_bytes()));
  REQUIRE_FALSE(layout->read(0, whole, [](std::size_t, page_number, bytes_span page) {
    std::memset(page.data(), 0, page.size());
    return std::error_code{};
  }));
  return whole;
}

snapshot_header plain_header() {
  snapshot_header header;
  header.at = {log_index{50}, one_term};
  outcome_table(7).encode(header.notes);
  return header;
}

/// A storage that fails as it is told.
class failing_storage : public memory_storage {
 public:
  std::error_code next_commit;
  [[nodiscard]] std::error_code commit(flush_type flush, const base_position& at) noexcept {
    if (next_commit) {
      return next_commit;
    }
    return memory_storage::commit(std::move(flush), at);
  }
};

}  // namespace

// ---- sent and restored

TEST_CASE("a restored machine is the one that was sent, heads left out and staged parts included") {
  busy_machine from;
  const auto staged = from.send(new_pages(50), one_page_an_entry);
  REQUIRE(staged.entries.size() == 3);
  from.apply_next(staged.entries[0], one_term);
  from.apply_next(staged.entries[1], one_term);
  from.send({{"b.db", {{1, 99}}}});  // on the head, never applied
  const bytes sent = from.snapshot();
  bench to;
  REQUIRE_FALSE(to.restore(sent));
  CHECK(to.installed == apply_result::applied);
  CHECK(to.all() == from.all());
  CHECK(to.is_sound());
  CHECK(to->applied() == from->applied());
  CHECK(to.snapshot() == sent);
  // The transaction in flight goes on where it was.
  from.apply_next(staged.entries[2], one_term);
  to.apply_next(staged.entries[2], one_term);
  CHECK(to.all() == from.all());
  CHECK(to.snapshot() == from.snapshot());
}

TEST_CASE("a snapshot shows its moment for ever, whatever is written meanwhile") {
  busy_machine from;
  const bytes before = from.snapshot();
  const auto reader = *from->take_snapshot();
  CHECK(reader->at() == from->applied());
  for (std::uint8_t n = 60; n < 90; ++n) {
    from.commit({{"a.db", {{1, n}, {2, n}}, 20U + n % 3}});
    from.commit({{"b.db", {{1, n}}, 100U + n}});
  }
  from.apply_next({{one_term, 7777}, drop_command{"b.db"}}, one_term);
  REQUIRE(reader->size_bytes() == before.size());
  bytes pieces(before.size());
  for (std::size_t at = 0; at < pieces.size(); at += 1000) {
    const std::size_t size = std::min<std::size_t>(1000, pieces.size() - at);
    REQUIRE_FALSE(reader->read(at, bytes_span{pieces}.subspan(at, size)));
  }
  CHECK(pieces == before);
}

TEST_CASE("a restore takes pieces of any size") {
  busy_machine from;
  const bytes sent = from.snapshot();
  for (const std::size_t piece :
       {std::size_t{1}, std::size_t{7}, std::size_t{65540}, sent.size()}) {
    bench to;
    REQUIRE_FALSE(to.restore(sent, piece));
    CHECK(to.all() == from.all());
  }
}

TEST_CASE("a snapshot that is cut off anywhere leaves the old state") {
  busy_machine from;
  const bytes sent = from.snapshot();
  bench to;
  to.open("old.db");
  const auto before = to.all();
  quorlite::tests::generator random{5};
  for (std::size_t n = 0; n < 400; ++n) {
    const std::size_t size = n < 100 ? n : static_cast<std::size_t>(random.below(sent.size()));
    CAPTURE(size);
    CHECK(to.restore(bytes_view{sent}.first(size)));
  }
  for (std::size_t size = sent.size() - 40; size < sent.size(); ++size) {
    CHECK(to.restore(bytes_view{sent}.first(size)));
  }
  CHECK(to.all() == before);
  CHECK(to->applied().index == log_index{1});
  CHECK_FALSE(to->health().halted);
}

TEST_CASE("a snapshot with a flipped bit anywhere leaves the old state") {
  busy_machine from;
  bytes sent = from.snapshot();
  bench to;
  to.open("old.db");
  const auto before = to.all();
  quorlite::tests::generator random{6};
  for (std::size_t n = 0; n < 400; ++n) {
    const std::size_t at = n < 150 ? n : static_cast<std::size_t>(random.below(sent.size()));
    const auto bit = static_cast<std::byte>(1U << random.below(8));
    CAPTURE(at, static_cast<int>(bit));
    sent[at] ^= bit;
    CHECK(to.restore(sent));
    sent[at] ^= bit;
  }
  bytes longer = sent;
  longer.push_back(std::byte{0});
  CHECK(to.restore(longer));
  CHECK(to.all() == before);
  REQUIRE_FALSE(to.restore(sent));
  CHECK(to.all() == from.all());
}

TEST_CASE("a snapshot that only a damaged or hostile replica would send is refused") {
  bench to;
  const bytes full_page = [] {
    bench leader;
    leader.open("a.db");
    leader.lead(1);
    return leader.send(pages_of("a.db", 1)).entries[0];
  }();
  const std::vector<bytes> parts = [] {
    bench leader;
    leader.open("a.db");
    leader.lead(1);
    return leader.send(pages_of("a.db", 1), one_page_an_entry).entries;
  }();
  snapshot_header header = plain_header();
  SECTION("nothing is wrong") {
    header.staged = {quorlite::tests::shared(parts[0]), quorlite::tests::shared(parts[1])};
    REQUIRE_FALSE(to.restore(snapshot_bytes(header)));
    return;
  }
  std::uint64_t zero_pages = 0;
  {
    const bytes zeros(page_bytes);
    zero_pages = page_hash(page_number{1}, zeros);
  }
  SECTION("pages without a version") {
    header.databases.push_back({"a.db", page_bytes, 1, version_number{0}, zero_pages});
  }
  SECTION("a version that nobody counts to") {
    header.databases.push_back(
        {"a.db", page_bytes, 1, version_number{~std::uint64_t{0}}, zero_pages});
  }
  SECTION("outcomes that are none") { header.notes = quorlite::tests::from_text("no table"); }
  SECTION("a staged entry that is none") {
    header.staged = {quorlite::tests::shared(quorlite::tests::from_text("nothing"))};
  }
  SECTION("a staged entry that commits") { header.staged = {quorlite::tests::shared(full_page)}; }
  SECTION("a staged entry whose first part is missing") {
    header.staged = {quorlite::tests::shared(parts[1])};
  }
  SECTION("a staged entry twice") {
    header.staged = {quorlite::tests::shared(parts[0]), quorlite::tests::shared(parts[0])};
  }
  SECTION("a staged entry of another kind") {
    header.staged = {quorlite::tests::shared(bench::encoded({{one_term, 1}, barrier_command{}}))};
  }
  CHECK(to.restore(snapshot_bytes(header)) == errc::malformed);
  CHECK(to->applied().index == log_index{0});
}

TEST_CASE("another cluster's snapshot is refused") {
  busy_machine from(8);
  bench to(7);
  CHECK(to.restore(from.snapshot()) == errc::malformed);
  CHECK(to.all().empty());
}

TEST_CASE("readers that stand on the old state read on while a restore swaps it") {
  busy_machine from;
  from.apply_next({{one_term, 7777}, drop_command{"b.db"}}, one_term);
  bench to;
  to.open("a.db");
  to.open("b.db");
  to.lead(1);
  to.commit(pages_of("a.db", 200));
  to.commit(pages_of("b.db", 201));
  const auto old_a = to.store("a.db");
  const auto old_b = to.store("b.db");
  const auto pin_a = old_a->pin_committed();
  const auto pin_b = old_b->pin_committed();
  const auto writer = old_a->pin_head();
  const auto copy_a = copy_of(old_a, pin_a);
  const auto copy_b = copy_of(old_b, pin_b);
  REQUIRE_FALSE(to.restore(from.snapshot()));
  CHECK(copy_of(old_a, pin_a) == copy_a);
  CHECK(copy_of(old_b, pin_b) == copy_b);
  CHECK(to.all() == from.all());
  CHECK(to.all().count("b.db") == 0);
  CHECK(to.store("a.db") != old_a);
}

TEST_CASE("a restore that is older than what is applied changes nothing") {
  busy_machine from;
  const bytes sent = from.snapshot();
  bench to;
  REQUIRE_FALSE(to.restore(sent));
  from.commit(pages_of("a.db", 77));
  REQUIRE_FALSE(from.restore(sent));
  CHECK(from.installed == apply_result::already);
  CHECK(from.copy("a.db") != to.copy("a.db"));
  REQUIRE_FALSE(to.restore(sent));  // just as old
  CHECK(to.installed == apply_result::already);
}

TEST_CASE("what the engine has behind the content of a snapshot is skipped") {
  busy_machine from;
  const log_position at{log_index{from->applied().index.value + 3}, term{4}};
  bench to;
  REQUIRE_FALSE(to.restore(from.snapshot(), 4096, at));
  CHECK(to.installed == apply_result::applied);
  CHECK(to->applied() == at);
  const log_position later{at.index.next(), term{4}};
  REQUIRE_FALSE(to.restore(from.snapshot(), 4096, later));
  CHECK(to.installed == apply_result::applied);
  CHECK(to->applied() == later);
}

TEST_CASE("a stage that is given up leaves no trace, and several may be open") {
  busy_machine from;
  const bytes sent = from.snapshot();
  bench to;
  {
    auto abandoned = *to->begin_restore();
    REQUIRE_FALSE(abandoned->append(bytes_view{sent}.first(sent.size() / 2)));
    REQUIRE_FALSE(to.restore(sent));
  }
  CHECK(to.all() == from.all());
}

// ---- flushed and loaded

TEST_CASE("a new machine on the same storage goes on from the flush") {
  busy_machine m;
  REQUIRE_FALSE(m->flush(m->applied().index));
  CHECK(m->durable() == m->applied());
  CHECK(m->counters().flushes == 1);
  const bytes before = m.snapshot();
  std::vector<log_line> log;
  for (std::uint8_t n = 30; n < 40; ++n) {
    const log_index at = m->applied().index;
    for (log_line& line : lines_of(m.commit(pages_of("a.db", n)), at)) {
      log.push_back(std::move(line));
    }
  }
  const bytes after = m.snapshot();
  REQUIRE_FALSE(m.restart());
  CHECK(m.snapshot() == before);
  CHECK(m->durable() == m->applied());
  replay(m, log);
  CHECK(m.snapshot() == after);
  CHECK(m.is_sound());
}

TEST_CASE("pages of a flush that a crash cut off are not taken for those of another log") {
  using quorlite::testing::faulty_disk;
  using quorlite::testing::faulty_file_system;
  using storage_type = basic_file_storage<faulty_file_system>;
  using machine_type = fsm<manual_consensus, storage_type>;
  const std::vector<change> first{{"a.db", {{1, 1}, {2, 1}, {3, 1}}}};
  bench leader;
  leader.open("a.db");
  leader.lead(1);
  const auto begun = leader.send(first);
  leader.apply_all(begun);
  const bytes opened = bench::encoded({{one_term, 900'001}, open_command{"a.db"}});
  const bytes flushed = begun.entries[0];
  const bytes lost = leader.send({{"a.db", {{2, 2}}}}).entries[0];
  leader.lose(1);
  leader.lead(2);  // and in the place of what was lost, something else
  const bytes kept = leader.send({{"a.db", {{3, 3}}}}).entries[0];

  const auto live = [&](faulty_disk& disk, std::uint64_t& calls_before) {
    storage_type storage(faulty_file_system(disk), {});
    machine_type m(storage, {.cluster_id = 7, .lock_byte = lock_byte});
    REQUIRE_FALSE(m.load());
    static_cast<void>(m.apply({{log_index{1}, one_term}, opened}));
    static_cast<void>(m.apply({{log_index{2}, one_term}, flushed}));
    static_cast<void>(m.flush(log_index{2}));
    static_cast<void>(m.apply({{log_index{3}, one_term}, lost}));
    static_cast<void>(m.skip({log_index{4}, one_term}));
    calls_before = disk.calls();
    static_cast<void>(m.flush(log_index{4}));
  };
  faulty_disk whole;
  std::uint64_t before = 0;
  live(whole, before);
  std::size_t halts = 0;
  std::size_t torn = 0;
  for (std::uint64_t call = before + 1; call <= whole.calls(); ++call) {
    CAPTURE(call);
    faulty_disk disk;
    disk.crash_at(call);
    std::uint64_t unused = 0;
    live(disk, unused);
    faulty_disk left =
        disk.after_crash(std::vector(disk.pending(), quorlite::testing::unit_fate::survived));
    storage_type storage(faulty_file_system(left), {});
    machine_type m(storage, {.cluster_id = 7, .lock_byte = lock_byte});
    REQUIRE_FALSE(m.load());
    if (m.applied().index != log_index{2}) {
      continue;  // the flush is whole
    }
    const bool is_torn = m.health().recovering;
    CHECK(m.apply({{log_index{3}, term{2}}, kept}) == apply_result::applied);
    if (is_torn) {  // what is between two positions is neither sent nor stored as one
      ++torn;
      CHECK(m.take_snapshot().error() == errc::busy);
      CHECK_FALSE(m.flush(log_index{3}));
      CHECK(m.durable().index == log_index{2});
    }
    const apply_result said = m.skip({log_index{4}, term{2}});
    const auto store = m.databases().find("a.db")->store();
    const bool right = store->sum_of_hashes() == store->committed().hash;
    CHECK((right ? apply_result::applied : apply_result::halted) == said);
    halts += said == apply_result::halted ? 1 : 0;
    CHECK((said != apply_result::halted || m.health().error == errc::corrupt));
  }
  CHECK(halts > 0);
  CHECK(torn > halts);
}

TEST_CASE("a flush writes what changed, and only once") {
  busy_machine m;
  REQUIRE_FALSE(m->flush(log_index{1}));
  REQUIRE_FALSE(m->flush(m->applied().index));
  CHECK(m->counters().flushes == 1);
  for (std::uint8_t n = 0; n < 10; ++n) {
    m.commit({{"a.db", {{1, n}}, 9U + n % 4}});
    REQUIRE_FALSE(m->flush(m->applied().index));
    const bytes before = m.snapshot();
    REQUIRE_FALSE(m.restart());
    CHECK(m.snapshot() == before);
    m.lead(n + 2U);
  }
}

TEST_CASE("a flush with a transaction open keeps the entries it needs") {
  busy_machine m;
  const log_index before = m->applied().index;
  const auto open = m.send(new_pages(50), one_page_an_entry);
  REQUIRE(open.entries.size() == 3);
  std::vector<log_line> log = lines_of(open, before);
  m.apply(log[0]);
  m.apply(log[1]);
  m->skip({log_index{before.value + 3}, one_term});
  log[2].at.index = log_index{before.value + 4};
  const bytes with_open = m.snapshot();
  REQUIRE_FALSE(m->flush(m->applied().index));
  CHECK(m->durable().index == before);
  REQUIRE_FALSE(m.restart());
  CHECK(m->applied().index.value == before.value + 3);
  CHECK(m->durable().index == before);

  SECTION("a replay from there brings it back") {
    CHECK_FALSE(m->take_snapshot());  // not yet: a part is missing
    CHECK(m.apply(log[0]) == apply_result::already);
    REQUIRE_FALSE(m->flush(m->applied().index));
    CHECK(m->durable().index == before);  // a flush meanwhile promises no more
    CHECK(m.apply(log[1]) == apply_result::already);
    CHECK(m->skip({log_index{before.value + 3}, one_term}) == apply_result::already);
    CHECK(m.snapshot() == with_open);
    CHECK(m.apply(log[2]) == apply_result::applied);
    CHECK(m.copy("a.db").state.version == version_number{6});
    CHECK(m.is_sound());
    REQUIRE_FALSE(m->flush(m->applied().index));
    CHECK(m->durable() == m->applied());
  }
  SECTION("the engine's own snapshot brings it back") {
    REQUIRE_FALSE(m.restore(with_open));
    CHECK(m.installed == apply_result::already);
    CHECK(m.apply(log[2]) == apply_result::applied);
    CHECK(m.copy("a.db").state.version == version_number{6});
    REQUIRE_FALSE(m->flush(m->applied().index));
    CHECK(m->durable() == m->applied());
  }
  SECTION("an engine that starts later has a hole") {
    CHECK(m.apply(log[1]) == apply_result::halted);
    CHECK(m->health().error == errc::corrupt);
  }
  SECTION("an engine that does not replay at all has a hole") {
    CHECK(m.apply(log[2]) == apply_result::halted);
  }
}

TEST_CASE("a replay stages no longer what was committed or undone while another one is open") {
  busy_machine m;
  const log_index before = m->applied().index;
  std::vector<log_line> log;
  const auto put = [&](const bytes& entry) {
    log.push_back({{m->applied().index.next(), one_term}, entry});
    REQUIRE(m.apply(log.back()) == apply_result::applied);
  };
  const auto open = m.send(new_pages(50), one_page_an_entry);
  put(open.entries[0]);
  const auto committed = m.send({{"b.db", {{201, 60}, {202, 60}, {203, 60}}}}, one_page_an_entry);
  REQUIRE(committed.entries.size() == 3);
  for (const bytes& entry : committed.entries) {
    put(entry);
  }
  const auto undone = m.send({{"empty.db", {{1, 70}, {2, 70}, {3, 70}}}}, one_page_an_entry);
  REQUIRE(undone.entries.size() == 3);
  put(undone.entries[0]);
  put(bench::encoded({{one_term, 1000}, undo_command{undone.id}}));
  const bytes with_open = m.snapshot();
  REQUIRE_FALSE(m->flush(m->applied().index));
  REQUIRE_FALSE(m.restart());
  REQUIRE(m->durable().index == before);
  for (const log_line& line : log) {
    CHECK(m.apply(line) == apply_result::already);
  }
  CHECK(m->state().assembly().entries_held() == 1);
  CHECK(m.snapshot() == with_open);
}

TEST_CASE("while frames came with a snapshot no flush says that the log has them") {
  busy_machine from;
  const auto open = from.send(new_pages(50), one_page_an_entry);
  from.apply_next(open.entries[0], one_term);
  bench to;
  REQUIRE_FALSE(to.restore(from.snapshot()));
  REQUIRE_FALSE(to->flush(to->applied().index));
  CHECK(to->durable().index == log_index{0});
  SECTION("until they are committed") {
    to.apply_next(open.entries[1], one_term);
    to.apply_next(open.entries[2], one_term);
  }
  SECTION("until another leader speaks, for then they never will be") {
    to.apply_next({{term{2}, 1}, barrier_command{}}, term{2});
  }
  REQUIRE_FALSE(to->flush(to->applied().index));
  CHECK(to->durable() == to->applied());
  const auto before = to.all();
  REQUIRE_FALSE(to.restart());
  CHECK(to.all() == before);
}

TEST_CASE("a replay cannot stage what was refused for want of room") {
  bench m;
  m.lead(1);
  std::vector<bench::sent> sent;
  for (std::size_t n = 0; n <= limits::staged_transactions; ++n) {
    const std::string name = "db" + std::to_string(n);
    m.open(name);
    sent.push_back(m.send({{name, {{1, 1}, {2, 2}}}}, one_page_an_entry));
  }
  for (const bench::sent& one : sent) {
    m.apply_next(one.entries[0], one_term);
  }
  // All but the last two end: a replay from before them would have room for the refused one.
  for (std::size_t n = 0; n + 2 < sent.size(); ++n) {
    m.apply_next(sent[n].entries[1], one_term);
  }
  REQUIRE_FALSE(m->flush(m->applied().index));
  const bool refused_is_replayed =
      m->durable().index.value != 0 && m->durable().index < m->applied().index;
  CHECK_FALSE(refused_is_replayed);
  m.apply_next(sent[sent.size() - 2].entries[1], one_term);
  REQUIRE_FALSE(m->flush(m->applied().index));
  CHECK(m->durable() == m->applied());
}

TEST_CASE("a flush after a restore replaces the whole base") {
  busy_machine from;
  from.apply_next({{one_term, 7777}, drop_command{"b.db"}}, one_term);
  from.commit({{"a.db", {{1, 9}}, 4}});
  bench to;
  to.open("b.db");
  to.open("other.db");
  to.lead(1);
  to.commit(pages_of("b.db", 1));
  REQUIRE_FALSE(to->flush(to->applied().index));
  REQUIRE_FALSE(to.restore(from.snapshot()));
  REQUIRE_FALSE(to->flush(to->applied().index));
  REQUIRE_FALSE(to.restart());
  CHECK(to.all() == from.all());
  CHECK(to.snapshot() == from.snapshot());
}

TEST_CASE("a reader of a restored state keeps the pages that the next flush cuts off") {
  std::map<std::uint32_t, std::uint8_t> many;  // more than a flush writes in one batch
  for (std::uint32_t number = 1; number <= 200; ++number) {
    if (number != quorlite::lock_page(page_bytes, lock_byte)) {
      many[number] = static_cast<std::uint8_t>(number);
    }
  }
  busy_machine from;
  from.commit({{"a.db", many, 200}});
  bench to;
  REQUIRE_FALSE(to.restore(from.snapshot()));
  const std::shared_ptr<page_store> store = to->databases().find("a.db")->store();
  const page_store::pin pin = store->pin_committed();
  const database_copy before = copy_of(store, pin);
  REQUIRE(pin.page_count() == 200);
  to.lead(9);
  many.erase(many.upper_bound(150), many.end());
  for (auto& [number, value] : many) {
    ++value;
  }
  to.commit({{"a.db", many, 150}});
  REQUIRE_FALSE(to->flush(to->applied().index));
  CHECK_FALSE(to->health().halted);
  CHECK(copy_of(store, pin) == before);
}

TEST_CASE("a flush after a drop forgets the database, and its namesake is another one") {
  busy_machine m;
  REQUIRE_FALSE(m->flush(m->applied().index));
  m.apply_next({{one_term, 7777}, drop_command{"b.db"}}, one_term);
  SECTION("dropped") {}
  SECTION("dropped, flushed and made again") {
    REQUIRE_FALSE(m->flush(m->applied().index));
    m.open("b.db");
    m.commit({{"b.db", {{1, 3}}, 3}});
  }
  SECTION("dropped and made again") {
    m.open("b.db");
    m.commit({{"b.db", {{1, 3}}, 3}});
  }
  SECTION("dropped and made again, empty") { m.open("b.db"); }
  REQUIRE_FALSE(m->flush(m->applied().index));
  const bytes before = m.snapshot();
  REQUIRE_FALSE(m.restart());
  CHECK(m.snapshot() == before);
  CHECK(m.is_sound());
}

TEST_CASE("outcomes survive a restart, and another cluster's storage is refused") {
  bench m;
  m.open("a.db");
  m.lead(1);
  const auto made = m.commit(pages_of("a.db", 1));
  REQUIRE_FALSE(m->flush(m->applied().index));
  REQUIRE_FALSE(m.restart());
  CHECK(m->outcome_of(made.id) == transaction_outcome::committed);
  fsm<manual_consensus, memory_storage> other(m.storage, {.cluster_id = 8, .lock_byte = lock_byte});
  CHECK(other.load() == errc::malformed);
}

TEST_CASE("a full storage is tried again, a broken one halts the replica") {
  failing_storage storage;
  fsm<manual_consensus, failing_storage> m(storage, {.cluster_id = 7, .lock_byte = lock_byte});
  REQUIRE_FALSE(m.load());
  const bytes open = bench::encoded({{one_term, 1}, open_command{"a.db"}});
  m.apply({{log_index{1}, one_term}, open});
  storage.next_commit = make_error_code(errc::storage_full);
  CHECK(m.flush(log_index{1}) == errc::storage_full);
  CHECK_FALSE(m.health().halted);
  CHECK(m.durable().index == log_index{0});
  storage.next_commit = {};
  CHECK_FALSE(m.flush(log_index{1}));
  CHECK(m.durable().index == log_index{1});
  m.skip({log_index{2}, one_term});
  storage.next_commit = make_error_code(errc::storage_broken);
  CHECK(m.flush(log_index{2}) == errc::storage_broken);
  CHECK(m.health().error == errc::storage_broken);
  CHECK(m.apply({{log_index{3}, one_term}, open}) == apply_result::halted);
}

// No promise is broken by a disk that is full. But what cannot be flushed stays in memory.
TEST_CASE("a storage that stays full halts the replica once its memory is full as well") {
  bench leader;
  leader.open("a.db");
  leader.lead(1);
  const bytes open = bench::encoded({{one_term, 1}, open_command{"a.db"}});
  const auto made = leader.send({{"a.db", {{1, 1}, {2, 2}}}});
  std::size_t dirty = 0;
  const auto halted_with = [&](std::size_t memory_bytes) {
    failing_storage storage;
    fsm<manual_consensus, failing_storage> m(
        storage, {.cluster_id = 7, .lock_byte = lock_byte, .memory_bytes = memory_bytes});
    REQUIRE_FALSE(m.load());
    REQUIRE(m.apply({{log_index{1}, one_term}, open}) == apply_result::applied);
    REQUIRE(m.apply({{log_index{2}, one_term}, made.entries[0]}) == apply_result::applied);
    dirty = m.state().gauge()->dirty_bytes();
    storage.next_commit = make_error_code(errc::storage_full);
    CHECK(m.flush(log_index{2}) == errc::storage_full);
    return m.health().error;
  };
  CHECK_FALSE(halted_with(std::size_t{1} << 20U));
  REQUIRE(dirty > 0);
  CHECK_FALSE(halted_with(dirty));
  CHECK(halted_with(dirty - 1) == errc::storage_full);
}

// ---- three machines on one log

namespace {

/// An author that leads, and writes a log with everything in it that a log can have.
class author {
 public:
  explicit author(std::uint64_t seed) : random_(seed) { machine_.lead(term_); }

  const std::vector<log_line>& log() const { return log_; }
  bench& machine() { return machine_; }

  void step() {
    switch (random_.below(20)) {
      case 0: append(command_bytes(open_command{name()})); break;
      case 1:
        if (random_.below(4) == 0) {
          append(command_bytes(drop_command{name()}));
        }
        break;
      case 2: append(command_bytes(barrier_command{})); break;
      case 3:
        append(command_bytes(undo_command{{term{term_}, random_.below(sent_ + 1) + 1}}));
        break;
      case 4: append(random_.below(2) == 0 ? bytes{} : foreign()); break;
      case 5: change_leadership(); break;
      case 6:
      case 7:
      case 8:
      case 9:
      case 10: write(); break;
      default: append_one(); break;
    }
  }

 private:
  /// Bytes that nobody takes for an entry of ours, damaged or not.
  bytes foreign() {
    bytes made = random_.some_bytes(1 + random_.below(40));
    made[0] = std::byte{0x3A};
    return made;
  }

  std::string name() { return {"abc"[random_.below(3)], '.', 'd', 'b'}; }

  bytes command_bytes(decltype(command::body) body) {
    return bench::encoded({*machine_.next_id(term{term_}), std::move(body)});
  }

  void write() {
    change one{name(), {{1, static_cast<std::uint8_t>(random_.next())}}};
    const auto target = machine_->databases().find(one.name);
    if (target == nullptr) {
      return;
    }
    for (std::uint64_t n = random_.below(6); n > 0; --n) {
      const auto number = static_cast<std::uint32_t>(1 + random_.below(25));
      one.pages[number + (number == never_data ? 1 : 0)] =
          static_cast<std::uint8_t>(random_.next());
    }
    one.page_count = one.pages.rbegin()->first + random_.below(4);
    one.page_count += one.page_count == never_data ? 1 : 0;
    bench::sent made = machine_.send({one}, random_.below(2) == 0 ? 800 : 1U << 20U);
    REQUIRE_FALSE(made.error);
    ++sent_;
    queues_.push_back({made.entries.begin(), made.entries.end()});
  }

  /// The next entry of some transaction; now and then it is lost.
  void append_one() {
    if (queues_.empty()) {
      return;
    }
    const auto which = static_cast<std::ptrdiff_t>(random_.below(queues_.size()));
    std::deque<bytes>& queue = queues_[static_cast<std::size_t>(which)];
    if (random_.below(15) != 0) {
      append(queue.front());
    }
    queue.pop_front();
    if (queue.empty()) {
      queues_.erase(queues_.begin() + which);
    }
  }

  void change_leadership() {
    if (random_.below(3) == 0) {
      queues_.clear();
      machine_.lose(term_);
      machine_.lead(++term_);
      sent_ = 0;
    }
  }

  void append(bytes entry) {
    log_.push_back({{log_index{log_.size() + 1}, term{term_}}, std::move(entry)});
    const apply_result said = machine_.apply(log_.back());
    CAPTURE(machine_->health().what);
    REQUIRE(said == apply_result::applied);
  }

  quorlite::tests::generator random_;
  bench machine_;
  std::uint64_t term_ = 1;
  std::uint64_t sent_ = 0;
  std::vector<log_line> log_;
  std::vector<std::deque<bytes>> queues_;
};

/// A follower and its engine, which keeps the log and one snapshot of its own.
struct reading {
  bench machine;
  log_index fed;  ///< the last entry the engine has handed over
  std::optional<std::pair<log_position, bytes>> kept;

  void feed(const std::vector<log_line>& log) {
    if (fed.value < log.size()) {
      REQUIRE(machine.apply(log[static_cast<std::size_t>(fed.value)]) != apply_result::halted);
      fed = fed.next();
    }
  }
  void keep_snapshot() {
    if (bytes whole = machine.snapshot(); !whole.empty()) {
      kept.emplace(machine->applied(), std::move(whole));
    }
  }
  void restart(bool from_own_snapshot) {
    REQUIRE_FALSE(machine.restart());
    fed = machine->durable().index;
    if (from_own_snapshot && kept) {
      REQUIRE_FALSE(machine.restore(kept->second));
      fed = kept->first.index;
    }
  }
  void take_over(const reading& other) {
    if (other.kept && other.kept->first.index > machine->applied().index) {
      REQUIRE_FALSE(machine.restore(other.kept->second));
      CHECK(machine.installed == apply_result::applied);
      fed = other.kept->first.index;
      kept = other.kept;
    }
  }
};

void run_three_machines(std::uint64_t seed) {
  CAPTURE(seed);
  quorlite::tests::generator random{seed};
  author writer{random.next()};
  std::array<reading, 3> readers;
  std::map<std::uint64_t, bytes> seen;  // applied index to snapshot
  const auto check = [&](bench& one) {
    const std::uint64_t index = one->applied().index.value;
    if (bytes whole = one.snapshot(); !whole.empty()) {
      const auto [place, fresh] = seen.try_emplace(index, whole);
      CAPTURE(index);
      REQUIRE(place->second == whole);
    }
  };
  for (int step = 0; step < 1500; ++step) {
    writer.step();
    check(writer.machine());
    for (int n = 0; n < 3; ++n) {
      reading& one = readers[random.below(3)];
      switch (random.below(40)) {
        case 0: one.restart(false); break;
        case 1: one.restart(true); break;
        case 2: one.take_over(readers[random.below(3)]); break;
        case 3: one.keep_snapshot(); break;
        case 4: REQUIRE_FALSE(one.machine->flush(one.machine->applied().index)); break;
        default: one.feed(writer.log()); check(one.machine);
      }
    }
  }
  for (reading& one : readers) {
    while (one.fed.value < writer.log().size()) {
      one.feed(writer.log());
    }
    check(one.machine);
    CHECK(one.machine.all() == writer.machine().all());
    CHECK(one.machine.is_sound());
  }
}

}  // namespace

TEST_CASE("machines that applied the same have the same bytes, through restarts and snapshots") {
  std::uint64_t first = 1;
  if (const char* const given = std::getenv("QUORLITE_TEST_SEED")) {
    first = std::strtoull(given, nullptr, 10);
  }
  const std::uint64_t count = quorlite::tests::is_short_profile() ? 3 : 20;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    run_three_machines(seed);
  }
}

// ---- threads

namespace {

/// Entries on their way from the writer to the strand.
class post {
 public:
  void put(bytes entry, term in_term) {
    const std::lock_guard guard(mutex_);
    waiting_.emplace_back(std::move(entry), in_term);
  }
  std::optional<std::pair<bytes, term>> take() {
    const std::lock_guard guard(mutex_);
    if (waiting_.empty()) {
      return std::nullopt;
    }
    auto taken = std::move(waiting_.front());
    waiting_.pop_front();
    return taken;
  }
  void clear() {
    const std::lock_guard guard(mutex_);
    waiting_.clear();
  }

 private:
  std::mutex mutex_;
  std::deque<std::pair<bytes, term>> waiting_;
};

void read_until(bench& m, const std::atomic<bool>& done, std::atomic<int>& faults) {
  while (!done.load()) {
    for (const char* name : {"a.db", "b.db"}) {
      const auto store = m.store(name);
      const auto pin = store->pin_committed();
      const database_copy copied = copy_of(store, pin);
      faults += copied.hash == copied.state.hash ? 0 : 1;
    }
  }
}

void write_until(bench& m, const std::atomic<bool>& done) {
  for (std::uint8_t n = 0; !done.load(); ++n) {
    const std::size_t at_most = n % 5 == 0 ? 700 : 1U << 20U;
    // A refusal is lost leadership; the next one may do better.
    static_cast<void>(m.send({{n % 3 == 0 ? "b.db" : "a.db", {{1, n}, {2U + n % 3, n}}}}, at_most));
    if (m.machine().databases().find("a.db")->store()->usage().pending > 50) {
      std::this_thread::yield();
    }
  }
}

void flush_until(bench& m, const std::atomic<bool>& done, std::atomic<int>& faults) {
  while (!done.load()) {
    faults += m->flush(m->applied().index) ? 1 : 0;
  }
}

/// Applies what comes, loses leadership now and then, takes snapshots.
std::vector<log_line> apply_until(bench& m, post& from, std::size_t entries,
                                  std::atomic<int>& faults) {
  std::vector<log_line> log;
  std::uint64_t in_term = 1;
  while (log.size() < entries) {
    auto next = from.take();
    if (!next) {
      std::this_thread::yield();
      continue;
    }
    if (log.size() % 97 == 96) {
      m.lose(in_term);
      from.clear();
      m.lead(++in_term);
      next = {bytes{}, term{in_term}};
    } else if (next->second != term{in_term}) {
      continue;  // fenced
    }
    log.push_back({{m->applied().index.next(), next->second}, std::move(next->first)});
    faults += m.apply(log.back()) == apply_result::applied ? 0 : 1;
    if (log.size() % 50 == 0) {
      faults += m->take_snapshot() ? 0 : 1;
    }
  }
  return log;
}

}  // namespace

TEST_CASE("a strand, a writer, four readers and a flusher do not disturb each other") {
  bench m;
  m.open("a.db");
  m.open("b.db");
  REQUIRE_FALSE(m->flush(m->applied().index));
  m.lead(1);
  post entries;
  m.engine.on_propose = [&](const auto& one) { entries.put(one.entry, one.expected); };
  std::atomic<bool> done{false};
  std::atomic<int> faults{0};
  std::vector<std::thread> threads;
  for (int n = 0; n < 4; ++n) {
    threads.emplace_back([&] { read_until(m, done, faults); });
  }
  threads.emplace_back([&] { write_until(m, done); });
  threads.emplace_back([&] { flush_until(m, done, faults); });
  const std::vector<log_line> log =
      apply_until(m, entries, quorlite::tests::is_short_profile() ? 300 : 1500, faults);
  done = true;
  for (std::thread& one : threads) {
    one.join();
  }
  CHECK(faults == 0);
  CHECK_FALSE(m->health().halted);
  CHECK(m.is_sound());
  const auto before = m.all();
  const bytes whole = m.snapshot();
  REQUIRE_FALSE(m.restart());
  replay(m, log);
  CHECK(m.all() == before);
  CHECK(m.snapshot() == whole);
}

}  // namespace fsm_snapshot_test
