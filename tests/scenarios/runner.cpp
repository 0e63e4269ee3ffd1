// Runs scenario files: does every command leave the trace that stands below it?
//
//     runner [--rewrite] [--seeds N] FILE|FOLDER…
//
// --rewrite    puts the trace of now into the files. Only keep a change whose reason you know.
// --seeds N    N more runs of each file with other seeds; the trace must be the same.
//
// Exits with 0 if all passed. What a scenario can say is in support/scenario_stage.hpp.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "support/datadriven.hpp"
#include "support/scenario_stage.hpp"

namespace {

using quorlite::tests::datadriven_block;
using quorlite::tests::datadriven_file;
using quorlite::tests::scenario_stage;
namespace fs = std::filesystem;

struct settings {
  bool rewrite = false;
  std::uint64_t more_seeds = 0;
  std::vector<fs::path> files;
};

/// Plays a file and puts what was said in the place of what was expected.
struct performance {
  datadriven_file seen;
  std::vector<std::string> failures;
};

performance play(const datadriven_file& script, std::uint64_t seed_offset) {
  performance played{script, {}};
  scenario_stage stage(seed_offset);
  for (datadriven_block& block : played.seen.blocks) {
    block.expected.clear();
    for (const std::string& command : block.commands) {
      if (quorlite::tests::is_comment_or_blank(command)) {
        continue;
      }
      for (const std::string& line : stage.run(command)) {
        block.expected.push_back(line);
      }
    }
  }
  stage.finish();
  played.failures = stage.failures();
  return played;
}

/// @returns true if the trace is the expected one; prints what differs
bool compare(const fs::path& path, const datadriven_file& script, const performance& played) {
  bool same = true;
  for (std::size_t i = 0; i < script.blocks.size(); ++i) {
    const datadriven_block& block = script.blocks[i];
    if (block.expected == played.seen.blocks[i].expected) {
      continue;
    }
    same = false;
    std::cout << path.string() << ":" << block.line << ": another trace\n";
    for (const std::string& command : block.commands) {
      std::cout << "  " << command << '\n';
    }
    std::cout << "  ----\n"
              << quorlite::tests::difference(block.expected, played.seen.blocks[i].expected);
  }
  for (const std::string& failure : played.failures) {
    std::cout << path.string() << ": " << failure << '\n';
  }
  return same && played.failures.empty();
}

bool run_file(const fs::path& path, const settings& wanted) {
  std::ifstream in(path);
  datadriven_file script = quorlite::tests::parse_datadriven(in);
  if (!in.eof()) {
    script.error = "cannot be read";
  } else if (script.error.empty() && script.blocks.empty()) {
    script.error = "has no command";
  }
  if (!script.error.empty()) {
    std::cout << path.string() << ": " << script.error << '\n';
    return false;
  }
  performance played = play(script, 0);
  if (wanted.rewrite) {
    std::ofstream(path) << quorlite::tests::format_datadriven(played.seen);
    script = played.seen;
  }
  bool passed = compare(path, script, played);
  for (std::uint64_t offset = 1; passed && offset <= wanted.more_seeds; ++offset) {
    played = play(script, offset);
    passed = compare(path, script, played);
    if (!passed) {
      std::cout << path.string() << ": with its seed + " << offset << '\n';
    }
  }
  return passed;
}

bool read_arguments(int count, char** arguments, settings& into) {
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument == "--rewrite") {
      into.rewrite = true;
    } else if (argument == "--seeds" && i + 1 < count) {
      into.more_seeds = std::strtoull(arguments[++i], nullptr, 10);
    } else if (argument.rfind("--", 0) == 0) {
      return false;
    } else if (fs::is_directory(argument)) {
      for (const fs::directory_entry& entry : fs::directory_iterator(argument)) {
        if (entry.path().extension() == ".txt") {
          into.files.push_back(entry.path());
        }
      }
    } else {
      into.files.emplace_back(argument);
    }
  }
  std::sort(into.files.begin(), into.files.end());
  return !into.files.empty();
}

}  // namespace

int main(int count, char** arguments) {
  settings wanted;
  if (!read_arguments(count, arguments, wanted)) {
    std::cerr << "usage: " << arguments[0] << " [--rewrite] [--seeds N] FILE|FOLDER...\n";
    return EXIT_FAILURE;
  }
  std::size_t failed = 0;
  for (const fs::path& path : wanted.files) {
    const bool passed = run_file(path, wanted);
    std::cout << (passed ? "passed " : "FAILED ") << path.stem().string() << std::endl;
    failed += passed ? 0U : 1U;
  }
  std::cout << wanted.files.size() - failed << " of " << wanted.files.size()
            << " scenarios passed\n";
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
