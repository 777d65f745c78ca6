// Whole models on the CUDA backend give the ids of the CPU backend. The kernels run on the CPU
// (tests/support/cuda_on_cpu/) or, in bench/gpu/, on a GPU; this needs no tokenizer or pictures.
#include <idefics/model.hpp>

#include "support/backends.hpp"
#include "support/catch.hpp"
#include "support/golden_models.hpp"

using namespace idefics;

TEST_CASE("greedy ids of the CUDA backend are the CPU's, for every recorded architecture") {
  const auto backend = testing::cuda_subject().backend;
  for (const auto& name : golden::model_names())
    for (const auto& one : golden::forward_cases(name)) {
      INFO(name);
      const GenerationConfig config{.max_new_tokens = 6};
      auto model = golden::load(name, {.device_map = "cpu"});
      const ForwardOptions forward = golden::options_for(model.config(), one.inputs);
      const auto on_cpu = model.generate(one.inputs, config, forward).new_tokens;
      auto same = golden::load(name, {.backend = backend});
      CHECK(same.generate(one.inputs, config, forward).new_tokens == on_cpu);
    }
}
