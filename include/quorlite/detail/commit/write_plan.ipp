/// @file
/// Bodies of write_plan.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <variant>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/commit/write_plan.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::error_code write_plan::add(database_write& write) {
  database_write_set frames;
  frames.name = write.target->name();
  frames.base_version = write.base->at().counted();
  frames.base_hash = write.base->hash();
  frames.builds_on = write.base->at().made_by;
  frames.page_count = write.page_count;
  page_store::reader reader(write.store);
  for (page_block& page : write.pages) {
    page->set_hash(page_hash(page->number(), page->image()));
    const bool needed = frames.pages.empty() && &page == &write.pages.back();
    const result<bool> kept = record_page(*page, needed, *write.base, reader, frames.pages);
    if (!kept) {
      return kept.error();
    }
    if (*kept) {
      full_page_bytes_ += page->page_size();
    } else {
      page.reset();
    }
  }
  std::erase_if(write.pages, [](const page_block& page) { return page == nullptr; });
  frames.page_size =
      write.pages.empty() ? write.base->page_size() : write.pages.front()->page_size();
  write.hash = write.store->hash_after(write.pages, write.page_count, *write.base);
  frames.result_hash = write.hash;
  write.version = write.base->version().next();
  databases_.push_back(std::move(frames));
  return {};
}

QUORLITE_DECL result<std::vector<bytes>> write_plan::entries(transaction_id id, std::size_t at_most,
                                                             std::uint64_t lock_byte,
                                                             const history_witness& witness) {
  for (const database_write_set& frames : databases_) {
    if (frames.pages.empty()) {
      return fail(errc::malformed);
    }
  }
  if (full_page_bytes_ > limits::transaction_bytes) {
    return fail(errc::too_large);  // every replica would refuse it
  }
  set_payloads();
  std::vector<bytes> out;
  std::uint64_t total = 0;
  cursor next;
  do {
    command part = command_of(id, witness,
                              write_set_command{static_cast<std::uint32_t>(out.size()), true, {}});
    auto& frames = std::get<write_set_command>(part.body);
    if (!take_part(next, at_most, frames.databases)) {
      return fail(errc::too_large);
    }
    frames.commit = next.database == databases_.size();
    bytes encoded;
    if (const std::error_code error = native::encode(part, encoded, lock_byte)) {
      return fail(error);
    }
    total += encoded.size();
    if (encoded.size() > at_most || total > limits::staged_bytes) {
      return fail(errc::too_large);
    }
    out.push_back(std::move(encoded));
  } while (next.database < databases_.size());
  return out;
}

/// @returns false if the page is byte for byte what it was, and not needed all the same
QUORLITE_DECL result<bool> write_plan::record_page(const page_version& page, bool needed,
                                                   const page_store::pin& base,
                                                   page_store::reader& reader,
                                                   std::vector<page_record>& into) {
  page_record record{page.number(), page_encoding::full, page.hash(), {}};
  const auto guard = reader.enter();
  // A page beyond the old size is never a delta: what it held before a shrink is gone.
  const result<bytes_view> before = reader.image(guard, base, page.number());
  if (!before) {
    return fail(before.error());
  }
  const std::size_t start = payloads_.size();
  if (!before->empty() && encode_delta(*before, page.image(), page.image().size() - 1, payloads_)) {
    if (payloads_.size() == start && !needed) {
      return false;
    }
    record.encoding = page_encoding::delta;
  } else if (is_zero_image(page.image())) {
    record.encoding = page_encoding::zero;
  } else {
    record.payload = page.image();
  }
  if (record.encoding == page_encoding::delta) {
    delta_bytes_.push_back(payloads_.size() - start);
  }
  into.push_back(record);
  return true;
}

/// The deltas lie one after the other in one buffer, which has stopped growing.
QUORLITE_DECL void write_plan::set_payloads() {
  bytes_view rest = payloads_;
  std::size_t nth = 0;
  for (database_write_set& frames : databases_) {
    for (page_record& record : frames.pages) {
      if (record.encoding == page_encoding::delta) {
        record.payload = rest.first(delta_bytes_[nth]);
        rest = rest.subspan(delta_bytes_[nth++]);
      }
    }
  }
}

/// All but the records, which may be a million.
[[nodiscard]] inline database_write_set head_of(const database_write_set& from) {
  database_write_set head;
  head.name = from.name;
  head.base_version = from.base_version;
  head.base_hash = from.base_hash;
  head.builds_on = from.builds_on;
  head.page_size = from.page_size;
  head.page_count = from.page_count;
  head.result_hash = from.result_hash;
  return head;
}

/// Moves as many records as fit. @returns false if not even one does
QUORLITE_DECL bool write_plan::take_part(cursor& next, std::size_t at_most,
                                         std::vector<database_write_set>& into) const {
  std::size_t names_bytes = 0;
  std::size_t records_bytes = 0;
  std::size_t records = 0;
  for (; next.database < databases_.size(); ++next.database, next.page = 0) {
    const database_write_set& from = databases_[next.database];
    names_bytes += from.name.size();
    database_write_set some = head_of(from);
    for (; next.page < from.pages.size(); ++next.page) {
      const page_record& record = from.pages[next.page];
      const std::size_t more = native::page_record_overhead_bytes + record.payload.size();
      const std::size_t head = native::frames_overhead_bytes(into.size() + 1, names_bytes);
      if (head + records_bytes + more > at_most || records == limits::pages_per_entry) {
        if (!some.pages.empty()) {
          into.push_back(std::move(some));
        }
        return records != 0;
      }
      some.pages.push_back(record);
      records_bytes += more;
      ++records;
    }
    if (!some.pages.empty()) {
      into.push_back(std::move(some));
    }
  }
  return true;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
