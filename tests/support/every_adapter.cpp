// Header-only: the adapter for libraft with file storage, in a program that does not run it.

#include "quorlite/quorlite.hpp"
#include "quorlite/raft/libraft.hpp"
#include "quorlite/storage/file.hpp"

namespace quorlite {

template class replica<libraft, file_storage>;

}  // namespace quorlite
