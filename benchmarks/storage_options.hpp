/// @file
/// What the user of `storage` may choose.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "flags.hpp"

namespace bench {

struct storage_options {
  std::uint64_t rounds = 9;
  std::uint64_t transactions = 2000;  ///< of one row, in a round
  std::uint64_t table_mib = 64;
  std::uint64_t database_mib = 0;  ///< 0: no large database
  std::uint64_t memory_mib = 256;
  std::uint64_t updates = 100'000;  ///< of the large database
  std::string folder = ".";
  bool json = false;
  bool help = false;
};

inline constexpr std::string_view storage_usage =
    R"(usage: storage [--rounds N] [--transactions N] [--table-mib N] [--folder DIR] [--json]
       storage --database-mib N [--memory-mib N] [--updates N] [--folder DIR] [--json]

What a transaction costs where the pages lie, without consensus: quorlite with storage in memory and
in files beside stock SQLite, all in one run. Compare ratios, not microseconds.

  --rounds N        in each, all variants take turns on the same rows (default 9)
  --transactions N  a round, of one row; a tenth of it, of ten rows (default 2000)
  --table-mib N     size of the table, which should be larger than the caches (default 64)
  --folder DIR      where the files are (default: the current folder)
  --json            print one JSON object, and nothing else, on the standard output
  --help            this text

The second form makes a database that is larger than the memory it may use: loads it, updates rows
chosen by chance, restarts, verifies each row and the hash of the whole, stops, and lets stock
SQLite check the file; then the same on stock SQLite. Each step is a process of its own.

  --database-mib N  size of the database, for example 2048: more than the 1 GiB lock page
  --memory-mib N    what a process may use (default 256)
  --updates N       transactions of one row (default 100000)

exit status: 0 all went well; 1 something did not, the messages say what; 2 a bad flag
)";

/// @throws usage_error
[[nodiscard]] inline storage_options parse_storage_options(std::span<char* const> arguments) {
  storage_options asked;
  flags given(arguments);
  while (given.next()) {
    const std::string_view name = given.name();
    if (name == "--rounds") {
      asked.rounds = given.number(1, 1000);
    } else if (name == "--transactions") {
      asked.transactions = given.number(10, 1'000'000);
    } else if (name == "--table-mib") {
      asked.table_mib = given.number(1, 4096);
    } else if (name == "--database-mib") {
      asked.database_mib = given.number(1, 65'536);
    } else if (name == "--memory-mib") {
      asked.memory_mib = given.number(16, 65'536);
    } else if (name == "--updates") {
      asked.updates = given.number(1, 100'000'000);
    } else if (name == "--folder") {
      asked.folder = given.text();
    } else if (name == "--json") {
      asked.json = true;
    } else if (name == "--help" || name == "-h") {
      asked.help = true;
    } else {
      given.refuse();
    }
  }
  if (!std::filesystem::is_directory(asked.folder)) {
    throw usage_error(asked.folder + " is not a folder");
  }
  return asked;
}

}  // namespace bench
