// How far an f32 result may be from the exact one: the bounds of all tests.
#pragma once

#include <cmath>
#include <cstdint>

#include <idefics/backend/backend.hpp>

namespace testing {

/// The bound of a sum of `terms` products whose absolute values add up to `magnitude`, with each
/// step rounded to f32. Rounding errors of a sum grow with the square root of its length (Higham
/// and Mary 2019), here with a safety factor of 4; 8 more cover an exponential, a root and a
/// division around the sum. In the bf16 order every product and partial sum below the smallest
/// normal number may become zero.
inline double tolerance(std::int64_t terms, double magnitude,
                        idefics::Compute compute = idefics::Compute::f32) {
  const double count = static_cast<double>(terms);
  const double smallest = compute == idefics::Compute::bf16 ? 0x1p-125 * (count + 16) : 0x1p-148;
  return (8.0 + 4.0 * std::sqrt(count)) * 0x1p-24 * magnitude + smallest;
}

}  // namespace testing
