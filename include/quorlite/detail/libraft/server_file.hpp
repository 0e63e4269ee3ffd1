/// @file
/// The file `server` in the folder of a log: which server's folder this is, of which cluster, and
/// whether it is a copy. Written beside, synced, renamed; the first thing in a new folder.
///
/// Numbers are little-endian.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 8 | "QLSERVER" |
/// | 8 | 4 | version of this format: 1 |
/// | 12 | 4 | stage: 0 takes part, or waits to; 1 begins a cluster; 2 has begun one |
/// | 16 | 8 | the id under which the engine knows this server |
/// | 24 | 16 | the id of the cluster, low half first; zero: not known yet |
/// | 40 | 16 | of the seal: the random number; zero: there is no seal |
/// | 56 | 8 | of the seal: inode of the lock file; 0: does not count here |
/// | 64 | 8 | of the seal: seconds at which that file was made; 0: the system does not tell |
/// | 72 | 4 | of the seal: and nanoseconds |
/// | 76 | 4 | CRC32C of the bytes before |
///
/// *The lock file*, `quorlite.lock`, holds the random number of the seal, 16 bytes; in a folder
/// without a seal it is empty. A copy of a folder has another inode there. Where inodes are
/// numbered anew at each mount (FUSE, overlays) the number alone is compared, or a healthy server
/// would be refused after a reboot: there a copy is not noticed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

inline constexpr const char* libraft_lock_name = "quorlite.lock";

/// What tells a folder from its copy.
struct libraft_seal {
  std::uint64_t low = 0;   ///< of the random number
  std::uint64_t high = 0;  ///< of the random number
  std::uint64_t inode = 0;
  std::uint64_t born_s = 0;
  std::uint32_t born_ns = 0;

  [[nodiscard]] bool is_made() const noexcept { return low != 0 || high != 0; }
  /// What one side does not have is not compared, but for the random number.
  [[nodiscard]] bool matches(const libraft_seal& other) const noexcept;

  /// That of a folder as it is now. A lock file that holds no whole number gives none.
  /// @returns what the system says
  [[nodiscard]] static result<libraft_seal> of(const std::string& directory) noexcept;
  /// Writes a number into the lock file of a folder; durable on return.
  /// @pre not both 0
  [[nodiscard]] static result<libraft_seal> make(const std::string& directory, std::uint64_t low,
                                                 std::uint64_t high) noexcept;

  friend bool operator==(const libraft_seal&, const libraft_seal&) = default;
};

/// What the file holds.
struct libraft_server_file {
  enum class stage : std::uint32_t {
    takes_part,  ///< or waits for that
    founding,    ///< it begins a cluster; what there is of a log was told to nobody
    founded,     ///< the first entry of its log is durable
  };

  static constexpr std::size_t encoded_bytes = 80;
  static constexpr const char* file_name = "server";

  server_id id;
  cluster_identity cluster;
  libraft_seal seal;
  stage at = stage::takes_part;

  /// @pre encoded_bytes
  void encode(bytes_span into) const noexcept;
  /// Total. @returns errc::corrupt, or errc::needs_upgrade for a whole one of another version
  [[nodiscard]] static result<libraft_server_file> decode(bytes_view whole) noexcept;

  /// Durable on return.
  [[nodiscard]] std::error_code write(const std::string& directory) const noexcept;

  friend bool operator==(const libraft_server_file&, const libraft_server_file&) = default;
};

/// A file that was read: it is there and whole, or is not there, or is a defect.
struct libraft_server_reading {
  std::optional<libraft_server_file> file;
  std::optional<libraft_log_defect> defect;

  /// Throws std::bad_alloc. Puts it where the log was told of, and names the file where nothing is
  /// left of that.
  QUORLITE_DECL void tell(libraft_log_report& report) const;
};

/// Throws std::bad_alloc. @returns what the system says
[[nodiscard]] QUORLITE_DECL result<libraft_server_reading> read_server_file(libraft_folder& from);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/server_file.ipp"  // IWYU pragma: keep
#endif
