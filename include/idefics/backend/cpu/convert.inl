// Rounds f32 to f16 or bf16, to nearest, ties to even, with the bits of to_f16 and to_bf16. The
// other direction is exact; it is in embedding.inl. Bound: bytes.

template <void (F32x16::*store)(void*) const>
inline void narrow_to(std::byte* out, const std::byte* x, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16) (F32x16::load(x + 4 * i).*store)(out + 2 * i);
  if (i == count) return;
  const auto rest = static_cast<std::size_t>(count - i);
  float values[16] = {};
  std::uint16_t rounded[16];
  std::memcpy(values, x + 4 * i, 4 * rest);
  (F32x16::load(values).*store)(rounded);
  std::memcpy(out + 2 * i, rounded, 2 * rest);
}

inline void narrow(std::byte* out, DType dtype, const std::byte* x, std::int64_t count) {
  if (dtype == DType::f16)
    narrow_to<&F32x16::store_f16>(out, x, count);
  else
    narrow_to<&F32x16::store_bf16>(out, x, count);
}
