/// @file
/// Bodies of fiber_engine: a stack for each client, switched by swapcontext(3), told to the
/// sanitizers.
#pragma once

#include <cxxabi.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/testing/detail/simulation/engines.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define QUORLITE_FIBERS_TELL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define QUORLITE_FIBERS_TELL_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define QUORLITE_FIBERS_TELL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define QUORLITE_FIBERS_TELL_TSAN 1
#endif
#endif
#if defined(QUORLITE_FIBERS_TELL_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(QUORLITE_FIBERS_TELL_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// Memory for one stack, with an unreadable page below it: an overflow ends the process there
/// instead of overwriting a neighbour. Pages are given by the system as they are touched.
class fiber_stack {
 public:
  static constexpr std::size_t size_bytes = std::size_t{256} << 10U;

  fiber_stack() {
    const long page_bytes = ::sysconf(_SC_PAGESIZE);
    guard_bytes_ = page_bytes > 0 ? static_cast<std::size_t>(page_bytes) : 4096;
    map_ = ::mmap(nullptr, guard_bytes_ + size_bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    QUORLITE_ASSERT(map_ != MAP_FAILED);
    const int code = ::mprotect(map_, guard_bytes_, PROT_NONE);
    QUORLITE_ASSERT(code == 0);
  }
  fiber_stack(const fiber_stack&) = delete;
  fiber_stack& operator=(const fiber_stack&) = delete;
  ~fiber_stack() { ::munmap(map_, guard_bytes_ + size_bytes); }

  /// The lowest usable byte.
  [[nodiscard]] void* bottom() const noexcept {
    return static_cast<std::byte*>(map_) + guard_bytes_;
  }

 private:
  void* map_ = nullptr;
  std::size_t guard_bytes_ = 0;
};

/// What the C++ runtime keeps per thread about exceptions (Itanium C++ ABI, 2.2.2): the stack of
/// caught ones and how many are in flight. Fibers of one thread each need their own.
struct fiber_engine::exception_state {
  void* caught = nullptr;
  unsigned int uncaught = 0;
};

/// A place that can be switched from and to: a client, or the main stack.
struct fiber_engine::place {
  ucontext_t context{};
  exception_state exceptions;
  const void* stack_bottom = nullptr;  // of the main stack: known once a client was entered
  std::size_t stack_bytes = 0;
  void* fake_stack = nullptr;       // AddressSanitizer's
  void* sanitizer_fiber = nullptr;  // ThreadSanitizer's
};

struct fiber_engine::fiber : fiber_engine::place {
  client_body body;
  std::exception_ptr error;
  bool done = false;
  std::unique_ptr<fiber_stack> stack;
};

QUORLITE_DECL fiber_engine::fiber_engine() : main_(std::make_unique<place>()) {}

QUORLITE_DECL fiber_engine::~fiber_engine() {
  for (const std::unique_ptr<fiber>& each : fibers_) {
    QUORLITE_ASSERT(each == nullptr || each->stack == nullptr);
  }
}

QUORLITE_DECL client_id fiber_engine::spawn(client_body body) {
  fibers_.push_back(std::make_unique<fiber>());
  fibers_.back()->body = std::move(body);
  return client_id{static_cast<std::uint32_t>(fibers_.size())};
}

QUORLITE_DECL void fiber_engine::resume(client_id id) {
  QUORLITE_ASSERT(running_ == nullptr && !finished(id));
  fiber& chosen = *fibers_[id.value - 1];
  if (chosen.stack == nullptr) {
    prepare(chosen);
  }
  running_ = &chosen;
  leave(*main_, chosen, /*for_good=*/false);
  running_ = nullptr;
  if (chosen.done) {
    const std::exception_ptr error = chosen.error;
    retire(chosen);
    fibers_[id.value - 1].reset();
    if (error) {
      std::rethrow_exception(error);
    }
  }
}

QUORLITE_DECL void fiber_engine::yield() {
  QUORLITE_ASSERT(running_ != nullptr);
  leave(*running_, *main_, /*for_good=*/false);
}

QUORLITE_DECL bool fiber_engine::finished(client_id id) const noexcept {
  QUORLITE_ASSERT(id.value >= 1 && id.value <= fibers_.size());
  return fibers_[id.value - 1] == nullptr;
}

QUORLITE_DECL void fiber_engine::prepare(fiber& self) {
  if (spare_stacks_.empty()) {
    self.stack = std::make_unique<fiber_stack>();
  } else {
    self.stack = std::move(spare_stacks_.back());
    spare_stacks_.pop_back();
  }
  self.stack_bottom = self.stack->bottom();
  self.stack_bytes = fiber_stack::size_bytes;
  const int code = ::getcontext(&self.context);
  QUORLITE_ASSERT(code == 0);
  self.context.uc_stack.ss_sp = self.stack->bottom();
  self.context.uc_stack.ss_size = fiber_stack::size_bytes;
  self.context.uc_link = nullptr;
  const auto address = reinterpret_cast<std::uintptr_t>(this);  // makecontext passes ints only
  ::makecontext(&self.context, reinterpret_cast<void (*)()>(&fiber_engine::enter), 2,
                static_cast<unsigned>(std::uint64_t{address} >> 32U),
                static_cast<unsigned>(address & 0xFFFFFFFFU));
#if defined(QUORLITE_FIBERS_TELL_ASAN)
  __asan_unpoison_memory_region(self.stack->bottom(), fiber_stack::size_bytes);
#endif
#if defined(QUORLITE_FIBERS_TELL_TSAN)
  self.sanitizer_fiber = __tsan_create_fiber(0);
#endif
}

QUORLITE_DECL void fiber_engine::retire(fiber& self) {
#if defined(QUORLITE_FIBERS_TELL_TSAN)
  __tsan_destroy_fiber(self.sanitizer_fiber);
#endif
  spare_stacks_.push_back(std::move(self.stack));
}

QUORLITE_DECL void fiber_engine::enter(unsigned high, unsigned low) {
  const std::uint64_t address = (std::uint64_t{high} << 32U) | low;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): makecontext passes ints only
  auto& engine = *reinterpret_cast<fiber_engine*>(static_cast<std::uintptr_t>(address));
  fiber& self = *engine.running_;
  engine.arrive(self);
  run(self);
  engine.leave(self, *engine.main_, /*for_good=*/true);
  std::abort();  // nobody resumes a finished client
}

QUORLITE_DECL void fiber_engine::run(fiber& self) noexcept {
  try {
    self.body();
  } catch (...) {
    self.error = std::current_exception();
  }
  self.body = client_body{};  // what it captured goes while its stack still stands
  self.done = true;
}

QUORLITE_DECL void fiber_engine::leave(place& from, place& to, [[maybe_unused]] bool for_good) {
  std::memcpy(static_cast<void*>(&from.exceptions), abi::__cxa_get_globals(),
              sizeof(exception_state));
#if defined(QUORLITE_FIBERS_TELL_ASAN)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &from.fake_stack, to.stack_bottom,
                                 to.stack_bytes);
#endif
#if defined(QUORLITE_FIBERS_TELL_TSAN)
  if (&from == main_.get()) {
    main_->sanitizer_fiber = __tsan_get_current_fiber();
  }
  __tsan_switch_to_fiber(to.sanitizer_fiber, 0);
#endif
  ::swapcontext(&from.context, &to.context);
  arrive(from);
}

QUORLITE_DECL void fiber_engine::arrive(place& here) {
#if defined(QUORLITE_FIBERS_TELL_ASAN)
  const bool is_client = &here != main_.get();
  __sanitizer_finish_switch_fiber(here.fake_stack, is_client ? &main_->stack_bottom : nullptr,
                                  is_client ? &main_->stack_bytes : nullptr);
#endif
  std::memcpy(static_cast<void*>(abi::__cxa_get_globals()), &here.exceptions,
              sizeof(exception_state));
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
