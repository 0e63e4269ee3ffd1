// Folders of servers that are stopped: their files, copies of them, and the seal that tells a
// folder from its copy.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "chance.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/server_file.hpp"

namespace damage {

namespace fs = std::filesystem;
using quorlite::bytes;

inline constexpr const char* databases_folder = "databases";

// What a file is for.
enum class file_class : std::uint8_t {
  closed_segment,
  open_segment,
  metadata,
  server,
  note,
  log_end,
  lock,
  snapshot,
  snapshot_meta,
  record,
  hashes,
  database,
  other,
};

inline const char* name_of(file_class is) {
  constexpr const char* names[] = {"closed segment", "open segment", "metadata",        "server",
                                   "quorlite.log",   "log_end",      "lock file",       "snapshot",
                                   "snapshot meta",  "record",       "hashes of pages", "database",
                                   "other"};
  return names[static_cast<std::size_t>(is)];
}

// @param name within the folder of a server: "open-1", "databases/.quorlite/hashes/app.db"
inline file_class class_of(const std::string& name) {
  using kind = quorlite::detail::libraft_file_name::kind;
  const std::string last = fs::path(name).filename().string();
  if (name.rfind(databases_folder, 0) == 0) {
    return last.rfind("superblock", 0) == 0                ? file_class::record
           : name.find("/hashes/") != std::string::npos    ? file_class::hashes
           : name.find("/.quorlite/") != std::string::npos ? file_class::other
                                                           : file_class::database;
  }
  switch (quorlite::detail::libraft_file_name::of(name).is) {
    case kind::closed: return file_class::closed_segment;
    case kind::open: return file_class::open_segment;
    case kind::snapshot: return file_class::snapshot;
    case kind::snapshot_meta: return file_class::snapshot_meta;
    case kind::other:
    default: break;
  }
  return name.rfind("metadata", 0) == 0 ? file_class::metadata
         : name == "server"             ? file_class::server
         : name == "quorlite.log"       ? file_class::note
         : name == "log_end"            ? file_class::log_end
         : name == "quorlite.lock"      ? file_class::lock
                                        : file_class::other;
}

// Ascending, all of them, as names within the folder.
inline std::vector<std::string> files_of(const fs::path& folder) {
  std::vector<std::string> names;
  if (!fs::exists(folder)) {
    return names;
  }
  for (const auto& one : fs::recursive_directory_iterator(folder)) {
    if (one.is_regular_file()) {
      names.push_back(one.path().lexically_relative(folder).string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

inline bytes read_file(const fs::path& path) {
  const quorlite::detail::libraft_descriptor file(path.string(), O_RDONLY);
  if (!file.is_open()) {
    throw std::system_error(errno, std::generic_category(), path.string());
  }
  bytes content(static_cast<std::size_t>(fs::file_size(path)));
  if (::pread(file.get(), content.data(), content.size(), 0) !=
      static_cast<::ssize_t>(content.size())) {
    throw std::runtime_error("cannot read " + path.string());
  }
  return content;
}

// Zeros take no room: most of an open segment is zeros. The inode stays that of a file that is
// there already.
inline void write_file(const fs::path& path, const bytes& content) {
  constexpr std::size_t unit = 4096;
  fs::create_directories(path.parent_path());
  const quorlite::detail::libraft_descriptor file(path.string(), O_WRONLY | O_CREAT | O_TRUNC);
  const auto is_zero = [](std::byte one) { return one == std::byte{0}; };
  bool good = file.is_open() && ::ftruncate(file.get(), static_cast<::off_t>(content.size())) == 0;
  for (std::size_t at = 0; good && at < content.size(); at += unit) {
    const std::size_t count = std::min(unit, content.size() - at);
    const std::byte* const from = content.data() + at;
    good = std::all_of(from, from + count, is_zero) ||
           ::pwrite(file.get(), from, count, static_cast<::off_t>(at)) ==
               static_cast<::ssize_t>(count);
  }
  if (!good) {
    throw std::runtime_error("cannot write " + path.string());
  }
}

inline void copy_one(const fs::path& from, const fs::path& to) { write_file(to, read_file(from)); }

// @returns false: a server runs there, and gave a file another name meanwhile
inline bool copied_folder(const fs::path& from, const fs::path& to) {
  fs::remove_all(to);
  fs::create_directories(to);
  const std::vector<std::string> names = files_of(from);
  for (const std::string& name : names) {
    try {
      copy_one(from / name, to / name);
    } catch (const std::system_error& error) {
      if (error.code() != std::errc::no_such_file_or_directory) {
        throw;
      }
      return false;
    }
  }
  return files_of(from) == names;
}

inline void copy_folder(const fs::path& from, const fs::path& to) {
  for (int i = 0; !copied_folder(from, to); ++i) {
    if (i == 100) {
      throw std::runtime_error("it changes all the time: " + from.string());
    }
  }
}

// What the folder of a log says of whose it is; nothing: it says nothing that can be read.
inline std::optional<quorlite::detail::libraft_server_file> server_file_of(const fs::path& folder) {
  quorlite::detail::libraft_disk_folder disk(folder.string());
  const auto read = quorlite::detail::read_server_file(disk);
  return read ? read->file : std::nullopt;
}

// A copy becomes the folder itself, as if it had never been anywhere else.
inline void seal(const fs::path& folder, chance& draw) {
  auto file = server_file_of(folder);
  if (!file || !file->seal.is_made()) {
    return;
  }
  const auto made =
      quorlite::detail::libraft_seal::make(folder.string(), draw.next() | 1U, draw.next());
  if (!made) {
    throw std::system_error(made.error(), folder.string());
  }
  file->seal = *made;
  if (const std::error_code error = file->write(folder.string())) {
    throw std::system_error(error, folder.string());
  }
}

}  // namespace damage
