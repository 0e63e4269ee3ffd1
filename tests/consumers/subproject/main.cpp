// Built by tests/consumers/run_consumer.py, with nothing but what the umbrella header offers.
#include <quorlite/quorlite.hpp>

#include <cstdio>

namespace {

quorlite::result<quorlite::term> later(quorlite::term term) {
  return quorlite::term{term.value + 1};
}

}  // namespace

int main() {
  const auto term = later(quorlite::term{1});
  if (!term.has_value() || *term != quorlite::term{2}) {
    return 1;
  }
  std::printf("quorlite %d.%d.%d\n", QUORLITE_VERSION_MAJOR, QUORLITE_VERSION_MINOR,
              QUORLITE_VERSION_PATCH);
  return 0;
}
