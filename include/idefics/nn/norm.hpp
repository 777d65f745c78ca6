// The two normalisations of IDEFICS. Both also work per head: [M,H,E] is M*H rows of width E.
//
// Letters: M rows, D width, H heads, E head width.
#pragma once

#include <utility>

#include <idefics/backend/backend.hpp>

namespace idefics { inline namespace v0 {

/// transformers' IdeficsRMSNorm: in the text decoder, and on queries and keys of cross-attention.
struct RmsNorm {
  Tensor weight;  // [D]
  float eps = 1e-6f;

  void operator()(Backend& backend, Tensor out, const Tensor& x) const {
    backend.rms_norm(std::move(out), x, weight, eps);
  }
  /// The norm of x as the input of linear layers. `scratch` is a tensor like x.
  NormedInput of(const Tensor& x /*[M,D]*/, const Tensor& scratch /*[M,D]*/) const {
    return {x, weight, eps, scratch};
  }
};

/// torch.nn.LayerNorm: in the vision tower and the resampler.
struct LayerNorm {
  Tensor weight;  // [D]
  Tensor bias;    // [D]
  float eps = 1e-5f;

  void operator()(Backend& backend, Tensor out, const Tensor& x) const {
    backend.layer_norm(std::move(out), x, weight, bias, eps);
  }
};

}}  // namespace idefics::v0
