// The bodies of the library in a unit of a program's own, as src.hpp says.

#include "quorlite/src.hpp"
#include "quorlite/src_testing.hpp"
