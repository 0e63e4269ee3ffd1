/// @file
/// A snapshot that is read from the pinned state itself: nothing of it is ever written down.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/machine/pinned_state.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The snapshot of a captured state, in the format of `Layout`. O(chunk) memory beyond the pins.
/// @tparam Layout snapshot_layout (snapshot.hpp) or one that is used like it
template <class Layout>
class pinned_snapshot final : public snapshot_reader {
 public:
  /// @returns errc::too_large if the state has more than a snapshot can tell, and what the layout
  ///   says of it besides
  [[nodiscard]] static result<std::unique_ptr<snapshot_reader>> make(pinned_state state,
                                                                     std::uint64_t lock_byte) {
    result<Layout> layout = Layout::make(header_of(state), lock_byte);
    if (!layout) {
      return fail(layout.error());
    }
    return std::unique_ptr<snapshot_reader>(
        new pinned_snapshot(std::move(state), std::move(*layout)));
  }

  [[nodiscard]] log_position at() const noexcept override { return state_.at; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return layout_.size_bytes(); }
  [[nodiscard]] snapshot_history history() const noexcept override { return state_.history; }

  [[nodiscard]] std::error_code read(std::uint64_t offset, bytes_span into) noexcept override try {
    // One reader slot per call and database: several threads may read at once.
    std::optional<page_store::reader> reader;
    std::size_t of = state_.databases.size();
    return layout_.read(offset, into,
                        [&](std::size_t ordinal, page_number number, bytes_span page) {
                          const captured_database& from = state_.databases[ordinal];
                          if (of != ordinal) {
                            reader.reset();
                            reader.emplace(from.store);
                            of = ordinal;
                          }
                          return copy_page(from, *reader, number, page);
                        });
  } catch (const std::bad_alloc&) {
    return make_error_code(errc::out_of_memory);
  }

 private:
  pinned_snapshot(pinned_state state, Layout layout)
      : state_(std::move(state)), layout_(std::move(layout)) {}

  [[nodiscard]] static snapshot_header header_of(const pinned_state& state) {
    snapshot_header header;
    header.at = state.at;
    header.notes = state.notes;
    for (const captured_database& one : state.databases) {
      header.databases.push_back({one.name, one.pin.page_size(), one.pin.page_count(),
                                  one.pin.at().counted(), one.pin.hash()});
    }
    header.staged = state.staged;
    return header;
  }

  pinned_state state_;
  Layout layout_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
