// The memory plan against the tensors that are actually loaded, and the decisions that it leads to.
#include <chrono>
#include <iostream>

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/io/json.hpp>
#include <idefics/io/safetensors_writer.hpp>
#include <idefics/lora/lora.hpp>
#include <idefics/model/weights.hpp>
#include <idefics/plan/mapped_pages.hpp>
#include <idefics/plan/require_fit.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/refusal.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

/// Forwards weights and counts their bytes: those that are not views of a file were allocated.
class CountedWeights final : public WeightSource {
 public:
  explicit CountedWeights(WeightSource& source) : source_(source) {}
  WeightBytes bytes;

  Tensor get(const WeightRequest& request) override { return counted(source_.get(request)); }
  LinearWeight matrix(const WeightRequest& request) override {
    LinearWeight weight = source_.matrix(request);
    for (const Tensor& part :
         {weight.values, weight.packed.codes, weight.packed.absmax, weight.packed.nested.absmax,
          weight.packed.nested.map, weight.int8.codes, weight.int8.absmax})
      if (part) counted(part);
    bytes.parameters += weight.packed ? static_cast<std::uint64_t>(weight.packed.count()) : 0;
    bytes.parameters -= weight.packed ? parts_of(weight.packed) : 0;
    bytes.parameters -= weight.int8 ? static_cast<std::uint64_t>(weight.rows()) : 0;  // absmax
    return weight;
  }
  std::shared_ptr<const LowRank> beside(const std::string& name) override {
    auto added = source_.beside(name);
    if (added) bytes.anonymous += added->a.bytes() + added->b.bytes(), bytes.copies += 2;
    return added;
  }
  Compute compute() const override { return source_.compute(); }

 private:
  Tensor counted(Tensor t) {
    (t.writable() ? bytes.anonymous : bytes.mapped) += t.bytes();
    bytes.copies += t.writable();
    bytes.parameters += static_cast<std::uint64_t>(t.count());
    return t;
  }
  static std::uint64_t parts_of(const QuantizedTensor& q) {
    std::int64_t count = q.codes.count() + q.absmax.count();
    if (q.double_quant()) count += q.nested.absmax.count() + q.nested.map.count();
    return static_cast<std::uint64_t>(count);
  }
  WeightSource& source_;
};

std::vector<std::filesystem::path> checkpoints() {
  std::vector<std::filesystem::path> all;
  for (const std::string& name : golden::model_names()) all.push_back(golden::models_dir() / name);
  for (const char* name : {"nf4_double", "fp4_sharded", "nf4_stored_bf16"})
    all.push_back(std::filesystem::path(IDEFICS_GOLDEN_DIR) / "four_bit" / name);
  all.push_back(std::filesystem::path(IDEFICS_GOLDEN_DIR) / "int8" / "published");
  return all;
}

std::vector<WeightRequest> table_of(const Config& config) {
  WeightTable table;
  const Idefics layers(table, config);
  return table.requests();
}

MemoryPlan plan_of(const std::filesystem::path& model, const WeightOptions& options = {},
                   const Workload& work = {}) {
  const Checkpoint checkpoint = Checkpoint::open(model);
  const Config config = Config::from_file(model / "config.json");
  return plan_memory(config, table_of(config), &checkpoint, options, work);
}

/// A checkpoint with the shapes of idefics-80b in bf16: headers, followed by holes instead of data.
void write_sparse(const std::filesystem::path& directory) {
  {
    AtomicFile config(directory / "config.json");
    config.write(R"({"model_type": "idefics", "hidden_size": 8192, "intermediate_size": 22016,
      "num_hidden_layers": 80, "num_attention_heads": 64, "cross_layer_interval": 4,
      "additional_vocab_size": 2, "use_resampler": true, "qk_layer_norms": true,
      "vision_config": {"embed_dim": 1280, "num_attention_heads": 16},
      "perceiver_config": {"qk_layer_norms_perceiver": true}})");
    config.commit();
  }
  const auto table = table_of(Config::from_file(directory / "config.json"));
  std::vector<std::vector<TensorForm>> shards;
  std::vector<std::uint64_t> bytes;
  for (const WeightRequest& request : table) {
    if (shards.empty() || bytes.back() > 9'000'000'000) shards.emplace_back(), bytes.push_back(0);
    const bool head = request.name.starts_with("lm_head.");
    shards.back().push_back({(head ? "" : "model.") + request.name, DType::bf16, request.shape});
    bytes.back() += 2 * static_cast<std::uint64_t>(request.shape.count());
  }
  Json map = Json::object();
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = "model-" + std::to_string(i) + ".safetensors";
    for (const TensorForm& form : shards[i]) map[form.name] = name;
    SafetensorsWriter(directory / name, shards[i], {}, 0).finish();
    const auto header = std::filesystem::file_size(directory / name);
    std::filesystem::resize_file(directory / name, header + bytes[i]);
  }
  AtomicFile index(directory / "model.safetensors.index.json");
  index.write(Json{{"weight_map", map}}.dump());
  index.commit();
}

std::string message_of(const std::filesystem::path& model, ModelOptions options) {
  try {
    (void)Model::from_pretrained(model.string(), std::move(options));
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::out_of_memory);
    CHECK(error.context().actual > error.context().limit);
    return error.what();
  }
  return "";
}

bool says(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("planned weights are the bytes that loading maps and allocates, in every form") {
  auto backend = make_cpu_backend();
  for (const auto& path : checkpoints()) {
    const Checkpoint checkpoint = Checkpoint::open(path);
    const Config config = Config::from_file(path / "config.json");
    std::vector<NamedWeightOptions> forms = weight_forms();
    for (const auto& form : weight_forms(DType::bf16)) forms.push_back(form);
    forms.push_back({"as stored"});
    for (const NamedWeightOptions& form : forms) {
      CAPTURE(path.string(), form.name);
      CheckpointWeights weights(checkpoint, *backend, form.options.dtype,
                                form.options.quantization_config);
      CountedWeights counted(weights);
      const Idefics model(counted, config);
      const WeightBytes planned = plan_of(path, form.options).weights();
      CHECK(planned.mapped == counted.bytes.mapped);
      CHECK(planned.anonymous == counted.bytes.anonymous);
      CHECK(planned.copies == counted.bytes.copies);
      CHECK(planned.parameters == counted.bytes.parameters);
    }
  }
}

TEST_CASE("planned weights with an adapter are the bytes that loading maps and allocates") {
  auto backend = make_cpu_backend();
  const auto data = std::filesystem::path(IDEFICS_GOLDEN_DIR);
  std::vector<NamedWeightOptions> forms = weight_forms(DType::bf16);
  forms.push_back({"as stored"});
  for (const auto& path :
       {data / "models/published", data / "four_bit/nf4_double", data / "int8/published"})
    for (const char* name : {"plain", "patterns"})
      for (NamedWeightOptions& form : forms) {
        CAPTURE(path.string(), name, form.name);
        const Checkpoint checkpoint = Checkpoint::open(path);
        const Config config = Config::from_file(path / "config.json");
        const auto adapter = LoraAdapter::open(data / "lora" / name);
        form.options.adapter = &adapter;
        CheckpointWeights weights(checkpoint, *backend, form.options.dtype,
                                  form.options.quantization_config);
        AdaptedWeights adapted(weights, adapter, *backend, form.options.dtype);
        CountedWeights counted(adapted);
        const Idefics model(counted, config);
        const WeightBytes planned = plan_of(path, form.options).weights();
        CHECK(planned.mapped == counted.bytes.mapped);
        CHECK(planned.anonymous == counted.bytes.anonymous);
        CHECK(planned.copies == counted.bytes.copies);
      }
}

TEST_CASE("the modules of a plan add up to its components and caches") {
  const auto path = golden::models_dir() / "interval_three";
  const MemoryPlan plan = plan_of(path, {}, {.context = 7, .batch = 2, .beams = 3, .pictures = 2});
  std::uint64_t weights = 0, caches = 0;
  for (const ModuleMemory& module : plan.modules)
    weights += module.weight_bytes, caches += module.cache_bytes;
  CHECK(weights == plan.weights().total());
  CHECK(caches == plan.kv_cache_bytes + plan.image_cache_bytes);
  const Config c = Config::from_file(path / "config.json");
  CHECK(std::ssize(plan.modules) == c.num_hidden_layers + (c.use_resampler ? 5 : 4));
}

TEST_CASE("pages around mapped weights count where weights touch their window") {
  const auto tiny = std::filesystem::path(IDEFICS_SOURCE_DIR) / "samples/tiny";
  // no byte of the file is further than a window from the weights
  const MemoryPlan stored = plan_of(tiny);
  CHECK(stored.weights().mapped + stored.beside_bytes ==
        std::filesystem::file_size(tiny / "model.safetensors"));
  CHECK(stored.mapped_bytes() ==
        stored.weights().mapped - stored.unread_bytes + stored.beside_bytes);
  CHECK(plan_of(tiny, {.dtype = DType::f16}).beside_bytes == 0);  // all weights were converted
}

TEST_CASE("80 billion parameters are planned from their headers, and refused") {
  const testing::TempDir directory;
  write_sparse(directory.path());
  const auto begin = std::chrono::steady_clock::now();
  const MemoryPlan plan = plan_of(directory.path());
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  std::cout << "planned 80 billion parameters in " << took.count() << " ms\n";
  CHECK(plan.weights().parameters > 79'000'000'000);
  CHECK(plan.weights().parameters < 81'000'000'000);
  CHECK(plan.weights().mapped > 158'000'000'000);
  const auto gib = [](std::uint64_t n) { return n << 30; };
  const auto plain = message_of(directory.path(), {.max_memory = gib(64)});
  CHECK(says(plain, "with load_in_4bit nf4 it fits"));
  CHECK(says(plain, "GiB mapped from the file"));
  CHECK(says(message_of(directory.path(), {.max_memory = gib(44)}),
             "with load_in_4bit nf4 and double_quant it fits"));
  CHECK(says(message_of(directory.path(), {.max_memory = gib(24)}), "no dtype"));

  // shared by ranks, of which each has its rows of the matrices and its heads
  const Workload four{.ranks = 4}, two{.ranks = 2};
  const MemoryPlan quarter = plan_of(directory.path(), {}, four);
  CHECK(quarter.weights().total() <= plan.weights().total() / 4 * 105 / 100);
  CHECK(quarter.kv_cache_bytes == plan.kv_cache_bytes / 4);
  CHECK(quarter.total_bytes() < 64'000'000'000);
  WeightOptions nf4{.dtype = DType::bf16};
  nf4.quantization_config = {.load_in_4bit = true, .bnb_4bit_use_double_quant = true};
  nf4.quantization_config.bnb_4bit_quant_type = QuantType::nf4;
  CHECK(plan_of(directory.path(), nf4, two).total_bytes() < 24'000'000'000);
}

TEST_CASE("columns are shared in whole units, and every rank has some if there are enough") {
  const Sharding heads{4096, 128};
  for (const std::int64_t ranks : {1, 3, 7, 32, 40}) {
    std::int64_t sum = 0;
    for (std::int64_t r = 0; r < ranks; ++r) {
      CHECK(heads.begin(r, ranks) % 128 == 0);
      sum += heads.begin(r + 1, ranks) - heads.begin(r, ranks);
      if (ranks <= 32) CHECK(heads.begin(r + 1, ranks) > heads.begin(r, ranks));
    }
    CHECK(sum == 4096);
    CHECK(heads.most(ranks) == (32 + ranks - 1) / ranks * 128);
  }
  CHECK(Sharding{35, 16}.begin(2, 2) == 35);
  CHECK(Sharding{35, 16}.most(2) == 19);
}

TEST_CASE("a load that cannot fit is refused with the smallest change that would fit") {
  const auto path = golden::models_dir() / "published";
  const Workload usual{.threads = num_threads()};
  const std::uint64_t needed = plan_of(path, {}, usual).total_bytes();
  CHECK(says(message_of(path, {.max_memory = needed - 1}), "with dtype bf16 it fits"));
  CHECK(message_of(path, {.max_memory = needed}).empty());
  const auto tiny = std::filesystem::path(IDEFICS_SOURCE_DIR) / "samples/tiny";
  const auto forms = weight_forms();
  const std::uint64_t nf4 = plan_of(tiny, forms[6].options, usual).total_bytes();
  CHECK(says(message_of(tiny, {.max_memory = nf4}), "with load_in_4bit nf4 it fits"));
  // in a small model the table of double quantization may be larger than what it saves
  const std::uint64_t nested = plan_of(tiny, forms[7].options, usual).total_bytes();
  CHECK(says(message_of(tiny, {.max_memory = std::min(nf4, nested) - 1}), "no dtype"));
}

TEST_CASE(
    "modules are placed on the first device that can hold them, and never on an earlier one") {
  const std::vector<ModuleMemory> modules{
      {"vision_model", 3, 0}, {"embed_tokens", 2, 0}, {"layers.0", 4, 2}, {"layers.1", 1, 0}};
  using Map = std::vector<std::size_t>;
  const auto map = [&](std::vector<DeviceMemory> devices, std::uint64_t scratch) {
    return auto_device_map(modules, devices, scratch);
  };
  CHECK(map({{"cpu", 12}}, 0) == Map{0, 0, 0, 0});
  CHECK(map({{"cuda:0", 100}, {"cpu", 0}}, 9) == Map{0, 0, 0, 0});
  CHECK(map({{"cuda:0", 6}, {"cpu", 8}}, 1) == Map{0, 0, 1, 1});  // layers.1 would fit on cuda:0
  CHECK(map({{"cuda:0", 4}, {"cuda:1", 5}, {"cpu", 9}}, 1) == Map{0, 1, 2, 2});
  CHECK(map({{"cuda:0", 0}, {"cpu", 12}}, 0) == Map{1, 1, 1, 1});
  for (const auto& devices : {std::vector<DeviceMemory>{{"cpu", 10}}, {}}) try {
      (void)map(devices, 0);
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::out_of_memory);
    }
}
