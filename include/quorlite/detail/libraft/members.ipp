/// @file
/// Bodies of libraft_members: changes of the cluster and transfers, asked and answered.
#pragma once

#include "quorlite/detail/libraft/members.hpp"

#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL void libraft_request::end(std::error_code with) noexcept {
  answer = with;
  done.raise();
}

QUORLITE_DECL void libraft_members::carry_out(const request_type& asked, term open) noexcept {
  if (asked->what == libraft_request::kind::transfer) {
    transfer(asked);
  } else {
    change(asked, open);
  }
}

QUORLITE_DECL void libraft_members::transfer_to_anyone() noexcept {
  transfer(std::make_shared<libraft_request>(libraft_request::kind::transfer, server_id{},
                                             std::string()));
}

QUORLITE_DECL void libraft_members::sweep() noexcept {
  answer(change_, make_error_code(errc::stopped_in_flight));
  answer(transfer_, make_error_code(errc::stopped_in_flight));
}

/// libraft 0.15 lets the last voter go. Nobody could then commit anything, so nobody could be taken
/// in again either.
[[nodiscard]] inline bool is_only_voter(const raft_configuration& members, raft_id id) noexcept {
  bool found = false;
  for (unsigned i = 0; i < members.n; ++i) {
    const raft_server& one = members.servers[i];
    if (one.role == RAFT_VOTER && one.id != id) {
      return false;
    }
    found = found || one.role == RAFT_VOTER;
  }
  return found;
}

QUORLITE_DECL void libraft_members::change(const request_type& asked, term open) noexcept {
  const bool too_early = engine_->state == RAFT_LEADER && open.value != engine_->current_term;
  if (change_ != nullptr || too_early) {
    asked->end(make_error_code(errc::busy));
    return;
  }
  if (engine_->state == RAFT_LEADER && asked->what == libraft_request::kind::remove &&
      is_only_voter(engine_->configuration, asked->id.value)) {
    asked->end(std::make_error_code(std::errc::operation_not_permitted));
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

QUORLITE_DECL void libraft_members::on_change(raft_change* request, int status) noexcept {
  auto* const one = static_cast<call<raft_change>*>(request->data);
  libraft_members* const self = one->owner;
  delete one;
  answer(self->change_, libraft_error(status));
}

QUORLITE_DECL void libraft_members::transfer(const request_type& asked) noexcept {
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

QUORLITE_DECL void libraft_members::on_transfer(struct raft_transfer* request) noexcept {
  auto* const one = static_cast<call<struct raft_transfer>*>(request->data);
  libraft_members* const self = one->owner;
  delete one;
  raft_id leader = 0;
  const char* address = nullptr;
  raft_leader(self->engine_, &leader, &address);
  const bool moved = leader != 0 && leader != self->engine_->id &&
                     (self->transfer_ == nullptr || self->transfer_->id.value == 0 ||
                      self->transfer_->id.value == leader);
  answer(self->transfer_, moved ? std::error_code{} : make_error_code(errc::busy));
}

QUORLITE_DECL void libraft_members::answer(request_type& asked, std::error_code with) noexcept {
  if (const request_type one = std::exchange(asked, nullptr)) {
    one->end(with);
  }
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
