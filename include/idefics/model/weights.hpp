// Weights from a checkpoint. Matrices are used in place in the mapped file if their dtype allows
// it; others are converted tensor by tensor, so that two copies of the model never coexist.
// Matrices may be stored in 4 bits or in int8, or be quantized while they are loaded.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/backend/cpu/convert.hpp>
#include <idefics/backend/cpu/quantize.hpp>
#include <idefics/io/read_ahead.hpp>
#include <idefics/model/quantization_config.hpp>
#include <idefics/model/weight_source.hpp>
#include <idefics/quant/bnb_format.hpp>
#include <idefics/quant/int8_format.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// The dtype in which a matrix is kept. f32 arithmetic reads 16-bit weights exactly, so a request
/// for f32 converts nothing: every result has the bits that a converted copy would give.
inline DType kept_dtype(DType stored, std::optional<DType> requested) {
  return !requested || *requested == DType::f32 ? stored : *requested;
}

/// The name of a tensor in the checkpoint: with "model." or, in some exports, without it.
inline std::optional<std::string> stored_name(const Checkpoint& checkpoint,
                                              const std::string& name) {
  for (const auto& candidate : {"model." + name, name})
    if (checkpoint.find(candidate) != nullptr) return candidate;
  return std::nullopt;
}

/// Whether the matrix `name` is stored in 4 bits or in int8.
inline bool is_stored_quantized(const Checkpoint& checkpoint, const std::string& name) {
  return is_bnb(checkpoint, name) || is_int8(checkpoint, name);
}

/// The name that a missing tensor should have in the files of a checkpoint.
inline std::string wanted_name(const Checkpoint& checkpoint, const std::string& name) {
  const bool prefixed = std::ranges::any_of(checkpoint.tensors(), [](const TensorInfo* tensor) {
    return tensor->name.starts_with("model.");
  });
  return prefixed && !name.starts_with("lm_head") ? "model." + name : name;
}

/// The path of the module that a weight belongs to: "model.layers.0.mlp.up_proj".
inline std::string module_path(const std::string& weight) {
  const std::string module = weight.substr(0, weight.rfind('.'));
  return module.starts_with("lm_head") ? module : "model." + module;
}

/// `stored`, rounded to `dtype` and then quantized as configured.
inline LinearWeight quantize_rounded(const Tensor& stored, DType dtype,
                                     const BitsAndBytesConfig& config) {
  if (config.load_in_8bit) return {.int8 = quantize_int8(stored, dtype)};
  return {.packed = quantize_4bit(stored, {.type = config.bnb_4bit_quant_type,
                                           .double_quant = config.bnb_4bit_use_double_quant,
                                           .dtype = dtype})};
}

}  // namespace detail

class CheckpointWeights final : public WeightSource {
 public:
  /// If `quantization` is on, weights are rounded to `dtype` (unset: f16, as in transformers) and
  /// then quantized where it says so. Weights that are stored quantized stay as they are.
  CheckpointWeights(const Checkpoint& checkpoint, Backend& backend, std::optional<DType> dtype,
                    BitsAndBytesConfig quantization = {})
      : checkpoint_(checkpoint),
        backend_(backend),
        dtype_(quantization.is_on() ? dtype.value_or(DType::f16) : dtype),
        quantization_(std::move(quantization)) {
    if (dtype_ && !is_float(*dtype_))
      fail(ErrorCode::invalid_option, "dtype must be f32, f16 or bf16", {.field = "dtype"});
  }

  Compute compute() const override { return order_of(dtype_); }
  Compute compute_4bit() const override {
    return order_of(quantization_.bnb_4bit_compute_dtype ? quantization_.bnb_4bit_compute_dtype
                                                         : dtype_);
  }

  /// Finds every tensor and checks its shape before the first weight is read. Throws what `get` and
  /// `matrix` throw. The quant states that it has to read are kept until `matrix` returns them.
  void check(const std::vector<WeightRequest>& requests) {
    std::vector<std::string> copied;
    for (const WeightRequest& request : requests) {
      if (request.role != WeightRole::matrix)
        fetch(checkpoint_, request, false);
      else if (LinearWeight weight = fetch_matrix(checkpoint_, request, false);
               weight.is_quantized())
        checked_.insert_or_assign(request.name, std::move(weight));
      if (is_copied(request)) copied.push_back(*detail::stored_name(checkpoint_, request.name));
    }
    ahead_.emplace(checkpoint_, std::move(copied));
  }

  Tensor get(const WeightRequest& request) override {
    const Tensor stored = fetch(checkpoint_, request);
    if (request.role != WeightRole::vector)
      return backend_.upload(plain(request, stored), request.name);
    reach(request);
    // norms, biases and gates are small: they keep all the bits that the file has
    const bool rounded = quantization_.is_on() && stored.dtype() != *dtype_;
    return backend_.upload(convert(rounded ? convert(stored, *dtype_) : stored, DType::f32),
                           request.name);
  }

  LinearWeight matrix(const WeightRequest& request) override {
    if (auto known = checked_.extract(request.name))
      return uploaded(std::move(known.mapped()), request.name);
    LinearWeight weight = fetch_matrix(checkpoint_, request);
    if (weight.is_quantized()) return uploaded(std::move(weight), request.name);
    if (!is_quantized(request))
      return backend_.upload_matrix({.values = plain(request, weight.values)}, request.name);
    reach(request);
    weight = detail::quantize_rounded(weight.values, *dtype_, quantization_);
    checkpoint_.release(*detail::stored_name(checkpoint_, request.name));
    return uploaded(std::move(weight), request.name);
  }

  /// The stored tensor for a request, checked against it; without its bytes if not `read`.
  static Tensor fetch(const Checkpoint& checkpoint, const WeightRequest& request,
                      bool read = true) {
    const std::string name = require_name(checkpoint, request);
    const Tensor tensor = read ? checkpoint.tensor(name) : checkpoint.outline(name);
    const std::string file = checkpoint.file_of(name).string();
    if (!is_float(tensor.dtype()))
      fail(ErrorCode::dtype_mismatch,
           "dtype " + std::string(name_of(tensor.dtype())) +
               " is not a weight dtype (f32, f16, bf16)",
           {.file = file, .tensor = name});
    // gates are published as [1]; exports differ in unit dimensions, which do not matter
    const bool fits = request.role == WeightRole::vector ? tensor.count() == request.shape.count()
                                                         : tensor.shape() == request.shape;
    if (!fits) refuse_shape(tensor.shape(), request, file, name);
    return tensor.reshape(request.shape);
  }

  /// The same for the matrix of a linear layer, which is in 4 bits if it has a quant state.
  static LinearWeight fetch_matrix(const Checkpoint& checkpoint, const WeightRequest& request,
                                   bool read = true) {
    const std::string name = require_name(checkpoint, request);
    LinearWeight weight;
    if (detail::is_bnb(checkpoint, name))
      weight.packed = detail::read_bnb(checkpoint, name);
    else if (detail::is_int8(checkpoint, name))
      weight.int8 = detail::read_int8(checkpoint, name);
    else
      return {.values = fetch(checkpoint, request, read)};
    if (weight.shape() != request.shape)
      refuse_shape(weight.shape(), request, checkpoint.file_of(name).string(), name);
    return weight;
  }

 private:
  static Compute order_of(std::optional<DType> dtype) {
    return dtype == DType::bf16 ? Compute::bf16 : Compute::f32;
  }
  static std::string require_name(const Checkpoint& checkpoint, const WeightRequest& request) {
    const auto name = detail::stored_name(checkpoint, request.name);
    if (!name)
      fail(ErrorCode::missing_tensor, "the checkpoint lacks a tensor that the model needs",
           {.file = checkpoint.directory().string(),
            .tensor = detail::wanted_name(checkpoint, request.name)});
    return *name;
  }
  [[noreturn]] static void refuse_shape(const Shape& shape, const WeightRequest& request,
                                        const std::string& file, const std::string& name) {
    fail(ErrorCode::shape_mismatch,
         "shape " + shape.to_string() + ", expected " + request.shape.to_string(),
         {.file = file, .tensor = name});
  }

  bool is_quantized(const WeightRequest& request) const {
    return request.role == WeightRole::matrix && quantization_.is_on() &&
           quantization_.quantizes(detail::module_path(request.name));
  }
  /// Whether loading copies the weight instead of using it in place.
  bool is_copied(const WeightRequest& request) const {
    const std::string name = require_name(checkpoint_, request);
    const DType stored = checkpoint_.find(name)->dtype.value_or(DType::u8);
    if (request.role == WeightRole::vector) return true;
    if (request.role == WeightRole::matrix && detail::is_stored_quantized(checkpoint_, name))
      return false;
    return is_quantized(request) || detail::kept_dtype(stored, dtype_) != stored;
  }
  void reach(const WeightRequest& request) {
    if (ahead_) ahead_->reach(*detail::stored_name(checkpoint_, request.name));
  }

  /// `stored` in the dtype in which it is kept. A converted tensor's mapped pages are released.
  Tensor plain(const WeightRequest& request, const Tensor& stored) {
    const DType kept = detail::kept_dtype(stored.dtype(), dtype_);
    if (kept == stored.dtype()) return stored;
    reach(request);
    Tensor converted = convert(stored, kept);
    checkpoint_.release(*detail::stored_name(checkpoint_, request.name));
    return converted;
  }
  LinearWeight uploaded(LinearWeight weight, const std::string& name) const {
    if (const auto threshold = quantization_.llm_int8_threshold) weight.int8.threshold = *threshold;
    return backend_.upload_matrix(std::move(weight), name);
  }

  const Checkpoint& checkpoint_;
  Backend& backend_;
  std::optional<DType> dtype_;
  BitsAndBytesConfig quantization_;
  std::map<std::string, LinearWeight> checked_;  // read by `check`, not yet returned
  std::optional<detail::ReadAhead> ahead_;       // of copied weights, after `check`
};

namespace detail {

/// Whether a checkpoint may contain this tensor although no layer requests it.
inline bool is_ignorable(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".position_ids") ||
         name.find("vision_model.post_layernorm.") != std::string_view::npos;
}

}  // namespace detail

/// Tensors that a checkpoint lacks, and those that the architecture does not have.
struct WeightReport {
  std::vector<std::string> missing, unexpected;
};

inline WeightReport compare_weights(const Checkpoint& checkpoint,
                                    const std::vector<WeightRequest>& table) {
  WeightReport report;
  std::set<std::string, std::less<>> used;
  for (const WeightRequest& request : table) {
    const auto name = detail::stored_name(checkpoint, request.name);
    if (!name) {
      report.missing.push_back(detail::wanted_name(checkpoint, request.name));
      continue;
    }
    used.insert(*name);
    if (request.role != WeightRole::matrix) continue;
    for (const std::string& companion : detail::bnb_companions(*name)) used.insert(companion);
    for (const std::string& companion : detail::int8_companions(*name)) used.insert(companion);
  }
  for (const TensorInfo* tensor : checkpoint.tensors())
    if (!used.contains(tensor->name) && !detail::is_ignorable(tensor->name))
      report.unexpected.push_back(tensor->name);
  return report;
}

}}  // namespace idefics::v0
