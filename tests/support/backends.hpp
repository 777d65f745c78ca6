// Every backend that the parity suite runs against: the reference itself, and the CPU backend once
// for each instruction set of this machine; or, with IDEFICS_TEST_DEVICE=cuda in the environment,
// the reference and the CUDA backend (tests/support/cuda_subject.cpp).
#pragma once

#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/reference/reference_backend.hpp>

namespace testing {

struct Subject {
  std::string name;
  std::shared_ptr<idefics::Backend> backend;
  // sums in 16 lanes (docs/determinism.md): the same bits as every other backend that does
  bool fixed_order;
  // changes the order of work in a way that must not change any bit
  std::function<void(int)> disturb{};
};

/// The CUDA backend; only programs that link it define this.
[[gnu::weak]] Subject cuda_subject();

/// One backend of each kind for the whole program, so that scratch memory is reused between shapes.
inline const std::vector<Subject>& subjects() {
  static const std::vector<Subject> all = [] {
    std::vector<Subject> found{{"reference", idefics::make_reference_backend(), false}};
    if (const char* device = std::getenv("IDEFICS_TEST_DEVICE");
        device != nullptr && std::string(device) == "cuda") {
      found.push_back(cuda_subject());
      return found;
    }
    for (const idefics::Isa isa : idefics::available_isas()) {
      auto backend = idefics::make_cpu_backend(isa);
      const std::string name(backend->name());
      found.push_back({name, std::move(backend), true});
    }
    return found;
  }();
  return all;
}

}  // namespace testing
