// Transposes a matrix of elements of 1, 2, 4 or 8 bytes, which may be part of a larger one.
// Source: torch.transpose; docs/kernels/transpose.md. Parallel over blocks of the matrix, no
// arithmetic. Tiles of 16 x 16 elements pass through a buffer, so that each cache line of x and out
// is accessed once, even if rows are a power of two apart. Bound: bytes of x and out, or one element
// per cycle.

/// Rows [0, rows) and columns [0, columns) of a tile, at most 16 each.
template <class T>
IDEFICS_CPU_INLINE void transpose_tile(const TransposeArgs& t, std::int64_t row,
                                       std::int64_t column, std::int64_t rows,
                                       std::int64_t columns) {
  constexpr auto size = static_cast<std::int64_t>(sizeof(T));
  T tile[16][16], turned[16];
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::byte* from = t.x + ((row + i) * t.x_stride + column) * size;
    const std::int64_t below = std::min<std::int64_t>(16, t.rows - 1 - row - i);
    __builtin_prefetch(from + below * t.x_stride * size);  // for the next tile of these columns
    std::memcpy(tile[i], from, static_cast<std::size_t>(columns * size));
  }
  for (std::int64_t j = 0; j < columns; ++j) {
    for (std::int64_t i = 0; i < rows; ++i) turned[i] = tile[i][j];
    std::memcpy(t.out + ((column + j) * t.out_stride + row) * size, turned,
                static_cast<std::size_t>(rows * size));
  }
}

template <class T>
inline void transpose_all(const TransposeArgs& t) {
  for (std::int64_t i = 0; i < t.rows; i += 16)
    for (std::int64_t j = 0; j < t.columns; j += 16) {
      const std::int64_t rows = t.rows - i, columns = t.columns - j;
      if (rows >= 16 && columns >= 16)
        transpose_tile<T>(t, i, j, 16, 16);
      else
        transpose_tile<T>(t, i, j, std::min<std::int64_t>(rows, 16),
                          std::min<std::int64_t>(columns, 16));
    }
}

inline void transpose(const TransposeArgs& t, std::size_t element) {
  if (element == 1) return transpose_all<std::uint8_t>(t);
  if (element == 2) return transpose_all<std::uint16_t>(t);
  if (element == 4) return transpose_all<std::uint32_t>(t);
  transpose_all<std::uint64_t>(t);
}
