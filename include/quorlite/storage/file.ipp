/// @file
/// Bodies of file_storage: a storage in files over a POSIX system, behind pointers.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/file_storage/basic_file_storage.hpp"
#include "quorlite/detail/file_storage/bounded_files.hpp"
#include "quorlite/detail/file_storage/posix.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/storage/file.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {

struct file_storage::place {
  using file_system_type = detail::bounded_files<detail::posix_file_system>;
  using type = detail::basic_file_storage<file_system_type>;

  type storage;
  const std::string folder;
};

struct file_storage::content {
  place::type::database_type handle;
};

struct file_storage::pages {
  using writer_type = detail::file_writer<place::file_system_type>;

  explicit pages(place::type::flush_type begun) noexcept : held(std::move(begun)) {}
  explicit pages(place::type::stage_type begun) noexcept : held(std::move(begun)) {}

  [[nodiscard]] writer_type& any() noexcept {
    return std::visit([](auto& one) -> writer_type& { return one; }, held);
  }

  std::variant<place::type::flush_type, place::type::stage_type> held;
};

namespace detail {

[[nodiscard]] inline std::size_t open_files_of(const file_options& options) noexcept {
  constexpr std::size_t fewest = 16;
  rlimit allowed{};
  if (options.open_files != 0 || ::getrlimit(RLIMIT_NOFILE, &allowed) != 0) {
    return std::max(options.open_files, fewest);
  }
  const auto most = std::size_t{1} << 20U;
  const auto asked = static_cast<std::size_t>(std::min<rlim_t>(allowed.rlim_cur, most));
  return std::max(asked / 4, fewest);
}

}  // namespace detail

// ---- handles, flushes, stages

QUORLITE_DECL file_storage::database_type::database_type(
    std::shared_ptr<const content> which) noexcept
    : content_(std::move(which)) {}

QUORLITE_DECL file_storage::writer::writer(std::unique_ptr<pages> held) noexcept
    : pages_(std::move(held)) {}
QUORLITE_DECL file_storage::writer::writer(writer&& other) noexcept = default;
QUORLITE_DECL file_storage::writer& file_storage::writer::operator=(writer&& other) noexcept =
    default;
QUORLITE_DECL file_storage::writer::~writer() = default;

QUORLITE_DECL result<file_storage::database_type> file_storage::writer::open(
    std::string_view name, std::uint32_t page_size) noexcept try {
  auto opened = pages_->any().open(name, page_size);
  if (!opened) {
    return fail(opened.error());
  }
  return database_type(std::make_shared<const content>(content{std::move(*opened)}));
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

QUORLITE_DECL std::error_code file_storage::writer::write(const database_type& database,
                                                          std::span<const page_view> sorted,
                                                          std::uint64_t page_count) noexcept {
  return pages_->any().write(database.content_->handle, sorted, page_count);
}

// ---- the storage

QUORLITE_DECL file_storage::file_storage(const std::string& directory, const file_options& options)
    : place_(new place{place::type(place::file_system_type(detail::posix_file_system(directory),
                                                           detail::open_files_of(options)),
                                   options),
                       directory}) {}
QUORLITE_DECL file_storage::~file_storage() = default;

QUORLITE_DECL std::string_view file_storage::folder() const noexcept { return place_->folder; }

QUORLITE_DECL result<recovery> file_storage::recover() noexcept {
  return place_->storage.recover();
}
QUORLITE_DECL std::string_view file_storage::damage() const noexcept {
  return place_->storage.damage();
}
QUORLITE_DECL std::error_code file_storage::close() noexcept { return place_->storage.close(); }

QUORLITE_DECL result<file_storage::database_type> file_storage::open(
    std::string_view name, std::uint32_t page_size) noexcept try {
  auto opened = place_->storage.open(name, page_size);
  if (!opened) {
    return fail(opened.error());
  }
  return database_type(std::make_shared<const content>(content{std::move(*opened)}));
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

QUORLITE_DECL std::error_code file_storage::read(const database_type& database, page_number page,
                                                 bytes_span into) const noexcept {
  return place_->storage.read(database.content_->handle, page, into);
}

QUORLITE_DECL std::error_code file_storage::read_hashes(
    const database_type& database, page_number first,
    std::span<std::uint64_t> into) const noexcept {
  return place_->storage.read_hashes(database.content_->handle, first, into);
}

QUORLITE_DECL result<file_storage::flush_type> file_storage::begin_flush(
    const history_position& ahead) noexcept try {
  auto begun = place_->storage.begin_flush(ahead);
  if (!begun) {
    return fail(begun.error());
  }
  return flush_type(std::make_unique<pages>(std::move(*begun)));
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

QUORLITE_DECL std::error_code file_storage::commit(flush_type flush,
                                                   const base_position& position) noexcept {
  QUORLITE_ASSERT(flush.pages_ != nullptr);  // not moved from
  auto& held = std::get<place::type::flush_type>(flush.pages_->held);
  return place_->storage.commit(std::move(held), position);
}

QUORLITE_DECL result<file_storage::stage_type> file_storage::begin_stage() noexcept try {
  auto begun = place_->storage.begin_stage();
  if (!begun) {
    return fail(begun.error());
  }
  return stage_type(std::make_unique<pages>(std::move(*begun)));
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

QUORLITE_DECL std::error_code file_storage::publish(stage_type&& stage,
                                                    const base_position& position) noexcept {
  QUORLITE_ASSERT(stage.pages_ != nullptr);  // not moved from
  auto& held = std::get<place::type::stage_type>(stage.pages_->held);
  return place_->storage.publish(std::move(held), position);
}

// ---- all of it, read

QUORLITE_DECL bool verified_storage::is_whole() const noexcept {
  return ahead != at.index ||
         std::all_of(databases.begin(), databases.end(), [](const verified_database& one) {
           return one.bad_pages == 0 && one.hashes_add_up;
         });
}

namespace detail {

/// @param expected the hash of the database, if it stands at one position
[[nodiscard]] inline std::error_code verify_pages(const file_storage& storage,
                                                  const file_storage::database_type& database,
                                                  std::optional<std::uint64_t> expected,
                                                  verified_database& into) {
  std::vector<std::byte> image(into.page_size);
  std::uint64_t sum = 0;
  for (std::uint64_t number = 1; number <= into.page_count; ++number) {
    const page_number page{static_cast<std::uint32_t>(number)};
    std::uint64_t hash = 0;
    if (const std::error_code error = storage.read_hashes(database, page, {&hash, 1})) {
      return error;
    }
    sum += hash;
    const bool holds_data = number != lock_page(into.page_size);
    if (holds_data && (storage.read(database, page, image) || page_hash(page, image) != hash)) {
      into.first_bad = into.bad_pages == 0 ? page : into.first_bad;
      ++into.bad_pages;
    }
  }
  into.hashes_add_up = !expected || sum == *expected;
  return {};
}

}  // namespace detail

QUORLITE_DECL result<verified_storage> verify(file_storage& storage) noexcept try {
  const result<recovery> found = storage.recover();
  if (!found) {
    return fail(found.error());
  }
  verified_storage made{found->at, found->ahead, {}};
  for (const recovery::database& line : found->databases) {
    verified_database one{line.name, line.page_size, line.page_count, 0, {}, true};
    if (line.page_count > 0) {
      const auto opened = storage.open(line.name, line.page_size);
      if (!opened) {
        return fail(opened.error());
      }
      const bool exact = found->ahead == found->at.index;
      if (const std::error_code error = detail::verify_pages(
              storage, *opened, exact ? std::optional(line.hash) : std::nullopt, one)) {
        return fail(error);
      }
    }
    made.databases.push_back(std::move(one));
  }
  return made;
} catch (const std::bad_alloc&) {
  return fail(errc::out_of_memory);
}

}  // namespace QUORLITE_ABI
}  // namespace quorlite
