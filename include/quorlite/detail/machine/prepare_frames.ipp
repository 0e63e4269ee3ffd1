/// @file
/// Bodies of prepare_frames.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/machine/prepare_frames.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL bool fill_growth(std::vector<page_block>& pages, std::uint64_t before,
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

QUORLITE_DECL std::uint64_t full_page_bytes(const write_set_command& frames) noexcept {
  std::uint64_t sum = 0;
  for (const database_write_set& some : frames.databases) {
    sum += std::uint64_t{some.page_size} * some.pages.size();
  }
  return sum;
}

/// What an entry says of one page, on top of what is in memory. The base is never read here: a page
/// that is not in memory is known by its changes until somebody looks at it.
/// @pre the record keeps the rules of native::validate(), as all do that were decoded
/// @returns errc::malformed (the record breaks a rule: the same on every replica), errc::diverged
///   (it does not give the image that the leader had: this replica's fault)
[[nodiscard]] QUORLITE_DECL result<page_block> build_page(const page_record& record,
                                                          const database_write_set& frames,
                                                          const page_store::reader& reader,
                                                          const page_store::reader::guard& guard,
                                                          const page_store::state& base) {
  page_block page;
  const bool delta = record.encoding == page_encoding::delta;
  if (delta) {
    if (record.number.value > base.page_count) {
      return fail(errc::malformed);  // never on an image from before a shrink
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
    if (const std::error_code unfit = apply_delta(record.payload, page->image())) {
      return fail(unfit);
    }
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
    return fail(delta ? errc::diverged : errc::malformed);
  }
  return page;
}

QUORLITE_DECL std::error_code check_base(const database_write_set& frames,
                                         const page_store::state& committed) noexcept {
  if (frames.builds_on != committed.made_by) {
    return make_error_code(errc::conflict);
  }
  if (frames.base_version == committed.counted() && frames.base_hash == committed.hash) {
    return {};
  }
  const bool is_named = frames.builds_on != transaction_id{};
  return make_error_code(is_named ? errc::diverged : errc::conflict);
}

QUORLITE_DECL result<database_write> prepare_frames(const database_write_set& frames,
                                                    std::shared_ptr<database> target,
                                                    std::uint64_t lock_byte, bool redo) {
  database_write ready;
  ready.store = target->store();
  ready.target = std::move(target);
  ready.page_count = frames.page_count;
  const page_store::pin pinned = ready.store->pin_committed();
  const page_store::state base = pinned.at();
  if (const std::error_code unfit = check_base(frames, base)) {
    return fail(unfit);
  }
  if (base.page_size != 0 && base.page_size != frames.page_size) {
    return fail(errc::malformed);
  }
  if (std::uint64_t{frames.page_size} * frames.pages.size() > limits::transaction_bytes) {
    return fail(errc::malformed);  // before any of it is allocated
  }
  page_store::reader reader(ready.store);
  {
    const auto guard = reader.enter();
    ready.pages.reserve(frames.pages.size());
    for (const page_record& record : frames.pages) {
      result<page_block> page = build_page(record, frames, reader, guard, base);
      if (!page) {
        return fail(page.error());
      }
      ready.pages.push_back(std::move(*page));
    }
  }
  if (!fill_growth(ready.pages, base.page_count, frames.page_count, frames.page_size, lock_byte)) {
    return fail(errc::malformed);
  }
  ready.hash = frames.result_hash;
  ready.version = base.version.next();
  if (!redo &&
      ready.store->hash_after(ready.pages, frames.page_count, pinned) != frames.result_hash) {
    return fail(errc::diverged);
  }
  return ready;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
