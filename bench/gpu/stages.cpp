// gpu_stages DIR bf16|nf4 [READ_GB_S [PRODUCT_TFLOP_S]]: loading, a picture, prompts and steps of a
// checkpoint on the GPU, as a Markdown table. Weights are quantized to NF4 (doubly quantized) while
// loading. Times are those that a program waits for, by the host's clock; flops and bytes are those
// of the matrices; bounds are those measured by gpu_kernels.
#include <optional>
#include <string_view>

#include <idefics/generation/search/token_search.hpp>

#include "../prompt.hpp"
#include "../stage_work.hpp"

namespace idefics::bench { namespace {

struct Bounds {
  double bandwidth = 0, products = 0;  // bytes and flops per second; 0 if unknown
};

void print_row(const std::string& name, double seconds, double work, bool flops, double bound) {
  std::printf("| %s | %.2f | %.*f %s |", name.c_str(), seconds * 1e3, flops ? 1 : 0,
              work / seconds * (flops ? 1e-12 : 1e-9), flops ? "TFLOP/s" : "GB/s");
  if (bound > 0)
    std::printf(" %.2f | %s |\n", work / bound / seconds, flops ? "cuBLAS bf16" : "read bandwidth");
  else
    std::printf(" | |\n");
  std::fflush(stdout);
}

struct Times {
  std::vector<double> picture, prompt, step;
};

/// Runs a prompt with a new picture and generates `steps` more tokens.
void run_prompt(Model& model, std::int64_t rows, std::int64_t tokens, std::int64_t steps,
                Times& times) {
  static std::uint64_t seed = 0;
  const Inputs inputs = prompt(model.config(), rows, tokens, ++seed);
  detail::Stopwatch watch;
  bool first = true;
  const auto output = model.generate(
      inputs, {.max_new_tokens = steps + 1, .min_new_tokens = steps + 1}, {}, [&](auto) {
        const double step = watch.lap();
        if (!std::exchange(first, false)) times.step.push_back(step);
        return true;
      });
  times.picture.push_back(output.timings.vision_s);
  times.prompt.push_back(output.timings.prefill_s);
}

Times run_prompts(Model& model, std::int64_t rows, std::int64_t tokens, std::int64_t steps) {
  Times warm, times;
  run_prompt(model, rows, tokens, 2, warm);
  for (int round = 0; round < 3; ++round) run_prompt(model, rows, tokens, steps, times);
  return times;
}

void measure(const std::string& directory, bool four_bits, Bounds bounds) {
  ModelOptions options{.dtype = DType::bf16, .device_map = "cuda", .prefill_chunk = 512};
  options.quantization_config = {.load_in_4bit = four_bits, .bnb_4bit_use_double_quant = true};
  const Checkpoint checkpoint = Checkpoint::open(directory);
  double file_bytes = 0;
  for (const TensorInfo* info : checkpoint.tensors())
    file_bytes += static_cast<double>(checkpoint.tensor(info->name).bytes());
  std::optional<Model> model;
  const double load = seconds([&] { model.emplace(Model::from_pretrained(directory, options)); });

  std::printf("\n| stages, %s | ms | rate | share | of |\n|---|---|---|---|---|\n",
              four_bits ? "NF4 doubly quantized" : "bf16");
  print_row("load, pages in cache", load, file_bytes, false, 0);
  // codes, an 8-bit constant per 64 values, and an f32 per 256 of these
  const double packed = four_bits ? 0.5 + 1.0 / 64 + 4.0 / (64 * 256) : 0;
  for (const std::int64_t tokens : {64, 512}) {
    const Times times = run_prompts(*model, 1, tokens, 16);
    const Work work = work_of(model->config(), checkpoint, tokens, packed);
    if (tokens == 64)
      print_row("image encode", median(times.picture), work.picture_flops, true, bounds.products);
    print_row("prefill " + std::to_string(tokens), median(times.prompt), work.prompt_flops, true,
              bounds.products);
    print_row("decode step after " + std::to_string(tokens) + " tokens", median(times.step),
              work.step_bytes, false, bounds.bandwidth);
  }
  const Times rows = run_prompts(*model, 8, 64, 8);
  print_row("decode step of 8 rows after 64", median(rows.step),
            work_of(model->config(), checkpoint, 64, packed).step_bytes, false, bounds.bandwidth);
}

}}  // namespace idefics::bench

int main(int argc, char** argv) {
  const std::string_view form = argc > 2 ? argv[2] : "";
  if (form != "bf16" && form != "nf4") {
    std::fprintf(stderr, "usage: gpu_stages DIR bf16|nf4 [READ_GB_S [PRODUCT_TFLOP_S]]\n");
    return 2;
  }
  const auto number = [&](int i) { return argc > i ? std::strtod(argv[i], nullptr) : 0.0; };
  try {
    idefics::bench::measure(argv[1], form == "nf4", {number(3) * 1e9, number(4) * 1e12});
  } catch (const idefics::Error& error) {
    std::fprintf(stderr, "gpu_stages: %s\n", error.what());
    return 1;
  }
  return 0;
}
