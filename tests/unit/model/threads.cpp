// One model from several threads: every answer has the bits that it has alone, whatever the others do,
// although all share a picture cache too small for the pictures that they use.
#include <array>
#include <atomic>
#include <thread>

#include <idefics/backend/cpu/cpu_backend.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/own_memory.hpp"
#include "support/questions.hpp"

using namespace idefics;
using testing::equal, testing::Question, testing::questions;

namespace {

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
