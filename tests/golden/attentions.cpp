// What tokens looked at: against transformers in greedy and beam search, and among the modes.
#include <cstdio>

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

/// A prompt of two pictures for a model of the recorded cases.
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

}  // namespace

TEST_CASE("attentions to pictures and to the text are transformers' within 1e-4") {
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
    const std::string at = std::to_string(i++);
    if (!golden::compare_case(recorded, out)) {
      ++ties;
      continue;
    }
    CHECK(out.lengths == recorded.at("lengths").get<std::vector<std::int64_t>>());
    CHECK(largest_difference(out.cross_attentions, file.tensor(at + ".cross_attentions")) < 1e-4);
    CHECK(largest_difference(out.attentions, file.tensor(at + ".attentions")) < 1e-4);
  }
  std::printf("attentions.json: %zu cases, %zu near ties of the reference differ\n", i, ties);
  CHECK(i == 16);
  CHECK(ties <= 1);
}

TEST_CASE("every mode that chooses the tokens of greedy search looks at what it looks at") {
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
    const Tensor& theirs = out.cross_attentions;
    for (std::int64_t step = 0; step < 6; ++step)
      for (std::int64_t row = 0; row < rows; ++row) {
        const auto line = [&](const Tensor& all, std::int64_t of, std::int64_t in) {
          return all.reshape({all.dim(0) * all.dim(1), all.dim(2) * all.dim(3) * all.dim(4)})
              .slice(step * of + in, step * of + in + 1);
        };
        CHECK(same_bits(line(theirs, rows, row), line(greedy.cross_attentions, 1, 0)));
        CHECK(same_bits(line(out.attentions, rows, row), line(greedy.attentions, 1, 0)));
      }
  }
}
