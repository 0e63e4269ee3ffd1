/// @file
/// How to test one's own application: it runs in a simulated cluster, where a seed decides what
/// goes wrong and when. Here servers lose their power in the middle of a flush, and messages get
/// lost.

#include <sqlite3.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "quorlite/quorlite.hpp"
#include "quorlite/testing/simulation.hpp"

namespace {

namespace ql = quorlite;
using ql::testing::replica_cluster;

constexpr int orders = 60;
constexpr int clients = 3;

/// The application. It may be told to try again, so a second try must do no harm.
bool place_order(ql::replica& server, int order) {
  ql::result<ql::connection> db = server.open("shop.db");
  const std::string sql = "CREATE TABLE IF NOT EXISTS orders(id INTEGER PRIMARY KEY, paid);"
                          "INSERT OR REPLACE INTO orders VALUES(" +
                          std::to_string(order) + ", 1)";
  const bool is_placed =
      db.has_value() && sqlite3_exec(*db, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK;
  static_cast<void>(server.maintain());
  return is_placed;
}

int count_orders(replica_cluster& cluster, ql::server_id id) {
  const auto take = [](void* into, int, char** row, char**) {
    *static_cast<int*>(into) = std::stoi(row[0]);
    return 0;
  };
  int found = -1;
  ql::connection db = cluster.connect(id, "shop.db");
  sqlite3_exec(db, "SELECT count(*) FROM orders", take, &found, nullptr);
  return found;
}

// [how_to]
bool holds_for(std::uint64_t seed, int& crashes) {
  using namespace ql::testing;
  replica_cluster cluster{{.seed = seed, .replicas = 3, .network = {.drop = 0.02}},
                          {.found = true, .flush_bytes = 1500},
                          {.storage = server_storage::files}};
  simulation& time = cluster.simulation();

  for (std::uint64_t nth = 2; nth <= 12; nth += 5) {  // the second flush from now, the seventh …
    const auto strike = [&](ql::server_id id) {
      ++crashes;
      cluster.crash(id, crash_kind::power_lost);
      time.after(ql::milliseconds{500}, [&cluster, id] { cluster.restart(id); });
    };
    cluster.when(server_phase::flush_written, strike, nth);
  }

  for (int client = 0; client < clients; ++client) {
    time.spawn([&, client] {
      for (int order = client; order < orders; order += clients) {
        bool is_placed = false;
        while (!is_placed) {
          const std::optional<ql::server_id> leader = time.leader();
          const std::shared_ptr<ql::replica> server = leader ? cluster.hold(*leader) : nullptr;
          is_placed = server && place_order(*server, order);
          time.sleep(ql::milliseconds{20});
        }
      }
    });
  }
  bool holds =
      time.run_until([&] { return time.unfinished_clients() == 0; }, ql::milliseconds{300'000});
  time.run_for(ql::milliseconds{1000});  // whoever is down comes back

  holds = holds && cluster.wait_until_even() && cluster.are_identical();
  for (const ql::server_id id : cluster.servers()) {
    holds = holds && count_orders(cluster, id) == orders;
  }
  return holds;
}
// [/how_to]

}  // namespace

int main() {
  constexpr std::uint64_t seeds = 20;
  int crashes = 0;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    if (!holds_for(seed, crashes)) {
      std::printf("seed %llu: an order is lost, or nobody takes one\n",
                  static_cast<unsigned long long>(seed));
      return 1;
    }
  }
  std::printf("%d orders for each of %llu seeds, %d crashes, none lost\n", orders,
              static_cast<unsigned long long>(seeds), crashes);
  return crashes > 0 ? 0 : 1;
}
