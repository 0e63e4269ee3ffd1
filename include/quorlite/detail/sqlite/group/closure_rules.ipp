/// @file
/// Bodies of closure_rules.hpp.
#pragma once

#include "quorlite/detail/sqlite/group/closure_rules.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL closure_rules::closure_rules(sqlite3* db) noexcept : db_(db) {
  take_back();
  sqlite3_commit_hook(db, &closure_rules::before_commit, this);
}

QUORLITE_DECL closure_rules::~closure_rules() {
  sqlite3_set_authorizer(db_, nullptr, nullptr);
  sqlite3_commit_hook(db_, nullptr, nullptr);
}

QUORLITE_DECL void closure_rules::enter() noexcept {
  inside_ = true;
  why_ = {};
  tried_to_end_ = false;
}

QUORLITE_DECL bool closure_rules::leave() noexcept {
  inside_ = false;
  was_asked_ = false;
  const bool is_ours = sqlite3_commit_hook(db_, &closure_rules::before_commit, this) == this;
  const bool none_at_rollback = sqlite3_rollback_hook(db_, nullptr, nullptr) == nullptr;
  const bool none_at_update = sqlite3_update_hook(db_, nullptr, nullptr) == nullptr;
  sqlite3_progress_handler(db_, 0, nullptr, nullptr);
  return is_ours && none_at_rollback && none_at_update;
}

QUORLITE_DECL void closure_rules::take_back() noexcept {
  sqlite3_set_authorizer(db_, &closure_rules::authorize, this);
}

QUORLITE_DECL int closure_rules::before_commit(void* self) noexcept {
  return static_cast<closure_rules*>(self)->inside_ ? 1 : 0;
}

QUORLITE_DECL int closure_rules::authorize(void* self, int action, const char* first,
                                           const char* second, const char* schema,
                                           const char*) noexcept {
  auto& rules = *static_cast<closure_rules*>(self);
  rules.was_asked_ = true;
  if (!rules.inside_) {
    return SQLITE_OK;
  }
  const std::string_view why = refusal(action, first, second, schema);
  if (why.empty()) {
    return SQLITE_OK;
  }
  rules.why_ = why;
  rules.tried_to_end_ = rules.tried_to_end_ || ends_ours(action, first);
  return SQLITE_DENY;
}

QUORLITE_DECL std::string_view closure_rules::refusal(int action, const char* first,
                                                      const char* second,
                                                      const char* schema) noexcept {
  constexpr std::string_view no_temp =
      "write() shares its connection: what is TEMP, make on one of your own";
  switch (action) {
    case SQLITE_TRANSACTION:
      return "write() makes the transaction: no BEGIN, COMMIT or ROLLBACK in it; SAVEPOINT works";
    case SQLITE_SAVEPOINT:
      return begins_like_ours(second) ? "savepoints named \"ql:...\" are write()'s own"
                                      : std::string_view{};
    case SQLITE_ATTACH:
    case SQLITE_DETACH:
      return "write() shares its connection: ATTACH and DETACH on one of your own";
    case SQLITE_CREATE_TEMP_TABLE:
    case SQLITE_CREATE_TEMP_INDEX:
    case SQLITE_CREATE_TEMP_VIEW:
    case SQLITE_CREATE_TEMP_TRIGGER: return no_temp;
    case SQLITE_CREATE_VTABLE:
      return sqlite3_stricmp(schema, "temp") == 0 ? no_temp : std::string_view{};
    case SQLITE_PRAGMA:
      return second == nullptr || leaves_connection_alone(first)
                 ? std::string_view{}
                 : "write() shares its connection: no PRAGMA that changes it";
    default: return {};
  }
}

QUORLITE_DECL bool closure_rules::ends_ours(int action, const char* first) noexcept {
  const bool begins = sqlite3_stricmp(first, "BEGIN") == 0;  // of a savepoint too
  return (action == SQLITE_TRANSACTION || action == SQLITE_SAVEPOINT) && !begins;
}

QUORLITE_DECL bool closure_rules::begins_like_ours(const char* name) noexcept {
  return name != nullptr &&
         sqlite3_strnicmp(name, closure_savepoint_prefix.data(),
                          static_cast<int>(closure_savepoint_prefix.size())) == 0;
}

QUORLITE_DECL bool closure_rules::leaves_connection_alone(const char* pragma) noexcept {
  static constexpr std::array names{"application_id",     "foreign_key_check", "foreign_key_list",
                                    "incremental_vacuum", "index_info",        "index_list",
                                    "index_xinfo",        "integrity_check",   "optimize",
                                    "quick_check",        "table_info",        "table_list",
                                    "table_xinfo",        "user_version"};
  return std::any_of(names.begin(), names.end(),
                     [pragma](const char* one) { return sqlite3_stricmp(one, pragma) == 0; });
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
