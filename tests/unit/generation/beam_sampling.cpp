// Beam sampling: fair draws without replacement, the same for the same seed whatever else is in the
// batch, and beam search where nothing is left to chance.
#include <cmath>

#include <idefics/core/random.hpp>
#include <idefics/generation/logits/warpers.hpp>
#include <idefics/generation/search/beams.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"

using namespace idefics;

namespace {

using Ids = std::vector<std::int32_t>;

/// Whether Pearson's statistic is within five standard deviations of its expected value.
bool by_chance(const std::vector<double>& found, const std::vector<double>& p, double total) {
  double statistic = 0, rest_found = 0, rest = 0;
  int freedom = -1;
  const auto cell = [&](double f, double expected) {
    statistic += (f - expected) * (f - expected) / expected;
    ++freedom;
  };
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (p[i] * total >= 5)
      cell(found[i], p[i] * total);
    else
      rest_found += found[i], rest += p[i] * total;
  }
  if (rest >= 5) cell(rest_found, rest);
  return std::abs(statistic - freedom) < 5 * std::sqrt(2.0 * freedom);
}

}  // namespace

TEST_CASE(
    "twenty thousand draws, of the first and of the first two candidates, pass a chi-square test") {
  constexpr std::size_t vocabulary = 7, beams = 2, count = 20'000;
  std::mt19937 random(19);
  std::normal_distribution<float> normal(0, 1.0f);
  std::vector<float> sums(beams * vocabulary);
  std::ranges::generate(sums, [&] { return normal(random); });
  sums[3] = detail::forbidden;
  std::vector<double> p(sums.size()), scratch(sums.size());
  detail::softmax(sums, p);
  const std::size_t n = p.size();
  std::vector<double> first(n), pairs(n * n), pair_p(n * n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      if (i != j) pair_p[i * n + j] = p[i] * p[j] / (1 - p[i]);
  std::vector<detail::Candidate> drawn;
  for (std::size_t seed = 0; seed < count; ++seed) {
    detail::draw_candidates(
        sums, vocabulary, 4,
        [seed](std::size_t i) {
          return detail::uniform(seed, 0, 2, static_cast<std::uint32_t>(i));
        },
        scratch, drawn);
    const auto index_of = [&](std::size_t i) {
      return static_cast<std::size_t>(drawn[i].beam) * vocabulary +
             static_cast<std::size_t>(drawn[i].id);
    };
    for (std::size_t i = 1; i < 4; ++i) CHECK_FALSE(index_of(0) == index_of(i));
    first[index_of(0)] += 1, pairs[index_of(0) * n + index_of(1)] += 1;
  }
  CHECK(by_chance(first, p, count));
  CHECK(by_chance(pairs, pair_p, count));
  CHECK(first[3] == 0);
}

TEST_CASE("when no probability is left, the best of the rest follow, each once") {
  const std::vector<float> sums{-1e9f, 0, -2e9f, detail::forbidden, -1e9f, detail::forbidden};
  std::vector<double> scratch(sums.size());
  std::vector<detail::Candidate> drawn;
  detail::draw_candidates(
      sums, 3, 6, [](std::size_t) { return 0.5; }, scratch, drawn);
  Ids places;
  for (const detail::Candidate& c : drawn) places.push_back(c.beam * 3 + c.id);
  CHECK(places == Ids{1, 0, 4, 2, 3, 5});
}

TEST_CASE("beam sampling: the same seed gives the same answers in any batch, with any threads") {
  auto model = golden::load(golden::model_names().front(), {.dtype = DType::f32});
  std::mt19937 random(23);
  std::vector<testing::RandomPrompt> prompts;
  for (int i = 0; i < 4; ++i)
    prompts.push_back(testing::random_prompt(random, model.config(), 7, 2));
  GenerationConfig config{.max_new_tokens = 7,
                          .do_sample = true,
                          .seed = 42,
                          .num_return_sequences = 2,
                          .num_beams = 3,
                          .temperature = 1.7};
  const auto together = model.generate(testing::batch_of(prompts, model.config(), true), config);
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const auto alone =
          model.generate(testing::batch_of({prompts[i]}, model.config(), true), config);
      for (std::size_t answer = 0; answer < 2; ++answer) {
        const auto& longer = together.new_tokens[2 * i + answer];
        CHECK(std::ranges::equal(alone.new_tokens[answer],
                                 std::span(longer).first(alone.new_tokens[answer].size())));
        CHECK(alone.sequences_scores[answer] == together.sequences_scores[2 * i + answer]);
      }
    }
  }
  set_num_threads(0);
  config.seed = 43;
  CHECK(model.generate(testing::batch_of(prompts, model.config(), true), config).new_tokens !=
        together.new_tokens);
}

TEST_CASE("a temperature near 0 gives beam search over the same scores") {
  auto model = golden::load(golden::model_names().front(), {.dtype = DType::f32});
  std::mt19937 random(5);
  constexpr double cold = 1e-5;
  for (int i = 0; i < 6; ++i) {
    const auto inputs = testing::batch_of({testing::random_prompt(random, model.config(), 6, 1)},
                                          model.config(), true);
    GenerationConfig config{.max_new_tokens = 6, .eos_token_id = Ids{}, .num_beams = 3};
    config.logits_processor = {
        [](std::span<float> scores, auto) { detail::apply_temperature(scores, cold); }};
    const auto searched = model.generate(inputs, config);
    config.logits_processor.clear();
    config.do_sample = true, config.temperature = cold, config.top_k = 0;
    const auto sampled = model.generate(inputs, config);
    CHECK(sampled.new_tokens == searched.new_tokens);
    CHECK(sampled.sequences_scores == searched.sequences_scores);
  }
}
