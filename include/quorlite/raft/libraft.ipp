/// @file
/// Bodies of libraft: its promises about options, the lock of its directory, and mail for its loop.
#pragma once

#include "quorlite/raft/libraft.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/core.hpp"
#include "quorlite/detail/libraft/departure.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/folder_check.hpp"
#include "quorlite/detail/libraft/identity.hpp"
#include "quorlite/detail/libraft/log_entries.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_reader.hpp"
#include "quorlite/detail/libraft/members.hpp"
#include "quorlite/detail/libraft/proposals.hpp"
#include "quorlite/detail/libraft/runtime.hpp"
#include "quorlite/detail/libraft/server_file.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

QUORLITE_DECL libraft::libraft(libraft_options options) : options_(std::move(options)) {}

namespace detail {

/// True for options that make sense.
[[nodiscard]] inline bool can_be(const libraft_options& options) noexcept {
  using batch = libraft_batch;
  const std::size_t limit = std::size_t{1} << 30U;  // of an entry
  const bool begins[] = {options.found, options.join, !options.bootstrap.empty()};
  if (std::count(std::begin(begins), std::end(begins), true) > 1) {
    return false;
  }
  if (options.id.value == 0 || options.heartbeat.value == 0 ||
      options.heartbeat >= options.election_timeout || options.entry_bytes > limit ||
      options.batch_bytes > limit) {
    return false;
  }
  constexpr std::uint64_t some = 1;  // an index, as one is told
  const std::size_t entry = batch::bytes_for(1, options.entry_bytes, some);
  const std::size_t largest = batch::bytes_for(batch::commands_max, options.batch_bytes, some);
  return options.segment_bytes > entry && options.segment_bytes > largest &&
         options.in_flight_bytes >= entry && options.log_bytes / 2 >= entry;
}

}  // namespace detail

QUORLITE_DECL libraft::~libraft() { stop(); }

QUORLITE_DECL std::error_code libraft::start(state_machine& machine) noexcept try {
  QUORLITE_ASSERT(!started_);
  if (!detail::can_be(options_)) {
    return std::make_error_code(std::errc::invalid_argument);
  }
  if (const std::error_code error = lock_.take(options_.directory)) {
    return error;
  }
  withdrawal_.begin();
  auto identity = examine_folder(machine);
  const std::error_code error = identity ? run(std::move(*identity), machine) : identity.error();
  started_ = !error;
  if (error) {
    lock_.release();
  }
  return error;
} catch (const std::bad_alloc&) {
  lock_.release();
  return make_error_code(errc::out_of_memory);
}

namespace detail {

/// Names the file of a defect that the engine's log shows. The engine has given its files other
/// names by then: it closes the segments that it has read. So they are read once more.
/// @param before what was read of them before
/// @param entry in which it was seen; 0: where the log begins
inline void name_place(libraft_log_defect& found, const std::string& directory,
                       const libraft_log_report& before, std::uint64_t entry) {
  if (!found.file.empty()) {
    return;
  }
  libraft_disk_folder folder(directory);
  const auto now = libraft_log_reader(folder, {}).read();
  const libraft_log_report& report = now ? *now : before;
  place_defect(found, folder, report, entry);
  if (found.file.empty()) {
    found.file = report.term.value != 0 ? "metadata1" : "";  // all that is left of a log
  } else if (found.fault == libraft_log_fault::another_server &&
             found.file == report.snapshot_file) {
    found.file += ".meta";  // the members are not in its content
  }
}

}  // namespace detail

QUORLITE_DECL std::error_code libraft::run(detail::libraft_identity identity,
                                           state_machine& machine) {
  has_id_ = true;
  founds_ = identity.founds();
  libraft_options options = options_;
  options.id = identity.id();
  if (identity.is_to_begin()) {
    options.bootstrap = {{identity.id(), options_.address}};
  } else if (identity.is_recorded()) {
    options.bootstrap.clear();  // one that waits to be added begins no log
  }
  const auto made =
      std::make_shared<detail::libraft_runtime>(std::move(options), std::move(identity));
  if (!started_) {
    boots_.set(made, {});
  }
  if (spoiled_) {
    made->core().do_without(*spoiled_);
  }
  if (started_) {
    made->core().go_on_from(boots_.last()->core());
  }
  withdrawal_.hand_over_to(*made);
  const std::error_code error = made->start(machine);
  if (started_ && error) {
    withdrawal_.hand_over_to(*boots_.last());  // the one that was made goes now
  } else if (started_) {
    // Not before: until it runs, the one before turns away whatever comes, and its error is told.
    boots_.set(made, {});
  }
  if (const auto& defect = made->core().log_defect()) {
    report_.defects.push_back(defect->what);
    detail::name_place(report_.defects.back(), options_.directory, report_, defect->entry);
  } else if (!made->engine_words().empty()) {
    report_.defects.push_back({libraft_log_fault::unusable, "", 0,
                               "the engine cannot use this folder: " + made->engine_words(),
                               "Nothing need be wrong with the folder: mend what is named here, "
                               "and start again"});
  } else if (error) {  // the engine is closed, so nobody restores any more
    const std::error_code why = made->core().restore_error();
    const bool is_newer = why == errc::needs_upgrade;
    if (why == errc::corrupt || why == errc::malformed || is_newer) {
      const auto fault = is_newer ? libraft_log_fault::unknown : libraft_log_fault::damaged;
      report_.defects.push_back({fault, report_.snapshot_file, 0,
                                 "this snapshot cannot be restored: " + why.message(),
                                 detail::remedy_for(fault)});
    }
  } else if (spoiled_) {
    report_.defects.push_back(*spoiled_);
  }
  return error;
}

/// Nothing is changed.
QUORLITE_DECL std::error_code libraft::read_folder(const state_machine& machine,
                                                   detail::libraft_folder_facts& facts) {
  detail::libraft_disk_folder folder(options_.directory);
  const log_index files_at = std::max(machine.durable().index, machine.base().ahead.index);
  auto report = detail::libraft_log_reader(folder, files_at).read();
  if (!report) {
    return report.error();
  }
  report_ = std::move(*report);
  spoiled_.reset();
  const bool is_needless = report_.snapshot_at <= machine.durable().index;
  if (report_.snapshot_spoiled && is_needless && report_.defects.size() == 1) {
    spoiled_ = std::move(report_.defects.front());
    report_.defects.clear();
  }
  facts.has_log = !report_.is_empty();
  const auto who = detail::read_server_file(folder);
  const auto seal = detail::libraft_seal::of(options_.directory);
  if (!who || !seal) {
    return who ? seal.error() : who.error();
  }
  facts.file = who->file;
  facts.seal = *seal;
  facts.of_base = machine.base().begun.cluster;
  who->tell(report_);
  return who->defect ? report_.error() : std::error_code{};
}

QUORLITE_DECL result<detail::libraft_identity> libraft::examine_folder(
    const state_machine& machine) {
  detail::libraft_disk_folder folder(options_.directory);
  // A process that was killed may have written these and not made them durable. The engine relies
  // on what it reads here, and writes none of it again.
  for (const std::error_code& unsynced :
       {folder.sync("metadata1"), folder.sync("metadata2"), folder.sync()}) {
    if (unsynced) {
      return fail(unsynced);
    }
  }
  detail::libraft_folder_facts facts;
  if (const std::error_code error = read_folder(machine, facts)) {
    return fail(error);
  }
  libraft_options asked = options_;
  asked.found = options_.found && !has_id_;
  const detail::libraft_folder_plan plan = detail::plan_start(asked, facts);
  if (plan.refusal) {
    // An empty folder beside databases that have a history is no fresh one: that is told.
    if (report_.defects.empty() || plan.refusal->fault != libraft_log_fault::not_founded) {
      report_.defects.insert(report_.defects.begin(), *plan.refusal);
      if (facts.has_log) {
        detail::name_place(report_.defects.front(), options_.directory, report_, 0);
      }
    }
    return fail(report_.error());
  }
  const auto file = settle(plan, facts, machine);
  if (!file) {
    return fail(file.error());
  }
  const bool is_known = file->id.value != 0;
  detail::libraft_identity who(options_.directory, is_known ? file->id : options_.id,
                               options_.address, is_known ? std::optional(*file) : std::nullopt);
  if (plan.seal_anew) {
    who.seal_anew(random(), random());
  }
  return who;
}

/// What nobody was promised is cleared away here, so that the engine has nothing to guess; then the
/// server's file is written, if it is new.
/// @returns the file; without an id: there is none
QUORLITE_DECL result<detail::libraft_server_file> libraft::settle(
    const detail::libraft_folder_plan& plan, const detail::libraft_folder_facts& facts,
    const state_machine& machine) {
  using step = detail::libraft_folder_plan::step;
  detail::libraft_server_file file = facts.file.value_or(detail::libraft_server_file{});
  const bool is_new = (plan.next == step::found || plan.next == step::join) && !facts.file;
  if (plan.next == step::bootstrap) {
    return file;  // a cluster begins, or the engine's room says why not
  }
  if (is_new && options_.id.value > libraft_number_max) {
    return fail(std::make_error_code(std::errc::invalid_argument));
  }
  const std::error_code unclear =
      plan.next == step::found ? clear_founding(machine, facts.file.has_value()) : clear_away();
  if (unclear) {
    return fail(unclear);
  }
  if (!is_new) {
    return file;
  }
  file.id = detail::libraft_made_id(options_.id.value, random());
  file.at = plan.next == step::found ? detail::libraft_server_file::stage::founding
                                     : detail::libraft_server_file::stage::takes_part;
  const auto seal = detail::libraft_seal::make(options_.directory, random(), random());
  if (!seal) {
    return fail(seal.error());
  }
  file.seal = *seal;
  if (const std::error_code error = file.write(options_.directory)) {
    return fail(error);
  }
  return file;
}

QUORLITE_DECL std::error_code libraft::clear_away() {
  if (const std::error_code error = report_.error()) {
    return error;
  }
  detail::libraft_disk_folder folder(options_.directory);
  for (const libraft_log_leftover& one : report_.leftovers) {
    std::error_code error = one.whole ? folder.remove(one.file) : folder.cut(one.file, one.byte);
    if (!error && !one.becomes.empty()) {
      error = folder.rename(one.file, one.becomes);
    }
    if (error) {
      return error;
    }
    if (const std::error_code unsynced = folder.sync()) {
      return unsynced;  // they are in an order in which each state on the way can be read
    }
  }
  return {};
}

/// A founding writes a term, then the first segment. Nobody has been told of either before the
/// server's file says that they are there.
QUORLITE_DECL std::error_code libraft::clear_founding(const state_machine& machine, bool has_file) {
  if (const log_index at = machine.durable().index; at.value != 0) {
    report_.defects.insert(report_.defects.begin(),
                           detail::databases_beside_founding(has_file, at));
    return report_.error();  // a new log would count from 1 again
  }
  detail::libraft_disk_folder folder(options_.directory);
  const auto names = folder.names();
  if (!names) {
    return names.error();
  }
  if (detail::holds_more_than_founding(*names)) {
    report_.defects.insert(report_.defects.begin(), detail::log_beside_founding());
    return report_.error();
  }
  for (const char* const name : detail::libraft_founding_files) {
    const std::error_code error = folder.remove(name);
    if (error && error != std::errc::no_such_file_or_directory) {
      return error;
    }
  }
  if (const std::error_code error = folder.sync()) {
    return error;
  }
  detail::libraft_folder_facts left;
  if (const std::error_code error = read_folder(machine, left)) {
    return error;
  }
  return clear_away();
}

namespace detail {

/// @returns errc::busy: a server runs there. While the lock lives, none starts there
[[nodiscard]] inline std::error_code hold_stopped(const libraft_descriptor& lock) noexcept {
  if (!lock.is_open() || ::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) {
    return {};
  }
  const int error = errno;
  return error == EWOULDBLOCK ? make_error_code(errc::busy)
                              : std::error_code(error, std::generic_category());
}

}  // namespace detail

QUORLITE_DECL result<libraft_log_report> libraft::check(const std::string& directory,
                                                        const state_machine& machine) noexcept try {
  const detail::libraft_descriptor lock(directory + '/' + detail::libraft_lock_name, O_RDONLY);
  if (const std::error_code error = detail::hold_stopped(lock)) {
    return fail(error);
  }
  detail::libraft_disk_folder folder(directory);
  return detail::check_folder(folder, machine);
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

QUORLITE_DECL result<libraft_log_report> libraft::check(const std::string& directory,
                                                        log_index files_at) noexcept try {
  const detail::libraft_descriptor lock(directory + '/' + detail::libraft_lock_name, O_RDONLY);
  if (const std::error_code error = detail::hold_stopped(lock)) {
    return fail(error);
  }
  detail::libraft_disk_folder folder(directory);
  auto report = detail::libraft_log_reader(folder, files_at).read();
  const auto who = detail::read_server_file(folder);
  if (report && !who) {
    return fail(who.error());
  }
  if (report) {
    who->tell(*report);
  }
  return report;
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

namespace detail {

/// For who comes to a loop that is gone: while a server comes back, another one is there soon.
/// @param server of the whole server; none: it is back, or was stopped
[[nodiscard]] inline settle_reason libraft_reason_when_gone(const libraft_runtime& gone,
                                                            std::error_code server) noexcept {
  const settle_reason away = libraft_reason_away(server ? server : gone.status().error());
  return away != settle_reason::none ? away : settle_reason::stopped;
}

}  // namespace detail

QUORLITE_DECL void libraft::stop() noexcept {
  if (std::exchange(started_, false)) {
    if (boots_.last()->stop()) {
      lock_.release();
    } else {
      lock_.abandon();
    }
  }
}

QUORLITE_DECL void libraft::propose(term expected, proposal_token token,
                                    bytes_view entry) noexcept {
  const auto now = boots_.last();
  QUORLITE_ASSERT(now != nullptr);
  state_machine& machine = now->machine();
  if (entry.size() > max_entry_bytes()) {
    machine.settled(token, outcome::not_applied, settle_reason::too_large);
    return;
  }
  if (!now->core().admit(entry.size())) {
    // A log that is full needs one more entry to be looked at.
    now->post([](detail::libraft_mail& mail) { mail.nudge = true; });
    machine.settled(token, outcome::not_applied, settle_reason::busy);
    return;
  }
  detail::libraft_proposal one{expected, token, entry.size(), {}};
  bool is_memory_short = false;
  try {
    one.payload.assign(entry.begin(), entry.end());
    if (now->post([&](detail::libraft_mail& mail) { mail.proposals.push_back(std::move(one)); })) {
      return;
    }
  } catch (const std::bad_alloc&) {
    is_memory_short = true;
  }
  now->core().turn_away(one, is_memory_short
                                 ? settle_reason::no_memory
                                 : detail::libraft_reason_when_gone(*now, engine_error()));
}

QUORLITE_DECL transaction_limit libraft::largest_transaction() const noexcept {
  return {options_.log_bytes / 2, "half of libraft_options::log_bytes"};
}

QUORLITE_DECL void libraft::withdraw() noexcept { withdrawal_.withdraw(); }

QUORLITE_DECL void libraft::leave(std::error_code why) noexcept {
  if (const auto now = boots_.last()) {
    now->post([why](detail::libraft_mail& mail) { mail.leave = why; });
  }
}

QUORLITE_DECL std::error_code libraft::come_back() noexcept try {
  constexpr std::uint64_t segments = 4;  // that a start and the first entries may need
  const auto before = boots_.last();
  if (!started_ || before == nullptr) {
    return make_error_code(errc::stopped);
  }
  const std::error_code why = engine_error();
  if (!why || before->status().whole().role != libraft_role::stopped) {
    return make_error_code(errc::busy);
  }
  if (why != errc::storage_full && why != errc::out_of_memory) {
    return why;
  }
  const std::uint64_t room =
      detail::libraft_least_room(options_) + segments * options_.segment_bytes;
  if (detail::libraft_room_in(options_.directory) < room) {
    return make_error_code(errc::storage_full);
  }
  if (!boots_.is_time(now().steady_us, options_.election_timeout.value * 1000)) {
    return why;
  }
  if (!detail::libraft_gets_room(options_.directory, room)) {
    return make_error_code(errc::storage_full);
  }
  // The folder stays locked. A withdrawal that comes meanwhile is told to the one that is made.
  std::error_code error = make_error_code(errc::storage_broken);  // it has left its files open
  if (before->stop()) {
    withdrawal_.begin();
    auto identity = examine_folder(before->machine());
    error = identity ? run(std::move(*identity), before->machine()) : identity.error();
  }
  if (error) {
    // What the system refuses may pass, as what the server left for does.
    const bool may_pass = error.category() != quorlite_category();
    boots_.set(before, may_pass ? why : error);  // it knows what this server was
  }
  return error;
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

QUORLITE_DECL void libraft::read_barrier(proposal_token token) noexcept {
  const auto now = boots_.last();
  QUORLITE_ASSERT(now != nullptr);
  try {
    if (!now->post([&](detail::libraft_mail& mail) { mail.barriers.push_back(token); })) {
      now->machine().settled(token, outcome::not_applied,
                             detail::libraft_reason_when_gone(*now, engine_error()));
    }
  } catch (const std::bad_alloc&) {
    now->machine().settled(token, outcome::not_applied, settle_reason::no_memory);
  }
}

QUORLITE_DECL void libraft::transfer_leadership() noexcept {
  if (const auto now = boots_.last()) {
    now->post([](detail::libraft_mail& mail) { mail.transfer = true; });
  }
}

QUORLITE_DECL void libraft::run(background_task& task) noexcept {
  bool taken = false;
  try {
    const auto now = boots_.last();
    taken = now != nullptr &&
            now->post([&](detail::libraft_mail& mail) { mail.tasks.push_back(&task); });
  } catch (const std::bad_alloc&) {
    taken = false;  // so it is done here
  }
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

QUORLITE_DECL std::uint64_t libraft::random() noexcept { return detail::libraft_random(); }

QUORLITE_DECL void libraft::compact() noexcept {
  if (const auto now = boots_.last()) {
    now->post([](detail::libraft_mail& mail) { mail.compact = true; });
  }
}

QUORLITE_DECL void libraft::readmit(server_id id) noexcept try {
  if (const auto now = boots_.last()) {
    now->post([id](detail::libraft_mail& mail) { mail.readmitted.push_back(id); });
  }
} catch (const std::bad_alloc&) {  // it stays refused, as it shows
}

QUORLITE_DECL std::error_code libraft::add(const libraft_server& server) try {
  using request = detail::libraft_request;
  return ask(std::make_shared<request>(request::kind::add, server.id, server.address));
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

QUORLITE_DECL std::error_code libraft::promote(server_id id) try {
  using request = detail::libraft_request;
  return ask(std::make_shared<request>(request::kind::promote, id, std::string()));
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

QUORLITE_DECL std::error_code libraft::remove(server_id id) try {
  using request = detail::libraft_request;
  return ask(std::make_shared<request>(request::kind::remove, id, std::string()));
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

QUORLITE_DECL std::error_code libraft::transfer(server_id id) try {
  using request = detail::libraft_request;
  return ask(std::make_shared<request>(request::kind::transfer, id, std::string()));
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

QUORLITE_DECL std::string libraft::refused_peers() const {
  return libraft_refused_text(status().refused);
}

QUORLITE_DECL std::error_code libraft::engine_error() const noexcept { return boots_.error(); }

QUORLITE_DECL libraft_status libraft::status() const {
  const auto known = boots_.last();
  libraft_status now = known == nullptr ? libraft_status{} : known->status().whole();
  now.error = engine_error();
  return now;
}

QUORLITE_DECL std::string libraft::leader_address() const { return status().leader.address; }

QUORLITE_DECL std::error_code libraft::ask(std::shared_ptr<detail::libraft_request> request) {
  const auto now = boots_.last();
  const bool posted = now != nullptr && now->post([&](detail::libraft_mail& mail) {
    mail.requests.push_back(request);
  });
  if (!posted) {
    return make_error_code(errc::stopped);
  }
  while (!request->done.wait(milliseconds{1000})) {  // each is answered, by stop() at last
  }
  return request->answer;
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
