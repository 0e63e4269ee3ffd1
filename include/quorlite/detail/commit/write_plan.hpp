/// @file
/// From the pages that a writer changed to the entries that say so: deltas against the state it
/// built on, cut to the size that the engine takes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/codec/page_delta.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/detail/pages/page_store.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One database's share in a transaction: what a writer hands over.
struct planned_change {
  std::string_view name;
  std::shared_ptr<page_store> store;
  const page_store::pin* base = nullptr;  ///< what the writer built on
  std::vector<page_block>* pages =
      nullptr;                    ///< ascending; images filled; hashes are set by the plan
  std::uint64_t page_count = 0;   ///< after the commit
  std::uint64_t result_hash = 0;  ///< out
};

/// The frames of one transaction. Owns the payloads that its records point to, so it stays where it
/// is.
class write_plan {
 public:
  write_plan() = default;
  write_plan(const write_plan&) = delete;
  write_plan& operator=(const write_plan&) = delete;

  /// What the same pages are in full, in bytes.
  [[nodiscard]] std::uint64_t full_page_bytes() const noexcept { return full_page_bytes_; }

  /// Adds one database. Sets the hash of each page and of the result; pages that are what they were
  /// are taken out, but for one if there is no other: a commit is a version, whatever it changes.
  /// Reads pages of the base that are not in memory.
  /// @pre at least one page; called ascending by name
  /// @returns errors of page_store::reader::image(), errc::stale_term for a doomed base among them:
  ///   the plan is of no use then
  [[nodiscard]] std::error_code add(planned_change& change) {
    database_frames frames;
    frames.name = change.name;
    frames.base_version = change.base->at().counted();
    frames.base_hash = change.base->hash();
    frames.page_count = change.page_count;
    page_store::reader reader(change.store);
    for (page_block& page : *change.pages) {
      page->set_hash(page_hash(page->number(), page->image()));
      const bool needed = frames.pages.empty() && &page == &change.pages->back();
      const result<bool> kept = record_page(*page, needed, *change.base, reader, frames.pages);
      if (!kept) {
        return kept.error();
      }
      if (*kept) {
        full_page_bytes_ += page->page_size();
      } else {
        page.reset();
      }
    }
    std::erase_if(*change.pages, [](const page_block& page) { return page == nullptr; });
    frames.page_size =
        change.pages->empty() ? change.base->page_size() : change.pages->front()->page_size();
    change.result_hash = change.store->hash_after(*change.pages, change.page_count, *change.base);
    frames.result_hash = change.result_hash;
    databases_.push_back(std::move(frames));
    return {};
  }

  /// The entries, in order; the last one commits.
  /// @param at_most bytes of one entry @returns errc::too_large: a page does not fit into an entry,
  /// or all of it
  ///   not into limits::staged_bytes; errc::malformed: a rule of the format is broken
  [[nodiscard]] result<std::vector<bytes>> entries(transaction_id id, std::size_t at_most,
                                                   std::uint64_t lock_byte) {
    for (const database_frames& one : databases_) {
      if (one.pages.empty()) {
        return failed(errc::malformed);
      }
    }
    if (full_page_bytes_ > limits::transaction_bytes) {
      return failed(errc::too_large);  // every replica would refuse it
    }
    set_payloads();
    std::vector<bytes> out;
    std::uint64_t total = 0;
    cursor next;
    do {
      command part{id, frames_command{static_cast<std::uint32_t>(out.size()), true, {}}};
      auto& frames = std::get<frames_command>(part.body);
      if (!take_part(next, at_most, frames.databases)) {
        return failed(errc::too_large);
      }
      frames.commit = next.database == databases_.size();
      bytes encoded;
      if (const std::error_code error = native::encode(part, encoded, lock_byte)) {
        return failed(error);
      }
      total += encoded.size();
      if (encoded.size() > at_most || total > limits::staged_bytes) {
        return failed(errc::too_large);
      }
      out.push_back(std::move(encoded));
    } while (next.database < databases_.size());
    return out;
  }

 private:
  struct cursor {
    std::size_t database = 0;
    std::size_t page = 0;
  };

  /// @returns false if the page is byte for byte what it was, and not needed all the same
  [[nodiscard]] result<bool> record_page(const page_version& page, bool needed,
                                         const page_store::pin& base, page_store::reader& reader,
                                         std::vector<page_record>& into) {
    page_record record{page.number(), page_encoding::full, page.hash(), {}};
    const auto guard = reader.enter();
    // A page beyond the old size is never a delta: what it held before a shrink is gone.
    const result<bytes_view> before = reader.image(guard, base, page.number());
    if (!before) {
      return failed(before.error());
    }
    const std::size_t start = payloads_.size();
    if (!before->empty() &&
        encode_delta(*before, page.image(), page.image().size() - 1, payloads_)) {
      if (payloads_.size() == start && !needed) {
        return false;
      }
      record.encoding = page_encoding::delta;
    } else if (is_zero_image(page.image())) {
      record.encoding = page_encoding::zero;
    } else {
      payloads_.insert(payloads_.end(), page.image().begin(), page.image().end());
    }
    sizes_.push_back(payloads_.size() - start);
    into.push_back(record);
    return true;
  }

  /// The payloads lie one after the other in one buffer, which has stopped growing.
  void set_payloads() {
    bytes_view rest = payloads_;
    std::size_t nth = 0;
    for (database_frames& frames : databases_) {
      for (page_record& record : frames.pages) {
        record.payload = rest.first(sizes_[nth]);
        rest = rest.subspan(sizes_[nth++]);
      }
    }
  }

  /// Moves as many records as fit. @returns false if not even one does
  [[nodiscard]] bool take_part(cursor& next, std::size_t at_most,
                               std::vector<database_frames>& into) const {
    std::size_t names_bytes = 0;
    std::size_t records_bytes = 0;
    std::size_t records = 0;
    for (; next.database < databases_.size(); ++next.database, next.page = 0) {
      const database_frames& from = databases_[next.database];
      names_bytes += from.name.size();
      database_frames some = from;
      some.pages.clear();
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

  std::vector<database_frames> databases_;
  bytes payloads_;
  std::vector<std::size_t> sizes_;  ///< of the payloads, in the order of the records
  std::uint64_t full_page_bytes_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
