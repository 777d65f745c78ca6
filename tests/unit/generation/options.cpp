// Options of generation: the reference's rules of length, what ends a row, and what is refused.
#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"

using namespace idefics;

namespace {

using Ids = std::vector<std::int32_t>;

Inputs prompt_for(const Model& model, unsigned seed, std::int64_t rows = 1) {
  std::mt19937 random(seed);
  std::vector<testing::RandomPrompt> prompts;
  for (std::int64_t i = 0; i < rows; ++i)
    prompts.push_back(testing::random_prompt(random, model.config(), 6, 1));
  return testing::batch_of(prompts, model.config(), true);
}

std::string refusal(Model& model, const Inputs& inputs, const GenerationConfig& config) {
  try {
    model.generate(inputs, config);
  } catch (const Error& error) {
    return error.context().field;
  }
  return "accepted";
}

}  // namespace

TEST_CASE("lengths: max_new_tokens wins, max_length counts the prompt, else twenty new tokens") {
  CHECK(length_limits({.max_new_tokens = 3, .max_length = 100}, 10, {}).longest == 13);
  CHECK(length_limits({.max_length = 12}, 10, {}).longest == 12);
  CHECK(length_limits({}, 10, {}).longest == 30);
  CHECK(length_limits({}, 10, 25).longest == 25);  // capped, but only the default
  CHECK(length_limits({.max_new_tokens = 30}, 10, 25).longest == 40);
  CHECK(length_limits({.max_new_tokens = 9, .min_new_tokens = 4, .min_length = 99}, 10, {})
            .shortest == 14);
  CHECK_THROWS_AS(length_limits({.max_length = 10}, 10, {}), Error);
}

TEST_CASE("rows end at their end token and are filled with the pad id") {
  auto model = golden::load(golden::model_names().front(), {.dtype = DType::f32});
  const auto inputs = prompt_for(model, 3, 3);
  const auto free = model.generate(inputs, {.max_new_tokens = 8, .eos_token_id = Ids{}}).new_tokens;
  const std::int32_t end = free[0][2];  // make an id that is really chosen the end token
  const auto ended =
      model.generate(inputs, {.max_new_tokens = 8, .eos_token_id = Ids{end}, .pad_token_id = 0});
  for (std::size_t row = 0; row < 3; ++row) {
    bool over = false;
    for (std::size_t i = 0; i < ended.new_tokens[row].size(); ++i) {
      CHECK(ended.new_tokens[row][i] == (over ? 0 : free[row][i]));
      over = over || free[row][i] == end;
    }
  }
}

TEST_CASE("min_new_tokens holds the end token back") {
  auto model = golden::load(golden::model_names().front(), {.dtype = DType::f32});
  const auto inputs = prompt_for(model, 3);
  const auto first =
      model.generate(inputs, {.max_new_tokens = 1, .eos_token_id = Ids{}}).new_tokens[0][0];
  const auto held = model.generate(
      inputs, {.max_new_tokens = 4, .min_new_tokens = 2, .eos_token_id = Ids{first}});
  CHECK(held.new_tokens[0][0] != first);
  CHECK(held.new_tokens[0].size() >= 2);
}

TEST_CASE("bad words do not appear, alone or as the end of a sequence") {
  auto model = golden::load(golden::model_names().front(), {.dtype = DType::f32});
  const auto inputs = prompt_for(model, 5);
  const auto free =
      model.generate(inputs, {.max_new_tokens = 3, .eos_token_id = Ids{}}).new_tokens[0];
  const auto single = model.generate(
      inputs, {.max_new_tokens = 3, .eos_token_id = Ids{}, .bad_words_ids = {{free[0]}}});
  CHECK(std::ranges::find(single.new_tokens[0], free[0]) == single.new_tokens[0].end());
  const auto pair = model.generate(
      inputs, {.max_new_tokens = 3, .eos_token_id = Ids{}, .bad_words_ids = {{free[0], free[1]}}});
  CHECK(pair.new_tokens[0][0] == free[0]);
  CHECK(pair.new_tokens[0][1] != free[1]);
}

TEST_CASE("options out of range are refused by name") {
  auto model = golden::load(golden::model_names().front());
  const auto inputs = prompt_for(model, 1);
  CHECK(refusal(model, inputs, {.max_new_tokens = 0}) == "max_new_tokens");
  CHECK(refusal(model, inputs, {.max_length = 1}) == "max_length");
  CHECK(refusal(model, inputs, {.min_new_tokens = -1}) == "min_new_tokens");
  CHECK(refusal(model, inputs, {.eos_token_id = Ids{1 << 20}}) == "eos_token_id");
  CHECK(refusal(model, inputs, {.bad_words_ids = {{}}}) == "bad_words_ids");
  CHECK(refusal(model, inputs, {.bad_words_ids = {{-1}}}) == "bad_words_ids");
}

TEST_CASE("a callback can stop generation after any step") {
  auto model = golden::load(golden::model_names().front());
  int steps = 0;
  const auto output =
      model.generate(prompt_for(model, 1), {.max_new_tokens = 9, .eos_token_id = Ids{}}, {},
                     [&steps](auto) { return ++steps < 3; });
  CHECK(output.new_tokens[0].size() == 3);
}

TEST_CASE("faulty tensors are typed errors") {
  auto model = golden::load(golden::model_names().front());
  auto code_of = [&model](const Inputs& in) -> std::string {
    try {
      model.forward(in);
    } catch (const Error& error) {
      return std::string(error.code_name());
    }
    return "accepted";
  };
  Inputs in = prompt_for(model, 1);
  in.input_ids.as_mutable<std::int64_t>()[0] = model.config().total_vocab_size();
  CHECK(code_of(in) == "invalid_token_id");
  in.input_ids.as_mutable<std::int64_t>()[0] = -1;
  CHECK(code_of(in) == "invalid_token_id");
  in = prompt_for(model, 1);
  std::ranges::fill(in.attention_mask.as_mutable<std::int64_t>(), 0);
  CHECK(code_of(in) == "empty_prompt");
  in = prompt_for(model, 1);
  in.pixel_values = Tensor::zeros(DType::f32, {1, in.pixel_values.dim(1), 3, 8, 8});
  CHECK(code_of(in) == "shape_mismatch");
}
