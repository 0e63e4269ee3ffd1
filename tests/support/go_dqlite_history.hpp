// What the tests of go-dqlite's log and snapshots share: logs as its leaders wrote them, made from
// the WAL of a real database, and machines that read them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quorlite/codec/go_dqlite.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/legacy/go_dqlite.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/memory.hpp"
#include "support/manual_consensus.hpp"
#include "unit/wal_support.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

inline bytes encoded(const go_dqlite::command& what) {
  bytes out;
  REQUIRE_FALSE(go_dqlite::encode(what, out));
  return out;
}
inline bytes open(std::string_view name) { return encoded(go_dqlite::open_command{name}); }
inline bytes begin(std::uint64_t txid, std::string_view name) {
  return encoded(go_dqlite::begin_command{txid, name});
}
inline bytes end(std::uint64_t txid) { return encoded(go_dqlite::end_command{txid}); }
inline bytes undo(std::uint64_t txid) { return encoded(go_dqlite::undo_command{txid}); }
inline bytes checkpoint(std::string_view name) {
  return encoded(go_dqlite::checkpoint_command{name});
}

/// As the eras wrote frames: v1a has no file name, v1b has, v2 has its pages in one piece.
enum class era { v1a, v1b, v2 };

struct page {
  std::uint32_t number = 0;
  bytes image;
};
struct batch {
  std::uint64_t txid = 0;
  std::string name;
  std::uint32_t page_size = 512;
  std::vector<page> pages;
  std::uint32_t truncate = 0;  ///< 0: does not commit
  era written = era::v2;
};

inline bytes frames(const batch& what) {
  go_dqlite::frames_command command;
  command.txid = what.txid;
  command.page_size = static_cast<std::int32_t>(what.page_size);
  command.truncate = what.truncate;
  command.is_commit = what.truncate == 0 ? 0 : 1;
  command.filename = what.written == era::v1a ? std::string_view{} : std::string_view{what.name};
  bytes data;
  for (const page& one : what.pages) {
    if (what.written == era::v2) {
      command.page_numbers.emplace_back(one.number);
      data.insert(data.end(), one.image.begin(), one.image.end());
    } else {
      command.pages.push_back({one.image, 1, page_number{one.number}});
    }
  }
  command.page_data = data;
  return encoded(command);
}

/// A page of 512 bytes that all show one value.
inline page plain(std::uint32_t number, std::uint8_t value, std::size_t size = 512) {
  return {number, bytes(size, static_cast<std::byte>(value))};
}

/// A database of SQLite's own making, and the log of a leader that made it.
class history {
 public:
  history(std::string name, std::uint32_t page_size, era written = era::v2,
          std::size_t batch_pages = 1000)
      : name_(std::move(name)),
        page_size_(page_size),
        made_(page_size),
        era_(written),
        batch_pages_(batch_pages) {
    log.push_back(open(name_));
    take_new_frames();
  }

  void execute(const std::string& sql) {
    made_.execute(sql);
    take_new_frames();
  }
  void write_as(era written) { era_ = written; }

  [[nodiscard]] database_files files() const { return made_.files(); }
  /// What the database is once its WAL is in it.
  [[nodiscard]] bytes image() const {
    const temporary_directory folder;
    return what_sqlite_recovers(folder, made_.files()).value();
  }

  std::vector<bytes> log;

 private:
  void take_new_frames() {
    const bytes wal = made_.files().wal;
    for (std::size_t at = 32 + read_ * (24 + page_size_); at + 24 + page_size_ <= wal.size();
         at += 24 + page_size_, ++read_) {
      const bytes_view image = bytes_view{wal}.subspan(at + 24, page_size_);
      waiting_.push_back({big_endian_at(wal, at), bytes(image.begin(), image.end())});
      if (const std::uint32_t count = big_endian_at(wal, at + 4); count != 0) {
        write_transaction(count);
      }
    }
  }
  void write_transaction(std::uint32_t page_count) {
    const std::uint64_t txid = log.size();
    if (era_ != era::v2) {
      log.push_back(begin(txid, name_));
    }
    while (!waiting_.empty()) {
      const std::size_t count = std::min(batch_pages_, waiting_.size());
      batch next{txid, name_, page_size_, {}, count == waiting_.size() ? page_count : 0, era_};
      const auto middle = waiting_.begin() + static_cast<std::ptrdiff_t>(count);
      next.pages.assign(waiting_.begin(), middle);
      waiting_.erase(waiting_.begin(), middle);
      log.push_back(frames(next));
    }
    if (era_ != era::v2) {
      log.push_back(end(txid));
    }
  }

  std::string name_;
  std::uint32_t page_size_;
  wal_database made_;
  era era_;
  std::size_t batch_pages_;
  std::size_t read_ = 0;
  std::vector<page> waiting_;
};

/// What a replica holds of a database, without what is its own business.
struct content {
  version_number version;
  std::uint64_t page_count = 0;
  std::uint64_t hash = 0;
  bytes image;

  friend bool operator==(const content&, const content&) = default;
};

/// A machine on an engine that the test drives. `storage` outlives it.
class machine {
 public:
  using machine_type = fsm<manual_consensus, memory_storage>;

  /// @param legacy what it takes besides native entries; nullptr: nothing
  explicit machine(const legacy_format* legacy = &go_dqlite_format()) : legacy_(legacy) {
    restart();
  }
  void restart() {
    machine_ =
        std::make_unique<machine_type>(storage, fsm_options{.cluster_id = 7, .legacy = legacy_});
    REQUIRE_FALSE(machine_->load());
  }
  machine_type* operator->() { return machine_.get(); }
  machine_type& inner() { return *machine_; }

  apply_result apply(bytes_view entry, std::uint64_t in_term = 1) {
    return machine_->apply({{machine_->applied().index.next(), term{in_term}}, entry});
  }
  void apply_all(const std::vector<bytes>& log) {
    for (const bytes& entry : log) {
      REQUIRE(apply(entry) == apply_result::applied);
    }
  }
  void flush() { REQUIRE_FALSE(machine_->flush(machine_->applied().index)); }
  /// Stops, starts again on what was stored, and replays the rest of the log.
  void restart_on(const std::vector<bytes>& log) {
    restart();
    for (std::uint64_t at = machine_->durable().index.value; at < log.size(); ++at) {
      const apply_result said = machine_->apply({{log_index{at + 1}, term{1}}, log[at]});
      REQUIRE(said != apply_result::halted);
    }
  }

  std::map<std::string, content> all() {
    std::map<std::string, content> found;
    for (const auto& one : machine_->databases().existing()) {
      found.emplace(one->name(), content_of(*one));
    }
    return found;
  }
  bytes image(const std::string& name) { return all().at(name).image; }

  static content content_of(const database& one) {
    const std::shared_ptr<page_store> store = one.store();
    const page_store::pin at = store->pin_committed();
    content copied{at.at().counted(), at.page_count(), at.hash(), {}};
    copied.image.resize(at.page_count() * at.page_size());
    page_store::reader reader(store);
    for (std::uint32_t number = 1; number <= at.page_count(); ++number) {
      const auto guard = reader.enter();
      const bytes_view found = reader.image(guard, at, page_number{number}).value();
      if (!found.empty()) {
        std::memcpy(copied.image.data() + std::size_t{number - 1} * at.page_size(), found.data(),
                    at.page_size());
      }
    }
    return copied;
  }

  static bytes read(const result<std::unique_ptr<snapshot_reader>>& from) {
    REQUIRE(from);
    bytes whole(static_cast<std::size_t>((*from)->size_bytes()));
    REQUIRE_FALSE((*from)->read(0, whole));
    return whole;
  }
  bytes snapshot() { return read(machine_->take_snapshot()); }
  bytes seed_snapshot() { return read(machine_->take_legacy_snapshot()); }

  std::error_code restore(bytes_view whole, std::size_t piece = 4096, log_position at = {}) {
    auto stage = machine_->begin_restore().value();
    for (bytes_view rest = whole; !rest.empty();) {
      const bytes_view part = rest.first(std::min(piece, rest.size()));
      if (const std::error_code error = stage->append(part)) {
        return error;
      }
      rest = rest.subspan(part.size());
    }
    if (const std::error_code error = stage->finish()) {
      return error;
    }
    installed = machine_->install(std::move(stage), at);
    return {};
  }

  memory_storage storage;
  apply_result installed = apply_result::halted;

 private:
  const legacy_format* legacy_;
  std::unique_ptr<machine_type> machine_;
};

}  // namespace quorlite::tests
