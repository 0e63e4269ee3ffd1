// Fuzz target: native entries. The first byte says whether the checksum is to be put right first,
// since no mutation would ever find it.
#include "fuzz/fuzz_support.hpp"
#include "quorlite/detail/codec/native.hpp"
#include "quorlite/detail/core/crc32c.hpp"

using quorlite::bytes;
using quorlite::bytes_view;
using quorlite::errc;
using quorlite::tests::demand;
namespace native = quorlite::detail::native;

namespace {

void put_checksum_right(bytes& entry) {
  constexpr std::size_t at = 6;
  if (entry.size() > at + 4) {
    const std::uint32_t sum = quorlite::detail::crc32c_extend(
        quorlite::detail::crc32c(bytes_view{entry}.first(at)), bytes_view{entry}.subspan(at + 4));
    for (std::size_t i = 0; i < 4; ++i) {
      entry[at + i] = static_cast<std::byte>((sum >> (8 * i)) & 0xFFU);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) {
    return 0;
  }
  const bytes_view input = quorlite::tests::view_of(data + 1, size - 1);
  bytes entry(input.begin(), input.end());
  if ((data[0] & 1U) != 0) {
    put_checksum_right(entry);
  }
  const auto decoded = native::decode(entry);
  if (!decoded) {
    const std::error_code error = decoded.error();
    demand(error == errc::malformed || error == errc::corrupt || error == errc::needs_upgrade,
           "the list of errors is closed");
    return 0;
  }
  demand(native::is_ours(entry), "what was decoded is ours");
  demand(!native::validate(*decoded), "what was decoded keeps to the rules");
  demand(native::encoded_bytes(*decoded) == entry.size(), "the size is known before");
  bytes again;
  demand(!native::encode(*decoded, again), "what was decoded can be encoded");
  demand(again == entry, "a command has one encoding");
  return 0;
}
