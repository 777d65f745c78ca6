// Where a model's tensors come from. Layers request tensors by name and shape without knowing the
// source: a checkpoint returns weights, a WeightTable only records requests. An architecture's list
// of tensors is therefore what its constructors request, and is not written down a second time.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/core/progress.hpp>
#include <idefics/nn/linear.hpp>
#include <idefics/nn/norm.hpp>

namespace idefics { inline namespace v0 {

/// How a tensor is used, which determines the form in which it is kept.
enum class WeightRole {
  matrix,  // of a linear layer: kept in the checkpoint's dtype if the options allow, or quantized
  table,   // of an embedding, or the kernel of a convolution: likewise, but never quantized
  vector,  // norms, biases, gates, latents, positions: kept in f32
};

struct WeightRequest {
  std::string name;  // without the "model." prefix
  Shape shape;
  WeightRole role = WeightRole::matrix;
};

class WeightSource {
 public:
  virtual ~WeightSource() = default;

  /// Throws `missing_tensor`, `shape_mismatch` or `dtype_mismatch`.
  virtual Tensor get(const WeightRequest& request) = 0;
  /// The matrix [N,K] of a linear layer, plain or quantized. Throws `invalid_quant_state` as well.
  virtual LinearWeight matrix(const WeightRequest& request) = 0;
  /// What an adapter adds to the product with the quantized matrix of the layer `name`, or null.
  virtual std::shared_ptr<const LowRank> beside(const std::string&) { return nullptr; }

  /// The order of summation of this model's linear layers, except those in 4 bits.
  virtual Compute compute() const = 0;
  /// The order of summation of its 4-bit linear layers.
  virtual Compute compute_4bit() const { return compute(); }

  Tensor vector(const std::string& name, Shape shape) {
    return get({name, shape, WeightRole::vector});
  }
  Tensor table(const std::string& name, Shape shape) {
    return get({name, shape, WeightRole::table});
  }
  /// `name`.weight [N,K], without a bias.
  Linear linear(const std::string& name, std::int64_t n, std::int64_t k) {
    LinearWeight weight = matrix({name + ".weight", {n, k}, WeightRole::matrix});
    if (!weight.is_quantized()) return {.weight = std::move(weight), .compute = compute()};
    const Compute order = weight.packed ? compute_4bit() : compute();
    return {.weight = std::move(weight), .compute = order, .adapter = beside(name)};
  }
  /// `name`.weight [N,K] and `name`.bias [N].
  Linear linear_with_bias(const std::string& name, std::int64_t n, std::int64_t k) {
    Linear layer = linear(name, n, k);
    layer.bias = vector(name + ".bias", {n});
    return layer;
  }
  RmsNorm rms_norm(const std::string& name, std::int64_t width, float eps) {
    return {vector(name + ".weight", {width}), eps};
  }
  LayerNorm layer_norm(const std::string& name, std::int64_t width, float eps) {
    return {vector(name + ".weight", {width}), vector(name + ".bias", {width}), eps};
  }
};

/// Forwards requests, and reports each as a step of loading.
class ReportedWeights final : public WeightSource {
 public:
  ReportedWeights(WeightSource& source, const ProgressCallback& progress, std::int64_t total)
      : source_(source), progress_(progress), total_(total) {}
  Tensor get(const WeightRequest& request) override { return reported(source_.get(request)); }
  LinearWeight matrix(const WeightRequest& request) override {
    return reported(source_.matrix(request));
  }
  Compute compute() const override { return source_.compute(); }
  Compute compute_4bit() const override { return source_.compute_4bit(); }

 private:
  template <class Weight>
  Weight reported(Weight weight) {
    detail::report(progress_, {"loading", ++done_, total_});
    return weight;
  }

  WeightSource& source_;
  const ProgressCallback& progress_;
  std::int64_t total_, done_ = 0;
};

/// Returns empty tensors and records every request: the table of an architecture's weights.
class WeightTable final : public WeightSource {
 public:
  Tensor get(const WeightRequest& request) override {
    requests_.push_back(request);
    return {};
  }
  LinearWeight matrix(const WeightRequest& request) override { return {get(request)}; }
  Compute compute() const override { return Compute::f32; }
  const std::vector<WeightRequest>& requests() const { return requests_; }

 private:
  std::vector<WeightRequest> requests_;
};

/// The part of the model that a tensor belongs to, as listed by `info` and the memory plan.
inline std::string_view component_of(std::string_view name) {
  if (name.starts_with("vision_model.")) return "vision tower";
  if (name.starts_with("perceiver_resampler.")) return "perceiver resampler";
  if (name.starts_with("gated_cross_attn_layers.")) return "gated cross-attention";
  if (name.starts_with("embed_tokens.")) return "embedding";
  if (name.starts_with("lm_head.")) return "output head";
  return "decoder";
}

}}  // namespace idefics::v0
