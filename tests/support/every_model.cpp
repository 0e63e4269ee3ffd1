// Header-only: what a program may include besides replicas.

#include "every_header.hpp"

#if defined(QUORLITE_TEST_LIBRAFT)
template quorlite::result<quorlite::replica> quorlite::replica::start(
    quorlite::libraft&, quorlite::file_storage&, const quorlite::replica_options&);
#endif

namespace quorlite {

/// Referred to, so that their bodies are emitted.
const void* const used_header_only[] = {
    &go_dqlite_format(),
    reinterpret_cast<const void*>(&detail::open_connection),
};

}  // namespace quorlite
