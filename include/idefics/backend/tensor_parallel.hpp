// A backend that computes a model together with others, the ranks of a run: tensor parallelism by
// outputs. Each rank holds its rows of every matrix, and the keys and values of its attention heads.
// Sums are never divided: a rank computes whole sums for its columns, and the columns of all ranks
// are gathered where an operation needs whole rows. So results have the bits of a single process.
//
//   q, k, v                          [M,D] → each rank's heads
//   rope, cache, attention           its heads
//   o, and the residual              all-gather → [M,D] → its columns
//   norm, gate, up, activation       all-gather → [M,D] → its columns of [M,F]
//   down, and the residual           all-gather → [M,F] → its columns
//
// The model is unaware of it: an operation works in the form that its operands have, replicated or
// sharded (backend/sharded_memory.hpp), and one on columns or heads leaves them sharded. A rank may
// have no columns of a narrow tensor; then it has nothing to compute.
//
// Letters: M rows, D width, F MLP width.
#pragma once

#include <mutex>
#include <string>

#include <idefics/backend/shard_weight.hpp>
#include <idefics/backend/sharded_memory.hpp>

namespace idefics { inline namespace v0 {

class TensorParallelBackend final : public Backend {
 public:
  /// `device` computes the part of this rank; its memory is that of the host.
  TensorParallelBackend(std::shared_ptr<Backend> device, std::shared_ptr<Communicator> ranks,
                        detail::HeadWidths head_widths)
      : device_(std::move(device)),
        memory_(device_, std::move(ranks)),
        head_widths_(std::move(head_widths)),
        name_(std::string(device_->name()) + " x " + std::to_string(memory_.ranks().size())) {}

  std::string_view name() const override { return name_; }
  /// Bytes that this rank has received from the others so far.
  std::uint64_t received_bytes() const { return memory_.received_bytes(); }
  std::recursive_mutex& turns() override { return turns_; }  // ranks may be threads of one process
  double agreed(double value) override {
    memory_.ranks().broadcast(std::as_writable_bytes(std::span(&value, 1)), 0);
    return value;
  }

  Tensor empty(DType dtype, Shape shape) override { return memory_.make(dtype, shape); }
  Tensor download(const Tensor& tensor) override {
    return tensor ? memory_.download(tensor) : tensor;
  }
  void write(Tensor to, const Tensor& host) override { device_->write(memory_.out(to), host); }
  void reserve_keys(std::int64_t keys, std::int64_t head_dim) override {
    device_->reserve_keys(keys, head_dim);
  }
  std::optional<std::uint64_t> memory_left() const override { return device_->memory_left(); }

 protected:
  Tensor place(const Tensor& host, std::string_view weight) override {
    return host ? memory_.make(device_->upload(host, weight)) : host;
  }
  inline LinearWeight place_matrix(LinearWeight host, std::string_view weight) override;

  // ---- products: the rows of x whole, the outputs sharded -----------------------------------------
  inline void do_linear(Tensor to, const Tensor& x, const LinearWeight& weight, const Tensor& bias,
                        Compute compute) override;
  inline void do_linear_group(std::span<const LinearTask> tasks, const Tensor& x) override;
  inline void do_linear_add(Tensor sum, const Tensor& x, const LinearWeight& weight,
                            const Tensor& bias, Compute compute, Tensor scratch) override;

  // ---- whole rows, replicated ---------------------------------------------------------------------
  void do_matmul(Tensor to, const Tensor& a, const Tensor& b) override {
    const Tensor left = memory_.in(a), right = memory_.in(b);
    device().matmul(memory_.out(to), left, right);
  }
  void do_softmax(Tensor to, const Tensor& x) override {
    const Tensor from = memory_.in(x);
    device().softmax(memory_.out(to), from);
  }
  void do_argmax(Tensor to, const Tensor& x) override {
    const Tensor from = memory_.in(x);
    device().argmax(memory_.out(to), from);
  }
  void do_greedy_choice(Tensor to, const Tensor& base, const Tensor& additional,
                        const ForbiddenTokens& forbidden) override {
    const Tensor logits = memory_.in(base), added = memory_.in(additional);
    device().greedy_choice(memory_.out(to), logits, added, forbidden);
  }
  void do_embedding(Tensor to, std::span<const std::int32_t> ids, const Tensor& table,
                    const Tensor& additional) override {
    const Tensor first = memory_.in(table), second = memory_.in(additional);
    device().embedding(memory_.out(to), ids, first, second);
  }
  void do_unfold_patches(Tensor to, const Tensor& pixels, std::int64_t patch) override {
    const Tensor from = memory_.in(pixels);
    device().unfold_patches(memory_.out(to), from, patch);
  }
  void do_transpose(Tensor to, const Tensor& x) override {
    const Tensor from = memory_.in(x);
    device().transpose(memory_.out(to), from, 1, 3);
  }
  void do_concat(Tensor to, std::span<const Tensor> parts, std::int64_t rows) override {
    std::vector<Tensor> from;
    for (const Tensor& part : parts)
      from.push_back(memory_.in(part).reshape({rows, part.count() / rows}));
    device().concat(memory_.out(to).reshape({rows, to.count() / rows}), from, 1);
  }

  // ---- columns or heads, in the form of the operands ----------------------------------------------
  inline void do_attention(Tensor to, const Tensor& q, const Tensor& k, const Tensor& v,
                           std::span<const AttentionSegment> segments, float scale) override;
  inline void do_attention_weights(Tensor to, const Tensor& q, const Tensor& k,
                                   std::span<const AttentionSegment> segments,
                                   std::span<const std::int32_t> queries, float scale) override;
  void do_rms_norm(Tensor to, const Tensor& x, const Tensor& weight, float eps) override {
    const Form form = memory_.form_of({&x}, weight.count());
    const Tensor from = memory_.in(x, form), result = memory_.out(to, form);
    if (result.count() > 0) device().rms_norm(result, from, memory_.in(weight), eps);
  }
  void do_layer_norm(Tensor to, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     float eps) override {
    const Form form = memory_.form_of({&x}, weight.count());
    const Tensor from = memory_.in(x, form), result = memory_.out(to, form);
    if (result.count() > 0)
      device().layer_norm(result, from, memory_.in(weight), memory_.in(bias), eps);
  }
  void do_rope(Tensor x, const Tensor& cos, const Tensor& sin,
               std::span<const std::int32_t> positions) override {
    const Form form = memory_.form_of({&x}, x.dim(2));
    const Tensor result = memory_.changed(x, form);
    if (result.count() > 0) device().rope(result, memory_.in(cos), memory_.in(sin), positions);
  }
  void do_activation(Tensor to, const Tensor& x, Activation act) override {
    const Form form = memory_.form_of({&x});
    const Tensor from = memory_.in(x, form), result = memory_.out(to, form);
    if (result.count() > 0) device().activation(result, from, act);
  }
  void do_gated_activation(Tensor to, const Tensor& gate, const Tensor& up,
                           Activation act) override {
    binary(to, gate, up, [&](const Tensor& out, const Tensor& gates, const Tensor& x) {
      device().gated_activation(out, gates, x, act);
    });
  }
  void do_add(Tensor to, const Tensor& x, const Tensor& y) override {
    binary(to, x, y, [&](const Tensor& out, const Tensor& from, const Tensor& added) {
      device().add(out, from, added);
    });
  }
  void do_multiply(Tensor to, const Tensor& x, const Tensor& y) override {
    binary(to, x, y, [&](const Tensor& out, const Tensor& from, const Tensor& factors) {
      device().multiply(out, from, factors);
    });
  }
  void do_scale(Tensor to, const Tensor& x, float factor) override {
    const Form form = memory_.form_of({&x});
    const Tensor from = memory_.in(x, form), result = memory_.out(to, form);
    if (result.count() > 0) device().scale(result, from, factor);
  }
  void do_gated_add(Tensor x, const Tensor& y, const Tensor& alpha) override {
    const Form form = memory_.form_of({&x, &y});
    const Tensor added = memory_.in(y, form);
    const Tensor gates = memory_.in(alpha, alpha.count() > 1 ? form : Form{});
    const Tensor result = memory_.changed(x, form);
    if (result.count() > 0) device().gated_add(result, added, gates);
  }
  void do_scatter_rows(Tensor to, std::span<const std::int32_t> rows, const Tensor& x) override {
    if (rows.empty()) return;
    const Form form = memory_.form_of({&x, &to}, 1, x.count() / x.dim(0));
    const Tensor from = memory_.in(x, form), result = memory_.changed(to, form);
    if (from.count() > 0)
      device().scatter_rows(in_rows(result, to.dim(0)), rows, in_rows(from, x.dim(0)));
  }
  void do_gather_rows(Tensor to, const Tensor& x, std::span<const std::int32_t> rows) override {
    if (rows.empty()) return;
    const Form form = memory_.form_of({&x}, 1, x.count() / x.dim(0));
    const Tensor from = memory_.in(x, form), result = memory_.out(to, form);
    if (result.count() > 0)
      device().gather_rows(in_rows(result, to.dim(0)), in_rows(from, x.dim(0)), rows);
  }

 private:
  using Form = detail::ShardedMemory::Form;
  using Part = detail::ShardedMemory::Part;

  Backend& device() {
    device_->expect_rows(expected_rows());
    return *device_;
  }
  static Tensor in_rows(const Tensor& t, std::int64_t rows) {
    return t.reshape({rows, t.count() / rows});
  }
  /// An elementwise operation on x and y; y may have fewer rows.
  template <class Operation>
  void binary(const Tensor& to, const Tensor& x, const Tensor& y, const Operation& operation) {
    const Form form = memory_.form_of({&x, &y});
    const Tensor left = memory_.in(x, form), right = memory_.in(y, form);
    const Tensor result = memory_.out(to, form);
    if (result.count() > 0) operation(result, left, right);
  }
  static Tensor& key_of(LinearWeight& w) {
    return w.packed ? w.packed.codes : w.int8 ? w.int8.codes : w.values;
  }
  const Part* part_of(const LinearWeight& w) const {
    return memory_.part_of(key_of(const_cast<LinearWeight&>(w)));
  }
  Tensor bias_of(const Tensor& bias, const Sharding& s) {
    if (!bias) return bias;
    return memory_.in(bias).reshape({bias.count()}).slice(memory_.begin_of(s), memory_.end_of(s));
  }

  std::shared_ptr<Backend> device_;
  detail::ShardedMemory memory_;
  detail::HeadWidths head_widths_;
  std::string name_;
  std::vector<LinearTask> tasks_;  // of a linear group, with this rank's parts
  std::recursive_mutex turns_;
};

/// Keeps this rank's rows. What is returned has the shape of the whole matrix.
inline LinearWeight TensorParallelBackend::place_matrix(LinearWeight host,
                                                        std::string_view weight) {
  const Sharding outputs =
      detail::shard_outputs(host.rows(), head_widths_, detail::row_grain(host));
  const std::int64_t begin = memory_.begin_of(outputs), end = memory_.end_of(outputs);
  LinearWeight mine;
  if (begin < end) mine = device_->upload_matrix(detail::rows_of(host, begin, end), weight);
  Tensor& key = key_of(host);
  key = memory_.make(key.dtype(), key.shape(), Part{std::move(mine), outputs});
  host.packed.absmax = host.int8.absmax = {};
  host.packed.nested = {};
  return host;
}

inline void TensorParallelBackend::do_linear(Tensor to, const Tensor& x, const LinearWeight& weight,
                                             const Tensor& bias, Compute compute) {
  const Tensor from = memory_.in(x);
  if (const Part* part = part_of(weight)) {
    const Tensor result = memory_.out(to, part->outputs);
    if (result.count() > 0)
      device().linear(result, from, part->weight, bias_of(bias, part->outputs), compute);
    return;
  }
  const LinearWeight all{.values = memory_.in(weight.values)};
  const Tensor added = memory_.in(bias);
  device().linear(memory_.out(to), from, all, added, compute);
}

/// One call if this rank has parts of all matrices.
inline void TensorParallelBackend::do_linear_group(std::span<const LinearTask> tasks,
                                                   const Tensor& x) {
  tasks_.clear();
  const Tensor from = memory_.in(x);
  for (const LinearTask& task : tasks) {
    const Part* part = part_of(*task.weight);
    if (!part) return Backend::do_linear_group(tasks, x);
    const Tensor result = memory_.out(task.out, part->outputs);
    if (result.count() > 0)
      tasks_.push_back({result, &part->weight, bias_of(task.bias, part->outputs), task.compute});
  }
  if (!tasks_.empty()) device().linear_group(tasks_, from);
}

inline void TensorParallelBackend::do_linear_add(Tensor sum, const Tensor& x,
                                                 const LinearWeight& weight, const Tensor& bias,
                                                 Compute compute, Tensor scratch) {
  const Part* part = part_of(weight);
  if (!part) return Backend::do_linear_add(sum, x, weight, bias, compute, scratch);
  const Sharding& s = part->outputs;
  const Tensor from = memory_.in(x), result = memory_.changed(sum, s);
  const Tensor product = memory_.out(scratch, s);
  if (result.count() > 0)
    device().linear_add(result, from, part->weight, bias_of(bias, s), compute, product);
}

inline void TensorParallelBackend::do_attention(Tensor to, const Tensor& q, const Tensor& k,
                                                const Tensor& v,
                                                std::span<const AttentionSegment> segments,
                                                float scale) {
  const Form form = memory_.form_of({&q, &k, &v}, q.dim(2), q.dim(1) * q.dim(2));
  const Tensor queries = memory_.in(q, form), keys = memory_.in(k, form);
  const Tensor values = memory_.in(v, form), result = memory_.out(to, form);
  if (result.count() > 0) device().attention(result, queries, keys, values, segments, scale);
}

/// The weights of a rank's heads are its columns of [R,H*J].
inline void TensorParallelBackend::do_attention_weights(Tensor to, const Tensor& q, const Tensor& k,
                                                        std::span<const AttentionSegment> segments,
                                                        std::span<const std::int32_t> queries,
                                                        float scale) {
  const std::int64_t heads = q.dim(1), e = q.dim(2), keys = to.dim(2);
  const Form form = memory_.form_of({&q, &k}, e, heads * e);
  const Tensor from = memory_.in(q, form), past = memory_.in(k, form);
  Form of_weights;
  if (form) of_weights = Sharding{heads * keys, form->unit / e * keys};
  const Tensor result = memory_.out(to, of_weights);
  if (result.count() > 0) device().attention_weights(result, from, past, segments, queries, scale);
}

}}  // namespace idefics::v0
