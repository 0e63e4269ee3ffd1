/// @file
/// Bodies of libraft_transport: listening and connecting, mended.
#pragma once

#include "quorlite/detail/libraft/transport.hpp"

#include <mutex>

#include <uv.h>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL int libraft_transport::open(uv_loop_t& loop, const char* listen) noexcept {
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
  return self.listen_(base, on_accepted);
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
