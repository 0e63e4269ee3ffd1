// Golden folders: what an earlier build has written, beside what is to be found in it. See
// tests/data/golden/README.md.
#pragma once

#include <sqlite3.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/quorlite.hpp"

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

using nlohmann::ordered_json;

// ---- files ---------------------------------------------------------------------------

inline bytes read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  bytes content(std::filesystem::file_size(path));  // a log's segments have millions
  file.read(reinterpret_cast<char*>(content.data()), static_cast<std::streamsize>(content.size()));
  REQUIRE(file.good());
  return content;
}

inline void write_file(const std::filesystem::path& path, bytes_view content) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(content.data()),
             static_cast<std::streamsize>(content.size()));
  REQUIRE(file.flush().good());
}

inline std::string text_of(const std::filesystem::path& path) {
  const bytes content = read_file(path);
  return {reinterpret_cast<const char*>(content.data()), content.size()};
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  write_file(path, std::as_bytes(std::span(text)));
}

inline std::string hex_of(std::uint64_t number) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (int shift = 60; shift >= 0; shift -= 4) {
    text += digits[number >> static_cast<unsigned>(shift) & 15U];
  }
  return text;
}

inline ordered_json history_of(const history_position& at) {
  return {{"index", at.index.value}, {"hash", hex_of(at.hash.high) + hex_of(at.hash.low)}};
}

// FNV-1a, 64 bits: for values that are too long to be written down.
inline std::string short_name_of(bytes_view content) {
  std::uint64_t sum = 0xCBF29CE484222325U;
  for (const std::byte one : content) {
    sum = (sum ^ std::to_integer<std::uint64_t>(one)) * 0x100000001B3U;
  }
  return hex_of(sum);
}

// Copies a folder, without the zeros at the ends of its files.
// @returns the sizes of those that had some
inline ordered_json pack(const std::filesystem::path& from, const std::filesystem::path& to) {
  ordered_json sizes = ordered_json::object();
  for (const auto& one : std::filesystem::recursive_directory_iterator(from)) {
    if (one.is_regular_file()) {
      const std::string name = std::filesystem::relative(one.path(), from).string();
      bytes content = read_file(one.path());
      const std::size_t size = content.size();
      while (!content.empty() && content.back() == std::byte{0}) {
        content.pop_back();
      }
      if (content.size() != size) {
        sizes[name] = size;
      }
      write_file(to / name, content);
    }
  }
  return sizes;
}

inline void unpack(const std::filesystem::path& from, const std::filesystem::path& to,
                   const ordered_json& sizes) {
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
  for (const auto& [name, size] : sizes.items()) {
    REQUIRE(std::filesystem::file_size(to / name) <= size.get<std::uint64_t>());
    std::filesystem::resize_file(to / name, size.get<std::uint64_t>());
  }
}

// ---- entries -------------------------------------------------------------------------

// An entry of a log: its term, and its bytes as the machine gets them.
struct golden_entry {
  term in_term;
  bytes content;
};

// On the disk, for each entry: term u64, size u32, both little-endian, and the bytes.
inline bytes encode_entries(const std::vector<golden_entry>& entries) {
  bytes all;
  const auto put = [&all](std::uint64_t number, unsigned size) {
    for (unsigned i = 0; i < size; ++i) {
      all.push_back(static_cast<std::byte>(number >> (8 * i)));
    }
  };
  for (const golden_entry& one : entries) {
    put(one.in_term.value, 8);
    put(one.content.size(), 4);
    all.insert(all.end(), one.content.begin(), one.content.end());
  }
  return all;
}

inline std::vector<golden_entry> decode_entries(bytes_view all) {
  std::vector<golden_entry> entries;
  const auto take = [&all](unsigned size) {
    std::uint64_t number = 0;
    REQUIRE(all.size() >= size);
    for (unsigned i = 0; i < size; ++i) {
      number |= std::to_integer<std::uint64_t>(all[i]) << (8 * i);
    }
    all = all.subspan(size);
    return number;
  };
  while (!all.empty()) {
    golden_entry one{term{take(8)}, {}};
    const std::size_t size = take(4);
    REQUIRE(all.size() >= size);
    one.content.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(size));
    all = all.subspan(size);
    entries.push_back(std::move(one));
  }
  return entries;
}

// ---- content -------------------------------------------------------------------------

inline std::string shown(sqlite3_stmt* row, int column) {
  constexpr std::size_t longest = 40;
  const int type = sqlite3_column_type(row, column);
  if (type == SQLITE_NULL) {
    return "NULL";
  }
  const auto* const text = reinterpret_cast<const char*>(
      type == SQLITE_BLOB ? sqlite3_column_blob(row, column) : sqlite3_column_text(row, column));
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(row, column));
  const std::string value(size == 0 ? "" : text, size);
  const bool plain = type != SQLITE_BLOB && value.find_first_of("\n\r") == std::string::npos;
  if (plain && (type != SQLITE_TEXT || size <= longest)) {
    return type == SQLITE_TEXT ? "'" + value + "'" : value;
  }
  return std::string(type == SQLITE_BLOB ? "blob" : "text") + " of " + std::to_string(size) +
         " bytes, " + short_name_of(std::as_bytes(std::span(value)));
}

// A statement, and its end however the test ends.
class golden_query {
 public:
  golden_query(sqlite3* db, const std::string& sql) : db_(db) {
    INFO(sql << ": " << sqlite3_errmsg(db));
    REQUIRE(sqlite3_prepare_v2(db, sql.c_str(), -1, &row_, nullptr) == SQLITE_OK);
  }
  golden_query(const golden_query&) = delete;
  golden_query& operator=(const golden_query&) = delete;
  ~golden_query() { sqlite3_finalize(row_); }

  // False behind the last row.
  bool next() {
    const int code = sqlite3_step(row_);
    INFO(sqlite3_sql(row_) << ": " << sqlite3_errmsg(db_));
    REQUIRE((code == SQLITE_ROW || code == SQLITE_DONE));
    return code == SQLITE_ROW;
  }
  [[nodiscard]] std::string text(int column) const {
    return reinterpret_cast<const char*>(sqlite3_column_text(row_, column));
  }
  [[nodiscard]] std::string line() const {
    std::string all;
    for (int column = 0; column < sqlite3_column_count(row_); ++column) {
      all += (column == 0 ? "  " : " | ") + shown(row_, column);
    }
    return all + '\n';
  }

 private:
  sqlite3* db_;
  sqlite3_stmt* row_ = nullptr;
};

inline std::string rows_of(sqlite3* db, const std::string& sql) {
  golden_query query(db, sql);
  std::string all;
  while (query.next()) {
    all += query.line();
  }
  return all;
}

// All that SQL sees of a database, one line for each row; those of virtual tables are in the tables
// that they are made of.
inline std::string dump_of(sqlite3* db) {
  std::string all;
  for (const char* const name : {"page_size", "encoding", "auto_vacuum", "user_version",
                                 "application_id", "freelist_count", "integrity_check"}) {
    all += std::string(name) + '\n' + rows_of(db, std::string("PRAGMA ") + name);
  }
  all += "schema\n" +
         rows_of(db, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name");
  std::vector<std::string> tables;
  golden_query names(db, "SELECT name FROM sqlite_schema WHERE type = 'table' AND "
                         "sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name");
  while (names.next()) {
    tables.push_back(names.text(0));
  }
  for (const std::string& name : tables) {
    golden_query columns(db, "SELECT count(*) FROM pragma_table_info('" + name + "')");
    REQUIRE(columns.next());
    const int count = std::stoi(columns.text(0));
    std::string order = "1";
    for (int column = 2; column <= count; ++column) {
      order += ", " + std::to_string(column);
    }
    all += name + '\n' + rows_of(db, "SELECT * FROM \"" + name + "\" ORDER BY " + order);
  }
  return all;
}

// What the manifest says of a replica, and what SQL sees in each of its databases.
struct golden_content {
  ordered_json databases = ordered_json::array();
  std::vector<std::pair<std::string, std::string>> dumps;  // by name

  friend bool operator==(const golden_content&, const golden_content&) = default;
};

template <class Replica>
golden_content content_of(Replica& from) {
  golden_content found;
  auto all = from.databases();
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  for (const auto& one : all) {
    found.databases.push_back({{"name", one.name},
                               {"page_size", one.page_size},
                               {"page_count", one.page_count},
                               {"version", one.version.value},
                               {"hash", hex_of(one.hash)}});
    if (one.page_count != 0) {
      auto db = from.open(one.name);
      REQUIRE(db.has_value());
      found.dumps.emplace_back(one.name, dump_of(*db));
    }
  }
  return found;
}

// ---- a case --------------------------------------------------------------------------

// Never writes a case that is there already.
class golden_writer {
 public:
  golden_writer(const std::string& name, const std::string& about) {
    const char* const out = std::getenv("QUORLITE_GOLDEN_OUT");
    INFO("QUORLITE_GOLDEN_OUT names the folder for new cases");
    REQUIRE(out != nullptr);
    folder_ = std::filesystem::path(out) / name;
    INFO(folder_);
    REQUIRE_FALSE(std::filesystem::exists(folder_));
    std::filesystem::create_directories(folder_);
    manifest_["about"] = about;
  }
  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const {
    return folder_ / name;
  }
  [[nodiscard]] ordered_json& manifest() noexcept { return manifest_; }

  // @param which of the states of this case; the first one is called "content"
  void expect(const golden_content& content, const std::string& which = "content") {
    manifest_[which] = content.databases;
    for (const auto& [name, dump] : content.dumps) {
      write_text(folder_ / which / (name + ".txt"), dump);
    }
  }
  // Packs the folder `from`, as `name` of the case.
  void take_in(const std::string& from, const std::string& name = "files") {
    manifest_["sizes"][name] = pack(from, folder_ / name);
  }
  // The last step; also the last one before this process is killed, see write_and_die().
  void seal() const { write_text(folder_ / "manifest.json", manifest_.dump(2) + '\n'); }
  void reload() { manifest_ = ordered_json::parse(text_of(folder_ / "manifest.json")); }

 private:
  std::filesystem::path folder_;
  ordered_json manifest_;
};

// Runs `work` in a process of its own, which has to end by SIGKILL. What it does to `writer` is
// kept if it seals it.
template <class Work>
void write_and_die(golden_writer& writer, Work work) {
  const ::pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    try {
      work();
    } catch (...) {
      std::fputs("a REQUIRE failed in the process that was to be killed\n", stderr);
    }
    ::_exit(1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  REQUIRE(WTERMSIG(status) == SIGKILL);
  writer.reload();
}

class golden_case {
 public:
  explicit golden_case(const std::string& name)
      : folder_(golden_folder() / name),
        manifest_(ordered_json::parse(text_of(folder_ / "manifest.json"))) {}

  [[nodiscard]] static std::filesystem::path golden_folder() {
    const char* const data = std::getenv("QUORLITE_TEST_DATA");
    REQUIRE(data != nullptr);
    return std::filesystem::path(data) / "golden";
  }
  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const {
    return folder_ / name;
  }
  [[nodiscard]] const ordered_json& manifest() const noexcept { return manifest_; }
  [[nodiscard]] std::vector<golden_entry> entries(const std::string& name) const {
    return decode_entries(read_file(folder_ / name));
  }

  // Copies the folder `name` to `to`, which is not there yet.
  void unpack_to(const std::string& to, const std::string& name = "files") const {
    unpack(folder_ / name, to, manifest_.at("sizes").at(name));
  }

  [[nodiscard]] golden_content expected(const std::string& which = "content") const {
    golden_content content;
    content.databases = manifest_.at(which);
    for (const auto& one : content.databases) {
      if (one.at("page_count") != 0) {
        const std::string name = one.at("name");
        content.dumps.emplace_back(name, text_of(folder_ / which / (name + ".txt")));
      }
    }
    return content;
  }

 private:
  std::filesystem::path folder_;
  ordered_json manifest_;
};

// Says which of them differs.
inline void check_same(const golden_content& found, const golden_content& expected) {
  CHECK(found.databases.dump(1) == expected.databases.dump(1));
  CHECK(found.dumps.size() == expected.dumps.size());
  for (std::size_t i = 0; i < std::min(found.dumps.size(), expected.dumps.size()); ++i) {
    if (expected.dumps[i].first == "words.db" && sqlite3_compileoption_used("ENABLE_FTS5") == 0) {
      continue;  // its hash says it all
    }
    CAPTURE(expected.dumps[i].first);
    CHECK(found.dumps[i].first == expected.dumps[i].first);
    CHECK(found.dumps[i].second == expected.dumps[i].second);
  }
}

}  // namespace quorlite::tests
