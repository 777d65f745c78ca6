// Random prompts for property tests: ids, pictures, and which token sees which picture.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include <idefics/model/config.hpp>
#include <idefics/model/inputs.hpp>

namespace testing {

/// One row of a batch, without padding.
struct RandomPrompt {
  std::vector<std::int64_t> ids;
  std::vector<std::vector<float>> pictures;  // each [3,Y,X]
  std::vector<std::int64_t> seen;            // the picture that each token sees, or -1
};

inline RandomPrompt random_prompt(std::mt19937& random, const idefics::Config& config,
                                  std::int64_t max_tokens, std::int64_t max_pictures) {
  auto pick = [&random](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  RandomPrompt prompt;
  const std::int64_t pictures = pick(0, max_pictures), tokens = pick(1, max_tokens);
  const auto pixels =
      static_cast<std::size_t>(3 * config.vision.image_size * config.vision.image_size);
  std::normal_distribution<float> normal;
  for (std::int64_t i = 0; i < pictures; ++i) {
    std::vector<float> picture(pixels);
    std::ranges::generate(picture, [&] { return normal(random); });
    prompt.pictures.push_back(std::move(picture));
  }
  std::int64_t current = -1;
  for (std::int64_t t = 0; t < tokens; ++t) {
    prompt.ids.push_back(pick(3, config.total_vocab_size() - 1));
    if (current + 1 < pictures && pick(0, 2) == 0) ++current;
    prompt.seen.push_back(current);
  }
  return prompt;
}

/// The rows as one batch, padded on the left or on the right, with `extra` more columns of padding.
inline idefics::Inputs batch_of(const std::vector<RandomPrompt>& rows,
                                const idefics::Config& config, bool pad_left,
                                std::int64_t extra = 0) {
  using idefics::DType;
  using idefics::Tensor;
  std::int64_t t = 0, n = 1;
  for (const auto& row : rows) {
    t = std::max(t, std::ssize(row.ids) + extra);
    n = std::max(n, std::ssize(row.pictures));
  }
  const auto b = std::ssize(rows);
  const std::int64_t side = config.vision.image_size, pixels = 3 * side * side;
  idefics::Inputs in{Tensor::zeros(DType::i64, {b, t}), Tensor::zeros(DType::i64, {b, t}),
                     Tensor::zeros(DType::f32, {b, n, 3, side, side}),
                     Tensor::zeros(DType::i64, {b, t, n})};
  const auto ids = in.input_ids.as_mutable<std::int64_t>();
  const auto mask = in.attention_mask.as_mutable<std::int64_t>();
  const auto seen = in.image_attention_mask.as_mutable<std::int64_t>();
  for (std::int64_t r = 0; r < b; ++r) {
    const RandomPrompt& row = rows[static_cast<std::size_t>(r)];
    const std::int64_t first = pad_left ? t - std::ssize(row.ids) : 0;
    for (std::size_t i = 0; i < row.ids.size(); ++i) {
      const auto at = static_cast<std::size_t>(r * t + first) + i;
      ids[at] = row.ids[i];
      mask[at] = 1;
      if (row.seen[i] >= 0)
        seen[at * static_cast<std::size_t>(n) + static_cast<std::size_t>(row.seen[i])] = 1;
    }
    for (std::size_t p = 0; p < row.pictures.size(); ++p)
      std::memcpy(
          in.pixel_values.raw_mutable() + (r * n + static_cast<std::int64_t>(p)) * pixels * 4,
          row.pictures[p].data(), static_cast<std::size_t>(pixels) * 4);
  }
  return in;
}

}  // namespace testing
