/// @file
/// Bodies of identity.hpp: the table of docs/design/history.md, section 9, row by row.
#pragma once

#include "quorlite/detail/libraft/identity.hpp"

#include <algorithm>
#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/server_file.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL std::string libraft_cluster_text(const cluster_identity& cluster) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const std::uint64_t half : {cluster.high, cluster.low}) {
    for (unsigned shift = 64; shift > 0; shift -= 4) {
      text += digits[static_cast<std::size_t>(half >> (shift - 4)) & 15U];
    }
  }
  return text;
}

// ---- refusals

[[nodiscard]] inline libraft_log_defect another_server(server_id here, server_id asked) {
  return {libraft_log_fault::another_server, libraft_server_file::file_name, 16,
          "this folder is server " + libraft_id_text(here) + "'s, and server " +
              libraft_id_text(asked) + " was asked for",
          "Start it as server " + std::to_string(libraft_number_of(here)) + ", or give server " +
              std::to_string(libraft_number_of(asked)) + " a folder of its own"};
}

/// @param what is of the other one, and belongs to the folder
[[nodiscard]] inline libraft_log_defect another_cluster(const cluster_identity& folder,
                                                        std::string_view what,
                                                        const cluster_identity& other) {
  return {libraft_log_fault::another_cluster, libraft_server_file::file_name, 24,
          "the folder belongs to cluster " + libraft_cluster_text(folder) + ", and " +
              std::string(what) + " to cluster " + libraft_cluster_text(other),
          "Give this server a folder of its own, and bring together what belongs together"};
}

/// A folder names its cluster once the entry that does was applied: then its log has that entry, or
/// a snapshot that is behind it.
[[nodiscard]] inline libraft_log_defect log_of_no_cluster(const cluster_identity& folder,
                                                          log_index end) {
  return {libraft_log_fault::another_cluster, libraft_server_file::file_name, 24,
          "the folder belongs to cluster " + libraft_cluster_text(folder) +
              ", and its log, which ends at log index " + std::to_string(end.value) +
              ", to no cluster: it is not this folder's, or an old copy, or its end is gone",
          "Bring back the log that belongs to this folder. If that is gone and most of the other "
          "servers are up: keep this folder, remove this server from the cluster, start it with an "
          "empty folder and join, and add it. If it is the only one: export its databases, and "
          "found the cluster anew"};
}

/// @param has_number the lock file holds one; else somebody has removed it, and a start has made
///   another, or it was left out of a backup
[[nodiscard]] inline libraft_log_defect copied_folder(bool has_number) {
  return {
      libraft_log_fault::copied, libraft_server_file::file_name, 40,
      has_number ? "this folder is a copy: its lock file is not the one that this server made"
                 : "this folder is a copy, or its file quorlite.lock was removed: the one that "
                   "this server made is gone",
      std::string(has_number ? ""
                             : "If somebody has removed that file, and nothing runs on "
                               "this folder: start it once with moved. ") +
          "If it is the very folder, moved while the server was stopped, and nothing runs on the "
          "original: start it once with moved. If it is a backup, or an older copy: it has "
          "forgotten what it acknowledged since, and rows can be lost with it. Remove this server "
          "from the cluster, start it with an empty folder and join, and add it. Only if all "
          "servers are brought back, from backups of one time: moved"};
}

[[nodiscard]] inline libraft_log_defect not_founded() {
  return {libraft_log_fault::not_founded, "", 0, "this is an empty folder",
          "Start with found on one server, once in the life of a cluster, and with join on all "
          "others"};
}

/// @param by the file, and the byte in it, that says so; none: the log does
[[nodiscard]] inline libraft_log_defect already_founded(std::string_view why, const char* by,
                                                        std::uint64_t byte) {
  return {libraft_log_fault::already_founded, by, byte, std::string(why),
          "Start it without found, which is said once in the life of a cluster: else a server "
          "whose disk is lost would found another one"};
}

[[nodiscard]] inline libraft_log_defect lost_server_file(server_id named) {
  return {libraft_log_fault::missing, libraft_server_file::file_name, 0,
          "it is gone: the log names this server " + libraft_id_text(named),
          "Bring this file back from a backup of this very folder. Else, if most of the other "
          "servers are up: remove this server from the cluster, and start it with an empty folder "
          "and join"};
}

[[nodiscard]] inline libraft_log_defect lost_log() {
  return {libraft_log_fault::missing, libraft_server_file::file_name, 12,
          "this server took part in a cluster, and its log is gone",
          "If most of the other servers are up: remove this one from the cluster, empty its folder "
          "and start it with join. Otherwise bring back the whole folder from a backup"};
}

// ---- the table

[[nodiscard]] inline libraft_folder_plan plan_unknown(const libraft_options& asked,
                                                      const libraft_folder_facts& facts) {
  using step = libraft_folder_plan::step;
  if (facts.has_log) {
    if (asked.found) {
      return {step::go_on, false,
              already_founded("there is a log, of a cluster that exists", "", 0)};
    }
    return {};
  }
  if (asked.found || asked.join) {
    return {asked.found ? step::found : step::join, false, {}};
  }
  if (!asked.bootstrap.empty()) {
    return {step::bootstrap, false, {}};
  }
  return {step::go_on, false, not_founded()};
}

QUORLITE_DECL libraft_folder_plan plan_start(const libraft_options& asked,
                                             const libraft_folder_facts& facts) {
  using step = libraft_folder_plan::step;
  using stage = libraft_server_file::stage;
  QUORLITE_ASSERT(!asked.found || !asked.join);
  if (!facts.file) {
    return plan_unknown(asked, facts);
  }
  const libraft_server_file& file = *facts.file;
  if (file.id != asked.id && libraft_number_of(file.id) != asked.id.value) {
    return {step::go_on, false, another_server(file.id, asked.id)};
  }
  const bool has_cluster = file.cluster != cluster_identity{};
  if (has_cluster && facts.of_base != cluster_identity{} && facts.of_base != file.cluster) {
    return {step::go_on, false,
            another_cluster(file.cluster, "what the databases hold", facts.of_base)};
  }
  const bool sealed = !file.seal.is_made() || file.seal.matches(facts.seal);
  if (!sealed && !asked.moved) {
    return {step::go_on, false, copied_folder(facts.seal.is_made())};
  }
  if (asked.found && has_cluster) {
    return {step::go_on, false,
            already_founded("it belongs to cluster " + libraft_cluster_text(file.cluster),
                            libraft_server_file::file_name, 24)};
  }
  if (asked.found && file.at == stage::takes_part) {
    return {step::go_on, false,
            already_founded(facts.has_log ? "there is a log, of a cluster that exists"
                                          : "it waits to be added to a cluster",
                            libraft_server_file::file_name, 12)};
  }
  if (file.at == stage::founding) {
    return {step::found, !sealed, {}};
  }
  if (!facts.has_log && (has_cluster || file.at == stage::founded)) {
    return {step::go_on, false, lost_log()};
  }
  return {step::go_on, !sealed, {}};
}

QUORLITE_DECL libraft_log_defect log_beside_founding() {
  return {libraft_log_fault::damaged, libraft_server_file::file_name, 12,
          "it says that a cluster begins here, and there is a log already",
          "Bring back the whole folder from a backup, or start with an empty one"};
}

QUORLITE_DECL libraft_log_defect databases_beside_founding(bool by_file, log_index at) {
  return {libraft_log_fault::diverged, by_file ? libraft_server_file::file_name : "",
          by_file ? std::uint64_t{12} : 0,
          "a cluster is to begin in this folder, and its databases stand at log index " +
              std::to_string(at.value) + " of another one, whose log is not here",
          "Bring back the log of these databases, or the whole folder from a backup. To begin "
          "anew, keep them elsewhere, start with an empty folder, and import them"};
}

// ---- what is written down later

QUORLITE_DECL std::error_code libraft_identity::replace(const libraft_server_file& by) noexcept {
  if (const std::error_code error = by.write(directory_)) {
    return error;
  }
  file_ = by;
  return {};
}

QUORLITE_DECL std::error_code libraft_identity::seal(libraft_server_file next, std::uint64_t low,
                                                     std::uint64_t high) noexcept {
  const auto made = libraft_seal::make(directory_, low, high);
  if (!made) {
    return made.error();
  }
  next.seal = *made;
  return replace(next);
}

QUORLITE_DECL std::error_code libraft_identity::began() noexcept {
  QUORLITE_ASSERT(is_to_begin());
  libraft_server_file next = *file_;
  next.at = libraft_server_file::stage::founded;
  return replace(next);
}

QUORLITE_DECL std::error_code libraft_identity::refuse(libraft_log_defect why, errc code) {
  refusal_ = std::move(why);
  return make_error_code(code);
}

/// Is this the folder of that member, which has our address? A joiner that has half of the log may
/// have the address of a server that was removed since. It never had a vote, its log does not name
/// it, and some other voter has sent it what it has.
[[nodiscard]] inline bool is_of(const libraft_server& member, server_id asked,
                                const libraft_log_facts& log) noexcept {
  const auto names_asked = [asked](const libraft_server& one) { return one.id == asked; };
  const auto is_other_voter = [&member](const libraft_server& one) {
    return one.voter && one.id != member.id;
  };
  return log.has_voted || std::any_of(log.members.begin(), log.members.end(), names_asked) ||
         std::none_of(log.members.begin(), log.members.end(), is_other_voter);
}

QUORLITE_DECL std::error_code libraft_identity::admit(const libraft_log_facts& log) noexcept try {
  const cluster_identity none;
  if (file_ && file_->cluster != none && log.cluster && file_->cluster != *log.cluster) {
    return refuse(*log.cluster == none ? log_of_no_cluster(file_->cluster, log.end)
                                       : another_cluster(file_->cluster, "its log", *log.cluster),
                  errc::another_cluster);
  }
  if (seal_anew_) {
    const auto [low, high] = *std::exchange(seal_anew_, std::nullopt);
    return seal(*file_, low, high);
  }
  if (file_ || directory_.empty()) {
    return {};
  }
  for (const libraft_server& one : log.members) {
    if (one.id != id_ && libraft_number_of(one.id) == id_.value) {
      // By its bits such a folder has the file, and had it before its log.
      return refuse(lost_server_file(one.id), errc::log_damaged);
    }
    if (one.id != id_ && one.address == address_ && is_of(one, id_, log)) {
      libraft_log_defect why = another_server(one.id, id_);
      why.file.clear();  // it is the log that says so
      return refuse(std::move(why), errc::another_server);
    }
  }
  for (const libraft_server& one : log.members) {
    if (one.id == id_) {
      libraft_server_file first;
      first.id = id_;
      return replace(first);
    }
  }
  return {};
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

QUORLITE_DECL std::error_code libraft_identity::record(cluster_identity cluster, std::uint64_t low,
                                                       std::uint64_t high) noexcept {
  if (directory_.empty() || (file_ && file_->cluster == cluster)) {
    return {};
  }
  if (file_ && file_->cluster != cluster_identity{}) {
    return make_error_code(errc::another_cluster);
  }
  libraft_server_file next = file_.value_or(libraft_server_file{});
  next.id = id_;
  next.cluster = cluster;
  return next.seal.is_made() ? replace(next) : seal(next, low, high);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
