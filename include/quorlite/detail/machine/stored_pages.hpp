/// @file
/// The pages of one database in a storage, and a restore on its way into one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/detail/machine/damage_board.hpp"
#include "quorlite/error.hpp"
#include "quorlite/detail/core/memory_gauge.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/detail/machine/restore_target.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The base of a store: a handle of the storage. The storage outlives it.
template <storage Storage>
class stored_pages final : public page_source {
 public:
  using handle = std::shared_ptr<const typename Storage::database_type>;

  stored_pages(const Storage& storage, handle from, std::string name,
               std::shared_ptr<damage_board> board)
      : storage_(storage),
        from_(std::move(from)),
        name_(std::move(name)),
        board_(std::move(board)) {}

  [[nodiscard]] std::error_code read(page_number number, bytes_span into) const noexcept override {
    return storage_.read(*from_, number, into);
  }
  void damaged(page_number number, std::error_code why) const noexcept override {
    if (why != errc::storage_full) {
      board_->report(name_, number, why);
    }
  }

 private:
  const Storage& storage_;
  const handle from_;
  const std::string name_;
  const std::shared_ptr<damage_board> board_;
};

/// What a storage holds of each database: the store whose pages these are, as of which version.
template <storage Storage>
struct stored_database {
  std::weak_ptr<page_store> store;
  std::shared_ptr<const typename Storage::database_type> handle;  ///< null: it has no page yet
  version_number version;
  std::uint64_t page_count = 0;
};
template <storage Storage>
using stored_databases = std::map<std::string, stored_database<Storage>, std::less<>>;

/// A stage of the storage, filled by a snapshot.
template <storage Storage>
class staged_base final : public restore_target {
 public:
  using stage_type = typename Storage::stage_type;

  staged_base(const Storage& storage, stage_type stage, std::uint64_t lock_byte,
              std::shared_ptr<memory_gauge> gauge, std::shared_ptr<damage_board> board)
      : storage_(storage),
        stage_(std::move(stage)),
        lock_byte_(lock_byte),
        gauge_(std::move(gauge)),
        board_(std::move(board)) {}

  [[nodiscard]] result<std::shared_ptr<page_store>> begin(std::string_view name,
                                                          const page_store::state& at) override {
    if (const std::error_code error = finish()) {
      return failed(error);
    }
    auto store = page_store::make(at, epoch_number{1}, lock_byte_, gauge_);
    std::string own(name);
    stored_database<Storage> line{store, nullptr, at.version, at.page_count};
    if (at.page_size != 0) {
      auto opened = stage_.open(name, at.page_size);
      if (!opened) {
        return failed(opened.error());
      }
      line.handle = std::make_shared<const typename Storage::database_type>(std::move(*opened));
      store->set_base(std::make_shared<stored_pages<Storage>>(storage_, line.handle, own, board_),
                      at.page_count);
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
    if (current_ == nullptr || !current_->handle) {
      return {};
    }
    const std::size_t one = filling_->committed().page_size;
    for (std::size_t i = 0; i < batch_.size(); ++i) {
      batch_[i].image = bytes_view(images_).subspan(i * one, one);
    }
    const std::error_code error = stage_.write(*current_->handle, batch_, current_->page_count);
    batch_.clear();
    images_.clear();
    return error;
  }

  [[nodiscard]] stage_type& stage() noexcept { return stage_; }
  [[nodiscard]] const stored_databases<Storage>& stored() const noexcept { return stored_; }

 private:
  static constexpr std::size_t batch_bytes = std::size_t{256} << 10U;

  const Storage& storage_;
  stage_type stage_;
  const std::uint64_t lock_byte_;
  std::shared_ptr<memory_gauge> gauge_;
  std::shared_ptr<damage_board> board_;
  stored_databases<Storage> stored_;
  stored_database<Storage>* current_ = nullptr;
  std::shared_ptr<page_store> filling_;
  bytes images_;  // of the batch, one behind the other
  std::vector<page_view> batch_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
