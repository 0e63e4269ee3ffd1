/// @file
/// Bodies of folder_check.hpp.
#pragma once

#include "quorlite/detail/libraft/folder_check.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/core/history_trail.hpp"
#include "quorlite/detail/libraft/history_walk.hpp"
#include "quorlite/detail/libraft/identity.hpp"
#include "quorlite/detail/libraft/log_entries.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/log_reader.hpp"
#include "quorlite/detail/libraft/server_file.hpp"
#include "quorlite/detail/libraft/snapshot.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

// ---- foundings that were cut short

QUORLITE_DECL bool holds_more_than_founding(const std::vector<std::string>& names) {
  using kind = libraft_file_name::kind;
  const auto first = libraft_file_name::of(libraft_first_segment);
  return std::any_of(names.begin(), names.end(), [&first](const std::string& name) {
    const auto told = libraft_file_name::of(name);
    const bool is_first =
        told.is == first.is && told.first == first.first && told.last == first.last;
    return told.is != kind::other && !is_first;
  });
}

[[nodiscard]] inline bool is_of_founding(const std::string& name) {
  return std::find(libraft_founding_files.begin(), libraft_founding_files.end(), name) !=
         libraft_founding_files.end();
}

/// A folder as a start that goes on with a founding leaves it.
class libraft_cleared_founding final : public libraft_folder {
 public:
  /// @param whole outlives this
  explicit libraft_cleared_founding(libraft_folder& whole) noexcept : whole_(whole) {}

  [[nodiscard]] result<std::vector<std::string>> names() override {
    auto all = whole_.names();
    if (all) {
      all->erase(std::remove_if(all->begin(), all->end(), is_of_founding), all->end());
    }
    return all;
  }
  [[nodiscard]] result<std::unique_ptr<libraft_file>> open(const std::string& name) override {
    return whole_.open(name);
  }

 private:
  libraft_folder& whole_;
};

/// @returns what the reader says of the folder without what is cleared away
[[nodiscard]] inline result<libraft_log_report> check_founding(libraft_folder& folder,
                                                               log_index files_at) {
  auto names = folder.names();
  if (!names) {
    return fail(names.error());
  }
  if (holds_more_than_founding(*names)) {
    libraft_log_report report;
    report.defects.push_back(log_beside_founding());
    return report;
  }
  libraft_cleared_founding cleared(folder);
  auto report = libraft_log_reader(cleared, files_at).read();
  std::sort(names->begin(), names->end());
  for (std::string& name : *names) {
    if (report && is_of_founding(name)) {
      report->leftovers.push_back(
          {std::move(name), true, 0, "of a founding that was cut short, which begins anew", {}});
    }
  }
  return report;
}

// ---- the entries

/// The folder was read, and is whole.
class libraft_entry_check {
 public:
  /// @param folder, machine, report outlive this
  libraft_entry_check(libraft_folder& folder, const state_machine& machine,
                      libraft_log_report& report)
      : folder_(folder),
        report_(report),
        walk_(machine, report.noted_applied),
        entries_(folder, report) {}

  /// @param who is in the folder; nothing: there is no such file
  [[nodiscard]] std::error_code run(const std::optional<libraft_server_file>& who);

 private:
  [[nodiscard]] std::error_code read_snapshot();
  void put(libraft_log_defect found);
  [[nodiscard]] std::error_code admit(const libraft_server_file& who, const history_place& end);

  libraft_folder& folder_;
  libraft_log_report& report_;
  std::optional<libraft_snapshot_header> snapshot_;
  libraft_history_walk walk_;
  libraft_log_entries entries_;
};

QUORLITE_DECL std::error_code libraft_entry_check::run(
    const std::optional<libraft_server_file>& who) {
  if (const std::error_code error = read_snapshot()) {
    return error;
  }
  const std::uint64_t first = report_.ranges.empty() ? 0 : report_.ranges.front().first;
  bool goes_on = walk_.begin(snapshot_ ? &*snapshot_ : nullptr, first);
  while (goes_on && entries_.next()) {
    goes_on = walk_.take(entries_.index(), entries_.batch());
  }
  if (entries_.error()) {
    return entries_.error();
  }
  goes_on = goes_on && walk_.end();
  if (auto found = walk_.found()) {
    put(std::move(*found));
    return {};
  }
  if (!goes_on) {  // a start leaves that to whoever applies it, which ends the server
    put({libraft_log_fault::unknown, "", 0,
         "entry " + std::to_string(entries_.index()) + " is nothing that this version knows",
         remedy_for(libraft_log_fault::unknown)});
    return {};
  }
  const history_place end = walk_.trail().end_place();
  report_.was_compared = true;
  report_.history = end.begun;
  report_.end_history = end.is_known ? end.at.hash : history_hash{};
  return who ? admit(*who, end) : std::error_code{};
}

QUORLITE_DECL std::error_code libraft_entry_check::read_snapshot() {
  if (report_.snapshot_file.empty()) {
    return {};
  }
  auto file = folder_.open(report_.snapshot_file);
  if (!file) {
    return file.error();
  }
  auto header = read_snapshot_header(**file);
  if (!header || !*header) {  // it was whole when the folder was read
    return header ? std::make_error_code(std::errc::io_error) : header.error();
  }
  snapshot_ = **header;
  return {};
}

/// The walk knows no files. Here it is known how far it came.
QUORLITE_DECL void libraft_entry_check::put(libraft_log_defect found) {
  place_defect(found, folder_, report_, entries_.index());
  report_.defects.push_back(std::move(found));
}

/// Without a directory nothing is written, and without members nothing is asked but the cluster.
QUORLITE_DECL std::error_code libraft_entry_check::admit(const libraft_server_file& who,
                                                         const history_place& end) {
  libraft_identity identity({}, who.id, {}, who);
  const std::error_code error = identity.admit({{}, end.begun.cluster, end.at.index, false});
  if (identity.refusal()) {
    report_.defects.push_back(*identity.refusal());
    return {};
  }
  return error;
}

// ---- the whole

/// By the table, what does not hang on how the server is started.
[[nodiscard]] inline std::optional<libraft_log_defect> refusal_of(const libraft_server_file& file,
                                                                  bool has_log,
                                                                  const cluster_identity& of_base) {
  libraft_options asked;
  asked.id = file.id;
  asked.moved = true;
  return plan_start(asked, {file, has_log, {}, of_base}).refusal;
}

QUORLITE_DECL result<libraft_log_report> check_folder(libraft_folder& folder,
                                                      const state_machine& machine) {
  const base_history base = machine.base();
  const log_index files_at = std::max(machine.durable().index, base.ahead.index);
  const auto who = read_server_file(folder);
  if (!who) {
    return fail(who.error());
  }
  const bool founds = who->file && who->file->at == libraft_server_file::stage::founding;
  auto report =
      founds ? check_founding(folder, files_at) : libraft_log_reader(folder, files_at).read();
  if (!report) {
    return report;
  }
  const bool has_log = !report->is_empty();
  who->tell(*report);
  if (who->file) {
    if (auto refusal = refusal_of(*who->file, has_log, base.begun.cluster)) {
      report->defects.insert(report->defects.begin(), std::move(*refusal));
    }
  }
  if (has_whole_entries(*report)) {
    if (const std::error_code error =
            libraft_entry_check(folder, machine, *report).run(who->file)) {
      return fail(error);
    }
  }
  return report;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
