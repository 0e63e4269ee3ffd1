/// @file
/// Bodies of page_version.hpp: memory for pages, and lists of them.
#pragma once

#include "quorlite/detail/pages/page_version.hpp"

#include <cstdint>
#include <cstring>
#include <new>

#include "quorlite/bytes.hpp"
#include "quorlite/config.hpp"
#include "quorlite/ids.hpp"
#include "quorlite/limits.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

QUORLITE_DECL page_block page_version::allocate(page_number number, std::uint32_t content_size) {
  void* const block = ::operator new(sizeof(page_version) + content_size);
  return page_block{::new (block) page_version{number, content_size}};
}

QUORLITE_DECL void page_deleter::operator()(page_version* page) const noexcept {
  page->~page_version();
  ::operator delete(page);
}

QUORLITE_DECL page_block make_page(page_number number, std::uint32_t page_size) {
  QUORLITE_ASSERT(number.value != 0);
  QUORLITE_ASSERT(is_page_size(page_size));
  return page_version::allocate(number, page_size);
}

QUORLITE_DECL page_block make_patch(page_number number, std::uint64_t hash, bytes_view delta) {
  QUORLITE_ASSERT(number.value != 0);
  page_block page = page_version::allocate(number, static_cast<std::uint32_t>(delta.size()));
  if (!delta.empty()) {
    std::memcpy(page->image().data(), delta.data(), delta.size());
  }
  page->set_hash(hash);
  page->patch_ = true;
  return page;
}

QUORLITE_DECL void node_list::push_back(page_version* node, page_place place) noexcept {
  node->next_ = nullptr;
  node->place_ = place;
  (first_ == nullptr ? first_ : last_->next_) = node;
  last_ = node;
  ++size_;
  bytes_ += node->size_bytes();
}

QUORLITE_DECL void node_list::splice_back(node_list& other) noexcept {
  if (other.empty()) {
    return;
  }
  (first_ == nullptr ? first_ : last_->next_) = other.first_;
  last_ = other.last_;
  size_ += other.size_;
  bytes_ += other.bytes_;
  other = node_list{};
}

QUORLITE_DECL page_version* node_list::pop_front() noexcept {
  page_version* const node = first_;
  first_ = node->next_;
  node->next_ = nullptr;
  --size_;
  bytes_ -= node->size_bytes();
  return node;
}

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
