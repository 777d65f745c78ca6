// Keys and values cached in bf16 against transformers with a cache that rounds to bf16
// (make_kv_cache.py): logits, greedy and beam search.
//
// A key whose f32 value is next to the middle of two bf16 values may be rounded to either: the last
// bits of the two f32 values differ. Such a flip changes one value by one part in 256, and there are
// some thousands of values in a pass. So logits are compared on average, in units of what rounding
// itself does to them, which a wrong cache misses by far.
#include <cmath>
#include <cstdio>

#include "support/catch.hpp"
#include "support/golden_modes.hpp"

using namespace idefics;

namespace {

/// The root of the mean squared difference of two logits of tokens that are not padding.
double difference(const Inputs& in, const Tensor& a, const Tensor& b) {
  const auto mask = in.attention_mask.as<std::int64_t>();
  const auto width = static_cast<std::size_t>(a.dim(2));
  double squares = 0, n = 0;
  for (std::size_t i = 0; i < mask.size(); ++i)
    for (std::size_t j = 0; j < width && mask[i] != 0; ++j) {
      const double d = static_cast<double>(a.as<float>()[i * width + j]) -
                       static_cast<double>(b.as<float>()[i * width + j]);
      squares += d * d, n += 1;
    }
  return std::sqrt(squares / n);
}

constexpr double sure = 3e-4;  // margins below this may be decided by a flip

}  // namespace

TEST_CASE("logits over a bf16 cache equal transformers'") {
  const auto recorded = SafetensorsFile::open(std::filesystem::path(IDEFICS_GOLDEN_DIR) / "modes" /
                                              "kv_cache.safetensors");
  double squares = 0, passes = 0;
  for (const auto& name : golden::model_names()) {
    if (recorded.find(name + ".0.logits") == nullptr) continue;
    const auto model = golden::load(name, {.dtype = DType::f32, .kv_cache_dtype = DType::bf16});
    const auto cases = golden::forward_cases(name);
    for (std::size_t i = 0; i < cases.size(); ++i) {
      INFO(name << " " << i);
      const Tensor expected = recorded.tensor(name + "." + std::to_string(i) + ".logits");
      const auto logits = model.forward(cases[i].inputs).logits;
      REQUIRE(logits.shape() == expected.shape());
      const double rounding = difference(cases[i].inputs, cases[i].logits, expected);
      const double error = difference(cases[i].inputs, logits, expected) / rounding;
      CHECK(error <= 0.03);
      squares += error * error, passes += 1;
    }
  }
  const double error = std::sqrt(squares / passes);
  std::printf("%g passes, error %.4f of what rounding changes\n", passes, error);
  CHECK(error <= 0.01);
  CHECK(passes >= 16);
}

TEST_CASE("ids over a bf16 cache equal transformers', greedy and with beams") {
  std::map<std::string, Model> models;
  std::map<std::string, Tensor> pools;
  std::size_t compared = 0;
  for (const Json& one : golden::mode_cases("kv_cache.json")) {
    const auto name = one.at("model").get<std::string>();
    if (!models.contains(name)) {
      models.emplace(name,
                     golden::load(name, {.dtype = DType::f32, .kv_cache_dtype = DType::bf16}));
      pools[name] = SafetensorsFile::open(golden::models_dir() / name / "greedy_pool.safetensors")
                        .tensor("pool");
    }
    INFO(name << " " << compared);
    auto options = golden::mode_options(one);
    options.eos_token_id = GenerationConfig::Ids{};
    const auto output =
        models.at(name).generate(golden::mode_inputs(one.at("rows"), pools.at(name)), options);
    const bool same =
        output.new_tokens == one.at("new_tokens").get<std::vector<std::vector<std::int32_t>>>();
    if (one.at("margin").get<double>() < sure) continue;
    CHECK(same);
    ++compared;
  }
  std::printf("%zu batches compared\n", compared);
  CHECK(compared >= 38);
}
