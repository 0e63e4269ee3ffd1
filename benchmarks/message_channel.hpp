/// @file
/// JSON messages between two processes of a benchmark, whole or not at all.
#pragma once

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "owned_fd.hpp"

namespace bench {

using json = nlohmann::ordered_json;

/// One end. A sequenced-packet socket keeps the messages apart, so there is no framing.
class message_channel {
 public:
  explicit message_channel(owned_fd fd) : fd_(std::move(fd)), buffer_(message_bytes) {}

  /// Two ends; neither survives an exec. @throws std::system_error
  static std::pair<owned_fd, owned_fd> make_pair() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
      throw_errno("socketpair");
    }
    return {owned_fd{ends[0]}, owned_fd{ends[1]}};
  }

  /// @throws std::system_error, also when the other end is gone
  void send(const json& message) const {
    const std::string text = message.dump();
    if (::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(text.size())) {
      throw_errno("send to another process of the benchmark");
    }
  }

  /// The next message; nothing if the other end is gone. @throws std::runtime_error when `limit`
  /// has passed
  std::optional<json> receive(std::chrono::milliseconds limit) {
    pollfd waiting{};
    waiting.fd = fd_.get();
    waiting.events = POLLIN;
    const int ready = ::poll(&waiting, 1, static_cast<int>(limit.count()));
    if (ready < 0) {
      throw_errno("poll");
    }
    if (ready == 0) {
      throw std::runtime_error(fmt::format("no answer in {} ms", limit.count()));
    }
    const ssize_t bytes = ::recv(fd_.get(), buffer_.data(), buffer_.size(), 0);
    if (bytes <= 0) {
      return std::nullopt;
    }
    return json::parse(buffer_.begin(), buffer_.begin() + bytes);
  }

 private:
  static constexpr std::size_t message_bytes = std::size_t{1} << 16U;

  owned_fd fd_;
  std::vector<char> buffer_;
};

}  // namespace bench
