/// @file
/// Who a server is. Decided at its start, by what its folder holds and by what was asked, before
/// the engine may write or say anything: docs/design/history.md, section 9.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/server_file.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// N.R, of an N up to libraft_number_max. @param drawn 40 of these bits are R, which is not 0
[[nodiscard]] constexpr server_id libraft_made_id(std::uint64_t number,
                                                  std::uint64_t drawn) noexcept {
  const std::uint64_t made = drawn & ((std::uint64_t{1} << 40U) - 1);
  return server_id{(number << 40U) | (made == 0 ? 1 : made)};
}

/// 32 hexadecimal digits, the upper half first. Throws std::bad_alloc.
[[nodiscard]] QUORLITE_DECL std::string libraft_cluster_text(const cluster_identity& cluster);

/// What a folder tells of itself.
struct libraft_folder_facts {
  std::optional<libraft_server_file> file;  ///< none: it is empty, or older than such files
  bool has_log = false;                     ///< an entry, a snapshot, or a term
  libraft_seal seal;                        ///< as it is now
  cluster_identity of_base;                 ///< of the storage; zero: not told
};

/// What a start does with it.
struct libraft_folder_plan {
  enum class step : std::uint8_t {
    go_on,      ///< with what there is
    found,      ///< a cluster begins here; what is left of a founding that was cut short goes
    join,       ///< an empty folder that waits to be added
    bootstrap,  ///< an empty folder, by libraft_options::bootstrap
  };
  step next = step::go_on;
  bool seal_anew = false;
  std::optional<libraft_log_defect> refusal;  ///< then nothing is changed
};

/// @pre not both found and join
[[nodiscard]] QUORLITE_DECL libraft_folder_plan plan_start(const libraft_options& asked,
                                                           const libraft_folder_facts& facts);

/// Of a folder whose file says that a cluster begins there.
[[nodiscard]] QUORLITE_DECL libraft_log_defect log_beside_founding();
/// Of a folder in which a cluster is to begin.
/// @param by_file the folder's own file says so; else somebody does
/// @param at where its databases stand
[[nodiscard]] QUORLITE_DECL libraft_log_defect databases_beside_founding(bool by_file,
                                                                         log_index at);

/// What the engine has read of its log.
struct libraft_log_facts {
  std::span<const libraft_server> members;  ///< the newest that it names
  /// The cluster that an entry or a snapshot names; zero: none does. Nothing: not all of it could
  /// be read, and whoever applies it will say so.
  std::optional<cluster_identity> cluster;
  log_index end;           ///< the last index, as the machine counts
  bool has_voted = false;  ///< in the term that it is in, this server gave somebody its vote
};

/// One server's, from its start to its end. One thread at a time.
class libraft_identity {
 public:
  /// Without a disk: nobody is refused, and nothing is recorded.
  libraft_identity() = default;
  /// @param directory of the log
  /// @param known nothing: an older folder, whose id is recorded once its log names it
  libraft_identity(std::string directory, server_id id, std::string address,
                   std::optional<libraft_server_file> known)
      : directory_(std::move(directory)), id_(id), address_(std::move(address)), file_(known) {}

  [[nodiscard]] server_id id() const noexcept { return id_; }
  /// The folder says who it is.
  [[nodiscard]] bool is_recorded() const noexcept { return file_.has_value(); }
  /// That the folder names. All zero: none yet.
  [[nodiscard]] cluster_identity cluster() const noexcept {
    return file_ ? file_->cluster : cluster_identity{};
  }
  /// There is nothing to record().
  [[nodiscard]] bool knows_cluster() const noexcept {
    return directory_.empty() || (file_ && file_->cluster != cluster_identity{});
  }
  /// The identity entry of the cluster is to be proposed here.
  [[nodiscard]] bool founds() const noexcept {
    return file_ && file_->at != libraft_server_file::stage::takes_part &&
           file_->cluster == cluster_identity{};
  }
  /// The first entry of the log is not durable yet.
  [[nodiscard]] bool is_to_begin() const noexcept {
    return file_ && file_->at == libraft_server_file::stage::founding;
  }

  /// The first entry of the log is durable, by is_to_begin(). Blocks on the disk.
  [[nodiscard]] std::error_code began() noexcept;
  /// The folder gets another seal, once it was admitted.
  /// @param low, high random, not both 0 @pre is_recorded()
  void seal_anew(std::uint64_t low, std::uint64_t high) noexcept { seal_anew_ = {low, high}; }

  /// The engine has read its log, and has neither written nor sent anything. Blocks on the disk.
  /// @returns errc::another_server, errc::another_cluster, errc::log_damaged: see refusal()
  [[nodiscard]] std::error_code admit(const libraft_log_facts& log) noexcept;
  /// The entry that names the cluster was applied, or a snapshot installed that is behind it. A
  /// folder without a seal gets one. Durable on return; blocks on the disk. Nothing happens if it
  /// is known.
  /// @param low, high random, not both 0
  /// @returns errc::another_cluster: the folder is that of another one, and nothing was changed
  [[nodiscard]] std::error_code record(cluster_identity cluster, std::uint64_t low,
                                       std::uint64_t high) noexcept;

  /// Why admit() refused.
  [[nodiscard]] const std::optional<libraft_log_defect>& refusal() const noexcept {
    return refusal_;
  }

 private:
  [[nodiscard]] std::error_code replace(const libraft_server_file& by) noexcept;
  [[nodiscard]] std::error_code seal(libraft_server_file next, std::uint64_t low,
                                     std::uint64_t high) noexcept;
  [[nodiscard]] std::error_code refuse(libraft_log_defect why, errc code);

  std::string directory_;
  server_id id_;
  std::string address_;
  std::optional<libraft_server_file> file_;
  std::optional<std::pair<std::uint64_t, std::uint64_t>> seal_anew_;
  std::optional<libraft_log_defect> refusal_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/identity.ipp"  // IWYU pragma: keep
#endif
