// A row's logits have the same bits whatever the other rows of its batch are, however it is padded,
// and for every number of threads, chunk size of the prefill, and instruction set.
#include <cstring>
#include <map>

#include <idefics/backend/cpu/cpu_backend.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"

using namespace idefics;

namespace {

/// Logits of the tokens of one row, without padding.
std::vector<float> row_logits(const Inputs& in, const Tensor& logits, std::int64_t row) {
  const auto mask = in.attention_mask.as<std::int64_t>();
  const auto values = logits.as<float>();
  const std::int64_t t = in.input_ids.dim(1), width = logits.dim(2);
  std::vector<float> result;
  for (std::int64_t i = row * t; i < (row + 1) * t; ++i)
    if (mask[static_cast<std::size_t>(i)] != 0)
      result.insert(result.end(), values.begin() + i * width, values.begin() + (i + 1) * width);
  return result;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Models of one checkpoint that must agree: every instruction set, and several chunk sizes of the
/// prefill.
std::vector<Model> variants(const std::string& name, DType dtype) {
  std::vector<Model> models;
  for (const Isa isa : available_isas())
    for (const std::int64_t chunk : {1, 3, 256})
      models.push_back(golden::load(
          name, {.dtype = dtype, .prefill_chunk = chunk, .backend = make_cpu_backend(isa)}));
  return models;
}

void check_random_plans(const std::string& name, DType dtype, int plans, unsigned seed) {
  std::mt19937 random(seed);
  auto models = variants(name, dtype);
  auto pick = [&random](std::size_t count) {
    return std::uniform_int_distribution<std::size_t>(0, count - 1)(random);
  };
  for (int plan = 0; plan < plans; ++plan) {
    std::vector<testing::RandomPrompt> rows;
    for (std::size_t i = 0, n = 1 + pick(3); i < n; ++i)
      rows.push_back(testing::random_prompt(random, models.front().config(), 6, 2));
    set_num_threads(1);
    const std::size_t chosen = pick(rows.size());
    const Inputs alone = testing::batch_of({rows[chosen]}, models.front().config(), true);
    const auto expected = row_logits(alone, models.front().forward(alone).logits, 0);

    set_num_threads(1 + static_cast<int>(pick(3)));
    const Inputs batch = testing::batch_of(rows, models.front().config(), pick(2) == 0,
                                           static_cast<std::int64_t>(pick(4)));
    Model& model = models[pick(models.size())];
    INFO(name << " plan " << plan << " seed " << seed);
    REQUIRE(same_bits(expected, row_logits(batch, model.forward(batch).logits,
                                           static_cast<std::int64_t>(chosen))));
  }
  set_num_threads(0);
}

}  // namespace

TEST_CASE("logits are bit-identical for any batch, padding, thread count, prefill split and ISA") {
  const auto names = golden::model_names();
  constexpr int total = 1000;
  const int each = total / static_cast<int>(2 * names.size()) + 1;
  unsigned seed = 1;
  for (const auto& name : names)
    for (const DType dtype : {DType::f32, DType::bf16})
      check_random_plans(name, dtype, each, seed++);
}
