// The test Raft, the simulator and the disk for tests, compiled once.
#if !defined(QUORLITE_SEPARATE_COMPILATION)
#error "this unit belongs to the compiled library: define QUORLITE_SEPARATE_COMPILATION"
#endif

#include "quorlite/testing/detail/disk/faults.ipp"
#include "quorlite/testing/detail/disk/images.ipp"
#include "quorlite/testing/detail/disk/tree.ipp"
#include "quorlite/testing/detail/raft/election.ipp"
#include "quorlite/testing/detail/raft/leader_state.ipp"
#include "quorlite/testing/detail/raft/lifecycle.ipp"
#include "quorlite/testing/detail/raft/log.ipp"
#include "quorlite/testing/detail/raft/message.ipp"
#include "quorlite/testing/detail/raft/network.ipp"
#include "quorlite/testing/detail/raft/replication.ipp"
#include "quorlite/testing/detail/raft/simulation.ipp"
#include "quorlite/testing/detail/raft/simulation_servers.ipp"
#include "quorlite/testing/detail/raft/snapshots.ipp"
#include "quorlite/testing/detail/simulation/client_scheduler.ipp"
#include "quorlite/testing/detail/simulation/event_hash.ipp"
#include "quorlite/testing/detail/simulation/fiber_engine.ipp"
#include "quorlite/testing/detail/simulation/handoff_engine.ipp"
#include "quorlite/testing/faulty_disk.ipp"
#include "quorlite/testing/test_raft.ipp"
