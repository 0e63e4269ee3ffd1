// The libraft adapter, compiled: the bodies of all headers of this room and of its public face.
// It needs the headers of libraft and libuv; programs that link it do not.
#if !defined(QUORLITE_SEPARATE_COMPILATION)
#error "this unit belongs to the compiled library, which defines QUORLITE_SEPARATE_COMPILATION"
#endif

#include "quorlite/raft/libraft.ipp"

#include "quorlite/detail/libraft/admission.ipp"
#include "quorlite/detail/libraft/agreement.ipp"
#include "quorlite/detail/libraft/core.ipp"
#include "quorlite/detail/libraft/engine.ipp"
#include "quorlite/detail/libraft/history.ipp"
#include "quorlite/detail/libraft/identity.ipp"
#include "quorlite/detail/libraft/io.ipp"
#include "quorlite/detail/libraft/leadership.ipp"
#include "quorlite/detail/libraft/log_end.ipp"
#include "quorlite/detail/libraft/log_folder.ipp"
#include "quorlite/detail/libraft/log_format.ipp"
#include "quorlite/detail/libraft/log_members.ipp"
#include "quorlite/detail/libraft/log_notes.ipp"
#include "quorlite/detail/libraft/log_reader.ipp"
#include "quorlite/detail/libraft/log_segment.ipp"
#include "quorlite/detail/libraft/members.ipp"
#include "quorlite/detail/libraft/proposals.ipp"
#include "quorlite/detail/libraft/runtime.ipp"
#include "quorlite/detail/libraft/server_file.ipp"
#include "quorlite/detail/libraft/snapshot.ipp"
#include "quorlite/detail/libraft/strand.ipp"
#include "quorlite/detail/libraft/transport.ipp"
#include "quorlite/detail/libraft/votes.ipp"
#include "quorlite/detail/libraft/writes.ipp"
#include "quorlite/raft/libraft_options.ipp"
