// A replica over libraft, compiled for each storage that comes with the library: raft/libraft.hpp
// says so to whoever starts one. It needs no header of libraft.
#if !defined(QUORLITE_SEPARATE_COMPILATION)
#error "this unit belongs to the compiled library, which defines QUORLITE_SEPARATE_COMPILATION"
#endif

#include "quorlite/raft/libraft.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

template result<replica> replica::start(libraft& engine, file_storage& storage,
                                        const replica_options& options);
template result<replica> replica::start(libraft& engine, memory_storage& storage,
                                        const replica_options& options);

}  // namespace QUORLITE_ABI
}  // namespace quorlite
