// Cutting pictures into patches: each pixel's value is its index, which shows where it came from.
#include "support/parity.hpp"

using namespace idefics;
using namespace testing;

namespace {

auto unfold(const Tensor& pixels, std::int64_t patch, Shape out_shape) {
  return [=](Backend& backend) {
    const Untouched inputs({pixels});
    const Output out(backend, out_shape);
    backend.unfold_patches(out.tensor_on_device(), backend.upload(pixels), patch);
    CHECK(inputs.unchanged());
    return out.values();
  };
}

Tensor numbered(std::int64_t n, std::int64_t c, std::int64_t height, std::int64_t width) {
  Values values(static_cast<std::size_t>(n * c * height * width));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return tensor({n, c, height, width}, values);
}

}  // namespace

TEST_CASE("patches come row by row, each as channels of lines of pixels") {
  struct Sizes {
    std::int64_t pictures, channels, height, width, patch;
  };
  const Sizes sizes[] = {{1, 3, 30, 30, 2}, {2, 3, 28, 28, 14}, {1, 1, 5, 5, 5},
                         {3, 2, 6, 6, 1},   {1, 3, 40, 56, 8},  {2, 3, 50, 34, 17},
                         {1, 3, 15, 22, 7}, {1, 1, 99, 33, 33}};
  for (const Sizes& s : sizes) {
    INFO(s.pictures << " pictures of " << s.channels << "x" << s.height << "x" << s.width
                    << ", patch " << s.patch);
    const std::int64_t rows = s.height / s.patch, columns = s.width / s.patch;
    const std::int64_t size = s.channels * s.patch * s.patch;
    Values expected;
    for (std::int64_t p = 0; p < s.pictures * rows * columns; ++p)
      for (std::int64_t i = 0; i < size; ++i) {
        const std::int64_t picture = p / (rows * columns), row = p / columns % rows,
                           column = p % columns;
        const std::int64_t channel = i / (s.patch * s.patch), y = i / s.patch % s.patch,
                           x = i % s.patch;
        const std::int64_t line = (picture * s.channels + channel) * s.height + row * s.patch + y;
        expected.push_back(static_cast<float>(line * s.width + column * s.patch + x));
      }
    const Shape shape{s.pictures * rows * columns, size};
    exactly(unfold(numbered(s.pictures, s.channels, s.height, s.width), s.patch, shape),
            tensor(shape, expected));
  }
}

TEST_CASE("patches refuse shapes that do not fit") {
  for (const Subject& subject : subjects()) {
    const auto zeros = [&](Shape shape) {
      return subject.backend->upload(Tensor::zeros(DType::f32, shape));
    };
    INFO("backend " << subject.name);
    const auto call = [&](Shape out, Shape pixels, std::int64_t patch) {
      return error_of([&] { subject.backend->unfold_patches(zeros(out), zeros(pixels), patch); });
    };
    CHECK(call({4, 12}, {1, 3, 5, 4}, 2) == "nothing");
    CHECK(call({6, 12}, {1, 3, 5, 4}, 2) == "shape_mismatch");
    CHECK(call({4, 12}, {3, 5, 4}, 2) == "shape_mismatch");
    CHECK(call({4, 13}, {1, 3, 5, 4}, 2) == "shape_mismatch");
  }
}
