/// @file
/// A consensus adapter of one's own: a single server whose log is a file. How to write one for your
/// engine: docs/how-to/consensus_adapter.md. `custom_consensus DIR` adds a row, tells its number.

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "quorlite/adapter_kit.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/memory.hpp"

namespace ql = quorlite;

/// The file is a list of records: size, checksum, term, command. Each start opens a new term with
/// one that has no command. A proposal is written, synced and applied before propose() returns.
class log_file {
 public:
  static constexpr ql::consensus_abilities abilities{.entry_terms = true, .contiguous = true};
  using signal_type = ql::thread_signal;

  explicit log_file(const std::string& path)
      : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {}
  ~log_file() { ::close(file_); }

  // C1: replays the log, then leads. After an error the machine is never called.
  std::error_code start(ql::state_machine& machine) noexcept {
    std::vector<record> log;
    if (file_ < 0 || ::flock(file_, LOCK_EX | LOCK_NB) != 0 || !read(log) || !append(log.back())) {
      return {errno, std::generic_category()};
    }
    last_ = {};
    pending_.open(machine);
    strand_.open(machine, "here");
    strand_.elected(ql::term{log.back().term});  // announced when its first record is applied
    for (const record& one : log) {
      apply(one);
    }
    return {};
  }

  // C2: the loss is announced, what is left is settled, and no call into the machine will follow.
  void stop() noexcept {
    const std::lock_guard guard(mutex_);
    strand_.close();
    pending_.close();
  }

  // C3: any thread. The mutex keeps the order of the log. Then C4 and C5.
  void propose(ql::term expected, ql::proposal_token token, ql::bytes_view entry) noexcept {
    const std::lock_guard guard(mutex_);
    if (!pending_.add(token)) {
      return;
    }
    const record one{expected.value, {entry.begin(), entry.end()}};
    const ql::settle_reason refusal =
        entry.size() > max_entry_bytes() ? ql::settle_reason::too_large : strand_.refusal(expected);
    if (refusal != ql::settle_reason::none) {
      pending_.settle(token, ql::outcome::not_applied, refusal);
    } else if (append(one) && apply(one)) {
      pending_.settle(token, ql::outcome::committed);
    } else {
      strand_.close();  // after a failed write or sync, only a new start knows what the file holds
      pending_.settle(token, ql::outcome::unknown, ql::settle_reason::log_failed);
    }
  }

  std::size_t max_entry_bytes() const noexcept { return ql::limits::entry_bytes; }
  bool wait(signal_type& signal, ql::milliseconds limit) noexcept { return signal.wait(limit); }

  // C6: the machine has halted, perhaps inside a call of ours, with the mutex held.
  void withdraw() noexcept { strand_.withdraw(); }

 private:
  struct record {
    std::uint64_t term;
    ql::bytes command;
  };
  using header = std::array<std::uint64_t, 3>;  // size, checksum, term

  static header header_of(const record& one) {
    std::uint64_t check = 0xCBF29CE484222325U ^ one.term;  // FNV-1a: enough for a torn end
    for (const std::byte each : one.command) {
      check = (check ^ std::uint64_t(each)) * 0x100000001B3U;
    }
    return {one.command.size(), check, one.term};
  }

  bool append(const record& one) {
    const header head = header_of(one);
    ql::bytes whole(sizeof head + one.command.size());
    std::memcpy(whole.data(), &head, sizeof head);
    std::copy(one.command.begin(), one.command.end(), whole.begin() + sizeof head);
    const auto written = ::write(file_, whole.data(), whole.size());
    return written == ssize_t(whole.size()) && ::fdatasync(file_) == 0;
  }

  // What a crash tore at the end was never answered for: it is cut off. A new term is added.
  bool read(std::vector<record>& log) {
    ql::bytes file(std::size_t(::lseek(file_, 0, SEEK_END)));
    if (::pread(file_, file.data(), file.size(), 0) != ssize_t(file.size())) {
      return false;
    }
    std::size_t end = 0;
    for (header head{}; file.size() - end >= sizeof head; end += sizeof head + head[0]) {
      std::memcpy(&head, file.data() + end, sizeof head);
      const auto rest = ql::bytes_view(file).subspan(end + sizeof head);
      const auto command = rest.first(std::min<std::size_t>(head[0], rest.size()));
      record one{head[2], {command.begin(), command.end()}};
      if (header_of(one) != head) {
        break;
      }
      log.push_back(one);
    }
    log.push_back({log.empty() ? 1 : log.back().term + 1, {}});
    return ::ftruncate(file_, off_t(end)) == 0;
  }

  bool apply(const record& one) {
    const bool opens = one.term != last_.term.value;
    last_ = {last_.index.next(), ql::term{one.term}};
    const auto answer = opens ? strand_.skip(last_) : strand_.apply({last_, one.command});
    return answer != ql::apply_result::halted;
  }

  const int file_;
  std::mutex mutex_;
  ql::gated_strand strand_;
  ql::pending_proposals pending_;
  ql::log_position last_;  // the record applied last; its term is ours
};

int main(int count, char** arguments) {
  log_file log(std::string(count == 2 ? arguments[1] : "no directory is named") + "/app.log");
  ql::memory_storage storage;  // a cache of the log, here
  ql::result<ql::replica> replica = ql::replica::start(log, storage, {.found = true});
  const auto db = replica.and_then([](ql::replica& one) { return one.open("app.db"); });
  const char* const sql =
      "CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY); INSERT INTO run DEFAULT VALUES";
  if (!db || sqlite3_exec(*db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    std::fprintf(stderr, "%s\n", (db ? db->error_message() : db.error().message()).c_str());
    return 1;
  }
  return std::printf("row %lld\n", sqlite3_last_insert_rowid(*db)) < 0 ? 1 : 0;
}
