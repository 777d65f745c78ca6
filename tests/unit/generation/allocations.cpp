// A decode step allocates nothing: every malloc and operator new between two steps is counted.
#include <atomic>
#include <cstdlib>
#include <new>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"

// The replacements below pair malloc with free; GCC takes them for a mix-up.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace {
std::atomic<long> allocations{0};
}

void* operator new(std::size_t size) {
  ++allocations;
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  ++allocations;
  const auto align = static_cast<std::size_t>(alignment);
  return std::aligned_alloc(align, (size + align - 1) / align * align);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }

using namespace idefics;

namespace {

/// Mallocs and news between the first and the last step.
long allocated_between_steps(Model& model, const GenerationConfig& config) {
  std::mt19937 random(5);
  std::vector<testing::RandomPrompt> rows;
  for (int i = 0; i < 3; ++i) rows.push_back(testing::random_prompt(random, model.config(), 6, 2));
  const auto inputs = testing::batch_of(rows, model.config(), true);
  std::vector<long> counts;
  counts.reserve(64);
  model.generate(inputs, config, {}, [&counts](auto) {
    counts.push_back(allocations.load());
    return true;
  });
  REQUIRE(counts.size() == 12);
  // the first step of several answers has more rows than any pass before: a backend makes room
  const bool several = run_options(config, model.config()).copies > 1;
  return counts.back() - counts[several ? 1 : 0];
}

}  // namespace

TEST_CASE("a decode step allocates nothing") {
  for (const auto& name : golden::model_names()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      auto model = golden::load(name, {.dtype = dtype});
      for (const std::int64_t beams : {1, 3}) {
        INFO(name << ", beams: " << beams);
        CHECK(allocated_between_steps(model, {.max_new_tokens = 12,
                                              .eos_token_id = std::vector<std::int32_t>{},
                                              .num_beams = beams}) == 0);
      }
    }
  }
}

TEST_CASE("a step of contrastive search, or of DoLa, allocates nothing") {
  for (const auto& name : golden::model_names()) {
    INFO(name);
    auto model = golden::load(name);
    GenerationConfig config{.max_new_tokens = 12, .eos_token_id = std::vector<std::int32_t>{}};
    config.dola_layers = DolaLayers{.layers = {0, 1, 2}};
    CHECK(allocated_between_steps(model, config) == 0);
    config.dola_layers.reset();
    config.penalty_alpha = 0.6, config.top_k = 4;
    CHECK(allocated_between_steps(model, config) == 0);
  }
}

TEST_CASE("a step of sampling, with every processor, allocates nothing") {
  auto model = golden::load(golden::model_names().front());
  const auto texts = std::make_shared<const std::vector<std::string>>(
      static_cast<std::size_t>(model.config().total_vocab_size()), "token");
  const GenerationConfig config{.max_new_tokens = 12,
                                .min_new_tokens = 12,
                                .max_time = 1e6,
                                .stop_strings = {"not among them"},
                                .token_texts = texts,
                                .do_sample = true,
                                .num_return_sequences = 2,
                                .best_of = 3,
                                .sequence_bias = {{{3, 4}, 1.0}, {{5}, -1.0}},
                                .encoder_repetition_penalty = 1.1,
                                .repetition_penalty = 1.2,
                                .frequency_penalty = 0.1,
                                .presence_penalty = 0.1,
                                .no_repeat_ngram_size = 4,
                                .encoder_no_repeat_ngram_size = 4,
                                .bad_words_ids = {{6, 7}, {8}},
                                .exponential_decay_length_penalty = ExponentialDecay{3, 1.1},
                                .suppress_tokens = {9},
                                .guidance_scale = 1.5,
                                .watermarking_config = WatermarkingConfig{},
                                .renormalize_logits = true,
                                .temperature = 1.3,
                                .top_k = 90,
                                .top_p = 0.99,
                                .min_p = 1e-6,
                                .typical_p = 0.99,
                                .epsilon_cutoff = 1e-6,
                                .eta_cutoff = 1e-6,
                                .output_scores = true,
                                .output_logits = true,
                                .top_logprobs = 5};
  CHECK(allocated_between_steps(model, config) == 0);
}
