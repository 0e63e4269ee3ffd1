/// @file
/// What every client does, whatever it talks to.
#pragma once

#include <string>

namespace bench::workload {

inline constexpr const char* database = "bench.db";
inline constexpr const char* create = "CREATE TABLE kv(id INTEGER PRIMARY KEY, v TEXT)";
inline constexpr const char* insert = "INSERT INTO kv(v) VALUES(?)";
inline constexpr const char* count = "SELECT count(*) FROM kv";

[[nodiscard]] inline std::string text() { return std::string(100, 'x'); }

}  // namespace bench::workload
