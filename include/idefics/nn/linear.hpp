// Linear layers: a matrix in checkpoint layout, an optional bias, the compute dtype of the model
// and an optional adapter.
//
// Letters: M rows, N outputs, K inputs, Z rank of an adapter.
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <memory>

#include <idefics/backend/backend.hpp>

namespace idefics { inline namespace v0 {

/// A low-rank update that an adapter adds without changing the weight: y += (x A^T) B^T, in f32.
struct LowRank {
  Tensor a;  // [Z,K]
  Tensor b;  // [N,Z], multiplied by the adapter's scale

  void add(Backend& backend, Tensor out /*[M,N]*/, const Tensor& x /*[M,K]*/) const {
    const std::int64_t m = x.count() / a.dim(1);
    const Tensor inner = backend.scratch_rows(0, m, a.dim(0));
    const Tensor sum = backend.scratch_rows(1, m, b.dim(0));
    backend.linear(inner, x, {.values = a}, {}, Compute::f32);
    backend.linear(sum, inner, {.values = b}, {}, Compute::f32);
    backend.add(out, out, sum);
  }
};

/// torch.nn.Linear: y = x W^T + b.
struct Linear {
  LinearWeight weight;  // [N,K]
  Tensor bias{};        // [N] or empty
  Compute compute = Compute::f32;
  std::shared_ptr<const LowRank> adapter{};

  void operator()(Backend& backend, Tensor out /*[M,N]*/, const Tensor& x /*[M,K]*/) const {
    backend.linear(out, x, weight, bias, compute);
    if (adapter) adapter->add(backend, out, x);
  }

  /// sum += x W^T + b.
  void add_to(Backend& backend, Tensor sum /*[M,N]*/, const Tensor& x /*[M,K]*/,
              Tensor scratch /*[M,N]*/) const {
    if (!adapter) return backend.linear_add(sum, x, weight, bias, compute, scratch);
    (*this)(backend, scratch, x);
    backend.add(sum, sum, scratch);
  }

  /// sum += tanh(alpha) * (x W^T); for layers without a bias.
  void gated_add_to(Backend& backend, Tensor sum /*[M,N]*/, const Tensor& x /*[M,K]*/,
                    const Tensor& alpha /*[1] or [N]*/, Tensor scratch /*[M,N]*/) const {
    if (!adapter) return backend.linear_gated_add(sum, x, weight, alpha, compute, scratch);
    (*this)(backend, scratch, x);
    backend.gated_add(sum, scratch, alpha);
  }
};

/// One of several layers with the same input, and its output.
struct LinearOutput {
  const Linear& layer;
  Tensor out;  // [M,N]
};

namespace detail {

/// The product of a layer, without its adapter.
inline LinearTask task_of(const LinearOutput& output) {
  const Linear& layer = output.layer;
  return {output.out, &layer.weight, layer.bias, layer.compute};
}
inline bool have_adapters(std::initializer_list<LinearOutput> outputs) {
  return std::ranges::any_of(outputs, [](const LinearOutput& o) { return bool(o.layer.adapter); });
}

}  // namespace detail

/// Up to three layers on the same x.
inline void linear_group(Backend& backend, const Tensor& x /*[M,K]*/,
                         std::initializer_list<LinearOutput> outputs) {
  std::array<LinearTask, 3> tasks;
  std::ranges::transform(outputs, tasks.begin(), detail::task_of);
  backend.linear_group(std::span(tasks).first(outputs.size()), x);
  for (const auto& [layer, out] : outputs)
    if (layer.adapter) layer.adapter->add(backend, out, x);
}
/// The same on RMSNorm of x.
inline void linear_group(Backend& backend, const NormedInput& x /*[M,K]*/,
                         std::initializer_list<LinearOutput> outputs) {
  if (detail::have_adapters(outputs)) {
    backend.rms_norm(x.scratch, x.x, x.weight, x.eps);
    return linear_group(backend, x.scratch, outputs);
  }
  std::array<LinearTask, 3> tasks;
  std::ranges::transform(outputs, tasks.begin(), detail::task_of);
  backend.normed_linear_group(std::span(tasks).first(outputs.size()), x);
}

}}  // namespace idefics::v0
