/// @file
/// Bodies of libraft_options.hpp: what a report says in one line, and in one error.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/error.hpp"
#include "quorlite/raft/libraft_options.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

QUORLITE_DECL std::string libraft_id_text(server_id id) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text = std::to_string(libraft_number_of(id));
  if (libraft_number_of(id) != id.value) {
    text += '.';
    for (unsigned shift = 40; shift > 0; shift -= 4) {
      text += digits[static_cast<std::size_t>(id.value >> (shift - 4)) & 15U];
    }
  }
  return text;
}

QUORLITE_DECL std::optional<server_id> libraft_id_in(std::string_view text) noexcept {
  const std::size_t dot = std::min(text.find('.'), text.size());
  const auto read = [](std::string_view digits, int base) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    const char* const end = digits.data() + digits.size();
    const auto told = std::from_chars(digits.data(), end, value, base);
    return told.ec == std::errc{} && told.ptr == end ? std::optional(value) : std::nullopt;
  };
  const bool has_leading_zero = text.substr(0, 1) == "0";
  const std::optional<std::uint64_t> number = read(text.substr(0, dot), 10);
  if (!number || has_leading_zero) {
    return {};
  }
  if (dot == text.size()) {
    return *number < std::uint64_t{1} << 40U ? std::optional(server_id{*number}) : std::nullopt;
  }
  const std::string_view hex = text.substr(dot + 1);
  if (hex.size() != 10 || hex.find_first_not_of("0123456789abcdef") != std::string_view::npos ||
      *number > libraft_number_max) {
    return {};
  }
  return server_id{(*number << 40U) | *read(hex, 16)};
}

QUORLITE_DECL std::string libraft_refused_text(const std::vector<libraft_refused>& refused) {
  std::string text;
  for (const libraft_refused& one : refused) {
    text += (text.empty() ? "server " : "; server ") + libraft_id_text(one.id) + ' ' + one.why +
            ", at log index " + std::to_string(one.at.value);
    if (one.compared != log_index{} && one.compared != one.at) {
      text += " (compared as of " + std::to_string(one.compared.value) + ')';
    }
  }
  return text;
}

QUORLITE_DECL std::string libraft_log_defect::text() const {
  std::string line = file;
  if (!file.empty()) {
    line += ", byte " + std::to_string(byte) + ": ";
  }
  return line + what + ". " + remedy;
}

QUORLITE_DECL std::error_code libraft_log_defect::error() const noexcept {
  switch (fault) {
    case libraft_log_fault::diverged: return make_error_code(errc::diverged);
    case libraft_log_fault::too_short: return make_error_code(errc::log_too_short);
    case libraft_log_fault::starts_late: return make_error_code(errc::log_starts_late);
    case libraft_log_fault::unknown: return make_error_code(errc::needs_upgrade);
    case libraft_log_fault::another_cluster: return make_error_code(errc::another_cluster);
    case libraft_log_fault::another_server: return make_error_code(errc::another_server);
    case libraft_log_fault::copied: return make_error_code(errc::copied);
    case libraft_log_fault::not_founded: return make_error_code(errc::not_founded);
    case libraft_log_fault::already_founded: return make_error_code(errc::already_founded);
    case libraft_log_fault::unusable: return std::make_error_code(std::errc::io_error);
    case libraft_log_fault::damaged:
    case libraft_log_fault::missing: break;
  }
  return make_error_code(errc::log_damaged);
}

QUORLITE_DECL std::error_code libraft_log_report::error() const noexcept {
  return defects.empty() ? std::error_code{} : defects.front().error();
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
