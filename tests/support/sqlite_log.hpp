// What SQLite writes to its log in this program.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quorlite::tests {

/// The lines since the last take(). Any thread.
class sqlite_log {
 public:
  /// SQLite takes a log only before it begins, which it may have done by itself.
  sqlite_log() {
    sqlite3_shutdown();
    sqlite3_config(SQLITE_CONFIG_LOG, &sqlite_log::add, this);
    sqlite3_initialize();
  }
  sqlite_log(const sqlite_log&) = delete;
  sqlite_log& operator=(const sqlite_log&) = delete;

  [[nodiscard]] std::vector<std::string> take() {
    const std::lock_guard guard(mutex_);
    return std::exchange(lines_, {});
  }
  /// How many of the lines since the last take() have this in them.
  [[nodiscard]] std::size_t count(std::string_view part) {
    const std::lock_guard guard(mutex_);
    return static_cast<std::size_t>(std::count_if(
        lines_.begin(), lines_.end(),
        [part](const std::string& line) { return line.find(part) != std::string::npos; }));
  }

 private:
  static void add(void* self, int, const char* text) {
    auto& log = *static_cast<sqlite_log*>(self);
    const std::lock_guard guard(log.mutex_);
    log.lines_.emplace_back(text);
  }

  std::mutex mutex_;
  std::vector<std::string> lines_;
};

/// Made before main(), and so before anybody uses SQLite.
inline sqlite_log seen_log;

}  // namespace quorlite::tests
