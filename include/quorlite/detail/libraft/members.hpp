/// @file
/// Changes of the cluster, one at a time: libraft allows no more.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "quorlite/adapter_kit.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// What somebody waits for. Shared by the one who waits and the loop.
struct libraft_request {
  enum class kind : std::uint8_t { add, promote, remove, transfer };

  libraft_request(kind wanted, server_id server, std::string at)
      : what(wanted), id(server), address(std::move(at)) {}

  const kind what;
  const server_id id;         ///< transfer: 0 for anyone fit
  const std::string address;  ///< add: where the server is
  std::error_code answer;     ///< to be read once `done` is raised
  thread_signal done;

  void end(std::error_code with) noexcept;
};

/// On the loop.
class libraft_members {
 public:
  using request_type = std::shared_ptr<libraft_request>;

  void attach(::raft& engine) noexcept { engine_ = &engine; }

  /// Starts it, or answers it at once.
  ///
  /// A leader that has not committed an entry of its own term may not know of a change that a
  /// former one began, which may yet be committed: two changes from one set of members can make two
  /// majorities without a common server. libraft 0.15 does not ask for it. (Raft thesis, 4.1; the
  /// fault of single-server changes, told on the raft-dev list in July 2015.)
  /// @param open the term of the leadership that is announced, after such an entry; 0: none is
  void carry_out(const request_type& asked, term open) noexcept;

  /// Starts to hand leadership to anyone fit; nobody waits for the answer.
  void transfer_to_anyone() noexcept;
  /// Leadership is being handed over, or that has not been given up yet.
  [[nodiscard]] bool is_transferring() const noexcept { return transfer_ != nullptr; }

  /// Answers what still waits. Callbacks that come later find nothing to tell.
  void sweep() noexcept;

 private:
  template <class Request>
  struct call {
    Request request;
    libraft_members* owner;
  };

  void change(const request_type& asked, term open) noexcept;

  static void on_change(raft_change* request, int status) noexcept;

  void transfer(const request_type& asked) noexcept;

  /// It does not say how it went: see who leads.
  static void on_transfer(struct raft_transfer* request) noexcept;

  static void answer(request_type& asked, std::error_code with) noexcept;

  ::raft* engine_ = nullptr;
  request_type change_;
  request_type transfer_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/libraft/members.ipp"  // IWYU pragma: keep
#endif
