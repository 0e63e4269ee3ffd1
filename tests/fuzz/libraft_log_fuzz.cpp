// Fuzz target: the folder of a log. The input is a list of files: for each the number of its name,
// a size (2 bytes), how many sectors of zeros follow (1 byte), then its bytes. The first byte says
// whether the checks of its segments, its note, log_end and server are to be put right first, since
// no mutation would ever find them, and whether the databases stand somewhere. The folder is read,
// and checked with a machine that knows no more of its databases.
//
// The seeds were written by the hidden tests [.corpus] of tests/unit/libraft_log.cpp, and of
// libraft_check.cpp: those have a history.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "fuzz/fuzz_support.hpp"
#include "fuzz/libraft_log_input.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/folder_check.hpp"
#include "quorlite/detail/libraft/log_end.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/server_file.hpp"
#include "support/memory_log_folder.hpp"
#include "support/told_machine.hpp"

using quorlite::bytes;
using quorlite::bytes_view;
using quorlite::libraft_log_report;
using quorlite::tests::demand;
using quorlite::tests::event_sum;
using quorlite::tests::memory_log_folder;

namespace {

namespace format = quorlite::detail;

void put_slots_right(bytes& log_end) {
  using format::libraft_log_end;
  constexpr std::size_t size = libraft_log_end::encoded_bytes;
  for (const std::size_t slot : {std::size_t{0}, libraft_log_end::slot_distance}) {
    if (log_end.size() >= slot + size) {
      const bytes_view checked = bytes_view(log_end).subspan(slot + 8, size - 8);
      format::store_little_endian(log_end.data() + slot + 4, format::crc32c(checked));
    }
  }
}

void put_server_right(bytes& server) {
  constexpr std::size_t checked = format::libraft_server_file::encoded_bytes - 4;
  if (server.size() == format::libraft_server_file::encoded_bytes) {
    format::store_little_endian(server.data() + checked,
                                format::crc32c(bytes_view(server).first(checked)));
  }
}

void put_checks_right(memory_log_folder& folder) {
  using kind = format::libraft_file_name::kind;
  for (auto& file : folder.files) {
    const std::string& name = file.first;
    bytes& content = file.second;
    const kind is = format::libraft_file_name::of(name).is;
    if (is == kind::closed || is == kind::open) {
      quorlite::tests::put_entries_right(content);
    }
    if (name == format::libraft_log_note::file_name && content.size() == 32) {
      format::libraft_log_note note;
      const auto number = [&](std::size_t at) {
        return format::load_little_endian<std::uint64_t>(content.data() + at);
      };
      note.of = static_cast<format::libraft_log_note::step>(number(8) % 3);
      note.index = number(16);
      note.term = number(24);
      note.keeps_end = number(note.of == format::libraft_log_note::step::none ? 16 : 24) == 1;
      note.encode(content);
    }
    if (name == format::libraft_server_file::file_name) {
      put_server_right(content);
    }
    if (name == format::libraft_log_end::file_name) {
      put_slots_right(content);
    }
  }
}

event_sum sum_of(const libraft_log_report& report) {
  event_sum sum;
  for (const auto& one : report.ranges) {
    sum.add(one.first);
    sum.add(one.last);
    sum.add(one.term.value);
  }
  for (const auto& one : report.defects) {
    sum.add(one.byte);
    demand(!one.what.empty() && !one.remedy.empty(), "a defect says what it is, and what to do");
  }
  sum.add(report.noted_index);
  sum.add(report.noted_term.value);
  sum.add(report.end.value);
  sum.add(report.last_index);
  sum.add(report.leftovers.size());
  sum.add(report.history.begins_at.value);
  sum.add(report.end_history.low);
  return sum;
}

/// With databases of which nothing is known but where they stand.
libraft_log_report check(memory_log_folder& folder, std::uint64_t files_at) {
  quorlite::tests::told_machine machine;
  machine.told.ahead.index.value = files_at;
  auto report = format::check_folder(folder, machine);
  demand(report.has_value(), "a folder in memory can be read");
  return std::move(*report);
}

/// A check finds what the reader does, and says so twice.
void look_at_check(memory_log_folder& folder, std::uint64_t files_at, bool is_whole) {
  const libraft_log_report report = check(folder, files_at);
  demand(is_whole || !report.defects.empty(), "a check finds what the reader finds");
  demand(report.was_compared || !report.defects.empty(), "a folder is compared, or says why not");
  demand(sum_of(report) == sum_of(check(folder, files_at)), "it is checked the same twice");
}

void look_at(const libraft_log_report& report) {
  std::uint64_t last = 0;
  std::uint64_t term = 0;
  for (const auto& one : report.ranges) {
    demand(one.first <= one.last && (last == 0 || one.first == last + 1), "no gap is passed over");
    demand(one.term.value >= term && one.term.value <= report.term.value, "terms do not fall");
    last = one.last;
    term = one.term.value;
  }
  demand(report.ranges.empty() || report.last_index >= last, "the end is the end");
  demand(report.noted_index <= report.last_index, "a log that ends before log_end is told");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const bytes_view input = quorlite::tests::view_of(data, size);
  if (input.empty()) {
    return 0;
  }
  const auto mode = std::to_integer<unsigned>(input[0]);
  memory_log_folder folder = quorlite::tests::log_folder_of(input.subspan(1));
  if ((mode & 1U) != 0) {
    put_checks_right(folder);
  }
  const std::uint64_t files_at = mode >> 1U;
  const libraft_log_report report = folder.read(files_at);
  demand(sum_of(report) == sum_of(folder.read(files_at)), "it reads the same twice");
  look_at_check(folder, files_at, report.defects.empty());
  if (!report.defects.empty()) {
    return 0;
  }
  look_at(report);
  demand(report.end.value >= files_at, "a log that ends before the databases is told");
  folder.clear_away(report);
  const libraft_log_report cleared = folder.read(files_at);
  demand(cleared.defects.empty() && cleared.leftovers.empty(), "what is cleared away is gone");
  demand(cleared.noted_index == report.noted_index, "what log_end tells stays");
  demand(cleared.last_index == report.last_index && cleared.end == report.end,
         "clearing away takes nothing that counts");
  return 0;
}
