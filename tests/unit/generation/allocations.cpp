// A decode step allocates nothing, in any mode and with any output that it keeps: all allocations
// between the first choice of tokens and the last are counted.
#include <idefics/model.hpp>

#include "support/catch.hpp"
#include "support/counting_malloc.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"

using namespace idefics;

namespace {

using Ids = std::vector<std::int32_t>;

Inputs prompts_for(const Model& model, int rows) {
  std::mt19937 random(5);
  std::vector<testing::RandomPrompt> prompts;
  for (int i = 0; i < rows; ++i)
    prompts.push_back(testing::random_prompt(random, model.config(), 6, 2));
  return testing::batch_of(prompts, model.config(), true);
}

/// The number of allocations between the first step and the last.
std::int64_t allocated_between_steps(Model& model, GenerationConfig config, int rows = 3) {
  config.max_new_tokens = 12;
  config.eos_token_id = Ids{};
  std::vector<std::int64_t> counts;
  counts.reserve(64);
  model.generate(prompts_for(model, rows), config, {}, [&counts](auto) {
    counts.push_back(heap::count.load());
    return true;
  });
  REQUIRE(counts.size() == 12);
  return counts.back() - counts.front();
}

/// With every output that a step can keep.
GenerationConfig keeping_all(GenerationConfig config) {
  config.output_scores = config.output_logits = config.output_attentions = true;
  config.top_logprobs = 5;
  return config;
}

/// With every processor that beams support.
GenerationConfig with_processors(const Model& model, GenerationConfig config) {
  config.min_new_tokens = 12;
  config.max_time = 1e6;
  config.stop_strings = {"not among them"};
  config.token_texts = std::make_shared<const std::vector<std::string>>(
      static_cast<std::size_t>(model.config().total_vocab_size()), "token");
  config.sequence_bias = {{{3, 4}, 1.0}, {{5}, -1.0}};
  config.encoder_repetition_penalty = 1.1;
  config.repetition_penalty = 1.2;
  config.frequency_penalty = 0.1;
  config.presence_penalty = 0.1;
  config.no_repeat_ngram_size = 4;
  config.encoder_no_repeat_ngram_size = 4;
  config.bad_words_ids = {{6, 7}, {8}};
  config.exponential_decay_length_penalty = ExponentialDecay{3, 1.1};
  config.suppress_tokens = {9};
  config.watermarking_config = WatermarkingConfig{};
  config.renormalize_logits = true;
  return config;
}

GenerationConfig sampled(GenerationConfig config) {
  config.do_sample = true;
  config.temperature = 1.3;
  config.top_k = 90;
  config.top_p = 0.99;
  config.min_p = 1e-6;
  config.typical_p = 0.99;
  config.epsilon_cutoff = 1e-6;
  config.eta_cutoff = 1e-6;
  return config;
}

GenerationConfig in_groups() {
  return {.num_beams = 4, .num_beam_groups = 2, .diversity_penalty = 0.5};
}
GenerationConfig constrained() {
  return {.num_beams = 3, .force_words_ids = {{{7, 8, 9}, {7, 11}}, {{12, 13}}, {{14}}}};
}

}  // namespace

TEST_CASE("a step of greedy search, sampling or beams allocates nothing") {
  for (const auto& name : golden::model_names())
    for (const DType dtype : {DType::f32, DType::bf16}) {
      auto model = golden::load(name, {.dtype = dtype});
      INFO(name);
      CHECK(allocated_between_steps(model, {}) == 0);
      CHECK(allocated_between_steps(model, {.num_beams = 3}) == 0);
      CHECK(allocated_between_steps(model, {.do_sample = true, .num_return_sequences = 5}) == 0);
      CHECK(allocated_between_steps(model, {.do_sample = true, .num_beams = 5}) == 0);
    }
}

TEST_CASE("a step with quantized weights allocates nothing") {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const BitsAndBytesConfig& form :
         {BitsAndBytesConfig{.load_in_4bit = true},
          {.load_in_4bit = true, .bnb_4bit_use_double_quant = true},
          {.load_in_8bit = true}}) {
      auto model = golden::load("published", {.dtype = dtype, .quantization_config = form});
      for (const std::int64_t beams : {1, 2, 4}) {
        INFO(name_of(dtype) << ", beams: " << beams);
        CHECK(allocated_between_steps(model, {.num_beams = beams}, 1) == 0);
        CHECK(allocated_between_steps(model, {.num_beams = beams}) == 0);
      }
    }
}

TEST_CASE("a step of a run that shares its passes allocates nothing") {
  auto model = golden::load("published", {.shared_cache_tokens = 1000});
  for (const GenerationConfig& config :
       {GenerationConfig{}, {.num_beams = 3}, {.do_sample = true, .num_return_sequences = 5}}) {
    (void)allocated_between_steps(model, config);  // the buffers of the batch grow once
    CHECK(allocated_between_steps(model, config) == 0);
  }
  CHECK(model.batch_statistics().passes > 60);
}

TEST_CASE("a step of diverse or constrained beams allocates nothing") {
  for (const auto& name : golden::model_names()) {
    INFO(name);
    auto model = golden::load(name);
    CHECK(allocated_between_steps(model, in_groups()) == 0);
    CHECK(allocated_between_steps(model, constrained()) == 0);
  }
}

TEST_CASE("a step of contrastive search, or of DoLa, allocates nothing") {
  for (const auto& name : golden::model_names()) {
    INFO(name);
    auto model = golden::load(name);
    const DolaLayers layers{.layers = {0, 1, 2}};
    CHECK(allocated_between_steps(model, {.dola_layers = layers}) == 0);
    CHECK(allocated_between_steps(model, {.penalty_alpha = 0.6, .top_k = 4}) == 0);
  }
}

TEST_CASE("a step of assisted decoding allocates nothing") {
  auto model = golden::load("published");
  const auto draft = golden::load("published", {.dtype = DType::bf16});
  for (const bool sample : {false, true}) {
    GenerationConfig config{.do_sample = sample};
    config.prompt_lookup_num_tokens = 3;
    CHECK(allocated_between_steps(model, config, 1) == 0);
    CHECK(allocated_between_steps(model, keeping_all(with_processors(model, config)), 1) == 0);
    config.prompt_lookup_num_tokens.reset();
    config.num_assistant_tokens = 3;
    config.assistant_confidence_threshold = 0.0;
    config.num_assistant_tokens_schedule = "heuristic_transient";
    for (const Model* helper : {&draft, static_cast<const Model*>(&model)}) {
      config.assistant_model = helper;
      CHECK(allocated_between_steps(model, config, 1) == 0);
      CHECK(allocated_between_steps(model, keeping_all(with_processors(model, config)), 1) == 0);
    }
  }
}

TEST_CASE("a step allocates nothing with every processor and every output that it keeps") {
  auto model = golden::load("published");
  std::vector<GenerationConfig> modes{{}, {.num_beams = 3}, in_groups(), constrained()};
  modes.push_back(sampled({.num_return_sequences = 2, .best_of = 3, .guidance_scale = 1.5}));
  modes.push_back(sampled({.num_beams = 4}));
  modes.push_back({.dola_layers = DolaLayers{.layers = {0, 1, 2}}});
  modes.push_back({.penalty_alpha = 0.6, .top_k = 4});
  for (std::size_t mode = 0; mode < modes.size(); ++mode) {
    INFO("mode " << mode);
    CHECK(allocated_between_steps(model, keeping_all(modes[mode])) == 0);
    CHECK(allocated_between_steps(model, keeping_all(with_processors(model, modes[mode]))) == 0);
  }
}
