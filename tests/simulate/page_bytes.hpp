// Pages as they lie in the files of a server, held against the hashes that lie beside them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/detail/codec/page_hash.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/file_storage/data_directory.hpp"
#include "quorlite/detail/file_storage/database_files.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/testing/faulty_disk.hpp"

namespace simulate {

/// A page of a database.
struct page_name {
  std::string database;
  std::uint64_t number = 0;

  friend bool operator==(const page_name&, const page_name&) = default;
  [[nodiscard]] std::string text() const {
    return "page " + std::to_string(number) + " of '" + database + "'";
  }
};

/// The page that a replica names which halted over it; nothing: it names none.
[[nodiscard]] inline std::optional<page_name> page_named_in(std::string_view what) {
  constexpr std::string_view before = ": page ";
  constexpr std::string_view between = " of '";
  const std::size_t from = what.find(before);
  const std::size_t middle = what.find(between, from);
  const std::size_t end = what.find('\'', middle == what.npos ? middle : middle + between.size());
  if (from == what.npos || middle == what.npos || end == what.npos) {
    return std::nullopt;
  }
  const std::size_t digits = from + before.size();
  const std::size_t name = middle + between.size();
  return page_name{std::string(what.substr(name, end - name)),
                   std::stoull(std::string(what.substr(digits, middle - digits)))};
}

/// Reads the files of a disk as whoever examines it after an accident would, not as the library
/// does: detail/file_storage/database_files.hpp says which byte means what.
class page_bytes {
 public:
  /// @param page_size of all databases
  page_bytes(const quorlite::testing::faulty_disk& disk, std::uint32_t page_size)
      : disk_(disk), page_size_(page_size) {}

  /// Nothing: there is no such page.
  [[nodiscard]] std::optional<quorlite::bytes> read(const page_name& page) const {
    using namespace quorlite::detail;
    return read(page.number, place_names::data_of(page.database),
                place_names::hashes_of(page.database));
  }
  /// @pre it is there
  [[nodiscard]] bool is_as_hashed(const page_name& page) const {
    using namespace quorlite::detail;
    return is_as_hashed(page.number, place_names::data_of(page.database),
                        place_names::hashes_of(page.database));
  }
  /// Whether it is damaged there, or in a file that is on its way to be that database: which one
  /// it will be, its name does not tell. Its pages get their name before its hashes do.
  [[nodiscard]] bool is_anywhere_damaged(const page_name& page) const {
    using namespace quorlite::detail;
    bool is_so = read(page).has_value() && !is_as_hashed(page);
    const std::vector<std::string> files = disk_.files();
    const std::string prefix = place_names::hashes_of(std::string(place_names::staged_hashes));
    for (const std::string& hashes : files) {
      if (const auto generation = place_names::generation_in(hashes, prefix)) {
        const std::string staged = place_names::staged_data_of(*generation);
        const bool is_named = std::find(files.begin(), files.end(), staged) == files.end();
        const std::string data = is_named ? place_names::data_of(page.database) : staged;
        is_so = is_so || (read(page.number, data, hashes).has_value() &&
                          !is_as_hashed(page.number, data, hashes));
      }
    }
    return is_so;
  }
  /// Of the files that have the database's names: others have another one. Nothing: there are none.
  [[nodiscard]] std::optional<std::uint64_t> generation_of(const std::string& database) const {
    using namespace quorlite::detail;
    quorlite::bytes head(database_layout::hash_bytes);
    const std::size_t got = disk_.content(place_names::hashes_of(database)).read(0, head);
    return got == head.size() ? std::optional{load_little_endian<std::uint64_t>(head.data()) >> 8U}
                              : std::nullopt;
  }

 private:
  [[nodiscard]] std::optional<quorlite::bytes> read(std::uint64_t number, const std::string& data,
                                                    const std::string& hashes) const {
    using namespace quorlite::detail;
    quorlite::bytes page(page_size_);
    quorlite::bytes true_byte(1);
    if (disk_.content(data).read((number - 1) * page_size_, page) != page.size() ||
        disk_.content(hashes).size() < database_layout::hashes_size(number) ||
        disk_.content(hashes).read(0, true_byte) != 1) {
      return std::nullopt;
    }
    if (number == 1) {  // in the file the guard has its place
      page[database_layout::guard_offset] = true_byte[0];
    }
    return page;
  }
  [[nodiscard]] bool is_as_hashed(std::uint64_t number, const std::string& data,
                                  const std::string& hashes) const {
    using namespace quorlite::detail;
    quorlite::bytes hash(database_layout::hash_bytes);
    static_cast<void>(disk_.content(hashes).read(number * hash.size(), hash));
    return page_hash(quorlite::page_number{static_cast<std::uint32_t>(number)},
                     *read(number, data, hashes)) == load_little_endian<std::uint64_t>(hash.data());
  }

  const quorlite::testing::faulty_disk& disk_;
  const std::uint32_t page_size_;
};

}  // namespace simulate
