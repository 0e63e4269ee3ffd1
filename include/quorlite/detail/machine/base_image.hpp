/// @file
/// Between the machine and its storage: finding the base at start, moving it on by flushes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/machine/captured_state.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/machine/damage_board.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/detail/core/memory_gauge.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/detail/machine/restore_target.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/detail/machine/stored_pages.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What a start finds in the storage.
struct loaded_base {
  recovery found;
  std::vector<std::shared_ptr<page_store>> stores;  ///< one per database of `found`
};

/// Every call blocks on the storage. One at a time, but begin_restore(), which may be called
/// whenever load() was.
template <storage Storage>
class base_image {
 public:
  base_image(Storage& storage, std::uint64_t lock_byte, std::shared_ptr<memory_gauge> gauge,
             std::shared_ptr<damage_board> board) noexcept
      : storage_(storage),
        lock_byte_(lock_byte),
        gauge_(std::move(gauge)),
        board_(std::move(board)) {}

  /// Finds the base. Reads no page if the storage keeps their hashes, else each once. What does not
  /// have the hashes of the position is reported to the board, with the page where it can be told.
  /// @returns errc::corrupt if a database is not what the position says; errors of the storage
  [[nodiscard]] result<loaded_base> load() {
    result<recovery> found = storage_.recover();
    if (!found) {
      return failed(found.error());
    }
    loaded_base base;
    base.found = std::move(*found);
    const bool exact = base.found.ahead == base.found.at.index;
    for (const recovery::database& one : base.found.databases) {
      const bool filled = one.page_count <= limits::page_count_max && is_page_size(one.page_size) &&
                          one.version.value != 0;
      const bool empty = one.page_count == 0 && one.page_size == 0 && one.hash == 0;
      if (!is_database_name(one.name) || !(filled || empty)) {
        return failed(errc::corrupt);
      }
      auto store = page_store::make({one.version, one.page_count, one.hash, one.page_size},
                                    epoch_number{1}, lock_byte_, gauge_);
      stored_database<Storage> line{store, nullptr, one.version, one.page_count};
      if (filled) {
        auto handle = storage_.open(one.name, one.page_size);
        if (!handle) {
          return failed(handle.error());
        }
        line.handle = std::make_shared<const handle_type>(std::move(*handle));
        if (const std::error_code error = load_hashes(one, *line.handle, *store, exact)) {
          return failed(error);
        }
        store->set_base(source_of(line.handle, one.name), one.page_count);
      }
      stored_[one.name] = std::move(line);
      base.stores.push_back(std::move(store));
    }
    return base;
  }

  /// A place for a restore. Any thread.
  [[nodiscard]] result<std::unique_ptr<restore_target>> begin_restore() {
    auto stage = storage_.begin_stage();
    if (!stage) {
      return failed(stage.error());
    }
    return std::unique_ptr<restore_target>(std::make_unique<staged_base<Storage>>(
        storage_, std::move(*stage), lock_byte_, gauge_, board_));
  }

  /// A restore has taken the place of the state: the next flush publishes it, with what happened
  /// since. @param filled one of begin_restore()
  void replace_with(std::unique_ptr<restore_target> filled) {
    replacement_.reset(static_cast<staged_base<Storage>*>(filled.release()));
  }

  /// Stores `state`, all of it or nothing. What the storage holds already is not written again.
  /// Afterwards the stores of `state` have it as their base.
  [[nodiscard]] std::error_code flush(const captured_state& state) {
    stored_databases<Storage> next;
    const std::error_code error =
        replacement_ == nullptr ? advance(state, next) : publish(state, next);
    if (error) {
      return error;
    }
    for (const captured_state::one_database& one : state.databases) {
      const stored_database<Storage>& line = next.find(one.name)->second;
      if (line.handle) {
        if (!one.store->has_base()) {
          one.store->set_base(source_of(line.handle, one.name), one.pin.page_count());
        }
        one.store->flushed(known_version(one), one.pin);
      }
    }
    stored_ = std::move(next);
    replacement_.reset();
    return {};
  }

 private:
  using handle_type = typename Storage::database_type;
  static constexpr std::size_t batch_pages = 64;
  static constexpr std::size_t batch_hashes = 8192;

  [[nodiscard]] std::shared_ptr<const page_source> source_of(
      const std::shared_ptr<const handle_type>& handle, const std::string& name) const {
    return std::make_shared<stored_pages<Storage>>(storage_, handle, name, board_);
  }

  /// What the storage (or the stage that will replace it) holds.
  [[nodiscard]] const stored_databases<Storage>& known() const noexcept {
    return replacement_ == nullptr ? stored_ : replacement_->stored();
  }
  [[nodiscard]] const stored_database<Storage>* known(
      const captured_state::one_database& one) const {
    const auto found = known().find(one.name);
    const bool same = found != known().end() && found->second.store.lock() == one.store;
    return same ? &found->second : nullptr;
  }
  [[nodiscard]] version_number known_version(const captured_state::one_database& one) const {
    const stored_database<Storage>* const line = known(one);
    return line == nullptr ? version_number{} : line->version;
  }

  /// @param exact the base stands at one position: its hashes must add up
  [[nodiscard]] std::error_code load_hashes(const recovery::database& one,
                                            const handle_type& handle, page_store& store,
                                            bool exact) {
    std::vector<std::uint64_t> hashes(batch_hashes);
    std::uint64_t sum = 0;
    for (std::uint64_t first = 1; first <= one.page_count; first += batch_hashes) {
      const auto count = static_cast<std::size_t>(
          std::min<std::uint64_t>(batch_hashes, one.page_count - first + 1));
      const std::span<std::uint64_t> some(hashes.data(), count);
      if (const std::error_code error = read_hashes(one, handle, first, some)) {
        return error;
      }
      for (std::size_t i = 0; i < count; ++i) {
        const page_number number{static_cast<std::uint32_t>(first + i)};
        if (number.value != lock_page(one.page_size, lock_byte_)) {
          store.set_base_hash(number, some[i]);
          sum += some[i];
        }
      }
    }
    if (!exact || sum == one.hash) {
      return {};
    }
    board_->report(one.name, find_damage(one, handle, store), make_error_code(errc::corrupt));
    return make_error_code(errc::corrupt);
  }

  [[nodiscard]] std::error_code read_hashes(const recovery::database& one,
                                            const handle_type& handle, std::uint64_t first,
                                            std::span<std::uint64_t> into) {
    const Storage& view = storage_;
    if constexpr (Storage::abilities.page_hashes) {
      return view.read_hashes(handle, page_number{static_cast<std::uint32_t>(first)}, into);
    } else {
      bytes image(one.page_size);
      for (std::uint64_t& hash : into) {
        const page_number number{static_cast<std::uint32_t>(first++)};
        if (number.value != lock_page(one.page_size, lock_byte_)) {
          if (const std::error_code error = view.read(handle, number, image)) {
            return error;
          }
          hash = page_hash(number, image);
        }
      }
      return {};
    }
  }

  /// The first page that is not what its hash says; 0: the hashes themselves are damaged.
  [[nodiscard]] page_number find_damage(const recovery::database& one, const handle_type& handle,
                                        const page_store& store) const {
    const Storage& view = storage_;
    bytes image(one.page_size);
    for (std::uint64_t at = 1; at <= one.page_count; ++at) {
      const page_number number{static_cast<std::uint32_t>(at)};
      if (number.value != lock_page(one.page_size, lock_byte_) &&
          (view.read(handle, number, image) ||
           page_hash(number, image) != store.base_hash(number))) {
        return number;
      }
    }
    return page_number{};
  }

  [[nodiscard]] std::error_code advance(const captured_state& state,
                                        stored_databases<Storage>& next) {
    auto flush = storage_.begin_flush(state.at.index);
    if (!flush) {
      return flush.error();
    }
    if (const std::error_code error = fill(*flush, state, next)) {
      return error;
    }
    const std::vector<database_image> images = images_of(state);
    return storage_.commit(std::move(*flush), position_of(state, images));
  }

  /// The stage is not in the position yet, so it may be brought up to date in place.
  [[nodiscard]] std::error_code publish(const captured_state& state,
                                        stored_databases<Storage>& next) {
    if (const std::error_code error = fill(replacement_->stage(), state, next)) {
      return error;
    }
    const std::vector<database_image> images = images_of(state);
    return storage_.publish(std::move(replacement_->stage()), position_of(state, images));
  }

  /// Writes what changed, and all of the databases that were born since.
  template <class Writer>
  [[nodiscard]] std::error_code fill(Writer& writer, const captured_state& state,
                                     stored_databases<Storage>& next) {
    for (const captured_state::one_database& one : state.databases) {
      const stored_database<Storage>* const before = known(one);
      stored_database<Storage> line =
          before != nullptr ? *before : stored_database<Storage>{one.store, nullptr, {}, 0};
      const bool moved = line.version != one.pin.version();
      if (one.pin.page_size() != 0 && !line.handle) {
        auto opened = writer.open(one.name, one.pin.page_size());
        if (!opened) {
          return opened.error();
        }
        line.handle = std::make_shared<const handle_type>(std::move(*opened));
      }
      if (line.handle && moved) {
        if (const std::error_code error = write_changed(writer, line, one)) {
          return error;
        }
      }
      line.version = one.pin.version();
      line.page_count = one.pin.page_count();
      next.emplace(one.name, std::move(line));
    }
    return {};
  }

  template <class Writer>
  [[nodiscard]] std::error_code write_changed(Writer& writer, const stored_database<Storage>& line,
                                              const captured_state::one_database& from) {
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
        error = writer.write(*line.handle, batch, from.pin.page_count());
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

  [[nodiscard]] static std::vector<database_image> images_of(const captured_state& state) {
    std::vector<database_image> images;
    for (const captured_state::one_database& one : state.databases) {
      images.push_back({one.name, one.pin.page_size(), one.pin.page_count(), one.pin.hash(),
                        one.pin.at().counted()});
    }
    return images;
  }

  [[nodiscard]] static base_position position_of(
      const captured_state& state, const std::vector<database_image>& images) noexcept {
    return {state.at, state.replay_from, images, state.notes};
  }

  Storage& storage_;
  const std::uint64_t lock_byte_;
  std::shared_ptr<memory_gauge> gauge_;
  std::shared_ptr<damage_board> board_;
  stored_databases<Storage> stored_;
  std::unique_ptr<staged_base<Storage>> replacement_;  // installed, not in the position yet
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
