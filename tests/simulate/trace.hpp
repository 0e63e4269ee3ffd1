// What happened in a run, in order, as one JSON object a line.
#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "quorlite/testing/test_raft.hpp"

namespace simulate {

/// Every line has `event` (how many there were: what --until takes), `us` (virtual microseconds),
/// `of` (raft, run, fault, server, client, checker) and `what`; the others have more.
class tracer {
 public:
  using sink = std::function<void(std::string_view)>;

  /// @param to empty: nobody reads
  tracer(quorlite::testing::simulation& world, sink to) : world_(world), to_(std::move(to)) {
    if (to_) {
      world_.trace([this](std::string_view line) {
        const std::size_t text = line.find("ms  ");
        tell("raft", std::string(text == line.npos ? line : line.substr(text + 4)));
      });
    }
  }
  tracer(const tracer&) = delete;
  tracer& operator=(const tracer&) = delete;
  ~tracer() { world_.trace({}); }

  [[nodiscard]] bool is_read() const noexcept { return static_cast<bool>(to_); }

  void tell(const char* of, const std::string& what, nlohmann::ordered_json more = {}) {
    if (!to_) {
      return;
    }
    nlohmann::ordered_json line = {
        {"event", world_.events()}, {"us", world_.now_us()}, {"of", of}, {"what", what}};
    if (more.is_object()) {
      line.update(more);
    }
    to_(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }

 private:
  quorlite::testing::simulation& world_;
  sink to_;
};

}  // namespace simulate
