// The simulated cluster of replicas, compiled once: apart from the rest of the room, since it needs
// the whole library above it.
#if !defined(QUORLITE_SEPARATE_COMPILATION)
#error "this unit belongs to the compiled library: define QUORLITE_SEPARATE_COMPILATION"
#endif

#include "quorlite/testing/simulation.ipp"
#include "quorlite/testing/detail/simulation/watched_machine.ipp"
