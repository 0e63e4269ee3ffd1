// The only way a test includes Catch2, so that one source builds against v2 and v3.
//
// Use what both have: TEST_CASE, SECTION, REQUIRE, CHECK, REQUIRE_THROWS_AS, INFO, CAPTURE,
// GENERATE, TEMPLATE_TEST_CASE, STATIC_REQUIRE. Matchers and Approx differ and are left out.
#pragma once

#if defined(QUORLITE_CATCH2_V3)
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#else
#include <catch2/catch.hpp>
#endif
