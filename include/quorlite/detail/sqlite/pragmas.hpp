/// @file
/// PRAGMA statements on a replicated database: what changes nothing, and what we answer ourselves.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

class database_file;

/// Answers SQLITE_FCNTL_PRAGMA for one database file.
///
/// A mode that a replicated database cannot have is no error, for frameworks ask for such modes and
/// go on: SQLite answers it as it answers one that a database in memory cannot have. So it is made
/// to read another statement, in the text that it hands to us and reads again: with a value that it
/// does not know it tells the mode in effect; a pragma that it does not know does nothing, and has
/// no column.
class pragma_statement {
 public:
  /// @param arguments SQLite's: [0] gets our text (from sqlite3_malloc), [1] the name, [2] the
  ///   value or nullptr
  pragma_statement(database_file& file, char** arguments) noexcept;

  /// @returns SQLITE_NOTFOUND: SQLite goes on with it; SQLITE_OK: answered
  int run();

 private:
  static char lower(char letter) noexcept {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  }
  static bool equal(std::string_view one, std::string_view other) noexcept {
    return one.size() == other.size() && begins(one, other);
  }
  /// True if `one` is as long as `part` at least, and begins like it in any case.
  static bool begins(std::string_view one, std::string_view part) noexcept;
  [[nodiscard]] bool is(std::string_view name) const noexcept { return equal(name_, name); }

  int say(const std::string& text) noexcept;
  /// SQLite tells the mode in effect. @param why it is not the one that was asked for
  int only_tell(const char* why) noexcept;
  /// SQLite does nothing.
  int ignore(const char* why) noexcept;
  int ignore() noexcept;
  void log(const char* why) const noexcept;

  /// SQLite takes any beginning of a mode's name for the mode.
  int journal_mode() noexcept;

  /// SQLite would ignore it now and apply it at the next VACUUM.
  int page_size();

  /// SQLite's way to read it: a number modulo 8, 0 and 7 being OFF, or a word.
  static bool switches_off(std::string_view value) noexcept;
  /// As SQLite reads it.
  static std::int64_t number(std::string_view digits) noexcept;
  /// 16 and more: it is no digit.
  static std::int64_t worth_of(char digit) noexcept;

  /// It writes statistics, and whoever may not write has no need of it: the leader's come here.
  int optimize();

  /// SQLite would put its own busy handler, which sleeps by the clock and cannot ask for the head,
  /// in the place of the connection's.
  int busy_timeout();

  database_file& file_;
  char*& answer_;
  char* const spelt_name_;
  char* const spelt_value_;
  const std::string_view name_;
  const bool has_value_;
  const std::string_view value_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/sqlite/pragmas.ipp"  // IWYU pragma: keep
#endif
