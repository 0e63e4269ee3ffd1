/// @file
/// Where the conformance suites say what they found. No test framework is needed: run a suite, then
/// ask the report.
///
/// A law may be checked many times in one run. What counts at the end: failed if any check failed,
/// else passed if any passed, else skipped.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "quorlite/config.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// How a law fared.
enum class law_result : std::uint8_t {
  skipped,  ///< the harness, or the subject, does not declare what it needs
  passed,   ///< every expectation held
  failed,   ///< at least one did not
};

/// One finding. `law` is a short name such as "P6" or "D11"; `sentence` says what was seen, or why
/// it was skipped.
struct law_finding {
  std::string law;                          ///< its label
  law_result result = law_result::skipped;  ///< how it fared
  std::string sentence;                     ///< for people
};

/// Collects findings. One thread at a time. Derive from it to hear each finding as it comes.
class QUORLITE_API conformance_report {
 public:
  virtual ~conformance_report() = default;

  /// Adds a finding: the law held here.
  void pass(std::string_view law, std::string_view sentence) {
    add(law, law_result::passed, sentence);
  }
  /// Adds a finding: it did not, and the sentence says how.
  void fail(std::string_view law, std::string_view sentence) {
    add(law, law_result::failed, sentence);
  }
  /// Adds a finding: it could not be looked at.
  void skip(std::string_view law, std::string_view why) { add(law, law_result::skipped, why); }

  /// All findings, in the order they came.
  [[nodiscard]] const std::vector<law_finding>& findings() const noexcept { return findings_; }
  /// A law that was never mentioned counts as skipped.
  [[nodiscard]] law_result result_of(std::string_view law) const;
  /// True if it was looked at and never failed.
  [[nodiscard]] bool passed(std::string_view law) const {
    return result_of(law) == law_result::passed;
  }
  /// True if it failed at least once.
  [[nodiscard]] bool failed(std::string_view law) const {
    return result_of(law) == law_result::failed;
  }
  /// True if it was never looked at.
  [[nodiscard]] bool skipped(std::string_view law) const {
    return result_of(law) == law_result::skipped;
  }
  /// Names of the laws with this result, ascending.
  [[nodiscard]] std::vector<std::string> laws(law_result result) const;
  /// True if no law failed and at least one passed.
  [[nodiscard]] bool clean() const {
    return laws(law_result::failed).empty() && !laws(law_result::passed).empty();
  }
  /// One line per law, for people: its name, its result and the sentences that matter most.
  [[nodiscard]] std::string text() const;

 protected:
  /// Called for each finding, before it is kept.
  virtual void found(const law_finding& /*finding*/) {}

 private:
  void add(std::string_view law, law_result result, std::string_view sentence);

  std::vector<law_finding> findings_;
  std::map<std::string, law_result, std::less<>> laws_;
};

/// The checks of one law: reports once, when it goes: failed with the first broken expectation,
/// passed if there was none. Without a single expectation it reports nothing.
class QUORLITE_API law_check {
 public:
  law_check(conformance_report& report, std::string_view law, std::string_view sentence)
      : report_(report), law_(law), sentence_(sentence) {}
  law_check(const law_check&) = delete;
  law_check& operator=(const law_check&) = delete;
  ~law_check();

  /// @param what the expectation, as a sentence
  /// @returns `holds`, so that a law can stop at its first broken expectation
  bool expect(bool holds, std::string_view what);

 private:
  conformance_report& report_;
  std::string law_;
  std::string sentence_;
  std::string broken_;
  bool checked_ = false;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/laws/conformance_report.ipp"  // IWYU pragma: keep
#endif
