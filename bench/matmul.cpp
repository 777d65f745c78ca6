// Products of two matrices: bytes of b against the read bandwidth when a has few rows, flops against
// the product peak when it has many.
#include "bench.hpp"

namespace idefics::bench {
namespace {

struct Problem {
  std::int64_t m, n, k;

  std::string name() const {
    return "matmul " + std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k);
  }
};

/// Checks a few rows and columns, since the reference is slow.
void check(Context& c, const Problem& p, const Tensor& a) {
  const std::int64_t m = std::min<std::int64_t>(p.m, 9), n = std::min<std::int64_t>(p.n, 37);
  const Tensor b = random_tensor(DType::f32, {p.k, n}, 0.02f, 3);
  Tensor found = Tensor::empty(DType::f32, {m, n}), expected = Tensor::empty(DType::f32, {m, n});
  c.fast.matmul(found, a.slice(0, m), b);
  c.reference.matmul(expected, a.slice(0, m), b);
  check_close(p.name(), found, expected, 1e-5);
}

/// Multiplies by several matrices in turn, so that none is in the cache.
void few_rows(Context& c, const Problem& p) {
  const auto bytes = static_cast<std::size_t>(p.n * p.k) * sizeof(float);
  const std::size_t copies = c.quick ? 1 : 1 + (std::size_t{512} << 20) / bytes;
  std::vector<Tensor> matrices;
  for (std::size_t i = 0; i < copies; ++i)
    matrices.push_back(random_tensor(DType::f32, {p.k, p.n}, 0.02f, i + 1));
  const Tensor a = random_tensor(DType::f32, {p.m, p.k}, 1.0f, 99);
  Tensor out = Tensor::empty(DType::f32, {p.m, p.n});
  check(c, p, a);
  std::size_t next = 0;
  const auto medians = interleaved({[&] {
                                      read_all({matrices[next++ % copies].raw(), bytes});
                                    },
                                    [&] { c.fast.matmul(out, a, matrices[next++ % copies]); }},
                                   c.quick ? 3 : 60);
  const auto work = static_cast<double>(bytes);
  print_rate(p.name(), medians[1], work, "GB/s", work / medians[0] / 1e9, "read bandwidth");
}

void many_rows(Context& c, const Problem& p) {
  const Tensor b = random_tensor(DType::f32, {p.k, p.n}, 0.02f, 1);
  const Tensor a = random_tensor(DType::f32, {p.m, p.k}, 1.0f, 99);
  Tensor out = Tensor::empty(DType::f32, {p.m, p.n});
  check(c, p, a);
  const auto medians = interleaved({multiply_f32, [&] { c.fast.matmul(out, a, b); }}, c.rounds());
  print_rate(p.name(), medians[1], 2.0 * static_cast<double>(p.m * p.n * p.k), "GFLOP/s",
             multiply_f32_flops() / medians[0] / 1e9, "f32 product peak");
}

}  // namespace

void bench_matmul(Context& c) {
  const std::int64_t scale = c.quick ? 8 : 1;
  for (const std::int64_t m : {1, 2, 4, 8}) few_rows(c, {m, 4096 / scale, 4096 / scale});
  for (const std::int64_t m : {16, 64, 257}) many_rows(c, {m, 4096 / scale, 4096 / scale});
}

}  // namespace idefics::bench
