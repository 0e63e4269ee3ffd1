/// @file
/// Bodies of libraft: its promises about options, the lock of its directory, and mail for its loop.
#pragma once

#include "quorlite/raft/libraft.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <initializer_list>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/core.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_reader.hpp"
#include "quorlite/detail/libraft/members.hpp"
#include "quorlite/detail/libraft/proposals.hpp"
#include "quorlite/detail/libraft/runtime.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

QUORLITE_DECL libraft::libraft(libraft_options options) : options_(std::move(options)) {}

/// True for options that make sense.
QUORLITE_DECL bool libraft::can_be() const noexcept {
  using batch = detail::libraft_batch;
  const std::size_t limit = std::size_t{1} << 30U;  // of an entry
  if (options_.id.value == 0 || options_.heartbeat.value == 0 ||
      options_.heartbeat >= options_.election_timeout || options_.entry_bytes > limit ||
      options_.batch_bytes > limit) {
    return false;
  }
  const std::size_t entry = batch::bytes_for(1, options_.entry_bytes);
  const std::size_t largest = batch::bytes_for(batch::commands_max, options_.batch_bytes);
  return options_.segment_bytes > entry && options_.segment_bytes > largest &&
         options_.in_flight_bytes >= entry && options_.log_bytes / 2 >= entry;
}

QUORLITE_DECL libraft::~libraft() { stop(); }

QUORLITE_DECL std::error_code libraft::start(state_machine& machine) noexcept try {
  QUORLITE_ASSERT(!started_);
  if (!can_be()) {
    return std::make_error_code(std::errc::invalid_argument);
  }
  if (const std::error_code error = lock_directory()) {
    return error;
  }
  std::error_code error = examine_log(machine);
  if (!error) {
    runtime_ = std::make_unique<detail::libraft_runtime>(options_);
    error = runtime_->start(machine);
    if (const auto& defect = runtime_->core().log_defect()) {
      report_.defects.push_back(*defect);
    }
  }
  started_ = !error;
  if (error) {
    unlock_directory();
  }
  return error;
} catch (const std::bad_alloc&) {
  unlock_directory();
  return make_error_code(errc::out_of_memory);
}

/// What nobody was promised is cleared away here, so that the engine has nothing to guess.
QUORLITE_DECL std::error_code libraft::examine_log(const state_machine& machine) noexcept try {
  detail::libraft_disk_folder folder(options_.directory);
  // A process that was killed may have written these and not made them durable. The engine relies
  // on what it reads here, and writes none of it again.
  for (const std::error_code& unsynced :
       {folder.sync("metadata1"), folder.sync("metadata2"), folder.sync()}) {
    if (unsynced) {
      return unsynced;
    }
  }
  const log_index files_at = std::max(machine.durable().index, machine.base().ahead.index);
  auto report = detail::libraft_log_reader(folder, files_at).read();
  if (!report) {
    return report.error();
  }
  report_ = std::move(*report);
  if (report_.is_empty() && !options_.bootstrap.empty()) {
    return {};  // a cluster begins, or the engine's room says why not
  }
  if (const std::error_code error = report_.error()) {
    return error;
  }
  for (const libraft_log_leftover& one : report_.leftovers) {
    const std::error_code error =
        one.whole ? folder.remove(one.file) : folder.cut(one.file, one.byte);
    if (error) {
      return error;
    }
    if (const std::error_code unsynced = folder.sync()) {
      return unsynced;  // they are in an order in which each state on the way can be read
    }
  }
  return {};
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

QUORLITE_DECL result<libraft_log_report> libraft::check(const std::string& directory,
                                                        log_index files_at) noexcept try {
  const detail::libraft_descriptor lock(directory + "/quorlite.lock", O_RDONLY);
  if (lock.is_open() && ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return errno == EWOULDBLOCK ? fail(errc::busy)
                                : fail(std::error_code(errno, std::generic_category()));
  }
  detail::libraft_disk_folder folder(directory);
  return detail::libraft_log_reader(folder, files_at).read();
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

QUORLITE_DECL void libraft::stop() noexcept {
  if (std::exchange(started_, false)) {
    if (runtime_->stop()) {
      unlock_directory();
    } else {
      lock_ = -1;  // until the process ends: a write may be under way yet
    }
  }
}

QUORLITE_DECL void libraft::propose(term expected, proposal_token token,
                                    bytes_view entry) noexcept {
  QUORLITE_ASSERT(runtime_ != nullptr);
  state_machine& machine = runtime_->machine();
  if (entry.size() > max_entry_bytes()) {
    machine.settled(token, outcome::not_applied, settle_reason::too_large);
    return;
  }
  if (!runtime_->core().admit(entry.size())) {
    // A log that is full needs one more entry to be looked at.
    runtime_->post([](detail::libraft_mail& mail) { mail.nudge = true; });
    machine.settled(token, outcome::not_applied, settle_reason::busy);
    return;
  }
  detail::libraft_proposal one{expected, token, {entry.begin(), entry.end()}};
  if (!runtime_->post(
          [&](detail::libraft_mail& mail) { mail.proposals.push_back(std::move(one)); })) {
    runtime_->core().turn_away(one, settle_reason::stopped);
  }
}

QUORLITE_DECL void libraft::withdraw() noexcept {
  if (runtime_ != nullptr) {
    runtime_->withdraw();
  }
}

QUORLITE_DECL void libraft::read_barrier(proposal_token token) noexcept {
  QUORLITE_ASSERT(runtime_ != nullptr);
  if (!runtime_->post([&](detail::libraft_mail& mail) { mail.barriers.push_back(token); })) {
    runtime_->machine().settled(token, outcome::not_applied, settle_reason::stopped);
  }
}

QUORLITE_DECL void libraft::transfer_leadership() noexcept {
  if (runtime_ != nullptr) {
    runtime_->post([](detail::libraft_mail& mail) { mail.transfer = true; });
  }
}

QUORLITE_DECL void libraft::run(background_task& task) noexcept {
  const bool taken = runtime_ != nullptr && runtime_->post([&](detail::libraft_mail& mail) {
    mail.tasks.push_back(&task);
  });
  if (!taken) {
    task.run();
  }
}

QUORLITE_DECL clock_reading libraft::now() noexcept {
  const auto read = [](clockid_t which) noexcept {
    timespec told{};
    ::clock_gettime(which, &told);
    return told.tv_sec < 0 ? std::uint64_t{0}
                           : static_cast<std::uint64_t>(told.tv_sec) * 1'000'000 +
                                 static_cast<std::uint64_t>(told.tv_nsec) / 1000;
  };
  return {.steady_us = read(CLOCK_MONOTONIC), .utc_us = read(CLOCK_REALTIME)};
}

QUORLITE_DECL std::uint64_t libraft::random() noexcept {
  std::uint64_t drawn = 0;
  const int failure = ::getentropy(&drawn, sizeof drawn);
  QUORLITE_ASSERT(failure == 0);
  return drawn;
}

QUORLITE_DECL void libraft::compact() noexcept {
  if (runtime_ != nullptr) {
    runtime_->post([](detail::libraft_mail& mail) { mail.compact = true; });
  }
}

QUORLITE_DECL std::error_code libraft::add(const libraft_server& server) {
  using request = detail::libraft_request;
  return ask(std::make_shared<request>(request::kind::add, server.id, server.address));
}

QUORLITE_DECL std::error_code libraft::promote(server_id id) {
  using request = detail::libraft_request;
  return ask(std::make_shared<request>(request::kind::promote, id, std::string()));
}

QUORLITE_DECL std::error_code libraft::remove(server_id id) {
  using request = detail::libraft_request;
  return ask(std::make_shared<request>(request::kind::remove, id, std::string()));
}

QUORLITE_DECL std::error_code libraft::transfer(server_id id) {
  using request = detail::libraft_request;
  return ask(std::make_shared<request>(request::kind::transfer, id, std::string()));
}

QUORLITE_DECL std::error_code libraft::engine_error() const noexcept {
  return runtime_ == nullptr ? std::error_code{} : runtime_->status().error();
}

QUORLITE_DECL libraft_status libraft::status() const {
  return runtime_ == nullptr ? libraft_status{} : runtime_->status().whole();
}

QUORLITE_DECL std::string libraft::leader_address() const { return status().leader.address; }

QUORLITE_DECL std::error_code libraft::ask(std::shared_ptr<detail::libraft_request> request) {
  const bool posted = runtime_ != nullptr && runtime_->post([&](detail::libraft_mail& mail) {
    mail.requests.push_back(request);
  });
  if (!posted) {
    return make_error_code(errc::stopped);
  }
  while (!request->done.wait(milliseconds{1000})) {  // each is answered, by stop() at last
  }
  return request->answer;
}

QUORLITE_DECL std::error_code libraft::lock_directory() noexcept {
  if (::mkdir(options_.directory.c_str(), 0755) != 0 && errno != EEXIST) {
    return {errno, std::generic_category()};
  }
  const std::string path = options_.directory + "/quorlite.lock";
  lock_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ >= 0 && ::flock(lock_, LOCK_EX | LOCK_NB) == 0) {
    return {};
  }
  const int error = errno;
  unlock_directory();
  return error == EWOULDBLOCK ? make_error_code(errc::busy)
                              : std::error_code(error, std::generic_category());
}

QUORLITE_DECL void libraft::unlock_directory() noexcept {
  if (lock_ >= 0) {
    ::close(std::exchange(lock_, -1));
  }
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
