/// @file
/// The bodies of the adapter for libraft, beside those of src.hpp. Needs raft.h and uv.h.
#pragma once

#include "quorlite/detail/libraft/libraft.cpp"
#include "quorlite/detail/libraft/replica.cpp"
