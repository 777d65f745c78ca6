// The bf16 order of linear_bf16.inl by `tdpbf16ps`, for many rows of x. Operand A is sixteen weight
// rows of 64 bytes, as they are in memory; operand B is sixteen rows of x, packed once; a product is
// one block of K. Sums are [weight row][row of x], and are transposed at the end. Bound: product
// peak, or bytes of w.

inline constexpr std::int64_t amx_rows = 16, amx_tile = 1024;  // rows and bytes of a tile

/// The configuration of the tile registers while it exists: eight of sixteen rows of 64 bytes.
class TileRegisters {
 public:
  TileRegisters() {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    // GCC 12 does not know that the instruction reads memory.
    __asm__ volatile("" : : "r"(&config) : "memory");
    _tile_loadconfig(&config);
  }
  ~TileRegisters() { _tile_release(); }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
};

/// Packs tiles [begin, end) of x, sixteen rows each: of every block of K, sixteen pairs of values of
/// all rows. Rows that do not exist are zero.
inline void pack_amx_tiles(float* packed, const float* x, std::int64_t begin, std::int64_t end,
                           std::int64_t m, std::int64_t k) {
  for (std::int64_t i = begin; i < end; ++i)
    for (std::int64_t at = 0; at < k; at += block_values) {
      float* to = packed + i * amx_rows * packed_floats(Layout::paired, k) + at / 2 * amx_rows;
      for (std::int64_t r = 0; r < amx_rows; ++r) {
        std::uint16_t values[block_values] = {};
        for (std::int64_t j = 0; i * amx_rows + r < m && j < block_values; j += 16) {
          const float* from = x + (i * amx_rows + r) * k + at + j;
          const std::int64_t rest = std::clamp<std::int64_t>(k - at - j, 0, 16);
          (rest == 16 ? F32x16::load(from) : load_part(from, rest)).store_bf16(values + j);
        }
        for (int j = 0; j < block_dwords; ++j)
          std::memcpy(to + j * amx_rows + r, values + 2 * j, 4);
      }
    }
}

/// Where the blocks of 32 weight rows are: in place, or rounded and padded.
struct AmxRows {
  const std::byte* first;
  std::int64_t row_bytes, block_bytes;
};

/// 32 weight rows from n on; `copy` has room for them.
template <class T>
inline AmxRows amx_rows_of(const LinearArgs& t, std::int64_t n, std::int64_t n_end,
                           std::byte* copy) {
  constexpr auto size = static_cast<std::int64_t>(sizeof(T));
  const std::byte* p = t.weight + n * t.k * size;
  const std::int64_t rows = std::min<std::int64_t>(2 * amx_rows, n_end - n);
  if (std::is_same_v<T, bf16_t> && rows == 2 * amx_rows && t.k % block_values == 0)
    return {p, t.k * size, 64};
  for (std::int64_t k = 0; k < t.k; k += block_values)
    copy_rows<T>(copy + k / block_values * 2 * amx_tile, 2 * amx_rows, block_values, p + k * size,
                 t.k * size, rows, std::min(block_values, t.k - k));
  return {copy, 64, 2 * amx_tile};
}

/// Stores a tile of sums: rows [m, m + 16) of x, as far as they exist, and `rows` weight rows.
inline void store_amx_tile(const LinearArgs& t, const float* sums, std::int64_t m, std::int64_t n,
                           std::int64_t rows) {
  Lanes by_x[16];
  Lanes::transposed<false>(reinterpret_cast<const std::byte*>(sums), 64, 512, by_x);
  for (std::int64_t i = 0; i < std::min(amx_rows, t.m - m); ++i) {
    float some[16];
    by_x[i].store(some);
    store_outputs(t, some, m + i, n, rows);
  }
}

/// 32 weight rows times rows [m, m + 32) of x: four tiles of sums.
inline void multiply_amx(const LinearArgs& t, const AmxRows& w, std::int64_t m, float* sums) {
  const std::int64_t blocks = ceil_div(t.k, block_values);
  const auto* x = reinterpret_cast<const std::byte*>(t.x) + m / amx_rows * blocks * amx_tile;
  // with one tile of x left, it is multiplied twice
  const std::byte* next = m + amx_rows < t.m ? x + blocks * amx_tile : x;
  const std::byte *upper = w.first, *lower = w.first + amx_rows * w.row_bytes;
  const auto stride = static_cast<std::size_t>(w.row_bytes);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::int64_t i = 0; i < blocks; ++i) {
    _tile_loadd(4, upper, stride);
    _tile_loadd(6, x, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, lower, stride);
    _tile_dpbf16ps(1, 5, 6);
    _tile_loadd(7, next, 64);
    _tile_dpbf16ps(2, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
    upper += w.block_bytes, lower += w.block_bytes, x += amx_tile, next += amx_tile;
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + 256, 64);
  _tile_stored(2, sums + 512, 64);
  _tile_stored(3, sums + 768, 64);
  __asm__ volatile("" : : : "memory");
}

/// Weight rows [n_begin, n_end) times all tiles of x. Scratch: four tiles of sums, and 32 weight rows.
template <class T>
inline void gemm_amx(const LinearArgs& t, std::int64_t n_begin, std::int64_t n_end,
                     float* scratch) {
  const TileRegisters registers;
  for (std::int64_t n = n_begin; n < n_end; n += 2 * amx_rows) {
    const AmxRows w = amx_rows_of<T>(t, n, n_end, reinterpret_cast<std::byte*>(scratch + amx_tile));
    for (std::int64_t m = 0; m < t.m; m += 2 * amx_rows) {
      multiply_amx(t, w, m, scratch);
      for (std::int64_t i = 0; i < 4; ++i) {
        const std::int64_t at = n + i % 2 * amx_rows, x = m + i / 2 * amx_rows;
        if (at < n_end && x < t.m)
          store_amx_tile(t, scratch + i * 256, x, at, std::min(amx_rows, n_end - at));
      }
    }
  }
}

/// Kernels for many rows, and those of `few` for few.
constexpr LinearKernels linear_amx_kernels(const LinearKernels& few) {
  LinearKernels kernels = few;
  kernels.matrix = true;
  kernels.gemv_rows = gemv_rows_max;
  kernels.tile_x_rows = amx_rows;
  kernels.tile_w_rows = 2 * amx_rows;
  kernels.pack_tiles = pack_amx_tiles;
  kernels.gemm = {gemm_amx<float>, gemm_amx<f16_t>, gemm_amx<bf16_t>};
  return kernels;
}
