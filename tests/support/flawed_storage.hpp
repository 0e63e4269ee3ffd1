// Storages that break one law each: the conformance suite must notice every one of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "quorlite/bytes.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"
#include "quorlite/storage.hpp"
#include "quorlite/storage/memory.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

enum class storage_flaw {
  none,
  loses_pages,           // commits the position without the pages
  keeps_shrunken_pages,  // a database that grows again shows its old pages
  drops_notes,
  merges_on_publish,  // databases outside the stage survive
  accepts_names,
  writes_before_commit,  // a flush is visible as soon as it is written, though it calls itself
                         // atomic
  goes_back,             // obeys a commit at an earlier position
  accepts_page_sizes,    // opens with another page size than recorded
  forgets_hashes,
  stages_in_place,      // a stage writes into the living state
  tears_pages,          // a dropped flush leaves half a page
  keeps_dropped_pages,  // a reborn database shows the pages of its earlier life
  serves_zeros,         // reads beyond the end give zeros instead of an error
  invents_a_database,   // an empty place is not empty
  forgets_replay_from,
  tells_a_history,  // of pages that are all as of one position
};

// A memory_storage behind one flaw. Writes are kept until commit, so that flaws can bend them.
class flawed_storage {
  struct kept_page {
    std::uint64_t hash = 0;
    bytes image;
  };
  struct kept_database {
    std::uint32_t page_size = 0;
    std::uint64_t page_count = 0;
    std::map<std::uint32_t, kept_page> pages;
  };
  using kept = std::map<std::string, kept_database, std::less<>>;

 public:
  static constexpr storage_abilities abilities{.page_hashes = true};

  // One content of a name: pages of its own until the commit pours them into the real storage.
  struct content {
    std::string name;
    std::uint32_t page_size = 0;
    bool begun = false;
    kept_database pages;
    std::optional<memory_storage::database_type> real;
  };
  using database_type = std::shared_ptr<content>;

  struct writer {
    flawed_storage* owner = nullptr;
    kept written;
    std::map<std::string, database_type, std::less<>> handles;

    result<database_type> open(std::string_view name, std::uint32_t page_size) noexcept {
      auto handle = owner->named(name, page_size);
      if (handle) {
        (*handle)->begun = true;
        handles[std::string(name)] = *handle;
        written[std::string(name)] = {page_size, 0, {}};
      }
      return handle;
    }
    std::error_code write(const database_type& database, std::span<const page_view> sorted,
                          std::uint64_t page_count) noexcept {
      const database_type& mine = handles.try_emplace(database->name, database).first->second;
      if (mine != database && mine->begun) {
        return make_error_code(errc::malformed);
      }
      kept_database& into = written[database->name];
      into.page_size = database->page_size;
      into.page_count = page_count;
      for (const page_view& page : sorted) {
        into.pages[page.number.value] = {page.hash, bytes(page.image.begin(), page.image.end())};
      }
      if (database->begun) {
        database->pages = into;
      }
      return owner->written_early(written);
    }
  };
  struct flush_type : writer {};
  struct stage_type : writer {
    std::error_code write(const database_type& database, std::span<const page_view> sorted,
                          std::uint64_t page_count) noexcept {
      const std::error_code error = writer::write(database, sorted, page_count);
      if (owner->flaw_ == storage_flaw::stages_in_place && !error) {
        return owner->overwrite(written);
      }
      return error;
    }
  };

  explicit flawed_storage(storage_flaw flaw) : flaw_(flaw) {}

  result<recovery> recover() noexcept {
    auto found = base_.recover();
    if (flaw_ == storage_flaw::invents_a_database && found && found->at.index == log_index{}) {
      found->databases.push_back({"new.db", 4096, 0, 0, {}});
    }
    if (flaw_ == storage_flaw::tells_a_history && found && found->at.index != log_index{}) {
      found->ahead_history = {found->at.index.value, 1};
    }
    return found;
  }
  result<database_type> open(std::string_view name, std::uint32_t page_size) noexcept {
    auto handle = named(name, page_size);
    if (handle && is_database_name(name)) {
      auto real = base_.open(name, page_size);
      if (real) {
        (*handle)->real = std::move(*real);
      } else if (flaw_ != storage_flaw::accepts_page_sizes) {
        return fail(real.error());
      }
    }
    return handle;
  }
  std::error_code read(const database_type& database, page_number page,
                       bytes_span into) const noexcept {
    const std::error_code error = read_kept(*database, page, into);
    if (flaw_ == storage_flaw::serves_zeros && error) {
      std::fill(into.begin(), into.end(), std::byte{});
      return {};
    }
    return error;
  }
  std::error_code read_hashes(const database_type& database, page_number first,
                              std::span<std::uint64_t> into) const noexcept {
    return database->real ? base_.read_hashes(*database->real, first, into)
                          : make_error_code(errc::storage_broken);
  }
  result<flush_type> begin_flush(const history_position& /*ahead*/) noexcept {
    return flush_type{{this, {}, {}}};
  }
  result<stage_type> begin_stage() noexcept { return stage_type{{this, {}, {}}}; }

  std::error_code commit(flush_type flush, const base_position& position) noexcept {
    bend(flush.written, position);
    auto real = base_.begin_flush({position.at.index, {}});
    if (const std::error_code error = pour(flush, *real)) {
      return error;
    }
    std::vector<database_image> lines;
    const std::error_code error = base_.commit(std::move(*real), bent(position, lines));
    if (error && flaw_ == storage_flaw::goes_back &&
        position.at.index < base_.recover()->at.index) {
      return publish(stage_type{{this, everything(position), {}}}, position);
    }
    if (!error) {
      remember(flush.written);
    }
    return error;
  }

  std::error_code publish(stage_type stage, const base_position& position) noexcept {
    std::vector<database_image> lines;
    base_position moved = bent(position, lines);
    const auto old = base_.recover();
    if (flaw_ == storage_flaw::merges_on_publish) {
      for (const auto& line : old->databases) {
        if (stage.written.find(line.name) == stage.written.end()) {
          stage.written[line.name] = everything(line.name, line.page_size, line.page_count);
          lines.push_back({line.name, line.page_size, line.page_count, line.hash, line.version});
        }
      }
      moved.databases = lines;
    }
    auto real = base_.begin_stage();
    for (const auto& [name, database] : stage.written) {  // those that a flaw added, too
      stage.handles.try_emplace(name, new_content(name, database.page_size)).first->second->begun =
          true;
    }
    if (const std::error_code error = pour(stage, *real)) {
      return error;
    }
    return base_.publish(std::move(*real), moved);
  }

 private:
  result<database_type> named(std::string_view name, std::uint32_t page_size) const {
    if (flaw_ != storage_flaw::accepts_names && !is_database_name(name)) {
      return fail(errc::invalid_name);
    }
    return new_content(name, page_size);
  }
  static database_type new_content(std::string_view name, std::uint32_t page_size) {
    auto handle = std::make_shared<content>();
    handle->name = name;
    handle->page_size = page_size;
    return handle;
  }

  std::error_code read_kept(const content& from, page_number page, bytes_span into) const noexcept {
    if (from.real) {
      return base_.read(*from.real, page, into);
    }
    const auto found = from.pages.pages.find(page.value);
    if (found == from.pages.pages.end() || found->second.image.size() != into.size()) {
      return make_error_code(errc::storage_broken);
    }
    std::copy(found->second.image.begin(), found->second.image.end(), into.begin());
    return {};
  }

  // Gives kept pages to a flush or stage of the real storage.
  template <class Writer>
  std::error_code pour(const writer& from, Writer& into) {
    for (const auto& [name, database] : from.written) {
      const auto mine = from.handles.find(name);
      const bool begun = mine != from.handles.end() && mine->second->begun;
      const bool handed = mine != from.handles.end() && mine->second->real && !begun;
      result<memory_storage::database_type> handle =
          handed  ? result<memory_storage::database_type>(*mine->second->real)
          : begun ? into.open(name, database.page_size)
                  : base_.open(name, database.page_size);
      if (!handle) {
        return handle.error();
      }
      std::vector<page_view> pages;
      for (const auto& [number, page] : database.pages) {
        const std::uint64_t hash = flaw_ == storage_flaw::forgets_hashes ? 0 : page.hash;
        pages.push_back({page_number{number}, hash, page.image});
      }
      if (const std::error_code error = into.write(*handle, pages, database.page_count)) {
        return error;
      }
      if (begun) {
        mine->second->real = std::move(*handle);
      }
    }
    return {};
  }

  base_position bent(const base_position& position, std::vector<database_image>& lines) const {
    base_position moved = position;
    for (const database_image& line : position.databases) {
      if (flaw_ != storage_flaw::accepts_names || is_database_name(line.name)) {
        lines.push_back(line);
      }
    }
    moved.databases = lines;
    if (flaw_ == storage_flaw::drops_notes) {
      moved.notes = {};
    }
    if (flaw_ == storage_flaw::forgets_replay_from) {
      moved.replay_from = moved.at.index;
    }
    return moved;
  }

  void bend(kept& written, const base_position& position) {
    if (flaw_ == storage_flaw::loses_pages) {
      for (auto& [name, database] : written) {
        database.pages.clear();
      }
    }
    const auto old = base_.recover();
    for (const database_image& line : position.databases) {
      const auto fresh = written.find(line.name);
      const auto known = history_.find(line.name);
      const bool existed = std::any_of(old->databases.begin(), old->databases.end(),
                                       [&](const auto& other) { return other.name == line.name; });
      const bool resurrects = existed ? flaw_ == storage_flaw::keeps_shrunken_pages
                                      : flaw_ == storage_flaw::keeps_dropped_pages;
      if (resurrects && fresh != written.end() && known != history_.end()) {
        for (const auto& [number, page] : known->second.pages) {
          const bool fits = number <= line.page_count && page.image.size() == line.page_size;
          if (fits && !holds(*old, line.name, number)) {
            fresh->second.pages.try_emplace(number, page);
          }
        }
      }
    }
  }

  static bool holds(const recovery& old, std::string_view name, std::uint32_t number) {
    return std::any_of(old.databases.begin(), old.databases.end(), [&](const auto& line) {
      return line.name == name && number <= line.page_count;
    });
  }

  void remember(const kept& written) {
    for (const auto& [name, database] : written) {
      for (const auto& [number, page] : database.pages) {
        history_[name].pages[number] = page;
      }
    }
  }

  // Every page of a database as it is now.
  kept_database everything(std::string_view name, std::uint32_t page_size,
                           std::uint64_t page_count) {
    kept_database whole{page_size, page_count, {}};
    const auto handle = base_.open(name, page_size);
    for (std::uint32_t page = 1; page <= page_count; ++page) {
      bytes image(page_size);
      if (handle && !base_.read(*handle, page_number{page}, image)) {
        whole.pages[page] = {0, std::move(image)};
      }
    }
    return whole;
  }
  kept everything(const base_position& position) {
    kept whole;
    for (const database_image& line : position.databases) {
      whole[std::string(line.name)] = everything(line.name, line.page_size, line.page_count);
    }
    return whole;
  }

  std::error_code written_early(const kept& written) {
    if (flaw_ == storage_flaw::writes_before_commit) {
      return overwrite(written);
    }
    if (flaw_ == storage_flaw::tears_pages) {
      kept torn = written;
      for (auto& [name, database] : torn) {
        for (auto& [number, page] : database.pages) {
          std::fill(page.image.begin() + 100, page.image.end(), std::byte{});
        }
      }
      return overwrite(torn);
    }
    return {};
  }

  // Puts pages into the living state at the position where it stands.
  std::error_code overwrite(const kept& written) {
    const auto now = base_.recover();
    std::vector<database_image> lines;
    kept fitting;
    for (const auto& line : now->databases) {
      lines.push_back({line.name, line.page_size, line.page_count, line.hash, line.version});
      const auto fresh = written.find(line.name);
      if (fresh != written.end() && fresh->second.page_size == line.page_size) {
        kept_database& into = fitting[line.name];
        into = fresh->second;
        into.page_count = line.page_count;
        std::erase_if(into.pages, [&](const auto& page) { return page.first > line.page_count; });
      }
    }
    auto real = base_.begin_flush({now->at.index, {}});
    if (const std::error_code error = pour(writer{this, fitting, {}}, *real)) {
      return error;
    }
    return base_.commit(std::move(*real), {now->at, now->replay_from, lines, now->notes});
  }

  const storage_flaw flaw_;
  mutable memory_storage base_;
  kept history_;  // every page ever committed
};

}  // namespace quorlite::tests
