// A prompt for timings, with random pixels and fixed ids.
#pragma once

#include <cstring>

#include <idefics/model/config.hpp>
#include <idefics/model/inputs.hpp>

#include "bench.hpp"

namespace idefics::bench {

/// `rows` copies of a prompt with one picture, whose pixels depend on `seed`.
inline Inputs prompt(const Config& config, std::int64_t rows, std::int64_t tokens,
                     std::uint64_t seed) {
  const std::int64_t side = config.vision.image_size;
  const Tensor picture = random_tensor(DType::f32, {1, 1, 3, side, side}, 1.0f, seed);
  Inputs in{.input_ids = Tensor::empty(DType::i64, {rows, tokens}),
            .attention_mask = Tensor::empty(DType::i64, {rows, tokens}),
            .pixel_values = Tensor::empty(DType::f32, {rows, 1, 3, side, side}),
            .image_attention_mask = Tensor::empty(DType::i64, {rows, tokens, 1})};
  std::ranges::fill(in.attention_mask.as_mutable<std::int64_t>(), 1);
  std::ranges::fill(in.image_attention_mask.as_mutable<std::int64_t>(), 1);
  for (std::int64_t i = 0; i < rows * tokens; ++i)
    in.input_ids.as_mutable<std::int64_t>()[static_cast<std::size_t>(i)] =
        5 + i % tokens * 7 % (config.vocab_size - 5);
  for (std::int64_t r = 0; r < rows; ++r)
    std::memcpy(in.pixel_values.raw_mutable() + static_cast<std::size_t>(r) * picture.bytes(),
                picture.raw(), picture.bytes());
  return in;
}

}  // namespace idefics::bench
