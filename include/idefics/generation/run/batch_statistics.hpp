// What a batch of runs has done so far, and what it holds now (Model::batch_statistics).
#pragma once

#include <cstdint>

namespace idefics { inline namespace v0 {

/// All zero for a model without a shared cache (ModelOptions::shared_cache_tokens).
struct BatchStatistics {
  std::int64_t passes = 0;           // forward passes
  std::int64_t shares = 0;           // runs in each pass, summed; shares / passes is their mean
  std::int64_t tokens = 0;           // in all passes
  std::int64_t running = 0;          // runs that hold rows of the shared cache
  std::int64_t waiting = 0;          // runs that wait for rows
  std::int64_t free_tokens = 0;      // rows of the shared cache that no run holds
  std::int64_t cached_pictures = 0;  // pictures whose latents, keys and values are kept
};

}}  // namespace idefics::v0
