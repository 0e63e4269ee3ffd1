/// @file
/// Changes of the cluster, one at a time: libraft allows no more.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/consensus.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/thread_signal.hpp"

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

  void end(std::error_code with) noexcept {
    answer = with;
    done.raise();
  }
};

/// On the loop.
class libraft_members {
 public:
  using request_type = std::shared_ptr<libraft_request>;

  void attach(::raft& engine) noexcept { engine_ = &engine; }

  /// Starts it, or answers it at once.
  void carry_out(request_type asked) noexcept {
    if (asked->what == libraft_request::kind::transfer) {
      transfer(std::move(asked));
    } else {
      change(std::move(asked));
    }
  }

  /// Starts to hand the office to anyone fit; nobody waits for the answer.
  void transfer_to_anyone() noexcept {
    transfer(std::make_shared<libraft_request>(libraft_request::kind::transfer, server_id{},
                                               std::string()));
  }

  /// Answers what still waits. Callbacks that come later find nothing to tell.
  void sweep() noexcept {
    answer(change_, make_error_code(errc::stopped));
    answer(transfer_, make_error_code(errc::stopped));
  }

 private:
  template <class Request>
  struct call {
    Request request;
    libraft_members* owner;
  };

  void change(request_type asked) noexcept {
    if (change_ != nullptr) {
      asked->end(make_error_code(errc::busy));
      return;
    }
    auto* const one = new call<raft_change>{{}, this};
    one->request.data = one;
    change_ = asked;
    int code = 0;
    switch (asked->what) {
      case libraft_request::kind::add:
        code = raft_add(engine_, &one->request, asked->id.value, asked->address.c_str(), on_change);
        break;
      case libraft_request::kind::promote:
        code = raft_assign(engine_, &one->request, asked->id.value, RAFT_VOTER, on_change);
        break;
      default: code = raft_remove(engine_, &one->request, asked->id.value, on_change);
    }
    if (code != 0) {
      delete one;
      const bool is_so = asked->what == libraft_request::kind::promote && code == RAFT_BADROLE;
      answer(change_, is_so ? std::error_code{} : libraft_error(code));
    }
  }

  static void on_change(raft_change* request, int status) noexcept {
    auto* const one = static_cast<call<raft_change>*>(request->data);
    libraft_members* const self = one->owner;
    delete one;
    self->answer(self->change_, libraft_error(status));
  }

  void transfer(request_type asked) noexcept {
    if (transfer_ != nullptr) {
      asked->end(make_error_code(errc::busy));
      return;
    }
    auto* const one = new call<struct raft_transfer>{{}, this};
    one->request.data = one;
    transfer_ = asked;
    const int code = ::raft_transfer(engine_, &one->request, asked->id.value, on_transfer);
    if (code != 0) {
      delete one;
      answer(transfer_, libraft_error(code));
    }
  }

  /// It does not say how it went: see who leads.
  static void on_transfer(struct raft_transfer* request) noexcept {
    auto* const one = static_cast<call<struct raft_transfer>*>(request->data);
    libraft_members* const self = one->owner;
    delete one;
    raft_id leader = 0;
    const char* address = nullptr;
    raft_leader(self->engine_, &leader, &address);
    const bool moved = leader != 0 && leader != self->engine_->id &&
                       (self->transfer_ == nullptr || self->transfer_->id.value == 0 ||
                        self->transfer_->id.value == leader);
    self->answer(self->transfer_, moved ? std::error_code{} : make_error_code(errc::busy));
  }

  static void answer(request_type& asked, std::error_code with) noexcept {
    if (const request_type one = std::exchange(asked, nullptr)) {
      one->end(with);
    }
  }

  ::raft* engine_ = nullptr;
  request_type change_;
  request_type transfer_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
