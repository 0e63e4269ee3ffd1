// A sqlite3* of a connection that is about to be closed would dangle.
// expected-error: deleted
#include "quorlite/connection.hpp"

quorlite::result<quorlite::connection> open();

void try_it() {
#ifndef QUORLITE_WITHOUT_THE_FAULT
  sqlite3* db = open().value();
#else
  const quorlite::connection kept = open().value();
  sqlite3* db = kept;
#endif
  static_cast<void>(db);
}
