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

  /// sum += down(act(gate(x)) * up(x)), with x normed first. `gated` and `raised` [M,F] are scratch.
  void add_to(Backend& backend, Tensor sum /*[M,D]*/, const NormedInput& x /*[M,D]*/, Tensor gated,
              Tensor raised) const {
    raise(backend, x, gated, raised);
    down.add_to(backend, sum, gated, x.scratch);
  }
  /// sum += tanh(alpha) * down(act(gate(x)) * up(x)).
  void gated_add_to(Backend& backend, Tensor sum /*[M,D]*/, const NormedInput& x /*[M,D]*/,
                    const Tensor& alpha /*[1] or [D]*/, Tensor gated, Tensor raised) const {
    raise(backend, x, gated, raised);
    down.gated_add_to(backend, sum, gated, alpha, x.scratch);
  }

  /// gated = act(gate(x)) * up(x).
  void raise(Backend& backend, const NormedInput& x, Tensor gated, Tensor raised) const {
    if (!detail::have_adapters({{gate, gated}, {up, raised}}))
      return backend.gated_linear_unit(detail::task_of({gate, gated}),
                                       detail::task_of({up, raised}), x, act);
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
