// An engine that does nothing by itself, and a machine on it: the test decides what enters the log,
// when it is applied, what is settled and who leads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/commit/write_plan.hpp"
#include "quorlite/detail/machine/database_write.hpp"
#include "quorlite/detail/machine/prepare_frames.hpp"
#include "quorlite/detail/machine/proposals.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/fsm.hpp"
#include "quorlite/storage/memory.hpp"

namespace quorlite::tests {

using namespace quorlite;  // NOLINT: tests of this library only

using namespace quorlite::detail;  // NOLINT: tests of this library only

inline constexpr std::uint32_t page_bytes = 512;
inline constexpr std::uint64_t lock_byte = 5 * page_bytes + 17;  // page 6 is never data
inline constexpr std::uint32_t never_data = 6;

/// A flag; waiting for it is the engine's business.
class manual_signal {
 public:
  void raise() noexcept { raised_.store(true); }
  [[nodiscard]] bool raised() const noexcept { return raised_.load(); }

 private:
  std::atomic<bool> raised_{false};
};

/// Records what is proposed, and calls a hook from inside propose() and wait().
template <bool EntryTerms, bool Contiguous>
class basic_manual_consensus {
 public:
  static constexpr consensus_abilities abilities{.entry_terms = EntryTerms,
                                                 .contiguous = Contiguous};
  using signal_type = manual_signal;

  struct proposed_entry {
    term expected;
    proposal_token token;
    bytes entry;
  };

  std::error_code start(state_machine&) noexcept { return {}; }
  void stop() noexcept {}
  void propose(term expected, proposal_token token, bytes_view entry) noexcept {
    proposed.push_back({expected, token, bytes(entry.begin(), entry.end())});
    if (on_propose) {
      on_propose(proposed_entry{proposed.back()});
    }
  }
  [[nodiscard]] std::size_t max_entry_bytes() const noexcept { return entry_bytes; }
  [[nodiscard]] transaction_limit largest_transaction() const noexcept { return largest; }
  bool wait(signal_type& signal, milliseconds) noexcept {
    if (on_wait && !signal.raised()) {
      on_wait();
    }
    return signal.raised();
  }

  void withdraw() noexcept {
    ++withdrawals;
    if (on_withdraw) {
      on_withdraw();
    }
  }

  std::vector<proposed_entry> proposed;
  std::atomic<int> withdrawals{0};
  std::function<void(const proposed_entry&)> on_propose;
  std::function<void()> on_wait;
  std::function<void()> on_withdraw;
  std::size_t entry_bytes = std::size_t{1} << 20U;
  transaction_limit largest;
};

using manual_consensus = basic_manual_consensus<true, true>;
static_assert(consensus<manual_consensus>);

/// What a writer changes in one database: page number to a value that its bytes show.
struct change {
  std::string name;
  std::map<std::uint32_t, std::uint8_t> pages;
  std::uint64_t page_count = 0;  ///< 0: as it was, or as far as `pages` reach
};

/// A new image: a page that was there changes in a few bytes, another in all of them.
/// @param before the page as it is; empty: there is none
inline void paint(page_version& page, bytes_view before, std::uint8_t value) {
  const bytes_span image = page.image();
  if (before.empty()) {
    for (std::size_t at = 0; at < image.size(); ++at) {
      image[at] = static_cast<std::byte>(value + at * 7 + page.number().value);
    }
    return;
  }
  std::memcpy(image.data(), before.data(), image.size());
  for (std::size_t at = 0; at < 3; ++at) {
    image[(value * 31U + at) % image.size()] = static_cast<std::byte>(value);
  }
}

/// The pages of a change, built on `base`, without holes behind its end.
inline std::vector<page_block> painted(const change& wanted,
                                       const std::shared_ptr<page_store>& store,
                                       const page_store::pin& base, std::uint64_t& page_count) {
  page_count = wanted.page_count;
  if (page_count == 0) {
    page_count = base.page_count();
    if (!wanted.pages.empty() && wanted.pages.rbegin()->first > page_count) {
      page_count = wanted.pages.rbegin()->first;
    }
  }
  page_store::reader reader(store);
  std::vector<page_block> pages;
  for (const auto& [number, value] : wanted.pages) {
    page_block page = make_page(page_number{number}, page_bytes);
    const auto guard = reader.enter();
    paint(*page, reader.image(guard, base, page->number()).value(), value);
    pages.push_back(std::move(page));
  }
  static_cast<void>(fill_growth(pages, base.page_count(), page_count, page_bytes, lock_byte));
  return pages;
}

/// A database, copied out.
struct database_copy {
  page_store::state state;
  std::map<std::uint32_t, std::vector<std::byte>> pages;
  std::uint64_t hash = 0;  ///< computed from the pages

  friend bool operator==(const database_copy&, const database_copy&) = default;
};

inline database_copy copy_of(const std::shared_ptr<page_store>& store, const page_store::pin& at) {
  database_copy copied;
  copied.state = at.at();
  page_store::reader reader(store);
  for (std::uint32_t number = 1; number <= at.page_count(); ++number) {
    const auto guard = reader.enter();
    const bytes_view image = reader.image(guard, at, page_number{number}).value();
    if (!image.empty()) {
      copied.pages[number].assign(image.begin(), image.end());
      copied.hash += page_hash(page_number{number}, image);
    }
  }
  return copied;
}

/// One line of a log.
struct log_line {
  log_position at;
  bytes entry;
};

/// A transaction that was entered and proposed, and what its waiter holds.
template <class Machine>
struct sent_transaction {
  transaction_id id;
  machine_state::row row;
  proposal_token first;
  std::vector<bytes> entries;
  std::vector<database_write> writes;
  std::error_code error;
};

/// A machine with its engine. `storage` outlives it, so restart() is a restart.
template <class Consensus = manual_consensus>
class basic_bench {
 public:
  using machine_type = fsm<Consensus, memory_storage>;
  using sent = sent_transaction<machine_type>;

  explicit basic_bench(std::uint64_t cluster_id = 7) : cluster_id_(cluster_id) { restart(); }

  /// The process ends, and another starts on what the storage holds.
  std::error_code restart() {
    machine_ = std::make_unique<machine_type>(
        storage, fsm_options{.cluster_id = cluster_id_, .lock_byte = lock_byte});
    return machine_->load();
  }

  machine_type& machine() { return *machine_; }
  machine_type* operator->() { return machine_.get(); }

  // ---- the engine's part

  apply_result apply(const log_line& line) { return machine_->apply({line.at, line.entry}); }
  /// At the next index, in `in_term`.
  apply_result apply_next(bytes_view entry, term in_term) {
    return machine_->apply({{machine_->applied().index.next(), in_term}, entry});
  }
  apply_result apply_next(const command& what, term in_term) {
    return apply_next(encoded(what), in_term);
  }
  /// All entries of a transaction, in its own term.
  apply_result apply_all(const sent& one) {
    apply_result last = apply_result::already;
    for (const bytes& entry : one.entries) {
      last = apply_next(entry, one.id.term);
    }
    return last;
  }
  void lead(std::uint64_t in_term) { machine_->leadership_changed({term{in_term}, true, "me"}); }
  void lose(std::uint64_t in_term) {
    machine_->leadership_changed({term{in_term}, false, "another"});
  }

  // ---- the writer's part

  static bytes encoded(const command& what) {
    bytes out;
    static_cast<void>(native::encode(what, out, lock_byte));
    return out;
  }
  std::shared_ptr<page_store> store(std::string_view name) {
    const auto found = machine_->databases().find(name);
    return found == nullptr ? nullptr : found->store();
  }

  /// Applies an open of this name, under an id that no transaction of these tests has.
  apply_result open(std::string_view name, term in_term = term{1}) {
    return apply_next({{in_term, 900'000 + ++opened_}, open_command{name}}, in_term);
  }

  /// Enters a transaction that is built on the heads, and proposes it.
  /// @param at_most bytes of one entry
  sent send(std::vector<change> changes, std::size_t at_most = 1U << 20U,
            bool wait_until_certain = false) {
    sent made;
    made.row = row_of({});
    const term in_term = machine_->leader().term;
    made.error = name(made.row, in_term);
    if (made.error) {
      return made;
    }
    made.id = made.row->id;
    made.row->wait_until_certain = wait_until_certain;
    write_plan plan;
    for (const change& one : changes) {
      const auto target = machine_->databases().find(one.name);
      const std::shared_ptr<page_store> on = target->store();
      const page_store::pin base = on->pin_head();
      database_write write;
      write.target = target;
      write.store = on;
      write.base = &base;
      write.ticket = {in_term, base.history()};
      write.pages = painted(one, on, base, write.page_count);
      made.error = plan.add(write);
      if (made.error) {
        return made;  // the base was taken back meanwhile
      }
      write.base = nullptr;
      made.writes.push_back(std::move(write));
    }
    result<std::vector<bytes>> entries =
        plan.entries(made.id, at_most, lock_byte, made.row->witness);
    if (!entries) {
      made.error = entries.error();
      return made;
    }
    made.entries = std::move(*entries);
    propose(made);
    return made;
  }

  /// Proposes any other command of this leadership.
  sent send_command(decltype(command::body) body) {
    sent made;
    made.row = row_of({});
    made.error = name(made.row, machine_->leader().term);
    QUORLITE_ASSERT(!made.error);
    made.id = made.row->id;
    made.entries.push_back(encoded(command_of(made.id, made.row->witness, std::move(body))));
    propose(made);
    return made;
  }

  /// Enters a transaction and applies it.
  sent commit(std::vector<change> changes, std::size_t at_most = 1U << 20U) {
    sent made = send(std::move(changes), at_most);
    if (!made.error) {
      apply_all(made);
    }
    return made;
  }

  proposal_state answer_of(const sent& one) {
    const auto held = machine_->state().hold();
    return one.row->state;
  }
  settle_reason reason_of(const sent& one) {
    const auto held = machine_->state().hold();
    return one.row->why;
  }

  log_position position_of(const sent& one) {
    const auto held = machine_->state().hold();
    return one.row->at;
  }
  bool was_raised(const machine_state::row& row) {
    return row->signal.wait(port_, milliseconds{0});
  }
  bool is_quiet(const database& target) {
    const auto held = machine_->state().hold();
    const std::shared_ptr<page_store> on = target.store();
    return on->head().version == on->committed().version;
  }

  // ---- the machine, as a proposer sees it

  result<transaction_id> next_id(term expected) {
    const auto held = machine_->state().hold();
    return machine_->state().proposals().next_id(expected);
  }
  std::error_code name(const machine_state::row& row, term in_term) {
    const auto held = machine_->state().hold();
    return machine_->state().name_proposal(*row, in_term);
  }
  machine_state::row row_of(transaction_id id) {
    auto made = std::make_shared<proposal>(port_);
    made->id = id;
    return made;
  }
  result<proposal_token> enter(const machine_state::row& row, std::span<database_write> writes,
                               std::uint32_t entries) {
    const auto held = machine_->state().hold();
    return machine_->state().enter(row, writes, entries);
  }
  consensus_port& port() { return port_; }

  // ---- looking

  database_copy copy(std::string_view name) {
    const std::shared_ptr<page_store> from = store(name);
    return copy_of(from, from->pin_committed());
  }
  std::map<std::string, database_copy> all() {
    std::map<std::string, database_copy> copies;
    for (const auto& one : machine_->databases().existing()) {
      copies.emplace(one->name(), copy(one->name()));
    }
    return copies;
  }
  /// True if every database's hash is the hash of its bytes.
  bool is_sound() {
    for (const auto& [name, one] : all()) {
      if (one.hash != one.state.hash) {
        return false;
      }
    }
    return true;
  }

  bytes snapshot() {
    const auto reader = machine_->take_snapshot();
    if (!reader) {
      return {};
    }
    bytes whole(static_cast<std::size_t>((*reader)->size_bytes()));
    static_cast<void>((*reader)->read(0, whole));
    return whole;
  }
  /// Restores, in pieces of `piece` bytes.
  std::error_code restore(bytes_view whole, std::size_t piece = 4096, log_position engine_at = {}) {
    auto stage = *machine_->begin_restore();
    for (std::size_t at = 0; at < whole.size(); at += piece) {
      const auto part = whole.subspan(at, std::min(piece, whole.size() - at));
      if (const std::error_code error = stage->append(part)) {
        return error;
      }
    }
    if (const std::error_code error = stage->finish()) {
      return error;
    }
    installed = machine_->install(std::move(stage), engine_at);
    return {};
  }

  memory_storage storage;
  Consensus engine;
  apply_result installed = apply_result::halted;  ///< the answer to the last restore()

 private:
  void propose(sent& made) {
    const auto count = static_cast<std::uint32_t>(made.entries.size());
    const auto first = enter(made.row, made.writes, count);
    if (!first) {
      made.error = first.error();
      return;
    }
    made.first = *first;
    for (std::uint32_t i = 0; i < count; ++i) {
      engine.propose(made.id.term, proposal_token{first->value + i}, made.entries[i]);
    }
    hand_over(made.row);
    made.writes.clear();  // the standing pins go
  }

  void hand_over(const machine_state::row& row) {
    const auto held = machine_->state().hold();
    machine_->state().proposals().hand_over(row);
  }

  consensus_port_of<Consensus> port_{engine};
  std::uint64_t cluster_id_;
  std::uint64_t opened_ = 0;
  std::unique_ptr<machine_type> machine_;
};

using bench = basic_bench<>;

}  // namespace quorlite::tests
