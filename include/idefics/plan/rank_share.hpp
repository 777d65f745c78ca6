// What each of several ranks keeps of a model (backend/tensor_parallel.hpp).
#pragma once

#include <cstdint>
#include <numeric>

#include <idefics/backend/shard_weight.hpp>
#include <idefics/model/config.hpp>
#include <idefics/plan/weight_bytes.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The layers of attention heads. Where several have one width, their heads are kept together.
inline HeadWidths head_widths(const Config& c) {
  HeadWidths widths;
  const auto add = [&](std::int64_t width, std::int64_t head) {
    const auto [layer, added] = widths.try_emplace(width, head);
    if (!added) layer->second = std::lcm(layer->second, head);
  };
  add(c.hidden_size, c.head_dim());
  add(c.vision.embed_dim, c.vision.head_dim());
  if (c.use_resampler) add(c.perceiver.heads * c.perceiver.head_dim, c.perceiver.head_dim);
  return widths;
}

/// The columns of keys or values that the rank with most heads has.
inline std::int64_t kv_columns(const Config& c, std::int64_t ranks) {
  return shard_outputs(c.hidden_size, head_widths(c)).most(ranks);
}

/// What the rank with most rows keeps of a weight. Only matrices are shared.
inline WeightBytes share_of(WeightBytes all, const WeightRequest& request, const Config& c,
                            std::int64_t ranks) {
  if (ranks == 1 || request.role != WeightRole::matrix) return all;
  const std::int64_t n = request.shape[0], most = shard_outputs(n, head_widths(c)).most(ranks);
  for (std::uint64_t* bytes : {&all.mapped, &all.anonymous})
    *bytes = (Checked(*bytes) * static_cast<std::uint64_t>(most)).value() /
             static_cast<std::uint64_t>(n);
  return all;
}

}}}  // namespace idefics::v0::detail
