/// @file
/// TCP ports that nobody listens on.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <vector>

#include "owned_fd.hpp"

namespace bench {

/// On 127.0.0.1, all different. Somebody else may take one before it is used: then try again.
/// @throws std::system_error
[[nodiscard]] inline std::vector<int> free_ports(int count) {
  std::vector<owned_fd> sockets;  // all open until the end, so that no port comes twice
  std::vector<int> ports;
  for (int i = 0; i < count; ++i) {
    sockets.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in at{};
    socklen_t size = sizeof at;
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* const address = reinterpret_cast<sockaddr*>(&at);
    if (::bind(sockets.back().get(), address, size) != 0 ||
        ::getsockname(sockets.back().get(), address, &size) != 0) {
      throw_errno("find a free port");
    }
    ports.push_back(ntohs(at.sin_port));
  }
  return ports;
}

}  // namespace bench
