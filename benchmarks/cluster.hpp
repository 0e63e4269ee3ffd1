/// @file
/// One engine, its processes running, and what a window of load on it costs.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "child_process.hpp"
#include "engines.hpp"
#include "free_ports.hpp"
#include "load_result.hpp"
#include "process_usage.hpp"
#include "raft_log_entries.hpp"

namespace bench {

/// Of one window. CPU in microseconds, sizes in bytes, all for one transaction.
struct measurement {
  load_result load;
  double leader_cpu_us = 0;
  double follower_cpu_us = 0;  ///< of one of them, in the mean
  double client_cpu_us = 0;    ///< of a process that holds clients only
  double leader_disk_bytes = 0;
  double follower_disk_bytes = 0;
  double loopback_bytes = 0;
  double entry_bytes = 0;  ///< in the log; 0: not known
};

class cluster {
 public:
  /// Starts the processes and waits for a leader. @throws std::runtime_error
  cluster(const engine& which, std::filesystem::path folder, std::size_t entry_bytes)
      : engine_(which), folder_(std::move(folder)) {
    node_setup setup;
    setup.ports = free_ports(engine_.nodes);
    setup.entry_bytes = entry_bytes;
    for (setup.id = 1; setup.id <= engine_.nodes; ++setup.id) {
      setup.folder = folder_of(setup.id);
      std::filesystem::create_directories(setup.folder);
      nodes_.push_back(start("node", setup));
    }
    for (const std::unique_ptr<child_process>& one : nodes_) {
      one->answer();  // ready
    }
    take_in(setup);
    if (engine_.remote_clients) {
      setup.id = 0;
      clients_ = start("load", setup);
      clients_->answer(std::chrono::seconds{60});  // it forms the cluster first
    }
    find_leader();
  }

  /// Lets clients work, for `warm` and then for the window. Once only.
  measurement measure(int clients, std::chrono::milliseconds warm, double seconds) {
    child_process& driver = clients_ ? *clients_ : *nodes_[leader_];
    driver.ask({{"ask", "start_clients"}, {"clients", clients}});
    for (int half = 0; half < 2; ++half) {
      set_nodelay();
      std::this_thread::sleep_for(warm / 2);
    }
    set_nodelay();
    driver.ask({{"ask", "measure"}, {"seconds", seconds}});
    const readings before = read_all();
    constexpr std::chrono::seconds slack{60};  // a client may wait long for its last answer
    const auto limit = slack + std::chrono::seconds{static_cast<long>(seconds)};
    driver.answer(limit);
    const readings after = read_all();
    measurement seen;
    seen.load = driver.answer(limit);
    check(seen.load);
    divide(before, after, seen);
    return seen;
  }

 private:
  struct readings {
    std::vector<process_usage> nodes;
    process_usage clients;
    std::uint64_t loopback = 0;
  };

  [[nodiscard]] std::string folder_of(int id) const { return folder_ / fmt::format("node-{}", id); }

  [[nodiscard]] std::unique_ptr<child_process> start(const char* part,
                                                     const node_setup& setup) const {
    return std::make_unique<child_process>(
        fmt::format("{} {} {}", engine_.name, part, setup.id),
        std::vector<std::string>{part, engine_.name, json(setup).dump()});
  }

  /// Those that were not made members by their start.
  void take_in(const node_setup& setup) {
    for (int id = 2; id <= engine_.nodes; ++id) {
      const std::string newcomer =
          nodes_[static_cast<std::size_t>(id) - 1]->ask({{"ask", "newcomer"}}).at("newcomer");
      if (!newcomer.empty()) {
        find_leader();  // the first: nobody else is a member yet, or up to date
        nodes_[leader_]->ask(
            {{"ask", "take_in"}, {"newcomer", newcomer}, {"address", setup.address(id)}});
      }
    }
  }

  void find_leader() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{20};
    while (std::chrono::steady_clock::now() < end) {
      if (clients_ && clients_->ask({{"ask", "leading"}}).at("leading")) {
        leader_ = 0;  // which is how that engine forms its cluster
        return;
      }
      for (leader_ = 0; !clients_ && leader_ < nodes_.size(); ++leader_) {
        if (nodes_[leader_]->ask({{"ask", "leading"}}).at("leading")) {
          return;
        }
      }
      std::this_thread::sleep_for(std::chrono::milliseconds{20});
    }
    throw std::runtime_error(engine_.name + ": no leader was elected");
  }

  void set_nodelay() {
    for (const std::unique_ptr<child_process>& one : nodes_) {
      if (engine_.nodelay && one->ask({{"ask", "nodelay"}}).at("sockets") == 0) {
        throw std::runtime_error(one->name() + " has no socket to set TCP_NODELAY on");
      }
    }
  }

  [[nodiscard]] readings read_all() const {
    readings now;
    for (const std::unique_ptr<child_process>& one : nodes_) {
      now.nodes.push_back(usage_of(one->id()));
    }
    if (clients_) {
      now.clients = usage_of(clients_->id());
    }
    now.loopback = bench::loopback_bytes();
    return now;
  }

  void check(const load_result& load) const {
    if (load.transactions == 0) {
      throw std::runtime_error(
          fmt::format("{}: nothing was committed: {}", engine_.name, load.first_error));
    }
    if (load.rows < load.acknowledged) {
      throw std::runtime_error(fmt::format("{}: {} rows, but {} were acknowledged", engine_.name,
                                           load.rows, load.acknowledged));
    }
  }

  void divide(const readings& before, const readings& after, measurement& into) const {
    const auto each = [&, transactions = static_cast<double>(into.load.transactions)](auto from,
                                                                                      auto to) {
      return static_cast<double>(to - from) / transactions;
    };
    const auto followers = static_cast<double>(nodes_.size() - 1);
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const double cpu = each(before.nodes[i].cpu_us, after.nodes[i].cpu_us);
      const double disk = each(before.nodes[i].disk_bytes, after.nodes[i].disk_bytes);
      (i == leader_ ? into.leader_cpu_us : into.follower_cpu_us) +=
          i == leader_ ? cpu : cpu / followers;
      (i == leader_ ? into.leader_disk_bytes : into.follower_disk_bytes) +=
          i == leader_ ? disk : disk / followers;
    }
    into.client_cpu_us = each(before.clients.cpu_us, after.clients.cpu_us);
    into.loopback_bytes = each(before.loopback, after.loopback);
    if (engine_.entries == entry_source::counters) {
      into.entry_bytes = into.load.log_bytes / static_cast<double>(into.load.transactions);
    } else if (engine_.entries == entry_source::log) {
      into.entry_bytes = raft_log_entries(folder_of(static_cast<int>(leader_) + 1)).mean_bytes();
    }
  }

  const engine& engine_;
  const std::filesystem::path folder_;
  std::vector<std::unique_ptr<child_process>> nodes_;
  std::unique_ptr<child_process> clients_;  ///< where they have a process of their own
  std::size_t leader_ = 0;
};

}  // namespace bench
