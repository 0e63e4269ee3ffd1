// Readers, a pipelined writer, an applier that loses leadership, and a flusher, all at once. Every
// image that is read says who made it and is compared whole; run it under the thread sanitizer.
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/core/memory_gauge.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/limits.hpp"
#include "support/profile.hpp"

#if defined(__SANITIZE_THREAD__)
#define QUORLITE_TEST_SLOW 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define QUORLITE_TEST_SLOW 1
#endif
#endif
#ifndef QUORLITE_TEST_SLOW
#define QUORLITE_TEST_SLOW 0
#endif

namespace {

using namespace quorlite;

using namespace quorlite::detail;

constexpr std::uint32_t page_size = 512;
constexpr std::uint32_t pages_full = 512;
constexpr std::uint32_t pages_cut = 480;
constexpr std::uint64_t depth_most = 64;

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t x = a * 0x9E3779B97F4A7C15ULL + b;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31U);
}

// What a version does follows from its number alone, so that every reader knows what to expect:
// version 1 makes all pages, every 16th cuts the end off, the next one brings it back.
bool cuts(std::uint64_t version) { return version > 1 && version % 16 == 0; }
std::uint64_t count_at(std::uint64_t version) { return cuts(version) ? pages_cut : pages_full; }
bool touches(std::uint64_t version, std::uint32_t number) {
  if (number > count_at(version)) {
    return false;
  }
  return version == 1 || number == 1 || (number > pages_cut && cuts(version - 1)) ||
         mix(version, number) % 64 == 0;
}
/// The version whose image of a page is visible at `version`; 0: none.
std::uint64_t expected(std::uint64_t version, std::uint32_t number) {
  if (number > count_at(version)) {
    return 0;
  }
  while (!touches(version, number)) {
    --version;
  }
  return version;
}

/// An image says which page it is, of which version, and in which history that was made.
struct words {
  std::uint64_t number, version, history;
};
page_block filled(std::uint32_t number, std::uint64_t version, std::uint64_t history) {
  page_block page = make_page(page_number{number}, page_size);
  std::uint64_t image[page_size / 8] = {number, version, history};
  for (std::size_t at = 3; at < page_size / 8; ++at) {
    image[at] = mix(mix(number, version), history + at);
  }
  std::memcpy(page->image().data(), image, page_size);
  page->set_hash(mix(mix(number, version), history));
  return page;
}
/// @returns false if the bytes are not those of one filled() page
bool whole(const std::uint64_t (&image)[page_size / 8], words& says) {
  says = {image[0], image[1], image[2]};
  for (std::size_t at = 3; at < page_size / 8; ++at) {
    if (image[at] != mix(mix(says.number, says.version), says.history + at)) {
      return false;
    }
  }
  return true;
}

std::uint64_t versions_most() {
  const bool fast = quorlite::tests::is_short_profile();
  return QUORLITE_TEST_SLOW != 0 ? (fast ? 3000 : 20000) : (fast ? 6000 : 60000);
}

/// The shared fixture of one run.
struct fixture {
  /// @param limit for what readers keep, in bytes; 0: none
  explicit fixture(std::uint64_t versions, std::size_t limit = 0) : made_in(versions + 1) {
    gauge->readers().set(limit);
    std::vector<page_block> all;
    for (std::uint32_t number = 1; number <= pages_full; ++number) {
      all.push_back(filled(number, 1, 1));
    }
    const std::uint64_t hash = store->hash_after(all, pages_full, store->pin_head());
    made_in[1] = 1;
    store->install_committed(std::move(all), pages_full, hash);
  }

  std::shared_ptr<memory_gauge> gauge = std::make_shared<memory_gauge>();
  std::shared_ptr<page_store> store =
      page_store::make({}, history_number{1}, limits::lock_byte_default, gauge);
  std::vector<std::atomic<std::uint64_t>> made_in;  // committed version to history; 0: not yet
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> bad{0};
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> invalidated{0};
  std::atomic<std::uint64_t> losses{0};
  std::atomic<std::uint64_t> installs{0};
  std::atomic<std::uint64_t> flushed{0};
  std::atomic<std::uint64_t> images_most{0};
};

/// True if the image is right for a pin. A pin that is invalidated by now proves nothing.
bool right(fixture& w, const page_store::pin& pin, std::uint32_t number, bool found,
           const std::uint64_t (&image)[page_size / 8]) {
  const std::uint64_t version = expected(pin.version().value, number);
  if (version == 0 || !found) {
    return (version == 0 && !found) || pin.invalidated();
  }
  words says{};
  if (!whole(image, says) || says.number != number) {
    return false;  // torn or freed: never allowed, invalidated or not
  }
  const std::uint64_t history = w.made_in[version].load();
  const bool of_version_history =
      history != 0 ? says.history == history : says.history == pin.history().value;
  return (says.version == version && of_version_history) || pin.invalidated();
}

void read_pages(fixture& w, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  page_store::reader reader{w.store};
  page_store::pin kept;  // one that stays for a while
  std::uint64_t image[page_size / 8] = {};
  for (std::uint64_t turn = 0; !w.done.load(); ++turn) {
    if (turn % 64 == 0) {
      kept = w.store->pin_committed(pin_kind::reader);
    }
    const auto fresh = random() % 3 == 0 ? w.store->pin_head(pin_kind::reader)
                                         : w.store->pin_committed(pin_kind::reader);
    for (int n = 0; n < 20; ++n) {
      const page_store::pin& pin = n % 4 == 0 ? kept : fresh;
      const auto number = static_cast<std::uint32_t>(n == 0 ? 1 : random() % pages_full + 1);
      bool found = false;
      {
        const auto guard = reader.enter();
        const page_version* const page = reader.find(guard, pin.version(), page_number{number});
        if (page != nullptr) {
          found = true;
          const page_version& shared = *page;
          std::memcpy(image, shared.image().data(), page_size);
        }
      }
      w.bad += right(w, pin, number, found, image) ? 0 : 1;
    }
    w.reads += 20;
    w.invalidated += fresh.invalidated() ? 1 : 0;
    w.bad += kept.fate() == pin_fate::taken_back ? 1 : 0;
  }
}

void write_versions(fixture& w, std::uint64_t versions) {
  auto writer = w.store->pin_head();
  while (!w.done.load()) {
    const std::uint64_t next = writer.version().value + 1;
    if (next > versions || next > w.store->committed().version.value + depth_most) {
      if (writer.history() != w.store->history()) {
        writer = w.store->pin_head();
      }
      std::this_thread::yield();
      continue;
    }
    std::vector<page_block> set;
    for (std::uint32_t number = 1; number <= count_at(next); ++number) {
      if (touches(next, number)) {
        set.push_back(filled(number, next, writer.history().value));
      }
    }
    const std::uint64_t count = count_at(next);
    const std::uint64_t hash = w.store->hash_after(set, count, writer);
    if (w.store->install_head(writer, std::move(set), count, hash)) {
      writer = w.store->pin_head();
    } else {
      ++w.installs;
    }
  }
}

void apply_versions(fixture& w, std::uint64_t versions) {
  std::mt19937_64 random(7);
  while (w.store->committed().version.value < versions) {
    const auto usage = w.store->usage();
    if (usage.images > w.images_most.load()) {
      w.images_most = usage.images;
    }
    if (usage.pending == 0) {
      std::this_thread::yield();
      continue;
    }
    if (random() % 50 == 0) {
      w.store->discard_head();
      ++w.losses;
      continue;
    }
    for (std::uint64_t n = random() % usage.pending + 1; n != 0; --n) {
      const std::uint64_t next = w.store->committed().version.value + 1;
      w.made_in[next] = w.store->history().value;
      w.store->commit_next();
    }
  }
  w.done = true;
}

void flush_changes(fixture& w) {
  version_number base;
  while (!w.done.load()) {
    const auto at = w.store->pin_committed();
    std::uint64_t sum = 0;
    w.store->for_each_changed(version_number{}, at, [&](const page_version& page) {
      sum += page.hash();
      w.bad += page.version().value == expected(at.version().value, page.number().value) ? 0 : 1;
    });
    w.bad += sum == at.hash() ? 0 : 1;
    w.store->for_each_changed(base, at, [&](const page_version& page) {
      w.bad += page.version() > base ? 0 : 1;
      ++w.flushed;
    });
    base = at.version();
    std::this_thread::yield();
  }
}

}  // namespace

namespace {

void run_all(fixture& w, std::uint64_t versions) {
  std::vector<std::thread> threads;
  for (std::uint64_t n = 0; n < 4; ++n) {
    threads.emplace_back([&w, n] { read_pages(w, n); });
  }
  threads.emplace_back([&w, versions] { write_versions(w, versions); });
  threads.emplace_back([&w] { flush_changes(w); });
  apply_versions(w, versions);
  for (auto& thread : threads) {
    thread.join();
  }
}

void check_end(fixture& w, std::uint64_t versions) {
  CHECK(w.bad == 0);
  CHECK(w.reads > 0);
  CHECK(w.losses > 0);
  while (w.store->trim()) {
  }
  const auto usage = w.store->usage();
  CHECK(usage.pins == 0);
  CHECK(usage.pending == 0);
  CHECK(usage.images == count_at(versions));
  CHECK(usage.limbo == 0);
  CHECK(usage.held == 0);
  WARN("reads " << w.reads << ", invalidated pins " << w.invalidated << ", installs " << w.installs
                << ", losses " << w.losses << ", flushed " << w.flushed << ", most images "
                << w.images_most);
}

}  // namespace

TEST_CASE("readers see whole states while versions come, are committed, and are taken back") {
  const std::uint64_t versions = versions_most();
  fixture w(versions);
  run_all(w, versions);
  check_end(w, versions);
  CHECK(w.gauge->readers().ended() == 0);
}

TEST_CASE("readers see whole states or are told that they were ended, whoever writes meanwhile") {
  const std::uint64_t versions = versions_most() / 4;
  fixture w(versions, 64 * (page_size + sizeof(page_version)));
  run_all(w, versions);
  check_end(w, versions);
  CHECK(w.gauge->readers().ended() > 0);
  CHECK(w.gauge->readers().bytes() == 0);
}
