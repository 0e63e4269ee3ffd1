// Tests as text: commands, a line of dashes, and the trace they must leave.
//
// A file is a row of blocks. A block is
//
//     # comments and empty lines, as many as one likes
//     command
//     command        # the whole line is the command; a line that begins with # is a comment
//     ----
//     what the commands said, up to an empty line
//
// and a rewrite changes what stands below the dashes and nothing else.
#pragma once

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quorlite::tests {

/// Commands and what is expected of them.
struct datadriven_block {
  std::vector<std::string> preamble;  ///< comments and empty lines above
  std::vector<std::string> commands;  ///< verbatim, comments between them too
  std::vector<std::string> expected;
  std::size_t line = 0;  ///< of the first command, from 1
};

struct datadriven_file {
  std::vector<datadriven_block> blocks;
  std::vector<std::string> rest;  ///< comments and empty lines at the end
  std::string error;              ///< why it is no such file; empty: it is one
};

inline bool is_comment_or_blank(std::string_view line) {
  const std::size_t first = line.find_first_not_of(' ');
  return first == std::string_view::npos || line[first] == '#';
}

inline datadriven_file parse_datadriven(std::istream& in) {
  constexpr std::string_view dashes = "----";
  datadriven_file file;
  datadriven_block block;
  bool below = false;  // the dashes
  const auto end_block = [&] {
    file.blocks.push_back(std::exchange(block, {}));
    below = false;
  };
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    if (below && !line.empty()) {
      block.expected.push_back(line);
      continue;
    }
    if (below) {
      end_block();
    }
    if (line == dashes && !block.commands.empty()) {
      below = true;
    } else if (block.commands.empty() && is_comment_or_blank(line)) {
      block.preamble.push_back(line);
    } else if (line.empty() || line == dashes) {
      file.error = "line " + std::to_string(number) + ": commands without a line of dashes";
      return file;
    } else {
      block.line = block.commands.empty() ? number : block.line;
      block.commands.push_back(line);
    }
  }
  if (below) {
    end_block();
  }
  if (!block.commands.empty()) {
    file.error = "the last commands have no line of dashes";
  }
  file.rest = std::move(block.preamble);
  return file;
}

inline std::string format_datadriven(const datadriven_file& file) {
  std::ostringstream out;
  const auto print = [&](const std::vector<std::string>& lines) {
    for (const std::string& line : lines) {
      out << line << '\n';
    }
  };
  for (const datadriven_block& block : file.blocks) {
    print(block.preamble);
    print(block.commands);
    out << "----\n";
    print(block.expected);
  }
  print(file.rest);
  return out.str();
}

/// Both texts, the common lines once: "  " common, "- " only expected, "+ " only there now.
inline std::string difference(const std::vector<std::string>& expected,
                              const std::vector<std::string>& actual) {
  const std::size_t rows = expected.size();
  const std::size_t columns = actual.size();
  // The longest common subsequence of what is left from [row][column] on.
  std::vector<std::vector<std::size_t>> common(rows + 1, std::vector<std::size_t>(columns + 1));
  for (std::size_t row = rows; row-- > 0;) {
    for (std::size_t column = columns; column-- > 0;) {
      common[row][column] = expected[row] == actual[column]
                                ? common[row + 1][column + 1] + 1
                                : std::max(common[row + 1][column], common[row][column + 1]);
    }
  }
  std::string text;
  std::size_t row = 0;
  std::size_t column = 0;
  while (row < rows || column < columns) {
    if (row < rows && column < columns && expected[row] == actual[column]) {
      text += "  " + expected[row++] + '\n';
      ++column;
    } else if (row < rows &&
               (column == columns || common[row + 1][column] >= common[row][column + 1])) {
      text += "- " + expected[row++] + '\n';
    } else {
      text += "+ " + actual[column++] + '\n';
    }
  }
  return text;
}

}  // namespace quorlite::tests
