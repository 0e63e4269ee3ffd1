// A storage that cannot take a restore: the compiler names the part of the concept that is missing.
// expected-error: replaces
#include "quorlite/storage.hpp"

struct incomplete {
  static constexpr quorlite::storage_abilities abilities{};
  struct database_type {};
  struct flush_type {
    quorlite::result<database_type> open(std::string_view name, std::uint32_t page_size) noexcept;
    std::error_code write(const database_type& database,
                          std::span<const quorlite::page_view> sorted,
                          std::uint64_t page_count) noexcept;
  };
  struct stage_type {
    quorlite::result<database_type> open(std::string_view name, std::uint32_t page_size) noexcept;
    std::error_code write(const database_type& database,
                          std::span<const quorlite::page_view> sorted,
                          std::uint64_t page_count) noexcept;
  };
  quorlite::result<quorlite::recovery> recover() noexcept;
  quorlite::result<database_type> open(std::string_view name, std::uint32_t page_size) noexcept;
  std::error_code read(const database_type& database, quorlite::page_number page,
                       quorlite::bytes_span into) const noexcept;
  quorlite::result<flush_type> begin_flush(const quorlite::history_position& ahead) noexcept;
  std::error_code commit(flush_type flush, const quorlite::base_position& position) noexcept;
  quorlite::result<stage_type> begin_stage() noexcept;
#ifdef QUORLITE_WITHOUT_THE_FAULT
  std::error_code publish(stage_type stage, const quorlite::base_position& position) noexcept;
#endif
};

template <quorlite::storage S>
void use(S& storage);

void try_it(incomplete& mine) { use(mine); }
