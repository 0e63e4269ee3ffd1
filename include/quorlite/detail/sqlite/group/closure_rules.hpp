/// @file
/// What a closure may not do on a connection that it shares with others in one transaction.
#pragma once

#include <string_view>

#include "quorlite/config.hpp"

struct sqlite3;

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The savepoint around each closure, and what the names of ours begin with.
inline constexpr std::string_view closure_savepoint_prefix = "ql:";

/// Guards one connection, by its authorizer (sqlite.org/c3ref/set_authorizer.html) and its commit
/// hook. A statement that was prepared elsewhere may escape the first, if SQLite does not prepare
/// it again; the second turns its COMMIT into a rollback, and a rollback shows. A closure that puts
/// something of its own in the place of either would decide for those that come after it. One
/// thread at a time.
class closure_rules {
 public:
  /// @param db must outlive it, or be closed with it
  explicit closure_rules(sqlite3* db) noexcept;
  closure_rules(const closure_rules&) = delete;
  closure_rules& operator=(const closure_rules&) = delete;
  ~closure_rules();

  void enter() noexcept;
  /// Takes off what the closure has set, as far as SQLite tells or lets it.
  /// @returns false: a hook was another one, or was gone
  [[nodiscard]] bool leave() noexcept;

  /// Puts the authorizer back in its place. All statements are prepared again then.
  void take_back() noexcept;
  /// Something was prepared, and asked it, since leave(): it is in its place.
  [[nodiscard]] bool was_asked() const noexcept { return was_asked_; }

  /// What to say about the last SQLITE_AUTH since enter(); empty if it was not ours.
  [[nodiscard]] std::string_view why() const noexcept { return why_; }
  /// Since enter() a COMMIT, a ROLLBACK or an end of our savepoint was denied.
  [[nodiscard]] bool tried_to_end() const noexcept { return tried_to_end_; }

 private:
  static int before_commit(void* self) noexcept;
  static int authorize(void* self, int action, const char* first, const char* second,
                       const char* schema, const char*) noexcept;

  [[nodiscard]] static std::string_view refusal(int action, const char* first, const char* second,
                                                const char* schema) noexcept;

  [[nodiscard]] static bool begins_like_ours(const char* name) noexcept;

  [[nodiscard]] static bool ends_ours(int action, const char* first) noexcept;

  /// Those with an argument that only look, or whose effect is part of the transaction.
  [[nodiscard]] static bool leaves_connection_alone(const char* pragma) noexcept;

  sqlite3* const db_;
  std::string_view why_;
  bool inside_ = false;
  bool tried_to_end_ = false;
  bool was_asked_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/group/closure_rules.ipp"  // IWYU pragma: keep
#endif
