// Stock SQLite in one process: what a user has who does not replicate.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "closed_loop.hpp"
#include "engines.hpp"
#include "plain_database.hpp"
#include "workload.hpp"

namespace bench {

namespace {

class sqlite_node final : public node {
 public:
  explicit sqlite_node(const node_setup& setup)
      : path_(setup.folder + '/' + workload::database), first_(open()) {
    run_sql(first_.get(), workload::create);
  }

  bool leading() override { return true; }
  void start_clients(int clients) override {
    std::vector<std::unique_ptr<client>> all;
    for (int i = 0; i < clients; ++i) {
      all.push_back(std::make_unique<sql_client<plain_database>>(open()));
    }
    load_ = std::make_unique<closed_loop>(std::move(all));
  }
  void open_window() override { load_->open_window(); }
  void close_window() override { load_->close_window(); }
  load_result finish() override {
    load_result seen = load_->finish();
    load_.reset();
    seen.rows = static_cast<std::uint64_t>(query_number(first_.get(), workload::count));
    return seen;
  }

 private:
  [[nodiscard]] plain_database open() const { return {path_, "WAL", "FULL"}; }

  const std::string path_;
  plain_database first_;
  std::unique_ptr<closed_loop> load_;
};

}  // namespace

std::unique_ptr<node> make_sqlite_node(const node_setup& setup) {
  return std::make_unique<sqlite_node>(setup);
}

}  // namespace bench
