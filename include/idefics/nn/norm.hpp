// The two normalisations of IDEFICS. Both also run per head: a [M,H,E] tensor has M*H rows of width
// E.
#pragma once

#include <utility>

#include <idefics/backend/backend.hpp>

namespace idefics { inline namespace v0 {

/// transformers' IdeficsRMSNorm; text decoder and query/key norms of cross-attention.
struct RmsNorm {
  Tensor weight;  // [D]
  float eps = 1e-6f;

  void operator()(Backend& backend, Tensor out, const Tensor& x) const {
    backend.rms_norm(std::move(out), x, weight, eps);
  }
};

/// torch.nn.LayerNorm; vision tower and resampler.
struct LayerNorm {
  Tensor weight;  // [D]
  Tensor bias;    // [D]
  float eps = 1e-5f;

  void operator()(Backend& backend, Tensor out, const Tensor& x) const {
    backend.layer_norm(std::move(out), x, weight, bias, eps);
  }
};

}}  // namespace idefics::v0
