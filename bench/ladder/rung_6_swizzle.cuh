// Rung 6: chunks of a row are exchanged by the row's number, so that no two of the eight rows that
// ldmatrix reads at once share a bank.
//
//   row 0   0 1 2 3 4 5 6 7        chunk c of row r lies where chunk c ^ (r % 8) would:
//   row 1   1 0 3 2 5 4 7 6        a column of chunks touches all eight places
//   row 2   2 3 0 1 6 7 4 5
//
// Padding rows, as in rung 3, would do as well, but cost shared memory and alignment.
#pragma once

#include "rung_5_tensor.cuh"

namespace ladder {

struct Swizzled {
  __device__ static int at(int row, int chunk) { return Straight::at(row, chunk ^ (row % 8)); }
};

inline void rung_6(Stream& stream, const Problem& p) {
  launch(stream, tiles(p, tile_rows, tile_rows), 256, 0, tensor_kernel<Swizzled, Problem>, p);
}

}  // namespace ladder
