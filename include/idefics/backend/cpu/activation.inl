// out = act(x), and out = act(gate) * up.                                  all f32, any shape
// Source: transformers' ACT2FN; docs/kernels/activation.md. Parallel over elements, no sum; exp,
// tanh and erf are in math.inl. Bound: bytes of x and out, or the arithmetic of these functions.

IDEFICS_CPU_INLINE F32x16 sigmoid(F32x16 x) {
  const F32x16 one = F32x16::set(1.0f);
  return one / (one + exp(-x));
}

IDEFICS_CPU_INLINE F32x16 gelu(F32x16 x) {
  const F32x16 cdf = erf(x * F32x16::set(0.70710678f)) + F32x16::set(1.0f);
  return x * F32x16::set(0.5f) * cdf;
}

IDEFICS_CPU_INLINE F32x16 gelu_tanh(F32x16 x) {
  const F32x16 cube = x * x * x;
  const F32x16 inner = F32x16::fma(cube, F32x16::set(0.044715f), x) * F32x16::set(0.79788456f);
  return x * F32x16::set(0.5f) * (tanh(inner) + F32x16::set(1.0f));
}

/// With e = exp(x), tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2); from x = 20 on it is 1.
IDEFICS_CPU_INLINE F32x16 mish(F32x16 x) {
  const F32x16 e = exp(F32x16::min(F32x16::set(20.0f), x)), two = F32x16::set(2.0f);
  const F32x16 product = e * (e + two);
  return x * (product / (product + two));
}

template <Activation act>
IDEFICS_CPU_INLINE F32x16 activate(F32x16 x) {
  const F32x16 zero = F32x16::zero(), one = F32x16::set(1.0f);
  if constexpr (act == Activation::relu) return F32x16::max(zero, x);
  if constexpr (act == Activation::relu2) return F32x16::max(zero, x) * F32x16::max(zero, x);
  if constexpr (act == Activation::relu6)
    return F32x16::min(F32x16::set(6.0f), F32x16::max(zero, x));
  if constexpr (act == Activation::leaky_relu)
    return F32x16::where_less(x, zero, x * F32x16::set(0.01f), x);
  if constexpr (act == Activation::silu) return x / (one + exp(-x));
  if constexpr (act == Activation::gelu) return gelu(x);
  if constexpr (act == Activation::gelu_tanh) return gelu_tanh(x);
  if constexpr (act == Activation::clipped_gelu)
    return F32x16::min(F32x16::set(10.0f), F32x16::max(F32x16::set(-10.0f), gelu(x)));
  if constexpr (act == Activation::quick_gelu) return x * sigmoid(x * F32x16::set(1.702f));
  if constexpr (act == Activation::mish) return mish(x);
  if constexpr (act == Activation::laplace)  // 1 / (0.282095 sqrt 2)
    return (erf((x - F32x16::set(0.707107f)) * F32x16::set(2.5066268f)) + one) * F32x16::set(0.5f);
  if constexpr (act == Activation::sigmoid) return sigmoid(x);
  if constexpr (act == Activation::tanh) return tanh(x);
  return x;
}

/// out = act(x), times `up` unless that is null.
template <Activation act>
inline void activate_all(float* out, const float* x, const float* up, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const F32x16 y = activate<act>(F32x16::load(x + i));
    (up == nullptr ? y : y * F32x16::load(up + i)).store(out + i);
  }
  if (i == count) return;
  float padded[16], padded_up[16];  // the tail as a full vector
  load_part(x + i, count - i).store(padded);
  if (up != nullptr) load_part(up + i, count - i).store(padded_up);
  activate_all<act>(padded, padded, up == nullptr ? nullptr : padded_up, 16);
  store_part(F32x16::load(padded), out + i, count - i);
}

inline void gated_activation(float* out, const float* x, const float* up, std::int64_t count,
                             Activation act) {
  switch (act) {
#define IDEFICS_CPU_CASE(name) \
  case Activation::name: return activate_all<Activation::name>(out, x, up, count);
    IDEFICS_CPU_CASE(relu)
    IDEFICS_CPU_CASE(relu2)
    IDEFICS_CPU_CASE(relu6)
    IDEFICS_CPU_CASE(leaky_relu)
    IDEFICS_CPU_CASE(silu)
    IDEFICS_CPU_CASE(gelu)
    IDEFICS_CPU_CASE(gelu_tanh)
    IDEFICS_CPU_CASE(clipped_gelu)
    IDEFICS_CPU_CASE(quick_gelu)
    IDEFICS_CPU_CASE(mish)
    IDEFICS_CPU_CASE(laplace)
    IDEFICS_CPU_CASE(sigmoid)
    IDEFICS_CPU_CASE(tanh)
    IDEFICS_CPU_CASE(identity)
#undef IDEFICS_CPU_CASE
  }
}
