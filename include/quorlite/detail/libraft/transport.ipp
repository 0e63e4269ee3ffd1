/// @file
/// Bodies of libraft_transport: listening and connecting, mended.
#pragma once

#include "quorlite/detail/libraft/transport.hpp"

#include <cerrno>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <system_error>

#include <netdb.h>
#include <sys/socket.h>
#include <uv.h>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"

extern "C" {
#include <raft.h>
}

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Tries the same as the engine, whose code does not tell one reason from another.
/// @param address "HOST:PORT"
/// @returns address_in_use as well if it works now: so it was a moment ago
[[nodiscard]] inline std::error_code why_not_listening(const char* address) noexcept try {
  const std::string_view both(address);
  const std::size_t colon = both.rfind(':');
  const std::string host(both.substr(0, colon));
  const std::string port(colon == std::string_view::npos ? "" : both.substr(colon + 1));
  addrinfo wanted{};
  wanted.ai_family = AF_INET;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), port.c_str(), &wanted, &found) != 0) {
    return std::make_error_code(std::errc::address_not_available);
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> every(found, &::freeaddrinfo);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    const libraft_descriptor probe(::socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC, 0));
    const int on = 1;
    if (!probe.is_open() ||
        ::setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        ::bind(probe.get(), one->ai_addr, one->ai_addrlen) != 0 || ::listen(probe.get(), 1) != 0) {
      return {errno, std::generic_category()};
    }
  }
  return std::make_error_code(std::errc::address_in_use);
} catch (const std::bad_alloc&) {
  return std::make_error_code(std::errc::not_enough_memory);
}

QUORLITE_DECL int libraft_transport::open(uv_loop_t& loop, const char* address,
                                          const char* listen) noexcept {
  listens_at_ = listen[0] != '\0' ? listen : address;
  int code = raft_uv_tcp_init(&tcp_.base, &loop);
  if (code != 0) {
    return code;
  }
  open_ = true;
  tcp_.owner = this;
  listen_ = tcp_.base.listen;
  connect_ = tcp_.base.connect;
  tcp_.base.listen = on_listen;
  tcp_.base.connect = on_connect;
  if (listen[0] != '\0') {
    const std::lock_guard lock(reading_addresses_);
    code = raft_uv_tcp_set_bind_address(&tcp_.base, listen);
  }
  return code;
}

QUORLITE_DECL void libraft_transport::close() noexcept {
  if (open_) {
    raft_uv_tcp_close(&tcp_.base);
    open_ = false;
  }
}

QUORLITE_DECL int libraft_transport::on_listen(raft_uv_transport* base,
                                               raft_uv_accept_cb accepted) noexcept {
  libraft_transport& self = of(base);
  self.accepted_ = accepted;
  const std::lock_guard lock(reading_addresses_);
  const int code = self.listen_(base, on_accepted);
  if (code != 0 && code != RAFT_NOMEM) {
    self.listen_error_ = why_not_listening(self.listens_at_);
  }
  return code;
}

QUORLITE_DECL void libraft_transport::on_accepted(raft_uv_transport* base, raft_id id,
                                                  const char* address,
                                                  uv_stream_t* stream) noexcept {
  send_at_once(stream);
  of(base).accepted_(base, id, address, stream);
}

QUORLITE_DECL int libraft_transport::on_connect(raft_uv_transport* base, raft_uv_connect* asked,
                                                raft_id id, const char* address,
                                                raft_uv_connect_cb connected) noexcept {
  asked->cb = connected;
  auto* const one = new attempt{{}, asked};
  one->request.data = one;
  std::unique_lock lock(reading_addresses_);
  const int code = of(base).connect_(base, &one->request, id, address, on_connected);
  lock.unlock();
  if (code != 0) {
    delete one;
  }
  return code;
}

QUORLITE_DECL void libraft_transport::on_connected(raft_uv_connect* request, uv_stream_t* stream,
                                                   int status) noexcept {
  auto* const one = static_cast<attempt*>(request->data);
  raft_uv_connect* const asked = one->asked;
  delete one;
  if (status == 0) {
    send_at_once(stream);
  }
  asked->cb(asked, stream, status);
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
