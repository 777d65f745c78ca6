// Activations, elementwise: transformers' ACT2FN. gated_activation is the elementwise product of
// IdeficsMLP, act(gate) * up.
//
// Letters: M rows, F MLP width.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>

#include <idefics/backend/backend.hpp>
#include <idefics/backend/reference/values.hpp>

namespace idefics { inline namespace v0 { namespace reference {

inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

/// x times the probability that a standard normal variable is below x.
inline double gelu(double x) { return 0.5 * x * std::erfc(-x / std::numbers::sqrt2); }

/// The tanh approximation of gelu (Hendrycks and Gimpel 2016).
inline double gelu_tanh(double x) {
  const double inner = std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1.0 + std::tanh(inner));
}

/// Ma et al. 2022 (MEGA), with the constants of transformers' LaplaceActivation.
inline double laplace(double x) {
  constexpr double mu = 0.707107, sigma = 0.282095;
  return 0.5 * (1.0 + std::erf((x - mu) / (sigma * std::numbers::sqrt2)));
}

inline double activate(Activation act, double x) {
  switch (act) {
    case Activation::relu: return std::max(x, 0.0);
    case Activation::relu2: return std::max(x, 0.0) * std::max(x, 0.0);
    case Activation::relu6: return std::clamp(x, 0.0, 6.0);
    case Activation::leaky_relu: return x >= 0.0 ? x : 0.01 * x;
    case Activation::silu: return x * sigmoid(x);
    case Activation::gelu: return gelu(x);
    case Activation::gelu_tanh: return gelu_tanh(x);
    case Activation::clipped_gelu: return std::clamp(gelu(x), -10.0, 10.0);
    case Activation::quick_gelu: return x * sigmoid(1.702 * x);
    case Activation::mish: return x * std::tanh(std::log1p(std::exp(x)));
    case Activation::laplace: return laplace(x);
    case Activation::sigmoid: return sigmoid(x);
    case Activation::tanh: return std::tanh(x);
    case Activation::identity: return x;
  }
  fail(ErrorCode::invalid_argument, "unknown activation");
}

inline void activation(Tensor out, const Tensor& x, Activation act) {
  auto result = out.as_mutable<float>();
  for (std::size_t i = 0; i < result.size(); ++i)
    result[i] = static_cast<float>(activate(act, value(x, static_cast<std::int64_t>(i))));
}

inline void gated_activation(Tensor out /*[M,F]*/, const Tensor& gate /*[M,F]*/,
                             const Tensor& up /*[M,F]*/, Activation act) {
  auto result = out.as_mutable<float>();
  for (std::size_t i = 0; i < result.size(); ++i) {
    const auto index = static_cast<std::int64_t>(i);
    result[i] = static_cast<float>(activate(act, value(gate, index)) * value(up, index));
  }
}

}}}  // namespace idefics::v0::reference
