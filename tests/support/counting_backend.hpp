// A backend that forwards every operation to another one and counts the bytes that are moved.
#pragma once

#include <memory>
#include <vector>

#include <idefics/backend/backend.hpp>

namespace testing {

class CountingBackend : public idefics::Backend {
 public:
  explicit CountingBackend(std::shared_ptr<idefics::Backend> inner) : inner_(std::move(inner)) {}

  std::size_t scattered_bytes = 0, gathered_bytes = 0;

  std::string_view name() const override { return inner_->name(); }
  bool stops_within_pass() const override { return inner_->stops_within_pass(); }
  void reserve_keys(std::int64_t keys, std::int64_t head_dim) override {
    inner_->reserve_keys(keys, head_dim);
  }

 protected:
  using Tensor = idefics::Tensor;
  using Ids = std::span<const std::int32_t>;

  void do_linear(Tensor out, const Tensor& x, const idefics::LinearWeight& w, const Tensor& bias,
                 idefics::Compute compute) override {
    inner_->linear(out, x, w, bias, compute);
  }
  void do_matmul(Tensor out, const Tensor& a, const Tensor& b) override {
    inner_->matmul(out, a, b);
  }
  void do_attention(Tensor out, const Tensor& q, const Tensor& k, const Tensor& v,
                    std::span<const idefics::AttentionSegment> segments, float scale) override {
    inner_->attention(out, q, k, v, segments, scale);
  }
  void do_attention_weights(Tensor out, const Tensor& q, const Tensor& k,
                            std::span<const idefics::AttentionSegment> segments, Ids queries,
                            float scale) override {
    inner_->attention_weights(out, q, k, segments, queries, scale);
  }
  void do_softmax(Tensor out, const Tensor& x) override { inner_->softmax(out, x); }
  void do_argmax(Tensor out, const Tensor& x) override { inner_->argmax(out, x); }
  void do_rms_norm(Tensor out, const Tensor& x, const Tensor& weight, float eps) override {
    inner_->rms_norm(out, x, weight, eps);
  }
  void do_layer_norm(Tensor out, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     float eps) override {
    inner_->layer_norm(out, x, weight, bias, eps);
  }
  void do_rope(Tensor x, const Tensor& cos, const Tensor& sin, Ids positions) override {
    inner_->rope(x, cos, sin, positions);
  }
  void do_embedding(Tensor out, Ids ids, const Tensor& table, const Tensor& additional) override {
    inner_->embedding(out, ids, table, additional);
  }
  void do_unfold_patches(Tensor out, const Tensor& pixels, std::int64_t patch) override {
    inner_->unfold_patches(out, pixels, patch);
  }
  void do_activation(Tensor out, const Tensor& x, idefics::Activation act) override {
    inner_->activation(out, x, act);
  }
  void do_gated_activation(Tensor out, const Tensor& gate, const Tensor& up,
                           idefics::Activation act) override {
    inner_->gated_activation(out, gate, up, act);
  }
  void do_add(Tensor out, const Tensor& x, const Tensor& y) override { inner_->add(out, x, y); }
  void do_multiply(Tensor out, const Tensor& x, const Tensor& y) override {
    inner_->multiply(out, x, y);
  }
  void do_scale(Tensor out, const Tensor& x, float factor) override {
    inner_->scale(out, x, factor);
  }
  void do_gated_add(Tensor x, const Tensor& y, const Tensor& alpha) override {
    inner_->gated_add(x, y, alpha);
  }
  void do_scatter_rows(Tensor out, Ids rows, const Tensor& x) override {
    scattered_bytes += x.bytes();
    inner_->scatter_rows(out, rows, x);
  }
  void do_gather_rows(Tensor out, const Tensor& x, Ids rows) override {
    gathered_bytes += out.bytes();
    inner_->gather_rows(out, x, rows);
  }
  void do_transpose(Tensor out, const Tensor& x) override { inner_->transpose(out, x, 1, 3); }
  void do_concat(Tensor out, std::span<const Tensor> parts, std::int64_t rows) override {
    std::vector<Tensor> runs;
    for (const Tensor& part : parts) runs.push_back(part.reshape({rows, part.count() / rows}));
    inner_->concat(out.reshape({rows, out.count() / rows}), runs, 1);
  }

 private:
  std::shared_ptr<idefics::Backend> inner_;
};

}  // namespace testing
