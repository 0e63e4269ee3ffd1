// A reader that keeps its transaction open while many others commit: what it reads stays the same.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "clients.hpp"

namespace simulate {

class long_reader {
 public:
  long_reader(shared& all, std::uint64_t number)
      : all_(all), dice_(random{all.options().seed}.fork(0xF000 + number)) {}

  void operator()() {
    while (all_.transactions_left > 0) {
      all_.sleep(dice_.between(50, 500));
      const std::vector<server_id> ids = all_.cluster.ids();
      const server_id id = ids[dice_.below(ids.size())];
      const auto database = static_cast<std::size_t>(dice_.below(all_.options().work.databases));
      line to = connect(all_, id, database);
      const std::shared_ptr<process> here = to.to.lock();
      if (here && to.is_open() && run(to.db, "BEGIN") == SQLITE_OK) {
        const std::string sound = look_for_long(to.db, id);
        require(sound == "ok" || sound[0] == '!' || all_.cluster.running(id) != here ||
                    !here->replica().health().ok(),
                "readers are stable", "a long transaction: integrity_check says " + sound);
      }
      to.close();
    }
  }

 private:
  /// All that it can see, in one text. A failing read begins with `!`.
  [[nodiscard]] static std::string look(const connection& db) {
    return ask(db,
               "SELECT (SELECT count(*) || '/' || ifnull(max(n), 0) || '/' || ifnull(sum(txn), 0) "
               "FROM log), (SELECT count(*) || '/' || sum(balance) FROM accounts), "
               "(SELECT group_concat(key || '=' || txn) FROM (SELECT key, txn FROM registers ORDER "
               "BY key)), (SELECT group_concat(sql) FROM sqlite_schema)");
  }
  /// @returns what SQLite says of that state in the end: every page of it is read once, also those
  /// that have long been replaced
  [[nodiscard]] std::string look_for_long(const connection& db, server_id id) {
    const std::string first = look(db);
    if (is_failure(db, first)) {
      return first;
    }
    const std::uint64_t times = dice_.between(2, 8);
    for (std::uint64_t i = 0; i < times; ++i) {
      all_.sleep(dice_.between(50, 2500));
      const std::string again = look(db);
      if (is_failure(db, again)) {
        return again;
      }
      require(again == first, "readers are stable", [&] {
        return "a long transaction saw `" + again.substr(0, 200) + "` after `" +
               first.substr(0, 200) + "`";
      });
    }
    ++all_.reads;
    // SQLite tells of a page that it did not get in the words of a damage. A call to a disk fails
    // once, then the page is there; what is wrong itself stays wrong.
    std::string sound = ask(db, "PRAGMA integrity_check");
    for (int i = 0;
         i < 3 && all_.cluster.is_disk_broken(id) && sound.find("to get ") != std::string::npos;
         ++i) {
      sound = ask(db, "PRAGMA integrity_check");
    }
    const std::string ended = "error code=" + std::to_string(quorlite::sqlite_snapshot_ended);
    if (sound.find(ended) != std::string::npos) {
      check_may_end();
      return "!its state was let go of";
    }
    return sound;
  }
  /// As reader: where a disk fails, a replica stopped, or a database is not there yet.
  [[nodiscard]] bool is_failure(const connection& db, const std::string& said) {
    if (said[0] != '!') {
      return false;
    }
    const int code = std::stoi(said.substr(1));
    if (code != SQLITE_ERROR) {
      check_code(code, db);
    }
    if (code == quorlite::sqlite_snapshot_ended) {
      check_may_end();
    }
    return true;
  }
  void check_may_end() const {
    require(all_.options().pinned_bytes != 0, "readers are stable",
            "a reader was ended, though they may keep what they like");
  }

  shared& all_;
  random dice_;
};

}  // namespace simulate
