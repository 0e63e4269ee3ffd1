/// @file
/// Bodies of libraft_log_reader: what is in the folder, what steps were cut short, what is wrong.
#pragma once

#include "quorlite/detail/libraft/log_reader.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/log_end.hpp"
#include "quorlite/detail/libraft/log_entries.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/log_segment.hpp"
#include "quorlite/detail/libraft/snapshot.hpp"
#include "quorlite/detail/libraft/unclosed_segments.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL const char* remedy_for(libraft_log_fault fault) noexcept {
  switch (fault) {
    case libraft_log_fault::unknown: return "Start it with the version that wrote it";
    case libraft_log_fault::too_short:
    case libraft_log_fault::starts_late:
      return "Keep this folder: its databases may hold what nobody else has. If most of the other "
             "servers are up: export what is missing elsewhere, remove this server from the "
             "cluster, start it with an empty folder and add it. Otherwise bring back the whole "
             "folder from a backup";
    case libraft_log_fault::damaged:
    case libraft_log_fault::missing:
    case libraft_log_fault::diverged:
    default: break;  // others are told where they are found
  }
  return "If most of the other servers are up: remove this one from the cluster, empty its folder "
         "and add it again, so that it gets everything from them. Otherwise bring back the whole "
         "folder from a backup";
}

QUORLITE_DECL result<libraft_log_report> libraft_log_reader::read() noexcept try {
  using self = libraft_log_reader;
  constexpr std::array<step, 12> steps{
      &self::list,          &self::read_note,    &self::read_metadata, &self::read_log_end,
      &self::read_snapshot, &self::look_at_open, &self::take_unclosed, &self::finish_steps,
      &self::choose_closed, &self::read_closed,  &self::read_open,     &self::compare};
  for (const step next : steps) {
    const std::error_code error = (this->*next)();
    if (error && !folder_.opened().empty() && !libraft_may_pass(error)) {
      defect(libraft_log_fault::damaged, folder_.opened(), 0, libraft_unread_text(error));
      if (const std::string better = libraft_unread_remedy(error); !better.empty()) {
        report_.defects.back().remedy = better;
      }
      break;
    }
    if (error) {
      return fail(error);
    }
  }
  return std::move(report_);
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

QUORLITE_DECL void libraft_log_reader::defect(libraft_log_fault fault, std::string file,
                                              std::uint64_t byte, std::string what) {
  report_.defects.push_back({fault, std::move(file), byte, std::move(what), remedy_for(fault)});
}

QUORLITE_DECL void libraft_log_reader::leftover(std::string file, std::string what) {
  // One that was to be closed goes as it is.
  std::erase_if(report_.leftovers, [&](const auto& one) { return one.file == file; });
  report_.leftovers.push_back({std::move(file), true, 0, std::move(what), {}});
}

QUORLITE_DECL void libraft_log_reader::leftover(std::string file, std::uint64_t cut_at,
                                                std::string what) {
  report_.leftovers.push_back({std::move(file), false, cut_at, std::move(what), {}});
}

// ---- names

QUORLITE_DECL void libraft_log_reader::take_name(const std::string& name) {
  using kind = libraft_file_name::kind;
  if (name.size() > libraft_name_bytes_max) {
    defect(libraft_log_fault::unknown, name, 0, "the engine cannot bear a name of this length");
    return;
  }
  has_metadata_[0] = has_metadata_[0] || name == "metadata1";
  has_metadata_[1] = has_metadata_[1] || name == "metadata2";
  noted_ = noted_ || name == libraft_log_note::file_name;
  has_log_end_ = has_log_end_ || name == libraft_log_end::file_name;
  const libraft_file_name told = libraft_file_name::of(name);
  if (!told.written_so && told.is != kind::other) {
    defect(libraft_log_fault::unknown, name, 0,
           "the engine takes this for a file of its log, and it never made such a name");
    return;
  }
  if (told.is == kind::closed || told.is == kind::open) {
    (told.is == kind::closed ? closed_ : open_).push_back({name, told.first, told.last, false});
  } else if (told.is != kind::other) {
    const std::string content =
        told.is == kind::snapshot ? name : name.substr(0, name.size() - 5);  // ".meta"
    auto one = std::find_if(snapshots_.begin(), snapshots_.end(),
                            [&](const snapshot& other) { return other.file == content; });
    if (one == snapshots_.end()) {
      one = snapshots_.insert(one, {content, told.first, told.last, told.time, false, false});
    }
    (told.is == kind::snapshot ? one->has_content : one->has_meta) = true;
  }
}

QUORLITE_DECL std::error_code libraft_log_reader::list() {
  auto names = folder_.names();
  if (!names) {
    return names.error();
  }
  std::sort(names->begin(), names->end());
  for (const std::string& name : *names) {
    take_name(name);
  }
  const auto by_place = [](const segment& one, const segment& other) {
    return std::tie(one.first, one.last) < std::tie(other.first, other.last);
  };
  std::sort(closed_.begin(), closed_.end(), by_place);
  std::sort(open_.begin(), open_.end(), by_place);
  return {};
}

QUORLITE_DECL std::error_code libraft_log_reader::read_note() {
  if (!noted_) {
    return {};
  }
  auto file = folder_.open(libraft_log_note::file_name);
  if (!file) {
    return file.error();
  }
  std::array<std::byte, libraft_log_note::encoded_bytes> whole{};
  std::optional<libraft_log_note> note;
  if ((*file)->size() == whole.size()) {
    if (const std::error_code error = (*file)->read(0, whole)) {
      return error;
    }
    note = libraft_log_note::decode(whole);
  }
  if (note) {
    note_ = *note;
  } else {
    defect(libraft_log_fault::damaged, libraft_log_note::file_name, 0,
           "it is not what was written");
  }
  return {};
}

// ---- term and vote

QUORLITE_DECL result<libraft_log_reader::metadata_file> libraft_log_reader::read_metadata_file(
    const char* name) {
  if (!has_metadata_[name[8] == '1' ? 0 : 1]) {
    return metadata_file{false, {}};
  }
  auto file = folder_.open(name);
  if (!file) {
    return fail(file.error());
  }
  const std::uint64_t size = (*file)->size();
  std::array<std::byte, libraft_metadata_bytes> whole{};
  if (size < whole.size()) {
    return metadata_file{true, {}};
  }
  if (const std::error_code error = (*file)->read(0, whole)) {
    return fail(error);
  }
  const bool blank =
      std::all_of(whole.begin(), whole.end(), [](std::byte one) { return one == std::byte{0}; });
  if (blank && size == whole.size()) {
    leftover(name, 0, "the first write of this file");  // if a start on it is right at all
    return metadata_file{true, {}};
  }
  libraft_metadata told = libraft_metadata::decode(whole);
  const std::uint64_t parity = name[8] == '1' ? 1 : 0;
  if (told.format != libraft_disk_format) {
    defect(libraft_log_fault::unknown, name, 0, "its format is not known");
  } else if (size > whole.size() || told.version == 0 || told.version % 2 != parity) {
    defect(libraft_log_fault::damaged, name, size > whole.size() ? whole.size() : 8,
           "it is not what was written");
  }
  return metadata_file{true, told};
}

QUORLITE_DECL void libraft_log_reader::weigh_metadata(const metadata_file& odd,
                                                      const metadata_file& even) {
  if (!odd.second && !even.second) {
    if (!closed_.empty() || !open_.empty() || !snapshots_.empty()) {
      defect(libraft_log_fault::missing, "metadata1", 0,
             "there is a log, and nothing tells its term and whom this server chose: a second "
             "choice in that term could make two leaders");
    } else if (even.first) {
      defect(libraft_log_fault::missing, "metadata1", 0, "it is older than metadata2, and is gone");
    }
    return;
  }
  if (!odd.second || (!even.second && odd.second->version != 1)) {
    defect(libraft_log_fault::missing, odd.second ? "metadata2" : "metadata1", 0,
           "what this server chose last may have been in it, and it is gone or cut, or the other "
           "one has changed: a second choice in one term could make two leaders");
    return;
  }
  if (!even.second) {
    take_metadata("metadata1", *odd.second);
    return;
  }
  const bool odd_is_newer = odd.second->version > even.second->version;
  const libraft_metadata& newer = odd_is_newer ? *odd.second : *even.second;
  const libraft_metadata& older = odd_is_newer ? *even.second : *odd.second;
  const char* const name = odd_is_newer ? "metadata1" : "metadata2";
  if (!newer.follows(older)) {
    defect(libraft_log_fault::damaged, name, 8,
           "it contradicts the other one, which was written right before: what this server chose "
           "is not known, and a second choice in one term could make two leaders");
    return;
  }
  take_metadata(name, newer);
}

QUORLITE_DECL void libraft_log_reader::take_metadata(const char* name,
                                                     const libraft_metadata& told) {
  metadata_file_ = name;
  report_.term = term{told.term};
  report_.vote = server_id{told.vote};
}

QUORLITE_DECL std::error_code libraft_log_reader::read_metadata() {
  auto odd = read_metadata_file("metadata1");
  if (!odd) {
    return odd.error();
  }
  auto even = read_metadata_file("metadata2");
  if (!even) {
    return even.error();
  }
  if (report_.defects.empty()) {
    weigh_metadata(*odd, *even);
  }
  term_max_ =
      report_.term.value == 0 ? std::numeric_limits<std::uint64_t>::max() : report_.term.value;
  return {};
}

// ---- what log_end tells

/// A vote is in metadata first, so what this file knows is never newer.
QUORLITE_DECL void libraft_log_reader::compare_vote(const libraft_log_end& noted) {
  const bool same_term = report_.term.value == noted.term;
  if (report_.term.value > noted.term ||
      (same_term && (noted.vote == 0 || noted.vote == report_.vote.value))) {
    return;
  }
  defect(libraft_log_fault::damaged, metadata_file_.empty() ? "metadata1" : metadata_file_, 16,
         "it tells of term " + std::to_string(report_.term.value) + " and a vote for " +
             libraft_id_text(report_.vote) + ", and log_end of term " + std::to_string(noted.term) +
             " and " + libraft_id_text(server_id{noted.vote}) +
             ": a second choice in one term could make two leaders");
}

QUORLITE_DECL std::error_code libraft_log_reader::read_log_end() {
  const auto lost = [&](libraft_log_fault fault, const char* what) {
    report_.defects.push_back(
        {fault, libraft_log_end::file_name, 0,
         std::string(what) + ", and nothing else tells where the log ended",
         "If most of the other servers are up: remove this one from the cluster, empty its folder "
         "and add it again. If this is all that is told, and you know that nothing else of this "
         "folder is lost: remove log_end and quorlite.log, and the log is taken as it is"});
  };
  if (!has_log_end_) {
    if (note_.keeps_end) {
      lost(libraft_log_fault::missing, "it is gone");
    }
    return {};
  }
  const auto read = libraft_log_end::read(folder_);
  if (!read) {
    return read.error();
  }
  if (!*read) {
    if (note_.keeps_end) {
      lost(libraft_log_fault::damaged, "it is not what was written");
    }
    return {};
  }
  const libraft_log_end& noted = **read;
  report_.noted_applied = noted.applied;  // what was applied stays, whichever build ran
  // No build takes quorlite.log away. Without it a first start was killed before it wrote that, and
  // added nothing to the log; or somebody removed it.
  if (note_.keeps_end || !noted_) {
    report_.noted_index = noted.entry;
    report_.noted_term = quorlite::term{noted.entry_term};
  }
  if (report_.defects.empty()) {
    compare_vote(noted);
  }
  return {};
}

/// Nothing: the log begins later.
QUORLITE_DECL term libraft_log_reader::term_of(std::uint64_t entry) const {
  const auto holds = [&](const libraft_log_range& one) { return entry <= one.last; };
  const auto found = std::find_if(report_.ranges.begin(), report_.ranges.end(), holds);
  if (found != report_.ranges.end() && entry >= found->first) {
    return found->term;
  }
  return entry == newest_.index ? term{newest_.term} : term{};
}

QUORLITE_DECL void libraft_log_reader::compare_with_log_end() {
  const std::uint64_t noted = report_.noted_index;
  const auto named = [](std::uint64_t entry, term of) {
    return entries_text(entry, entry) + " of term " + std::to_string(of.value);
  };
  if (report_.last_index < noted) {
    defect(libraft_log_fault::too_short, end_file(), last_byte_,
           "the log ends with " + named(report_.last_index, term_of(report_.last_index)) +
               ", and by log_end it had " + named(noted, report_.noted_term) +
               ": what is between them is gone");
    return;
  }
  const term here = term_of(noted);
  if (noted != 0 && here != term{} && report_.noted_term != term{} && here != report_.noted_term) {
    defect(libraft_log_fault::diverged, libraft_log_end::file_name, 16,
           "by it the log had " + named(noted, report_.noted_term) + ", and now has " +
               named(noted, here) + ": these are two logs");
  }
}

// ---- the snapshot

QUORLITE_DECL void libraft_log_reader::choose_snapshot() {
  const auto order = [](const snapshot& one) { return std::tie(one.term, one.index, one.time); };
  for (const snapshot& one : snapshots_) {
    if (one.has_meta && one.has_content && (newest_.index == 0 || order(newest_) < order(one))) {
      newest_ = one;
    }
  }
}

QUORLITE_DECL std::error_code libraft_log_reader::read_snapshot_meta() {
  const std::string name = newest_.file + ".meta";
  auto file = folder_.open(name);
  if (!file) {
    return file.error();
  }
  std::vector<std::byte> whole(libraft_meta_bytes);
  const std::uint64_t size = (*file)->size();
  if (size > whole.size() && size <= whole.size() + libraft_configuration_max) {
    whole.resize(static_cast<std::size_t>(size));
    if (const std::error_code error = (*file)->read(0, whole)) {
      return error;
    }
    const auto number = [&](std::size_t at) {
      return load_little_endian<std::uint64_t>(whole.data() + at);
    };
    if (number(0) == libraft_disk_format && number(24) == size - libraft_meta_bytes &&
        number(8) == libraft_crc(bytes_view(whole).subspan(16))) {
      return {};
    }
  }
  defect(libraft_log_fault::damaged, name, 0, "the members of the cluster in it are not whole");
  return {};
}

QUORLITE_DECL std::error_code libraft_log_reader::read_snapshot() {
  choose_snapshot();
  if (newest_.index == 0) {
    return {};
  }
  report_.snapshot_index = newest_.index;
  report_.snapshot_file = newest_.file;
  if (const std::error_code error = read_snapshot_meta()) {
    return error;
  }
  auto file = folder_.open(newest_.file);
  if (!file) {
    return file.error();
  }
  const auto read = read_snapshot_header(**file);
  if (!read) {
    return read.error();
  }
  const std::optional<libraft_snapshot_header>& header = *read;
  if (!header || header->at.entry != newest_.index) {
    defect(libraft_log_fault::damaged, newest_.file, 0, "this snapshot is not what was written");
  } else {
    report_.end = report_.snapshot_at = header->at.at.index;
    if (const std::error_code error = read_snapshot_content(**file, header->size_bytes())) {
      return error;
    }
  }
  if (newest_.term > term_max_) {
    defect(libraft_log_fault::damaged, newest_.file, 0,
           "it is of a later term than this server has heard of");
  }
  return {};
}

/// Its checks are looked at also where this server does not need it: it would send it to others.
QUORLITE_DECL std::error_code libraft_log_reader::read_snapshot_content(libraft_file& file,
                                                                        std::uint64_t from) {
  constexpr std::uint64_t part_bytes = std::uint64_t{256} << 10U;
  libraft_snapshot_checksums check;
  std::vector<std::byte> part;
  bool goes_on = true;
  for (std::uint64_t at = from; goes_on && at < file.size(); at += part.size()) {
    part.resize(static_cast<std::size_t>(std::min(part_bytes, file.size() - at)));
    if (const std::error_code error = file.read(at, part)) {
      return error;
    }
    goes_on = check.append(part);
  }
  const std::error_code said = check.finish();
  if (said == errc::corrupt) {
    report_.snapshot_spoiled = true;
    report_.defects.push_back(
        {libraft_log_fault::damaged, newest_.file, 0,
         "the content of this snapshot is not what was written",
         std::string(remedy_for(libraft_log_fault::damaged)) +
             ". A server that is alone in its cluster, and whose databases are stored up to there, "
             "starts, and makes another one"});
  }
  if (said == errc::needs_upgrade && files_at_ < report_.snapshot_at) {  // it is to be restored
    defect(libraft_log_fault::unknown, newest_.file, from, "this snapshot is of a later version");
  }
  return said == errc::out_of_memory ? said : std::error_code{};
}

// ---- what steps of the engine have left

QUORLITE_DECL std::error_code libraft_log_reader::look_at_open() {
  std::vector<segment> written;
  for (segment& one : open_) {
    auto file = folder_.open(one.file);
    if (!file) {
      return file.error();
    }
    libraft_segment_reader reader(**file);
    const bool blank = reader.is_blank();
    if (reader.error()) {
      return reader.error();
    }
    const std::uint64_t size = (*file)->size();
    if (blank && size > 0 && size < libraft_format_bytes) {
      leftover(one.file, 0, "a segment that was never written");
    }
    if (!blank) {
      written.push_back(std::move(one));
    }
  }
  open_ = std::move(written);
  return {};
}

QUORLITE_DECL std::error_code libraft_log_reader::take_unclosed() {
  const libraft_unclosed_segments unclosed(folder_, note_, newest_, term_max_, noted_);
  return unclosed.take(open_, closed_, report_.leftovers);
}

QUORLITE_DECL void libraft_log_reader::finish_truncation() {
  const std::uint64_t from = note_.index;
  const auto holds = [&](const segment& one) { return one.first < from && from <= one.last; };
  const auto cut_one = [&](const segment& one) { return one.last == from - 1; };
  const auto whole = std::find_if(closed_.begin(), closed_.end(), holds);
  const bool has_cut = std::any_of(closed_.begin(), closed_.end(), cut_one);
  const auto goes = [&](const segment& one) { return holds(one) || one.first >= from; };
  if (from == 0 || std::none_of(closed_.begin(), closed_.end(), goes)) {
    return;  // it was over
  }
  // These were behind it, and are not yet closed; or it failed, and they were written after it.
  for (const segment& one : open_) {
    leftover(one.file, "it holds only entries from " + std::to_string(from) +
                           " on, which were being removed");
  }
  open_.clear();
  // One that it was to cut stays if that had not begun: nothing is lost, and nothing is to be made.
  const std::string stays = whole != closed_.end() && !has_cut ? whole->file : std::string();
  const auto removed = [&](const segment& one) { return goes(one) && one.file != stays; };
  for (const segment& one : closed_) {
    if (removed(one)) {
      leftover(one.file, "entries from " + std::to_string(from) +
                             " on were being removed, for the leader has others");
    }
  }
  closed_.erase(std::remove_if(closed_.begin(), closed_.end(), removed), closed_.end());
  const bool reaches =
      from == 1 || (closed_.empty() ? newest_.index : closed_.back().last) + 1 >= from;
  if (!reaches) {
    const std::uint64_t last = closed_.empty() ? newest_.index : closed_.back().last;
    defect(libraft_log_fault::missing, libraft_log_note::file_name, 0,
           "entries from " + std::to_string(from) + " on were being removed, and " +
               entries_text(last + 1, from - 1) + ", which should be before them, are gone");
  }
}

QUORLITE_DECL result<bool> libraft_log_reader::begins_with(const segment& longer,
                                                           const segment& shorter) {
  std::vector<libraft_entry_head> heads[2];
  for (const segment* const one : {&longer, &shorter}) {
    auto file = folder_.open(one->file);
    if (!file) {
      return fail(file.error());
    }
    libraft_segment_reader reader(**file);
    std::vector<libraft_entry_head>& into = heads[one == &longer ? 0 : 1];
    const std::uint64_t wanted = shorter.last - shorter.first + 1;
    while (into.size() < wanted && reader.next()) {
      into.insert(into.end(), reader.entries().begin(), reader.entries().end());
    }
    if (reader.error()) {
      return fail(reader.error());
    }
    if (into.size() < wanted) {
      return false;
    }
    into.resize(static_cast<std::size_t>(wanted));
  }
  const auto alike = [](const libraft_entry_head& one, const libraft_entry_head& other) {
    return one.term == other.term && one.type == other.type && one.data_bytes == other.data_bytes;
  };
  return std::equal(heads[0].begin(), heads[0].end(), heads[1].begin(), alike);
}

/// A truncation makes the shorter file before it removes the longer one. Whoever wrote no note may
/// have left both: the longer one has all that the shorter one has.
QUORLITE_DECL std::error_code libraft_log_reader::drop_repeated() {
  for (std::size_t i = 1; i < closed_.size(); ++i) {
    const segment shorter = closed_[i - 1];
    const segment& longer = closed_[i];
    if (longer.first > shorter.last) {
      continue;
    }
    result<bool> same = false;
    if (longer.first == shorter.first && !noted_) {
      same = begins_with(longer, shorter);
      if (!same) {
        return same.error();
      }
    }
    if (!*same) {
      defect(libraft_log_fault::damaged, longer.file, 0,
             "it holds entries that " + shorter.file + " holds too");
      return {};
    }
    leftover(shorter.file, "entries behind it were to be removed, and still are there");
    closed_.erase(closed_.begin() + static_cast<std::ptrdiff_t>(i - 1));
    --i;
  }
  return {};
}

QUORLITE_DECL std::error_code libraft_log_reader::finish_steps() {
  if (note_.of == libraft_log_note::step::truncate) {
    finish_truncation();
  }
  if (newest_.replaces_log(note_) && open_.empty()) {
    for (const segment& one : closed_) {
      leftover(one.file, "a snapshot took the place of this log");
    }
    closed_.clear();
  }
  return drop_repeated();
}

// ---- closed segments

/// The engine reads the last ones that hang together; older ones only tell what is missing.
QUORLITE_DECL std::uint64_t libraft_log_reader::keep_last_run() {
  std::size_t from = closed_.empty() ? 0 : closed_.size() - 1;
  while (from > 0 && closed_[from - 1].last + 1 == closed_[from].first) {
    --from;
  }
  const std::uint64_t before = from == 0 ? 0 : closed_[from - 1].last;
  closed_.erase(closed_.begin(), closed_.begin() + static_cast<std::ptrdiff_t>(from));
  return before;
}

QUORLITE_DECL std::error_code libraft_log_reader::choose_closed() {
  const std::uint64_t before = keep_last_run();
  if (!closed_.empty() && newest_.index + 1 < closed_.front().first) {
    const bool has_older = before != 0 || newest_.index != 0;
    defect(has_older ? libraft_log_fault::missing : libraft_log_fault::starts_late,
           closed_.front().file, 0,
           entries_text(std::max(before, newest_.index) + 1, closed_.front().first - 1) +
               ", which should be before it, are gone");
  }
  if (!closed_.empty() && closed_.back().last < newest_.index) {
    // A snapshot is taken of entries that are in closed segments; one that came replaces them.
    if (noted_ || !open_.empty()) {
      defect(libraft_log_fault::missing, newest_.file, 0,
             entries_text(closed_.back().last + 1, newest_.index) +
                 ", which it was made of, are gone, and maybe later ones");
    } else {
      for (const segment& one : closed_) {
        leftover(one.file, "a snapshot took the place of this log");
      }
      closed_.clear();
    }
  }
  at_ = closed_.empty() ? newest_.index : closed_.front().first - 1;
  at_term_ = closed_.empty() ? newest_.term : 0;
  return {};
}

QUORLITE_DECL void libraft_log_reader::take_entry(const std::string& file, std::uint64_t byte,
                                                  const libraft_entry_head& head) {
  ++at_;
  const std::size_t known = report_.defects.size();
  const std::string name = "entry " + std::to_string(at_);
  if (head.term == 0 || head.term < at_term_) {
    defect(libraft_log_fault::damaged, file, byte,
           name + " is of an earlier term than the one before it: these are two logs");
  } else if (at_ == newest_.index && head.term != newest_.term) {
    defect(libraft_log_fault::damaged, file, byte,
           name + " is of another term than in the snapshot that ends with it: these are two logs");
  } else if (at_ == newest_.index + 1 && head.term < newest_.term) {
    defect(libraft_log_fault::damaged, file, byte,
           name + " is of an earlier term than the snapshot before it: these are two logs");
  }
  if (head.index != 0 && head.index != at_) {
    const bool lost = head.index > at_;
    defect(lost ? libraft_log_fault::missing : libraft_log_fault::damaged, file, byte,
           "the entry here is by its place entry " + std::to_string(at_) + ", and was written as " +
               std::to_string(head.index) +
               (lost ? ": " + entries_text(at_, head.index - 1) + ", before it, are gone"
                     : ": these are two logs"));
  }
  if (at_ == 1 && head.type != libraft_entry_head::change) {
    defect(libraft_log_fault::damaged, file, byte, "a log begins with the members of its cluster");
  }
  at_term_ = std::max(at_term_, head.term);
  if (at_ > newest_.index) {
    const bool is_command = head.type == libraft_entry_head::command;
    if (is_command && head.commands == 0) {
      defect(libraft_log_fault::unknown, file, byte, name + " is nothing that this version knows");
    }
    report_.end.value += is_command ? head.commands : 1;
  }
  broken_ = report_.defects.size() > known;
}

QUORLITE_DECL void libraft_log_reader::take_batch(const segment& of,
                                                  const libraft_segment_reader& reader) {
  for (const libraft_entry_head& head : reader.entries()) {
    if (broken_) {
      return;  // what follows has no number
    }
    take_entry(of.file, reader.begin(), head);
    std::vector<libraft_log_range>& ranges = report_.ranges;
    if (!ranges.empty() && ranges.back().file == of.file && ranges.back().term == term{head.term}) {
      ranges.back().last = at_;
    } else {
      ranges.push_back({of.file, at_, at_, term{head.term}});
    }
  }
}

QUORLITE_DECL std::error_code libraft_log_reader::read_closed() {
  for (const segment& one : closed_) {
    auto file = folder_.open(one.file);
    if (!file) {
      return file.error();
    }
    libraft_segment_reader reader(**file);
    std::uint64_t found = 0;
    while (reader.next()) {
      take_batch(one, reader);
      found += reader.entries().size();
    }
    const libraft_segment_end end = one.unclosed
                                        ? reader.end_of_open(term_max_, noted_)
                                        : reader.end_of_closed(one.last - one.first + 1, found);
    if (reader.error()) {
      return reader.error();
    }
    if (end.is != libraft_segment_end::kind::whole) {
      defect(end.is == libraft_segment_end::kind::unknown ? libraft_log_fault::unknown
                                                          : libraft_log_fault::damaged,
             one.file, end.byte, end.what);
      broken_ = true;
    }
    last_file_ = one.file;
    last_byte_ = end.byte;
  }
  return {};
}

// ---- open segments

QUORLITE_DECL void libraft_log_reader::end_open(const segment& one, std::uint64_t size,
                                                const libraft_segment_end& end) {
  using kind = libraft_segment_end::kind;
  const bool is_last = &one == &open_.back();
  if (end.is == kind::unknown) {
    defect(libraft_log_fault::unknown, one.file, end.byte, end.what);
  } else if (end.is == kind::damaged) {
    defect(libraft_log_fault::damaged, one.file, end.byte, end.what);
  } else if (end.is == kind::torn && !is_last) {
    defect(libraft_log_fault::damaged, one.file, end.byte,
           end.what + ", and " + open_.back().file + " was written after it");
  } else if (end.is == kind::torn) {
    leftover(one.file, end.byte <= libraft_format_bytes ? 0 : end.byte,
             "a write that was cut short: " + end.what);
  } else if (end.byte < size && size - end.byte < libraft_preamble_bytes) {
    leftover(one.file, end.byte, "zeros behind the last batch, too few for the engine to see");
  }
  broken_ = broken_ || end.is != kind::whole;
}

QUORLITE_DECL std::error_code libraft_log_reader::read_open() {
  for (const segment& one : open_) {
    if (note_.of == libraft_log_note::step::truncate && at_ >= note_.index) {
      leftover(one.file, "it was written behind entries that were to be removed, or is such");
      continue;  // if the removal failed, its entries have other numbers than it seems
    }
    auto file = folder_.open(one.file);
    if (!file) {
      return file.error();
    }
    libraft_segment_reader reader(**file);
    while (reader.next()) {
      take_batch(one, reader);
    }
    const libraft_segment_end end = reader.end_of_open(term_max_, noted_);
    if (reader.error()) {
      return reader.error();
    }
    end_open(one, (*file)->size(), end);
    last_file_ = one.file;
    last_byte_ = end.byte;
  }
  return {};
}

// ---- the whole

/// In which the log ends: the last segment, or what is left without any. Empty: nothing is.
QUORLITE_DECL std::string libraft_log_reader::end_file() const {
  if (!last_file_.empty()) {
    return last_file_;
  }
  if (newest_.index != 0) {
    return newest_.file;
  }
  return metadata_file_.empty() && has_log_end_ ? libraft_log_end::file_name : metadata_file_;
}

QUORLITE_DECL std::error_code libraft_log_reader::compare() {
  report_.last_index = std::max(at_, newest_.index);
  if (!report_.defects.empty()) {
    return {};
  }
  if (at_term_ > term_max_) {
    defect(libraft_log_fault::damaged, metadata_file_, 16,
           "it tells of term " + std::to_string(term_max_) + ", and " + entries_text(at_, at_) +
               " is of term " + std::to_string(at_term_) +
               ": whom this server chose since is forgotten");
  } else if (report_.end < files_at_) {
    defect(libraft_log_fault::too_short, end_file(), last_byte_,
           "the log ends at position " + std::to_string(report_.end.value) +
               ", and the databases stand at " + std::to_string(files_at_.value) +
               ": what is between them is gone from the log");
  } else {
    compare_with_log_end();
  }
  return {};
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
