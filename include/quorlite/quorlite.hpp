/// @file
/// Everything but the back ends: include this, one adapter from raft/ (or your own) and one storage
/// from storage/.
#pragma once

#include "quorlite/bytes.hpp"           // IWYU pragma: export
#include "quorlite/config.hpp"          // IWYU pragma: export
#include "quorlite/connection.hpp"      // IWYU pragma: export
#include "quorlite/consensus.hpp"       // IWYU pragma: export
#include "quorlite/error.hpp"           // IWYU pragma: export
#include "quorlite/fsm.hpp"             // IWYU pragma: export
#include "quorlite/ids.hpp"             // IWYU pragma: export
#include "quorlite/limits.hpp"          // IWYU pragma: export
#include "quorlite/options.hpp"         // IWYU pragma: export
#include "quorlite/replica.hpp"         // IWYU pragma: export
#include "quorlite/replica_status.hpp"  // IWYU pragma: export
#include "quorlite/storage.hpp"         // IWYU pragma: export
#include "quorlite/version.hpp"         // IWYU pragma: export
