// Contrastive search and DoLa, beyond the goldens: answers do not depend on the batch, options that
// contradict these modes are refused, and what is kept of a step belongs to the chosen token.
#include <idefics/generation/search/generate.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"
#include "support/refusal.hpp"

using namespace idefics;

namespace {

using Ids = std::vector<std::int32_t>;

std::vector<testing::RandomPrompt> prompts_for(const Model& model, unsigned seed, int count) {
  std::mt19937 random(seed);
  std::vector<testing::RandomPrompt> prompts;
  for (int i = 0; i < count; ++i)
    prompts.push_back(testing::random_prompt(random, model.config(), 3 + 2 * i, 2));
  return prompts;
}

/// Compares the rows of a batch with each prompt alone, in a model that reads prompts two tokens at
/// a time.
void check_batches(const GenerationConfig& config) {
  auto model = golden::load("published"), careful = golden::load("published", {.prefill_chunk = 2});
  for (const unsigned seed : {1u, 2u, 3u}) {
    const auto prompts = prompts_for(model, seed, 4);
    const auto together =
        model.generate(testing::batch_of(prompts, model.config(), true), config).new_tokens;
    const auto answers = static_cast<std::size_t>(config.num_return_sequences.value_or(1));
    REQUIRE(together.size() == prompts.size() * answers);
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const auto alone =
          careful.generate(testing::batch_of({prompts[i]}, model.config(), true), config);
      for (std::size_t answer = 0; answer < answers; ++answer)
        CHECK(alone.new_tokens[answer] == together[i * answers + answer]);
    }
  }
}

std::string refusal(Model& model, const GenerationConfig& config) {
  return testing::refusal(model, testing::batch_of(prompts_for(model, 1, 1), model.config(), true),
                          config);
}

}  // namespace

TEST_CASE("contrastive search and DoLa give a row the same answer in every batch") {
  check_batches({.max_new_tokens = 6, .eos_token_id = Ids{}, .penalty_alpha = 0.6, .top_k = 4});
  const DolaLayers layers{.layers = {0, 1, 2, 3}};
  check_batches({.max_new_tokens = 6, .eos_token_id = Ids{}, .dola_layers = layers});
  check_batches({.max_new_tokens = 6,
                 .eos_token_id = Ids{},
                 .do_sample = true,
                 .seed = 7,
                 .num_return_sequences = 2,
                 .dola_layers = layers});
}

TEST_CASE("contrastive search keeps no keys and values of rejected candidates") {
  const auto config = golden::load("published").config();
  const auto options = detail::run_options({.penalty_alpha = 0.6, .top_k = 4}, config);
  CHECK((options.copies == 4 && options.branches == detail::Branches::one_token));
}

TEST_CASE("contrastive search with a tiny penalty is greedy search") {
  auto model = golden::load("published");
  const auto inputs = testing::batch_of(prompts_for(model, 4, 3), model.config(), true);
  GenerationConfig config{.max_new_tokens = 7, .eos_token_id = Ids{}, .output_logits = true};
  config.output_scores = true, config.top_logprobs = 2;
  const auto greedy = model.generate(inputs, config);
  config.penalty_alpha = 1e-9, config.top_k = 3;
  const auto contrastive = model.generate(inputs, config);
  CHECK(contrastive.sequences == greedy.sequences);
  CHECK(std::ranges::equal(contrastive.logits.as<float>(), greedy.logits.as<float>()));
  CHECK(std::ranges::equal(contrastive.scores.as<float>(), greedy.scores.as<float>()));
  for (std::size_t row = 0; row < 3; ++row)
    for (std::size_t i = 0; i < 7; ++i)
      CHECK(contrastive.logprobs[row][i].chosen.logprob == greedy.logprobs[row][i].chosen.logprob);
}

TEST_CASE("contrastive search chooses no forbidden token, however few are allowed") {
  auto model = golden::load("published");
  GenerationConfig config{.max_new_tokens = 5, .eos_token_id = Ids{}, .penalty_alpha = 0.9};
  config.top_k = 10;
  config.prefix_allowed_tokens_fn = [](auto, auto) { return Ids{40, 41, 42}; };
  const auto output =
      model.generate(testing::batch_of(prompts_for(model, 5, 2), model.config(), true), config);
  for (const auto& row : output.new_tokens)
    for (const std::int32_t id : row) CHECK((id >= 40 && id <= 42));
}

TEST_CASE("contrastive search and DoLa are streamed, stopped and counted like other modes") {
  auto model = golden::load("published");
  const auto inputs = testing::batch_of(prompts_for(model, 6, 1), model.config(), true);
  const GenerationConfig contrastive{
      .max_new_tokens = 6, .eos_token_id = Ids{}, .penalty_alpha = 0.5, .top_k = 3};
  const GenerationConfig dola{
      .max_new_tokens = 6, .eos_token_id = Ids{}, .dola_layers = DolaLayers{.bucket = "high"}};
  for (const GenerationConfig& config : {contrastive, dola}) {
    Ids streamed;
    const auto output = model.generate(inputs, config, {}, [&streamed](auto chosen) {
      for (const auto& [row, id] : chosen) streamed.push_back(id);
      return streamed.size() < 4;
    });
    CHECK(streamed.size() == 4);
    CHECK(output.new_tokens.at(0) == streamed);
    CHECK(output.timings.decode_tokens == 3);
    CHECK(model.generate(inputs, config).timings.decode_tokens == 5);
  }
}

TEST_CASE("DoLa's layers are those of the reference") {
  const auto low = [](std::int64_t layers, bool tied) {
    return detail::early_layers({.bucket = "low"}, layers, tied);
  };
  const auto high = [](std::int64_t layers) {
    return detail::early_layers({.bucket = "high"}, layers, false);
  };
  CHECK(low(32, false) == Ids{0, 2, 4, 6, 8, 10, 12, 14});
  CHECK(low(32, true) == Ids{2, 4, 6, 8, 10, 12, 14});
  CHECK(low(80, false) == Ids{0, 2, 4, 6, 8, 10, 12, 14, 16, 18});
  CHECK(low(4, true) == Ids{2});
  CHECK(low(2, true) == Ids{1});
  CHECK(low(1, false) == Ids{0});
  CHECK(high(32) == Ids{16, 18, 20, 22, 24, 26, 28, 30});
  CHECK(high(80) == Ids{60, 62, 64, 66, 68, 70, 72, 74, 76, 78});
  CHECK(high(3) == Ids{1});
  CHECK(detail::early_layers({.layers = {3, 0, 3, 32}}, 32, true) == Ids{0, 3});
  CHECK_THROWS_AS(detail::early_layers({.layers = {32}}, 32, false), Error);
}

TEST_CASE("options that contradict contrastive search or DoLa are refused by name") {
  auto model = golden::load("published");
  const DolaLayers low{.bucket = "low"};
  CHECK(refusal(model, {.num_beams = 2, .penalty_alpha = 0.5}) == "penalty_alpha");
  CHECK(refusal(model, {.do_sample = true, .penalty_alpha = 0.5}) == "penalty_alpha");
  CHECK(refusal(model, {.penalty_alpha = 0.5, .guidance_scale = 2.0}) == "penalty_alpha");
  CHECK(refusal(model, {.penalty_alpha = 0.5, .dola_layers = low}) == "penalty_alpha");
  CHECK(refusal(model, {.penalty_alpha = 0.5, .prompt_lookup_num_tokens = 2}) ==
        "prompt_lookup_num_tokens");
  CHECK(refusal(model, {.penalty_alpha = 1.5}) == "penalty_alpha");
  CHECK(refusal(model, {.penalty_alpha = 0.5, .top_k = 1000}) == "top_k");
  CHECK(refusal(model, {.num_beams = 2, .dola_layers = low}) == "dola_layers");
  CHECK(refusal(model, {.dola_layers = low, .guidance_scale = 2.0}) == "dola_layers");
  CHECK(refusal(model, {.dola_layers = low, .prompt_lookup_num_tokens = 2}) ==
        "prompt_lookup_num_tokens");
  CHECK(refusal(model, {.dola_layers = DolaLayers{.bucket = "middle"}}) == "dola_layers");
  CHECK(refusal(model, {.dola_layers = DolaLayers{.layers = {-1}}}) == "dola_layers");
  CHECK(refusal(model, {.dola_layers = DolaLayers{.layers = {4}}}) == "dola_layers");
}
