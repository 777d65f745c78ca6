// rms_norm:   out = x / sqrt(mean(x^2) + eps) * weight           x, out [M,D] f32, weight [D] f32
// layer_norm: out = (x - mean) / sqrt(mean((x - mean)^2) + eps) * weight + bias
// Source: transformers' IdeficsRMSNorm; torch.nn.LayerNorm; docs/kernels/norm.md. Parallel over
// rows. Order: 16 lanes over D, then the tree; layer_norm computes the mean first. Bound: bytes of
// x and out; the second and third passes over a row find it in cache.

IDEFICS_CPU_INLINE float inverse_root(float sum, std::int64_t d, float eps) {
  return 1.0f / std::sqrt(sum / static_cast<float>(d) + eps);
}

inline void rms_norm(float* out, const float* x, const float* weight, float eps, std::int64_t rows,
                     std::int64_t d) {
  for (std::int64_t m = 0; m < rows; ++m, x += d, out += d) {
    F32x16 squares = F32x16::zero();
    for_each_vector(d, [&](std::int64_t i, auto load, auto) IDEFICS_CPU_LAMBDA {
      const F32x16 at = load(x + i);
      squares = F32x16::fma(at, at, squares);
    });
    const F32x16 scale = F32x16::set(inverse_root(squares.sum(), d, eps));
    for_each_vector(d, [&](std::int64_t i, auto load, auto store) IDEFICS_CPU_LAMBDA {
      store(load(x + i) * scale * load(weight + i), out + i);
    });
  }
}

inline void layer_norm(float* out, const float* x, const float* weight, const float* bias,
                       float eps, std::int64_t rows, std::int64_t d) {
  for (std::int64_t m = 0; m < rows; ++m, x += d, out += d) {
    F32x16 total = F32x16::zero(), squares = F32x16::zero();
    for_each_vector(d, [&](std::int64_t i, auto load, auto)
                           IDEFICS_CPU_LAMBDA { total = total + load(x + i); });
    const F32x16 mean = F32x16::set(total.sum() / static_cast<float>(d));
    for_each_vector(d, [&](std::int64_t i, auto load, auto) IDEFICS_CPU_LAMBDA {
      F32x16 difference = load(x + i) - mean;
      if (i + 16 > d) difference = keep_part(difference, d - i);  // lanes after the row add 0
      squares = F32x16::fma(difference, difference, squares);
    });
    const F32x16 scale = F32x16::set(inverse_root(squares.sum(), d, eps));
    for_each_vector(d, [&](std::int64_t i, auto load, auto store) IDEFICS_CPU_LAMBDA {
      store(F32x16::fma((load(x + i) - mean) * scale, load(weight + i), load(bias + i)), out + i);
    });
  }
}
