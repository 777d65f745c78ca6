// add: out = x + y; multiply: out = x * y; scale: out = x * factor; scaled_add: x += scale * y.
// All f32, any shape. Source: residual sums, and the tanh(alpha) gates of
// IdeficsGatedCrossAttentionLayer; torch.mul; docs/kernels/elementwise.md. Parallel over elements,
// no sum. Bound: bytes.

inline void add(float* out, const float* x, const float* y, std::int64_t count) {
  for_each_vector(count, [=](std::int64_t i, auto load, auto store)
                             IDEFICS_CPU_LAMBDA { store(load(x + i) + load(y + i), out + i); });
}

inline void multiply(float* out, const float* x, const float* y, std::int64_t count) {
  for_each_vector(count, [=](std::int64_t i, auto load, auto store)
                             IDEFICS_CPU_LAMBDA { store(load(x + i) * load(y + i), out + i); });
}

inline void scale(float* out, const float* x, float factor, std::int64_t count) {
  const F32x16 factors = F32x16::set(factor);
  for_each_vector(count, [=](std::int64_t i, auto load, auto store)
                             IDEFICS_CPU_LAMBDA { store(factors * load(x + i), out + i); });
}

inline void tanh_of(float* out, const float* x, std::int64_t count) {
  elementary(out, x, count, 1);
}

inline void scaled_add(float* x, const float* y, const float* scale, std::int64_t count) {
  for_each_vector(count, [=](std::int64_t i, auto load, auto store) IDEFICS_CPU_LAMBDA {
    store(F32x16::fma(load(scale + i), load(y + i), load(x + i)), x + i);
  });
}

inline void scaled_add_one(float* x, const float* y, float scale, std::int64_t count) {
  const F32x16 factor = F32x16::set(scale);
  for_each_vector(count, [=](std::int64_t i, auto load, auto store) IDEFICS_CPU_LAMBDA {
    store(F32x16::fma(factor, load(y + i), load(x + i)), x + i);
  });
}
