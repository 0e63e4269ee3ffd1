/// @file
/// The concept of something that runs many clients in one thread of control, one at a time.
///
/// A simulated client is ordinary blocking code: it opens a database, writes, and waits inside
/// COMMIT. An engine gives each client a stack of its own and switches only where a client yields,
/// so the interleaving is chosen by whoever calls `resume`, and a run can be repeated exactly. Two
/// models are shipped: `fiber_engine` (fast) and `baton_engine` (real threads, one running at a
/// time; any debugger and sanitizer understands it). For one seed both must give the same run;
/// tests compare them.
#pragma once

#include <concepts>
#include <cstdint>
#include <utility>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/simulation/unique_function.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

/// Names a client of one engine, counted from 1 in the order of spawning. Never used twice. 0:
/// none.
struct client_id : quorlite::detail::strong_integer<client_id, std::uint32_t> {
  using strong_integer::strong_integer;
};

/// What a client does. It runs once; an exception that leaves it comes out of the `resume` that was
/// running it.
using client_body = unique_function<void()>;

/// The models there are.
enum class engine_kind : std::uint8_t {
  fiber,  ///< a stack each, switched in user space
  baton,  ///< a thread each, exactly one running
};

/// An engine. The thread that calls `resume` is called the main stack; it is always the same
/// thread.
///
/// 1. `spawn(body)` makes a client and does not run it yet. From the main stack or from inside a
/// client.
/// 2. `resume(id)` runs it until it yields or ends. Main stack only, so clients never nest.
/// 3. `yield()` goes back to the `resume` that was called last. Inside a client only.
/// 4. `finished(id)`: the body has returned or thrown; its stack is gone.
///
/// An engine is destroyed only after every client that was ever resumed has finished: nobody can
/// unwind a stack from outside. Clients that were never resumed are just dropped.
template <class E>
concept client_engine = std::default_initializable<E> &&
    requires(E& engine, const E& view, client_body body, client_id id) {
  { engine.spawn(std::move(body)) } -> std::same_as<client_id>;
  { engine.resume(id) } -> std::same_as<void>;
  { engine.yield() } -> std::same_as<void>;
  { view.finished(id) } -> std::same_as<bool>;
};

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
