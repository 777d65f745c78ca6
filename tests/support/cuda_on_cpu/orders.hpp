// Runs code under many orders of lanes and blocks: a race shows up as a different result.
#pragma once

#include <string>

#include "support/cuda_on_cpu/block.hpp"

namespace cuda_on_cpu {

/// The result of work(), which must be equal under `count` orders: forward, reverse, and shuffled
/// ones. Throws a Failure with the first order that gives a different result.
template <class Work>
auto with_lane_orders(std::uint64_t count, const Work& work) {
  struct Restore {
    ~Restore() { lane_order = 0; }
  } restore;
  lane_order = 0;
  const auto first = work();
  for (std::uint64_t order = 1; order < count; ++order) {
    lane_order = order;
    if (!(work() == first))
      throw Failure("a race: lane order " + std::to_string(order) +
                    " gives a different result from lanes in sequence");
  }
  return first;
}

}  // namespace cuda_on_cpu
