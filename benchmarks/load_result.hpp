/// @file
/// What clients saw in one window of measurement, and its way between processes.
#pragma once

#include <cstdint>
#include <string>

#include "message_channel.hpp"

namespace bench {

struct load_result {
  double seconds = 0;              ///< of the window
  std::uint64_t transactions = 0;  ///< committed in the window
  std::uint64_t busy = 0;          ///< times a client was told to try again, in the window
  std::uint64_t errors = 0;        ///< other failures, at any time
  std::string first_error;
  double p50_us = 0;  ///< of a transaction, retries included
  double p99_us = 0;
  double max_us = 0;
  std::uint64_t acknowledged = 0;  ///< committed at any time
  std::uint64_t rows = 0;          ///< in the table at the end: not fewer than acknowledged
  double log_bytes = 0;            ///< of the entries of the window; 0: read them from the log
  double log_entries = 0;          ///< that the window became; 0: one for each transaction
};

inline void to_json(json& into, const load_result& from) {
  into = {{"seconds", from.seconds},
          {"transactions", from.transactions},
          {"busy", from.busy},
          {"errors", from.errors},
          {"first_error", from.first_error},
          {"p50_us", from.p50_us},
          {"p99_us", from.p99_us},
          {"max_us", from.max_us},
          {"acknowledged", from.acknowledged},
          {"rows", from.rows},
          {"log_bytes", from.log_bytes},
          {"log_entries", from.log_entries}};
}

inline void from_json(const json& from, load_result& into) {
  from.at("seconds").get_to(into.seconds);
  from.at("transactions").get_to(into.transactions);
  from.at("busy").get_to(into.busy);
  from.at("errors").get_to(into.errors);
  from.at("first_error").get_to(into.first_error);
  from.at("p50_us").get_to(into.p50_us);
  from.at("p99_us").get_to(into.p99_us);
  from.at("max_us").get_to(into.max_us);
  from.at("acknowledged").get_to(into.acknowledged);
  from.at("rows").get_to(into.rows);
  from.at("log_bytes").get_to(into.log_bytes);
  from.at("log_entries").get_to(into.log_entries);
}

}  // namespace bench
