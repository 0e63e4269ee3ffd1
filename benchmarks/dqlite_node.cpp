// dqlite in processes: a node of it, and the clients.

extern "C" {
#include <dqlite.h>
}
#include <fmt/format.h>

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "closed_loop.hpp"
#include "dqlite_client.hpp"
#include "engines.hpp"
#include "workload.hpp"

namespace bench {

namespace {

/// dqlite starts a thread of its own; here is nothing to do but to hold it.
class dqlite_server final : public node {
 public:
  explicit dqlite_server(const node_setup& setup) {
    const std::string address = setup.address(setup.id);
    must(dqlite_node_create(static_cast<dqlite_node_id>(setup.id), address.c_str(),
                            setup.folder.c_str(), &node_),
         "create");
    must(dqlite_node_set_bind_address(node_, address.c_str()), "bind");
    must(dqlite_node_start(node_), "start");
  }
  // Left as it is: the benchmark ends this process, and what it wants is on the disk.
  ~dqlite_server() override = default;

  bool leading() override { return false; }
  void start_clients(int) override { throw std::logic_error("clients have their own process"); }
  void open_window() override {}
  void close_window() override {}
  load_result finish() override { return {}; }

 private:
  void must(int code, const char* what) {
    if (code != 0) {
      const char* const why = node_ == nullptr ? "" : dqlite_node_errmsg(node_);
      throw std::runtime_error(fmt::format("dqlite, {}: {} (code {})", what, why, code));
    }
  }

  ::dqlite_node* node_ = nullptr;
};

class inserting_client final : public client {
 public:
  inserting_client(int port, std::uint64_t id) : connection_(port, id) {
    connection_.open(workload::database);
    connection_.prepare(workload::insert);
  }

  attempt transact() override {
    try {
      connection_.execute(text_);
      return attempt::done;
    } catch (const dqlite_failure& failure) {
      error_ = failure.what();
      return failure.is_busy() ? attempt::busy : attempt::failed;
    } catch (const std::runtime_error& error) {
      error_ = error.what();
      return attempt::failed;
    }
  }
  [[nodiscard]] std::string error() const override { return error_; }

 private:
  dqlite_client connection_;
  const std::string text_ = workload::text();
  std::string error_;
};

/// All clients; made, the cluster is complete and has the table.
class dqlite_load final : public node {
 public:
  explicit dqlite_load(const node_setup& setup) : setup_(setup) {
    admin_ = patiently<std::unique_ptr<dqlite_client>>([&] {
      auto first = std::make_unique<dqlite_client>(setup_.ports.front(), 1);
      if (first->leader() != 1) {
        throw std::runtime_error("node 1 does not lead yet");
      }
      return first;
    });
    for (std::size_t i = 2; i <= setup_.ports.size(); ++i) {
      patiently<int>([&] { return admin_->add(i, setup_.address(static_cast<int>(i))), 0; });
      patiently<int>([&] { return admin_->assign(i, dqlite_client::role::voter), 0; });
    }
    admin_->open(workload::database);
    admin_->execute_sql(workload::create);
  }

  bool leading() override { return admin_->leader() == 1; }
  void start_clients(int clients) override {
    std::vector<std::unique_ptr<client>> all;
    for (int i = 0; i < clients; ++i) {
      all.push_back(std::make_unique<inserting_client>(setup_.ports.front(),
                                                       static_cast<std::uint64_t>(i) + 2));
    }
    load_ = std::make_unique<closed_loop>(std::move(all));
  }
  void open_window() override { load_->open_window(); }
  void close_window() override { load_->close_window(); }
  load_result finish() override {
    load_result seen = load_->finish();
    load_.reset();
    seen.rows = admin_->query_number(workload::count);
    return seen;
  }

 private:
  /// Tries for ten seconds: a node that has just started refuses this and that.
  template <class Result>
  static Result patiently(const std::function<Result()>& act) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    for (;;) {
      try {
        return act();
      } catch (const std::runtime_error&) {
        if (std::chrono::steady_clock::now() > end) {
          throw;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds{50});
      }
    }
  }

  const node_setup setup_;
  std::unique_ptr<dqlite_client> admin_;
  std::unique_ptr<closed_loop> load_;
};

}  // namespace

std::unique_ptr<node> make_dqlite_node(const node_setup& setup) {
  return std::make_unique<dqlite_server>(setup);
}
std::unique_ptr<node> make_dqlite_load(const node_setup& setup) {
  return std::make_unique<dqlite_load>(setup);
}

}  // namespace bench
