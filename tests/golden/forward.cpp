// Logits and image hidden states against transformers, for every recorded configuration.
#include <cmath>
#include <cstdio>

#include "support/catch.hpp"
#include "support/golden_models.hpp"

using namespace idefics;

namespace {

/// Calls visit(ours, reference) for every logit of a token that is not padding.
template <class Visit>
void each_logit(const golden::ForwardCase& one, const Tensor& ours, const Tensor& reference,
                Visit visit) {
  const auto mask = one.inputs.attention_mask.as<std::int64_t>();
  const auto width = static_cast<std::size_t>(reference.dim(2));
  const auto a = ours.as<float>(), b = reference.as<float>();
  for (std::size_t i = 0; i < mask.size(); ++i)
    for (std::size_t j = 0; j < width && mask[i] != 0; ++j)
      visit(a[i * width + j], b[i * width + j]);
}

double standard_deviation(const golden::ForwardCase& one) {
  double n = 0, sum = 0, squares = 0;
  each_logit(one, one.logits, one.logits, [&](float x, float) {
    n += 1, sum += static_cast<double>(x),
        squares += static_cast<double>(x) * static_cast<double>(x);
  });
  return std::sqrt(squares / n - sum * sum / (n * n));
}

double largest_difference(const golden::ForwardCase& one, const Tensor& ours) {
  double worst = 0;
  each_logit(one, ours, one.logits, [&](float a, float b) {
    worst = std::max(worst, std::abs(static_cast<double>(a) - static_cast<double>(b)));
  });
  return worst;
}

double root_mean_square_error(const golden::ForwardCase& one, const Tensor& logits) {
  double n = 0, squares = 0;
  each_logit(one, logits, one.logits, [&](float a, float b) {
    const double d = static_cast<double>(a) - static_cast<double>(b);
    n += 1, squares += d * d;
  });
  return std::sqrt(squares / n);
}

constexpr double share_of_deviation = 1e-4;  // what the project promises in f32

}  // namespace

TEST_CASE("at least twelve configurations are recorded") {
  REQUIRE(golden::model_names().size() >= 12);
}

TEST_CASE("f32 logits and image hidden states equal transformers'") {
  for (const auto& name : golden::model_names()) {
    auto model = golden::load(name, {.dtype = DType::f32});
    for (const auto& one : golden::forward_cases(name)) {
      INFO(name);
      const auto output =
          model.forward(one.inputs, golden::options_for(model.config(), one.inputs));
      REQUIRE(output.logits.shape() == one.logits.shape());
      CHECK(largest_difference(one, output.logits) <= share_of_deviation * standard_deviation(one));
      REQUIRE(output.image_hidden_states.shape() == one.image_hidden_states.shape());
      const auto ours = output.image_hidden_states.as<float>();
      const auto expected = one.image_hidden_states.as<float>();
      double worst = 0, largest = 0;
      for (std::size_t i = 0; i < ours.size(); ++i) {
        worst = std::max(worst,
                         std::abs(static_cast<double>(ours[i]) - static_cast<double>(expected[i])));
        largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
      }
      CHECK(worst <= share_of_deviation * std::max(1.0, largest));
    }
  }
}

/// Squared errors over all recorded passes, each in units of its logits' deviation.
struct PooledError {
  double ours = 0, transformers = 0;
  void add(const golden::ForwardCase& one, const Tensor& logits, const Tensor& reference) {
    const double deviation = standard_deviation(one);
    const double a = root_mean_square_error(one, logits) / deviation;
    const double b = root_mean_square_error(one, reference) / deviation;
    CHECK(a <= 2 * b);  // a single tiny pass is a small sample: rounding may favour either
    ours += a * a, transformers += b * b;
  }
};

TEST_CASE("16-bit logits are at least as close to f32 as transformers' own") {
  PooledError bf16_error, f16_error;
  for (const auto& name : golden::model_names()) {
    auto bf16 = golden::load(name, {.dtype = DType::bf16});
    auto f16 = golden::load(name, {.dtype = DType::f16});
    for (const auto& one : golden::forward_cases(name)) {
      INFO(name);
      const auto options = golden::options_for(bf16.config(), one.inputs);
      bf16_error.add(one, bf16.forward(one.inputs, options).logits, one.logits_bf16);
      f16_error.add(one, f16.forward(one.inputs, options).logits, one.logits_f16);
    }
  }
  std::printf("error relative to transformers': bf16 %.2f, f16 %.2f\n",
              std::sqrt(bf16_error.ours / bf16_error.transformers),
              std::sqrt(f16_error.ours / f16_error.transformers));
  CHECK(bf16_error.ours <= bf16_error.transformers);
  CHECK(f16_error.ours <= f16_error.transformers);
}
