// Tests of the CUDA activation kernels, run on the CPU by tests/support/cuda_on_cpu/.
#include "cuda/activation.cuh"

#include <idefics/backend/reference/activation.hpp>

#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

namespace {

constexpr Activation activations[] = {
    Activation::relu,       Activation::relu2,   Activation::relu6,     Activation::leaky_relu,
    Activation::silu,       Activation::gelu,    Activation::gelu_tanh, Activation::clipped_gelu,
    Activation::quick_gelu, Activation::mish,    Activation::laplace,   Activation::sigmoid,
    Activation::tanh,       Activation::identity};

/// The result for pointers `offset` floats past a multiple of 16 bytes, equal in 16 lane orders.
Values run(const Values& x, const Values* up, Activation act, std::size_t offset) {
  return cuda_on_cpu::with_lane_orders(16, [&] {
    const auto count = static_cast<std::int64_t>(x.size());
    const auto shifted = [&](const Values& values) {
      Tensor t = Tensor::empty(DType::f32, {count + static_cast<std::int64_t>(offset)});
      std::ranges::copy(values,
                        t.as_mutable<float>().begin() + static_cast<std::ptrdiff_t>(offset));
      return t;
    };
    const Tensor from = shifted(x), other = shifted(up == nullptr ? x : *up);
    Tensor out = shifted(x);
    cuda::gated_activation(at_once(), out.as_mutable<float>().data() + offset,
                           from.as<float>().data() + offset,
                           up == nullptr ? nullptr : other.as<float>().data() + offset, count, act);
    const auto result = out.as<float>().subspan(offset);
    return Values(result.begin(), result.end());
  });
}

}  // namespace

TEST_CASE("CUDA activations are the reference's within rounding, at every length and alignment") {
  for (const Activation act : activations)
    for (const std::int64_t length : {1, 3, 4, 5, 8, 1023, 1029})
      for (const std::size_t offset : {0u, 1u}) {
        INFO("activation " << static_cast<int>(act) << " of " << length << " + " << offset);
        const Values x = normals(length, 1, 3.0f), up = normals(length, 2);
        const Values alone = run(x, nullptr, act, offset), gated = run(x, &up, act, offset);
        double worst = 0.0;
        for (std::size_t i = 0; i < x.size(); ++i) {
          const double at = static_cast<double>(x[i]), factor = static_cast<double>(up[i]);
          const double y = reference::activate(act, at);
          const double size = 1.0 + std::abs(at) + std::abs(y);
          worst = std::max({worst, std::abs(static_cast<double>(alone[i]) - y) / tolerance(1, size),
                            std::abs(static_cast<double>(gated[i]) - y * factor) /
                                tolerance(2, size * std::abs(factor))});
        }
        CHECK(worst <= 1.0);
      }
}
