// Models on several simulated GPUs and the CPU: the ids of the CPU alone, the memory used on each
// GPU, and the resulting device maps. As a build with CUDA, this program compiles the engine again.
#define IDEFICS_CUDA 1
#include <idefics/idefics.hpp>

#include "cuda/cuda_backend.cu"
#include "support/catch.hpp"
#include "support/cuda_on_cpu/failure_of.hpp"
#include "support/golden_models.hpp"

using namespace idefics;
using cuda_on_cpu::has;
using cuda_on_cpu::simulated;

namespace {

/// Three empty GPUs until the end of a test.
struct Gpus {
  cuda_on_cpu::Simulated before = simulated;
  Gpus() { simulated.devices = 3; }
  ~Gpus() { simulated = before; }
  std::size_t used(std::size_t gpu) const { return simulated.used[gpu]; }
};

using Modules = DeviceMap::Modules;
const Modules in_turns{
    {"", "cuda:0"},         {"vision_model", "cuda:1"}, {"model.perceiver_resampler", "cpu"},
    {"layers.1", "cuda:1"}, {"model.layers.2", "cpu"},  {"gated_cross_attn_layers.1", "cuda:1"},
    {"lm_head", "cpu"}};

/// Drops the modules that the model does not have.
Modules fitting(Modules modules, const Config& config) {
  if (!config.use_resampler) modules.erase("model.perceiver_resampler");
  if (config.tie_word_embeddings) modules.erase("lm_head");
  if (config.num_hidden_layers <= config.cross_layer_interval)
    modules.erase("gated_cross_attn_layers.1");
  return modules;
}

/// The plan that "auto" is based on.
struct Planned {
  std::uint64_t scratch = 0, modules = 0, largest = 0;
  explicit Planned(const std::string& name) {
    const auto directory = golden::models_dir() / name;
    const Config config = Config::from_file(directory / "config.json");
    const auto checkpoint = Checkpoint::open(directory);
    WeightTable table;
    const Idefics dry_run(table, config);
    const MemoryPlan plan =
        plan_memory(config, table.requests(), &checkpoint, {}, {.threads = num_threads()});
    scratch = plan.scratch_bytes;
    for (const ModuleMemory& m : plan.modules) {
      modules += m.weight_bytes + m.cache_bytes;
      largest = std::max(largest, m.weight_bytes + m.cache_bytes);
    }
  }
};

std::string fault_of(const std::string& name, ModelOptions options) {
  try {
    (void)golden::load(name, std::move(options));
  } catch (const Error& error) {
    return std::string(error.code_name()) + ": " + error.what();
  }
  return "loaded";
}

}  // namespace

TEST_CASE("two GPUs and the CPU give the CPU's greedy ids, for every recorded architecture") {
  const Gpus gpus;
  for (const auto& name : golden::model_names()) {
    INFO(name);
    const auto one = golden::forward_cases(name).front();
    auto on_cpu = golden::load(name, {.device_map = "cpu"});
    const ForwardOptions options = golden::options_for(on_cpu.config(), one.inputs);
    const GenerationConfig config{.max_new_tokens = 5};
    auto split = golden::load(name, {.device_map = fitting(in_turns, on_cpu.config())});
    REQUIRE(split.backend().name() == "cuda:0+cuda:1+cpu");
    CHECK(split.generate(one.inputs, config, options).new_tokens ==
          on_cpu.generate(one.inputs, config, options).new_tokens);
    CHECK(gpus.used(2) == 0);
  }
}

TEST_CASE("beams and 4 bits on two GPUs and the CPU give the CPU's ids") {
  const Gpus gpus;
  const auto one = golden::forward_cases("published").front();
  for (const bool four_bits : {false, true}) {
    ModelOptions options{.device_map = "cpu"};
    options.quantization_config = {.load_in_4bit = four_bits,
                                   .bnb_4bit_use_double_quant = four_bits};
    const GenerationConfig config{.max_new_tokens = 4, .num_beams = 2};
    const auto expected = golden::load("published", options).generate(one.inputs, config);
    options.device_map = in_turns;
    auto split = golden::load("published", options);
    CHECK(split.generate(one.inputs, config).new_tokens == expected.new_tokens);
  }
}

TEST_CASE("a GPU is selected by its number, and holds the whole model") {
  const Gpus gpus;
  const auto one = golden::forward_cases("published").front();
  const GenerationConfig config{.max_new_tokens = 3};
  const auto expected =
      golden::load("published", {.device_map = "cpu"}).generate(one.inputs, config).new_tokens;
  for (const std::size_t gpu : {2u, 0u}) {
    const std::string device = "cuda:" + std::to_string(gpu);
    auto model = golden::load("published", {.device_map = device});
    CHECK(model.hf_device_map() == Modules{{"", device}});
    CHECK(model.generate(one.inputs, config).new_tokens == expected);
    for (const std::size_t other : {0u, 1u, 2u})
      if (other != gpu) CHECK(gpus.used(other) == 0);
    CHECK(gpus.used(gpu) > Planned("published").modules / 2);
  }
  CHECK(gpus.used(0) == 0);
  CHECK(has(fault_of("published", {.device_map = "cuda:3"}),
            "device_unavailable: there is no NVIDIA GPU 3, counted from 0"));
}

TEST_CASE("auto uses the first GPU if everything fits, and otherwise also the next and the CPU") {
  const Gpus gpus;
  const Planned plan("published");
  CHECK(golden::load("published").hf_device_map() == Modules{{"", "cuda:0"}});

  // half of the modules fit on each of three GPUs: two are enough
  auto model =
      golden::load("published", {.max_memory = plan.scratch + plan.modules / 2 + plan.largest});
  CHECK(model.backend().name() == "cuda:0+cuda:1+cpu");
  const Modules& halves = model.hf_device_map();
  CHECK(halves.at("model.vision_model") == "cuda:0");
  CHECK(halves.at("lm_head") == "cuda:1");
  CHECK(gpus.used(2) == 0);

  // a pass goes through the devices once, and cross-attention stays with its layer
  std::string last = "cuda:0";
  for (int i = 0; i < static_cast<int>(model.config().num_hidden_layers); ++i) {
    const std::string number = std::to_string(i), device = halves.at("model.layers." + number);
    CHECK(device >= last);
    last = device;
    if (i % model.config().cross_layer_interval == 0)
      CHECK(device == halves.at("model.gated_cross_attn_layers." +
                                std::to_string(i / model.config().cross_layer_interval)));
  }
}

TEST_CASE("modules that do not fit on any GPU are on the CPU, and the ids are the CPU's") {
  const Gpus gpus;
  const Planned plan("published");
  const auto one = golden::forward_cases("published").front();
  const GenerationConfig config{.max_new_tokens = 3};
  const auto expected =
      golden::load("published", {.device_map = "cpu"}).generate(one.inputs, config).new_tokens;
  simulated.devices = 1;
  simulated.memory =
      (plan.scratch + plan.modules / 2 + plan.largest + (std::uint64_t{64} << 20)) / 15 * 16;
  auto model = golden::load("published");
  CHECK(model.backend().name() == "cuda:0+cpu");
  CHECK(model.hf_device_map().at("model.vision_model") == "cuda:0");
  CHECK(model.hf_device_map().at("lm_head") == "cpu");
  CHECK(model.generate(one.inputs, config).new_tokens == expected);
  CHECK(gpus.used(0) > 0);

  simulated.memory = gpus.before.memory;
  const std::string fault = fault_of("published", {.max_memory = plan.scratch});
  CHECK(has(fault, "out_of_memory: no device has enough memory for "));
  CHECK(has(fault, "[field: device_map]"));
}
