// One model from several threads: every answer has the bits that it has alone, whatever the others do,
// although all share a picture cache too small for the pictures that they use.
#include <array>
#include <atomic>
#include <thread>

#include <idefics/backend/cpu/cpu_backend.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/own_memory.hpp"
#include "support/random_prompts.hpp"

using namespace idefics;

namespace {

struct Question {
  Inputs inputs;
  GenerationConfig config;
};

/// Questions about `pictures` pictures in every way that a search uses a run.
std::vector<Question> questions(const Config& config, std::size_t count, std::size_t pictures) {
  std::mt19937 random(5);
  std::vector<testing::RandomPrompt> shared;
  while (shared.size() < pictures) {
    shared.push_back(testing::random_prompt(random, config, 6, 1));
    if (shared.back().pictures.empty()) shared.pop_back();
  }
  std::vector<Question> list;
  for (std::size_t i = 0; i < count; ++i) {
    testing::RandomPrompt prompt = testing::random_prompt(random, config, 6, 1);
    const auto& picture = shared[random() % pictures];
    prompt.pictures = picture.pictures;
    prompt.seen.assign(prompt.ids.size(), 0);
    GenerationConfig options{.max_new_tokens = 5, .eos_token_id = GenerationConfig::Ids{}};
    options.output_scores = true;
    switch (i % 4) {
      case 1: options.do_sample = true, options.seed = i; break;
      case 2: options.num_beams = 3; break;
      case 3: options.prompt_lookup_num_tokens = 2; break;
      default: break;
    }
    list.push_back({testing::batch_of({prompt}, config, true), options});
  }
  return list;
}

bool equal(const GenerationOutput& a, const GenerationOutput& b) {
  if (a.sequences != b.sequences || a.sequences_scores != b.sequences_scores) return false;
  const auto x = a.scores.as<float>(), y = b.scores.as<float>();
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size_bytes()) == 0;
}

constexpr std::size_t threads = 4;

/// How many answers of `threads` threads differ from those of one.
std::size_t wrong_answers(const Model& model, const std::vector<Question>& list,
                          std::size_t answers_per_thread) {
  std::vector<GenerationOutput> alone;
  for (const Question& q : list) alone.push_back(model.generate(q.inputs, q.config));
  std::atomic<std::size_t> wrong = 0;
  std::vector<std::jthread> workers;
  for (std::size_t worker = 0; worker < threads; ++worker)
    workers.emplace_back([&, worker] {
      set_num_threads(2);
      for (std::size_t i = 0; i < answers_per_thread; ++i) {
        const std::size_t at = (i * (2 * worker + 1) + worker) % list.size();
        try {
          wrong += !equal(model.generate(list[at].inputs, list[at].config), alone[at]);
        } catch (const Error&) {
          ++wrong;
        }
      }
    });
  workers.clear();
  return wrong;
}

}  // namespace

TEST_CASE("threads share a model: each answer has the bits that it has alone") {
  const std::array<ModelOptions, 3> forms{
      {{.image_cache_size = 2},
       {.quantization_config = {.load_in_8bit = true}, .image_cache_size = 2},
       {.quantization_config = {.load_in_4bit = true}, .image_cache_size = 2}}};
  for (const ModelOptions& form : forms) {
    const Model model = golden::load(golden::model_names().front(), form);
    CHECK(wrong_answers(model, questions(model.config(), 40, 6), 250) == 0);
  }
}

TEST_CASE("threads take turns on a backend that cannot be forked, their own draft model included") {
  const Model model = golden::load(
      golden::model_names().front(),
      {.image_cache_size = 2, .backend = std::make_shared<testing::OwnMemory>(make_cpu_backend())});
  auto list = questions(model.config(), 12, 3);
  for (Question& q : list) {
    if (!q.config.prompt_lookup_num_tokens) continue;
    q.config.prompt_lookup_num_tokens.reset();
    q.config.assistant_model = &model;
  }
  CHECK(wrong_answers(model, list, 25) == 0);
}

TEST_CASE("a generation may start another within a step, and pass on its past") {
  const Model model = golden::load(golden::model_names().front(), {.image_cache_size = 2});
  const auto list = questions(model.config(), 1, 2);
  Inputs other = list[0].inputs;
  other.pixel_values = Tensor::zeros(DType::f32, other.pixel_values.shape());
  const GenerationConfig& config = list[0].config;
  const auto alone = golden::load(golden::model_names().front()).generate(other, config);

  PastKeyValues past;  // of the same tokens, with another picture
  (void)model.generate(list[0].inputs, config, {.past_key_values = &past});
  std::size_t steps = 0;
  (void)model.generate(list[0].inputs, config, {}, [&](auto) {
    if (steps++ == 0) {  // in a session whose first picture is the other one
      CHECK(equal(model.generate(other, config), alone));
      CHECK(equal(model.generate(other, config, {.past_key_values = &past}), alone));
    }
    return true;
  });
  CHECK(steps > 0);
}
