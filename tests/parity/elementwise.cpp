// Sums, products, gates, and scattering and gathering of rows.
#include <limits>

#include "support/parity.hpp"

using namespace idefics;
using namespace testing;

namespace {

using Rows = std::vector<std::int32_t>;
constexpr std::int64_t widths[] = {1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 9000};

Values values_of(const Tensor& t) {
  const auto values = t.as<float>();
  return {values.begin(), values.end()};
}

auto add(const Tensor& x, const Tensor& y) {
  return [=](Backend& backend) {
    const Untouched inputs({x, y});
    const Output out(backend, x.shape());
    backend.add(out.tensor_on_device(), backend.upload(x), backend.upload(y));
    CHECK(inputs.unchanged());
    return out.values();
  };
}

auto multiply(const Tensor& x, const Tensor& y) {
  return [=](Backend& backend) {
    const Untouched inputs({x, y});
    const Output out(backend, x.shape());
    backend.multiply(out.tensor_on_device(), backend.upload(x), backend.upload(y));
    CHECK(inputs.unchanged());
    return out.values();
  };
}

auto scale(const Tensor& x, float factor) {
  return [=](Backend& backend) {
    const Output out(backend, x.shape());
    backend.scale(out.tensor_on_device(), backend.upload(x), factor);
    return out.values();
  };
}

auto gated_add(const Tensor& x, const Tensor& y, const Tensor& alpha) {
  return [=](Backend& backend) {
    const Untouched inputs({y, alpha});
    const Output out(backend, x.shape(), values_of(x));
    backend.gated_add(out.tensor_on_device(), backend.upload(y), backend.upload(alpha));
    CHECK(inputs.unchanged());
    return out.values();
  };
}

}  // namespace

TEST_CASE("sums of two tensors, and of a tensor and a bias, are rounded once") {
  for (const std::int64_t width : widths) {
    INFO("D=" << width);
    const Values x = normals(3 * width, 1), y = normals(3 * width, 2);
    Values sum, biased;
    for (std::size_t i = 0; i < x.size(); ++i) {
      sum.push_back(x[i] + y[i]);
      biased.push_back(x[i] + y[i % static_cast<std::size_t>(width)]);
    }
    const Tensor a = tensor({3, width}, x), b = tensor({3, width}, y);
    exactly(add(a, b), tensor({3, width}, sum));
    exactly(add(a, b.slice(0, 1)), tensor({3, width}, biased));
  }
}

TEST_CASE("products of two tensors, of a tensor and a row, and of a number are rounded once") {
  for (const std::int64_t width : widths) {
    INFO("D=" << width);
    const Values x = normals(3 * width, 1), y = normals(3 * width, 2);
    Values product, repeated, scaled;
    for (std::size_t i = 0; i < x.size(); ++i) {
      product.push_back(x[i] * y[i]);
      repeated.push_back(x[i] * y[i % static_cast<std::size_t>(width)]);
      scaled.push_back(x[i] * 0.3f);
    }
    const Tensor a = tensor({3, width}, x), b = tensor({3, width}, y);
    exactly(multiply(a, b), tensor({3, width}, product));
    exactly(multiply(a, b.slice(0, 1)), tensor({3, width}, repeated));
    exactly(scale(a, 0.3f), tensor({3, width}, scaled));
  }
}

TEST_CASE("products of subnormal numbers, zeros and infinities are those of IEEE 754") {
  const float inf = std::numeric_limits<float>::infinity();
  const Values x{0x1p-100f, -0x1p-130f, 0.0f, inf, 0x1.8p-149f, -3.0f},
      y{0x1.5p-49f, 0x1p-30f, -2.0f, -0x1p-149f, 0.5f, 0x1p127f};
  Values expected;
  for (std::size_t i = 0; i < x.size(); ++i) expected.push_back(x[i] * y[i]);
  exactly(multiply(tensor({6}, x), tensor({6}, y)), tensor({6}, expected));
}

TEST_CASE("a product may be written over either of its factors") {
  const Tensor x = tensor({2, 21}, normals(42, 1)), y = tensor({2, 21}, normals(42, 2));
  for (const Subject& subject : subjects()) {
    INFO("backend " << subject.name);
    Backend& b = *subject.backend;
    const Output first(b, x.shape(), values_of(x)), second(b, y.shape(), values_of(y)),
        third(b, x.shape(), values_of(x));
    b.multiply(first.tensor_on_device(), first.tensor_on_device(), b.upload(y));
    b.multiply(second.tensor_on_device(), b.upload(x), second.tensor_on_device());
    b.scale(third.tensor_on_device(), third.tensor_on_device(), -0.7f);
    const Tensor expected = multiply(x, y)(b);
    CHECK(different_bits(first.values(), expected) == "");
    CHECK(different_bits(second.values(), expected) == "");
    CHECK(different_bits(third.values(), scale(x, -0.7f)(b)) == "");
  }
}

TEST_CASE("a sum may be written over either of its terms") {
  const Tensor x = tensor({2, 21}, normals(42, 1)), y = tensor({2, 21}, normals(42, 2));
  for (const Subject& subject : subjects()) {
    INFO("backend " << subject.name);
    Backend& b = *subject.backend;
    const Output first(b, x.shape(), values_of(x)), second(b, y.shape(), values_of(y));
    b.add(first.tensor_on_device(), first.tensor_on_device(), b.upload(y));
    b.add(second.tensor_on_device(), b.upload(x), second.tensor_on_device());
    const Tensor expected = add(x, y)(b);
    CHECK(different_bits(first.values(), expected) == "");
    CHECK(different_bits(second.values(), expected) == "");
  }
}

TEST_CASE("a bias or a row of factors may be stored in any dtype at any address") {
  for (const DType dtype : weight_dtypes) {
    INFO(name_of(dtype));
    const Tensor x = tensor({2, 37}, integers(74, 100, 1));
    const Tensor y = stored(dtype, {37}, integers(37, 100, 2), 1);
    Values sums = values_of(x), products = sums;
    for (std::size_t i = 0; i < sums.size(); ++i) {
      sums[i] += detail::element_as_f32(y, static_cast<std::int64_t>(i % 37));
      products[i] *= detail::element_as_f32(y, static_cast<std::int64_t>(i % 37));
    }
    exactly(add(x, y), tensor({2, 37}, sums));
    exactly(multiply(x, y), tensor({2, 37}, products));
  }
}

TEST_CASE("a gate of zero is exactly closed, a saturated one exactly open") {
  for (const std::int64_t width : widths) {
    INFO("D=" << width);
    const Values x = integers(2 * width, 1000, 1), y = integers(2 * width, 1000, 2);
    const float gates[] = {0.0f, 30.0f, -30.0f};  // tanh: 0, 1, -1
    for (const float alpha : gates) {
      Values one(x), each(x);
      Values alphas(static_cast<std::size_t>(width));
      for (std::size_t i = 0; i < alphas.size(); ++i) alphas[i] = gates[i % 3];
      const auto sign = [](float gate) { return gate == 0.0f ? 0.0f : gate / 30.0f; };
      for (std::size_t i = 0; i < x.size(); ++i) {
        one[i] += sign(alpha) * y[i];
        each[i] += sign(alphas[i % alphas.size()]) * y[i];
      }
      const Tensor a = tensor({2, width}, x), b = tensor({2, width}, y);
      exactly(gated_add(a, b, tensor({1}, {alpha})), tensor({2, width}, one));
      exactly(gated_add(a, b, tensor({1, 1, width}, alphas)), tensor({2, width}, each));
    }
  }
}

TEST_CASE("gates are tanh(alpha), within rounding") {
  for (const DType dtype : weight_dtypes)
    for (const std::int64_t gates : {1, 37}) {
      INFO("alpha of " << gates << " as " << name_of(dtype));
      const Tensor x = tensor({3, 37}, normals(111, 1)), y = tensor({3, 37}, normals(111, 2));
      const Tensor alpha = stored(dtype, {gates}, normals(gates, 3), 1);
      like_the_reference(gated_add(x, y, alpha), [&](std::int64_t i) {
        return tolerance(1, std::abs(reference::value(x, i)) + std::abs(reference::value(y, i)));
      });
    }
}

TEST_CASE("scattering writes the given rows only, and gathering reads them back") {
  for (const std::int64_t width : widths) {
    INFO("D=" << width);
    const Rows rows{5, 0, 6, 2};
    const Tensor x = tensor({4, width}, normals(4 * width, 1));
    const Values before = normals(7 * width, 2);
    Values after(before);
    for (std::size_t i = 0; i < rows.size(); ++i)
      std::ranges::copy(
          values_of(x.slice(static_cast<std::int64_t>(i), static_cast<std::int64_t>(i) + 1)),
          after.begin() + rows[i] * width);
    const auto scatter = [&](Backend& backend) {
      const Output out(backend, {7, width}, before);
      backend.scatter_rows(out.tensor_on_device(), rows, backend.upload(x));
      return out.values();
    };
    const auto gather = [&](Backend& backend) {
      const Output out(backend, {4, width});
      backend.gather_rows(out.tensor_on_device(), backend.upload(tensor({7, width}, after)), rows);
      return out.values();
    };
    exactly(scatter, tensor({7, width}, after));
    exactly(gather, x);
  }
}

TEST_CASE("scattering into bf16 rounds to nearest, ties to even") {
  for (const std::int64_t width : {1, 15, 16, 80, 1003}) {
    INFO("D=" << width);
    Values x = normals(3 * width, 1), before = normals(5 * width, 2);
    x[0] = 1.0f + 0x1p-8f;  // a tie
    if (width > 3) x[1] = 1.0f + 3 * 0x1p-8f, x[2] = -INFINITY, x[3] = 0x1p-140f;
    const Rows rows{4, 0, 2};
    Values after(before);
    for (std::size_t i = 0; i < rows.size(); ++i)
      std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(i) * width, width,
                  after.begin() + rows[i] * width);
    const Tensor kept = stored(DType::bf16, {5, width}, before),
                 expected = stored(DType::bf16, {5, width}, after);
    for (const Subject& subject : subjects()) {
      INFO("backend " << subject.name);
      Backend& b = *subject.backend;
      Tensor out = b.empty(DType::bf16, {5, width});
      b.write(out, kept);
      b.scatter_rows(out, rows, b.upload(tensor({3, width}, x)));
      CHECK(different_bytes(b.download(out), expected) == "");
      const Rows all{0, 1, 2, 3, 4};  // and from bf16 as it is
      Tensor copy = b.empty(DType::bf16, {5, width});
      b.scatter_rows(copy, all, out);
      CHECK(different_bytes(b.download(copy), expected) == "");
    }
  }
}

TEST_CASE("a row may be a matrix of heads by width") {
  const Tensor x = tensor({3, 2, 5}, normals(30, 1));
  const Rows twice{2, 0, 2, 1};
  Values expected;
  for (const auto row : twice)
    for (const float v : values_of(x.slice(row, row + 1))) expected.push_back(v);
  const auto gather = [&](Backend& backend) {
    const Output out(backend, {4, 2, 5});
    backend.gather_rows(out.tensor_on_device(), backend.upload(x), twice);
    return out.values();
  };
  exactly(gather, tensor({4, 2, 5}, expected));
}

TEST_CASE("elementwise operations refuse shapes and rows that do not fit") {
  for (const Subject& subject : subjects()) {
    const auto zeros = [&](Shape shape) {
      return subject.backend->upload(Tensor::zeros(DType::f32, shape));
    };
    INFO("backend " << subject.name);
    Backend& b = *subject.backend;
    CHECK(error_of([&] { b.add(zeros({2, 3}), zeros({2, 3}), zeros({2})); }) == "nothing");
    CHECK(error_of([&] { b.add(zeros({2, 3}), zeros({2, 3}), zeros({4})); }) == "shape_mismatch");
    CHECK(error_of([&] { b.add(zeros({2, 3}), zeros({3, 3}), zeros({3})); }) == "shape_mismatch");
    CHECK(error_of([&] { b.multiply(zeros({2, 3}), zeros({2, 3}), zeros({3})); }) == "nothing");
    CHECK(error_of([&] {
            b.multiply(zeros({2, 3}), zeros({2, 3}), zeros({4}));
          }) == "shape_mismatch");
    CHECK(error_of([&] {
            b.multiply(zeros({2, 3}), zeros({3, 3}), zeros({3}));
          }) == "shape_mismatch");
    CHECK(error_of([&] { b.scale(zeros({2, 3}), zeros({3, 2}), 2); }) == "nothing");
    CHECK(error_of([&] { b.scale(zeros({2, 3}), zeros({2, 2}), 2); }) == "shape_mismatch");
    CHECK(error_of([&] {
            b.gated_add(zeros({2, 3}), zeros({3}), zeros({1}));
          }) == "shape_mismatch");
    CHECK(error_of([&] {
            b.gated_add(zeros({2, 3}), zeros({2, 3}), zeros({2}));
          }) == "shape_mismatch");
    const auto scatter = [&](const Rows& rows, Shape x) {
      return error_of([&] { b.scatter_rows(zeros({4, 3}), rows, zeros(x)); });
    };
    CHECK(scatter({3, 0}, {2, 3}) == "nothing");
    CHECK(scatter({}, {0, 3}) == "nothing");
    CHECK(scatter({3, 4}, {2, 3}) == "invalid_argument");
    CHECK(scatter({-1, 0}, {2, 3}) == "invalid_argument");
    CHECK(scatter({3}, {2, 3}) == "shape_mismatch");
    CHECK(scatter({3, 0}, {2, 2}) == "shape_mismatch");
    CHECK(error_of([&] {
            b.scatter_rows(b.empty(DType::f16, {4, 3}), Rows{0, 1}, zeros({2, 3}));
          }) == "dtype_mismatch");
    const auto gather = [&](const Rows& rows, Shape out) {
      return error_of([&] { b.gather_rows(zeros(out), zeros({4, 3}), rows); });
    };
    CHECK(gather({3, 0}, {2, 3}) == "nothing");
    CHECK(gather({3, 4}, {2, 3}) == "invalid_argument");
    CHECK(gather({3, -1}, {2, 3}) == "invalid_argument");
    CHECK(gather({3}, {2, 3}) == "shape_mismatch");
  }
}
