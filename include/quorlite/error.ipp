/// @file
/// Bodies of error.hpp: the two categories, what each code says and what may be concluded from it.
#pragma once

#include <string>
#include <system_error>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

[[nodiscard]] inline const char* text_of(errc code) noexcept {
  switch (code) {
    case errc::not_leader: return "this replica does not lead: write on the leader";
    case errc::stale_term: return "leadership changed since the transaction began: run it again";
    case errc::overloaded: return "the engine is overloaded: run the transaction again";
    case errc::busy: return "busy: try again";
    case errc::too_large:
      return "transaction too large: split it, or raise replica_options::write_set_bytes and what "
             "the engine takes of one (libraft: half of libraft_options::log_bytes)";
    case errc::conflict:
      return "the transaction was built on a state that was not committed: run it again";
    case errc::leadership_lost:
      return "leadership was lost before the answer: the outcome is unknown";
    case errc::timed_out: return "no answer in time: the outcome is unknown";
    case errc::stopped: return "this replica was stopped: write on another";
    case errc::log_failed: return "the log cannot be written here: write on another replica";
    case errc::out_of_memory: return "out of memory: nothing was changed";
    case errc::stopped_in_flight:
      return "the consensus engine was stopped before the answer: the outcome is unknown";
    case errc::log_failed_in_flight:
      return "the log could not be written before the answer: the outcome is unknown";
    case errc::malformed: return "malformed bytes";
    case errc::corrupt: return "damaged bytes: a checksum differs";
    case errc::needs_upgrade: return "written by a newer version: upgrade this replica";
    case errc::diverged: return "what this replica has and what the log says are not one history";
    case errc::halted: return "this replica has halted: see health()";
    case errc::storage_full:
      return "no room in the storage, or no descriptor left: free some and try again";
    case errc::storage_broken:
      return "the storage failed: see to the disk, the files and the permissions; if they are "
             "lost, restore this replica";
    case errc::invalid_name: return "not a database name: use letters, digits, '.', '_' and '-'";
    case errc::no_such_database: return "no such database";
    case errc::too_many_databases: return "too many databases: drop one";
    case errc::unsupported: return "not supported by this adapter or storage";
    case errc::name_taken: return "this process has a VFS of that name already";
    case errc::sqlite_failed: return "SQLite refused";
    case errc::single_threaded_sqlite:
      return "this SQLite was built with SQLITE_THREADSAFE=0: link one that threads may share";
    case errc::log_damaged: return "the log is damaged: this server must not start on it";
    case errc::log_starts_late:
      return "the first entries of the log are gone: this server must not start on it";
    case errc::log_too_short:
      return "the log ends before the databases' state: this server must not start on it";
    case errc::another_cluster: return "log, databases and folder are of different clusters";
    case errc::another_server: return "this folder is another server's";
    case errc::copied: return "this folder is a copy of a server's folder";
    case errc::not_founded: return "an empty folder: found a cluster with it, or join one";
    case errc::already_founded:
      return "a cluster cannot be founded here: the folder is in use already";
    case errc::other_page_size:
      return "the file has pages of another size than the database: import it under another name";
    case errc::snapshot_ended:
      return "the transaction was open for too long, and the state that it read was let go of: run "
             "it again and end it sooner, or raise replica_options::pinned_bytes";
  }
  return "unknown quorlite error";
}

class errc_category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "quorlite"; }
  [[nodiscard]] std::string message(int code) const override {
    return text_of(static_cast<errc>(code));
  }
};

[[nodiscard]] inline failure conclusion_of(errc code) noexcept {
  switch (code) {
    case errc::not_leader:
    case errc::stale_term:
    case errc::overloaded:
    case errc::busy:
    case errc::conflict:
    case errc::stopped:
    case errc::log_failed:
    case errc::out_of_memory:
    case errc::snapshot_ended:
    case errc::storage_full: return failure::not_applied;
    case errc::leadership_lost:
    case errc::timed_out:
    case errc::stopped_in_flight:
    case errc::log_failed_in_flight: return failure::outcome_unknown;
    case errc::corrupt:
    case errc::needs_upgrade:
    case errc::diverged:
    case errc::halted:
    case errc::storage_broken:
    case errc::log_damaged:
    case errc::log_too_short:
    case errc::log_starts_late: return failure::fatal;
    case errc::too_large:
    case errc::malformed:
    case errc::invalid_name:
    case errc::no_such_database:
    case errc::too_many_databases:
    case errc::unsupported:
    case errc::name_taken:
    case errc::single_threaded_sqlite:
    case errc::another_cluster:
    case errc::another_server:
    case errc::copied:
    case errc::not_founded:
    case errc::already_founded:
    case errc::other_page_size:
    case errc::sqlite_failed: break;
  }
  return failure::refused;
}

class conclusion_category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "quorlite conclusion"; }
  [[nodiscard]] std::string message(int condition) const override {
    switch (static_cast<failure>(condition)) {
      case failure::not_applied: return "not applied: safe to run again";
      case failure::outcome_unknown: return "outcome unknown: ask by the transaction id";
      case failure::fatal: return "this replica cannot go on";
      case failure::refused: return "refused";
    }
    return "unknown conclusion";
  }
  [[nodiscard]] bool equivalent(const std::error_code& code,
                                int condition) const noexcept override {
    return code.value() != 0 && code.category() == quorlite_category() &&
           conclusion_of(static_cast<errc>(code.value())) == static_cast<failure>(condition);
  }
};

}  // namespace detail

QUORLITE_DECL const std::error_category& quorlite_category() noexcept {
  static const detail::errc_category instance;
  return instance;
}

QUORLITE_DECL const std::error_category& failure_category() noexcept {
  static const detail::conclusion_category instance;
  return instance;
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
