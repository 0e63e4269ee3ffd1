// Logs, snapshots and folders of databases that earlier builds have written: they are read, mean
// what they meant, and go on. No consensus adapter is needed for these.
//
// The hidden cases, [.write], are those that wrote them: tests/data/golden/README.md.

#include <sqlite3.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/file_storage/basic_file_storage.hpp"
#include "quorlite/detail/file_storage/posix.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/transfer.hpp"
#include "support/golden.hpp"
#include "support/golden_content.hpp"
#include "support/log_player.hpp"
#include "support/sql.hpp"
#include "support/started_replica.hpp"
#include "support/temporary_directory.hpp"

namespace golden_files_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using namespace quorlite::tests;

// ---- a disk on which a process can die -------------------------------------------------

int writes_until_death = 0;  // to files of databases; 0: lives on
bool dies_of_a_rename = false;

class mortal_file : public posix_file {
 public:
  mortal_file(posix_file file, bool counts) noexcept
      : posix_file(std::move(file)), counts_(counts) {}
  [[nodiscard]] std::error_code write(std::uint64_t offset,
                                      std::span<const bytes_view> parts) noexcept {
    if (counts_ && writes_until_death > 0 && --writes_until_death == 0) {
      static_cast<void>(posix_file::write(offset, parts.first(parts.size() / 2)));
      ::raise(SIGKILL);
    }
    return posix_file::write(offset, parts);
  }

 private:
  bool counts_;
};

class mortal_file_system : public posix_file_system {
 public:
  using file_type = mortal_file;
  using posix_file_system::posix_file_system;
  [[nodiscard]] result<file_type> open(std::string_view path, open_mode mode) noexcept {
    auto opened = posix_file_system::open(path, mode);
    if (!opened) {
      return fail(opened.error());
    }
    return mortal_file(std::move(*opened), path.find('/') == path.npos);
  }
  [[nodiscard]] std::error_code rename(std::string_view from, std::string_view to) noexcept {
    if (dies_of_a_rename) {
      ::raise(SIGKILL);
    }
    return posix_file_system::rename(from, to);
  }
};

using files = basic_file_storage<mortal_file_system>;
using file_replica = quorlite::tests::started_replica<log_player, files>;
using memory_replica = quorlite::tests::started_replica<log_player, memory_storage>;

// ---- writing ---------------------------------------------------------------------------

constexpr std::size_t small_entries = 5000;                      // of a page each
constexpr std::uint64_t own_sequence = std::uint64_t{1} << 40U;  // far from those of proposers

template <class Replica>
connection open(Replica& in, const std::string& name, std::uint32_t page_size) {
  auto opened = in.open(name, {.page_size = page_size});
  REQUIRE(opened.has_value());
  return std::move(*opened);
}

void must(sqlite3* db, const std::string& sql) {
  INFO(sql);
  const int code = ::run(db, sql);
  INFO(sqlite3_errmsg(db));
  REQUIRE(code == SQLITE_OK);
}

bytes encoded(const command& one) {
  bytes entry;
  REQUIRE_FALSE(native::encode(one, entry));
  return entry;
}

// Several databases of several page sizes; one is dropped and born again.
template <class Replica>
void fill(Replica& in, std::uint32_t wide_page_size) {
  {
    connection app = open(in, "app.db", 4096);
    must(app, app_schema);
    must(app, app_rows(1, 30));
    must(app, app_changes(5, 14));
    connection words = open(in, "words.db", 2048);
    must(words, words_schema);
    must(words, words_rows(1, 20));
    connection small = open(in, "small.db", 512);
    must(small, small_schema);
    must(small, small_rows(1, 50));
    must(small, small_cut);
    connection wide = open(in, "wide.db", wide_page_size);
    must(wide, wide_schema);
    connection reborn = open(in, "reborn.db", 1024);
    must(reborn, "CREATE TABLE first(a); INSERT INTO first VALUES(zeroblob(5000))");
  }
  REQUIRE_FALSE(in.drop("reborn.db"));
  connection reborn = open(in, "reborn.db", 4096);
  must(reborn, "CREATE TABLE second(a); INSERT INTO second VALUES('again')");
}

// Old logs have no history; one that was founded has it from its first entry on. The cases of those
// are named so, and were written when there was such a thing.
enum class kind_of_log { old, founded };

std::string case_of(kind_of_log kind, const std::string& name) {
  return kind == kind_of_log::founded ? "founded_" + name : name;
}

// A log that does it, in entries that have room for the widest page.
log_player filled(std::uint32_t wide_page_size, kind_of_log kind) {
  log_player log;
  memory_storage storage;
  memory_replica in(log, storage, {.found = kind == kind_of_log::founded});
  log.append({log.present_term(),
              encoded({{log.present_term(), own_sequence}, open_command{"empty.db"}})});
  fill(in, wide_page_size);
  return log;
}

// More, after fill().
template <class Replica>
void go_on(Replica& in) {
  connection app = open(in, "app.db", 0);
  must(app, app_rows(31, 40));
  must(app, app_changes(20, 33));
  connection small = open(in, "small.db", 0);
  must(small, small_rows(51, 58));
}

// A transaction of "app.db" in several entries, of which the engine takes two and keeps the rest.
template <class Replica>
void leave_staged(Replica& in, log_player& log) {
  connection app = open(in, "app.db", 0);
  must(app, "BEGIN");
  must(app, app_rows(101, 130));
  must(app, app_changes(1, 20));
  log.passes = 2;
  REQUIRE(::run(app, "COMMIT") != SQLITE_OK);
  REQUIRE(log.kept.size() > 1);
  log.passes = 1000;
}

replica_options many_entries() {
  replica_options options;
  options.entry_bytes = small_entries;
  return options;
}

// ---- reading ---------------------------------------------------------------------------

ordered_json position_of(const log_position& at) {
  return {{"index", at.index.value}, {"term", at.term.value}};
}

ordered_json recovered_from(const std::string& directory) {
  files storage(directory);
  const auto found = storage.recover();
  REQUIRE(found.has_value());
  return {{"at", position_of(found->at)},
          {"replay_from", found->replay_from.value},
          {"ahead", found->ahead.value},
          {"notes_bytes", found->notes.size()}};
}

// The folder of a case that is written: packed, and what a storage finds in a copy of it.
void take_in_files(golden_writer& writer, const std::string& directory) {
  const temporary_directory place;
  writer.take_in(directory);
  unpack(writer / "files", place / "copy", writer.manifest()["sizes"]["files"]);
  writer.manifest()["recovered"] = recovered_from(place / "copy");
}

void write_entries(const golden_writer& writer, const std::string& name,
                   const std::vector<golden_entry>& entries) {
  write_file(writer / name, encode_entries(entries));
}

// How often each kind of entry, and each way to send a page, is in a log.
ordered_json kinds_of(const std::vector<golden_entry>& log) {
  constexpr const char* kinds[] = {"open", "frames",  "undo",    "checkpoint",
                                   "drop", "barrier", "identity"};
  constexpr const char* encodings[] = {"full pages", "delta pages", "zero pages"};
  ordered_json counts;
  for (const char* const name : std::span(kinds).first(6)) {
    counts[name] = 0;
  }
  for (const char* const name : {"parts before the last", "several databases", "full pages",
                                 "delta pages", "zero pages", "nothing", "no entry of ours"}) {
    counts[name] = 0;
  }
  const auto count = [&counts](const char* name) { counts[name] = counts.value(name, 0) + 1; };
  for (const golden_entry& one : log) {
    const auto decoded = native::decode(one.content);
    if (!decoded) {
      count(one.content.empty() ? "nothing" : "no entry of ours");
      continue;
    }
    count(kinds[decoded->body.index()]);
    if (const auto* const frames = std::get_if<write_set_command>(&decoded->body)) {
      if (!frames->commit) {
        count("parts before the last");
      }
      if (frames->databases.size() > 1) {
        count("several databases");
      }
      for (const database_write_set& database : frames->databases) {
        for (const page_record& page : database.pages) {
          count(encodings[static_cast<std::size_t>(page.encoding)]);
        }
      }
    }
  }
  return counts;
}

const char* name_of(transaction_outcome fate) {
  switch (fate) {
    case transaction_outcome::committed: return "committed";
    case transaction_outcome::not_committed: return "not committed";
    case transaction_outcome::undecided: return "open";
    case transaction_outcome::expired: break;
  }
  return "expired";
}

// The fate of every transaction of a log.
template <class Replica>
ordered_json fates_of(const Replica& in, const std::vector<golden_entry>& log) {
  std::set<transaction_id> ids;
  for (const golden_entry& one : log) {
    const auto decoded = native::decode(one.content);
    if (decoded && std::holds_alternative<write_set_command>(decoded->body)) {
      ids.insert(decoded->id);
    }
  }
  ordered_json fates = ordered_json::array();
  for (const transaction_id& id : ids) {
    fates.push_back({id.term.value, id.sequence, name_of(in.outcome(id))});
  }
  return fates;
}

template <class Replica>
void describe(golden_writer& writer, Replica& in, const log_player& from) {
  writer.manifest()["applied"] = position_of(in.applied());
  writer.manifest()["fates"] = fates_of(in, from.log());
  const history_position history = in.machine().history();
  if (history.hash != history_hash{}) {
    writer.manifest()["history"] = history_of(history);
  }
  writer.expect(content_of(in));
}

// Everything that describe() has written down.
template <class Replica>
void check_described(const golden_case& one, Replica& in) {
  INFO(in.health().what);
  REQUIRE_FALSE(in.status());
  CHECK_FALSE(in.health().halted);
  CHECK(position_of(in.applied()) == one.manifest().at("applied"));
  const history_position history = in.machine().history();
  CHECK((history.hash != history_hash{}) == one.manifest().contains("history"));
  if (one.manifest().contains("history")) {
    CHECK(history_of(history) == one.manifest().at("history"));
  }
  for (const auto& line : one.manifest().at("fates")) {
    const transaction_id id{term{line.at(0).get<std::uint64_t>()}, line.at(1).get<std::uint64_t>()};
    CHECK(name_of(in.outcome(id)) == line.at(2).get<std::string>());
  }
  check_same(content_of(in), one.expected());
  check_same(content_of_snapshot(snapshot_of(in)), one.expected());
}

// What was kept back when the case was written comes, and makes what it was to make.
template <class Replica>
void check_kept(const golden_case& one, Replica& in, log_player& log) {
  for (const golden_entry& entry : one.entries("kept.bin")) {
    log.append(entry);
  }
  REQUIRE_FALSE(in.health().halted);
  check_same(content_of(in), one.expected("committed"));
}

// One more row, which is there after a restart.
// @param make gives a storage: an empty one, or one on the files that the last one left
template <class Make>
void check_goes_on(log_player player, Make make) {
  using storage_type = typename decltype(make())::element_type;
  const std::string query = "SELECT count(*) FROM note WHERE text = 'and so on'";
  {
    const auto storage = make();
    quorlite::tests::started_replica<log_player, storage_type> in(player, *storage);
    REQUIRE_FALSE(in.status());
    connection app = open(in, "app.db", 0);
    must(app, "INSERT INTO note(text) VALUES('and so on')");
    CHECK(ask(app, query) == "1");
    CHECK_FALSE(in.stop());
  }
  log_player again = player;
  const auto storage = make();
  quorlite::tests::started_replica<log_player, storage_type> in(again, *storage);
  REQUIRE_FALSE(in.status());
  connection app = open(in, "app.db", 0);
  CHECK(ask(app, query) == "1");
  CHECK(ask(app, "PRAGMA integrity_check") == "ok");
}

std::unique_ptr<memory_storage> in_memory() { return std::make_unique<memory_storage>(); }

// Opens the files of a case, with the entries that they need.
void check_files(const std::string& name, bool has_log, bool has_kept) {
  CAPTURE(name);
  const golden_case one(name);
  const temporary_directory place;
  one.unpack_to(place / "data");
  CHECK(recovered_from(place / "data") == one.manifest().at("recovered"));
  const log_player log = has_log ? log_player(one.entries("log.bin")) : log_player();
  const auto on_files = [&place] { return std::make_unique<files>(place / "data"); };
  {
    const auto storage = on_files();
    log_player player = log;
    file_replica in(player, *storage);
    check_described(one, in);
    if (has_kept) {
      check_kept(one, in, player);
    }
  }
  if (has_log) {  // the part that the files need no more, too
    memory_storage storage;
    log_player player = log;
    memory_replica in(player, storage);
    check_described(one, in);
  }
  check_goes_on(log, on_files);
}

// What SQLite itself says of the files of a storage that was closed.
void check_plain_files(const golden_case& one, const std::string& directory) {
  for (const auto& [name, dump] : one.expected().dumps) {
    CAPTURE(name);
    sqlite3* db = nullptr;
    REQUIRE(sqlite3_open_v2((directory + "/" + name).c_str(), &db, SQLITE_OPEN_READONLY, nullptr) ==
            SQLITE_OK);
    CHECK(dump_of(db) == dump);
    sqlite3_close(db);
  }
}

}  // namespace

// ---- logs and snapshots

TEST_CASE("a log with every kind of entry makes the databases that it made") {
  const golden_case one(GENERATE(as<std::string>(), "native_log", "founded_native_log"));
  const log_player log(one.entries("log.bin"));
  CHECK(kinds_of(log.log()) == one.manifest().at("kinds"));
  {
    memory_storage storage;
    log_player player = log;
    memory_replica in(player, storage);
    check_described(one, in);
  }
  check_goes_on(log, in_memory);
}

TEST_CASE("a transaction whose parts end a log is committed by the rest of them") {
  const golden_case one(
      GENERATE(as<std::string>(), "native_log_staged", "founded_native_log_staged"));
  const log_player log(one.entries("log.bin"));
  {
    memory_storage storage;
    log_player player = log;
    memory_replica in(player, storage);
    check_described(one, in);
    check_kept(one, in, player);
  }
  check_goes_on(log, in_memory);
}

TEST_CASE("a snapshot is restored, and taken again it has the same bytes") {
  const std::string name = GENERATE(as<std::string>(), "native_snapshot", "native_snapshot_staged",
                                    "founded_native_snapshot_staged");
  CAPTURE(name);
  const golden_case one(name);
  const bytes snapshot = read_file(one / "snapshot.bin");
  {
    memory_storage storage;
    log_player player({}, snapshot);
    memory_replica in(player, storage);
    check_described(one, in);
    CHECK(snapshot_of(in) == snapshot);
    if (name != "native_snapshot") {
      check_kept(one, in, player);
    }
  }
  check_goes_on(log_player({}, snapshot), in_memory);
}

// ---- files

TEST_CASE("files that were closed are opened, by SQLite too") {
  check_files("files_clean", false, false);
  const golden_case one("files_clean");
  const temporary_directory place;
  one.unpack_to(place / "data");
  check_plain_files(one, place / "data");
}

TEST_CASE("files of a process that was killed are brought up to date by the log") {
  check_files("files_behind", true, false);
  check_files("founded_files_behind", true, false);
}

TEST_CASE("files that were closed while a transaction waited need the log for its parts") {
  check_files("files_staged", true, true);
  check_files("founded_files_staged", true, true);
}

TEST_CASE("files of a process that was killed in a flush are made exact by the log") {
  check_files("files_torn", true, false);
  check_files("founded_files_torn", true, false);
}

TEST_CASE("files of a process that was killed while it copied from the double-write file") {
  check_files("files_double_write", true, false);
  check_files("founded_files_double_write", true, false);
}

TEST_CASE("files of a process that was killed before the new ones got their names") {
  check_files("files_renamed", true, false);
}

TEST_CASE("a database that was imported from a file in WAL mode is what it was") {
  check_files("files_imported", false, false);
  const golden_case one("files_imported");
  const temporary_directory place;
  one.unpack_to(place / "data");
  check_plain_files(one, place / "data");
}

// ---- writing them

TEST_CASE("writes native_log", "[.write]") {
  const kind_of_log kind = GENERATE(kind_of_log::old, kind_of_log::founded);
  golden_writer writer(case_of(kind, "native_log"), "every kind of native entry, from index 1 on");
  log_player log = filled(65536, kind);
  memory_storage storage;
  memory_replica in(log, storage, many_entries());
  std::uint64_t sequence = own_sequence;
  const auto put = [&](decltype(command::body) body) {
    log.append({log.present_term(), encoded({{log.present_term(), ++sequence}, std::move(body)})});
  };
  {
    connection both = open(in, "app.db", 0);
    must(both, "ATTACH 'small.db' AS small");
    must(both,
         "BEGIN; INSERT INTO note(text) VALUES('both'); INSERT INTO small.t(v) VALUES('both');"
         "COMMIT");
  }
  REQUIRE_FALSE(in.read_barrier());
  put(checkpoint_command{"app.db"});
  put(checkpoint_command{});
  leave_staged(in, log);
  put(undo_command{native::decode(log.kept[0].content)->id});
  log.lead_in(log.present_term().next());
  go_on(in);
  log.kept.clear();
  leave_staged(in, log);  // and overtaken by the next term
  log.lead_in(log.present_term().next());
  put(barrier_command{});
  for (const golden_entry& late : log.kept) {
    log.append({log.present_term(), late.content});
  }
  const std::vector<golden_entry> before = log.log();
  for (const golden_entry& one : before) {
    if (one.content.size() < 2000 && native::decode(one.content)->body.index() == 1) {
      log.append(
          {log.present_term(), one.content});  // built on a state that is gone: refused everywhere
      break;
    }
  }
  log.append({log.present_term(), {}});
  log.append({log.present_term(), bytes(7, std::byte{'x'})});
  {
    connection app = open(in, "app.db", 0);
    must(app, app_rows(41, 44));
    connection small = open(in, "small.db", 0);
    must(small, "PRAGMA secure_delete = ON; DELETE FROM t WHERE k % 3 = 0; VACUUM");
  }
  writer.manifest()["kinds"] = kinds_of(log.log());
  for (const auto& [name, count] : writer.manifest()["kinds"].items()) {
    INFO(name);
    REQUIRE(count > 0);
  }
  REQUIRE(in.counters().conflicts > 0);
  REQUIRE(in.counters().malformed > 0);
  write_entries(writer, "log.bin", log.log());
  describe(writer, in, log);
  writer.seal();
}

TEST_CASE("writes native_log_staged", "[.write]") {
  const kind_of_log kind = GENERATE(kind_of_log::old, kind_of_log::founded);
  golden_writer writer(case_of(kind, "native_log_staged"),
                       "two parts of a transaction at the end of a log; the others are kept.bin");
  log_player log = filled(8192, kind);
  memory_storage storage;
  memory_replica in(log, storage, many_entries());
  leave_staged(in, log);
  {
    connection small = open(in, "small.db", 0);
    must(small, small_rows(51, 58));
  }
  write_entries(writer, "log.bin", log.log());
  write_entries(writer, "kept.bin", log.kept);
  describe(writer, in, log);
  for (const golden_entry& one : log.kept) {
    log.append(one);
  }
  writer.expect(content_of(in), "committed");
  writer.seal();
}

TEST_CASE("writes native_snapshot", "[.write]") {
  golden_writer writer("native_snapshot", "a snapshot of several databases");
  log_player log = filled(65536, kind_of_log::old);
  memory_storage storage;
  memory_replica in(log, storage);
  go_on(in);
  write_file(writer / "snapshot.bin", snapshot_of(in));
  describe(writer, in, log);
  writer.seal();
}

TEST_CASE("writes native_snapshot_staged", "[.write]") {
  const kind_of_log kind = GENERATE(kind_of_log::old, kind_of_log::founded);
  golden_writer writer(case_of(kind, "native_snapshot_staged"),
                       "a snapshot with two parts of a transaction; the others are kept.bin");
  log_player log = filled(8192, kind);
  memory_storage storage;
  memory_replica in(log, storage, many_entries());
  leave_staged(in, log);
  write_file(writer / "snapshot.bin", snapshot_of(in));
  write_entries(writer, "kept.bin", log.kept);
  describe(writer, in, log);
  for (const golden_entry& one : log.kept) {
    log.append(one);
  }
  writer.expect(content_of(in), "committed");
  writer.seal();
}

TEST_CASE("writes files_clean", "[.write]") {
  golden_writer writer("files_clean", "databases after a clean stop; no log is needed");
  const temporary_directory place;
  {
    log_player log = filled(8192, kind_of_log::old);
    files storage(place / "data");
    file_replica in(log, storage);
    REQUIRE_FALSE(in.flush());
    go_on(in);
    describe(writer, in, log);
    REQUIRE_FALSE(in.stop());
  }
  take_in_files(writer, place / "data");
  writer.seal();
}

TEST_CASE("writes files_behind", "[.write]") {
  const kind_of_log kind = GENERATE(kind_of_log::old, kind_of_log::founded);
  golden_writer writer(case_of(kind, "files_behind"), "databases after SIGKILL, behind the log");
  const temporary_directory place;
  write_and_die(writer, [&] {
    log_player log = filled(8192, kind);
    files storage(place / "data");
    file_replica in(log, storage);
    REQUIRE_FALSE(in.flush());
    go_on(in);
    write_entries(writer, "log.bin", log.log());
    describe(writer, in, log);
    writer.seal();
    ::raise(SIGKILL);
  });
  take_in_files(writer, place / "data");
  writer.seal();
}

TEST_CASE("writes files_staged", "[.write]") {
  const kind_of_log kind = GENERATE(kind_of_log::old, kind_of_log::founded);
  golden_writer writer(case_of(kind, "files_staged"),
                       "databases after a clean stop, made while parts of a transaction waited for "
                       "the others, which are kept.bin");
  const temporary_directory place;
  {
    log_player log = filled(8192, kind);
    files storage(place / "data");
    file_replica in(log, storage, many_entries());
    REQUIRE_FALSE(in.flush());
    leave_staged(in, log);
    connection small = open(in, "small.db", 0);
    must(small, small_rows(51, 58));
    write_entries(writer, "log.bin", log.log());
    write_entries(writer, "kept.bin", log.kept);
    describe(writer, in, log);
    REQUIRE_FALSE(in.stop());
  }
  take_in_files(writer, place / "data");
  log_player log(decode_entries(read_file(writer / "log.bin")));
  memory_storage storage;
  memory_replica in(log, storage);
  for (const golden_entry& one : decode_entries(read_file(writer / "kept.bin"))) {
    log.append(one);
  }
  writer.expect(content_of(in), "committed");
  REQUIRE(writer.manifest()["recovered"]["replay_from"] <
          writer.manifest()["recovered"]["at"]["index"]);
  writer.seal();
}

TEST_CASE("writes files_torn and files_double_write", "[.write]") {
  const kind_of_log kind = GENERATE(kind_of_log::old, kind_of_log::founded);
  const bool double_write = GENERATE(false, true);
  golden_writer writer(
      case_of(kind, double_write ? "files_double_write" : "files_torn"),
      double_write ? "databases after SIGKILL between a position and the pages that it is about"
                   : "databases after SIGKILL in the middle of a flush");
  const temporary_directory place;
  write_and_die(writer, [&] {
    log_player log = filled(8192, kind);
    files storage(place / "data", {.double_write = double_write, .write_batch_pages = 1});
    file_replica in(log, storage);
    REQUIRE_FALSE(in.flush());
    go_on(in);
    write_entries(writer, "log.bin", log.log());
    describe(writer, in, log);
    writer.seal();
    writes_until_death = 3;
    static_cast<void>(in.flush());
  });
  take_in_files(writer, place / "data");
  const ordered_json& recovered = writer.manifest()["recovered"];
  REQUIRE((recovered["ahead"] > recovered["at"]["index"]) == !double_write);
  if (double_write) {
    REQUIRE(recovered["at"] == writer.manifest()["applied"]);
  }
  writer.seal();
}

TEST_CASE("writes files_renamed", "[.write]") {
  golden_writer writer("files_renamed",
                       "databases after SIGKILL between a position and the names of its new files");
  const temporary_directory place;
  write_and_die(writer, [&] {
    log_player log = filled(8192, kind_of_log::old);
    files storage(place / "data");
    file_replica in(log, storage);
    REQUIRE_FALSE(in.flush());
    REQUIRE_FALSE(in.drop("wide.db"));
    REQUIRE_FALSE(in.drop("reborn.db"));
    connection reborn = open(in, "reborn.db", 512);
    must(reborn, "CREATE TABLE third(a); INSERT INTO third VALUES('and again')");
    go_on(in);
    write_entries(writer, "log.bin", log.log());
    describe(writer, in, log);
    writer.seal();
    dies_of_a_rename = true;
    static_cast<void>(in.flush());
  });
  take_in_files(writer, place / "data");
  REQUIRE(writer.manifest()["recovered"]["at"] == writer.manifest()["applied"]);
  writer.seal();
}

TEST_CASE("writes files_imported", "[.write]") {
  golden_writer writer("files_imported",
                       "a database that was imported from a file in WAL mode with a WAL beside it");
  const temporary_directory place;
  {
    sqlite3* source = nullptr;
    REQUIRE(sqlite3_open((place / "source.db").c_str(), &source) == SQLITE_OK);
    must(source, "PRAGMA page_size = 1024; PRAGMA journal_mode = WAL;"
                 "PRAGMA wal_autocheckpoint = 0");
    must(source, app_schema);
    must(source, app_rows(1, 40));
    must(source, "PRAGMA wal_checkpoint");
    must(source, app_rows(41, 60));
    must(source, app_changes(10, 30));
    REQUIRE(std::filesystem::file_size(place / "source.db-wal") > 1024);
    log_player log;
    files storage(place / "data");
    file_replica in(log, storage);
    REQUIRE_FALSE(import_database(in, "app.db", place / "source.db"));
    const golden_content content = content_of(in);
    REQUIRE(content.dumps.at(0).second == dump_of(source));
    sqlite3_close(source);
    describe(writer, in, log);
    REQUIRE_FALSE(in.stop());
  }
  take_in_files(writer, place / "data");
  writer.seal();
}

}  // namespace golden_files_test
