/// @file
/// Bodies of group_writer.hpp.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/sqlite/group/group_writer.hpp"
#include "quorlite/detail/sqlite/group/write_group.hpp"
#include "quorlite/detail/sqlite/vfs.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL group_writer::group_writer(consensus_port& engine, vfs& through, std::string name,
                                         const group_options& options)
    : engine_(engine), through_(through), name_(std::move(name)), options_(options) {
  idle_.reserve(options.groups);  // give_back() must not fail
}
QUORLITE_DECL group_writer::~group_writer() = default;

QUORLITE_DECL void group_writer::write(write_task& task) {
  place own{task, port_signal(engine_), stage::queued};
  if (!enter(own)) {
    task.answer = write_result::refused(make_error_code(errc::busy));
    return;
  }
  while (!own.turn.wait(engine_, options_.timeout)) {
    if (give_up(own)) {
      task.answer = write_result::refused(make_error_code(errc::busy));
      return;
    }
  }
  if (own.at == stage::leads) {
    lead(own);
  }
}

QUORLITE_DECL group_counters group_writer::counters() const {
  const std::lock_guard guard(mutex_);
  return counters_;
}

QUORLITE_DECL bool group_writer::enter(place& own) {
  const std::lock_guard guard(mutex_);
  if (queue_.size() >= options_.waiting) {
    return false;
  }
  queue_.push_back(&own);
  appoint();
  return true;
}

/// @returns false: too late, its turn comes for certain
QUORLITE_DECL bool group_writer::give_up(place& own) {
  const std::lock_guard guard(mutex_);
  return own.at == stage::queued && std::erase(queue_, &own) != 0;
}

/// Makes the first in the queue run the next group, if nobody does and there is a connection for
/// it. Under the mutex.
QUORLITE_DECL void group_writer::appoint() {
  if (!is_led_ && !queue_.empty() && busy_ < options_.groups) {
    is_led_ = true;
    queue_.front()->at = stage::leads;
    queue_.front()->turn.raise();
  }
}

/// Runs a group for everybody in it. Nothing may be thrown here: others wait for it.
QUORLITE_DECL void group_writer::lead(place& own) noexcept {
  std::vector<place*> group;
  std::vector<write_task*> tasks;
  std::unique_ptr<group_executor> executor;
  try {
    executor = take(group, tasks);
  } catch (const std::bad_alloc&) {  // then nobody was taken
    step_back(own);
    own.task.answer = write_result::refused(make_error_code(errc::out_of_memory));
    return;
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
    try {
      auto opened = group_executor::open(through_, name_, options_.connections);
      error = opened ? std::error_code{} : opened.error();
      executor = opened ? std::move(*opened) : nullptr;
    } catch (const std::bad_alloc&) {
      error = make_error_code(errc::out_of_memory);
    }
  }
  if (executor != nullptr) {
    executor->run(tasks, hand_on);
  } else {
    for (write_task* const task : tasks) {
      task->answer = write_result::refused(error);
    }
  }
  give_back(std::move(executor), leading);
  for (place* const member : group) {
    if (member != &own) {
      member->turn.raise();
    }
  }
}

/// Whoever was to run the next group has no memory for that: another one tries.
QUORLITE_DECL void group_writer::step_back(place& own) noexcept {
  const std::lock_guard guard(mutex_);
  std::erase(queue_, &own);
  is_led_ = false;
  appoint();
}

/// The next group and a connection; none if one is to be made.
QUORLITE_DECL std::unique_ptr<group_executor> group_writer::take(std::vector<place*>& group,
                                                                 std::vector<write_task*>& tasks) {
  const std::lock_guard guard(mutex_);
  const std::size_t count = std::min(queue_.size(), options_.closures);
  group.reserve(count);
  tasks.reserve(count);
  ++busy_;
  while (group.size() < count) {
    queue_.front()->at = stage::taken;
    group.push_back(queue_.front());
    tasks.push_back(&queue_.front()->task);
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

QUORLITE_DECL void group_writer::give_back(std::unique_ptr<group_executor> executor, bool leading) {
  const std::lock_guard guard(mutex_);
  --busy_;
  if (executor != nullptr && executor->is_usable()) {
    idle_.push_back(std::move(executor));
  }
  is_led_ = is_led_ && !leading;
  appoint();
}

QUORLITE_DECL group_writers::group_writers(consensus_port& engine, vfs& through,
                                           const group_options& options)
    : engine_(engine), through_(through), options_(options) {
  QUORLITE_ASSERT(options.closures > 0 && options.groups > 0);
}

QUORLITE_DECL result<group_writer*> group_writers::of(std::string_view name) {
  const std::lock_guard guard(mutex_);
  auto found = writers_.find(name);
  if (found == writers_.end()) {
    const auto target = through_.host().database_named(name);
    if (!target.has_value()) {
      return fail(target.error());
    }
    found = writers_
                .emplace(name, std::make_unique<group_writer>(engine_, through_, std::string(name),
                                                              options_))
                .first;
  }
  return found->second.get();
}

QUORLITE_DECL group_counters group_writers::counters() const {
  const std::lock_guard guard(mutex_);
  group_counters all;
  for (const auto& [name, writer] : writers_) {
    const group_counters counted = writer->counters();
    all.closures += counted.closures;
    all.groups += counted.groups;
  }
  return all;
}

QUORLITE_DECL void group_writers::close() noexcept {
  const std::lock_guard guard(mutex_);
  writers_.clear();
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
