// Why a COMMIT may be told that others came first: something below it was refused.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "history.hpp"

namespace simulate {

/// Whoever has the turn of a writer stands on the newest state, and nobody comes in between. So a
/// leader tells nobody that he was overtaken, unless it refused something that his state rests on.
class causes {
 public:
  /// Something was refused that may have been below others.
  void refused(quorlite::server_id by, quorlite::term in, const transaction& one) {
    refusals_.emplace(by.value, in.value, one.database);
    if (one.other) {
      refusals_.emplace(by.value, in.value, *one.other);
    }
  }
  /// The history may have begun in that term: what was on its way there was refused.
  void upgraded(quorlite::server_id by, quorlite::term in) {
    upgrades_.emplace(by.value, in.value);
  }
  /// A COMMIT was told that its state is not the newest, by a server that led all the time.
  void overtaken(quorlite::server_id by, quorlite::term in, const transaction& one) {
    if (!one.other) {  // else it may have been either database
      overtaken_.emplace_back(scope{by.value, in.value, one.database}, one.number);
    }
  }
  /// In the end, since who was refused first may hear of it last.
  void check() const {
    for (const auto& [where, number] : overtaken_) {
      const auto [by, in, database] = where;
      require(refusals_.contains(where) || upgrades_.contains({by, in}), "typed errors",
              "transaction " + std::to_string(number) + " was told by server " +
                  std::to_string(std::get<0>(where)) + " that it was overtaken, in term " +
                  std::to_string(std::get<1>(where)) +
                  ", all through which it led, and in which it had refused nothing");
    }
  }

 private:
  /// A server, a term in which it led, and a database.
  using scope = std::tuple<std::uint64_t, std::uint64_t, std::size_t>;

  std::set<scope> refusals_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> upgrades_;
  std::vector<std::pair<scope, std::uint64_t>> overtaken_;
};

}  // namespace simulate
