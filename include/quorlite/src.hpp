/// @file
/// The bodies of the library, for one unit of a program of yours: define
/// QUORLITE_SEPARATE_COMPILATION for the whole program and include this header in exactly one
/// source. Whoever builds with Meson, or links the installed library, has that already.
#pragma once

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#error "src.hpp has the bodies for programs that define QUORLITE_SEPARATE_COMPILATION"
#endif

#include "quorlite/detail/codec/codec.cpp"
#include "quorlite/detail/file_storage/file_storage.cpp"
#include "quorlite/detail/machine/machine.cpp"
#include "quorlite/detail/pages/pages.cpp"
#include "quorlite/detail/sqlite/sqlite.cpp"
