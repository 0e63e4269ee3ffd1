/// @file
/// A state of the whole machine, pinned: what snapshots send and flushes store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/detail/machine/transaction.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// All databases as of one entry. Taking it is O(databases); it holds what it pins until it is
/// destroyed.
struct captured_state {
  struct one_database {
    std::string name;
    std::shared_ptr<page_store> store;
    page_store::pin pin;
  };

  log_position at;
  log_index replay_from;                  ///< staged transactions begin after this entry
  std::vector<one_database> databases;    ///< ascending by name
  bytes notes;                            ///< the encoded outcome table
  std::vector<transaction::part> staged;  ///< entries, in the order of their transactions
};

/// Copies one page of a pinned state; a page that holds no data (the lock page) reads as zeros.
/// @param reader one on the same store @returns errors of page_store::reader::image()
[[nodiscard]] inline std::error_code copy_page(const captured_state::one_database& from,
                                               page_store::reader& reader, page_number number,
                                               bytes_span into) noexcept try {
  const auto guard = reader.enter();
  const result<bytes_view> image = reader.image(guard, from.pin, number);
  if (!image) {
    return image.error();
  }
  if (image->empty()) {
    std::memset(into.data(), 0, into.size());
  } else {
    std::memcpy(into.data(), image->data(), into.size());
  }
  return {};
} catch (const std::bad_alloc&) {
  return make_error_code(errc::storage_full);
}

/// The snapshot of a captured state, in the format of `Layout`. O(chunk) memory beyond the pins.
/// @tparam Layout snapshot_layout (codec/snapshot.hpp) or one that is used like it
template <class Layout>
class basic_pinned_snapshot final : public snapshot_reader {
 public:
  /// @returns errc::too_large if the state has more than a snapshot can tell, and what the layout
  ///   says of it besides
  [[nodiscard]] static result<std::unique_ptr<snapshot_reader>> make(captured_state state,
                                                                     std::uint64_t lock_byte) {
    result<Layout> layout = Layout::make(header_of(state), lock_byte);
    if (!layout) {
      return failed(layout.error());
    }
    return std::unique_ptr<snapshot_reader>(
        new basic_pinned_snapshot(std::move(state), std::move(*layout)));
  }

  [[nodiscard]] log_position at() const noexcept override { return state_.at; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return layout_.size_bytes(); }

  [[nodiscard]] std::error_code read(std::uint64_t offset, bytes_span into) noexcept override {
    // One epoch slot per call and database: several threads may read at once.
    std::optional<page_store::reader> reader;
    std::size_t of = state_.databases.size();
    return layout_.read(offset, into,
                        [&](std::size_t ordinal, page_number number, bytes_span page) {
                          const captured_state::one_database& from = state_.databases[ordinal];
                          if (of != ordinal) {
                            reader.reset();
                            reader.emplace(from.store);
                            of = ordinal;
                          }
                          return copy_page(from, *reader, number, page);
                        });
  }

 private:
  basic_pinned_snapshot(captured_state state, Layout layout)
      : state_(std::move(state)), layout_(std::move(layout)) {}

  [[nodiscard]] static snapshot_header header_of(const captured_state& state) {
    snapshot_header header;
    header.at = state.at;
    header.notes = state.notes;
    for (const captured_state::one_database& one : state.databases) {
      header.databases.push_back({one.name, one.pin.page_size(), one.pin.page_count(),
                                  one.pin.at().counted(), one.pin.hash()});
    }
    for (const transaction::part& part : state.staged) {
      header.staged.push_back(*part);
    }
    return header;
  }

  captured_state state_;
  Layout layout_;
};
/// The native one (codec/snapshot.hpp).
using pinned_snapshot = basic_pinned_snapshot<snapshot_layout>;

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
