// The compiled library: the state machine, the 2018 formats that it may be asked to take, and the
// writer's way to the log.

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#error "this unit belongs to the compiled library: define QUORLITE_SEPARATE_COMPILATION"
#endif

#include "quorlite/codec/go_dqlite.ipp"
#include "quorlite/detail/commit/proposer.ipp"
#include "quorlite/detail/commit/write_plan.ipp"
#include "quorlite/detail/commit/writer_queue.ipp"
#include "quorlite/detail/legacy/foreign_staging.ipp"
#include "quorlite/detail/legacy/go_dqlite.ipp"
#include "quorlite/detail/legacy/go_dqlite_command.ipp"
#include "quorlite/detail/legacy/go_dqlite_format.ipp"
#include "quorlite/detail/legacy/go_dqlite_snapshot.ipp"
#include "quorlite/detail/legacy/go_dqlite_snapshot_parser.ipp"
#include "quorlite/detail/legacy/protobuf.ipp"
#include "quorlite/detail/legacy/wal_fold.ipp"
#include "quorlite/detail/machine/assembled_transaction.ipp"
#include "quorlite/detail/machine/decoded_entry.ipp"
#include "quorlite/detail/machine/machine_entries.ipp"
#include "quorlite/detail/machine/machine_state.ipp"
#include "quorlite/detail/machine/outcome_table.ipp"
#include "quorlite/detail/machine/pinned_state.ipp"
#include "quorlite/detail/machine/prepare_frames.ipp"
#include "quorlite/detail/machine/proposals.ipp"
#include "quorlite/detail/machine/snapshots.ipp"
#include "quorlite/detail/machine/staged_restore.ipp"
#include "quorlite/detail/machine/stored_base.ipp"
#include "quorlite/detail/machine/transaction.ipp"
#include "quorlite/detail/machine/transaction_assembly.ipp"
