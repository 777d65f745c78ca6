// Tensors, layers and both backends, with no library but Eigen.
#include <algorithm>

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/reference/reference_backend.hpp>
#include <idefics/nn/linear.hpp>

#if defined(INCLUDE_NLOHMANN_JSON_HPP_) || defined(ZLIB_VERSION) || defined(JPEG_LIB_VERSION) || \
    defined(WEBP_DECODER_ABI_VERSION)
#error "idefics::core includes a library of another component"
#endif

using namespace idefics;

int main() {
  Tensor weight = Tensor::empty(DType::f32, {2, 2}), x = Tensor::empty(DType::f32, {1, 2});
  std::ranges::fill(weight.as_mutable<float>(), 1.0f);
  std::ranges::fill(x.as_mutable<float>(), 2.5f);
  for (const auto& backend : {make_cpu_backend(), make_reference_backend()}) {
    Tensor out = Tensor::empty(DType::f32, {1, 2});
    backend->linear(out, x, {weight}, {}, Compute::f32);
    if (out.as<float>()[0] != 5 || out.as<float>()[1] != 5) return 1;
    Tensor scores = Tensor::from({1.0f, 3.0f}, {1, 2}),
           answer = Tensor::from({std::int64_t{0}}, {1});
    backend->matmul(out, scores, weight);
    backend->add(scores, out, scores);  // 5, 7
    backend->softmax(scores, scores);
    backend->argmax(answer, scores);
    if (answer.as<std::int64_t>()[0] != 1 || scores.as<float>()[0] > 0.12f) return 1;
  }
  return 0;
}
