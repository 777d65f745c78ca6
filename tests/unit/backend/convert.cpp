// Rounding f32 to sixteen bits: every instruction set gives the bits of to_bf16 and to_f16.
#include <cstring>
#include <vector>

#include <idefics/backend/cpu/convert.hpp>

#include "support/catch.hpp"

using namespace idefics;

namespace {

/// Every upper half of an f32, with lower halves around ties of both formats.
std::vector<float> patterns() {
  std::vector<float> values;
  for (std::uint32_t upper = 0; upper < 0x10000u; ++upper)
    for (const std::uint32_t lower :
         {0u, 1u, 0xfffu, 0x1000u, 0x1001u, 0x3000u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      values.push_back(std::bit_cast<float>(upper << 16 | lower));
  return values;
}

std::uint16_t expected(float x, DType dtype) {
  return dtype == DType::bf16 ? to_bf16(x).bits : to_f16(x).bits;
}

}  // namespace

TEST_CASE("f32 is rounded to 16 bits in the same way on every instruction set") {
  const std::vector<float> values = patterns();
  std::vector<std::uint16_t> right(values.size()), found(values.size());
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (std::size_t i = 0; i < values.size(); ++i) right[i] = expected(values[i], dtype);
    for (const Isa isa : available_isas()) {
      CAPTURE(name_of(dtype), static_cast<int>(isa));
      detail::cpu::kernels_for(isa).narrow(reinterpret_cast<std::byte*>(found.data()), dtype,
                                           reinterpret_cast<const std::byte*>(values.data()),
                                           static_cast<std::int64_t>(values.size()));
      CHECK((found == right));  // in parentheses, so that the values are not printed
    }
  }
}

TEST_CASE("tensors are converted at any length and alignment") {
  std::vector<float> values;
  for (int i = 0; i < 70000; ++i) values.push_back(static_cast<float>(i % 977) * 1.01f - 300.0f);
  for (const std::int64_t count : {1, 15, 16, 17, 33, 1023, 70000})
    for (const DType from : {DType::f32, DType::f16, DType::bf16})
      for (const DType to : {DType::f32, DType::f16, DType::bf16}) {
        std::vector<std::byte> bytes(static_cast<std::size_t>(count) * size_of(from) + 1);
        for (std::int64_t i = 0; i < count; ++i) {
          const float x = values[static_cast<std::size_t>(i)];
          const auto half = expected(x, from);
          std::memcpy(bytes.data() + 1 + i * static_cast<std::int64_t>(size_of(from)),
                      from == DType::f32 ? static_cast<const void*>(&x) : &half, size_of(from));
        }
        const Tensor in = Tensor::view_of(from, {count}, bytes.data() + 1);
        const Tensor out = convert(in, to);
        bool equal = out.dtype() == to && out.count() == count;
        for (std::int64_t i = 0; equal && i < count; ++i) {
          const float x = detail::element_as_f32(in, i), y = detail::element_as_f32(out, i);
          const float right = to == DType::f32    ? x
                              : to == DType::bf16 ? to_f32(to_bf16(x))
                                                  : to_f32(to_f16(x));
          equal = y == right;
        }
        CAPTURE(count, name_of(from), name_of(to));
        CHECK(equal);
      }
  CHECK_THROWS_AS(convert(Tensor::zeros(DType::i64, {4}), DType::bf16), Error);
}
