// Linear layers: a matrix in checkpoint layout, perhaps a bias, the compute dtype of the model, and
// perhaps what an adapter adds.
#pragma once

#include <array>
#include <initializer_list>
#include <memory>

#include <idefics/backend/backend.hpp>

namespace idefics { inline namespace v0 {

/// What an adapter adds beside a matrix that stays as it is: y += (x A^T) B^T, in f32.
struct LowRank {
  /// Room of all layers of a model, which only grows.
  struct Scratch {
    Tensor inner, sum;

    static Tensor rows(Tensor& room, Backend& backend, std::int64_t m, std::int64_t width) {
      const std::int64_t most = std::max(m, backend.expected_rows());
      if (!room || room.count() < m * width) room = backend.empty(DType::f32, {most * width});
      return room.slice(0, m * width).reshape({m, width});
    }
  };

  Tensor a;  // [r,K]
  Tensor b;  // [N,r], with the adapter's scale in it
  std::shared_ptr<Scratch> scratch;

  void add(Backend& backend, Tensor out /*[M,N]*/, const Tensor& x /*[M,K]*/) const {
    const std::int64_t m = x.count() / a.dim(1);
    const Tensor inner = Scratch::rows(scratch->inner, backend, m, a.dim(0));
    const Tensor sum = Scratch::rows(scratch->sum, backend, m, b.dim(0));
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

  /// sum += x W^T + b. `room` [M,N] is scratch.
  void add_to(Backend& backend, Tensor sum /*[M,N]*/, const Tensor& x /*[M,K]*/,
              Tensor room) const {
    if (!adapter) return backend.linear_add(sum, x, weight, bias, compute, room);
    (*this)(backend, room, x);
    backend.add(sum, sum, room);
  }
};

/// A layer of several that have the same input, and where its output goes.
struct LinearOutput {
  const Linear& layer;
  Tensor out;  // [M,N]
};

/// Up to three layers on the same x.
inline void linear_group(Backend& backend, const Tensor& x /*[M,K]*/,
                         std::initializer_list<LinearOutput> outputs) {
  std::array<LinearTask, 3> tasks;
  std::size_t count = 0;
  for (const auto& [layer, out] : outputs)
    tasks.at(count++) = {out, &layer.weight, layer.bias, layer.compute};
  backend.linear_group(std::span(tasks).first(count), x);
  for (const auto& [layer, out] : outputs)
    if (layer.adapter) layer.adapter->add(backend, out, x);
}

}}  // namespace idefics::v0
