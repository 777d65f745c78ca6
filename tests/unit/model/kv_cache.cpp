// Keys and values cached in bf16: the bits of an answer do not depend on how its prompt was read, what
// is reused, what shares the cache, or the CPU; and the memory that is planned is the memory in use.
#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/plan/memory_plan.hpp>

#include "support/catch.hpp"
#include "support/counting_backend.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"

using namespace idefics;

namespace {

const ModelOptions in_bf16{.kv_cache_dtype = DType::bf16};

Inputs prompt_of(const Model& model, std::int64_t tokens) {
  std::mt19937 random(5);
  auto prompt = testing::random_prompt(random, model.config(), tokens, 2);
  while (std::cmp_less(prompt.ids.size(), tokens))
    prompt = testing::random_prompt(random, model.config(), tokens, 2);
  return testing::batch_of({prompt}, model.config(), true);
}

GenerationConfig config_of(std::int64_t beams = 1) {
  GenerationConfig config{.max_new_tokens = 7, .eos_token_id = GenerationConfig::Ids{}};
  config.num_beams = beams, config.output_scores = true;
  return config;
}

bool equal(const GenerationOutput& a, const GenerationOutput& b) {
  return a.new_tokens == b.new_tokens && a.scores.bytes() == b.scores.bytes() &&
         std::memcmp(a.scores.raw(), b.scores.raw(), a.scores.bytes()) == 0;
}

/// Counts the bytes of tensors that are allocated in bf16.
class Counted final : public testing::CountingBackend {
 public:
  using CountingBackend::CountingBackend;
  std::uint64_t bf16_bytes = 0;
  Tensor empty(DType dtype, Shape shape) override {
    Tensor t = Tensor::empty(dtype, shape);
    if (dtype == DType::bf16) bf16_bytes += t.bytes();
    return t;
  }
};

}  // namespace

TEST_CASE("a bf16 cache gives one answer, however the prompt is read and whatever runs beside it") {
  for (const char* name : {"published", "odd_widths"}) {
    INFO(name);
    const Model model = golden::load(name, in_bf16), plain = golden::load(name);
    const Inputs inputs = prompt_of(model, 40);
    for (const std::int64_t beams : {1, 3}) {
      const auto expected = model.generate(inputs, config_of(beams));
      CHECK(!equal(plain.generate(inputs, config_of(beams)), expected));
      for (const Isa isa : available_isas())
        for (const std::int64_t chunk : {1, 7, 256}) {
          ModelOptions options = in_bf16;
          options.prefill_chunk = chunk, options.backend = make_cpu_backend(isa);
          CHECK(equal(golden::load(name, options).generate(inputs, config_of(beams)), expected));
        }
      ModelOptions shared = in_bf16;
      shared.shared_cache_tokens = 400;
      const Model batch = golden::load(name, shared);
      CHECK(equal(batch.generate(inputs, config_of(beams)), expected));
      CHECK(batch.batch_statistics().passes > 0);
    }
  }
}

TEST_CASE("a bf16 past is reused, cut and enlarged without a change of bits") {
  const Model model = golden::load("published", in_bf16);
  const Inputs inputs = prompt_of(model, 600);  // more rows than a past begins with
  const auto expected = model.generate(inputs, config_of());
  const auto first = [&](std::int64_t tokens) {
    const std::int64_t n = inputs.image_attention_mask.dim(2);
    return Inputs{
        inputs.input_ids.reshape({600}).slice(0, tokens).reshape({1, tokens}),
        inputs.attention_mask.reshape({600}).slice(0, tokens).reshape({1, tokens}),
        inputs.pixel_values,
        inputs.image_attention_mask.reshape({600, n}).slice(0, tokens).reshape({1, tokens, n})};
  };
  PastKeyValues past;
  (void)model.generate(first(20), config_of(), {.past_key_values = &past});
  CHECK(past.length() > 20);
  CHECK(past.rows() == 512);
  CHECK(equal(model.generate(inputs, config_of(), {.past_key_values = &past}), expected));
  CHECK(past.rows() > 600);
  CHECK(equal(model.generate(inputs, config_of(), {.past_key_values = &past}), expected));
}

TEST_CASE("the plan of a bf16 cache is half of that of f32, and what a run allocates") {
  WeightTable table;
  Config config = golden::load("published").config();
  const Idefics layers(table, config);
  const Workload work{.context = 47, .new_tokens = 7};
  const auto planned = [&] {
    return plan_memory(config, table.requests(), nullptr, {}, work).kv_cache_bytes;
  };
  const std::uint64_t in_f32 = planned();
  config.kv_cache_dtype = DType::bf16;
  CHECK(planned() * 2 == in_f32);

  const auto backend = std::make_shared<Counted>(make_cpu_backend());
  ModelOptions options = in_bf16;
  options.backend = backend;
  const Model model = golden::load("published", options);
  (void)model.generate(prompt_of(model, 40), config_of());
  CHECK(backend->bf16_bytes == planned());
}

TEST_CASE("a cache of another dtype is refused") {
  for (const DType dtype : {DType::f16, DType::i32}) {
    try {
      (void)golden::load("published", {.kv_cache_dtype = dtype});
      FAIL("loaded");
    } catch (const Error& error) {
      CHECK(error.code_name() == "invalid_option");
      CHECK(error.context().field == "kv_cache_dtype");
    }
  }
}
