// What the tests of WAL reading share: databases that real SQLite wrote, and what it makes of them.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "catch2_shim.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/detail/legacy/wal_fold.hpp"
#include "support/sql.hpp"
#include "support/temporary_directory.hpp"

namespace quorlite::tests {

using quorlite::bytes;
using quorlite::bytes_view;

inline bytes read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto raw = std::as_bytes(std::span<const char>{text});
  return {raw.begin(), raw.end()};
}

inline void write_file(const std::string& path, bytes_view data) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
}

/// A database file and the WAL beside it.
struct database_files {
  bytes database;
  bytes wal;
};

/// A database of SQLite's own making, in WAL mode and never checkpointed unless asked.
class wal_database {
 public:
  explicit wal_database(std::uint32_t page_size) {
    REQUIRE(sqlite3_open_v2((folder_ / "made.db").c_str(), &db_,
                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "unix") == SQLITE_OK);
    sqlite3_extended_result_codes(db_, 1);
    execute("PRAGMA page_size=" + std::to_string(page_size));
    execute("PRAGMA journal_mode=WAL");
    execute("PRAGMA synchronous=OFF");
    execute("PRAGMA wal_autocheckpoint=0");
  }
  wal_database(const wal_database&) = delete;
  wal_database& operator=(const wal_database&) = delete;
  ~wal_database() { sqlite3_close(db_); }

  void execute(const std::string& sql) const {
    CAPTURE(sql);
    REQUIRE(run(db_, sql) == SQLITE_OK);
  }
  /// Both files as they are now.
  [[nodiscard]] database_files files() const {
    return {read_file(folder_ / "made.db"), read_file(folder_ / "made.db-wal")};
  }

 private:
  temporary_directory folder_;
  sqlite3* db_ = nullptr;
};

/// The database file after SQLite recovered a copy and wrote the WAL back into it; nothing if it
/// would not open it.
inline std::optional<bytes> what_sqlite_recovers(const temporary_directory& folder,
                                                 const database_files& files) {
  const std::string path = folder / "copy.db";
  for (const char* const suffix : {"", "-wal", "-shm", "-journal"}) {
    std::filesystem::remove(path + suffix);
  }
  write_file(path, files.database);
  write_file(path + "-wal", files.wal);
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE, "unix") == SQLITE_OK);
  const bool opened = run(db, "PRAGMA synchronous=OFF; SELECT count(*) FROM sqlite_schema; "
                              "PRAGMA wal_checkpoint(TRUNCATE)") == SQLITE_OK;
  std::optional<bytes> recovered;
  if (opened) {
    recovered = read_file(path);
  }
  sqlite3_close(db);
  return recovered;
}

/// The same by our fold; `piece_bytes` at a time.
inline std::optional<bytes> what_we_fold(const database_files& files, std::uint32_t page_size,
                                         std::size_t piece_bytes = SIZE_MAX) {
  quorlite::detail::wal_fold fold{page_size};
  for (bytes_view rest{files.wal}; !rest.empty();) {
    const bytes_view piece = rest.first(std::min(piece_bytes, rest.size()));
    if (fold.append(piece)) {
      return std::nullopt;
    }
    rest = rest.subspan(piece.size());
  }
  bytes image = files.database;
  if (fold.summary().commits != 0) {
    image.resize(fold.summary().page_count * page_size);
    for (const auto& [number, page] : fold.pages()) {
      if (number.value <= fold.summary().page_count) {
        std::copy(page.begin(), page.end(),
                  image.begin() + static_cast<std::ptrdiff_t>((number.value - 1) * page_size));
      }
    }
  }
  return image;
}

inline std::uint32_t big_endian_at(bytes_view data, std::size_t at) {
  return quorlite::detail::load_big_endian_u32(data.data() + at);
}

inline void put_big_endian(bytes& data, std::size_t at, std::uint32_t value) {
  for (std::size_t i = 0; i < 4; ++i) {
    data[at + i] = static_cast<std::byte>(value >> (24 - 8 * i));
  }
}

/// Gives a WAL checksums that are right again, of that byte order, after a test changed something.
inline void seal(bytes& wal, bool big_endian) {
  put_big_endian(wal, 0, 0x377F0682U | (big_endian ? 1U : 0U));
  quorlite::detail::wal_checksum sum;
  const auto store = [&](std::size_t at) {
    put_big_endian(wal, at, sum.first);
    put_big_endian(wal, at + 4, sum.second);
  };
  sum.extend(bytes_view{wal}.first(24), big_endian);
  store(24);
  const std::size_t page_size = big_endian_at(wal, 8);
  for (std::size_t at = 32; at + 24 + page_size <= wal.size(); at += 24 + page_size) {
    sum.extend(bytes_view{wal}.subspan(at, 8), big_endian);
    sum.extend(bytes_view{wal}.subspan(at + 24, page_size), big_endian);
    store(at + 16);
  }
}

}  // namespace quorlite::tests
