// The libraft adapter on its libuv loops: three servers in this process, plain SQLite on top.

#include <sqlite3.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/replica.hpp"
#include "quorlite/storage/memory.hpp"
#include "support/libraft_cluster.hpp"

namespace {

using namespace quorlite;
using quorlite::tests::libraft_places;
using quorlite::tests::wait_until;
using node_type = replica<libraft, memory_storage>;

int run(sqlite3* db, const std::string& sql) {
  return sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
}

/// The first column of the first row; -1 without a row.
std::int64_t number(sqlite3* db, const std::string& sql) {
  std::int64_t value = -1;
  const auto take = [](void* to, int, char** columns, char**) {
    *static_cast<std::int64_t*>(to) = columns[0] == nullptr ? -1 : std::stoll(columns[0]);
    return 1;
  };
  static_cast<void>(sqlite3_exec(db, sql.c_str(), take, &value, nullptr));
  return value;
}

class cluster {
 public:
  explicit cluster(std::size_t servers, std::size_t voters = 0)
      : places_(servers, voters), servers_(servers) {
    for (std::size_t i = 0; i < servers; ++i) {
      start(i);
    }
  }

  [[nodiscard]] libraft_places& places() noexcept { return places_; }
  [[nodiscard]] libraft& raft(std::size_t index) { return *servers_[index].raft; }
  [[nodiscard]] node_type& node(std::size_t index) { return *servers_[index].node; }
  [[nodiscard]] bool is_up(std::size_t index) const { return servers_[index].node.has_value(); }

  void start(std::size_t index) {
    one& server = servers_[index];
    server.storage.emplace();
    server.raft.emplace(places_.options(index));
    server.node.emplace(*server.raft, *server.storage);
    REQUIRE(!server.node->status());
  }
  void stop(std::size_t index) {
    one& server = servers_[index];
    server.node.reset();
    server.raft.reset();
    server.storage.reset();
  }

  [[nodiscard]] std::optional<std::size_t> leader() {
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      if (is_up(i) && node(i).office().leading) {
        return i;
      }
    }
    return {};
  }
  std::size_t await_leader(std::optional<std::size_t> but = {}) {
    REQUIRE(wait_until([&] { return leader().has_value() && leader() != but; }));
    return *leader();
  }
  /// Every server that is up has applied what the leader has.
  bool await_even() {
    return wait_until([&] {
      const std::optional<std::size_t> first = leader();
      for (std::size_t i = 0; first && i < servers_.size(); ++i) {
        if (is_up(i) && node(i).applied() != node(*first).applied()) {
          return false;
        }
      }
      return first.has_value();
    });
  }
  [[nodiscard]] connection connect(std::size_t index) {
    result<connection> opened = node(index).open("app.db");
    REQUIRE(opened.has_value());
    return std::move(*opened);
  }

 private:
  struct one {
    std::optional<memory_storage> storage;
    std::optional<libraft> raft;
    std::optional<node_type> node;
  };
  libraft_places places_;
  std::vector<one> servers_;
};

}  // namespace

TEST_CASE("three servers on libraft elect a leader, and what it commits is read everywhere") {
  cluster servers(3);
  const std::size_t leader = servers.await_leader();
  {
    connection db = servers.connect(leader);
    REQUIRE(run(db, "CREATE TABLE t(x); INSERT INTO t VALUES(7)") == SQLITE_OK);
    CHECK(!servers.node(leader).read_barrier());
  }
  REQUIRE(servers.await_even());
  for (std::size_t i = 0; i < 3; ++i) {
    connection db = servers.connect(i);
    CHECK(number(db, "SELECT x FROM t") == 7);
    CHECK(servers.raft(i).leader_address() == servers.places().server(leader).address);
  }
  CHECK(servers.raft(leader).status().role == libraft_role::leader);
  CHECK(servers.raft(leader).status().members.size() == 3);
}
