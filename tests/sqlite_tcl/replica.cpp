// A module for SQLite's own test program, testfixture: its scripts open databases of a replica
// where they mean files. One server, every COMMIT is committed at once.
//
//   load quorlite_testfixture.so Quorlite
//   quorlite begin            starts the replica; its VFS is SQLite's default one from now on
//   quorlite default          makes it the default one again, if SQLite's own one is
//   quorlite names            of the databases that exist: that have pages, or were opened
//   quorlite exists NAME
//   quorlite size NAME        its bytes
//   quorlite drop NAME        as if its file were deleted
//   quorlite copy FROM TO     one of both is a database, or nothing is done, and 0
//   quorlite take NAME        the file of this name becomes a database, if it is one; else 0
//   quorlite read NAME FROM N its bytes, in hexadecimal
//   quorlite write NAME AT HEX as if somebody else had written there, in a transaction
//   quorlite transactions     how many were committed

#include <fmt/format.h>
#include <sqlite3.h>
#include <tcl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/limits.hpp"
#include "quorlite/options.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/memory.hpp"
#include "support/lone_engine.hpp"

namespace {

void must(std::error_code error, std::string_view what) {
  if (error) {
    throw std::runtime_error(fmt::format("{}: {}", what, error.message()));
  }
}

struct server {
  quorlite::tests::lone_engine engine;
  quorlite::memory_storage storage;
  quorlite::replica replica;
  sqlite3_vfs* plain = nullptr;       // SQLite's own one
  sqlite3_vfs* registered = nullptr;  // by the replica
  sqlite3_vfs scripts{};              // the same, with the names that scripts use
  std::set<std::string> opened;       // an open makes a file
};

// Never destroyed: what a script leaves open at its exit may need it.
server* the_server = nullptr;

server& running() {
  if (the_server == nullptr) {
    throw std::runtime_error("say `quorlite begin` first");
  }
  return *the_server;
}

/// Scripts also say `./test.db`, or a longer path to it, and mean `test.db`.
std::optional<std::string> bare_name(const std::string& path) {
  std::error_code unknown;
  const std::filesystem::path here = std::filesystem::current_path(unknown);
  const std::filesystem::path whole = (here / path).lexically_normal();
  const std::string name = whole.filename().string();
  const bool is_ours = whole.parent_path() == here && quorlite::is_database_name(name);
  return is_ours ? std::optional(name) : std::nullopt;
}

int full_name(sqlite3_vfs*, const char* name, int size, char* full) {
  const std::optional<std::string> bare = bare_name(name);
  const char* const path = bare ? bare->c_str() : name;
  sqlite3_vfs& below = *running().registered;
  return below.xFullPathname(&below, path, size, full);
}

int open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* flags_out) {
  sqlite3_vfs& below = *running().registered;
  const int code = below.xOpen(&below, name, file, flags, flags_out);
  const bool is_database = name != nullptr && (flags & SQLITE_OPEN_MAIN_DB) != 0;
  if (code == SQLITE_OK && is_database && quorlite::is_database_name(name)) {
    running().opened.insert(name);
  }
  return code;
}

void make_default() {
  sqlite3_vfs* const now = sqlite3_vfs_find(nullptr);  // or what a script has put above ours
  if (now == running().plain && sqlite3_vfs_register(&running().scripts, 1) != SQLITE_OK) {
    throw std::runtime_error("SQLite does not take the VFS");
  }
}

void begin() {
  if (the_server == nullptr) {
    auto* const made = new server;
    made->plain = sqlite3_vfs_find(nullptr);
    quorlite::replica_options options;
    options.found = true;
    // Scripts move the lock byte, before they open anything.
    options.lock_byte =
        static_cast<unsigned>(sqlite3_test_control(SQLITE_TESTCTRL_PENDING_BYTE, 0));
    auto started = quorlite::replica::start(made->engine, made->storage, options);
    must(started ? std::error_code{} : started.error(), "no replica starts");
    made->replica = std::move(*started);
    must(made->replica.upgrade(), "no history begins");  // the first write would, under its script
    made->registered = sqlite3_vfs_find(made->replica.vfs_name().c_str());
    made->scripts = *made->registered;  // its functions know the replica by pAppData
    made->scripts.zName = "quorlite-scripts";
    made->scripts.pNext = nullptr;
    made->scripts.xOpen = open;
    made->scripts.xFullPathname = full_name;
    the_server = made;
  }
  make_default();
}

/// Of those that have a page. @returns none, too: a script looks before tester.tcl has begun
std::optional<quorlite::database_status> status_of(const std::string& name) {
  if (the_server != nullptr) {
    for (const quorlite::database_status& one : the_server->replica.databases()) {
      if (one.name == name && one.page_count > 0) {
        return one;
      }
    }
  }
  return std::nullopt;
}

bool exists(const std::string& name) {
  return status_of(name) || (the_server != nullptr && the_server->opened.contains(name));
}

std::set<std::string> names() {
  std::set<std::string> all;
  if (the_server != nullptr) {
    all = the_server->opened;
    for (const quorlite::database_status& one : the_server->replica.databases()) {
      if (one.page_count > 0) {
        all.insert(one.name);
      }
    }
  }
  return all;
}

// ---- the bytes of what scripts take for a file

/// A file as SQLite has it, without SQLite.
class raw_file {
 public:
  explicit raw_file(const std::string& name)
      : name_(name + std::string(2, '\0')), memory_(new std::byte[size_of_file()]) {
    sqlite3_vfs& vfs = *running().registered;
    constexpr int flags = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    int given = 0;
    check(vfs.xOpen(&vfs, name_.c_str(), file(), flags, &given));
  }
  ~raw_file() { file()->pMethods->xClose(file()); }
  raw_file(const raw_file&) = delete;
  raw_file& operator=(const raw_file&) = delete;

  template <class... Arguments, class... Given>
  void call(int (*sqlite3_io_methods::*what)(sqlite3_file*, Arguments...), Given... arguments) {
    check((file()->pMethods->*what)(file(), arguments...));
  }

 private:
  static std::size_t size_of_file() {
    return static_cast<std::size_t>(running().registered->szOsFile);
  }
  static void check(int code) {
    if (code != SQLITE_OK) {
      throw std::runtime_error(sqlite3_errstr(code));
    }
  }
  [[nodiscard]] sqlite3_file* file() { return reinterpret_cast<sqlite3_file*>(memory_.get()); }

  std::string name_;
  std::unique_ptr<std::byte[]> memory_;
};

using bytes = std::vector<unsigned char>;
using io = sqlite3_io_methods;

bytes read(raw_file& file, std::size_t from, std::size_t amount) {
  sqlite3_int64 size = 0;
  file.call(&io::xFileSize, &size);
  const std::size_t end = std::min(from + amount, static_cast<std::size_t>(size));
  bytes found(end - std::min(from, end));
  file.call(&io::xRead, static_cast<void*>(found.data()), static_cast<int>(found.size()),
            static_cast<sqlite3_int64>(from));
  return found;
}

void write(raw_file& file, std::size_t to, std::span<const unsigned char> page) {
  file.call(&io::xWrite, static_cast<const void*>(page.data()), static_cast<int>(page.size()),
            static_cast<sqlite3_int64>(to));
}

/// As a pager does it.
template <class Work>
void transact(raw_file& file, Work work) {
  for (const int level : {SQLITE_LOCK_SHARED, SQLITE_LOCK_RESERVED, SQLITE_LOCK_EXCLUSIVE}) {
    file.call(&io::xLock, level);
  }
  work();
  file.call(&io::xFileControl, SQLITE_FCNTL_SYNC, static_cast<void*>(nullptr));
  file.call(&io::xFileControl, SQLITE_FCNTL_COMMIT_PHASETWO, static_cast<void*>(nullptr));
  file.call(&io::xUnlock, SQLITE_LOCK_NONE);
}

/// Also changes the change counter, without which no transaction is one.
void overwrite(const std::string& name, std::size_t at, std::span<const unsigned char> what) {
  constexpr std::size_t counter = 24;
  const auto status = status_of(name);
  if (!status) {
    throw std::runtime_error("the database has no page");
  }
  const std::size_t page_size = status->page_size;
  raw_file file(name);
  transact(file, [&] {
    bytes first = read(file, 0, page_size);
    ++first[counter + 2];
    write(file, 0, first);
    for (std::size_t begin = at / page_size * page_size; begin < at + what.size();
         begin += page_size) {
      bytes page = read(file, begin, page_size);
      for (std::size_t i = std::max(begin, at); i < std::min(begin + page_size, at + what.size());
           ++i) {
        page[i - begin] = what[i - at];
      }
      write(file, begin, page);
    }
  });
}

void drop(const std::string& name) {
  if (the_server != nullptr) {
    the_server->opened.erase(name);
  }
  if (status_of(name)) {
    must(running().replica.drop(name), "drop");
  }
}

/// A database of exactly these bytes. @returns false: they are none
bool make(const std::string& name, std::span<const unsigned char> image) {
  constexpr std::string_view magic = "SQLite format 3";
  if (image.size() < 100 || !std::equal(magic.begin(), magic.end(), image.begin())) {
    return false;
  }
  const std::size_t told = image[16] * 256U + image[17];
  const std::size_t page_size = told == 1 ? 65536 : told;
  if (page_size < 512) {
    return false;
  }
  drop(name);
  raw_file file(name);
  transact(file, [&] {
    for (std::size_t at = 0; at + page_size <= image.size(); at += page_size) {
      write(file, at, image.subspan(at, page_size));
    }
  });
  return true;
}

bytes content_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bytes content_of(const std::string& path) {
  if (const auto name = bare_name(path); name && exists(*name)) {
    raw_file file(*name);
    return read(file, 0, SIZE_MAX / 2);
  }
  return content_of_file(path);
}

/// @returns false: neither is a database of ours
bool copy(const std::string& from, const std::string& to) {
  const std::optional<std::string> source = bare_name(from);
  const std::optional<std::string> target = bare_name(to);
  const bool is_ours = source && exists(*source);
  const bytes image = is_ours || target ? content_of(from) : bytes{};
  if (target && make(*target, image)) {
    return true;
  }
  if (is_ours) {
    std::ofstream(to, std::ios::binary)
        .write(reinterpret_cast<const char*>(image.data()),
               static_cast<std::streamsize>(image.size()));
  }
  return is_ours;
}

std::string to_hexadecimal(std::span<const unsigned char> what) {
  std::string text;
  for (const unsigned char byte : what) {
    text += fmt::format("{:02X}", static_cast<unsigned>(byte));
  }
  return text;
}

bytes from_hexadecimal(const std::string& text) {
  bytes what;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    what.push_back(static_cast<unsigned char>(std::stoul(text.substr(i, 2), nullptr, 16)));
  }
  return what;
}

/// What a command answers, as a string. @param words behind its name
std::string answer(std::span<const std::string> words) {
  const std::string& what = words[0];
  const auto path = [&](std::size_t i) { return words.size() > i ? words[i] : std::string{}; };
  const auto name = [&](std::size_t i) { return bare_name(path(i)).value_or(""); };
  if (what == "begin") {
    begin();
  } else if (what == "default") {
    make_default();
  } else if (what == "names") {
    return fmt::format("{}", fmt::join(names(), " "));
  } else if (what == "exists") {
    return exists(name(1)) ? "1" : "0";
  } else if (what == "size") {
    const auto status = status_of(name(1));
    return std::to_string(status ? status->page_count * status->page_size : 0);
  } else if (what == "drop") {
    drop(name(1));
  } else if (what == "copy") {
    return copy(path(1), path(2)) ? "1" : "0";
  } else if (what == "take") {
    return !name(1).empty() && make(name(1), content_of_file(path(1))) ? "1" : "0";
  } else if (what == "read") {
    raw_file file(name(1));
    return to_hexadecimal(read(file, std::stoul(path(2)), std::stoul(path(3))));
  } else if (what == "write") {
    const bytes written = from_hexadecimal(path(3));
    overwrite(name(1), std::stoul(path(2)), written);
    return std::to_string(written.size());
  } else if (what == "transactions") {
    return std::to_string(running().replica.metrics().machine.transactions);
  } else {
    throw std::runtime_error("unknown: " + what);
  }
  return {};
}

int command(void*, Tcl_Interp* interpreter, int count, Tcl_Obj* const* objects) {
  std::string text = "which?";
  int code = TCL_ERROR;
  try {
    std::vector<std::string> words;
    for (int i = 1; i < count; ++i) {
      words.emplace_back(Tcl_GetString(objects[i]));
    }
    if (!words.empty()) {
      text = answer(words);
      code = TCL_OK;
    }
  } catch (const std::exception& error) {
    text = error.what();
  }
  Tcl_SetObjResult(interpreter, Tcl_NewStringObj(text.c_str(), -1));
  return code;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int Quorlite_Init(Tcl_Interp* interpreter) {
  Tcl_CreateObjCommand(interpreter, "quorlite", command, nullptr, nullptr);
  return TCL_OK;
}
