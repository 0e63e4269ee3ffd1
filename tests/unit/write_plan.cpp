// Pages become entries of any size, and the entries become the same pages again.
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "codec_support.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/machine/prepare_frames.hpp"
#include "quorlite/detail/machine/transaction_assembly.hpp"
#include "support/manual_consensus.hpp"

namespace write_plan_test {
namespace {

using namespace quorlite::tests;

/// A database with a history, and a second view of it as a follower has it.
struct twin {
  std::shared_ptr<database> leader;
  std::shared_ptr<database> follower;
};

twin twin_named(const std::string& name) {
  twin made{std::make_shared<database>(name, lock_byte),
            std::make_shared<database>(name, lock_byte)};
  made.leader->set_exists(true);
  made.follower->set_exists(true);
  return made;
}

struct planned {
  std::vector<bytes> entries;
  std::error_code error;
  std::uint64_t full_page_bytes = 0;
};

/// A write of this database on this state, its pages to come.
database_write write_of(const std::shared_ptr<database>& target, const page_store::pin& base) {
  database_write write;
  write.target = target;
  write.store = target->store();
  write.base = &base;
  return write;
}

/// Plans the changes, installs them on the leaders' stores, and gives the entries.
planned plan_changes(const std::vector<twin>& twins, const std::vector<change>& changes,
                     std::size_t at_most) {
  planned made;
  write_plan plan;
  std::vector<database_write> writes;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const auto store = twins[i].leader->store();
    const auto base = store->pin_committed();
    database_write write = write_of(twins[i].leader, base);
    write.pages = painted(changes[i], store, base, write.page_count);
    REQUIRE_FALSE(plan.add(write));
    write.base = nullptr;
    writes.push_back(std::move(write));
  }
  made.full_page_bytes = plan.full_page_bytes();
  auto entries = plan.entries({term{1}, 1}, at_most, lock_byte);
  if (!entries) {
    made.error = entries.error();
    return made;
  }
  made.entries = std::move(*entries);
  for (database_write& write : writes) {
    write.store->install_committed(std::move(write.pages), write.page_count, write.hash);
  }
  return made;
}

/// Carries the entries out on the followers' stores, as apply does.
void follow(const std::vector<twin>& twins, const std::vector<bytes>& entries) {
  transaction_assembly assembly(lock_byte);
  for (std::size_t n = 0; n < entries.size(); ++n) {
    const auto decoded = native::decode(entries[n], lock_byte);
    REQUIRE(decoded);
    const auto& frames = std::get<write_set_command>(decoded->body);
    CHECK(frames.part == n);
    CHECK(frames.commit == (n + 1 == entries.size()));
    const auto whole =
        assembly.take(decoded->id, frames, {{log_index{n + 1}, term{1}}, entries[n]});
    REQUIRE(whole);
    REQUIRE(whole->has_value() == frames.commit);
    if (!*whole) {
      continue;
    }
    for (const database_write_set& one : (*whole)->databases) {
      for (const twin& of : twins) {
        if (of.follower->name() == one.name) {
          auto ready = prepare_frames(one, of.follower, lock_byte);
          REQUIRE(ready);
          ready->store->install_committed(std::move(ready->pages), ready->page_count, ready->hash);
        }
      }
    }
  }
}

database_copy copy_of_committed(const std::shared_ptr<database>& from) {
  const auto store = from->store();
  return copy_of(store, store->pin_committed());
}

void check_equal(const std::vector<twin>& twins) {
  for (const twin& one : twins) {
    const database_copy follower = copy_of_committed(one.follower);
    CHECK(copy_of_committed(one.leader) == follower);
    CHECK(follower.hash == follower.state.hash);
  }
}

/// Plans, follows and compares. @returns the number of entries
std::size_t run(const std::vector<twin>& twins, const std::vector<change>& changes,
                std::size_t at_most = 1U << 20U) {
  const planned made = plan_changes(twins, changes, at_most);
  REQUIRE_FALSE(made.error);
  for (const bytes& one : made.entries) {
    CHECK(one.size() <= at_most);
  }
  follow(twins, made.entries);
  check_equal(twins);
  return made.entries.size();
}

const std::map<std::uint32_t, std::uint8_t> ten_pages{{1, 1}, {2, 2}, {3, 3}, {4, 4},  {5, 5},
                                                      {7, 7}, {8, 8}, {9, 9}, {10, 10}};

std::vector<page_record> records_of(const bytes& entry) {
  const auto decoded = native::decode(entry, lock_byte);
  REQUIRE(decoded);
  return std::get<write_set_command>(decoded->body).databases.at(0).pages;
}

}  // namespace

TEST_CASE("a transaction is cut into entries of every small size and put together again") {
  // The smallest is one full page and what goes around it: one page an entry.
  const std::size_t least =
      native::frames_overhead_bytes(1, 4) + native::page_record_overhead_bytes + page_bytes;
  std::size_t most_entries = 0;
  std::size_t fewest_entries = 100;
  for (std::size_t at_most = least; at_most < least + 6 * page_bytes; at_most += 37) {
    const std::vector<twin> twins{twin_named("a.db")};
    const std::size_t count = run(twins, {{"a.db", ten_pages}}, at_most);
    most_entries = std::max(most_entries, count);
    fewest_entries = std::min(fewest_entries, count);
    run(twins, {{"a.db", {{1, 100}, {3, 101}, {8, 102}, {11, 103}}}}, at_most);
  }
  CHECK(most_entries == 9);
  CHECK(fewest_entries <= 2);
}

TEST_CASE("a limit that no page fits into is refused and one byte more or less is not overlooked") {
  const std::vector<twin> twins{twin_named("a.db")};
  for (std::size_t at_most = 0; at_most < 700; at_most += 1) {
    const planned made = plan_changes(twins, {{"a.db", {{1, 1}}, 1}}, at_most);
    if (made.error) {
      CHECK(made.error == errc::too_large);
    } else {
      for (const bytes& one : made.entries) {
        CHECK(one.size() <= at_most);
      }
      follow(twins, made.entries);
      check_equal(twins);
    }
  }
}

TEST_CASE("two databases are cut anywhere and stay one transaction") {
  const std::size_t least =
      native::frames_overhead_bytes(2, 8) + native::page_record_overhead_bytes + page_bytes;
  for (std::size_t at_most = least; at_most < least + 12 * page_bytes; at_most += 131) {
    const std::vector<twin> twins{twin_named("a.db"), twin_named("b.db")};
    run(twins, {{"a.db", ten_pages}, {"b.db", {{1, 1}, {2, 5}}}}, at_most);
    run(twins, {{"a.db", {{2, 9}}}, {"b.db", {{1, 8}, {2, 7}}}}, at_most);
  }
}

TEST_CASE("a page that is what it was drops out") {
  const std::vector<twin> twins{twin_named("a.db")};
  run(twins, {{"a.db", ten_pages}});
  const auto store = twins[0].leader->store();
  const auto base = store->pin_committed();
  database_write write = write_of(twins[0].leader, base);
  write.pages = painted({"a.db", {{2, 77}}}, store, base, write.page_count);
  page_store::reader reader(store);
  {
    const auto guard = reader.enter();
    const page_version* same = reader.find(guard, base.version(), page_number{3});
    page_block block = make_page(page_number{3}, page_bytes);
    std::memcpy(block->image().data(), same->image().data(), page_bytes);
    write.pages.push_back(std::move(block));
  }
  write_plan plan;
  REQUIRE_FALSE(plan.add(write));
  REQUIRE(write.pages.size() == 1);
  CHECK(write.pages[0]->number() == page_number{2});
  CHECK(plan.full_page_bytes() == page_bytes);
  const auto entries = plan.entries({term{1}, 1}, 4096, lock_byte);
  REQUIRE(entries);
  CHECK(records_of(entries->front()).size() == 1);
}

TEST_CASE("a transaction that changes no byte is a version all the same") {
  const std::vector<twin> twins{twin_named("a.db"), twin_named("b.db")};
  run(twins, {{"a.db", ten_pages}, {"b.db", ten_pages}});
  const auto store = twins[0].leader->store();
  const auto page_of = [&](std::uint32_t number) {
    page_store::reader reader(store);
    const auto guard = reader.enter();
    page_block block = make_page(page_number{number}, page_bytes);
    const auto* found = reader.find(guard, store->committed().version, page_number{number});
    std::memcpy(block->image().data(), found->image().data(), page_bytes);
    return block;
  };
  const auto base = store->pin_committed();
  database_write write = write_of(twins[0].leader, base);
  write.page_count = base.page_count();
  write.pages.push_back(page_of(1));
  write.pages.push_back(page_of(2));
  write_plan plan;
  REQUIRE_FALSE(plan.add(write));
  CHECK(write.pages.size() == 1);
  CHECK(write.hash == base.hash());
  const auto entries = plan.entries({term{1}, 2}, 4096, lock_byte);
  REQUIRE(entries);
  CHECK(entries->front().size() < 100);
  const std::uint64_t before = twins[0].follower->store()->committed().version.value;
  follow(twins, *entries);
  CHECK(twins[0].follower->store()->committed().version.value == before + 1);
}

TEST_CASE("a database without any page makes no entries") {
  const std::vector<twin> twins{twin_named("a.db")};
  const planned made = plan_changes(twins, {{"a.db", {}}}, 4096);
  CHECK(made.error == errc::malformed);
}

TEST_CASE("a small change travels as a delta") {
  const std::vector<twin> twins{twin_named("a.db")};
  run(twins, {{"a.db", ten_pages}});
  const planned made = plan_changes(twins, {{"a.db", {{4, 200}}}}, 1U << 20U);
  REQUIRE(made.entries.size() == 1);
  CHECK(made.entries[0].size() < 100);
  CHECK(records_of(made.entries[0]).at(0).encoding == page_encoding::delta);
  follow(twins, made.entries);
  check_equal(twins);
}

TEST_CASE("a page of zeros travels without its bytes") {
  const std::vector<twin> twins{twin_named("a.db")};
  run(twins, {{"a.db", {{1, 1}}, 9}});  // the growth is zero pages
  const planned made = plan_changes(twins, {{"a.db", {{1, 2}}, 12}}, 1U << 20U);
  REQUIRE(made.entries.size() == 1);
  CHECK(made.entries[0].size() < 200);
  follow(twins, made.entries);
  check_equal(twins);
}

TEST_CASE("a page beyond the old size is never a delta, also after a shrink") {
  const std::vector<twin> twins{twin_named("a.db")};
  run(twins, {{"a.db", ten_pages}});
  run(twins, {{"a.db", {{1, 50}}, 4}});
  const planned made = plan_changes(twins, {{"a.db", {{1, 51}, {9, 52}}}}, 1U << 20U);
  REQUIRE(made.entries.size() == 1);
  for (const page_record& record : records_of(made.entries[0])) {
    CHECK((record.number.value <= 4 || record.encoding != page_encoding::delta));
  }
  follow(twins, made.entries);
  check_equal(twins);
}

TEST_CASE("a database grows over the page that is never data") {
  const std::vector<twin> twins{twin_named("a.db")};
  run(twins, {{"a.db", {{1, 1}, {5, 2}}}});
  run(twins, {{"a.db", {{1, 2}}, 20}});
  CHECK(copy_of_committed(twins[0].follower).pages.count(never_data) == 0);
  CHECK(copy_of_committed(twins[0].follower).pages.size() == 19);
}

TEST_CASE("pages that an entry adds without carrying them become zero pages") {
  std::vector<page_block> pages;
  REQUIRE(fill_growth(pages, 0, 8, page_bytes, lock_byte));
  REQUIRE(pages.size() == 7);
  std::uint32_t last = 0;
  for (const page_block& one : pages) {
    CHECK(one->number().value > last);
    last = one->number().value;
    CHECK(last != never_data);
    CHECK(is_zero_image(one->image()));
    CHECK(one->hash() == page_hash(one->number(), one->image()));
  }
  REQUIRE(fill_growth(pages, 0, 8, page_bytes, lock_byte));
  CHECK(pages.size() == 7);
  CHECK(fill_growth(pages, 9, 8, page_bytes, lock_byte));
  CHECK_FALSE(fill_growth(pages, 8, 9 + limits::growth_pages, page_bytes, lock_byte));
  CHECK(pages.size() == 7);
}

TEST_CASE("random changes in random cuts give the same databases") {
  const std::uint64_t seed = 20261123;
  CAPTURE(seed);
  quorlite::tests::generator random{seed};
  const std::vector<twin> twins{twin_named("a.db"), twin_named("b.db")};
  for (int round = 0; round < 300; ++round) {
    CAPTURE(round);
    std::vector<change> changes;
    for (const std::string name : {"a.db", "b.db"}) {
      change one{name, {{1, static_cast<std::uint8_t>(random.next())}}};
      for (std::uint64_t n = random.below(12); n > 0; --n) {
        const auto number = static_cast<std::uint32_t>(1 + random.below(40));
        if (number != never_data) {
          one.pages[number] = static_cast<std::uint8_t>(random.next());
        }
      }
      one.page_count = one.pages.rbegin()->first + random.below(10);
      one.page_count += one.page_count == never_data ? 1 : 0;
      changes.push_back(std::move(one));
    }
    run(twins, changes, 700 + random.below(8000));
  }
}

}  // namespace write_plan_test
