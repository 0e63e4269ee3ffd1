// Whose folder it is: ids N.R, the file `server` and its seal, and the table of what a start does
// with which folder (docs/design/history.md, section 9).

#include <sys/stat.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/identity.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/server_file.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"
#include "support/memory_log_folder.hpp"
#include "support/temporary_directory.hpp"

namespace libraft_identity_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::tests::memory_log_folder;
using quorlite::tests::temporary_directory;
using stage = libraft_server_file::stage;
using step = libraft_folder_plan::step;

constexpr server_id second{(std::uint64_t{2} << 40U) | 0x1F3A09C4D7U};
constexpr cluster_identity ours{0x1122334455667788U, 0x99AABBCCDDEEFF00U};
constexpr cluster_identity theirs{7, 0};

libraft_server_file some_file() {
  libraft_server_file file;
  file.id = second;
  file.cluster = ours;
  file.seal = {0x0102030405060708U, 0x1112131415161718U, 4711, 1'790'000'000, 123'456'789};
  file.at = stage::founded;
  return file;
}

bytes encoded(const libraft_server_file& file) {
  bytes whole(libraft_server_file::encoded_bytes);
  file.encode(whole);
  return whole;
}

// What stands in the way, of a folder that holds these bytes as its file.
libraft_server_reading read(const bytes& whole) {
  memory_log_folder folder;
  folder.files["server"] = whole;
  const auto told = read_server_file(folder);
  REQUIRE(told.has_value());
  return *told;
}

void set_sum(bytes& whole) {
  const std::size_t at = whole.size() - 4;
  store_little_endian(whole.data() + at, crc32c(bytes_view(whole).first(at)));
}

void touch(const std::string& file) { std::ofstream(file, std::ios::app).flush(); }

libraft_options asked_for(std::uint64_t number) {
  libraft_options asked;
  asked.id = server_id{number};
  asked.address = "127.0.0.1:9002";
  return asked;
}

// A folder that is in use: a server's file with its seal, and a log.
libraft_folder_facts in_use() {
  libraft_folder_facts facts;
  facts.file = some_file();
  facts.has_log = true;
  facts.seal = facts.file->seal;
  return facts;
}

// What was written down at an empty folder: nobody knows the cluster yet.
libraft_folder_facts fresh(stage at) {
  libraft_folder_facts facts = in_use();
  facts.file->cluster = {};
  facts.file->at = at;
  facts.has_log = false;
  return facts;
}

std::error_code error_of(const libraft_folder_plan& plan) {
  libraft_log_report report;
  if (plan.refusal) {
    CHECK(!plan.refusal->remedy.empty());
    report.defects.push_back(*plan.refusal);
  }
  return report.error();
}

std::string text_of(const libraft_folder_plan& plan) {
  REQUIRE(plan.refusal.has_value());
  return plan.refusal->text();
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("an id is written in one way, and only that is read") {
  CHECK(libraft_id_text(server_id{7}) == "7");
  CHECK(libraft_id_text(second) == "2.1f3a09c4d7");
  CHECK(libraft_id_text(libraft_made_id(libraft_number_max, 1)) == "16777215.0000000001");
  CHECK(libraft_number_of(second) == 2);
  CHECK(libraft_number_of(server_id{(std::uint64_t{1} << 40U) - 1}) == (1ULL << 40U) - 1);
  for (const std::uint64_t value :
       {std::uint64_t{1}, (std::uint64_t{1} << 40U) - 1, std::uint64_t{1} << 40U, second.value,
        ~std::uint64_t{0}, std::uint64_t{1} << 63U}) {
    CHECK(libraft_id_in(libraft_id_text(server_id{value})) == server_id{value});
  }
  for (const char* const wrong : {"",
                                  ".",
                                  "0",
                                  "02",
                                  "2.",
                                  ".1f3a09c4d7",
                                  "2.1f3a09c4d",
                                  "2.1f3a09c4d77",
                                  "2.1F3A09C4D7",
                                  "2.1f3a09c4dg",
                                  " 2",
                                  "2 ",
                                  "+2",
                                  "-2",
                                  "2.1f3a09c4d7 ",
                                  "1099511627776",
                                  "16777216.0000000001",
                                  "99999999999999999999",
                                  "2.-f3a09c4d7",
                                  "0.1f3a09c4d7"}) {
    INFO(wrong);
    CHECK(!libraft_id_in(wrong).has_value());
  }
}

TEST_CASE("who is refused is told in words, one after the other") {
  CHECK(libraft_refused_text({}).empty());
  CHECK(
      libraft_refused_text({{second, log_index{17}, log_index{12}, "has another history"},
                            {server_id{3}, log_index{9}, {}, "has a history"}}) ==
      "server 2.1f3a09c4d7 has another history, at log index 17 (compared as of 12); server 3 has "
      "a history, at log index 9");
}

TEST_CASE("a made id never is one of those without R") {
  CHECK(libraft_made_id(1, 0).value > std::uint64_t{1} << 40U);
  CHECK(libraft_made_id(2, 0xFFFF'FF1F'3A09'C4D7U) == second);
  CHECK(libraft_number_of(libraft_made_id(libraft_number_max, ~std::uint64_t{0})) ==
        libraft_number_max);
}

TEST_CASE("a server's file comes back as it was written, byte for byte") {
  const bytes whole = encoded(some_file());
  CHECK(read(whole).file == some_file());
  CHECK(whole[0] == std::byte{'Q'});
  CHECK(load_little_endian<std::uint32_t>(whole.data() + 8) == 1);
  CHECK(load_little_endian<std::uint32_t>(whole.data() + 12) == 2);
  CHECK(load_little_endian<std::uint64_t>(whole.data() + 16) == second.value);
  CHECK(load_little_endian<std::uint64_t>(whole.data() + 24) == ours.low);
  CHECK(load_little_endian<std::uint64_t>(whole.data() + 32) == ours.high);
  CHECK(load_little_endian<std::uint64_t>(whole.data() + 56) == 4711);
  memory_log_folder empty;
  const auto none = read_server_file(empty);
  REQUIRE(none.has_value());
  CHECK((!none->file && !none->defect));
}

TEST_CASE("each bit of a server's file that changes is told, with the file and what to do") {
  const bytes whole = encoded(some_file());
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    bytes changed = whole;
    changed[bit / 8] ^= std::byte{1} << (bit % 8);
    const libraft_server_reading told = read(changed);
    INFO("bit " << bit);
    REQUIRE((!told.file && told.defect));
    CHECK(told.defect->fault == libraft_log_fault::damaged);
    CHECK(told.defect->file == "server");
    CHECK(!told.defect->remedy.empty());
  }
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CHECK(read(bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))).defect);
  }
  bytes longer = whole;
  longer.push_back(std::byte{0});
  CHECK(read(longer).defect);
  set_sum(longer);
  CHECK(read(longer).defect);
}

TEST_CASE("a server's file of another version, stage or without an id is told apart") {
  bytes later = encoded(some_file());
  later.resize(96);
  store_little_endian(later.data() + 8, std::uint32_t{2});
  set_sum(later);
  const libraft_server_reading told = read(later);
  REQUIRE(told.defect.has_value());
  CHECK(told.defect->fault == libraft_log_fault::unknown);
  bytes stranger = encoded(some_file());
  store_little_endian(stranger.data() + 12, std::uint32_t{3});
  set_sum(stranger);
  CHECK(read(stranger).defect.has_value());
  libraft_server_file nobody = some_file();
  nobody.id = {};
  CHECK(read(encoded(nobody)).defect.has_value());
}

TEST_CASE("a seal is that of the folder it was made in, and of no copy") {
  const temporary_directory place;
  for (const char* const name : {"original", "copy", "moved"}) {
    std::filesystem::create_directory(place / name);
  }
  const std::string original = place / "original";
  CHECK(!libraft_seal::of(original).has_value());  // no lock file
  touch(original + "/quorlite.lock");
  const auto blank = libraft_seal::of(original);
  REQUIRE(blank.has_value());
  CHECK(!blank->is_made());
  const auto made = libraft_seal::make(original, 5, 6);
  REQUIRE(made.has_value());
  CHECK(made->is_made());
  CHECK(!made->matches(*blank));
  CHECK(libraft_seal::of(original) == made);
  std::filesystem::copy_file(original + "/quorlite.lock", place / "copy/quorlite.lock");
  const auto copy = libraft_seal::of(place / "copy");
  REQUIRE(copy.has_value());
  CHECK((copy->low == 5 && copy->high == 6));
  CHECK(made->matches(*copy) == (made->inode == 0));  // where inodes do not count
  std::filesystem::rename(original + "/quorlite.lock", place / "moved/quorlite.lock");
  const auto moved = libraft_seal::of(place / "moved");
  REQUIRE(moved.has_value());
  CHECK(made->matches(*moved));
}

TEST_CASE("of a seal, what one side does not have is not compared, but for the number") {
  const libraft_seal whole = some_file().seal;
  CHECK(whole.matches(whole));
  libraft_seal other = whole;
  other.inode = 0;
  CHECK((whole.matches(other) && other.matches(whole)));
  other.born_s = 0;
  other.born_ns = 0;
  CHECK((whole.matches(other) && other.matches(whole)));
  other.low ^= 1;
  CHECK(!whole.matches(other));
  other = whole;
  other.inode += 1;
  CHECK(!whole.matches(other));
  other = whole;
  other.born_ns += 1;
  CHECK(!whole.matches(other));
  other = whole;
  other.low = other.high = 0;  // another lock file, which holds nothing
  CHECK((!whole.matches(other) && !other.matches(whole)));
}

TEST_CASE("an empty folder is founded or joined, or says what to ask for") {
  libraft_options asked = asked_for(2);
  const libraft_folder_plan neither = plan_start(asked, {});
  CHECK(error_of(neither) == errc::not_founded);
  CHECK((has(text_of(neither), "found") && has(text_of(neither), "join")));
  asked.moved = true;
  CHECK(error_of(plan_start(asked, {})) == errc::not_founded);
  asked.found = true;
  CHECK((plan_start(asked, {}).next == step::found && !plan_start(asked, {}).refusal));
  asked.found = false;
  asked.join = true;
  CHECK((plan_start(asked, {}).next == step::join && !plan_start(asked, {}).refusal));
  asked.join = false;
  asked.bootstrap.push_back({server_id{2}, asked.address});
  CHECK((plan_start(asked, {}).next == step::bootstrap && !plan_start(asked, {}).refusal));
}

TEST_CASE("a folder that takes part goes on, and is not founded again") {
  for (const bool join : {false, true}) {
    libraft_options asked = asked_for(2);
    asked.join = join;
    CHECK(!plan_start(asked, in_use()).refusal);
    CHECK(plan_start(asked, in_use()).next == step::go_on);
    CHECK(!plan_start(asked, fresh(stage::takes_part)).refusal);
    CHECK(plan_start(asked, fresh(stage::takes_part)).next == step::go_on);
  }
  libraft_options asked = asked_for(2);
  asked.found = true;
  CHECK(error_of(plan_start(asked, in_use())) == errc::already_founded);
  CHECK(has(text_of(plan_start(asked, in_use())), "server, byte 24: it belongs to cluster"));
  CHECK(has(text_of(plan_start(asked, fresh(stage::takes_part))), "server, byte 12: it waits"));
  CHECK(error_of(plan_start(asked, fresh(stage::takes_part))) == errc::already_founded);
  libraft_folder_facts joined = fresh(stage::takes_part);
  joined.has_log = true;
  CHECK(error_of(plan_start(asked, joined)) == errc::already_founded);
}

TEST_CASE("a founding that did not reach its end goes on") {
  for (const bool again : {true, false}) {
    libraft_options asked = asked_for(2);
    asked.found = again;
    const auto cut_short = plan_start(asked, fresh(stage::founding));
    CHECK((cut_short.next == step::found && !cut_short.refusal));
    libraft_folder_facts founded = fresh(stage::founded);
    founded.has_log = true;
    CHECK((plan_start(asked, founded).next == step::go_on));
    CHECK(!plan_start(asked, founded).refusal);
  }
}

TEST_CASE("another server's folder is refused, and both are named") {
  for (const libraft_folder_facts& facts : {in_use(), fresh(stage::takes_part)}) {
    const auto told = plan_start(asked_for(3), facts);
    CHECK(error_of(told) == errc::another_server);
    CHECK((has(text_of(told), "server 2.1f3a09c4d7's") && has(text_of(told), "server 3 ")));
  }
  libraft_folder_facts older = in_use();  // an id without R, which was recorded
  older.file->id = server_id{5};
  CHECK(!plan_start(asked_for(5), older).refusal);
  CHECK(error_of(plan_start(asked_for(2), older)) == errc::another_server);
  older.file->id = server_id{std::uint64_t{1} << 50U};  // they could be of any size
  CHECK(!plan_start(asked_for(std::uint64_t{1} << 50U), older).refusal);
}

TEST_CASE("folder, log and databases of different clusters are refused, and both are named") {
  libraft_folder_facts facts = in_use();
  facts.of_base = ours;
  CHECK(!plan_start(asked_for(2), facts).refusal);
  facts.of_base = theirs;
  const auto told = plan_start(asked_for(2), facts);
  CHECK(error_of(told) == errc::another_cluster);
  CHECK((has(text_of(told), "99aabbccddeeff001122334455667788") &&
         has(text_of(told), "00000000000000000000000000000007")));
  facts.file->cluster = {};
  CHECK(!plan_start(asked_for(2), facts).refusal);  // an older folder, which learns it from there

  const std::vector<libraft_server> members{{second, "127.0.0.1:9002"}};
  libraft_identity known("nowhere", second, "127.0.0.1:9002", some_file());
  CHECK(!known.admit({members, ours, {}}));
  CHECK(known.admit({members, theirs, {}}) == errc::another_cluster);
  REQUIRE(known.refusal().has_value());
  CHECK(has(known.refusal()->text(), "its log to cluster 00000000000000000000000000000007"));
  libraft_server_file older = some_file();
  older.cluster = {};
  CHECK(!libraft_identity("nowhere", second, "127.0.0.1:9002", older).admit({members, theirs, {}}));
}

TEST_CASE("a folder that names its cluster is refused with a log that names none, and both ends") {
  const std::vector<libraft_server> members{{second, "127.0.0.1:9002"}};
  libraft_identity known("nowhere", second, "127.0.0.1:9002", some_file());
  CHECK(known.admit({members, cluster_identity{}, log_index{41}}) == errc::another_cluster);
  REQUIRE(known.refusal().has_value());
  const std::string text = known.refusal()->text();
  CHECK((has(text, "belongs to cluster 99aabbccddeeff001122334455667788") &&
         has(text, "ends at log index 41") && has(text, "no cluster")));
  CHECK(!known.refusal()->remedy.empty());
  // What could not be read to its end says nothing of that; whoever applies it does.
  CHECK(!known.admit({members, std::nullopt, {}}));
  libraft_server_file older = some_file();
  older.cluster = {};
  libraft_identity upgraded("nowhere", second, "127.0.0.1:9002", older);
  CHECK(!upgraded.admit({members, cluster_identity{}, log_index{41}}));
}

TEST_CASE("a copied folder is refused, until somebody says that it was moved") {
  libraft_folder_facts facts = in_use();
  facts.seal.inode += 1;
  libraft_options asked = asked_for(2);
  CHECK(error_of(plan_start(asked, facts)) == errc::copied);
  CHECK(has(text_of(plan_start(asked, facts)), "moved"));
  asked.moved = true;
  CHECK((!plan_start(asked, facts).refusal && plan_start(asked, facts).seal_anew));
  CHECK(!plan_start(asked, in_use()).seal_anew);  // it was not: nothing to do
  facts.file->seal = {};                          // recorded without a seal
  asked.moved = false;
  CHECK((!plan_start(asked, facts).refusal && !plan_start(asked, facts).seal_anew));
}

TEST_CASE("a folder whose cluster is known and whose log is gone is refused") {
  libraft_folder_facts facts = in_use();
  facts.has_log = false;
  CHECK(error_of(plan_start(asked_for(2), facts)) == errc::log_damaged);
  CHECK(error_of(plan_start(asked_for(2), fresh(stage::founded))) == errc::log_damaged);
  CHECK(has(text_of(plan_start(asked_for(2), facts)), "server, byte 12: this server took part"));
}

TEST_CASE("an older folder goes on, and its id is recorded once its log names it") {
  libraft_folder_facts facts;
  facts.has_log = true;
  libraft_options asked = asked_for(2);
  CHECK((plan_start(asked, facts).next == step::go_on && !plan_start(asked, facts).refusal));
  asked.join = true;
  CHECK(!plan_start(asked, facts).refusal);
  asked.join = false;
  asked.found = true;
  CHECK(error_of(plan_start(asked, facts)) == errc::already_founded);

  const temporary_directory place;
  const std::string folder = place / "data";
  std::filesystem::create_directory(folder);
  libraft_disk_folder disk(folder);
  libraft_identity joiner(folder, server_id{2}, "127.0.0.1:9002", {});
  const std::vector<libraft_server> without{{server_id{1}, "127.0.0.1:9001"}};
  CHECK(!joiner.admit({without, cluster_identity{}, {}}));  // half way: no such entry yet
  CHECK(!read_server_file(disk)->file);
  libraft_identity wrong(folder, server_id{2}, "127.0.0.1:9001", {});
  CHECK(wrong.admit({without, cluster_identity{}, {}}) == errc::another_server);
  REQUIRE(wrong.refusal().has_value());
  CHECK((has(wrong.refusal()->text(), "server 1's") && has(wrong.refusal()->text(), "server 2 ")));
  CHECK(!read_server_file(disk)->file);
  const std::vector<libraft_server> with{{server_id{1}, "127.0.0.1:9001"},
                                         {server_id{2}, "127.0.0.1:9002", false}};
  CHECK(!joiner.admit({with, cluster_identity{}, {}}));
  const auto recorded = read_server_file(disk)->file;
  REQUIRE(recorded.has_value());
  CHECK((recorded->id == server_id{2} && !recorded->seal.is_made() &&
         recorded->cluster == cluster_identity{}));
}

TEST_CASE("a joiner of before may have the address of a server that is gone, another folder not") {
  const std::vector<libraft_server> before{{server_id{1}, "127.0.0.1:9001"},
                                           {server_id{3}, "127.0.0.1:9003"}};
  const auto said = [](std::uint64_t id, const std::string& address,
                       const std::vector<libraft_server>& members, bool has_voted) {
    libraft_identity who("nowhere", server_id{id}, address, {});
    return who.admit({members, cluster_identity{}, {}, has_voted});
  };
  // It has no more of the log than up to a time when server 1 was there.
  CHECK(!said(2, "127.0.0.1:9001", before, false));
  CHECK(said(2, "127.0.0.1:9001", before, true) == errc::another_server);
  CHECK(said(3, "127.0.0.1:9001", before, false) == errc::another_server);  // it is elsewhere
  const std::vector<libraft_server> alone{{server_id{1}, "127.0.0.1:9001"},
                                          {server_id{3}, "127.0.0.1:9003", false}};
  CHECK(said(2, "127.0.0.1:9001", alone, false) == errc::another_server);  // who sent it a log?
}

TEST_CASE("a cluster's id is recorded once, and seals an older folder") {
  const temporary_directory place;
  const std::string folder = place / "data";
  std::filesystem::create_directory(folder);
  touch(folder + "/quorlite.lock");
  libraft_disk_folder disk(folder);
  libraft_identity older(folder, server_id{2}, "127.0.0.1:9002", {});
  CHECK(!older.record(ours, 8, 9));
  auto recorded = read_server_file(disk)->file;
  REQUIRE(recorded.has_value());
  CHECK((recorded->cluster == ours && recorded->id == server_id{2}));
  CHECK((recorded->seal.low == 8 && recorded->seal.high == 9));
  CHECK(libraft_seal::of(folder) == recorded->seal);
  CHECK(!older.record(ours, 1, 1));
  CHECK(older.record(theirs, 1, 1) == errc::another_cluster);
  CHECK(read_server_file(disk)->file == recorded);

  libraft_server_file founder;
  founder.id = second;
  founder.at = stage::founding;
  REQUIRE(!founder.write(folder));
  libraft_identity begun(folder, second, "127.0.0.1:9002", founder);
  CHECK((begun.founds() && begun.is_to_begin()));
  CHECK(!begun.began());
  CHECK((begun.founds() && !begun.is_to_begin()));
  CHECK(!begun.record(ours, 3, 4));
  CHECK(!begun.founds());
  recorded = read_server_file(disk)->file;
  CHECK((recorded && recorded->cluster == ours && recorded->at == stage::founded));
}

}  // namespace libraft_identity_test
