/// @file
/// The large database, on quorlite or on stock SQLite, as one step of the benchmark sees it.
#pragma once

#include <fmt/format.h>
#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "local_replica.hpp"
#include "plain_database.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/quorlite.hpp"
#include "quorlite/storage/file.hpp"

namespace bench {

/// Open as long as it lives; destroyed: stopped cleanly.
class large_database {
 public:
  large_database() = default;
  large_database(const large_database&) = delete;
  large_database& operator=(const large_database&) = delete;
  virtual ~large_database() = default;

  [[nodiscard]] virtual sqlite3* get() const = 0;
  /// To be called after each transaction.
  virtual void maintain() {}
  /// Everything is on its way to the disk when it returns.
  virtual void flush() {}
  /// What it says of its pages, if it keeps a hash of them.
  [[nodiscard]] virtual std::optional<quorlite::database_status> state() { return std::nullopt; }
};

class large_plain_database final : public large_database {
 public:
  /// @param cache_bytes what SQLite may use for pages
  large_plain_database(const std::filesystem::path& folder, std::uint64_t cache_bytes)
      : database_((folder / "plain.db").string(), "WAL", "NORMAL") {
    run_sql(database_.get(), fmt::format("PRAGMA cache_size=-{}", cache_bytes / 1024));
  }
  [[nodiscard]] sqlite3* get() const override { return database_.get(); }

 private:
  plain_database database_;
};

class large_replica final : public large_database {
 public:
  large_replica(const std::filesystem::path& folder, std::uint64_t memory_bytes)
      : replica_(within(memory_bytes), folder.string()) {}

  [[nodiscard]] sqlite3* get() const override { return replica_.get(); }
  void maintain() override { replica_.maintain(); }
  void flush() override { replica_.flush(); }
  [[nodiscard]] std::optional<quorlite::database_status> state() override {
    return replica_.state();
  }

 private:
  static quorlite::replica_options within(std::uint64_t memory_bytes) {
    quorlite::replica_options options;
    options.memory_bytes = memory_bytes;
    return options;
  }

  local_replica<quorlite::file_storage> replica_;
};

/// The file of SQLite's format that is there. @throws std::runtime_error if there is not just one
[[nodiscard]] inline std::filesystem::path database_file_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> found;
  for (const auto& one : std::filesystem::recursive_directory_iterator(folder)) {
    std::string magic(16, '\0');
    if (one.is_regular_file() && std::ifstream(one.path()).read(magic.data(), 16) &&
        magic == std::string("SQLite format 3\0", 16)) {
      found.push_back(one.path());
    }
  }
  if (found.size() != 1) {
    throw std::runtime_error(fmt::format("{} database files in {}", found.size(), folder.string()));
  }
  return found.front();
}

/// The hash of a database, computed anew from a file of nothing but its pages.
/// @param like how many pages, of what size @throws std::runtime_error
[[nodiscard]] inline std::uint64_t hash_of_file(const std::filesystem::path& path,
                                                const quorlite::database_status& like) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> page(like.page_size);
  const std::uint64_t lock_page = quorlite::lock_page(like.page_size);
  std::uint64_t hash = 0;
  for (std::uint64_t number = 1; number <= like.page_count; ++number) {
    if (!file.read(page.data(), static_cast<std::streamsize>(page.size()))) {
      throw std::runtime_error(fmt::format("{} ends before page {}", path.string(), number));
    }
    if (number != lock_page) {
      hash += quorlite::detail::page_hash(quorlite::page_number{static_cast<std::uint32_t>(number)},
                                          std::as_bytes(std::span(page)));
    }
  }
  return hash;
}

}  // namespace bench
