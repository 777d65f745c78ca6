// Beam search against transformers, case by case; and a prompt alone against the same prompt in a
// batch.
#include "support/catch.hpp"
#include "support/golden_modes.hpp"

using namespace idefics;

namespace {

/// Whether a row's scores are independent of the number of padding ids before it.
bool ignores_padding(const Json& options) {
  for (const char* key :
       {"repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size"})
    if (options.contains(key)) return false;
  return true;
}

}  // namespace

TEST_CASE("beams: sequences and parents equal transformers', scores within 1e-4") {
  CHECK(golden::compare_cases("beams.json") >= 250);
}

TEST_CASE("beams: a prompt alone gives the answers that it gives in a batch") {
  golden::ModeModels models;
  std::size_t rows = 0;
  for (const Json& recorded : golden::mode_cases("beams.json")) {
    const Json& prompts = recorded.at("rows");
    if (prompts.size() < 2 || !recorded.contains("scores") ||
        !ignores_padding(recorded.at("options")))
      continue;
    auto& [model, pool] = models[recorded.at("model").get<std::string>()];
    const auto config = golden::mode_options(recorded);
    const auto together = model.generate(golden::mode_inputs(prompts, pool), config);
    std::size_t row = 0;
    for (const Json& prompt : prompts) {
      const auto alone = model.generate(golden::mode_inputs(Json::array({prompt}), pool), config);
      for (std::size_t i = 0; i < alone.new_tokens.size(); ++i, ++row) {
        INFO(recorded.dump());
        CHECK(alone.sequences_scores[i] == together.sequences_scores[row]);
        CHECK(std::ranges::equal(
            alone.new_tokens[i],
            std::span(together.new_tokens[row]).first(alone.new_tokens[i].size())));
      }
      ++rows;
    }
  }
  CHECK(rows >= 100);
}
