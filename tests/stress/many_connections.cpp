// 64 threads on one leader, each with a plain connection of its own, or all of them in write():
// what was acknowledged is there, on every replica, and nothing else.

#include <sqlite3.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/memory.hpp"
#include "support/profile.hpp"
#include "support/started_replica.hpp"
#include "support/threaded_cluster.hpp"

namespace {

using quorlite::connection;
using quorlite::memory_storage;
using replica =
    quorlite::tests::started_replica<quorlite::tests::threaded_consensus, memory_storage>;

constexpr int not_applied_code = SQLITE_IOERR | (40 << 8);
constexpr int unknown_code = SQLITE_IOERR | (41 << 8);

struct one_row {
  int thread;
  int number;
  auto operator<=>(const one_row&) const = default;
};

/// What the threads were told.
struct ledger {
  std::mutex mutex;
  std::set<one_row> acknowledged;
  std::set<one_row> refused;
  std::vector<std::pair<one_row, quorlite::transaction_id>> unknown;
  std::vector<std::string> surprises;
};

std::string insert_of(one_row row) {
  return "INSERT INTO t VALUES(" + std::to_string(row.thread) + "," + std::to_string(row.number) +
         ",'row of a thread')";
}

void write_in_groups(replica& leader, int thread, int rows, ledger& told) {
  for (int number = 0; number < rows; ++number) {
    const one_row row{thread, number};
    const quorlite::write_result answer = leader.write("app.db", [row](sqlite3* db) {
      return sqlite3_exec(db, insert_of(row).c_str(), nullptr, nullptr, nullptr);
    });
    const std::lock_guard guard(told.mutex);
    if (answer.ok()) {
      told.acknowledged.insert(row);
    } else if (answer.error == quorlite::failure::outcome_unknown) {
      told.unknown.push_back({row, answer.id});
    } else if (answer.error == quorlite::failure::not_applied) {
      told.refused.insert(row);
    } else {
      told.surprises.push_back("rc " + std::to_string(answer.code) + ": " + answer.message);
    }
  }
}

void write_rows(replica& leader, int thread, int rows, ledger& told) {
  quorlite::result<connection> opened = leader.open("app.db");
  if (!opened) {
    const std::lock_guard guard(told.mutex);
    told.surprises.push_back("open: " + opened.error().message());
    return;
  }
  connection& db = *opened;
  for (int number = 0; number < rows; ++number) {
    const int rc = sqlite3_exec(db, insert_of({thread, number}).c_str(), nullptr, nullptr, nullptr);
    const std::lock_guard guard(told.mutex);
    if (rc == SQLITE_OK) {
      told.acknowledged.insert({thread, number});
    } else if (rc == unknown_code) {
      told.unknown.push_back({{thread, number}, db.last_transaction()});
    } else if (rc == not_applied_code || (rc & 0xFF) == SQLITE_BUSY) {
      told.refused.insert({thread, number});
    } else {
      told.surprises.push_back("rc " + std::to_string(rc) + ": " + db.error_message());
    }
  }
}

std::set<one_row> rows_of(replica& where) {
  quorlite::result<connection> opened = where.open("app.db");
  REQUIRE(opened.has_value());
  std::set<one_row> rows;
  sqlite3_stmt* statement = nullptr;
  REQUIRE(sqlite3_prepare_v2(*opened, "SELECT thread, number FROM t", -1, &statement, nullptr) ==
          SQLITE_OK);
  while (sqlite3_step(statement) == SQLITE_ROW) {
    const bool fresh =
        rows.insert({sqlite3_column_int(statement, 0), sqlite3_column_int(statement, 1)}).second;
    CHECK(fresh);  // applied twice otherwise
  }
  REQUIRE(sqlite3_finalize(statement) == SQLITE_OK);
  return rows;
}

using way_to_write = void (*)(replica& leader, int thread, int rows, ledger& told);

void run(way_to_write way, std::uint64_t seed, std::uint32_t refuse_per_1000,
         std::uint32_t lose_per_1000) {
  INFO("seed " << seed);
  const int threads = 64;
  const int rows = quorlite::tests::is_short_profile() ? 10 : 60;
  quorlite::tests::threaded_cluster cluster({.replicas = 3,
                                             .seed = seed,
                                             .refuse_per_1000 = refuse_per_1000,
                                             .lose_per_1000 = lose_per_1000});
  std::vector<std::unique_ptr<memory_storage>> storages;
  std::vector<std::unique_ptr<replica>> replicas;
  for (std::size_t id = 0; id < 3; ++id) {
    storages.push_back(std::make_unique<memory_storage>());
    replicas.push_back(std::make_unique<replica>(cluster.adapter(id), *storages[id]));
    REQUIRE(!replicas[id]->status());
  }
  cluster.run();
  while (!replicas[0]->leader().leading) {
    std::this_thread::yield();
  }
  {
    quorlite::result<connection> opened = replicas[0]->open("app.db");
    REQUIRE(opened.has_value());
    const char* const sql =
        "CREATE TABLE IF NOT EXISTS t(thread INT, number INT, text TEXT, PRIMARY KEY(thread, "
        "number))";
    int rc = SQLITE_ERROR;
    for (int tries = 0; rc != SQLITE_OK && tries < 100; ++tries) {
      rc = sqlite3_exec(*opened, sql, nullptr, nullptr, nullptr);
    }
    REQUIRE(rc == SQLITE_OK);
  }
  ledger told;
  std::vector<std::thread> clients;
  for (int thread = 0; thread < threads; ++thread) {
    clients.emplace_back([&, thread] { way(*replicas[0], thread, rows, told); });
  }
  for (std::thread& one : clients) {
    one.join();
  }
  cluster.halt();

  for (const std::string& surprise : told.surprises) {
    UNSCOPED_INFO(surprise);
  }
  CHECK(told.surprises.empty());
  std::set<one_row> expected = told.acknowledged;
  for (const auto& [row, id] : told.unknown) {
    if (replicas[0]->outcome(id) == quorlite::transaction_outcome::committed) {
      expected.insert(row);
    }
  }
  CAPTURE(told.acknowledged.size(), told.refused.size(), told.unknown.size(), cluster.losses());
  CHECK(!told.acknowledged.empty());
  if (refuse_per_1000 != 0) {
    CHECK(!told.refused.empty());
  }
  const quorlite::group_counters shared = replicas[0]->metrics().groups;
  CHECK((shared.closures == 0 || shared.groups < shared.closures));
  for (const std::unique_ptr<replica>& one : replicas) {
    CHECK(!one->health().halted);
    CHECK(rows_of(*one) == expected);
    CHECK(one->databases().at(0).version == replicas[0]->databases().at(0).version);
    CHECK(one->databases().at(0).page_count == replicas[0]->databases().at(0).page_count);
    CHECK(one->databases().at(0).hash == replicas[0]->databases().at(0).hash);
  }
}

}  // namespace

TEST_CASE("64 plain connections on one leader: acknowledged rows are there, on every replica") {
  run(write_rows, 1, 0, 0);
}

TEST_CASE("64 plain connections under random refusals: no refused row, every acknowledged one") {
  run(write_rows, 2, 50, 0);
}

TEST_CASE("64 plain connections while the leader loses its leadership: unknown rows are resolved") {
  run(write_rows, 3, 20, 100);
}

TEST_CASE("64 threads in write(): acknowledged rows are there, on every replica, in few entries") {
  run(write_in_groups, 4, 0, 0);
}

TEST_CASE(
    "64 threads in write() while the leader loses its leadership: unknown rows are resolved") {
  run(write_in_groups, 5, 20, 100);
}
