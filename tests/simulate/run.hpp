// One seed: a cluster, its clients and faults, and what must hold at the end.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "clients.hpp"
#include "damaged_page.hpp"
#include "faults.hpp"
#include "greedy_writer.hpp"
#include "history.hpp"
#include "long_reader.hpp"
#include "page_writer.hpp"
#include "plan.hpp"
#include "quorlite/detail/pages/page_version.hpp"
#include "servers.hpp"
#include "slow_writer.hpp"
#include "upgrader.hpp"
#include "whole_state.hpp"

namespace simulate {

struct report {
  std::uint64_t seed = 0;
  std::string checker;  ///< empty: all held
  std::string what;
  std::uint64_t event_hash = 0;
  std::uint64_t events = 0;
  std::uint64_t virtual_ms = 0;
  std::uint64_t transactions = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t unknown = 0;
  std::uint64_t resolved = 0;
  std::uint64_t reads = 0;
  std::uint64_t boots = 0;
  std::uint64_t halts = 0;
  std::uint64_t installs = 0;
  std::uint64_t at_phases = 0;  ///< faults that came at a phase
  std::string excused;          ///< a loss over damage that nothing could tell of: its kind
  marks seen;

  [[nodiscard]] bool ok() const noexcept { return checker.empty(); }
};

struct run_options {
  std::function<void(std::string_view)> trace;
  std::uint64_t until_event = ~std::uint64_t{0};
};

class one_run {
 public:
  one_run(const plan& chosen, const run_options& options)
      : plan_(chosen), options_(options), cluster_(chosen, options.trace), faults_(cluster_) {}

  [[nodiscard]] report operator()() {
    report out;
    out.seed = plan_.seed;
    try {
      set_up();
      work();
      if (plan_.majority_first) {
        settle_majority();
      }
      settle();
      look_for_damage();
      restart_in_the_middle();
      settle();
      leave_half_done();
      settle();
      look_for_orphans();
      try_everyone();
      settle();
      cluster_.note_health();
      make_flushes_due();
      look_for_leftovers();
      examine();
      start_anew();
      damage_a_page();
      cluster_.note_harmless();
    } catch (const violation& found) {
      out.what = found.what();
      cluster_.excuse().empty() ? out.checker = found.checker() : out.excused = cluster_.excuse();
    } catch (const std::exception& found) {
      out.checker = "unexpected";
      out.what = found.what();
    }
    if (!out.ok()) {
      cluster_.trace().tell("checker", out.what, {{"checker", out.checker}});
    }
    faults_.end();
    all_.transactions_left = 0;  // else clients that are not done would go on for ever
    all_.is_over = true;
    cluster_.world().finish_clients();
    out.event_hash = cluster_.world().event_hash();
    out.events = cluster_.world().events();
    out.virtual_ms = cluster_.world().now().value;
    out.boots = cluster_.boots();
    out.halts = cluster_.halts();
    out.installs = cluster_.installs();
    out.at_phases = cluster_.struck();
    out.seen = cluster_.seen();
    out.reads = all_.reads;
    out.resolved = all_.resolved;
    for (const transaction& one : record_.transactions()) {
      ++out.transactions;
      out.acknowledged += one.fate == fate::acknowledged ? 1 : 0;
      out.unknown += one.fate == fate::unknown ? 1 : 0;
    }
    return out;
  }

 private:
  template <class Predicate>
  bool run_until(Predicate&& holds, std::uint64_t limit_ms) {
    const bool held = cluster_.run_until(
        [&] {
          cluster_.throw_if_broken();
          if (cluster_.world().events() >= options_.until_event) {
            throw violation("stopped", "as --until said");
          }
          return holds();
        },
        milliseconds{limit_ms});
    cluster_.throw_if_broken();
    return held;
  }

  /// The schema, before anything goes wrong but on the wires.
  void set_up() {
    bool done = false;
    cluster_.world().spawn([&] {
      for (std::size_t database = 0; database < plan_.work.databases; ++database) {
        while (all_.transactions_left > 0 && !is_set_up(database)) {
          all_.sleep(50);
        }
      }
      done = true;
    });
    require(run_until([&] { return done; }, 300'000), "liveness",
            "a healthy cluster takes no transaction");
  }
  [[nodiscard]] bool is_set_up(std::size_t database) {
    const std::optional<server_id> leader = cluster_.leader();
    line to = leader ? connect(all_, *leader, database) : line{};
    // Set again on a database that has it, it is a transaction of its own.
    if (!to.is_open() ||
        run(to.db, "PRAGMA auto_vacuum=" + std::to_string(plan_.auto_vacuum)) != SQLITE_OK ||
        run(to.db, "BEGIN IMMEDIATE") != SQLITE_OK) {
      return false;
    }
    for (const std::string& sql : schema()) {
      if (run(to.db, sql) != SQLITE_OK) {
        return false;
      }
    }
    return run(to.db, "COMMIT") == SQLITE_OK;
  }

  void work() {
    cluster_.trace().tell("run", "clients and faults begin");
    for (std::uint64_t i = 0; i < plan_.work.writers; ++i) {
      cluster_.world().spawn([mine = std::make_shared<writer>(all_, i)] { (*mine)(); });
    }
    for (std::uint64_t i = 0; i < plan_.work.readers; ++i) {
      cluster_.world().spawn([mine = std::make_shared<reader>(all_, i)] { (*mine)(); });
    }
    for (std::uint64_t i = 0; i < plan_.work.long_readers; ++i) {
      cluster_.world().spawn([mine = std::make_shared<long_reader>(all_, i)] { (*mine)(); });
    }
    for (std::uint64_t i = 0; i < plan_.work.page_writers; ++i) {
      cluster_.world().spawn([mine = std::make_shared<page_writer>(all_, i)] { (*mine)(); });
    }
    for (std::uint64_t i = 0; i < plan_.work.slow_writers; ++i) {
      cluster_.world().spawn([mine = std::make_shared<slow_writer>(all_, i)] { (*mine)(); });
    }
    for (std::uint64_t i = 0; i < plan_.work.greedy_writers; ++i) {
      cluster_.world().spawn([mine = std::make_shared<greedy_writer>(all_, i)] { (*mine)(); });
    }
    if (plan_.history == history_kind::upgraded) {
      cluster_.world().spawn([mine = std::make_shared<upgrader>(all_)] { (*mine)(); });
    }
    faults_.begin();
    static_cast<void>(
        run_until([&] { return cluster_.world().unfinished_clients() == 0; }, 25'000));
    all_.transactions_left = 0;  // some plans leave no time for all of them
  }

  /// Faults end, and a random majority is healed: whoever waits is answered, and those come to the
  /// same state and take transactions by themselves, while the others stay down or cut off.
  void settle_majority() {
    faults_.end();
    const std::vector<server_id> core = faults_.draw_majority();
    cluster_.heal_only(core, plan_.others_down);
    come_to_one_state(core, "a majority");
    const auto answer = [this] {
      writer asks(all_, plan_.work.writers + 100);
      for (int attempt = 0; attempt < 50 && !welcome_; ++attempt) {
        const std::optional<server_id> leader = cluster_.leader();
        welcome_ = leader && asks.is_welcome(*leader, 0);
        all_.sleep(100);
      }
    };
    cluster_.world().spawn(answer);
    require(
        run_until([&] { return cluster_.world().unfinished_clients() == 0; }, 120'000) && welcome_,
        "liveness", "a majority takes no transaction" + cluster_.status());
    come_to_one_state(core, "a majority");
    const std::uint64_t acknowledged = record_.acknowledged(0);
    for (const server_id id : core) {
      const std::string found = ask(connect(all_, id, 0).db, "SELECT count(*) FROM log");
      require(found[0] != '!' && std::stoull(found) >= acknowledged, "liveness",
              servers::name_of(id) + " of a majority shows " + found + " transactions of " +
                  std::to_string(acknowledged));
    }
  }
  /// Faults end; whoever waits is answered, and all replicas come to the same state.
  void settle() {
    faults_.end();
    cluster_.trace().tell("run", "everything is healed");
    cluster_.heal_everything();
    come_to_one_state({}, "the cluster");
  }
  /// @param among empty: all, whoever they are by then
  void come_to_one_state(const std::vector<server_id>& among, const std::string& who) {
    cluster_.world().network().set_all({});  // else a large snapshot takes minutes over some wires
    require(run_until([&] { return cluster_.world().unfinished_clients() == 0; }, 120'000),
            "liveness", "clients still wait after " + who + " was healed");
    const bool settled = run_until([&] { return is_settled(among); }, 120'000);
    require(settled, "liveness",
            "the replicas of " + who + " do not come to the same state" + cluster_.status());
  }
  [[nodiscard]] bool is_settled(const std::vector<server_id>& of) {
    cluster_.look_after_damage();
    const std::vector<server_id> among = of.empty() ? cluster_.ids() : of;
    for (const server_id id : among) {
      cluster_.start(id);
      cluster_.maintain(id);
    }
    const bool all_belong = plan_.faults.membership == 0 || cluster_.make_all_vote();
    return all_belong && cluster_.is_damage_settled() && cluster_.is_even(among);
  }
  /// Damage that nobody has noticed may yet be, by who would have to lead or to follow with it: if
  /// all is well then, it did no harm.
  void look_for_damage() {
    for (int times = 0; times < 2 && cluster_.damaged_count() > 0; ++times) {
      for (const server_id id : cluster_.ids()) {
        cluster_.world().transfer(id);
        cluster_.world().run_for(milliseconds{500});
        cluster_.throw_if_broken();
      }
      settle();
    }
  }

  /// A follower starts again in the middle of a transaction of several entries, behind whose first
  /// one a transaction to another database came and ended: only what is open is open again.
  void restart_in_the_middle() {
    const std::optional<server_id> leader = cluster_.leader();
    const bool can_be = plan_.storage != storage_kind::volatile_memory &&
                        plan_.work.databases > 1 && plan_.entry_bytes <= 100'000 &&
                        plan_.in_flight_bytes <= 3 * plan_.entry_bytes;  // else one goes at once
    std::vector<server_id> others = cluster_.ids();
    std::erase(others, leader.value_or(server_id{}));
    if (!leader || !can_be || others.empty()) {
      return;
    }
    auto& world = cluster_.world();
    const server_id id = others.front();
    const std::uint64_t before = version_of(id, 1);
    for (std::size_t database = 0; database < 2; ++database) {
      world.spawn([this, database, on = *leader, entries = database == 0 ? 12 : 2] {
        writer much(all_, plan_.work.writers + 300 + database);
        much.write_much(on, database, static_cast<std::size_t>(entries) * plan_.entry_bytes);
      });
    }
    const auto is_between = [&] {
      const std::shared_ptr<process> here = cluster_.running(id);
      return here && here->replica().metrics().staged_bytes > 0 && version_of(id, 1) > before;
    };
    static_cast<void>(
        run_until([&] { return world.unfinished_clients() == 0 || is_between(); }, 20'000));
    if (is_between() && !cluster_.running(id)->replica().flush()) {
      cluster_.mark("a restart: in the middle of a transaction, behind another one");
      cluster_.crash(id, crash_kind::killed);
      cluster_.start(id);
    }
  }

  [[nodiscard]] std::uint64_t version_of(server_id id, std::size_t database) {
    const content all = cluster_.running(id)->content();
    const auto found = all.find(shared::name_of(database));
    return found == all.end() ? 0 : found->second.version;
  }

  /// A leader falls in the middle of a transaction of several entries, and then nobody writes.
  void leave_half_done() {
    const std::optional<server_id> leader = cluster_.leader();
    if (!leader || plan_.entry_bytes > 100'000) {
      return;
    }
    auto& world = cluster_.world();
    world.depose_leader_when(quorlite::testing::commit_phase::enqueued,
                             world.node(*leader).leading_state().commands + 3);
    world.spawn([this, id = *leader] {
      writer(all_, plan_.work.writers + 200).write_much(id, 0, 6 * plan_.entry_bytes);
    });
    require(run_until([&] { return world.unfinished_clients() == 0; }, 120'000), "liveness",
            "a large transaction has no end");
    world.depose_nobody();
  }

  /// What fallen leaders left half-done was taken back by those who followed, though nobody has
  /// written since: a flush makes all of it durable.
  void look_for_orphans() {
    for (const server_id id : cluster_.ids()) {
      std::uint64_t durable = 0;
      const bool is_whole = run_until(
          [&] {
            for (const server_id one : cluster_.ids()) {
              cluster_.maintain(one);  // a leader whose engine had no room for that tries again
            }
            const std::shared_ptr<process> here = cluster_.running(id);
            if (here == nullptr) {
              cluster_.start(id);  // a call of its disk that failed before now is answered late
              return false;
            }
            if (here->replica().flush()) {
              return false;
            }
            durable = here->replica().metrics().durable.index.value;
            return durable == here->replica().applied().index.value;
          },
          20'000);
      require(is_whole, "resources",
              servers::name_of(id) + " waits for the rest of a transaction behind index " +
                  std::to_string(durable));
    }
  }

  /// Whoever leads, each database takes a transaction: nothing that was taken for good is missing
  /// (room for entries under way, the turn of a writer).
  void try_everyone() {
    for (const server_id id : cluster_.ids()) {
      bool held = false;
      for (int attempt = 0; attempt < 20 && !held; ++attempt) {
        is_taken_ = false;
        cluster_.world().spawn([this, id] { is_taken_ = everything_is_taken(id); });
        held = run_until([&] { return cluster_.world().unfinished_clients() == 0; }, 120'000) &&
               is_taken_;
      }
      require(held, "liveness",
              "with " + servers::name_of(id) + " at the head no transaction succeeds" +
                  cluster_.status());
    }
  }
  [[nodiscard]] bool everything_is_taken(server_id id) {
    for (int attempt = 0; attempt < 20 && cluster_.leader() != id; ++attempt) {
      cluster_.world().transfer(id);
      all_.sleep(100);
    }
    writer asks(all_, plan_.work.writers + id.value);
    for (std::size_t database = 0; database < plan_.work.databases; ++database) {
      if (!asks.is_welcome(id, database)) {
        return false;
      }
    }
    return true;
  }

  /// Three times entries enough that a flush is due on every server, where that is not many. One
  /// that has to wait for the parts of a transaction is made when the next one is due.
  void make_flushes_due() {
    constexpr std::uint64_t each = 4000;
    flushes_are_due_ = plan_.flush_bytes <= each;
    for (int times = flushes_are_due_ ? 3 : 0; times > 0; --times) {
      cluster_.world().spawn([this] {
        writer fills(all_, plan_.work.writers + 200);
        if (const std::optional<server_id> leader = cluster_.leader()) {
          static_cast<void>(fills.is_welcome(*leader, 0, each));
        }
      });
      come_to_one_state({}, "the cluster");
    }
  }

  /// With everybody gone, nothing is held for them; a flush makes all of it durable.
  void look_for_leftovers() {
    for (const server_id id : cluster_.ids()) {
      quorlite::replica& here = cluster_.running(id)->replica();
      const bool flushes = run_until(
          [&] {
            cluster_.maintain(id);
            return !(flushes_are_due_ && cluster_.owes_flush(id)) &&
                   here.metrics().dirty_bytes <= plan_.flush_bytes + plan_.memory_bytes / 4;
          },
          20'000);
      require(flushes, "resources",
              servers::name_of(id) +
                  " does not flush any more: " + std::to_string(here.metrics().dirty_bytes) +
                  " dirty bytes, durable " + std::to_string(here.metrics().durable.index.value) +
                  " of " + std::to_string(here.metrics().applied.index.value));
      std::string left = "nothing";
      for (int attempt = 0; attempt < 20 && !left.empty(); ++attempt) {
        const std::error_code error = here.flush();
        require(!error, "resources", servers::name_of(id) + " cannot flush: " + error.message());
        left = leftovers(id, here);
        visit_all(id);
        cluster_.world().run_for(milliseconds{100});  // a snapshot may be under way
      }
      require(left.empty(), "resources", servers::name_of(id) + " keeps " + left);
      const std::uint64_t taken = here.metrics().memory_bytes;
      require(taken <= most_memory(here), "resources", [&] {
        return servers::name_of(id) + " takes " + std::to_string(taken) +
               " bytes for pages that are flushed, and that nobody reads; at most " +
               std::to_string(most_memory(here)) + " were promised";
      });
    }
  }
  /// What is pruned is pruned by whoever comes: a database that nobody uses keeps the rest.
  void visit_all(server_id id) {
    for (std::size_t database = 0; database < plan_.work.databases; ++database) {
      static_cast<void>(ask(connect(all_, id, database).db, "SELECT count(*) FROM log"));
    }
  }
  [[nodiscard]] std::string leftovers(server_id id, quorlite::replica& here) {
    const quorlite::replica_metrics now = here.metrics();
    // write() keeps two connections to each database that it was used for.
    const std::uint64_t kept = std::uint64_t{plan_.work.databases} * 2;
    std::string left;
    const auto add = [&left](bool is_left, std::uint64_t count, const std::string& what) {
      left += is_left ? std::to_string(count) + " " + what + "; " : "";
    };
    add(now.durable != now.applied, now.durable.index.value,
        "as its durable index of " + std::to_string(now.applied.index.value));
    add(now.dirty_bytes != 0, now.dirty_bytes, "dirty bytes");
    add(now.open_files > kept, now.open_files, "open files");
    for (const quorlite::database_status& one : here.databases()) {
      add(one.readers != 0, one.readers, "readers of " + one.name);
      add(one.dirty_bytes != 0, one.dirty_bytes, "dirty bytes of " + one.name);
    }
    left += files_left(id, here);
    return left;
  }

  /// What pages may take in memory when all of them are flushed and nobody stands on an older
  /// state: half of what the options say, and for each database the table of its pages and what
  /// was let go of and not given back yet. Of one that was dropped, or whose transactions were all
  /// taken back, these are there as well.
  [[nodiscard]] std::uint64_t most_memory(quorlite::replica& here) {
    constexpr std::uint64_t tables_bytes = 16'384;      // of a database without a page
    constexpr std::uint64_t first_page_bytes = 16'384;  // of one that had some
    constexpr std::uint64_t pages_together = 1024;      // that have a part of the table
    constexpr std::uint64_t part_bytes = pages_together * 16 + 8;
    constexpr std::uint64_t images_let_go = 32;
    const std::uint64_t image_bytes = plan_.page_size + sizeof(quorlite::detail::page_version);
    const std::uint64_t names = std::uint64_t{plan_.work.databases} + 4;  // that clients use
    // A transaction that was taken back may have needed one part more.
    std::uint64_t most =
        plan_.memory_bytes / 2 +
        names * (tables_bytes + first_page_bytes + 2 * part_bytes + images_let_go * image_bytes);
    for (const quorlite::database_status& one : here.databases()) {
      const std::uint64_t ever = std::max(one.page_count, cluster_.most_pages(one.name));
      most += ever / pages_together * part_bytes;
    }
    return most;
  }

  /// A file of a database that does not exist.
  [[nodiscard]] std::string files_left(server_id id, quorlite::replica& here) {
    if (plan_.storage == storage_kind::volatile_memory) {
      return {};
    }
    std::set<std::string> names;
    for (const quorlite::database_status& one : here.databases()) {
      names.insert(one.name);
    }
    for (const std::string& file : cluster_.cluster().disk(id).files()) {
      const std::string name = file.substr(file.rfind('/') + 1);
      if (name.ends_with(".sqlite") && !names.contains(name)) {
        return "the file " + file + " of a database that does not exist; ";
      }
    }
    return {};
  }

  /// What was acknowledged last is known everywhere, by its id.
  void ask_for_outcomes(const char* when) {
    std::vector<const transaction*> last;
    for (const transaction& one : record_.transactions()) {
      if (one.fate == fate::acknowledged) {
        last.push_back(&one);
      }
    }
    last.erase(last.begin(),
               last.end() - static_cast<std::ptrdiff_t>(std::min<std::size_t>(last.size(), 20)));
    for (const server_id id : cluster_.ids()) {
      for (const transaction* one : last) {
        require(cluster_.running(id)->replica().outcome(one->id) ==
                    quorlite::transaction_outcome::committed,
                "outcomes are true",
                servers::name_of(id) + " does not know transaction " + std::to_string(one->number) +
                    " " + when);
      }
    }
  }

  /// All of them lose their power at once, and are what they were.
  void start_anew() {
    std::map<std::uint64_t, content> before;
    for (const server_id id : cluster_.ids()) {
      before.emplace(id.value, cluster_.running(id)->content());
    }
    for (const server_id id : cluster_.ids()) {
      cluster_.crash(id, crash_kind::power_lost);
    }
    require(run_until([&] { return is_settled({}); }, 120'000), "liveness",
            "the replicas do not come back after all of them lost their power" + cluster_.status());
    for (const server_id id : cluster_.ids()) {
      const content now = cluster_.running(id)->content();
      require(now == before.at(id.value), "opens after a crash",
              servers::name_of(id) + " was " + text_of(before.at(id.value)) +
                  " before its power was lost, and is " + text_of(now));
    }
    for (const server_id id : cluster_.ids()) {  // what they are, to the last page
      for (std::size_t database = 0; database < plan_.work.databases; ++database) {
        const std::string sound = ask(connect(all_, id, database).db, "PRAGMA integrity_check");
        require(sound == "ok", "opens after a crash",
                servers::name_of(id) + " lost its power, and integrity_check says " + sound);
      }
    }
    ask_for_outcomes("after all of them lost their power");
  }

  /// A byte of a page changes on somebody's disk. Whatever is read of that page is right or told;
  /// and in the end, with all of it read, the server has told of it by name, or the page is not
  /// damaged any more.
  void damage_a_page() {
    if (!cluster_.has_files()) {
      return;
    }
    damaged_page page(all_);
    if (page.strike()) {
      if (page.draw_work()) {
        work_beside(page);
      } else {
        page.read_all();
      }
      if (flush_beside(page)) {
        page.read_all();
        page.is_told() ? void() : page.check_gone();
      }
    }
    settle();
  }
  /// Transactions, while it is damaged, and perhaps somebody who needs what was there before.
  void work_beside(damaged_page& page) {
    std::optional<damaged_page::old_reader> old;
    if (page.draw_old_reader()) {
      old.emplace(all_, page);
    }
    wait_beside(page);
    cluster_.world().spawn([this, bytes = page.draw_bytes()] {
      writer works(all_, plan_.work.writers + 300);
      for (std::size_t database = 0; database < plan_.work.databases; ++database) {
        if (const std::optional<server_id> leader = cluster_.leader()) {
          static_cast<void>(works.is_welcome(*leader, database, bytes));
        }
      }
    });
    require(run_until([&] { return cluster_.world().unfinished_clients() == 0; }, 120'000),
            "liveness", "clients wait while a page is damaged" + cluster_.status());
    wait_beside(page);
    if (flush_beside(page) && old) {
      page.check_read(*old, "a reader of an older state");
    }
  }
  void wait_beside(damaged_page& page) {
    const auto is_even = [&] { return page.is_told() || cluster_.is_even(cluster_.ids()); };
    require(
        run_until(is_even, 120'000), "liveness",
        "the replicas do not come to the same state while a page is damaged" + cluster_.status());
  }
  /// @returns false: it has told of the page
  [[nodiscard]] bool flush_beside(damaged_page& page) {
    std::error_code last;
    quorlite::replica_metrics now;
    const auto is_flushed = [&] {
      if (page.is_told()) {
        return true;
      }
      for (const server_id each : cluster_.ids()) {
        cluster_.maintain(each);  // a leader whose engine had no room for an undo tries again
      }
      last = page.replica().flush();
      now = page.replica().metrics();
      return !last && now.durable == now.applied;  // old readers may keep what no flush ever writes
    };
    const bool was_flushed = run_until(is_flushed, 20'000);
    require(was_flushed, "resources", [&] {
      return servers::name_of(page.whose()) + " cannot flush beside a damaged page (" +
             last.message() + "): applied " + std::to_string(now.applied.index.value) +
             ", durable " + std::to_string(now.durable.index.value);
    });
    return !page.is_told();
  }

  void examine() {
    std::map<std::uint64_t, std::string> contents;
    for (std::size_t database = 0; database < plan_.work.databases; ++database) {
      std::string expected;
      for (const server_id id : cluster_.ids()) {
        line to = connect(all_, id, database);
        require(to.is_open(), "opens after a crash",
                servers::name_of(id) + " opens nothing: " + to.why.message());
        const std::string sound = ask(to.db, "PRAGMA integrity_check");
        require(sound == "ok", "opens after a crash",
                servers::name_of(id) + ": integrity_check says " + sound);
        if (expected.empty()) {
          const std::vector<std::uint64_t> order = log_of(to.db);
          record_.check(database, order);
          expected = plain_sqlite(database, order);
        }
        const std::string here = dump(to.db);
        require(here == expected, "as plain SQLite", [&] {
          return servers::name_of(id) + ", " + shared::name_of(database) + ": " +
                 first_difference(here, expected);
        });
        check_size(id, database, ask(to.db, "PRAGMA page_count"));
      }
    }
    compare_bytes();
    record_.check_both();
    all_.causes.check();
    ask_for_outcomes("in the end");
  }
  /// Replicas at one log index have the same bytes, whatever hashes say; and each keeps the hash of
  /// what it has.
  void compare_bytes() {
    std::map<std::pair<std::uint64_t, std::string>, quorlite::bytes> first;
    for (const server_id id : cluster_.ids()) {
      const std::shared_ptr<process> here = cluster_.running(id);
      for (const auto& [name, known] : here->content()) {
        const line to = connect(all_, id, name);
        whole_state state(to, plan_);
        const std::string what = servers::name_of(id) + ", " + name;
        require(state.stands() && state.read(), "replicas are equal",
                [&] { return what + ": not every page can be read"; });
        require(state.hash() == known.hash, "replicas are equal",
                [&] { return what + " has other bytes than its own hash says"; });
        const auto [other, is_new] =
            first.try_emplace({here->replica().applied().index.value, name}, state.image());
        require(is_new || other->second == state.image(), "replicas are equal", [&, &its = other] {
          return what + " has other bytes, from page " +
                 std::to_string(state.first_difference(its->second)) + " on";
        });
      }
    }
  }
  /// A database is as long as SQLite takes it to be: what it cut off is gone.
  void check_size(server_id id, std::size_t database, const std::string& expected) {
    const content all = cluster_.running(id)->content();
    const auto found = all.find(shared::name_of(database));
    require(found != all.end() && std::to_string(found->second.page_count) == expected,
            "as plain SQLite",
            servers::name_of(id) + ": " + shared::name_of(database) + " has " + expected +
                " pages for SQLite, " + text_of(all) + " for the replica");
  }
  [[nodiscard]] static std::vector<std::uint64_t> log_of(sqlite3* db) {
    std::vector<std::uint64_t> order;
    const std::string rows = ask(db, "SELECT txn FROM log ORDER BY n");
    for (std::size_t at = 0; at < rows.size();) {
      std::size_t used = 0;
      order.push_back(std::stoull(rows.substr(at), &used));
      at += used + 1;
    }
    return order;
  }
  /// The same transactions, one after the other, on SQLite without us.
  [[nodiscard]] std::string plain_sqlite(std::size_t database,
                                         const std::vector<std::uint64_t>& order) {
    sqlite3* db = nullptr;
    static_cast<void>(
        sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr));
    const std::unique_ptr<sqlite3, int (*)(sqlite3*)> owned(db, &sqlite3_close);
    static_cast<void>(run(db, "PRAGMA page_size=" + std::to_string(plan_.page_size) +
                                  ";PRAGMA auto_vacuum=" + std::to_string(plan_.auto_vacuum)));
    for (const std::string& sql : schema()) {
      static_cast<void>(run(db, sql));
    }
    for (const std::uint64_t number : order) {
      static_cast<void>(run(db, "BEGIN"));
      for (const statement& each : record_.at(number).statements) {
        const bool is_here = each.other == (record_.at(number).database != database);
        if (!is_here) {
          continue;
        }
        std::string sql = each.sql;
        if (each.other) {
          sql.erase(sql.find(" o.") + 1, 2);
        }
        const int code = run(db, sql);
        require(code == each.code, "as plain SQLite", [&] {
          return "transaction " + std::to_string(number) +
                 (record_.at(number).grouped ? " (in a group)" : "") + " of " +
                 shared::name_of(database) + " got " + std::to_string(each.code) + " (" +
                 each.said + ") for `" + each.sql.substr(0, 120) + "`, plain SQLite gives " +
                 std::to_string(code);
        });
      }
      static_cast<void>(run(db, "COMMIT"));
    }
    return dump(db);
  }
  /// Schema and rows, in an order of their own; without sqlite_sequence, which VACUUM may drop, and
  /// statistics.
  [[nodiscard]] static std::string dump(sqlite3* db) {
    std::string all = ask(db, "PRAGMA user_version") + "\n" +
                      ask(db, "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE "
                              "'sqlite_s%' ORDER BY 1, 2");
    const std::string tables =
        ask(db, "SELECT name FROM sqlite_schema WHERE type='table' AND name NOT "
                "LIKE 'sqlite_s%' AND name NOT LIKE 'words_%' ORDER BY 1");
    for (std::size_t at = 0; at < tables.size();) {
      const std::size_t end = std::min(tables.find(';', at), tables.size());
      const std::string name = tables.substr(at, end - at);
      all += "\n" + name + ": " + ask(db, "SELECT * FROM \"" + name + "\" ORDER BY 1");
      at = end + 1;
    }
    return all;
  }
  [[nodiscard]] static std::string first_difference(const std::string& here,
                                                    const std::string& expected) {
    std::size_t at = 0;
    while (at < here.size() && at < expected.size() && here[at] == expected[at]) {
      ++at;
    }
    const std::size_t from = at < 60 ? 0 : at - 60;
    return "`" + here.substr(from, 120) + "` instead of `" + expected.substr(from, 120) + "`";
  }

  const plan plan_;
  bool welcome_ = false;  ///< by a majority alone
  const run_options& options_;
  servers cluster_;
  faults faults_;
  history record_;
  shared all_{cluster_, record_, plan_.work.transactions};
  bool flushes_are_due_ = false;
  bool is_taken_ = false;  // clients write to it: not on a stack that may be gone
};

}  // namespace simulate
