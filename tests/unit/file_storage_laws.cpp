// file_storage keeps the laws of every storage, on a real disk and on one that fails.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "catch2_shim.hpp"
#include "quorlite/detail/file_storage/basic_file_storage.hpp"
#include "quorlite/storage/file.hpp"
#include "quorlite/testing/faulty_disk.hpp"
#include "quorlite/testing/storage_conformance.hpp"
#include "support/temporary_directory.hpp"

namespace {

using namespace quorlite;

using namespace quorlite::detail;
using quorlite::testing::conformance_report;
using quorlite::testing::faulty_disk;
using quorlite::testing::faulty_file_system;
using quorlite::tests::temporary_directory;

using posix_storage = file_storage;
using faulty_storage = basic_file_storage<faulty_file_system>;

template <bool DoubleWrite>
struct posix_harness {
  using storage_type = posix_storage;
  static constexpr bool atomic = DoubleWrite;
  temporary_directory root;
  int places = 0;

  std::unique_ptr<posix_storage> make() {
    ++places;
    return open();
  }
  std::unique_ptr<posix_storage> reopen(std::unique_ptr<posix_storage> old) {
    old.reset();
    return open();
  }
  [[nodiscard]] std::unique_ptr<posix_storage> open() const {
    return std::make_unique<posix_storage>(root / std::to_string(places),
                                           file_options{DoubleWrite, 3});
  }
};

template <bool DoubleWrite>
struct faulty_harness {
  using storage_type = faulty_storage;
  static constexpr bool atomic = DoubleWrite;
  std::vector<std::unique_ptr<faulty_disk>> disks;

  std::unique_ptr<faulty_storage> make() {
    disks.push_back(std::make_unique<faulty_disk>());
    return mount(*disks.back());
  }
  std::unique_ptr<faulty_storage> reopen(std::unique_ptr<faulty_storage> old) {
    old.reset();
    return mount(*disks.back());
  }
  std::unique_ptr<faulty_storage> mount(faulty_disk& disk) {
    return std::make_unique<faulty_storage>(faulty_file_system(disk), file_options{DoubleWrite, 3});
  }
};

template <class Harness>
void examine(Harness& harness) {
  conformance_report report;
  quorlite::testing::run_storage_conformance(harness, report);
  INFO(report.text());
  CHECK(report.clean());
}

}  // namespace

TEST_CASE("file_storage keeps the laws in a directory", "[file_storage]") {
  posix_harness<false> harness;
  examine(harness);
}

TEST_CASE("file_storage keeps the laws in a directory, writing twice", "[file_storage]") {
  posix_harness<true> harness;
  examine(harness);
}

TEST_CASE("file_storage keeps the laws on a disk that fails", "[file_storage]") {
  faulty_harness<false> harness;
  examine(harness);
}

TEST_CASE("file_storage keeps the laws on a disk that fails, writing twice", "[file_storage]") {
  faulty_harness<true> harness;
  examine(harness);
}
