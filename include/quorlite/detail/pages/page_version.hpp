/// @file
/// One page of a database as of one version, and the block of memory that holds it: its whole
/// image, or what changed in it since the base.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

class page_version;

class node_list;
class reclaimer;
class version_chains;

struct page_deleter {
  void operator()(page_version* page) const noexcept;
};

/// Who looks after a node. Every node is in one place at a time, so one link serves all of them.
enum class page_place : std::uint8_t {
  loose,       ///< private to whoever fills it, not in a store
  pending,     ///< in the list of its version, which is not committed
  settled,     ///< committed; in no list
  superseded,  ///< in the list of a pin that can see it, or waits to be looked at again
  limbo,       ///< unlinked: waits until no reader can stand on it
};

/// A page's image outside of a store: owned, private to its holder, not shared.
using page_block = std::unique_ptr<page_version, page_deleter>;

/// A page as of one version: number, hash and image in one block of memory.
///
/// Outside of a store its holder fills image and hash. Inside, it never changes: any thread that
/// found it (page_store::reader) may read it, for as long as the guard or the pin lasts.
///
/// A *tombstone* has no image: from its version on, the page was cut off. A *patch* has none
/// either, but a delta (page_delta.hpp) that makes it out of the page in the base: an entry
/// is applied without reading a page that is not in memory.
class page_version {
 public:
  page_version(const page_version&) = delete;
  page_version& operator=(const page_version&) = delete;

  /// The version that brought this image. 0 until it is installed.
  [[nodiscard]] version_number version() const noexcept { return version_; }
  /// Which page, from 1.
  [[nodiscard]] page_number number() const noexcept { return number_; }
  /// The hash of the image, seeded by the number: its share of the database's hash.
  [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }
  /// Before the install only.
  void set_hash(std::uint64_t hash) noexcept { hash_ = hash; }

  /// Bytes of the image: the page size, or 0 for a tombstone. @pre no patch
  [[nodiscard]] std::uint32_t page_size() const noexcept {
    QUORLITE_ASSERT(!patch_);
    return content_size_;
  }
  [[nodiscard]] bool is_tombstone() const noexcept { return content_size_ == 0 && !patch_; }
  [[nodiscard]] bool is_patch() const noexcept { return patch_; }
  /// Memory of the block.
  [[nodiscard]] std::size_t size_bytes() const noexcept {
    return sizeof(page_version) + content_size_;
  }

  /// The image to fill, uninitialised at first; lives as long as the block. Before the install
  /// only. @pre no patch
  [[nodiscard]] bytes_span image() noexcept {
    QUORLITE_ASSERT(!patch_);
    return {reinterpret_cast<std::byte*>(this) + sizeof(page_version), content_size_};
  }
  /// The image, page_size() bytes. Empty for a tombstone. @pre no patch
  [[nodiscard]] bytes_view image() const noexcept {
    QUORLITE_ASSERT(!patch_);
    return content();
  }
  /// The delta, empty perhaps. @pre a patch
  [[nodiscard]] bytes_view patch() const noexcept {
    QUORLITE_ASSERT(patch_);
    return content();
  }

 private:
  friend class node_list;
  friend class reclaimer;
  friend class version_chains;
  friend struct page_deleter;
  friend page_block make_page(page_number, std::uint32_t);
  friend page_block make_patch(page_number, std::uint64_t, bytes_view);

  page_version(page_number number, std::uint32_t content_size) noexcept
      : number_(number), content_size_(content_size) {}
  ~page_version() = default;

  [[nodiscard]] bytes_view content() const noexcept {
    return {reinterpret_cast<const std::byte*>(this) + sizeof(page_version), content_size_};
  }

  /// One block for the node and `content_size` bytes behind it. @throws std::bad_alloc
  static page_block allocate(page_number number, std::uint32_t content_size);

  version_number version_;
  std::uint64_t hash_ = 0;
  std::atomic<page_version*> older_{nullptr};  // followed by readers without a lock
  // The rest is the business of the store, under its mutex.
  page_version* newer_ = nullptr;
  page_version* next_ = nullptr;  // in the list that `place_` names
  std::uint64_t stamp_ = 0;       // in limbo: the generation in which it was unlinked
  page_number number_;
  std::uint32_t content_size_;
  page_place place_ = page_place::loose;
  bool patch_ = false;  // before the install only
  bool clean_ = false;  // the base holds this version, or a newer one
};

// The image follows the node at once, on a multiple of 8 bytes.
static_assert(sizeof(page_version) % 8 == 0);
static_assert(alignof(page_version) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);

/// Memory for one page, its image uninitialised. Any thread; does not block.
/// @pre number is not 0 and page_size is one of SQLite's, see is_page_size()
/// @throws std::bad_alloc
[[nodiscard]] QUORLITE_DECL page_block make_page(page_number number, std::uint32_t page_size);

/// Memory for a page that is known by what changed since the base. Any thread; does not block.
/// @param hash of the image that the delta makes @param delta a valid one; copied
/// @throws std::bad_alloc
[[nodiscard]] QUORLITE_DECL page_block make_patch(page_number number, std::uint64_t hash,
                                                  bytes_view delta);

/// Nodes in the order in which they came, linked through themselves: no operation allocates.
/// Owns nothing. One thread at a time.
class node_list {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// Memory of all of them.
  [[nodiscard]] std::size_t size_bytes() const noexcept { return bytes_; }
  [[nodiscard]] page_version* front() const noexcept { return first_; }

  void push_back(page_version* node, page_place place) noexcept;

  /// Moves all of `other` behind the own nodes, in O(1). Their place stays what it was.
  void splice_back(node_list& other) noexcept;

  /// Takes the first node out. @pre not empty
  page_version* pop_front() noexcept;

 private:
  page_version* first_ = nullptr;
  page_version* last_ = nullptr;  // valid while not empty
  std::size_t size_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite

#if !defined(QUORLITE_SEPARATE_COMPILATION)
#include "quorlite/detail/pages/page_version.ipp"  // IWYU pragma: keep
#endif
