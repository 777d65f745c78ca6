// Writes a checkpoint directory in 4 bits or in int8, tensor for tensor what transformers'
// save_pretrained writes with bitsandbytes: matrices of linear layers quantized, everything else in
// the load dtype. One tensor is in memory at a time, and the directory gets its name only when it
// is complete; until then it is OUT.part, whose finished shards the next run keeps if the process
// was killed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <idefics/core/progress.hpp>
#include <idefics/model/quantization_config.hpp>

namespace idefics { inline namespace v0 {

struct QuantizeCheckpointOptions {
  BitsAndBytesConfig config{.load_in_4bit = true};
  DType dtype = DType::f16;  // weights are rounded to it, and stored in it unless quantized
  std::uint64_t max_shard_size = 5'000'000'000;
  bool mmap = true;  // as in ModelOptions
  ProgressCallback progress{};
};

/// Writes the checkpoint directory `source` quantized to `destination`, which must be empty or
/// absent, for transformers and bitsandbytes to load. Throws what loading throws,
/// `unsupported_quantization` for a source that is quantized, `io_failure`, and `cancelled`, and
/// then leaves nothing at `destination`.
IDEFICS_ENGINE_INLINE void quantize_checkpoint(const std::filesystem::path& source,
                                               const std::filesystem::path& destination,
                                               const QuantizeCheckpointOptions& options = {});

namespace detail {

/// Writes the tensors of one shard, the only one in the checkpoint directory `part`, to `out`. The
/// whole of it is written in steps (pull.hpp): `finish_quantized` then adds config.json and the index
/// of what is in the directory. Throws `missing_tensor` if the shards together lack a tensor.
IDEFICS_ENGINE_INLINE void quantize_part(const std::filesystem::path& part,
                                         const std::filesystem::path& out,
                                         const QuantizeCheckpointOptions& options);
IDEFICS_ENGINE_INLINE void finish_quantized(const std::filesystem::path& directory,
                                            const std::filesystem::path& config,
                                            const QuantizeCheckpointOptions& options);
/// "model-00001-of-00002.safetensors", or "model.safetensors" if there is one shard.
IDEFICS_ENGINE_INLINE std::string shard_name(std::size_t i, std::size_t count);
/// What of the options changes the files.
IDEFICS_ENGINE_INLINE std::string recipe_of(const QuantizeCheckpointOptions& options);

}  // namespace detail

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include <idefics/io/json.hpp>
#include <idefics/io/read_ahead.hpp>
#include <idefics/io/safetensors_writer.hpp>
#include <idefics/io/work_directory.hpp>
#include <idefics/model/config.hpp>
#include <idefics/model/idefics.hpp>
#include <idefics/model/weights.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// Sets `own` to the `quantization_config` that transformers writes into config.json. (Values in
/// braces would be copied to lists, whose destructor allocates.)
inline void set_quantization_config(Json& own, const BitsAndBytesConfig& c) {
  own = Json::object();
  own["_load_in_4bit"] = own["load_in_4bit"] = c.load_in_4bit;
  own["_load_in_8bit"] = own["load_in_8bit"] = c.load_in_8bit;
  own["bnb_4bit_compute_dtype"] =
      detail::torch_name_of(c.bnb_4bit_compute_dtype.value_or(DType::f32));
  own["bnb_4bit_quant_storage"] = "uint8";
  own["bnb_4bit_quant_type"] = name_of(c.bnb_4bit_quant_type);
  own["bnb_4bit_use_double_quant"] = c.bnb_4bit_use_double_quant;
  own["llm_int8_enable_fp32_cpu_offload"] = false;
  own["llm_int8_has_fp16_weight"] = false;
  Json& skipped = own["llm_int8_skip_modules"] = nullptr;
  if (c.llm_int8_skip_modules != BitsAndBytesConfig{}.llm_int8_skip_modules) {
    skipped = Json::array();
    for (const std::string& module : c.llm_int8_skip_modules) skipped.push_back(module);
  }
  own["llm_int8_threshold"] = static_cast<double>(c.llm_int8_threshold.value_or(6.0f));
  own["quant_method"] = "bitsandbytes";
}

/// One tensor of the source, and the tensors to write for it.
struct QuantizeTask {
  std::string stored, name;  // name in the source; name with "model."
  bool quantized = false;
  std::vector<TensorForm> forms{};  // of the tensors to write, without the JSON
  std::string json_name{};          // name of the tensor of the JSON, if in 4 bits
  std::uint64_t bytes = 0;          // of the tensors to write, or a little more
};

/// Writes all tensors of a checkpoint, or those of a shard that is a checkpoint directory of its own.
class CheckpointQuantizer {
 public:
  CheckpointQuantizer(const std::filesystem::path& source, const QuantizeCheckpointOptions& options,
                      bool whole)
      : source_(source), options_(options), checkpoint_(Checkpoint::open(source, options.mmap)) {
    validate(options.config);
    require(options.config.is_on(), "no form is selected: load_in_4bit or load_in_8bit");
    const auto file = source / "config.json";
    const JsonDocument config = read_document(file);
    if (read_quantization_config(*config, file.string()))
      fail(ErrorCode::unsupported_quantization, "the checkpoint is already quantized",
           {.file = file.string(), .field = "quantization_config"});
    if (!is_float(options.dtype))
      fail(ErrorCode::invalid_option, "dtype must be f32, f16 or bf16", {.field = "dtype"});
    plan(Config::from_json(*config, file.string()), whole);
    std::vector<std::string> names;
    for (const QuantizeTask& task : tasks_) names.push_back(task.stored);
    ahead_.emplace(checkpoint_, std::move(names));
  }

  void write(const std::filesystem::path& destination) {
    WorkDirectory directory(destination, recipe_of(options_) + source_state());
    copy_other_files(directory.path());
    const auto shards = divide_into_shards();
    for (std::size_t i = 0; i < shards.size(); ++i) {
      const std::string name = shard_name(i, shards.size());
      if (directory.has(name))
        done_ += std::ssize(shards[i]);
      else
        write_shard(directory.path() / name, shards[i]);
    }
    finish_quantized(directory.path(), source_ / "config.json", options_);
    checkpoint_.check_unchanged();
    directory.commit();
  }

  void write_part(const std::filesystem::path& out) {
    std::vector<const QuantizeTask*> all;
    for (const QuantizeTask& task : tasks_) all.push_back(&task);
    write_shard(out, all);
  }

 private:
  /// Lists every tensor that the architecture uses, and the one that it has but does not use.
  void plan(const Config& config, bool whole) {
    WeightTable table;
    const Idefics layers(table, config);
    std::set<std::string> matrices, others;
    for (const WeightRequest& request : table.requests()) {
      if (whole || stored_name(checkpoint_, request.name))
        CheckpointWeights::fetch(checkpoint_, request, false);
      const std::string name = module_path(request.name) + last_part(request.name);
      (request.role == WeightRole::matrix ? matrices : others).insert(name);
    }
    for (const TensorInfo* tensor : checkpoint_.tensors()) {
      const bool qualified =
          tensor->name.starts_with("model.") || tensor->name.starts_with("lm_head.");
      const std::string name = qualified ? tensor->name : "model." + tensor->name;
      const bool unused = name.find(".post_layernorm.") != std::string::npos;
      if (matrices.contains(name) || others.contains(name) || unused)
        add({.stored = tensor->name,
             .name = name,
             .quantized = matrices.contains(name) &&
                          options_.config.quantizes(name.substr(0, name.rfind('.')))});
    }
  }
  static std::string last_part(const std::string& name) { return name.substr(name.rfind('.')); }

  void add(QuantizeTask task) {
    const Shape shape = checkpoint_.outline(task.stored).shape();
    if (task.quantized) {
      for (const NamedTensor& part : parts_of(task.name, quantized_form(shape)))
        task.forms.push_back({part.name, part.tensor.dtype(), part.tensor.shape()});
      if (options_.config.load_in_4bit) {
        task.json_name = task.forms.back().name;
        task.forms.pop_back();
      }
    } else {
      task.forms.push_back({task.name, options_.dtype, shape});
    }
    for (const TensorForm& form : task.forms)
      task.bytes += static_cast<std::uint64_t>(form.shape.count()) * size_of(form.dtype);
    tasks_.push_back(std::move(task));
  }

  static std::vector<NamedTensor> parts_of(const std::string& name, const LinearWeight& weight) {
    return weight.int8 ? int8_tensors(name, weight.int8) : bnb_tensors(name, weight.packed);
  }

  /// What quantizing makes of a matrix of this shape, as views without data.
  LinearWeight quantized_form(const Shape& shape) const {
    const auto view = [](DType dtype, const Shape& dims) {
      static const std::byte nothing{};
      return Tensor::view_of(dtype, dims, &nothing);
    };
    if (options_.config.load_in_8bit)
      return {.int8 = {view(DType::i8, shape), view(DType::f32, {shape[0]})}};
    QuantizedTensor q{.type = options_.config.bnb_4bit_quant_type, .shape = shape};
    const bool nested = options_.config.bnb_4bit_use_double_quant;
    q.codes = view(DType::u8, {(q.count() + 1) / 2});
    q.absmax = view(nested ? DType::u8 : DType::f32, {q.blocks()});
    if (nested) {
      q.nested.absmax = view(DType::f32, {(q.blocks() + 255) / 256});
      q.nested.map = view(DType::f32, {256});
    }
    return {.packed = q};
  }

  std::vector<std::vector<const QuantizeTask*>> divide_into_shards() const {
    std::vector<std::vector<const QuantizeTask*>> shards(1);
    std::uint64_t bytes = 0;
    for (const QuantizeTask& task : tasks_) {
      if (bytes + task.bytes > options_.max_shard_size && !shards.back().empty())
        shards.emplace_back(), bytes = 0;
      shards.back().push_back(&task);
      bytes += task.bytes;
    }
    return shards;
  }

  /// Sizes and times of the files that weights come from.
  std::string source_state() const {
    JsonDocument files;
    for (const TensorInfo* tensor : checkpoint_.tensors()) {
      const auto file = checkpoint_.file_of(tensor->name);
      if (files->contains(file.string())) continue;
      const auto time = std::filesystem::last_write_time(file).time_since_epoch().count();
      Json& state = (*files)[file.string()] = Json::array();
      state.push_back(std::filesystem::file_size(file));
      state.push_back(static_cast<std::int64_t>(time));
    }
    return files->dump();
  }

  void write_shard(const std::filesystem::path& path,
                   const std::vector<const QuantizeTask*>& shard) {
    std::vector<TensorForm> forms;
    std::vector<std::string> json_names;
    for (const QuantizeTask* task : shard) {
      forms.insert(forms.end(), task->forms.begin(), task->forms.end());
      if (!task->json_name.empty()) json_names.push_back(task->json_name);
    }
    const auto hidden = path.parent_path() / ("." + path.filename().string());
    std::error_code error;
    std::filesystem::remove(hidden, error);
    SafetensorsWriter writer(hidden, std::move(forms), json_names, max_bnb_json);
    for (const QuantizeTask* task : shard) {
      ahead_->reach(task->stored);
      for (const NamedTensor& part : converted(*task)) writer.put(part);
      checkpoint_.release(task->stored);
      report(options_.progress, {"quantizing", ++done_, std::ssize(tasks_)});
    }
    writer.finish();
    std::filesystem::rename(hidden, path, error);
    if (error)
      fail(ErrorCode::io_failure, "cannot rename the file: " + error.message(),
           {.file = path.string()});
  }

  std::vector<NamedTensor> converted(const QuantizeTask& task) const {
    const Tensor stored = checkpoint_.tensor(task.stored);
    if (task.quantized)
      return parts_of(task.name, quantize_rounded(stored, options_.dtype, options_.config));
    return {
        {task.name, stored.dtype() == options_.dtype ? stored : convert(stored, options_.dtype)}};
  }

  /// Copies the files of a model other than config.json and weights, if present.
  void copy_other_files(const std::filesystem::path& to) const {
    for (const char* name :
         {"generation_config.json", "preprocessor_config.json", "processor_config.json",
          "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
          "added_tokens.json", "chat_template.json", "chat_template.jinja"}) {
      const auto from = source_ / name;
      std::error_code error;
      if (!std::filesystem::is_regular_file(from, error)) continue;
      std::filesystem::copy_file(from, to / name, std::filesystem::copy_options::overwrite_existing,
                                 error);
      if (error)
        fail(ErrorCode::io_failure, "cannot copy the file: " + error.message(),
             {.file = from.string()});
    }
  }

  std::filesystem::path source_;
  const QuantizeCheckpointOptions& options_;
  Checkpoint checkpoint_;
  std::vector<QuantizeTask> tasks_;
  std::optional<ReadAhead> ahead_;
  std::int64_t done_ = 0;
};

inline void write_json(const std::filesystem::path& path, const Json& json) {
  AtomicFile file(path);
  file.write(json.dump(2) + "\n");
  file.commit();
}

/// The index of the shards of a directory, as transformers writes it.
inline JsonDocument index_of_shards(const std::filesystem::path& directory,
                                    const std::vector<std::string>& shards,
                                    const std::vector<WeightRequest>& table) {
  JsonDocument index;
  Json& weight_map = (*index)["weight_map"] = Json::object();
  std::uint64_t bytes = 0;
  std::int64_t parameters = 0;
  for (const WeightRequest& request : table) parameters += request.shape.count();
  for (const std::string& shard : shards) {
    const TensorFile file = SafetensorsFile::open(directory / shard);
    for (const TensorInfo& tensor : file.tensors()) {
      weight_map[tensor.name] = shard;
      bytes += tensor.end - tensor.begin;
      if (tensor.name.find(".post_layernorm.") != std::string::npos)
        parameters += file.outline(tensor.name).count();
    }
  }
  Json& metadata = (*index)["metadata"] = Json::object();
  metadata["total_parameters"] = parameters;
  metadata["total_size"] = bytes;
  return index;
}

IDEFICS_ENGINE_INLINE std::string shard_name(std::size_t i, std::size_t count) {
  if (count == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, count);
  return name;
}

IDEFICS_ENGINE_INLINE std::string recipe_of(const QuantizeCheckpointOptions& options) {
  JsonDocument recipe;
  set_quantization_config((*recipe)["config"], options.config);
  (*recipe)["dtype"] = torch_name_of(options.dtype);
  (*recipe)["max_shard_size"] = options.max_shard_size;
  (*recipe)["version"] = IDEFICS_VERSION;
  return recipe->dump();
}

IDEFICS_ENGINE_INLINE void quantize_part(const std::filesystem::path& part,
                                         const std::filesystem::path& out,
                                         const QuantizeCheckpointOptions& options) {
  CheckpointQuantizer(part, options, false).write_part(out);
}

IDEFICS_ENGINE_INLINE void finish_quantized(const std::filesystem::path& directory,
                                            const std::filesystem::path& config,
                                            const QuantizeCheckpointOptions& options) {
  JsonDocument json = read_document(config);
  WeightTable table;
  const Idefics layers(table, Config::from_json(*json, config.string()));
  std::vector<std::string> shards;
  for (const std::string& name : names_in(directory))
    if (name.ends_with(".safetensors") && !name.starts_with('.')) shards.push_back(name);
  if (shards.size() > 1)
    write_json(directory / "model.safetensors.index.json",
               *index_of_shards(directory, shards, table.requests()));
  json->erase("torch_dtype");
  (*json)["dtype"] = torch_name_of(options.dtype);
  set_quantization_config((*json)["quantization_config"], options.config);
  write_json(directory / "config.json", *json);
  const Checkpoint checkpoint = Checkpoint::open(directory);
  for (const WeightRequest& request : table.requests())
    if (request.role == WeightRole::matrix)
      CheckpointWeights::fetch_matrix(checkpoint, request);
    else
      CheckpointWeights::fetch(checkpoint, request);
}

}  // namespace detail

IDEFICS_ENGINE_INLINE void quantize_checkpoint(const std::filesystem::path& source,
                                               const std::filesystem::path& destination,
                                               const QuantizeCheckpointOptions& options) {
  detail::CheckpointQuantizer(source, options, true).write(destination);
}

}}  // namespace idefics::v0

#endif
