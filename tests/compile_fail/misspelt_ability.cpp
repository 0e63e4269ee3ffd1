// An ability that is misspelt is an error where it is declared, not a feature that is silently off.
// expected-error: read_barier
#include "quorlite/consensus.hpp"

struct adapter {
#ifndef QUORLITE_WITHOUT_THE_FAULT
  static constexpr quorlite::consensus_abilities abilities{.read_barier = true};
#else
  static constexpr quorlite::consensus_abilities abilities{.read_barrier = true};
#endif
};
