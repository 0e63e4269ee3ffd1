// What a process may use, made less for a while.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>

#include "quorlite/config.hpp"

namespace quorlite::tests {

// All threads have it, until it ends.
class lowered_limit {
 public:
  // Nothing can be written to a file.
  static lowered_limit no_bytes() {
    static_cast<void>(std::signal(SIGXFSZ, SIG_IGN));  // or the process would end
    return {RLIMIT_FSIZE, 0};
  }
  // No file can be opened. What is open stays so.
  static lowered_limit no_descriptors() { return descriptors(0); }
  // So many files more, if those that are open have the lowest numbers.
  static lowered_limit descriptors(::rlim_t more) {
    const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);  // the lowest that is free
    QUORLITE_ASSERT(next >= 0);
    ::close(next);
    return {RLIMIT_NOFILE, static_cast<::rlim_t>(next) + more};
  }
  lowered_limit(const lowered_limit&) = delete;
  lowered_limit& operator=(const lowered_limit&) = delete;
  ~lowered_limit() { ::setrlimit(which_, &before_); }

 private:
  lowered_limit(int which, ::rlim_t to) : which_(which) {
    const bool known = ::getrlimit(which_, &before_) == 0;
    const ::rlimit now{to, before_.rlim_max};
    const bool set = known && ::setrlimit(which_, &now) == 0;
    QUORLITE_ASSERT(set);
  }

  const int which_;
  ::rlimit before_{};
};

}  // namespace quorlite::tests
