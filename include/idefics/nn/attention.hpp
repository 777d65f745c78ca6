// A helper that all attention layers share.
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

}}  // namespace idefics::v0
