/// @file
/// What a storage may find after its history was interrupted: checked, and lived on with.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/testing/detail/laws/conformance_report.hpp"
#include "quorlite/testing/detail/laws/storage_history.hpp"
#include "quorlite/testing/detail/laws/storage_scene.hpp"
#include "quorlite/testing/faulty_disk.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {
namespace detail {

/// What a recovery was worth.
struct examination {
  std::string law;     ///< that is broken, or empty
  std::string broken;  ///< how
  model_content now;   ///< what the storage holds, if no law is broken

  [[nodiscard]] static examination of_broken(std::string_view law, std::string_view how) {
    return {std::string(law), std::string(how), {}};
  }
};

/// The pages of a recovery that stands at `now`. Those that an unfinished flush wrote to may hold
/// anything, if `found` says that pages may be ahead: they are written again.
template <class S>
[[nodiscard]] examination examine_pages(S& storage, const history_progress& progress,
                                        const recovery& found, const model_content& now) {
  const bool moved = now.at != progress.settled.at;
  const bool ahead = found.ahead != found.at.index;
  const bool publishing = progress.trying && progress.trying->kind == step_kind::publish;
  for (const auto& [name, database] : now.databases) {
    const auto handle = storage.open(name, database.page_size);
    if (!handle) {
      return examination::of_broken("D4", "cannot open '" + name + "'");
    }
    for (const auto& [number, seed] : database.seeds) {
      const bool touched = !moved && progress.is_touched(name, number);
      if ((touched && ahead) || reads(storage, *handle, number, database.page_size, seed)) {
        continue;
      }
      const char* const law = publishing ? "D14" : touched || ahead ? "D5" : "D4";
      return examination::of_broken(law, "page " + std::to_string(number) + " of '" + name +
                                             "' is not as of the position" +
                                             (touched ? ", and `ahead` does not say so" : ""));
    }
    if (!refuses(storage, *handle, database.page_count + 1, database.page_size)) {
      return examination::of_broken("D4", "a page beyond the page count is readable");
    }
  }
  return {{}, {}, now};
}

/// Recovers, and compares with how far the storage had come.
template <class S>
[[nodiscard]] examination examine(S& storage, const history_progress& progress, bool atomic) {
  const auto found = storage.recover();
  const bool publishing = progress.trying && progress.trying->kind == step_kind::publish;
  const std::string whole = publishing ? "D14" : "D3";
  if (!found) {
    return examination::of_broken(whole, "recover() failed: " + found.error().message());
  }
  const bool finishes =
      publishing || (progress.trying && progress.trying->kind == step_kind::commit);
  const bool moved = finishes && found->at == progress.trying->next.at;
  const model_content& now = moved ? progress.trying->next : progress.settled;
  if (found->at != now.at) {
    return examination::of_broken("D2", "recover() stands at index " +
                                            std::to_string(found->at.index.value) + ", but " +
                                            std::to_string(now.at.index.value) + " was committed");
  }
  const std::string difference = difference_in_position(*found, now);
  if (!difference.empty()) {
    return examination::of_broken(whole, difference);
  }
  if (found->ahead != found->at.index) {
    if (atomic) {
      return examination::of_broken("D7", "pages may be ahead in a storage that is atomic");
    }
    if (moved || !progress.may_be_ahead(found->ahead)) {
      return examination::of_broken("D5", "no flush began with the `ahead` that recover() gives");
    }
  }
  const std::string history = difference_in_history(*found);
  if (!history.empty()) {
    return examination::of_broken(found->ahead == found->at.index ? "D26" : "D25", history);
  }
  return examine_pages(storage, progress, *found, now);
}

/// Goes on from `now` as a replica would, and looks whether that is durable. A flush that was
/// interrupted is made again.
/// @returns what went wrong, or nothing
template <faulty_storage_harness H>
[[nodiscard]] std::string live_on(H& harness, faulty_disk& disk,
                                  std::unique_ptr<typename H::storage_type> storage,
                                  const history_progress& progress, const model_content& now) {
  model_content next = now;
  if (now.at == progress.settled.at && !progress.flights.empty()) {
    next = progress.flights.back();
  } else {
    next.at.index = log_index{now.at.index.value + 100};
    next.databases["a.db"].write(1, 1, 77);
  }
  if (const std::error_code error = commit_change(*storage, now, next)) {
    return "the next flush fails: " + error.message();
  }
  std::string difference = difference_in_pages(*storage, next);
  if (!difference.empty()) {
    return difference + ", after the next flush";
  }
  faulty_disk later = disk.after_crash({});  // before the storage can end in good order
  storage.reset();
  const auto restarted = harness.mount(later);
  const auto found = restarted->recover();
  if (!found) {
    return "recover() failed after the next flush: " + found.error().message();
  }
  difference = difference_in_position(*found, next);
  difference = difference.empty() ? difference_in_history(*found) : difference;
  difference = difference.empty() ? difference_in_pages(*restarted, next) : difference;
  return difference.empty() ? difference : difference + ", after the next flush and a crash";
}

/// Several laws that are told at once.
class law_checks {
 public:
  explicit law_checks(conformance_report& report) : report_(report) {}

  void add(const std::string& law, std::string_view sentence) {
    checks_.try_emplace(law, report_, law, sentence);
  }
  /// All of the laws were put to the test; one of them may be broken.
  /// @param where what was done to the storage
  void conclude(const examination& found, const std::string& where);

 private:
  conformance_report& report_;
  std::map<std::string, law_check> checks_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/testing/detail/laws/storage_examination.ipp"  // IWYU pragma: keep
#endif
