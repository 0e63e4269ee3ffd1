/// @file
/// A storage as its machine sees it, under a watch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/testing/detail/simulation/process_watch.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// Hands every call on, and tells how far a flush is. For a dead process nothing has an effect: its
/// storage may be another's by now.
template <storage Storage>
class watched_storage {
 public:
  static constexpr storage_abilities abilities = Storage::abilities;
  using database_type = typename Storage::database_type;
  using flush_type = typename Storage::flush_type;
  using stage_type = typename Storage::stage_type;

  watched_storage(std::shared_ptr<Storage> real, std::shared_ptr<process_watch> watch) noexcept
      : real_(std::move(real)), watch_(std::move(watch)) {}

  [[nodiscard]] result<recovery> recover() noexcept { return real_->recover(); }
  [[nodiscard]] result<database_type> open(std::string_view name,
                                           std::uint32_t page_size) noexcept {
    return real_->open(name, page_size);
  }
  [[nodiscard]] std::error_code read(const database_type& database, page_number page,
                                     bytes_span into) const noexcept {
    return after(real_->read(database, page, into));
  }
  [[nodiscard]] std::error_code read_hashes(const database_type& database, page_number first,
                                            std::span<std::uint64_t> into) const noexcept {
    return real_->read_hashes(database, first, into);
  }

  [[nodiscard]] result<flush_type> begin_flush(const history_position& ahead) noexcept {
    if (watch_->is_dead) {
      return fail(errc::storage_broken);
    }
    auto begun = real_->begin_flush(ahead);
    if (begun && !watch_->reached(server_phase::flush_begun)) {
      return fail(errc::storage_broken);
    }
    return begun;
  }
  [[nodiscard]] std::error_code commit(flush_type flush, const base_position& position) noexcept {
    if (!watch_->reached(server_phase::flush_written)) {
      return make_error_code(errc::storage_broken);
    }
    return told(real_->commit(std::move(flush), position));
  }

  [[nodiscard]] result<stage_type> begin_stage() noexcept {
    return watch_->is_dead ? fail(errc::storage_broken) : real_->begin_stage();
  }
  [[nodiscard]] std::error_code publish(stage_type&& stage,
                                        const base_position& position) noexcept {
    if (!watch_->reached(server_phase::flush_written)) {
      return make_error_code(errc::storage_broken);
    }
    return told(real_->publish(std::move(stage), position));
  }

  /// For storages that have an end of their own.
  [[nodiscard]] std::error_code close() noexcept {
    if (watch_->is_dead) {
      return make_error_code(errc::storage_broken);
    }
    if constexpr (requires { real_->close(); }) {
      return real_->close();
    } else {
      return {};
    }
  }

 private:
  std::error_code after(std::error_code error) const noexcept {
    watch_->worked();
    return error;
  }
  [[nodiscard]] std::error_code told(std::error_code error) const noexcept {
    watch_->worked();
    return error || watch_->reached(server_phase::flush_committed)
               ? error
               : make_error_code(errc::storage_broken);
  }

  std::shared_ptr<Storage> real_;
  std::shared_ptr<process_watch> watch_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
