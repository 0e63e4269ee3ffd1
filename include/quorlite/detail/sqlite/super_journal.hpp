/// @file
/// Super-journals: how SQLite commits several databases as one.
///
/// SQLite names a super-journal, hands the name to every database of the transaction
/// (SQLITE_FCNTL_SYNC with a name), and then deletes the super-journal: that is the commit. Whoever
/// finds it gone when rolling back believes that the transaction was committed, and leaves its
/// pages as they are. So a refused one exists until the last member has rolled back.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/sqlite/journal.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

class database_file;

/// The super-journals of one VFS, by name. Any thread; no call blocks.
class super_journals {
 public:
  using members = std::vector<database_file*>;

  /// What a deletion means.
  enum class fate {
    removed,  ///< nobody stands in it: it is gone, or never was
    commit,   ///< the commit point of its members; conclude() follows
    stays,    ///< refused, and not all of its members have rolled back
    refused,  ///< a member has rolled back already, or the deletion is not the one that commits
  };

  /// @returns nullptr if there is none and `create` is false. @throws std::bad_alloc
  [[nodiscard]] std::shared_ptr<heap_file> open(std::string_view name, bool create) {
    const std::lock_guard guard(mutex_);
    const auto found = by_name_.find(name);
    if (found != by_name_.end()) {
      return found->second.content;
    }
    if (!create) {
      return nullptr;
    }
    return by_name_.emplace(name, record{std::make_shared<heap_file>(), {}, false})
        .first->second.content;
  }
  [[nodiscard]] bool exists(std::string_view name) const {
    const std::lock_guard guard(mutex_);
    return by_name_.find(name) != by_name_.end();
  }

  /// @returns false if there is none of this name. @throws std::bad_alloc
  [[nodiscard]] bool join(std::string_view name, database_file* member) {
    const std::lock_guard guard(mutex_);
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) {
      return false;
    }
    found->second.inside.push_back(member);
    return true;
  }

  /// A member rolls back: nobody will commit through this one any more.
  void refuse(std::string_view name) noexcept {
    const std::lock_guard guard(mutex_);
    const auto found = by_name_.find(name);
    if (found != by_name_.end()) {
      found->second.refused = true;
    }
  }
  /// A member has rolled back, or has seen the commit.
  void leave(std::string_view name, database_file* member) noexcept {
    const std::lock_guard guard(mutex_);
    const auto found = by_name_.find(name);
    if (found != by_name_.end()) {
      members& inside = found->second.inside;
      inside.erase(std::remove(inside.begin(), inside.end(), member), inside.end());
      found->second.refused = true;
    }
  }

  /// SQLite deletes it. @param commits the caller's transaction commits by that
  /// @param inside gets the members for fate::commit. @throws std::bad_alloc
  [[nodiscard]] fate remove(std::string_view name, bool commits, members& inside) {
    const std::lock_guard guard(mutex_);
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) {
      return fate::removed;
    }
    record& one = found->second;
    if (one.inside.empty()) {
      by_name_.erase(found);
      return fate::removed;
    }
    if (commits && !one.refused) {
      inside = one.inside;
      return fate::commit;
    }
    const bool expected = one.refused && !commits;
    one.refused = true;
    return expected ? fate::stays : fate::refused;
  }

  /// The members have an answer: a committed one is gone, a refused one stays.
  void conclude(std::string_view name, bool committed) noexcept {
    const std::lock_guard guard(mutex_);
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) {
      return;
    }
    if (committed) {
      by_name_.erase(found);
    } else {
      found->second.refused = true;
    }
  }

 private:
  struct record {
    std::shared_ptr<heap_file> content;
    members inside;  // all of one connection
    bool refused = false;
  };

  mutable std::mutex mutex_;
  std::map<std::string, record, std::less<>> by_name_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
