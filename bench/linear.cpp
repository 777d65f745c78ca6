// Linear layers: bytes per second against the read bandwidth when there are few rows, flops per
// second against the product peak when there are many.
#include "bench.hpp"

namespace idefics::bench {
namespace {

struct Problem {
  DType dtype;
  Compute compute;
  std::int64_t m, n, k;

  std::string name() const {
    return "linear " + std::string(name_of(dtype)) +
           (compute == Compute::bf16 ? " as bf16, " : " as f32, ") + std::to_string(m) + " x " +
           std::to_string(n) + " x " + std::to_string(k);
  }
};

/// Checks a slice of the problem, since the reference is slow.
void check(Context& c, const Problem& p, const Tensor& x, const Tensor& weight) {
  const std::int64_t m = std::min<std::int64_t>(p.m, 5), n = std::min<std::int64_t>(p.n, 37);
  Tensor found = Tensor::empty(DType::f32, {m, n}), expected = Tensor::empty(DType::f32, {m, n});
  c.fast.linear(found, x.slice(0, m), {weight.slice(0, n)}, {}, p.compute);
  c.reference.linear(expected, x.slice(0, m), {weight.slice(0, n)}, {}, p.compute);
  check_close(p.name(), found, expected, 1e-5);
}

/// Multiplies by several matrices in turn, so that none is in the cache.
void few_rows(Context& c, const Problem& p) {
  const auto bytes = static_cast<std::size_t>(p.n * p.k) * size_of(p.dtype);
  const std::size_t copies = c.quick ? 1 : 1 + (std::size_t{512} << 20) / bytes;
  std::vector<Tensor> weights;
  for (std::size_t i = 0; i < copies; ++i)
    weights.push_back(random_tensor(p.dtype, {p.n, p.k}, 0.02f, i + 1));
  const Tensor x = random_tensor(DType::f32, {p.m, p.k}, 1.0f, 99);
  Tensor out = Tensor::empty(DType::f32, {p.m, p.n});
  check(c, p, x, weights[0]);
  std::size_t next = 0;
  const auto medians =
      interleaved({[&] {
                     read_all({weights[next % copies].raw(), bytes});
                     ++next;
                   },
                   [&] {
                     c.fast.linear(out, x, {weights[next % copies]}, {}, p.compute);
                     ++next;
                   }},
                  c.quick ? 3 : 60);
  const auto work = static_cast<double>(bytes);
  print_rate(p.name(), medians[1], work, "GB/s", work / medians[0] / 1e9, "read bandwidth");
}

void many_rows(Context& c, const Problem& p) {
  const Tensor weight = random_tensor(p.dtype, {p.n, p.k}, 0.02f, 1);
  const Tensor x = random_tensor(DType::f32, {p.m, p.k}, 1.0f, 99);
  Tensor out = Tensor::empty(DType::f32, {p.m, p.n});
  check(c, p, x, weight);
  const bool pairs = p.compute == Compute::bf16;
  const auto medians = interleaved({pairs ? multiply_bf16 : multiply_f32,
                                    [&] { c.fast.linear(out, x, {weight}, {}, p.compute); }},
                                   c.rounds());
  const double peak = (pairs ? multiply_bf16_flops() : multiply_f32_flops()) / medians[0] / 1e9;
  print_rate(p.name(), medians[1], 2.0 * static_cast<double>(p.m * p.n * p.k), "GFLOP/s", peak,
             pairs ? "bf16 product peak" : "f32 product peak");
}

}  // namespace

void bench_linear(Context& c) {
  const std::int64_t scale = c.quick ? 8 : 1;
  for (const std::int64_t m : {1, 2, 4, 8})
    for (const Compute compute : {Compute::f32, Compute::bf16})
      few_rows(c, {DType::bf16, compute, m, 4096 / scale, 11008 / scale});
  few_rows(c, {DType::f32, Compute::f32, 1, 4096 / scale, 4096 / scale});
  few_rows(c, {DType::f16, Compute::f32, 1, 4096 / scale, 4096 / scale});
  struct Size {
    std::int64_t n, k;
  };
  for (const Size size : {Size{4096, 4096}, Size{11008, 4096}, Size{1280, 5120}})
    for (const std::int64_t m : {16, 64, 257}) {
      many_rows(c, {DType::f32, Compute::f32, m, size.n / scale, size.k / scale});
      many_rows(c, {DType::bf16, Compute::bf16, m, size.n / scale, size.k / scale});
    }
}

}  // namespace idefics::bench
