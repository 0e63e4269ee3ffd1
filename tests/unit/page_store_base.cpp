// A page_store over a base: against a model that keeps every state whole, while flushes overwrite,
// tear, cut and fail under readers of old states.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/core/memory_gauge.hpp"
#include "quorlite/detail/machine/prepare_frames.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/testing/detail/simulation/random.hpp"
#include "support/profile.hpp"

namespace {

using namespace quorlite;

using namespace quorlite::detail;

constexpr std::uint32_t page_bytes = 512;
constexpr std::uint64_t lock_byte = 6 * page_bytes + 7;  // page 7 is never data
constexpr std::uint32_t never_data = 7;

/// A state of the model: the images of its pages, by number.
using image_map = std::map<std::uint32_t, bytes>;

std::uint64_t hash_of(const image_map& pages) {
  std::uint64_t sum = 0;
  for (const auto& [number, image] : pages) {
    sum += page_hash(page_number{number}, image);
  }
  return sum;
}

/// A base in memory, overwritten in place, page by page and half a page at a time.
class memory_base final : public page_source {
 public:
  std::error_code read(page_number number, bytes_span into) const noexcept override {
    ++reads;
    const auto found = pages.find(number.value);
    if (found == pages.end()) {
      return make_error_code(errc::storage_broken);
    }
    std::copy(found->second.begin(), found->second.end(), into.begin());
    return {};
  }
  void damaged(page_number number, std::error_code) const noexcept override {
    damage.push_back(number.value);
  }

  image_map pages;
  mutable std::vector<std::uint32_t> damage;
  mutable std::uint64_t reads = 0;
};

struct pinned_reader {
  page_store::pin pin;
  image_map sees;
  bool may_be_ended = false;
};

/// One database as a follower and a leader change it in turn, with everything written down.
class model_of_store {
 public:
  explicit model_of_store(std::uint64_t seed) : random_(seed) {
    const std::size_t most = random_.chance(0.5) ? random_.between(1, 40) * page_bytes : 0;
    gauge_->readers().set(most);
    limit_ = most;
    database_ = std::make_shared<database>("a.db", lock_byte, gauge_);
    database_->set_exists(true);
    store_ = database_->store();
    base_ = std::make_shared<memory_base>();
  }

  void run(int steps) {
    for (int step = 0; step < steps; ++step) {
      switch (random_.below(12)) {
        case 0:
        case 1:
        case 2:
        case 3: follow(); break;
        case 4: lead(); break;
        case 5:
        case 6: take_pin(); break;
        case 7: drop_pin(); break;
        case 8:
        case 9: flush(); break;
        case 10: store_->evict(random_.below(4) * page_bytes); break;
        default: static_cast<void>(store_->trim()); break;
      }
      check();
    }
    pins_.clear();
    while (store_->trim()) {
    }
    flush(false);
    store_->evict(std::size_t{1} << 30U);
    check();
    CHECK(store_->usage().images == 0);  // all of it is in the base, and only there
    CHECK(store_->usage().dirty_bytes == 0);
    CHECK(store_->usage().tombstones == 0);
  }

 private:
  /// What the next transaction makes of the model, and of which pages.
  struct change {
    image_map after;
    std::vector<std::uint32_t> numbers;
    std::uint64_t page_count = 0;
  };

  change draw() {
    change made{now_, {}, 0};
    const std::uint64_t count = page_count_;
    const bool shrink = count > 3 && random_.chance(0.15);
    const bool grow = count == 0 || (!shrink && random_.chance(0.3));
    made.page_count =
        shrink ? random_.between(1, count - 1) : count + (grow ? random_.between(1, 4) : 0);
    std::erase_if(made.after, [&](const auto& one) { return one.first > made.page_count; });
    for (std::uint64_t number = 1; number <= made.page_count; ++number) {
      const auto page = static_cast<std::uint32_t>(number);
      const bool chosen = number > count || random_.chance(0.25);
      if (page == never_data || !chosen) {
        continue;
      }
      made.numbers.push_back(page);
      bytes& image = made.after[page];
      if (number > count || random_.chance(0.2)) {
        image.assign(page_bytes, static_cast<std::byte>(random_.next()));
      }
      for (std::uint64_t edits = random_.between(1, 3); edits > 0; --edits) {
        const auto at = static_cast<std::size_t>(random_.below(page_bytes - 24));
        const auto length = static_cast<std::size_t>(random_.between(1, 24));
        std::fill_n(image.begin() + static_cast<std::ptrdiff_t>(at), length,
                    static_cast<std::byte>(random_.next()));
      }
    }
    if (made.numbers.empty()) {
      made.numbers.push_back(1);
      made.after[1][random_.below(page_bytes)] ^= std::byte{1};
    }
    return made;
  }

  /// An entry arrives: deltas where they can be.
  void follow() {
    const change made = draw();
    database_write_set frames;
    frames.name = "a.db";
    frames.base_version = store_->committed().counted();
    frames.base_hash = store_->committed().hash;
    frames.page_size = page_bytes;
    frames.page_count = made.page_count;
    frames.result_hash = hash_of(made.after);
    std::map<std::uint32_t, bytes> payloads;
    for (const std::uint32_t number : made.numbers) {
      const bytes& image = made.after.at(number);
      page_record record{
          page_number{number}, page_encoding::full, page_hash(page_number{number}, image), {}};
      const auto before = now_.find(number);
      bytes& payload = payloads[number];
      if (before != now_.end() && encode_delta(before->second, image, page_bytes, payload)) {
        record.encoding = page_encoding::delta;
      } else {
        payload = image;
      }
      record.payload = payload;
      frames.pages.push_back(record);
    }
    const std::uint64_t reads = base_->reads;
    result<database_write> ready = prepare_frames(frames, database_, lock_byte);
    REQUIRE(ready.has_value());
    CHECK(base_->reads == reads);  // the strand never reads the base
    store_->install_committed(std::move(ready->pages), ready->page_count, ready->hash);
    become(made);
  }

  /// A writer of our own: whole images on the head, committed or taken back.
  void lead() {
    const change made = draw();
    page_store::pin on = store_->pin_head();
    std::vector<page_block> pages;
    for (const std::uint32_t number : made.numbers) {
      page_block page = make_page(page_number{number}, page_bytes);
      std::copy(made.after.at(number).begin(), made.after.at(number).end(), page->image().begin());
      page->set_hash(page_hash(page->number(), page->image()));
      pages.push_back(std::move(page));
    }
    const std::uint64_t hash = store_->hash_after(pages, made.page_count, on);
    CHECK(hash == hash_of(made.after));
    REQUIRE_FALSE(store_->install_head(on, std::move(pages), made.page_count, hash));
    const bool flush_meanwhile = random_.chance(0.3);
    if (flush_meanwhile) {
      flush();
      check();
    }
    if (random_.chance(0.3)) {
      store_->discard_head();
    } else {
      store_->commit_next();
      become(made);
    }
  }

  void become(const change& made) {
    now_ = made.after;
    page_count_ = made.page_count;
  }

  void take_pin() {
    if (pins_.size() < 5) {
      const bool may_be_ended = random_.chance(0.7);
      const pin_kind kind = may_be_ended ? pin_kind::reader : pin_kind::kept;
      pins_.push_back({store_->pin_committed(kind), now_, may_be_ended});
    }
  }
  void drop_pin() {
    if (!pins_.empty()) {
      pins_.erase(pins_.begin() + static_cast<std::ptrdiff_t>(random_.below(pins_.size())));
    }
  }

  /// As a storage does it: old readers first, then in place, each page in two halves.
  void flush(bool may_fail = true) {
    page_store::pin target = store_->pin_committed();
    if (target.page_count() == 0) {
      return;
    }
    page_store::reader reader(store_);
    const bool older = store_->has_older_pins(target);
    const bool fails = may_fail && random_.chance(0.25);
    bool failed = false;
    store_->for_each_changed(flushed_, target, [&](const page_version& page) {
      const page_number number = page.number();
      if (older) {
        REQUIRE_FALSE(store_->keep_base(number, target, reader));
      }
      bytes image;
      {
        const auto guard = reader.enter();
        const result<bytes_view> found = reader.image(guard, target, number);
        REQUIRE(found.has_value());
        image.assign(found->begin(), found->end());
      }
      bytes& place = base_->pages[number.value];
      place.resize(page_bytes);
      std::copy_n(image.begin(), page_bytes / 2, place.begin());
      if (random_.chance(0.2)) {
        check();
      }
      failed = fails && random_.chance(0.3);
      if (!failed) {
        place = image;
      }
      return !failed;
    });
    for (std::uint64_t gone = target.page_count() + 1; older && !failed && gone <= base_count_;
         ++gone) {
      REQUIRE_FALSE(
          store_->keep_base(page_number{static_cast<std::uint32_t>(gone)}, target, reader));
    }
    if (failed || fails) {
      return;  // what was written stays as it is, and counts for nothing
    }
    std::erase_if(base_->pages, [&](const auto& one) { return one.first > target.page_count(); });
    if (!store_->has_base()) {
      store_->set_base(base_, target.page_count());
    }
    store_->flushed(flushed_, target);
    flushed_ = target.version();
    base_count_ = target.page_count();
  }

  void check() {
    CHECK(store_->committed().hash == hash_of(now_));
    CHECK(store_->sum_of_hashes() == hash_of(now_));
    for (const pinned_reader& one : pins_) {
      expect(one.pin, one.sees);
      CHECK((one.may_be_ended || one.pin.fate() != pin_fate::ended));
    }
    expect(store_->pin_committed(), now_);
    CHECK(base_->damage.empty());
    if (limit_ != 0) {
      static_cast<void>(store_->trim());
      CHECK(gauge_->readers().bytes() <= limit_);
    }
  }

  void expect(const page_store::pin& pin, const image_map& sees) {
    page_store::reader reader(store_);
    for (std::uint64_t number = 1; number <= pin.page_count() + 2; ++number) {
      const auto page = static_cast<std::uint32_t>(number);
      const auto guard = reader.enter();
      const result<bytes_view> image = reader.image(guard, pin, page_number{page});
      if (pin.fate() == pin_fate::ended && number <= pin.page_count()) {
        CHECK(image.has_value() == false);
        CHECK((image.has_value() || image.error() == errc::snapshot_ended));
        continue;
      }
      if (!image.has_value()) {
        FAIL("page " << page << " cannot be read: " << image.error().message());
      }
      const auto wanted = sees.find(page);
      const bool same = wanted == sees.end()
                            ? image->empty()
                            : std::equal(image->begin(), image->end(), wanted->second.begin(),
                                         wanted->second.end());
      if (!same) {
        FAIL("page " << page << " at version " << pin.version().value);
      }
    }
  }

  testing::detail::random random_;
  std::shared_ptr<memory_gauge> gauge_ = std::make_shared<memory_gauge>();
  std::size_t limit_ = 0;
  std::shared_ptr<database> database_;
  std::shared_ptr<page_store> store_;
  std::shared_ptr<memory_base> base_;
  image_map now_;
  std::uint64_t page_count_ = 0;
  std::vector<pinned_reader> pins_;
  version_number flushed_;
  std::uint64_t base_count_ = 0;
};

/// A store of a few pages, all of them in a base, that changes as it is told.
class small_store {
 public:
  /// @param limit for what readers keep, in bytes; 0: none
  explicit small_store(std::size_t limit = 0) {
    gauge->readers().set(limit);
    change(1, count);
    flush();
  }

  /// A transaction that brings pages `first` to `last`.
  void change(std::uint32_t first, std::uint32_t last, std::uint64_t page_count = count) {
    std::vector<page_block> pages;
    for (std::uint32_t number = first; number <= last; ++number) {
      pages.push_back(make_page(page_number{number}, page_bytes));
      const bytes_span image = pages.back()->image();
      std::fill(image.begin(), image.end(), static_cast<std::byte>(++changes_));
      pages.back()->set_hash(page_hash(page_number{number}, image));
    }
    page_store::pin on = store->pin_head();
    const std::uint64_t hash = store->hash_after(pages, page_count, on);
    on.reset();
    store->install_committed(std::move(pages), page_count, hash);
  }

  void flush() {
    const page_store::pin target = store->pin_committed();
    const bool older = store->has_older_pins(target);
    page_store::reader reader(store);
    store->for_each_changed(flushed_, target, [&](const page_version& page) {
      if (older) {
        REQUIRE_FALSE(store->keep_base(page.number(), target, reader));
      }
      base->pages[page.number().value].assign(page.image().begin(), page.image().end());
    });
    if (!store->has_base()) {
      store->set_base(base, target.page_count());
    }
    store->flushed(flushed_, target);
    flushed_ = target.version();
  }

  static constexpr std::uint32_t count = 5;
  static constexpr std::size_t all = std::size_t{1} << 30U;

  std::shared_ptr<memory_gauge> gauge = std::make_shared<memory_gauge>();
  std::shared_ptr<page_store> store =
      page_store::make({}, history_number{1}, limits::lock_byte_default, gauge);
  std::shared_ptr<memory_base> base = std::make_shared<memory_base>();

 private:
  std::uint64_t changes_ = 0;
  version_number flushed_;
};

/// A base in a real file: reads and writes of one page tear as the system pleases.
class file_base final : public page_source {
 public:
  file_base() : file_(std::tmpfile()) { REQUIRE(file_ != nullptr); }
  file_base(const file_base&) = delete;
  file_base& operator=(const file_base&) = delete;
  ~file_base() override { std::fclose(file_); }

  std::error_code read(page_number number, bytes_span into) const noexcept override {
    const auto got = ::pread(::fileno(file_), into.data(), into.size(), place(number));
    return got == static_cast<ssize_t>(into.size()) ? std::error_code{}
                                                    : make_error_code(errc::storage_broken);
  }
  void damaged(page_number, std::error_code) const noexcept override { damage.fetch_add(1); }

  void write(page_number number, bytes_view image) {
    const std::size_t half = image.size() / 2;
    put(image.first(half), place(number));
    put(image.subspan(half), place(number) + static_cast<off_t>(half));
  }

  mutable std::atomic<int> damage{0};

 private:
  static off_t place(page_number number) noexcept {
    return static_cast<off_t>(number.value - 1) * page_bytes;
  }
  void put(bytes_view some, off_t at) {
    REQUIRE(::pwrite(::fileno(file_), some.data(), some.size(), at) ==
            static_cast<ssize_t>(some.size()));
  }

  std::FILE* file_;
};

/// Entries arrive, flushes and evictions run, and readers read, all at once.
class busy_store {
 public:
  static constexpr std::uint32_t pages = 48;

  /// @param limit for what readers keep, in bytes; 0: none
  explicit busy_store(std::size_t limit = 0)
      : database_(std::make_shared<database>("a.db", std::uint64_t{1} << 40U, gauge_)) {
    gauge_->readers().set(limit);
    database_->set_exists(true);
    store_ = database_->store();
  }

  void apply(std::uint64_t entries) {
    testing::detail::random random{11};
    std::map<std::uint32_t, bytes> now;
    for (std::uint64_t entry = 0; entry < entries; ++entry) {
      database_write_set frames{
          "a.db", store_->committed().counted(), store_->committed().hash, {}, page_bytes, pages, 0,
          {}};
      std::map<std::uint32_t, bytes> payloads;
      for (std::uint32_t number = 1; number <= pages; ++number) {
        if (entry != 0 && !random.chance(0.1)) {
          continue;
        }
        bytes image = entry == 0 ? bytes(page_bytes) : now[number];
        const auto at = static_cast<std::size_t>(random.below(page_bytes - 8));
        std::fill_n(image.begin() + static_cast<std::ptrdiff_t>(at), 8,
                    static_cast<std::byte>(random.next()));
        const page_number page{number};
        bytes& payload = payloads[number];
        const bool delta = entry != 0 && encode_delta(now[number], image, page_bytes, payload);
        payload = delta ? payload : image;
        frames.pages.push_back({page, delta ? page_encoding::delta : page_encoding::full,
                                page_hash(page, image), payload});
        now[number] = image;
      }
      if (frames.pages.empty()) {
        continue;
      }
      for (const auto& [number, image] : now) {
        frames.result_hash += page_hash(page_number{number}, image);
      }
      result<database_write> ready = prepare_frames(frames, database_, std::uint64_t{1} << 40U);
      if (!ready) {
        failed_.store(true);
        break;
      }
      store_->install_committed(std::move(ready->pages), ready->page_count, ready->hash);
    }
    done_.store(true);
  }

  void flush_on() {
    version_number flushed{};
    while (!done_.load()) {
      const page_store::pin target = store_->pin_committed();
      if (target.page_count() == 0) {
        continue;
      }
      page_store::reader reader(store_);
      const bool older = store_->has_older_pins(target);
      store_->for_each_changed(flushed, target, [&](const page_version& page) {
        bytes image;
        if (older && store_->keep_base(page.number(), target, reader)) {
          failed_.store(true);
        }
        {
          const auto guard = reader.enter();
          const result<bytes_view> found = reader.image(guard, target, page.number());
          image.assign(found->begin(), found->end());
        }
        base_->write(page.number(), image);
      });
      if (!store_->has_base()) {
        store_->set_base(base_, pages);
      }
      store_->flushed(flushed, target);
      flushed = target.version();
      store_->evict(1U << 30U);
    }
  }

  void read_on() {
    page_store::reader reader(store_);
    while (!done_.load()) {
      const page_store::pin pin = store_->pin_committed(pin_kind::reader);
      std::uint64_t sum = 0;
      bool is_ended = false;
      for (std::uint32_t number = 1; number <= pin.page_count(); ++number) {
        const auto guard = reader.enter();
        const result<bytes_view> image = reader.image(guard, pin, page_number{number});
        sum += image ? page_hash(page_number{number}, *image) : 1;
        is_ended = is_ended || (!image && image.error() == errc::snapshot_ended);
        std::this_thread::yield();
      }
      if (is_ended ? !pin.invalidated() : sum != pin.hash()) {
        failed_.store(true);
      }
      states_read_.fetch_add(1);
    }
  }

  [[nodiscard]] bool failed() const { return failed_.load() || base_->damage.load() != 0; }
  [[nodiscard]] std::uint64_t states_read() const { return states_read_.load(); }
  [[nodiscard]] const pin_limit& readers() const { return gauge_->readers(); }

 private:
  std::shared_ptr<memory_gauge> gauge_ = std::make_shared<memory_gauge>();
  std::shared_ptr<database> database_;
  std::shared_ptr<page_store> store_;
  std::shared_ptr<file_base> base_ = std::make_shared<file_base>();
  std::atomic<bool> done_{false};
  std::atomic<bool> failed_{false};
  std::atomic<std::uint64_t> states_read_{0};
};

/// Entries here, and flushes and readers in threads of their own.
void use_together(busy_store& store) {
  std::vector<std::thread> others;
  others.emplace_back([&] { store.flush_on(); });
  others.emplace_back([&] { store.read_on(); });
  others.emplace_back([&] { store.read_on(); });
  store.apply(quorlite::tests::is_short_profile() ? 1500 : 8000);
  for (std::thread& one : others) {
    one.join();
  }
}

}  // namespace

TEST_CASE("what could not be evicted under a pin goes when the pin does, without another call") {
  small_store f;
  page_store& store = *f.store;
  page_store::pin old = store.pin_committed();
  f.change(1, small_store::count);
  f.flush();
  store.evict(small_store::all);
  CHECK(store.usage().dirty_bytes == 0);
  CHECK(store.usage().images == 2 * small_store::count);  // the pin's own, and the ones above them
  old.reset();
  CHECK(store.usage().images == 0);
}

TEST_CASE("of what could not be evicted under a pin no more goes than until there is room") {
  small_store f;
  page_store& store = *f.store;
  constexpr std::size_t each = page_bytes + sizeof(page_version);
  page_store::pin old = store.pin_committed();
  f.change(1, small_store::count);
  f.flush();
  const std::size_t enough = store.usage().bytes - (small_store::count + 2) * each;
  store.evict((small_store::count + 2) * each);
  old.reset();
  while (store.trim()) {
  }
  CHECK(store.usage().bytes <= enough);
  CHECK(store.usage().images != 0);

  page_store::pin next = store.pin_committed();
  f.change(1, small_store::count);
  f.flush();
  store.evict(0);  // there is room again
  next.reset();
  CHECK(store.usage().images == small_store::count);
}

TEST_CASE("a page that a flush cuts off stays for who saw it, though it has come again meanwhile") {
  small_store f;
  page_store& store = *f.store;
  store.evict(small_store::all);
  const page_number last{small_store::count};
  const bytes before = f.base->pages.at(last.value);
  const page_store::pin old = store.pin_committed();
  f.change(1, 1, small_store::count - 1);
  const page_store::pin target = store.pin_committed();
  f.change(last.value, last.value);
  page_store::reader reader(f.store);
  REQUIRE_FALSE(store.keep_base(last, target, reader));
  f.base->pages.erase(last.value);
  {
    const auto guard = reader.enter();
    const result<bytes_view> seen = reader.image(guard, old, last);
    REQUIRE(seen.has_value());
    CHECK(std::equal(seen->begin(), seen->end(), before.begin(), before.end()));
  }
}

TEST_CASE("readers get their state while entries, flushes and evictions go on in other threads") {
  busy_store store;
  use_together(store);
  CHECK_FALSE(store.failed());
  CHECK(store.states_read() > 10);
}

TEST_CASE("readers that are ended in the middle of a page are told so and see no other state") {
  busy_store store(8 * page_bytes);
  use_together(store);
  CHECK_FALSE(store.failed());
  CHECK(store.readers().ended() > 0);
  CHECK(store.readers().bytes() == 0);
}

TEST_CASE(
    "a reader that was ended is told so, not that the base is damaged that it no longer sees") {
  small_store f(5 * (page_bytes + sizeof(page_version)));
  page_store& store = *f.store;
  store.evict(small_store::all);
  const page_store::pin old = store.pin_committed(pin_kind::reader);
  page_store::reader reader(f.store);
  f.change(1, 2);
  f.flush();
  f.change(1, small_store::count);
  f.change(1, small_store::count);
  CHECK_FALSE(old.invalidated());  // of what only the base has nothing is kept yet
  f.flush();
  CHECK_FALSE(old.invalidated());
  f.change(1, small_store::count);
  const page_store::pin second = store.pin_committed(pin_kind::reader);
  f.change(1, 1);
  CHECK(old.invalidated());
  f.flush();
  for (std::uint32_t number = 1; number <= small_store::count; ++number) {
    const auto guard = reader.enter();
    const result<bytes_view> seen = reader.image(guard, old, page_number{number});
    CHECK(!seen.has_value());
    CHECK((seen.has_value() || seen.error() == errc::snapshot_ended));
  }
  CHECK_FALSE(second.invalidated());
  CHECK(f.base->damage.empty());
}

TEST_CASE("every pin reads its own state, whatever flushes do to the base") {
  const char* const chosen = std::getenv("QUORLITE_TEST_SEED");
  const std::uint64_t first = chosen == nullptr ? 1 : std::strtoull(chosen, nullptr, 10);
  const std::uint64_t last = chosen != nullptr                     ? first
                             : quorlite::tests::is_short_profile() ? 300
                                                                   : 4000;
  std::printf("base model: seeds %llu to %llu (QUORLITE_TEST_SEED=n runs one)\n",
              static_cast<unsigned long long>(first), static_cast<unsigned long long>(last));
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    CAPTURE(seed);
    model_of_store{seed}.run(120);
  }
}

TEST_CASE("a page of the base that is not what was written is reported and never served") {
  const auto base = std::make_shared<memory_base>();
  bytes image(page_bytes, std::byte{3});
  const std::uint64_t hash = page_hash(page_number{1}, image);
  const auto store =
      page_store::make({version_number{4}, 1, hash, page_bytes}, history_number{1}, lock_byte);
  store->set_base_hash(page_number{1}, hash);
  store->set_base(base, 1);
  base->pages[1] = image;
  page_store::reader reader(store);
  const page_store::pin pin = store->pin_committed();
  {
    const auto guard = reader.enter();
    CHECK(reader.image(guard, pin, page_number{1}).has_value());
  }
  for (std::size_t at = 0; at < page_bytes; at += 37) {
    base->pages[1] = image;
    base->pages[1][at] ^= std::byte{0x10};
    base->damage.clear();
    const auto guard = reader.enter();
    CHECK(reader.image(guard, pin, page_number{1}).error() == errc::corrupt);
    CHECK(base->damage == std::vector<std::uint32_t>{1});
  }
  base->pages.clear();
  const auto guard = reader.enter();
  CHECK(reader.image(guard, pin, page_number{1}).error() == errc::storage_broken);
}

TEST_CASE("two deltas merged do what both do, also on an image that is half old and half new") {
  testing::detail::random random{7};
  for (int round = 0; round < 3000; ++round) {
    bytes first(page_bytes);
    for (std::byte& one : first) {
      one = static_cast<std::byte>(random.next());
    }
    const auto edited = [&](bytes image) {
      for (std::uint64_t edits = random.below(5); edits > 0; --edits) {
        const auto at = static_cast<std::size_t>(random.below(page_bytes));
        const auto length = static_cast<std::size_t>(
            random.between(1, std::min<std::uint64_t>(60, page_bytes - at)));
        std::fill_n(image.begin() + static_cast<std::ptrdiff_t>(at), length,
                    static_cast<std::byte>(random.next()));
      }
      return image;
    };
    const bytes second = edited(first);
    const bytes third = edited(second);
    bytes older;
    bytes newer;
    REQUIRE(encode_delta(first, second, page_bytes, older));
    REQUIRE(encode_delta(second, third, page_bytes, newer));
    bytes merged;
    merge_deltas(older, newer, merged);
    REQUIRE_FALSE(check_delta(merged, page_bytes));
    CHECK(merged.size() <= older.size() + newer.size() + 8);
    bytes torn = first;
    const auto cut = static_cast<std::ptrdiff_t>(random.below(page_bytes + 1));
    const bytes& other = random.chance(0.5) ? second : third;
    std::copy(other.begin(), other.begin() + cut, torn.begin());
    REQUIRE_FALSE(apply_delta(merged, torn));
    CHECK(torn == third);
  }
}
