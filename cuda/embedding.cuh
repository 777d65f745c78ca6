// Embedding lookup in a table of two parts: IdeficsDecoupledEmbedding.
//
//   out[m] = table[id]             for id < V
//          = additional[id - V]    for V <= id < V + A
//
// Bound: the bytes of the rows. A block of 256 threads converts 1024 columns of one row to f32.
#pragma once

#include "elementwise.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

template <class T>
__global__ void embedding_kernel(float* out, const std::int32_t* ids, const T* table,
                                 std::int64_t vocabulary, DeviceFloats additional,
                                 std::int64_t width, bool quads) {
  const auto [row, column, left] = row_place(width);
  if (left <= 0) return;
  const std::int64_t id = ids[row];
  float v[4];
  if (id < vocabulary) {
    load_quad(v, table + id * width + column, left, quads);
  } else {
    for (int i = 0; i < 4; ++i)
      if (i < left) v[i] = float_at(additional, (id - vocabulary) * width + column + i);
  }
  store_quad(out + row * width + column, v, left, quads);
}

/// out [M,D] from table [V,D] and additional [A,D] (null if absent); `ids` [M] is in device memory,
/// and the caller has checked that each id is below V + A.
inline void embedding(Stream& stream, float* out, const std::int32_t* ids, DeviceFloats table,
                      std::int64_t vocabulary, DeviceFloats additional, std::int64_t m,
                      std::int64_t d) {
  if (m == 0) return;
  with_float_type(table, [&]<class T>(const T* first) {
    launch(stream, row_grid(m, d), row_threads, 0, embedding_kernel<T>, out, ids, first, vocabulary,
           additional, d, in_quads(out, d) && in_quads(first, d));
  });
}

}}}  // namespace idefics::v0::cuda
