// One row of an embedding table as f32: the exact value of each f32, f16 or bf16 element.
// Source: torch.nn.Embedding; transformers' IdeficsDecoupledEmbedding; docs/kernels/embedding.md.
// Parallel over tokens, no arithmetic. Bound: bytes. Small parameters (norm weights, biases, rotary
// tables) that are not stored in f32 are widened by the same function.

template <class T>
inline void convert_from(float* out, const std::byte* x, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    load_as_f32<T>(x + i * static_cast<std::int64_t>(sizeof(T))).store(out + i);
  if (i == count) return;
  store_part(load_tail<T>(x + i * static_cast<std::int64_t>(sizeof(T)), count - i), out + i,
             count - i);
}

inline void convert(float* out, const std::byte* x, DType dtype, std::int64_t count) {
  if (dtype == DType::f32)
    convert_from<float>(out, x, count);
  else if (dtype == DType::f16)
    convert_from<f16_t>(out, x, count);
  else
    convert_from<bf16_t>(out, x, count);
}
