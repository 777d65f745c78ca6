// Assisted decoding: whatever is guessed, the answer is that of the plain mode, bit for bit.
#include <cstring>
#include <fstream>

#include <idefics/io/json.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"
#include "support/refusal.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;
using testing::refusal;

namespace {

using Ids = std::vector<std::int32_t>;

/// A checkpoint without its last layers, which often, but not always, agrees with the full one.
Model first_layers(const std::string& name, int layers) {
  const testing::TempDir dir;
  const auto source = golden::models_dir() / name;
  Json config = read_json_file(source / "config.json");
  config["num_hidden_layers"] = layers;
  dir.write("config.json", config.dump());
  std::filesystem::copy_file(source / "model.safetensors", dir.path() / "model.safetensors");
  return Model::from_pretrained(dir.path().string(), {.dtype = DType::f32});
}

Inputs prompt_for(const Model& model, unsigned seed, std::int64_t rows = 1) {
  std::mt19937 random(seed);
  std::vector<testing::RandomPrompt> prompts;
  for (std::int64_t i = 0; i < rows; ++i)
    prompts.push_back(testing::random_prompt(random, model.config(), 9, 2));
  return testing::batch_of(prompts, model.config(), seed % 2 == 0, seed % 3);
}

struct Watched {
  GenerationOutput output;
  Ids seen;  // by the callback, token by token
};
Watched generate(Model& model, const Inputs& inputs, const GenerationConfig& config,
                 std::size_t most = 1000) {
  Watched w;
  w.output = model.generate(inputs, config, {}, [&](auto chosen) {
    REQUIRE(chosen.size() == 1);
    CHECK(chosen[0].first == 0);
    w.seen.push_back(chosen[0].second);
    return w.seen.size() < most;
  });
  return w;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

/// Checks that the assisted answer equals the plain one; returns the passes after the prompt's.
std::size_t check_same(Model& model, const Inputs& inputs, const GenerationConfig& plain,
                       const GenerationConfig& assisted, std::size_t most = 1000) {
  const Watched a = generate(model, inputs, plain, most),
                b = generate(model, inputs, assisted, most);
  CHECK(a.output.sequences == b.output.sequences);
  CHECK(a.output.lengths == b.output.lengths);
  CHECK(a.seen == b.seen);
  if (a.output.scores) CHECK(same_bits(a.output.scores, b.output.scores));
  if (a.output.logits) CHECK(same_bits(a.output.logits, b.output.logits));
  std::int64_t tokens = 1;
  for (const AssistedRound& round : b.output.rounds) {
    CHECK(round.accepted <= round.guesses);
    tokens += round.accepted + 1;
  }
  CHECK(tokens == b.output.lengths.at(0));
  return b.output.rounds.size();
}

/// Options of one case: processors that depend on previous tokens, end tokens, sampling.
GenerationConfig random_options(std::mt19937& random, const Ids& likely) {
  const auto chance = [&random](int n) { return random() % static_cast<unsigned>(n) == 0; };
  GenerationConfig c{.max_new_tokens = 1 + static_cast<std::int64_t>(random() % 24),
                     .eos_token_id = Ids{}};
  if (chance(2)) c.eos_token_id = Ids{likely[random() % likely.size()]};
  if (chance(3)) c.repetition_penalty = 1.2;
  if (chance(3)) c.no_repeat_ngram_size = 2 + random() % 2;
  if (chance(3)) c.frequency_penalty = 0.02;
  if (chance(4)) c.min_new_tokens = 1;
  if (chance(4)) c.suppress_tokens = {likely[0]};
  if (chance(4)) c.watermarking_config = WatermarkingConfig{.bias = 0.1};
  if (chance(4)) c.renormalize_logits = true;
  if (chance(2)) c.do_sample = true, c.seed = random(), c.temperature = 0.05, c.top_k = 5;
  c.output_scores = c.output_logits = true;
  return c;
}

GenerationConfig assisted_by(const Model* draft, GenerationConfig c, std::mt19937& random) {
  const auto few = 1 + static_cast<std::int64_t>(random() % 6);
  if (draft) {
    c.assistant_model = draft;
    c.num_assistant_tokens = few;
    c.num_assistant_tokens_schedule =
        std::array{"constant", "heuristic", "heuristic_transient"}[random() % 3];
    c.assistant_confidence_threshold = random() % 2 == 0 ? 0.0 : 0.02;
  } else {
    c.prompt_lookup_num_tokens = few;
    c.max_matching_ngram_size = 1 + static_cast<std::int64_t>(random() % 3);
  }
  return c;
}

}  // namespace

TEST_CASE("assisted answers, scores and callbacks are those of the plain modes") {
  std::mt19937 random(11);
  std::size_t rejected = 0, accepted = 0;
  for (const char* name : {"published", "no_added_tokens", "vector_gates"}) {
    auto model = golden::load(name, {.dtype = DType::f32});
    const auto draft = first_layers(name, 2);
    for (unsigned seed = 0; seed < 40; ++seed) {
      INFO(name << ", seed " << seed);
      const auto inputs = prompt_for(model, seed);
      const auto free = model.generate(inputs, {.max_new_tokens = 12, .eos_token_id = Ids{}});
      const GenerationConfig plain = random_options(random, free.new_tokens[0]);
      const std::size_t most = random() % 4 == 0 ? 1 + random() % 8 : 1000;
      for (const Model* helper : {static_cast<const Model*>(nullptr), &draft}) {
        const auto assisted = assisted_by(helper, plain, random);
        check_same(model, inputs, plain, assisted, most);
        for (const auto& round : model.generate(inputs, assisted).rounds)
          accepted += static_cast<std::size_t>(round.accepted),
              rejected += static_cast<std::size_t>(round.guesses - round.accepted);
      }
    }
  }
  CHECK(accepted > 100);
  CHECK(rejected > 300);
}

TEST_CASE("a model that drafts for itself is always right, and needs few passes") {
  auto model = golden::load("published", {.dtype = DType::f32});
  const auto inputs = prompt_for(model, 4);
  GenerationConfig plain{.max_new_tokens = 31, .eos_token_id = Ids{}};
  for (const bool sample : {false, true}) {
    plain.do_sample = sample;
    GenerationConfig assisted = plain;
    assisted.assistant_model = &model;
    assisted.num_assistant_tokens = 5;
    assisted.assistant_confidence_threshold = 0.0;
    CHECK(check_same(model, inputs, plain, assisted) == 5);  // 1 token, then 5 times 6
    assisted.num_assistant_tokens_schedule = "heuristic_transient";
    CHECK(check_same(model, inputs, plain, assisted) == 4);  // tokens: 1, 6, 8, 10, 6
  }
}

TEST_CASE("prompt lookup in repetitive text needs fewer passes than tokens") {
  auto model = golden::load("published", {.dtype = DType::f32});
  GenerationConfig plain{.max_new_tokens = 40, .eos_token_id = Ids{}};
  // a processor makes the model repeat itself
  const int period = 4;
  plain.logits_processor.push_back([](auto scores, auto so_far) {
    scores[static_cast<std::size_t>(3 + so_far.size() % period)] += 1000;
  });
  GenerationConfig assisted = plain;
  assisted.prompt_lookup_num_tokens = 8;
  const std::size_t passes = check_same(model, prompt_for(model, 2), plain, assisted);
  CHECK(passes <= 14);
}

TEST_CASE("stop strings, stopping criteria and processors see only tokens of the answer") {
  auto model = golden::load("published", {.dtype = DType::f32});
  const auto inputs = prompt_for(model, 6);
  const auto free = model.generate(inputs, {.max_new_tokens = 12, .eos_token_id = Ids{}});
  auto texts = std::make_shared<std::vector<std::string>>(
      static_cast<std::size_t>(model.config().total_vocab_size()), ".");
  (*texts)[static_cast<std::size_t>(free.new_tokens[0][5])] = "the end, and more";
  std::vector<std::size_t> rule, processor;
  GenerationConfig plain{.max_new_tokens = 12,
                         .stop_strings = {"end"},
                         .token_texts = texts,
                         .eos_token_id = Ids{},
                         .output_scores = true};
  plain.stopping_criteria.push_back([&](auto row) { return rule.push_back(row.size()), false; });
  plain.logits_processor.push_back([&](auto, auto row) { processor.push_back(row.size()); });
  const auto a = generate(model, inputs, plain);
  const auto calls = std::pair(rule, processor);
  rule.clear(), processor.clear();
  GenerationConfig assisted = plain;
  assisted.assistant_model = &model;
  const auto b = generate(model, inputs, assisted);
  CHECK(a.output.new_tokens == b.output.new_tokens);
  CHECK(a.seen == b.seen);
  CHECK(b.output.lengths.at(0) <= 6);
  CHECK(std::pair(rule, processor) == calls);
}

TEST_CASE("assisted decoding leaves the same past to a conversation") {
  auto model = golden::load("published", {.dtype = DType::f32});
  const auto inputs = prompt_for(model, 8);
  PastKeyValues plain, assisted;
  const GenerationConfig config{.max_new_tokens = 9, .eos_token_id = Ids{}};
  GenerationConfig looked_up = config;
  looked_up.prompt_lookup_num_tokens = 4;
  const auto a = model.generate(inputs, config, {.past_key_values = &plain});
  const auto b = model.generate(inputs, looked_up, {.past_key_values = &assisted});
  CHECK(a.new_tokens == b.new_tokens);
  CHECK(plain.length() == assisted.length());
  CHECK(model.generate(inputs, looked_up, {.past_key_values = &assisted}).new_tokens ==
        a.new_tokens);
}

TEST_CASE("the heuristic schedule continues in the next generation, the transient one does not") {
  auto model = golden::load("published", {.dtype = DType::f32});
  auto draft = golden::load("published", {.dtype = DType::f32});
  const auto inputs = prompt_for(model, 4);
  GenerationConfig config{.max_new_tokens = 60, .eos_token_id = Ids{}};
  config.assistant_model = &draft;
  config.assistant_confidence_threshold = 0.0;
  for (const char* schedule : {"heuristic_transient", "heuristic"}) {
    config.num_assistant_tokens_schedule = schedule;
    CHECK(model.generate(inputs, config).rounds.at(0).guesses == 20);
  }
  CHECK(model.generate(inputs, config).rounds.at(0).guesses > 20);
}

TEST_CASE("options that cannot be assisted are refused by name") {
  auto model = golden::load("published");
  const auto inputs = prompt_for(model, 1);
  GenerationConfig c{.max_new_tokens = 2, .num_beams = 2};
  c.prompt_lookup_num_tokens = 3;
  CHECK(refusal(model, inputs, c) == "prompt_lookup_num_tokens");
  c.num_beams = 1, c.do_sample = true, c.num_return_sequences = 2;
  CHECK(refusal(model, inputs, c) == "num_return_sequences");
  c.num_return_sequences = 1, c.guidance_scale = 2.0;
  CHECK(refusal(model, inputs, c) == "guidance_scale");
  c.guidance_scale = 1.0;
  CHECK(refusal(model, inputs, c) == "accepted");
  CHECK(refusal(model, prompt_for(model, 1, 2), c) == "prompt_lookup_num_tokens");
  const auto other = golden::load("no_added_tokens");
  c.assistant_model = &other;
  CHECK(refusal(model, inputs, c) == "assistant_model");  // in addition to lookup
  c.prompt_lookup_num_tokens.reset();
  CHECK(refusal(model, inputs, c) == "assistant_model");  // another vocabulary
  c.num_assistant_tokens_schedule = "sometimes";
  CHECK(refusal(model, inputs, c) == "num_assistant_tokens_schedule");
}
