// The storages of the compiled library: the one in files, the one in memory, and their rules.
#if !defined(QUORLITE_SEPARATE_COMPILATION)
#error "this unit belongs to the compiled library, which defines QUORLITE_SEPARATE_COMPILATION"
#endif

#include "quorlite/detail/file_storage/data_directory.ipp"
#include "quorlite/detail/file_storage/double_write.ipp"
#include "quorlite/detail/file_storage/health.ipp"
#include "quorlite/detail/file_storage/posix.ipp"
#include "quorlite/detail/file_storage/superblock.ipp"
#include "quorlite/detail/storage_rules/position_rules.ipp"
#include "quorlite/storage/file.ipp"
#include "quorlite/storage/memory.ipp"
