/// @file
/// Group commit: 64 clients move money at once. Transfers that wait at the same time share a
/// transaction, and one that is refused takes only itself back.

#include <sqlite3.h>

#include <cstdint>
#include <cstdio>
#include <string>

#include "quorlite/quorlite.hpp"
#include "quorlite/testing/simulation.hpp"

namespace {

int run(sqlite3* db, const std::string& sql) {
  return sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
}

// [readme]
template <class Replica>
quorlite::write_result move_money(Replica& replica, int from, int to, int amount) {
  const std::string much = std::to_string(amount);
  const std::string sql = "UPDATE account SET money = money - " + much +
                          " WHERE id = " + std::to_string(from) +  // CHECK(money >= 0)
                          "; UPDATE account SET money = money + " + much +
                          " WHERE id = " + std::to_string(to);
  return replica.write("bank.db", [&](sqlite3* db) {  // on any thread, perhaps more than once
    return run(db, sql);  // other than SQLITE_OK: undoes this closure, and no other
  });
}
// [/readme]

int print_total(void*, int, char** row, char**) {
  return std::printf("%s on all accounts\n", row[0]) < 0 ? 1 : 0;
}

}  // namespace

int main() {
  quorlite::testing::replica_cluster cluster{{.replicas = 3}};
  auto& leader = cluster.replica(cluster.wait_for_leader().value());
  const quorlite::write_result made = leader.write("bank.db", [](sqlite3* db) {
    return run(db, "CREATE TABLE account(id INTEGER PRIMARY KEY, money INT CHECK(money >= 0));"
                   "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 63)"
                   "INSERT INTO account SELECT i, 100 FROM n");
  });
  int moved = 0;
  int refused = 0;
  for (int client = 0; client < 64; ++client) {
    cluster.simulation().spawn([&, client] {
      for (int round = 1; round <= 5; ++round) {
        const auto told = move_money(leader, client, (client + round) % 8, 60);
        (told.ok() ? moved : refused) += 1;
        if (!told.ok() && told.code != SQLITE_CONSTRAINT_CHECK) {
          std::printf("%s\n", told.message.c_str());
        }
      }
    });
  }
  cluster.simulation().run_until([&] { return cluster.simulation().unfinished_clients() == 0; },
                                 quorlite::milliseconds{60'000});
  const quorlite::group_counters counted = leader.metrics().groups;
  std::printf("%d transfers, %d refused for want of money, in %llu transactions\n", moved, refused,
              static_cast<unsigned long long>(counted.groups));
  quorlite::connection db = leader.open("bank.db").value();
  sqlite3_exec(db, "SELECT sum(money) FROM account", print_total, nullptr, nullptr);
  return made.ok() && moved + refused == 64 * 5 && refused > 0 && counted.groups < 160 ? 0 : 1;
}
