// A user's program that compiles what it uses: a storage, asked for a page that is not there.

#include <array>
#include <cstddef>
#include <cstdio>
#include <quorlite/error.hpp>
#include <quorlite/storage/memory.hpp>

int main() {
  quorlite::memory_storage storage;
  const auto database = storage.open("app.db", 4096);
  std::array<std::byte, 4096> page{};
  if (!storage.recover() || !database) {
    return 1;
  }
  const std::error_code error = storage.read(*database, quorlite::page_number{1}, page);
  std::printf("quorlite: %s\n", error.message().c_str());
  return error == quorlite::errc::storage_broken ? 0 : 1;
}
