// RMSNorm and LayerNorm.
#include "support/parity.hpp"

using namespace idefics;
using namespace testing;

namespace {

constexpr float eps = 1e-5f;
constexpr std::int64_t widths[] = {1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 130, 1280};

struct Operands {
  Tensor x, weight, bias;  // [M,D], [D], [D]; without bias the operation is rms_norm
};

Operands random_operands(std::int64_t m, std::int64_t d, DType dtype, bool layer, float shift) {
  Values x = normals(m * d, 1);
  for (float& value : x) value += shift;
  return {tensor({m, d}, x), stored(dtype, {d}, normals(d, 2), 2),
          layer ? stored(dtype, {d}, normals(d, 3), 2) : Tensor()};
}

void call(Backend& backend, Tensor out, const Tensor& x, const Operands& o, float epsilon) {
  if (o.bias)
    backend.layer_norm(std::move(out), x, backend.upload(o.weight), backend.upload(o.bias),
                       epsilon);
  else
    backend.rms_norm(std::move(out), x, backend.upload(o.weight), epsilon);
}

auto norm(const Operands& o, float epsilon = eps) {
  return [=](Backend& backend) {
    const Untouched inputs({o.x, o.weight, o.bias});
    const Output out(backend, o.x.shape());
    call(backend, out.tensor_on_device(), backend.upload(o.x), o, epsilon);
    CHECK(inputs.unchanged());
    return out.values();
  };
}

auto norm_in_place(const Operands& o) {
  return [=](Backend& backend) {
    const auto x = o.x.as<float>();
    const Output out(backend, o.x.shape(), Values(x.begin(), x.end()));
    call(backend, out.tensor_on_device(), out.tensor_on_device(), o, eps);
    return out.values();
  };
}

/// The magnitude of the terms of element i of the result.
double magnitude(const Operands& o, std::int64_t i) {
  const std::int64_t d = o.weight.count();
  const Eigen::VectorXd row = reference::read(o.x, i / d * d, d);
  const Eigen::VectorXd centred = row.array() - (o.bias ? row.mean() : 0.0);
  const double root =
      std::sqrt(centred.squaredNorm() / static_cast<double>(d) + static_cast<double>(eps));
  const double mean_size = o.bias ? row.cwiseAbs().mean() : 0.0;
  const double value = std::abs(centred[i % d]) / root, shift = mean_size / root;
  return (value + shift) * (1.0 + shift) * std::abs(reference::value(o.weight, i % d)) +
         (o.bias ? std::abs(reference::value(o.bias, i % d)) : 0.0);
}

template <class Body>
void for_each_case(const Body& body) {
  for (const bool layer : {false, true})
    for (const std::int64_t d : widths)
      for (const DType dtype : weight_dtypes) {
        INFO((layer ? "layer_norm" : "rms_norm") << " D=" << d << " weights " << name_of(dtype));
        body(layer, d, dtype);
      }
}

}  // namespace

TEST_CASE("norms are the reference's within rounding") {
  for_each_case([](bool layer, std::int64_t d, DType dtype) {
    const Operands o = random_operands(5, d, dtype, layer, 0.75f);
    like_the_reference(norm(o), [&](std::int64_t i) { return tolerance(d, magnitude(o, i)); });
  });
}

TEST_CASE("rows of a known norm are normalized exactly") {
  // Entries of +2 and -2 have mean square 4 and, in equal number, mean 0 and variance 4.
  for (const bool layer : {false, true})
    for (const std::int64_t d : {2, 16, 30, 48, 50}) {
      INFO((layer ? "layer_norm" : "rms_norm") << " D=" << d);
      const Values weight = integers(d, 50, 1), bias = integers(d, 50, 2);
      const float mean = layer ? 3.0f : 0.0f;
      Values x, expected;
      for (std::size_t i = 0; i < static_cast<std::size_t>(d); ++i) {
        const float sign = i % 2 == 0 ? 1.0f : -1.0f;
        x.push_back(mean + 2.0f * sign);
        expected.push_back(sign * weight[i] + (layer ? bias[i] : 0.0f));
      }
      const Operands o{tensor({1, d}, x), stored(DType::bf16, {d}, weight, 1),
                       layer ? stored(DType::f16, {d}, bias, 1) : Tensor()};
      exactly(norm(o, 0.0f), tensor({1, d}, expected));
    }
}

TEST_CASE("eps is added to the mean of the squares, not to the root") {
  // x = 1: 1 / sqrt(1 + 3) = 1/2. A layer_norm of a constant row is its bias alone.
  const Operands ones{tensor({1, 20}, Values(20, 1.0f)), tensor({20}, Values(20, 1.0f)), {}};
  exactly(norm(ones, 3.0f), tensor({1, 20}, Values(20, 0.5f)));
  Operands constant = ones;
  constant.bias = tensor({20}, Values(20, 0.125f));
  exactly(norm(constant, 3.0f), constant.bias);
}

TEST_CASE("rows of zeros stay finite") {
  const Operands o{tensor({2, 33}, Values(66)), tensor({33}, Values(33, 1.0f)), {}};
  exactly(norm(o), tensor({2, 33}, Values(66)));
}

TEST_CASE("norms work in place, and a row gives the same bits in any batch") {
  for_each_case([](bool layer, std::int64_t d, DType dtype) {
    const Operands o = random_operands(9, d, dtype, layer, 0.0f);
    for (const Subject& subject : subjects()) {
      INFO("backend " << subject.name);
      const Tensor all = norm(o)(*subject.backend);
      CHECK(different_bits(norm_in_place(o)(*subject.backend), all) == "");
      for (std::int64_t m = 0; m < 9; m += 4) {
        const Operands alone{o.x.slice(m, m + 1), o.weight, o.bias};
        CHECK(different_bits(norm(alone)(*subject.backend), all.slice(m, m + 1)) == "");
      }
    }
  });
}

TEST_CASE("norms refuse shapes that do not fit") {
  for (const Subject& subject : subjects()) {
    const auto zeros = [&](Shape shape) {
      return subject.backend->upload(Tensor::zeros(DType::f32, shape));
    };
    Backend& b = *subject.backend;
    const auto rms = [&](Shape out, Shape x, Shape w) {
      return error_of([&] { b.rms_norm(zeros(out), zeros(x), zeros(w), eps); });
    };
    CHECK(rms({2, 6}, {2, 6}, {6}) == "nothing");
    CHECK(rms({0, 6}, {0, 6}, {6}) == "nothing");
    CHECK(rms({2, 6}, {2, 6}, {5}) == "shape_mismatch");
    CHECK(rms({2, 6}, {3, 6}, {6}) == "shape_mismatch");
    CHECK(rms({2, 6}, {2, 6}, {0}) == "shape_mismatch");
    CHECK(error_of([&] {
            b.layer_norm(zeros({2, 6}), zeros({2, 6}), zeros({6}), zeros({3}), eps);
          }) == "shape_mismatch");
  }
}
