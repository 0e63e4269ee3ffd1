/// @file
/// A callable that is owned by one place: what clients, callbacks and traces of the simulator are
/// kept in.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include "quorlite/config.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

template <class Signature>
class unique_function;

/// Holds any callable of this signature, also one that can only be moved. Empty by default; one
/// allocation when made. Not for hot paths: it exists so that no header of ours needs
/// `<functional>`.
template <class Result, class... Arguments>
class unique_function<Result(Arguments...)> {
 public:
  unique_function() noexcept = default;

  template <class Callable>
  requires(!std::is_same_v<std::remove_cvref_t<Callable>, unique_function> &&
           std::is_invocable_r_v<Result, std::remove_cvref_t<Callable>&, Arguments...>)
      // NOLINTNEXTLINE: implicit, so that a lambda can be passed as it is; not for one of our own
      unique_function(Callable&& callable)
      : held_(new holder<std::remove_cvref_t<Callable>>(std::in_place,
                                                        std::forward<Callable>(callable))) {}

  [[nodiscard]] explicit operator bool() const noexcept { return held_ != nullptr; }

  /// @pre not empty. Throws what the callable throws.
  Result operator()(Arguments... arguments) const {
    QUORLITE_ASSERT(held_ != nullptr);
    return held_->call(std::forward<Arguments>(arguments)...);
  }

 private:
  struct base {
    base() = default;
    base(const base&) = delete;
    base& operator=(const base&) = delete;
    virtual ~base() = default;
    virtual Result call(Arguments... arguments) = 0;
  };

  template <class Callable>
  struct holder final : base {
    template <class Source>
    explicit holder(std::in_place_t /*of the callable*/, Source&& source)
        : callable(std::forward<Source>(source)) {}
    Result call(Arguments... arguments) override {
      return callable(std::forward<Arguments>(arguments)...);
    }
    Callable callable;
  };

  std::unique_ptr<base> held_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
