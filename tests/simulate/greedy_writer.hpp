// A client who gives the turn of a writer back, and takes it again at once.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "clients.hpp"

namespace simulate {

/// Whoever is called once a turn is free comes a moment later than one who is there already. So
/// that one may be first a few times, but not for ever: somebody who waits is given the turn.
class greedy_writer {
 public:
  greedy_writer(shared& all, std::uint64_t number)
      : all_(all), dice_(random{all.options().seed}.fork(0x9000 + number)) {}

  void operator()() {
    while (all_.transactions_left > 0) {
      all_.sleep(dice_.between(100, 1500));
      const std::optional<server_id> leader = all_.cluster.leader();
      const auto database = static_cast<std::size_t>(dice_.below(all_.options().work.databases));
      const line to = leader ? connect(all_, *leader, database) : line{};
      const std::shared_ptr<process> here = to.to.lock();
      if (here && to.is_open()) {
        take_turns(to, *leader, database);
        static_cast<void>(run(to.db, "ROLLBACK"));
      }
    }
  }

 private:
  // Of the one who waits, and may do so for longer than this client is there.
  struct patient {
    bool waits = false;
    bool ended = false;
  };

  /// With another one who waits from before the first of them.
  void take_turns(const line& to, server_id leader, std::size_t database) {
    static_cast<void>(run(to.db, "PRAGMA busy_timeout=0"));
    if (run(to.db, "BEGIN IMMEDIATE") != SQLITE_OK) {
      return;
    }
    const auto other = std::make_shared<patient>();
    all_.cluster.world().spawn([&all = all_, other, leader, database] {
      const line waits = connect(all, leader, database);
      if (waits.is_open()) {
        static_cast<void>(run(waits.db, "PRAGMA busy_timeout=2000"));
        other->waits = true;
        static_cast<void>(run(waits.db, "BEGIN IMMEDIATE"));
        static_cast<void>(run(waits.db, "ROLLBACK"));
      }
      other->ended = true;
    });
    int turns = 0;
    for (bool has_turn = true; has_turn && !other->ended && !all_.is_over;) {
      all_.sleep(dice_.between(2, 6));
      turns += other->waits ? 1 : 0;
      turns == 5 ? all_.cluster.mark("a turn: taken again while another one waits") : void();
      static_cast<void>(run(to.db, "ROLLBACK"));
      has_turn = run(to.db, "BEGIN IMMEDIATE") == SQLITE_OK;
      require(!has_turn || other->ended || turns <= most_turns, "answers in time", [&] {
        return "the turn of a writer of " + shared::name_of(database) + " on " +
               servers::name_of(leader) + " went " + std::to_string(turns) +
               " times to one who had just given it back, while another one waits";
      });
    }
  }

  // Who waits looks every 2 ms, and is given it once it has done so eight times in vain.
  static constexpr int most_turns = 20;

  shared& all_;
  random dice_;
};

}  // namespace simulate
