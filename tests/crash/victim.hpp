/// @file
/// A replica on a disk that fails, as it goes through a history again.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "crash/history.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/file_storage/basic_file_storage.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/fsm.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "quorlite/testing/test_raft.hpp"

namespace quorlite::tests {

/// One process: a storage on the disk and a machine on the storage.
class process {
 public:
  using storage_type = basic_file_storage<quorlite::testing::faulty_file_system>;
  using machine_type = fsm<quorlite::testing::test_raft, storage_type>;

  process(quorlite::testing::faulty_disk& disk, bool double_write)
      : storage_(quorlite::testing::faulty_file_system{disk}, {.double_write = double_write}),
        machine_(storage_) {
    loaded_ = machine_.load();
  }

  [[nodiscard]] std::error_code loaded() const noexcept { return loaded_; }
  [[nodiscard]] machine_type& machine() noexcept { return machine_; }
  [[nodiscard]] storage_type& storage() noexcept { return storage_; }

 private:
  storage_type storage_;
  machine_type machine_;
  std::error_code loaded_;
};

/// Goes through a history on one disk, process after process, until it ends or the replica stops.
class player {
 public:
  player(quorlite::testing::faulty_disk& disk, const history& told) : disk_(disk), told_(told) {}

  /// Starts a process. @returns what load() said
  std::error_code start() {
    pins_.clear();
    process_.reset();
    process_ = std::make_unique<process>(disk_, told_.double_write);
    return process_->loaded();
  }
  void kill() {
    pins_.clear();
    process_.reset();
  }
  [[nodiscard]] process& now() { return *process_; }
  /// True if an error came out that is none of the library's.
  [[nodiscard]] bool saw_untyped_error() const noexcept { return untyped_; }
  /// True if a reader that stood on an old state did not get it.
  [[nodiscard]] bool saw_wrong_read() const noexcept { return wrong_read_; }
  [[nodiscard]] bool halted() { return process_->machine().health().halted; }

  /// What the log still has for this replica: everything above its durable position.
  /// @returns false if the replica has stopped (it halted, or could not be started again)
  bool play(bool only_log) {
    const log_index from = process_->machine().durable().index;
    for (const event& one : told_.events) {
      const bool from_log = one.what <= event::kind::restore;
      if ((only_log && !from_log) || (from_log && one.at.index <= from)) {
        continue;
      }
      if (!happen(one) || halted()) {
        return false;
      }
    }
    return true;
  }

  /// Empty if the replica is what the cluster says it should be, every page of it.
  [[nodiscard]] std::string difference() {
    auto& machine = process_->machine();
    if (halted()) {
      return "halted: " + machine.health().what;
    }
    {
      const auto held = machine.state().hold();
      if (machine.state().is_recovering()) {
        return "still redoing";
      }
    }
    if (machine.applied().index != told_.end.index) {
      return "applied " + std::to_string(machine.applied().index.value) + ", not " +
             std::to_string(told_.end.index.value);
    }
    std::map<std::string, expected_database> found;
    for (const auto& one : machine.databases().existing()) {
      const page_store::state at = one->store()->committed();
      found[one->name()] = {at.counted().value, at.page_count, at.hash};
      if (sum_of(one->store(), one->store()->pin_committed()) != at.hash) {
        return "the pages of '" + one->name() + "' are not what its hash says";
      }
    }
    return found == told_.databases ? std::string{} : "the databases differ from the cluster's";
  }

 private:
  /// @returns false if the replica stops here
  bool happen(const event& one) {
    auto& machine = process_->machine();
    switch (one.what) {
      case event::kind::entry: return machine.apply({one.at, one.data}) != apply_result::halted;
      case event::kind::skip: return machine.skip(one.at) != apply_result::halted;
      case event::kind::restore: return restore(one);
      case event::kind::flush: return note(machine.flush(machine.applied().index));
      case event::kind::pin:
        for (const auto& database : machine.databases().existing()) {
          pins_.push_back({database->store(), database->store()->pin_committed()});
        }
        return true;
      case event::kind::unpin: return unpin();
      case event::kind::stop: break;
    }
    if (!note(machine.flush(machine.applied().index))) {
      return false;
    }
    pins_.clear();
    static_cast<void>(process_->storage().close());
    const std::error_code error = start();
    return !error || (note(error) && false);
  }

  /// An engine tries a restore again when there was no room for it.
  bool restore(const event& one) {
    auto& machine = process_->machine();
    for (int tries = 0; tries < 2; ++tries) {
      if (std::unique_ptr<snapshot_stage> stage = staged(one.data)) {
        return machine.install(std::move(stage), one.at) != apply_result::halted;
      }
      disk_.heal();
    }
    return false;
  }
  [[nodiscard]] std::unique_ptr<snapshot_stage> staged(const bytes& whole) {
    auto stage = process_->machine().begin_restore();
    std::error_code error = stage ? std::error_code{} : stage.error();
    for (std::size_t at = 0; !error && at < whole.size(); at += 4096) {
      error = (*stage)->append(
          bytes_view(whole).subspan(at, std::min<std::size_t>(4096, whole.size() - at)));
    }
    error = error ? error : (*stage)->finish();
    note(error);
    return error ? nullptr : std::move(*stage);
  }

  /// Whoever stood on an old state still reads it.
  bool unpin() {
    for (const pinned& one : pins_) {
      const bool right = sum_of(one.store, one.pin) == one.pin.hash();
      wrong_read_ = wrong_read_ || !right;
    }
    pins_.clear();
    return true;
  }

  /// Remembers an error that is none of ours.
  bool note(std::error_code error) {
    untyped_ = untyped_ || (error && error.category() != quorlite_category());
    return true;
  }

  /// From the pages themselves, wherever they are.
  [[nodiscard]] static std::uint64_t sum_of(const std::shared_ptr<page_store>& store,
                                            const page_store::pin& pin) {
    page_store::reader reader(store);
    std::uint64_t sum = 0;
    for (std::uint64_t number = 1; number <= pin.page_count(); ++number) {
      const page_number page{static_cast<std::uint32_t>(number)};
      const auto guard = reader.enter();
      const result<bytes_view> image = reader.image(guard, pin, page);
      if (!image) {
        return ~pin.hash();
      }
      sum += image->empty() ? 0 : page_hash(page, *image);
    }
    return sum;
  }

  struct pinned {
    std::shared_ptr<page_store> store;
    page_store::pin pin;
  };

  quorlite::testing::faulty_disk& disk_;
  const history& told_;
  std::unique_ptr<process> process_;
  std::vector<pinned> pins_;
  bool untyped_ = false;
  bool wrong_read_ = false;
};

}  // namespace quorlite::tests
