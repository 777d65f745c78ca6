// Beam sampling against transformers, given the same random numbers
// (tests/reference/make_beam_samples.py); and the scores, logits and log-probabilities that beam
// search returns for every step.
#include <cmath>

#include <idefics/generation/logits/sampler.hpp>
#include <idefics/generation/logits/warpers.hpp>
#include <idefics/io/json.hpp>

#include "support/catch.hpp"
#include "support/golden_modes.hpp"

using namespace idefics;

namespace {

/// The largest difference between a step's values of a returned row and the recorded ones, which
/// are every ninth.
double distance(const Tensor& kept, std::size_t row, std::size_t step, const Json& recorded) {
  const auto r = static_cast<std::size_t>(kept.dim(1)), v = static_cast<std::size_t>(kept.dim(2));
  const auto values = kept.as<float>().subspan((step * r + row) * v, v);
  double farthest = 0;
  for (std::size_t i = 0; i < recorded.size(); ++i) {
    const auto expected = recorded[i].get<double>();
    const auto ours = std::max(static_cast<double>(values[9 * i]), -1e30);
    farthest = std::max(farthest, std::abs(ours - expected));
  }
  return farthest;
}

}  // namespace

TEST_CASE("beam sampling: the same draws give transformers' sequences, parents and scores") {
  CHECK(golden::compare_cases("beam_samples.json") >= 95);
}

TEST_CASE("beam sampling: the distribution of the first draws equals transformers' to 1e-5") {
  golden::ModeModels models;
  std::size_t compared = 0;
  for (const Json& recorded : golden::mode_cases("beam_samples.json")) {
    if (!recorded.contains("first")) continue;
    auto& [model, pool] = models[recorded.at("model").get<std::string>()];
    auto config = golden::mode_options(recorded);
    config.output_scores = true;
    const auto out = model.generate(golden::mode_inputs(recorded.at("rows"), pool), config);
    const auto v = static_cast<std::size_t>(out.scores.dim(2));
    std::vector<double> expected(v, 0.0), p(v);
    for (const Json& entry : recorded.at("first"))
      expected[entry[0].get<std::size_t>()] = entry[1].get<double>();
    // after the prompt only the first beam counts, and the first row came from it
    detail::softmax(out.scores.as<float>().first(v), p);
    INFO(recorded.at("options").dump());
    for (std::size_t i = 0; i < v; ++i) CHECK(std::abs(p[i] - expected[i]) < 1e-5);
    ++compared;
  }
  CHECK(compared >= 45);
}

TEST_CASE("beams: scores, logits and log-probabilities are those of each row's own beam") {
  golden::ModeModels models;
  std::size_t steps = 0;
  for (const Json& recorded : golden::mode_cases("beam_scores.json")) {
    auto& [model, pool] = models[recorded.at("model").get<std::string>()];
    auto config = golden::mode_options(recorded);
    config.output_scores = config.output_logits = true, config.top_logprobs = 3;
    const auto out = model.generate(golden::mode_inputs(recorded.at("rows"), pool), config);
    if (!golden::compare_case(recorded, out)) continue;
    INFO(recorded.at("options").dump());
    REQUIRE(out.scores.shape() == out.logits.shape());
    const auto r = static_cast<std::size_t>(out.scores.dim(1)),
               v = static_cast<std::size_t>(out.scores.dim(2));
    for (std::size_t row = 0; row < r; ++row) {
      const Json& scores = recorded.at("step_scores")[row];
      REQUIRE(out.lengths[row] == std::ssize(scores));
      for (std::size_t step = 0; step < scores.size(); ++step, ++steps) {
        CHECK(distance(out.scores, row, step, scores[step]) < 1e-4);
        CHECK(distance(out.logits, row, step, recorded.at("step_logits")[row][step]) < 1e-4);
        const auto id = static_cast<std::size_t>(out.new_tokens[row][step]);
        const auto chosen = static_cast<double>(out.scores.as<float>()[(step * r + row) * v + id]);
        CHECK(std::abs(chosen - recorded.at("transition_scores")[row][step].get<double>()) < 1e-4);
        const auto logits = out.logits.as<float>().subspan((step * r + row) * v, v);
        const TokenLogProbs& found = out.logprobs[row][step];
        CHECK(found.chosen.id == out.new_tokens[row][step]);
        CHECK(std::abs(static_cast<double>(logits[id]) - detail::log_sum_exp(logits) -
                       static_cast<double>(found.chosen.logprob)) < 1e-6);
        CHECK(found.top.front().id == detail::argmax(logits));
      }
      if (static_cast<std::size_t>(out.scores.dim(0)) > scores.size())
        CHECK(out.scores.as<float>()[(scores.size() * r + row) * v] == detail::forbidden);
    }
  }
  CHECK(steps >= 300);
}
