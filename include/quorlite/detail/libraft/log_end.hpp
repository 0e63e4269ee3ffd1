/// @file
/// The file `log_end` in the folder of a log: how far that log went, at least, and the term and
/// vote of this server. libraft's own files tell neither where the log ended nor whether term and
/// vote are what was written.
///
/// Two slots, at bytes 0 and 4096, written in turns and in place: of a write that is cut short the
/// other slot is left, which says less and nothing wrong. Numbers are little-endian.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 4 | "QLE1" |
/// | 4 | 4 | CRC32C of the other 72 bytes, those from 8 on |
/// | 8 | 8 | number of this write; the higher one counts |
/// | 16 | 8 | an entry of the engine that was on the disk; 0: none is known |
/// | 24 | 8 | its term |
/// | 32 | 8 | a log index of the machine that was applied; 0: none is known |
/// | 40 | 16 | H as of it; zero: the history has not begun |
/// | 56 | 8 | the term of this server |
/// | 64 | 8 | whom it chose in that term; 0: nobody |
/// | 72 | 8 | zeros |
///
/// The entry goes back only when the engine cuts its log, and before that is on the disk. What was
/// applied is committed, and never goes back. Whether the entry may be compared, quorlite.log says
/// (libraft_log_note::keeps_end): a build that does not know this file cuts without a word.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What a slot tells.
struct libraft_log_end {
  static constexpr std::size_t encoded_bytes = 80;
  static constexpr std::size_t slot_distance = 4096;
  static constexpr std::size_t file_bytes = slot_distance + encoded_bytes;
  static constexpr const char* file_name = "log_end";

  std::uint64_t write = 0;  ///< its number
  std::uint64_t entry = 0;  ///< the log had this one
  std::uint64_t entry_term = 0;
  history_position applied;  ///< the log had this one, with this history
  std::uint64_t term = 0;
  std::uint64_t vote = 0;

  /// Where this write belongs.
  [[nodiscard]] std::uint64_t offset() const noexcept { return write % 2 * slot_distance; }

  /// @pre encoded_bytes
  void encode(bytes_span into) const noexcept;
  /// Total. Nothing: damaged, or never written.
  [[nodiscard]] static std::optional<libraft_log_end> decode(bytes_view slot) noexcept;
  /// The slots of a whole file. Total. Nothing: that one is not whole.
  [[nodiscard]] static std::array<std::optional<libraft_log_end>, 2> slots_in(
      bytes_view file) noexcept;
  /// The newest of them. Total. Nothing: none is whole.
  [[nodiscard]] static std::optional<libraft_log_end> newest_in(bytes_view file) noexcept;
  /// The newest one in a folder that has the file. Throws std::bad_alloc.
  /// @returns what the system says
  [[nodiscard]] static result<std::optional<libraft_log_end>> read(libraft_folder& from);
  /// That file. Throws std::bad_alloc. @returns what the system says
  [[nodiscard]] static result<bytes> read_file(libraft_folder& from);

  friend bool operator==(const libraft_log_end&, const libraft_log_end&) = default;
};

/// Keeps the file of one server. On its loop, but for write_what_changed(). Codes are libraft's: 0,
/// RAFT_IOERR, RAFT_NOMEM.
class libraft_end_keeper {
 public:
  /// @param directory empty: there is no disk, and nothing is kept
  explicit libraft_end_keeper(std::string directory) : directory_(std::move(directory)) {}

  /// Takes over what an earlier run has left; nothing, if both slots are damaged, which the check
  /// of the folder has told. @param term, vote as the engine has loaded them
  /// @param applied what was applied then
  [[nodiscard]] int load(std::uint64_t term, std::uint64_t vote,
                         history_position& applied) noexcept;
  /// The engine has read its log, which ends with this entry. Durable on return.
  [[nodiscard]] int begin(std::uint64_t entry, std::uint64_t entry_term) noexcept;
  /// And there is a disk.
  [[nodiscard]] bool has_begun() const noexcept { return begun_; }

  /// The engine has stored a term. It is written down with whatever is written next.
  void note_term(std::uint64_t now) noexcept;
  /// The engine has stored its choice, and nobody was told. Durable on return.
  [[nodiscard]] int note_vote(std::uint64_t id) noexcept;

  /// Entries up to here are on the disk, and this was applied. Nothing is written, nobody waits for
  /// the disk. @pre has_begun()
  void advance(std::uint64_t entry, std::uint64_t entry_term,
               const history_position& applied) noexcept;
  /// The log is about to be cut behind this entry; 0: a snapshot is to take its place. Durable on
  /// return, if it has to be told at all.
  [[nodiscard]] int pull_back(std::uint64_t entry, std::uint64_t entry_term) noexcept;

  /// Something was not written yet.
  [[nodiscard]] bool has_changed() const noexcept;
  /// Any thread. What has changed is durable on return. Blocks on the disk, and so does who writes
  /// meanwhile. It needs no memory and no descriptor. After an error the file says what it said, or
  /// what it was to say; the next write tries again.
  [[nodiscard]] int write() noexcept;
  /// Any thread. Somebody has removed the file, most likely with its folder: what is written goes
  /// nowhere.
  [[nodiscard]] bool is_removed() noexcept;

 private:
  [[nodiscard]] int open() noexcept;
  /// @returns nothing: there is nothing to write, or nowhere
  [[nodiscard]] std::optional<libraft_log_end> next() const noexcept;

  const std::string directory_;
  bool begun_ = false;
  std::mutex writing_;  // held over a write, so that none overtakes another; before mutex_
  std::optional<libraft_descriptor> file_;  // stays open, so that a write needs none
  mutable std::mutex mutex_;                // of all below; nobody waits for the disk with it
  libraft_log_end now_;                     // its number says nothing
  libraft_log_end written_;
  bool failed_ = false;  // the last write: what is in its slot is not known
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/log_end.ipp"  // IWYU pragma: keep
#endif
