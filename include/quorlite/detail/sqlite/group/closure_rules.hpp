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
/// it again; the second turns its COMMIT into a rollback, and a rollback shows. One thread at a
/// time.
class closure_rules {
 public:
  /// @param db must outlive it, or be closed with it
  explicit closure_rules(sqlite3* db) noexcept;
  closure_rules(const closure_rules&) = delete;
  closure_rules& operator=(const closure_rules&) = delete;
  ~closure_rules();

  void enter() noexcept;
  void leave() noexcept { inside_ = false; }

  /// What to say about the last SQLITE_AUTH since enter(); empty if it was not ours.
  [[nodiscard]] std::string_view why() const noexcept { return why_; }
  /// Since enter() a COMMIT, a ROLLBACK or an end of our savepoint was denied.
  [[nodiscard]] bool tried_to_end() const noexcept { return tried_to_end_; }

 private:
  static int before_commit(void* self) noexcept;
  static int authorize(void* self, int action, const char* first, const char* second, const char*,
                       const char*) noexcept;

  [[nodiscard]] static std::string_view refusal(int action, const char* first,
                                                const char* second) noexcept;

  [[nodiscard]] static bool begins_like_ours(const char* name) noexcept;

  [[nodiscard]] static bool ends_ours(int action, const char* first) noexcept;

  /// Those with an argument that only look, or whose effect is part of the transaction.
  [[nodiscard]] static bool leaves_connection_alone(const char* pragma) noexcept;

  sqlite3* const db_;
  std::string_view why_;
  bool inside_ = false;
  bool tried_to_end_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/group/closure_rules.ipp"  // IWYU pragma: keep
#endif
