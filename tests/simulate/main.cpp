// simulate: whole clusters in one thread, a seed each, with everything that can go wrong.
#include <sqlite3.h>

#include <atomic>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "plan.hpp"
#include "run.hpp"

namespace {

constexpr const char* usage = R"(usage: simulate [options]

Runs simulated clusters, one for each seed: production code over the test Raft, a faulty disk and a
faulty network, clients that keep a record, and checkers that are always on.

  --seed N           this seed; prints every option that it stands for
  --seeds A-B        these seeds, and a line for each that fails (default: 1-100)
  --profile NAME     lite (200 transactions; default) or full (1000, larger clusters, more SQL)
  --minutes M        stop after so many minutes of real time, wherever that is
  --twice N          every N-th seed runs twice and must give the same event hash (default 50)
  --trace FILE       a line for each event, of --seed; - is standard output
  --until EVENT      stop before this event, with --trace to see how it came to it
  --json             one JSON object in the end instead of text
  --help

Exit status: 0 all held, 1 a seed failed, 2 the arguments are wrong.
)";

struct arguments {
  std::uint64_t first = 1;
  std::uint64_t last = 100;
  bool single = false;
  simulate::profile profile = simulate::profile::lite;
  double minutes = 0;
  std::uint64_t twice = 50;
  std::string trace;
  std::uint64_t until = ~std::uint64_t{0};
  bool json = false;
};

[[noreturn]] void refuse(const std::string& why) {
  std::fprintf(stderr, "simulate: %s\n%s", why.c_str(), usage);
  std::exit(2);
}

std::uint64_t number_of(const std::string& text) {
  char* end = nullptr;
  errno = 0;
  const std::uint64_t value = std::strtoull(text.c_str(), &end, 0);
  if (text.empty() || text[0] == '-' || *end != '\0' || errno != 0) {
    refuse("not a number: " + text);
  }
  return value;
}

arguments parse(int count, char** values) {
  arguments out;
  for (int i = 1; i < count; ++i) {
    const std::string flag = values[i];
    const auto value = [&]() -> std::string {
      if (i + 1 >= count) {
        refuse(flag + " needs a value");
      }
      return values[++i];
    };
    if (flag == "--seed") {
      out.first = out.last = number_of(value());
      out.single = true;
    } else if (flag == "--seeds") {
      const std::string range = value();
      const std::size_t dash = range.find('-');
      if (dash == std::string::npos) {
        refuse("--seeds needs A-B");
      }
      out.first = number_of(range.substr(0, dash));
      out.last = number_of(range.substr(dash + 1));
    } else if (flag == "--profile") {
      const std::string name = value();
      if (name != "lite" && name != "full") {
        refuse("no such profile: " + name);
      }
      out.profile = name == "full" ? simulate::profile::full : simulate::profile::lite;
    } else if (flag == "--minutes") {
      out.minutes = std::atof(value().c_str());
    } else if (flag == "--twice") {
      out.twice = number_of(value());
    } else if (flag == "--trace") {
      out.trace = value();
    } else if (flag == "--until") {
      out.until = number_of(value());
    } else if (flag == "--json") {
      out.json = true;
    } else if (flag == "--help" || flag == "-h") {
      std::fputs(usage, stdout);
      std::exit(0);
    } else {
      refuse("unknown argument: " + flag);
    }
  }
  if (out.first > out.last) {
    refuse("no seeds in this range");
  }
  return out;
}

/// What SQLite draws at random for itself (names of temporary files) is the same in every run.
int same_randomness(sqlite3_vfs*, int size, char* into) {
  std::memset(into, 0x5A, static_cast<std::size_t>(size));
  return size;
}
void make_sqlite_deterministic() {
  static sqlite3_vfs quiet = *sqlite3_vfs_find(nullptr);
  quiet.zName = "simulate";
  quiet.xRandomness = &same_randomness;
  sqlite3_vfs_register(&quiet, 1);
  sqlite3_test_control(SQLITE_TESTCTRL_PENDING_BYTE, 0x10000);
}

simulate::report run_seed(std::uint64_t seed, const arguments& asked,
                          const simulate::run_options& options) {
  sqlite3_randomness(0, nullptr);
  simulate::one_run run(simulate::draw_plan(seed, asked.profile), options);
  return run();
}

void print(const simulate::report& one, const arguments& asked) {
  const char* const name = asked.profile == simulate::profile::full ? "full" : "lite";
  if (!one.ok()) {
    std::printf("seed %" PRIu64 " FAILED  %s\n", one.seed, one.what.c_str());
    for (const auto& [option, value] :
         simulate::options_of(simulate::draw_plan(one.seed, asked.profile))) {
      std::printf("    %-20s %s\n", option.c_str(), value.c_str());
    }
    std::printf("  run it again: simulate --seed %" PRIu64 " --profile %s\n", one.seed, name);
  }
  if (asked.single) {
    std::printf("seed %" PRIu64 " %s: hash %016" PRIx64 ", %" PRIu64 " events, %" PRIu64
                " ms; %" PRIu64 " transactions: %" PRIu64 " acknowledged, %" PRIu64
                " unknown (%" PRIu64 " resolved); %" PRIu64 " reads, %" PRIu64 " boots, %" PRIu64
                " halts, %" PRIu64 " snapshots installed\n",
                one.seed, name, one.event_hash, one.events, one.virtual_ms, one.transactions,
                one.acknowledged, one.unknown, one.resolved, one.reads, one.boots, one.halts,
                one.installs);
  }
}

}  // namespace

int main(int count, char** values) {
  const arguments asked = parse(count, values);
  make_sqlite_deterministic();

  std::FILE* trace = nullptr;
  simulate::run_options options;
  options.until_event = asked.until;
  if (!asked.trace.empty() && asked.single) {
    trace = asked.trace == "-" ? stdout : std::fopen(asked.trace.c_str(), "w");
    if (trace == nullptr) {
      refuse("cannot write " + asked.trace);
    }
    options.trace = [&](std::string_view line) {
      std::fprintf(trace, "%.*s\n", static_cast<int>(line.size()), line.data());
    };
  }

  const auto begun = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  };
  std::uint64_t runs = 0;
  std::uint64_t failed = 0;
  simulate::report sum;
  for (std::uint64_t seed = asked.first; seed <= asked.last; ++seed) {
    if (asked.minutes > 0 && seconds() > asked.minutes * 60) {
      break;
    }
    simulate::report one = run_seed(seed, asked, options);
    if (one.ok() && asked.twice != 0 && seed % asked.twice == 0) {
      const simulate::report again = run_seed(seed, asked, {});
      if (again.event_hash != one.event_hash) {
        one.checker = "determinism";
        one.what = "determinism: two runs of one seed differ";
      }
    }
    print(one, asked);
    std::fflush(stdout);
    ++runs;
    failed += one.ok() ? 0 : 1;
    sum.transactions += one.transactions;
    sum.acknowledged += one.acknowledged;
    sum.unknown += one.unknown;
    sum.resolved += one.resolved;
    sum.reads += one.reads;
    sum.boots += one.boots;
    sum.halts += one.halts;
    sum.installs += one.installs;
    sum.virtual_ms += one.virtual_ms;
  }
  const double took = seconds();
  if (trace != nullptr && trace != stdout) {
    std::fclose(trace);
  }
  if (asked.json) {
    std::printf("{\"seeds\": %" PRIu64 ", \"failed\": %" PRIu64
                ", \"seconds\": %.3f, \"seeds_per_second\": %.2f, \"transactions\": %" PRIu64
                ", \"acknowledged\": %" PRIu64 ", \"unknown\": %" PRIu64 ", \"resolved\": %" PRIu64
                ", \"reads\": %" PRIu64 ", \"boots\": %" PRIu64 ", \"halts\": %" PRIu64
                ", \"snapshots_installed\": %" PRIu64 ", \"virtual_seconds\": %.1f}\n",
                runs, failed, took, static_cast<double>(runs) / took, sum.transactions,
                sum.acknowledged, sum.unknown, sum.resolved, sum.reads, sum.boots, sum.halts,
                sum.installs, static_cast<double>(sum.virtual_ms) / 1000.0);
  } else {
    std::printf("%" PRIu64 " seeds, %" PRIu64 " failed, %.1f seeds/s; %" PRIu64
                " transactions (%" PRIu64 " acknowledged, %" PRIu64 " unknown, %" PRIu64
                " resolved), %" PRIu64 " reads, %" PRIu64 " boots, %" PRIu64 " halts, %" PRIu64
                " snapshots installed, %.0f virtual seconds\n",
                runs, failed, static_cast<double>(runs) / took, sum.transactions, sum.acknowledged,
                sum.unknown, sum.resolved, sum.reads, sum.boots, sum.halts, sum.installs,
                static_cast<double>(sum.virtual_ms) / 1000.0);
  }
  return failed == 0 ? 0 : 1;
}
