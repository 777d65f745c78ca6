// Tensors made from values, and the arithmetic of shapes.
#include <array>
#include <vector>

#include <idefics/core/tensor.hpp>

#include "support/catch.hpp"

using namespace idefics;

namespace {

/// The code of the error that `call` throws, or "nothing".
template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return std::string(error.code_name());
  }
  return "nothing";
}

template <class T>
void holds(const Tensor& t, DType dtype, const Shape& shape, const std::vector<T>& values) {
  CHECK(t.dtype() == dtype);
  CHECK(t.shape() == shape);
  CHECK(t.writable());
  CHECK(std::ranges::equal(t.as<T>(), values));
}

}  // namespace

TEST_CASE("a tensor is made from a list of every element type") {
  holds<float>(Tensor::from({1.0f, -2.5f, 3.0f, 0.0f}, {2, 2}), DType::f32, {2, 2},
               {1.0f, -2.5f, 3.0f, 0.0f});
  holds<std::int32_t>(Tensor::from({1, -2, 3}, {3}), DType::i32, {3}, {1, -2, 3});
  holds<std::int64_t>(Tensor::from({std::int64_t{1} << 40, std::int64_t{-1}}, {1, 2}), DType::i64,
                      {1, 2}, {std::int64_t{1} << 40, -1});
  holds<std::uint8_t>(Tensor::from({std::uint8_t{255}, std::uint8_t{7}}, {2}), DType::u8, {2},
                      {255, 7});
  holds<std::uint8_t>(Tensor::from({true, false, true}, {3}), DType::boolean, {3}, {1, 0, 1});
  const Tensor half = Tensor::from({to_f16(1.5f), to_f16(-2.0f)}, {2});
  CHECK(half.dtype() == DType::f16);
  CHECK(detail::element_as_f32(half, 1) == -2.0f);
  const Tensor bf16 = Tensor::from({to_bf16(3.0f)}, {});
  CHECK(bf16.dtype() == DType::bf16);
  CHECK(detail::element_as_f32(bf16, 0) == 3.0f);
}

TEST_CASE("a tensor is a copy of a range") {
  std::vector<float> values{1.0f, 2.0f, 3.0f};
  const Tensor t = Tensor::from(values, {3, 1});
  values[0] = 9.0f;
  holds<float>(t, DType::f32, {3, 1}, {1.0f, 2.0f, 3.0f});
  holds<std::int64_t>(Tensor::from(std::array<std::int64_t, 2>{5, 6}, {2}), DType::i64, {2},
                      {5, 6});
  holds<float>(Tensor::from(t.as<float>(), {3}), DType::f32, {3}, {1.0f, 2.0f, 3.0f});
  holds<float>(Tensor::from(std::vector<float>{}, {0, 4}), DType::f32, {0, 4}, {});
}

TEST_CASE("a tensor is not made from another number of values") {
  CHECK(error_of([] { (void)Tensor::from({1.0f, 2.0f}, {3}); }) == "shape_mismatch");
  CHECK(error_of([] { (void)Tensor::from({1.0f, 2.0f}, {}); }) == "shape_mismatch");
  CHECK(error_of([] { (void)Tensor::from(std::vector<float>{}, {1}); }) == "shape_mismatch");
  CHECK(error_of([] { (void)Tensor::from({1.0f, 2.0f}, {2, 1}); }) == "nothing");
}

TEST_CASE("shapes count parts of their dimensions, and replace one") {
  const Shape shape{2, 3, 4};
  CHECK(shape.count() == 24);
  CHECK(shape.count(0, 0) == 1);
  CHECK(shape.count(0, 2) == 6);
  CHECK(shape.count(1, 3) == 12);
  CHECK(shape.index(-1) == 2);
  CHECK(shape.index(1) == 1);
  CHECK(shape.with(-2, 9) == Shape{2, 9, 4});
  CHECK(error_of([&] { (void)shape.index(3); }) == "invalid_argument");
  CHECK(error_of([&] { (void)shape.index(-4); }) == "invalid_argument");
  CHECK(error_of([&] { (void)shape.with(0, -1); }) == "invalid_argument");
}
