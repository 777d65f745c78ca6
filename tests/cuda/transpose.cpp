// Tests of the CUDA copies in another order, run on the CPU by tests/support/cuda_on_cpu/.
#include "cuda/transpose.cuh"

#include <idefics/backend/reference/transpose.hpp>

#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

namespace {

/// Random bytes, in a count that is a multiple of that of a float.
Tensor numbered(DType dtype, Shape shape) {
  Tensor t = Tensor::empty(dtype, shape);
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < t.bytes(); ++i)
    t.raw_mutable()[i] = static_cast<std::byte>((state = state * 1664525u + 1013904223u) >> 24);
  return t;
}

/// The same bytes, as floats, which cuda_result and different_bits expect.
Tensor as_floats(const Tensor& t) {
  return Tensor::view_of(DType::f32, {static_cast<std::int64_t>(t.bytes() / sizeof(float))},
                         t.raw());
}

std::byte* bytes(float* p) { return reinterpret_cast<std::byte*>(p); }

}  // namespace

TEST_CASE("CUDA transpose moves elements of every size, at every alignment") {
  for (const DType dtype : {DType::u8, DType::bf16, DType::f32, DType::i64})
    for (const Shape& from : {Shape{1, 40, 1, 68, 1}, Shape{2, 33, 1, 4, 1}, Shape{2, 4, 3, 35, 1},
                              Shape{1, 5, 1, 6, 2}, Shape{2, 3, 2, 5, 4}, Shape{1, 8, 3, 7, 12},
                              Shape{1, 2, 1, 3, 1060}})
      for (const std::size_t offset : {0u, 1u, 2u}) {
        INFO(name_of(dtype) << " " << from.to_string() << " + " << offset);
        const Tensor x = numbered(dtype, from),
                     expected = Tensor::empty(dtype, {from[0], from[3], from[2], from[1], from[4]});
        reference::transpose(expected, x);
        const auto run = [&](float* out) {
          cuda::transpose(at_once(), bytes(out), x.raw(), from[0],
                          {from[1], from[2], from[3], from[4]},
                          static_cast<std::int64_t>(size_of(dtype)));
        };
        const Tensor floats = as_floats(expected);
        CHECK(different_bits(cuda_result(floats.shape(), run, {}, offset), floats) == "");
      }
}

TEST_CASE("CUDA concat joins runs of every length, at every alignment") {
  for (const DType dtype : {DType::u8, DType::bf16, DType::f32, DType::i64})
    for (const std::int64_t rows : {1, 4, 12})
      for (const std::size_t offset : {0u, 1u, 2u}) {
        INFO(name_of(dtype) << " " << rows << " rows + " << offset);
        std::vector<Tensor> parts;
        std::int64_t width = 0;
        for (const std::int64_t d : {4, 1, 0, 300, 7}) {
          parts.push_back(numbered(dtype, {rows, d}));
          width += d;
        }
        const Tensor expected = Tensor::empty(dtype, {rows, width});
        reference::concat(expected, parts, rows);
        const auto size = static_cast<std::int64_t>(size_of(dtype));
        const auto run = [&](float* out) {
          std::byte* to = bytes(out);
          for (const Tensor& part : parts) {
            cuda::concat(at_once(), to, part.raw(), rows, part.dim(1) * size, width * size);
            to += part.dim(1) * size;
          }
        };
        const Tensor floats = as_floats(expected);
        CHECK(different_bits(cuda_result(floats.shape(), run, {}, offset), floats) == "");
      }
}
