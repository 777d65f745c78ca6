// Linear layers with int8 weights: bytes of codes per second against the read bandwidth when there are
// few rows, products per second against the f32 product peak when there are many.
#include <idefics/backend/cpu/quantize.hpp>

#include "bench.hpp"

namespace idefics::bench {
namespace {

struct Problem {
  std::int64_t m, n, k;

  std::string name() const {
    return "linear int8, " + std::to_string(m) + " x " + std::to_string(n) + " x " +
           std::to_string(k);
  }
};

LinearWeight random_weight(const Problem& p, std::uint64_t seed) {
  return {.int8 = quantize_int8(random_tensor(DType::bf16, {p.n, p.k}, 0.02f, seed), DType::bf16)};
}

/// Checks a slice of the problem, since the reference is slow.
void check(Context& c, const Problem& p, const Tensor& x) {
  const Problem slice{std::min<std::int64_t>(p.m, 5), std::min<std::int64_t>(p.n, 37), p.k};
  const LinearWeight weight = random_weight(slice, 7);
  Tensor found = Tensor::empty(DType::f32, {slice.m, slice.n});
  Tensor expected = Tensor::empty(DType::f32, {slice.m, slice.n});
  c.fast.linear(found, x.slice(0, slice.m), weight, {}, Compute::f32);
  c.reference.linear(expected, x.slice(0, slice.m), weight, {}, Compute::f32);
  check_close(p.name(), found, expected, 1e-5);
}

/// With few rows, multiplies by several matrices in turn, so that none is in the cache.
void measure(Context& c, const Problem& p) {
  const bool few = p.m <= 8;
  const std::size_t bytes = static_cast<std::size_t>(p.n * p.k);
  const std::size_t copies = c.quick || !few ? 1 : 1 + (std::size_t{256} << 20) / bytes;
  std::vector<LinearWeight> weights;
  while (weights.size() < copies) weights.push_back(random_weight(p, weights.size() + 1));
  const Tensor x = random_tensor(DType::f32, {p.m, p.k}, 1.0f, 99);
  Tensor out = Tensor::empty(DType::f32, {p.m, p.n});
  check(c, p, x);
  std::size_t next = 0;
  const auto read = [&] { read_all({weights[next++ % copies].int8.codes.raw(), bytes}); };
  const auto multiply = [&] { c.fast.linear(out, x, weights[next++ % copies], {}, Compute::f32); };
  if (few) {
    const auto medians = interleaved({read, multiply}, c.quick ? 3 : 60);
    print_rate(p.name(), medians[1], static_cast<double>(bytes), "GB/s",
               static_cast<double>(bytes) / medians[0] / 1e9, "read bandwidth");
  } else {
    const auto medians = interleaved({multiply_f32, multiply}, c.rounds());
    print_rate(p.name(), medians[1], 2.0 * static_cast<double>(p.m * p.n * p.k), "GOP/s",
               multiply_f32_flops() / medians[0] / 1e9, "f32 product peak");
  }
}

}  // namespace

void bench_linear_int8(Context& c) {
  const std::int64_t scale = c.quick ? 8 : 1;
  for (const std::int64_t m : {1, 4, 64, 257})
    measure(c, {m, 4096 / scale, 11008 / scale / 64 * 64});
}

}  // namespace idefics::bench
