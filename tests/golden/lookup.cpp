// Guesses of prompt lookup, and what became of guesses pass by pass, against transformers
// (tests/reference/make_lookup.py).
#include <cstdio>

#include <idefics/generation/search/candidates.hpp>

#include "support/catch.hpp"
#include "support/golden_modes.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

TEST_CASE("guesses are those of transformers, up to the tokens that there is room for") {
  std::size_t guessed = 0, compared = 0;
  for (const Json& recorded : golden::mode_cases("lookup.json")) {
    INFO(recorded.dump());
    const auto ids = recorded.at("ids").get<std::vector<std::int32_t>>();
    const auto room = recorded.at("room").get<std::int64_t>();
    const auto p = std::ssize(ids);
    const detail::LogitsContext context{
        .vocabulary = 40,
        .base_vocabulary = 40,
        .limits = {.prompt = p, .longest = p + room + 1, .shortest = 0},
        .prompts = {ids}};
    detail::PromptLookup lookup(golden::mode_options(recorded), context);
    const detail::IdSpan guess = lookup.guess(ids, room);
    auto theirs = recorded.at("guess").get<std::vector<std::int32_t>>();
    theirs.resize(std::min(theirs.size(), static_cast<std::size_t>(room)));
    CHECK(std::vector(guess.begin(), guess.end()) == theirs);
    guessed += !theirs.empty(), ++compared;
  }
  std::printf("lookup.json: %zu cases compared, %zu with a guess\n", compared, guessed);
  CHECK(guessed > 200);
}

TEST_CASE("passes of assisted decoding guess and accept what those of transformers do") {
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
    const auto theirs = recorded.at("rounds").get<std::vector<std::vector<std::int64_t>>>();
    REQUIRE(output.rounds.size() == theirs.size());
    std::int64_t room = *config.max_new_tokens - 2;  // the reference may look up more
    for (std::size_t i = 0; i < theirs.size(); ++i) {
      CHECK(output.rounds[i].guesses == std::min(theirs[i][0], room));
      CHECK(output.rounds[i].accepted == std::min(theirs[i][1], room));
      room -= output.rounds[i].accepted + 1;
      accepted += output.rounds[i].accepted;
    }
  }
  CHECK(accepted > 100);
}
