/// @file
/// Group commit: closures that are waiting at the same time share a transaction.
///
/// No thread of its own: whoever comes to an idle writer, or is the first to wait when a group goes
/// to its COMMIT, runs the next group for all who wait by then. While one group is on its way to a
/// quorum the next one runs, on another connection and on top of it; so under load a group is as
/// large as what comes in during half a round trip.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/options.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/error.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"
#include "quorlite/detail/sqlite/group/write_group.hpp"
#include "quorlite/detail/sqlite/group/write_task.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// The closures of one database. Any thread.
template <consensus Consensus>
class group_writer {
 public:
  group_writer(Consensus& consensus, vfs& through, std::string name, const group_options& options)
      : consensus_(consensus), through_(through), name_(std::move(name)), options_(options) {}

  /// Blocks until the task has its answer.
  void write(write_task& task) {
    place own{task, {}, stage::queued};
    if (!enter(own)) {
      task.answer = write_answer::refused(make_error_code(errc::busy));
      return;
    }
    while (!consensus_.wait(own.turn, options_.patience)) {
      if (give_up(own)) {
        task.answer = write_answer::refused(make_error_code(errc::busy));
        return;
      }
    }
    if (own.at == stage::leads) {
      lead(own);
    }
  }

  [[nodiscard]] group_counters counters() const {
    const std::lock_guard guard(mutex_);
    return counters_;
  }

 private:
  enum class stage { queued, leads, taken };

  /// Of one caller, on its stack. Under the mutex, and its own after `turn` was raised: which
  /// happens once, and nobody else touches it afterwards.
  struct place {
    write_task& task;
    typename Consensus::signal_type turn;
    stage at;
  };

  [[nodiscard]] bool enter(place& own) {
    const std::lock_guard guard(mutex_);
    if (queue_.size() >= options_.waiting) {
      return false;
    }
    queue_.push_back(&own);
    appoint();
    return true;
  }

  /// @returns false: too late, its turn comes for certain
  [[nodiscard]] bool give_up(place& own) {
    const std::lock_guard guard(mutex_);
    return own.at == stage::queued && std::erase(queue_, &own) != 0;
  }

  /// Makes the first in the queue run the next group, if nobody does and there is a connection for
  /// it. Under the mutex.
  void appoint() {
    if (!is_led_ && !queue_.empty() && busy_ < options_.groups) {
      is_led_ = true;
      queue_.front()->at = stage::leads;
      queue_.front()->turn.raise();
    }
  }

  /// Runs a group for everybody in it. Nothing may be thrown here: others wait for it.
  void lead(place& own) noexcept {
    std::vector<place*> group;
    std::unique_ptr<group_executor> executor = take(group);
    std::vector<write_task*> tasks;
    tasks.reserve(group.size());
    for (const place* const one : group) {
      tasks.push_back(&one->task);
    }
    bool leading = true;
    const auto hand_on = [this, &leading] {
      if (std::exchange(leading, false)) {
        const std::lock_guard guard(mutex_);
        is_led_ = false;
        appoint();
      }
    };
    std::error_code error;
    if (executor == nullptr) {
      auto opened = group_executor::open(through_, name_, options_.connections);
      error = opened ? std::error_code{} : opened.error();
      executor = opened ? std::move(*opened) : nullptr;
    }
    if (executor != nullptr) {
      executor->run(tasks, hand_on);
    } else {
      for (write_task* const one : tasks) {
        one->answer = write_answer::refused(error);
      }
    }
    give_back(std::move(executor), leading);
    for (place* const one : group) {
      if (one != &own) {
        one->turn.raise();
      }
    }
  }

  /// The next group and a connection; none if one is to be made.
  [[nodiscard]] std::unique_ptr<group_executor> take(std::vector<place*>& group) {
    const std::lock_guard guard(mutex_);
    ++busy_;
    while (!queue_.empty() && group.size() < options_.closures) {
      queue_.front()->at = stage::taken;
      group.push_back(queue_.front());
      queue_.pop_front();
    }
    counters_.closures += group.size();
    ++counters_.groups;
    if (idle_.empty()) {
      return nullptr;
    }
    auto executor = std::move(idle_.back());
    idle_.pop_back();
    return executor;
  }

  void give_back(std::unique_ptr<group_executor> executor, bool leading) {
    const std::lock_guard guard(mutex_);
    --busy_;
    if (executor != nullptr) {
      idle_.push_back(std::move(executor));
    }
    is_led_ = is_led_ && !leading;
    appoint();
  }

  Consensus& consensus_;
  vfs& through_;
  const std::string name_;
  const group_options options_;
  mutable std::mutex mutex_;
  std::deque<place*> queue_;
  std::vector<std::unique_ptr<group_executor>> idle_;
  std::size_t busy_ = 0;  ///< connections in use
  bool is_led_ = false;   ///< somebody runs closures, or was told to
  group_counters counters_;
};

/// The writers of a replica, by database. Any thread.
template <consensus Consensus>
class group_writers {
 public:
  group_writers(Consensus& consensus, vfs& through, const group_options& options)
      : consensus_(consensus), through_(through), options_(options) {
    QUORLITE_ASSERT(options.closures > 0 && options.groups > 0);
  }

  /// @returns errc::invalid_name, errc::too_many_databases
  [[nodiscard]] result<group_writer<Consensus>*> of(std::string_view name) {
    const std::lock_guard guard(mutex_);
    auto found = writers_.find(name);
    if (found == writers_.end()) {
      const auto target = through_.host().database_named(name);
      if (!target.has_value()) {
        return failed(target.error());
      }
      found = writers_
                  .emplace(name, std::make_unique<group_writer<Consensus>>(
                                     consensus_, through_, std::string(name), options_))
                  .first;
    }
    return found->second.get();
  }

  [[nodiscard]] group_counters counters() const {
    const std::lock_guard guard(mutex_);
    group_counters all;
    for (const auto& [name, one] : writers_) {
      const group_counters counted = one->counters();
      all.closures += counted.closures;
      all.groups += counted.groups;
    }
    return all;
  }

 private:
  Consensus& consensus_;
  vfs& through_;
  const group_options options_;
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<group_writer<Consensus>>, std::less<>> writers_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
