/// @file
/// The steps on a large database: load, update, verify, check. Each runs in a process of its own,
/// so that its peak of memory is its own, and each begins with a restart.
#pragma once

#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "large_database.hpp"
#include "latency_histogram.hpp"
#include "message_channel.hpp"
#include "process_usage.hpp"
#include "row_model.hpp"
#include "sql_client.hpp"

namespace bench {

/// What a step is told, and the next one is told of it.
struct large_setup {
  std::string kind;  ///< "quorlite" or "sqlite"
  std::string folder;
  std::uint64_t database_mib = 0;
  std::uint64_t memory_mib = 0;
  std::uint64_t rows = 0;  ///< known once it is loaded
  std::uint64_t updates = 0;
};

inline void to_json(json& into, const large_setup& from) {
  into = {{"kind", from.kind},
          {"folder", from.folder},
          {"database_mib", from.database_mib},
          {"memory_mib", from.memory_mib},
          {"rows", from.rows},
          {"updates", from.updates}};
}
inline void from_json(const json& from, large_setup& into) {
  from.at("kind").get_to(into.kind);
  from.at("folder").get_to(into.folder);
  from.at("database_mib").get_to(into.database_mib);
  from.at("memory_mib").get_to(into.memory_mib);
  from.at("rows").get_to(into.rows);
  from.at("updates").get_to(into.updates);
}

class large_steps {
 public:
  using opener = std::function<std::unique_ptr<large_database>()>;

  /// @param open restarts the database
  large_steps(large_setup setup, opener open) : setup_(std::move(setup)), open_(std::move(open)) {}

  /// One step, by name. @returns what it measured @throws std::runtime_error
  json run(const std::string& step) {
    const auto begin = std::chrono::steady_clock::now();
    json seen = step == "load"     ? load()
                : step == "update" ? update()
                : step == "verify" ? verify()
                                   : check();
    seen["seconds"] =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    seen["written_bytes"] = usage_of(::getpid()).write_bytes;
    seen["peak_kib"] = memory_of(::getpid()).peak_kib;
    return seen;
  }

 private:
  /// Rows in transactions of a thousand, until the file is as large as was asked for.
  json load() {
    constexpr std::int64_t rows_at_a_time = 1000;
    const std::unique_ptr<large_database> database = open_();
    sqlite3* const db = database->get();
    run_sql(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, version INT, text TEXT)");
    const prepared insert(db, "INSERT INTO t VALUES(?1, 0, ?2)");
    const std::int64_t wanted = static_cast<std::int64_t>(setup_.database_mib) << 20U;
    const std::int64_t page_size = query_number(db, "PRAGMA page_size");
    std::int64_t rows = 0;
    std::uint64_t transactions = 0;
    while (query_number(db, "PRAGMA page_count") * page_size < wanted) {
      run_sql(db, "BEGIN IMMEDIATE");
      for (const std::int64_t end = rows + rows_at_a_time; rows < end;) {
        write_row(insert.get(), ++rows, 0);
      }
      run_sql(db, "COMMIT");
      database->maintain();
      progress("load", ++transactions, 200, [&] { return fmt::format("{} rows", rows); });
    }
    database->flush();
    return {{"rows", rows}, {"transactions", transactions}};
  }

  /// Transactions of one row.
  json update() {
    const std::unique_ptr<large_database> database = open_();
    row_model model(setup_.rows, 0);
    const prepared change(database->get(), "UPDATE t SET version=?3, text=?2 WHERE id=?1");
    latency_histogram latencies;
    for (std::uint64_t i = 1; i <= setup_.updates; ++i) {
      const std::int64_t row = model.next_update();
      sqlite3_bind_int64(change.get(), 3, model.version_of(row));
      const auto begin = std::chrono::steady_clock::now();
      write_row(change.get(), row, model.version_of(row));
      database->maintain();
      latencies.add(static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                                   std::chrono::steady_clock::now() - begin)
                                                   .count()));
      progress("update", i, 20'000, [&] { return fmt::format("of {}", setup_.updates); });
    }
    database->flush();
    return {{"transactions", setup_.updates},
            {"p50_us", latencies.quantile_us(0.5)},
            {"p99_us", latencies.quantile_us(0.99)},
            {"max_us", latencies.quantile_us(1)}};
  }

  /// Every row, and the hash of the whole.
  json verify() {
    std::unique_ptr<large_database> database = open_();
    const std::uint64_t wrong = wrong_rows(database->get());
    const std::optional<quorlite::database_status> state = database->state();
    database.reset();
    json seen{{"transactions", 0}, {"rows", setup_.rows}, {"wrong_rows", wrong}};
    if (state) {
      const std::uint64_t computed = hash_of_file(database_file_in(setup_.folder), *state);
      seen["hash"] = fmt::format("{:016x}", state->hash);
      seen["hash_of_file"] = fmt::format("{:016x}", computed);
      seen["pages"] = state->page_count;
    }
    return seen;
  }

  [[nodiscard]] std::uint64_t wrong_rows(sqlite3* db) const {
    const row_model model(setup_.rows, setup_.updates);
    const prepared all(db, "SELECT id, version, text FROM t ORDER BY id");
    std::string text;
    std::uint64_t wrong = 0;
    std::int64_t row = 0;
    while (sqlite3_step(all.get()) == SQLITE_ROW &&
           static_cast<std::uint64_t>(row) < model.rows()) {
      ++row;
      row_model::write_text(row, model.version_of(row), text);
      const auto size = static_cast<std::size_t>(sqlite3_column_bytes(all.get(), 2));
      const auto* const found = reinterpret_cast<const char*>(sqlite3_column_text(all.get(), 2));
      const bool right = sqlite3_column_int64(all.get(), 0) == row &&
                         sqlite3_column_int64(all.get(), 1) == model.version_of(row) &&
                         found != nullptr && std::string_view(found, size) == text;
      wrong += right ? 0 : 1;
      progress("verify", static_cast<std::uint64_t>(row), 500'000, [] { return "rows"; });
    }
    if (sqlite3_reset(all.get()) != SQLITE_OK) {
      throw std::runtime_error(sqlite3_errmsg(db));
    }
    return wrong + model.rows() - static_cast<std::uint64_t>(row);
  }

  /// The file as stock SQLite sees it, once its owner has stopped.
  json check() {
    const plain_database plain(database_file_in(setup_.folder), "DELETE", "FULL");
    const prepared integrity(plain.get(), "PRAGMA integrity_check");
    if (sqlite3_step(integrity.get()) != SQLITE_ROW) {
      throw std::runtime_error(sqlite3_errmsg(plain.get()));
    }
    return {{"transactions", 0},
            {"rows", query_number(plain.get(), "SELECT count(*) FROM t")},
            {"integrity", reinterpret_cast<const char*>(sqlite3_column_text(integrity.get(), 0))}};
  }

  /// A statement whose first two parameters are the row's number and text.
  void write_row(sqlite3_stmt* statement, std::int64_t row, std::uint32_t version) {
    row_model::write_text(row, version, text_);
    sqlite3_bind_int64(statement, 1, row);
    sqlite3_bind_text(statement, 2, text_.data(), static_cast<int>(text_.size()), SQLITE_STATIC);
    if (sqlite3_step(statement) != SQLITE_DONE || sqlite3_reset(statement) != SQLITE_OK) {
      throw std::runtime_error(sqlite3_errmsg(sqlite3_db_handle(statement)));
    }
  }

  template <class Text>
  void progress(const char* step, std::uint64_t done, std::uint64_t every, Text text) const {
    if (done % every == 0) {
      fmt::print(stderr, "{}, {}: {} {}\n", setup_.kind, step, done, text());
    }
  }

  const large_setup setup_;
  const opener open_;
  std::string text_;
};

}  // namespace bench
