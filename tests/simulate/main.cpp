// simulate: whole clusters in one thread, a seed each, with everything that can go wrong.
#include <poll.h>
#include <sqlite3.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <ratio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plan.hpp"
#include "run.hpp"

namespace {

constexpr const char* usage = R"(usage: simulate [options]

Runs simulated clusters, one for each seed: production code over the test Raft, a faulty disk and a
faulty network, clients that keep a record, and checkers that are always on.

  --seed N           this seed; prints every option that it stands for
  --seeds A-B        these seeds, and a line for each that fails (default: 1-100; with
                     QUORLITE_TEST_PROFILE=short in the environment 1-20)
  --profile NAME     lite (200 transactions; default) or full (1000, larger clusters, more SQL)
  --damage           folders are damaged besides: wiped, copied, swapped, rolled back, cut, of
                     another cluster; each must be noticed before it does harm
  --require-marks    with --damage: fails unless each kind of damage came, and each way to notice it
  --minutes M        stop after so many minutes of real time, wherever that is
  --twice N          every N-th seed runs twice and must give the same event hash (default 50)
  --jobs N           so many processes at a time (default 1)
  --seed-seconds N   a seed that takes longer has failed (default 60)
  --fail-fast        begin no other seed once one has failed
  --trace FILE       of --seed: one JSON object a line for each event; - is standard output
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
  std::size_t jobs = 1;
  std::uint64_t seed_seconds = 60;
  bool fail_fast = false;
  bool damage = false;
  bool require_marks = false;
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
  const char* const profile = std::getenv("QUORLITE_TEST_PROFILE");
  if (profile != nullptr && std::strcmp(profile, "short") == 0) {
    out.last = 20;
  }
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
    } else if (flag == "--jobs") {
      out.jobs = static_cast<std::size_t>(number_of(value()));
    } else if (flag == "--seed-seconds") {
      out.seed_seconds = number_of(value());
    } else if (flag == "--damage") {
      out.damage = true;
    } else if (flag == "--require-marks") {
      out.require_marks = true;
    } else if (flag == "--fail-fast") {
      out.fail_fast = true;
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
  if (out.jobs == 0 || out.jobs > 1024) {
    refuse("--jobs needs 1 to 1024");
  }
  if (!out.single && (!out.trace.empty() || out.until != ~std::uint64_t{0})) {
    refuse("--trace and --until go with --seed");
  }
  if (out.require_marks && (!out.damage || out.single)) {
    refuse("--require-marks goes with --damage and many seeds");
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
  if (asked.damage) {
    static_cast<void>(simulate::foreign_folders());  // before SQLite's random numbers begin anew
  }
  sqlite3_randomness(0, nullptr);
  simulate::one_run run(simulate::draw_plan(seed, asked.profile, asked.damage), options);
  return run();
}

void print_marks(const simulate::marks& seen) {
  for (const auto& [name, count] : seen) {
    std::printf("  %8" PRIu64 "  %s\n", count, name.c_str());
  }
}

const char* name_of(simulate::profile one) {
  return one == simulate::profile::full ? "full" : "lite";
}

void print(const simulate::report& one, const arguments& asked) {
  const char* const name = name_of(asked.profile);
  if (!one.ok()) {
    std::printf("seed %" PRIu64 " FAILED  %s\n", one.seed, one.what.c_str());
  }
  if (!one.ok() || asked.single) {
    for (const auto& [option, value] :
         simulate::options_of(simulate::draw_plan(one.seed, asked.profile, asked.damage))) {
      std::printf("    %-20s %s\n", option.c_str(), value.c_str());
    }
  }
  if (!one.ok()) {
    std::printf("  run it again: simulate --seed %" PRIu64 " --profile %s%s\n", one.seed, name,
                asked.damage ? " --damage" : "");
  }
  if (!one.excused.empty()) {
    std::printf("seed %" PRIu64 " excused (%s): %s\n", one.seed, one.excused.c_str(),
                one.what.c_str());
  }
  if (asked.single) {
    std::printf("seed %" PRIu64 " %s: hash %016" PRIx64 ", %" PRIu64 " events, %" PRIu64
                " ms; %" PRIu64 " transactions: %" PRIu64 " acknowledged, %" PRIu64
                " unknown (%" PRIu64 " resolved); %" PRIu64 " reads, %" PRIu64 " boots, %" PRIu64
                " halts, %" PRIu64 " snapshots installed, %" PRIu64 " faults at a phase\n",
                one.seed, name, one.event_hash, one.events, one.virtual_ms, one.transactions,
                one.acknowledged, one.unknown, one.resolved, one.reads, one.boots, one.halts,
                one.installs, one.at_phases);
    if (asked.damage) {
      print_marks(one.seen);
    }
  }
  std::fflush(stdout);
}

/// What print() says of --seed.
void print_object(const simulate::report& one, const arguments& asked) {
  char hash[17];
  std::snprintf(hash, sizeof hash, "%016" PRIx64, one.event_hash);
  nlohmann::ordered_json out = {
      {"seed", one.seed},
      {"profile", name_of(asked.profile)},
      {"damage", asked.damage},
      {"ok", one.ok()},
      {"checker", one.checker},
      {"what", one.what},
      {"excused", one.excused},
      {"hash", hash},
      {"events", one.events},
      {"virtual_ms", one.virtual_ms},
      {"transactions", one.transactions},
      {"acknowledged", one.acknowledged},
      {"unknown", one.unknown},
      {"resolved", one.resolved},
      {"reads", one.reads},
      {"boots", one.boots},
      {"halts", one.halts},
      {"snapshots_installed", one.installs},
      {"faults_at_a_phase", one.at_phases},
  };
  for (const auto& [option, value] :
       simulate::options_of(simulate::draw_plan(one.seed, asked.profile, asked.damage))) {
    out["options"][option] = value;
  }
  if (asked.damage) {
    out["marks"] = one.seen;
  }
  const auto replace = nlohmann::ordered_json::error_handler_t::replace;
  std::printf("%s\n", out.dump(-1, ' ', false, replace).c_str());
}

void add(simulate::report& sum, const simulate::report& one) {
  sum.transactions += one.transactions;
  sum.acknowledged += one.acknowledged;
  sum.unknown += one.unknown;
  sum.resolved += one.resolved;
  sum.reads += one.reads;
  sum.boots += one.boots;
  sum.halts += one.halts;
  sum.installs += one.installs;
  sum.at_phases += one.at_phases;
  sum.virtual_ms += one.virtual_ms;
  for (const auto& [name, count] : one.seen) {
    sum.seen[name] += count;
  }
  if (!one.excused.empty()) {
    ++sum.seen["excused: " + one.excused];
  }
}

/// Once, or twice where both must be alike.
simulate::report run_and_compare(std::uint64_t seed, const arguments& asked,
                                 const simulate::run_options& options) {
  simulate::report one = run_seed(seed, asked, options);
  if (one.ok() && asked.twice != 0 && seed % asked.twice == 0) {
    const simulate::report again = run_seed(seed, asked, {});
    if (again.event_hash != one.event_hash) {
      one.checker = "determinism";
      one.what = "determinism: two runs of one seed differ";
    }
  }
  return one;
}

/// One seed in this process, traced if that was asked for.
simulate::report run_single(const arguments& asked) {
  std::FILE* trace = nullptr;
  simulate::run_options options;
  options.until_event = asked.until;
  if (!asked.trace.empty()) {
    trace = asked.trace == "-" ? stdout : std::fopen(asked.trace.c_str(), "w");
    if (trace == nullptr) {
      refuse("cannot write " + asked.trace);
    }
    options.trace = [&](std::string_view line) {
      std::fprintf(trace, "%.*s\n", static_cast<int>(line.size()), line.data());
    };
  }
  simulate::report one = run_and_compare(asked.first, asked, options);
  if (trace != nullptr && trace != stdout) {
    std::fclose(trace);
  }
  return one;
}

/// Many seeds, in processes of their own: one that falls or hangs is a seed that failed.
class campaign {
 public:
  explicit campaign(const arguments& asked) : asked_(asked), next_(asked.first) {
    if (asked.minutes > 0) {
      const std::chrono::duration<double, std::ratio<60>> span(asked.minutes);
      end_ = begun_ + std::chrono::duration_cast<std::chrono::steady_clock::duration>(span);
    }
  }

  void run() {
    while (workers_.size() < asked_.jobs && begin_worker()) {
    }
    while (!workers_.empty()) {
      std::vector<pollfd> ready;
      for (const worker& each : workers_) {
        ready.push_back({each.answers, POLLIN, 0});
      }
      static_cast<void>(poll(ready.data(), ready.size(), 1000));
      for (std::size_t i = ready.size(); i-- > 0;) {
        if (ready[i].revents != 0) {
          take_answer(i);
        } else if (clock::now() - workers_[i].since > std::chrono::seconds(asked_.seed_seconds)) {
          end_worker(i, "liveness: the run takes longer than " +
                            std::to_string(asked_.seed_seconds) + " s");
        }
      }
      tell_progress();
    }
  }
  [[nodiscard]] std::uint64_t runs() const noexcept { return runs_; }
  [[nodiscard]] std::uint64_t failed() const noexcept { return failed_; }
  [[nodiscard]] const simulate::report& sum() const noexcept { return sum_; }
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(clock::now() - begun_).count();
  }

 private:
  using clock = std::chrono::steady_clock;
  struct worker {
    pid_t process = 0;
    int orders = -1;   ///< seeds, 8 bytes each
    int answers = -1;  ///< a report for each
    std::uint64_t seed = 0;
    clock::time_point since;
  };
  [[nodiscard]] std::optional<std::uint64_t> next_seed() {
    if (next_ > asked_.last || (end_ && clock::now() > *end_)) {
      return std::nullopt;
    }
    return next_++;
  }
  /// @returns false: there is nothing to do for it
  bool begin_worker() {
    const std::optional<std::uint64_t> seed = next_seed();
    if (!seed) {
      return false;
    }
    int orders[2];
    int answers[2];
    if (pipe(orders) != 0 || pipe(answers) != 0) {
      refuse("no pipe for another process");
    }
    std::fflush(stdout);
    const pid_t process = fork();
    if (process < 0) {
      refuse("no process for another job");
    }
    if (process == 0) {
      for (const worker& other : workers_) {
        close(other.orders);
        close(other.answers);
      }
      close(orders[1]);
      close(answers[0]);
      serve(orders[0], answers[1]);
    }
    close(orders[0]);
    close(answers[1]);
    workers_.push_back({process, orders[1], answers[0], 0, {}});
    give(workers_.back(), *seed);
    return true;
  }
  static void give(worker& to, std::uint64_t seed) {
    to.seed = seed;
    to.since = clock::now();
    static_cast<void>(!write(to.orders, &seed, sizeof seed));  // its end is seen by poll
  }
  [[noreturn]] void serve(int orders, int answers) const {
    std::uint64_t seed = 0;
    while (read(orders, &seed, sizeof seed) == sizeof seed) {
      const simulate::report one = run_and_compare(seed, asked_, {});
      std::string bytes = text_of(one);
      if (write(answers, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
        break;
      }
    }
    std::_Exit(0);
  }
  /// Numbers, the checker and what it said: tabs in between, a zero at the end.
  [[nodiscard]] static std::string text_of(const simulate::report& one) {
    std::string text;
    for (const std::uint64_t each :
         {one.seed, one.event_hash, one.events, one.virtual_ms, one.transactions, one.acknowledged,
          one.unknown, one.resolved, one.reads, one.boots, one.halts, one.installs,
          one.at_phases}) {
      text += std::to_string(each) + "\t";
    }
    text += one.excused + "\t" + std::to_string(one.seen.size()) + "\t";
    for (const auto& [name, count] : one.seen) {
      text += name + "\t" + std::to_string(count) + "\t";
    }
    return text + one.checker + "\t" + one.what + std::string(1, '\0');
  }
  /// Up to the next tab, and goes on behind it.
  [[nodiscard]] static std::string next_word(const std::string& text, std::size_t& at) {
    const std::size_t tab = text.find('\t', at);
    const std::size_t from = std::exchange(at, tab + 1);
    return text.substr(from, tab - from);
  }
  [[nodiscard]] static simulate::report report_of(const std::string& text) {
    simulate::report one;
    std::size_t at = 0;
    for (std::uint64_t* const each :
         {&one.seed, &one.event_hash, &one.events, &one.virtual_ms, &one.transactions,
          &one.acknowledged, &one.unknown, &one.resolved, &one.reads, &one.boots, &one.halts,
          &one.installs, &one.at_phases}) {
      *each = std::stoull(next_word(text, at));
    }
    one.excused = next_word(text, at);
    for (std::uint64_t left = std::stoull(next_word(text, at)); left > 0; --left) {
      const std::string name = next_word(text, at);
      one.seen[name] = std::stoull(next_word(text, at));
    }
    one.checker = next_word(text, at);
    one.what = text.substr(at);
    return one;
  }
  void take_answer(std::size_t place) {
    std::string text;
    char letter = 0;
    ssize_t got = 0;
    while ((got = read(workers_[place].answers, &letter, 1)) == 1 && letter != 0) {
      text += letter;
    }
    if (got != 1) {
      end_worker(place, "");
      return;
    }
    count(report_of(text));
    if (const std::optional<std::uint64_t> seed = next_seed()) {
      give(workers_[place], *seed);
    } else {
      forget(place);
    }
  }
  /// It fell, or is to be ended: the seed is to blame, and another process goes on.
  void end_worker(std::size_t place, const std::string& why) {
    worker& gone = workers_[place];
    kill(gone.process, SIGKILL);
    int status = 0;
    waitpid(gone.process, &status, 0);
    simulate::report one;
    one.seed = gone.seed;
    one.checker = why.empty() ? "typed errors" : why.substr(0, why.find(':'));
    one.what = !why.empty()
                   ? why
                   : "typed errors: the process ended, with " +
                         (WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                                              : "status " + std::to_string(WEXITSTATUS(status)));
    close(gone.orders);
    close(gone.answers);
    workers_.erase(workers_.begin() + static_cast<std::ptrdiff_t>(place));
    count(one);
    begin_worker();
  }
  /// Once a minute, so that a run of hours is seen to go on.
  void tell_progress() {
    const clock::time_point now = clock::now();
    if (now - told_ < std::chrono::minutes(1)) {
      return;
    }
    told_ = now;
    std::fprintf(stderr, "%" PRIu64 " of %" PRIu64 " seeds, %" PRIu64 " failed, %.1f seeds/s\n",
                 runs_, asked_.last - asked_.first + 1, failed_,
                 static_cast<double>(runs_) / seconds());
  }
  void forget(std::size_t place) {
    close(workers_[place].orders);
    close(workers_[place].answers);
    waitpid(workers_[place].process, nullptr, 0);
    workers_.erase(workers_.begin() + static_cast<std::ptrdiff_t>(place));
  }
  void count(const simulate::report& one) {
    print(one, asked_);
    ++runs_;
    failed_ += one.ok() ? 0 : 1;
    add(sum_, one);
    if (!one.ok() && asked_.fail_fast) {
      next_ = asked_.last + 1;
    }
  }

  const arguments& asked_;
  std::uint64_t next_;
  const clock::time_point begun_ = clock::now();
  std::optional<clock::time_point> end_;
  clock::time_point told_ = begun_;  ///< how far it is
  std::vector<worker> workers_;
  std::uint64_t runs_ = 0;
  std::uint64_t failed_ = 0;
  simulate::report sum_;
};

void print_sum(const campaign& all, const arguments& asked) {
  const simulate::report& sum = all.sum();
  const double rate = static_cast<double>(all.runs()) / all.seconds();
  if (asked.json) {
    std::printf("{\"seeds\": %" PRIu64 ", \"failed\": %" PRIu64
                ", \"seconds\": %.3f, \"jobs\": %zu, \"seeds_per_second\": %.2f"
                ", \"transactions\": %" PRIu64 ", \"acknowledged\": %" PRIu64
                ", \"unknown\": %" PRIu64 ", \"resolved\": %" PRIu64 ", \"reads\": %" PRIu64
                ", \"boots\": %" PRIu64 ", \"halts\": %" PRIu64
                ", \"snapshots_installed\": %" PRIu64 ", \"faults_at_a_phase\": %" PRIu64
                ", \"virtual_seconds\": %.1f",
                all.runs(), all.failed(), all.seconds(), asked.jobs, rate, sum.transactions,
                sum.acknowledged, sum.unknown, sum.resolved, sum.reads, sum.boots, sum.halts,
                sum.installs, sum.at_phases, static_cast<double>(sum.virtual_ms) / 1000.0);
    if (asked.damage) {
      std::printf(", \"marks\": {");
      const char* between = "";
      for (const auto& [name, count] : sum.seen) {
        std::printf("%s\"%s\": %" PRIu64, std::exchange(between, ", "), name.c_str(), count);
      }
      std::printf("}");
    }
    std::printf("}\n");
    return;
  }
  std::printf("%" PRIu64 " seeds, %" PRIu64 " failed, %.1f seeds/s; %" PRIu64
              " transactions (%" PRIu64 " acknowledged, %" PRIu64 " unknown, %" PRIu64
              " resolved), %" PRIu64 " reads, %" PRIu64 " boots, %" PRIu64 " halts, %" PRIu64
              " snapshots installed, %" PRIu64 " faults at a phase, %.0f virtual seconds\n",
              all.runs(), all.failed(), rate, sum.transactions, sum.acknowledged, sum.unknown,
              sum.resolved, sum.reads, sum.boots, sum.halts, sum.installs, sum.at_phases,
              static_cast<double>(sum.virtual_ms) / 1000.0);
  if (asked.damage) {
    print_marks(sum.seen);
  }
}

/// @returns how many are missing
std::size_t look_for_marks(const simulate::marks& seen) {
  std::size_t missing = 0;
  for (const std::string& name : simulate::expected_marks()) {
    if (!seen.contains(name)) {
      std::fprintf(stderr, "never seen: %s\n", name.c_str());
      ++missing;
    }
  }
  return missing;
}

}  // namespace

int main(int count, char** values) {
  const arguments asked = parse(count, values);
  make_sqlite_deterministic();
  if (asked.single) {
    const simulate::report one = run_single(asked);
    if (asked.json) {
      print_object(one, asked);
    } else {
      print(one, asked);
    }
    return one.ok() ? 0 : 1;
  }
  campaign all(asked);
  all.run();
  print_sum(all, asked);
  const std::size_t missing = asked.require_marks ? look_for_marks(all.sum().seen) : 0;
  return all.failed() == 0 && missing == 0 ? 0 : 1;
}
