// Loads from storage into sixteen f32 lanes: one function per storage format, at any alignment.
// Conversions to f32 are exact; only the bf16 order rounds values, to bf16.

template <class T, class V = F32x16>
IDEFICS_CPU_INLINE V load_as_f32(const std::byte* p) {
  if constexpr (std::is_same_v<T, float>)
    return V::load(reinterpret_cast<const float*>(p));
  else if constexpr (std::is_same_v<T, f16_t>)
    return V::load_f16(p);
  else
    return V::load_bf16(p);
}

/// Loads `count` < 16 lanes; the others are zero.
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

/// Calls body(offset, load, store) for every 16 of `count` values; the last call handles the tail.
template <class Body>
IDEFICS_CPU_INLINE void for_each_vector(std::int64_t count, const Body& body) {
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    body(
        i, [](const float* p) IDEFICS_CPU_LAMBDA { return F32x16::load(p); },
        [](F32x16 x, float* p) IDEFICS_CPU_LAMBDA { x.store(p); });
  const std::int64_t rest = count - i;
  if (rest > 0)
    body(
        i, [rest](const float* p) IDEFICS_CPU_LAMBDA { return load_part(p, rest); },
        [rest](F32x16 x, float* p) IDEFICS_CPU_LAMBDA { store_part(x, p, rest); });
}

/// The K values that one step of a layout reads, and the vectors that it gives.
template <Layout layout>
struct Step {
  static constexpr int values = layout == Layout::natural ? 16 : 32;
  static constexpr int vectors = layout == Layout::split_pairs ? 2 : 1;
};

/// Rounds 32 values of T to bf16.
template <class T>
IDEFICS_CPU_OUTLINE inline void round_to_bf16(const std::byte* p, bf16_t* rounded) {
  T values[32];
  std::memcpy(values, p, sizeof values);
  for (int i = 0; i < 32; ++i) rounded[i] = to_bf16(to_f32(values[i]));
}

/// Vector `i` of the step that begins at p, from lane `lane` on. For pairs, T must be bf16.
template <Layout layout, class T, class V>
IDEFICS_CPU_INLINE V fetch(const std::byte* p, int i, int lane) {
  if constexpr (layout == Layout::natural)
    return load_as_f32<T, V>(p + lane * static_cast<int>(sizeof(T)));
  else if constexpr (layout == Layout::split_pairs)
    return i == 0 ? V::load_bf16_odd(p + 4 * lane) : V::load_bf16_even(p + 4 * lane);
  else
    return V::load(reinterpret_cast<const float*>(p) + lane);
}

/// All vectors of one step of a row of T, rounded to bf16 if the layout requires it.
template <Layout layout, class T>
IDEFICS_CPU_INLINE void fetch_step(const std::byte* p, F32x16* vectors) {
  if constexpr (layout != Layout::natural && !std::is_same_v<T, bf16_t>) {
    bf16_t rounded[32];
    round_to_bf16<T>(p, rounded);
    fetch_step<layout, bf16_t>(reinterpret_cast<const std::byte*>(rounded), vectors);
  } else {
    for (int i = 0; i < Step<layout>::vectors; ++i) vectors[i] = fetch<layout, T, F32x16>(p, i, 0);
  }
}

/// The last step of a row, which has `count` values, zero-padded.
template <Layout layout, class T>
IDEFICS_CPU_INLINE void fetch_part(const std::byte* p, std::int64_t count, F32x16* vectors) {
  std::byte values[32 * sizeof(T)] = {};
  std::memcpy(values, p, static_cast<std::size_t>(count) * sizeof(T));
  fetch_step<layout, T>(values, vectors);
}
