// Defines every operation as plain mathematics: sums in double, one rounding to f32 at the end.
// Slow and obvious: the other backends are tested against it (tests/parity), and readers should
// start here.
#pragma once

#include <idefics/backend/backend.hpp>
#include <idefics/backend/reference/activation.hpp>
#include <idefics/backend/reference/attention.hpp>
#include <idefics/backend/reference/elementwise.hpp>
#include <idefics/backend/reference/embedding.hpp>
#include <idefics/backend/reference/linear.hpp>
#include <idefics/backend/reference/linear_int8.hpp>
#include <idefics/backend/reference/matmul.hpp>
#include <idefics/backend/reference/norm.hpp>
#include <idefics/backend/reference/patch.hpp>
#include <idefics/backend/reference/rope.hpp>
#include <idefics/backend/reference/softmax.hpp>
#include <idefics/backend/reference/transpose.hpp>

namespace idefics { inline namespace v0 {

class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const override { return "reference"; }

 protected:
  void do_linear(Tensor out, const Tensor& x, const LinearWeight& w, const Tensor& bias,
                 Compute compute) override {
    if (w.int8) return reference::linear_int8(out, x, w.int8, bias, compute);
    reference::linear(out, x, w, bias, compute);
  }
  void do_matmul(Tensor out, const Tensor& a, const Tensor& b) override {
    reference::matmul(out, a, b);
  }
  void do_attention(Tensor out, const Tensor& q, const Tensor& k, const Tensor& v,
                    std::span<const AttentionSegment> segments, float scale) override {
    reference::attention(out, q, k, v, segments, scale);
  }
  void do_attention_weights(Tensor out, const Tensor& q, const Tensor& k,
                            std::span<const AttentionSegment> segments,
                            std::span<const std::int32_t> queries, float scale) override {
    reference::attention_weights(out, q, k, segments, queries, scale);
  }
  void do_softmax(Tensor out, const Tensor& x) override { reference::softmax(out, x); }
  void do_argmax(Tensor out, const Tensor& x) override { reference::argmax(out, x); }
  void do_rms_norm(Tensor out, const Tensor& x, const Tensor& weight, float eps) override {
    reference::rms_norm(out, x, weight, eps);
  }
  void do_layer_norm(Tensor out, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     float eps) override {
    reference::layer_norm(out, x, weight, bias, eps);
  }
  void do_rope(Tensor x, const Tensor& cos, const Tensor& sin,
               std::span<const std::int32_t> positions) override {
    reference::rope(x, cos, sin, positions);
  }
  void do_embedding(Tensor out, std::span<const std::int32_t> ids, const Tensor& table,
                    const Tensor& additional) override {
    reference::embedding(out, ids, table, additional);
  }
  void do_unfold_patches(Tensor out, const Tensor& pixels, std::int64_t patch) override {
    reference::unfold_patches(out, pixels, patch);
  }
  void do_activation(Tensor out, const Tensor& x, Activation act) override {
    reference::activation(out, x, act);
  }
  void do_gated_activation(Tensor out, const Tensor& gate, const Tensor& up,
                           Activation act) override {
    reference::gated_activation(out, gate, up, act);
  }
  void do_add(Tensor out, const Tensor& x, const Tensor& y) override { reference::add(out, x, y); }
  void do_multiply(Tensor out, const Tensor& x, const Tensor& y) override {
    reference::multiply(out, x, y);
  }
  void do_scale(Tensor out, const Tensor& x, float factor) override {
    reference::scale(out, x, factor);
  }
  void do_gated_add(Tensor x, const Tensor& y, const Tensor& alpha) override {
    reference::gated_add(x, y, alpha);
  }
  void do_scatter_rows(Tensor out, std::span<const std::int32_t> rows, const Tensor& x) override {
    reference::scatter_rows(out, rows, x);
  }
  void do_gather_rows(Tensor out, const Tensor& x, std::span<const std::int32_t> rows) override {
    reference::gather_rows(out, x, rows);
  }
  void do_transpose(Tensor out, const Tensor& x) override { reference::transpose(out, x); }
  void do_concat(Tensor out, std::span<const Tensor> parts, std::int64_t rows) override {
    reference::concat(out, parts, rows);
  }
};

inline std::shared_ptr<Backend> make_reference_backend() {
  return std::make_shared<ReferenceBackend>();
}

}}  // namespace idefics::v0
