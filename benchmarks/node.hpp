/// @file
/// One process of a cluster under test, and what the benchmark may ask of it.
#pragma once

#include <fmt/format.h>
#include <signal.h>

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "child_process.hpp"
#include "load_result.hpp"
#include "message_channel.hpp"
#include "tcp_nodelay.hpp"

namespace bench {

/// What a node is told when it is made.
struct node_setup {
  int id = 0;                   ///< 1 and up; 0: only a client
  std::string folder;           ///< its own
  std::vector<int> ports;       ///< of all nodes, on 127.0.0.1
  std::size_t entry_bytes = 0;  ///< of the bare engine

  [[nodiscard]] std::string address(int of) const {
    return fmt::format("127.0.0.1:{}", ports.at(static_cast<std::size_t>(of) - 1));
  }
};

inline void to_json(json& into, const node_setup& from) {
  into = {{"id", from.id},
          {"folder", from.folder},
          {"ports", from.ports},
          {"entry_bytes", from.entry_bytes}};
}
inline void from_json(const json& from, node_setup& into) {
  from.at("id").get_to(into.id);
  from.at("folder").get_to(into.folder);
  from.at("ports").get_to(into.ports);
  from.at("entry_bytes").get_to(into.entry_bytes);
}

/// Made: it runs. All members are called by one thread. They throw std::exception.
class node {
 public:
  node() = default;
  node(const node&) = delete;
  node& operator=(const node&) = delete;
  virtual ~node() = default;

  /// By which name the first node takes this one in; empty: it takes part already.
  virtual std::string newcomer() { return {}; }
  /// Called on the first node, once it leads.
  virtual void take_in(const std::string& newcomer, const std::string& address) {
    static_cast<void>(newcomer);
    static_cast<void>(address);
  }
  /// May clients be started here?
  virtual bool leading() = 0;
  /// Connects clients and lets them begin.
  virtual void start_clients(int clients) = 0;
  virtual void open_window() = 0;
  virtual void close_window() = 0;
  /// Ends the clients.
  virtual load_result finish() = 0;
};

using node_maker = std::function<std::unique_ptr<node>(const node_setup&)>;

namespace detail {

inline json answer_to(const json& question, node& one, message_channel& channel) {
  const std::string what = question.at("ask");
  if (what == "leading") {
    return {{"leading", one.leading()}};
  }
  if (what == "newcomer") {
    return {{"newcomer", one.newcomer()}};
  }
  if (what == "take_in") {
    one.take_in(question.at("newcomer"), question.at("address"));
  }
  if (what == "nodelay") {
    return {{"sockets", set_nodelay_everywhere()}};
  }
  if (what == "start_clients") {
    one.start_clients(question.at("clients"));
  } else if (what == "measure") {
    one.open_window();
    channel.send({{"window", "open"}});
    std::this_thread::sleep_for(
        std::chrono::duration<double>(question.at("seconds").get<double>()));
    one.close_window();
    channel.send({{"window", "closed"}});
    return one.finish();
  }
  return {{"done", what}};
}

}  // namespace detail

/// The main function of such a process: answers the benchmark until it goes away.
inline int serve_node(const node_maker& make, const node_setup& setup) {
  ::signal(SIGPIPE, SIG_IGN);
  message_channel channel{owned_fd{child_process::channel_fd}};
  try {
    const std::unique_ptr<node> one = make(setup);
    channel.send({{"ready", setup.id}});
    constexpr std::chrono::hours for_ever{24};
    while (const std::optional<json> question = channel.receive(for_ever)) {
      channel.send(detail::answer_to(*question, *one, channel));
    }
    return 0;
  } catch (const std::exception& error) {
    channel.send({{"error", error.what()}});
    return 1;
  }
}

}  // namespace bench
