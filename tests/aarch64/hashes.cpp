// The computations of `idefics selftest` that need no model, and a table of products, on every
// instruction set of this machine, against the hashes that they have on every machine.
#include <cstdio>

#include <idefics/backend/cpu/cpu_backend.hpp>

#include "support/product_table.hpp"

using namespace idefics;

namespace {

int right = 0, wrong = 0;

void expect(const Backend& backend, const std::string& name, std::uint64_t hash,
            std::optional<std::uint64_t> known) {
  if (hash == known) {
    ++right;
    return;
  }
  ++wrong;
  std::printf("%s, %s: %s\n", std::string(backend.name()).c_str(), name.c_str(),
              cli::selftest::hex(hash).c_str());
}

}  // namespace

int main() {
  for (const Isa isa : available_isas()) {
    const auto backend = make_cpu_backend(isa);
    const auto kernels = detail::cpu::kernels_for(isa);
    for (const auto& computation : cli::selftest::computations())
      expect(*backend, computation.name, cli::selftest::hash_of(computation.run(*backend)),
             cli::selftest::known_hash(computation.name));
    for (const testing::KnownProduct& known : testing::known_products)
      expect(*backend, testing::name_of(known), testing::product_hash(*backend, known, kernels),
             known.hash);
  }
  std::printf("%d results on %d instruction sets have the known hashes, %d have not\n", right,
              static_cast<int>(available_isas().size()), wrong);
  return wrong == 0 ? 0 : 1;
}
