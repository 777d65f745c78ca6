// Checkpoints with one fault each: every fault has its own error, before any weight is used. And
// generations that need more than there is.
#include <sys/stat.h>

#include <cmath>

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/io/json.hpp>
#include <idefics/model.hpp>
#include <idefics/processor.hpp>

#include "support/fault.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;
using enum ErrorCode;

namespace {

const std::filesystem::path tiny = std::filesystem::path(IDEFICS_SOURCE_DIR) / "samples/tiny";

/// A copy of the small checkpoint, for a test to damage.
struct Broken : testing::TempDir {
  Broken() {
    for (const char* name : {"config.json", "generation_config.json", "model.safetensors"})
      std::filesystem::copy_file(tiny / name, path() / name);
  }
  void without(const char* name) const { std::filesystem::remove(path() / name); }

  void config(const char* key, const Json& value) const {
    Json json = read_json_file(path() / "config.json");
    json[key] = value;
    write("config.json", json.dump());
  }
  /// Rewrites the weights after `change` has been applied to their list.
  void weights(const std::function<void(std::vector<NamedTensor>&)>& change) const {
    const auto file = SafetensorsFile::open(tiny / "model.safetensors");
    std::vector<NamedTensor> tensors;
    for (const TensorInfo& info : file.tensors())
      tensors.push_back({info.name, file.tensor(info.name)});
    change(tensors);
    write_safetensors(path() / "model.safetensors", tensors);
  }
  /// Renames the weights to 1.safetensors and writes an index with this map.
  void index(const std::string& weight_map) const {
    std::filesystem::rename(path() / "model.safetensors", path() / "1.safetensors");
    write("model.safetensors.index.json", "{\"weight_map\":{" + weight_map + "}}");
  }
  void load() const { (void)Model::from_pretrained(path().string()); }
};

Tensor& named(std::vector<NamedTensor>& tensors, const std::string& name) {
  return std::ranges::find(tensors, name, &NamedTensor::name)->tensor;
}

/// A fault that damages a fresh copy and loads it.
testing::Fault row(const char* what, ErrorCode code, void (*damage)(const Broken&),
                   const char* file, const char* tensor = "", const char* field = "",
                   bool limit = false) {
  return {what,
          code,
          [damage] {
            const Broken broken;
            damage(broken);
            broken.load();
          },
          file,
          tensor,
          field,
          limit};
}

constexpr const char* norm = "model.norm.weight";

}  // namespace

TEST_CASE("files that are missing, truncated, too long or of another kind are refused") {
  const testing::Fault faults[] = {
      row(
          "no config", not_a_checkpoint, [](auto& d) { d.without("config.json"); }, "*"),
      row(
          "no weights", not_a_checkpoint, [](auto& d) { d.without("model.safetensors"); }, "*"),
      row(
          "text instead of pickled weights", invalid_torch_file,
          [](auto& d) { d.without("model.safetensors"), d.write("pytorch_model.bin", "none"); },
          "pytorch_model.bin"),
      row(
          "a Git LFS pointer instead of weights", git_lfs_pointer,
          [](auto& d) {
            d.write("model.safetensors", "version https://git-lfs.github.com/spec/v1\n");
          },
          "model.safetensors"),
      row(
          "a Git LFS pointer instead of the config", git_lfs_pointer,
          [](auto& d) { d.write("config.json", "version https://git-lfs.github.com/spec/v1\n"); },
          "config.json"),
      row(
          "truncated weights", truncated_file,
          [](auto& d) { std::filesystem::resize_file(d.path() / "model.safetensors", 1 << 20); },
          "model.safetensors", "*", "", true),
      row(
          "a truncated header", truncated_file,
          [](auto& d) { std::filesystem::resize_file(d.path() / "model.safetensors", 100); },
          "model.safetensors", "", "", true),
      row(
          "empty weights", truncated_file, [](auto& d) { d.write("model.safetensors", ""); },
          "model.safetensors", "", "", true),
      row(
          "bytes after the weights", oversized_file,
          [](auto& d) {
            const auto file = d.path() / "model.safetensors";
            std::filesystem::resize_file(file, std::filesystem::file_size(file) + 1);
          },
          "model.safetensors", "", "", true),
      row(
          "text instead of weights", invalid_safetensors,
          [](auto& d) { d.write("model.safetensors", "no weights at all"); }, "model.safetensors",
          "", "", true),
      row(
          "a pipe instead of weights", file_not_found,
          [](auto& d) {
            d.without("model.safetensors");
            ::mkfifo((d.path() / "model.safetensors").c_str(), 0600);
          },
          "model.safetensors"),
      row(
          "a pipe instead of the config", file_not_found,
          [](auto& d) {
            d.without("config.json");
            ::mkfifo((d.path() / "config.json").c_str(), 0600);
          },
          "config.json"),
  };
  for (const auto& fault : faults) testing::check(fault);
}

TEST_CASE("shards that contradict their index are refused") {
  const testing::Fault faults[] = {
      row(
          "a missing shard", missing_shard,
          [](auto& d) { d.index(R"("model.norm.weight":"2.safetensors")"); }, ".index.json", norm),
      row(
          "a tensor in another shard", index_mismatch,
          [](auto& d) { d.index(R"("absent":"1.safetensors")"); }, ".index.json", "absent"),
      row(
          "one tensor in two shards", duplicate_key,
          [](auto& d) { d.index(R"("a":"1.safetensors","a":"2.safetensors")"); }, ".index.json", "",
          "a"),
      row(
          "a shard outside the directory", index_mismatch,
          [](auto& d) { d.index(R"("a":"../1.safetensors")"); }, ".index.json", "a"),
      row(
          "an index without a map", index_mismatch,
          [](auto& d) {
            d.without("model.safetensors");
            d.write("model.safetensors.index.json", "{}");
          },
          ".index.json", "", "weight_map"),
      row(
          "an index that is not JSON", invalid_json,
          [](auto& d) {
            d.without("model.safetensors");
            d.write("model.safetensors.index.json", "<html>");
          },
          ".index.json"),
  };
  for (const auto& fault : faults) testing::check(fault);
}

TEST_CASE("tensors that do not fit the configuration are refused") {
  const testing::Fault faults[] = {
      row(
          "absent", missing_tensor,
          [](auto& d) {
            d.weights(
                [](auto& all) { std::erase_if(all, [](auto& t) { return t.name == norm; }); });
          },
          "*", "norm.weight"),
      row(
          "another shape", shape_mismatch,
          [](auto& d) {
            d.weights([](auto& all) { named(all, norm) = Tensor::zeros(DType::f32, {7}); });
          },
          "model.safetensors", norm),
      row(
          "integers", dtype_mismatch,
          [](auto& d) {
            d.weights([](auto& all) { named(all, norm) = Tensor::zeros(DType::i32, {128}); });
          },
          "model.safetensors", norm),
      row(
          "another width than the configuration's", shape_mismatch,
          [](auto& d) { d.config("intermediate_size", 353); }, "model.safetensors", "*"),
  };
  for (const auto& fault : faults) testing::check(fault);
}

TEST_CASE("invalid configurations are refused") {
  const auto config = [](const char* what, ErrorCode code, const char* key, Json value,
                         bool limit = false) {
    const auto act = [key, value] {
      const Broken broken;
      broken.config(key, value);
      broken.load();
    };
    return testing::Fault{what, code, act, "config.json", "", key, limit};
  };
  const std::string wide(100'000, 'x');
  const testing::Fault faults[] = {
      config("another architecture", unsupported_architecture, "model_type", "llama"),
      config("no layers", invalid_config, "num_hidden_layers", 0, true),
      config("a negative number of layers", invalid_config, "num_hidden_layers", -4, true),
      config("more layers than allowed", invalid_config, "num_hidden_layers", 4097, true),
      config("a fractional number of layers", invalid_config, "num_hidden_layers", 4.0),
      config("a number above 64 bits", invalid_config, "num_hidden_layers", 1e20),
      config("a string instead of a number", invalid_config, "num_hidden_layers", "4"),
      config("heads that do not divide the width", invalid_config, "num_attention_heads", 3),
      config("an unknown activation", invalid_config, "hidden_act", wide),
      config("a negative epsilon", invalid_config, "rms_norm_eps", -1.0),
      config("an id outside the vocabulary", invalid_config, "eos_token_id", 1 << 30, true),
      config("a null among ids", invalid_config, "eos_token_id", Json::array({nullptr})),
  };
  for (const auto& fault : faults) testing::check(fault);
  testing::check(row(
      "a list instead of a configuration", invalid_config,
      [](auto& d) { d.write("config.json", "[]"); }, "config.json"));
  testing::check(row(
      "a configuration nested too deeply", invalid_json,
      [](auto& d) { d.write("config.json", std::string(1000, '[')); }, "config.json", "", "",
      true));
}

TEST_CASE("prompts and options that a model cannot process are refused") {
  auto model = Model::from_pretrained(tiny.string());
  const auto processor = Processor::from_pretrained(tiny.string());
  const Inputs prompt = processor({"a red"});
  std::string beyond;
  for (int i = 0; i < 512; ++i) beyond += "a ";
  const auto generating = [&](const char* what, ErrorCode code, const char* field,
                              GenerationConfig config, Inputs inputs, bool limit = true) {
    config.token_texts = processor.tokenizer().token_texts();
    const auto act = [&model, config, inputs] { (void)model.generate(inputs, config); };
    return testing::Fault{what, code, act, "", "", field, limit};
  };
  Inputs none = processor({"a red"});
  std::ranges::fill(none.attention_mask.as_mutable<std::int64_t>(), 0);
  const testing::Fault faults[] = {
      generating("a prompt beyond the context", context_overflow, "max_position_embeddings", {},
                 processor({beyond.c_str()})),
      generating("a length that the prompt fills", context_overflow, "max_length",
                 {.max_length = 2}, prompt),
      generating("a prompt without tokens", empty_prompt, "attention_mask", {}, none, false),
      generating("an empty stop string", invalid_option, "stop_strings", {.stop_strings = {""}},
                 prompt, false),
      generating("a phrase longer than the answer", invalid_option, "force_words_ids",
                 {.max_new_tokens = 2, .num_beams = 2, .force_words_ids = {{{3, 4, 5}}}}, prompt),
  };
  for (const auto& fault : faults) testing::check(fault);
  CHECK(model.generate(prompt, {.max_new_tokens = 512, .eos_token_id = GenerationConfig::Ids{}})
            .lengths[0] == 512);  // an answer may exceed the context, as in the reference
}

TEST_CASE("more pictures than memory allows are refused") {
  const auto processor = Processor::from_pretrained(tiny.string());
  testing::check({"pixels", out_of_memory,
                  [&] { (void)processor({"a"}, {.image_size = std::int64_t{1} << 24}); }, "", "",
                  "pixel_values", true});
  const Config config = Config::from_json(read_json_file(tiny / "config.json"), "config.json");
  ImageCache cache(make_cpu_backend(), config, 2);
  testing::check({"keys and values", out_of_memory,
                  [&] { cache.reserve(std::int64_t{1} << 34, 8); }, "", "", "pixel_values", true});
  cache.reserve(1, 8);  // a request that fits succeeds afterwards
  CHECK(cache.size() == 0);
}

TEST_CASE("weights that give NaN are an error in every mode") {
  const Broken broken;
  broken.weights([](auto& all) {
    Tensor& gain = named(all, norm);
    gain = Tensor::empty(DType::f32, gain.shape());
    std::ranges::fill(gain.template as_mutable<float>(), NAN);
  });
  auto model = Model::from_pretrained(broken.path().string());
  const Inputs prompt = Processor::from_pretrained(tiny.string())({"a red"});
  for (const GenerationConfig& config :
       {GenerationConfig{}, GenerationConfig{.do_sample = true}, GenerationConfig{.num_beams = 2},
        GenerationConfig{.num_beams = 2, .num_beam_groups = 2, .diversity_penalty = 0.5},
        GenerationConfig{.penalty_alpha = 0.5, .top_k = 2},
        GenerationConfig{.dola_layers = DolaLayers{.bucket = "low"}}})
    testing::check({"weights of NaN", non_finite_logits,
                    [&] { (void)model.generate(prompt, config); }, "", "", "logits"});
}
