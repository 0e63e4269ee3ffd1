// SQLite's own speedtest1 on a database of ours, beside stock SQLite: the same statements, one
// client, no consensus. All variants take turns in one run; compare ratios, not seconds.

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "flags.hpp"
#include "immediate_consensus.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/storage/memory.hpp"
#include "sample_set.hpp"
#include "scratch_folder.hpp"

namespace {

constexpr char usage[] =
    "speedtest --speedtest1 FILE [--size N] [--rounds N] [--only VARIANT,...] [--directory PATH]\n"
    "          [--json]\n"
    "Seconds of SQLite's speedtest1, medians of N rounds in which all variants take turns.\n"
    "FILE is test/speedtest1.c of SQLite's sources, compiled as a library against the SQLite that\n"
    "this program links:\n"
    "  cc -O2 -shared -fPIC -Dmain=speedtest1_main speedtest1.c -lsqlite3 -o speedtest1.so\n"
    "Variants: quorlite (storage in memory), quorlite-files (flushed once, at the end), "
    "sqlite-wal,\n"
    "sqlite-delete, sqlite-memory. Files are below PATH, by default /tmp.\n";

struct settings {
  std::string library;
  std::uint64_t size = 100;
  std::uint64_t rounds = 3;
  std::vector<std::string> only;  ///< none: all
  std::string directory = "/tmp";
  bool json = false;
  bool help = false;
};

settings parse(std::span<char* const> arguments) {
  settings chosen;
  bench::flags given(arguments);
  while (given.next()) {
    if (given.name() == "--speedtest1") {
      chosen.library = std::filesystem::absolute(given.text());
    } else if (given.name() == "--size") {
      chosen.size = given.number(1, 10'000);
    } else if (given.name() == "--rounds") {
      chosen.rounds = given.number(1, 1000);
    } else if (given.name() == "--only") {
      chosen.only = given.words();
    } else if (given.name() == "--directory") {
      chosen.directory = given.text();
    } else if (given.name() == "--json") {
      chosen.json = true;
    } else if (given.name() == "--help") {
      chosen.help = true;
    } else {
      given.refuse();
    }
  }
  if (chosen.library.empty() && !chosen.help) {
    throw bench::usage_error("--speedtest1 is needed");
  }
  return chosen;
}

void must(std::error_code error, const char* what) {
  if (error) {
    throw std::runtime_error(fmt::format("quorlite, {}: {}", what, error.message()));
  }
}

// ---- in a process of its own, since speedtest1 keeps its state in globals and exits at an error

using entry_point = int (*)(int, char**);

[[nodiscard]] entry_point load(const std::string& library) {
  void* const handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* const found = handle == nullptr ? nullptr : ::dlsym(handle, "speedtest1_main");
  if (found == nullptr) {
    throw std::runtime_error(::dlerror());
  }
  return reinterpret_cast<entry_point>(found);
}

void run_speedtest1(const settings& chosen, std::vector<std::string> more) {
  const entry_point main = load(chosen.library);
  more.insert(more.begin(), {"speedtest1", "--size", std::to_string(chosen.size)});
  std::vector<char*> arguments;
  for (std::string& one : more) {
    arguments.push_back(one.data());
  }
  arguments.push_back(nullptr);
  if (main(static_cast<int>(more.size()), arguments.data()) != 0) {
    throw std::runtime_error("speedtest1 failed");
  }
}

template <class Storage>
void run_on_replica(const settings& chosen, Storage& storage) {
  bench::immediate_consensus engine;
  quorlite::replica_options options;
  options.found = true;
  options.vfs_name = "quorlite";
  options.memory_bytes = std::size_t{1} << 32U;  // nothing is evicted, as stock's is cached
  auto started = quorlite::replica::start(engine, storage, options);
  must(started ? std::error_code{} : started.error(), "start");
  run_speedtest1(chosen, {"--vfs", options.vfs_name, "bench.db"});
  must(started->flush(), "flush");
}

void run_variant(const std::string& name, const settings& chosen,
                 const std::filesystem::path& folder) {
  if (name == "quorlite") {
    quorlite::memory_storage storage;
    run_on_replica(chosen, storage);
  } else if (name == "quorlite-files") {
    quorlite::file_storage storage(folder / "data");
    run_on_replica(chosen, storage);
  } else if (name == "sqlite-memory") {
    run_speedtest1(chosen, {":memory:"});
  } else {
    const std::string mode = name.substr(name.find('-') + 1);
    run_speedtest1(chosen, {"--journal", mode, folder / "bench.db"});
  }
}

[[noreturn]] void be_child(const std::string& name, const settings& chosen,
                           const std::filesystem::path& folder) {
  try {
    std::filesystem::current_path(folder);
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    ::dup2(nowhere, STDOUT_FILENO);
    run_variant(name, chosen, folder);
    ::_exit(0);
  } catch (const std::exception& error) {
    fmt::print(stderr, "speedtest, {}: {}\n", name, error.what());
    ::_exit(1);
  }
}

// ---- in this one

/// Seconds, start of the process and of the replica included. @throws std::runtime_error
double time_variant(const std::string& name, const settings& chosen) {
  const bench::scratch_folder folder(chosen.directory);
  const auto began = std::chrono::steady_clock::now();
  const pid_t child = ::fork();
  if (child < 0) {
    throw std::system_error(errno, std::generic_category(), "fork");
  }
  if (child == 0) {
    be_child(name, chosen, folder.path());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (status != 0) {
    throw std::runtime_error(fmt::format("{} did not come to its end", name));
  }
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - began;
  return spent.count();
}

void run(const settings& chosen) {
  std::vector<std::string> names{"quorlite", "quorlite-files", "sqlite-wal", "sqlite-delete",
                                 "sqlite-memory"};
  if (!chosen.only.empty()) {
    std::erase_if(names, [&](const std::string& name) {
      return std::find(chosen.only.begin(), chosen.only.end(), name) == chosen.only.end();
    });
  }
  if (names.empty()) {
    throw bench::usage_error("--only names no variant");
  }
  std::vector<bench::sample_set> times(names.size());
  for (std::uint64_t round = 0; round < chosen.rounds; ++round) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      times[i].add(time_variant(names[i], chosen));
    }
  }
  nlohmann::json report;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const double seconds = times[i].median();
    const double ratio = times[0].median() / seconds;
    report[names[i]] = {{"seconds", seconds},
                        {"least", times[i].min()},
                        {"most", times[i].max()},
                        {"first_is_times", ratio}};
    if (!chosen.json) {
      fmt::print("{:15} {:7.2f} s ({:.2f} to {:.2f})   {} takes {:.2f} of it\n", names[i], seconds,
                 times[i].min(), times[i].max(), names[0], ratio);
    }
  }
  if (chosen.json) {
    fmt::print("{}\n", report.dump(2));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::span<char* const> whole(argv, static_cast<std::size_t>(argc));
  try {
    const settings chosen = parse(whole.subspan(1));
    if (chosen.help) {
      fmt::print("{}", usage);
      return 0;
    }
    run(chosen);
    return 0;
  } catch (const bench::usage_error& error) {
    fmt::print(stderr, "speedtest: {}; --help tells more\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "speedtest: {}\n", error.what());
    return 1;
  }
}
