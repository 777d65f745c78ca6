// idefics_bench [--quick] [--threads N] [--model DIR] [FAMILY…]: measures operations of the CPU
// backend in turn with the ceilings of this machine. Families have the names of the kernels' files;
// `stages`, `searches` and `clients` run a whole checkpoint.
#include <cstdlib>
#include <string_view>

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/reference/reference_backend.hpp>

#include "bench.hpp"

namespace {

using namespace idefics;

struct Family {
  std::string_view name;
  void (*run)(bench::Context&);
};

constexpr Family families[] = {
    {"linear", bench::bench_linear},
    {"linear_4bit", bench::bench_linear_4bit},
    {"linear_int8", bench::bench_linear_int8},
    {"attention", bench::bench_attention},
    {"norm", bench::bench_norm},
    {"rope", bench::bench_rope},
    {"activation", bench::bench_activation},
    {"embedding", bench::bench_embedding},
    {"elementwise", bench::bench_elementwise},
    {"softmax", bench::bench_softmax},
    {"matmul", bench::bench_matmul},
    {"transpose", bench::bench_transpose},
    {"patch", bench::bench_patch},
    {"stages", bench::bench_stages},
    {"searches", bench::bench_searches},
    {"clients", bench::bench_clients},
};

int usage() {
  std::fprintf(stderr,
               "usage: idefics_bench [--quick] [--threads N] [--model DIR] [FAMILY...]\nfamilies:");
  for (const auto& family : families) std::fprintf(stderr, " %s", family.name.data());
  std::fprintf(stderr, "\n");
  return 2;
}

void print_ceilings(const Backend& backend) {
  const Tensor memory = Tensor::zeros(DType::u8, {std::int64_t{512} << 20});
  const auto medians = bench::interleaved({[&] {
                                             bench::read_all({memory.raw(), memory.bytes()});
                                           },
                                           bench::multiply_f32, bench::multiply_bf16},
                                          9);
  std::printf("%s, %d threads: read %.1f GB/s, f32 products %.0f GFLOP/s, bf16 products %.0f\n",
              std::string(backend.name()).c_str(), num_threads(),
              static_cast<double>(memory.bytes()) / medians[0] / 1e9,
              bench::multiply_f32_flops() / medians[1] / 1e9,
              bench::multiply_bf16_flops() / medians[2] / 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  bool quick = false;
  std::vector<std::string_view> names;
  std::string model;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--quick")
      quick = true;
    else if (word == "--threads" && i + 1 < argc)
      set_num_threads(static_cast<int>(std::strtol(argv[++i], nullptr, 10)));
    else if (word == "--model" && i + 1 < argc)
      model = argv[++i];
    else if (std::ranges::any_of(families, [&](auto& f) { return f.name == word; }))
      names.push_back(word);
    else
      return usage();
  }
  const auto fast = make_cpu_backend();
  const auto reference = make_reference_backend();
  bench::Context context{*fast, *reference, quick, model};
  print_ceilings(*fast);
  for (const auto& family : families)
    if (names.empty() || std::ranges::find(names, family.name) != names.end()) family.run(context);
}
