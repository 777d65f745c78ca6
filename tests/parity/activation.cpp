// Activations, alone and as the gate of an MLP.
#include <limits>

#include "support/parity.hpp"

using namespace idefics;
using namespace testing;

namespace {

struct Named {
  Activation act;
  const char* name;
};
constexpr Named activations[] = {{Activation::relu, "relu"},
                                 {Activation::relu2, "relu2"},
                                 {Activation::relu6, "relu6"},
                                 {Activation::leaky_relu, "leaky_relu"},
                                 {Activation::silu, "silu"},
                                 {Activation::gelu, "gelu"},
                                 {Activation::gelu_tanh, "gelu_tanh"},
                                 {Activation::clipped_gelu, "clipped_gelu"},
                                 {Activation::quick_gelu, "quick_gelu"},
                                 {Activation::mish, "mish"},
                                 {Activation::laplace, "laplace"},
                                 {Activation::sigmoid, "sigmoid"},
                                 {Activation::tanh, "tanh"},
                                 {Activation::identity, "identity"}};

constexpr std::int64_t lengths[] = {1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 20000};

auto activation(const Tensor& x, Activation act) {
  return [=](Backend& backend) {
    const Untouched inputs({x});
    const Output out(backend, x.shape());
    backend.activation(out.tensor_on_device(), backend.upload(x), act);
    CHECK(inputs.unchanged());
    return out.values();
  };
}

auto gated(const Tensor& gate, const Tensor& up, Activation act) {
  return [=](Backend& backend) {
    const Untouched inputs({gate, up});
    const Output out(backend, gate.shape());
    backend.gated_activation(out.tensor_on_device(), backend.upload(gate), backend.upload(up), act);
    CHECK(inputs.unchanged());
    return out.values();
  };
}

Values values_of(const Tensor& t) {
  const auto values = t.as<float>();
  return {values.begin(), values.end()};
}

/// The magnitude of the terms of act(x): sums such as 1 + erf have an absolute error, and laplace
/// has a shift of its own.
double magnitude(Activation act, double x) {
  return std::abs(x) + std::abs(reference::activate(act, x)) +
         (act == Activation::laplace ? 1.0 : 0.0);
}

}  // namespace

TEST_CASE("activations have their published values") {
  struct Value {
    Activation act;
    float x;
    double expected;
  };
  // Computed by torch 2.11 with transformers' ACT2FN, in double.
  const Value values[] = {{Activation::relu, -1.5f, 0.0},
                          {Activation::relu, 1.5f, 1.5},
                          {Activation::relu2, 1.5f, 2.25},
                          {Activation::relu6, 7.0f, 6.0},
                          {Activation::leaky_relu, -1.5f, -0.015},
                          {Activation::silu, 1.5f, 1.2263617142904655},
                          {Activation::silu, -1.5f, -0.2736382857095345},
                          {Activation::gelu, 1.5f, 1.399789198096713},
                          {Activation::gelu, -1.5f, -0.10021080190328704},
                          {Activation::gelu_tanh, -1.5f, -0.10042842301976707},
                          {Activation::clipped_gelu, 20.0f, 10.0},
                          {Activation::quick_gelu, -1.5f, -0.10833780155292341},
                          {Activation::mish, -1.5f, -0.29809974216680674},
                          {Activation::laplace, 1.5f, 0.9975285409780703},
                          {Activation::sigmoid, -1.5f, 0.18242552380635635},
                          {Activation::tanh, -1.5f, -0.9051482536448664},
                          {Activation::identity, -1.5f, -1.5}};
  for (const Value& v : values) {
    INFO("activation " << static_cast<int>(v.act) << " of " << v.x);
    const Tensor expected = tensor({1}, {static_cast<float>(v.expected)});
    on_every_backend(activation(tensor({1}, {v.x}), v.act), [&](const Tensor& result) {
      CHECK(beyond(result, expected, [&](std::int64_t) {
              return tolerance(1, magnitude(v.act, static_cast<double>(v.x)));
            }) == "");
    });
  }
}

TEST_CASE("activations are the reference's within rounding, at every length") {
  for (const auto& [act, name] : activations)
    for (const std::int64_t length : lengths) {
      INFO(name << " of " << length);
      const Tensor x = tensor({length}, normals(length, 1, 3.0f));
      const Activation function = act;
      like_the_reference(activation(x, act), [&](std::int64_t i) {
        return tolerance(1, magnitude(function, reference::value(x, i)));
      });
    }
}

TEST_CASE("activations saturate without overflow") {
  const Values ends{-1e30f, -200.0f, -90.0f, -30.0f, -0.0f, 0.0f, 1e-30f, 30.0f, 90.0f, 200.0f};
  for (const auto& [act, name] : activations) {
    INFO(name);
    const Tensor x = tensor({static_cast<std::int64_t>(ends.size())}, ends);
    const Activation function = act;
    like_the_reference(activation(x, act), [&](std::int64_t i) {
      // A large x times a probability that is zero in f32 is zero.
      const double input = reference::value(x, i);
      return tolerance(
          1, input < -1.0 && function != Activation::leaky_relu && function != Activation::identity
                 ? 1.0
                 : magnitude(function, input));
    });
  }
}

TEST_CASE("NaN stays NaN, and changes no other value") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto& [act, name] : activations) {
    INFO(name);
    for (const Subject& subject : subjects()) {
      INFO("backend " << subject.name);
      const Tensor result = activation(tensor({3}, {1.0f, nan, 1.0f}), act)(*subject.backend);
      CHECK(std::isfinite(result.as<float>()[0]));
      CHECK(std::isnan(result.as<float>()[1]));
      CHECK(std::isfinite(result.as<float>()[2]));
    }
  }
}

TEST_CASE("a gated activation is act(gate) times up") {
  for (const auto& [act, name] : activations)
    for (const std::int64_t width : {5, 16, 37}) {
      INFO(name << " F=" << width);
      const Tensor gate = tensor({3, width}, normals(3 * width, 1, 2.0f));
      const Tensor up = tensor({3, width}, normals(3 * width, 2));
      const Activation function = act;
      like_the_reference(gated(gate, up, act), [&](std::int64_t i) {
        return tolerance(
            2, magnitude(function, reference::value(gate, i)) * std::abs(reference::value(up, i)));
      });
    }
}

TEST_CASE("integers pass relu and the product exactly") {
  for (const std::int64_t width : lengths) {
    const Values g = integers(width, 30, 1), u = integers(width, 30, 2);
    Values expected;
    for (std::size_t i = 0; i < g.size(); ++i) expected.push_back(std::max(g[i], 0.0f) * u[i]);
    const Tensor want = tensor({width}, expected);
    on_every_backend(gated(tensor({width}, g), tensor({width}, u), Activation::relu),
                     [&](const Tensor& result) {
                       CHECK(beyond(result, want, [](std::int64_t) { return 0.0; }) == "");
                     });
  }
}

TEST_CASE("activations work in place") {
  const std::int64_t width = 37;
  const Tensor gate = tensor({2, width}, normals(2 * width, 1));
  const Tensor up = tensor({2, width}, normals(2 * width, 2));
  for (const Subject& subject : subjects()) {
    INFO("backend " << subject.name);
    Backend& b = *subject.backend;
    for (const auto& [act, name] : activations) {
      INFO(name);
      const Output x(b, gate.shape(), values_of(gate)), as_gate(b, gate.shape(), values_of(gate)),
          as_up(b, up.shape(), values_of(up));
      b.activation(x.tensor_on_device(), x.tensor_on_device(), act);
      b.gated_activation(as_gate.tensor_on_device(), as_gate.tensor_on_device(), b.upload(up), act);
      b.gated_activation(as_up.tensor_on_device(), b.upload(gate), as_up.tensor_on_device(), act);
      CHECK(different_bits(x.values(), activation(gate, act)(b)) == "");
      CHECK(different_bits(as_gate.values(), gated(gate, up, act)(b)) == "");
      CHECK(different_bits(as_up.values(), gated(gate, up, act)(b)) == "");
    }
  }
}

TEST_CASE("activations refuse shapes that do not fit") {
  for (const Subject& subject : subjects()) {
    const auto zeros = [&](Shape shape) {
      return subject.backend->upload(Tensor::zeros(DType::f32, shape));
    };
    Backend& b = *subject.backend;
    CHECK(error_of([&] { b.activation(zeros({4}), zeros({5}), Activation::silu); }) ==
          "shape_mismatch");
    CHECK(error_of([&] {
            b.gated_activation(zeros({4}), zeros({4}), zeros({5}), Activation::silu);
          }) == "shape_mismatch");
    CHECK(error_of([&] { b.activation(zeros({0}), zeros({0}), Activation::silu); }) == "nothing");
  }
}
