// One damage: done to a copy of a base, then the servers start, write, and are compared.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base.hpp"
#include "chance.hpp"
#include "cluster.hpp"
#include "damages.hpp"
#include "folder.hpp"
#include "quorlite/detail/pages/page_store.hpp"
#include "quorlite/detail/pages/registry.hpp"

namespace damage {

// Who starts when, besides the damaged server.
enum class order : std::uint8_t { lagging_first, all_at_once, whole_first, damaged_last };

inline const char* name_of(order is) {
  constexpr const char* names[] = {"with the one that lags, then the other", "all at once",
                                   "with the one that is whole, then the one that lags",
                                   "last of all"};
  return names[static_cast<std::size_t>(is)];
}

class trial {
 public:
  trial(const base& from, const fs::path& root, chance draw)
      : base_(from),
        draw_(draw),
        hurt_(draw_victim()),
        cluster_({root, from.network()}, from.of().with, draw_),
        rows_(from.rows()) {
    cluster_.expect(from.cluster());
    std::vector<std::size_t> others;
    for (std::size_t i = 0; i < servers; ++i) {
      if (i != hurt_) {
        others.push_back(i);
      }
    }
    // Of the others the first one lags, if it is not the damaged one that does.
    if (others[1] == base_.lagging()) {
      std::swap(others[0], others[1]);
    }
    lagging_ = others[0];
    whole_ = others[1];
    fs::remove_all(root);
    for (std::size_t i = 0; i < servers; ++i) {
      copy_folder(base_.folder(i), folder(i));
      seal(folder(i), draw_);
    }
    note_files();
  }

  // @returns what is done
  const done& damage_it() {
    const looked_at made =
        draw_damage(folder(hurt_), sources_of(), draw_, [this](kind is) { return may_be(is); });
    done_ = made.done;
    cut_without_trace_ = made.cut_without_trace;
    note_files();
    joins_ = draw_.percent(30);
    return done_;
  }
  // Then the servers start.
  nlohmann::ordered_json run() {
    start_in_order();
    settle();
    if (!excused_) {
      heal();
    }
    for (std::size_t i = 0; i < servers; ++i) {
      cluster_.stop(i);
    }
    look_again();
    excuse_old_cluster();
    return report();
  }

 private:
  // ---- the damage

  [[nodiscard]] std::size_t draw_victim() {
    const bool any = draw_.percent(45);
    std::size_t drawn = static_cast<std::size_t>(draw_.below(servers));
    while (!any && drawn == base_.lagging()) {
      drawn = static_cast<std::size_t>(draw_.below(servers));
    }
    return drawn;
  }
  [[nodiscard]] fs::path folder(std::size_t server) const {
    return cluster_.where().folder(server);
  }

  // What is in the damaged folder, or was.
  void note_files() {
    for (const std::string& name : files_of(folder(hurt_))) {
      had_.insert(name);
    }
  }

  [[nodiscard]] sources sources_of() {
    sources made;
    const std::size_t other = (hurt_ + 1 + static_cast<std::size_t>(draw_.below(2))) % servers;
    made.other_server = base_.folder(other);
    made.other_cluster = base_.other_cluster(hurt_);
    made.stale = base_.stale(hurt_);
    return made;
  }
  // A cluster whose history never began cannot tell its own from another one's: that is what
  // .upgrade is for, and said in docs/reference/limits.md.
  [[nodiscard]] bool may_be(kind is) const {
    const bool foreign =
        is == kind::file_of_another_cluster || is == kind::databases_of_another_cluster ||
        is == kind::log_of_another_cluster || is == kind::folder_of_another_cluster;
    return base_.of().began != beginning::old || !foreign;
  }
  // ---- the course

  void start_damaged() { cluster_.start(hurt_, {.join = joins_}); }
  void start_whole(std::size_t server) {
    if (!cluster_.start(server)) {
      find("server " + std::to_string(server + 1) +
           ", which is whole, does not start: " + cluster_.at(server).told());
    }
  }

  void start_in_order() {
    order_ = static_cast<order>(draw_.below(4));
    if (draw_.percent(30)) {
      order_ = order::lagging_first;
    }
    switch (order_) {
      case order::lagging_first:
        start_damaged();
        start_whole(lagging_);
        try_some();
        start_whole(whole_);
        break;
      case order::all_at_once:
        start_damaged();
        start_whole(lagging_);
        start_whole(whole_);
        break;
      case order::whole_first:
        start_damaged();
        start_whole(whole_);
        try_some();
        start_whole(lagging_);
        break;
      case order::damaged_last:
      default:
        others_down_ = false;
        start_whole(whole_);
        start_whole(lagging_);
        if (!cluster_.insert(rows_, 2)) {
          find("two whole servers do not take a row within 20 s");
        }
        start_damaged();
    }
  }
  // Of two, of which one may be refused: no row need be taken.
  void try_some() {
    if (cluster_.runs(hurt_)) {
      static_cast<void>(cluster_.insert(rows_, 1 + static_cast<std::size_t>(draw_.below(3)), 1500));
    }
  }

  [[nodiscard]] bool is_halted(std::size_t server) {
    return cluster_.runs(server) && (cluster_.at(server).node().health().halted ||
                                     cluster_.at(server).raft().engine_error());
  }
  [[nodiscard]] bool is_refused() {
    if (!cluster_.runs(hurt_)) {
      return false;
    }
    return !refusals().empty();
  }
  [[nodiscard]] bool waits() {
    return cluster_.runs(hurt_) && cluster_.at(hurt_).raft().status().waits;
  }

  void settle() {
    const bool written = cluster_.insert(rows_, 3);
    const std::vector<std::size_t> healthy{whole_, lagging_};
    const bool all = wait_until(
        [&] {
          return cluster_.even({whole_, lagging_, hurt_}) || !cluster_.runs(hurt_) ||
                 is_halted(hurt_) || is_refused() || waits();
        },
        8000);
    const bool even_without = cluster_.runs(hurt_) && cluster_.even({whole_, lagging_, hurt_})
                                  ? true
                                  : wait_until([&] { return are_alike(healthy); }, 10'000);
    name_outcome(all);
    compare();
    if (!lost_.empty()) {
      judge_loss();
    }
    if (!excused_ && !written) {
      find("no row is taken within 20 s, though two servers are whole: " + positions());
    }
    if (!excused_ && !even_without) {
      find("the two whole servers do not come even: " + positions());
    }
    for (const std::size_t one : healthy) {
      if (is_halted(one)) {
        find("server " + std::to_string(one + 1) +
             ", which is whole, has halted: " + cluster_.at(one).node().health().what);
      }
    }
  }
  [[nodiscard]] bool are_alike(const std::vector<std::size_t>& all) {
    return std::all_of(all.begin(), all.end(), [&](std::size_t one) {
      return cluster_.runs(one) &&
             cluster_.at(one).node().applied() == cluster_.at(all.front()).node().applied();
    });
  }
  [[nodiscard]] std::string position_of(std::size_t server) {
    const std::string name = "server " + std::to_string(server + 1);
    if (!cluster_.runs(server)) {
      return name + " is down";
    }
    const auto engine = cluster_.at(server).raft().status();
    constexpr const char* roles[] = {"stopped", "follower", "candidate", "leader"};
    return name + " (" + roles[static_cast<std::size_t>(engine.role)] + " of term " +
           std::to_string(engine.term.value) + ", " + std::to_string(engine.members.size()) +
           " members, " + std::to_string(engine.counters.messages_dropped) + " dropped, " +
           (engine.error ? engine.error.message() + ", " : "") + "at " +
           std::to_string(cluster_.at(server).node().applied().index.value) + ")";
  }
  [[nodiscard]] std::string positions() {
    return position_of(hurt_) + ", " + position_of(whole_) + ", " + position_of(lagging_);
  }

  // ---- what came of it

  // "NAME, byte N: …"; of databases "NAME: …", "NAME and …", "page N of 'NAME'". What says how to
  // go on has names of the log's files, too, so there the first form alone counts.
  [[nodiscard]] static bool names(const std::string& text, const std::string& path) {
    const std::string name = fs::path(path).filename().string();
    const std::string ways[] = {name + ", byte ", name + ": ", name + " and ", "'" + name + "'"};
    const bool is_of_databases = path.rfind(databases_folder, 0) == 0;
    const auto* const last = is_of_databases ? std::end(ways) : std::begin(ways) + 1;
    return std::any_of(std::begin(ways), last,
                       [&](const std::string& way) { return text.find(way) != std::string::npos; });
  }
  // Whoever is told of a refusal has to find the place: a file that is in that folder, or was.
  [[nodiscard]] const char* named_by(const std::string& text) const {
    const auto is_named = [&](const std::string& name) { return names(text, name); };
    if (std::any_of(done_.files.begin(), done_.files.end(), is_named)) {
      return "the damaged file";
    }
    // Of this pair one tells that the other is missing, also where it is the one that changed.
    std::set<std::string> others{"metadata1", "metadata2"};
    others.insert(had_.begin(), had_.end());
    for (const row& one : base_.rows()) {
      // A record of another server may name one that is not there.
      others.insert((fs::path(databases_folder) / one.database).string());
    }
    if (std::any_of(others.begin(), others.end(), is_named)) {
      return "another file";
    }
    const std::vector<std::string> left = files_of(folder(hurt_));
    // But for what the start has made, before it was refused: locks, and blank files.
    const std::set<std::string> made{
        "quorlite.lock", "databases/.quorlite/lock", "databases/.quorlite/double-write",
        "databases/.quorlite/superblock-0", "databases/.quorlite/superblock-1"};
    const bool is_empty = std::includes(made.begin(), made.end(), left.begin(), left.end());
    return is_empty && text.find("this is an empty folder") != std::string::npos ? "the folder"
                                                                                 : "";
  }

  void name_outcome(bool settled) {
    server& one = cluster_.at(hurt_);
    told_ = one.told();
    if (one.status()) {
      outcome_ = "refused at start";
      note_files();  // the engine closes segments as it reads them
      named_ = named_by(told_);
      if (named_.empty()) {
        std::string left;
        for (const std::string& file : files_of(folder(hurt_))) {
          left += (left.empty() ? "" : ", ") + file;
        }
        find("the refusal names no file: " + told_ + "; there are: " + left);
      }
      return;
    }
    if (is_halted(hurt_)) {
      outcome_ = "halted";
      const auto health = one.node().health();
      told_ = health.error.message() + ": " + health.what +
              " | engine: " + one.raft().engine_error().message() + " | " + told_;
      if (told_.find("index") == std::string::npos && told_.find("page") == std::string::npos) {
        find("the halt names no index: " + told_);
      }
    } else if (is_refused()) {
      outcome_ = "refused by peers";
      told_ = refusals();
    } else if (waits()) {
      // Its folder is empty, or the members in its log do not name it: it has no vote, and says so.
      outcome_ = "waits to be added";
    } else if (settled) {
      outcome_ = "harmless";
    } else {
      outcome_ = "not told";
      find("it does not come even, and nobody says why: " + positions());
    }
  }
  [[nodiscard]] std::string refusals() {
    std::string text;
    for (std::size_t i = 0; i < servers; ++i) {
      if (cluster_.runs(i)) {
        for (const auto& one : cluster_.at(i).raft().status().refused) {
          text += "server " + std::to_string(i + 1) + " refuses " +
                  quorlite::libraft_id_text(one.id) + ", which " + one.why + " at " +
                  std::to_string(one.at.value) + "; ";
        }
        for (const auto& one : cluster_.at(i).raft().status().strangers) {
          text += "server " + std::to_string(i + 1) + " hears " +
                  quorlite::libraft_id_text(one.id) + " in the place of " +
                  quorlite::libraft_id_text(one.member) + "; ";
        }
      }
    }
    return text;
  }

  // One of them has said that the other is of another history: that is told; they share nothing.
  [[nodiscard]] bool have_parted(std::size_t one, std::size_t other) {
    const auto refuses = [&](std::size_t from, std::size_t whom) {
      const auto refused = cluster_.at(from).raft().status().refused;
      const server_id id = cluster_.at(whom).raft().status().id;
      return std::any_of(refused.begin(), refused.end(),
                         [&](const auto& each) { return each.id == id; });
    };
    return refuses(one, other) || refuses(other, one);
  }

  // Every page of every database, as SQLite would get it. Nothing: one cannot be read.
  using images = std::map<std::string, std::vector<quorlite::bytes>>;
  [[nodiscard]] std::optional<images> pages_of(std::size_t server) {
    images made;
    for (const auto& one : cluster_.at(server).node().machine().databases().existing()) {
      const auto store = one->store();
      const auto pin = store->pin_committed();
      quorlite::detail::page_store::reader reader(store);
      auto& pages = made[std::string(one->name())];
      for (std::uint64_t number = 1; number <= pin.page_count(); ++number) {
        const auto guard = reader.enter();
        const auto page =
            reader.image(guard, pin, quorlite::page_number{static_cast<std::uint32_t>(number)});
        if (!page) {
          return std::nullopt;
        }
        pages.emplace_back(page->begin(), page->end());
      }
    }
    return made;
  }

  [[nodiscard]] static std::string difference(const images& one, const images& other) {
    std::string text;
    for (const auto& [name, pages] : one) {
      const auto there = other.find(name);
      if (there == other.end() || pages.size() != there->second.size()) {
        text += name + " has " + std::to_string(pages.size()) + " pages, and " +
                std::to_string(there == other.end() ? 0 : there->second.size()) + "; ";
        continue;
      }
      for (std::size_t i = 0; i < pages.size(); ++i) {
        text += pages[i] != there->second[i] ? name + ", page " + std::to_string(i + 1) + "; " : "";
      }
    }
    for (const auto& [name, pages] : other) {
      text += one.count(name) == 0 ? name + " is missing; " : "";
    }
    return text;
  }

  void compare() {
    const auto leader = cluster_.leader();
    std::array<std::optional<images>, servers> all;
    std::array<quorlite::log_position, servers> at;
    for (std::size_t i = 0; i < servers; ++i) {
      if (cluster_.runs(i)) {
        at[i] = cluster_.at(i).node().applied();
        all[i] = pages_of(i);
        if (!all[i] && i == hurt_) {
          name_outcome(false);  // a page that was read only now
        } else if (!all[i]) {
          find("a page of server " + std::to_string(i + 1) + ", which is whole, is not readable");
        }
        if (cluster_.at(i).node().applied() != at[i]) {
          all[i].reset();  // an entry came meanwhile
        }
      }
    }
    for (std::size_t i = 0; i < servers; ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (all[i] && all[j] && at[i] == at[j] && !have_parted(i, j) && *all[i] != *all[j]) {
          diverged_ = true;
          find("servers " + std::to_string(j + 1) + " and " + std::to_string(i + 1) +
               " have other bytes at position " + std::to_string(at[i].index.value) + ": " +
               difference(*all[j], *all[i]));
        }
      }
    }
    const bool is_read = leader && all[*leader];  // who has halted over a page has no rows to tell
    const std::size_t reference = is_read ? *leader : whole_;
    if (!cluster_.runs(reference)) {
      return;
    }
    const auto present = cluster_.rows_at(reference);
    if (!present) {
      find("the rows of server " + std::to_string(reference + 1) + " cannot be read");
      return;
    }
    compare_rows(*present);
  }
  void compare_rows(const std::map<std::string, std::set<std::uint64_t>>& present) {
    std::map<std::string, std::set<std::uint64_t>> rest = present;
    for (const row& one : rows_) {
      const bool there = rest[one.database].erase(one.number) != 0;
      if (!there && one.told == row::answer::acknowledged) {
        lost_.push_back(one);
      }
      if (there && one.told == row::answer::refused) {
        find("row " + std::to_string(one.number) + " is there although it was refused");
      }
    }
    for (const auto& [name, numbers] : rest) {
      if (!numbers.empty() && name != "parts.db") {
        find("row " + std::to_string(*numbers.begin()) + " of " + name +
             " is there although nobody wrote it");
      }
    }
  }

  // Excused is what no server can know, and no more.
  void judge_loss() {
    const auto all = [&](auto holds) { return std::all_of(lost_.begin(), lost_.end(), holds); };
    const bool of_base = all([&](const row& one) { return one.number <= base_.rows().size(); });
    const bool of_last_second = all([&](const row& one) { return base_.is_of_last_second(one); });
    const std::string text = std::to_string(lost_.size()) +
                             " acknowledged rows are lost, the first is " +
                             std::to_string(lost_.front().number) + " of " + lost_.front().database;
    // A vote that is forgotten gives a term two leaders: rows of one of them go later, too.
    if (is_rollback() && others_down_ && !diverged_) {
      excuse_ = "a rollback of the whole folder while all others were down";
    } else if (cut_without_trace_ && of_base && !diverged_ && of_last_second) {
      excuse_ = "a cut of the last second of a log without a trace";
    } else {
      find(text + (cut_without_trace_ ? " (the log ends earlier, without a trace)" : ""));
      return;
    }
    excused_ = true;
    outcome_ = "excused";
    told_ = text + " | " + told_;
    findings_.clear();  // of what came of that: servers that part
  }
  // Entries of a cluster whose history never began say nothing of where they belong, so a log that
  // was shifted, or rolled back, may pass for one that is whole. That is what .upgrade is for, and
  // such clusters come only where they are asked for.
  void excuse_old_cluster() {
    if (base_.of().began == beginning::old && (diverged_ || !lost_.empty()) && !excused_) {
      excuse_ = "a cluster that was never upgraded, whose entries tell no history";
      outcome_ = "excused";
      for (const std::string& one : findings_) {
        told_ += " | " + one;
      }
      findings_.clear();
    }
  }
  // Also where nothing tells a folder from its copy: it has no seal.
  [[nodiscard]] bool is_rollback() const {
    const auto file = server_file_of(base_.folder(hurt_));
    const bool has_seal = file && file->seal.is_made();
    return done_.is == kind::folder_rolled_back ||
           (done_.is == kind::stale_folder_copied_back && !has_seal);
  }

  // ---- what the text says is done, and the server is back

  void heal() {
    const bool broken = outcome_ == "refused at start" || outcome_ == "halted" ||
                        outcome_ == "refused by peers" || outcome_ == "waits to be added";
    if (!broken || !findings_.empty() || !draw_.percent(20)) {
      return;
    }
    using quorlite::errc;
    const std::error_code error = cluster_.at(hurt_).status();
    if (error == errc::another_server || error == errc::another_cluster) {
      healed_ = "its own folder is brought back";
      cluster_.end(hurt_);
      copy_folder(base_.folder(hurt_), folder(hurt_));
      seal(folder(hurt_), draw_);
      if (!cluster_.start(hurt_)) {
        find("its own folder was brought back, and is refused: " + cluster_.at(hurt_).told());
        return;
      }
    } else if (!start_without_databases() && !set_up_anew()) {
      return;
    }
    if (!wait_until([&] { return cluster_.even({whole_, lagging_, hurt_}); }, 15'000)) {
      find("healed (" + healed_ + "), it does not come even: " + positions() + "; " + refusals());
      return;
    }
    compare();
    if (!lost_.empty()) {
      find("rows are lost after the healing");
    }
  }
  // Where a file of the databases is refused, the log has all of them.
  bool start_without_databases() {
    if (told_.find("the storage cannot be used") == std::string::npos) {
      return false;
    }
    healed_ = "its databases are moved away";
    cluster_.end(hurt_);
    fs::rename(folder(hurt_) / databases_folder, folder(hurt_) / "moved away");
    return cluster_.start(hurt_, {.join = joins_});
  }
  // docs/how-to/damage.md, "Set up anew".
  bool set_up_anew() {
    healed_ = "removed, and added with an empty folder";
    cluster_.end(hurt_);
    const bool removed = cluster_.on_leader([&](server& leader) {
      for (const auto& one : leader.raft().status().members) {
        if (quorlite::libraft_number_of(one.id) == hurt_ + 1) {
          const std::error_code error = leader.raft().remove(one.id);
          return error == std::errc::invalid_argument ? std::error_code{} : error;
        }
      }
      return std::error_code{};
    });
    if (!removed) {
      find("the damaged server cannot be removed");
      return false;
    }
    fs::remove_all(folder(hurt_));
    if (!cluster_.start(hurt_, {.join = true})) {
      find("an empty folder does not start with join: " + cluster_.at(hurt_).told());
      return false;
    }
    if (!cluster_.take_in(hurt_)) {
      find("the server with an empty folder cannot be added");
      return false;
    }
    return true;
  }

  // What nobody has read yet is in the folder still: a look tells it, or there is none.
  void look_again() {
    if (outcome_ != "harmless" || !findings_.empty()) {
      return;
    }
    const auto log = quorlite::libraft::check(folder(hurt_).string());
    quorlite::file_storage storage((folder(hurt_) / databases_folder).string(),
                                   {.double_write = base_.of().with.double_write});
    const auto databases = quorlite::verify(storage);
    std::string text;
    for (const auto& one : log ? log->defects : std::vector<quorlite::libraft_log_defect>()) {
      text += one.text() + "; ";
    }
    if (!databases) {
      text += "the databases: " + databases.error().message();
    } else if (!databases->is_whole()) {
      for (const auto& one : databases->databases) {
        text += one.bad_pages > 0 || !one.hashes_add_up ? one.name + " is damaged; " : "";
      }
    }
    if (!text.empty()) {
      outcome_ = "told by a check later";
      told_ = text;
    }
  }

  void find(const std::string& what) { findings_.push_back(what); }

  [[nodiscard]] nlohmann::ordered_json report() const {
    return {{"kind", name_of(done_.is)},
            {"file", done_.files.size() == 1 ? name_of(done_.of) : ""},
            {"what", done_.what},
            {"server", hurt_ + 1},
            {"lags", hurt_ == base_.lagging()},
            {"base", base_.of().text()},
            {"order", name_of(order_)},
            {"join", joins_},
            {"outcome", findings_.empty() ? outcome_ : "violation"},
            {"seen", outcome_},
            {"excuse", excuse_},
            {"told", told_},
            {"named", named_},
            {"healed", healed_},
            {"findings", findings_}};
  }

  const base& base_;
  chance draw_;
  const std::size_t hurt_;
  cluster cluster_;
  std::vector<row> rows_;
  std::size_t lagging_ = 0;
  std::size_t whole_ = 0;
  std::set<std::string> had_;  // files of the damaged folder, at any time
  done done_;
  order order_ = order::all_at_once;
  bool joins_ = false;
  bool others_down_ = true;         // until the damaged one was started
  bool cut_without_trace_ = false;  // the log reads well, and ends earlier
  std::string outcome_;
  std::string told_;
  std::string named_;
  std::string excuse_;
  std::string healed_;
  bool excused_ = false;
  bool diverged_ = false;
  std::vector<row> lost_;
  std::vector<std::string> findings_;
};

}  // namespace damage
