// What a machine keeps beside the pages, in both versions: its bytes, and that no others are taken.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "catch2_shim.hpp"
#include "codec_support.hpp"
#include "quorlite/detail/codec/snapshot.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/machine/machine_notes.hpp"
#include "quorlite/limits.hpp"

namespace machine_notes_test {
namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::tests::from_text;
using quorlite::tests::generator;
using quorlite::tests::hex;

using ids = std::vector<transaction_id>;

constexpr log_index position{5 * history_marks::distance + 3};

history_notes some_history(std::size_t marks) {
  history_notes made;
  made.cluster = {1, 2};
  made.begins_at = log_index{9};
  made.begins_in = term{3};
  made.at = {4, 5};
  made.replay_from = {6, 7};
  std::vector<history_hash> hashes;
  for (std::size_t i = 0; i < marks; ++i) {
    hashes.push_back({0x71 + i, 0x81 + i});
  }
  REQUIRE(made.marks.assign(marks == 0 ? 0 : 5, hashes, made.begins_at, position));
  return made;
}

ids some_ids(std::size_t count) {
  ids made;
  for (std::uint64_t i = 0; i < count; ++i) {
    made.push_back(i % 3 == 2 ? transaction_id{} : transaction_id{term{1 + i}, 100 + i});
  }
  return made;
}

outcome_table some_outcomes(std::uint64_t count) {
  outcome_table table(42);
  for (std::uint64_t n = 1; n <= count; ++n) {
    table.record({term{1}, n}, log_index{10 * n});
  }
  return table;
}

bytes encoded(const std::optional<history_notes>& history, const ids& last_ids,
              const outcome_table& outcomes) {
  bytes out;
  encode_notes(history, last_ids, outcomes, out);
  return out;
}

bytes encoded(const outcome_table& outcomes) {
  bytes out;
  outcomes.encode(out);
  return out;
}

std::error_code error_of(bytes_view notes, std::size_t databases, log_index at = position) {
  const auto decoded = decode_notes(notes, at, databases);
  return decoded ? std::error_code{} : decoded.error();
}

}  // namespace

TEST_CASE("notes without a history are the outcome table alone") {
  const outcome_table outcomes = some_outcomes(3);
  const bytes notes = encoded(std::nullopt, {}, outcomes);
  CHECK(notes == encoded(outcomes));
  CHECK(snapshot_version_of(notes) == 1);
  const auto decoded = decode_notes(notes, position, 4);
  REQUIRE(decoded);
  CHECK_FALSE(decoded->history);
  CHECK(decoded->last_ids == ids(4));
  CHECK(decoded->outcomes.cluster_id() == 42);
  CHECK(encoded(decoded->outcomes) == notes);
}

TEST_CASE("notes with a history are written as their table says") {
  outcome_table outcomes(0xA1A2);
  outcomes.forget_up_to({term{0xB1}, 0xB2});
  outcomes.record({term{0xC1}, 0xC2}, log_index{0xC3});
  const bytes notes = encoded(some_history(1), {{term{0x91}, 0x92}, transaction_id{}}, outcomes);
  CHECK(hex(bytes_view{notes}.first(16)) == "514c4e4f54455332"
                                            "a2a1000000000000");
  bytes history;
  wire_writer write(history);
  encode_history(write, some_history(1));
  REQUIRE(history.size() == 76 + 16);
  CHECK(hex(bytes_view{notes}.subspan(16, history.size())) == hex(history));
  CHECK(hex(bytes_view{notes}.subspan(16 + history.size())) ==
        "02000000"
        "91000000000000009200000000000000"
        "00000000000000000000000000000000"
        "b100000000000000b200000000000000"
        "0100000000000000"
        "c100000000000000c200000000000000c300000000000000");
  CHECK(snapshot_version_of(notes) == 2);
}

TEST_CASE("notes with a history survive their encoding") {
  for (const std::size_t marks : {0U, 1U, 5U}) {
    for (const std::size_t databases : {0U, 1U, 7U}) {
      for (const std::uint64_t commits : {0U, 1U, 9000U}) {
        CAPTURE(marks, databases, commits);
        const bytes notes =
            encoded(some_history(marks), some_ids(databases), some_outcomes(commits));
        const auto decoded = decode_notes(notes, position, databases);
        REQUIRE(decoded);
        CHECK(decoded->history == some_history(marks));
        CHECK(decoded->last_ids == some_ids(databases));
        CHECK(decoded->outcomes.cluster_id() == 42);
        CHECK(encoded(decoded->history, decoded->last_ids, decoded->outcomes) == notes);
      }
    }
  }
}

TEST_CASE("the largest notes are as large as is said, and fit with a storage") {
  history_notes history = some_history(0);
  const std::vector<history_hash> marks(history_marks::kept_max, history_hash{1, 2});
  const log_index late{200 * history_marks::distance};
  REQUIRE(history.marks.assign(200, marks, history.begins_at, late));
  const ids last_ids(limits::databases, {term{1}, 2});
  const bytes notes = encoded(history, last_ids, some_outcomes(limits::outcomes));
  CHECK(notes.size() == machine_notes_bytes_max);
  CHECK(notes.size() < std::size_t{1300} * 1024);
  CHECK_FALSE(error_of(notes, limits::databases, late));
}

TEST_CASE("notes that are cut off or too long are malformed") {
  const bytes whole = encoded(some_history(2), some_ids(2), some_outcomes(2));
  for (std::size_t kept = 0; kept < whole.size(); ++kept) {
    CAPTURE(kept);
    CHECK(error_of(bytes_view{whole}.first(kept), 2) == errc::malformed);
  }
  bytes longer = whole;
  longer.push_back(std::byte{0});
  CHECK(error_of(longer, 2) == errc::malformed);
}

TEST_CASE("notes that belong to another position are malformed") {
  const bytes notes = encoded(some_history(2), some_ids(2), some_outcomes(2));
  CHECK_FALSE(error_of(notes, 2));
  for (const std::size_t databases : {0U, 1U, 3U}) {
    CHECK(error_of(notes, databases) == errc::malformed);
  }
  CHECK(error_of(notes, 2, log_index{8}) == errc::malformed);  // before the history begins
  CHECK(error_of(notes, 2, log_index{position.value + history_marks::distance}) ==
        errc::malformed);  // a mark is missing
}

TEST_CASE("counts in notes are bounded before anything is made for them") {
  const bytes whole = encoded(some_history(1), some_ids(2), some_outcomes(2));
  constexpr std::size_t marks_at = 88;
  constexpr std::size_t databases_at = 92 + 16;
  constexpr std::size_t outcomes_at = databases_at + 4 + 32 + 16;
  for (const std::size_t at : {marks_at, databases_at, outcomes_at}) {
    for (const std::uint32_t lie : {0U, 3U, 65U, 8193U, 1U << 28U, 0xFFFFFFFFU}) {
      CAPTURE(at, lie);
      bytes bent = whole;
      store_little_endian(bent.data() + at, lie);
      CHECK(error_of(bent, 2) == errc::malformed);
      CHECK(error_of(bent, at == databases_at ? lie : 2) == errc::malformed);
    }
  }
}

TEST_CASE("an id in notes is whole or none") {
  const auto error = [](transaction_id id) {
    const bytes notes = encoded(some_history(0), {id}, some_outcomes(0));
    return error_of(notes, 1);
  };
  CHECK_FALSE(error({term{1}, 1}));
  CHECK_FALSE(error({}));
  CHECK(error({term{1}, 0}) == errc::malformed);
  CHECK(error({term{}, 1}) == errc::malformed);
}

TEST_CASE("bent notes are malformed, or the only bytes of what they say") {
  const std::uint64_t seed = 20261129;
  generator random{seed};
  const bytes whole = encoded(some_history(3), some_ids(3), some_outcomes(4));
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    CAPTURE(seed, round);
    bytes bent = whole;
    for (std::uint64_t i = random.below(3) + 1; i > 0 && !bent.empty(); --i) {
      const std::size_t at = random.below(bent.size());
      switch (random.below(4)) {
        case 0: bent.resize(at); break;
        case 1: bent.insert(bent.begin() + static_cast<std::ptrdiff_t>(at), random.byte()); break;
        default: bent[at] = random.byte(); break;
      }
    }
    const auto decoded = decode_notes(bent, position, 3);
    if (!decoded) {
      REQUIRE(decoded.error() == errc::malformed);
      continue;
    }
    ++accepted;
    const ids last_ids = decoded->history ? decoded->last_ids : ids{};
    REQUIRE(encoded(decoded->history, last_ids, decoded->outcomes) == bent);
  }
  CHECK(accepted > 100);
}

}  // namespace machine_notes_test
