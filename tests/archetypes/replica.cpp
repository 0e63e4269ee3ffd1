// Everything that is a template over the two concepts, on types that have what the concepts ask for
// and nothing else. What asks for more does not compile here.

#include "consensus_archetype.hpp"
#include "quorlite/detail/legacy/go_dqlite_codec.hpp"
#include "quorlite/quorlite.hpp"
#include "storage_archetype.hpp"

namespace quorlite {
inline namespace v0 {

template class base_image<tests::storage_archetype>;
template class base_image<tests::hashing_storage_archetype>;
template class fsm<tests::consensus_archetype, tests::storage_archetype>;
template class fsm<tests::consensus_archetype, tests::storage_archetype, go_dqlite_codec>;
template class fsm<tests::able_consensus_archetype, tests::hashing_storage_archetype>;
template class fsm<tests::able_consensus_archetype, tests::hashing_storage_archetype,
                   go_dqlite_codec>;
template class proposer<tests::consensus_archetype, tests::storage_archetype>;
template class proposer<tests::consensus_archetype, tests::storage_archetype, go_dqlite_codec>;
template class proposer<tests::able_consensus_archetype, tests::hashing_storage_archetype>;
template class proposer<tests::able_consensus_archetype, tests::hashing_storage_archetype,
                        go_dqlite_codec>;
template class replica<tests::consensus_archetype, tests::storage_archetype>;
template class replica<tests::consensus_archetype, tests::storage_archetype, go_dqlite_codec>;
template class replica<tests::able_consensus_archetype, tests::hashing_storage_archetype>;
template class replica<tests::able_consensus_archetype, tests::hashing_storage_archetype,
                       go_dqlite_codec>;

}  // namespace v0
}  // namespace quorlite
