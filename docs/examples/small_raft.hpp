/// @file
/// A small Raft with threads, for small_raft_adapter.hpp to adapt: an engine as one finds them,
/// with words, habits and traps of its own. It knows nothing of SQL and nothing of quorlite. Its
/// servers are in one process; messages can be held up; what one writes stays in its `disk`.
///
/// All callbacks come on the server's thread with its lock held: never call the engine from inside.
/// "I lead" is said at the election, before older entries are committed. A term begins with a blank
/// entry. There are no snapshots of the engine's own: who cannot be served from the log is sent the
/// user's, in pieces.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace small_raft {

using steady = std::chrono::steady_clock;
using number = std::uint64_t;

struct place {
  number index = 0;
  number term = 0;
};

struct entry {
  number term = 0;
  bool blank = false;  ///< the engine's own
  std::string data;
};

/// What a server has written. Outlives it; one server at a time.
struct disk {
  number term = 0;
  std::size_t voted_for = SIZE_MAX;
  place base;  ///< the log begins after it
  std::deque<entry> log;
};

/// What a leader reads a snapshot from, on its thread.
struct snapshot_source {
  virtual ~snapshot_source() = default;
  virtual place at() = 0;
  virtual number size() = 0;
  virtual bool read(number offset, std::string& into) = 0;  ///< fills all of it
};

/// The user's side. On the server's thread, under its lock.
struct user {
  virtual void leads(number term) = 0;
  virtual void follows(number term, std::optional<std::size_t> leader) = 0;
  virtual void committed(place at, const entry& what) = 0;
  virtual std::unique_ptr<snapshot_source> snapshot() = 0;  ///< null: not now
  /// A piece of somebody's snapshot; `offset` 0 begins a new one. @returns false: all of it again
  virtual bool receive(number offset, const std::string& piece) = 0;
  /// That was all of it, and the log begins after it now. @returns false: all of it again
  virtual bool received(place at) = 0;

 protected:
  ~user() = default;
};

enum class kind { ask_vote, vote, log, log_reply, piece, piece_reply, lead_now, nudge };

struct message {
  kind what = kind::nudge;
  std::size_t from = 0;
  number term = 0;
  bool yes = false;              ///< vote: granted; log_reply, piece_reply: taken
  bool trial = false;            ///< ask_vote, vote: would you?
  place at{};                    ///< of the entry before; of the last entry; of the snapshot
  number commit = 0;             ///< log
  std::vector<entry> entries{};  ///< log
  number offset = 0;             ///< piece
  bool last = false;             ///< piece
  bool lacks_snapshot = false;   ///< log_reply: its user stands below its log
  std::string bytes{};           ///< piece
};

class network {
 public:
  explicit network(std::size_t servers) : boxes_(servers) {}

  void send(std::size_t to, message what) {
    const std::lock_guard guard(mutex_);
    if ((!boxes_[what.from].cut && !boxes_[to].cut) || what.from == to) {
      boxes_[to].inbox.push_back(std::move(what));
      wake_.notify_all();
    }
  }
  std::optional<message> receive(std::size_t at, steady::time_point until) {
    std::unique_lock lock(mutex_);
    std::deque<message>& inbox = boxes_[at].inbox;
    if (!wake_.wait_until(lock, until, [&] { return !inbox.empty(); })) {
      return {};
    }
    message first = std::move(inbox.front());
    inbox.pop_front();
    return first;
  }
  void clear(std::size_t at) {
    const std::lock_guard guard(mutex_);
    boxes_[at].inbox.clear();
  }
  void cut(std::size_t server, bool off) {
    const std::lock_guard guard(mutex_);
    boxes_[server].cut = off;
  }
  [[nodiscard]] std::size_t size() const { return boxes_.size(); }

 private:
  struct box {
    std::deque<message> inbox;
    bool cut = false;
  };
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<box> boxes_;
};

class server {
 public:
  server(std::size_t id, network& net, disk& own)
      : id_(id), net_(net), disk_(own), peers_(net.size()), random_(static_cast<unsigned>(id)) {}
  ~server() { stop(); }

  /// @param applied up to where the user needs no entries
  void start(user& told, number applied) {
    const std::lock_guard guard(mutex_);
    net_.clear(id_);
    user_ = &told;
    applied_ = commit_ = applied;
    role_ = role::follower;
    leader_.reset();
    retired_ = false;
    piece_at_ = 0;
    running_ = true;
    wait_for_leader();
    thread_ = std::thread([this] { live(); });
  }
  /// On return no callback runs. May be started again.
  void stop() {
    {
      const std::lock_guard guard(mutex_);
      running_ = false;
    }
    net_.send(id_, nudge());
    if (thread_.joinable()) {
      thread_.join();
    }
  }

  /// Nothing: it does not lead in `term`, or could not write; nothing was appended.
  std::optional<place> append(number term, std::string data) {
    const std::lock_guard guard(mutex_);
    if (!running_ || role_ != role::leader || disk_.term != term ||
        std::exchange(write_fails_, false)) {
      return {};
    }
    disk_.log.push_back({term, false, std::move(data)});
    net_.send(id_, nudge());
    return last();
  }
  /// Drops entries up to `index`, as far as the user has them.
  void forget(number index) {
    const std::lock_guard guard(mutex_);
    index = std::min(index, applied_);
    if (index > disk_.base.index) {
      cut_to({index, term_at(index)});
    }
  }
  /// Gives leadership to whoever has all of the log.
  void hand_over() {
    const std::lock_guard guard(mutex_);
    wants_successor_ = true;
    net_.send(id_, nudge());
  }
  /// It leads no more, having handed over if somebody has all of its log, and says nothing to
  /// anybody until it is started again. From callbacks too.
  void retire() {
    retired_ = true;
    net_.send(id_, nudge());
  }
  void fail_next_write() {
    const std::lock_guard guard(mutex_);
    write_fails_ = true;
  }

 private:
  enum class role { follower, trial, candidate, leader };
  struct peer {
    number next = 1;
    number match = 0;
    bool votes = false;
    std::unique_ptr<snapshot_source> source{};
    number offset = 0;
    bool waits = false;  // for the answer to a message
    int beats = 0;       // since it waits
  };
  static constexpr std::chrono::milliseconds beat{10};
  static constexpr std::size_t piece_bytes = 1024;

  // ---- the thread

  void live() {
    for (;;) {
      std::optional<message> got = net_.receive(id_, next_);
      const std::lock_guard guard(mutex_);
      if (!running_) {
        return;
      }
      step_aside();
      if (got && got->what != kind::nudge && !retired_) {
        hear(*got);
        step_aside();
      }
      if (steady::now() >= next_) {
        role_ == role::leader ? beat_now() : campaign(true);
      }
      if (role_ == role::leader) {
        replicate();
      }
      tell_committed();
    }
  }

  void tell_committed() {
    while (!retired_ && applied_ >= disk_.base.index &&
           applied_ < std::min(commit_, last().index)) {
      ++applied_;
      user_->committed({applied_, term_at(applied_)}, at(applied_));
    }
  }

  // ---- the log

  [[nodiscard]] place last() const {
    const number index = disk_.base.index + disk_.log.size();
    return {index, disk_.log.empty() ? disk_.base.term : disk_.log.back().term};
  }
  [[nodiscard]] const entry& at(number index) const {
    return disk_.log[static_cast<std::size_t>(index - disk_.base.index - 1)];
  }
  [[nodiscard]] number term_at(number index) const {
    return index == disk_.base.index ? disk_.base.term : at(index).term;
  }
  void cut_to(place base) {
    const auto count = static_cast<std::ptrdiff_t>(base.index - disk_.base.index);
    disk_.log.erase(disk_.log.begin(), disk_.log.begin() + count);
    disk_.base = base;
  }
  [[nodiscard]] bool has(number index) const {
    return index >= disk_.base.index && index <= last().index;
  }

  // ---- roles

  void wait_for_leader() { next_ = steady::now() + std::chrono::milliseconds(60 + random_() % 60); }
  void enter(number term) {  // a term that somebody else began
    disk_.term = term;
    disk_.voted_for = SIZE_MAX;
    follow({});
  }
  void follow(std::optional<std::size_t> leader) {
    if (role_ == role::leader || leader_ != leader) {
      user_->follows(disk_.term, leader);
    }
    role_ = role::follower;
    leader_ = leader;
    wait_for_leader();
  }
  void campaign(bool trial) {
    wait_for_leader();
    if (retired_ || applied_ < disk_.base.index) {
      return;  // it could not apply what it would append
    }
    leader_.reset();
    role_ = trial ? role::trial : role::candidate;
    if (!trial) {
      ++disk_.term;
      disk_.voted_for = id_;
    }
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      peers_[i].votes = i == id_;
      tell(i, {.what = kind::ask_vote, .trial = trial, .at = last()});
    }
    count_votes();
  }
  void count_votes() {
    const auto votes =
        std::count_if(peers_.begin(), peers_.end(), [](const peer& one) { return one.votes; });
    if (static_cast<std::size_t>(votes) <= peers_.size() / 2) {
      return;
    }
    if (role_ == role::trial) {
      return campaign(false);
    }
    role_ = role::leader;
    leader_ = id_;
    wants_successor_ = false;
    for (peer& one : peers_) {
      one = {.next = last().index + 1};
    }
    disk_.log.push_back({disk_.term, true, {}});
    user_->leads(disk_.term);
    beat_now();
  }
  void step_aside() {
    if (role_ != role::leader || (!retired_ && !wants_successor_)) {
      return;
    }
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      if (i != id_ && peers_[i].match == last().index) {
        tell(i, {.what = kind::lead_now});
        wants_successor_ = false;
        return follow({});
      }
    }
    if (retired_) {
      follow({});
    }
  }

  // ---- messages

  void tell(std::size_t to, message what) {
    if (to != id_) {
      what.from = id_;
      what.term = disk_.term;
      net_.send(to, std::move(what));
    }
  }
  [[nodiscard]] message nudge() const { return {.what = kind::nudge, .from = id_}; }

  void hear(message& got) {
    if (got.term > disk_.term && !(got.what == kind::ask_vote && got.trial)) {
      enter(got.term);
    }
    switch (got.what) {
      case kind::ask_vote: return vote(got);
      case kind::vote:
        if (got.yes && role_ == (got.trial ? role::trial : role::candidate) &&
            (got.trial || got.term == disk_.term)) {
          peers_[got.from].votes = true;
          count_votes();
        }
        return;
      case kind::log:
      case kind::piece:
        if (got.term < disk_.term) {
          return tell(got.from, {.what = kind::log_reply});
        }
        follow(got.from);
        return got.what == kind::log ? take_entries(got) : take_piece(got);
      case kind::log_reply: return role_ == role::leader ? note_reply(got) : void();
      case kind::piece_reply: return role_ == role::leader ? note_piece(got) : void();
      case kind::lead_now: return got.term == disk_.term ? campaign(false) : void();
      case kind::nudge: return;
    }
  }
  void vote(const message& got) {
    const place mine = last();
    const bool whole =
        got.at.term > mine.term || (got.at.term == mine.term && got.at.index >= mine.index);
    if (got.trial) {
      const bool yes = whole && got.term >= disk_.term && !leader_;
      return tell(got.from, {.what = kind::vote, .yes = yes, .trial = true});
    }
    const bool yes = whole && got.term == disk_.term &&
                     (disk_.voted_for == SIZE_MAX || disk_.voted_for == got.from);
    if (yes) {
      disk_.voted_for = got.from;
      wait_for_leader();
    }
    tell(got.from, {.what = kind::vote, .yes = yes});
  }

  // ---- a follower's side

  void take_entries(message& got) {
    message reply{.what = kind::log_reply, .lacks_snapshot = applied_ < disk_.base.index};
    if (got.at.index < disk_.base.index || !has(got.at.index) ||
        term_at(got.at.index) != got.at.term) {
      reply.at.index = std::min(last().index, got.at.index == 0 ? 0 : got.at.index - 1);
      reply.at.index = std::max(reply.at.index, disk_.base.index);
      return tell(got.from, reply);
    }
    number index = got.at.index;
    for (entry& one : got.entries) {
      ++index;
      if (has(index) && term_at(index) != one.term) {
        disk_.log.resize(static_cast<std::size_t>(index - 1 - disk_.base.index));
      }
      if (!has(index)) {
        disk_.log.push_back(std::move(one));
      }
    }
    commit_ = std::max(commit_, std::min(got.commit, index));
    reply.yes = true;
    reply.at.index = index;
    tell(got.from, reply);
  }
  void take_piece(const message& got) {
    if (got.offset != 0 && got.offset < piece_at_) {  // twice: the answer was lost
      return tell(got.from, {.what = kind::piece_reply, .yes = true, .offset = piece_at_});
    }
    bool well =
        (got.offset == 0 || got.offset == piece_at_) && user_->receive(got.offset, got.bytes);
    piece_at_ = well ? got.offset + got.bytes.size() : 0;
    if (well && got.last) {
      well = user_->received(got.at);
      piece_at_ = 0;
    }
    if (well && got.last && got.at.index > disk_.base.index) {
      if (has(got.at.index) && term_at(got.at.index) == got.at.term) {
        cut_to(got.at);
      } else {
        disk_.log.clear();
        disk_.base = got.at;
      }
      applied_ = std::max(applied_, got.at.index);
      commit_ = std::max(commit_, got.at.index);
    }
    tell(got.from, {.what = kind::piece_reply,
                    .yes = well,
                    .at = got.at,
                    .offset = got.offset + got.bytes.size(),
                    .last = got.last});
  }

  // ---- a leader's side

  void beat_now() {
    next_ = steady::now() + beat;
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      peer& one = peers_[i];
      const int lost_after = one.source != nullptr ? 20 : 1;
      if (++one.beats >= lost_after) {
        send_next(i);
      }
    }
  }
  void replicate() {
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      const peer& one = peers_[i];
      if (!one.waits && (one.source != nullptr || one.next <= last().index)) {
        send_next(i);
      }
    }
    peers_[id_].match = last().index;
    std::vector<number> held;
    for (const peer& one : peers_) {
      held.push_back(one.match);
    }
    std::sort(held.rbegin(), held.rend());
    const number quorum_has = held[peers_.size() / 2];
    if (quorum_has > commit_ && term_at(quorum_has) == disk_.term) {
      commit_ = quorum_has;
    }
  }
  void send_next(std::size_t to) {
    peer& one = peers_[to];
    one.waits = true;
    one.beats = 0;
    if (to == id_) {
      return;
    }
    if (one.source != nullptr || one.next <= disk_.base.index) {
      return send_piece(to);
    }
    const number before = one.next - 1;
    message out{.what = kind::log, .at = {before, term_at(before)}, .commit = commit_};
    for (number index = one.next; index <= last().index && out.entries.size() < 64; ++index) {
      out.entries.push_back(at(index));
    }
    tell(to, std::move(out));
  }
  void send_piece(std::size_t to) {
    peer& one = peers_[to];
    if (one.source == nullptr) {
      one.source = user_->snapshot();
      one.offset = 0;
    }
    if (one.source == nullptr) {
      return;  // at the next beat, perhaps
    }
    message out{.what = kind::piece, .at = one.source->at(), .offset = one.offset};
    const number left = one.source->size() - one.offset;
    out.bytes.resize(static_cast<std::size_t>(std::min<number>(left, piece_bytes)));
    out.last = out.bytes.size() == left;
    if (!one.source->read(one.offset, out.bytes)) {
      one.source.reset();
      return;
    }
    tell(to, std::move(out));
  }
  void note_reply(const message& got) {
    peer& one = peers_[got.from];
    if (one.source != nullptr) {
      return;  // an old one: a snapshot is on its way
    }
    one.waits = false;
    if (got.lacks_snapshot) {
      one.next = 0;
    } else if (got.yes) {
      one.match = std::max(one.match, got.at.index);
      one.next = one.match + 1;
    } else {
      one.next = got.at.index + 1;
    }
  }
  void note_piece(const message& got) {
    peer& one = peers_[got.from];
    if (one.source == nullptr) {
      return;
    }
    one.waits = false;
    if (!got.yes) {
      one.source.reset();  // from the beginning
    } else if (!got.last) {
      one.offset = std::max(one.offset, got.offset);
    } else {
      one.source.reset();
      one.match = std::max(one.match, got.at.index);
      one.next = one.match + 1;
    }
  }

  const std::size_t id_;
  network& net_;
  disk& disk_;
  user* user_ = nullptr;
  std::mutex mutex_;
  std::thread thread_;
  std::vector<peer> peers_;
  std::mt19937 random_;
  role role_ = role::follower;
  std::optional<std::size_t> leader_;
  steady::time_point next_;  // election, or beat
  number commit_ = 0;
  number applied_ = 0;
  number piece_at_ = 0;  // of the snapshot that comes in
  bool running_ = false;
  std::atomic<bool> retired_{false};
  bool wants_successor_ = false;
  bool write_fails_ = false;
};

}  // namespace small_raft
