// The cost of searches on a checkpoint in bf16, as ratios, with both sides timed in turn: a step of
// four beams, and a step that keeps attentions, to a greedy step of one row; and the first token of
// a second question about a cached picture to that of a prompt of equal length without pictures.
#include <algorithm>

#include <idefics/model.hpp>

#include "bench.hpp"
#include "prompt.hpp"

namespace idefics::bench {
namespace {

constexpr std::int64_t question_tokens = 64, short_prompt_tokens = 8;

/// Seconds of one decode step of a search over `inputs`.
double step_seconds(Model& model, const Inputs& inputs, GenerationConfig config,
                    std::int64_t steps) {
  config.max_new_tokens = config.min_new_tokens = steps + 1;
  const auto timings = model.generate(inputs, config).timings;
  return timings.decode_s / static_cast<double>(timings.decode_tokens);
}

void print_ratio(const char* name, double time, double baseline, const char* other) {
  std::printf("%-44s %9.3f s    %.2f of %s (%.3f s)\n", name, time, time / baseline, other,
              baseline);
}

void compare_with_greedy(Model& model, const char* name, const GenerationConfig& config, int rounds,
                         std::int64_t steps) {
  const Inputs inputs = prompt(model.config(), 1, short_prompt_tokens, 1);
  std::vector<double> greedy, other;
  for (int round = 0; round < rounds; ++round) {
    greedy.push_back(step_seconds(model, inputs, {}, steps));
    other.push_back(step_seconds(model, inputs, config, steps));
  }
  print_ratio(name, median(other), median(greedy), "a greedy step");
}

/// The prompt without its pictures, as the processor makes it from a prompt that has none.
Inputs without_pictures(const Inputs& inputs) {
  Inputs text = inputs;
  text.image_attention_mask =
      Tensor::zeros(DType::boolean, {inputs.input_ids.dim(0), inputs.input_ids.dim(1), 1});
  text.pixel_values = Tensor::zeros(DType::f32, inputs.pixel_values.shape());
  return text;
}

void second_question(Model& model, int rounds) {
  const Inputs question = prompt(model.config(), 1, question_tokens, 1);
  const Inputs text = without_pictures(question);
  GenerationConfig config;
  config.max_new_tokens = 1;
  (void)model.generate(question, config);  // the first question encodes the picture
  std::vector<double> cached, alone;
  for (int round = 0; round < rounds; ++round) {
    cached.push_back(seconds([&] { (void)model.generate(question, config); }));
    alone.push_back(seconds([&] { (void)model.generate(text, config); }));
  }
  print_ratio("first token, cached picture, 64 tokens", median(cached), median(alone),
              "the prompt alone");
}

}  // namespace

void bench_searches(Context& c) {
  if (c.model.empty()) return;
  Model model = Model::from_pretrained(c.model, {.dtype = DType::bf16, .device_map = "cpu"});
  const int rounds = c.quick ? 1 : 5;
  const std::int64_t steps = c.quick ? 2 : 4;
  compare_with_greedy(model, "step of num_beams=4", {.num_beams = 4}, rounds, steps);
  compare_with_greedy(model, "step with output_attentions", {.output_attentions = true}, rounds,
                      steps);
  second_question(model, rounds);
}

}  // namespace idefics::bench
