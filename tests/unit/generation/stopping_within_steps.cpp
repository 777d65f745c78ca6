// Runs that end within a step: by max_time or by the caller, before the first token or in the
// middle of the work for thousands of beams; and options of a checkpoint that are refused or warned
// of with the name of their file.
#include <chrono>
#include <fstream>

#include <idefics/generation/options/effective.hpp>
#include <idefics/generation/options/read_config.hpp>

#include "support/catch.hpp"
#include "support/fault.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

using Ids = std::vector<std::int32_t>;

Inputs prompt_for(const Model& model) {
  std::mt19937 random(7);
  std::vector<testing::RandomPrompt> prompts{testing::random_prompt(random, model.config(), 6, 1)};
  return testing::batch_of(prompts, model.config(), true);
}

double seconds_of(const auto& act) {
  const auto begin = std::chrono::steady_clock::now();
  act();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

TEST_CASE("thousands of beams obey max_time within a second") {
  const auto model = golden::load("no_added_tokens");
  const auto inputs = prompt_for(model);
  for (const GenerationConfig& mode :
       {GenerationConfig{}, GenerationConfig{.num_return_sequences = 16'384},
        GenerationConfig{.do_sample = true},
        GenerationConfig{.num_beam_groups = 2, .diversity_penalty = 1.0},
        GenerationConfig{.force_words_ids = {{{5, 6}}}}}) {
    GenerationConfig config = mode;
    config.max_new_tokens = 200, config.num_beams = 16'384, config.max_time = 1.0;
    config.eos_token_id = Ids{};
    GenerationOutput output;
    const double seconds = seconds_of([&] { output = model.generate(inputs, config); });
    INFO(seconds << " " << output.lengths.at(0));
    CHECK(seconds < 2.5 * testing::seconds_allowed);  // with a margin for busy machines
    CHECK(output.lengths.at(0) < 200);
    CHECK(std::ssize(output.sequences) == config.num_return_sequences.value_or(1));
  }
}

TEST_CASE("a caller ends a run before its first token, in every mode") {
  const auto model = golden::load("no_added_tokens");
  const auto inputs = prompt_for(model);
  const auto prompt = padded_rows(inputs.input_ids);
  for (const GenerationConfig& mode :
       {GenerationConfig{}, GenerationConfig{.do_sample = true, .best_of = 3},
        GenerationConfig{.num_beams = 3}, GenerationConfig{.do_sample = true, .num_beams = 3},
        GenerationConfig{.num_beams = 4, .num_beam_groups = 2, .diversity_penalty = 1.0},
        GenerationConfig{.num_beams = 3, .force_words_ids = {{{5, 6}}}},
        GenerationConfig{.penalty_alpha = 0.5, .top_k = 4},
        GenerationConfig{.dola_layers = DolaLayers{.bucket = "low"}},
        GenerationConfig{.prompt_lookup_num_tokens = 4}, GenerationConfig{.guidance_scale = 1.5}}) {
    GenerationConfig config = mode;
    config.max_new_tokens = 5, config.eos_token_id = Ids{};
    config.output_scores = config.output_attentions = true;
    int calls = 0, steps = 0;
    const auto output = model.generate(inputs, config,
                                       {.proceed =
                                            [&] {
                                              ++calls;
                                              return false;
                                            }},
                                       [&](auto) { return ++steps > 0; });
    CHECK(calls == 1);
    CHECK(steps == 0);
    CHECK(output.lengths == std::vector<std::int64_t>{0});
    CHECK(output.sequences == prompt);
    CHECK(output.new_tokens == std::vector<Ids>{{}});
    CHECK(output.scores.dim(0) == 0);
    config.output_attentions = false;
    CHECK(model.generate(inputs, config, {.proceed = [] { return true; }}).lengths.at(0) == 5);
  }
}

TEST_CASE("limits of a model hold for every call") {
  auto model = golden::load("no_added_tokens", {.limits = {.new_tokens = 4, .rows = 2}});
  const auto inputs = prompt_for(model);
  const auto field = [&](const GenerationConfig& config) {
    try {
      return std::to_string(model.generate(inputs, config).lengths.at(0));
    } catch (const Error& error) {
      return error.context().field;
    }
  };
  CHECK(field({.max_new_tokens = 4, .eos_token_id = Ids{}, .num_beams = 2}) == "4");
  CHECK(field({.max_new_tokens = 5}) == "max_new_tokens");
  CHECK(field({}) == "max_length");  // the default is 20 new tokens
  CHECK(field({.max_new_tokens = 4, .num_beams = 3}) == "num_beams");
  CHECK(field({.max_new_tokens = 4, .penalty_alpha = 0.5, .top_k = 3}) == "top_k");
}

TEST_CASE("options of a checkpoint are refused and warned of with the name of their file") {
  const testing::TempDir dir;
  std::filesystem::copy(golden::models_dir() / "no_added_tokens", dir.path(),
                        std::filesystem::copy_options::recursive);
  const auto file = (dir.path() / "generation_config.json").string();
  const auto load = [&](const char* text) {
    std::ofstream(file) << text;
    return Model::from_pretrained(dir.path().string());
  };
  auto model = load(R"({"temperature": 0.0, "eos_token_id": -1, "pad_token_id": -1})");
  const auto inputs = prompt_for(model);
  CHECK(model.generate(inputs, {.max_new_tokens = 3}).lengths.at(0) == 3);
  const auto warnings = option_warnings({.top_p = 0.5}, model.generation_config());
  std::vector<std::string> all;
  for (const auto& warning : warnings) all.push_back(warning.field + "|" + warning.file);
  CHECK(all == std::vector<std::string>{"eos_token_id|" + file, "pad_token_id|" + file,
                                        "temperature|" + file, "top_p|"});
  const auto place = [&](const GenerationConfig& config) {
    try {
      model.generate(inputs, config);
    } catch (const Error& error) {
      CHECK(std::string(error.what()).starts_with("must be above 0, not"));
      return error.context().field + "|" + error.context().file;
    }
    return std::string("accepted");
  };
  CHECK(place({.do_sample = true}) == "temperature|" + file);
  CHECK(place({.do_sample = true, .temperature = -1.0}) == "temperature|");
  CHECK(place({.max_new_tokens = 1, .do_sample = true, .temperature = 1.0}) == "accepted");
}
