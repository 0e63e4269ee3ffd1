/// @file
/// Which content each name of a storage has.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "quorlite/config.hpp"

namespace quorlite {
inline namespace QUORLITE_ABI {
namespace detail {

/// Names and their contents. A handle shares one content, and so does whoever has it here: a name
/// that is dropped, born again or replaced lets go of its old content, which lives on for as long
/// as a handle has it.
///
/// A content is *living* if the position names it. It is a *pending create* if its name has none
/// that lives, but somebody has opened the name: all who do meet the same content, and the position
/// that names it first makes it live.
///
/// Threads: the owner's lock guards it. Only `open` and `replace` change it, and only `replace`
/// changes what is living.
/// @tparam Content made of a name, which `name()` gives back
template <class Content>
class content_catalogue {
 public:
  using content = std::shared_ptr<Content>;
  /// By name, ascending.
  using contents = std::map<std::string, content, std::less<>>;

  [[nodiscard]] const contents& living() const noexcept { return living_; }

  /// The content of a name, living or a pending create; null if there is neither.
  [[nodiscard]] content find(std::string_view name) const noexcept {
    if (const auto found = living_.find(name); found != living_.end()) {
      return found->second;
    }
    const auto waiting = pending_create_.find(name);
    return waiting == pending_create_.end() ? nullptr : waiting->second.lock();
  }
  /// The same, and one that is a pending create from now on if there was neither. Throws
  /// std::bad_alloc.
  [[nodiscard]] content open(std::string_view name) {
    if (content found = find(name)) {
      return found;
    }
    std::erase_if(pending_create_, [](const auto& line) { return line.second.expired(); });
    auto fresh = std::make_shared<Content>(name);
    pending_create_.insert_or_assign(std::string(name), fresh);
    return fresh;
  }

  [[nodiscard]] bool is_living(const content& which) const noexcept {
    const auto found = living_.find(which->name());
    return found != living_.end() && found->second == which;
  }
  [[nodiscard]] bool is_pending_create(const content& which) const noexcept {
    return !living_.contains(which->name()) && find(which->name()) == which;
  }

  /// What a position names is living from now on, and nothing else. Takes the old ones away in
  /// `next`, so that the caller decides where they end.
  void replace(contents& next) noexcept {
    living_.swap(next);
    std::erase_if(pending_create_,
                  [this](const auto& line) { return living_.contains(line.first); });
  }

 private:
  contents living_;
  std::map<std::string, std::weak_ptr<Content>, std::less<>> pending_create_;
};

}  // namespace detail
}  // namespace QUORLITE_ABI
}  // namespace quorlite
