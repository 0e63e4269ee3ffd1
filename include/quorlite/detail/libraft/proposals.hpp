/// @file
/// Proposals and barriers on their way through libraft, and the batches that proposals become.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <list>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

class libraft_io;
class libraft_strand;

/// Several commands in one entry of libraft: one disk write and one message for all of them.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 4 | "QLB1"; "QLB2" once the history has begun |
/// | 4 | 4 | check of all other bytes before the commands (FNV-1a, 32 bits) |
/// | 8 | 4 | count of the commands, 1 to 65535 |
/// | 12 | 4 | bytes of all commands together |
/// | 16 | 8 | in "QLB2" only: the index of libraft under which this entry was written |
/// | … | 4 × count | size of each command, 0 or more |
/// | … | | the commands, back to back |
/// | … | 0 to 7 | zeros, to a multiple of 8: libraft sends entries without any padding of its own |
///
/// Numbers are little-endian. Each command of a batch has a log index of its own (strand.hpp).
///
/// The index is known when the entry is made, on the loop of the leader: libraft gives it the next
/// one at once, or refuses it. It holds on every server, for one entry has one index in all logs.
/// An entry that is found under another one has lost some before it, or came to a log that is not
/// its own. The term is not told here: libraft keeps it beside the entry, in the same write.
///
/// Reads a batch. A view: the bytes stay the caller's.
class libraft_batch {
 public:
  static constexpr std::size_t commands_max = 65535;
  static constexpr std::size_t header_bytes = 16;      ///< of one that tells no index
  static constexpr std::size_t header_bytes_max = 24;  ///< of one that tells it

  /// What a batch of `count` commands with `payload` bytes takes in the log. @param entry see
  ///   encode()
  [[nodiscard]] static constexpr std::size_t bytes_for(std::size_t count, std::size_t payload,
                                                       std::uint64_t entry = 0) noexcept {
    return (size_of_header(entry) + 4 * count + payload + 7) / 8 * 8;
  }

  /// Checks every byte that is not a command's. Total: any bytes may be given.
  /// @returns errc::corrupt: damaged, or no batch of ours; there is no telling which
  [[nodiscard]] static result<libraft_batch> decode(bytes_view raw) noexcept;

  /// The count that a header tells; nothing is checked but that it is one.
  /// @param head the first header_bytes_max, or as many as there are
  [[nodiscard]] static std::uint32_t count_in(bytes_view head) noexcept {
    if (head.size() < header_bytes || version_of(head) == 0) {
      return 0;
    }
    const auto count = load_little_endian<std::uint32_t>(head.data() + 8);
    return count <= commands_max ? count : 0;
  }
  /// The index that a header tells, likewise. 0: none.
  [[nodiscard]] static std::uint64_t entry_in(bytes_view head) noexcept {
    return head.size() < header_bytes_max || version_of(head) != 2
               ? 0
               : load_little_endian<std::uint64_t>(head.data() + header_bytes);
  }

  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  /// True if it says nothing else than that it was written under this index of libraft.
  [[nodiscard]] bool may_be_at(std::uint64_t entry) const noexcept {
    const std::uint64_t told = entry_in(raw_);
    return told == 0 || told == entry;
  }

  /// Calls `visit(bytes_view)` for each command in order, until it gives false.
  template <class Visit>
  void for_each(Visit&& visit) const {
    const std::size_t sizes = size_of_header(entry_in(raw_));
    std::size_t place = sizes + 4 * count_;
    for (std::size_t i = 0; i < count_; ++i) {
      const std::size_t size = load_little_endian<std::uint32_t>(raw_.data() + sizes + 4 * i);
      if (!visit(raw_.subspan(place, size))) {
        return;
      }
      place += size;
    }
  }

  /// Fills `into`, which has exactly the bytes that it takes.
  /// @param command_at gives the bytes of the i'th command
  /// @param entry its index of libraft; 0: it is not told
  /// @pre 0 < count <= commands_max, and all of it is below 4 GiB
  template <class CommandAt>
  static void encode(bytes_span into, std::size_t count, CommandAt&& command_at,
                     std::uint64_t entry = 0) noexcept {
    const std::size_t sizes = size_of_header(entry);
    std::size_t place = sizes + 4 * count;
    const std::size_t start = place;
    for (std::size_t i = 0; i < count; ++i) {
      const bytes_view command = command_at(i);
      store_little_endian(into.data() + sizes + 4 * i, static_cast<std::uint32_t>(command.size()));
      if (!command.empty()) {
        std::memcpy(into.data() + place, command.data(), command.size());
      }
      place += command.size();
    }
    std::fill(into.begin() + static_cast<std::ptrdiff_t>(place), into.end(), std::byte{0});
    const std::array<char, 4> magic = magic_of(entry == 0 ? '1' : '2');
    std::memcpy(into.data(), magic.data(), magic.size());
    store_little_endian(into.data() + 8, static_cast<std::uint32_t>(count));
    store_little_endian(into.data() + 12, static_cast<std::uint32_t>(place - start));
    if (entry != 0) {
      store_little_endian(into.data() + header_bytes, entry);
    }
    store_little_endian(into.data() + 4, check_of(into.first(start)));
  }

 private:
  [[nodiscard]] static constexpr std::array<char, 4> magic_of(char version) noexcept {
    return {'Q', 'L', 'B', version};
  }
  [[nodiscard]] static constexpr std::size_t size_of_header(std::uint64_t entry) noexcept {
    return entry == 0 ? header_bytes : header_bytes_max;
  }

  libraft_batch(bytes_view raw, std::size_t count) noexcept : raw_(raw), count_(count) {}

  /// 1 or 2; 0: it is no batch. @pre header_bytes
  [[nodiscard]] static int version_of(bytes_view head) noexcept {
    const auto is = [&](char version) {
      const std::array<char, 4> magic = magic_of(version);
      return std::memcmp(head.data(), magic.data(), magic.size()) == 0;
    };
    return is('1') ? 1 : is('2') ? 2 : 0;
  }
  [[nodiscard]] static std::uint32_t check_of(bytes_view head) noexcept {
    return libraft_check(head.subspan(8), libraft_check(head.first(4)));
  }

  bytes_view raw_;
  std::size_t count_;
};

/// One call of propose(), on its way to the loop.
struct libraft_proposal {
  term expected;
  proposal_token token;
  std::size_t size = 0;  ///< of the payload, also while it is not there yet
  bytes payload;
};

/// On the loop, but for admit().
///
/// What is told of a proposal: refused by us or by raft_apply, not_applied; its callback without an
/// error, committed; anything else, unknown.
class libraft_proposals {
 public:
  explicit libraft_proposals(const libraft_options& options);
  libraft_proposals(const libraft_proposals&) = delete;
  libraft_proposals& operator=(const libraft_proposals&) = delete;
  ~libraft_proposals();

  void attach(::raft& engine, libraft_strand& strand, libraft_io& io) noexcept;

  /// Any thread. Counts a proposal's bytes as in flight until it is settled. A large one leaves
  /// some of the log to small ones.
  /// @returns false: there is no room, and nothing was counted
  [[nodiscard]] bool admit(std::size_t size) noexcept;

  /// Takes what came together, and hands on what may be: commands in this order, as many to an
  /// entry as batch_bytes allows, while fewer than batches_in_flight are under way. What has to
  /// wait shares an entry later. Barriers ride on the next entry, or take one of their own.
  /// @param open the term in which leadership was announced; 0: none is
  void submit(term open, std::vector<libraft_proposal> proposals,
              std::vector<proposal_token> barriers) noexcept;

  /// Hands on what waited, if it may now. Not from inside the engine.
  void pump(term open) noexcept;

  /// Appends an entry for nobody, so that the engine looks at its log; unless one is on its way.
  void nudge(term open) noexcept;

  /// From here on batches tell their index: every server that goes on can read that.
  void tell_indices() noexcept { tells_indices_ = true; }
  [[nodiscard]] bool tells_indices() const noexcept { return tells_indices_; }

  /// From here on nothing is handed to the engine, for this reason.
  void close(settle_reason why) noexcept { closed_ = why; }

  /// From here on what is lost is lost for this reason.
  void blame(settle_reason why) noexcept { blame_ = why; }

  /// Settles whatever still waits. Callbacks that come later find nothing to tell.
  void sweep() noexcept;

  /// For proposals that never came here. Any thread.
  void turn_away(const libraft_proposal& one, settle_reason why) noexcept;

  /// Bytes of applied entries that the engine holds; they count against log_bytes.
  void set_log_bytes(std::uint64_t size) noexcept { log_.store(size); }
  /// The log is at its limit: proposals are refused, and barriers that would need an entry.
  [[nodiscard]] bool is_full() const noexcept { return log_.load() + in_flight_.load() > log_max_; }
  /// So near to it that large proposals are refused.
  [[nodiscard]] bool is_crowded() const noexcept;
  /// Any thread.
  [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_.load(); }
  [[nodiscard]] std::uint64_t refused() const noexcept { return refused_.load(); }
  [[nodiscard]] std::uint64_t handed_over() const noexcept { return handed_over_; }
  [[nodiscard]] std::uint64_t batches() const noexcept { return batch_count_; }
  [[nodiscard]] std::uint64_t barriers() const noexcept { return barrier_count_; }

 private:
  struct waiting;  // a proposal that was handed to the engine
  struct batch;    // an entry of proposals, and the barriers that ride on it
  struct barrier;  // an entry of its own
  struct hooks;    // what the engine calls

  /// The fence: an entry is appended in the term that its proposer saw, or not at all.
  [[nodiscard]] settle_reason refusal(term open, term expected) const noexcept;
  [[nodiscard]] settle_reason reason_of(int code) const noexcept;

  void send(const std::vector<libraft_proposal>& together, std::size_t payload,
            std::vector<proposal_token> barriers) noexcept;
  void ask(term open, std::vector<proposal_token> tokens) noexcept;
  void end(batch& one, outcome how, settle_reason why) noexcept;
  void settle_all(batch& one, outcome how, settle_reason why) noexcept;
  void settle_barriers(const std::vector<proposal_token>& tokens, outcome how,
                       settle_reason why) noexcept;
  void settle(const waiting& one, outcome how, settle_reason why) noexcept;

  const std::size_t batch_bytes_;
  const std::size_t batches_max_;
  const std::size_t in_flight_max_;
  const std::uint64_t log_max_;
  ::raft* engine_ = nullptr;
  libraft_strand* strand_ = nullptr;
  libraft_io* io_ = nullptr;
  std::deque<libraft_proposal> queue_;  // wait for a place among the batches
  std::vector<proposal_token> riders_;  // barriers that go with the next of them
  std::list<batch> batches_;
  std::list<barrier> barriers_;
  bool tells_indices_ = false;
  settle_reason closed_ = settle_reason::none;
  settle_reason blame_ = settle_reason::none;
  std::uint64_t handed_over_ = 0;
  std::uint64_t batch_count_ = 0;
  std::uint64_t barrier_count_ = 0;
  std::atomic<std::size_t> in_flight_{0};
  std::atomic<std::uint64_t> log_{0};
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/proposals.ipp"  // IWYU pragma: keep
#endif
