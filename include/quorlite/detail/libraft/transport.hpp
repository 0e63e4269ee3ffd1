/// @file
/// libraft's TCP transport with three things mended. Nagle's algorithm is off on both ends of every
/// connection: libraft leaves it on, and each small message then waits for the acknowledgement of
/// the last, 40 ms. Servers of one process do not spoil each other's addresses. And why a server
/// cannot listen is known.
#pragma once

#include <mutex>
#include <system_error>
#include <type_traits>

#include <uv.h>

#include "quorlite/config.hpp"

extern "C" {
#include <raft/uv.h>
}

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Made of the one in libraft: two of its four functions are replaced. On the loop.
class libraft_transport {
 public:
  libraft_transport() = default;
  libraft_transport(const libraft_transport&) = delete;
  libraft_transport& operator=(const libraft_transport&) = delete;

  /// @param address where the others find it
  /// @param listen where to listen, if not there; may be empty. Both outlive this object
  /// @returns a code of libraft
  [[nodiscard]] int open(uv_loop_t& loop, const char* address, const char* listen) noexcept;
  /// After the raft_io that used it was closed.
  void close() noexcept;
  [[nodiscard]] raft_uv_transport* get() noexcept { return &tcp_.base; }
  /// Why nobody can connect to this server: the engine's own code tells it as an error of the disk.
  /// None: it listens, or was not asked to.
  [[nodiscard]] std::error_code listen_error() const noexcept { return listen_error_; }

 private:
  /// The engine hands back what it was given: the first member.
  struct tcp {
    raft_uv_transport base;
    libraft_transport* owner;
  };
  static_assert(std::is_standard_layout_v<tcp>);

  [[nodiscard]] static libraft_transport& of(raft_uv_transport* base) noexcept {
    return *reinterpret_cast<tcp*>(base)->owner;
  }

  static void send_at_once(uv_stream_t* stream) noexcept {
    static_cast<void>(uv_tcp_nodelay(reinterpret_cast<uv_tcp_t*>(stream), 1));
  }

  static int on_listen(raft_uv_transport* base, raft_uv_accept_cb accepted) noexcept;
  static void on_accepted(raft_uv_transport* base, raft_id id, const char* address,
                          uv_stream_t* stream) noexcept;

  /// One attempt to connect, in place of the engine's request.
  struct attempt {
    raft_uv_connect request;
    raft_uv_connect* asked;
  };

  static int on_connect(raft_uv_transport* base, raft_uv_connect* asked, raft_id id,
                        const char* address, raft_uv_connect_cb connected) noexcept;
  static void on_connected(raft_uv_connect* request, uv_stream_t* stream, int status) noexcept;

  /// libraft takes addresses apart with strtok, whose place is the whole process's. No call back is
  /// made under it: what libraft starts here, libuv ends in a later turn of the loop.
  static inline std::mutex reading_addresses_;

  tcp tcp_{};
  bool open_ = false;
  const char* listens_at_ = "";
  std::error_code listen_error_;
  raft_uv_accept_cb accepted_ = nullptr;
  int (*listen_)(raft_uv_transport*, raft_uv_accept_cb) = nullptr;
  int (*connect_)(raft_uv_transport*, raft_uv_connect*, raft_id, const char*,
                  raft_uv_connect_cb) = nullptr;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/transport.ipp"  // IWYU pragma: keep
#endif
