// A term is not an index: they neither convert nor compare.
// expected-error: (convert|conversion)
// expected-error: (no match for|invalid operands)
#include "quorlite/ids.hpp"

quorlite::log_index next(quorlite::term now) {
#ifndef QUORLITE_WITHOUT_THE_FAULT
  return now;
#else
  return quorlite::log_index{now.value};
#endif
}

bool below(quorlite::term now, quorlite::log_index at) {
#ifndef QUORLITE_WITHOUT_THE_FAULT
  return now < at;
#else
  return now.value < at.value;
#endif
}
