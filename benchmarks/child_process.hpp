/// @file
/// This program, started once more as another process, with a channel to it.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "message_channel.hpp"
#include "owned_fd.hpp"

namespace bench {

/// Dies with its parent, and at the latest with this object. The child finds its end of the channel
/// at `channel_fd`.
class child_process {
 public:
  static constexpr int channel_fd = 3;

  /// @param name for messages
  /// @param arguments after the program's name
  /// @throws std::system_error
  child_process(std::string name, std::vector<std::string> arguments)
      : child_process(std::move(name), std::move(arguments), message_channel::make_pair()) {}
  child_process(const child_process&) = delete;
  child_process& operator=(const child_process&) = delete;
  ~child_process() { kill(); }

  [[nodiscard]] pid_t id() const { return id_; }
  [[nodiscard]] const std::string& name() const { return name_; }

  /// Sends a question and waits for its answer.
  /// @throws std::runtime_error if the child answers with an error, not in time, or is gone
  json ask(const json& question,
           std::chrono::milliseconds limit = std::chrono::milliseconds{30'000}) {
    channel_.send(question);
    return answer(limit);
  }

  /// Waits for what the child says next. @throws as ask()
  json answer(std::chrono::milliseconds limit = std::chrono::milliseconds{30'000}) {
    std::optional<json> said;
    try {
      said = channel_.receive(limit);
    } catch (const std::exception& error) {
      throw std::runtime_error(fmt::format("{}: {}", name_, error.what()));
    }
    if (!said) {
      throw std::runtime_error(fmt::format("{} ended on its own", name_));
    }
    if (said->contains("error")) {
      throw std::runtime_error(fmt::format("{}: {}", name_, (*said)["error"].get<std::string>()));
    }
    return *said;
  }

  /// Ends it, whatever it is doing, and waits for that. Idempotent.
  void kill() {
    if (id_ > 0) {
      ::kill(id_, SIGKILL);
      ::waitpid(id_, nullptr, 0);
      id_ = 0;
    }
  }

 private:
  child_process(std::string name, std::vector<std::string> arguments,
                std::pair<owned_fd, owned_fd> ends)
      : name_(std::move(name)), channel_(std::move(ends.first)) {
    std::vector<char*> argv{const_cast<char*>("/proc/self/exe")};
    for (std::string& one : arguments) {
      argv.push_back(one.data());
    }
    argv.push_back(nullptr);
    id_ = ::fork();
    if (id_ < 0) {
      throw_errno("fork");
    }
    if (id_ == 0) {
      become(argv.data(), ends.second.get());
    }
  }

  /// Between fork and exec only calls that are safe there: the parent may have threads.
  [[noreturn]] static void become(char* const* argv, int channel) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (channel == channel_fd ? ::fcntl(channel, F_SETFD, 0) == 0
                              : ::dup2(channel, channel_fd) == channel_fd) {
      ::execv("/proc/self/exe", argv);
    }
    ::_exit(127);
  }

  std::string name_;
  message_channel channel_;
  pid_t id_ = 0;
};

}  // namespace bench
