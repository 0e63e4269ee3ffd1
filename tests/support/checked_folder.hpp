// A folder as a check tells of it, with the databases of its server.
#pragma once

#include <string>
#include <utility>

#include "catch2_shim.hpp"
#include "quorlite/fsm.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/storage/memory.hpp"

namespace quorlite::tests {

// @param storage that no machine uses
template <class Storage>
libraft_log_report checked_with(const std::string& log, Storage& storage) {
  fsm<libraft, Storage> machine(storage);
  REQUIRE_FALSE(machine.load());
  auto report = libraft::check(log, machine);
  REQUIRE(report.has_value());
  for (const libraft_log_defect& one : report->defects) {
    CHECK_FALSE((one.what.empty() || one.remedy.empty()));
  }
  CHECK((report->was_compared || !report->defects.empty()));
  return std::move(*report);
}

inline libraft_log_report checked(const std::string& log, const std::string& databases) {
  file_storage storage(databases);
  return checked_with(log, storage);
}

// Of a server whose databases are in memory.
inline libraft_log_report checked(const std::string& log) {
  memory_storage storage;
  return checked_with(log, storage);
}

}  // namespace quorlite::tests
