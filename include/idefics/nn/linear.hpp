// Linear layers: a matrix in checkpoint layout, perhaps a bias, and the compute dtype of the model.
#pragma once

#include <utility>

#include <idefics/backend/backend.hpp>

namespace idefics::inline v0 {

/// torch.nn.Linear: y = x W^T + b.
struct Linear {
  LinearWeight weight;  // [N,K]
  Tensor bias{};        // [N] or empty
  Compute compute = Compute::f32;

  void operator()(Backend& backend, Tensor out /*[M,N]*/, const Tensor& x /*[M,K]*/) const {
    backend.linear(std::move(out), x, weight, bias, compute);
  }
};

}  // namespace idefics::inline v0
