// What the conformance suites need besides their templates, and the model, compiled once.
#if !defined(QUORLITE_SEPARATE_COMPILATION)
#error "this unit belongs to the compiled library: define QUORLITE_SEPARATE_COMPILATION"
#endif

#include "quorlite/testing/detail/laws/conformance_report.ipp"
#include "quorlite/testing/detail/laws/consensus_ledger.ipp"
#include "quorlite/testing/detail/laws/muted_machine.ipp"
#include "quorlite/testing/detail/laws/recorded_disk.ipp"
#include "quorlite/testing/detail/laws/recorded_state.ipp"
#include "quorlite/testing/detail/laws/recording_machine.ipp"
#include "quorlite/testing/detail/laws/storage_examination.ipp"
#include "quorlite/testing/detail/laws/storage_history.ipp"
#include "quorlite/testing/detail/laws/storage_laws_crashes.ipp"
#include "quorlite/testing/detail/laws/storage_laws_faults.ipp"
#include "quorlite/testing/detail/laws/storage_laws_replace.ipp"
#include "quorlite/testing/detail/laws/storage_scene.ipp"
#include "quorlite/testing/detail/model/model_cluster.ipp"
