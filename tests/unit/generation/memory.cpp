// The memory that a generation is said to need before it begins, against the allocations that it
// makes, in every mode and with everything that can be recorded.
#include <idefics/generation/options/validate.hpp>
#include <idefics/generation/search/generate.hpp>
#include <idefics/generation/search/generation_bytes.hpp>
#include <idefics/model.hpp>

#include "support/catch.hpp"
#include "support/counting_malloc.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"
#include "support/refusal.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

using Ids = std::vector<std::int32_t>;
constexpr std::int64_t new_tokens = 120;

Inputs prompts_for(const Config& config, int rows) {
  std::mt19937 random(11);
  std::vector<testing::RandomPrompt> prompts;
  for (int i = 0; i < rows; ++i) prompts.push_back(testing::random_prompt(random, config, 60, 2));
  return testing::batch_of(prompts, config, true);
}

/// Calls `use` with what Model::generate knows before it allocates.
template <class Use>
auto with_work(const Model& model, const GenerationConfig& config, const Inputs& inputs,
               const Use& use) {
  const Config& c = model.config();
  const auto sequences = detail::make_sequences(inputs, c);
  detail::TextRunOptions run = detail::run_options(config, c);
  if (config.prompt_lookup_num_tokens) run.tokens_per_step = *config.prompt_lookup_num_tokens + 1;
  if (config.assistant_model) run.tokens_per_step = *config.num_assistant_tokens + 1;
  if (config.output_attentions.value_or(false)) run.attention_columns = inputs.input_ids.dim(1);
  const detail::LogitsContext context{
      .vocabulary = static_cast<std::size_t>(c.total_vocab_size()),
      .base_vocabulary = static_cast<std::size_t>(c.vocab_size),
      .limits = detail::length_limits(config, inputs.input_ids.dim(1), c.max_position_embeddings),
      .prompts = padded_rows(inputs.input_ids)};
  return use(
      detail::GenerationWork{config, c, context, sequences, run, 256, inputs.pixel_values.dim(1),
                             config.assistant_model ? &config.assistant_model->config() : nullptr});
}

double counted(const Model& model, const GenerationConfig& config, const Inputs& inputs) {
  return with_work(model, config, inputs, [](const detail::GenerationWork& work) {
    double bytes = 0;
    for (const detail::MemoryPart& part : detail::generation_memory(work))
      bytes += static_cast<double>(part.bytes.value());
    return bytes;
  });
}

void check(const Model& model, GenerationConfig config, int rows, const char* what) {
  config.max_new_tokens = config.min_new_tokens = new_tokens;
  config.eos_token_id = Ids{};
  const Inputs inputs = prompts_for(model.config(), rows);
  (void)model.generate(inputs, config);  // encodes pictures, and grows the scratch of kernels
  const heap::Peak peak;
  (void)model.generate(inputs, config);
  const auto real = static_cast<double>(peak.bytes());
  const double expected = counted(model, config, inputs);
  INFO(what << ", " << rows << " rows: counted " << expected << ", allocated " << real);
  // objects of a few bytes are not counted one by one
  CHECK(expected > 0.98 * real - 20000);
  CHECK(expected < 1.15 * real + 20000);
}

GenerationConfig recorded(GenerationConfig config) {
  config.output_scores = config.output_logits = config.output_attentions = true;
  config.top_logprobs = 5;
  return config;
}

std::vector<std::vector<Ids>> phrases(int entries, int alternatives) {
  std::vector<std::vector<Ids>> all;
  for (int i = 0; i < entries; ++i) {
    auto& entry = all.emplace_back();
    for (int j = 0; j < alternatives; ++j) entry.push_back({10 + i, 40 + j, 5});
  }
  return all;
}

}  // namespace

TEST_CASE("what a generation allocates was counted before it began, in every mode") {
  const Model model = golden::load("published");
  const DolaLayers layers{.layers = {0, 1, 2}};
  const struct {
    const char* what;
    GenerationConfig config;
  } modes[] = {
      {"greedy search", {}},
      {"sampling", {.do_sample = true, .num_return_sequences = 3}},
      {"sampling the best", {.do_sample = true, .num_return_sequences = 2, .best_of = 4}},
      {"guidance", {.guidance_scale = 1.5}},
      {"beams", {.num_return_sequences = 2, .num_beams = 6}},
      {"beam sampling", {.do_sample = true, .num_beams = 6}},
      {"groups", {.num_beams = 6, .num_beam_groups = 3, .diversity_penalty = 0.5}},
      {"constraints", {.num_beams = 8, .force_words_ids = phrases(6, 5)}},
      {"contrastive search", {.penalty_alpha = 0.6, .top_k = 6}},
      {"DoLa", {.dola_layers = layers}},
  };
  for (const auto& mode : modes)
    for (const int rows : {1, 3}) {
      check(model, mode.config, rows, mode.what);
      check(model, recorded(mode.config), rows, mode.what);
    }
}

TEST_CASE("what assisted decoding allocates was counted before it began") {
  const Model model = golden::load("published"), draft = golden::load("published");
  GenerationConfig lookup, drafted;
  lookup.prompt_lookup_num_tokens = 5;
  drafted.assistant_model = &draft;
  drafted.num_assistant_tokens = 5;
  drafted.num_assistant_tokens_schedule = "constant";
  check(model, lookup, 1, "prompt lookup");
  check(model, recorded(lookup), 1, "prompt lookup");
  check(model, drafted, 1, "a draft model");
}

TEST_CASE("a generation that does not fit is refused, with the option that needs most") {
  const Model model = golden::load("published");
  const Inputs inputs = prompts_for(model.config(), 2);
  const testing::TempDir directory;
  const auto field = [&](GenerationConfig config, std::int64_t tokens) {
    config.max_new_tokens = tokens;
    const double needed = counted(model, config, inputs);
    const auto verdict = [&](double kibibytes) -> std::string {
      const MemoryFiles files{
          .meminfo = directory.write("meminfo", "MemAvailable: " + std::to_string(kibibytes)),
          .membership = directory.path() / "none",
          .groups = directory.path()};
      try {
        with_work(model, config, inputs,
                  [&](const detail::GenerationWork& work) { detail::require_memory(work, files); });
      } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::out_of_memory);
        return error.context().field;
      }
      return "accepted";
    };
    CHECK(verdict(needed / 1024 + 1) == "accepted");
    return verdict(needed / 1024 - 1);
  };
  CHECK(field({}, 3000) == "max_new_tokens");
  CHECK(field({.num_beams = 200}, 2) == "num_beams");
  CHECK(field({.num_beams = 8, .force_words_ids = phrases(30, 30)}, 90) == "force_words_ids");
  GenerationConfig scores;
  scores.output_scores = true;
  scores.output_logits = true;
  scores.top_logprobs = 100;
  CHECK(field(scores, 400) == "output_scores");
  scores = {};
  scores.output_attentions = true;
  CHECK(field(scores, 400) == "output_attentions");
}

TEST_CASE("a model refuses constraints whose states do not fit before it makes them") {
  const Model model = golden::load("published");
  const GenerationConfig config{.num_beams = 16384, .force_words_ids = phrases(200, 300)};
  if (available_memory().value_or(0) > std::uint64_t{150} << 30) return;
  const heap::Peak peak;
  CHECK(testing::refusal(model, prompts_for(model.config(), 1), config) == "force_words_ids");
  CHECK(peak.bytes() < 64 << 20);
}
