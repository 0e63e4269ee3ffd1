/// @file
/// The databases of a replica, by name.
///
/// A `database` object stands for a name as long as anybody holds it: file handles of SQLite keep
/// theirs over drops and restores. What it contains at a time is its page_store; a drop or a
/// restore puts a new one in place, in a new history, while readers go on with the old one until
/// they next take a lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "quorlite/config.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// One name. Any thread may call any member; none blocks longer than a few instructions of another.
class database {
 public:
  /// @pre is_database_name(name)
  /// @param lock_byte offset of the page that is never data; tests move it
  /// @param gauge is told of the memory that its stores take
  /// @param existing counts those that exist, if somebody wants to know
  explicit database(std::string name, std::uint64_t lock_byte = limits::lock_byte_default,
                    std::shared_ptr<memory_gauge> gauge = nullptr,
                    std::shared_ptr<std::atomic<std::size_t>> existing = nullptr);
  database(const database&) = delete;
  database& operator=(const database&) = delete;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// What the name contains now. Hold the pointer for one lock of SQLite, not for ever.
  [[nodiscard]] std::shared_ptr<page_store> store() const;

  /// A store that may take the place of the present one.
  [[nodiscard]] std::shared_ptr<page_store> make_store(const page_store::state& from) const {
    return page_store::make(from, history_number{1}, lock_byte_, gauge_);
  }

  /// True between an applied `open` and an applied `drop`.
  [[nodiscard]] bool exists() const;
  void set_exists(bool exists);

  /// Puts another content in place. What was pending on the old one is taken back first, so a
  /// writer that still holds it cannot install.
  /// @returns the old one: perhaps the last to hold it, and freeing its pages takes a while
  std::shared_ptr<page_store> replace_store(std::shared_ptr<page_store> next);

 private:
  const std::string name_;
  const std::uint64_t lock_byte_;
  const std::shared_ptr<memory_gauge> gauge_;
  const std::shared_ptr<std::atomic<std::size_t>> existing_;
  mutable std::mutex mutex_;
  std::shared_ptr<page_store> store_;
  bool exists_ = false;
};

/// All names. Any thread.
class registry {
 public:
  explicit registry(std::uint64_t lock_byte = limits::lock_byte_default) : lock_byte_(lock_byte) {}

  using list = std::vector<std::shared_ptr<database>>;

  /// Knows the memory that all stores of all names take.
  [[nodiscard]] const std::shared_ptr<memory_gauge>& gauge() const noexcept { return gauge_; }

  /// @returns nullptr if the name was never heard of
  [[nodiscard]] std::shared_ptr<database> find(std::string_view name) const;

  /// The object of this name, made if need be; making it changes nothing that is replicated.
  /// @returns errc::invalid_name, errc::too_many_databases
  [[nodiscard]] result<std::shared_ptr<database>> find_or_make(std::string_view name);

  /// The same for a name that the log, a snapshot or the storage says exists: what this replica's
  /// own callers hold must not stand in its way. @pre is_database_name(name)
  [[nodiscard]] std::shared_ptr<database> take_in(std::string_view name);

  /// Every database that exists, ascending by name.
  [[nodiscard]] list existing() const;
  /// How many those are. Takes no lock.
  [[nodiscard]] std::size_t existing_count() const noexcept { return existing_->load(); }

  /// Every name, existing or not, ascending.
  [[nodiscard]] list all() const;

  /// Takes back what is pending, in all of them.
  void discard_heads() noexcept;

 private:
  /// Names held here, existing or not: local, so above what can exist in the cluster.
  static constexpr std::size_t names_max = limits::databases + 4096;

  [[nodiscard]] std::shared_ptr<database> made(std::string_view name);

  /// Names that do not exist and that nobody else holds make room for new ones.
  void forget_unused();

  const std::uint64_t lock_byte_;
  const std::shared_ptr<memory_gauge> gauge_ = std::make_shared<memory_gauge>();
  const std::shared_ptr<std::atomic<std::size_t>> existing_ =
      std::make_shared<std::atomic<std::size_t>>(0);
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<database>, std::less<>> by_name_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/pages/registry.ipp"  // IWYU pragma: keep
#endif
