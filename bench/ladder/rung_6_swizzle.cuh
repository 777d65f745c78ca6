// Rung 6: the chunks of a row are permuted by the number of the row, so that no two of the eight
// rows that ldmatrix reads at once share a bank.
//
//   row 0   0 1 2 3 4 5 6 7        chunk c of row r is stored at position c ^ (r % 8):
//   row 1   1 0 3 2 5 4 7 6        a column of chunks occupies all eight positions
//   row 2   2 3 0 1 6 7 4 5
//
// Padding the rows, as in rung 3, would work as well, but costs shared memory and alignment.
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
