/// @file
/// A storage that counts the pages which flushes write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <utility>

#include "quorlite/storage.hpp"

namespace bench {

/// Is what it counts for in everything else.
template <quorlite::storage Inner>
class counting_storage : public Inner {
 public:
  using Inner::Inner;

  class flush_type : public Inner::flush_type {
   public:
    [[nodiscard]] std::error_code write(const typename Inner::database_type& database,
                                        std::span<const quorlite::page_view> sorted,
                                        std::uint64_t page_count) noexcept {
      pages_ += sorted.size();
      return Inner::flush_type::write(database, sorted, page_count);
    }

   private:
    friend class counting_storage;
    explicit flush_type(typename Inner::flush_type inner) : Inner::flush_type(std::move(inner)) {}

    std::uint64_t pages_ = 0;
  };

  [[nodiscard]] quorlite::result<flush_type> begin_flush(
      const quorlite::history_position& ahead) noexcept {
    auto begun = Inner::begin_flush(ahead);
    if (!begun) {
      return quorlite::fail(begun.error());
    }
    return flush_type{std::move(*begun)};
  }
  [[nodiscard]] std::error_code commit(flush_type flush,
                                       const quorlite::base_position& position) noexcept {
    pages_ += flush.pages_;
    return Inner::commit(std::move(flush), position);
  }

  /// Pages of all flushes that came to a commit.
  [[nodiscard]] std::uint64_t pages_flushed() const { return pages_; }

 private:
  std::uint64_t pages_ = 0;
};

}  // namespace bench
