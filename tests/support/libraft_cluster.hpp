// Servers of libraft in one process: directories of their own, ports of 127.0.0.1.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "quorlite/raft/libraft.hpp"
#include "support/temporary_directory.hpp"
#include "support/wait_until.hpp"  // IWYU pragma: export

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

// An address that was free a moment ago. All of one call differ.
inline std::vector<std::string> free_addresses(std::size_t count) {
  std::vector<std::string> addresses;
  std::vector<int> sockets;
  for (std::size_t i = 0; i < count; ++i) {
    const int one = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof name;
    const bool bound = one >= 0 && ::bind(one, reinterpret_cast<sockaddr*>(&name), size) == 0 &&
                       ::getsockname(one, reinterpret_cast<sockaddr*>(&name), &size) == 0;
    QUORLITE_ASSERT(bound);
    addresses.push_back("127.0.0.1:" + std::to_string(ntohs(name.sin_port)));
    sockets.push_back(one);
  }
  for (const int one : sockets) {
    ::close(one);
  }
  return addresses;
}

// Options for servers 1 … n; those after `voters` are to be added later, by the id of their status.
class libraft_places {
 public:
  explicit libraft_places(std::size_t servers, std::size_t voters = 0)
      : addresses_(free_addresses(servers)), voters_(voters == 0 ? servers : voters) {
    for (std::size_t i = 0; i < servers; ++i) {
      std::filesystem::create_directory(folder_ / std::to_string(i + 1));
    }
  }

  [[nodiscard]] std::size_t size() const noexcept { return addresses_.size(); }
  [[nodiscard]] libraft_server server(std::size_t index) const {
    return {server_id{index + 1}, addresses_[index]};
  }
  [[nodiscard]] std::string directory(std::size_t index) const {
    return folder_ / std::to_string(index + 1);
  }
  [[nodiscard]] libraft_options options(std::size_t index) const {
    libraft_options options{
        .id = server_id{index + 1}, .address = addresses_[index], .directory = directory(index)};
    for (std::size_t i = 0; index < voters_ && i < voters_; ++i) {
      options.bootstrap.push_back(server(i));
    }
    options.join = index >= voters_;
    options.election_timeout = milliseconds{300};
    options.heartbeat = milliseconds{50};
    return options;
  }

 private:
  temporary_directory folder_;
  std::vector<std::string> addresses_;
  std::size_t voters_;
};

}  // namespace quorlite::tests
