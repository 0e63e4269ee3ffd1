// Folders of logs as libraft itself writes them, step by step, and copies of them in memory.
#pragma once

#include <uv.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/core/wire.hpp"
#include "quorlite/detail/libraft/engine.hpp"
#include "quorlite/detail/libraft/log_folder.hpp"
#include "quorlite/detail/libraft/log_format.hpp"
#include "quorlite/detail/libraft/log_reader.hpp"
#include "quorlite/detail/libraft/proposals.hpp"
#include "quorlite/detail/libraft/snapshot.hpp"
#include "support/memory_log_folder.hpp"

extern "C" {
#include <raft/uv.h>
}

namespace quorlite::tests {

using namespace quorlite::detail;  // NOLINT: tests of this library only

// How long it is up to the zeros at its end.
inline std::size_t bytes_without_zeros(const bytes& content) {
  constexpr std::size_t step = 512;
  static constexpr std::array<std::byte, step> none{};
  std::size_t size = content.size();
  while (size >= step && std::memcmp(content.data() + size - step, none.data(), step) == 0) {
    size -= step;
  }
  while (size > 0 && content[size - 1] == std::byte{0}) {
    --size;
  }
  return size;
}

// @param zeros so many of those at the end of an open segment are kept
inline memory_log_folder folder_in_memory(const std::string& path,
                                          std::size_t zeros = std::size_t{1} << 30U) {
  memory_log_folder made;
  for (const auto& one : std::filesystem::directory_iterator(path)) {
    if (!one.is_regular_file()) {
      continue;
    }
    // Segments are half a million bytes each, nearly all of them zeros: no byte is touched singly.
    bytes content(one.file_size());
    std::ifstream file(one.path(), std::ios::binary);
    file.read(reinterpret_cast<char*>(content.data()),
              static_cast<std::streamsize>(content.size()));
    content.resize(static_cast<std::size_t>(file.gcount()));
    const std::string name = one.path().filename().string();
    if (name.rfind("open-", 0) == 0) {
      const std::size_t data = bytes_without_zeros(content);
      content.resize(std::min(content.size(), (data + zeros + 511) / 512 * 512));
    }
    made.files[name] = std::move(content);
  }
  return made;
}

inline void write_folder(const memory_log_folder& folder, const std::string& path) {
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  for (const auto& [name, content] : folder.files) {
    std::ofstream file(path + "/" + name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(content.data()),
               static_cast<std::streamsize>(content.size()));
    REQUIRE(file.flush().good());
  }
}

// libraft's disk, driven by hand, on a loop of its own. Each step is over when it returns.
class uv_disk {
 public:
  static constexpr std::size_t segment_bytes = std::size_t{512} << 10U;

  struct loaded {
    int code = 0;
    raft_term term = 0;
    raft_index start = 0;
    std::uint64_t snapshot_index = 0;
    std::vector<raft_term> terms;  // of the entries
  };

  explicit uv_disk(const std::string& path) {
    REQUIRE(uv_loop_init(&loop_) == 0);
    REQUIRE(raft_uv_tcp_init(&transport_, &loop_) == 0);
    REQUIRE(raft_uv_init(&io_, &loop_, path.c_str(), &transport_) == 0);
    raft_uv_set_auto_recovery(&io_, false);
    raft_uv_set_segment_size(&io_, segment_bytes);
    REQUIRE(raft_uv_set_snapshot_compression(&io_, false) == 0);
    const int code = io_.init(&io_, 1, "127.0.0.1:1");
    INFO(io_.errmsg);
    REQUIRE(code == 0);
  }
  uv_disk(const uv_disk&) = delete;
  uv_disk& operator=(const uv_disk&) = delete;
  // A clean stop.
  ~uv_disk() {
    bool closed = false;
    io_.data = &closed;
    io_.close(&io_, [](raft_io* io) { *static_cast<bool*>(io->data) = true; });
    run_until(closed);
    raft_uv_close(&io_);
    raft_uv_tcp_close(&transport_);
    uv_run(&loop_, UV_RUN_DEFAULT);
    uv_loop_close(&loop_);
  }

  loaded load() {
    loaded found;
    raft_id vote = 0;
    raft_snapshot* snapshot = nullptr;
    raft_entry* entries = nullptr;
    std::size_t count = 0;
    found.code = io_.load(&io_, &found.term, &vote, &snapshot, &found.start, &entries, &count);
    if (found.code != 0) {
      return found;
    }
    void* batch = nullptr;
    for (std::size_t i = 0; i < count; ++i) {
      found.terms.push_back(entries[i].term);
      if (entries[i].batch != batch) {
        batch = entries[i].batch;
        raft_free(batch);
      }
    }
    raft_free(entries);
    if (snapshot != nullptr) {
      found.snapshot_index = snapshot->index;
      raft_configuration_close(&snapshot->configuration);
      raft_free(snapshot->bufs[0].base);
      raft_free(snapshot->bufs);
      raft_free(snapshot);
    }
    return found;
  }

  void bootstrap() {
    raft_configuration members{};
    raft_configuration_init(&members);
    REQUIRE(raft_configuration_add(&members, 1, "127.0.0.1:1", RAFT_VOTER) == 0);
    REQUIRE(io_.bootstrap(&io_, &members) == 0);
    raft_configuration_close(&members);
  }
  void set_term(raft_term term) { REQUIRE(io_.set_term(&io_, term) == 0); }
  void set_vote(raft_id vote) { REQUIRE(io_.set_vote(&io_, vote) == 0); }

  // One append of `count` commands, an entry each. Bytes that are not zero.
  // @param first the index of the first entry, for batches that tell it
  void append(raft_term term, std::size_t count, std::size_t bytes_each, raft_index first = 0) {
    waiting one(*this);
    std::vector<raft_entry> entries(count);
    raft_index told = first;
    for (raft_entry& entry : entries) {
      entry.term = term;
      entry.type = RAFT_COMMAND;
      entry.buf.len = libraft_batch::bytes_for(1, bytes_each, told);
      entry.buf.base = raft_malloc(entry.buf.len);
      std::vector<std::byte> command(bytes_each);
      for (std::byte& byte : command) {
        byte = static_cast<std::byte>(1 + next_byte_++ % 255);
      }
      libraft_batch::encode(
          {static_cast<std::byte*>(entry.buf.base), entry.buf.len}, 1,
          [&](std::size_t) { return bytes_view(command); }, told);
      told += told == 0 ? 0 : 1;
    }
    raft_io_append request{};
    request.data = &one;
    REQUIRE(io_.append(&io_, &request, entries.data(), static_cast<unsigned>(count),
                       [](raft_io_append* done, int status) {
                         static_cast<waiting*>(done->data)->end(status);
                       }) == 0);
    run_until(one.ended);
    REQUIRE(one.status == 0);
    for (const raft_entry& entry : entries) {
      raft_free(entry.buf.base);
    }
  }
  // Durable once the next append is.
  void truncate(raft_index index) { REQUIRE(io_.truncate(&io_, index) == 0); }

  // @param trailing 0: it takes the place of the log
  void put(raft_index index, raft_term term, unsigned trailing, std::uint64_t position) {
    waiting one(*this);
    raft_snapshot snapshot{};
    snapshot.index = index;
    snapshot.term = term;
    raft_configuration_init(&snapshot.configuration);
    REQUIRE(raft_configuration_add(&snapshot.configuration, 1, "127.0.0.1:1", RAFT_VOTER) == 0);
    snapshot.configuration_index = 1;
    constexpr std::size_t content = 100;
    bytes whole(libraft_snapshot_header::encoded_bytes + content, std::byte{7});
    libraft_snapshot_header{{index, {log_index{position}, quorlite::term{term}}}, content}.encode(
        bytes_span(whole).first(libraft_snapshot_header::encoded_bytes));
    raft_buffer buffer{whole.data(), whole.size()};
    snapshot.bufs = &buffer;
    snapshot.n_bufs = 1;
    raft_io_snapshot_put request{};
    request.data = &one;
    REQUIRE(io_.snapshot_put(&io_, trailing, &request, &snapshot,
                             [](raft_io_snapshot_put* done, int status) {
                               static_cast<waiting*>(done->data)->end(status);
                             }) == 0);
    run_until(one.ended);
    REQUIRE(one.status == 0);
    raft_configuration_close(&snapshot.configuration);
  }

 private:
  struct waiting {
    explicit waiting(uv_disk&) {}
    void end(int with) {
      ended = true;
      status = with;
    }
    bool ended = false;
    int status = 0;
  };

  void run_until(const bool& over) {
    while (!over) {
      uv_run(&loop_, UV_RUN_ONCE);
    }
  }

  uv_loop_t loop_{};
  raft_uv_transport transport_{};
  raft_io io_{};
  std::size_t next_byte_ = 0;
};

}  // namespace quorlite::tests
