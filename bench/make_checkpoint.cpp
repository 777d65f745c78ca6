// make_checkpoint DIR [--layers N] [--vision-layers N] [--seed N] [--f32]: writes a checkpoint with
// the names and shapes of idefics-9b and random values, as two shards with an index and a
// config.json. With --f32, the same bf16 values are stored as f32, in twice the space.
//
// It is meant for timing: its answers are random. Weights are scaled by the width that they sum
// over, so that activations and logits stay finite. Tensors are written as they are generated, so
// that memory stays below 100 MB, whatever the size of the checkpoint.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <idefics/core/dtype.hpp>
#include <idefics/core/error.hpp>
#include <idefics/core/threads.hpp>

namespace {

using namespace idefics;

struct Widths {
  std::int64_t vocabulary = 32000, added = 2, hidden = 4096, mlp = 11008, heads = 32, layers = 32;
  std::int64_t interval = 4;  // decoder layers per gated cross-attention block
  std::int64_t vision = 1280, vision_mlp = 5120, vision_heads = 16, vision_layers = 32;
  std::int64_t picture = 224, patch = 14;
  std::int64_t latents = 64, depth = 6, latent_heads = 16, latent_width = 96;
};

/// One tensor, with values uniform in [center - spread, center + spread).
struct Entry {
  std::string name;
  std::vector<std::int64_t> shape;
  float center, spread;

  std::int64_t count() const {
    std::int64_t n = 1;
    for (const auto d : shape) n *= d;
    return n;
  }
};

class Model {
 public:
  explicit Model(const Widths& w) : w_(w) {
    weight("model.embed_tokens.weight", w.vocabulary, w.hidden, 1);
    weight("model.embed_tokens.additional_embedding.weight", w.added, w.hidden, 1);
    vision();
    resampler();
    for (std::int64_t i = 0; i < w.layers; ++i) decoder_layer("model.layers." + std::to_string(i));
    for (std::int64_t i = 0; i < w.layers / w.interval; ++i)
      gated_block("model.gated_cross_attn_layers." + std::to_string(i));
    norm("model.norm", w.hidden, false);
    weight("lm_head.weight", w.vocabulary, w.hidden, w.hidden);
    weight("lm_head.additional_fc.weight", w.added, w.hidden, w.hidden);
  }

  const std::vector<Entry>& entries() const { return entries_; }

 private:
  void put(std::string name, std::vector<std::int64_t> shape, float center, float spread) {
    entries_.push_back({std::move(name), std::move(shape), center, spread});
  }
  /// [rows, cols] with variance 1 / inner.
  void weight(const std::string& name, std::int64_t rows, std::int64_t cols, std::int64_t inner) {
    put(name, {rows, cols}, 0.0f, std::sqrt(3.0f / static_cast<float>(inner)));
  }
  void linear(const std::string& name, std::int64_t rows, std::int64_t cols, bool bias = false) {
    weight(name + ".weight", rows, cols, cols);
    if (bias) put(name + ".bias", {rows}, 0.0f, 0.02f);
  }
  void norm(const std::string& name, std::int64_t width, bool bias) {
    put(name + ".weight", {width}, 1.0f, 0.1f);
    if (bias) put(name + ".bias", {width}, 0.0f, 0.02f);
  }

  void vision() {
    const std::string root = "model.vision_model.", embeddings = root + "embeddings.";
    const std::int64_t d = w_.vision, across = w_.picture / w_.patch;
    put(embeddings + "class_embedding", {d}, 0.0f, 1.0f);
    put(embeddings + "patch_embedding.weight", {d, 3, w_.patch, w_.patch}, 0.0f,
        std::sqrt(3.0f / static_cast<float>(3 * w_.patch * w_.patch)));
    put(embeddings + "position_embedding.weight", {across * across + 1, d}, 0.0f, 0.5f);
    norm(root + "pre_layrnorm", d, true);
    for (std::int64_t i = 0; i < w_.vision_layers; ++i) {
      const std::string layer = root + "encoder.layers." + std::to_string(i) + ".";
      for (const char* part : {"q_proj", "k_proj", "v_proj", "out_proj"})
        linear(layer + "self_attn." + part, d, d, true);
      norm(layer + "layer_norm1", d, true);
      linear(layer + "mlp.fc1", w_.vision_mlp, d, true);
      linear(layer + "mlp.fc2", d, w_.vision_mlp, true);
      norm(layer + "layer_norm2", d, true);
    }
    norm(root + "post_layernorm", d, true);
  }

  void resampler() {
    const std::string root = "model.perceiver_resampler.";
    const std::int64_t d = w_.vision, inner = w_.latent_heads * w_.latent_width;
    put(root + "latents", {w_.latents, d}, 0.0f, 1.0f);
    for (std::int64_t i = 0; i < w_.depth; ++i) {
      const std::string block = root + "blocks." + std::to_string(i) + ".";
      norm(block + "0.context_layer_norm", d, true);
      norm(block + "0.latents_layer_norm", d, true);
      norm(block + "0.q_layer_norm", w_.latent_width, true);
      norm(block + "0.k_layer_norm", w_.latent_width, true);
      for (const char* part : {"q_proj", "k_proj", "v_proj"}) linear(block + "0." + part, inner, d);
      linear(block + "0.output_proj", d, inner);
      norm(block + "1.ln", d, true);
      linear(block + "1.fc", 4 * d, d);
      linear(block + "1.c_proj", d, 4 * d);
    }
    norm(root + "layer_norm", d, true);
  }

  void mlp(const std::string& layer) {
    linear(layer + ".mlp.gate_proj", w_.mlp, w_.hidden);
    linear(layer + ".mlp.up_proj", w_.mlp, w_.hidden);
    linear(layer + ".mlp.down_proj", w_.hidden, w_.mlp);
    norm(layer + ".input_layernorm", w_.hidden, false);
    norm(layer + ".post_attention_layernorm", w_.hidden, false);
  }
  void decoder_layer(const std::string& layer) {
    for (const char* part : {"q_proj", "k_proj", "v_proj", "o_proj"})
      linear(layer + ".self_attn." + part, w_.hidden, w_.hidden);
    mlp(layer);
  }
  void gated_block(const std::string& layer) {
    const std::string attention = layer + ".cross_attn.";
    put(layer + ".alpha_cross_attn", {1}, 0.5f, 0.25f);
    put(layer + ".alpha_dense", {1}, 0.5f, 0.25f);
    linear(attention + "q_proj", w_.hidden, w_.hidden);
    linear(attention + "k_proj", w_.hidden, w_.vision);
    linear(attention + "v_proj", w_.hidden, w_.vision);
    linear(attention + "o_proj", w_.hidden, w_.hidden);
    norm(attention + "q_layer_norm", w_.hidden / w_.heads, false);
    norm(attention + "k_layer_norm", w_.hidden / w_.heads, false);
    mlp(layer);
  }

  Widths w_;
  std::vector<Entry> entries_;
};

/// The dtype in which values are stored.
struct Storage {
  DType dtype = DType::bf16;
  std::int64_t bytes(const Entry& e) const {
    return static_cast<std::int64_t>(size_of(dtype)) * e.count();
  }
};

/// Value i of the tensor with this seed (splitmix64).
bf16_t value(const Entry& e, std::uint64_t seed, std::int64_t i) {
  std::uint64_t z = (seed << 40) + (static_cast<std::uint64_t>(i) + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return to_bf16(e.center + (static_cast<float>(z >> 40) * 0x1p-23f - 1.0f) * e.spread);
}

template <class T>
void write_values(std::ofstream& file, const Entry& e, std::uint64_t seed) {
  constexpr std::int64_t piece = std::int64_t{1} << 24;
  std::vector<T> values(static_cast<std::size_t>(std::min(piece, e.count())));
  for (std::int64_t at = 0; at < e.count(); at += piece) {
    const std::int64_t count = std::min(piece, e.count() - at);
    parallel_ranges(count, 4096, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const bf16_t rounded = value(e, seed, at + i);
        if constexpr (std::is_same_v<T, float>)
          values[static_cast<std::size_t>(i)] = to_f32(rounded);
        else
          values[static_cast<std::size_t>(i)] = rounded;
      }
    });
    file.write(reinterpret_cast<const char*>(values.data()),
               static_cast<std::streamsize>(sizeof(T)) * count);
  }
}

/// Writes entries [begin, end) as one safetensors file: header length, header, values.
void write_shard(const std::filesystem::path& path, const std::vector<Entry>& entries,
                 std::size_t begin, std::size_t end, std::uint64_t seed, Storage storage) {
  std::string header = "{\"__metadata__\":{\"format\":\"pt\"}";
  std::int64_t offset = 0;
  for (std::size_t i = begin; i < end; ++i) {
    std::string dims;
    for (const auto d : entries[i].shape)
      dims.append(dims.empty() ? "" : ",").append(std::to_string(d));
    const std::int64_t next = offset + storage.bytes(entries[i]);
    header += ",\"" + entries[i].name + "\":{\"dtype\":\"" +
              (storage.dtype == DType::f32 ? "F32" : "BF16") + "\",\"shape\":[" + dims +
              "],\"data_offsets\":[" + std::to_string(offset) + "," + std::to_string(next) + "]}";
    offset = next;
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');
  std::ofstream file(path, std::ios::binary);
  const std::uint64_t length = header.size();
  file.write(reinterpret_cast<const char*>(&length), sizeof length);
  file.write(header.data(), static_cast<std::streamsize>(header.size()));
  const auto write = storage.dtype == DType::f32 ? write_values<float> : write_values<bf16_t>;
  for (std::size_t i = begin; i < end && file; ++i) write(file, entries[i], seed * 100003 + i);
  file.close();
  if (!file) fail(ErrorCode::io_failure, "cannot write the shard", {.file = path.string()});
}

std::string shard_name(int shard) {
  return "model-0000" + std::to_string(shard) + "-of-00002.safetensors";
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  if (!file) fail(ErrorCode::io_failure, "cannot write", {.file = path.string()});
}

std::string config(const Widths& w) {
  const auto field = [](const char* name, std::int64_t value) {
    return "\"" + std::string(name) + "\": " + std::to_string(value);
  };
  std::string text = "{\n  \"architectures\": [\"IdeficsForVisionText2Text\"],\n";
  text += "  \"model_type\": \"idefics\",\n  \"torch_dtype\": \"bfloat16\",\n";
  text += "  \"alpha_initializer\": \"zeros\", \"alpha_type\": \"float\",\n";
  text += "  \"cross_layer_activation_function\": \"swiglu\", \"hidden_act\": \"silu\",\n";
  text += "  \"qk_layer_norms\": true, \"use_resampler\": true, \"tie_word_embeddings\": false,\n";
  text += "  \"rms_norm_eps\": 1e-06, \"bos_token_id\": 1, \"eos_token_id\": 2,\n";
  text += "  \"pad_token_id\": 0, \"max_position_embeddings\": 2048,\n";
  text += "  " + field("vocab_size", w.vocabulary) + ", " +
          field("additional_vocab_size", w.added) + ",\n  " + field("hidden_size", w.hidden) +
          ", " + field("intermediate_size", w.mlp) + ",\n  " +
          field("num_hidden_layers", w.layers) + ", " + field("num_attention_heads", w.heads) +
          ", " + field("cross_layer_interval", w.interval) + ",\n";
  text += "  \"vision_config\": {" + field("embed_dim", w.vision) + ", " +
          field("image_size", w.picture) + ", " + field("patch_size", w.patch) + ", " +
          field("num_hidden_layers", w.vision_layers) + ",\n    " +
          field("num_attention_heads", w.vision_heads) + ", " +
          field("intermediate_size", w.vision_mlp) + ", \"hidden_act\": \"gelu\"},\n";
  text += "  \"perceiver_config\": {" + field("resampler_n_latents", w.latents) + ", " +
          field("resampler_depth", w.depth) + ", " + field("resampler_n_heads", w.latent_heads) +
          ",\n    " + field("resampler_head_dim", w.latent_width) +
          ", \"qk_layer_norms_perceiver\": true, \"use_resampler\": true}\n}\n";
  return text;
}

void write_checkpoint(const std::filesystem::path& directory, const Widths& widths,
                      std::uint64_t seed, Storage storage) {
  const Model model(widths);
  const auto& entries = model.entries();
  std::int64_t total = 0, first = 0;
  for (const auto& e : entries) total += storage.bytes(e);
  std::size_t split = 0;
  while (split + 1 < entries.size() && first * 100 < total * 56)  // like the published shards
    first += storage.bytes(entries[split++]);
  std::filesystem::create_directories(directory);
  write_text(directory / "config.json", config(widths));
  std::string index =
      "{\"metadata\": {\"total_size\": " + std::to_string(total) + "}, \"weight_map\": {";
  for (std::size_t i = 0; i < entries.size(); ++i)
    index.append(i == 0 ? "\n  \"" : ",\n  \"")
        .append(entries[i].name)
        .append("\": \"")
        .append(shard_name(i < split ? 1 : 2))
        .append("\"");
  write_text(directory / "model.safetensors.index.json", index + "\n}}\n");
  write_shard(directory / shard_name(1), entries, 0, split, seed, storage);
  write_shard(directory / shard_name(2), entries, split, entries.size(), seed, storage);
  std::fprintf(stderr, "%zu tensors, %.2f GB\n", entries.size(), static_cast<double>(total) / 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  Widths widths;
  std::uint64_t seed = 1;
  Storage storage;
  std::filesystem::path directory;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const bool has_value = i + 1 < argc;
    if (word == "--layers" && has_value)
      widths.layers = std::strtol(argv[++i], nullptr, 10);
    else if (word == "--vision-layers" && has_value)
      widths.vision_layers = std::strtol(argv[++i], nullptr, 10);
    else if (word == "--seed" && has_value)
      seed = std::strtoull(argv[++i], nullptr, 10);
    else if (word == "--f32")
      storage.dtype = DType::f32;
    else if (directory.empty() && !word.starts_with("-"))
      directory = word;
    else
      directory.clear(), i = argc;
  }
  if (directory.empty() || widths.layers < 1 || widths.vision_layers < 1) {
    std::fprintf(
        stderr, "usage: make_checkpoint DIR [--layers N] [--vision-layers N] [--seed N] [--f32]\n");
    return 2;
  }
  try {
    write_checkpoint(directory, widths, seed, storage);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "make_checkpoint: %s\n", e.what());
    return 1;
  }
  return 0;
}
