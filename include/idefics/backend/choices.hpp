// Options of operations: orders of summation and activations.
#pragma once

namespace idefics { inline namespace v0 {

/// The order in which products of a linear layer are summed (docs/determinism.md).
///   f32   f32 products, one fused multiply-add per element and lane
///   bf16  inputs rounded to bf16, weights in bf16, products added as by `tdpbf16ps`; eight values
///         of 4-bit weights at a time are summed from zero and scaled by their f32 absmax
enum class Compute { f32, bf16 };

/// Activations that configurations name (transformers' ACT2FN).
enum class Activation {
  relu,
  relu2,         // relu(x)^2
  relu6,         // min(relu(x), 6)
  leaky_relu,    // x, or 0.01 x below zero
  silu,          // x * sigmoid(x); also "swish"
  gelu,          // exact: x * (1 + erf(x / sqrt 2)) / 2
  gelu_tanh,     // "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate": the tanh form
  clipped_gelu,  // "gelu_10": gelu, then clamped to [-10, 10]
  quick_gelu,    // x * sigmoid(1.702 x)
  mish,          // x * tanh(log(1 + exp(x)))
  laplace,       // (1 + erf((x - 0.707107) / (0.282095 sqrt 2))) / 2
  sigmoid,
  tanh,
  identity,  // "linear"
};

}}  // namespace idefics::v0
