// Options of generation: the reference's rules of length, what ends a row, and what is refused.
#include <cmath>

#include <idefics/generation/logits/processors.hpp>
#include <idefics/generation/logits/sampler.hpp>
#include <idefics/generation/options/read_config.hpp>
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

Inputs prompt_for(const Model& model, unsigned seed, std::int64_t rows = 1) {
  std::mt19937 random(seed);
  std::vector<testing::RandomPrompt> prompts;
  for (std::int64_t i = 0; i < rows; ++i)
    prompts.push_back(testing::random_prompt(random, model.config(), 6, 1));
  return testing::batch_of(prompts, model.config(), true);
}

}  // namespace

TEST_CASE(
    "lengths: max_new_tokens wins, max_length counts the prompt, the default is 20 new tokens") {
  CHECK(detail::length_limits({.max_new_tokens = 3, .max_length = 100}, 10, {}).longest == 13);
  CHECK(detail::length_limits({.max_length = 12}, 10, {}).longest == 12);
  CHECK(detail::length_limits({}, 10, {}).longest == 30);
  CHECK(detail::length_limits({}, 10, 25).longest == 25);  // only the default is capped
  CHECK(detail::length_limits({.max_new_tokens = 30}, 10, 25).longest == 40);
  CHECK(detail::length_limits({.max_new_tokens = 9, .min_new_tokens = 4, .min_length = 99}, 10, {})
            .shortest == 14);
  const auto field = [](const GenerationConfig& config, std::optional<std::int64_t> context) {
    try {
      detail::length_limits(config, 10, context);
    } catch (const Error& error) {
      return std::string(error.code_name()) + " " + error.context().field + " " +
             std::to_string(error.context().limit.value_or(0));
    }
    return std::string("accepted");
  };
  CHECK(field({.max_length = 10}, {}) == "context_overflow max_length 10");
  CHECK(field({}, 10) == "context_overflow max_position_embeddings 10");
  CHECK(field({.max_new_tokens = 4, .force_words_ids = {{{3, 4, 5}, {6, 7}}, {{8, 9}}}}, {}) ==
        "accepted");
  CHECK(field({.max_new_tokens = 3, .force_words_ids = {{{3, 4, 5}, {6, 7}}, {{8, 9}}}}, {}) ==
        "invalid_option force_words_ids 3");
  CHECK_THROWS_AS(detail::length_limits({.max_new_tokens = 3, .min_new_tokens = 4}, 10, {}), Error);
  CHECK_THROWS_AS(detail::length_limits({.max_new_tokens = 3, .min_length = 14}, 10, {}), Error);
}

TEST_CASE("rows end at their end token and are filled with the pad id") {
  auto model = golden::load(golden::model_names().front(), {.dtype = DType::f32});
  const auto inputs = prompt_for(model, 3, 3);
  const auto free = model.generate(inputs, {.max_new_tokens = 8, .eos_token_id = Ids{}}).new_tokens;
  const std::int32_t end = free[0][2];  // an id that is chosen becomes the end token
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

TEST_CASE("min_new_tokens delays the end token") {
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
  CHECK(refusal(model, inputs, {.max_new_tokens = INT64_MAX}) == "max_new_tokens");
  CHECK(refusal(model, inputs, {.max_length = 1}) == "max_length");
  CHECK(refusal(model, inputs, {.min_new_tokens = -1}) == "min_new_tokens");
  CHECK(refusal(model, inputs, {.eos_token_id = Ids{1 << 20}}) == "eos_token_id");
  CHECK(refusal(model, inputs, {.bad_words_ids = {{}}}) == "bad_words_ids");
  CHECK(refusal(model, inputs, {.bad_words_ids = {{-1}}}) == "bad_words_ids");
}

TEST_CASE("an answer that does not fit in memory is refused by the option that set its length") {
  auto model = golden::load("published");
  const auto inputs = prompt_for(model, 1);
  constexpr std::int64_t most = 1 << 24;
  const auto refused = [&](const GenerationConfig& config) {
    try {
      model.generate(inputs, config);
    } catch (const Error& error) {
      return std::string(error.code_name()) + " " + error.context().field;
    }
    return std::string("accepted");
  };
  // 16 TiB of keys and values, of scores, of attentions
  CHECK(refused({.max_new_tokens = most, .num_beams = 512}) == "out_of_memory max_new_tokens");
  CHECK(refused({.max_length = most, .num_beams = 512}) == "out_of_memory max_length");
  CHECK(refused({.max_new_tokens = 1 << 20, .output_attentions = true}) ==
        "out_of_memory output_attentions");
  CHECK(refused({.max_new_tokens = most, .num_beams = 1 << 16}) == "out_of_memory max_new_tokens");
  CHECK(refused({.num_beams = INT64_MAX}) == "invalid_option num_beams");
  CHECK(refused({.max_new_tokens = 3}) == "accepted");
}

TEST_CASE("options that contradict each other, or themselves, are refused by name") {
  auto model = golden::load(golden::model_names().front());
  const auto inputs = prompt_for(model, 1);
  CHECK(refusal(model, inputs, {.max_new_tokens = 2, .min_new_tokens = 3}) == "min_new_tokens");
  CHECK(refusal(model, inputs, {.stop_strings = {""}}) == "stop_strings");
  CHECK(refusal(model, inputs, {.stop_strings = {"a"}}) == "stop_strings");  // without token_texts
  CHECK(refusal(model, inputs, {.num_return_sequences = 2}) == "num_return_sequences");
  CHECK(refusal(model, inputs, {.num_return_sequences = 3, .num_beams = 2}) ==
        "num_return_sequences");
  CHECK(refusal(model, inputs, {.best_of = 2}) == "best_of");
  CHECK(refusal(model, inputs, {.do_sample = true, .num_return_sequences = 3, .best_of = 2}) ==
        "best_of");
  CHECK(refusal(model, inputs, {.num_beams = 3, .num_beam_groups = 2}) == "num_beam_groups");
  CHECK(refusal(model, inputs, {.force_words_ids = {{{5}}}}) == "force_words_ids");
  CHECK(refusal(model, inputs, {.do_sample = true, .temperature = 0.0}) == "temperature");
  CHECK(refusal(model, inputs, {.do_sample = true, .top_p = 2.0}) == "top_p");
  CHECK(refusal(model, inputs, {.do_sample = true, .top_k = -1}) == "top_k");
  CHECK(refusal(model, inputs, {.repetition_penalty = std::nan("")}) == "repetition_penalty");
  CHECK(refusal(model, inputs, {.negative_prompt_ids = {{3}}}) == "negative_prompt_ids");
  CHECK(refusal(model, inputs, {.guidance_scale = 2.0, .negative_prompt_ids = {{3}, {4}}}) ==
        "negative_prompt_ids");
  CHECK(refusal(model, inputs, {.watermarking_config = WatermarkingConfig{.greenlist_ratio = 1}}) ==
        "watermarking_config");
  CHECK(refusal(model, inputs, {.prefix_allowed_tokens_fn = [](auto, auto) { return Ids{}; }}) ==
        "prefix_allowed_tokens_fn");
}

TEST_CASE("option files: unknown keys and wrong types are refused by name, null means unset") {
  const auto field_of = [](const char* text) -> std::string {
    try {
      generation_config_from_json(Json::parse(text), "file");
    } catch (const Error& error) {
      return error.context().field;
    }
    return "accepted";
  };
  CHECK(field_of(R"({"top_p": 0.5, "use_cache": false, "transformers_version": "4.57.6"})") ==
        "accepted");
  CHECK(field_of(R"({"top_q": 0.5})") == "top_q");
  CHECK(field_of(R"({"top_p": "much"})") == "top_p");
  CHECK(field_of(R"({"bad_words_ids": [3]})") == "bad_words_ids");
  CHECK(field_of(R"({"bad_words_ids": []})") == "bad_words_ids");
  CHECK(field_of(R"({"sequence_bias": [[3, 1.0]]})") == "sequence_bias");
  CHECK(field_of(R"({"early_stopping": "always"})") == "early_stopping");
  CHECK(field_of(R"({"token_healing": true})") == "token_healing");
  CHECK(field_of(R"({"logits_processor": 1})") == "logits_processor");
  CHECK(field_of(R"({"top_k": null, "force_words_ids": [[3], [[4], [5, 6]]]})") == "accepted");
  const auto read = generation_config_from_json(
      Json::parse(R"({"eos_token_id": 2, "early_stopping": "never", "temperature": 1,
                      "sequence_bias": [[[3, 4], -2.5]], "stop_strings": "end"})"),
      "file");
  CHECK(read.eos_token_id == Ids{2});
  CHECK(read.early_stopping == EarlyStopping::never);
  CHECK(read.temperature == 1.0);
  CHECK(read.sequence_bias.at(0).ids == Ids{3, 4});
  CHECK(read.stop_strings.at(0) == "end");
}

TEST_CASE("a checkpoint's own file may have unknown keys; an option file may not") {
  const testing::TempDir dir;
  const auto path =
      dir.write("generation_config.json",
                R"({"top_p": 0.5, "_from_model_config": true, "option_of_the_future": {},
                    "transformers_version": "4.99.0", "token_healing": false})");
  CHECK(read_generation_config(dir.path(), Config{}).top_p == 0.5);
  CHECK_THROWS_AS(generation_config_from_file(path), Error);
  dir.write("generation_config.json", R"({"token_healing": true})");  // known, but unsupported
  CHECK_THROWS_AS(read_generation_config(dir.path(), Config{}), Error);
  dir.write("generation_config.json", R"({"top_p": "much"})");
  CHECK_THROWS_AS(read_generation_config(dir.path(), Config{}), Error);
}

TEST_CASE("a call overrides the file, option by option") {
  const GenerationConfig file{.max_new_tokens = 5, .bad_words_ids = {{3}}, .top_p = 0.5};
  const GenerationConfig call{.max_new_tokens = 7, .top_k = 3};
  const auto merged = call.merged_over(file);
  CHECK(merged.max_new_tokens == 7);
  CHECK(merged.bad_words_ids.size() == 1);
  CHECK(merged.top_p == 0.5);
  CHECK(merged.top_k == 3);
}

TEST_CASE("remove_invalid_values makes scores finite, check_finite refuses others") {
  std::vector<float> scores{std::nanf(""), -INFINITY, INFINITY, 1.0f};
  detail::remove_invalid_values(scores);
  CHECK(detail::all_finite(scores));
  CHECK_THROWS_AS(detail::check_finite(std::vector<float>{1.0f, INFINITY}, 0, 0), Error);
}

TEST_CASE("rows end by time, by a stopping criterion, and by a stop string") {
  auto model = golden::load(golden::model_names().front());
  const auto inputs = prompt_for(model, 3);
  CHECK(model.generate(inputs, {.max_new_tokens = 9, .max_time = 0.0}).lengths.at(0) == 1);
  GenerationConfig config{.max_new_tokens = 9, .eos_token_id = Ids{}};
  config.stopping_criteria.push_back(
      [start = inputs.input_ids.dim(1)](auto so_far) { return std::ssize(so_far) == start + 4; });
  CHECK(model.generate(inputs, config).lengths.at(0) == 4);
  const auto free = model.generate(inputs, {.max_new_tokens = 9, .eos_token_id = Ids{}});
  auto texts = std::make_shared<std::vector<std::string>>(
      static_cast<std::size_t>(model.config().total_vocab_size()), ".");
  (*texts)[static_cast<std::size_t>(free.new_tokens[0][2])] = "the end, and more";
  const auto stopped = model.generate(
      inputs,
      {.max_new_tokens = 9, .stop_strings = {"end"}, .token_texts = texts, .eos_token_id = Ids{}});
  CHECK(stopped.lengths.at(0) <= 3);
  CHECK(stopped.new_tokens[0].back() == free.new_tokens[0][2]);
}

TEST_CASE("a callback can stop generation after any step") {
  auto model = golden::load(golden::model_names().front());
  int steps = 0;
  const auto output =
      model.generate(prompt_for(model, 1), {.max_new_tokens = 9, .eos_token_id = Ids{}}, {},
                     [&steps](auto) { return ++steps < 3; });
  CHECK(output.new_tokens[0].size() == 3);
}

TEST_CASE("invalid input tensors are typed errors") {
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
