// damage: does damage to folders of servers, and looks what comes of it. damage_test.py drives it.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>

#include "base.hpp"
#include "chance.hpp"
#include "trial.hpp"

namespace {

constexpr const char* usage = R"(usage: damage SEED FOLDER NETWORK [--never-upgraded]
       damage --hurt SEED NUMBER FOLDER OTHER_SERVER OTHER_CLUSTER OLDER...
       damage --seal SEED FOLDER

Reads lines "BASE FIRST LAST": base number BASE is made, and the damages FIRST to LAST are done to
copies of it, one after the other. Before each a line "at N", then "did WHAT", after each a line of
JSON. Works in FOLDER; its servers are at NETWORK.1 to NETWORK.3, e.g. 127.130.7. With
--never-upgraded no history begins in these clusters. A tool of damage_test.

--hurt: damage number NUMBER is done to a server's folder; what is put there comes from the others.
--seal: a copy of a server's folder becomes that folder, as if it had never been elsewhere.
)";

int hurt(char** values, int count) {
  const std::uint64_t seed = std::strtoull(values[0], nullptr, 10);
  const std::uint64_t number = std::strtoull(values[1], nullptr, 10);
  damage::chance draw(seed ^ 0x5851F42D4C957F2DU, number);
  damage::sources from{values[3], values[4], {}};
  for (int i = 5; i < count; ++i) {
    from.stale.emplace_back(values[i]);
  }
  const damage::looked_at made =
      damage::draw_damage(values[2], from, draw, [](damage::kind) { return true; });
  const nlohmann::ordered_json told = {
      {"kind", damage::name_of(made.done.is)},
      {"file", made.done.files.size() == 1 ? damage::name_of(made.done.of) : ""},
      {"files", made.done.files},
      {"what", made.done.what},
      {"cut_without_trace", made.cut_without_trace}};
  std::cout << told.dump() << std::endl;
  return 0;
}

int serve(std::uint64_t seed, const damage::fs::path& root, const std::string& network,
          bool never_upgraded) {
  std::optional<damage::base> base;
  std::uint64_t base_number = ~std::uint64_t{0};
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::uint64_t number = 0;
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    words >> number >> first >> last;
    if (number != base_number) {
      std::cout << "base " << number << std::endl;
      base.reset();
      base.emplace(root / "base", network, damage::chance(seed, number), never_upgraded);
      base_number = number;
    }
    for (std::uint64_t i = first; i <= last; ++i) {
      std::cout << "at " << i << std::endl;
      const damage::chance draw(seed ^ 0x5851F42D4C957F2DU, i);
      damage::trial next(*base, root / "run", draw);
      const damage::done& made = next.damage_it();
      std::cout << "did " << damage::name_of(made.is) << ": " << made.what << std::endl;
      nlohmann::ordered_json one = next.run();
      one["number"] = i;
      std::cout << one.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
    }
    std::cout << "done" << std::endl;
  }
  return 0;
}

}  // namespace

int main(int count, char** values) try {
  const std::string first = count > 1 ? values[1] : "";
  if (first == "--hurt" && count > 7) {
    return hurt(values + 2, count - 2);
  }
  if (first == "--seal" && count == 4) {
    damage::chance draw(std::strtoull(values[2], nullptr, 10));
    damage::seal(values[3], draw);
    return 0;
  }
  const bool never_upgraded = count == 5 && std::strcmp(values[4], "--never-upgraded") == 0;
  if ((count != 4 && !never_upgraded) || first[0] == '-') {
    std::fputs(usage, stderr);
    return first == "--help" ? 0 : 2;
  }
  return serve(std::strtoull(values[1], nullptr, 10), values[2], values[3], never_upgraded);
} catch (const std::exception& error) {
  std::fprintf(stderr, "damage: %s\n", error.what());
  return 1;
}
