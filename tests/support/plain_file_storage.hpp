// A storage over the file_system concept, as small as the laws allow, and ways to break them: what
// the laws about faults are tested with.
//
// A database is a file of records, each a page behind its hash, written in place. Two slots take
// turns as the position; each names the files and says how far pages may be ahead.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/storage_rules/position_rules.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/storage/file_system.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

enum class plain_flaw {
  none,
  position_before_data,     // the slot is durable before the pages are
  no_directory_sync,        // new names are not durable
  ahead_later,              // pages move before the slot says that they may
  ahead_alone,              // the greater index of two flushes, and the history of the later one
  forgets_history,          // a recovery reads it, and does not write it back
  keeps_history,            // tells that of the last flush when the base is at one position
  truncates_before_commit,  // cuts a database that the old position still needs
  one_slot,                 // overwrites the only record
  removes_before_publish,   // the old files go before the slot that does not need them
  ignores_failed_sync,
  syncs_again,       // and believes the second answer
  trusts_the_cache,  // recovers from what may not be durable
  calls_all_full,    // every error is "try again"
  trusts_pages,      // does not check them
  trusts_slots,      // nor the record
};

template <file_system Files>
class plain_file_storage {
  using file_type = typename Files::file_type;

  static std::error_code broken() noexcept { return make_error_code(errc::storage_broken); }

  /// One content of a name.
  struct content {
    std::string name;
    std::uint32_t page_size = 0;
    std::atomic<std::uint64_t> page_count{0};  // that can be read, also during a flush
    std::uint64_t base_count = 0;              // of the position
    std::uint64_t hash = 0;
    version_number version;
    std::uint64_t number = 0;  // of its file; 0: none yet
    std::unique_ptr<file_type> file;
    bool dirty = false;

    [[nodiscard]] std::uint64_t record() const noexcept { return page_size + 8; }
  };
  using contents = std::map<std::string, std::shared_ptr<content>, std::less<>>;

 public:
  static constexpr storage_abilities abilities{.page_hashes = true};

  struct database_type {
    std::shared_ptr<content> what;
    std::uint32_t page_size = 0;
  };

  class writer {
   public:
    result<database_type> open(std::string_view name, std::uint32_t page_size) noexcept {
      if (const std::error_code refused = detail::refusal_of(name, page_size)) {
        return fail(refused);
      }
      auto fresh = std::make_shared<content>();
      fresh->name = name;
      fresh->page_size = page_size;
      written_[std::string(name)] = fresh;
      return database_type{std::move(fresh), page_size};
    }
    std::error_code write(const database_type& database, std::span<const page_view> sorted,
                          std::uint64_t page_count) noexcept {
      if (!detail::ascend(sorted, database.page_size, page_count)) {
        return make_error_code(errc::malformed);
      }
      written_[database.what->name] = database.what;
      return owner_->write_pages(*database.what, database.page_size, sorted, page_count);
    }

   protected:
    friend class plain_file_storage;
    explicit writer(plain_file_storage* owner) : owner_(owner) {}
    plain_file_storage* owner_;
    contents written_;
  };
  struct flush_type : writer {
    flush_type(plain_file_storage* owner, const history_position& promised)
        : writer(owner), ahead(promised) {}
    history_position ahead;
  };
  struct stage_type : writer {
    explicit stage_type(plain_file_storage* owner) : writer(owner) {}
  };

  explicit plain_file_storage(Files files, plain_flaw flaw = plain_flaw::none)
      : files_(std::move(files)), flaw_(flaw) {}

  result<recovery> recover() noexcept {
    if (std::error_code error = files_.lock("LOCK")) {
      return fail(told(error));
    }
    slot newest;
    for (std::size_t i = 0; i < 2; ++i) {
      const auto found = read_slot(i);
      if (!found) {
        return fail(told(found.error()));
      }
      if (found->sequence > newest.sequence) {
        newest = *found;
      }
    }
    if (newest.sequence == 0 && damaged_ == 2) {
      return fail(errc::corrupt);
    }
    sequence_ = newest.sequence;
    base_ = newest.base;
    next_file_ = 1;
    if (std::error_code error = open_files(newest)) {
      return fail(told(error));
    }
    // What was read may be newer than the disk: say it again, and wait for it.
    if (flaw_ != plain_flaw::trusts_the_cache && sequence_ != 0) {
      recovery again = base_;
      if (flaw_ == plain_flaw::forgets_history) {
        again.ahead_history = {};
      }
      recovery found = base_;
      if (std::error_code error = store(living_, again)) {
        return fail(error);
      }
      return found;
    }
    return base_;
  }

  result<database_type> open(std::string_view name, std::uint32_t page_size) noexcept {
    if (const std::error_code refused = detail::refusal_of(name, page_size)) {
      return fail(refused);
    }
    auto& found = living_[std::string(name)];
    if (!found) {
      found = std::make_shared<content>();
      found->name = name;
    }
    if (found->page_size != 0 && found->page_size != page_size) {
      return fail(errc::malformed);
    }
    return database_type{found, page_size};
  }

  std::error_code read(const database_type& database, page_number page,
                       bytes_span into) const noexcept {
    std::uint64_t kept = 0;
    if (const std::error_code error = read_record(*database.what, page.value, into, kept)) {
      return error;
    }
    const bool never_written =
        kept == 0 && std::all_of(into.begin(), into.end(), [](auto b) { return b == std::byte{}; });
    const bool right = never_written || kept == page_hash(page, into);
    return right || flaw_ == plain_flaw::trusts_pages ? std::error_code{} : broken();
  }
  std::error_code read_hashes(const database_type& database, page_number first,
                              std::span<std::uint64_t> into) const noexcept {
    bytes image(database.page_size);
    for (std::size_t i = 0; i < into.size(); ++i) {
      if (const auto error = read_record(*database.what, first.value + i, image, into[i])) {
        return error;
      }
      if (flaw_ == plain_flaw::trusts_pages) {
        into[i] = page_hash(page_number{static_cast<std::uint32_t>(first.value + i)}, image);
      }
    }
    return {};
  }

  result<flush_type> begin_flush(const history_position& ahead) noexcept {
    if (broken_) {
      return fail(broken());
    }
    const bool moves = ahead.index > base_.ahead;
    recovery promise = base_;
    if (moves) {
      promise.ahead = ahead.index;
    }
    if (moves || flaw_ == plain_flaw::ahead_alone) {
      promise.ahead_history = ahead.hash;
    }
    const bool changes =
        promise.ahead != base_.ahead || promise.ahead_history != base_.ahead_history;
    if (flaw_ != plain_flaw::ahead_later && changes) {
      if (const std::error_code error = store(living_, promise)) {
        return fail(error);
      }
    }
    return flush_type(this, {promise.ahead, promise.ahead_history});
  }

  std::error_code commit(flush_type flush, const base_position& position) noexcept {
    if (position.at.index < base_.at.index) {
      return make_error_code(errc::malformed);
    }
    if (flaw_ == plain_flaw::ahead_later) {
      recovery promise = base_;
      promise.ahead = flush.ahead.index;
      promise.ahead_history = flush.ahead.hash;
      if (const std::error_code error = store(living_, promise)) {
        return error;
      }
    }
    contents next;
    for (const database_image& line : position.databases) {
      const auto written = flush.written_.find(line.name);
      const auto kept = living_.find(line.name);
      next[std::string(line.name)] = written != flush.written_.end() ? written->second
                                     : kept != living_.end()         ? kept->second
                                                                     : std::make_shared<content>();
    }
    return make_true(std::move(next), position, flaw_ == plain_flaw::position_before_data);
  }

  result<stage_type> begin_stage() noexcept {
    return broken_ ? result<stage_type>(fail(broken())) : stage_type(this);
  }

  std::error_code publish(stage_type stage, const base_position& position) noexcept {
    contents next;
    for (const database_image& line : position.databases) {
      const auto written = stage.written_.find(line.name);
      next[std::string(line.name)] =
          written != stage.written_.end() ? written->second : std::make_shared<content>();
    }
    if (flaw_ == plain_flaw::removes_before_publish) {
      for (const auto& entry : living_) {
        static_cast<void>(files_.remove(name_of(entry.second->number)));
      }
    }
    return make_true(std::move(next), position, false);
  }

 private:
  struct slot {
    std::uint64_t sequence = 0;
    recovery base;
    std::vector<std::uint64_t> numbers;  // of the files
  };

  static std::string name_of(std::uint64_t number) { return "p" + std::to_string(number); }

  std::error_code told(std::error_code error) noexcept {
    if (!error || error.category() == quorlite_category()) {
      return error;
    }
    const bool full = error == std::errc::no_space_on_device || flaw_ == plain_flaw::calls_all_full;
    broken_ = broken_ || !full;
    return full ? make_error_code(errc::storage_full) : broken();
  }
  /// Of a sync: never tried again.
  std::error_code sync(file_type& file) noexcept {
    const std::error_code error = file.sync();
    return told_of_sync(error && flaw_ == plain_flaw::syncs_again ? file.sync() : error);
  }
  std::error_code told_of_sync(std::error_code error) noexcept {
    if (!error || flaw_ == plain_flaw::ignores_failed_sync) {
      return {};
    }
    if (flaw_ == plain_flaw::calls_all_full) {
      return make_error_code(errc::storage_full);
    }
    broken_ = true;
    return broken();
  }

  std::error_code read_record(const content& what, std::uint64_t page, bytes_span into,
                              std::uint64_t& hash) const noexcept {
    if (page == 0 || page > what.page_count || into.size() != what.page_size) {
      return broken();
    }
    bytes record(what.record());
    const auto count = what.file ? what.file->read((page - 1) * what.record(), record)
                                 : result<std::size_t>(std::size_t{0});
    if (!count) {
      return broken();
    }
    hash = detail::load_little_endian<std::uint64_t>(record.data());
    std::copy(record.begin() + 8, record.end(), into.begin());
    return {};
  }

  std::error_code write_pages(content& what, std::uint32_t page_size,
                              std::span<const page_view> sorted,
                              std::uint64_t page_count) noexcept {
    if (broken_) {
      return broken();
    }
    if (what.page_size == 0) {  // else it is being read
      what.page_size = page_size;
    }
    if (what.number == 0) {
      auto made = files_.open(name_of(next_file_), open_mode::truncated);
      if (!made) {
        return told(made.error());
      }
      what.file = std::make_unique<file_type>(std::move(*made));
      what.number = next_file_++;
    }
    if (!what.dirty) {  // pages of an earlier life or of a dropped flush must not come back
      const auto size = what.file->size();
      if (!size) {
        return told(size.error());
      }
      if (*size > what.base_count * what.record()) {
        if (auto error = what.file->resize(what.base_count * what.record())) {
          return told(error);
        }
      }
    }
    what.dirty = true;
    if (flaw_ == plain_flaw::truncates_before_commit && page_count < what.base_count) {
      if (auto error = what.file->resize(page_count * what.record())) {
        return told(error);
      }
    }
    for (const page_view& page : sorted) {
      std::array<std::byte, 8> hash{};
      detail::store_little_endian(hash.data(), page.hash);
      const std::array<bytes_view, 2> parts{hash, page.image};
      if (auto error = what.file->write((page.number.value - 1) * what.record(), parts)) {
        return told(error);
      }
    }
    what.page_count = std::max(what.page_count.load(), page_count);
    return {};
  }

  std::error_code sync_all(const contents& next) noexcept {
    for (const auto& entry : next) {
      if (entry.second->dirty && entry.second->file) {
        if (auto error = sync(*entry.second->file)) {
          return error;
        }
      }
    }
    return flaw_ == plain_flaw::no_directory_sync ? std::error_code{}
                                                  : told_of_sync(files_.sync_directory(""));
  }

  std::error_code make_true(contents next, const base_position& position,
                            bool data_later) noexcept {
    if (broken_) {
      return broken();
    }
    if (const std::error_code refused = detail::refusal_of(position)) {
      return refused;
    }
    recovery base{position.at,
                  position.replay_from,
                  position.at.index,
                  flaw_ == plain_flaw::keeps_history ? base_.ahead_history : history_hash{},
                  {},
                  bytes(position.notes.begin(), position.notes.end())};
    for (const database_image& line : position.databases) {
      next[std::string(line.name)]->name = line.name;
      base.databases.push_back(
          {std::string(line.name), line.page_size, line.page_count, line.hash, line.version});
    }
    if (!data_later) {
      if (auto error = sync_all(next)) {
        return error;
      }
    }
    if (auto error = store(next, base)) {
      return error;
    }
    if (data_later) {
      if (auto error = sync_all(next)) {
        return error;
      }
    }
    std::set<std::uint64_t> used;
    for (const auto& line : base.databases) {
      content& what = *next[line.name];
      if (what.page_size == 0) {
        what.page_size = line.page_size;
      }
      what.page_count = what.base_count = line.page_count;
      what.dirty = false;
      used.insert(what.number);
    }
    for (const auto& entry : living_) {
      if (used.count(entry.second->number) == 0) {  // if not, then at the next start
        static_cast<void>(files_.remove(name_of(entry.second->number)));
      }
    }
    living_ = std::move(next);
    return {};
  }

  // ---- slots ----

  std::error_code store(const contents& now, const recovery& base) noexcept {
    bytes body;
    wire_writer out(body);
    for (const std::uint64_t value :
         {sequence_ + 1, base.at.index.value, base.at.term.value, base.replay_from.value,
          base.ahead.value, base.ahead_history.low, base.ahead_history.high,
          std::uint64_t{base.databases.size()}}) {
      out.u64(value);
    }
    for (const auto& line : base.databases) {
      out.u64(line.name.size());
      out.text(line.name);
      out.u32(line.page_size);
      const auto found = now.find(line.name);
      for (const std::uint64_t value : {line.page_count, line.hash, line.version.value,
                                        found == now.end() ? 0 : found->second->number}) {
        out.u64(value);
      }
    }
    out.raw(base.notes);
    bytes head;
    wire_writer(head).u64(body.size());
    wire_writer(head).u32(crc32c_extend(crc32c(head), body));
    const std::size_t turn = flaw_ == plain_flaw::one_slot ? 0 : (sequence_ + 1) % 2;
    auto file = files_.open("slot" + std::to_string(turn), open_mode::or_create);
    if (!file) {
      return told(file.error());
    }
    const std::array<bytes_view, 2> parts{head, body};
    if (auto error = file->write(0, parts)) {
      return told(error);
    }
    if (auto error = sync(*file)) {
      return error;
    }
    if (flaw_ != plain_flaw::no_directory_sync) {
      if (auto error = told_of_sync(files_.sync_directory(""))) {
        return error;
      }
    }
    ++sequence_;
    base_ = base;
    return {};
  }

  /// Sequence 0 if there is none, or none that is whole.
  result<slot> read_slot(std::size_t turn) noexcept {
    const auto file = files_.open("slot" + std::to_string(turn), open_mode::existing);
    if (!file) {
      return file.error() == std::errc::no_such_file_or_directory
                 ? slot{}
                 : result<slot>(fail(file.error()));
    }
    const auto size = file->size();
    if (!size) {
      return fail(size.error());
    }
    bytes all(static_cast<std::size_t>(*size));
    if (const auto count = file->read(0, all); !count) {
      return fail(count.error());
    }
    wire_reader head(all);
    const std::uint64_t length = head.u64();
    const std::uint32_t sum = head.u32();
    const bytes_view body = head.take(length);
    const bool whole =
        !head.failed() && (flaw_ == plain_flaw::trusts_slots ||
                           crc32c_extend(crc32c(bytes_view(all).first(8)), body) == sum);
    if (!whole) {
      damaged_ += *size != 0 ? 1U : 0U;
      return slot{};
    }
    return decode(body);
  }

  static slot decode(bytes_view body) {
    wire_reader in(body);
    slot found;
    found.sequence = in.u64();
    found.base.at.index.value = in.u64();
    found.base.at.term.value = in.u64();
    found.base.replay_from.value = in.u64();
    found.base.ahead.value = in.u64();
    found.base.ahead_history.low = in.u64();
    found.base.ahead_history.high = in.u64();
    for (std::uint64_t left = in.u64(); left > 0 && !in.failed(); --left) {
      recovery::database line;
      line.name = in.text(in.u64());
      line.page_size = in.u32();
      line.page_count = in.u64();
      line.hash = in.u64();
      line.version.value = in.u64();
      found.base.databases.push_back(line);
      found.numbers.push_back(in.u64());
    }
    const bytes_view notes = in.take(in.remaining());
    found.base.notes.assign(notes.begin(), notes.end());
    return found;
  }

  std::error_code open_files(const slot& newest) noexcept {
    living_.clear();
    std::set<std::string> used{"LOCK", "slot0", "slot1"};
    for (std::size_t i = 0; i < newest.numbers.size(); ++i) {
      const recovery::database& line = newest.base.databases[i];
      auto what = std::make_shared<content>();
      what->name = line.name;
      what->page_size = line.page_size;
      what->page_count = what->base_count = line.page_count;
      what->number = newest.numbers[i];
      if (what->number != 0) {
        auto file = files_.open(name_of(what->number), open_mode::existing);
        if (!file) {
          return broken();
        }
        what->file = std::make_unique<file_type>(std::move(*file));
        used.insert(name_of(what->number));
        next_file_ = std::max(next_file_, what->number + 1);
      }
      living_[line.name] = std::move(what);
    }
    const auto names = files_.list("");
    if (!names) {
      return names.error();
    }
    for (const std::string& name : *names) {
      if (used.count(name) == 0) {
        static_cast<void>(files_.remove(name));
      }
    }
    return {};
  }

  Files files_;
  const plain_flaw flaw_;
  contents living_;
  recovery base_;
  std::uint64_t sequence_ = 0;
  std::uint64_t next_file_ = 1;
  std::size_t damaged_ = 0;  // slots
  bool broken_ = false;
};

}  // namespace quorlite::tests
