// Sums and products of elements, and row copies.
//
//   add          out = x + y, y repeated over the rows of x
//   multiply     out = x * y, y repeated over the rows of x
//   scale        out = x * factor
//   gated_add    x += tanh(alpha) * y                   IdeficsGatedCrossAttentionLayer
//   scatter_rows out[rows[i]] = x[i];   gather_rows out[i] = x[rows[i]]
//
// Bound: the bytes of all operands, which are f32 except y of `add` and `multiply`, alpha, and the
// rows of scatter_rows. A block of 256 threads processes 1024 columns of one row, four per thread.
#pragma once

#include "quad.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int row_threads = 256;

/// The position of a thread: its row, its first column, and the number of columns from there on.
struct RowPlace {
  std::int64_t row, column, left;
};

__device__ inline RowPlace row_place(std::int64_t width) {
  const auto blocks = static_cast<unsigned>(ceil_div(width, 4 * row_threads));
  const std::int64_t column =
      4 * (static_cast<std::int64_t>(blockIdx.x % blocks) * row_threads + threadIdx.x);
  return {static_cast<std::int64_t>(blockIdx.x / blocks), column, width - column};
}

/// One-dimensional, since a second dimension would limit a row to 64 Mi columns.
inline dim3 row_grid(std::int64_t rows, std::int64_t width) {
  return dim3(static_cast<unsigned>(rows * ceil_div(width, 4 * row_threads)));
}

/// out = x * y, or x + y.
template <bool product, class Y>
__global__ void combine_kernel(float* out, const float* x, const Y* y, std::int64_t width,
                               bool quads) {
  const auto [row, column, left] = row_place(width);
  if (left <= 0) return;
  float v[4], other[4];
  load_quad(v, x + row * width + column, left, quads);
  load_quad(other, y + column, left, quads);
  for (int i = 0; i < 4; ++i) v[i] = product ? v[i] * other[i] : v[i] + other[i];
  store_quad(out + row * width + column, v, left, quads);
}

template <class X>
__global__ void scale_kernel(float* out, const X* x, float factor, std::int64_t count, bool quads) {
  const auto [row, column, left] = row_place(count);
  if (left <= 0) return;
  float v[4];
  load_quad(v, x + column, left, quads);
  for (int i = 0; i < 4; ++i) v[i] *= factor;
  store_quad(out + column, v, left, quads);
}

template <class A>
__global__ void gated_add_kernel(float* x, const float* y, const A* alpha, bool one_alpha,
                                 std::int64_t width, bool quads) {
  const auto [row, column, left] = row_place(width);
  if (left <= 0) return;
  float v[4], other[4];
  load_quad(v, x + row * width + column, left, quads);
  load_quad(other, y + row * width + column, left, quads);
  for (int i = 0; i < 4; ++i)
    if (i < left) v[i] = fmaf(tanhf(to_float(alpha[one_alpha ? 0 : column + i])), other[i], v[i]);
  store_quad(x + row * width + column, v, left, quads);
}

/// store_quad, rounded to nearest, ties to even.
__device__ inline void store_quad(bf16_t* p, const float (&v)[4], std::int64_t left, bool quads) {
  if (quads && left > 0) {
    store_vector(p, uint2{pack_pair<bf16_t>(v[0], v[1]), pack_pair<bf16_t>(v[2], v[3])});
  } else {
    for (int i = 0; i < 4; ++i)
      if (i < left) p[i] = from_float<bf16_t>(v[i]);
  }
}

/// out[to[i]] = x[from[i]]; a null list means 0, 1, 2, …
template <class Out, class X>
__global__ void copy_rows_kernel(Out* out, const std::int32_t* to, const X* x,
                                 const std::int32_t* from, std::int64_t width, bool quads) {
  const auto [row, column, left] = row_place(width);
  if (left <= 0) return;
  const std::int64_t source = from ? from[row] : row, target = to ? to[row] : row;
  float v[4];
  load_quad(v, x + source * width + column, left, quads);
  store_quad(out + target * width + column, v, left, quads);
}

/// out = x * y, or x + y, with y used for each of the `rows` rows of x. May work in place.
template <bool product>
void combine(Stream& stream, float* out, const float* x, DeviceFloats y, std::int64_t rows,
             std::int64_t width) {
  if (rows == 0 || width == 0) return;
  with_float_type(y, [&]<class Y>(const Y* typed) {
    launch(stream, row_grid(rows, width), row_threads, 0, combine_kernel<product, Y>, out, x, typed,
           width, in_quads(out, width) && in_quads(x, width) && in_quads(typed, width));
  });
}
inline void add(Stream& stream, float* out, const float* x, DeviceFloats y, std::int64_t rows,
                std::int64_t width) {
  combine<false>(stream, out, x, y, rows, width);
}
inline void multiply(Stream& stream, float* out, const float* x, DeviceFloats y, std::int64_t rows,
                     std::int64_t width) {
  combine<true>(stream, out, x, y, rows, width);
}

/// out = x * factor. May work in place.
inline void scale(Stream& stream, float* out, const float* x, float factor, std::int64_t count) {
  if (count == 0) return;
  launch(stream, row_grid(1, count), row_threads, 0, scale_kernel<float>, out, x, factor, count,
         in_quads(out, count) && in_quads(x, count));
}

/// x [M,D] += tanh(alpha) * y [M,D], alpha [1] or [D].
inline void gated_add(Stream& stream, float* x, const float* y, DeviceFloats alpha,
                      std::int64_t alphas, std::int64_t m, std::int64_t d) {
  if (m == 0 || d == 0) return;
  with_float_type(alpha, [&]<class A>(const A* typed) {
    launch(stream, row_grid(m, d), row_threads, 0, gated_add_kernel<A>, x, y, typed, alphas == 1, d,
           in_quads(x, d) && in_quads(y, d));
  });
}

/// out[rows[i]] = x[i] for i < m, rounded if `out` is bf16; `rows` [M] is in device memory.
template <class Out, class X>
void scatter_rows(Stream& stream, Out* out, const std::int32_t* rows, const X* x, std::int64_t m,
                  std::int64_t width) {
  if (m == 0 || width == 0) return;
  const std::int32_t* all = nullptr;
  launch(stream, row_grid(m, width), row_threads, 0, copy_rows_kernel<Out, X>, out, rows, x, all,
         width, in_quads(out, width) && in_quads(x, width));
}

/// out[i] = x[rows[i]] for i < m; `rows` [M] is in device memory.
inline void gather_rows(Stream& stream, float* out, const float* x, const std::int32_t* rows,
                        std::int64_t m, std::int64_t width) {
  if (m == 0 || width == 0) return;
  const std::int32_t* all = nullptr;
  launch(stream, row_grid(m, width), row_threads, 0, copy_rows_kernel<float, float>, out, all, x,
         rows, width, in_quads(out, width) && in_quads(x, width));
}

}}}  // namespace idefics::v0::cuda
