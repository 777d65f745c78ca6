// Attention rollout: against the same products of transformers' attention weights, in numpy.
#include <idefics/attention_rollout.hpp>

#include "support/catch.hpp"
#include "support/golden_modes.hpp"

using namespace idefics;

TEST_CASE("attention rollout is within 1e-5 of that of transformers' attention weights") {
  golden::ModeModels models;
  const auto file = SafetensorsFile::open(std::filesystem::path(IDEFICS_GOLDEN_DIR) / "modes" /
                                          "attention_rollout.safetensors");
  std::size_t i = 0;
  for (const Json& recorded : golden::mode_cases("attention_rollout.json")) {
    INFO(recorded.dump());
    auto& [model, pool] = models[recorded.at("model").get<std::string>()];
    const Inputs inputs = golden::mode_inputs(recorded.at("rows"), pool);
    GenerationConfig config{.max_new_tokens = 4, .eos_token_id = GenerationConfig::Ids{}};
    config.output_attentions = true;
    const auto output = model.generate(inputs, config);
    REQUIRE(golden::compare_case(recorded, output));
    const Json& options = recorded.at("rollout");
    AttentionRolloutOptions asked{.vision = options.value("vision", false)};
    if (options.contains("layer")) asked.layer = options["layer"];
    if (options.contains("head")) asked.head = options["head"];
    const AttentionRollout found = attention_rollout(model, inputs, output, asked);

    const Tensor expected = file.tensor(std::to_string(i++));  // [s,I,S+1]: class, patches, learned
    const std::int64_t pictures = expected.dim(0) * expected.dim(1), p = expected.dim(2) - 2;
    REQUIRE(found.patches.shape() == Shape{expected.dim(0), expected.dim(1), p});
    CHECK(found.rows * found.columns == p);
    for (std::int64_t at = 0; at < pictures; ++at) {
      const auto row = expected.as<float>().subspan(static_cast<std::size_t>(at * (p + 2)));
      const auto one = static_cast<std::size_t>(at), count = static_cast<std::size_t>(p);
      CHECK(std::abs(found.class_token.as<float>()[one] - row[0]) < 1e-5f);
      CHECK(std::abs(found.learned_latents.as<float>()[one] - row[count + 1]) < 1e-5f);
      for (std::size_t j = 0; j < count; ++j)
        CHECK(std::abs(found.patches.as<float>()[one * count + j] - row[j + 1]) < 1e-5f);
    }
  }
  CHECK(i == 40);
}
