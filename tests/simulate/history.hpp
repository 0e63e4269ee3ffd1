// What clients saw, and whether one order of transactions explains all of it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "quorlite/ids.hpp"

namespace simulate {

/// A promise was broken. The name is that of the checker.
class violation : public std::runtime_error {
 public:
  violation(std::string checker, const std::string& what)
      : std::runtime_error(checker + ": " + what), checker_(std::move(checker)) {}
  [[nodiscard]] const std::string& checker() const noexcept { return checker_; }

 private:
  std::string checker_;
};

inline void require(bool holds, const char* checker, const std::string& what) {
  if (!holds) {
    throw violation(checker, what);
  }
}
/// For what is checked often: the text is made if it is needed.
template <class What>
requires std::is_invocable_r_v<std::string, What&>
void require(bool holds, const char* checker, What&& what) {
  if (!holds) {
    throw violation(checker, what());
  }
}

enum class fate { running, acknowledged, refused, unknown };

/// One statement, and what SQLite said: the same is expected of plain SQLite.
struct statement {
  std::string sql;
  int code = 0;
  std::string said;    ///< SQLite's message, if it failed
  bool other = false;  ///< it writes to the attached database, which it calls `o`
};

/// One transaction of a client. It writes its number into the table `log` of its database, so that
/// the order of all transactions can be read there.
struct transaction {
  std::uint64_t number = 0;
  std::size_t database = 0;
  std::optional<std::size_t> other;  ///< attached, and written to as well
  std::uint64_t begun = 0;           ///< moments are counted, not timed
  std::uint64_t ended = 0;
  simulate::fate fate = simulate::fate::running;
  simulate::fate resolved = simulate::fate::running;  ///< what the cluster said when asked later
  std::vector<simulate::fate> told;                   ///< what single replicas said of it
  quorlite::transaction_id id;
  quorlite::log_index applied;  ///< where it ran, before its COMMIT: its entry comes later
  bool grouped = false;
  std::uint64_t key = 0;        ///< the register that it writes its number to; 0: none
  std::uint64_t other_key = 0;  ///< the same in the attached database
  bool may_fail = false;        ///< its statements may have no table to work on
  std::vector<statement> statements;

  [[nodiscard]] bool writes_to(std::size_t which) const noexcept {
    return database == which || other == which;
  }
};

/// What a read that began and ended at these moments saw of one database.
struct observation {
  std::size_t database = 0;
  std::uint64_t begun = 0;
  std::uint64_t ended = 0;
  std::uint64_t prefix = 0;     ///< transactions in the log that it saw
  std::uint64_t last = 0;       ///< the last of them; 0: none
  quorlite::log_index applied;  ///< where it read, afterwards
  bool linearizable = false;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> registers;  ///< key, value
};

class history {
 public:
  [[nodiscard]] std::uint64_t moment() noexcept { return ++moment_; }

  transaction& begin(std::size_t database) {
    transaction& made = transactions_.emplace_back();
    made.number = transactions_.size();
    made.database = database;
    made.begun = moment();
    return made;
  }
  void add(observation seen) { observations_.push_back(std::move(seen)); }

  [[nodiscard]] const std::deque<transaction>& transactions() const noexcept {
    return transactions_;
  }
  [[nodiscard]] const transaction& at(std::uint64_t number) const {
    return transactions_[static_cast<std::size_t>(number - 1)];
  }

  /// Transactions acknowledged so far in a database: a linearizable read that begins now sees them.
  [[nodiscard]] std::uint64_t acknowledged(std::size_t database) const {
    const auto found = acknowledged_.find(database);
    return found == acknowledged_.end() ? 0 : found->second;
  }
  void end(transaction& done, fate how) {
    done.fate = how;
    done.ended = moment();
    if (how == fate::acknowledged) {
      ++acknowledged_[done.database];
      if (done.other) {
        ++acknowledged_[*done.other];
      }
    }
  }

  /// `order` is the log of a database at the end, the numbers of its transactions.
  void check(std::size_t database, const std::vector<std::uint64_t>& order) {
    std::map<std::uint64_t, std::uint64_t> place;
    for (std::size_t i = 0; i < order.size(); ++i) {
      require(order[i] >= 1 && order[i] <= transactions_.size(), "acknowledged is durable", [&] {
        return "the log names transaction " + std::to_string(order[i]) + ", which nobody ran";
      });
      require(place.emplace(order[i], i + 1).second, "acknowledged is durable",
              [&] { return "transaction " + std::to_string(order[i]) + " was applied twice"; });
    }
    for (const transaction& one : transactions_) {
      if (one.writes_to(database)) {
        check_fate(one, place.contains(one.number));
        if (one.other) {
          both_[one.number] += place.contains(one.number) ? 1 : 2;
        }
      }
    }
    check_real_time(database, place);
    check_observations(database, order);
  }

 private:
  static void check_fate(const transaction& one, bool is_there) {
    const std::string name = "transaction " + std::to_string(one.number);
    require(one.fate != fate::acknowledged || is_there, "acknowledged is durable",
            [&] { return name + " was acknowledged and is not there"; });
    require(one.fate != fate::refused || !is_there, "acknowledged is durable",
            [&] { return name + " was answered `not applied` and is there"; });
    require(one.resolved == fate::running || is_there == (one.resolved == fate::acknowledged),
            "outcomes are true", [&] {
              return name + " (id " + std::to_string(one.id.term.value) + "." +
                     std::to_string(one.id.sequence) + (one.grouped ? ", in a group" : "") +
                     ") is " + (is_there ? "" : "not ") +
                     "there, and its outcome was told otherwise";
            });
    for (const simulate::fate said : one.told) {
      require(is_there == (said == fate::acknowledged), "outcomes are true", [&] {
        return name + " is " + (is_there ? "" : "not ") +
               "there, and some replica told its outcome otherwise";
      });
    }
  }

  /// A transaction over two databases is in both or in neither. After check() of all of them.
 public:
  void check_both() const {
    for (const auto& [number, seen] : both_) {
      require(seen == 2 || seen == 4, "atomic and isolated", [number = number] {
        return "transaction " + std::to_string(number) + " is in one of its two databases";
      });
    }
  }

 private:
  /// What ended before something else began comes before it.
  void check_real_time(std::size_t database,
                       const std::map<std::uint64_t, std::uint64_t>& place) const {
    std::vector<std::pair<std::uint64_t, const transaction*>> in_order;
    for (const auto& [number, at] : place) {
      in_order.emplace_back(at, &this->at(number));
    }
    std::sort(in_order.begin(), in_order.end());
    std::uint64_t latest_begin = 0;
    for (const auto& [at, one] : in_order) {
      require(one->writes_to(database), "atomic and isolated", [one = one] {
        return "transaction " + std::to_string(one->number) + " stands in another database";
      });
      require(one->fate != fate::acknowledged || one->ended > latest_begin, "linearizable",
              [one = one] {
                return "transaction " + std::to_string(one->number) +
                       " ended before one began that comes before it";
              });
      latest_begin = std::max(latest_begin, one->begun);
    }
  }

  void check_observations(std::size_t database, const std::vector<std::uint64_t>& order) const {
    std::vector<const observation*> seen;
    for (const observation& one : observations_) {
      if (one.database == database) {
        require(one.prefix <= order.size(), "atomic and isolated", [&] {
          return "a reader saw " + std::to_string(one.prefix) + " transactions of " +
                 std::to_string(order.size());
        });
        check_registers(one, order);
        if (one.prefix > 0) {
          const transaction& last = at(order[static_cast<std::size_t>(one.prefix - 1)]);
          require(one.last == last.number, "atomic and isolated", [&] {
            return "a reader saw transaction " + std::to_string(one.last) + " in the place of " +
                   std::to_string(last.number) + ", as number " + std::to_string(one.prefix);
          });
          require(last.applied < one.applied, "atomic and isolated", [&] {
            return "a reader saw transaction " + std::to_string(last.number) + " at entry " +
                   std::to_string(one.applied.value) + ", which was applied before its COMMIT";
          });
        }
        seen.push_back(&one);
      }
    }
    // Of the linearizable ones, none sees less than one that ended before it began.
    std::vector<const observation*> by_end;
    for (const observation* one : seen) {
      if (one->linearizable) {
        by_end.push_back(one);
      }
    }
    std::vector<const observation*> by_begin = by_end;
    std::sort(by_end.begin(), by_end.end(),
              [](auto* left, auto* right) { return left->ended < right->ended; });
    std::sort(by_begin.begin(), by_begin.end(),
              [](auto* left, auto* right) { return left->begun < right->begun; });
    std::uint64_t least = 0;
    std::size_t next = 0;
    for (const observation* one : by_begin) {
      while (next < by_end.size() && by_end[next]->ended < one->begun) {
        least = std::max(least, by_end[next++]->prefix);
      }
      require(one->prefix >= least, "linearizable", [&] {
        return "a read saw " + std::to_string(one->prefix) + " transactions, an earlier one " +
               std::to_string(least);
      });
    }
  }

  /// A read sees in each register the last of the transactions that it saw.
  void check_registers(const observation& seen, const std::vector<std::uint64_t>& order) const {
    for (const auto& [key, value] : seen.registers) {
      std::uint64_t expected = 0;
      for (std::uint64_t i = seen.prefix; i > 0 && expected == 0; --i) {
        const transaction& one = at(order[static_cast<std::size_t>(i - 1)]);
        const std::uint64_t written = seen.database == one.database ? one.key : one.other_key;
        expected = written == key ? one.number : 0;
      }
      require(value == expected, "atomic and isolated", [&, key = key, value = value] {
        return "register " + std::to_string(key) + " was read as " + std::to_string(value) +
               " behind " + std::to_string(seen.prefix) + " transactions, not " +
               std::to_string(expected);
      });
    }
  }

  std::uint64_t moment_ = 0;
  std::deque<transaction> transactions_;
  std::vector<observation> observations_;
  std::map<std::size_t, std::uint64_t> acknowledged_;
  std::map<std::uint64_t, int> both_;  ///< 1 for each database that has it, 2 for each that has not
};

}  // namespace simulate
