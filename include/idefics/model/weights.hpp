// Weights from a checkpoint. Matrices stay where they lie in the mapping when the dtype allows it;
// what must be converted is converted tensor by tensor, so source and result of the model never
// coexist.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/backend/cpu/convert.hpp>
#include <idefics/io/checkpoint.hpp>
#include <idefics/model/weight_source.hpp>

namespace idefics::inline v0 {

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

class CheckpointWeights final : public WeightSource {
 public:
  CheckpointWeights(const Checkpoint& checkpoint, Backend& backend, std::optional<DType> dtype)
      : checkpoint_(checkpoint), backend_(backend), dtype_(dtype) {
    if (dtype && !is_float(*dtype))
      fail(ErrorCode::invalid_option, "weights are f32, f16 or bf16", {.field = "dtype"});
  }

  Compute compute() const override { return dtype_ == DType::bf16 ? Compute::bf16 : Compute::f32; }

  Tensor get(const WeightRequest& request) override {
    const Tensor stored = fetch(checkpoint_, request);
    if (request.role != WeightRole::vector) {
      const DType kept = kept_dtype(stored.dtype(), dtype_);
      return backend_.upload(kept == stored.dtype() ? stored : convert(stored, kept));
    }
    // norms, biases and gates weigh nothing: they keep all the bits that the file has
    return backend_.upload(convert(stored, DType::f32));
  }

  /// The stored tensor that answers a request, checked against it.
  static Tensor fetch(const Checkpoint& checkpoint, const WeightRequest& request) {
    const auto name = stored_name(checkpoint, request.name);
    if (!name)
      fail(ErrorCode::missing_tensor, "the checkpoint does not hold a tensor that the model needs",
           {.file = checkpoint.directory().string(), .tensor = request.name});
    const Tensor tensor = checkpoint.tensor(*name);
    const std::string file = checkpoint.file_of(*name).string();
    if (!is_float(tensor.dtype()))
      fail(ErrorCode::dtype_mismatch,
           "dtype " + std::string(name_of(tensor.dtype())) + " is no weight's",
           {.file = file, .tensor = *name});
    // gates are published as [1]; exports differ in unit dimensions, which change nothing
    const bool fits = request.role == WeightRole::vector ? tensor.count() == request.shape.count()
                                                         : tensor.shape() == request.shape;
    if (!fits)
      fail(ErrorCode::shape_mismatch,
           "shape " + tensor.shape().to_string() + ", expected " + request.shape.to_string(),
           {.file = file, .tensor = *name});
    return tensor.reshape(request.shape);
  }

 private:
  const Checkpoint& checkpoint_;
  Backend& backend_;
  std::optional<DType> dtype_;
};

/// Tensors that a checkpoint may hold and no layer asks for, by rule.
inline bool is_ignorable(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".position_ids") ||
         name.find("vision_model.post_layernorm.") != std::string_view::npos;
}

/// What a checkpoint lacks, and what it holds beyond the architecture.
struct WeightReport {
  std::vector<std::string> missing, unexpected;
};

inline WeightReport compare_weights(const Checkpoint& checkpoint,
                                    const std::vector<WeightRequest>& table) {
  WeightReport report;
  std::set<std::string, std::less<>> used;
  for (const WeightRequest& request : table) {
    if (const auto name = stored_name(checkpoint, request.name))
      used.insert(*name);
    else
      report.missing.push_back(request.name);
  }
  for (const TensorInfo* tensor : checkpoint.tensors())
    if (!used.contains(tensor->name) && !is_ignorable(tensor->name))
      report.unexpected.push_back(tensor->name);
  return report;
}

}  // namespace idefics::inline v0
