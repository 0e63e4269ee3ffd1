/// @file
/// A unit of the compiled library: the bodies of detail/sqlite/ and of the public headers that rest
/// on it alone.

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#error "sqlite.cpp belongs to the compiled library: define QUORLITE_SEPARATE_COMPILATION"
#endif

#include "quorlite/connection.ipp"
#include "quorlite/detail/replica/replica_core.ipp"
#include "quorlite/detail/sqlite/busy_handler.ipp"
#include "quorlite/detail/sqlite/database_file.ipp"
#include "quorlite/detail/sqlite/dirty_pages.ipp"
#include "quorlite/detail/sqlite/group/closure_rules.ipp"
#include "quorlite/detail/sqlite/group/group_writer.ipp"
#include "quorlite/detail/sqlite/group/write_group.ipp"
#include "quorlite/detail/sqlite/group/write_task.ipp"
#include "quorlite/detail/sqlite/journal.ipp"
#include "quorlite/detail/sqlite/kept_folders.ipp"
#include "quorlite/detail/sqlite/pragmas.ipp"
#include "quorlite/detail/sqlite/result_code.ipp"
#include "quorlite/detail/sqlite/vfs.ipp"
#include "quorlite/detail/sqlite/vfs_door.ipp"
#include "quorlite/detail/sqlite/view.ipp"
#include "quorlite/detail/sqlite/writer_slot.ipp"
#include "quorlite/replica.ipp"
#include "quorlite/transfer.ipp"
