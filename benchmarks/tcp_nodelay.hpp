/// @file
/// TCP_NODELAY for libraries that do not set it: on every TCP socket that this process has.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace bench {

/// Sockets that come later are missed, so call it when connections stand. A socket that another
/// thread closes meanwhile does no harm.
/// @returns how many sockets it is set on now
inline int set_nodelay_everywhere() {
  int sockets = 0;
  std::error_code ignored;
  for (const auto& one : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
    const int fd = std::atoi(one.path().filename().c_str());
    int domain = 0;
    socklen_t size = sizeof domain;
    if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
        (domain == AF_INET || domain == AF_INET6)) {
      const int on = 1;
      sockets += ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 ? 1 : 0;
    }
  }
  return sockets;
}

}  // namespace bench
