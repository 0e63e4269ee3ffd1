// Why a COMMIT may be told that others came first: something below it was refused.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
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
  /// A COMMIT over two databases was proposed: what takes back one of its heads takes both.
  void joined(quorlite::server_id by, quorlite::term in, const transaction& one) {
    if (one.other) {
      joined_.emplace(scope{by.value, in.value, one.database}, *one.other);
      joined_.emplace(scope{by.value, in.value, *one.other}, one.database);
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
      require(is_refused(where) || upgrades_.contains({by, in}), "typed errors",
              "transaction " + std::to_string(number) + " was told by server " +
                  std::to_string(std::get<0>(where)) + " that it was overtaken, in term " +
                  std::to_string(std::get<1>(where)) +
                  ", all through which it led, and in which it had refused nothing");
    }
  }

 private:
  /// A server, a term in which it led, and a database.
  using scope = std::tuple<std::uint64_t, std::uint64_t, std::size_t>;

  /// There, or in a database that a COMMIT joined with it.
  [[nodiscard]] bool is_refused(const scope& where) const {
    std::vector<scope> all{where};
    for (std::size_t i = 0; i < all.size(); ++i) {
      const scope here = all[i];
      if (refusals_.contains(here)) {
        return true;
      }
      for (auto [each, end] = joined_.equal_range(here); each != end; ++each) {
        scope next = here;
        std::get<2>(next) = each->second;
        if (std::find(all.begin(), all.end(), next) == all.end()) {
          all.push_back(next);
        }
      }
    }
    return false;
  }

  std::set<scope> refusals_;
  std::multimap<scope, std::size_t> joined_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> upgrades_;
  std::vector<std::pair<scope, std::uint64_t>> overtaken_;
};

}  // namespace simulate
