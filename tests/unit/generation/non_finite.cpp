// NaN and infinities: every mode ends with the same typed error as soon as one would decide
// something, and ignores one that decides nothing.
#include <cmath>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

using Ids = std::vector<std::int32_t>;

/// The weights file of the checkpoint "published", to be modified.
class Weights {
 public:
  /// Rows of a matrix, in place.
  std::span<char> rows(const char* name, std::int64_t first, std::int64_t count = 1) {
    const TensorInfo& info = *file_.find(name);
    const std::uint64_t row = (info.end - info.begin) / static_cast<std::uint64_t>(info.dims[0]);
    return std::span(content_).subspan(info.begin + static_cast<std::uint64_t>(first) * row,
                                       static_cast<std::uint64_t>(count) * row);
  }
  std::span<char> all(const char* name) { return rows(name, 0, file_.find(name)->dims[0]); }

  Model model() const {
    const testing::TempDir directory;
    std::filesystem::copy_file(folder_ / "config.json", directory.path() / "config.json");
    directory.write("model.safetensors", content_);
    return Model::from_pretrained(directory.path().string(), {.dtype = DType::f32});
  }

 private:
  std::filesystem::path folder_ = golden::models_dir() / "published";
  SafetensorsFile file_ = SafetensorsFile::open(folder_ / "model.safetensors");
  std::string content_ = detail::read_file(folder_ / "model.safetensors", 1 << 24);
};

/// The checkpoint with NaN embeddings of some ids: after one of them, all logits are NaN.
Model poisoned(const Ids& ids) {
  Weights weights;
  for (const std::int32_t id : ids)
    std::ranges::fill(weights.rows("model.embed_tokens.weight", id), '\xff');
  return weights.model();
}

/// The checkpoint reduced to two tokens: their logits are the hidden state times a row of the head,
/// and its negative, one above and one below the zeros of all other tokens.
Model of_two_tokens(std::int32_t one, std::int32_t other) {
  Weights weights;
  const std::span row = weights.rows("lm_head.weight", 3);
  std::string kept(row.begin(), row.end());
  for (const char* head : {"lm_head.weight", "lm_head.additional_fc.weight"})
    std::ranges::fill(weights.all(head), '\0');
  std::ranges::copy(kept, weights.rows("lm_head.weight", one).begin());
  for (std::size_t i = 3; i < kept.size(); i += 4) kept[i] ^= '\x80';  // signs of f32
  std::ranges::copy(kept, weights.rows("lm_head.weight", other).begin());
  return weights.model();
}

Inputs prompt_for(const Model& model) {
  std::mt19937 random(4);
  return testing::batch_of({testing::random_prompt(random, model.config(), 6, 1)}, model.config(),
                           true);
}

Ids prompt_of(const Model& model) {
  const Inputs inputs = prompt_for(model);
  const auto ids = inputs.input_ids.as<std::int64_t>();
  return {ids.begin(), ids.end()};
}

struct Outcome {
  std::string error;  // code and message, or "accepted"
  Ids seen{};         // by the callback
};
Outcome outcome_of(Model& model, const GenerationConfig& config) {
  Outcome outcome{"accepted"};
  try {
    model.generate(prompt_for(model), config, {}, [&outcome](auto chosen) {
      for (const auto& [row, id] : chosen) outcome.seen.push_back(id);
      return true;
    });
  } catch (const Error& error) {
    outcome.error = std::string(error.code_name()) + ": " + error.what();
  }
  return outcome;
}

GenerationConfig plain() { return {.max_new_tokens = 8, .eos_token_id = Ids{}}; }

/// Every mode, and the one with a draft model if it is given.
std::vector<GenerationConfig> modes(const Model* draft) {
  std::vector<GenerationConfig> all(10, plain());
  all[1].do_sample = true;
  all[2].num_beams = 3;
  all[3].num_beams = 3, all[3].do_sample = true;
  all[4].num_beams = 4, all[4].num_beam_groups = 2, all[4].diversity_penalty = 0.5;
  all[5].num_beams = 3, all[5].force_words_ids = {{{7, 8}}};
  all[6].penalty_alpha = 0.6, all[6].top_k = 4;
  all[7].dola_layers = DolaLayers{.layers = {0, 1}};
  all[8].guidance_scale = 1.5;
  all[9].prompt_lookup_num_tokens = 3;
  if (draft) {
    all.push_back(plain());
    all.back().assistant_model = draft;
  }
  return all;
}

}  // namespace

TEST_CASE("non-finite logits are the same error in every mode") {
  auto sound = golden::load("published", {.dtype = DType::f32});
  auto model = poisoned({prompt_of(sound).back()});
  for (const GenerationConfig& config : modes(&sound)) {
    const Outcome outcome = outcome_of(model, config);
    INFO(outcome.error);
    CHECK(outcome.error.starts_with("non_finite_logits: row 0 has NaN or infinite logits after 0"));
    CHECK(outcome.seen.empty());
  }
}

TEST_CASE("a NaN that a processor produces is the same error in every mode") {
  auto model = golden::load("published", {.dtype = DType::f32});
  std::size_t mode = 0;
  for (GenerationConfig config : modes(&model)) {
    config.logits_processor.push_back([](auto scores, auto) { scores[5] = std::nanf(""); });
    const Outcome outcome = outcome_of(model, config);
    INFO("mode " << mode++);
    CHECK(outcome.error.starts_with("non_finite_logits: a logits processor produced NaN"));
  }
}

TEST_CASE("assisted modes give the error of the plain mode, after the same tokens") {
  auto sound = golden::load("published", {.dtype = DType::f32});
  GenerationConfig once = plain();
  once.no_repeat_ngram_size = 1;  // no token is repeated
  const Ids free = sound.generate(prompt_for(sound), once).new_tokens[0];
  const std::size_t position = 4;
  auto model = poisoned({free[position]});
  const Outcome without = outcome_of(model, once);
  REQUIRE(without.error.starts_with("non_finite_logits"));
  REQUIRE(without.seen.size() == position + 1);
  GenerationConfig looked_up = once, drafted = once;
  looked_up.prompt_lookup_num_tokens = 3, looked_up.max_matching_ngram_size = 1;
  drafted.assistant_model = &sound, drafted.assistant_confidence_threshold = 0.0;
  for (const GenerationConfig& config : {looked_up, drafted}) {
    const Outcome with = outcome_of(model, config);
    CHECK(with.error == without.error);
    CHECK(with.seen == without.seen);
  }
}

TEST_CASE("a draft model that computes NaN ends its guess, and the answer is the plain one") {
  auto model = golden::load("published", {.dtype = DType::f32});
  const Ids free = model.generate(prompt_for(model), plain()).new_tokens[0];
  for (const std::int32_t id : {free[0], free[2], free[5]}) {
    const auto draft = poisoned({id});
    GenerationConfig drafted = plain();
    drafted.assistant_model = &draft, drafted.assistant_confidence_threshold = 0.0;
    const auto output = model.generate(prompt_for(model), drafted);
    CHECK(output.new_tokens[0] == free);
  }
}

TEST_CASE("a NaN after a wrong guess decides nothing") {
  auto sound = golden::load("published", {.dtype = DType::f32});
  const Ids free = sound.generate(prompt_for(sound), plain()).new_tokens[0];
  Ids unused;
  for (std::int32_t id = 3; unused.size() < 2; ++id)
    if (std::ranges::count(prompt_of(sound), id) + std::ranges::count(free, id) == 0)
      unused.push_back(id);
  auto model = poisoned(unused);
  const auto draft = of_two_tokens(unused[0], unused[1]);
  GenerationConfig drafted = plain();
  drafted.assistant_model = &draft, drafted.assistant_confidence_threshold = 0.0;
  const auto output = model.generate(prompt_for(model), drafted);
  CHECK(output.new_tokens[0] == free);
  REQUIRE(output.rounds.size() == free.size() - 1);
  CHECK(output.rounds[0].guesses > 1);
  CHECK(output.rounds[0].accepted == 0);
}
