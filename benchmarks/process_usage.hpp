/// @file
/// What processes cost, as the kernel tells it in /proc.
#pragma once

#include <fmt/format.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

namespace bench {

namespace detail {

[[nodiscard]] inline std::string whole_file(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) {
    throw std::runtime_error(fmt::format("cannot read {}", path));
  }
  return text.str();
}

/// The number after `label` in text of the form `label: number`.
[[nodiscard]] inline std::uint64_t number_after(const std::string& text, const std::string& label) {
  const std::size_t found = text.find(label);
  if (found == std::string::npos) {
    throw std::runtime_error(fmt::format("there is no '{}' in /proc", label));
  }
  return std::stoull(text.substr(found + label.size()));
}

}  // namespace detail

/// One process since it began, all its threads together.
struct process_usage {
  double cpu_us = 0;              ///< user and system; the kernel counts in ticks of about 10 ms
  std::uint64_t disk_bytes = 0;   ///< sent to a block device, or dirtied and on the way there
  std::uint64_t write_bytes = 0;  ///< passed to write calls, wherever they went
};

/// @throws std::runtime_error if the process is gone
[[nodiscard]] inline process_usage usage_of(pid_t id) {
  const std::string stat = detail::whole_file(fmt::format("/proc/{}/stat", id));
  // The second field is a name that may contain anything; the rest begins behind its last ')'.
  std::istringstream fields(stat.substr(stat.rfind(')') + 1));
  std::string skipped;
  for (int field = 3; field < 14; ++field) {
    fields >> skipped;
  }
  std::uint64_t user = 0;
  std::uint64_t system = 0;
  fields >> user >> system;
  const auto ticks_per_second = static_cast<double>(::sysconf(_SC_CLK_TCK));
  const std::string io = detail::whole_file(fmt::format("/proc/{}/io", id));
  return {.cpu_us = static_cast<double>(user + system) * 1e6 / ticks_per_second,
          .disk_bytes = detail::number_after(io, "\nwrite_bytes:"),
          .write_bytes = detail::number_after(io, "wchar:")};
}

/// Memory of a process in KiB: what is resident, and the most that ever was.
struct process_memory {
  std::uint64_t resident_kib = 0;
  std::uint64_t peak_kib = 0;
};

[[nodiscard]] inline process_memory memory_of(pid_t id) {
  const std::string status = detail::whole_file(fmt::format("/proc/{}/status", id));
  return {.resident_kib = detail::number_after(status, "VmRSS:"),
          .peak_kib = detail::number_after(status, "VmHWM:")};
}

/// Bytes that went over the loopback device since it came up, headers included, from all processes
/// of the machine.
[[nodiscard]] inline std::uint64_t loopback_bytes() {
  const std::string devices = detail::whole_file("/proc/net/dev");
  return detail::number_after(devices, " lo:");
}

}  // namespace bench
