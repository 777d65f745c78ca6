// (a, b) -> (a cos - b sin, b cos + a sin), a and b the halves of each head. x [H,E] and cos, sin
// [E/2] are f32, of one position. Source: rotate-half of transformers' IdeficsAttention;
// docs/kernels/rope.md. Parallel over positions. No sum: each output is one product and one fused
// multiply-add. Bound: bytes of x.

inline void rope(float* x, const float* cos, const float* sin, std::int64_t heads,
                 std::int64_t half) {
  for (std::int64_t h = 0; h < heads; ++h, x += 2 * half)
    for_each_vector(half, [=](std::int64_t i, auto load, auto store) IDEFICS_CPU_LAMBDA {
      const F32x16 a = load(x + i), b = load(x + half + i);
      const F32x16 c = load(cos + i), s = load(sin + i);
      store(F32x16::fma(a, c, -(b * s)), x + i);
      store(F32x16::fma(b, c, a * s), x + half + i);
    });
}
