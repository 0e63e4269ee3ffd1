/// @file
/// The bodies of the test Raft, the faulty disks and the laws, beside those of src.hpp.
#pragma once

#include "quorlite/testing/detail/laws.cpp"
#include "quorlite/testing/detail/simulation.cpp"
#include "quorlite/testing/detail/testing.cpp"
