/// @file
/// Bodies of stored_base.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/machine/pinned_state.hpp"
#include "quorlite/detail/machine/restore_target.hpp"
#include "quorlite/detail/machine/stored_base.hpp"
#include "quorlite/detail/pages/page_source.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Who is told of damage in a content, and the name of its database. It belongs to what the storage
/// holds, or a stage that will be it. What a restore has replaced, or a drop has taken away, is
/// still there for those who read it; but whatever is wrong with that, the replica is whole.
struct damage_line {
  std::string database;
  std::uint32_t page_size;
  std::shared_ptr<corruption_report> report;
};

/// The base of one page store: a handle of the storage.
class stored_pages final : public page_source {
 public:
  explicit stored_pages(const stored_database& of) : from_(of.content), damage_(of.damage) {}

  [[nodiscard]] std::error_code read(page_number number, bytes_span into) const noexcept override {
    return from_->read(number, into);
  }
  void damaged(page_number number, std::error_code why) const noexcept override {
    const std::shared_ptr<const damage_line> line = damage_.lock();
    if (line != nullptr && why != errc::storage_full && why != errc::out_of_memory &&
        why != errc::stopped) {
      line->report->report(line->database, number, line->page_size, why);
    }
  }

 private:
  const std::shared_ptr<const stored_content> from_;
  const std::weak_ptr<const damage_line> damage_;
};

/// A stage of the storage, filled by a snapshot.
class staged_base final : public restore_target {
 public:
  staged_base(std::unique_ptr<content_writer> stage, std::uint64_t lock_byte,
              std::shared_ptr<memory_gauge> gauge, std::shared_ptr<corruption_report> corruption)
      : stage_(std::move(stage)),
        lock_byte_(lock_byte),
        gauge_(std::move(gauge)),
        corruption_(std::move(corruption)) {}

  [[nodiscard]] result<std::shared_ptr<page_store>> begin(std::string_view name,
                                                          const page_store::state& at) override {
    if (const std::error_code error = finish()) {
      return fail(error);
    }
    auto store = page_store::make(at, history_number{1}, lock_byte_, gauge_);
    std::string own(name);
    stored_database line{store, nullptr, nullptr, at.version, at.page_count};
    if (at.page_size != 0) {
      auto opened = stage_->open(name, at.page_size);
      if (!opened) {
        return fail(corruption_->told(opened.error()));
      }
      line.content = std::move(*opened);
      line.damage =
          std::make_shared<const damage_line>(damage_line{own, at.page_size, corruption_});
      store->set_base(std::make_shared<stored_pages>(line), at.page_count);
    }
    filling_ = store;
    current_ = &stored_.insert_or_assign(std::move(own), std::move(line)).first->second;
    return store;
  }

  [[nodiscard]] std::error_code put(page_number number, std::uint64_t hash,
                                    bytes_view image) override {
    filling_->set_base_hash(number, hash);
    images_.insert(images_.end(), image.begin(), image.end());
    batch_.push_back({number, hash, {}});
    return images_.size() < batch_bytes ? std::error_code{} : finish();
  }

  [[nodiscard]] std::error_code finish() override {
    if (current_ == nullptr || !current_->content) {
      return {};
    }
    const std::size_t page_size = filling_->committed().page_size;
    for (std::size_t i = 0; i < batch_.size(); ++i) {
      batch_[i].image = bytes_view(images_).subspan(i * page_size, page_size);
    }
    const std::error_code error =
        corruption_->told(stage_->write(*current_->content, batch_, current_->page_count));
    batch_.clear();
    images_.clear();
    return error;
  }

  [[nodiscard]] content_writer& stage() noexcept { return *stage_; }
  [[nodiscard]] const stored_databases& stored() const noexcept { return stored_; }

 private:
  static constexpr std::size_t batch_bytes = std::size_t{256} << 10U;

  std::unique_ptr<content_writer> stage_;
  const std::uint64_t lock_byte_;
  std::shared_ptr<memory_gauge> gauge_;
  std::shared_ptr<corruption_report> corruption_;
  stored_databases stored_;
  stored_database* current_ = nullptr;
  std::shared_ptr<page_store> filling_;
  bytes images_;  // of the batch, one behind the other
  std::vector<page_view> batch_;
};

QUORLITE_DECL loaded_base::loaded_base() = default;
QUORLITE_DECL loaded_base::loaded_base(loaded_base&& other) noexcept = default;
QUORLITE_DECL loaded_base::~loaded_base() = default;

QUORLITE_DECL stored_base::stored_base(storage_port& storage, std::uint64_t lock_byte,
                                       std::shared_ptr<memory_gauge> gauge,
                                       std::shared_ptr<corruption_report> corruption) noexcept
    : storage_(storage),
      lock_byte_(lock_byte),
      gauge_(std::move(gauge)),
      corruption_(std::move(corruption)) {}
QUORLITE_DECL stored_base::~stored_base() = default;

// ---- the start

QUORLITE_DECL result<loaded_base> stored_base::load() {
  result<recovery> found = storage_.recover();
  if (!found) {
    return fail(found.error());
  }
  loaded_base base;
  base.found = std::move(*found);
  const bool exact = base.found.ahead == base.found.at.index;
  for (const recovery::database& line : base.found.databases) {
    auto store = load(line, exact);
    if (!store) {
      return fail(store.error());
    }
    base.stores.push_back(std::move(*store));
  }
  return base;
}

/// @param exact the base stands at one position: its hashes must add up
QUORLITE_DECL result<std::shared_ptr<page_store>> stored_base::load(const recovery::database& line,
                                                                    bool exact) {
  const bool filled = line.page_count <= limits::page_count_max && is_page_size(line.page_size) &&
                      line.version.value != 0;
  const bool empty = line.page_count == 0 && line.page_size == 0 && line.hash == 0;
  if (!is_database_name(line.name) || !(filled || empty)) {
    return fail(errc::corrupt);
  }
  auto store = page_store::make({line.version, line.page_count, line.hash, line.page_size},
                                history_number{1}, lock_byte_, gauge_);
  stored_database known{store, nullptr, nullptr, line.version, line.page_count};
  if (filled) {
    auto content = storage_.open(line.name, line.page_size);
    if (!content) {
      return fail(content.error());
    }
    known.content = std::move(*content);
    known.damage =
        std::make_shared<const damage_line>(damage_line{line.name, line.page_size, corruption_});
    if (const std::error_code error = load_hashes(line, *known.content, *store, exact)) {
      return fail(error);
    }
    store->set_base(std::make_shared<stored_pages>(known), line.page_count);
  }
  stored_[line.name] = std::move(known);
  return store;
}

QUORLITE_DECL std::error_code stored_base::load_hashes(const recovery::database& line,
                                                       const stored_content& content,
                                                       page_store& store, bool exact) {
  constexpr std::size_t batch_hashes = 8192;
  std::vector<std::uint64_t> hashes(batch_hashes);
  std::uint64_t sum = 0;
  for (std::uint64_t first = 1; first <= line.page_count; first += batch_hashes) {
    const auto count = static_cast<std::size_t>(
        std::min<std::uint64_t>(batch_hashes, line.page_count - first + 1));
    const std::span<std::uint64_t> some(hashes.data(), count);
    if (const std::error_code error = read_hashes(line, content, first, some)) {
      return error;
    }
    for (std::size_t i = 0; i < count; ++i) {
      const page_number number{static_cast<std::uint32_t>(first + i)};
      if (number.value != lock_page(line.page_size, lock_byte_)) {
        store.set_base_hash(number, some[i]);
        sum += some[i];
      }
    }
  }
  if (!exact || sum == line.hash) {
    return {};
  }
  corruption_->report(line.name, find_damage(line, content, store), line.page_size,
                      make_error_code(errc::corrupt));
  return make_error_code(errc::corrupt);
}

QUORLITE_DECL std::error_code stored_base::read_hashes(const recovery::database& line,
                                                       const stored_content& content,
                                                       std::uint64_t first,
                                                       std::span<std::uint64_t> into) {
  if (storage_.keeps_page_hashes()) {
    return content.read_hashes(page_number{static_cast<std::uint32_t>(first)}, into);
  }
  bytes image(line.page_size);
  for (std::uint64_t& hash : into) {
    const page_number number{static_cast<std::uint32_t>(first++)};
    if (number.value != lock_page(line.page_size, lock_byte_)) {
      if (const std::error_code error = content.read(number, image)) {
        return error;
      }
      hash = page_hash(number, image);
    }
  }
  return {};
}

/// The first page that is not what its hash says; 0: the hashes themselves are damaged.
QUORLITE_DECL page_number stored_base::find_damage(const recovery::database& line,
                                                   const stored_content& content,
                                                   const page_store& store) const {
  bytes image(line.page_size);
  for (std::uint64_t at = 1; at <= line.page_count; ++at) {
    const page_number number{static_cast<std::uint32_t>(at)};
    if (number.value != lock_page(line.page_size, lock_byte_) &&
        (content.read(number, image) || page_hash(number, image) != store.base_hash(number))) {
      return number;
    }
  }
  return page_number{};
}

// ---- restores

QUORLITE_DECL std::unique_ptr<restore_target> stored_base::begin_restore(std::error_code& error) {
  auto stage = storage_.begin_stage();
  if (!stage) {
    error = corruption_->told(stage.error());
    return nullptr;
  }
  return std::make_unique<staged_base>(std::move(*stage), lock_byte_, gauge_, corruption_);
}

QUORLITE_DECL void stored_base::replace_with(std::unique_ptr<restore_target> filled) {
  replacement_.reset(static_cast<staged_base*>(filled.release()));
  stored_.clear();  // whoever reads there still has the files, and nobody else keeps them open
}

// ---- flushes

/// What the storage (or the stage that will replace it) holds.
QUORLITE_DECL const stored_databases& stored_base::known() const noexcept {
  return replacement_ == nullptr ? stored_ : replacement_->stored();
}
QUORLITE_DECL const stored_database* stored_base::known(const captured_database& of) const {
  const auto found = known().find(of.name);
  const bool same = found != known().end() && found->second.store.lock() == of.store;
  return same ? &found->second : nullptr;
}

QUORLITE_DECL std::error_code stored_base::flush(const pinned_state& state) {
  std::vector<database_image> images;
  for (const captured_database& of : state.databases) {
    images.push_back(
        {of.name, of.pin.page_size(), of.pin.page_count(), of.pin.hash(), of.pin.at().counted()});
  }
  const base_position position{state.at, state.replay_from, images, state.notes};
  stored_databases next;
  std::error_code error;
  if (replacement_ == nullptr) {
    auto flush = storage_.begin_flush({state.at.index, state.history.at.hash});
    error = flush ? fill(**flush, state, next) : flush.error();
    error = error ? error : storage_.commit(**flush, position);
  } else {
    // The stage is not in the position yet, so it may be brought up to date in place.
    error = fill(replacement_->stage(), state, next);
    error = error ? error : storage_.publish(replacement_->stage(), position);
  }
  if (error) {
    return error;
  }
  for (const captured_database& of : state.databases) {
    const stored_database& line = next.find(of.name)->second;
    if (line.content) {
      if (!of.store->has_base()) {
        of.store->set_base(std::make_shared<stored_pages>(line), of.pin.page_count());
      }
      const stored_database* const before = known(of);
      of.store->flushed(before == nullptr ? version_number{} : before->version, of.pin);
    }
  }
  stored_ = std::move(next);
  replacement_.reset();
  return {};
}

/// Writes what changed, and all of the databases that were born since.
QUORLITE_DECL std::error_code stored_base::fill(content_writer& writer, const pinned_state& state,
                                                stored_databases& next) {
  for (const captured_database& of : state.databases) {
    const stored_database* const before = known(of);
    stored_database line =
        before != nullptr ? *before : stored_database{of.store, nullptr, nullptr, {}, 0};
    const bool moved = line.version != of.pin.version();
    if (of.pin.page_size() != 0 && !line.content) {
      auto opened = writer.open(of.name, of.pin.page_size());
      if (!opened) {
        return opened.error();
      }
      line.content = std::move(*opened);
      line.damage = std::make_shared<const damage_line>(
          damage_line{of.name, of.pin.page_size(), corruption_});
    }
    if (line.content && moved) {
      if (const std::error_code error = write_changed(writer, line, of)) {
        return error;
      }
    }
    line.version = of.pin.version();
    line.page_count = of.pin.page_count();
    next.emplace(of.name, std::move(line));
  }
  return {};
}

QUORLITE_DECL std::error_code stored_base::write_changed(content_writer& writer,
                                                         const stored_database& line,
                                                         const captured_database& from) {
  constexpr std::size_t batch_pages = 64;
  page_store& store = *from.store;
  page_store::reader reader(from.store);
  const bool kept_for_others = store.has_older_pins(from.pin);
  std::vector<page_view> batch;
  std::vector<bytes> patched;  // images that are nowhere in memory
  batch.reserve(batch_pages);
  patched.reserve(batch_pages);
  std::error_code error;
  // First of all: in a stage a smaller page count holds as soon as it is written.
  for (std::uint64_t gone = from.pin.page_count() + 1;
       kept_for_others && !error && gone <= line.page_count; ++gone) {
    error = store.keep_base(page_number{static_cast<std::uint32_t>(gone)}, from.pin, reader);
  }
  if (error) {
    return error;
  }
  const auto write = [&] {
    if (!error) {
      error = writer.write(*line.content, batch, from.pin.page_count());
    }
    batch.clear();
    patched.clear();
  };
  // The pin keeps every image where it is, so the batch may hold views of them.
  store.for_each_changed(line.version, from.pin, [&](const page_version& page) {
    if (kept_for_others) {
      error = store.keep_base(page.number(), from.pin, reader);
    }
    bytes_view image;
    if (!error && page.is_patch()) {
      patched.emplace_back(from.pin.page_size());
      error = copy_page(from, reader, page.number(), patched.back());
      image = patched.back();
    } else if (!error) {
      image = page.image();
    }
    batch.push_back({page.number(), page.hash(), image});
    if (!error && batch.size() == batch_pages) {
      write();
    }
    return !error;
  });
  write();  // also without a page: the page count may have shrunk
  return error;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
