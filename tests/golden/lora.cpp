// LoRA adapters against PEFT: merged into f32 weights, and next to 4-bit weights; mismatches are
// refused.
#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/io/json.hpp>
#include <idefics/lora/lora.hpp>
#include <idefics/model.hpp>
#include <idefics/model/weights.hpp>

#include "support/fault.hpp"
#include "support/golden_models.hpp"
#include "support/logits_distance.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;
using enum ErrorCode;

namespace {

const std::filesystem::path folder = std::filesystem::path(IDEFICS_GOLDEN_DIR) / "lora";
const std::filesystem::path base = golden::models_dir() / "published";

/// A copy of an adapter, for a test to damage.
struct Broken : testing::TempDir {
  Broken() {
    for (const char* name : {"adapter_config.json", "adapter_model.safetensors"})
      std::filesystem::copy_file(folder / "plain" / name, path() / name);
  }
  void config(const char* key, const Json& value) const {
    Json json = read_json_file(path() / "adapter_config.json");
    json[key] = value;
    write("adapter_config.json", json.dump());
  }
  void tensors(const std::function<void(std::vector<NamedTensor>&)>& change) const {
    const auto file = SafetensorsFile::open(folder / "plain" / "adapter_model.safetensors");
    std::vector<NamedTensor> list;
    for (const TensorInfo& info : file.tensors())
      list.push_back({info.name, file.tensor(info.name)});
    change(list);
    write_safetensors(path() / "adapter_model.safetensors", list);
  }
  void load() const { (void)Model::from_pretrained(base.string(), {.adapter = path().string()}); }
};

testing::Fault row(const char* what, ErrorCode code, void (*damage)(const Broken&),
                   const char* file, const char* tensor = "", const char* field = "") {
  return {what,
          code,
          [damage] {
            const Broken broken;
            damage(broken);
            broken.load();
          },
          file,
          tensor,
          field};
}

constexpr const char* weights = "adapter_model.safetensors";
constexpr const char* config_file = "adapter_config.json";

}  // namespace

TEST_CASE("an adapter, merged or next to 4-bit weights, gives PEFT's logits") {
  const auto recorded = SafetensorsFile::open(folder / "logits.safetensors");
  const auto passes = golden::forward_cases("published");
  const auto four_bit = std::filesystem::path(IDEFICS_GOLDEN_DIR) / "four_bit/nf4_double";
  for (const std::string name : {"plain", "patterns"})
    for (const std::string kind : {"f32", "f16", "nf4"}) {
      ModelOptions options{.adapter = (folder / name).string()};
      if (kind == "f16") options.dtype = DType::f16;
      auto model =
          Model::from_pretrained((kind == "nf4" ? four_bit : base).string(), std::move(options));
      auto without = golden::load("published");
      for (std::size_t i = 0; i < 2; ++i) {
        CAPTURE(name, kind, i);
        const Tensor logits = recorded.tensor(name + "." + kind + "." + std::to_string(i));
        const Tensor& mask = passes[i].inputs.attention_mask;
        CHECK(golden::logits_distance(model.forward(passes[i].inputs).logits, mask, logits) <=
              1e-4);
        CHECK(golden::logits_distance(without.forward(passes[i].inputs).logits, mask, logits) >
              0.1);
      }
    }
}

TEST_CASE("merged into bf16, a matrix is PEFT's but for sums halfway between two values") {
  const auto recorded = SafetensorsFile::open(folder / "logits.safetensors");
  const Checkpoint checkpoint = Checkpoint::open(base);
  auto backend = make_cpu_backend();
  for (const std::string name : {"plain", "patterns"}) {
    const auto adapter = LoraAdapter::open(folder / name);
    CheckpointWeights own(checkpoint, *backend, DType::bf16);
    AdaptedWeights weights(own, adapter, *backend, DType::bf16);
    const Tensor right = recorded.tensor(name + ".bf16.model.layers.0.self_attn.q_proj.weight");
    const Tensor ours =
        weights.matrix({"layers.0.self_attn.q_proj.weight", right.shape(), WeightRole::matrix})
            .values;
    REQUIRE(ours.dtype() == DType::bf16);
    std::int64_t others = 0;
    for (std::int64_t i = 0; i < right.count(); ++i)
      others += detail::element_as_f32(ours, i) != detail::element_as_f32(right, i) ? 1 : 0;
    CAPTURE(name);
    CHECK(others <= right.count() / 200);
    CHECK(detail::element_as_f32(right, 0) !=
          detail::element_as_f32(checkpoint.tensor("model.layers.0.self_attn."
                                                   "q_proj.weight"),
                                 0));
  }
}

TEST_CASE("unsupported kinds of adapters are refused by name") {
  const testing::Fault faults[] = {
      row(
          "another method", unsupported_adapter, [](auto& d) { d.config("peft_type", "IA3"); },
          config_file, "", "peft_type"),
      row(
          "DoRA", unsupported_adapter, [](auto& d) { d.config("use_dora", true); }, config_file, "",
          "use_dora"),
      row(
          "trained biases", unsupported_adapter, [](auto& d) { d.config("bias", "all"); },
          config_file, "", "bias"),
      row(
          "a bias in B", unsupported_adapter, [](auto& d) { d.config("lora_bias", true); },
          config_file, "", "lora_bias"),
      row(
          "an initialization that changes the model", unsupported_adapter,
          [](auto& d) { d.config("init_lora_weights", "pissa_niter_4"); }, config_file, "",
          "init_lora_weights"),
      row(
          "an expression for ranks", unsupported_adapter,
          [](auto& d) {
            d.config("rank_pattern", Json{{"(?!lm_head).*", 3}});
          },
          config_file, "", "rank_pattern"),
      row(
          "a rank of zero", invalid_config, [](auto& d) { d.config("r", 0); }, config_file, "",
          "r"),
      row(
          "a string as alpha", invalid_config, [](auto& d) { d.config("lora_alpha", "8"); },
          config_file, "", "lora_alpha"),
      row(
          "no configuration", not_a_checkpoint,
          [](auto& d) { std::filesystem::remove(d.path() / config_file); }, "*"),
      row(
          "no tensors", not_a_checkpoint,
          [](auto& d) { std::filesystem::remove(d.path() / weights); }, "*"),
  };
  for (const auto& fault : faults) testing::check(fault);
}

TEST_CASE("adapters that do not fit the model name the tensor") {
  const testing::Fault faults[] = {
      row(
          "a layer that the model lacks", adapter_mismatch,
          [](auto& d) {
            d.tensors([](auto& list) {
              for (NamedTensor& t : list)
                if (const auto at = t.name.find("layers.3."); at != std::string::npos)
                  t.name[at + 7] = '9';
            });
          },
          weights, "lora_A.weight"),
      row(
          "a layer that is not a target", adapter_mismatch,
          [](auto& d) { d.config("target_modules", Json{"q_proj"}); }, weights, "lora_A.weight"),
      row(
          "another rank", shape_mismatch, [](auto& d) { d.config("r", 5); }, weights,
          "lora_A.weight"),
      row(
          "A without B", missing_tensor,
          [](auto& d) { d.tensors([](auto& list) { list.pop_back(); }); }, weights, "*"),
      row(
          "an unexpected full tensor", adapter_mismatch,
          [](auto& d) {
            d.tensors([](auto& list) {
              list.push_back(
                  {"base_model.model.model.norm.weight", Tensor::zeros(DType::f32, {32})});
            });
          },
          weights, "norm.weight"),
      row(
          "an adapter of an embedding", unsupported_adapter,
          [](auto& d) {
            d.tensors([](auto& list) {
              list.push_back({"base_model.model.model.embed_tokens.lora_embedding_A",
                              Tensor::zeros(DType::f32, {4, 101})});
            });
          },
          weights, "lora_embedding_A"),
      row(
          "integers", dtype_mismatch,
          [](auto& d) {
            d.tensors([](auto& list) {
              list[0].tensor = Tensor::zeros(DType::i32, list[0].tensor.shape());
            });
          },
          weights, "*"),
  };
  for (const auto& fault : faults) testing::check(fault);
}
