// A client who takes the turn of a writer, looks around for a while, and writes nothing.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "clients.hpp"

namespace simulate {

/// Who has the turn sees what the writer before him has not committed yet, while his server leads
/// on. If it does not, be it that it has halted, he sees what is committed, or nothing.
class slow_writer {
 public:
  slow_writer(shared& all, std::uint64_t number)
      : all_(all), dice_(random{all.options().seed}.fork(0xA000 + number)) {}

  void operator()() {
    while (all_.transactions_left > 0) {
      all_.sleep(dice_.between(20, 400));
      const std::optional<server_id> leader = all_.cluster.leader();
      const auto database = static_cast<std::size_t>(dice_.below(all_.options().work.databases));
      const line to = leader ? connect(all_, *leader, database) : line{};
      const std::shared_ptr<process> here = to.to.lock();
      if (here && to.is_open()) {
        look_around(to, *here, *leader, database);
        static_cast<void>(run(to.db, "ROLLBACK"));
      }
    }
  }

 private:
  /// Once: what SQLite has in its cache by then it may show again.
  void look_around(const line& to, process& here, server_id leader, std::size_t database) {
    int code = run(to.db, "BEGIN IMMEDIATE");
    if (code == SQLITE_OK) {
      const quorlite::leader_info led = here.replica().leader();
      all_.sleep(dice_.between(1, 400));
      const std::string seen = ask(to.db, picture);
      code = seen[0] == '!' ? std::stoi(seen.substr(1)) : SQLITE_OK;
      const quorlite::leader_info now = here.replica().leader();
      if (code == SQLITE_OK && !(now.leading && now.term == led.term)) {
        compare_with_committed(here, leader, database, seen);
      }
    }
    if (code != SQLITE_OK && !is_of_sql(code)) {  // a server that is behind the setup
      check_code(code, to.db);
    }
  }
  /// Whoever comes now sees what is committed, which may be more by then.
  void compare_with_committed(process& here, server_id leader, std::size_t database,
                              const std::string& seen) {
    if (all_.cluster.running(leader).get() != &here) {
      return;
    }
    const line fresh = connect(all_, leader, database);
    const std::string committed = fresh.is_open() ? ask(fresh.db, picture) : "!";
    require(committed[0] == '!' || seen == committed || std::stoull(seen) < std::stoull(committed),
            "atomic and isolated",
            servers::name_of(leader) + " leads no more, and shows a writer `" +
                seen.substr(0, 200) + "`, which is not committed: `" + committed.substr(0, 200) +
                "`");
  }

  shared& all_;
  random dice_;
};

}  // namespace simulate
