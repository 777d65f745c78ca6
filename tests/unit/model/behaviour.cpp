// What must hold for any weights: a cached step equals the uncached pass, pictures matter, tokens
// before the first picture do not depend on it, and the cache of pictures changes no bit.
#include <cstring>

#include <idefics/generation/logits/sampler.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"

using namespace idefics;

namespace {

std::span<const float> logits_at(const ForwardOutput& output, std::int64_t row,
                                 std::int64_t column) {
  const auto width = static_cast<std::size_t>(output.logits.dim(2));
  const auto at = static_cast<std::size_t>(row * output.logits.dim(1) + column);
  return output.logits.as<float>().subspan(at * width, width);
}

/// A prompt of `tokens` tokens that see a picture from token `first` on.
testing::RandomPrompt prompt_with_picture(const Config& config, std::int64_t tokens,
                                          std::int64_t first, unsigned seed) {
  std::mt19937 random(seed);
  testing::RandomPrompt prompt;
  do prompt = testing::random_prompt(random, config, tokens, 1);
  while (std::ssize(prompt.ids) != tokens || prompt.pictures.empty());
  for (std::int64_t t = 0; t < tokens; ++t)
    prompt.seen[static_cast<std::size_t>(t)] = t >= first ? 0 : -1;
  return prompt;
}

}  // namespace

TEST_CASE("greedy decoding with a cache equals repeated uncached passes") {
  for (const auto& name : golden::model_names()) {
    INFO(name);
    auto model = golden::load(name, {.dtype = DType::f32});
    auto prompt = prompt_with_picture(model.config(), 5, 2, 7);
    GenerationConfig config{.max_new_tokens = 6, .eos_token_id = std::vector<std::int32_t>{}};
    const auto inputs = testing::batch_of({prompt}, model.config(), true);
    const auto cached = model.generate(inputs, config).new_tokens.at(0);
    for (const std::int32_t token : cached) {
      const auto again = testing::batch_of({prompt}, model.config(), true);
      const auto output = model.forward(again);
      const auto last = logits_at(output, 0, again.input_ids.dim(1) - 1);
      REQUIRE(detail::argmax(last) == token);
      prompt.ids.push_back(token);
      prompt.seen.push_back(prompt.seen.back());
    }
  }
}

TEST_CASE("swapping the picture changes the logits that see it and no others") {
  for (const auto& name : golden::model_names()) {
    INFO(name);
    auto model = golden::load(name, {.dtype = DType::f32});
    auto prompt = prompt_with_picture(model.config(), 6, 3, 11);
    const auto before = model.forward(testing::batch_of({prompt}, model.config(), true));
    for (float& pixel : prompt.pictures.at(0)) pixel = -pixel;
    const auto after = model.forward(testing::batch_of({prompt}, model.config(), true));
    for (std::int64_t t = 0; t < 6; ++t) {
      const auto a = logits_at(before, 0, t), b = logits_at(after, 0, t);
      const bool equal = std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
      CHECK(equal == (t < 3));
    }
  }
}

TEST_CASE("a text-only prompt does not depend on the pixels of a picture that no token sees") {
  auto model = golden::load(golden::model_names().front(), {.dtype = DType::f32});
  auto prompt = prompt_with_picture(model.config(), 4, 4, 3);  // no token sees it
  const auto with = model.forward(testing::batch_of({prompt}, model.config(), true));
  prompt.pictures.clear();
  const auto without = model.forward(testing::batch_of({prompt}, model.config(), true));
  REQUIRE(with.logits.bytes() == without.logits.bytes());
  CHECK(std::memcmp(with.logits.raw(), without.logits.raw(), with.logits.bytes()) == 0);
}

TEST_CASE("pictures are encoded once, by content, and evicted when there are too many") {
  const auto name = golden::model_names().front();
  auto model = golden::load(name, {.dtype = DType::f32, .image_cache_size = 2});
  const auto first = prompt_with_picture(model.config(), 4, 1, 1);
  const auto inputs = testing::batch_of({first, first}, model.config(), true);
  const auto before = model.forward(inputs);
  CHECK(model.cached_pictures() == 1);  // the same picture twice in a batch
  for (unsigned seed = 2; seed < 6; ++seed)
    model.forward(
        testing::batch_of({prompt_with_picture(model.config(), 4, 1, seed)}, model.config(), true));
  CHECK(model.cached_pictures() == 2);
  const auto after = model.forward(inputs);
  CHECK(std::memcmp(before.logits.raw(), after.logits.raw(), before.logits.bytes()) == 0);
}

TEST_CASE("a batch may have more pictures than the cache holds") {
  const auto name = golden::model_names().front();
  auto small = golden::load(name, {.dtype = DType::f32, .image_cache_size = 1});
  auto large = golden::load(name, {.dtype = DType::f32});
  std::vector<testing::RandomPrompt> rows;
  for (unsigned seed = 20; seed < 25; ++seed)
    rows.push_back(prompt_with_picture(small.config(), 4, 1, seed));
  const auto batch = testing::batch_of(rows, small.config(), true);
  const auto a = small.forward(batch), b = large.forward(batch);
  CHECK(std::memcmp(a.logits.raw(), b.logits.raw(), a.logits.bytes()) == 0);
}
