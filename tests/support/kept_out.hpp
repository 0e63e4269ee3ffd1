// SQLite is to stay out of the folders of a replica, whichever way a path leads there.
#pragma once

#include <sqlite3.h>

#include <filesystem>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/connection.hpp"
#include "quorlite/transfer.hpp"
#include "support/sql.hpp"
#include "support/temporary_directory.hpp"

namespace quorlite::tests {

// Plain files in `folder`, and beside what is there already, by name, by links and by URI.
inline std::vector<std::string> ways_into(const std::string& folder,
                                          const temporary_directory& place) {
  namespace fs = std::filesystem;
  fs::create_directory(place / "beside");
  fs::create_directory_symlink(folder, place / "link");
  fs::create_symlink(folder + "/other.db", place / "beside" + "/points.db");  // to nothing, yet
  fs::create_symlink("points.db", place / "beside" + "/points_on.db");
  fs::create_symlink("../link", place / "beside" + "/twice");
  const std::string relative = fs::relative(folder).string();
  std::vector<std::string> ways{
      folder + "/other.db",
      relative + "/other.db",
      "./" + relative + "/other.db",
      folder + "/../" + fs::path(folder).filename().string() + "/other.db",
      (place / "link") + "/other.db",
      (place / "beside") + "/twice/other.db",
      (place / "beside") + "/points.db",
      (place / "beside") + "/points_on.db",
      "file:" + folder + "/other.db",
      "file:" + relative + "/other.db",
      "file://" + folder + "/other.db?mode=rwc",
      "file://localhost" + folder + "/other.db",
      "file:" + (place / "link") + "/%6Fther.db",
  };
  for (const auto& one : fs::recursive_directory_iterator(folder)) {
    ways.push_back(one.path().string() + (one.is_directory() ? "/other.db" : ""));
  }
  return ways;
}

// An engine that runs makes files of other names.
inline std::set<std::string> databases_in(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& one : std::filesystem::recursive_directory_iterator(folder)) {
    if (one.path().string().find(".db") != std::string::npos) {
      names.insert(one.path().string());
    }
  }
  return names;
}

// ATTACH, VACUUM INTO, a connection over the VFS for a backup to go to, and exports.
// @param db with URIs @param folder absolute, and there
inline void check_kept_out(connection& db, const std::string& folder) {
  namespace fs = std::filesystem;
  const temporary_directory place;
  const std::vector<std::string> ways = ways_into(folder, place);
  const std::set<std::string> before = databases_in(folder);
  char* through = nullptr;
  REQUIRE(sqlite3_file_control(db, "main", SQLITE_FCNTL_VFSNAME, &through) == SQLITE_OK);
  for (const std::string& path : ways) {
    INFO(path);
    CHECK(run(db, "ATTACH '" + path + "' AS a") == SQLITE_CANTOPEN);
    CHECK(run(db, "VACUUM INTO '" + path + "'") != SQLITE_OK);
    sqlite3* into = nullptr;
    CHECK(sqlite3_open_v2(path.c_str(), &into,
                          SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
                          through) == SQLITE_CANTOPEN);
    sqlite3_close(into);
    if (path.rfind("file:", 0) != 0) {
      for (const bool overwrite : {false, true}) {
        CHECK(export_database(db, path, no_progress{}, {.overwrite = overwrite}) ==
              std::errc::operation_not_permitted);
      }
    }
  }
  sqlite3_free(through);
  CHECK(run(db, "ATTACH '" + folder + "/other.db' AS a") == SQLITE_CANTOPEN);
  CHECK(db.error_message().find("it leads into the data folder") != std::string::npos);
  CHECK(databases_in(folder) == before);

  const fs::path present = fs::current_path();
  fs::current_path(folder);
  CHECK(run(db, "ATTACH './other.db' AS a") == SQLITE_CANTOPEN);
  CHECK(run(db, "VACUUM INTO './other.db'") != SQLITE_OK);
  CHECK(export_database(db, "other.db") == std::errc::operation_not_permitted);
  fs::current_path(present);
  CHECK(databases_in(folder) == before);

  // A link out of it is a file of the folder, too, where it is replaced and not written through.
  const std::string outwards = folder + "/outwards.db";
  fs::create_symlink(place / "beside" + "/out.db", outwards);
  CHECK(export_database(db, outwards, no_progress{}, {.overwrite = true}) ==
        std::errc::operation_not_permitted);
  CHECK(fs::is_symlink(outwards));
  fs::remove(outwards);

  const std::string beside = (place / "beside") + "/plain.db";
  CHECK(run(db, "ATTACH '" + beside + "' AS a; CREATE TABLE a.p(x); DETACH a") == SQLITE_OK);
  CHECK_FALSE(export_database(db, (place / "beside") + "/copy.db"));
}

}  // namespace quorlite::tests
