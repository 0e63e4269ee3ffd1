// Writes the seeds of tests/fuzz/corpus: make_corpus FOLDER. They are committed; run this when a
// format changes. The golden vectors of the go-dqlite entries are those of
// tests/unit/go_dqlite_commands.cpp.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#define CATCH_CONFIG_RUNNER  // wal_support.hpp reports through it
#include "catch2_shim.hpp"
#if defined(QUORLITE_CATCH2_V3)
#include <catch2/catch_session.hpp>
#endif
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/legacy/go_dqlite_snapshot.hpp"
#include "unit/codec_support.hpp"
#include "unit/wal_support.hpp"

using quorlite::bytes;
using quorlite::bytes_span;
using quorlite::bytes_view;
using quorlite::page_number;
using quorlite::tests::from_hex;
using quorlite::tests::from_text;
using quorlite::tests::generator;
namespace go_dqlite = quorlite::detail::go_dqlite;

namespace {

std::filesystem::path corpus;

/// @param mode the first byte of targets that have one
void seed(std::string_view target, std::string_view name, bytes_view content, int mode = -1) {
  const std::filesystem::path folder = corpus / target;
  std::filesystem::create_directories(folder);
  bytes all;
  if (mode >= 0) {
    all.push_back(static_cast<std::byte>(mode));
  }
  all.insert(all.end(), content.begin(), content.end());
  quorlite::tests::write_file(folder / name, all);
}

void go_dqlite_commands() {
  const std::vector<std::pair<const char*, const char*>> vectors{
      {"g01_open", "0a090a07746573742e6462"},
      {"g02_begin", "1208087b120474657374"},
      {"g03_undo", "2202087b"},
      {"g04_undo_0", "2200"},
      {"g05_end", "2a02087b"},
      {"g06_checkpoint", "32060a0474657374"},
      {"g07_frames_v2", "1a1a08051004200128013a07746573742e64624201014a04deadbeef"},
      {"g08_large_varints",
       "1a280885808080808080808001100220ac023a04612e6462420801ac02ffffffff0f4a06010203040506"},
      {"g09_no_file_name", "1a1108071004200228014201024a0400000000"},
      {"g10_frames_v1",
       "1a2a087b10041a0a0a0401020304100118011a0a0a0405060708100118022002280130023a0664622e62696e"},
      {"g11_frames_v1a", "1a1d080910041a090a0501020304ee18011a060a0205061802200228013002"},
      {"g12_unpacked", "1a1908051002200128013a04612e6462400140ac024a0409080706"},
      {"g13_unknown_fields", "2204087b7801a2060178"},
      {"g14_two_commands", "0a030a016122020805"},
      {"g15_open_twice", "0a030a01610a00"},
      {"g16_negative_commit", "1a1d08011004200128ffffffffffffffffff013a01744201014a0400000000"},
      {"g17_mixed", "1a1e080110041a080a04000000001801200128013a01744201014a0400000000"},
      {"g18_largest_txid", "220b08ffffffffffffffffff01"},
      {"g19_no_page", "1a0c0801108020200128013a0174"},
      {"n1_garbage", "67617262616765"},
      {"n2_short", "0a090a0774"},
      {"n3_wire_type", "207b"},
      {"n4_v0", "22030a0131"},
      {"n5_long_varint", "220c08ffffffffffffffffffff01"},
      {"n6_tag_0", "0000"},
      {"n7_group_end", "0c"},
      {"n8_empty", ""},
      {"n9_only_unknown", "7801"},
      {"groups", "7b7b0801797c7c7c7b08017a01617c2202087b"},
  };
  for (const auto& [name, hex] : vectors) {
    seed("go_dqlite_command", name, from_hex(hex));
  }
  bytes two_pages = from_hex("1a9908082a108004200228013a07746573742e6462420201024a8008");
  for (unsigned i = 0; i < 1024; ++i) {
    two_pages.push_back(static_cast<std::byte>((i < 512 ? 7 * i + 3 : 5 * (i - 512) + 1) & 255U));
  }
  seed("go_dqlite_command", "g20_two_pages", two_pages);
}

/// A small database with a WAL of two transactions; equal bytes in every run.
quorlite::tests::database_files small_database() {
  const quorlite::tests::wal_database db{512};
  db.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  db.execute("INSERT INTO t VALUES(1, hex(zeroblob(300)))");
  quorlite::tests::database_files files = db.files();
  for (std::size_t at = 16; at < 24; ++at) {
    files.wal[at] = static_cast<std::byte>(at);
  }
  for (std::size_t at = 32; at < files.wal.size(); at += 24 + 512) {
    std::copy_n(files.wal.begin() + 16, 8, files.wal.begin() + static_cast<std::ptrdiff_t>(at + 8));
  }
  quorlite::tests::seal(files.wal, false);
  return files;
}

void go_dqlite_snapshots() {
  constexpr std::string_view target = "go_dqlite_snapshot";
  seed(target, "golden_none", from_hex("0700000000000000"), 0);
  seed(target, "golden_one",
       from_hex("0700000000000000"
                "0200000000000000"
                "4442"
                "0100000000000000"
                "57"
                "6100"),
       0);
  seed(target, "golden_empty",
       from_hex("0807060504030201"
                "0000000000000000"
                "0000000000000000"
                "746573742e646200"),
       0);
  const quorlite::tests::database_files files = small_database();
  const auto snapshot = [](const std::vector<go_dqlite::record_parts>& records) {
    bytes out;
    go_dqlite::append_index(quorlite::log_index{7}, out);
    for (const go_dqlite::record_parts& one : records) {
      go_dqlite::append_record(one, out);
    }
    return out;
  };
  seed(target, "without_wal", snapshot({{files.database, {}, "a.db"}}), 8);
  seed(target, "with_wal", snapshot({{files.database, files.wal, "a.db"}}), 1);
  seed(target, "lock_page", snapshot({{files.database, files.wal, "a.db"}}), 2 + 40);
  seed(target, "three",
       snapshot({{files.database, files.wal, "b"}, {{}, {}, "a"}, {files.database, {}, "c"}}), 5);
  const bytes_view wal{files.wal};
  seed(target, "wal_cut", snapshot({{files.database, wal.first(wal.size() - 100), "a"}}), 0);
  quorlite::tests::database_files big = files;
  quorlite::tests::seal(big.wal, true);
  seed(target, "big_endian_wal", snapshot({{big.database, big.wal, "a"}}), 1);
}

void native_commands() {
  using namespace quorlite;
  using namespace quorlite::detail;
  const bytes page(512, std::byte{0x5A});
  const bytes after = [&] {
    bytes changed = page;
    changed[100] = changed[300] = std::byte{1};
    return changed;
  }();
  bytes delta;
  static_cast<void>(encode_delta(page, after, 512, delta));
  write_set_command frames;
  database_write_set one;
  one.name = "a.db";
  one.base_version = version_number{3};
  one.page_size = 512;
  one.page_count = 3;
  one.pages = {{page_number{1}, page_encoding::full, 1, page},
               {page_number{2}, page_encoding::delta, 2, delta},
               {page_number{3}, page_encoding::zero, 3, {}}};
  frames.databases = {one};
  one.name = "b.db";
  frames.databases.push_back(one);
  const transaction_id id{term{2}, 9};
  const std::vector<std::pair<const char*, command>> all{
      {"open", {id, open_command{"a.db"}}},
      {"frames", {id, frames}},
      {"undo", {id, undo_command{{term{1}, 300}}}},
      {"checkpoint", {id, checkpoint_command{"a.db"}}},
      {"checkpoint_all", {id, checkpoint_command{}}},
      {"drop", {id, drop_command{"a.db"}}},
      {"barrier", {id, barrier_command{}}},
  };
  for (const auto& [name, made] : all) {
    bytes entry;
    REQUIRE_FALSE(native::encode(made, entry));
    seed("native_command", name, entry, 1);
  }
  // The same in format 2, with all that a base can be, and the one kind that is new in it.
  const history_witness witness{log_index{70'000}, 0x1122334455667788};
  frames.databases[0].builds_on = {term{2}, 5};
  frames.databases[1].builds_on = {term{1}, 300};
  const std::vector<std::pair<const char*, command>> with_history{
      {"open_2", {id, open_command{"a.db"}, 2, witness}},
      {"frames_2", {id, frames, 2, witness}},
      {"undo_2", {id, undo_command{{term{1}, 300}}, 2, witness}},
      {"checkpoint_2", {id, checkpoint_command{"a.db"}, 2, witness}},
      {"drop_2", {id, drop_command{"a.db", {term{2}, 8}}, 2, witness}},
      {"drop_2_nobody", {id, drop_command{"a.db"}, 2, witness}},
      {"barrier_2", {id, barrier_command{}, 2, witness}},
      {"identity_2", {id, identity_command{2, {3, 4}}, 2}},
      {"identity_3", {id, identity_command{3, {3, 4}}, 2}},
  };
  for (const auto& [name, made] : with_history) {
    bytes entry;
    REQUIRE_FALSE(native::encode(made, entry));
    seed("native_command", name, entry, 1);
  }
  seed("native_command", "foreign", from_text("garbage"), 0);
}

void native_snapshots() {
  using namespace quorlite;
  using namespace quorlite::detail;
  const auto page_of = [](std::size_t ordinal, page_number number, bytes_span into) {
    std::fill(into.begin(), into.end(), static_cast<std::byte>(ordinal + number.value));
    return std::error_code{};
  };
  const auto make = [&](const std::vector<std::uint64_t>& page_counts, std::size_t staged,
                        const char* notes = "notes") {
    snapshot_header header;
    header.at = {log_index{7}, term{2}};
    header.notes = from_text(notes);
    header.staged.assign(staged, std::make_shared<const bytes>(from_text("entry")));
    for (const std::uint64_t count : page_counts) {
      snapshot_database& one = header.databases.emplace_back();
      one.name = "d" + std::to_string(header.databases.size());
      one.page_count = count;
      one.page_size = count == 0 ? 0 : 512;
      for (std::uint64_t page = 1; page <= count; ++page) {
        bytes image(512);
        const page_number number{static_cast<std::uint32_t>(page)};
        static_cast<void>(page_of(header.databases.size() - 1, number, image));
        one.hash += page_hash(number, image);
      }
    }
    const auto layout = snapshot_layout::make(header);
    REQUIRE(layout.has_value());
    bytes out(layout->size_bytes());
    REQUIRE_FALSE(layout->read(0, out, page_of));
    return out;
  };
  seed("native_snapshot", "none", make({}, 0), 0);
  seed("native_snapshot", "one", make({3}, 0), 1);
  seed("native_snapshot", "three", make({1, 0, 4}, 2), 9);
  seed("native_snapshot", "lock_page", make({4}, 0), 3);
  seed("native_snapshot", "version_2", make({3}, 1, "QLNOTES2 and more"), 1);
  seed("native_snapshot", "cut", bytes_view{make({3}, 1)}.first(900), 0);
  seed("native_snapshot", "foreign", from_text("no snapshot of ours, and long enough"), 0);
}

}  // namespace

TEST_CASE("seeds") {
  go_dqlite_commands();
  go_dqlite_snapshots();
  native_commands();
  native_snapshots();
}

int main(int count, char** arguments) {
  if (count != 2) {
    std::fputs("usage: make_corpus FOLDER\n", stderr);
    return 2;
  }
  corpus = arguments[1];
  return Catch::Session().run();
}
