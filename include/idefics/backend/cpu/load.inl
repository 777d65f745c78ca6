// Loads from storage into sixteen f32 lanes: one function per storage format, at any alignment.
// Conversions to f32 are exact.

template <class T, class V = F32x16>
IDEFICS_CPU_INLINE V load_as_f32(const std::byte* p) {
  if constexpr (std::is_same_v<T, float>)
    return V::load(reinterpret_cast<const float*>(p));
  else if constexpr (std::is_same_v<T, f16_t>)
    return V::load_f16(p);
  else
    return V::load_bf16(p);
}

/// Loads `count` <= 16 lanes; the others are zero.
IDEFICS_CPU_INLINE F32x16 load_part(const float* p, std::int64_t count) {
  float lanes[16] = {};
  std::memcpy(lanes, p, static_cast<std::size_t>(count) * sizeof(float));
  return F32x16::load(lanes);
}

IDEFICS_CPU_INLINE void store_part(F32x16 x, float* p, std::int64_t count) {
  float lanes[16];
  x.store(lanes);
  std::memcpy(p, lanes, static_cast<std::size_t>(count) * sizeof(float));
}

IDEFICS_CPU_INLINE F32x16 keep_part(F32x16 x, std::int64_t count) {
  float lanes[16];
  x.store(lanes);
  return load_part(lanes, count);
}

/// The last `count` < 16 values of a row of T, zero-padded.
template <class T>
IDEFICS_CPU_INLINE F32x16 load_tail(const std::byte* p, std::int64_t count) {
  std::byte values[16 * sizeof(T)] = {};
  std::memcpy(values, p, static_cast<std::size_t>(count) * sizeof(T));
  return load_as_f32<T>(values);
}

/// Loads all 16 lanes, and the first `rest`.
struct LoadWhole {
  IDEFICS_CPU_INLINE F32x16 operator()(const float* p) const { return F32x16::load(p); }
  IDEFICS_CPU_INLINE F32x16 operator()(const bf16_t* p) const { return F32x16::load_bf16(p); }
};
struct LoadPart {
  std::int64_t rest;
  IDEFICS_CPU_INLINE F32x16 operator()(const float* p) const { return load_part(p, rest); }
  IDEFICS_CPU_INLINE F32x16 operator()(const bf16_t* p) const {
    return load_tail<bf16_t>(reinterpret_cast<const std::byte*>(p), rest);
  }
};

/// Calls body(offset, load, store) for every 16 of `count` values; the last call handles the tail.
/// `load` reads f32 or bf16.
template <class Body>
IDEFICS_CPU_INLINE void for_each_vector(std::int64_t count, const Body& body) {
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    body(i, LoadWhole(), [](F32x16 x, float* p) IDEFICS_CPU_LAMBDA { x.store(p); });
  const std::int64_t rest = count - i;
  if (rest > 0)
    body(i, LoadPart{rest},
         [rest](F32x16 x, float* p) IDEFICS_CPU_LAMBDA { store_part(x, p, rest); });
}

/// The product of two steps of a chain, or of one.
template <bool pairs, class V>
IDEFICS_CPU_INLINE V product(V a, V b, V c) {
#if IDEFICS_CPU_BF16_PRODUCTS
  if constexpr (pairs)
    return V::fma_pairs(a, b, c);
  else
#endif
    return V::fma(a, b, c);
}
