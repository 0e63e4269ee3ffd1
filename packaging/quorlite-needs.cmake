# What quorlite needs, for its own build and for who finds it installed. A target that the project
# has made already (an SQLite of its own, say) is taken as it is.
#
# Sets quorlite_needs_libraries and quorlite_needs_includes, for whoever includes a header;
# quorlite_xxhash_includes, for whoever compiles the bodies; quorlite_missing, a sentence.

if(NOT TARGET SQLite::SQLite3)
  find_package(SQLite3 3.40 QUIET)
endif()
if(NOT TARGET Threads::Threads)
  find_package(Threads QUIET)
endif()
find_path(QUORLITE_EXPECTED_INCLUDE_DIR tl/expected.hpp)
find_path(QUORLITE_XXHASH_INCLUDE_DIR xxhash.h)
mark_as_advanced(QUORLITE_EXPECTED_INCLUDE_DIR QUORLITE_XXHASH_INCLUDE_DIR)

set(quorlite_missing "")
set(quorlite_needs_libraries SQLite::SQLite3 Threads::Threads)
set(quorlite_needs_includes "")
set(quorlite_xxhash_includes "")
if(NOT TARGET SQLite::SQLite3)
  string(APPEND quorlite_missing " SQLite 3.40 or later is missing.")
endif()
if(NOT TARGET Threads::Threads)
  string(APPEND quorlite_missing " A thread library is missing.")
endif()
if(TARGET tl::expected)
  list(APPEND quorlite_needs_libraries tl::expected)
elseif(QUORLITE_EXPECTED_INCLUDE_DIR)
  set(quorlite_needs_includes "${QUORLITE_EXPECTED_INCLUDE_DIR}")
else()
  string(APPEND quorlite_missing " tl/expected.hpp is missing.")
endif()
if(QUORLITE_XXHASH_INCLUDE_DIR)
  set(quorlite_xxhash_includes "${QUORLITE_XXHASH_INCLUDE_DIR}")
endif()
