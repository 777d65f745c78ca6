// Attention weights: against transformers in greedy and beam search, and across the modes.
#include <cstdio>
#include <numeric>

#include "support/catch.hpp"
#include "support/golden_modes.hpp"

using namespace idefics;

namespace {

double largest_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  const auto x = a.as<float>(), y = b.as<float>();
  double most = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    most = std::max(most, std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])));
  return most;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

/// A prompt with two pictures for a model of the recorded cases.
Inputs two_pictures(const Tensor& pool) {
  return golden::mode_inputs(Json::parse(R"([{"ids": [5, 9, 14, 30], "images": [1, 0],
                                              "seen": [-1, 0, 1, 1]}])"),
                             pool);
}

GenerationConfig with_attentions(GenerationConfig config) {
  config.max_new_tokens = 6, config.output_attentions = true;
  config.eos_token_id = GenerationConfig::Ids{};
  return config;
}

/// Greedy search restricted to `answers`, one per prompt, with its attention weights.
GenerationOutput led_through(Model& model, const Inputs& inputs,
                             const std::vector<GenerationConfig::Ids>& answers) {
  const auto prompt = static_cast<std::size_t>(inputs.input_ids.dim(1));
  GenerationConfig config{.max_new_tokens = std::ssize(answers.front()),
                          .eos_token_id = GenerationConfig::Ids{}};
  config.output_attentions = true;
  config.prefix_allowed_tokens_fn = [&](std::int64_t row, auto so_far) {
    return GenerationConfig::Ids{answers[static_cast<std::size_t>(row)][so_far.size() - prompt]};
  };
  return model.generate(inputs, config);
}

/// The weights of one step, row, layer and head; `line` is layer * H + head.
std::span<const float> line_of(const Tensor& all /*[G,R,layers,H,J]*/, std::int64_t step,
                               std::int64_t row, std::int64_t line) {
  const auto width = static_cast<std::size_t>(all.dim(4));
  const std::int64_t at = (step * all.dim(1) + row) * all.dim(2) * all.dim(3) + line;
  return all.as<float>().subspan(static_cast<std::size_t>(at) * width, width);
}

/// Checks that the weights of every step and row have the bits that greedy search gives for the
/// same tokens, that they sum to one (or to zero, where no picture is visible), and that they are
/// zero after the row's end.
void check_looked_at(Model& model, const Inputs& inputs, const GenerationOutput& out) {
  const std::int64_t rows = std::ssize(out.lengths), prompts = inputs.input_ids.dim(0);
  const std::int64_t answers = rows / prompts;
  const std::int64_t steps = *std::ranges::max_element(out.lengths);
  const Config& c = model.config();
  CHECK(out.attentions.shape() == Shape{steps, rows, c.num_hidden_layers, c.num_attention_heads,
                                        inputs.input_ids.dim(1) + steps - 1});
  CHECK(out.cross_attentions.dim(0) == steps);
  CHECK(out.cross_attentions.dim(1) == rows);
  for (std::int64_t answer = 0; answer < answers; ++answer) {
    std::vector<GenerationConfig::Ids> taken;
    for (std::int64_t row = answer; row < rows; row += answers)
      taken.push_back(out.new_tokens[static_cast<std::size_t>(row)]);
    const auto led = led_through(model, inputs, taken);
    for (const auto weights : {&GenerationOutput::attentions, &GenerationOutput::cross_attentions})
      for (std::int64_t step = 0; step < steps; ++step)
        for (std::int64_t b = 0; b < prompts; ++b)
          for (std::int64_t line = 0; line < (led.*weights).dim(2) * (led.*weights).dim(3);
               ++line) {
            const std::int64_t row = b * answers + answer;
            const auto found = line_of(out.*weights, step, row, line);
            const float sum = std::accumulate(found.begin(), found.end(), 0.0f);
            if (step >= out.lengths[static_cast<std::size_t>(row)]) {
              CHECK(std::ranges::all_of(found, [](float w) { return w == 0; }));
              continue;
            }
            CHECK(std::ranges::equal(found,
                                     line_of(led.*weights, step, b, line).first(found.size())));
            CHECK((std::abs(sum - 1) < 1e-5f ||
                   (sum == 0 && weights != &GenerationOutput::attentions)));
          }
  }
}

}  // namespace

TEST_CASE("attentions to pictures and to the text are within 1e-4 of transformers'") {
  golden::ModeModels models;
  const auto file = SafetensorsFile::open(std::filesystem::path(IDEFICS_GOLDEN_DIR) / "modes" /
                                          "attentions.safetensors");
  std::size_t i = 0, ties = 0;
  for (const Json& recorded : golden::mode_cases("attentions.json")) {
    INFO(recorded.dump());
    auto& [model, pool] = models[recorded.at("model").get<std::string>()];
    const auto config = golden::mode_options(recorded);
    const Inputs inputs = golden::mode_inputs(recorded.at("rows"), pool);
    CHECK_FALSE(model.generate(inputs, config).cross_attentions);
    auto asked = config;
    asked.output_attentions = true;
    const auto out = model.generate(inputs, asked);
    const std::string key = std::to_string(i++);
    if (!golden::compare_case(recorded, out)) {
      ++ties;
      continue;
    }
    CHECK(out.lengths == recorded.at("lengths").get<std::vector<std::int64_t>>());
    CHECK(largest_difference(out.cross_attentions, file.tensor(key + ".cross_attentions")) < 1e-4);
    CHECK(largest_difference(out.attentions, file.tensor(key + ".attentions")) < 1e-4);
  }
  std::printf("attentions.json: %zu cases, %zu near ties of the reference differ\n", i, ties);
  CHECK(i == 16);
  CHECK(ties <= 1);
}

TEST_CASE("modes that choose the tokens of greedy search return its attention weights") {
  golden::ModeModels models;
  auto& [model, pool] = models["vector_gates"];
  const Inputs inputs = two_pictures(pool);
  const auto greedy = model.generate(inputs, with_attentions({}));
  CHECK(greedy.cross_attentions.shape() == Shape{6, 1, 4, 4, 10});
  CHECK(greedy.attentions.shape() == Shape{6, 1, 4, 4, 9});

  GenerationConfig looked_up, contrastive;
  looked_up.prompt_lookup_num_tokens = 3, looked_up.max_matching_ngram_size = 1;
  contrastive.penalty_alpha = 1e-9, contrastive.top_k = 3;
  GenerationConfig several{.do_sample = true, .num_return_sequences = 3, .top_k = 1};
  for (const auto& config : {looked_up, contrastive, several}) {
    const auto out = model.generate(inputs, with_attentions(config));
    REQUIRE(out.new_tokens[0] == greedy.new_tokens[0]);
    const std::int64_t rows = std::ssize(out.new_tokens);
    const Tensor& ours = out.cross_attentions;
    for (std::int64_t step = 0; step < 6; ++step)
      for (std::int64_t row = 0; row < rows; ++row) {
        const auto line = [&](const Tensor& all, std::int64_t of, std::int64_t in) {
          return all.reshape({all.dim(0) * all.dim(1), all.dim(2) * all.dim(3) * all.dim(4)})
              .slice(step * of + in, step * of + in + 1);
        };
        CHECK(same_bits(line(ours, rows, row), line(greedy.cross_attentions, 1, 0)));
        CHECK(same_bits(line(out.attentions, rows, row), line(greedy.attentions, 1, 0)));
      }
  }
}

TEST_CASE("in every mode the attention weights are those of greedy search with the same tokens") {
  golden::ModeModels models;
  auto& [model, pool] = models["vector_gates"];
  const Inputs inputs = golden::mode_inputs(
      Json::parse(R"([{"ids": [5, 9, 14, 30], "images": [1, 0], "seen": [-1, 0, 1, 1]},
                      {"ids": [7, 11], "images": [], "seen": [-1, -1]}])"),
      pool);
  const auto draft = golden::load("vector_gates", {.dtype = DType::bf16});
  std::vector<GenerationConfig> modes;
  for (const auto& ends : {GenerationConfig::Ids{}, GenerationConfig::Ids{20, 40, 60, 80}}) {
    GenerationConfig beams{.eos_token_id = ends, .num_return_sequences = 3, .num_beams = 4};
    GenerationConfig groups = beams, constrained = beams, beam_sampling = beams;
    groups.num_beam_groups = 2, groups.diversity_penalty = 0.5;
    constrained.force_words_ids = {{{7, 8}, {9}}, {{12}}};
    beam_sampling.do_sample = true;
    GenerationConfig dola{.eos_token_id = ends}, guided = dola, contrastive = dola;
    dola.dola_layers = DolaLayers{.layers = {0, 1}};
    guided.guidance_scale = 1.7, guided.do_sample = true, guided.num_return_sequences = 3;
    contrastive.penalty_alpha = 0.6, contrastive.top_k = 4;
    modes.insert(modes.end(),
                 {beams, groups, constrained, beam_sampling, dola, guided, contrastive});
  }
  for (std::size_t mode = 0; mode < modes.size(); ++mode) {
    INFO("mode " << mode);
    modes[mode].max_new_tokens = 6, modes[mode].output_attentions = true;
    modes[mode].pad_token_id = 0;
    check_looked_at(model, inputs, model.generate(inputs, modes[mode]));
  }
  GenerationConfig drafted = with_attentions({});
  drafted.assistant_model = &draft;
  for (const std::int64_t few : {1, 3}) {
    drafted.num_assistant_tokens = few, drafted.assistant_confidence_threshold = 0.0;
    const Inputs one = two_pictures(pool);
    check_looked_at(model, one, model.generate(one, drafted));
  }
}
