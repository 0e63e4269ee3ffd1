// What befalls the folder of a server that is stopped.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "chance.hpp"
#include "folder.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/log_segment.hpp"
#include "quorlite/raft/libraft.hpp"

namespace damage {

enum class kind : std::uint8_t {
  flipped_bit,
  changed_bytes,
  zeroed_sectors,
  cut_file,
  emptied_file,
  grown_file,
  deleted_file,
  swapped_files,
  file_of_another_server,
  file_of_another_cluster,
  stale_file,
  two_at_once,
  log_cut_between_writes,
  stale_log,
  stale_databases,
  databases_of_another_server,
  databases_of_another_cluster,
  lost_databases,
  lost_log,
  log_of_another_cluster,
  copied_folder,
  stale_folder_copied_back,
  folder_rolled_back,
  folder_of_another_server,
  folder_of_another_cluster,
  lost_folder,
};
inline constexpr std::size_t kinds = static_cast<std::size_t>(kind::lost_folder) + 1;

inline const char* name_of(kind is) {
  constexpr const char* names[kinds] = {"flipped bit",
                                        "changed bytes",
                                        "zeroed sectors",
                                        "cut file",
                                        "emptied file",
                                        "grown file",
                                        "deleted file",
                                        "swapped files",
                                        "file of another server",
                                        "file of another cluster",
                                        "stale file",
                                        "two at once",
                                        "log cut between writes",
                                        "stale log",
                                        "stale databases",
                                        "databases of another server",
                                        "databases of another cluster",
                                        "lost databases",
                                        "lost log",
                                        "log of another cluster",
                                        "copied folder",
                                        "stale folder copied back",
                                        "folder rolled back",
                                        "folder of another server",
                                        "folder of another cluster",
                                        "lost folder"};
  return names[static_cast<std::size_t>(is)];
}

// How often each is drawn.
inline kind draw_kind(chance& draw) {
  constexpr std::uint64_t weights[kinds] = {20, 6, 8, 8, 4, 3, 8, 5, 4, 3, 8, 5, 8,
                                            3,  3, 3, 2, 1, 2, 2, 2, 3, 2, 2, 2, 1};
  std::uint64_t sum = 0;
  for (const std::uint64_t one : weights) {
    sum += one;
  }
  std::uint64_t at = draw.below(sum);
  std::size_t found = 0;
  while (at >= weights[found]) {
    at -= weights[found++];
  }
  return static_cast<kind>(found);
}

// What was done.
struct done {
  kind is = kind::flipped_bit;
  std::string what;                // for people
  std::vector<std::string> files;  // that are not what they were; empty: all of them
  file_class of = file_class::other;
};

// Where foreign bytes come from; all of them are folders that nobody uses.
struct sources {
  fs::path other_server;        // as it is now
  fs::path other_cluster;       // of a server with this number and address
  std::vector<fs::path> stale;  // of this server, older ones
};

class damages {
 public:
  damages(fs::path folder, sources from, chance& draw)
      : folder_(std::move(folder)), from_(std::move(from)), draw_(draw) {}

  done bring(kind is) {
    made_ = {};
    made_.is = is;
    switch (is) {
      case kind::two_at_once: {
        constexpr auto last_of_a_file = static_cast<std::uint64_t>(kind::stale_file);
        file(static_cast<kind>(draw_.below(last_of_a_file + 1)));
        file(static_cast<kind>(draw_.below(last_of_a_file + 1)));
        break;
      }
      case kind::log_cut_between_writes: cut_log(); break;
      case kind::stale_log: replace_log(stale()); break;
      case kind::stale_databases: replace_databases(stale()); break;
      case kind::databases_of_another_server: replace_databases(from_.other_server); break;
      case kind::databases_of_another_cluster: replace_databases(from_.other_cluster); break;
      case kind::lost_databases:
        fs::remove_all(folder_ / databases_folder);
        made_.what = "the databases are gone";
        break;
      case kind::lost_log: lose_log(); break;
      case kind::log_of_another_cluster: replace_log(from_.other_cluster); break;
      case kind::copied_folder: replace_folder(copy_of_own(), false); break;
      case kind::stale_folder_copied_back: replace_folder(stale(), false); break;
      case kind::folder_rolled_back: replace_folder(stale(), true); break;
      case kind::folder_of_another_server:
        replace_folder(from_.other_server, draw_.percent(70));
        break;
      case kind::folder_of_another_cluster:
        replace_folder(from_.other_cluster, draw_.percent(70));
        break;
      case kind::lost_folder:
        fs::remove_all(folder_);
        fs::create_directory(folder_);
        made_.what = "an empty folder";
        break;
      default: file(is);
    }
    return std::move(made_);
  }

 private:
  [[nodiscard]] const fs::path& stale() { return draw_.one_of(from_.stale); }

  // ---- of one file

  // Each class as often as the others: there are many segments, and one file `server`.
  [[nodiscard]] std::string draw_file(bool with_content) {
    std::map<file_class, std::vector<std::string>> all;
    for (const std::string& name : files_of(folder_)) {
      if (!with_content || fs::file_size(folder_ / name) > 0) {
        all[class_of(name)].push_back(name);
      }
    }
    std::vector<file_class> present;
    for (const auto& [is, names] : all) {
      if (is != file_class::other || all.size() == 1) {
        present.push_back(is);
      }
    }
    if (present.empty()) {
      return {};
    }
    made_.of = draw_.one_of(present);
    return draw_.one_of(all[made_.of]);
  }
  void tell(const std::string& name, const std::string& what) {
    made_.what += (made_.what.empty() ? "" : "; ") + name + ": " + what;
    made_.files.push_back(name);
  }

  void file(kind is) {
    const bool changes_content = is < kind::deleted_file;
    const std::string name = draw_file(changes_content);
    if (name.empty()) {
      return;
    }
    switch (is) {
      case kind::deleted_file:
        fs::remove(folder_ / name);
        tell(name, "deleted");
        break;
      case kind::swapped_files: swap(name); break;
      case kind::file_of_another_server: take(name, from_.other_server); break;
      case kind::file_of_another_cluster: take(name, from_.other_cluster); break;
      case kind::stale_file: take(name, stale()); break;
      default: change(is, name);
    }
  }

  // Where something was written, mostly: behind that an open segment is zeros.
  [[nodiscard]] std::size_t draw_place(const bytes& content) {
    const auto last = std::find_if(content.rbegin(), content.rend(),
                                   [](std::byte one) { return one != std::byte{0}; });
    const auto written = static_cast<std::size_t>(content.rend() - last);
    const bool anywhere = written == 0 || draw_.percent(10);
    const bool near_the_end = !anywhere && written > 2048 && draw_.percent(30);
    const std::size_t from = near_the_end ? written - 2048 : 0;
    return from +
           static_cast<std::size_t>(draw_.below((anywhere ? content.size() : written) - from));
  }

  void change(kind is, const std::string& name) {
    constexpr std::size_t sector = 512;
    bytes content = read_file(folder_ / name);
    const std::size_t at = draw_place(content);
    if (is == kind::flipped_bit) {
      const auto bit = static_cast<unsigned>(draw_.below(8));
      content[at] ^= static_cast<std::byte>(1U << bit);
      tell(name, "bit " + std::to_string(bit) + " of byte " + std::to_string(at) + " flipped");
    } else if (is == kind::changed_bytes) {
      const std::size_t count = std::min<std::size_t>(
          content.size() - at, static_cast<std::size_t>(draw_.between(1, 600)));
      for (std::size_t i = at; i < at + count; ++i) {
        content[i] = static_cast<std::byte>(draw_.below(256));
      }
      tell(name, std::to_string(count) + " bytes from " + std::to_string(at) + " on are others");
    } else if (is == kind::zeroed_sectors) {
      const std::size_t from = at / sector * sector;
      const std::size_t end = std::min<std::size_t>(
          content.size(), from + sector * static_cast<std::size_t>(draw_.between(1, 8)));
      std::fill(content.begin() + static_cast<std::ptrdiff_t>(from),
                content.begin() + static_cast<std::ptrdiff_t>(end), std::byte{0});
      tell(name, "zeros from " + std::to_string(from) + " to " + std::to_string(end));
    } else if (is == kind::grown_file) {
      const auto count = static_cast<std::size_t>(draw_.between(1, 1000));
      const bool zeros = draw_.percent(50);
      for (std::size_t i = 0; i < count; ++i) {
        content.push_back(static_cast<std::byte>(zeros ? 0 : draw_.below(256)));
      }
      tell(name, std::to_string(count) + (zeros ? " zeros" : " bytes") + " more");
    } else {
      content.resize(is == kind::emptied_file ? 0 : at);
      tell(name, "cut at " + std::to_string(content.size()));
    }
    write_file(folder_ / name, content);
  }

  // Of one kind, if there are two.
  void swap(const std::string& name) {
    std::vector<std::string> others;
    std::vector<std::string> of_class;
    for (const std::string& one : files_of(folder_)) {
      if (one != name) {
        (class_of(one) == class_of(name) ? of_class : others).push_back(one);
      }
    }
    const bool within = !of_class.empty() && (others.empty() || draw_.percent(80));
    if (!within && others.empty()) {
      return;
    }
    const std::string other = draw_.one_of(within ? of_class : others);
    const bytes mine = read_file(folder_ / name);
    write_file(folder_ / name, read_file(folder_ / other));
    write_file(folder_ / other, mine);
    tell(name, "exchanged with " + other);
    made_.files.push_back(other);
  }

  // The file of that name, or one of its kind that is not here.
  void take(const std::string& name, const fs::path& from) {
    std::vector<std::string> there;
    for (const std::string& one : files_of(from)) {
      if (class_of(one) == class_of(name)) {
        there.push_back(one);
      }
    }
    if (there.empty()) {
      return;
    }
    const bool same = std::find(there.begin(), there.end(), name) != there.end();
    const std::string source = same && draw_.percent(70) ? name : draw_.one_of(there);
    const bool as_named = draw_.percent(50);
    const std::string& target = as_named ? source : name;
    copy_one(from / source, folder_ / target);
    tell(target, "is " + source + " of " + from.filename().string());
  }

  // ---- of the log

  // But for log_end: with that, and the databases, it would be the whole folder.
  [[nodiscard]] static bool is_of_log(const std::string& name) {
    const file_class is = class_of(name);
    return is == file_class::closed_segment || is == file_class::open_segment ||
           is == file_class::metadata || is == file_class::note || is == file_class::snapshot ||
           is == file_class::snapshot_meta;
  }
  // The folder goes on being this server's.
  void replace_log(const fs::path& from) {
    for (const std::string& name : files_of(folder_)) {
      if (is_of_log(name)) {
        fs::remove(folder_ / name);
      }
    }
    for (const std::string& name : files_of(from)) {
      if (is_of_log(name)) {
        copy_one(from / name, folder_ / name);
      }
    }
    made_.what = "the log is that of " + from.filename().string();
  }
  void lose_log() {
    const bool metadata_too = draw_.percent(50);
    for (const std::string& name : files_of(folder_)) {
      if (is_of_log(name) && (metadata_too || class_of(name) != file_class::metadata)) {
        fs::remove(folder_ / name);
      }
    }
    made_.what = std::string("the log is gone") + (metadata_too ? ", and term and vote" : "");
  }

  // The end of one batch, and where the log goes on.
  struct batch_end {
    std::string file;
    std::uint64_t byte = 0;
    std::uint64_t entries = 0;  // of this file, up to there
  };
  // As if the last writes had never been: what is behind an end is zeros, or has other names.
  void cut_log() {
    std::vector<std::pair<std::uint64_t, std::string>> closed;
    std::vector<std::pair<std::uint64_t, std::string>> open;
    for (const std::string& name : files_of(folder_)) {
      const auto told = quorlite::detail::libraft_file_name::of(name);
      using file_kind = quorlite::detail::libraft_file_name::kind;
      if (told.is == file_kind::closed) {
        closed.emplace_back(told.first, name);
      } else if (told.is == file_kind::open) {
        open.emplace_back(told.first, name);
      }
    }
    std::sort(closed.begin(), closed.end());
    std::sort(open.begin(), open.end());
    closed.insert(closed.end(), open.begin(), open.end());
    std::vector<batch_end> ends;
    for (const auto& [number, name] : closed) {
      read_ends(name, ends);
    }
    if (ends.size() < 2) {
      return;
    }
    // Mostly a few of the last ones go.
    const std::size_t most =
        draw_.percent(70) ? std::min<std::size_t>(ends.size() - 1, 12) : ends.size() - 1;
    const auto gone = static_cast<std::size_t>(draw_.between(1, most));
    const batch_end keep = ends[ends.size() - 1 - gone];
    bool behind = false;
    for (const auto& [number, name] : closed) {
      if (behind) {
        fs::remove(folder_ / name);
      }
      behind = behind || name == keep.file;
    }
    cut_segment(keep);
    tell(keep.file, "the last " + std::to_string(gone) + " writes of the log are gone, from byte " +
                        std::to_string(keep.byte) + " on");
  }
  void read_ends(const std::string& name, std::vector<batch_end>& into) {
    quorlite::detail::libraft_disk_folder disk(folder_.string());
    auto file = disk.open(name);
    if (!file) {
      return;
    }
    quorlite::detail::libraft_segment_reader reader(**file);
    std::uint64_t entries = 0;
    while (reader.next()) {
      if (entries > 0) {
        into.back().byte = reader.begin();
      }
      entries += reader.entries().size();
      into.push_back({name, 0, entries});
    }
    if (entries > 0) {
      const bool is_open = quorlite::detail::libraft_file_name::of(name).is ==
                           quorlite::detail::libraft_file_name::kind::open;
      into.back().byte =
          is_open ? reader.end_of_open(~std::uint64_t{0}, true).byte : (*file)->size();
    }
  }
  void cut_segment(const batch_end& keep) {
    bytes content = read_file(folder_ / keep.file);
    const auto told = quorlite::detail::libraft_file_name::of(keep.file);
    if (told.is == quorlite::detail::libraft_file_name::kind::open) {
      std::fill(content.begin() + static_cast<std::ptrdiff_t>(keep.byte), content.end(),
                std::byte{0});
      write_file(folder_ / keep.file, content);
      return;
    }
    content.resize(static_cast<std::size_t>(keep.byte));
    char name[64];
    std::snprintf(name, sizeof name, "%016llu-%016llu", static_cast<unsigned long long>(told.first),
                  static_cast<unsigned long long>(told.first + keep.entries - 1));
    fs::remove(folder_ / keep.file);
    write_file(folder_ / name, content);
  }

  // ---- of all of it

  void replace_databases(const fs::path& from) {
    fs::remove_all(folder_ / databases_folder);
    for (const std::string& name : files_of(from)) {
      if (name.rfind(databases_folder, 0) == 0) {
        copy_one(from / name, folder_ / name);
      }
    }
    made_.what = "the databases are those of " + from.filename().string();
  }
  [[nodiscard]] fs::path copy_of_own() {
    const fs::path copy = folder_.string() + "-copy";
    copy_folder(folder_, copy);
    return copy;
  }
  // @param sealed it tells nobody that it is a copy: a disk was put back, or a virtual machine
  void replace_folder(const fs::path& from, bool sealed) {
    const bool is_copy = from.string() == folder_.string() + "-copy";
    copy_folder(from, folder_);
    if (sealed) {
      seal(folder_, draw_);
    }
    if (is_copy) {
      fs::remove_all(from);
    }
    made_.what = "the folder is " + (is_copy ? "a copy of itself" : from.filename().string()) +
                 (sealed ? ", as if it had always been here" : "");
  }

  const fs::path folder_;
  const sources from_;
  chance& draw_;
  done made_;
};

// What was done, and whether a reader of the log can see it.
struct looked_at {
  damage::done done;
  bool cut_without_trace = false;  // the log reads well, and ends earlier
};

// One that is drawn, of those that may be, and that changed something.
template <class May>
looked_at draw_damage(const fs::path& folder, const sources& from, chance& draw, May may_be) {
  const auto before = quorlite::libraft::check(folder.string());
  looked_at made;
  while (made.done.what.empty()) {
    kind is = draw_kind(draw);
    while (!may_be(is)) {
      is = draw_kind(draw);
    }
    made.done = damages(folder, from, draw).bring(is);
  }
  const auto after = quorlite::libraft::check(folder.string());
  made.cut_without_trace = before && after && before->defects.empty() && after->defects.empty() &&
                           after->end < before->end;
  return made;
}

}  // namespace damage
