// The model's inputs, made by the processor: the four tensors of transformers' BatchFeature.
#pragma once

#include <cstdint>
#include <vector>

#include <idefics/core/tensor.hpp>

namespace idefics { inline namespace v0 {

struct Inputs {
  Tensor input_ids;             // [B,T] i64, padded with the pad id
  Tensor attention_mask;        // [B,T] i64, 1 for tokens and 0 for padding
  Tensor pixel_values;          // [B,I,3,Y,X] f32, zeros where a row has fewer pictures
  Tensor image_attention_mask;  // [B,T,I] i64; bool [B,T,1] of zeros if there are no pictures
};

/// The padded ids of each row of a batch.
inline std::vector<std::vector<std::int32_t>> padded_rows(const Tensor& ids /*[B,T]*/) {
  std::vector<std::vector<std::int32_t>> rows;
  for (std::int64_t b = 0; b < ids.dim(0); ++b) {
    const Tensor row = ids.slice(b, b + 1);
    const auto values = row.as<std::int64_t>();
    rows.emplace_back(values.begin(), values.end());
  }
  return rows;
}

}}  // namespace idefics::v0
