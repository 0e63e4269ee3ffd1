/// @file
/// From the frames of a transaction to the pages that its commit installs: everything is checked,
/// and built beside the state, before anything is touched.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/codec/entry_codec.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/detail/pages/registry.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One database's share of a transaction, ready to be installed.
struct prepared_frames {
  std::shared_ptr<database> target;
  std::shared_ptr<page_store> store;
  std::vector<page_block> pages;  ///< ascending
  std::uint64_t page_count = 0;   ///< after the commit
  std::uint64_t hash = 0;         ///< after the commit
};

/// Adds a zero page for every page in (before, after] that `pages` does not carry: SQLite may grow
/// a database by pages that it never writes, and replicas must agree on what they hold. The lock
/// page is never data.
/// @param pages ascending by number, within `after`; stays so
/// @returns false, with nothing changed, if more than limits::growth_pages would have to be added,
/// or all pages would be more than limits::transaction_bytes
[[nodiscard]] inline bool fill_growth(std::vector<page_block>& pages, std::uint64_t before,
                                      std::uint64_t after, std::uint32_t page_size,
                                      std::uint64_t lock_byte) {
  if (after <= before) {
    return true;
  }
  const auto middle = static_cast<std::ptrdiff_t>(pages.size());
  std::size_t next = 0;
  while (next < pages.size() && pages[next]->number().value <= before) {
    ++next;
  }
  const std::uint64_t carried = pages.size() - next;
  const std::uint64_t missing = after - before > carried ? after - before - carried : 0;
  if (missing > limits::growth_pages ||
      (pages.size() + missing) * page_size > limits::transaction_bytes) {
    return false;
  }
  const std::uint64_t hole = lock_page(page_size, lock_byte);
  for (std::uint64_t number = before + 1; number <= after; ++number) {
    if (next < static_cast<std::size_t>(middle) && pages[next]->number().value == number) {
      ++next;
    } else if (number != hole) {
      page_block zero = make_page(page_number{static_cast<std::uint32_t>(number)}, page_size);
      std::memset(zero->image().data(), 0, page_size);
      zero->set_hash(page_hash(zero->number(), zero->image()));
      pages.push_back(std::move(zero));
    }
  }
  std::inplace_merge(
      pages.begin(), pages.begin() + middle, pages.end(),
      [](const page_block& a, const page_block& b) { return a->number() < b->number(); });
  return true;
}

/// What an entry says of one page, on top of what is in memory. The base is never read here: a page
/// that is not in memory is known by its changes until somebody looks at it.
/// @returns errc::malformed (the record breaks a rule: the same on every replica), errc::diverged
///   (it does not give the image that the leader had: this replica's fault)
[[nodiscard]] inline result<page_block> build_page(const page_record& record,
                                                   const database_frames& frames,
                                                   const page_store::reader& reader,
                                                   const page_store::reader::guard& guard,
                                                   const page_store::state& base) {
  page_block page;
  const bool delta = record.encoding == page_encoding::delta;
  if (delta) {
    if (record.number.value > base.page_count) {
      return failed(errc::malformed);  // never on an image from before a shrink
    }
    if (const std::error_code error = check_delta(record.payload, frames.page_size)) {
      return failed(error);
    }
    const page_version* const before = reader.find(guard, base.version, record.number);
    if (before != nullptr && before->is_patch()) {
      bytes merged;
      merge_deltas(before->patch(), record.payload, merged);
      return make_patch(record.number, record.hash, merged);
    }
    if (before == nullptr && reader.store()->is_in_base(record.number)) {
      return make_patch(record.number, record.hash, record.payload);
    }
    page = make_page(record.number, frames.page_size);
    if (before == nullptr) {
      std::memset(page->image().data(), 0, frames.page_size);
    } else {
      std::memcpy(page->image().data(), before->image().data(), frames.page_size);
    }
    QUORLITE_ASSERT(!apply_delta(record.payload, page->image()));
  } else {
    page = make_page(record.number, frames.page_size);
    if (record.encoding == page_encoding::full) {
      std::memcpy(page->image().data(), record.payload.data(), frames.page_size);
    } else {
      std::memset(page->image().data(), 0, frames.page_size);
    }
  }
  page->set_hash(page_hash(record.number, page->image()));
  if (page->hash() != record.hash) {
    // Only a delta has anything to do with what this replica held.
    return failed(delta ? errc::diverged : errc::malformed);
  }
  return page;
}

/// Builds what `frames` makes of the committed state of `target`. Off every lock; touches nothing.
///
/// @param frames all parts of the transaction merged: pages ascending and each once
/// @param redo the base may be ahead of the state: the hashes of its pages prove nothing yet
/// @returns errc::conflict: the base is not the committed state. errc::malformed: a rule is broken.
/// Both are the same
///   on every replica. errc::diverged: the result has another hash than the leader's: this
///   replica's fault
[[nodiscard]] inline result<prepared_frames> prepare_frames(const database_frames& frames,
                                                            std::shared_ptr<database> target,
                                                            std::uint64_t lock_byte,
                                                            bool redo = false) {
  prepared_frames ready;
  ready.store = target->store();
  ready.target = std::move(target);
  ready.page_count = frames.page_count;
  const page_store::pin pinned = ready.store->pin_committed();
  const page_store::state base = pinned.at();
  if (frames.base_version != base.counted() || frames.base_hash != base.hash) {
    return failed(errc::conflict);
  }
  if (base.page_size != 0 && base.page_size != frames.page_size) {
    return failed(errc::malformed);
  }
  if (std::uint64_t{frames.page_size} * frames.pages.size() > limits::transaction_bytes) {
    return failed(errc::malformed);  // before any of it is allocated
  }
  page_store::reader reader(ready.store);
  {
    const auto guard = reader.enter();
    ready.pages.reserve(frames.pages.size());
    for (const page_record& record : frames.pages) {
      result<page_block> page = detail::build_page(record, frames, reader, guard, base);
      if (!page) {
        return failed(page.error());
      }
      ready.pages.push_back(std::move(*page));
    }
  }
  if (!fill_growth(ready.pages, base.page_count, frames.page_count, frames.page_size, lock_byte)) {
    return failed(errc::malformed);
  }
  ready.hash = frames.result_hash;
  if (!redo &&
      ready.store->hash_after(ready.pages, frames.page_count, pinned) != frames.result_hash) {
    return failed(errc::diverged);
  }
  return ready;
}

/// The same for a transaction of a foreign format: its pages replace those of the committed state,
/// whatever that is. The last image of a page counts; those beyond the page count are left out.
///
/// @param earlier frames that waited, in the order of the log @param last those that commit
/// @returns errc::malformed: another page size than the database's, or more growth than pages for
///   it; the same on every replica
[[nodiscard]] inline result<prepared_frames> prepare_foreign(
    std::span<const foreign_frames> earlier, const foreign_frames& last,
    std::shared_ptr<database> target, std::uint64_t lock_byte) {
  prepared_frames ready;
  ready.store = target->store();
  ready.target = std::move(target);
  ready.page_count = last.page_count;
  const page_store::pin pinned = ready.store->pin_committed();
  if (pinned.page_size() != 0 && pinned.page_size() != last.page_size) {
    return failed(errc::malformed);
  }
  std::map<page_number, bytes_view> newest;
  const auto collect = [&](const foreign_frames& some) {
    for (const foreign_page& page : some.pages) {
      newest.insert_or_assign(page.number, page.image);
    }
  };
  std::for_each(earlier.begin(), earlier.end(), collect);
  collect(last);
  for (const auto& [number, image] : newest) {
    if (number.value > last.page_count) {
      break;
    }
    page_block page = make_page(number, last.page_size);
    const bytes_span filled = page->image();
    std::memset(filled.data(), 0, filled.size());
    std::memcpy(filled.data(), image.data(), std::min(image.size(), filled.size()));
    page->set_hash(page_hash(number, filled));
    ready.pages.push_back(std::move(page));
  }
  if (!fill_growth(ready.pages, pinned.page_count(), last.page_count, last.page_size, lock_byte)) {
    return failed(errc::malformed);
  }
  ready.hash = ready.store->hash_after(ready.pages, last.page_count, pinned);
  return ready;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
