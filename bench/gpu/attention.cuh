// Attention: the bytes of keys and values relative to the read bandwidth if each row has one query,
// flops if it has many. The shapes are those of idefics-9b.
#pragma once

#include <numeric>

#include "harness.cuh"

namespace idefics::bench::gpu {

/// `segments` instances of the same problem in one call: pictures, or rows of a batch.
struct AttentionProblem {
  const char* name;
  std::int64_t segments, queries, keys, heads, width;
  bool causal = false;

  double pairs() const {  // pairs of a query and a key that it sees
    const std::int64_t unseen = causal ? queries * (queries - 1) / 2 : 0;
    return static_cast<double>(segments * (queries * keys - unseen));
  }
};

inline void measure_attention(Harness& h, const AttentionProblem& p) {
  const Shape q_shape{p.segments * p.queries, p.heads, p.width};
  const Shape k_shape{p.segments * p.keys, p.heads, p.width};
  const Tensor host_q = random_tensor(DType::f32, q_shape, 1.0f, 1);
  const Tensor host_k = random_tensor(DType::f32, k_shape, 1.0f, 2);
  const Tensor host_v = random_tensor(DType::f32, k_shape, 1.0f, 3);
  std::vector<std::int32_t> rows(static_cast<std::size_t>(k_shape[0]));
  std::iota(rows.begin(), rows.end(), 0);
  std::vector<AttentionSegment> segments;
  for (std::int64_t s = 0; s < p.segments; ++s)
    segments.push_back({s * p.queries, (s + 1) * p.queries,
                        std::span<const std::int32_t>(rows).subspan(
                            static_cast<std::size_t>(s * p.keys), static_cast<std::size_t>(p.keys)),
                        p.causal});
  const auto copies = h.copies(host_k.bytes() + host_v.bytes());
  const auto k = uploaded(h, host_k, copies), v = uploaded(h, host_v, copies);
  const Tensor q = h.device.upload(host_q);
  Tensor out = h.device.empty(DType::f32, q_shape);
  const auto run = [&](std::size_t i) {
    h.device.attention(out, q, k[i % copies], v[i % copies], segments, 0.1f);
  };
  if (p.pairs() * static_cast<double>(p.heads * p.width) < 2e8) {  // else the reference is too slow
    Tensor expected = Tensor::empty(DType::f32, q_shape);
    h.reference.attention(expected, host_q, host_k, host_v, segments, 0.1f);
    run(0);
    check_close(h, p.name, out, expected);
  }
  const double seconds = device_seconds(h, run);
  if (p.queries == 1)
    print_bytes(h, p.name, seconds, static_cast<double>(host_k.bytes() + host_v.bytes()));
  else
    print_row(p.name, seconds, 4 * p.pairs() * static_cast<double>(p.heads * p.width), true, 0, "");
}

inline void measure_attention(Harness& h) {
  print_header("attention");
  if (h.quick) {
    measure_attention(h, {"2 x 5 queries, 3 heads of 12", 2, 5, 5, 3, 12, true});
    return measure_attention(h, {"decode 1 x 70, 2 heads of 16", 1, 1, 70, 2, 16, true});
  }
  measure_attention(h, {"vision, 1 picture: 257 x 257, 16 heads of 80", 1, 257, 257, 16, 80});
  measure_attention(h, {"vision, 4 pictures", 4, 257, 257, 16, 80});
  measure_attention(h, {"perceiver, 1 picture: 64 x 321, 16 heads of 96", 1, 64, 321, 16, 96});
  measure_attention(h, {"gated cross: 512 x 64, 32 heads of 128", 1, 512, 64, 32, 128});
  measure_attention(h, {"prefill 64, 32 heads of 128", 1, 64, 64, 32, 128, true});
  measure_attention(h, {"prefill 512", 1, 512, 512, 32, 128, true});
  measure_attention(h, {"decode 1 x 512, 32 heads of 128", 1, 1, 512, 32, 128, true});
  measure_attention(h, {"decode 1 x 2048", 1, 1, 2048, 32, 128, true});
  measure_attention(h, {"decode 8 x 512", 8, 1, 512, 32, 128, true});
}

}  // namespace idefics::bench::gpu
