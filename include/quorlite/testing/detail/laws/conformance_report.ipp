/// @file
/// Bodies of conformance_report and law_check.
#pragma once

#include "quorlite/testing/detail/laws/conformance_report.hpp"

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quorlite/config.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL law_result conformance_report::result_of(std::string_view law) const {
  const auto found = laws_.find(law);
  return found == laws_.end() ? law_result::skipped : found->second;
}

QUORLITE_DECL std::vector<std::string> conformance_report::laws(law_result result) const {
  std::vector<std::string> names;
  for (const auto& [law, how] : laws_) {
    if (how == result) {
      names.push_back(law);
    }
  }
  return names;
}

QUORLITE_DECL std::string conformance_report::text() const {
  std::string lines;
  for (const auto& [law, how] : laws_) {
    lines += law + (how == law_result::failed   ? " FAILED"
                    : how == law_result::passed ? " passed"
                                                : " skipped");
    std::set<std::string_view> said;  // one law may be kept many times in one run
    for (const law_finding& finding : findings_) {
      if (finding.law == law && finding.result == how && said.insert(finding.sentence).second) {
        lines += (said.size() == 1 ? ": " : "; ") + finding.sentence;
      }
    }
    lines += '\n';
  }
  return lines;
}

QUORLITE_DECL void conformance_report::add(std::string_view law, law_result result,
                                           std::string_view sentence) {
  law_finding finding{std::string(law), result, std::string(sentence)};
  found(finding);
  law_result& known = laws_.try_emplace(finding.law, law_result::skipped).first->second;
  known = known > result ? known : result;
  findings_.push_back(std::move(finding));
}

QUORLITE_DECL law_check::~law_check() {
  if (!broken_.empty()) {
    report_.fail(law_, broken_);
  } else if (checked_) {
    report_.pass(law_, sentence_);
  }
}

QUORLITE_DECL bool law_check::expect(bool holds, std::string_view what) {
  checked_ = true;
  if (!holds && broken_.empty()) {
    broken_ = "expected: " + std::string(what);
  }
  return holds;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
