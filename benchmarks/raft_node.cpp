// libraft without anything on it: the most that a user of libraft can get.

extern "C" {
#include <raft.h>
#include <raft/uv.h>
}
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "engines.hpp"
#include "latency_histogram.hpp"

namespace bench {

namespace {

using clock_type = std::chrono::steady_clock;

void must(int code, const char* what) {
  if (code != 0) {
    throw std::runtime_error(fmt::format("libraft, {}: {}", what, raft_strerror(code)));
  }
}

/// A client is an entry that is proposed again as soon as it is applied. All of libraft runs in
/// one thread with its loop; what other threads want of it goes through atomics that it looks at
/// when it is woken.
class raft_node final : public node {
 public:
  explicit raft_node(const node_setup& setup) : setup_(setup) {
    must(uv_loop_init(&loop_), "loop");
    must(raft_uv_tcp_init(&transport_, &loop_), "transport");
    must(raft_uv_init(&io_, &loop_, setup_.folder.c_str(), &transport_), "io");
    machine_.version = 1;
    machine_.data = this;
    machine_.apply = [](raft_fsm*, const raft_buffer*, void** result) {
      *result = nullptr;
      return 0;
    };
    machine_.snapshot = &empty_snapshot;
    machine_.restore = [](raft_fsm*, raft_buffer* from) {
      raft_free(from->base);
      return 0;
    };
    must(raft_init(&raft_, &io_, &machine_, static_cast<raft_id>(setup_.id),
                   setup_.address(setup_.id).c_str()),
         "init");
    tune();
    bootstrap();
    must(raft_start(&raft_), "start");
    wake_.data = this;
    must(uv_async_init(&loop_, &wake_, [](uv_async_t* on) { self(on->data).look(); }), "async");
    timer_.data = this;
    must(uv_timer_init(&loop_, &timer_), "timer");
    uv_timer_start(
        &timer_, [](uv_timer_t* on) { self(on->data).look(); }, 10, 10);
    thread_ = std::thread([this] { uv_run(&loop_, UV_RUN_DEFAULT); });
    thread_.detach();  // the benchmark ends this process; there is nothing to tidy
  }

  bool leading() override { return leads_.load(); }
  void start_clients(int clients) override {
    clients_.store(clients);
    uv_async_send(&wake_);
  }
  void open_window() override {
    opened_ = clock_type::now();
    open_.store(true);
  }
  void close_window() override {
    open_.store(false);
    seconds_ = std::chrono::duration<double>(clock_type::now() - opened_).count();
  }
  load_result finish() override {
    clients_.store(0);
    std::unique_lock guard(mutex_);
    constexpr std::chrono::seconds timeout{20};
    if (!idle_.wait_for(guard, timeout, [&] { return outstanding_ == 0; })) {
      throw std::runtime_error("libraft did not apply what was proposed");
    }
    load_result seen;
    seen.seconds = seconds_;
    seen.transactions = latencies_.count();
    seen.errors = errors_;
    seen.first_error = first_error_;
    seen.p50_us = latencies_.quantile_us(0.5);
    seen.p99_us = latencies_.quantile_us(0.99);
    seen.max_us = latencies_.quantile_us(1);
    seen.acknowledged = acknowledged_;
    seen.rows = acknowledged_;  // nothing is kept that could be counted
    return seen;
  }

 private:
  struct proposal {
    struct raft_apply request {};
    clock_type::time_point begin;
    raft_node* owner = nullptr;
  };

  static raft_node& self(void* data) { return *static_cast<raft_node*>(data); }

  static int empty_snapshot(raft_fsm*, raft_buffer* buffers[], unsigned* count) {
    constexpr std::size_t size = 8;
    *count = 1;
    *buffers = static_cast<raft_buffer*>(raft_malloc(sizeof(raft_buffer)));
    (*buffers)->base = raft_calloc(1, size);
    (*buffers)->len = size;
    return 0;
  }

  /// As dqlite has it, but that node 1 is to win the first election at once.
  void tune() {
    raft_uv_set_snapshot_compression(&io_, false);
    raft_set_election_timeout(&raft_, setup_.id == 1 ? 300 : 3000);
    raft_set_heartbeat_timeout(&raft_, 100);
    raft_set_snapshot_threshold(&raft_, 1024);
    raft_set_snapshot_trailing(&raft_, 8192);
    raft_set_pre_vote(&raft_, true);
  }

  void bootstrap() {
    raft_configuration all;
    raft_configuration_init(&all);
    for (int i = 1; i <= static_cast<int>(setup_.ports.size()); ++i) {
      must(raft_configuration_add(&all, static_cast<raft_id>(i), setup_.address(i).c_str(),
                                  RAFT_VOTER),
           "configuration");
    }
    must(raft_bootstrap(&raft_, &all), "bootstrap");
    raft_configuration_close(&all);
  }

  // ---- in the loop's thread

  void look() {
    leads_.store(raft_state(&raft_) == RAFT_LEADER);
    const auto wanted = static_cast<std::size_t>(clients_.load());
    while (proposals_.size() < wanted) {
      proposals_.push_back(std::make_unique<proposal>());
      proposals_.back()->owner = this;
      proposals_.back()->request.data = proposals_.back().get();
      propose(*proposals_.back());
    }
  }

  void propose(proposal& one) {
    raft_buffer buffer;
    buffer.len = setup_.entry_bytes;
    buffer.base = raft_malloc(buffer.len);
    std::memset(buffer.base, 'x', buffer.len);
    one.begin = clock_type::now();
    {
      const std::lock_guard guard(mutex_);
      ++outstanding_;
    }
    const int code = raft_apply(&raft_, &one.request, &buffer, 1, &answered);
    if (code != 0) {
      raft_free(buffer.base);
      settle(code);
    }
  }

  static void answered(struct raft_apply* request, int status, void*) {
    proposal& one = *static_cast<proposal*>(request->data);
    raft_node& owner = *one.owner;
    if (status == 0 && owner.open_.load()) {
      const auto spent = clock_type::now() - one.begin;
      owner.latencies_.add(static_cast<std::uint64_t>(
          std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count()));
    }
    owner.settle(status);
    if (status == 0 && owner.clients_.load() > 0) {
      owner.propose(one);
    }
  }

  void settle(int status) {
    const std::lock_guard guard(mutex_);
    acknowledged_ += status == 0 ? 1 : 0;
    if (status != 0 && errors_++ == 0) {
      first_error_ = raft_strerror(status);
    }
    if (--outstanding_ == 0) {
      idle_.notify_one();
    }
  }

  const node_setup setup_;
  uv_loop_t loop_{};
  uv_async_t wake_{};
  uv_timer_t timer_{};
  raft_uv_transport transport_{};
  raft_io io_{};
  raft_fsm machine_{};
  raft raft_{};
  std::thread thread_;
  std::vector<std::unique_ptr<proposal>> proposals_;
  latency_histogram latencies_;

  std::atomic<bool> leads_{false};
  std::atomic<bool> open_{false};
  std::atomic<int> clients_{0};
  clock_type::time_point opened_;
  double seconds_ = 0;

  std::mutex mutex_;
  std::condition_variable idle_;
  std::size_t outstanding_ = 0;  // guarded by mutex_, as what follows
  std::uint64_t acknowledged_ = 0;
  std::uint64_t errors_ = 0;
  std::string first_error_;
};

}  // namespace

std::unique_ptr<node> make_raft_node(const node_setup& setup) {
  return std::make_unique<raft_node>(setup);
}

}  // namespace bench
