// A disk for servers of libraft's fixture: what was written outlives a crash, what was not is lost,
// and it can fail late. The fixture's own forgets all of that, and has no restart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/detail/libraft/engine.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

enum class disk_failure : std::uint8_t {
  none,
  at_submit,  // refused at once, by the function itself
  late,       // taken, and then reported as failed; nothing is written any more
};

// One server's. Everything happens in poll(), in the order in which it was asked for.
class fixture_disk {
 public:
  explicit fixture_disk(std::uint64_t latency_ms) : latency_ms_(latency_ms) {}
  fixture_disk(const fixture_disk&) = delete;
  fixture_disk& operator=(const fixture_disk&) = delete;
  ~fixture_disk() { all().erase(io_); }

  // Takes the place of the storage of a raft_io.
  void attach(raft_io& io) {
    io_ = &io;
    all()[&io] = this;
    io.load = on_load;
    io.bootstrap = on_bootstrap;
    io.set_term = on_set_term;
    io.set_vote = on_set_vote;
    io.append = on_append;
    io.truncate = on_truncate;
    io.snapshot_put = on_put;
    io.snapshot_get = on_get;
    io.async_work = on_work;
    io.close = on_close;
  }

  // For all that it is asked from now on.
  void set_latency(std::uint64_t ms) noexcept { latency_ms_ = ms; }
  void fail_next_append(disk_failure how) noexcept { failure_ = how; }
  void fail_next_term() noexcept { term_fails_ = true; }
  void fail_next_vote() noexcept { vote_fails_ = true; }
  // From here on no snapshot can be written, or it can again.
  void fail_snapshots(bool fails) noexcept { snapshots_fail_ = fails; }
  void poll(std::uint64_t now) {
    now_ms_ = now;
    while (!frozen_ && !pending_.empty() && pending_.front().due_ms <= now) {
      auto run = std::move(pending_.front().run);
      pending_.pop_front();
      run(0);
    }
  }
  // A crash: nothing that is under way is written.
  void freeze() noexcept { frozen_ = true; }
  void thaw() noexcept {
    frozen_ = false;
    broken_ = false;
  }
  // What another one holds, in the place of all that this one does. @pre nobody uses this one
  void take(const fixture_disk& other) {
    term_ = other.term_;
    vote_ = 0;
    first_ = other.first_;
    entries_ = other.entries_;
    snapshot_ = other.snapshot_;
  }
  [[nodiscard]] std::uint64_t first_index() const noexcept { return first_; }
  [[nodiscard]] std::uint64_t snapshot_index() const noexcept {
    return snapshot_ ? snapshot_->index : 0;
  }
  // For damage.
  [[nodiscard]] bytes& snapshot_bytes() { return snapshot_->data; }
  [[nodiscard]] std::size_t entries() const noexcept { return entries_.size(); }
  [[nodiscard]] bytes& entry_bytes(std::size_t at) { return entries_[at].data; }
  [[nodiscard]] bool is_command(std::size_t at) const { return entries_[at].type == RAFT_COMMAND; }

 private:
  struct entry {
    raft_term term;
    unsigned short type;
    bytes data;
  };
  struct snapshot {
    raft_index index;
    raft_term term;
    std::vector<std::pair<raft_server, std::string>> servers;
    raft_index configuration_index;
    bytes data;
  };
  struct operation {
    std::uint64_t due_ms;
    std::function<void(int)> run;  // with 0, or with why it was cancelled
  };

  static std::map<const raft_io*, fixture_disk*>& all() {
    static std::map<const raft_io*, fixture_disk*> disks;
    return disks;
  }
  static fixture_disk& of(const raft_io* io) { return *all().at(io); }

  void later(std::function<void(int)> run) {
    pending_.push_back({now_ms_ + latency_ms_, std::move(run)});
  }

  static bytes copy_of(const raft_buffer& buffer) {
    const bytes_view view = libraft_bytes(buffer);
    return {view.begin(), view.end()};
  }
  static raft_buffer buffer_of(const bytes& data) {
    raft_buffer buffer{raft_malloc(data.size() + 1), data.size()};
    std::memcpy(buffer.base, data.data(), data.size());
    return buffer;
  }

  raft_snapshot* give_snapshot() const {
    auto* const out = static_cast<raft_snapshot*>(raft_calloc(1, sizeof(raft_snapshot)));
    out->index = snapshot_->index;
    out->term = snapshot_->term;
    raft_configuration_init(&out->configuration);
    for (const auto& [server, address] : snapshot_->servers) {
      static_cast<void>(
          raft_configuration_add(&out->configuration, server.id, address.c_str(), server.role));
    }
    out->configuration_index = snapshot_->configuration_index;
    out->bufs = static_cast<raft_buffer*>(raft_malloc(sizeof(raft_buffer)));
    out->bufs[0] = buffer_of(snapshot_->data);
    out->n_bufs = 1;
    return out;
  }
  void keep(const raft_snapshot& given, unsigned trailing) {
    snapshot one{given.index, given.term, {}, given.configuration_index, {}};
    for (unsigned i = 0; i < given.configuration.n; ++i) {
      const raft_server& server = given.configuration.servers[i];
      one.servers.emplace_back(server, server.address);
    }
    for (unsigned i = 0; i < given.n_bufs; ++i) {
      const bytes part = copy_of(given.bufs[i]);
      one.data.insert(one.data.end(), part.begin(), part.end());
    }
    snapshot_ = std::move(one);
    while (trailing != 0 && !entries_.empty() && first_ + trailing <= given.index) {
      entries_.pop_front();
      ++first_;
    }
    if (trailing == 0) {
      entries_.clear();
      first_ = given.index + 1;
    }
  }

  static int on_load(raft_io* io, raft_term* term, raft_id* vote, raft_snapshot** snapshot,
                     raft_index* start, raft_entry* entries[], std::size_t* count) {
    const fixture_disk& self = of(io);
    *term = self.term_;
    *vote = self.vote_;
    *start = self.first_;
    *snapshot = self.snapshot_ ? self.give_snapshot() : nullptr;
    *count = self.entries_.size();
    *entries =
        *count == 0 ? nullptr : static_cast<raft_entry*>(raft_calloc(*count, sizeof(raft_entry)));
    for (std::size_t i = 0; i < *count; ++i) {
      const entry& from = self.entries_[i];
      raft_entry& to = (*entries)[i];
      to.term = from.term;
      to.type = from.type;
      to.buf = buffer_of(from.data);
      to.batch = to.buf.base;
    }
    return 0;
  }
  static int on_bootstrap(raft_io* io, const raft_configuration* members) {
    fixture_disk& self = of(io);
    if (self.term_ != 0) {
      return RAFT_CANTBOOTSTRAP;
    }
    raft_buffer encoded;
    if (const int code = raft_configuration_encode(members, &encoded); code != 0) {
      return code;
    }
    self.term_ = 1;
    self.entries_.push_back({1, RAFT_CHANGE, copy_of(encoded)});
    raft_free(encoded.base);
    return 0;
  }
  static int on_set_term(raft_io* io, raft_term term) {
    if (std::exchange(of(io).term_fails_, false)) {
      return RAFT_IOERR;
    }
    of(io).term_ = term;
    of(io).vote_ = 0;
    return 0;
  }
  static int on_set_vote(raft_io* io, raft_id vote) {
    if (std::exchange(of(io).vote_fails_, false)) {
      return RAFT_IOERR;
    }
    of(io).vote_ = vote;
    return 0;
  }

  static int on_append(raft_io* io, raft_io_append* request, const raft_entry given[],
                       unsigned count, raft_io_append_cb answer) {
    fixture_disk& self = of(io);
    request->cb = answer;
    const disk_failure failure = std::exchange(self.failure_, disk_failure::none);
    if (failure == disk_failure::at_submit) {
      self.broken_ = true;
    }
    if (self.broken_) {
      return RAFT_IOERR;
    }
    std::vector<entry> copies;
    for (unsigned i = 0; i < count; ++i) {
      copies.push_back({given[i].term, given[i].type, copy_of(given[i].buf)});
    }
    self.later([&self, request, failure, copies = std::move(copies)](int code) mutable {
      self.broken_ = self.broken_ || failure == disk_failure::late;
      if (code == 0 && !self.broken_) {
        for (entry& one : copies) {
          self.entries_.push_back(std::move(one));
        }
      }
      request->cb(request, code != 0 ? code : self.broken_ ? RAFT_IOERR : 0);
    });
    return 0;
  }
  static int on_truncate(raft_io* io, raft_index index) {
    fixture_disk& self = of(io);
    self.later([&self, index](int code) {
      while (code == 0 && !self.entries_.empty() && self.first_ + self.entries_.size() > index) {
        self.entries_.pop_back();
      }
    });
    return 0;
  }
  static int on_put(raft_io* io, unsigned trailing, raft_io_snapshot_put* request,
                    const raft_snapshot* given, raft_io_snapshot_put_cb answer) {
    fixture_disk& self = of(io);
    request->cb = answer;
    self.later([&self, trailing, request, given](int code) {
      if (code == 0 && self.snapshots_fail_) {
        code = RAFT_NOSPACE;
      }
      if (code == 0) {
        self.keep(*given, trailing);
      }
      request->cb(request, code);
    });
    return 0;
  }
  static int on_get(raft_io* io, raft_io_snapshot_get* request, raft_io_snapshot_get_cb answer) {
    fixture_disk& self = of(io);
    request->cb = answer;
    self.later([&self, request](int code) {
      request->cb(request, code == 0 ? self.give_snapshot() : nullptr, code);
    });
    return 0;
  }
  static int on_work(raft_io* io, raft_io_async_work* request, raft_io_async_work_cb answer) {
    request->cb = answer;
    of(io).later(
        [request](int code) { request->cb(request, code != 0 ? code : request->work(request)); });
    return 0;
  }
  static void on_close(raft_io* io, raft_io_close_cb answer) {
    for (operation& one : std::exchange(of(io).pending_, {})) {
      one.run(RAFT_CANCELED);
    }
    answer(io);
  }

  std::uint64_t latency_ms_;
  raft_io* io_ = nullptr;
  std::uint64_t now_ms_ = 0;
  std::deque<operation> pending_;
  disk_failure failure_ = disk_failure::none;
  bool term_fails_ = false;
  bool vote_fails_ = false;
  bool snapshots_fail_ = false;
  bool broken_ = false;
  bool frozen_ = false;

  // What is on it.
  raft_term term_ = 0;
  raft_id vote_ = 0;
  std::optional<snapshot> snapshot_;
  std::uint64_t first_ = 1;
  std::deque<entry> entries_;
};

}  // namespace quorlite::tests
