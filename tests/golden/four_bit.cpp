// 4-bit checkpoints against transformers and bitsandbytes: the stored tensors, and the logits.
#include <fstream>
#include <set>

#include <idefics/io/checkpoint.hpp>
#include <idefics/io/json.hpp>
#include <idefics/model/weights.hpp>
#include <idefics/quantize.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/hash.hpp"
#include "support/logits_distance.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

std::filesystem::path folder() { return std::filesystem::path(IDEFICS_GOLDEN_DIR) / "four_bit"; }

std::string hash_of(const Tensor& t) {
  return testing::hex64({reinterpret_cast<const char*>(t.raw()), t.bytes()});
}

struct Case {
  Inputs inputs;
  Tensor logits;
};

std::vector<Case> cases_of(const std::string& name) {
  const auto file = SafetensorsFile::open(folder() / name / "forward.safetensors");
  std::vector<Case> cases;
  for (int i = 0; i < 2; ++i) {
    const auto get = [&](const char* key) { return file.tensor(std::to_string(i) + "." + key); };
    cases.push_back({{get("input_ids"), get("attention_mask"), get("pixel_values"),
                      get("image_attention_mask")},
                     get("logits")});
  }
  return cases;
}

Model load_golden(const std::string& name, ModelOptions options = {}) {
  return Model::from_pretrained((folder() / name).string(), std::move(options));
}

}  // namespace

TEST_CASE("4-bit checkpoints saved by transformers give its logits") {
  for (const char* name : {"nf4_double", "fp4_sharded", "nf4_stored_bf16"}) {
    // the last checkpoint requests bf16 products itself
    auto model = load_golden(name, {.quantization_config = {.bnb_4bit_compute_dtype = DType::f32}});
    for (const Case& one : cases_of(name)) {
      CAPTURE(name);
      const auto output = model.forward(one.inputs);
      REQUIRE(output.logits.shape() == one.logits.shape());
      CHECK(golden::logits_distance(output.logits, one.inputs.attention_mask, one.logits) <= 1e-4);
    }
  }
}

TEST_CASE("products are in the requested dtype, else in the model's, else in the checkpoint's") {
  const Case one = cases_of("nf4_stored_bf16").front();
  const auto bits = [&one](const char* saved, std::optional<DType> dtype,
                           std::optional<DType> compute) {
    auto model = load_golden(
        saved, {.dtype = dtype, .quantization_config = {.bnb_4bit_compute_dtype = compute}});
    return hash_of(model.forward(one.inputs).logits);
  };
  const auto f32 = bits("nf4_stored_bf16", {}, DType::f32),
             bf16 = bits("nf4_stored_bf16", {}, DType::bf16);
  REQUIRE(f32 != bf16);
  CHECK(bits("nf4_stored_bf16", {}, {}) == bf16);  // from its config.json
  CHECK(bits("nf4_stored_bf16", DType::f32, {}) == f32);
  CHECK(bits("nf4_stored_bf16", DType::f32, DType::bf16) == bf16);
  CHECK(bits("nf4_stored_bf16", DType::bf16, {}) ==
        bits("nf4_stored_bf16", DType::bf16, DType::bf16));
}

TEST_CASE("quantizing on load gives the bits of the saved checkpoint") {
  const std::pair<const char*, const char*> sources[] = {{"nf4_double", "published"},
                                                         {"fp4_sharded", "interval_three"}};
  for (const auto& [saved, source] : sources) {
    const bool nf4 = std::string_view(saved) == "nf4_double";
    BitsAndBytesConfig config{.load_in_4bit = true};
    if (nf4) config.bnb_4bit_quant_type = QuantType::nf4, config.bnb_4bit_use_double_quant = true;
    for (const auto compute : {DType::f32, DType::bf16}) {
      config.bnb_4bit_compute_dtype = compute;
      auto ours = golden::load(source, {.quantization_config = config});
      auto reference = load_golden(saved, {.quantization_config = config});
      for (const Case& one : cases_of(saved)) {
        CAPTURE(saved, name_of(compute));
        CHECK(hash_of(ours.forward(one.inputs).logits) ==
              hash_of(reference.forward(one.inputs).logits));
      }
    }
  }
}

TEST_CASE(
    "the modules that are quantized are those of transformers, for every list of skipped ones") {
  const Json recorded = read_json_file(folder() / "modules.json");
  CHECK(recorded["rows"].size() == 16 * 11 - 5);
  for (const Json& row : recorded["rows"]) {
    const auto name = row[0].get<std::string>();
    BitsAndBytesConfig config{.load_in_4bit = true};
    if (!row[1].is_null()) config.llm_int8_skip_modules = row[1].get<std::vector<std::string>>();
    WeightTable table;
    const Idefics layers(table, Config::from_file(golden::models_dir() / name / "config.json"));
    std::vector<std::string> modules;
    for (const WeightRequest& request : table.requests())
      if (const auto path = detail::module_path(request.name); request.role == WeightRole::matrix &&
                                                               path != "lm_head.additional_fc" &&
                                                               config.quantizes(path))
        modules.push_back(path);
    std::ranges::sort(modules);
    std::string joined;
    for (const std::string& module : modules) joined += (joined.empty() ? "" : "\n") + module;
    CAPTURE(name, row[1].dump());
    CHECK(modules.size() == row[2].get<std::size_t>());
    CHECK(testing::hex64(joined) == row[3].get<std::string>());
  }
  CHECK_FALSE(BitsAndBytesConfig{}.quantizes("lm_head"));
  CHECK_FALSE(BitsAndBytesConfig{}.quantizes("lm_head.additional_fc"));
}

namespace {

/// The number of a checkpoint's tensors, and one hash of their names, dtypes, shapes and bytes.
std::pair<std::size_t, std::string> tensors_of(const std::filesystem::path& directory) {
  const Checkpoint checkpoint = Checkpoint::open(directory);
  std::string lines;
  std::size_t count = 0;
  for (const TensorInfo* t : checkpoint.tensors()) {  // sorted by name
    const std::string dtype = t->dtype_name == "U8"     ? "uint8"
                              : t->dtype_name == "F16"  ? "float16"
                              : t->dtype_name == "BF16" ? "bfloat16"
                                                        : "float32";
    lines += (count++ == 0 ? "" : "\n") + t->name + " " + dtype + " " +
             Shape(std::span<const std::int64_t>(t->dims)).to_string() + " " +
             hash_of(checkpoint.bytes(t->name));
  }
  return {count, testing::hex64(lines)};
}

}  // namespace

TEST_CASE("quantize writes the tensors that transformers saves, byte for byte") {
  const Json recorded = read_json_file(folder() / "tensors.json");
  CHECK(recorded["rows"].size() == 16 * 12 - 2);
  const testing::TempDir directory;
  for (const Json& row : recorded["rows"]) {
    const auto name = row[0].get<std::string>(), dtype = row[3].get<std::string>();
    QuantizeCheckpointOptions options;
    options.config.bnb_4bit_quant_type = row[1] == "nf4" ? QuantType::nf4 : QuantType::fp4;
    options.config.bnb_4bit_use_double_quant = row[2].get<bool>();
    if (dtype == "bfloat16") options.dtype = DType::bf16;
    if (dtype == "float32") options.dtype = DType::f32;
    const auto out = directory.path() / "out";
    quantize_checkpoint(golden::models_dir() / name, out, options);
    CAPTURE(name, row.dump());
    const auto [count, hash] = tensors_of(out);
    CHECK(count == row[4].get<std::size_t>());
    CHECK(hash == row[5].get<std::string>());
    std::filesystem::remove_all(out);
  }
}

TEST_CASE("a written checkpoint has the files that a model needs, and no others") {
  const testing::TempDir directory;
  const auto source = directory.path() / "source", out = directory.path() / "out";
  std::filesystem::copy(golden::models_dir() / "published", source);
  const std::set<std::string> needed{"generation_config.json",  "preprocessor_config.json",
                                     "processor_config.json",   "tokenizer.json",
                                     "tokenizer.model",         "tokenizer_config.json",
                                     "special_tokens_map.json", "added_tokens.json",
                                     "chat_template.json",      "chat_template.jinja"};
  for (const char* other : {"train.py", "notes.txt", "optimizer.ckpt", "weights.npz", "README.md",
                            ".gitattributes", "adapter_config.json", "tf_model.h5"})
    std::ofstream(source / other) << "not needed";
  for (const auto& name : needed)
    if (name != "generation_config.json") std::ofstream(source / name) << "text of " << name;
  quantize_checkpoint(source, out);
  std::set<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(out))
    found.insert(entry.path().filename().string());
  auto wanted = needed;
  wanted.insert({"config.json", "model.safetensors"});
  CHECK(found == wanted);
  CHECK(detail::read_file(out / "tokenizer.model", 100) == "text of tokenizer.model");
}

TEST_CASE("shards hold the same tensors, and a saved checkpoint loads") {
  const testing::TempDir directory;
  const auto out = directory.path() / "out";
  quantize_checkpoint(golden::models_dir() / "interval_three", out, {.max_shard_size = 20000});
  CHECK(std::filesystem::exists(out / "model.safetensors.index.json"));
  CHECK_FALSE(std::filesystem::exists(out / "model.safetensors"));
  CHECK(tensors_of(out) == tensors_of(folder() / "fp4_sharded"));
  auto ours = Model::from_pretrained(out.string());
  for (const Case& one : cases_of("fp4_sharded"))
    CHECK(golden::logits_distance(ours.forward(one.inputs).logits, one.inputs.attention_mask,
                                  one.logits) <= 1e-4);
}
