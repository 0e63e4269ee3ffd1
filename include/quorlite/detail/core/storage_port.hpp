/// @file
/// The storage as the plain parts see it: ports, made from any model of the storage concept.
///
/// Loading, flushing and restoring a base image is the same over every storage, so it is compiled
/// once and calls back through here: one virtual call for a page that is not in memory, and for a
/// batch of pages that is written.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/detail/core/storage_gate.hpp"
#include "quorlite/error.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/storage.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// A handle of the storage: one content of a name. Any thread may read.
class stored_content {
 public:
  stored_content() = default;
  stored_content(const stored_content&) = delete;
  stored_content& operator=(const stored_content&) = delete;
  virtual ~stored_content() = default;

  [[nodiscard]] virtual std::error_code read(page_number number, bytes_span into) const = 0;
  /// @pre storage_port::keeps_page_hashes()
  [[nodiscard]] virtual std::error_code read_hashes(page_number first,
                                                    std::span<std::uint64_t> into) const = 0;
};

/// A flush, or a stage. One thread at a time. Destroyed: given up, without a trace.
class content_writer {
 public:
  content_writer() = default;
  content_writer(const content_writer&) = delete;
  content_writer& operator=(const content_writer&) = delete;
  virtual ~content_writer() = default;

  [[nodiscard]] virtual result<std::shared_ptr<const stored_content>> open(
      std::string_view name, std::uint32_t page_size) = 0;
  /// @param content one of the same storage
  [[nodiscard]] virtual std::error_code write(const stored_content& content,
                                              std::span<const page_view> sorted,
                                              std::uint64_t page_count) = 0;
};

/// See storage.hpp for what each call does, who may make it and what it answers.
class storage_port {
 public:
  storage_port(const storage_port&) = delete;
  storage_port& operator=(const storage_port&) = delete;

  [[nodiscard]] virtual bool keeps_page_hashes() const noexcept = 0;
  [[nodiscard]] virtual result<recovery> recover() = 0;
  [[nodiscard]] virtual result<std::shared_ptr<const stored_content>> open(
      std::string_view name, std::uint32_t page_size) = 0;
  [[nodiscard]] virtual result<std::unique_ptr<content_writer>> begin_flush(
      const history_position& ahead) = 0;
  [[nodiscard]] virtual result<std::unique_ptr<content_writer>> begin_stage() = 0;
  /// @param flush one of begin_flush(); of no use afterwards
  [[nodiscard]] virtual std::error_code commit(content_writer& flush,
                                               const base_position& position) = 0;
  /// @param stage one of begin_stage(); after errc::storage_full it is as it was
  [[nodiscard]] virtual std::error_code publish(content_writer& stage,
                                                const base_position& position) = 0;

  /// The storage's time is over: waits for the calls that run, and lets go of all that the storage
  /// gave out. Whatever is asked from now on, of the port or through something that it made, is
  /// answered with errc::stopped. Any thread.
  virtual void leave() noexcept = 0;

 protected:
  storage_port() = default;
  ~storage_port() = default;
};

/// The port of one storage, which must outlive it, or its leave().
template <storage Storage>
class storage_port_of final : public storage_port {
 public:
  explicit storage_port_of(Storage& storage) : storage_(storage) {}
  ~storage_port_of() = default;

  [[nodiscard]] bool keeps_page_hashes() const noexcept override {
    return Storage::abilities.page_hashes;
  }
  [[nodiscard]] result<recovery> recover() override {
    const visit inside(*gate_);
    return inside ? storage_.recover() : fail(errc::stopped);
  }
  [[nodiscard]] result<std::shared_ptr<const stored_content>> open(
      std::string_view name, std::uint32_t page_size) override {
    const visit inside(*gate_);
    return inside ? held({storage_, gate_}, storage_.open(name, page_size)) : fail(errc::stopped);
  }
  [[nodiscard]] result<std::unique_ptr<content_writer>> begin_flush(
      const history_position& ahead) override {
    const visit inside(*gate_);
    return inside ? writer_of(storage_.begin_flush(ahead)) : fail(errc::stopped);
  }
  [[nodiscard]] result<std::unique_ptr<content_writer>> begin_stage() override {
    const visit inside(*gate_);
    return inside ? writer_of(storage_.begin_stage()) : fail(errc::stopped);
  }
  [[nodiscard]] std::error_code commit(content_writer& flush,
                                       const base_position& position) override {
    const visit inside(*gate_);
    return inside
               ? storage_.commit(std::move(*static_cast<writer<flush_type>&>(flush).own), position)
               : make_error_code(errc::stopped);
  }
  [[nodiscard]] std::error_code publish(content_writer& stage,
                                        const base_position& position) override {
    const visit inside(*gate_);
    return inside
               ? storage_.publish(std::move(*static_cast<writer<stage_type>&>(stage).own), position)
               : make_error_code(errc::stopped);
  }
  void leave() noexcept override { gate_->close(); }
  /// @pre it is asked by the thread whose recover() failed
  [[nodiscard]] std::string_view damage() const noexcept {
    if constexpr (names_damage<Storage>) {
      return storage_.damage();
    } else {
      return {};
    }
  }

 private:
  using handle_type = typename Storage::database_type;
  using flush_type = typename Storage::flush_type;
  using stage_type = typename Storage::stage_type;
  using visit = storage_gate::visit;

  /// A storage, and the way to it.
  struct origin {
    const Storage& storage;
    std::shared_ptr<storage_gate> gate;
  };

  struct content final : stored_content, storage_gate::holder {
    content(origin of, handle_type handle) : from(std::move(of)), own(std::move(handle)) {
      from.gate->add(*this);
    }
    ~content() override { from.gate->remove(*this); }
    [[nodiscard]] std::error_code read(page_number number, bytes_span into) const override {
      const visit inside(*from.gate);
      return inside ? from.storage.read(*own, number, into) : make_error_code(errc::stopped);
    }
    [[nodiscard]] std::error_code read_hashes(
        [[maybe_unused]] page_number first,
        [[maybe_unused]] std::span<std::uint64_t> into) const override {
      if constexpr (Storage::abilities.page_hashes) {
        const visit inside(*from.gate);
        return inside ? from.storage.read_hashes(*own, first, into)
                      : make_error_code(errc::stopped);
      } else {
        return make_error_code(errc::unsupported);
      }
    }
    void let_go() noexcept override { own.reset(); }

    const origin from;
    std::optional<handle_type> own;
  };

  template <class Writer>
  struct writer final : content_writer, storage_gate::holder {
    writer(origin of, Writer begun) : from(std::move(of)), own(std::move(begun)) {
      from.gate->add(*this);
    }
    ~writer() override { from.gate->remove(*this); }
    [[nodiscard]] result<std::shared_ptr<const stored_content>> open(
        std::string_view name, std::uint32_t page_size) override {
      const visit inside(*from.gate);
      return inside ? held(from, own->open(name, page_size)) : fail(errc::stopped);
    }
    [[nodiscard]] std::error_code write(const stored_content& to, std::span<const page_view> sorted,
                                        std::uint64_t page_count) override {
      const visit inside(*from.gate);
      return inside ? own->write(*static_cast<const content&>(to).own, sorted, page_count)
                    : make_error_code(errc::stopped);
    }
    void let_go() noexcept override { own.reset(); }

    const origin from;
    std::optional<Writer> own;
  };

  [[nodiscard]] static result<std::shared_ptr<const stored_content>> held(
      const origin& from, result<handle_type> handle) {
    if (!handle) {
      return fail(handle.error());
    }
    return std::shared_ptr<const stored_content>(
        std::make_shared<content>(from, std::move(*handle)));
  }
  template <class Writer>
  [[nodiscard]] result<std::unique_ptr<content_writer>> writer_of(result<Writer> begun) {
    if (!begun) {
      return fail(begun.error());
    }
    return std::unique_ptr<content_writer>(
        std::make_unique<writer<Writer>>(origin{storage_, gate_}, std::move(*begun)));
  }

  Storage& storage_;
  const std::shared_ptr<storage_gate> gate_ = std::make_shared<storage_gate>();
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
