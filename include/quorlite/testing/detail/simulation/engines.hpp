/// @file
/// Engines: what runs many clients in one thread of control, one at a time.
///
/// A simulated client is ordinary blocking code: it opens a database, writes, and waits inside
/// COMMIT. An engine gives each client a stack of its own and switches only where a client yields,
/// so the interleaving is chosen by whoever calls `resume`, and a run can be repeated exactly. Two
/// models are shipped: `fiber_engine` (fast) and `handoff_engine` (real threads, one running at a
/// time; any debugger and sanitizer understands it). For one seed both must give the same run;
/// tests compare them.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/detail/simulation/unique_function.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

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
  fiber,    ///< a stack each, switched in user space
  handoff,  ///< a thread each, exactly one running
};

/// An engine. The thread that calls `resume` is called the main stack; it is always the same
/// thread.
///
/// 1. `spawn(body)` makes a client and does not run it yet. From the main stack or from inside a
///    client.
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

/// Memory for one stack; see fiber_engine.ipp.
class fiber_stack;

/// The fast model of `client_engine`: a switch costs about a microsecond. All calls come from one
/// thread. Clients share that thread's `thread_local` variables; a client must not hold a mutex
/// while it yields if another client may want it. Exceptions in flight are kept apart: a client may
/// yield inside a catch block.
class fiber_engine {
 public:
  fiber_engine();
  fiber_engine(const fiber_engine&) = delete;
  fiber_engine& operator=(const fiber_engine&) = delete;
  /// @pre every client that was resumed has finished
  ~fiber_engine();

  client_id spawn(client_body body);
  void resume(client_id id);
  void yield();
  [[nodiscard]] bool finished(client_id id) const noexcept;

 private:
  struct exception_state;
  struct place;
  struct fiber;

  void prepare(fiber& self);
  void retire(fiber& self);
  /// The first frame of every client.
  static void enter(unsigned high, unsigned low);
  static void run(fiber& self) noexcept;
  /// Goes from one place to another, and returns when somebody comes back.
  void leave(place& from, place& to, bool for_good);
  /// The first thing done after a switch, on the stack that was switched to.
  void arrive(place& here);

  std::unique_ptr<place> main_;
  fiber* running_ = nullptr;
  std::vector<std::unique_ptr<fiber>> fibers_;
  std::vector<std::unique_ptr<fiber_stack>> spare_stacks_;
};

static_assert(client_engine<fiber_engine>);

/// The slow and plain model of `client_engine`: a switch costs two wake-ups of a thread (5 to 10
/// us). Everything a client did is seen by whoever runs next, since the handoff is handed over
/// under a mutex.
class handoff_engine {
 public:
  handoff_engine();
  handoff_engine(const handoff_engine&) = delete;
  handoff_engine& operator=(const handoff_engine&) = delete;
  /// @pre every client that was resumed has finished
  ~handoff_engine();

  client_id spawn(client_body body);
  void resume(client_id id);
  void yield();
  [[nodiscard]] bool finished(client_id id) const noexcept;

 private:
  class handoff;
  struct client;

  void run(client& self) noexcept;

  std::unique_ptr<handoff> main_turn_;
  client* running_ = nullptr;
  std::vector<std::unique_ptr<client>> clients_;
};

static_assert(client_engine<handoff_engine>);

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/simulation/fiber_engine.ipp"    // IWYU pragma: keep
#include "quorlite/testing/detail/simulation/handoff_engine.ipp"  // IWYU pragma: keep
#endif
