/// @file
/// The engine of adapter_skeleton.cpp, to be replaced by yours: one server, one thread, a log in
/// memory. It shows what engines have in common: callbacks on a thread of its own, entries that it
/// keeps to itself, an append that is checked against the term and answered with a place.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

class engine_of_one {
 public:
  struct place {
    std::uint64_t index;
    std::uint64_t term;
  };
  struct listener {  // on the engine's thread
    virtual void on_leader(std::uint64_t term) = 0;
    virtual void on_deposed() = 0;
    virtual void on_commit(place at, const std::string& bytes, bool is_no_op) = 0;

   protected:
    ~listener() = default;
  };

  ~engine_of_one() { stop(); }

  /// Begins a new term, and tells of every entry from `first` on.
  void start(listener& told, std::uint64_t first) {
    const std::lock_guard guard(mutex_);
    running_ = true;
    leads_ = true;
    ++term_;
    log_.push_back({term_, {}, true});
    thread_ = std::thread([this, &told, first] { live(told, first); });
  }

  /// On return no callback runs. May be called again.
  void stop() {
    {
      const std::lock_guard guard(mutex_);
      running_ = false;
      wake_.notify_all();
    }
    if (thread_.joinable()) {
      thread_.join();
    }
  }

  /// Leads no more, and commits nothing, until it is started again. Any thread, callbacks too.
  void retire() {
    const std::lock_guard guard(mutex_);
    leads_ = false;
    wake_.notify_all();
  }

  /// Any thread. Nothing: it does not lead in that term, and nothing was appended.
  std::optional<place> append(std::uint64_t term, std::string bytes) {
    const std::lock_guard guard(mutex_);
    if (!running_ || !leads_ || term != term_) {
      return {};
    }
    log_.push_back({term_, std::move(bytes), false});
    wake_.notify_all();
    return place{log_.size(), term_};
  }

 private:
  struct entry {
    std::uint64_t term;
    std::string bytes;
    bool is_no_op;
  };

  void live(listener& told, std::uint64_t first) {
    std::unique_lock lock(mutex_);
    const std::uint64_t term = term_;
    lock.unlock();
    told.on_leader(term);  // before older entries are applied, as most engines do
    lock.lock();
    for (std::uint64_t index = first;; ++index) {
      wake_.wait(lock, [&] { return !running_ || !leads_ || index <= log_.size(); });
      if (!running_ || !leads_) {
        break;
      }
      const entry one = log_[index - 1];
      lock.unlock();
      told.on_commit({index, one.term}, one.bytes, one.is_no_op);
      lock.lock();
    }
    if (running_) {
      lock.unlock();
      told.on_deposed();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<entry> log_;  // survives stop()
  std::uint64_t term_ = 0;
  bool running_ = false;
  bool leads_ = false;
  std::thread thread_;
};
