// gpu_step DIR bf16|nf4: what each kernel of a decode step takes on the GPU, as a Markdown table by
// kernel. The pass of the last token is run again piece by piece, with an event after each piece, so
// that a time includes the start of a kernel, which a graph hides in part.
#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/idefics.hpp>

#include "cuda/cuda_backend.hpp"

#include "../prompt.hpp"

namespace idefics::bench { namespace {

/// "gemv_bf16_kernel": the name of a kernel without its namespaces, arguments and hash.
std::string short_name(const std::string& mangled) {
  const auto end = mangled.find("_kernel");
  if (end == std::string::npos) return mangled;
  std::size_t begin = end;
  while (begin > 0 &&
         (std::islower(mangled[begin - 1]) || mangled[begin - 1] == '_' ||
          (std::isdigit(mangled[begin - 1]) && begin > 1 && mangled[begin - 2] != 'E' &&
           (std::islower(mangled[begin - 2]) || mangled[begin - 2] == '_' ||
            std::isdigit(mangled[begin - 2])))))
    --begin;
  return mangled.substr(begin, end - begin);
}

/// Seconds of each piece of work: the median of several runs of the whole pass.
std::vector<double> piece_seconds(cuda::Stream& stream, const cuda::WorkList& pass) {
  constexpr int runs = 21;
  const cudaStream_t native = stream.native();
  std::vector<cudaEvent_t> events(pass.size() + 1);
  for (cudaEvent_t& event : events) cuda::check(cudaEventCreate(&event), "creating an event");
  std::vector<std::vector<double>> seconds(pass.size());
  for (int run = 0; run < runs; ++run) {
    cuda::check(cudaEventRecord(events[0], native), "recording an event");
    for (std::size_t i = 0; i < pass.size(); ++i) {
      pass[i]->start(native);
      cuda::check(cudaEventRecord(events[i + 1], native), "recording an event");
    }
    cuda::check(cudaStreamSynchronize(native), "running kernels");
    for (std::size_t i = 0; i < pass.size(); ++i) {
      float milliseconds = 0;
      cuda::check(cudaEventElapsedTime(&milliseconds, events[i], events[i + 1]), "reading a time");
      seconds[i].push_back(static_cast<double>(milliseconds) * 1e-3);
    }
  }
  for (cudaEvent_t event : events) (void)cudaEventDestroy(event);
  std::vector<double> medians;
  for (auto& times : seconds) medians.push_back(median(std::move(times)));
  return medians;
}

void measure(const std::string& directory, bool four_bits) {
  const auto device = std::make_shared<cuda::CudaBackend>();
  ModelOptions options{.dtype = DType::bf16, .prefill_chunk = 512, .backend = device};
  options.quantization_config = {.load_in_4bit = four_bits, .bnb_4bit_use_double_quant = true};
  const Model model = Model::from_pretrained(directory, options);
  const Inputs inputs = prompt(model.config(), 1, 512, 1);
  (void)model.generate(inputs, {.max_new_tokens = 4, .min_new_tokens = 4});
  const cuda::WorkList& pass = device->stream().last_pass();
  const std::vector<double> seconds = piece_seconds(device->stream(), pass);
  struct Sum {
    int launches = 0;
    double seconds = 0;
  };
  std::map<std::string, Sum> by_kernel;
  double all = 0;
  for (std::size_t i = 0; i < pass.size(); ++i) {
    Sum& sum = by_kernel[short_name(pass[i]->name())];
    ++sum.launches, sum.seconds += seconds[i], all += seconds[i];
  }
  std::vector<std::pair<std::string, Sum>> rows(by_kernel.begin(), by_kernel.end());
  std::ranges::sort(rows, std::ranges::greater(),
                    [](const auto& row) { return row.second.seconds; });
  std::printf(
      "\n| a step after 512 tokens, %s, by kernel | launches | us | share |\n|---|---|---|---|\n",
      four_bits ? "NF4 doubly quantized" : "bf16");
  for (const auto& [name, sum] : rows)
    std::printf("| %s | %d | %.1f | %.2f |\n", name.c_str(), sum.launches, sum.seconds * 1e6,
                sum.seconds / all);
  std::printf("| all | %zu | %.1f | 1 |\n", pass.size(), all * 1e6);
}

}}  // namespace idefics::bench

int main(int argc, char** argv) {
  const std::string_view form = argc > 2 ? argv[2] : "";
  if (form != "bf16" && form != "nf4") {
    std::fprintf(stderr, "usage: gpu_step DIR bf16|nf4\n");
    return 2;
  }
  try {
    idefics::bench::measure(argv[1], form == "nf4");
  } catch (const idefics::Error& error) {
    std::fprintf(stderr, "gpu_step: %s\n", error.what());
    return 1;
  }
  return 0;
}
