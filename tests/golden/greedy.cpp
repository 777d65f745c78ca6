// Greedy ids against transformers, prompt by prompt; a difference counts only where the reference
// was sure of its choice.
#include <cstdio>

#include <idefics/io/json.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"

using namespace idefics;

namespace {

constexpr double sure = 1e-4;  // margins below this are ties of the reference

Tensor i64(Shape shape, const std::vector<std::int64_t>& values) {
  Tensor t = Tensor::empty(DType::i64, shape);
  std::ranges::copy(values, t.as_mutable<std::int64_t>().begin());
  return t;
}

/// One recorded prompt as a batch of one.
Inputs inputs_of(const Json& prompt, const Tensor& pool) {
  const auto ids = prompt.at("input_ids").get<std::vector<std::int64_t>>();
  const auto pictures = prompt.at("images").get<std::vector<std::int64_t>>();
  const auto t = std::ssize(ids);
  const auto n = std::max<std::int64_t>(1, std::ssize(pictures));
  Tensor pixels = Tensor::zeros(DType::f32, {1, n, pool.dim(1), pool.dim(2), pool.dim(3)});
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    const Tensor one = pool.slice(pictures[i], pictures[i] + 1);
    std::memcpy(pixels.raw_mutable() + i * one.bytes(), one.raw(), one.bytes());
  }
  std::vector<std::int64_t> seen;
  for (const auto& row : prompt.at("image_attention_mask"))
    for (const auto& cell : row) seen.push_back(cell.get<std::int64_t>());
  return {i64({1, t}, ids), i64({1, t}, std::vector<std::int64_t>(ids.size(), 1)), pixels,
          i64({1, t, n}, seen)};
}

/// The first position at which the ids differ although the reference was sure of its choice, or -1.
std::int64_t first_real_difference(const Json& prompt, const std::vector<std::int32_t>& ours) {
  const auto expected = prompt.at("new_tokens").get<std::vector<std::int32_t>>();
  const auto margins = prompt.at("margins").get<std::vector<double>>();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (i < ours.size() && ours[i] == expected[i]) continue;
    // after a tie nothing is comparable
    return margins.at(i) < sure ? -1 : static_cast<std::int64_t>(i);
  }
  return -1;
}

}  // namespace

TEST_CASE("greedy ids equal transformers' on every recorded prompt") {
  std::size_t prompts = 0;
  for (const auto& name : golden::model_names()) {
    const auto directory = golden::models_dir() / name;
    if (!std::filesystem::exists(directory / "greedy.json")) continue;
    const Json recorded = read_json_file(directory / "greedy.json");
    const Tensor pool = SafetensorsFile::open(directory / "greedy_pool.safetensors").tensor("pool");
    auto model = golden::load(name, {.dtype = DType::f32});
    const Json& list = recorded.is_array() ? recorded : recorded.at("prompts");
    for (const auto& prompt : list) {
      if (!prompt.contains("input_ids")) continue;
      const auto wanted = static_cast<std::int64_t>(prompt.at("new_tokens").size());
      const auto output = model.generate(inputs_of(prompt, pool), {.max_new_tokens = wanted});
      INFO(name << " prompt " << prompts);
      CHECK(first_real_difference(prompt, output.new_tokens.at(0)) == -1);
      ++prompts;
    }
  }
  std::printf("%zu prompts compared\n", prompts);
  CHECK(prompts >= 1000);
}
