// Tests of the CUDA kernels for linear layers with int8 weights, run on the CPU by
// tests/support/cuda_on_cpu/.
#include "cuda/linear_int8.cuh"

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/cpu/quantize.hpp>

#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

namespace {

/// x [M,K] with outliers times a matrix [N,K], and the bits of the CPU backend.
void check(std::int64_t m, std::int64_t n, std::int64_t k, float threshold, Compute compute,
           bool with_ends, std::size_t offset) {
  Values values = normals(m * k, 1);
  for (std::size_t i = 0; i < values.size(); i += 23) values[i] *= 9.0f;
  const Tensor x = tensor({m, k}, values), bias = tensor({n}, normals(n, 3));
  const Tensor residual = tensor({m, n}, normals(m * n, 4));
  const Int8Matrix w =
      quantize_int8(tensor({n, k}, normals(n * k, 2, 0.1f)), DType::f32, threshold);
  std::vector<std::int8_t> codes(static_cast<std::size_t>(n * k) + offset + 4);
  std::memcpy(codes.data() + offset, w.codes.raw(), w.codes.bytes());
  std::vector<std::byte> scratch(static_cast<std::size_t>(cuda::Int8Rows::bytes(m, k)));
  const cuda::DeviceInt8 on_device{codes.data() + offset, data(w.absmax), n, k,
                                   cuda::in_quads(codes.data() + offset, k)};
  const Tensor ours = cuda_result({m, n}, [&](float* out) {
    cuda::linear_int8(at_once(), out, data(x), on_device, threshold, compute == Compute::bf16,
                      with_ends ? floats(bias) : cuda::DeviceFloats{},
                      with_ends ? data(residual) : nullptr, scratch.data(), m);
  });
  Tensor expected = Tensor::empty(DType::f32, {m, n});
  const auto cpu = make_cpu_backend(Isa::scalar);
  cpu->linear(expected, x, {.int8 = w}, with_ends ? bias : Tensor(), compute);
  if (with_ends) cpu->add(expected, expected, residual);
  CHECK(different_bits(ours, expected) == "");
}

}  // namespace

TEST_CASE("CUDA linear_int8 gives the bits of the CPU backend in every lane order") {
  std::size_t offset = 0;
  for (const float threshold : {6.0f, 0.0f, 0.5f})
    for (const Compute compute : {Compute::f32, Compute::bf16})
      for (const auto& [m, n, k] :
           {std::tuple{1, 9, 64}, {3, 5, 33}, {9, 17, 100}, {2, 3, 1300}, {17, 8, 7}}) {
        CAPTURE(m, n, k, threshold);
        check(m, n, k, threshold, compute, offset % 2 == 0, offset % 4 == 3 ? 1 : 0);
        ++offset;
      }
}
