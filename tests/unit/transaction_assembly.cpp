// Parts of transactions come in one at a time; whole transactions come out, or nothing does.
#include <cstdint>
#include <string>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/machine/transaction_assembly.hpp"

namespace transaction_assembly_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;

constexpr std::uint64_t lock_byte = limits::lock_byte_default;

transaction_id id(std::uint64_t sequence, std::uint64_t in_term = 1) {
  return {term{in_term}, sequence};
}

database_write_set frames_of(std::string_view name, std::vector<std::uint32_t> numbers) {
  database_write_set made;
  made.name = name;
  made.page_size = 512;
  made.page_count = 100;
  for (const std::uint32_t number : numbers) {
    made.pages.push_back({page_number{number}, page_encoding::zero, number, {}});
  }
  return made;
}

write_set_command part_of(std::uint32_t part, bool commit,
                          std::vector<database_write_set> databases) {
  return {part, commit, std::move(databases)};
}

struct fixture {
  transaction_assembly assembly{lock_byte};
  std::uint64_t next_index = 1;
  command with{};  ///< format and witness of what is taken

  /// Encodes and decodes the command, as an entry at the next index.
  result<std::optional<assembled_transaction>> take(transaction_id of, write_set_command frames) {
    bytes entry;
    const command made{of, std::move(frames), with.format, with.witness};
    REQUIRE_FALSE(native::encode(made, entry, lock_byte));
    const auto decoded = native::decode(entry, lock_byte);
    REQUIRE(decoded);
    auto taken = assembly.take(of, std::get<write_set_command>(decoded->body),
                               {{log_index{next_index++}, of.term}, entry});
    if (taken && *taken) {
      kept.push_back(std::move(entry));  // the result points into it
    }
    return taken;
  }
  bool stages(transaction_id of, write_set_command frames) {
    const auto taken = take(of, std::move(frames));
    return taken && !*taken;
  }
  std::error_code refusal(transaction_id of, write_set_command frames) {
    const auto taken = take(of, std::move(frames));
    if (taken) {
      return {};
    }
    assembly.end(of);  // as the machine does with whatever is refused
    return taken.error();
  }

  std::vector<bytes> kept;
};

std::vector<std::uint32_t> numbers_of(const database_write_set& frames) {
  std::vector<std::uint32_t> numbers;
  for (const page_record& page : frames.pages) {
    numbers.push_back(page.number.value);
  }
  return numbers;
}

using numbers = std::vector<std::uint32_t>;

}  // namespace

TEST_CASE("a transaction of one entry is whole at once and leaves nothing staged") {
  fixture f;
  const auto whole = f.take(id(1), part_of(0, true, {frames_of("a.db", {1, 2})}));
  REQUIRE((whole && *whole));
  REQUIRE((*whole)->databases.size() == 1);
  CHECK(numbers_of((*whole)->databases[0]) == numbers{1, 2});
  CHECK(f.assembly.staged().all().empty());
}

TEST_CASE("parts are put together and merged by page number") {
  fixture f;
  CHECK(f.stages(id(1), part_of(0, false, {frames_of("a.db", {1, 7, 9})})));
  CHECK(f.stages(id(1), part_of(1, false, {frames_of("a.db", {2, 8})})));
  const auto whole = f.take(id(1), part_of(2, true, {frames_of("a.db", {10})}));
  REQUIRE((whole && *whole));
  CHECK(numbers_of((*whole)->databases[0]) == numbers{1, 2, 7, 8, 9, 10});
}

TEST_CASE("a transaction over two databases comes out sorted by name") {
  fixture f;
  CHECK(f.stages(id(1), part_of(0, false, {frames_of("b.db", {1})})));
  CHECK(f.stages(id(1), part_of(1, false, {frames_of("a.db", {3}), frames_of("b.db", {2})})));
  const auto whole = f.take(id(1), part_of(2, true, {frames_of("a.db", {4})}));
  REQUIRE((whole && *whole));
  REQUIRE((*whole)->databases.size() == 2);
  CHECK((*whole)->databases[0].name == "a.db");
  CHECK(numbers_of((*whole)->databases[0]) == numbers{3, 4});
  CHECK(numbers_of((*whole)->databases[1]) == numbers{1, 2});
}

TEST_CASE("what was staged of a whole transaction stays until it ends") {
  fixture f;
  CHECK(f.stages(id(1), part_of(0, false, {frames_of("a.db", {1})})));
  const auto whole = f.take(id(1), part_of(1, true, {frames_of("a.db", {2})}));
  REQUIRE((whole && *whole));
  CHECK(f.assembly.staged().replay_from({log_index{1}, {}}).index == log_index{0});
  f.assembly.end(id(1));
  CHECK(f.assembly.staged().all().empty());
}

TEST_CASE("transactions on two databases are staged side by side") {
  fixture f;
  CHECK(f.stages(id(1), part_of(0, false, {frames_of("a.db", {1})})));
  CHECK(f.stages(id(2), part_of(0, false, {frames_of("b.db", {1})})));
  CHECK(f.stages(id(1), part_of(1, false, {frames_of("a.db", {2})})));
  const auto second = f.take(id(2), part_of(1, true, {frames_of("b.db", {2})}));
  CHECK((second && *second));
  const auto first = f.take(id(1), part_of(2, true, {frames_of("a.db", {3})}));
  REQUIRE((first && *first));
  CHECK(numbers_of((*first)->databases[0]) == numbers{1, 2, 3});
}

TEST_CASE("a missing part drops the whole transaction") {
  fixture f;
  CHECK(f.stages(id(1), part_of(0, false, {frames_of("a.db", {1})})));
  CHECK(f.refusal(id(1), part_of(2, false, {frames_of("a.db", {3})})) == errc::malformed);
  CHECK(f.assembly.staged().all().empty());
  CHECK(f.refusal(id(1), part_of(1, true, {frames_of("a.db", {2})})) == errc::malformed);
}

TEST_CASE("a part that comes twice drops the whole transaction") {
  fixture f;
  CHECK(f.stages(id(1), part_of(0, false, {frames_of("a.db", {1})})));
  CHECK(f.refusal(id(1), part_of(0, false, {frames_of("a.db", {1})})) == errc::malformed);
  CHECK(f.assembly.staged().all().empty());
}

TEST_CASE("a commit without its first parts is refused") {
  fixture f;
  CHECK(f.refusal(id(1), part_of(1, true, {frames_of("a.db", {1})})) == errc::malformed);
}

TEST_CASE("the next transaction on a database drops what is staged there") {
  fixture f;
  CHECK(f.stages(id(1), part_of(0, false, {frames_of("a.db", {1}), frames_of("b.db", {1})})));
  CHECK(f.stages(id(2), part_of(0, false, {frames_of("b.db", {1})})));
  CHECK(f.assembly.staged().find(id(1)) == nullptr);
  CHECK(f.refusal(id(1), part_of(1, true, {frames_of("a.db", {2})})) == errc::malformed);
  CHECK(f.assembly.staged().find(id(2)) != nullptr);
}

TEST_CASE("a leader of a later term ends what its predecessors staged") {
  fixture f;
  CHECK(f.stages(id(1, 1), part_of(0, false, {frames_of("a.db", {1})})));
  CHECK(f.stages(id(1, 2), part_of(0, false, {frames_of("b.db", {1})})));
  f.assembly.overtake(term{2});
  CHECK(f.assembly.staged().find(id(1, 1)) == nullptr);
  CHECK(f.assembly.staged().find(id(1, 2)) != nullptr);
}

TEST_CASE("an undo takes back what is staged, and only that") {
  fixture f;
  CHECK_FALSE(f.assembly.undo(id(1)));
  CHECK(f.stages(id(1), part_of(0, false, {frames_of("a.db", {1})})));
  CHECK(f.stages(id(2), part_of(0, false, {frames_of("b.db", {1})})));
  CHECK(f.assembly.undo(id(1)));
  CHECK_FALSE(f.assembly.undo(id(1)));
  CHECK(f.assembly.staged().find(id(2)) != nullptr);
}

TEST_CASE("parts that contradict each other make no transaction") {
  const auto differing = GENERATE(0, 1, 2, 3, 4);
  fixture f;
  CHECK(f.stages(id(1), part_of(0, false, {frames_of("a.db", {1})})));
  database_write_set other = frames_of("a.db", {2});
  switch (differing) {
    case 0: other.base_version = version_number{5}; break;
    case 1: other.base_hash = 5; break;
    case 2: other.page_size = 1024; break;
    case 3: other.page_count = 101; break;
    default: other.result_hash = 5; break;
  }
  CHECK(f.refusal(id(1), part_of(1, true, {other})) == errc::malformed);
  CHECK(f.assembly.staged().all().empty());
}

TEST_CASE("parts that build on different transactions make none") {
  fixture f;
  f.with.format = 2;
  f.with.witness = {log_index{7}, 8};
  const auto part = [](std::uint32_t page, transaction_id builds_on) {
    database_write_set made = frames_of("a.db", {page});
    made.base_version = version_number{3};
    made.builds_on = builds_on;
    return made;
  };
  CHECK(f.stages(id(9), part_of(0, false, {part(1, id(5))})));
  const auto whole = f.take(id(9), part_of(1, true, {part(2, id(5))}));
  REQUIRE((whole && *whole));
  CHECK((*whole)->databases[0].builds_on == id(5));
  f.assembly.end(id(9));
  for (const transaction_id other : {id(6), id(5, 2), transaction_id{}}) {
    CHECK(f.stages(id(10), part_of(0, false, {part(1, id(5))})));
    CHECK(f.refusal(id(10), part_of(1, true, {part(2, other)})) == errc::malformed);
    CHECK(f.assembly.staged().all().empty());
  }
}

TEST_CASE("a page that two parts carry makes no transaction") {
  fixture f;
  CHECK(f.stages(id(1), part_of(0, false, {frames_of("a.db", {1, 4})})));
  CHECK(f.refusal(id(1), part_of(1, true, {frames_of("a.db", {2, 4})})) == errc::malformed);
  CHECK(f.stages(id(2), part_of(0, false, {frames_of("a.db", {1, 4})})));
  CHECK(f.refusal(id(2), part_of(1, true, {frames_of("a.db", {4, 5})})) == errc::malformed);
}

TEST_CASE("a transaction for which there is no room is refused and the index is remembered") {
  fixture f;
  for (std::uint64_t n = 1; n <= limits::staged_transactions; ++n) {
    REQUIRE(f.stages(id(n), part_of(0, false, {frames_of("db" + std::to_string(n), {1})})));
  }
  CHECK(f.assembly.last_refusal() == log_index{0});
  CHECK(f.refusal(id(1000), part_of(0, false, {frames_of("more", {1})})) == errc::too_large);
  CHECK(f.assembly.last_refusal() == log_index{limits::staged_transactions + 1});
  // Those that are staged go on, and one of a single entry needs no room.
  CHECK(f.stages(id(64), part_of(1, false, {frames_of("db64", {2})})));
  const auto single = f.take(id(1001), part_of(0, true, {frames_of("more", {1})}));
  CHECK((single && *single));
}

}  // namespace transaction_assembly_test
