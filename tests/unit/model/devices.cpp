// Models split over several devices: the bits of the unsplit model on the CPU, every weight and
// cache where the map says, and no unnecessary transfers.
#include <cstring>

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/split_backend.hpp>
#include <idefics/idefics.hpp>
#include <idefics/io/checkpoint.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/own_memory.hpp"

using namespace idefics;

namespace {

/// Two devices in addition to the CPU, and the backend that splits a model over the three.
struct Machine {
  std::shared_ptr<testing::OwnMemory> first =
                                          std::make_shared<testing::OwnMemory>(make_cpu_backend()),
                                      second =
                                          std::make_shared<testing::OwnMemory>(make_cpu_backend());
  std::shared_ptr<SplitBackend> split;

  explicit Machine(SplitBackend::Map map)
      : split(std::make_shared<SplitBackend>(
            std::vector<SplitBackend::Device>{
                {"a", first}, {"b", second}, {"cpu", make_cpu_backend()}},
            std::move(map))) {}
};
constexpr std::size_t a = 0, b = 1, cpu = 2;

/// Towers and layers alternate between the devices; the longest prefix decides.
SplitBackend::Map in_turns() {
  return {{"", a},
          {"vision_model", b},
          {"perceiver_resampler", cpu},
          {"layers.1", b},
          {"layers.2", cpu},
          {"gated_cross_attn_layers.1", cpu},
          {"layers.0.mlp", b},
          {"lm_head", cpu}};
}
/// Pictures and the first layer on one device, the rest on the next, the head on the CPU.
SplitBackend::Map in_order() {
  return {{"", a},
          {"layers", b},
          {"layers.0", a},
          {"gated_cross_attn_layers", b},
          {"gated_cross_attn_layers.0", a},
          {"norm", cpu},
          {"lm_head", cpu}};
}

bool same_bits(const Tensor& x, const Tensor& y) {
  return x.shape() == y.shape() && std::memcmp(x.raw(), y.raw(), x.bytes()) == 0;
}

}  // namespace

TEST_CASE(
    "logits and latents of split models have the bits of unsplit ones in every architecture") {
  for (const auto& name : golden::model_names())
    for (const auto& map : {in_turns(), in_order()}) {
      INFO(name);
      const Machine machine(map);
      auto unsplit = golden::load(name, {.device_map = "cpu"});
      auto split = golden::load(name, {.prefill_chunk = 5, .backend = machine.split});
      for (const auto& one : golden::forward_cases(name)) {
        const ForwardOptions options = golden::options_for(unsplit.config(), one.inputs);
        const auto expected = unsplit.forward(one.inputs, options);
        const auto found = split.forward(one.inputs, options);
        CHECK(same_bits(found.logits, expected.logits));
        CHECK(same_bits(found.image_hidden_states, expected.image_hidden_states));
      }
    }
}

TEST_CASE("split models generate what unsplit ones do, in every mode and format") {
  const auto one = golden::forward_cases("published").front();
  std::vector<GenerationConfig> modes(5);
  modes[0] = {.max_new_tokens = 8};
  modes[1] = {.max_new_tokens = 6, .num_beams = 3};
  modes[2] = {.max_new_tokens = 6};
  modes[2].do_sample = true, modes[2].seed = 5;
  modes[3] = {.max_new_tokens = 4};
  modes[3].penalty_alpha = 0.6, modes[3].top_k = 4;
  modes[4] = {.max_new_tokens = 4};
  modes[4].output_attentions = true;
  for (const BitsAndBytesConfig& form :
       {BitsAndBytesConfig{}, {.load_in_4bit = true}, {.load_in_8bit = true}})
    for (const auto dtype : {DType::f32, DType::bf16}) {
      const Machine machine(in_turns());
      ModelOptions options{.dtype = dtype, .quantization_config = form, .device_map = "cpu"};
      auto unsplit = golden::load("published", options);
      options.backend = machine.split;
      auto split = golden::load("published", options);
      for (const GenerationConfig& mode : modes) {
        const auto expected = unsplit.generate(one.inputs, mode);
        const auto found = split.generate(one.inputs, mode);
        CHECK(found.new_tokens == expected.new_tokens);
        if (mode.output_attentions) {
          CHECK(same_bits(found.attentions, expected.attentions));
          CHECK(same_bits(found.cross_attentions, expected.cross_attentions));
        }
      }
    }
}

TEST_CASE("a conversation on several devices keeps its tokens when it continues from a past") {
  const auto one = golden::forward_cases("published").front();
  const Machine machine(in_turns());
  auto unsplit = golden::load("published", {.device_map = "cpu"});
  auto split = golden::load("published", {.backend = machine.split});
  const Inputs prompt = one.inputs;
  PastKeyValues past;
  for (int turn = 0; turn < 2; ++turn) {
    const auto expected = unsplit.generate(prompt, {.max_new_tokens = 5});
    CHECK(split.generate(prompt, {.max_new_tokens = 5}, {.past_key_values = &past}).new_tokens ==
          expected.new_tokens);
  }
}

TEST_CASE("each device holds its own weights and caches, and releases all of them") {
  const Machine machine(in_order());
  {
    WeightTable table;
    auto model = golden::load("published", {.backend = machine.split});
    const Idefics dry_run(table, model.config());
    std::size_t on_first = 0, on_second = 0;
    const auto checkpoint = Checkpoint::open(golden::models_dir() / "published");
    for (const WeightRequest& weight : table.requests()) {
      const auto bytes = detail::weight_bytes(&checkpoint, weight, {}).total();
      const std::string_view name = weight.name;
      const std::string_view stack = name.substr(0, name.find('.'));
      if ((stack == "layers" || stack == "gated_cross_attn_layers") &&
          !name.substr(stack.size()).starts_with(".0."))
        on_second += bytes;
      else if (!name.starts_with("norm.") && !name.starts_with("lm_head."))
        on_first += bytes;
    }
    CHECK(machine.first->used() == on_first);
    CHECK(machine.second->used() == on_second);
    CHECK(machine.first->written_bytes + machine.second->written_bytes == 0);
  }
  CHECK(machine.first->used() == 0);
  CHECK(machine.second->used() == 0);
}

TEST_CASE("a step moves only the hidden state, where the map changes devices") {
  const auto one = golden::forward_cases("no_resampler").front();
  Inputs alone = one.inputs;
  for (Tensor* t :
       {&alone.input_ids, &alone.attention_mask, &alone.pixel_values, &alone.image_attention_mask})
    *t = t->slice(0, 1);
  const Machine machine(in_order());
  auto model = golden::load("no_resampler", {.backend = machine.split});
  GenerationConfig config{.max_new_tokens = 8};
  config.min_new_tokens = 8;
  std::vector<std::uint64_t> moved;
  model.generate(alone, config, {}, [&](auto) {
    moved.push_back(machine.split->moved_bytes());
    return true;
  });
  REQUIRE(moved.size() == 8);
  const auto state = static_cast<std::uint64_t>(model.config().hidden_size) * sizeof(float);
  for (std::size_t step = 1; step < moved.size(); ++step)
    CHECK(moved[step] - moved[step - 1] == 2 * state);
}

TEST_CASE("a device map that does not fit the model or the machine is refused by name") {
  const auto fault = [](const DeviceMap& map) {
    try {
      (void)golden::load("published", {.device_map = map});
    } catch (const Error& error) {
      return std::string(error.code_name()) + " " + error.context().field;
    }
    return std::string("loaded");
  };
  CHECK(fault("cpu") == "loaded");
  CHECK(fault({{"", "cpu"}}) == "loaded");
  CHECK(fault({{"model", "cpu"}, {"lm_head", "cpu"}}) == "loaded");
  CHECK(fault({{"model.layers.0", "cpu"}, {"", "auto"}}) == "loaded");
  CHECK(fault({{"model.layers.00", "cpu"}, {"", "cpu"}}) == "invalid_option device_map");
  CHECK(fault({{"model.layers", "cpu"}, {"lm_head", "cpu"}}) == "invalid_option device_map");
  CHECK(fault("disk") == "device_unavailable device");
  CHECK(fault("cuda:") == "device_unavailable device");
  CHECK(fault("cuda:1x") == "device_unavailable device");
  CHECK(fault({{"", "cpu"}, {"lm_head", "cuda:1"}}) == "device_unavailable device");
}

TEST_CASE("a model on one device is not split") {
  const auto model = golden::load("published");
  CHECK(dynamic_cast<SplitBackend*>(&model.backend()) == nullptr);
  CHECK(model.hf_device_map().size() == 1);
}
