/// @file
/// A client of dqlite: just what the benchmark asks of it.
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "dqlite_message.hpp"
#include "owned_fd.hpp"

namespace bench {

/// dqlite refused a request.
struct dqlite_failure : std::runtime_error {
  dqlite_failure(std::uint64_t its_code, const std::string& message)
      : std::runtime_error(fmt::format("dqlite: {} (code {})", message, its_code)),
        code(its_code) {}

  /// Another writer is at work: SQLITE_BUSY, or one of its extended codes.
  [[nodiscard]] bool is_busy() const { return (code & 0xFFU) == 5; }

  std::uint64_t code;
};

/// One connection. All members block, for at most the time-out, and throw dqlite_failure or
/// std::runtime_error.
class dqlite_client {
 public:
  enum class role : std::uint64_t { voter = 0 };

  dqlite_client(int port, std::uint64_t client_id) {
    connect(port);
    constexpr std::uint64_t version = 1;
    send_all(std::as_bytes(std::span<const std::uint64_t, 1>(&version, 1)));
    ask(dqlite_request{request::client}.u64(client_id), response::welcome);
  }

  /// The id of the leader; 0: none yet.
  std::uint64_t leader() {
    return ask(dqlite_request{request::leader}.u64(0), response::server).u64();
  }
  /// The node joins as a spare, without a vote.
  void add(std::uint64_t node_id, std::string_view address) {
    ask(dqlite_request{request::add}.u64(node_id).text(address), response::empty);
  }
  /// Waits until the node has caught up.
  void assign(std::uint64_t node_id, role to) {
    ask(dqlite_request{request::assign}.u64(node_id).u64(static_cast<std::uint64_t>(to)),
        response::empty);
  }
  void open(std::string_view database) {
    dqlite_request open{request::open};
    open.text(database).u64(0).text("volatile");
    database_ = ask(open, response::database).u32();
  }
  void prepare(std::string_view sql) {
    dqlite_response answer =
        ask(dqlite_request{request::prepare}.u64(database_).text(sql), response::statement);
    static_cast<void>(answer.u32());  // the database
    statement_ = answer.u32();
  }
  /// Runs what was prepared, with one text as its only parameter.
  void execute(std::string_view parameter) {
    constexpr std::uint8_t parameters = 1;
    constexpr std::uint8_t text_type = 3;
    dqlite_request execute{request::execute};
    execute.u32(database_).u32(statement_).u8(parameters).u8(text_type).pad().text(parameter);
    ask(execute, response::result);
  }
  void execute_sql(std::string_view sql) {
    ask(dqlite_request{request::execute_sql}.u64(database_).text(sql), response::result);
  }
  /// The one number that a query gives.
  std::uint64_t query_number(std::string_view sql) {
    dqlite_response rows =
        ask(dqlite_request{request::query_sql}.u64(database_).text(sql), response::rows);
    for (std::uint64_t columns = rows.u64(); columns > 0; --columns) {
      rows.text();
    }
    static_cast<void>(rows.u64());  // the types
    return rows.u64();
  }

 private:
  struct request {
    static constexpr std::uint8_t leader = 0, client = 1, open = 3, prepare = 4, execute = 5,
                                  execute_sql = 8, query_sql = 9, add = 12, assign = 13;
  };
  enum class response : std::uint8_t {
    failure = 0,
    server = 1,
    welcome = 2,
    database = 4,
    statement = 5,
    result = 6,
    rows = 7,
    empty = 8
  };
  static constexpr std::size_t most_words = std::size_t{1} << 20U;

  void connect(int port) {
    socket_ = owned_fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int on = 1;
    const timeval limit{.tv_sec = 20, .tv_usec = 0};
    if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 ||
        ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0 ||
        ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0) {
      throw_errno("connect to dqlite");
    }
  }

  void send_all(std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) {
        throw_errno("send to dqlite");
      }
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
  }
  void receive_all(std::span<std::byte> into) const {
    while (!into.empty()) {
      const ssize_t received = ::recv(socket_.get(), into.data(), into.size(), 0);
      if (received == 0) {
        throw std::runtime_error("dqlite closed the connection");
      }
      if (received < 0) {
        throw_errno("receive from dqlite");
      }
      into = into.subspan(static_cast<std::size_t>(received));
    }
  }

  /// Sends and waits for the answer, which is valid until the next call.
  dqlite_response ask(dqlite_request& message, response expected) {
    send_all(message.finish());
    body_.resize(dqlite_word);
    receive_all(body_);
    const std::uint32_t words = dqlite_response{body_}.u32();
    const auto type = static_cast<response>(body_[4]);
    if (words > most_words) {
      throw std::runtime_error("dqlite sent a message that is too long");
    }
    body_.resize(words * dqlite_word);
    receive_all(body_);
    dqlite_response answer{body_};
    if (type == response::failure) {
      const std::uint64_t code = answer.u64();
      throw dqlite_failure(code, answer.text());
    }
    if (type != expected) {
      throw std::runtime_error(fmt::format("dqlite answered with type {} instead of {}",
                                           static_cast<int>(type), static_cast<int>(expected)));
    }
    return answer;
  }

  owned_fd socket_;
  std::vector<std::byte> body_;
  std::uint32_t database_ = 0;
  std::uint32_t statement_ = 0;
};

}  // namespace bench
