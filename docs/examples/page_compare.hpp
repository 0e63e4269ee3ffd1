/// @file
/// The pages of a replica, below SQLite: compared with another's, or written to a file.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/detail/pages/page_store.hpp"

namespace example {

/// The committed state of a database, pinned: the pages stay as they are, whatever comes later.
class pinned_pages {
 public:
  explicit pinned_pages(const std::shared_ptr<quorlite::detail::page_store>& store)
      : pin_(store->pin_committed()), reader_(store), page_(pin_.page_size()) {}

  [[nodiscard]] std::uint64_t count() const { return pin_.page_count(); }
  [[nodiscard]] std::uint64_t hash() const { return pin_.hash(); }

  /// Page 1 is the first. A page that holds no data (that of SQLite's lock byte) is all zeros.
  /// Valid until the next call. @throws std::system_error
  [[nodiscard]] quorlite::bytes_view page(std::uint64_t number) {
    const quorlite::page_number wanted{static_cast<std::uint32_t>(number)};
    const auto guard = reader_.enter();
    const quorlite::result<quorlite::bytes_view> found = reader_.image(guard, pin_, wanted);
    if (!found) {
      throw std::system_error(found.error());
    }
    std::fill(page_.begin(), page_.end(), std::byte{0});
    std::copy(found->begin(), found->end(), page_.begin());
    return page_;
  }

 private:
  quorlite::detail::page_store::pin pin_;
  quorlite::detail::page_store::reader reader_;
  quorlite::bytes page_;
};

/// @returns the first page that differs, if one does; page 0: the counts do
[[nodiscard]] inline std::optional<std::uint64_t> first_different_page(pinned_pages& a,
                                                                       pinned_pages& b) {
  if (a.count() != b.count()) {
    return 0;
  }
  for (std::uint64_t number = 1; number <= a.count(); ++number) {
    const quorlite::bytes_view left = a.page(number);
    const quorlite::bytes_view right = b.page(number);
    if (!std::equal(left.begin(), left.end(), right.begin(), right.end())) {
      return number;
    }
  }
  return std::nullopt;
}

/// Writes an ordinary SQLite database file. @throws std::runtime_error
inline void write_database_file(pinned_pages& pages, const std::string& path) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  for (std::uint64_t number = 1; number <= pages.count(); ++number) {
    const quorlite::bytes_view page = pages.page(number);
    file.write(reinterpret_cast<const char*>(page.data()),
               static_cast<std::streamsize>(page.size()));
  }
  if (!file.flush()) {
    throw std::runtime_error(fmt::format("cannot write '{}'", path));
  }
}

}  // namespace example
