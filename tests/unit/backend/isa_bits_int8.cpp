// int8 weights: the same bits for every instruction set, number of threads and number of rows, in
// products and in quantizing. tests/parity/linear_int8.cpp has the order itself.
#include <cstring>

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/cpu/quantize.hpp>

#include "support/catch.hpp"
#include "support/random_tensors.hpp"

using namespace idefics;

namespace int8 {

/// Codes at an odd address, with outliers in x.
struct Product {
  std::vector<std::int8_t> memory;
  Tensor x, bias;
  LinearWeight weight;

  Product(std::int64_t m, std::int64_t n, std::int64_t k, float threshold) {
    testing::Values values = testing::normals(m * k, 5);
    for (std::size_t i = 0; i < values.size(); i += 31) values[i] *= 9.0f;
    x = testing::tensor({m, k}, values);
    bias = testing::tensor({n}, testing::normals(n, 6));
    weight.int8 = quantize_int8(testing::tensor({n, k}, testing::normals(n * k, 7, 0.1f)),
                                DType::f32, threshold);
    memory.resize(weight.int8.codes.bytes() + 1);
    std::memcpy(memory.data() + 1, weight.int8.codes.raw(), weight.int8.codes.bytes());
    weight.int8.codes =
        Tensor::view_of(DType::i8, {n, k}, reinterpret_cast<const std::byte*>(memory.data() + 1));
  }
  std::string bits(Backend& backend, Compute compute) const {
    Tensor out = Tensor::empty(DType::f32, {x.dim(0), weight.rows()});
    backend.linear(out, x, weight, bias, compute);
    return {reinterpret_cast<const char*>(out.raw()), out.bytes()};
  }
};

}  // namespace int8

TEST_CASE("int8 products have the same bits on every instruction set and number of threads") {
  for (const auto& [m, n, k] :
       {std::tuple{1, 21, 128}, {3, 300, 1000}, {7, 9, 33}, {13, 70, 97}, {400, 5, 40}, {4, 8, 31}})
    for (const float threshold : {6.0f, 0.0f, 1.0f}) {
      const int8::Product p(m, n, k, threshold);
      for (const Compute compute : {Compute::f32, Compute::bf16}) {
        CAPTURE(m, n, k, threshold);
        const std::string expected = p.bits(*make_cpu_backend(Isa::scalar), compute);
        for (const Isa isa : available_isas())
          for (const int threads : {1, 3}) {
            set_num_threads(threads);
            CHECK(p.bits(*make_cpu_backend(isa), compute) == expected);
          }
        set_num_threads(0);
      }
    }
}

TEST_CASE("quantizing to int8 gives the same bits on every instruction set") {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const auto x = testing::stored(dtype, {9, 77}, testing::normals(9 * 77, 8, 3.0f), 2);
    const auto bits = [&](Isa isa) {
      const auto q = quantize_int8(x, dtype, 6.0f, detail::cpu::kernels_for(isa));
      return std::string(reinterpret_cast<const char*>(q.codes.raw()), q.codes.bytes()) +
             std::string(reinterpret_cast<const char*>(q.absmax.raw()), q.absmax.bytes());
    };
    for (const Isa isa : available_isas()) CHECK(bits(isa) == bits(Isa::scalar));
  }
}
