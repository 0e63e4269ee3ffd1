/// @file
/// Between the machine and its storage: finding the base at start, moving it on by flushes,
/// replacing it by a restore.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/core/memory_gauge.hpp"
#include "quorlite/detail/core/storage_port.hpp"
#include "quorlite/detail/machine/corruption_report.hpp"
#include "quorlite/error.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

struct captured_database;
struct damage_line;
struct pinned_state;
class page_store;
class restore_target;
class staged_base;

/// What a start finds in the storage.
struct QUORLITE_API loaded_base {
  loaded_base();
  loaded_base(loaded_base&& other) noexcept;
  ~loaded_base();

  recovery found;
  std::vector<std::shared_ptr<page_store>> stores;  ///< one per database of `found`
};

/// What the storage holds of each database: the store whose pages these are, as of which version.
struct stored_database {
  std::weak_ptr<page_store> store;
  std::shared_ptr<const stored_content> content;  ///< null: it has no page yet
  std::shared_ptr<const damage_line> damage;      ///< of the content; gone once nothing holds that
  version_number version;
  std::uint64_t page_count = 0;
};
using stored_databases = std::map<std::string, stored_database, std::less<>>;

/// Every call blocks on the storage. One at a time, but begin_restore(), which may be called
/// whenever load() was.
class QUORLITE_API stored_base {
 public:
  /// @param storage outlives every page store that was loaded from it
  stored_base(storage_port& storage, std::uint64_t lock_byte, std::shared_ptr<memory_gauge> gauge,
              std::shared_ptr<corruption_report> corruption) noexcept;
  ~stored_base();

  /// Finds the base. Reads no page if the storage keeps their hashes, else each once. What does not
  /// have the hashes of the position goes to the corruption report, with the page where that is
  /// known.
  /// @returns errc::corrupt if a database is not what the position says; errors of the storage
  [[nodiscard]] result<loaded_base> load();

  /// A place for a restore. Any thread. @returns nullptr with `error` set: errors of the storage
  [[nodiscard]] std::unique_ptr<restore_target> begin_restore(std::error_code& error);

  /// A restore has taken the place of the state: the next flush publishes it, with what happened
  /// since. @param filled one of begin_restore()
  void replace_with(std::unique_ptr<restore_target> filled);

  /// Stores `state`, all of it or nothing. What the storage holds already is not written again.
  /// Afterwards the stores of `state` have it as their base.
  [[nodiscard]] std::error_code flush(const pinned_state& state);

 private:
  [[nodiscard]] result<std::shared_ptr<page_store>> load(const recovery::database& line,
                                                         bool exact);
  [[nodiscard]] std::error_code load_hashes(const recovery::database& line,
                                            const stored_content& content, page_store& store,
                                            bool exact);
  [[nodiscard]] std::error_code read_hashes(const recovery::database& line,
                                            const stored_content& content, std::uint64_t first,
                                            std::span<std::uint64_t> into);
  [[nodiscard]] page_number find_damage(const recovery::database& line,
                                        const stored_content& content,
                                        const page_store& store) const;
  [[nodiscard]] const stored_databases& known() const noexcept;
  [[nodiscard]] const stored_database* known(const captured_database& of) const;
  [[nodiscard]] std::error_code fill(content_writer& writer, const pinned_state& state,
                                     stored_databases& next);
  [[nodiscard]] static std::error_code write_changed(content_writer& writer,
                                                     const stored_database& line,
                                                     const captured_database& from);

  storage_port& storage_;
  const std::uint64_t lock_byte_;
  std::shared_ptr<memory_gauge> gauge_;
  std::shared_ptr<corruption_report> corruption_;
  stored_databases stored_;
  std::unique_ptr<staged_base> replacement_;  // installed, not in the position yet
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/machine/stored_base.ipp"  // IWYU pragma: keep
#endif
