// Header-only: a second unit of the program, which emits only what is not inline.

#include "every_header.hpp"
