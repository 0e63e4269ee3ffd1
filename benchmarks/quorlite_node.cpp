// quorlite on libraft, as an application has it: the replica and its clients in one process.

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "closed_loop.hpp"
#include "engines.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/storage/file.hpp"
#include "sql_client.hpp"
#include "workload.hpp"

namespace bench {

namespace {

using storage_type = quorlite::file_storage;

quorlite::server_id id_of(int number) {
  return quorlite::server_id{static_cast<std::uint64_t>(number)};
}

std::string made(const std::string& folder) {
  std::filesystem::create_directories(folder);
  return folder;
}

quorlite::libraft_options options_of(const node_setup& setup) {
  quorlite::libraft_options options{.id = id_of(setup.id),
                                    .address = setup.address(setup.id),
                                    .directory = made(setup.folder + "/raft")};
  options.found = setup.id == 1;
  options.join = setup.id != 1;
  return options;
}

/// Inserts by write(): many such clients share a transaction.
class group_client final : public client {
 public:
  explicit group_client(quorlite::replica& replica) : replica_(replica) {}

  attempt transact() override {
    const quorlite::write_result told =
        replica_.write(workload::database, [this](sqlite3* db) { return insert(db); });
    error_ = told.message;
    return told.ok()                            ? attempt::done
           : told.error == quorlite::errc::busy ? attempt::busy
                                                : attempt::failed;
  }
  [[nodiscard]] std::string error() const override { return error_; }

 private:
  int insert(sqlite3* db) const {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db, workload::insert, -1, &statement, nullptr) == SQLITE_OK) {
      sqlite3_bind_text(statement, 1, text_.c_str(), static_cast<int>(text_.size()), SQLITE_STATIC);
      sqlite3_step(statement);
    }
    sqlite3_finalize(statement);
    const int code = sqlite3_extended_errcode(db);
    return code == SQLITE_DONE ? SQLITE_OK : code;
  }

  const std::string text_ = workload::text();
  quorlite::replica& replica_;
  std::string error_;
};

enum class way { connections, groups };

class quorlite_node final : public node {
 public:
  quorlite_node(const node_setup& setup, way how)
      : how_(how), storage_(made(setup.folder + "/pages")), raft_(options_of(setup)) {
    quorlite::result<quorlite::replica> started = quorlite::replica::start(raft_, storage_);
    must(started ? std::error_code{} : started.error(), "start");
    replica_ = std::move(*started);
    connection_ = open();
    maintainer_ = std::thread([this] { maintain(); });
  }
  ~quorlite_node() override {
    ended_.store(true);
    maintainer_.join();
  }

  std::string newcomer() override {
    const quorlite::libraft_status status = raft_.status();
    return status.waits ? quorlite::libraft_id_text(status.id) : std::string();
  }
  void take_in(const std::string& newcomer, const std::string& address) override {
    const quorlite::server_id id = quorlite::libraft_id_in(newcomer).value();
    must(raft_.add({id, address}), "add");
    must(raft_.promote(id), "promote");
  }
  bool leading() override { return replica_.leader().leading; }
  void start_clients(int clients) override {
    run_sql(connection_, workload::create);
    std::vector<std::unique_ptr<client>> all;
    for (int i = 0; i < clients; ++i) {
      if (how_ == way::groups) {
        all.push_back(std::make_unique<group_client>(replica_));
      } else {
        all.push_back(std::make_unique<sql_client<quorlite::connection>>(open()));
      }
    }
    load_ = std::make_unique<closed_loop>(std::move(all));
  }
  void open_window() override {
    before_ = read();
    load_->open_window();
  }
  void close_window() override {
    load_->close_window();
    after_ = read();
  }
  load_result finish() override {
    load_result seen = load_->finish();
    load_.reset();
    seen.rows = static_cast<std::uint64_t>(query_number(connection_, workload::count));
    // The counters saw a few transactions more than the clients, who are answered later.
    const std::uint64_t counted = after_.transactions - before_.transactions;
    if (counted > 0) {
      const double share = static_cast<double>(seen.transactions) / static_cast<double>(counted);
      seen.log_bytes = static_cast<double>(after_.entry_bytes - before_.entry_bytes) * share;
      seen.log_entries = static_cast<double>(after_.batches - before_.batches) * share;
    }
    return seen;
  }

 private:
  struct readings {
    std::uint64_t transactions = 0;
    std::uint64_t entry_bytes = 0;
    std::uint64_t batches = 0;
  };

  static void must(std::error_code error, const char* what) {
    if (error) {
      throw std::runtime_error(fmt::format("quorlite, {}: {}", what, error.message()));
    }
  }

  [[nodiscard]] quorlite::connection open() {
    quorlite::result<quorlite::connection> opened = replica_.open(workload::database);
    must(opened ? std::error_code{} : opened.error(), "open");
    return std::move(*opened);
  }

  [[nodiscard]] readings read() const {
    const quorlite::replica_metrics counted = replica_.metrics();
    const std::uint64_t transactions =
        how_ == way::groups ? counted.groups.closures : counted.machine.transactions;
    return {transactions, counted.machine.entry_bytes, raft_.status().counters.batches};
  }

  /// Now and then, as an application does.
  void maintain() {
    while (!ended_.load()) {
      static_cast<void>(replica_.maintain());
      std::this_thread::sleep_for(std::chrono::milliseconds{100});
    }
  }

  const way how_;
  storage_type storage_;
  quorlite::libraft raft_;
  quorlite::replica replica_;
  quorlite::connection connection_;
  std::unique_ptr<closed_loop> load_;
  readings before_;
  readings after_;
  std::atomic<bool> ended_{false};
  std::thread maintainer_;
};

}  // namespace

std::unique_ptr<node> make_quorlite_node(const node_setup& setup) {
  return std::make_unique<quorlite_node>(setup, way::connections);
}

std::unique_ptr<node> make_quorlite_groups_node(const node_setup& setup) {
  return std::make_unique<quorlite_node>(setup, way::groups);
}

}  // namespace bench
