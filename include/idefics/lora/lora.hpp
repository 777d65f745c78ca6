// LoRA adapters as PEFT stores them: adapter_config.json, and adapter_model.safetensors with
//
//   base_model.model.PATH.lora_A.weight   [r,K]   A
//   base_model.model.PATH.lora_B.weight   [N,r]   B
//   base_model.model.PATH.weight          replacements, for modules_to_save
//
// Loading turns a plain matrix W into W + scale * B A, as PEFT's merge_and_unload does. A matrix in
// 4 bits stays as it is, and its layer adds scale * B (A x). Letters: N outputs, K inputs, r rank.
// Source: peft 0.18.0, tuners/lora/layer.py and bnb.py.
#pragma once

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/io/safetensors.hpp>
#include <idefics/io/torch_file.hpp>
#include <idefics/lora/lora_config.hpp>
#include <idefics/model/weights.hpp>

namespace idefics { inline namespace v0 {

class LoraAdapter {
 public:
  /// The addition to the matrix of one module.
  struct Addition {
    Tensor a, b;  // f32 [r,K] and [N,r]; b includes the scale
  };

  /// Reads the list of tensors, but no tensor. Throws `not_a_checkpoint`, `unsupported_adapter`,
  /// `missing_tensor`, and the errors of reading the files.
  static LoraAdapter open(const std::filesystem::path& directory, bool mmap = true) {
    if (!std::filesystem::exists(directory / "adapter_config.json"))
      fail(ErrorCode::not_a_checkpoint, "the directory has no adapter_config.json",
           {.file = directory.string()});
    LoraAdapter adapter(LoraConfig::from_file(directory / "adapter_config.json"),
                        open_weights(directory, mmap));
    adapter.sort_tensors();
    return adapter;
  }

  const LoraConfig& config() const { return config_; }

  /// Checks every tensor of the adapter against the tensors of the model. Throws `adapter_mismatch`
  /// for a module that the model lacks, `shape_mismatch` or `dtype_mismatch`.
  void check(const std::vector<WeightRequest>& table) const {
    std::map<std::string, const WeightRequest*> matrices, all;
    for (const WeightRequest& request : table) {
      all.emplace(full_name(request), &request);
      if (request.role == WeightRole::matrix)
        matrices.emplace(detail::module_path(request.name), &request);
    }
    for (const std::string& path : paths_) {
      const auto found = matrices.find(path);
      if (found == matrices.end())
        refuse(path + ".lora_A.weight", "the model has no linear layer at this path");
      if (!config_.targets(path))
        refuse(path + ".lora_A.weight", "target_modules does not name this layer");
      const std::int64_t r = config_.rank(path);
      const Shape& shape = found->second->shape;
      check_shape(path + ".lora_A.weight", {r, shape[1]});
      check_shape(path + ".lora_B.weight", {shape[0], r});
    }
    for (const std::string& name : saved_) {
      if (detail::is_ignorable(name)) continue;
      const auto found = all.find(name);
      if (found == all.end()) refuse(name, "the model has no tensor with this name");
      if (!in_saved_module(name)) refuse(name, "modules_to_save does not name this module");
      check_shape(name, found->second->shape);
    }
  }

  /// Throws `file_changed` if the file of weights was written to since it was opened.
  void check_unchanged() const { file_.check_unchanged(); }

  /// The rank of the addition to a matrix, if there is one.
  std::optional<std::int64_t> rank(const WeightRequest& request) const {
    const std::string path = detail::module_path(request.name);
    if (!std::ranges::binary_search(paths_, path)) return std::nullopt;
    return config_.rank(path);
  }
  /// Whether the adapter has a tensor that replaces the model's.
  bool replaces(const WeightRequest& request) const {
    return std::ranges::binary_search(saved_, full_name(request));
  }
  std::optional<Addition> addition(const WeightRequest& request) const {
    const std::string path = detail::module_path(request.name);
    if (!std::ranges::binary_search(paths_, path)) return std::nullopt;
    Addition found{read(path + ".lora_A.weight"), read(path + ".lora_B.weight")};
    const float scale = config_.scale(path);
    for (float& value : found.b.as_mutable<float>()) value *= scale;
    return found;
  }
  /// The tensor that replaces the model's, if the adapter has one.
  std::optional<Tensor> replacement(const WeightRequest& request) const {
    if (!replaces(request)) return std::nullopt;
    return stored(full_name(request)).reshape(request.shape);
  }

 private:
  static constexpr const char* prefix = "base_model.model.";

  LoraAdapter(LoraConfig config, TensorFile file)
      : config_(std::move(config)), file_(std::move(file)) {}

  static TensorFile open_weights(const std::filesystem::path& directory, bool mmap) {
    if (std::filesystem::exists(directory / "adapter_model.safetensors"))
      return SafetensorsFile::open(directory / "adapter_model.safetensors", mmap);
    if (std::filesystem::exists(directory / "adapter_model.bin"))
      return detail::open_torch_file(directory / "adapter_model.bin", mmap);
    fail(ErrorCode::not_a_checkpoint,
         "the directory has neither adapter_model.safetensors nor adapter_model.bin",
         {.file = directory.string()});
  }
  /// Whether the module of a tensor, or one that contains it, is trained in full.
  bool in_saved_module(std::string_view name) const {
    for (auto end = name.rfind('.'); end != std::string_view::npos && end > 0;
         end = name.rfind('.', end - 1))
      if (config_.saves(name.substr(0, end))) return true;
    return false;
  }
  static std::string full_name(const WeightRequest& request) {
    return request.name.starts_with("lm_head") ? request.name : "model." + request.name;
  }

  [[noreturn]] void refuse(const std::string& name, const std::string& why,
                           ErrorCode code = ErrorCode::adapter_mismatch) const {
    fail(code, why, {.file = file_.path().string(), .tensor = prefix + name});
  }

  /// Sorts tensors into A/B pairs and replacements by name; throws for any other kind.
  void sort_tensors() {
    for (const TensorInfo& tensor : file_.tensors()) {
      if (!tensor.name.starts_with(prefix))
        fail(ErrorCode::unsupported_adapter,
             std::string("the names of adapter tensors must begin with ") + prefix,
             {.file = file_.path().string(), .tensor = tensor.name});
      const std::string name = tensor.name.substr(std::string_view(prefix).size());
      const bool a = name.ends_with(".lora_A.weight"), b = name.ends_with(".lora_B.weight");
      if (!a && !b && name.find(".lora_") != std::string::npos)
        refuse(name, "only the matrices A and B of linear layers are supported",
               ErrorCode::unsupported_adapter);
      if (!a && !b) saved_.push_back(name);
      if (!a && !b) continue;
      const std::string path = name.substr(0, name.size() - 14);
      if (file_.find(prefix + path + (a ? ".lora_B.weight" : ".lora_A.weight")) == nullptr)
        refuse(name, "the other matrix of this pair is missing", ErrorCode::missing_tensor);
      if (a) paths_.push_back(path);
    }
    std::ranges::sort(paths_);
    std::ranges::sort(saved_);
  }

  void check_shape(const std::string& name, const Shape& shape) const {
    const Tensor tensor = file_.outline(prefix + name);
    if (!is_float(tensor.dtype()))
      refuse(name,
             "dtype " + std::string(name_of(tensor.dtype())) +
                 " is not a weight dtype (f32, f16, bf16)",
             ErrorCode::dtype_mismatch);
    // gates are published as [1]; unit dimensions do not matter
    const bool fits = shape.rank() > 1 ? tensor.shape() == shape : tensor.count() == shape.count();
    if (!fits)
      refuse(name, "shape " + tensor.shape().to_string() + ", expected " + shape.to_string(),
             ErrorCode::shape_mismatch);
  }
  Tensor stored(const std::string& name) const {
    file_.require_readable(prefix + name);
    return file_.tensor(prefix + name);
  }
  Tensor read(const std::string& name) const { return convert(stored(name), DType::f32); }

  LoraConfig config_;
  TensorFile file_;
  std::vector<std::string> paths_, saved_;  // of modules and tensors, sorted
};

namespace detail {

/// `base` [N,K] + b [N,r] a [r,K], summed in f32 and rounded once to `dtype`; `name` of the weight.
inline Tensor merged(Backend& backend, const std::string& name, const Tensor& base,
                     const LoraAdapter::Addition& addition, DType dtype) {
  constexpr std::int64_t block = 256;  // rows at a time, to keep the f32 intermediates small
  const std::int64_t n = base.dim(0), k = base.dim(1), r = addition.a.dim(0);
  const std::int64_t columns_first[] = {1, k};
  // a transposed, [K,r]
  const LinearWeight a_columns{
      .values = backend.upload(
          detail::gathered(DType::f32, {k, r}, columns_first, addition.a.raw()), name)};
  Tensor result = Tensor::empty(dtype, base.shape());
  for (std::int64_t begin = 0; begin < n; begin += block) {
    const std::int64_t end = std::min(begin + block, n);
    Tensor product = backend.empty(DType::f32, {end - begin, k});
    backend.linear(product, backend.upload(addition.b.slice(begin, end), name), a_columns, {},
                   Compute::f32);
    backend.add(product, product,
                backend.upload(convert(base.slice(begin, end), DType::f32), name));
    const Tensor rows = convert(backend.download(product), dtype);
    std::memcpy(result.raw_mutable() + static_cast<std::size_t>(begin * k) * size_of(dtype),
                rows.raw(), rows.bytes());
  }
  return result;
}

}  // namespace detail

/// A model's weights with an adapter merged into them, or attached to those that are quantized.
class AdaptedWeights final : public WeightSource {
 public:
  /// `dtype`: what the model's weights are rounded to. If unset or f32, adapted weights are f32.
  AdaptedWeights(WeightSource& source, const LoraAdapter& adapter, Backend& backend,
                 std::optional<DType> dtype)
      : source_(source), adapter_(adapter), backend_(backend), dtype_(dtype.value_or(DType::f32)) {}

  Tensor get(const WeightRequest& request) override {
    Tensor own = source_.get(request);
    const auto replacement = adapter_.replacement(request);
    if (!replacement) return own;
    const bool vector = request.role == WeightRole::vector;
    return backend_.upload(convert(*replacement, vector ? DType::f32 : dtype_), request.name);
  }
  LinearWeight matrix(const WeightRequest& request) override {
    LinearWeight weight = source_.matrix(request);
    if (const auto replacement = adapter_.replacement(request))
      return backend_.upload_matrix({.values = convert(*replacement, dtype_)}, request.name);
    if (weight.is_quantized()) return weight;
    if (const auto addition = adapter_.addition(request))
      weight = backend_.upload_matrix(
          {.values = detail::merged(backend_, request.name, backend_.download(weight.values),
                                    *addition, dtype_)},
          request.name);
    return weight;
  }
  std::shared_ptr<const LowRank> beside(const std::string& name) override {
    const auto addition = adapter_.addition({name + ".weight", {}});
    if (!addition) return nullptr;
    return std::make_shared<const LowRank>(
        LowRank{backend_.upload(addition->a, name), backend_.upload(addition->b, name)});
  }
  Compute compute() const override { return source_.compute(); }
  Compute compute_4bit() const override { return source_.compute_4bit(); }

 private:
  WeightSource& source_;
  const LoraAdapter& adapter_;
  Backend& backend_;
  DType dtype_;
};

}}  // namespace idefics::v0
