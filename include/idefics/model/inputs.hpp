// What the processor makes and the model reads: the four tensors of transformers' BatchFeature.
#pragma once

#include <idefics/core/tensor.hpp>

namespace idefics { inline namespace v0 {

struct Inputs {
  Tensor input_ids;       // [B,T] i64, padded with the pad id
  Tensor attention_mask;  // [B,T] i64, 1 for tokens and 0 for padding
  Tensor pixel_values;    // [B,N,3,S,S] f32, zeros where a row has fewer pictures
  Tensor
      image_attention_mask;  // [B,T,N] i64, or bool [B,T,1] of zeros for a batch without pictures
};

}}  // namespace idefics::v0
