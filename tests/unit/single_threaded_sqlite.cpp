// A SQLite with SQLITE_THREADSAFE=0, as far as it tells: this program answers in its place.
#include <sqlite3.h>

#include <string>
#include <system_error>

#include "catch2_shim.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/memory.hpp"
#include "support/lone_engine.hpp"

namespace {
int threadsafe = 1;
}  // namespace

extern "C" int sqlite3_threadsafe() { return threadsafe; }

namespace {

using namespace quorlite;
using quorlite::tests::lone_engine;

TEST_CASE("a SQLite that no two threads may use is refused at the start, by a sentence") {
  lone_engine engine;
  memory_storage storage;
  threadsafe = 0;
  const std::error_code error = replica::start(engine, storage).error();
  CHECK(error == errc::single_threaded_sqlite);
  CHECK(error == failure::refused);
  CHECK(error.message().find("SQLITE_THREADSAFE=0") != std::string::npos);

  for (const int multi_threaded : {1, 2}) {  // serialized; each connection by one thread at a time
    threadsafe = multi_threaded;
    lone_engine another;
    CHECK(replica::start(another, storage).has_value());
  }
}

}  // namespace
