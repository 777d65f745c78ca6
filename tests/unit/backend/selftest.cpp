// The computations of `idefics selftest` have the hashes that it expects, with every instruction set.
#include "samples/cli/selftest_work.hpp"

#include "support/catch.hpp"

using namespace idefics;

TEST_CASE("every instruction set gives the known hashes") {
  for (const Isa isa : available_isas()) {
    const auto backend = make_cpu_backend(isa);
    for (const auto& [name, run] : cli::selftest::computations()) {
      CAPTURE(std::string(backend->name()), name);
      CHECK(cli::selftest::hash_of(run(*backend)) == cli::selftest::known_hash(name).value_or(0));
    }
  }
}
