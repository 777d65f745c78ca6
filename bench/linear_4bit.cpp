// Linear layers with 4-bit weights: bytes of codes and block constants per second against the read
// bandwidth when there are few rows, flops per second against the product peak when there are many.
#include <idefics/backend/cpu/quantize.hpp>

#include "bench.hpp"

namespace idefics::bench {
namespace {

struct Problem {
  QuantizeOptions options;
  Compute compute;
  std::int64_t m, n, k;

  std::string name() const {
    return std::string("linear ") + (options.type == QuantType::nf4 ? "nf4" : "fp4") +
           (options.double_quant ? "+double" : "") +
           (compute == Compute::bf16 ? " as bf16, " : " as f32, ") + std::to_string(m) + " x " +
           std::to_string(n) + " x " + std::to_string(k);
  }
};

LinearWeight random_weight(const Problem& p, std::uint64_t seed) {
  return {.packed = quantize_4bit(random_tensor(DType::bf16, {p.n, p.k}, 0.02f, seed), p.options)};
}

/// Checks a slice of the problem, since the reference is slow.
void check(Context& c, const Problem& p, const Tensor& x) {
  Problem slice = p;
  slice.m = std::min<std::int64_t>(p.m, 5);
  slice.n = std::min<std::int64_t>(p.n, 37);
  const LinearWeight weight = random_weight(slice, 7);
  Tensor found = Tensor::empty(DType::f32, {slice.m, slice.n});
  Tensor expected = Tensor::empty(DType::f32, {slice.m, slice.n});
  c.fast.linear(found, x.slice(0, slice.m), weight, {}, p.compute);
  c.reference.linear(expected, x.slice(0, slice.m), weight, {}, p.compute);
  check_close(p.name(), found, expected, 1e-5);
}

/// Multiplies by several matrices in turn, so that none is in the cache.
void few_rows(Context& c, const Problem& p) {
  std::vector<LinearWeight> weights{random_weight(p, 1)};
  const std::size_t codes = weights[0].packed.codes.bytes();
  const std::size_t bytes = codes + weights[0].packed.absmax.bytes();
  const std::size_t copies = c.quick ? 1 : 1 + (std::size_t{256} << 20) / bytes;
  while (weights.size() < copies) weights.push_back(random_weight(p, weights.size() + 1));
  const Tensor x = random_tensor(DType::f32, {p.m, p.k}, 1.0f, 99);
  Tensor out = Tensor::empty(DType::f32, {p.m, p.n});
  check(c, p, x);
  std::size_t next = 0;
  const auto medians =
      interleaved({[&] {
                     read_all({weights[next++ % copies].packed.codes.raw(), codes});
                   },
                   [&] { c.fast.linear(out, x, weights[next++ % copies], {}, p.compute); }},
                  c.quick ? 3 : 60);
  print_rate(p.name(), medians[1], static_cast<double>(bytes), "GB/s",
             static_cast<double>(codes) / medians[0] / 1e9, "read bandwidth");
}

void many_rows(Context& c, const Problem& p) {
  const LinearWeight weight = random_weight(p, 1);
  const Tensor x = random_tensor(DType::f32, {p.m, p.k}, 1.0f, 99);
  Tensor out = Tensor::empty(DType::f32, {p.m, p.n});
  check(c, p, x);
  const bool pairs = p.compute == Compute::bf16;
  const auto medians = interleaved(
      {pairs ? multiply_bf16 : multiply_f32, [&] { c.fast.linear(out, x, weight, {}, p.compute); }},
      c.rounds());
  const double peak = (pairs ? multiply_bf16_flops() : multiply_f32_flops()) / medians[0] / 1e9;
  print_rate(p.name(), medians[1], 2.0 * static_cast<double>(p.m * p.n * p.k), "GFLOP/s", peak,
             pairs ? "bf16 product peak" : "f32 product peak");
}

}  // namespace

void bench_linear_4bit(Context& c) {
  const std::int64_t scale = c.quick ? 8 : 1;
  const std::int64_t n = 4096 / scale, k = 11008 / scale / 64 * 64;
  for (const QuantizeOptions& options :
       {QuantizeOptions{QuantType::nf4, 64, false}, QuantizeOptions{QuantType::nf4, 64, true},
        QuantizeOptions{QuantType::fp4, 64, false}})
    for (const Compute compute : {Compute::f32, Compute::bf16})
      few_rows(c, {options, compute, 1, n, k});
  const QuantizeOptions nf4{QuantType::nf4, 64, true};
  for (const std::int64_t m : {4, 64})
    for (const Compute compute : {Compute::f32, Compute::bf16})
      many_rows(c, {nf4, compute, m, n, k});
}

}  // namespace idefics::bench
