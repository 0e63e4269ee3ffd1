// What most tests include, compiled once for all of them; see tests/meson.build. A test still names
// what it uses: other compilers read it without this. (g++ compiles it as a main file, in which it
// warns of `#pragma once`.)
#ifndef QUORLITE_TESTS_PRELUDE_HH
#define QUORLITE_TESTS_PRELUDE_HH

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/storage/memory.hpp"
#include "quorlite/testing/simulation.hpp"

#endif
