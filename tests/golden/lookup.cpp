// Prompt lookup against transformers: its guesses, and the guessed and accepted tokens of each pass
// of assisted decoding (tests/reference/make_lookup.py).
#include <cstdio>

#include <idefics/generation/search/candidates.hpp>
#include <idefics/io/json.hpp>

#include "support/catch.hpp"
#include "support/golden_modes.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

TEST_CASE("guesses equal transformers', up to the number of tokens that may still be generated") {
  std::size_t guessed = 0, compared = 0;
  for (const Json& recorded : golden::mode_cases("lookup.json")) {
    INFO(recorded.dump());
    const auto ids = recorded.at("ids").get<std::vector<std::int32_t>>();
    const auto limit = recorded.at("room").get<std::int64_t>();
    const auto p = std::ssize(ids);
    const detail::LogitsContext context{
        .vocabulary = 40,
        .base_vocabulary = 40,
        .limits = {.prompt = p, .longest = p + limit + 1, .shortest = 0},
        .prompts = {ids}};
    detail::PromptLookup lookup(golden::mode_options(recorded), context);
    const detail::IdSpan guess = lookup.guess(ids, limit);
    auto expected = recorded.at("guess").get<std::vector<std::int32_t>>();
    expected.resize(std::min(expected.size(), static_cast<std::size_t>(limit)));
    CHECK(std::vector(guess.begin(), guess.end()) == expected);
    guessed += !expected.empty(), ++compared;
  }
  std::printf("lookup.json: %zu cases compared, %zu with a guess\n", compared, guessed);
  CHECK(guessed > 200);
}

TEST_CASE("guessed and accepted tokens of every pass equal transformers'") {
  golden::ModeModels models;
  std::map<std::string, Model> drafts;  // the first two layers of each model
  std::int64_t accepted = 0;
  for (const Json& recorded : golden::mode_cases("rounds.json")) {
    INFO(recorded.dump());
    const auto name = recorded.at("model").get<std::string>();
    auto& [model, pool] = models[name];
    GenerationConfig config = golden::mode_options(recorded);
    if (!config.prompt_lookup_num_tokens) {
      if (!drafts.contains(name)) {
        const testing::TempDir dir;
        Json shallow = read_json_file(golden::models_dir() / name / "config.json");
        shallow["num_hidden_layers"] = 2;
        dir.write("config.json", shallow.dump());
        std::filesystem::copy_file(golden::models_dir() / name / "model.safetensors",
                                   dir.path() / "model.safetensors");
        drafts.emplace(name, Model::from_pretrained(dir.path().string(), {.dtype = DType::f32}));
      }
      config.assistant_model = &drafts.at(name);
    }
    const auto output = model.generate(golden::mode_inputs(recorded.at("rows"), pool), config);
    CHECK(output.new_tokens[0] == recorded.at("new_tokens")[0].get<std::vector<std::int32_t>>());
    const auto expected = recorded.at("rounds").get<std::vector<std::vector<std::int64_t>>>();
    REQUIRE(output.rounds.size() == expected.size());
    std::int64_t left = *config.max_new_tokens - 2;  // the reference may guess more tokens
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CHECK(output.rounds[i].guesses == std::min(expected[i][0], left));
      CHECK(output.rounds[i].accepted == std::min(expected[i][1], left));
      left -= output.rounds[i].accepted + 1;
      accepted += output.rounds[i].accepted;
    }
  }
  CHECK(accepted > 100);
}
