// What a transaction costs where its pages lie: quorlite on each of its storages beside stock
// SQLite; and a database that is larger than memory. Compare ratios, not microseconds.

#include <fmt/format.h>

#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "child_process.hpp"
#include "large_database.hpp"
#include "large_run.hpp"
#include "large_steps.hpp"
#include "message_channel.hpp"
#include "storage_costs.hpp"
#include "storage_options.hpp"

namespace {

std::unique_ptr<bench::large_database> open_large(const bench::large_setup& setup) {
  // A quarter is left for everything else: the program, SQLite's caches, what is being flushed.
  const std::uint64_t page_bytes = (setup.memory_mib << 20U) / 4 * 3;
  if (setup.kind == "quorlite") {
    return std::make_unique<bench::large_replica>(setup.folder, page_bytes);
  }
  return std::make_unique<bench::large_plain_database>(setup.folder, page_bytes);
}

/// `step NAME SETUP`: how this program starts itself again.
int run_step(const std::string& step, const std::string& text) {
  const bench::message_channel channel{bench::owned_fd{bench::child_process::channel_fd}};
  try {
    const bench::large_setup setup = bench::json::parse(text);
    bench::large_steps steps(setup, [&] { return open_large(setup); });
    channel.send(steps.run(step));
    return 0;
  } catch (const std::exception& error) {
    channel.send({{"error", error.what()}});
    return 1;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::span<char* const> whole(argv, static_cast<std::size_t>(argc));
  const std::span<char* const> arguments = whole.subspan(1);
  try {
    if (arguments.size() == 3 && std::string_view(arguments[0]) == "step") {
      return run_step(arguments[1], arguments[2]);
    }
    const bench::storage_options asked = bench::parse_storage_options(arguments);
    if (asked.help) {
      fmt::print("{}", bench::storage_usage);
      return 0;
    }
    if (asked.database_mib > 0) {
      return bench::large_run(asked).run({"quorlite", "sqlite"}) ? 0 : 1;
    }
    bench::storage_costs(asked).run();
    return 0;
  } catch (const bench::usage_error& error) {
    fmt::print(stderr, "storage: {}; --help tells more\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "storage: {}\n", error.what());
    return 1;
  }
}
