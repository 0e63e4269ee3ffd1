// Fuzz target: entries of a go-dqlite log.
#include <variant>

#include "fuzz/fuzz_support.hpp"
#include "quorlite/detail/legacy/go_dqlite.hpp"

using quorlite::bytes;
using quorlite::errc;
using quorlite::tests::demand;
namespace go_dqlite = quorlite::detail::go_dqlite;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  go_dqlite::decode_fault why;
  const auto decoded = go_dqlite::decode(quorlite::tests::view_of(data, size), &why);
  if (!decoded) {
    demand(decoded.error() == errc::malformed || decoded.error() == errc::too_large,
           "the list of errors is closed");
    demand(!go_dqlite::explain(why).empty(), "every refusal has an explanation");
    return 0;
  }
  static_cast<void>(go_dqlite::validate(*decoded));
  static_cast<void>(go_dqlite::name_of(*decoded));
  if (const auto* const frames = std::get_if<go_dqlite::frames_command>(&*decoded)) {
    demand(frames->page_count() > 0, "frames have a page");
    bytes image(static_cast<std::size_t>(frames->page_size));
    for (std::size_t i = 0; i < std::min<std::size_t>(frames->page_count(), 8); ++i) {
      frames->copy_page(i, image);
      frames->copy_page(frames->page_count() - 1 - i, image);
    }
  }
  bytes canonical;
  demand(!go_dqlite::encode(*decoded, canonical), "what was decoded can be encoded");
  const auto again = go_dqlite::decode(canonical);
  demand(again.has_value() && again->index() == decoded->index(), "and decoded again");
  bytes twice;
  demand(!go_dqlite::encode(*again, twice) && twice == canonical, "to the same bytes");
  return 0;
}
