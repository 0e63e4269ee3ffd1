/// @file
/// Tells ThreadSanitizer of files that libuv closes by a bare system call. It sees those opened but
/// not closed, takes a number that is used again for the same file, and reports a race between
/// their owners (https://github.com/libuv/libuv/pull/3112). Include it in one source of a program.
#pragma once

#if defined(__SANITIZE_THREAD__)
#define QUORLITE_TEST_RACES 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define QUORLITE_TEST_RACES 1
#endif
#endif

#if defined(QUORLITE_TEST_RACES)

#include <dlfcn.h>
#include <sys/syscall.h>

#include <cstdarg>

extern "C" {
void __sanitizer_syscall_pre_impl_close(long file);

/// Stands before the C library's: a number and up to six words.
long syscall(long number, ...) noexcept {
  using plain_syscall = long (*)(long, ...);
  static const auto plain = reinterpret_cast<plain_syscall>(::dlsym(RTLD_NEXT, "syscall"));
  va_list list;
  va_start(list, number);
  long words[6];
  for (long& word : words) {
    word = va_arg(list, long);
  }
  va_end(list);
  if (number == SYS_close) {
    __sanitizer_syscall_pre_impl_close(words[0]);
  }
  return plain(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}
}

#endif
