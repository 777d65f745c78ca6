// Operands of attention tests: random queries, keys and values, and rows that a query may see.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "support/random_tensors.hpp"

namespace testing {

using Rows = std::vector<std::int32_t>;

struct Operands {
  idefics::Tensor q, k, v;  // [M,H,E], [J,H,E], [J,H,E]
};

inline Operands random_operands(std::int64_t m, std::int64_t j, std::int64_t heads,
                                std::int64_t width) {
  return {tensor({m, heads, width}, normals(m * heads * width, 1)),
          tensor({j, heads, width}, normals(j * heads * width, 2)),
          tensor({j, heads, width}, normals(j * heads * width, 3))};
}

/// `count` rows of a pool of `pool` rows, in random order.
inline Rows some_rows(std::int64_t count, std::int64_t pool, unsigned seed) {
  Rows rows(static_cast<std::size_t>(pool));
  std::iota(rows.begin(), rows.end(), 0);
  std::ranges::shuffle(rows, std::mt19937(seed));
  rows.resize(static_cast<std::size_t>(count));
  return rows;
}

}  // namespace testing
