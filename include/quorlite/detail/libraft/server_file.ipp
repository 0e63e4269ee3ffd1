/// @file
/// Bodies of server_file.hpp: its bytes, and what the system says of the lock file.
#pragma once

#include "quorlite/detail/libraft/server_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/crc32c.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

// ---- the seal

using libraft_seal_number = std::array<std::byte, 16>;

/// The types of file systems (statfs) that number inodes anew at each mount.
[[nodiscard]] inline bool are_inodes_kept(std::uint64_t type) noexcept {
  constexpr std::uint64_t fuse = 0x65735546;     // FUSE_SUPER_MAGIC, and virtiofs
  constexpr std::uint64_t overlay = 0x794C7630;  // OVERLAYFS_SUPER_MAGIC
  constexpr std::uint64_t fat = 0x4D44;          // MSDOS_SUPER_MAGIC, vfat
  constexpr std::uint64_t exfat = 0x2011BAB0;    // EXFAT_SUPER_MAGIC
  constexpr std::uint64_t cifs = 0xFF534D42;     // CIFS_SUPER_MAGIC
  constexpr std::uint64_t smb2 = 0xFE534D42;     // SMB2_SUPER_MAGIC
  return type != fuse && type != overlay && type != fat && type != exfat && type != cifs &&
         type != smb2;
}

/// Inode and time of birth, where they count. @returns what the system says
[[nodiscard]] inline std::error_code look_at_lock(int file, libraft_seal& into) noexcept {
  struct ::statfs system {};
  if (::fstatfs(file, &system) != 0) {
    return {errno, std::generic_category()};
  }
  if (!are_inodes_kept(static_cast<std::uint64_t>(system.f_type) & 0xFFFFFFFFU)) {
    return {};
  }
  struct ::statx told {};
  if (::statx(file, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &told) != 0) {
    struct ::stat plain {};  // a kernel, or a jail, without statx
    if (::fstat(file, &plain) != 0) {
      return {errno, std::generic_category()};
    }
    into.inode = plain.st_ino;
    return {};
  }
  into.inode = told.stx_ino;
  if ((told.stx_mask & STATX_BTIME) != 0 && told.stx_btime.tv_sec > 0) {
    into.born_s = static_cast<std::uint64_t>(told.stx_btime.tv_sec);
    into.born_ns = told.stx_btime.tv_nsec;
  }
  return {};
}

QUORLITE_DECL bool libraft_seal::matches(const libraft_seal& other) const noexcept {
  const bool same_inode = inode == 0 || other.inode == 0 || inode == other.inode;
  const bool same_birth =
      born_s == 0 || other.born_s == 0 || (born_s == other.born_s && born_ns == other.born_ns);
  return low == other.low && high == other.high && same_inode && same_birth;
}

QUORLITE_DECL result<libraft_seal> libraft_seal::of(const std::string& directory) noexcept try {
  const libraft_descriptor file(directory + '/' + libraft_lock_name, O_RDONLY);
  libraft_seal made;
  if (!file.is_open()) {
    return fail(std::error_code(errno, std::generic_category()));
  }
  if (const std::error_code error = look_at_lock(file.get(), made)) {
    return fail(error);
  }
  libraft_seal_number number{};
  if (::pread(file.get(), number.data(), number.size(), 0) ==
      static_cast<::ssize_t>(number.size())) {
    made.low = load_little_endian<std::uint64_t>(number.data());
    made.high = load_little_endian<std::uint64_t>(number.data() + 8);
  }
  return made;
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

QUORLITE_DECL result<libraft_seal> libraft_seal::make(const std::string& directory,
                                                      std::uint64_t low,
                                                      std::uint64_t high) noexcept try {
  QUORLITE_ASSERT(low != 0 || high != 0);
  libraft_seal_number number{};
  store_little_endian(number.data(), low);
  store_little_endian(number.data() + 8, high);
  {
    const libraft_descriptor file(directory + '/' + libraft_lock_name, O_WRONLY);
    const bool written = file.is_open() &&
                         ::pwrite(file.get(), number.data(), number.size(), 0) ==
                             static_cast<::ssize_t>(number.size()) &&
                         ::fsync(file.get()) == 0;
    if (!written) {
      return fail(std::error_code(errno, std::generic_category()));
    }
  }
  return of(directory);
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

// ---- bytes

inline constexpr std::string_view libraft_server_magic = "QLSERVER";
inline constexpr std::uint32_t libraft_server_version = 1;

QUORLITE_DECL void libraft_server_file::encode(bytes_span into) const noexcept {
  std::byte* const to = into.data();
  std::memcpy(to, libraft_server_magic.data(), libraft_server_magic.size());
  store_little_endian(to + 8, libraft_server_version);
  store_little_endian(to + 12, static_cast<std::uint32_t>(at));
  store_little_endian(to + 16, id.value);
  store_little_endian(to + 24, cluster.low);
  store_little_endian(to + 32, cluster.high);
  store_little_endian(to + 40, seal.low);
  store_little_endian(to + 48, seal.high);
  store_little_endian(to + 56, seal.inode);
  store_little_endian(to + 64, seal.born_s);
  store_little_endian(to + 72, seal.born_ns);
  store_little_endian(to + 76, crc32c(into.first(76)));
}

QUORLITE_DECL result<libraft_server_file> libraft_server_file::decode(bytes_view whole) noexcept {
  const auto number = [&](std::size_t offset) {
    return load_little_endian<std::uint64_t>(whole.data() + offset);
  };
  const auto half = [&](std::size_t offset) {
    return load_little_endian<std::uint32_t>(whole.data() + offset);
  };
  if (whole.size() < encoded_bytes ||
      std::memcmp(whole.data(), libraft_server_magic.data(), libraft_server_magic.size()) != 0) {
    return fail(errc::corrupt);
  }
  // The sum stands at the end, whatever a later version puts before it.
  if (half(whole.size() - 4) != crc32c(whole.first(whole.size() - 4))) {
    return fail(errc::corrupt);
  }
  if (half(8) != libraft_server_version) {
    return fail(errc::needs_upgrade);
  }
  if (whole.size() != encoded_bytes || number(16) == 0 ||
      half(12) > static_cast<std::uint32_t>(stage::founded)) {
    return fail(errc::corrupt);
  }
  libraft_server_file made;
  made.at = static_cast<stage>(half(12));
  made.id = server_id{number(16)};
  made.cluster = {number(24), number(32)};
  made.seal = {number(40), number(48), number(56), number(64), half(72)};
  return made;
}

QUORLITE_DECL std::error_code libraft_server_file::write(
    const std::string& directory) const noexcept try {
  std::array<std::byte, encoded_bytes> whole{};
  encode(whole);
  return libraft_disk_folder(directory).replace(file_name, whole);
} catch (const std::bad_alloc&) {
  return make_error_code(errc::out_of_memory);
}

// ---- reading

[[nodiscard]] inline libraft_log_defect libraft_server_defect(std::error_code why) {
  if (why == errc::needs_upgrade) {
    return {libraft_log_fault::unknown, libraft_server_file::file_name, 8,
            "it is of a later version", "Start it with the version that wrote it"};
  }
  return {libraft_log_fault::damaged, libraft_server_file::file_name, 0,
          "it is not what was written, and tells whose folder this is",
          "Bring this file back from a backup of this very folder. Else, if most of the other "
          "servers are up: remove this server from the cluster, and start it with an empty folder "
          "and join"};
}

QUORLITE_DECL void libraft_server_reading::tell(libraft_log_report& report) const {
  if (defect) {
    report.defects.insert(report.defects.begin(), *defect);
  } else if (file) {
    report.server = file->id;
    report.cluster = file->cluster;
    // Of a log of which nothing is left, this file tells that it was here.
    if (!report.defects.empty() && report.defects.front().file.empty()) {
      report.defects.front().file = libraft_server_file::file_name;
    }
  }
}

QUORLITE_DECL result<libraft_server_reading> read_server_file(libraft_folder& from) {
  constexpr std::uint64_t most = 4096;  // of any version
  const auto names = from.names();
  if (!names) {
    return fail(names.error());
  }
  libraft_server_reading read;
  const auto unread = [&read](std::error_code error) -> result<libraft_server_reading> {
    if (libraft_may_pass(error)) {
      return fail(error);
    }
    read.defect = libraft_server_defect(errc::corrupt);
    read.defect->what = libraft_unread_text(error) + "; it tells whose folder this is";
    if (const std::string better = libraft_unread_remedy(error); !better.empty()) {
      read.defect->remedy = better;
    }
    return std::move(read);
  };
  if (std::find(names->begin(), names->end(), libraft_server_file::file_name) == names->end()) {
    return read;
  }
  auto file = from.open(libraft_server_file::file_name);
  if (!file) {
    return unread(file.error());
  }
  bytes whole(static_cast<std::size_t>(std::min((*file)->size(), most)));
  if (const std::error_code error = (*file)->read(0, whole)) {
    return unread(error);
  }
  const auto decoded = libraft_server_file::decode(whole);
  if (decoded) {
    read.file = *decoded;
  } else {
    read.defect = libraft_server_defect(decoded.error());
  }
  return read;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
