// A byte of a page changes on one disk, and what its server has to say of it:
// docs/design/damaged-pages.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "clients.hpp"
#include "page_bytes.hpp"
#include "quorlite/bytes.hpp"
#include "quorlite/error.hpp"
#include "quorlite/limits.hpp"
#include "servers.hpp"
#include "whole_state.hpp"

namespace simulate {

/// Of a cluster in which nothing is wrong, and whose bases are as new as its replicas: in the
/// memory of a process that began there since is no page, so each comes from the disk.
class damaged_page {
 public:
  explicit damaged_page(shared& all) : all_(all), dice_(random{all.options().seed}.fork(0xC12)) {}

  /// A byte of a page of somebody changes, while his process runs or before it begins anew.
  /// @returns false: there is nobody whose it could be, or he has told of it by now
  [[nodiscard]] bool strike() {
    if (!choose()) {
      return false;
    }
    const bool is_guard = dice_.chance(0.05);
    const bool goes_down = dice_.chance(0.5) || is_guard;
    if (goes_down) {
      here_.reset();
      dice_.chance(0.5) ? all_.cluster.stop(id_) : all_.cluster.crash(id_, crash_kind::killed);
    }
    change_byte(is_guard);
    if (goes_down) {
      const std::error_code error = all_.cluster.start(id_);
      here_ = all_.cluster.running(id_);
      require(!is_guard || error == quorlite::errc::corrupt, checker, [&] {
        return servers::name_of(id_) +
               " starts over a first page that is not its own: " + page_.text();
      });
      require(is_guard || here_, checker,
              [&] { return servers::name_of(id_) + " does not start: " + error.message(); });
      if (is_guard) {
        all_.cluster.mark("a damaged page: told at a start");
        return false;
      }
    }
    return true;
  }

  [[nodiscard]] server_id whose() const noexcept { return id_; }
  [[nodiscard]] quorlite::replica& replica() { return here_->replica(); }
  /// Whether others write before anybody reads; and whether somebody stands on the state before.
  [[nodiscard]] bool draw_work() { return dice_.chance(0.6); }
  [[nodiscard]] bool draw_old_reader() { return dice_.chance(0.5); }
  /// That a transaction writes at least: large ones bring whole pages, small ones changes of them.
  [[nodiscard]] std::size_t draw_bytes() {
    return dice_.chance(0.4) ? 0 : static_cast<std::size_t>(dice_.between(1, 60'000));
  }

  /// The server has halted over it. @throws violation: over something else
  [[nodiscard]] bool is_told() {
    const quorlite::health health = replica().health();
    if (!health.halted) {
      return false;
    }
    require(health.error == quorlite::errc::corrupt && page_named_in(health.what) == page_, checker,
            [&] {
              return servers::name_of(id_) + " has halted over a damaged " + page_.text() +
                     ", and says: " + health.error.message() + ", " + health.what;
            });
    return true;
  }

  /// Somebody who stands on a state of the database, and what that is: by the hash that the server
  /// keeps, and by the bytes that another one has, if one is at the same state. Its pages are in
  /// the files of this generation.
  struct old_reader {
    line to;
    whole_state state;
    std::uint64_t hash;
    std::optional<quorlite::bytes> image;
    std::optional<std::uint64_t> generation;

    old_reader(shared& all, const damaged_page& of)
        : to(connect(all, of.id_, of.page_.database)),
          state(to, all.options()),
          hash(of.state_now().hash),
          image(of.image_elsewhere()),
          generation(of.generation_now()) {}
  };

  /// Who gets all pages has got them right; who does not, finds that the server has told why. But
  /// if a snapshot has put other files in the place of those that he reads, it has nothing to tell:
  /// what it has is whole, and servers::check_named_page() says so. He misses the damaged page.
  void check_read(old_reader& reader, const char* who) {
    if (!reader.state.stands()) {
      require(is_told(), checker, [&] { return std::string(who) + " cannot begin"; });
      return;
    }
    const bool is_read = reader.state.read();
    if (reader.state.was_ended() && all_.options().pinned_bytes != 0) {
      return;  // before it came to the page
    }
    const bool is_replaced = reader.generation != generation_now();
    const bool is_answered =
        is_read || (is_replaced ? reader.state.unread() == page_.number : is_told());
    require(is_answered, checker, [&] {
      return std::string(who) + " does not get a page of '" + page_.database + "' on " +
             servers::name_of(id_) + ", which goes on; damaged is " + page_.text();
    });
    const bool is_right =
        !is_read || (reader.state.hash() == reader.hash &&
                     reader.state.image() == reader.image.value_or(reader.state.image()));
    require(is_right, checker, [&] {
      return servers::name_of(id_) + " shows " + who + " of '" + page_.database +
             "' what was not written; damaged is " + page_.text();
    });
    if (!is_read) {
      all_.cluster.mark(is_replaced ? "a damaged page: told to a reader of what was replaced"
                                    : "a damaged page: told to a reader");
    }
  }
  void read_all() {
    old_reader mine(all_, *this);
    check_read(mine, "a reader");
  }

  /// Everything is flushed, and everything was read.
  void check_gone() {
    const std::optional<quorlite::bytes> image = image_elsewhere();
    const page_bytes bytes(all_.cluster.cluster().disk(id_), all_.options().page_size);
    const std::optional<quorlite::bytes> here = bytes.read(page_);
    const bool is_whole =
        !here || (bytes.is_as_hashed(page_) && (!image || *here == page_of(*image, page_.number)));
    require(is_whole, checker, [&] {
      return servers::name_of(id_) + " was read to the last page, and does not tell that " +
             page_.text() + " is not what was written";
    });
    all_.cluster.mark(here ? "a damaged page: written anew" : "a damaged page: cut off");
  }

 private:
  static constexpr const char* checker = "a damaged page is told";

  [[nodiscard]] bool choose() {
    std::vector<server_id> ids = all_.cluster.ids();
    std::erase_if(ids, [this](server_id id) { return all_.cluster.is_damaged(id); });
    if (ids.empty()) {
      return false;
    }
    id_ = ids[dice_.below(ids.size())];
    here_ = all_.cluster.running(id_);
    std::vector<std::pair<std::string, std::uint64_t>> databases;
    for (const auto& [name, state] : here_->content()) {
      if (state.page_count > 0) {
        databases.emplace_back(name, state.page_count);
      }
    }
    if (databases.empty()) {
      return false;
    }
    const auto& [name, count] = databases[dice_.below(databases.size())];
    // Rather one of the few that everybody needs.
    page_ = {name, dice_.chance(0.3) ? 1 + dice_.below(std::min<std::uint64_t>(count, 4))
                                     : 1 + dice_.below(count)};
    const plan& options = all_.options();
    if (page_.number == quorlite::lock_page(options.page_size, options.lock_byte)) {
      page_.number -= 1;  // what lies in that one is nobody's
    }
    return true;
  }
  void change_byte(bool is_guard) {
    using quorlite::detail::database_layout::guard_offset;
    std::uint64_t offset = dice_.below(all_.options().page_size);
    if (is_guard) {
      page_.number = 1;
      offset = guard_offset;
    } else if (page_.number == 1 && offset == guard_offset) {
      ++offset;  // no byte of the page lies there
    }
    const auto mask = static_cast<std::byte>(1U << dice_.below(8));
    all_.cluster.change_byte(id_, page_.database,
                             (page_.number - 1) * all_.options().page_size + offset, mask);
  }
  [[nodiscard]] std::optional<std::uint64_t> generation_now() const {
    const page_bytes bytes(all_.cluster.cluster().disk(id_), all_.options().page_size);
    return bytes.generation_of(page_.database);
  }
  [[nodiscard]] database_content state_now() const { return state_of(*here_); }
  [[nodiscard]] database_content state_of(const process& which) const {
    const content all = which.content();
    const auto found = all.find(page_.database);
    return found == all.end() ? database_content{} : found->second;
  }
  /// The same state, where nothing is damaged; nothing: nobody has it.
  [[nodiscard]] std::optional<quorlite::bytes> image_elsewhere() const {
    for (const server_id id : all_.cluster.ids()) {
      const std::shared_ptr<process> other = all_.cluster.running(id);
      if (id == id_ || all_.cluster.is_rotten(id) || !other || !(state_of(*other) == state_now())) {
        continue;
      }
      const line to = connect(all_, id, page_.database);
      whole_state state(to, all_.options());
      if (state.stands() && state.read()) {
        return state.image();
      }
    }
    return std::nullopt;
  }
  [[nodiscard]] quorlite::bytes page_of(const quorlite::bytes& image, std::uint64_t number) const {
    const std::size_t size = all_.options().page_size;
    const std::size_t at = (static_cast<std::size_t>(number) - 1) * size;
    const quorlite::bytes_view whole(image);
    const quorlite::bytes_view page =
        whole.size() < at + size ? quorlite::bytes_view{} : whole.subspan(at, size);
    return {page.begin(), page.end()};
  }

  shared& all_;
  random dice_;
  server_id id_;
  page_name page_;
  std::shared_ptr<process> here_;
};

}  // namespace simulate
