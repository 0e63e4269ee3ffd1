/// @file
/// Bodies of libraft_io: what stands between the engine and each function of its disk.
#pragma once

#include "quorlite/detail/libraft/io.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/messages.hpp"
#include "quorlite/detail/libraft/open_segments.hpp"
#include "quorlite/detail/libraft/unclosed_segments.hpp"
#include "quorlite/detail/libraft/votes.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// A snapshot that came from another server. `work` is first and found by its address, for the
/// fixture of the engine overwrites its data.
struct libraft_io::install {
  raft_io_async_work work;
  libraft_io* owner;
  raft_io_snapshot_put* asked;
  const raft_snapshot* snapshot;
  raft_io_snapshot_put request;
  std::uint64_t note;  // the number of its announcement
};

/// Found by its address, like an install. Made once: there may be no memory later.
struct libraft_io::end_write {
  raft_io_async_work work{};
  libraft_io* owner = nullptr;
  libraft_open_segments segments;
  bool under_way = false;
  bool look_again = true;      // though there is nothing to write
  std::uint64_t unclosed = 0;  // the number of a segment that could not be closed; 0: none was seen
  bool removed = false;        // the file, or the folder with it
  raft_time began = 0;         // the last one
  std::uint64_t errors = 0;    // of all
};

/// What the engine calls in place of the functions of its raft_io.
struct libraft_io::hooks {
  static_assert(std::is_standard_layout_v<install> && std::is_standard_layout_v<end_write>);

  [[nodiscard]] static libraft_io& of(const raft_io* io) noexcept {
    return *static_cast<libraft_io*>(static_cast<::raft*>(io->data)->data);
  }

  // ---- the start

  static int on_load(raft_io* io, raft_term* term, raft_id* vote, raft_snapshot** snapshot,
                     raft_index* start, raft_entry* entries[], std::size_t* count) noexcept {
    libraft_io& self = of(io);
    const int code = self.inner_.load(io, term, vote, snapshot, start, entries, count);
    if (code != 0) {
      return code;
    }
    history_position applied;
    int refused = self.end_.load(*term, *vote, applied);
    if (refused == 0 && *snapshot != nullptr) {
      refused = self.members_.keep(**snapshot);
    }
    if (refused == 0 &&
        !self.listener_->log_loaded({*snapshot, *start, {*entries, *count}, applied})) {
      refused = RAFT_CORRUPT;
    }
    if (refused != 0) {
      free_loaded(*snapshot, *entries, *count);
    }
    return refused;
  }

  /// As the engine would, of entries that come in pieces of several.
  static void free_loaded(raft_snapshot* snapshot, raft_entry* entries,
                          std::size_t count) noexcept {
    const void* freed = nullptr;
    for (std::size_t i = 0; i < count; ++i) {
      if (entries[i].batch == nullptr) {
        raft_free(entries[i].buf.base);
      } else if (entries[i].batch != freed) {
        freed = entries[i].batch;
        raft_free(entries[i].batch);
      }
    }
    raft_free(entries);
    if (snapshot != nullptr) {
      raft_configuration_close(&snapshot->configuration);
      libraft_free_buffers(snapshot->bufs, snapshot->n_bufs);
      raft_free(snapshot);
    }
  }

  // ---- time

  /// The log was read, and the members are known; right after this a voter that is alone leads.
  static int on_start(raft_io* io, unsigned tick_ms, raft_io_tick_cb tick,
                      raft_io_recv_cb receive) noexcept {
    libraft_io& self = of(io);
    self.tick_ = tick;
    self.receive_ = receive;
    if (const int code = libraft_separate_entries(self.engine_->log); code != 0) {
      return code;
    }
    self.members_.begin();
    if (!self.listener_->members_loaded()) {
      return RAFT_INVALID;
    }
    const int code = self.is_alone() ? self.begin_term() : 0;
    return code != 0 ? code : self.inner_.start(io, tick_ms, on_tick, on_receive);
  }
  static void on_tick(raft_io* io) noexcept {
    libraft_io& self = of(io);
    if (self.closing_) {
      self.close_disk();
      return;
    }
    if (self.noted(self.members_.follow()) != 0) {
      return;
    }
    self.hold_election();
    const bool leads = self.is_about_to_lead_alone();
    if (!leads || (self.members_.are_stored() && self.begin_term() == 0)) {
      self.tick_(io);
    }
    self.write_end_sometimes();
  }

  // ---- messages

  static void on_receive(raft_io* io, raft_message* message) noexcept {
    libraft_io& self = of(io);
    if (self.closing_ || self.noted(self.members_.follow()) != 0) {
      libraft_drop(*message);
      return;
    }
    const bool is_called = message->type == RAFT_IO_TIMEOUT_NOW;
    if (is_called && (self.is_alone() || self.is_installing_)) {
      return;  // it would lead at once, in the term of who sent this; so it waits for its time
    }
    if (self.failed_ || libraft_asks_for_second_vote(*self.engine_, *message)) {
      libraft_drop(*message);
      return;
    }
    libraft_hold_answer(*self.engine_, *message);
    const raft_index below_ours = libraft_trim(*self.engine_, *message);
    libraft_shorten(*message);
    if ((self.taking_ != nullptr || self.notes_.is_replacing()) &&
        libraft_conflicts(*self.engine_, *message)) {
      libraft_drop(*message);
      return;
    }
    // What is dropped must not be noted: an answer would vouch for entries that we do not have.
    if (!self.listener_->admits(*message)) {
      libraft_drop(*message);
      return;
    }
    if (self.is_installing_ && message->type == RAFT_IO_APPEND_ENTRIES) {
      libraft_shed_entries(message->append_entries);
    }
    self.agreement_.note(*message);
    if (below_ours != 0) {
      self.agreement_.note_below(*message, below_ours);
    }
    {
      const libraft_voter_for_a_message votes(*self.engine_, *message);
      self.receive_(io, message);
    }
    self.listener_->received();
  }

  /// A message on its way to another server.
  struct sent {
    raft_io_send request;
    raft_io_send* asked;  // none: the engine wants no answer
  };

  /// Entries that could not be sent are lost on the way, as far as the engine is told. If it knew,
  /// it would begin again behind the last entry that this follower acknowledged to *this* leader:
  /// for a new leader, with the first one. That is gone, so the engine sends its snapshot instead;
  /// a follower with a newer one of its own takes that for a success but has no entry before its
  /// own, so it refuses what comes next, and so on for ever. A lost message costs a heartbeat: the
  /// follower then says what it has.
  static int on_send(raft_io* io, raft_io_send* asked, const raft_message* message,
                     raft_io_send_cb answer) noexcept {
    libraft_io& self = of(io);
    if (message->type == RAFT_IO_APPEND_ENTRIES_RESULT) {
      if (message->server_id == 0) {
        return RAFT_NOCONNECTION;  // the leader who sent the snapshot was given up meanwhile
      }
      raft_message told = *message;
      self.agreement_.cap(told);
      return self.inner_.send(io, asked, &told, answer);
    }
    if (message->type == RAFT_IO_REQUEST_VOTE_RESULT) {
      raft_message told = *message;
      libraft_tell_term(*self.engine_, told);
      return self.inner_.send(io, asked, &told, answer);
    }
    if (message->type != RAFT_IO_APPEND_ENTRIES && answer != nullptr) {
      return self.inner_.send(io, asked, message, answer);
    }
    // Without an answer it is TimeoutNow, whose request is a part of the transfer: that may be
    // given up, and its memory be gone, before the message was sent.
    asked->cb = answer;
    auto* const one = new sent{{}, answer == nullptr ? nullptr : asked};
    one->request.data = one;
    const int code = self.inner_.send(io, &one->request, message, on_sent);
    if (code != 0) {
      delete one;
    }
    return code;
  }
  static void on_sent(raft_io_send* request, int) noexcept {
    auto* const one = static_cast<sent*>(request->data);
    raft_io_send* const asked = one->asked;
    delete one;
    if (asked != nullptr) {
      asked->cb(asked, 0);
    }
  }

  // ---- writes

  static int on_append(raft_io* io, raft_io_append* asked, const raft_entry entries[], unsigned n,
                       raft_io_append_cb answer) noexcept {
    libraft_io& self = of(io);
    const bool leaders_own =
        self.engine_->state == RAFT_LEADER && n == 1 && entries[0].type == RAFT_COMMAND;
    self.members_.appended(entries, n);
    return self.writes_.append(asked, entries, n, answer, leaders_own);
  }

  static int on_truncate(raft_io* io, raft_index index) noexcept {
    libraft_io& self = of(io);
    self.members_.cut(index);
    self.writes_.hand_over();
    using step = libraft_log_note::step;
    int code = self.pull_back(index - 1);
    if (code == 0) {
      code = self.notes_.announce({step::truncate, index, 0});
    }
    if (code == 0) {
      code = self.inner_.truncate(io, index);
      const bool has_disk = !self.notes_.directory().empty();
      self.cut_ = code == 0 && has_disk ? self.notes_.announced() : self.cut_;
    }
    return self.noted(code);
  }
  static int on_set_term(raft_io* io, raft_term term) noexcept {
    libraft_io& self = of(io);
    const int code = self.failed_ ? RAFT_IOERR : self.inner_.set_term(io, term);
    if (code == 0) {
      self.members_.leads_no_more();
      self.end_.note_term(term);
    }
    return self.noted(code);
  }
  /// The engine says whom it chose when this has returned: by then it is in both files.
  static int on_set_vote(raft_io* io, raft_id id) noexcept {
    libraft_io& self = of(io);
    const int code = self.failed_ ? RAFT_IOERR : self.inner_.set_vote(io, id);
    return self.noted(code != 0 ? code : self.end_.note_vote(id));
  }

  static int write_end(raft_io_async_work* work) noexcept {
    auto& write = *reinterpret_cast<end_write*>(work);
    write.unclosed = write.segments.look();
    const int code = write.owner->end_.write();
    write.removed = write.owner->end_.is_removed();
    return code;
  }
  /// What it should have said is a lower bound: the server goes on with an older one. Where more
  /// hangs on it, before a cut and for a vote, an error ends the engine.
  static void on_end_written(raft_io_async_work* work, int status) noexcept {
    auto& write = *reinterpret_cast<end_write*>(work);
    write.under_way = false;
    libraft_io& self = *write.owner;
    write.errors += status == 0 || self.closing_ ? 0 : 1;
    // A disk that is being closed removes what it had made, so a look says nothing then.
    if (write.unclosed != 0 && !self.closing_ && !self.failed_) {
      libraft_unclosed_segments::set_aside(self.notes_.directory(), write.unclosed);
      self.why_ = "a segment of the log could not be closed: see that the disk works and has room, "
                  "then start this server again";
      self.fail(RAFT_IOERR);
    }
    if (write.removed && !self.closing_ && !self.failed_) {
      self.why_ =
          "its folder, or log_end in it, was removed while it ran, and what it writes may be "
          "gone: stop it, and bring the folder back";
      self.give_up(RAFT_IOERR);
    }
  }

  // ---- snapshots

  static int on_snapshot_put(raft_io* io, unsigned trailing, raft_io_snapshot_put* asked,
                             const raft_snapshot* snapshot,
                             raft_io_snapshot_put_cb answer) noexcept {
    libraft_io& self = of(io);
    if (self.closing_) {
      return RAFT_CANCELED;
    }
    if (trailing != 0) {
      if (const int code = self.members_.keep(*snapshot); code != 0) {
        return code;
      }
      self.writes_.hand_over();  // what it is made of is on the disk before it
      asked->cb = answer;
      self.taken_.data = &self;
      self.taking_ = asked;
      const int code = self.inner_.snapshot_put(io, trailing, &self.taken_, snapshot, on_taken);
      if (code != 0) {
        self.taking_ = nullptr;
      }
      return code;
    }
    // One that came: it is verified beside the loop, and before it takes the place of the log.
    auto* const one = new install{{nullptr, prepare, nullptr}, &self, asked, snapshot, {}, 0};
    self.is_installing_ = true;
    asked->cb = answer;
    int code = self.members_.replace(*snapshot);
    if (code == 0) {
      code = self.inner_.async_work(io, &one->work, on_prepared);
    }
    if (code != 0) {
      self.refuse(one, code);
    }
    return 0;  // an error would leave the engine with an empty log that it takes for the snapshot
  }

  static void on_taken(raft_io_snapshot_put* request, int status) noexcept {
    raft_io_snapshot_put* const asked =
        std::exchange(static_cast<libraft_io*>(request->data)->taking_, nullptr);
    // What it made needless is gone, and with it the gap that a start would see.
    static_cast<libraft_io*>(request->data)->end_write_->look_again = true;
    static_cast<libraft_io*>(request->data)->end_write_->began = 0;
    asked->cb(asked, status);
  }

  static int prepare(raft_io_async_work* work) noexcept {
    const install& one = *reinterpret_cast<install*>(work);
    return one.owner->listener_->prepare_restore(one.snapshot->bufs[0]);
  }

  static void on_prepared(raft_io_async_work* work, int status) noexcept {
    auto* const one = reinterpret_cast<install*>(work);
    libraft_io& self = *one->owner;
    if (self.closing_) {
      finish(one);
      return;
    }
    if (status == 0) {
      self.writes_.hand_over();
      status = self.pull_back(0);
    }
    if (status == 0) {
      using step = libraft_log_note::step;
      status = self.notes_.announce({step::install, one->snapshot->index, one->snapshot->term});
      one->note = self.notes_.announced();
    }
    if (status == 0) {
      one->request.data = one;
      status =
          self.inner_.snapshot_put(self.engine_->io, 0, &one->request, one->snapshot, on_installed);
    }
    if (status != 0) {
      self.refuse(one, status);
    }
  }

  static void on_installed(raft_io_snapshot_put* request, int status) noexcept {
    auto* const one = static_cast<install*>(request->data);
    libraft_io& self = *one->owner;
    raft_io_snapshot_put* const asked = one->asked;
    if (status == 0) {
      status = self.notes_.done(one->note);
    }
    if (status != 0 && !self.closing_) {
      // The engine would take its empty log for the snapshot, and acknowledge what comes behind it.
      self.fail(status);
      self.refused_ = one;  // answered when it is closed
      return;
    }
    self.is_installing_ = false;
    delete one;
    asked->cb(asked, status);
  }

  // ---- the end

  /// What waits is handed over if it may tell of the end of a cut: what the log is cut for comes
  /// right behind it.
  static void on_close(raft_io* io, raft_io_close_cb answer) noexcept {
    libraft_io& self = of(io);
    self.note_end();  // of what comes yet, nobody hears
    self.closing_ = true;
    if (self.cut_ != 0) {
      self.writes_.hand_over();
    }
    self.writes_.close();
    self.closed_ = answer;
    self.close_disk();
  }

  /// The disk gives nothing back any more: what it owes is answered here.
  static void on_disk_closed(raft_io* io) noexcept {
    libraft_io& self = of(io);
    if (self.end_.has_begun() && !self.failed_) {
      static_cast<void>(self.end_.write());  // if it cannot be, it knows less than it could
    }
    on_closed(io);
  }

  static void on_closed(raft_io* io) noexcept {
    libraft_io& self = of(io);
    self.writes_.answer_all();
    if (self.refused_ != nullptr) {
      finish(std::exchange(self.refused_, nullptr));
    }
    self.closed_(io);
  }
};

QUORLITE_DECL libraft_io::libraft_io(const std::string& directory, std::size_t segment_bytes)
    : segment_bytes_(segment_bytes),
      batch_bytes_(segment_bytes - libraft_format_bytes - libraft_preamble_bytes),
      notes_(directory),
      end_(directory),
      end_write_(new end_write{.owner = this, .segments = libraft_open_segments(directory)}) {}

QUORLITE_DECL void libraft_io::attach(::raft& engine, libraft_io_listener& listener) noexcept {
  QUORLITE_ASSERT(engine_ == nullptr && engine.io->async_work != nullptr);
  engine_ = &engine;
  agreement_.attach(engine);
  members_.attach(engine);
  listener_ = &listener;
  inner_ = *engine.io;
  engine.data = this;
  writes_.attach(*engine.io, inner_, batch_bytes_, *this);
  engine.io->load = hooks::on_load;
  engine.io->start = hooks::on_start;
  engine.io->send = hooks::on_send;
  engine.io->append = hooks::on_append;
  engine.io->truncate = hooks::on_truncate;
  engine.io->set_term = hooks::on_set_term;
  engine.io->set_vote = hooks::on_set_vote;
  engine.io->snapshot_put = hooks::on_snapshot_put;
  engine.io->close = hooks::on_close;
}

QUORLITE_DECL libraft_io::~libraft_io() {
  for (void* const memory : buried_) {
    raft_free(memory);
  }
}

/// First how far it goes, then that this is kept.
QUORLITE_DECL int libraft_io::begin() noexcept {
  const raft_index last = engine_->last_stored;
  const int code = end_.begin(last, libraft_term_at(engine_->log, last).value);
  return code != 0 ? code : notes_.begin();
}

QUORLITE_DECL std::uint64_t libraft_io::end_errors() const noexcept { return end_write_->errors; }

QUORLITE_DECL void libraft_io::close_disk() noexcept {
  if (cut_ == 0 && !std::exchange(disk_closing_, true)) {
    inner_.close(engine_->io, hooks::on_disk_closed);
  }
}

QUORLITE_DECL bool libraft_io::close_late() noexcept {
  const bool is_open = !disk_closing_;
  cut_ = 0;
  close_disk();
  return is_open;
}

QUORLITE_DECL void libraft_io::close_now() noexcept { hooks::on_closed(engine_->io); }

QUORLITE_DECL bool libraft_io::is_alone() const noexcept {
  const raft_configuration& members = engine_->configuration;
  unsigned voters = 0;
  bool votes = false;
  for (unsigned i = 0; i < members.n; ++i) {
    const bool is_voter = members.servers[i].role == RAFT_VOTER;
    voters += is_voter ? 1U : 0U;
    votes = votes || (is_voter && members.servers[i].id == engine_->id);
  }
  return votes && voters == 1;
}

QUORLITE_DECL void libraft_io::hold_election() noexcept {
  if (is_installing_ && engine_->state == RAFT_FOLLOWER && libraft_is_voter(*engine_)) {
    libraft_forget_silent_leader(*engine_);
  }
}

QUORLITE_DECL bool libraft_io::is_about_to_lead_alone() const noexcept {
  return engine_->state == RAFT_FOLLOWER && is_alone() &&
         engine_->io->time(engine_->io) - engine_->election_timer_start >=
             engine_->follower_state.randomized_election_timeout;
}

QUORLITE_DECL int libraft_io::begin_term() noexcept {
  const raft_term next = engine_->current_term + 1;
  const int code = noted(inner_.set_term(engine_->io, next));
  if (code == 0) {
    engine_->current_term = next;
    engine_->voted_for = 0;
    end_.note_term(next);
  }
  return code;
}

/// While something is replaced nothing is told, for what stands behind it may go with it.
QUORLITE_DECL void libraft_io::note_end() noexcept {
  if (end_.has_begun() && !failed_ && !notes_.is_replacing()) {
    const raft_index last = engine_->last_stored;
    end_.advance(last, libraft_term_at(engine_->log, last).value, listener_->applied());
  }
}

QUORLITE_DECL int libraft_io::pull_back(raft_index to) noexcept {
  return end_.pull_back(to, libraft_term_at(engine_->log, to).value);
}

QUORLITE_DECL void libraft_io::write_end_sometimes() noexcept {
  constexpr raft_time pause_ms = 500;  // with a heartbeat and the write itself: below a second
  if (!end_.has_begun() || end_write_->under_way || failed_ || closing_) {
    return;
  }
  const raft_time now = engine_->io->time(engine_->io);
  if (now - end_write_->began < pause_ms) {
    return;
  }
  end_write_->began = now;
  note_end();
  if (!end_.has_changed() && !end_write_->look_again) {
    return;
  }
  end_write_->work = {nullptr, hooks::write_end, nullptr};
  end_write_->under_way = true;
  if (inner_.async_work(engine_->io, &end_write_->work, hooks::on_end_written) != 0) {
    end_write_->under_way = false;  // memory is short: the next time
    return;
  }
  end_write_->look_again = false;
}

QUORLITE_DECL void libraft_io::fail(int code) noexcept {
  const std::string& folder = notes_.directory();
  const bool is_full =
      code == RAFT_IOERR && !folder.empty() && !libraft_gets_room(folder, segment_bytes_);
  give_up(is_full ? RAFT_NOSPACE : code);
}

QUORLITE_DECL void libraft_io::give_up(int code) noexcept {
  failed_ = true;
  writes_.halt();
  listener_->disk_failed(code);
}

/// Of a candidate that was called to lead and cannot write its term or its vote, 0.15 makes a
/// follower, and looks for the address of its leader where the candidate had `disrupt_leader`.
QUORLITE_DECL int libraft_io::noted(int code) noexcept {
  if (code != 0 && !failed_) {
    fail(code);
  }
  if (code != 0 && engine_->state == RAFT_CANDIDATE) {
    engine_->candidate_state.disrupt_leader = false;
  }
  return code;
}

QUORLITE_DECL void libraft_io::refuse(install* one, int code) noexcept {
  refused_ = one;  // answered when it is closed; the engine installs one at a time
  listener_->restore_failed(code);
}

QUORLITE_DECL void libraft_io::finish(install* one) noexcept {
  one->asked->cb(one->asked, RAFT_CANCELED);
  delete one;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
