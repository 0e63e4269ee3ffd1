/// @file
/// Bodies of pragmas.hpp.
#pragma once

#include "quorlite/detail/sqlite/pragmas.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "quorlite/config.hpp"
#include "quorlite/detail/sqlite/database_file.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "quorlite/detail/sqlite/writer_slot.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL pragma_statement::pragma_statement(database_file& file, char** arguments) noexcept
    : file_(file),
      answer_(arguments[0]),
      spelt_name_(arguments[1]),
      spelt_value_(arguments[2]),
      name_(arguments[1]),
      has_value_(arguments[2] != nullptr),
      value_(has_value_ ? arguments[2] : "") {}

QUORLITE_DECL int pragma_statement::run() {
  if (is("journal_mode")) {
    return has_value_ ? journal_mode() : SQLITE_NOTFOUND;
  }
  if (is("page_size")) {
    return has_value_ ? page_size() : SQLITE_NOTFOUND;
  }
  if (is("locking_mode")) {
    return equal(value_, "exclusive")
               ? only_tell("others write, too; BEGIN IMMEDIATE keeps them out for a while")
               : SQLITE_NOTFOUND;
  }
  if (is("synchronous")) {
    return has_value_ && switches_off(value_)
               ? ignore("it would break commits of several databases and save nothing: FULL "
                        "costs nothing here")
               : SQLITE_NOTFOUND;
  }
  if (is("optimize")) {
    return optimize();
  }
  if (is("busy_timeout")) {
    return busy_timeout();
  }
  if (is("quorlite_error")) {
    return say(file_.answers().text());
  }
  if (is("quorlite_transaction")) {
    const transaction_id id = file_.answers().transaction();
    return say(std::to_string(id.term.value) + '.' + std::to_string(id.sequence));
  }
  return SQLITE_NOTFOUND;
}

QUORLITE_DECL bool pragma_statement::begins(std::string_view one, std::string_view part) noexcept {
  if (one.size() < part.size()) {
    return false;
  }
  for (std::size_t i = 0; i < part.size(); ++i) {
    if (lower(one[i]) != lower(part[i])) {
      return false;
    }
  }
  return true;
}

QUORLITE_DECL int pragma_statement::say(const std::string& text) noexcept {
  answer_ = sqlite3_mprintf("%s", text.c_str());
  return answer_ == nullptr ? SQLITE_NOMEM : SQLITE_OK;
}

QUORLITE_DECL int pragma_statement::only_tell(const char* why) noexcept {
  log(why);
  *spelt_value_ = '?';
  return SQLITE_NOTFOUND;
}

QUORLITE_DECL int pragma_statement::ignore(const char* why) noexcept {
  log(why);
  return ignore();
}

QUORLITE_DECL int pragma_statement::ignore() noexcept {
  *spelt_name_ = '?';
  return SQLITE_NOTFOUND;
}

QUORLITE_DECL void pragma_statement::log(const char* why) const noexcept {
  sqlite3_log(SQLITE_WARNING, "quorlite: PRAGMA %s=%s changes nothing on '%s', a replica's: %s",
              spelt_name_, spelt_value_, file_.name().c_str(), why);
}

QUORLITE_DECL int pragma_statement::journal_mode() noexcept {
  for (const std::string_view mode : {"wal", "memory", "off"}) {
    if (!value_.empty() && begins(mode, value_)) {
      return only_tell("it keeps a rollback journal, in memory: DELETE, TRUNCATE and PERSIST are "
                       "the same here, and readers never block");
    }
  }
  return SQLITE_NOTFOUND;
}

QUORLITE_DECL int pragma_statement::page_size() {
  const auto state = file_.committed();
  const auto wanted = static_cast<std::uint64_t>(number(value_));
  return state.page_count != 0 && is_page_size(wanted) && wanted != state.page_size
             ? ignore("its first transaction has fixed it: make another database and copy the "
                      "content")
             : SQLITE_NOTFOUND;
}

QUORLITE_DECL bool pragma_statement::switches_off(std::string_view value) noexcept {
  if (!value.empty() && value[0] >= '0' && value[0] <= '9') {
    const std::uint64_t level = (static_cast<std::uint64_t>(number(value)) & 0xFFU) + 1;
    return (level & 7U) <= 1;
  }
  return equal(value, "off") || equal(value, "no") || equal(value, "false");
}

/// sqlite3Atoi() of its sources: what does not fit into 31 bits is 0.
QUORLITE_DECL std::int64_t pragma_statement::number(std::string_view digits) noexcept {
  constexpr std::int64_t most = 0x7FFF'FFFF;
  const bool is_negative = digits.starts_with('-');
  const bool is_signed = is_negative || digits.starts_with('+');
  digits.remove_prefix(is_signed ? 1 : 0);
  const bool is_hexadecimal = !is_negative && begins(digits, "0x");
  digits.remove_prefix(is_hexadecimal ? 2 : 0);
  const std::int64_t base = is_hexadecimal ? 16 : 10;
  std::int64_t value = 0;
  for (const char digit : digits) {
    const std::int64_t worth = worth_of(digit);
    if (worth >= base) {
      break;
    }
    value = value * base + worth;
    if (value > most + (is_negative ? 1 : 0)) {
      return 0;
    }
  }
  return is_negative ? -value : value;
}

QUORLITE_DECL std::int64_t pragma_statement::worth_of(char digit) noexcept {
  const char small = lower(digit);
  return small >= '0' && small <= '9'   ? small - '0'
         : small >= 'a' && small <= 'f' ? small - 'a' + 10
                                        : 16;
}

QUORLITE_DECL int pragma_statement::optimize() {
  if (file_.core().is_closed.load()) {
    return ignore();
  }
  const bool has_content = file_.committed().page_count != 0;
  return has_content && file_.turn().would_be_refused() ? ignore() : SQLITE_NOTFOUND;
}

QUORLITE_DECL int pragma_statement::busy_timeout() {
  std::atomic<std::uint64_t>* const timeout = file_.connection().timeout();
  if (timeout == nullptr) {
    return SQLITE_NOTFOUND;
  }
  if (has_value_) {
    timeout->store(static_cast<std::uint64_t>(std::max(number(value_), std::int64_t{0})));
  }
  return say(std::to_string(timeout->load()));
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
