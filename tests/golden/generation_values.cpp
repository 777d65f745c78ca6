// Values of generation options that the reference takes, most of them with a warning: watermark keys
// of any size, end tokens that are named twice, temperature 0, sentinel ids, and beams that are
// forced to end at once.
#include <algorithm>

#include <idefics/generation/logits/pipeline.hpp>
#include <idefics/generation/options/effective.hpp>
#include <idefics/generation/options/read_config.hpp>
#include <idefics/io/json.hpp>

#include "support/catch.hpp"
#include "support/golden_inputs.hpp"
#include "support/golden_models.hpp"

using namespace idefics;

namespace {

using Ids = std::vector<std::int32_t>;
constexpr std::size_t vocabulary = 60, added = 4;

const Json& recorded() {
  static const Json all =
      read_json_file(std::filesystem::path(IDEFICS_GOLDEN_DIR) / "generation" / "values.json");
  return all;
}

std::vector<float> scores_of(std::size_t step) {
  std::vector<float> scores;
  for (std::size_t i = 0; i < vocabulary + added; ++i)
    scores.push_back(static_cast<float>((i * 37 + step * 11) % 64) / 8 - 3);
  return scores;
}

/// The scores after the processors of `options`, for the token that follows `ids`.
std::vector<float> processed(const Json& options, std::size_t step, const Ids& ids,
                             std::int64_t prompt) {
  const GenerationConfig config = generation_config_from_json(options, "case");
  detail::LogitsPipeline pipeline(
      config, {.vocabulary = vocabulary + added,
               .base_vocabulary = vocabulary,
               .limits = {.prompt = prompt, .longest = 100, .shortest = 0},
               .prompts = {Ids(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(prompt))}});
  auto scores = scores_of(step);
  pipeline.process(scores, ids, 0);
  return scores;
}

}  // namespace

TEST_CASE("a watermark prefers the reference's tokens, whatever its key") {
  for (const Json& one : recorded().at("watermarks")) {
    INFO(one.dump());
    const auto step = one.at("step").get<std::size_t>();
    const auto ids = one.at("ids").get<Ids>();
    Json config = one.at("config");
    config["bias"] = 2.0, config["greenlist_ratio"] = 0.25;
    const auto after = processed({{"watermarking_config", config}}, step, ids, std::ssize(ids));
    const auto before = scores_of(step);
    Ids green;
    for (std::size_t i = 0; i < after.size(); ++i)
      if (after[i] != before[i]) green.push_back(static_cast<std::int32_t>(i));
    CHECK(green == one.at("green").get<Ids>());
  }
}

TEST_CASE("an end token that is named twice is favoured once") {
  for (const Json& one : recorded().at("decays")) {
    INFO(one.dump());
    const auto after =
        processed({{"exponential_decay_length_penalty", {2, 1.5}}, {"eos_token_id", one.at("eos")}},
                  0, Ids(7, 0), 3);
    CHECK(after[5] == Approx(one.at("scores")[0].get<float>()));
    CHECK(after[9] == Approx(one.at("scores")[1].get<float>()));
  }
}

TEST_CASE("answers with sentinel ids, temperature 0 and forced ends are the reference's") {
  for (const char* name : {"published", "no_added_tokens"}) {
    const Model model = golden::load(name, {.dtype = DType::f32});
    const Tensor pool =
        SafetensorsFile::open(golden::models_dir() / name / "greedy_pool.safetensors")
            .tensor("pool");
    for (const Json& one : recorded().at("answers")) {
      if (one.at("model") != name) continue;
      INFO(one.at("options").dump());
      GenerationConfig config = generation_config_from_json(one.at("options"), "case");
      config.output_scores = true;
      if (!config.eos_token_id) config.eos_token_id = {2};
      if (!config.pad_token_id) config.pad_token_id = 0;
      const auto out = model.generate(golden::inputs_of(one, pool), config);
      CHECK(out.scores.dim(0) == one.at("steps").get<std::int64_t>());
      auto wanted = one.at("new_tokens").get<std::vector<Ids>>();
      CHECK(out.new_tokens == wanted);
      const Json& o = one.at("options");
      const bool odd = o.contains("temperature") || o.contains("top_p") ||
                       o.dump().find("-1") != std::string::npos;
      CHECK(option_warnings(config, {}).empty() == !odd);
    }
  }
}
