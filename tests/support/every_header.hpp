#pragma once

#include "quorlite/codec/go_dqlite.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/testing/consensus_conformance.hpp"
#include "quorlite/testing/storage_conformance.hpp"
#include "quorlite/transfer.hpp"

#if defined(QUORLITE_TEST_LIBRAFT)
#include "quorlite/raft/libraft.hpp"
#endif
