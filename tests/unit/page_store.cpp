// What a page_store promises, case by case, and against a model that keeps every state whole.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "support/profile.hpp"

namespace {

using namespace quorlite;

using namespace quorlite::detail;

constexpr std::uint32_t page_size = 512;
constexpr std::uint64_t lock_byte = 5 * page_size + 17;  // page 6 is never data
constexpr std::uint32_t never_data = 6;

/// The pages of a state: number to the serial that made the image.
using image = std::map<std::uint32_t, std::uint64_t>;

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t x = a * 0x9E3779B97F4A7C15ULL + b;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31U);
}

std::uint64_t hash_of(std::uint32_t number, std::uint64_t serial) { return mix(number, serial); }

std::uint64_t hash_of(const image& pages) {
  std::uint64_t sum = 0;
  for (const auto& [number, serial] : pages) {
    sum += hash_of(number, serial);
  }
  return sum;
}

/// An image repeats one word that follows from page and serial.
std::uint64_t word_of(std::uint32_t number, std::uint64_t serial) { return ~mix(number, serial); }

page_block filled(std::uint32_t number, std::uint64_t serial, std::uint32_t size = page_size) {
  page_block page = make_page(page_number{number}, size);
  const bytes_span to = page->image();
  const std::uint64_t word = word_of(number, serial);
  for (std::size_t at = 0; at < to.size(); at += sizeof(word)) {
    std::memcpy(to.data() + at, &word, sizeof(word));
  }
  page->set_hash(hash_of(number, serial));
  return page;
}

bool shows(const page_version* page, std::uint32_t number, std::uint64_t serial) {
  if (page == nullptr || page->number().value != number ||
      page->hash() != hash_of(number, serial)) {
    return false;
  }
  const bytes_view from = page->image();
  const std::uint64_t word = word_of(number, serial);
  for (std::size_t at = 0; at < from.size(); at += sizeof(word)) {
    if (std::memcmp(from.data() + at, &word, sizeof(word)) != 0) {
      return false;
    }
  }
  return !from.empty() && from.size() == page->page_size();
}

/// A store whose pages are known by serial, and the calls that most cases need.
struct fixture {
  std::shared_ptr<page_store> store = page_store::make({}, history_number{1}, lock_byte);
  page_store::reader reader{store};
  std::uint64_t serials = 0;

  std::vector<page_block> pages(std::initializer_list<std::uint32_t> numbers) {
    std::vector<page_block> made;
    for (const std::uint32_t number : numbers) {
      made.push_back(filled(number, ++serials));
    }
    return made;
  }
  void install(std::initializer_list<std::uint32_t> numbers, std::uint64_t page_count) {
    auto writer = store->pin_head();
    auto set = pages(numbers);
    const std::uint64_t hash = store->hash_after(set, page_count, writer);
    REQUIRE(!store->install_head(writer, std::move(set), page_count, hash));
  }
  void commit(std::initializer_list<std::uint32_t> numbers, std::uint64_t page_count) {
    install(numbers, page_count);
    store->commit_next();
  }
  /// The version of a page's image that is visible at `at`; 0: none.
  std::uint64_t visible(std::uint64_t at, std::uint32_t number) {
    const auto guard = reader.enter();
    const page_version* page = reader.find(guard, version_number{at}, page_number{number});
    return page == nullptr ? 0 : page->version().value;
  }
  page_store_usage settled() {
    while (store->trim()) {
    }
    return store->usage();
  }
};

}  // namespace

TEST_CASE("a store is born with no page and no page size") {
  fixture f;
  CHECK(f.store->committed() == database_state{});
  CHECK(f.store->head() == database_state{});
  CHECK(f.visible(0, 1) == 0);
  CHECK(f.visible(100, 4294967294U) == 0);
  const auto pin = f.store->pin_committed();
  CHECK(pin.page_count() == 0);
  CHECK(pin.page_size() == 0);
}

TEST_CASE("the first install fixes the page size, and a discard undoes that") {
  const auto store = page_store::make();
  std::vector<page_block> small;
  small.push_back(filled(1, 1, 1024));
  REQUIRE(!store->install_head(store->history(), std::move(small), 1, hash_of(1, 1)));
  CHECK(store->head().page_size == 1024);
  CHECK(store->committed().page_size == 0);
  store->discard_head();
  CHECK(store->head().page_size == 0);
  std::vector<page_block> large;
  large.push_back(filled(1, 2, 65536));
  REQUIRE(!store->install_head(store->history(), std::move(large), 1, hash_of(1, 2)));
  store->commit_next();
  CHECK(store->committed().page_size == 65536);
}

TEST_CASE("a pending version is seen by who pins the head and by nobody else") {
  fixture f;
  f.commit({1, 2}, 2);
  f.install({2, 3}, 3);
  const auto reader = f.store->pin_committed();
  const auto writer = f.store->pin_head();
  CHECK(reader.version().value == 1);
  CHECK(reader.page_count() == 2);
  CHECK(writer.version().value == 2);
  CHECK(writer.page_count() == 3);
  CHECK(f.visible(1, 2) == 1);
  CHECK(f.visible(1, 3) == 0);
  CHECK(f.visible(2, 1) == 1);
  CHECK(f.visible(2, 2) == 2);
  f.store->commit_next();
  CHECK(f.store->committed().version.value == 2);
  CHECK(f.store->committed() == f.store->head());
  CHECK(f.visible(1, 2) == 1);  // the reader still stands there
}

TEST_CASE("an install moves the images and copies none") {
  fixture f;
  auto set = f.pages({1});
  const page_version* const block = set.front().get();
  REQUIRE(!f.store->install_head(f.store->history(), std::move(set), 1, hash_of(1, 1)));
  CHECK(set.empty());
  const auto guard = f.reader.enter();
  CHECK(f.reader.find(guard, version_number{1}, page_number{1}) == block);
}

TEST_CASE("pages that are cut off are gone, and come back as new pages") {
  fixture f;
  f.commit({1, 2, 3, 4, 5}, 5);
  const auto before = f.store->pin_committed();
  f.commit({1}, 2);
  const auto between = f.store->pin_committed();
  f.commit({1, 3, 4}, 4);
  CHECK(f.visible(1, 4) == 1);
  CHECK(f.visible(2, 4) == 0);
  CHECK(f.visible(3, 4) == 3);
  CHECK(f.visible(3, 5) == 0);
  CHECK(f.visible(3, 2) == 1);
  CHECK(f.store->committed().hash == hash_of({{1, 7}, {2, 2}, {3, 8}, {4, 9}}));
}

TEST_CASE("what is dirty is what is there, where no base is") {
  fixture f;
  f.commit({1, 2, 3}, 3);
  f.commit({1, 2}, 3);
  f.install({2, 3}, 3);
  f.store->discard_head();
  const page_store_usage now = f.settled();
  CHECK(now.images == 3);
  CHECK(now.limbo == 0);
  CHECK(now.dirty_bytes == 3 * filled(1, 1)->size_bytes());
}

TEST_CASE("nothing is left of pages that were cut off once nobody can see them") {
  fixture f;
  f.commit({1, 2, 3, 4, 5}, 5);
  auto before = f.store->pin_committed();
  f.commit({1}, 1);
  CHECK(f.store->usage().tombstones == 4);
  CHECK(f.store->usage().images == 6);
  before.reset();
  CHECK(f.settled().images == 1);
  CHECK(f.store->usage().tombstones == 0);
  CHECK(f.store->committed().hash == hash_of(1, 6));
  f.commit({1, 2}, 2);
  CHECK(f.visible(3, 2) == 3);
  CHECK(f.settled().images == 2);
}

TEST_CASE("a database may shrink to nothing and keeps its page size") {
  fixture f;
  f.commit({1, 2}, 2);
  f.commit({}, 0);
  CHECK(f.store->committed() == database_state{version_number{2}, 0, 0, page_size});
  CHECK(f.settled().images == 0);
  f.commit({1}, 1);
  CHECK(f.visible(3, 1) == 3);
}

TEST_CASE("the lock page needs no image when a database grows past it") {
  fixture f;
  f.commit({1, 2, 3, 4, 5, 7, 8}, 8);
  CHECK(f.visible(1, never_data) == 0);
  f.commit({1}, never_data);
  CHECK(f.store->committed().page_count == never_data);
  f.commit({7}, 7);
  CHECK(f.visible(3, 7) == 3);
}

TEST_CASE("an install of another history changes nothing") {
  fixture f;
  f.commit({1}, 1);
  const history_number before = f.store->history();
  auto writer = f.store->pin_head();
  f.store->discard_head();
  CHECK(f.store->history() > before);
  auto set = f.pages({1});
  CHECK(f.store->install_head(before, std::move(set), 1, 0) == errc::stale_term);
  CHECK(f.store->install_head(writer, std::move(set), 1, 0) == errc::stale_term);
  REQUIRE(set.size() == 1);
  CHECK(f.store->head().version.value == 1);
  CHECK(!writer.invalidated());  // it stood on the committed version, which stays
}

TEST_CASE("a pin above committed is invalidated by a discard, one on committed is not") {
  fixture f;
  f.commit({1}, 1);
  const auto sound = f.store->pin_committed();
  f.install({1}, 1);
  const auto lost = f.store->pin_head();
  CHECK(!lost.invalidated());
  f.store->discard_head();
  CHECK(lost.invalidated());
  CHECK(!sound.invalidated());
  CHECK(f.store->head().version.value == 1);
  CHECK(f.visible(1, 1) == 1);
}

TEST_CASE("an invalidated pin neither protects nor counts for the version that reuses its number") {
  fixture f;
  f.commit({1}, 1);
  f.install({1}, 1);
  const auto lost = f.store->pin_head();
  f.store->discard_head();
  f.install({1}, 1);
  const auto next = f.store->pin_head();
  CHECK(next.version() == lost.version());
  CHECK(next.history() > lost.history());
  CHECK(!next.invalidated());
  f.store->commit_next();
  f.commit({1}, 1);
  CHECK(f.settled().images == 2);  // the one of `next` and the newest
  {
    const auto guard = f.reader.enter();
    CHECK(shows(f.reader.find(guard, next.version(), page_number{1}), 1, 3));
  }
  CHECK(lost.invalidated());
}

TEST_CASE("a pin of a version is refused once the history or committed moved on") {
  fixture f;
  f.commit({1}, 1);
  const history_number history = f.store->history();
  f.install({1}, 1);
  f.install({1}, 1);
  for (std::uint64_t version = 1; version <= 3; ++version) {
    const auto pin = f.store->pin_version(history, version_number{version});
    REQUIRE(pin.has_value());
    CHECK(pin->version().value == version);
  }
  f.store->commit_next();
  CHECK(f.store->pin_version(history, version_number{1}).error() == errc::stale_term);
  f.store->discard_head();
  CHECK(f.store->pin_version(history, version_number{2}).error() == errc::stale_term);
  CHECK(f.store->pin_version(f.store->history(), version_number{2}).has_value());
}

TEST_CASE("the writer's pin moves with its install and leaves nothing behind") {
  fixture f;
  f.commit({1, 2, 3}, 3);
  auto writer = f.store->pin_head();
  for (int round = 0; round < 100; ++round) {
    auto set = f.pages({1, 2, 3});
    const std::uint64_t hash = f.store->hash_after(set, 3, writer);
    REQUIRE(!f.store->install_head(writer, std::move(set), 3, hash));
    CHECK(writer.version() == f.store->head().version);
    CHECK(writer.hash() == hash);
    f.store->commit_next();
    CHECK(f.store->usage().images == 3);
    CHECK(f.store->usage().held == 0);
  }
}

TEST_CASE("pins and readers keep a store that nobody else holds") {
  auto store = page_store::make();
  const std::weak_ptr<page_store> alive = store;
  std::vector<page_block> set;
  set.push_back(filled(1, 1));
  store->install_committed(std::move(set), 1, hash_of(1, 1));
  auto pin = store->pin_committed();
  {
    page_store::reader reader{std::move(store)};
    auto other = std::move(pin);
    CHECK(!pin);  // NOLINT: moved from is empty by promise
    {
      const auto guard = reader.enter();
      CHECK(shows(reader.find(guard, other.version(), page_number{1}), 1, 1));
    }
    pin = std::move(other);
  }
  CHECK(!alive.expired());
  CHECK(pin.page_count() == 1);
  pin.reset();
  CHECK(alive.expired());
}

TEST_CASE("a loaded store stands where it was told") {
  const database_state at{version_number{41}, 7, hash_of({{1, 1}, {2, 2}, {7, 7}}), page_size};
  const auto store = page_store::make(at, history_number{9}, lock_byte);
  for (const std::uint32_t number : {7U, 1U, 2U}) {
    store->load_page(filled(number, number));
  }
  CHECK(store->committed() == at);
  CHECK(store->history().value == 9);
  page_store::reader reader{store};
  std::vector<page_block> set;
  set.push_back(filled(2, 3));
  const std::uint64_t hash = store->hash_after(set, 2, store->pin_committed());
  CHECK(hash == hash_of({{1, 1}, {2, 3}}));
  store->install_committed(std::move(set), 2, hash);
  CHECK(store->committed().version.value == 42);
  const auto guard = reader.enter();
  CHECK(shows(reader.find(guard, version_number{42}, page_number{1}), 1, 1));
  CHECK(shows(reader.find(guard, version_number{42}, page_number{2}), 2, 3));
  CHECK(reader.find(guard, version_number{42}, page_number{7}) == nullptr);
}

TEST_CASE("what a guard protects outlives its version") {
  fixture f;
  f.commit({1}, 1);
  const auto guard = f.reader.enter();
  const page_version* const page = f.reader.find(guard, version_number{1}, page_number{1});
  for (int round = 0; round < 200; ++round) {
    f.commit({1}, 1);
  }
  CHECK(shows(page, 1, 1));
  CHECK(f.store->usage().images == 1);
  CHECK(f.store->usage().limbo == 200);
}

TEST_CASE("the changed pages are visited in order, as of the pin, and a visitor may end it") {
  fixture f;
  f.commit({1, 2, 3, 4, 5, 7}, 7);
  f.commit({2, 4}, 7);
  f.commit({5}, 5);
  const auto at = f.store->pin_committed();
  f.commit({1}, 5);
  f.install({3}, 5);
  const auto changed = [&](std::uint64_t after) {
    std::vector<std::uint32_t> numbers;
    f.store->for_each_changed(version_number{after}, at, [&](const page_version& page) {
      CHECK(page.version() <= at.version());
      numbers.push_back(page.number().value);
    });
    return numbers;
  };
  CHECK(changed(0) == std::vector<std::uint32_t>{1, 2, 3, 4, 5});
  CHECK(changed(1) == std::vector<std::uint32_t>{2, 4, 5});
  CHECK(changed(2) == std::vector<std::uint32_t>{5});
  CHECK(changed(3).empty());
  int visits = 0;
  f.store->for_each_changed(version_number{0}, at,
                            [&](const page_version&) { return ++visits < 2; });
  CHECK(visits == 2);
}

TEST_CASE("pages far apart are found, counted and visited") {
  constexpr std::uint64_t count = limits::page_count_max;
  const database_state at{version_number{1}, count, 0, page_size};
  const auto store = page_store::make(at, history_number{1}, lock_byte);
  const std::vector<std::uint32_t> far = {1, 1023, 1024, 1025, 1U << 21U, 3000000000U, 4294967294U};
  for (const std::uint32_t number : far) {
    store->load_page(filled(number, number));
  }
  std::vector<std::uint32_t> seen;
  store->for_each_changed(version_number{0}, store->pin_committed(), [&](const page_version& page) {
    CHECK(shows(&page, page.number().value, page.number().value));
    seen.push_back(page.number().value);
  });
  CHECK(seen == far);
  CHECK(store->usage().images == far.size());
}

TEST_CASE("one long pin costs one version more of each page, however long it stays") {
  constexpr std::uint32_t count = 512;
  const std::size_t installs = quorlite::tests::is_short_profile() ? 3000 : 20000;
  const auto store = page_store::make();
  std::vector<page_block> all;
  for (std::uint32_t number = 1; number <= count; ++number) {
    all.push_back(filled(number, number));
  }
  store->install_committed(std::move(all), count, 0);
  auto long_pin = store->pin_committed();
  std::mt19937_64 random(1);
  std::size_t most = 0;
  auto writer = store->pin_head();
  for (std::size_t n = 0; n < installs; ++n) {
    std::set<std::uint32_t> numbers;
    while (numbers.size() < 4) {
      numbers.insert(static_cast<std::uint32_t>(random() % count + 1));
    }
    std::vector<page_block> set;
    for (const std::uint32_t number : numbers) {
      set.push_back(filled(number, n));
    }
    REQUIRE(!store->install_head(writer, std::move(set), count, 0));
    auto reader = store->pin_committed();  // short ones come and go as well
    if (n >= 8) {
      store->commit_next();
    }
    const auto usage = store->usage();
    most = std::max(most, usage.images + usage.limbo);
  }
  CHECK(most <= 2 * count + 4 * 10 + 64);
  long_pin.reset();
  while (store->head() != store->committed()) {
    store->commit_next();
  }
  writer.reset();
  while (store->trim()) {
  }
  CHECK(store->usage().images == count);
  CHECK(store->usage().limbo == 0);
}

TEST_CASE("what old versions take for a long pin is told, all stores together, and comes back") {
  const auto gauge = std::make_shared<memory_gauge>();
  const auto make = [&] {
    const auto made = page_store::make({}, history_number{1}, lock_byte, gauge);
    std::vector<page_block> set;
    set.push_back(filled(1, 1));
    set.push_back(filled(2, 2));
    made->install_committed(std::move(set), 2, 0);
    return made;
  };
  const auto change = [](page_store& store, std::uint32_t number) {
    std::vector<page_block> set;
    set.push_back(filled(number, 9));
    store.install_committed(std::move(set), 2, 0);
  };
  const std::size_t page = filled(1, 1)->size_bytes();
  const auto one = make();
  const auto two = make();
  auto first = one->pin_committed();
  auto second = two->pin_committed();
  CHECK(gauge->pinned_bytes() == 0);  // what they see is what everybody sees
  change(*one, 1);
  CHECK(one->usage().pinned_bytes == page);
  CHECK(gauge->pinned_bytes() == page);
  change(*one, 1);  // the version between is seen by nobody
  CHECK(gauge->pinned_bytes() == page);
  change(*one, 2);
  change(*two, 2);
  CHECK(gauge->pinned_bytes() == 3 * page);
  CHECK(gauge->pinned_bytes() <= gauge->bytes());
  auto same = one->pin_committed();
  first.reset();
  CHECK(gauge->pinned_bytes() == page);
  two->discard_head(/*for_good=*/true);  // another one takes its place: all of it is the reader's
  CHECK(gauge->pinned_bytes() == two->usage().bytes);
  CHECK(two->usage().bytes >= 3 * page);
  second.reset();
  CHECK(one->usage().pinned_bytes == 0);
}

namespace {

constexpr std::size_t page_bytes = sizeof(page_version) + page_size;

/// A store of four pages under a limit that others may share, and how a page of it is read.
struct limited_store {
  explicit limited_store(std::shared_ptr<memory_gauge> under)
      : store(page_store::make({}, history_number{1}, lock_byte, std::move(under))) {
    change({1, 2, 3, 4});
  }

  void change(std::initializer_list<std::uint32_t> numbers) {
    std::vector<page_block> set;
    ++serial;
    for (const std::uint32_t number : numbers) {
      set.push_back(filled(number, serial));
    }
    store->install_committed(std::move(set), 4, 0);
  }

  /// errc::snapshot_ended, or nothing if the page is the one of that serial.
  std::error_code read(const page_store::pin& pin, std::uint32_t number, std::uint64_t of) {
    page_store::reader reader{store};
    const auto guard = reader.enter();
    const result<bytes_view> seen = reader.image(guard, pin, page_number{number});
    if (!seen) {
      return seen.error();
    }
    const page_block wanted = filled(number, of);
    const bytes_view same = wanted->image();
    CHECK(std::equal(seen->begin(), seen->end(), same.begin(), same.end()));
    return {};
  }

  std::shared_ptr<page_store> store;
  std::uint64_t serial = 0;
};

std::shared_ptr<memory_gauge> limit_of(std::size_t pages) {
  auto gauge = std::make_shared<memory_gauge>();
  gauge->readers().set(pages * page_bytes);
  return gauge;
}

}  // namespace

TEST_CASE("readers that keep too much are ended, the oldest first, and new ones go on") {
  const auto gauge = limit_of(5);
  limited_store one(gauge);
  const auto first = one.store->pin_committed(pin_kind::reader);
  one.change({1, 2, 3});
  const auto second = one.store->pin_committed(pin_kind::reader);
  one.change({1, 2});
  CHECK_FALSE(first.invalidated());  // five pages are kept: no more than may be
  CHECK_FALSE(one.read(first, 1, 1));
  one.change({3});
  CHECK(first.fate() == pin_fate::ended);
  for (std::uint32_t number = 1; number <= 4; ++number) {
    CHECK(one.read(first, number, 1) == errc::snapshot_ended);
  }
  CHECK(first.page_count() == 4);  // what it is stays known
  CHECK_FALSE(one.read(second, 1, 2));
  CHECK_FALSE(one.read(second, 4, 1));
  const auto third = one.store->pin_committed(pin_kind::reader);
  CHECK_FALSE(one.read(third, 3, 4));
  while (one.store->trim()) {
  }
  CHECK(gauge->readers().bytes() == 3 * page_bytes);
  CHECK(gauge->pinned_bytes() == 3 * page_bytes);
  CHECK(one.store->usage().images == 7);  // the memory is free
  CHECK(gauge->readers().ended() == 1);
}

TEST_CASE("what two readers see is kept for the younger when the older is ended") {
  const auto gauge = limit_of(3);
  limited_store one(gauge);
  const auto first = one.store->pin_committed(pin_kind::reader);
  one.change({1});
  const auto second = one.store->pin_committed(pin_kind::reader);
  one.change({2, 3});  // what both see there is counted with the first
  CHECK_FALSE(first.invalidated());
  one.change({4});
  CHECK(first.invalidated());
  CHECK_FALSE(second.invalidated());
  CHECK_FALSE(one.read(second, 1, 2));
  CHECK_FALSE(one.read(second, 2, 1));
  CHECK_FALSE(one.read(second, 4, 1));
  one.change({1});
  while (one.store->trim()) {
  }
  CHECK(second.invalidated());  // now those four are its own
}

TEST_CASE("the oldest reader of all databases is ended, not one of the database that is written") {
  const auto gauge = limit_of(4);
  limited_store quiet(gauge);
  limited_store busy(gauge);
  const auto forgotten = quiet.store->pin_committed(pin_kind::reader);
  quiet.change({1, 2, 3});
  const auto younger = busy.store->pin_committed(pin_kind::reader);
  busy.change({1, 2});
  CHECK(forgotten.invalidated());
  CHECK_FALSE(younger.invalidated());
  CHECK_FALSE(busy.read(younger, 2, 1));
}

TEST_CASE("a pin for a flush or a snapshot is not ended, and what it keeps ends no reader") {
  const auto gauge = limit_of(2);
  limited_store one(gauge);
  auto flush = one.store->pin_committed();
  const auto beside = one.store->pin_committed(pin_kind::reader);
  one.change({1, 2, 3, 4});
  CHECK_FALSE(flush.invalidated());
  CHECK_FALSE(beside.invalidated());  // nothing would be free without it
  CHECK_FALSE(one.read(flush, 1, 1));
  CHECK_FALSE(one.read(beside, 1, 1));
  CHECK(gauge->readers().bytes() == 0);
  CHECK(gauge->pinned_bytes() == 4 * page_bytes);
  flush.reset();  // from here on the reader alone keeps it
  CHECK(beside.invalidated());
  while (one.store->trim()) {
  }
  CHECK(one.store->usage().images == 4);
}

TEST_CASE("a reader of the newest state keeps nothing and is never ended") {
  const auto gauge = limit_of(1);
  limited_store one(gauge);
  const auto old = one.store->pin_committed(pin_kind::reader);
  const auto writer = one.store->pin_head(pin_kind::reader);
  CHECK_FALSE(writer.invalidated());
  one.change({1, 2});
  CHECK(old.invalidated());
  const auto next = one.store->pin_head(pin_kind::reader);
  CHECK_FALSE(next.invalidated());
  CHECK(one.store->usage().pins == 3);
}

TEST_CASE("without a limit nobody is ended") {
  const auto gauge = limit_of(0);
  limited_store one(gauge);
  const auto old = one.store->pin_committed(pin_kind::reader);
  for (int n = 0; n < 100; ++n) {
    one.change({1, 2, 3, 4});
  }
  CHECK_FALSE(one.read(old, 4, 1));
}

TEST_CASE("the end of a long pin is paid for in small shares") {
  constexpr std::uint32_t count = 4096;
  const auto store = page_store::make({}, history_number{1}, std::uint64_t{1} << 40U);
  const auto all = [] {
    std::vector<page_block> set;
    for (std::uint32_t number = 1; number <= count; ++number) {
      set.push_back(filled(number, number));
    }
    return set;
  };
  store->install_committed(all(), count, 0);
  auto long_pin = store->pin_committed();
  store->install_committed(all(), count, 0);
  CHECK(store->usage().held == count);
  long_pin.reset();
  CHECK(store->usage().backlog == count - 256);
  for (int call = 0; call < 15; ++call) {
    CHECK(store->usage().backlog != 0);
    CHECK(store->trim());
  }
  CHECK(store->usage().backlog == 0);
  CHECK(store->usage().images == count);
}

// ---- against a model
// -----------------------------------------------------------------------------

namespace {

/// Runs random calls on a store and on plain copies of every state.
class model {
 public:
  explicit model(std::uint64_t seed) : random_(seed) { states_.push_back({}); }

  void step() {
    switch (below(12)) {
      case 0:
      case 1:
      case 2: install(); break;
      case 3:
      case 4:
        if (states_.size() > 1) {
          store_->commit_next();
          states_.erase(states_.begin());
        }
        break;
      case 5:
        if (states_.size() == 1) {
          install_committed();
        }
        break;
      case 6:
        if (below(6) == 0) {
          discard();
        }
        break;
      case 7: add(store_->pin_committed(), states_.front()); break;
      case 8: add(store_->pin_head(), states_.back()); break;
      case 9: pin_some_version(); break;
      default: unpin(); break;
    }
    if (below(16) == 0) {
      store_->trim();
    }
    check_some_reads();
  }

  void check_everything() {
    CHECK(store_->committed().hash == hash_of(states_.front()));
    CHECK(store_->head().hash == hash_of(states_.back()));
    CHECK(store_->head().version.value - store_->committed().version.value == states_.size() - 1);
    for (const auto& held : pins_) {
      REQUIRE(held.pin.invalidated() == held.invalidated);
      if (!held.invalidated) {
        REQUIRE(held.pin.hash() == hash_of(held.pages));
        for (std::uint32_t number = 1; number <= pages_most + 1; ++number) {
          check_read(held.pin.version(), held.pages, number);
        }
      }
    }
    check_memory();
  }

  void drop_everything() {
    pins_.clear();
    discard();
    check_everything();
    CHECK(store_->usage().images == states_.front().size());
    CHECK(store_->usage().tombstones == 0);
    CHECK(store_->usage().pins == 0);
  }

 private:
  static constexpr std::uint32_t pages_most = 24;
  struct held_pin {
    page_store::pin pin;
    image pages;
    bool invalidated = false;
  };

  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  /// What the store keeps must be just what somebody can see: no more, no less.
  void check_memory() {
    while (store_->trim()) {
    }
    std::set<std::pair<std::uint32_t, std::uint64_t>> needed;
    for (const image& state : states_) {
      needed.insert(state.begin(), state.end());
    }
    for (const auto& held : pins_) {
      if (!held.invalidated) {
        needed.insert(held.pages.begin(), held.pages.end());
      }
    }
    const auto usage = store_->usage();
    REQUIRE(usage.images == needed.size());
    REQUIRE(usage.limbo == 0);
    REQUIRE(usage.backlog == 0);
    REQUIRE(usage.pins == pins_.size());
  }

  void check_read(version_number at, const image& pages, std::uint32_t number) {
    const auto guard = reader_.enter();
    const page_version* const page = reader_.find(guard, at, page_number{number});
    const auto expected = pages.find(number);
    const bool right =
        expected == pages.end() ? page == nullptr : shows(page, number, expected->second);
    if (!right) {  // so many reads that an assertion for each would be most of the work
      FAIL("page " << number << " at version " << at.value << " is not what the model has");
    }
  }

  void check_some_reads() {
    for (const auto& held : pins_) {
      if (!held.invalidated) {
        check_read(held.pin.version(), held.pages,
                   static_cast<std::uint32_t>(below(pages_most) + 1));
      }
    }
  }

  /// A random write set on `old`. @returns the state after it
  image next_state(const image& old, std::uint64_t old_count, std::vector<page_block>& set,
                   std::uint64_t& count) {
    count = below(4) == 0 ? below(pages_most + 1) : std::max<std::uint64_t>(old_count, 1);
    image after;
    for (std::uint32_t number = 1; number <= count; ++number) {
      const auto kept = old.find(number);
      if (number == never_data) {
        continue;
      }
      if (number > old_count || below(6) == 0) {
        set.push_back(filled(number, ++serials_));
        after[number] = serials_;
      } else if (kept != old.end()) {
        after[number] = kept->second;
      }
    }
    return after;
  }

  void install() {
    auto writer = store_->pin_head();
    std::vector<page_block> set;
    std::uint64_t count = 0;
    image after = next_state(states_.back(), writer.page_count(), set, count);
    const std::uint64_t hash = store_->hash_after(set, count, writer);
    REQUIRE(hash == hash_of(after));
    if (below(2) == 0) {
      REQUIRE(!store_->install_head(writer, std::move(set), count, hash));
      REQUIRE(writer.version() == store_->head().version);
      if (below(3) == 0) {
        add(std::move(writer), after);
      }
    } else {
      REQUIRE(!store_->install_head(store_->history(), std::move(set), count, hash));
    }
    states_.push_back(std::move(after));
  }

  void install_committed() {
    std::vector<page_block> set;
    std::uint64_t count = 0;
    states_.front() = next_state(states_.front(), store_->committed().page_count, set, count);
    const std::uint64_t hash = store_->hash_after(set, count, store_->pin_committed());
    store_->install_committed(std::move(set), count, hash);
  }

  void discard() {
    const version_number committed = store_->committed().version;
    const history_number before = store_->history();
    for (auto& held : pins_) {
      held.invalidated = held.invalidated || held.pin.version() > committed;
    }
    store_->discard_head();
    states_.erase(states_.begin() + 1, states_.end());
    std::vector<page_block> late;
    REQUIRE(store_->install_head(before, std::move(late), 0, 0) == errc::stale_term);
  }

  void pin_some_version() {
    const std::uint64_t above = below(states_.size());
    auto pin = store_->pin_version(store_->history(),
                                   version_number{store_->committed().version.value + above});
    REQUIRE(pin.has_value());
    add(std::move(*pin), states_[above]);
  }

  void add(page_store::pin pin, const image& pages) {
    pins_.push_back({std::move(pin), pages, false});
  }

  void unpin() {
    if (!pins_.empty() && (pins_.size() > 12 || below(2) == 0)) {
      pins_.erase(pins_.begin() + static_cast<std::ptrdiff_t>(below(pins_.size())));
    }
  }

  std::mt19937_64 random_;
  std::shared_ptr<page_store> store_ = page_store::make({}, history_number{1}, lock_byte);
  page_store::reader reader_{store_};
  std::vector<image> states_;  // committed, then each pending one
  std::vector<held_pin> pins_;
  std::uint64_t serials_ = 0;
};

}  // namespace

TEST_CASE("random calls leave a store as they leave the model") {
  const char* const given = std::getenv("QUORLITE_TEST_SEED");
  const std::uint64_t first = given == nullptr ? 1 : std::strtoull(given, nullptr, 10);
  const std::uint64_t seeds = given != nullptr ? 1 : quorlite::tests::is_short_profile() ? 20 : 200;
  std::printf("page_store model: seeds %llu to %llu (QUORLITE_TEST_SEED=n runs one)\n",
              static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(first + seeds - 1));
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    CAPTURE(seed);
    model run(seed);
    for (int step = 0; step < 1000; ++step) {
      run.step();
      if (step % 50 == 0) {
        run.check_everything();
      }
    }
    run.drop_everything();
  }
}
