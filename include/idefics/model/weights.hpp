// Weights from a checkpoint. Matrices stay where they lie in the mapping when the dtype allows it;
// what must be converted is converted tensor by tensor, so source and result of the model never
// coexist. Matrices may lie in 4 bits in the file, or be put into 4 bits on the way.
#pragma once

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

namespace idefics { inline namespace v0 {

namespace detail {

/// The dtype in which a matrix is kept. f32 arithmetic reads 16-bit weights exactly, so asking for
/// f32 converts nothing: the bits of every result are those of a converted copy.
inline DType kept_dtype(DType stored, std::optional<DType> asked) {
  return !asked || *asked == DType::f32 ? stored : *asked;
}

/// The name under which a checkpoint holds a tensor: with "model." or, in some exports, without it.
inline std::optional<std::string> stored_name(const Checkpoint& checkpoint,
                                              const std::string& name) {
  for (const auto& candidate : {"model." + name, name})
    if (checkpoint.find(candidate) != nullptr) return candidate;
  return std::nullopt;
}

/// The path of the module that holds a weight: "model.layers.0.mlp.up_proj".
inline std::string module_path(const std::string& weight) {
  const std::string module = weight.substr(0, weight.rfind('.'));
  return module.starts_with("lm_head") ? module : "model." + module;
}

/// `stored` in 4 bits, after its values were rounded to `dtype`.
inline QuantizedTensor quantize_rounded(const Tensor& stored, DType dtype,
                                        const BitsAndBytesConfig& config) {
  return quantize_4bit(stored, {.type = config.bnb_4bit_quant_type,
                                .double_quant = config.bnb_4bit_use_double_quant,
                                .dtype = dtype});
}

}  // namespace detail

class CheckpointWeights final : public WeightSource {
 public:
  /// With `quantization.load_in_4bit` everything is rounded to `dtype` (unset: f16, as in
  /// transformers), and what it names is then quantized. Weights that the checkpoint holds in 4 bits
  /// stay as they are.
  CheckpointWeights(const Checkpoint& checkpoint, Backend& backend, std::optional<DType> dtype,
                    BitsAndBytesConfig quantization = {})
      : checkpoint_(checkpoint),
        backend_(backend),
        dtype_(quantization.load_in_4bit ? dtype.value_or(DType::f16) : dtype),
        quantization_(std::move(quantization)) {
    if (dtype_ && !is_float(*dtype_))
      fail(ErrorCode::invalid_option, "weights are f32, f16 or bf16", {.field = "dtype"});
  }

  Compute compute() const override { return order_of(dtype_); }
  Compute compute_4bit() const override {
    return order_of(quantization_.bnb_4bit_compute_dtype ? quantization_.bnb_4bit_compute_dtype
                                                         : dtype_);
  }

  /// Finds and measures every tensor before the first weight is read. Throws what `get` and `matrix`
  /// throw. Quant states, which are read for it, are kept until `matrix` hands them out.
  void check(const std::vector<WeightRequest>& requests) {
    std::vector<std::string> copied;
    for (const WeightRequest& request : requests) {
      if (request.role != WeightRole::matrix)
        fetch(checkpoint_, request);
      else if (LinearWeight weight = fetch_matrix(checkpoint_, request); weight.packed)
        checked_.insert_or_assign(request.name, std::move(weight.packed));
      if (is_copied(request)) copied.push_back(*detail::stored_name(checkpoint_, request.name));
    }
    ahead_.emplace(checkpoint_, std::move(copied));
  }

  Tensor get(const WeightRequest& request) override {
    const Tensor stored = fetch(checkpoint_, request);
    if (request.role != WeightRole::vector)
      return backend_.upload(plain(request, stored), request.name);
    reach(request);
    // norms, biases and gates weigh nothing: they keep all the bits that the file has
    const bool rounded = quantization_.load_in_4bit && stored.dtype() != *dtype_;
    return backend_.upload(convert(rounded ? convert(stored, *dtype_) : stored, DType::f32),
                           request.name);
  }

  LinearWeight matrix(const WeightRequest& request) override {
    if (auto known = checked_.extract(request.name))
      return {.packed = uploaded(std::move(known.mapped()), request.name)};
    LinearWeight weight = fetch_matrix(checkpoint_, request);
    if (weight.packed) return {.packed = uploaded(std::move(weight.packed), request.name)};
    if (!is_quantized(request))
      return {.values = backend_.upload(plain(request, weight.values), request.name)};
    reach(request);
    QuantizedTensor q = detail::quantize_rounded(weight.values, *dtype_, quantization_);
    checkpoint_.release(*detail::stored_name(checkpoint_, request.name));
    return {.packed = uploaded(std::move(q), request.name)};
  }

  /// The stored tensor that answers a request, checked against it.
  static Tensor fetch(const Checkpoint& checkpoint, const WeightRequest& request) {
    const std::string name = require_name(checkpoint, request);
    const Tensor tensor = checkpoint.tensor(name);
    const std::string file = checkpoint.file_of(name).string();
    if (!is_float(tensor.dtype()))
      fail(ErrorCode::dtype_mismatch,
           "dtype " + std::string(name_of(tensor.dtype())) + " is no weight's",
           {.file = file, .tensor = name});
    // gates are published as [1]; exports differ in unit dimensions, which change nothing
    const bool fits = request.role == WeightRole::vector ? tensor.count() == request.shape.count()
                                                         : tensor.shape() == request.shape;
    if (!fits) refuse_shape(tensor.shape(), request, file, name);
    return tensor.reshape(request.shape);
  }

  /// The same for the matrix of a linear layer, which may lie in 4 bits: what stands beside it tells.
  static LinearWeight fetch_matrix(const Checkpoint& checkpoint, const WeightRequest& request) {
    const std::string name = require_name(checkpoint, request);
    if (!detail::is_bnb(checkpoint, name)) return {.values = fetch(checkpoint, request)};
    LinearWeight weight{.packed = detail::read_bnb(checkpoint, name)};
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
      fail(ErrorCode::missing_tensor, "the checkpoint does not hold a tensor that the model needs",
           {.file = checkpoint.directory().string(), .tensor = request.name});
    return *name;
  }
  [[noreturn]] static void refuse_shape(const Shape& shape, const WeightRequest& request,
                                        const std::string& file, const std::string& name) {
    fail(ErrorCode::shape_mismatch,
         "shape " + shape.to_string() + ", expected " + request.shape.to_string(),
         {.file = file, .tensor = name});
  }

  bool is_quantized(const WeightRequest& request) const {
    return request.role == WeightRole::matrix && quantization_.load_in_4bit &&
           quantization_.quantizes(detail::module_path(request.name));
  }
  /// Whether the weight is read while loading, and not used where it lies.
  bool is_copied(const WeightRequest& request) const {
    const std::string name = require_name(checkpoint_, request);
    const DType stored = checkpoint_.find(name)->dtype.value_or(DType::u8);
    if (request.role == WeightRole::vector) return true;
    if (request.role == WeightRole::matrix && detail::is_bnb(checkpoint_, name)) return false;
    return is_quantized(request) || detail::kept_dtype(stored, dtype_) != stored;
  }
  void reach(const WeightRequest& request) {
    if (ahead_) ahead_->reach(*detail::stored_name(checkpoint_, request.name));
  }

  /// In the dtype in which it is kept; what was converted is not needed in the mapping any more.
  Tensor plain(const WeightRequest& request, const Tensor& stored) {
    const DType kept = detail::kept_dtype(stored.dtype(), dtype_);
    if (kept == stored.dtype()) return stored;
    reach(request);
    Tensor converted = convert(stored, kept);
    checkpoint_.release(*detail::stored_name(checkpoint_, request.name));
    return converted;
  }
  QuantizedTensor uploaded(QuantizedTensor q, const std::string& name) const {
    q.codes = backend_.upload(q.codes, name);
    q.absmax = backend_.upload(q.absmax, name);
    if (!q.double_quant()) return q;
    q.nested.absmax = backend_.upload(q.nested.absmax, name);
    q.nested.map = backend_.upload(q.nested.map, name);
    return q;
  }

  const Checkpoint& checkpoint_;
  Backend& backend_;
  std::optional<DType> dtype_;
  BitsAndBytesConfig quantization_;
  std::map<std::string, QuantizedTensor> checked_;  // read by `check`, not handed out yet
  std::optional<detail::ReadAhead> ahead_;          // of what is copied, after `check`
};

namespace detail {

/// Tensors that a checkpoint may hold and no layer asks for, by rule.
inline bool is_ignorable(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".position_ids") ||
         name.find("vision_model.post_layernorm.") != std::string_view::npos;
}

}  // namespace detail

/// What a checkpoint lacks, and what it holds beyond the architecture.
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
      report.missing.push_back(request.name);
      continue;
    }
    used.insert(*name);
    if (request.role == WeightRole::matrix)
      for (const std::string& beside : detail::bnb_companions(*name)) used.insert(beside);
  }
  for (const TensorInfo* tensor : checkpoint.tensors())
    if (!used.contains(tensor->name) && !detail::is_ignorable(tensor->name))
      report.unexpected.push_back(tensor->name);
  return report;
}

}}  // namespace idefics::v0
