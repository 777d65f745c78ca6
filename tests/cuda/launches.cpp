// What a decode step of the layers of idefics-9b asks of the CUDA runtime, which does nothing here:
// the time of the host follows from it (bench/host_time.cpp measures that).
#include <cuda_runtime.h>

#include <idefics/idefics.hpp>

#include "support/backends.hpp"
#include "support/catch.hpp"
#include "support/narrow_model.hpp"
#include "support/random_prompts.hpp"

using namespace idefics;
using cuda_on_cpu::Requests;

namespace {

/// The requests of the last step of an answer, which repeats the pass of the one before.
Requests last_step(Model& model, std::int64_t rows, GenerationConfig config = {}) {
  std::mt19937 random(1);
  testing::RandomPrompt prompt;
  while (prompt.pictures.empty()) prompt = testing::random_prompt(random, model.config(), 6, 1);
  const std::vector<testing::RandomPrompt> prompts(static_cast<std::size_t>(rows), prompt);
  config.max_new_tokens = config.min_new_tokens = 8;
  std::vector<Requests> seen;
  (void)model.generate(testing::batch_of(prompts, model.config(), true), config, {}, [&](auto) {
    seen.push_back(cuda_on_cpu::requests);
    return true;
  });
  REQUIRE(seen.size() == 8);
  const Requests &a = seen[6], &b = seen[7];
  return {b.kernels - a.kernels, b.copies - a.copies, b.calls - a.calls, b.downloads - a.downloads,
          b.downloaded_bytes - a.downloaded_bytes};
}

Model narrow_model() {
  cuda_on_cpu::idle = true;
  const testing::TempDir directory;
  testing::write_narrow_model(directory);
  ModelOptions options{.dtype = DType::bf16, .backend = testing::cuda_subject().backend};
  return Model::from_pretrained(directory.path().string(), std::move(options));
}

}  // namespace

TEST_CASE("what a decode step of 32 layers asks of the CUDA runtime") {
  auto model = narrow_model();
  for (const std::int64_t rows : {1, 8}) {
    const Requests step = last_step(model, rows);
    INFO(rows << " rows: " << step.kernels << " kernels, " << step.copies << " copies, "
              << step.calls << " calls, " << step.downloads << " downloads of "
              << step.downloaded_bytes << " bytes");
    // Blocks compute norms, and round the input of the last product, for one row but not for eight.
    CHECK(step.kernels <= (rows == 1 ? 260 : 370));
    CHECK(step.copies <= 11);  // spans that kernels read, and the download
    CHECK(step.calls <= 2);    // one graph, and the download
    CHECK(step.downloads == 1);
    CHECK(step.downloaded_bytes == 4 * rows);
  }
}
