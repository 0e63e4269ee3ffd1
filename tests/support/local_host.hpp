// A replica without consensus: commits at once, or when and how a test says so.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/adapter_kit.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/commit/vfs_host.hpp"

namespace quorlite::tests {

using namespace quorlite;

using namespace quorlite::detail;

/// Threads wait for each other, and nothing is proposed: as much of an engine as a writer_queue
/// needs.
class waiting_engine final : public consensus_port {
 public:
  [[nodiscard]] const consensus_abilities& abilities() const noexcept override { return none_; }
  [[nodiscard]] std::error_code start(state_machine&) noexcept override { return {}; }
  void stop() noexcept override {}
  [[nodiscard]] signal_port* make_signal(signal_place&) override { return new flag; }
  bool wait(signal_port& raised, milliseconds limit) noexcept override {
    ++waits_;
    return static_cast<flag&>(raised).own.wait(limit);
  }
  void propose(term, proposal_token, bytes_view) noexcept override {}
  void withdraw() noexcept override {}
  [[nodiscard]] transaction_limit largest_transaction() const noexcept override { return {}; }
  [[nodiscard]] std::error_code engine_error() const noexcept override { return {}; }
  [[nodiscard]] std::string refused_peers() const override { return {}; }
  [[nodiscard]] bool founds() const noexcept override { return false; }
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept override { return 0; }
  void read_barrier(proposal_token) noexcept override {}
  void transfer_leadership() noexcept override {}
  void run(background_task&) noexcept override {}
  [[nodiscard]] clock_reading now() noexcept override { return {}; }
  [[nodiscard]] std::uint64_t random() noexcept override { return 0; }

  /// How often somebody waited.
  [[nodiscard]] std::size_t waits() const { return waits_; }

 private:
  struct flag final : signal_port {
    thread_signal own;
    void raise() noexcept override { own.raise(); }
  };

  const consensus_abilities none_{};
  std::atomic<std::size_t> waits_{0};
};

/// What a follower gets of one database.
struct recorded_change {
  std::string name;
  std::uint32_t page_size = 0;
  std::uint64_t page_count = 0;
  std::uint64_t hash = 0;  // of the database afterwards
  std::map<std::uint32_t, bytes> pages;
};
/// What a follower gets of one transaction.
struct recorded_entry {
  transaction_id id;
  std::vector<recorded_change> changes;
};

/// The whole file of a state, absent pages as zeros.
inline bytes image_of(const std::shared_ptr<page_store>& store, const page_store::pin& at) {
  bytes image(static_cast<std::size_t>(at.page_count() * at.page_size()));
  page_store::reader reader{store};
  for (std::uint32_t number = 1; number <= at.page_count(); ++number) {
    const auto guard = reader.enter();
    const bytes_view page = reader.image(guard, at, page_number{number}).value();
    if (!page.empty()) {
      std::memcpy(image.data() + std::size_t{number - 1} * at.page_size(), page.data(),
                  at.page_size());
    }
  }
  return image;
}
inline bytes committed_image(const std::shared_ptr<page_store>& store) {
  return image_of(store, store->pin_committed());
}

/// Replays recorded entries onto stores of its own.
class follower {
 public:
  explicit follower(std::uint64_t at = limits::lock_byte_default) : lock_byte_(at) {}

  /// False if the result has another hash than the leader said.
  bool apply(const recorded_entry& entry) {
    bool equal = true;
    for (const recorded_change& change : entry.changes) {
      const auto store = of(change.name);
      std::vector<page_block> pages;
      for (const auto& [number, image] : change.pages) {
        page_block page = make_page(page_number{number}, change.page_size);
        std::memcpy(page->image().data(), image.data(), image.size());
        page->set_hash(page_hash(page_number{number}, page->image()));
        pages.push_back(std::move(page));
      }
      const std::uint64_t hash =
          store->hash_after(pages, change.page_count, store->pin_committed());
      equal = equal && hash == change.hash;
      store->install_committed(std::move(pages), change.page_count, hash);
    }
    return equal;
  }
  std::shared_ptr<page_store> of(const std::string& name) {
    auto& store = stores_[name];
    if (store == nullptr) {
      store = page_store::make({}, history_number{1}, lock_byte_);
    }
    return store;
  }

 private:
  const std::uint64_t lock_byte_;
  std::map<std::string, std::shared_ptr<page_store>> stores_;
};

/// Any thread. How commits are answered:
/// * `at_once`: installed and committed inside of commit();
/// * `detached`: installed, and reported as committed at once although it is only pending: so one
///   thread can have several transactions in flight;
/// * `held`: installed; commit() blocks until commit_next() or lose().
class local_host final : public vfs_host {
 public:
  enum class answers { at_once, detached, held };

  explicit local_host(std::uint64_t at = limits::lock_byte_default)
      : lock_byte_(at), registry_(at) {}

  // ---- what a test says

  void answer(answers how) {
    const std::lock_guard lock(mutex_);
    how_ = how;
  }
  /// The next commit is answered with this. An outcome_unknown is not applied either.
  void refuse_next(std::error_code error) {
    const std::lock_guard lock(mutex_);
    refusals_.push_back(error);
  }
  void forget_refusals() {
    const std::lock_guard lock(mutex_);
    refusals_.clear();
  }
  /// The next commit is applied, but answered with this.
  void lie_next(std::error_code error) {
    const std::lock_guard lock(mutex_);
    lie_ = error;
  }
  void lead(bool leading) {
    const std::lock_guard lock(mutex_);
    leading_ = leading;
    term_ = term_.next();
  }
  /// From now on it has a clock that stands, and draws `number`, then number + 1 and so on. Before
  /// a VFS is made on it.
  void tell(clock_reading now, std::uint64_t number) {
    abilities_ = {.now = true, .random = true};
    now_ = now;
    number_ = number;
  }
  /// Called inside every commit(), before anything is decided and without a lock.
  void during_commit(std::function<void()> what) { during_commit_ = std::move(what); }
  /// Called inside every sleep().
  void during_sleep(std::function<void()> what) { during_sleep_ = std::move(what); }
  /// The oldest pending transaction is committed.
  void commit_next() {
    const std::lock_guard lock(mutex_);
    commit_locked();
  }
  void commit_one_if_any() {
    const std::lock_guard lock(mutex_);
    if (!pending_.empty()) {
      commit_locked();
    }
  }
  void commit_all() {
    const std::lock_guard lock(mutex_);
    while (!pending_.empty()) {
      commit_locked();
    }
  }
  /// Everything pending is taken back. The same replica leads the next term, unless lead(false).
  void lose() {
    const std::lock_guard lock(mutex_);
    for (const auto& one : registry_.all()) {
      one->store()->discard_head();
    }
    for (const auto& one : pending_) {
      one->error = make_error_code(errc::leadership_lost);
      one->settled = true;
    }
    pending_.clear();
    term_ = term_.next();
    changed_.notify_all();
  }

  // ---- what a test sees

  [[nodiscard]] std::shared_ptr<page_store> store(std::string_view name) {
    return database_named(name).value()->store();
  }
  [[nodiscard]] std::vector<recorded_entry> entries() {
    const std::lock_guard lock(mutex_);
    return entries_;
  }
  [[nodiscard]] std::vector<recorded_entry> entries_from(std::size_t first) {
    const std::lock_guard lock(mutex_);
    return {entries_.begin() + static_cast<std::ptrdiff_t>(first), entries_.end()};
  }
  [[nodiscard]] std::size_t entry_count() {
    const std::lock_guard lock(mutex_);
    return entries_.size();
  }
  /// The log of another leader brings a page 1.
  void commit_from_elsewhere(std::string_view name, bytes_view page_one) {
    const std::lock_guard lock(mutex_);
    const auto store = registry_.find(name)->store();
    std::vector<page_block> pages;
    pages.push_back(make_page(page_number{1}, static_cast<std::uint32_t>(page_one.size())));
    std::memcpy(pages[0]->image().data(), page_one.data(), page_one.size());
    pages[0]->set_hash(page_hash(page_number{1}, page_one));
    const std::uint64_t hash = store->hash_after(pages, 1, store->pin_committed());
    QUORLITE_ASSERT(!store->install_head(store->history(), std::move(pages), 1, hash));
    store->commit_next();
  }

  [[nodiscard]] std::size_t pending_count() {
    const std::lock_guard lock(mutex_);
    return pending_.size();
  }
  /// How often commit() was called.
  [[nodiscard]] std::size_t commit_calls() const { return commit_calls_; }
  [[nodiscard]] std::size_t quiet_waits() const { return quiet_waits_; }
  [[nodiscard]] std::size_t writer_waits() const { return engine_.waits(); }
  /// How often it was asked for the time or a number.
  [[nodiscard]] std::uint64_t asked() const { return asked_; }
  /// How long it was slept, in milliseconds.
  [[nodiscard]] std::uint64_t slept_ms() const { return slept_ms_; }
  /// Blocks until so many transactions are pending.
  void await_pending(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return pending_.size() >= count; });
  }
  /// True if a follower that replays the entries has the committed bytes of every database.
  [[nodiscard]] bool replays_equal() {
    follower other{lock_byte_};
    for (const recorded_entry& entry : entries()) {
      if (!other.apply(entry)) {
        return false;
      }
    }
    for (const auto& one : registry_.all()) {
      if (committed_image(one->store()) != committed_image(other.of(one->name()))) {
        return false;
      }
    }
    return true;
  }

  // ---- what the VFS asks

  [[nodiscard]] result<std::shared_ptr<database>> database_named(
      std::string_view name) noexcept override {
    const std::lock_guard lock(mutex_);
    return registry_.find_or_make(name);
  }

  [[nodiscard]] result<write_ticket> begin_write(const page_store& store,
                                                 const page_store::pin& base) noexcept override {
    const std::lock_guard lock(mutex_);
    if (!leading_) {
      return fail(errc::not_leader);
    }
    if (base.invalidated() || base.version() != store.head().version) {
      return fail(errc::stale_term);
    }
    return write_ticket{term_, store.history()};
  }

  [[nodiscard]] writer_queue& writers() noexcept override { return writers_; }
  void wait_for_quiet(database& target, milliseconds slice) noexcept override {
    std::unique_lock lock(mutex_);
    ++quiet_waits_;
    const auto store = target.store();
    changed_.wait_for(lock, std::chrono::milliseconds(slice.value),
                      [&] { return store->head().version == store->committed().version; });
  }

  [[nodiscard]] commit_result commit(std::span<database_write> changes) noexcept override {
    if (during_commit_) {
      during_commit_();
    }
    std::unique_lock lock(mutex_);
    ++commit_calls_;
    std::error_code error;
    if (!refusals_.empty()) {
      error = refusals_.front();
      refusals_.pop_front();
    }
    if (error == errc::busy) {
      return {error, {}};
    }
    const transaction_id id{term_, ++sequence_};
    if (!error) {
      error = check(changes);
    }
    if (error) {
      release(changes);
      for (database_write& change : changes) {
        change.pages.clear();
      }
      return {error, id};
    }
    const auto mine = std::make_shared<in_flight>();
    mine->entry.id = id;
    for (database_write& change : changes) {
      mine->entry.changes.push_back(install(change));
      mine->stores.push_back(change.store);
    }
    pending_.push_back(mine);
    release(changes);
    if (how_ == answers::at_once) {
      commit_locked();
    } else if (how_ == answers::held) {
      changed_.notify_all();
      changed_.wait(lock, [&] { return mine->settled; });
    }
    return {lie_ ? std::exchange(lie_, {}) : mine->error, id};
  }

  [[nodiscard]] std::string explain(std::error_code error) const override {
    return error == errc::not_leader ? "this replica does not lead: write on 'other'"
                                     : error.message();
  }

  [[nodiscard]] const consensus_abilities& abilities() const noexcept override {
    return abilities_;
  }
  [[nodiscard]] clock_reading now() noexcept override {
    ++asked_;
    return now_;
  }
  [[nodiscard]] std::uint64_t random() noexcept override {
    ++asked_;
    return number_++;
  }
  void sleep(milliseconds span) noexcept override {
    slept_ms_ += span.value;
    if (during_sleep_) {
      during_sleep_();
    }
  }

 private:
  struct in_flight {
    recorded_entry entry;
    std::vector<std::shared_ptr<page_store>> stores;
    std::error_code error;
    bool settled = false;
  };

  std::error_code check(std::span<database_write> changes) const {
    if (!leading_) {
      return make_error_code(errc::not_leader);
    }
    for (std::size_t i = 0; i < changes.size(); ++i) {
      const database_write& change = changes[i];
      const bool fresh = change.ticket.term == term_ &&
                         change.ticket.history == change.store->history() &&
                         change.base->version() == change.store->head().version;
      if (!fresh || writers_.holder_of(*change.target) != change.writer ||
          (i > 0 && changes[i - 1].target->name() >= change.target->name())) {
        return make_error_code(errc::stale_term);
      }
    }
    return {};
  }

  static recorded_change install(database_write& change) {
    recorded_change record{
        change.target->name(), change.pages.front()->page_size(), change.page_count, 0, {}};
    for (const page_block& page : change.pages) {
      page->set_hash(page_hash(page->number(), page->image()));
      record.pages.emplace(page->number().value, bytes(page->image().begin(), page->image().end()));
    }
    record.hash = change.store->hash_after(change.pages, change.page_count, *change.base);
    const std::error_code error = change.store->install_head(
        change.ticket.history, std::move(change.pages), change.page_count, record.hash);
    QUORLITE_ASSERT(!error);
    change.committed = change.store->pin_head();
    return record;
  }

  void release(std::span<database_write> changes) {
    for (const database_write& change : changes) {
      writers_.release(*change.target, change.writer);
    }
    changed_.notify_all();
  }

  void commit_locked() {
    const auto oldest = pending_.front();
    pending_.pop_front();
    for (const auto& store : oldest->stores) {
      store->commit_next();
    }
    for (const recorded_change& change : oldest->entry.changes) {
      registry_.find(change.name)->set_exists(true);
    }
    entries_.push_back(oldest->entry);
    oldest->settled = true;
    changed_.notify_all();
  }

  const std::uint64_t lock_byte_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  registry registry_;
  std::deque<std::shared_ptr<in_flight>> pending_;
  std::deque<std::error_code> refusals_;
  std::function<void()> during_commit_;
  std::function<void()> during_sleep_;
  std::error_code lie_;
  std::vector<recorded_entry> entries_;
  answers how_ = answers::at_once;
  term term_{1};
  std::uint64_t sequence_ = 0;
  bool leading_ = true;
  std::atomic<std::size_t> commit_calls_{0};
  std::atomic<std::size_t> quiet_waits_{0};
  consensus_abilities abilities_{};
  clock_reading now_{};
  std::atomic<std::uint64_t> number_{0};
  std::atomic<std::uint64_t> asked_{0};
  std::atomic<std::uint64_t> slept_ms_{0};
  waiting_engine engine_;
  writer_queue writers_{engine_};
};

}  // namespace quorlite::tests
