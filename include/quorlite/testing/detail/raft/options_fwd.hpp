/// @file
/// What the parts of the test Raft are told by those who use it: declared here, so that the parts
/// need not know the simulation; defined in quorlite/testing/test_raft.hpp.
#pragma once

#include <cstdint>

#include "quorlite/config.hpp"

namespace quorlite::testing {
inline namespace QUORLITE_ABI {

struct network_options;
struct raft_options;
struct compaction_options;
struct disk_options;
struct simulation_options;
enum class commit_phase : std::uint8_t;
enum class leadership_loss : std::uint8_t;
enum class start_check : std::uint8_t;

}  // namespace QUORLITE_ABI
}  // namespace quorlite::testing
