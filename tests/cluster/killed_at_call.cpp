// A library to preload: the process is killed (SIGKILL) when it is about to make its Nth call that
// changes a file or makes one durable, N in the environment as KILLED_AT_CALL.

#undef _FILE_OFFSET_BITS  // both names of each call are to be defined here

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdarg>
#include <cstdlib>

namespace {

void count_call() {
  static std::atomic<long> calls{0};
  static const char* const text = std::getenv("KILLED_AT_CALL");
  if (text != nullptr && ++calls == std::atol(text)) {
    ::kill(::getpid(), SIGKILL);
  }
}

template <class Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

int open_next(const char* name, const char* path, int flags, mode_t mode) {
  if ((flags & O_CREAT) != 0) {
    count_call();
  }
  return next<int (*)(const char*, int, mode_t)>(name)(path, flags, mode);
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(list, mode_t) : 0;
  va_end(list);
  return open_next("open", path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(list, mode_t) : 0;
  va_end(list);
  return open_next("open64", path, flags, mode);
}

ssize_t write(int file, const void* from, size_t size) {
  static const auto plain = next<ssize_t (*)(int, const void*, size_t)>("write");
  if (file > 2) {
    count_call();
  }
  return plain(file, from, size);
}

ssize_t pwrite(int file, const void* from, size_t size, off_t at) {
  static const auto plain = next<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite");
  count_call();
  return plain(file, from, size, at);
}

ssize_t pwrite64(int file, const void* from, size_t size, off64_t at) {
  static const auto plain = next<ssize_t (*)(int, const void*, size_t, off64_t)>("pwrite64");
  count_call();
  return plain(file, from, size, at);
}

int fsync(int file) {
  static const auto plain = next<int (*)(int)>("fsync");
  count_call();
  return plain(file);
}

int fdatasync(int file) {
  static const auto plain = next<int (*)(int)>("fdatasync");
  count_call();
  return plain(file);
}

int rename(const char* from, const char* to) noexcept {
  static const auto plain = next<int (*)(const char*, const char*)>("rename");
  count_call();
  return plain(from, to);
}

int unlink(const char* path) noexcept {
  static const auto plain = next<int (*)(const char*)>("unlink");
  count_call();
  return plain(path);
}
}
