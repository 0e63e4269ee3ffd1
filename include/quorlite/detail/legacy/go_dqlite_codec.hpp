/// @file
/// The policy of machines that also take the log and the snapshots of go-dqlite:
/// `replica<C, S, go_dqlite_codec>`. What its entries do: fsm_foreign.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>
#include <utility>
#include <variant>

#include "quorlite/bytes.hpp"
#include "quorlite/detail/codec/entry_codec.hpp"
#include "quorlite/detail/legacy/go_dqlite.hpp"
#include "quorlite/detail/legacy/go_dqlite_snapshot.hpp"
#include "quorlite/detail/legacy/go_dqlite_snapshot_parser.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/codec/command.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {
namespace go_dqlite {

/// From the words of the format to those of a machine.
struct translation {
  [[nodiscard]] static transaction_id id_of(std::uint64_t txid) noexcept { return {term{0}, txid}; }

  [[nodiscard]] foreign_command operator()(const open_command& open) const {
    return quorlite::detail::open_command{open.name};
  }
  [[nodiscard]] foreign_command operator()(const begin_command& begin) const {
    return foreign_mark{id_of(begin.txid), begin.name};
  }
  [[nodiscard]] foreign_command operator()(const frames_command& frames) const {
    foreign_frames same{
        id_of(frames.txid), frames.database_name(), static_cast<std::uint32_t>(frames.page_size),
        frames.truncate,    frames.commits(),       {}};
    same.pages.reserve(frames.page_count());
    for (std::size_t i = 0; i < frames.page_count(); ++i) {
      const page_view page = frames.page(i);
      same.pages.push_back({page.number, page.data});
    }
    return same;
  }
  [[nodiscard]] foreign_command operator()(const undo_command& undo) const {
    return foreign_undo{id_of(undo.txid)};
  }
  [[nodiscard]] foreign_command operator()(const end_command&) const { return foreign_nothing{}; }
  [[nodiscard]] foreign_command operator()(const checkpoint_command& checkpoint) const {
    return quorlite::detail::checkpoint_command{checkpoint.name};
  }
};

}  // namespace go_dqlite

/// Native entries and snapshots, and those of go-dqlite. See entry_codec.hpp.
struct go_dqlite_codec {
  static constexpr bool foreign = true;
  using snapshot_parser = go_dqlite::snapshot_parser;
  using snapshot_layout = go_dqlite::snapshot_layout;

  [[nodiscard]] static bool admits(bytes_view entry) noexcept { return !native::is_ours(entry); }

  /// @returns errc::malformed, too_large, invalid_name: refused alike on every replica
  [[nodiscard]] static result<foreign_command> decode(bytes_view entry, std::uint64_t lock_byte) {
    const result<go_dqlite::command> decoded = go_dqlite::decode(entry);
    if (!decoded) {
      return failed(decoded.error());
    }
    if (const std::error_code error = go_dqlite::validate(*decoded, lock_byte)) {
      return failed(error);
    }
    return std::visit(go_dqlite::translation{}, *decoded);
  }

  [[nodiscard]] static std::error_code encode(const foreign_mark& mark, bytes& out) {
    return go_dqlite::encode(go_dqlite::begin_command{mark.id.sequence, mark.name}, out);
  }
};
static_assert(entry_codec<go_dqlite_codec>);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
