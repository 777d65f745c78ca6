// host_time [STEPS]: what a decode step with the layers of idefics-9b costs the host on the CUDA
// backend. Its device is tests/support/cuda_on_cpu/, which does nothing here; the widths are small,
// but for the vocabulary, since nothing on the host depends on them.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <idefics/core/stopwatch.hpp>
#include <idefics/model.hpp>

#include "bench.hpp"
#include "cuda/cuda_backend.hpp"
#include "prompt.hpp"
#include "support/narrow_model.hpp"

namespace idefics::bench { namespace {

struct Search {
  const char* name;
  std::int64_t rows;
  GenerationConfig config;
};

/// Prints the median time between the steps of an answer, and what each step asked for.
void measure(Model& model, const Search& search, std::int64_t steps) {
  GenerationConfig config = search.config;
  config.max_new_tokens = config.min_new_tokens = steps;
  std::vector<double> times;
  detail::Stopwatch watch;
  cuda_on_cpu::Requests last, step;
  (void)model.generate(
      prompt(model.config(), search.rows, 512 - steps / 2, 1), config, {}, [&](auto) {
        const cuda_on_cpu::Requests& now = cuda_on_cpu::requests;
        step = {now.kernels - last.kernels, now.copies - last.copies, now.calls - last.calls,
                now.downloads - last.downloads, now.downloaded_bytes - last.downloaded_bytes};
        last = now;
        times.push_back(watch.lap());
        return true;
      });
  times.erase(times.begin(), times.begin() + 4);  // the prompt, and passes that are recorded
  std::printf("%-28s %7.1f us a step, %4lld kernels, %lld copies, %lld downloads of %lld bytes\n",
              search.name, median(times) * 1e6, static_cast<long long>(step.kernels),
              static_cast<long long>(step.copies), static_cast<long long>(step.downloads),
              static_cast<long long>(step.downloaded_bytes));
}

}}  // namespace idefics::bench

int main(int argc, char** argv) {
  using namespace idefics;
  cuda_on_cpu::idle = true;
  const std::int64_t steps = argc > 1 ? std::max(8L, std::strtol(argv[1], nullptr, 10)) : 256;
  const testing::TempDir directory;
  testing::write_narrow_model(directory);
  auto model = Model::from_pretrained(
      directory.path().string(),
      {.dtype = DType::bf16, .backend = std::make_shared<cuda::CudaBackend>()});
  for (const bench::Search& search : {bench::Search{"greedy, 1 row", 1, {}},
                                      {"greedy, 8 rows", 8, {}},
                                      {"greedy with a penalty", 1, {.repetition_penalty = 1.1}},
                                      {"sampling, 1 row", 1, {.do_sample = true}},
                                      {"4 beams", 1, {.num_beams = 4}}})
    bench::measure(model, search, steps);
}
