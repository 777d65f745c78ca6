// The two feed-forward blocks of IDEFICS.
//
// Letters: M rows, D width, F MLP width.
#pragma once

#include <idefics/nn/linear.hpp>

namespace idefics { inline namespace v0 {

/// transformers' IdeficsMLP of the decoder: down(act(gate(x)) * up(x)).
struct GatedMlp {
  Linear gate, up;  // [F,D]
  Linear down;      // [D,F]
  Activation act = Activation::silu;

  /// `gated` and `raised` [M,F] are scratch.
  void operator()(Backend& backend, Tensor out /*[M,D]*/, const Tensor& x /*[M,D]*/, Tensor gated,
                  Tensor raised) const {
    raise(backend, x, gated, raised);
    down(backend, out, gated);
  }
  /// sum += down(act(gate(x)) * up(x)). x may be overwritten.
  void add_to(Backend& backend, Tensor sum /*[M,D]*/, const Tensor& x /*[M,D]*/, Tensor gated,
              Tensor raised) const {
    raise(backend, x, gated, raised);
    down.add_to(backend, sum, gated, x);
  }

  /// gated = act(gate(x)) * up(x).
  void raise(Backend& backend, const Tensor& x, Tensor gated, Tensor raised) const {
    linear_group(backend, x, {{gate, gated}, {up, raised}});
    backend.gated_activation(gated, gated, raised, act);
  }
};

/// fc2(act(fc1(x))): transformers' IdeficsVisionMLP (with biases) and the resampler's MLP
/// (without).
struct Mlp {
  Linear fc1;  // [F,D]
  Linear fc2;  // [D,F]
  Activation act = Activation::gelu;

  /// sum += fc2(act(fc1(x))). `inner` [M,F] is scratch; x may be overwritten.
  void add_to(Backend& backend, Tensor sum /*[M,D]*/, const Tensor& x /*[M,D]*/,
              Tensor inner) const {
    fc1(backend, inner, x);
    backend.activation(inner, inner, act);
    fc2.add_to(backend, sum, inner, x);
  }
};

}}  // namespace idefics::v0
