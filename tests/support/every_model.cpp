// Header-only: what a program may include besides replicas, in a unit of its own beside theirs.

#include "quorlite/codec/go_dqlite.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/testing/consensus_conformance.hpp"
#include "quorlite/testing/storage_conformance.hpp"
#include "quorlite/transfer.hpp"

#if defined(QUORLITE_TEST_LIBRAFT)
#include "quorlite/raft/libraft.hpp"

template quorlite::result<quorlite::replica> quorlite::replica::start(
    quorlite::libraft&, quorlite::file_storage&, const quorlite::replica_options&);
#endif

namespace quorlite {

/// Referred to, so that their bodies are emitted in this unit too and have to agree.
const void* const used_header_only[] = {
    &go_dqlite_format(),
    reinterpret_cast<const void*>(&detail::open_connection),
};

}  // namespace quorlite
