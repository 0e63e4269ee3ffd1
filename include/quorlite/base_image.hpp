/// @file
/// Between the machine and its storage: loading the base at start, moving it on by flushes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/captured_state.hpp"
#include "quorlite/codec/page_hash.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/page_store.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace v0 {

/// What a start finds in the storage.
struct loaded_base {
  recovery found;
  std::vector<std::shared_ptr<page_store>> stores;  ///< one per database of `found`
};

/// Every call blocks on the storage; one at a time.
template <storage Storage>
class base_image {
 public:
  explicit base_image(Storage& storage) noexcept : storage_(storage) {}

  /// Reads the base into memory and checks it against the hashes of its position.
  /// @returns errc::corrupt if a database is not what the position says; errors of the storage
  [[nodiscard]] result<loaded_base> load(std::uint64_t lock_byte) {
    result<recovery> found = storage_.recover();
    if (!found) {
      return failed(found.error());
    }
    loaded_base base;
    base.found = std::move(*found);
    for (const recovery::database& one : base.found.databases) {
      const bool filled = one.page_count <= limits::page_count_max && is_page_size(one.page_size) &&
                          one.version.value != 0;
      const bool empty = one.page_count == 0 && one.page_size == 0 && one.hash == 0;
      if (!is_database_name(one.name) || !(filled || empty)) {
        return failed(errc::corrupt);
      }
      auto store = page_store::make({one.version, one.page_count, one.hash, one.page_size},
                                    epoch_number{1}, lock_byte);
      if (const std::error_code error = load_pages(one, *store, lock_byte)) {
        return failed(error);
      }
      stored_[one.name] = {store, one.version};
      base.stores.push_back(std::move(store));
    }
    return base;
  }

  /// Stores `state`, all of it or nothing. What did not change since the last flush is not written
  /// again.
  [[nodiscard]] std::error_code flush(const captured_state& state) {
    const std::error_code error = continues(state) ? advance(state) : replace(state);
    if (error) {
      return error;
    }
    stored_.clear();
    for (const captured_state::one_database& one : state.databases) {
      stored_[one.name] = {one.store, one.pin.version()};
    }
    return {};
  }

 private:
  struct stored {
    std::weak_ptr<page_store> store;
    version_number version;
  };
  static constexpr std::size_t batch_pages = 64;

  [[nodiscard]] std::error_code load_pages(const recovery::database& one, page_store& store,
                                           std::uint64_t lock_byte) {
    if (one.page_count == 0) {
      return {};
    }
    const auto handle = storage_.open(one.name, one.page_size);
    if (!handle) {
      return handle.error();
    }
    std::uint64_t sum = 0;
    for (std::uint64_t number = 1; number <= one.page_count; ++number) {
      if (number == lock_page(one.page_size, lock_byte)) {
        continue;
      }
      page_block page = make_page(page_number{static_cast<std::uint32_t>(number)}, one.page_size);
      if (const std::error_code error =
              std::as_const(storage_).read(*handle, page->number(), page->image())) {
        return error;
      }
      page->set_hash(page_hash(page->number(), page->image()));
      sum += page->hash();
      store.load_page(std::move(page));
    }
    return sum == one.hash ? std::error_code{} : make_error_code(errc::corrupt);
  }

  /// True if every database of the base is still the one that it was: no restore and no drop came
  /// between.
  [[nodiscard]] bool continues(const captured_state& state) const {
    for (const captured_state::one_database& one : state.databases) {
      const auto known = stored_.find(one.name);
      if (known != stored_.end() && known->second.store.lock() != one.store) {
        return false;
      }
    }
    return true;
  }

  [[nodiscard]] std::error_code advance(const captured_state& state) {
    auto flush = storage_.begin_flush(state.at.index);
    if (!flush) {
      return flush.error();
    }
    for (const captured_state::one_database& one : state.databases) {
      const auto known = stored_.find(one.name);
      const version_number after =
          known == stored_.end() ? version_number{0} : known->second.version;
      if (one.pin.page_size() != 0 && one.pin.version() != after) {
        const auto handle = storage_.open(one.name, one.pin.page_size());
        if (!handle) {
          return handle.error();
        }
        if (const std::error_code error = write_changed(*flush, *handle, one, after)) {
          return error;
        }
      }
    }
    const std::vector<database_image> images = images_of(state);
    return storage_.commit(std::move(*flush), position_of(state, images));
  }

  [[nodiscard]] std::error_code replace(const captured_state& state) {
    auto stage = storage_.begin_stage();
    if (!stage) {
      return stage.error();
    }
    for (const captured_state::one_database& one : state.databases) {
      if (one.pin.page_size() != 0) {
        const auto handle = stage->open(one.name, one.pin.page_size());
        if (!handle) {
          return handle.error();
        }
        if (const std::error_code error = write_changed(*stage, *handle, one, version_number{0})) {
          return error;
        }
      }
    }
    const std::vector<database_image> images = images_of(state);
    return storage_.publish(std::move(*stage), position_of(state, images));
  }

  template <class Writer, class Handle>
  [[nodiscard]] std::error_code write_changed(Writer& writer, const Handle& handle,
                                              const captured_state::one_database& from,
                                              version_number after) {
    std::vector<page_view> batch;
    batch.reserve(batch_pages);
    std::error_code error;
    const auto write = [&] {
      if (!error) {
        error = writer.write(handle, batch, from.pin.page_count());
      }
      batch.clear();
    };
    // The pin keeps every image where it is, so the batch may hold views of them.
    from.store->for_each_changed(after, from.pin, [&](const page_version& page) {
      batch.push_back({page.number(), page.hash(), page.image()});
      if (batch.size() == batch_pages) {
        write();
      }
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
  std::map<std::string, stored> stored_;  ///< what the storage holds of each database
};

}  // namespace v0
}  // namespace quorlite
