// The main function of every test program when Catch2 is v2; with v3 a library brings it.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
