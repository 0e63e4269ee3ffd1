// A library to preload: calls of the system fail while the folder FAILING_CALLS has a file of their
// name. `sync`: each fsync and fdatasync of a file of the databases. `submit`: one io_submit, by
// which libraft writes its log; the file goes with it. `room`: the disk says that it is full.
// `space`: no file of the log can be made, though the disk says that it has room.

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

/// Of the file that makes a call fail; empty: none does.
std::string trouble(const char* name) {
  const char* const folder = std::getenv("FAILING_CALLS");
  return folder == nullptr ? std::string() : std::string(folder) + "/" + name;
}

bool is_of_databases(int file) {
  char target[PATH_MAX] = {};
  const std::string link = "/proc/self/fd/" + std::to_string(file);
  return ::readlink(link.c_str(), target, sizeof target - 1) > 0 &&
         std::strstr(target, "/databases/") != nullptr;
}

bool is_there(const char* name) {
  const std::string sign = trouble(name);
  return !sign.empty() && ::access(sign.c_str(), F_OK) == 0;
}

bool is_sync_failing(int file) { return is_there("sync") && is_of_databases(file); }

template <class Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

int fail() {
  errno = EIO;
  return -1;
}

}  // namespace

extern "C" {

int fsync(int file) {
  static const auto plain = next<int (*)(int)>("fsync");
  return is_sync_failing(file) ? fail() : plain(file);
}

int fdatasync(int file) {
  static const auto plain = next<int (*)(int)>("fdatasync");
  return is_sync_failing(file) ? fail() : plain(file);
}

int statvfs(const char* path, struct statvfs* told) noexcept {
  static const auto plain = next<int (*)(const char*, struct statvfs*)>("statvfs");
  const int code = plain(path, told);
  told->f_bavail = is_there("room") ? 0 : told->f_bavail;
  return code;
}

// By the name that libraft calls: where offsets have 64 bits by choice, the headers give ours
// another one.
int fallocate_as_libraft(int file, off_t offset, off_t size) asm("posix_fallocate");
int fallocate_as_libraft(int file, off_t offset, off_t size) {
  static const auto plain = next<int (*)(int, off_t, off_t)>("posix_fallocate");
  return is_there("space") ? ENOSPC : plain(file, offset, size);
}

/// By which a server asks whether it has room.
int fallocate(int file, int mode, off_t offset, off_t size) {
  static const auto plain = next<int (*)(int, int, off_t, off_t)>("fallocate");
  if (is_there("space")) {
    errno = ENOSPC;
    return -1;
  }
  return plain(file, mode, offset, size);
}

long syscall(long number, ...) noexcept {
  static const auto plain = next<long (*)(long, ...)>("syscall");
  va_list list;
  va_start(list, number);
  long words[6];
  for (long& word : words) {
    word = va_arg(list, long);
  }
  va_end(list);
  if (number == SYS_io_submit) {
    const std::string sign = trouble("submit");
    if (!sign.empty() && ::unlink(sign.c_str()) == 0) {
      return fail();
    }
  }
  return plain(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}
}
