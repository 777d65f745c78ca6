// Attention: flops per second against the peak of f32 products in prefill, bytes of keys and values
// against the read bandwidth in decode.
#include <numeric>

#include "bench.hpp"

namespace idefics::bench {
namespace {

struct Problem {
  const char* name;
  std::int64_t queries, keys, heads, width;
  bool causal;
};

void measure(Context& c, const Problem& p) {
  const Tensor q = random_tensor(DType::f32, {p.queries, p.heads, p.width}, 1.0f, 1);
  const Tensor k = random_tensor(DType::f32, {p.keys, p.heads, p.width}, 1.0f, 2);
  const Tensor v = random_tensor(DType::f32, {p.keys, p.heads, p.width}, 1.0f, 3);
  std::vector<std::int32_t> rows(static_cast<std::size_t>(p.keys));
  std::iota(rows.begin(), rows.end(), 0);
  const AttentionSegment segment{0, p.queries, rows, p.causal};
  Tensor out = Tensor::empty(DType::f32, q.shape()),
         expected = Tensor::empty(DType::f32, q.shape());
  c.fast.attention(out, q, k, v, {&segment, 1}, 0.1f);
  c.reference.attention(expected, q, k, v, {&segment, 1}, 0.1f);
  check_close(p.name, out, expected, 1e-5);
  const auto work = [&] { c.fast.attention(out, q, k, v, {&segment, 1}, 0.1f); };
  if (p.queries == 1) {
    const auto times = interleaved({[&] {
                                      read_all({k.raw(), k.bytes()});
                                      read_all({v.raw(), v.bytes()});
                                    },
                                    work},
                                   40);
    const auto bytes = static_cast<double>(k.bytes() + v.bytes());
    print_rate(p.name, times[1], bytes, "GB/s", bytes / times[0] / 1e9, "reading keys and values");
  } else {
    const auto times = interleaved({multiply_f32, work}, c.rounds());
    const double flops =
        4.0 * static_cast<double>(p.queries * p.keys * p.heads * p.width) * (p.causal ? 0.5 : 1);
    print_rate(p.name, times[1], flops, "GFLOP/s", multiply_f32_flops() / times[0] / 1e9,
               "f32 product peak");
  }
}

}  // namespace

void bench_attention(Context& c) {
  measure(c, {"attention, vision 257 x 257, 16 heads of 80", 257, 257, 16, 80, false});
  measure(c, {"attention, resampler 64 x 321, 16 heads of 96", 64, 321, 16, 96, false});
  if (c.quick) return;
  measure(c, {"attention, prefill 512, 32 heads of 128", 512, 512, 32, 128, true});
  measure(c, {"attention, decode 1 x 512, 32 heads of 128", 1, 512, 32, 128, true});
  measure(c, {"attention, decode 1 x 2048, 32 heads of 128", 1, 2048, 32, 128, true});
}

}  // namespace idefics::bench
