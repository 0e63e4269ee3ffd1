/// @file
/// One segment of the log, batch by batch, and what its end means.
///
/// **A torn tail or damage?** A write that a power cut interrupts leaves each sector of 512 bytes
/// as it was, or as it was to be. What an open segment had there before are zeros, in the first
/// sector behind the batches that stand already. So a batch that is broken because its write was
/// cut covers a sector that is zero from the batch's begin to the sector's end. If there is none,
/// all of it was written, and has changed since: that is damage. Damage, too, is
/// - anything behind the broken batch, if one write holds one batch: whoever wrote it had the
///   broken one whole on its disk before. Logs of builds that did not keep to that may have whole
///   batches of the same write there;
/// - anything in an open segment with a higher number, for the same reason;
/// - an end of the file in a batch, but for one that is larger than a segment;
/// - any byte of a closed segment: its size and name were made durable after its content.
///
/// What the rule cannot tell: a changed byte in the last batch, if a whole sector of that is zero
/// by itself. It looks torn, and is cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_format.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What is behind the last whole batch of a segment.
struct libraft_segment_end {
  enum class kind : std::uint8_t {
    whole,    ///< nothing, or zeros that were never written
    torn,     ///< the write of a batch was cut short; nobody was told that it is there
    damaged,  ///< it was whole, and is not any more
    unknown,  ///< a format, or a kind of entry, that 0.15 does not write
  };

  kind is = kind::whole;
  std::uint64_t byte = 0;  ///< where the batches end
  std::string what;        ///< of damage: what is seen there
};

/// Reads a segment from its begin. Holds at most the heads of one batch (4 MiB) and 64 KiB of data,
/// whatever the file says. Total: any bytes may be given. Functions throw std::bad_alloc. One
/// thread at a time.
class libraft_segment_reader {
 public:
  /// @param from outlives this
  explicit libraft_segment_reader(libraft_file& from);

  /// Nothing in the file says that it was ever written.
  [[nodiscard]] bool is_blank();

  /// Reads on. @returns false: there is no whole batch here, see end_of_*(), or error()
  [[nodiscard]] bool next();
  /// Of the batch that next() has read.
  [[nodiscard]] const std::vector<libraft_entry_head>& entries() const noexcept { return heads_; }
  /// Where the batch begins.
  [[nodiscard]] std::uint64_t begin() const noexcept { return begin_; }

  /// After next() said no. @param expected_entries as the name says; @param found what was read
  [[nodiscard]] libraft_segment_end end_of_closed(std::uint64_t expected_entries,
                                                  std::uint64_t found);
  /// After next() said no. @param newest the highest term that an entry may have
  /// @param one_batch_a_write what is behind a broken batch was written after it
  [[nodiscard]] libraft_segment_end end_of_open(std::uint64_t newest, bool one_batch_a_write);

  /// Of reading. Everything else is meaningless then.
  [[nodiscard]] std::error_code error() const noexcept { return error_; }

 private:
  enum class state : std::uint8_t {
    whole,
    wrong_format,
    no_preamble,   // fewer bytes are left than it has
    bad_count,     // 0, or more than libraft takes
    heads_end,     // the file ends in them
    bad_heads,     // their check differs
    unknown_type,  // their check is right
    data_ends,     // the file ends in it
    bad_data,      // its check differs
  };

  /// Bytes of the file. Empty: unreadable, see error_. @pre all of them are in the file
  [[nodiscard]] bytes_view bytes_at(std::uint64_t offset, std::size_t count);
  [[nodiscard]] std::uint64_t number_at(std::uint64_t offset);
  [[nodiscard]] state read_batch(std::uint64_t at, std::vector<libraft_entry_head>& into);
  [[nodiscard]] state read_data(std::uint64_t at, std::uint32_t check,
                                std::vector<libraft_entry_head>& of);

  /// The first byte from `from` on that is not zero; `to` if there is none before it.
  [[nodiscard]] std::uint64_t skip_zeros(std::uint64_t from, std::uint64_t to);
  /// Behind the last byte from `from` on that is not zero.
  [[nodiscard]] std::uint64_t end_of_data(std::uint64_t from);
  [[nodiscard]] std::uint64_t end_of_sector(std::uint64_t at) const noexcept;
  /// A sector that begins before `to` has nothing but zeros, as far as it is behind `from`.
  [[nodiscard]] bool has_zero_sector(std::uint64_t from, std::uint64_t to);
  /// A batch larger than a segment is written beyond what was allocated, as the first one there.
  [[nodiscard]] bool may_end_early() const noexcept;
  [[nodiscard]] bool heads_may_be_torn(std::uint64_t newest);
  [[nodiscard]] bool head_may_be(const libraft_entry_head& head, std::uint64_t newest) const;
  /// A whole batch that begins from `from` on; 0: there is none.
  [[nodiscard]] std::uint64_t find_batch(std::uint64_t from, std::uint64_t to,
                                         std::uint64_t newest);
  [[nodiscard]] libraft_segment_end torn_or_damaged(std::uint64_t newest, bool one_batch_a_write);
  [[nodiscard]] const char* what_broke() const noexcept;

  libraft_file& file_;
  const std::uint64_t size_;
  std::vector<std::byte> window_;
  std::uint64_t window_at_ = 0;
  std::size_t window_used_ = 0;
  std::vector<libraft_entry_head> heads_;
  std::uint64_t last_term_ = 0;  // of the last entry that was read
  std::uint64_t begin_ = 0;
  std::uint64_t next_ = libraft_format_bytes;
  std::uint64_t reached_ = 0;  // the end of the batch at next_, as far as it is known
  state state_ = state::whole;
  std::error_code error_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/log_segment.ipp"  // IWYU pragma: keep
#endif
