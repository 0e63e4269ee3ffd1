// A client that writes pages through SQLite's files, as a pager may that is not the one of this
// version: it cuts a file off and lets it grow again within one transaction, leaves new pages
// unwritten, writes what is there already, and goes on with a commit of two files that one of them
// has left.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "clients.hpp"
#include "page_file.hpp"

namespace simulate {

class page_writer {
 public:
  page_writer(shared& all, std::uint64_t number)
      : all_(all),
        dice_(random{all.options().seed}.fork(0xB000 + number)),
        later_dice_(random{all.options().seed}.fork(0xB500 + number)),
        super_("pages.sqlite-mj" + std::to_string(number) + "-") {}

  void operator()() {
    while (all_.transactions_left > 0 && page_file::most_of(all_.options()) >= 4) {
      all_.sleep(dice_.between(50, 800));
      const std::vector<server_id> ids = all_.cluster.ids();
      const std::optional<server_id> leader = all_.cluster.leader();
      const bool writes = leader && dice_.chance(0.7);
      const server_id at = writes ? *leader : ids[dice_.below(ids.size())];
      if (!is_connected(at)) {
        continue;
      }
      const std::shared_ptr<process> here = to_.to.lock();
      page_file one(to_.db, "main", all_.options());
      page_file two(to_.db, "o", all_.options());
      if (here && one.is_open() && two.is_open()) {
        work(to_, one, two, writes);
      }
    }
    to_.close();
  }

 private:
  [[nodiscard]] bool is_connected(server_id at) {
    const std::shared_ptr<process> here = all_.cluster.running(at);
    if (here && to_.is_open() && to_.to.lock() == here && dice_.chance(0.9)) {
      return true;
    }
    to_.close();
    to_ = connect(all_, at, "pages.sqlite");
    const bool has_both = to_.is_open() && run(to_.db, "ATTACH 'pages2.sqlite' AS o") == SQLITE_OK;
    if (!has_both) {
      to_.close();
    }
    return has_both;
  }
  void work(const line& to, page_file& one, page_file& two, bool writes) {
    if (writes && dice_.chance(0.25)) {
      stand_on_head();
      return;
    }
    if (writes && later_dice_.chance(0.3)) {
      read_beside_writer();
      return;
    }
    if (writes) {
      const in_time limit(all_, "a transaction of pages");
      check(dice_.chance(0.4) ? write_both(to, one, two) : write_one(dice_.chance(0.7) ? one : two),
            to);
      for (const page_file* const each : {&one, &two}) {
        require(each->error() != quorlite::errc::malformed, "typed errors",
                "a sound transaction is called malformed");
      }
      one.unlock();
      two.unlock();
      if (!all_.options().wait_until_certain) {
        limit.check();
      }
    }
    check(read(one, two), to);
    one.unlock();
    two.unlock();
  }
  static void check(int code, const line& to) {
    if (code == SQLITE_OK) {
      return;
    }
    if (code != SQLITE_IOERR_DELETE) {
      check_code(code, to.db);
    }
  }

  /// If nothing happens between the two it is one state. A lock may wait: one that was refused to a
  /// writer before is taken for his next try.
  [[nodiscard]] int read(page_file& one, page_file& two) {
    int code = one.lock(SQLITE_LOCK_SHARED);
    const std::uint64_t locked_us = all_.cluster.world().now_us();
    code = code == SQLITE_OK ? two.lock(SQLITE_LOCK_SHARED) : code;
    const bool is_one_state = all_.cluster.world().now_us() == locked_us;
    code = code == SQLITE_OK ? one.look() : code;
    code = code == SQLITE_OK ? two.look() : code;
    require(code != SQLITE_OK || !is_one_state || one.pair() == two.pair(), "atomic and isolated",
            "a transaction over two files is in one of them");
    return code;
  }
  /// A writer reads what the one before it has not committed yet. That ends with what it came from:
  /// a leadership, or a machine that goes on.
  void stand_on_head() {
    const std::optional<server_id> leader = all_.cluster.leader();
    // A connection of its own: SQL and what goes past it do not mix.
    const line to = leader ? connect(all_, *leader, "pages.sqlite") : line{};
    const std::shared_ptr<process> here = to.to.lock();
    if (!here || !to.is_open()) {
      return;
    }
    page_file mine(to.db, "main", all_.options());
    int code = run(to.db, "BEGIN IMMEDIATE");
    const quorlite::leader_info led = here->replica().leader();
    if (code == SQLITE_OK && mine.is_open()) {
      all_.sleep(dice_.between(1, 300));
      code = mine.look();
      const quorlite::leader_info now = here->replica().leader();
      if (code == SQLITE_OK && (!now.leading || now.term != led.term)) {
        compare_with_committed(to, mine);
      }
    }
    check(code, to);
    static_cast<void>(run(to.db, "ROLLBACK"));
  }
  /// Who was refused as a writer, or has waited to be one, and then only reads: he sees nothing
  /// that is not committed, and has the turn of no writer.
  void read_beside_writer() {
    const std::optional<server_id> leader = all_.cluster.leader();
    const line to = leader ? connect(all_, *leader, "pages.sqlite") : line{};
    const std::shared_ptr<process> here = to.to.lock();
    if (!here || !to.is_open()) {
      return;
    }
    quorlite::detail::database_file* const file =
        quorlite::detail::replicated_file(to.db.get(), "main");
    page_file mine(to.db, "main", all_.options());
    if (file == nullptr || !mine.is_open()) {
      return;
    }
    all_.cluster.world().spawn([other = std::make_shared<page_writer>(all_, all_.next_client++),
                                at = *leader] { other->write_alone(at); });
    all_.sleep(later_dice_.between(0, 6));
    if (later_dice_.chance(0.5)) {
      file->turn().want_head();  // as the busy handler does on behalf of a writer
    } else {
      check(begin(mine), to);
      mine.unlock();
    }
    int code = mine.lock(SQLITE_LOCK_SHARED);
    code = code == SQLITE_OK ? mine.look() : code;
    if (code == SQLITE_OK && mine.has_others()) {
      require(!file->turn().holds(), "answers in time",
              servers::name_of(*leader) + " lets a reader of pages have the turn of a writer");
      compare_with_committed(to, mine);
    }
    check(code, to);
    mine.unlock();
  }
  void write_alone(server_id at) {
    const line to = connect(all_, at, "pages.sqlite");
    const std::shared_ptr<process> here = to.to.lock();
    if (here && to.is_open()) {
      page_file mine(to.db, "main", all_.options());
      check(mine.is_open() ? write_one(mine) : SQLITE_OK, to);
      mine.is_open() ? mine.unlock() : void();
    }
  }
  void compare_with_committed(const line& to, const page_file& mine) {
    const std::shared_ptr<process> here = to.to.lock();
    for (const server_id id : all_.cluster.ids()) {
      if (all_.cluster.running(id) != here) {
        continue;
      }
      const line fresh = connect(all_, id, "pages.sqlite");
      if (!fresh.is_open()) {
        continue;
      }
      page_file committed(fresh.db, "main", all_.options());
      if (!committed.is_open() || committed.lock(SQLITE_LOCK_SHARED) != SQLITE_OK ||
          committed.look() != SQLITE_OK) {
        continue;
      }
      committed.unlock();
      require(mine.counter() < committed.counter() || mine.is_same_as(committed),
              "atomic and isolated",
              servers::name_of(id) + " shows whoever does not write what is not committed");
    }
  }
  [[nodiscard]] static int begin(page_file& on) {
    int code = on.lock(SQLITE_LOCK_SHARED);
    code = code == SQLITE_OK ? on.lock(SQLITE_LOCK_RESERVED) : code;
    return code == SQLITE_OK ? on.look() : code;
  }
  [[nodiscard]] int write_one(page_file& on) {
    int code = begin(on);
    code = code == SQLITE_OK ? on.change(dice_, 0) : code;
    return code == SQLITE_OK ? on.sync(nullptr) : code;
  }
  [[nodiscard]] int write_both(const line& to, page_file& one, page_file& two) {
    sqlite3_vfs* files = nullptr;
    static_cast<void>(
        sqlite3_file_control(to.db, "main", SQLITE_FCNTL_VFS_POINTER, static_cast<void*>(&files)));
    const std::string super = super_ + std::to_string(++supers_);
    const auto pair = static_cast<std::uint32_t>(dice_.next() | 1U);
    int code = files == nullptr ? SQLITE_IOERR : make(*files, super);
    for (page_file* const each : {&one, &two}) {
      code = code == SQLITE_OK ? begin(*each) : code;
      code = code == SQLITE_OK ? each->change(dice_, pair) : code;
    }
    for (page_file* const each : {&one, &two}) {
      code = code == SQLITE_OK ? each->sync(super.c_str()) : code;
    }
    if (code == SQLITE_OK) {
      const bool leaves = dice_.chance(0.4);
      if (leaves) {  // it rolls back, or gives its lock up
        dice_.chance(0.5) ? static_cast<void>(one.sync(super.c_str())) : two.unlock();
      }
      code = files->xDelete(files, super.c_str(), 1);
      require(!leaves || code != SQLITE_OK, "atomic and isolated",
              "two files are committed together, and one of them had been rolled back");
    }
    one.unlock();
    two.unlock();
    static_cast<void>(files == nullptr ? 0 : files->xDelete(files, super.c_str(), 0));
    return code;
  }
  /// An empty super-journal: what is in it matters after a crash only, and these have none.
  [[nodiscard]] static int make(sqlite3_vfs& files, const std::string& name) {
    std::vector<std::uint64_t> room(static_cast<std::size_t>(files.szOsFile) / 8 + 1);
    auto* const file = reinterpret_cast<sqlite3_file*>(room.data());
    const int flags = SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_CREATE | SQLITE_OPEN_READWRITE;
    const int code = files.xOpen(&files, name.c_str(), file, flags, nullptr);
    if (code == SQLITE_OK) {
      static_cast<void>(file->pMethods->xClose(file));
    }
    return code;
  }

  shared& all_;
  random dice_;
  random later_dice_;  ///< for what came later: the rest of a seed stays what it was
  const std::string super_;
  std::uint64_t supers_ = 0;
  line to_;
};

}  // namespace simulate
