// Everything that is a template over the two concepts, on types that have what the concepts ask for
// and nothing else. What asks for more does not compile here.

#include "consensus_archetype.hpp"
#include "quorlite/quorlite.hpp"
#include "storage_archetype.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

namespace detail {
template class consensus_port_of<tests::consensus_archetype>;
template class consensus_port_of<tests::able_consensus_archetype>;
template class consensus_port_of<tests::clock_archetype>;
template class consensus_port_of<tests::random_archetype>;
template class storage_port_of<tests::storage_archetype>;
template class storage_port_of<tests::hashing_storage_archetype>;
}  // namespace detail

template class fsm<tests::consensus_archetype, tests::storage_archetype>;
template class fsm<tests::able_consensus_archetype, tests::hashing_storage_archetype>;
template result<replica> replica::start(tests::consensus_archetype&, tests::storage_archetype&,
                                        const replica_options&);
template result<replica> replica::start(tests::clock_archetype&, tests::storage_archetype&,
                                        const replica_options&);
template result<replica> replica::start(tests::random_archetype&, tests::storage_archetype&,
                                        const replica_options&);
template result<replica> replica::start(tests::able_consensus_archetype&,
                                        tests::hashing_storage_archetype&, const replica_options&);

}  // namespace QUORLITE_ABI
}  // namespace quorlite
