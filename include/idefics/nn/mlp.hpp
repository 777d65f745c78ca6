// The two feed-forward blocks of IDEFICS.
#pragma once

#include <idefics/nn/linear.hpp>

namespace idefics::inline v0 {

/// transformers' IdeficsMLP of the decoder: down(act(gate(x)) * up(x)).
struct GatedMlp {
  Linear gate, up;  // [F,D]
  Linear down;      // [D,F]
  Activation act = Activation::silu;

  /// `gated` and `raised` [M,F] are scratch.
  void operator()(Backend& backend, Tensor out /*[M,D]*/, const Tensor& x /*[M,D]*/,
                  const Tensor& gated, const Tensor& raised) const {
    gate(backend, gated, x);
    up(backend, raised, x);
    backend.gated_activation(gated, gated, raised, act);
    down(backend, std::move(out), gated);
  }
};

/// fc2(act(fc1(x))): transformers' IdeficsVisionMLP (with biases) and the resampler's MLP
/// (without).
struct Mlp {
  Linear fc1;  // [F,D]
  Linear fc2;  // [D,F]
  Activation act = Activation::gelu;

  /// `inner` [M,F] is scratch.
  void operator()(Backend& backend, Tensor out /*[M,D]*/, const Tensor& x /*[M,D]*/,
                  const Tensor& inner) const {
    fc1(backend, inner, x);
    backend.activation(inner, inner, act);
    fc2(backend, std::move(out), inner);
  }
};

}  // namespace idefics::inline v0
