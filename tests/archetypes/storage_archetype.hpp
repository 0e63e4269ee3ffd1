// A storage with exactly the members that the storage concept requires: declared, never defined.
// Whatever else a template does with its storage fails to compile on it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <system_error>

#include "quorlite/storage.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

// What a handle, a flush and a stage are allowed: to be moved without throwing, and to end.
class moved_only {
 public:
  moved_only() = delete;
  moved_only(moved_only&&) noexcept;
  moved_only& operator=(moved_only&&) noexcept;
  ~moved_only();
  void operator&() = delete;
  template <class T>
  void operator,(T&&) = delete;
};

class database_archetype : public moved_only {};

class flush_archetype : public moved_only {
 public:
  result<database_archetype> open(std::string_view name, std::uint32_t page_size) noexcept;
  std::error_code write(const database_archetype& database, std::span<const page_view> sorted,
                        std::uint64_t page_count) noexcept;
};

class stage_archetype : public moved_only {
 public:
  result<database_archetype> open(std::string_view name, std::uint32_t page_size) noexcept;
  std::error_code write(const database_archetype& database, std::span<const page_view> sorted,
                        std::uint64_t page_count) noexcept;
};

// Without page hashes.
class storage_archetype {
 public:
  static constexpr storage_abilities abilities{};
  using database_type = database_archetype;
  using flush_type = flush_archetype;
  using stage_type = stage_archetype;

  storage_archetype() = delete;
  storage_archetype(const storage_archetype&) = delete;
  storage_archetype& operator=(const storage_archetype&) = delete;
  void operator&() = delete;
  template <class T>
  void operator,(T&&) = delete;

  result<recovery> recover() noexcept;
  result<database_archetype> open(std::string_view name, std::uint32_t page_size) noexcept;
  std::error_code read(const database_archetype& database, page_number page,
                       bytes_span into) const noexcept;
  result<flush_archetype> begin_flush(const history_position& ahead) noexcept;
  std::error_code commit(flush_archetype flush, const base_position& position) noexcept;
  result<stage_archetype> begin_stage() noexcept;
  std::error_code publish(stage_archetype stage, const base_position& position) noexcept;
};

// With page hashes.
class hashing_storage_archetype {
 public:
  static constexpr storage_abilities abilities{.page_hashes = true};
  using database_type = database_archetype;
  using flush_type = flush_archetype;
  using stage_type = stage_archetype;

  hashing_storage_archetype() = delete;
  hashing_storage_archetype(const hashing_storage_archetype&) = delete;
  hashing_storage_archetype& operator=(const hashing_storage_archetype&) = delete;
  void operator&() = delete;
  template <class T>
  void operator,(T&&) = delete;

  result<recovery> recover() noexcept;
  result<database_archetype> open(std::string_view name, std::uint32_t page_size) noexcept;
  std::error_code read(const database_archetype& database, page_number page,
                       bytes_span into) const noexcept;
  std::error_code read_hashes(const database_archetype& database, page_number first,
                              std::span<std::uint64_t> into) const noexcept;
  result<flush_archetype> begin_flush(const history_position& ahead) noexcept;
  std::error_code commit(flush_archetype flush, const base_position& position) noexcept;
  result<stage_archetype> begin_stage() noexcept;
  std::error_code publish(stage_archetype stage, const base_position& position) noexcept;
};

}  // namespace quorlite::tests
