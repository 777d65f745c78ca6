// Sampling: the generator's published numbers, fair draws, and the same tokens for the same seed
// whatever else is in the batch.
#include <cmath>

#include <idefics/core/random.hpp>
#include <idefics/core/scalar_math.hpp>
#include <idefics/generation/logits/sampler.hpp>
#include <idefics/generation/logits/warpers.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"

using namespace idefics;

namespace {

using Ids = std::vector<std::int32_t>;
using Rows = std::vector<Ids>;

std::vector<testing::RandomPrompt> prompts_for(const Model& model, unsigned seed,
                                               std::size_t rows) {
  std::mt19937 random(seed);
  std::vector<testing::RandomPrompt> prompts;
  while (prompts.size() < rows)
    prompts.push_back(testing::random_prompt(random, model.config(), 7, 2));
  return prompts;
}

/// How often each token is drawn with `count` seeds from the scores of one step.
std::vector<double> frequencies(const GenerationConfig& config, const std::vector<float>& scores,
                                std::size_t count) {
  std::vector<double> found(scores.size(), 0.0);
  for (std::size_t i = 0; i < count; ++i) {
    GenerationConfig keyed = config;
    keyed.seed = i;
    detail::Sampler sampler(keyed, scores.size());
    found[static_cast<std::size_t>(sampler.choose(scores, 0, 3))] += 1;
  }
  return found;
}

/// Pearson's statistic and its degrees of freedom; tokens expected less than five times are pooled.
std::pair<double, int> chi_square(const std::vector<double>& found, const std::vector<double>& p) {
  double total = 0, statistic = 0, rest_found = 0, rest_expected = 0;
  for (const double f : found) total += f;
  int cells = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double expected = p[i] * total;
    if (expected < 5) {
      rest_found += found[i], rest_expected += expected;
      continue;
    }
    statistic += (found[i] - expected) * (found[i] - expected) / expected;
    ++cells;
  }
  if (rest_expected >= 5) {
    statistic += (rest_found - rest_expected) * (rest_found - rest_expected) / rest_expected;
    ++cells;
  }
  return {statistic, cells - 1};
}

}  // namespace

TEST_CASE("Philox gives the numbers that its authors published") {
  using Four = std::array<std::uint32_t, 4>;
  CHECK(detail::philox4x32({0, 0, 0, 0}, {0, 0}) ==
        Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  constexpr std::uint32_t f = 0xffffffff;
  CHECK(detail::philox4x32({f, f, f, f}, {f, f}) ==
        Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(detail::philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                           {0xa4093822, 0x299f31d0}) ==
        Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  CHECK(detail::uniform(1, 2, 3) != detail::uniform(1, 2, 4));
  CHECK(detail::uniform(1, 2, 3) != detail::uniform(1, 3, 3));
  CHECK(detail::uniform(1, 2, 3) != detail::uniform(2, 2, 3));
}

TEST_CASE("exp and log are accurate to twelve digits") {
  for (double x = -700; x < 700; x += 0.37) {
    const double e = std::exp(x);
    CHECK(std::abs(detail::portable_exp(x) - e) <= 1e-12 * e);
    CHECK(std::abs(detail::portable_log(e) - std::log(e)) <=
          1e-12 * std::max(1.0, std::abs(std::log(e))));
  }
  CHECK(detail::portable_exp(-1e9) == 0);
  CHECK(std::isinf(detail::portable_exp(1e9)));
  CHECK(detail::portable_log(1) == 0);
  CHECK(std::isinf(detail::portable_log(0)));
}

TEST_CASE("twenty thousand draws pass a chi-square test") {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 1.5f);
  std::vector<float> scores(60);
  std::ranges::generate(scores, [&] { return normal(random); });
  scores[11] = detail::forbidden;
  std::vector<double> p(scores.size());
  detail::softmax(scores, p);
  const auto found = frequencies({.do_sample = true}, scores, 20'000);
  const auto [statistic, freedom] = chi_square(found, p);
  // the statistic has mean `freedom` and variance twice that: five deviations are not due to chance
  CHECK(statistic < freedom + 5 * std::sqrt(2.0 * freedom));
  CHECK(statistic > freedom - 5 * std::sqrt(2.0 * freedom));
  CHECK(freedom > 30);
  CHECK(found[11] == 0);
}

TEST_CASE("the same seed gives the same tokens, alone, in any batch, with any number of threads") {
  auto model = golden::load(golden::model_names().front(), {.dtype = DType::f32});
  const auto prompts = prompts_for(model, 21, 4);
  const GenerationConfig config{.max_new_tokens = 8,
                                .eos_token_id = Ids{},
                                .do_sample = true,
                                .seed = 42,
                                .num_return_sequences = 3,
                                .temperature = 1.7};
  const auto together = model.generate(testing::batch_of(prompts, model.config(), true), config);
  REQUIRE(together.new_tokens.size() == 12);
  CHECK(together.new_tokens[0] != together.new_tokens[1]);
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const auto alone =
          model.generate(testing::batch_of({prompts[i]}, model.config(), true), config);
      for (std::size_t answer = 0; answer < 3; ++answer)
        CHECK(alone.new_tokens[answer] == together.new_tokens[3 * i + answer]);
    }
  }
  set_num_threads(0);
  GenerationConfig other = config;
  other.seed = 43;
  CHECK(model.generate(testing::batch_of(prompts, model.config(), true), other).new_tokens !=
        together.new_tokens);
}

TEST_CASE("top_k of one and a tiny top_p are greedy search") {
  auto model = golden::load(golden::model_names().front(), {.dtype = DType::f32});
  const auto inputs = testing::batch_of(prompts_for(model, 4, 3), model.config(), true);
  const auto greedy = model.generate(inputs, {.max_new_tokens = 6}).new_tokens;
  CHECK(model.generate(inputs, {.max_new_tokens = 6, .do_sample = true, .top_k = 1}).new_tokens ==
        greedy);
  CHECK(model.generate(inputs, {.max_new_tokens = 6, .do_sample = true, .top_p = 0.0}).new_tokens ==
        greedy);
}

TEST_CASE("best_of returns the likeliest of the answers that it draws") {
  auto model = golden::load(golden::model_names().front(), {.dtype = DType::f32});
  const auto inputs = testing::batch_of(prompts_for(model, 8, 2), model.config(), true);
  GenerationConfig config{
      .max_new_tokens = 6, .do_sample = true, .num_return_sequences = 5, .top_logprobs = 2};
  const auto all = model.generate(inputs, config);
  config.num_return_sequences = 2, config.best_of = 5;
  const auto best = model.generate(inputs, config);
  REQUIRE(best.new_tokens.size() == 4);
  const auto mean = [](const std::vector<TokenLogProbs>& row) {
    double sum = 0;
    for (const auto& step : row) sum += static_cast<double>(step.chosen.logprob);
    return sum / static_cast<double>(row.size());
  };
  for (std::size_t prompt = 0; prompt < 2; ++prompt) {
    std::vector<double> means;
    for (std::size_t i = 0; i < 5; ++i) means.push_back(mean(all.logprobs[5 * prompt + i]));
    std::ranges::sort(means, std::greater<>());
    CHECK(mean(best.logprobs[2 * prompt]) == means[0]);
    CHECK(mean(best.logprobs[2 * prompt + 1]) == means[1]);
  }
}

TEST_CASE("log-probabilities are those of the logits") {
  auto model = golden::load(golden::model_names().front(), {.dtype = DType::f32});
  const auto inputs = testing::batch_of(prompts_for(model, 9, 2), model.config(), true);
  const auto out = model.generate(inputs, {.max_new_tokens = 4,
                                           .eos_token_id = Ids{},
                                           .repetition_penalty = 2.0,
                                           .output_scores = true,
                                           .output_logits = true,
                                           .top_logprobs = 3});
  REQUIRE(out.logits.dim(0) == 4);
  REQUIRE(out.scores.shape() == out.logits.shape());
  const auto v = static_cast<std::size_t>(out.logits.dim(2));
  for (std::size_t row = 0; row < 2; ++row) {
    for (std::size_t step = 0; step < 4; ++step) {
      std::vector<double> p(v);
      detail::softmax(out.logits.as<float>().subspan((step * 2 + row) * v, v), p);
      const TokenLogProbs& found = out.logprobs[row][step];
      CHECK(found.chosen.id == out.new_tokens[row][step]);
      CHECK(std::exp(static_cast<double>(found.chosen.logprob)) ==
            Approx(p[static_cast<std::size_t>(found.chosen.id)]).epsilon(1e-6));
      REQUIRE(found.top.size() == 3);
      CHECK(static_cast<double>(*std::ranges::max_element(p)) ==
            Approx(std::exp(static_cast<double>(found.top[0].logprob))).epsilon(1e-6));
      CHECK(found.top[0].logprob >= found.top[1].logprob);
    }
  }
}
