// Products have the committed hashes on every instruction set of this machine; tests/aarch64/ expects
// the same ones of another processor.
#include <idefics/backend/cpu/cpu_backend.hpp>

#include "support/catch.hpp"
#include "support/product_table.hpp"

using namespace idefics;

TEST_CASE("a table of products has the same hashes on every machine") {
  for (const Isa isa : available_isas()) {
    const auto backend = make_cpu_backend(isa);
    const auto kernels = detail::cpu::kernels_for(isa);
    for (const testing::KnownProduct& known : testing::known_products) {
      const std::uint64_t hash = testing::product_hash(*backend, known, kernels);
      CAPTURE(std::string(backend->name()), testing::name_of(known));
      CHECK(cli::selftest::hex(hash) == cli::selftest::hex(known.hash));
    }
  }
}
