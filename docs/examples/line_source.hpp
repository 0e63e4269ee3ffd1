/// @file
/// Where the lines of a shell come from: a pipe, a terminal, a file.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

#ifdef QUORLITE_HAVE_LIBEDIT
#include <editline/readline.h>

#include <cstdlib>
#endif

#include "stop_signal.hpp"

namespace example {

class line_source {
 public:
  line_source() = default;
  line_source(const line_source&) = delete;
  line_source& operator=(const line_source&) = delete;
  virtual ~line_source() = default;

  /// The next line, without its end; nothing at the end of the input, or if the program is asked to
  /// stop. @param prompt shown where a person types
  [[nodiscard]] virtual std::optional<std::string> next(const char* prompt) = 0;
  [[nodiscard]] virtual bool is_terminal() const { return false; }
};

/// A file that .read names.
class file_lines final : public line_source {
 public:
  explicit file_lines(const std::string& path) : file_(path, std::ios::binary) {}

  [[nodiscard]] bool good() {
    return file_.good() && file_.peek() != std::ifstream::traits_type::eof();
  }

  [[nodiscard]] std::optional<std::string> next(const char*) override {
    std::string line;
    if (stop_signal::asked() || !std::getline(file_, line)) {
      return std::nullopt;
    }
    return line;
  }

 private:
  std::ifstream file_;
};

/// The standard input. Waits for lines and for the stop signal at once.
class input_lines final : public line_source {
 public:
  explicit input_lines(const stop_signal& stop)
      : stop_(stop), is_terminal_(isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0) {}

  [[nodiscard]] bool is_terminal() const override { return is_terminal_; }

  [[nodiscard]] std::optional<std::string> next(const char* prompt) override {
    if (is_terminal_) {
      std::fputs(prompt, stdout);
      std::fflush(stdout);
    }
    for (;;) {
      if (const std::size_t end = buffer_.find('\n', searched_); end != std::string::npos) {
        std::string line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        searched_ = 0;
        return line;
      }
      searched_ = buffer_.size();
      if (!fill()) {
        searched_ = 0;
        return buffer_.empty() || stop_signal::asked()
                   ? std::nullopt
                   : std::optional<std::string>(std::exchange(buffer_, {}));
      }
    }
  }

 private:
  /// @returns false: there is no more
  [[nodiscard]] bool fill() {
    while (stop_.wait(STDIN_FILENO, -1) != stop_signal::event::stop) {
      char chunk[16384];
      const ssize_t got = ::read(STDIN_FILENO, chunk, sizeof chunk);
      if (got > 0) {
        buffer_.append(chunk, static_cast<std::size_t>(got));
        return true;
      }
      if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
        return false;
      }
    }
    return false;
  }

  const stop_signal& stop_;
  const bool is_terminal_;
  std::string buffer_;
  std::size_t searched_ = 0;  ///< of the buffer, for the end of a line
};

#ifdef QUORLITE_HAVE_LIBEDIT

/// A terminal, with editing and a history. One in a process: libedit is a single instance.
class edited_lines final : public line_source {
 public:
  explicit edited_lines(const stop_signal& stop) : stop_(stop) { using_history(); }

  [[nodiscard]] bool is_terminal() const override { return true; }

  [[nodiscard]] std::optional<std::string> next(const char* prompt) override {
    done_ = false;
    line_.reset();
    rl_callback_handler_install(prompt, &edited_lines::take);
    while (!done_ && stop_.wait(STDIN_FILENO, -1) != stop_signal::event::stop) {
      rl_callback_read_char();
    }
    rl_callback_handler_remove();  // gives the terminal back as it was
    if (!line_) {
      std::fputs("\n", stdout);
    }
    return line_;
  }

 private:
  static void take(char* typed) {
    done_ = true;
    if (typed != nullptr) {
      line_ = typed;
      if (*typed != '\0') {
        add_history(typed);
      }
      std::free(typed);
    }
  }

  static inline bool done_ = false;
  static inline std::optional<std::string> line_;
  const stop_signal& stop_;
};

#endif

}  // namespace example
