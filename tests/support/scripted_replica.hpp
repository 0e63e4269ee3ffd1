// A replica on an engine that does what a test says: SQL above, one ruling for each entry below.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/pages/registry.hpp"
#include "quorlite/replica.hpp"
#include "support/manual_consensus.hpp"
#include "support/sql.hpp"
#include "support/started_replica.hpp"

namespace quorlite::tests {

/// What the engine does with one frames entry.
struct ruling {
  enum class kind : std::uint8_t {
    commits,   ///< at once, on this replica too
    refuses,   ///< it never will be in the log
    doubts,    ///< it may be in the log, as the engine says while the client waits
    deposes,   ///< leadership is lost while the entry is on its way
    is_silent  ///< nothing is heard of it
  };
  kind what = kind::commits;
  settle_reason why = settle_reason::none;
};

/// Options of a replica whose clients are impatient. @param entry_bytes where transactions are cut
inline replica_options impatient(std::size_t entry_bytes = 65536) {
  replica_options options;
  options.commit_timeout = milliseconds{10};
  options.entry_bytes = entry_bytes;
  return options;
}

/// Leads in term 1 from the start. Entries for which there is no ruling are committed at once.
class scripted_replica {
 public:
  using replica_type = started_replica<manual_consensus, memory_storage>;
  using proposed_entry = manual_consensus::proposed_entry;

  explicit scripted_replica(replica_options options = impatient())
      : replica_(engine_, storage_, options) {
    REQUIRE_FALSE(replica_.status());
    engine_.on_propose = [this](const proposed_entry& one) { take(one); };
    engine_.on_wait = [this] { tell_doubts(); };
    lead(1);
  }

  [[nodiscard]] replica_type& replica() noexcept { return replica_; }
  replica_type* operator->() noexcept { return &replica_; }
  [[nodiscard]] manual_consensus& engine() noexcept { return engine_; }

  /// A connection that waits for no other writer.
  [[nodiscard]] connection connect(std::string_view name = "a.db") {
    auto opened = replica_.open(name, {.page_size = 512, .busy_timeout = milliseconds{0}});
    REQUIRE(opened.has_value());
    return std::move(*opened);
  }

  void lead(std::uint64_t in_term) {
    term_ = term{in_term};
    replica_.machine().leadership_changed({term_, true, "me"});
  }
  /// Another server leads from this term on, as an entry of it says.
  void follow(std::uint64_t in_term) {
    replica_.machine().leadership_changed({term{in_term}, false, "another"});
    apply({{term{in_term}, 1'000'000}, barrier_command{}});
  }

  /// For the frames entries to come, one each.
  void rule(std::vector<ruling> rulings) { rulings_.assign(rulings.begin(), rulings.end()); }

  /// What was proposed and is neither committed nor refused: in order.
  [[nodiscard]] const std::deque<proposed_entry>& on_their_way() const { return on_their_way_; }
  /// The oldest of them turns out to be committed.
  apply_result commit_oldest() {
    const proposed_entry one = std::move(on_their_way_.front());
    on_their_way_.pop_front();
    return apply(one.entry, one.expected);
  }

  apply_result apply(const command& what) {
    bytes entry;
    REQUIRE_FALSE(native::encode(what, entry, limits::lock_byte_default));
    return apply(entry, what.id.term);
  }
  apply_result apply(bytes_view entry, term in_term) {
    return replica_.machine().apply({{replica_.applied().index.next(), in_term}, entry});
  }

  [[nodiscard]] bytes snapshot() {
    const auto reader = replica_.machine().take_snapshot();
    REQUIRE(reader.has_value());
    bytes whole(static_cast<std::size_t>((*reader)->size_bytes()));
    REQUIRE_FALSE((*reader)->read(0, whole));
    return whole;
  }
  [[nodiscard]] std::error_code restore(bytes_view whole) {
    auto stage = *replica_.machine().begin_restore();
    if (const std::error_code error = stage->append(whole)) {
      return error;
    }
    if (const std::error_code error = stage->finish()) {
      return error;
    }
    static_cast<void>(replica_.machine().install(std::move(stage), {}));
    return {};
  }

 private:
  void take(const proposed_entry& one) {
    if (!replica_.leader().leading) {
      replica_.machine().settled(one.token, outcome::not_applied, settle_reason::not_leader);
      return;
    }
    const auto decoded = native::decode(one.entry, limits::lock_byte_default);
    REQUIRE(decoded.has_value());
    ruling now;
    if (std::holds_alternative<write_set_command>(decoded->body) && !rulings_.empty()) {
      now = rulings_.front();
      rulings_.pop_front();
    }
    switch (now.what) {
      case ruling::kind::commits:
        CHECK(apply(one.entry, one.expected) == apply_result::applied);
        break;
      case ruling::kind::refuses:
        replica_.machine().settled(one.token, outcome::not_applied, now.why);
        break;
      case ruling::kind::doubts:
        on_their_way_.push_back(one);
        doubts_.emplace_back(one.token, now.why);
        break;
      case ruling::kind::deposes:
        on_their_way_.push_back(one);
        replica_.machine().leadership_changed({term_, false, "another"});
        break;
      case ruling::kind::is_silent: on_their_way_.push_back(one); break;
    }
  }

  void tell_doubts() {
    for (const auto& [token, why] : std::exchange(doubts_, {})) {
      replica_.machine().settled(token, outcome::unknown, why);
    }
  }

  memory_storage storage_;
  manual_consensus engine_;
  replica_type replica_;
  term term_;
  std::deque<ruling> rulings_;
  std::deque<proposed_entry> on_their_way_;
  std::vector<std::pair<proposal_token, settle_reason>> doubts_;
};

}  // namespace quorlite::tests
