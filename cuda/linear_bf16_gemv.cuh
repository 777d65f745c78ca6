// Products in the bf16 order for up to 16 rows of x.
//
// A block owns a band of 16 weight rows, or several bands one after another; each of
// its 8 warps has a slice of K. The weights are the left operand, of 16 rows, and x is the right
// one, of 8, so that 8 rows of x cost the same as one.
//
//            slice 0   slice 1        slice 7
//         ┌─────────┬─────────┬─ … ─┬─────────┐
//   16 n  │ warp 0  │ warp 1  │     │ warp 7  │  → 8 partial sums of 16 x 8, added in shared memory
//         └─────────┴─────────┴─ … ─┴─────────┘
//   x, bf16, in shared memory: rounded once per block (up to 8 rows that fit)
//
//   128 k of a slice │ 16 loads of 8 bytes: 2 weight rows x 8 │ 8 x (x from shared memory, multiply)
//
// All loads of a turn are issued before the first of their values is used, so a turn waits for
// device memory once. What is left of a slice, a step of 64 k, is a turn of its own. Rows that are
// not aligned or do not consist of whole steps, and weights in f32 or f16, take turns of 64 k and
// check every load.
//
// Bound: the bytes of w. Machine code of the main loop: tests/cuda/sass.py.
#pragma once

#include "activation.cuh"
#include "gemv_group.cuh"
#include "linear_bf16.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int gemv_bf16_threads = 32 * k_slices;

/// The slices of a K of `total`.
struct Slices {
  int width = 0, count = 0, total = 0;

  bool operator==(const Slices&) const = default;

  __device__ int begin(int slice) const { return slice * width; }
  __device__ int end(int slice) const {
    return (slice + 1) * width < total ? (slice + 1) * width : total;
  }
};
inline Slices slices_of(std::int64_t total, std::int64_t multiple = k_step) {
  const int width = slice_width(total, multiple);
  return {width, static_cast<int>(ceil_div(total, width)), static_cast<int>(total)};
}

/// The X of rows in f32 that are normalised before they are rounded. A type of its own, so that other
/// kernels need no registers for it.
struct Normed {};

/// Up to 16 rows of x: in f32, up to 8 that fit, or in bf16, padded with zeros to a whole step.
template <class X>
struct GemvRows {
  using Value = std::conditional_t<std::is_same_v<X, Normed>, float, X>;
  const Value* data = nullptr;
  std::int64_t count = 0, width = 0;
  bool aligned = false;         // rows are aligned to four values
  const float* norm = nullptr;  // [K], the weight of the norm
  float eps = 0;

  bool operator==(const GemvRows&) const = default;
};

inline GemvRows<float> gemv_rows(const float* x, std::int64_t m, std::int64_t k) {
  return {x, m, k, in_quads(x, k)};
}
inline GemvRows<Normed> gemv_rows(const float* x, std::int64_t m, std::int64_t k, const float* norm,
                                  float eps) {
  return {x, m, k, in_quads(x, k) && in_quads(norm, k), norm, eps};
}
inline GemvRows<bf16_t> gemv_rows(const bf16_t* rounded, std::int64_t m, std::int64_t k) {
  return {rounded, m, rounded_width(k), true};
}

/// Whether rows of x fit into shared memory, 64 KiB of it, so that several blocks share a
/// multiprocessor. Then each block rounds them itself, which saves a launch.
inline bool rounded_late(std::int64_t m, std::int64_t k) {
  return m <= 8 && m * rounded_width(k) <= 32 * 1024;
}

/// Whether blocks compute rms_norm of rows of x themselves, which saves a launch. Each of them reads
/// all rows twice, so with more rows the norm is a kernel of its own, which writes bf16.
inline bool normed_late(std::int64_t m, std::int64_t k) { return m <= 2 && rounded_late(m, k); }

/// What rms_norm multiplies a row [K] by, besides its weight, in each lane of the warp that calls it.
/// The order of the sum is that of rms_norm_kernel, whose 8 warps one warp takes in turn.
__device__ inline float rms_scale(const float* row, int k_width, float eps, bool quads) {
  float of_warp[8] = {};
  for (int begin = 4 * lane_of_warp(); begin < k_width; begin += 1024) {
    float v[8][4];
    UNROLL
    for (int warp = 0; warp < 8; ++warp)
      load_quad(v[warp], row + begin + 128 * warp, k_width - begin - 128 * warp, quads);
    UNROLL
    for (int i = 0; i < 32; ++i)
      of_warp[i / 4] = fmaf(v[i / 4][i % 4], v[i / 4][i % 4], of_warp[i / 4]);
  }
  UNROLL
  for (int warp = 0; warp < 8; ++warp) of_warp[warp] = lane_sum(of_warp[warp]);
  UNROLL
  for (int half = 4; half > 0; half /= 2) UNROLL
  for (int warp = 0; warp < half; ++warp) of_warp[warp] += of_warp[warp + half];
  return 1.0f / sqrtf(of_warp[0] / static_cast<float>(k_width) + eps);
}

/// Where the threads of a block find x. `staged`: the block keeps it in shared memory, in bf16.
/// `skew` values separate its rows, so that lanes that read eight of them at a time use different
/// banks.
template <class X, bool staged, int skew>
struct GemvInput {
  const GemvRows<X>& x;
  bf16_t* shared;

  static std::size_t shared_bytes(const GemvRows<X>& x) {
    return staged ? sizeof(bf16_t) * x.count * (rounded_width(x.width) + skew) : 0;
  }
  /// All threads take part; a barrier must follow. `whole`: rows are aligned and whole steps.
  template <bool whole>
  __device__ void stage() const {
    if constexpr (std::is_same_v<X, Normed>) {
      stage_normed<whole>();
    } else if constexpr (staged) {
      const int padded = static_cast<int>(rounded_width(x.width));
      for (int m = 0; m < static_cast<int>(x.count); ++m) {
        const X* const row = x.data + m * x.width;
        UNROLL_BY(4)
        for (int k = 4 * thread_of_block(); k < padded; k += 4 * gemv_bf16_threads)
          store_vector(shared + m * (padded + skew) + k,
                       load_bf16x4<whole>(row + k, x.width - k, x.aligned));
      }
    }
  }
  template <bool whole>
  __device__ void stage_normed() const {
    SHARED_ARRAY(float, scales, 8);
    const int width = static_cast<int>(x.width), padded = static_cast<int>(rounded_width(width));
    const bool quads = whole || x.aligned;
    if (const int m = warp_of_block(); m < static_cast<int>(x.count)) {
      const float scale = rms_scale(x.data + m * width, width, x.eps, quads);
      if (lane_of_warp() == 0) scales[m] = scale;
    }
    __syncthreads();
    for (int m = 0; m < static_cast<int>(x.count); ++m) {
      UNROLL_BY(4)
      for (int k = 4 * thread_of_block(); k < padded; k += 4 * gemv_bf16_threads) {
        float v[4], w[4];
        load_quad(v, x.data + m * width + k, width - k, quads);
        load_quad(w, x.norm + k, width - k, quads);
        for (int i = 0; i < 4; ++i) v[i] = v[i] * scales[m] * w[i];
        store_vector(shared + m * (padded + skew) + k,
                     make_uint2(pack_pair<bf16_t>(v[0], v[1]), pack_pair<bf16_t>(v[2], v[3])));
      }
    }
  }
  /// Row m. Rows past the last repeat it: their outputs are not stored.
  __device__ const bf16_t* row(int m) const {
    const int at = m < static_cast<int>(x.count) ? m : static_cast<int>(x.count) - 1;
    if constexpr (staged)
      return shared + at * (static_cast<int>(rounded_width(x.width)) + skew);
    else
      return x.data + at * x.width;
  }
};

/// Shares of x for `count` multiplications or pairs of them, `distance` apart: read from shared
/// memory when they are used, or from device memory in advance.
template <class V, bool staged, int count, int distance, int tiles>
struct GemvOperands {
  const bf16_t* const (&rows)[tiles];
  V loaded[staged ? 1 : count][tiles];

  __device__ explicit GemvOperands(const bf16_t* const (&of_tiles)[tiles], int left = count)
      : rows(of_tiles) {
    if constexpr (!staged) {
      UNROLL
      for (int i = 0; i < count; ++i) UNROLL
      for (int tile = 0; tile < tiles; ++tile)
        if (i < left) loaded[i][tile] = load_global<V>(rows[tile] + i * distance);
    }
  }
  __device__ V operator()(int i, int tile) const {
    if constexpr (staged)
      return load_vector<V>(rows[tile] + i * distance);
    else
      return loaded[i][tile];
  }
};

/// The output that a thread stores, if any, of the 16 n x 8*tiles m of a band, or 8 n in a gated
/// group; up to 256.
struct GemvOutput {
  int m, row, n;  // weight row of the band, and of the matrix
  bool exists;

  __device__ GemvOutput(int thread, int n0, std::int64_t m_rows, std::int64_t n_rows, int outputs)
      : m(thread / 16),
        row(thread % 16),
        n(n0 + row),
        exists(m < m_rows && n < n_rows && row < outputs) {}
  __device__ LinearEnd::Terms load(const LinearEnd& end, std::int64_t n_rows) const {
    return exists ? end.load(m, n, n_rows) : LinearEnd::Terms{};
  }
};

/// Row 0 or 8 of a band plus g, with g = lane / 4; rows past the last repeat it.
__device__ inline std::int64_t band_row(int n0, int half, int n_rows) {
  const int n = n0 + 8 * half + lane_of_warp() / 4;
  return n < n_rows ? n : n_rows - 1;
}

/// Adds the slices, one per warp, in order. `partial` is shared, [8 slices][tiles][16 n][8 m].
template <int tiles>
__device__ inline float sum_of_slices(const float* partial, int m, int row, int slices) {
  const int at = m / 8 * 128 + row * 8 + m % 8;
  float of_slice[k_slices];
  UNROLL
  for (int slice = 0; slice < k_slices; ++slice)
    of_slice[slice] = partial[slice * tiles * 128 + at];
  float sum = of_slice[0];
  UNROLL
  for (int slice = 1; slice < k_slices; ++slice)
    if (slice < slices) sum += of_slice[slice];
  return sum;
}

/// Adds the slices and stores the outputs. `gated`: of gate and up.
template <int tiles>
__device__ inline void add_slices(float* out, const float* partial, const LinearEnd& end,
                                  const LinearEnd::Terms& terms, const GemvOutput& output,
                                  std::int64_t n_rows, int slices, bool gated = false) {
  if (!output.exists) return;
  float y = end(sum_of_slices<tiles>(partial, output.m, output.row, slices), terms);
  if (gated)
    y = activations::activate<Activation::silu>(y) *
        sum_of_slices<tiles>(partial, output.m, output.row + 8, slices);
  out[output.m * n_rows + output.n] = y;
}

/// Stores the fragment of a warp to its position in `partial`.
template <int tiles>
__device__ inline void store_slice(float* partial, const float (&d)[tiles][4], int slice,
                                   int lane) {
  UNROLL
  for (int tile = 0; tile < tiles; ++tile) UNROLL
  for (int i = 0; i < 4; i += 2)
    store_vector(partial + (slice * tiles + tile) * 128 + (lane / 4 + i * 4) * 8 + lane % 4 * 2,
                 make_float2(d[tile][i], d[tile][i + 1]));
}

template <bool whole, class W>
__device__ inline uint2 load_weights(const W* p, std::int64_t left, bool aligned) {
  if constexpr (whole)
    return load_once<uint2>(p);
  else
    return load_bf16x4(p, left, aligned);
}

/// Blocks that share a multiprocessor, at 80 or 128 registers per thread. If the compiler is not
/// told, it saves registers by loading later.
template <bool staged>
inline constexpr int gemv_blocks = staged ? 3 : 2;

inline constexpr int gemv_bf16_skew = 16;

/// `whole`: weights and x are aligned, and rows consist of whole steps; otherwise `aligned` says
/// whether rows of the weight are aligned to eight values.
template <int tiles, bool whole, bool staged, class W, class X>
__global__ void __launch_bounds__(gemv_bf16_threads, gemv_blocks<staged>)
    gemv_bf16_kernel(const __grid_constant__ GemvGroup<const W*> group, GemvRows<X> x,
                     Slices slices, std::int64_t k_width, bool aligned) {
  float* const partial = dynamic_shared<float>();
  const GemvInput<X, staged, gemv_bf16_skew> input{
      x, reinterpret_cast<bf16_t*>(partial + k_slices * tiles * 128)};
  const int lane = lane_of_warp(), k_of_lane = lane % 4 * 4;
  const int slice = __shfl_sync(all_lanes, warp_of_block(), 0);  // known to be that of all lanes
  const GemvPart<const W*>& part = group.part_of(blockIdx.x);
  const int begin = slices.begin(slice), end = slices.end(slice);
  input.template stage<whole>();
  __syncthreads();
  const int n_rows = static_cast<int>(part.n_rows);
  const int outputs = group.band_outputs();
  const W* const weights[] = {part.weights, group.gated ? group.parts[1].weights : part.weights};
  int n0 = static_cast<int>((blockIdx.x - part.first_block) * group.bands) * outputs;
  for (unsigned band = 0; band < group.bands && n0 < n_rows; ++band, n0 += outputs) {
    const W* rows[2];
    for (int h = 0; h < 2; ++h)
      rows[h] =
          weights[h] + band_row(n0, group.gated ? 0 : h, n_rows) * k_width + begin + k_of_lane;
    const bf16_t* xs[tiles];
    for (int tile = 0; tile < tiles; ++tile)
      xs[tile] = input.row(8 * tile + lane / 4) + begin + k_of_lane;
    float d[tiles][4] = {};
    int k = begin;
    const auto multiply_next = [&]<int count>() {  // the next `count` multiplications
      uint2 ws[count][2];
      UNROLL
      for (int i = 0; i < 2 * count; ++i)
        ws[i / 2][i % 2] = load_weights<whole>(rows[i % 2] + 16 * (i / 2),
                                               k_width - k - k_of_lane - 16 * (i / 2), aligned);
      const GemvOperands<uint2, staged, count, 16, tiles> operands(xs);
      __syncwarp();  // keeps the compiler from moving loads down to where their values are used
      UNROLL
      for (int i = 0; i < count; ++i) UNROLL
      for (int tile = 0; tile < tiles; ++tile)
        multiply(d[tile], ws[i][0], ws[i][1], operands(i, tile));
      k += 16 * count, rows[0] += 16 * count, rows[1] += 16 * count;
      for (int tile = 0; tile < tiles; ++tile) xs[tile] += 16 * count;
    };
    if constexpr (whole)
      while (k + 2 * k_step <= end) multiply_next.template operator()<8>();
    while (k < end) {
      multiply_next.template operator()<4>();
      if constexpr (whole) break;  // at most one step is left
    }
    const int thread = thread_read_here();
    const GemvOutput output(thread, n0, x.count, n_rows, outputs);
    const LinearEnd::Terms terms = output.load(part.end, n_rows);
    __syncthreads();  // the sums of the previous band have been added
    store_slice<tiles>(partial, d, thread / 32, thread % 32);
    __syncthreads();
    add_slices<tiles>(part.out, partial, part.end, terms, output, n_rows, slices.count,
                      group.gated);
  }
}

/// Calls run<tiles, staged>() for x. `whole` as in the kernels.
template <bool whole, class X, class Run>
void choose_gemv(const GemvRows<X>& x, const Run& run) {
  if constexpr (!std::is_same_v<X, bf16_t>) {
    run.template operator()<1, true>();
  } else {
    if constexpr (whole)
      if (rounded_late(x.count, x.width)) return run.template operator()<1, true>();
    if (x.count <= 8) return run.template operator()<1, false>();
    run.template operator()<2, false>();
  }
}

/// Up to three products with up to 16 rows of x. `gated`: parts[0].out = silu of the first product
/// times the second.
template <class W, class X>
void gemv_bf16(Stream& stream, std::span<const GemvPart<const W*>> parts, const GemvRows<X>& x,
               std::int64_t k, std::int64_t least_blocks = gemv_least_blocks, bool gated = false) {
  const GemvGroup<const W*> group = gemv_group(parts, least_blocks, gated);
  const bool aligned = std::ranges::all_of(
      parts, [k](const GemvPart<const W*>& part) { return in_octets(part.weights, k); });
  const auto run = [&]<bool whole>() {
    choose_gemv<whole>(x, [&]<int tiles, bool staged>() {
      const std::size_t shared = sizeof(float) * k_slices * tiles * 128 +
                                 GemvInput<X, staged, gemv_bf16_skew>::shared_bytes(x);
      launch(stream, dim3(group.blocks), dim3(gemv_bf16_threads), shared,
             gemv_bf16_kernel<tiles, whole, staged, W, X>, group, x, slices_of(rounded_width(k)), k,
             aligned);
    });
  };
  if constexpr (std::is_same_v<W, bf16_t>)
    if (aligned && x.aligned && k % k_step == 0) return run.template operator()<true>();
  run.template operator()<false>();
}

}}}  // namespace idefics::v0::cuda
