// Helpers that all attention layers share.
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

#include <idefics/backend/backend.hpp>

namespace idefics { inline namespace v0 {

/// {begin, begin + 1, …}: the row numbers of `count` contiguous rows.
inline std::vector<std::int32_t> iota_rows(std::int64_t begin, std::int64_t count) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(count));
  std::iota(rows.begin(), rows.end(), static_cast<std::int32_t>(begin));
  return rows;
}

/// Layer `layer` of the attention weights [layers,R,H,J] of all: [R,H,J]. Empty if `all` is.
inline Tensor weights_of_layer(const Tensor& all, std::size_t layer) {
  if (!all) return {};
  const auto i = static_cast<std::int64_t>(layer);
  return all.slice(i, i + 1).reshape({all.dim(1), all.dim(2), all.dim(3)});
}

}}  // namespace idefics::v0
