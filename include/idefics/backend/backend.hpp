// The interface of a compute device: every operation that the model is written in, and those that
// other networks need (docs/tensors.md). Arguments are the output, then the operands, then sizes and
// options.
//
// Activations are f32, dense and row-major; "M rows" means the product of all leading dimensions.
// Weights are f32, f16, bf16, int8 or 4-bit, at any alignment, and are used in place. Every backend
// guarantees:
//
//   * an output element depends only on its own inputs, on K and on the compute dtype, never on how
//     many rows, threads or lanes share the work (docs/determinism.md has the order of each sum);
//   * an operation allocates nothing once it has seen its largest shapes.
//
// The public functions check shapes and throw `shape_mismatch` or `dtype_mismatch`; a backend
// implements the protected ones and may rely on those checks.
//
// Letters: M rows, N outputs, K inputs, D width, H heads, E head width, F MLP width, J keys,
// T columns, R selected rows, V vocabulary, A added tokens, I pictures, C channels, Y height,
// X pixels, P patches, Q rows that scatter_rows writes to.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <idefics/backend/greedy_choice.hpp>
#include <idefics/backend/operands.hpp>
#include <idefics/backend/operation_checks.hpp>
#include <idefics/backend/tensor_memory.hpp>

namespace idefics { inline namespace v0 {

class Backend : public TensorMemory, protected detail::OperationChecks {
 public:
  virtual std::string_view name() const = 0;
  /// What the device is and which of its instructions are used, for reports; empty if the name says
  /// it all.
  virtual std::string description() const { return {}; }

  /// Another backend for the same device, with scratch buffers of its own: it reads and writes the
  /// tensors of this one, and another thread can use it at the same time. Null if the backend
  /// cannot be forked: then threads take turns.
  virtual std::shared_ptr<Backend> fork() const { return nullptr; }
  /// Whether a pass may end before its last layer; a device that replays recorded passes needs all.
  virtual bool stops_within_pass() const { return false; }

  // ---- products ---------------------------------------------------------------------------------
  /// out[m,n] = sum_k x[m,k] * weight[n,k] (+ bias[n]); torch.nn.Linear. `bias` may be empty.
  void linear(Tensor out /*[M,N]*/, const Tensor& x /*[M,K]*/, const LinearWeight& weight /*[N,K]*/,
              const Tensor& bias /*[N]*/, Compute compute) {
    const auto n = weight.rows(), k = weight.cols();
    check_linear("linear", out, x, weight, bias);
    do_linear(out.reshape({rows_of(out, n), n}), x.reshape({rows_of(x, k), k}), weight, bias,
              compute);
  }

  /// The same for several matrices and one x, such as queries, keys and values; a device may
  /// compute them together.
  void linear_group(std::span<const LinearTask> tasks, const Tensor& x /*[M,K]*/) {
    for (const LinearTask& task : tasks)
      check_linear("linear_group", task.out, x, *task.weight, task.bias);
    do_linear_group(tasks, x);
  }
  /// The same for RMSNorm of x: `rms_norm` into its scratch, then `linear_group`.
  void normed_linear_group(std::span<const LinearTask> tasks, const NormedInput& x /*[M,K]*/) {
    for (const LinearTask& task : tasks) check_linear("normed_linear_group", task, x);
    do_normed_linear_group(tasks, x);
  }
  /// gate.out = act(gate(x)) * up(x), for RMSNorm of x: `normed_linear_group`, then
  /// `gated_activation` (GLU, Shazeer 2020). The contents of up.out are unspecified afterwards.
  void gated_linear_unit(const LinearTask& gate /*[F,K]*/, const LinearTask& up /*[F,K]*/,
                         const NormedInput& x /*[M,K]*/, Activation act) {
    for (const LinearTask* task : {&gate, &up}) check_linear("gated_linear_unit", *task, x);
    check(gate.out.count() == up.out.count(), "gated_linear_unit", "gate and up", gate.out, up.out);
    do_gated_linear_unit(gate, up, x, act);
  }
  /// sum += x weight^T (+ bias): `linear` into `scratch`, then `add`. The contents of `scratch` are
  /// unspecified afterwards, since a device may not need it.
  void linear_add(Tensor sum /*[M,N]*/, const Tensor& x /*[M,K]*/,
                  const LinearWeight& weight /*[N,K]*/, const Tensor& bias /*[N]*/, Compute compute,
                  Tensor scratch /*[M,N]*/) {
    const auto n = weight.rows(), k = weight.cols();
    check_linear("linear_add", sum, x, weight, bias);
    check(scratch.count() == sum.count(), "linear_add", "scratch", scratch, sum);
    const Shape shape{rows_of(sum, n), n};
    do_linear_add(sum.reshape(shape), x.reshape({shape[0], k}), weight, bias, compute,
                  scratch.reshape(shape));
  }

  /// sum += tanh(alpha) * (x weight^T): `linear` into `scratch`, then `gated_add`.
  void linear_gated_add(Tensor sum /*[M,N]*/, const Tensor& x /*[M,K]*/,
                        const LinearWeight& weight /*[N,K]*/, const Tensor& alpha /*[1] or [N]*/,
                        Compute compute, Tensor scratch /*[M,N]*/) {
    const Shape shape{sum.count() / weight.rows(), weight.rows()};
    check_linear("linear_gated_add", sum, x, weight, {});
    check(scratch.count() == sum.count(), "linear_gated_add", "scratch", scratch, sum);
    check(alpha.count() == 1 || alpha.count() == shape[1], "linear_gated_add", "alpha", alpha, sum);
    do_linear_gated_add(sum.reshape(shape), x.reshape({shape[0], weight.cols()}), weight, alpha,
                        compute, scratch.reshape(shape));
  }

  /// out[m,n] = sum_k a[m,k] * b[k,n]; torch.matmul with a matrix b. The bits are those of `linear`
  /// with the transpose of b as its weight, in the f32 order.
  void matmul(Tensor out /*[M,N]*/, const Tensor& a /*[M,K]*/, const Tensor& b /*[K,N]*/) {
    check(b.shape().rank() == 2 && a.shape().rank() > 0 && a.dim(-1) == b.dim(0), "matmul",
          "a and b", a, b);
    const auto k = b.dim(0), n = b.dim(1), m = rows_of(a, k);
    check(out.shape().rank() > 0 && out.dim(-1) == n && rows_of(out, n) == m, "matmul", "a and out",
          a, out);
    do_matmul(out.reshape({m, n}), a.reshape({m, k}), b);
  }

  /// softmax(q k^T * scale) v per head, each segment over its own keys. The output of a query
  /// without keys is zero. k and v are both f32, or both bf16; sums are f32 either way.
  void attention(Tensor out /*[M,H,E]*/, const Tensor& q /*[M,H,E]*/, const Tensor& k /*[J,H,E]*/,
                 const Tensor& v /*[J,H,E]*/, std::span<const AttentionSegment> segments,
                 float scale) {
    check(out.shape() == q.shape() && q.shape().rank() == 3, "attention", "q and out", q, out);
    check(k.shape() == v.shape() && k.dim(1) == q.dim(1) && k.dim(2) == q.dim(2), "attention", "k",
          k, q);
    check_dtypes(k.dtype() == v.dtype() && detail::f32_or_bf16(k), "attention", k, v);
    do_attention(std::move(out), q, k, v, segments, scale);
  }

  /// The weights that `attention` gives to the values, for selected queries: out[r,h,j] is
  /// softmax(q k^T * scale)[j] for query queries[r] and the j-th key of its segment, and zero after
  /// the keys that the query sees. `out` may have fewer columns than `k` has rows, but no segment
  /// may have more keys than `out` has columns.
  void attention_weights(Tensor out /*[R,H,J]*/, const Tensor& q /*[M,H,E]*/,
                         const Tensor& k /*[J,H,E]*/, std::span<const AttentionSegment> segments,
                         std::span<const std::int32_t> queries /*[R]*/, float scale) {
    check(q.shape().rank() == 3 && k.shape().rank() == 3 && k.dim(1) == q.dim(1) &&
              k.dim(2) == q.dim(2),
          "attention_weights", "k", k, q);
    check_dtypes(detail::f32_or_bf16(k), "attention_weights", q, k);
    check(out.shape().rank() == 3 && out.dim(1) == q.dim(1) &&
              out.dim(0) == static_cast<std::int64_t>(queries.size()),
          "attention_weights", "out", out, q);
    for (const AttentionSegment& s : segments)
      check(static_cast<std::int64_t>(s.key_rows.size()) <= out.dim(2), "attention_weights",
            "keys of a segment", out, k);
    do_attention_weights(std::move(out), q, k, segments, queries, scale);
  }

  // ---- scores -----------------------------------------------------------------------------------
  /// exp(x) / sum(exp(x)) over the last dimension; torch.softmax. A row with a NaN, with infinity or
  /// with nothing but -infinity is NaN. `out` may be `x`.
  void softmax(Tensor out /*[M,D]*/, const Tensor& x /*[M,D]*/) {
    check(out.count() == x.count(), "softmax", "x and out", x, out);
    (void)last_rows_of(x, "softmax");
    do_softmax(std::move(out), x);
  }
  /// The index of the largest value of each row, the first of equal ones; torch.argmax over the last
  /// dimension. NaN is larger than any number.
  void argmax(Tensor out /*[M] i64*/, const Tensor& x /*[M,D]*/) {
    check(out.count() == last_rows_of(x, "argmax"), "argmax", "x and out", x, out);
    check_dtypes(out.dtype() == DType::i64, "argmax", out, x);
    do_argmax(std::move(out), x);
  }

  /// For each row of logits, the token with the largest that is not forbidden, the first of equal
  /// ones, or `no_finite_logits` or `no_allowed_token`. Added tokens follow the vocabulary.
  void greedy_choice(Tensor out /*[R] i32*/, const Tensor& base /*[R,V]*/,
                     const Tensor& additional /*[R,A] or empty*/,
                     const ForbiddenTokens& forbidden) {
    const std::int64_t r = out.count(), v = base.dim(-1), a = additional ? additional.dim(-1) : 0;
    check_dtypes(out.dtype() == DType::i32, "greedy_choice", out, base);
    check(last_rows_of(base, "greedy_choice") == r, "greedy_choice", "base and out", base, out);
    check(!additional || additional.count() == r * a, "greedy_choice", "rows", additional, out);
    forbidden.check(r, v + a);
    do_greedy_choice(std::move(out), base, additional, forbidden);
  }

  // ---- normalisation ----------------------------------------------------------------------------
  /// x / sqrt(mean(x^2) + eps) * weight; transformers' IdeficsRMSNorm. `out` may be `x`.
  void rms_norm(Tensor out /*[M,D]*/, const Tensor& x /*[M,D]*/, const Tensor& weight /*[D]*/,
                float eps) {
    check(out.count() == x.count(), "rms_norm", "x and out", x, out);
    (void)rows_of(x, weight.count());
    do_rms_norm(std::move(out), x, weight, eps);
  }
  /// (x - mean) / sqrt(variance + eps) * weight + bias; torch.nn.LayerNorm. `out` may be `x`.
  void layer_norm(Tensor out /*[M,D]*/, const Tensor& x /*[M,D]*/, const Tensor& weight /*[D]*/,
                  const Tensor& bias /*[D]*/, float eps) {
    check(out.count() == x.count(), "layer_norm", "x and out", x, out);
    check(bias.count() == weight.count(), "layer_norm", "bias", bias, weight);
    (void)rows_of(x, weight.count());
    do_layer_norm(std::move(out), x, weight, bias, eps);
  }

  // ---- positions and tokens ---------------------------------------------------------------------
  /// Rotates the halves a = x[..., :E/2] and b = x[..., E/2:] of each head in place: (a, b) -> (a
  /// cos - b sin, b cos + a sin).
  void rope(Tensor x /*[M,H,E]*/, const Tensor& cos /*[T,E/2]*/, const Tensor& sin /*[T,E/2]*/,
            std::span<const std::int32_t> positions /*[M]*/) {
    check(x.shape().rank() == 3 && x.dim(2) == 2 * cos.dim(1), "rope", "head width", x, cos);
    check(x.dim(0) == static_cast<std::int64_t>(positions.size()), "rope", "positions", x, cos);
    do_rope(std::move(x), cos, sin, positions);
  }
  /// Rotates q and k, and stores k and v in their rows of the cache: `rope` of both, then two
  /// `scatter_rows`. The contents of k are unspecified afterwards.
  void rope_and_cache(Tensor q /*[M,H,E]*/, Tensor k /*[M,H,E]*/, const Tensor& v /*[M,H,E]*/,
                      const KeysAndValues& cache /*[J,H,E]*/, std::span<const std::int32_t> rows,
                      const Tensor& cos /*[T,E/2]*/, const Tensor& sin /*[T,E/2]*/,
                      std::span<const std::int32_t> positions /*[M]*/) {
    check(q.shape().rank() == 3 && q.dim(2) == 2 * cos.dim(1) && cos.shape() == sin.shape(),
          "rope_and_cache", "head width", q, cos);
    check(q.shape() == k.shape() && q.shape() == v.shape(), "rope_and_cache", "q, k and v", k, v);
    check(
        cache.k.shape() == cache.v.shape() && cache.k.shape() == q.shape().with(0, cache.k.dim(0)),
        "rope_and_cache", "cache", cache.k, k);
    check_dtypes(cache.k.dtype() == cache.v.dtype() && detail::f32_or_bf16(cache.k),
                 "rope_and_cache", cache.k, cache.v);
    check(q.dim(0) == std::ssize(positions) && q.dim(0) == std::ssize(rows), "rope_and_cache",
          "positions and rows", q, cos);
    do_rope_and_cache(std::move(q), std::move(k), v, cache, rows, cos, sin, positions);
  }
  /// Row id of `table`, or row id - V of `additional` for ids >= V (IdeficsDecoupledEmbedding).
  void embedding(Tensor out /*[M,D]*/, std::span<const std::int32_t> ids /*[M]*/,
                 const Tensor& table /*[V,D]*/, const Tensor& additional /*[A,D] or empty*/) {
    check(rows_of(out, table.dim(1)) == static_cast<std::int64_t>(ids.size()), "embedding", "ids",
          out, table);
    do_embedding(std::move(out), ids, table, additional);
  }
  /// Cuts pictures into patches: out[i * P + p] is patch p of picture i as [C,patch,patch]. A
  /// remainder at the right and lower edges is dropped, as by a strided convolution.
  void unfold_patches(Tensor out /*[I*P,C*patch*patch]*/, const Tensor& pixels /*[I,C,Y,X]*/,
                      std::int64_t patch) {
    check(pixels.shape().rank() == 4, "unfold_patches", "pixels", pixels, out);
    const auto per_picture = (pixels.dim(2) / patch) * (pixels.dim(3) / patch);
    check(rows_of(out, pixels.dim(1) * patch * patch) == pixels.dim(0) * per_picture,
          "unfold_patches", "out", out, pixels);
    do_unfold_patches(std::move(out), pixels, patch);
  }

  // ---- elementwise ------------------------------------------------------------------------------
  /// out = act(x). `out` may be `x`.
  void activation(Tensor out, const Tensor& x, Activation act) {
    check(out.count() == x.count(), "activation", "x and out", x, out);
    do_activation(std::move(out), x, act);
  }
  /// out = act(gate) * up, the elementwise product in a gated MLP. `out` may be `gate` or `up`.
  void gated_activation(Tensor out /*[M,F]*/, const Tensor& gate /*[M,F]*/,
                        const Tensor& up /*[M,F]*/, Activation act) {
    check(out.count() == gate.count() && out.count() == up.count(), "gated_activation", "shapes",
          gate, up);
    do_gated_activation(std::move(out), gate, up, act);
  }
  /// out = x + y; a smaller y is repeated over the rows of x. `out` may be `x`.
  void add(Tensor out /*[M,D]*/, const Tensor& x /*[M,D]*/, const Tensor& y /*[M,D] or [D]*/) {
    check(out.count() == x.count(), "add", "x and out", x, out);
    (void)rows_of(x, y.count());
    do_add(std::move(out), x, y);
  }
  /// out = x * y, elementwise; a smaller y is repeated over the rows of x. `out` may be `x`.
  void multiply(Tensor out /*[M,D]*/, const Tensor& x /*[M,D]*/, const Tensor& y /*[M,D] or [D]*/) {
    check(out.count() == x.count(), "multiply", "x and out", x, out);
    (void)rows_of(x, y.count());
    do_multiply(std::move(out), x, y);
  }
  /// out = x * factor. `out` may be `x`.
  void scale(Tensor out, const Tensor& x, float factor) {
    check(out.count() == x.count(), "scale", "x and out", x, out);
    do_scale(std::move(out), x, factor);
  }
  /// x += tanh(alpha) * y, with one alpha or one per column (IdeficsGatedCrossAttentionLayer).
  void gated_add(Tensor x /*[M,D]*/, const Tensor& y /*[M,D]*/,
                 const Tensor& alpha /*[1] or [D]*/) {
    check(x.count() == y.count(), "gated_add", "x and y", x, y);
    check(alpha.count() == 1 || alpha.count() == x.dim(-1), "gated_add", "alpha", alpha, x);
    do_gated_add(std::move(x), y, alpha);
  }
  /// out[rows[i]] = x[i]: stores keys and values in their cache rows, class tokens before patches.
  /// If x is f32 and `out` bf16, values are rounded to nearest, ties to even.
  void scatter_rows(Tensor out /*[Q,D]*/, std::span<const std::int32_t> rows /*[M]*/,
                    const Tensor& x /*[M,D]*/) {
    check(x.dim(0) == static_cast<std::int64_t>(rows.size()), "scatter_rows", "rows", x, out);
    check(rows.empty() || x.count() / x.dim(0) * out.dim(0) == out.count(), "scatter_rows", "width",
          x, out);
    check_dtypes(out.dtype() == x.dtype() || (x.dtype() == DType::f32 && detail::f32_or_bf16(out)),
                 "scatter_rows", out, x);
    do_scatter_rows(std::move(out), rows, x);
  }
  /// out[i] = x[rows[i]].
  void gather_rows(Tensor out /*[R,D]*/, const Tensor& x /*[M,D]*/,
                   std::span<const std::int32_t> rows /*[R]*/) {
    check(out.dim(0) == static_cast<std::int64_t>(rows.size()), "gather_rows", "rows", out, x);
    do_gather_rows(std::move(out), x, rows);
  }

  // ---- layout -----------------------------------------------------------------------------------
  /// x with two dimensions swapped, of any dtype; torch.transpose, made contiguous. Negative
  /// dimensions count from the end. `out` may not overlap x.
  void transpose(Tensor out, const Tensor& x, int dim0, int dim1) {
    const Shape& s = x.shape();
    const auto [i, j] = std::minmax({s.index(dim0), s.index(dim1)});
    check(out.shape() == s.with(i, s[j]).with(j, s[i]), "transpose", "x and out", x, out);
    check_dtypes(out.dtype() == x.dtype(), "transpose", x, out);
    if (out.count() == 0) return;
    require(out.raw() != x.raw(), "transpose does not work in place");
    const Shape from =
        i == j ? Shape{1, 1, 1, 1, s.count()}
               : Shape{s.count(0, i), s[i], s.count(i + 1, j), s[j], s.count(j + 1, s.rank())};
    do_transpose(out.reshape({from[0], from[3], from[2], from[1], from[4]}), x.reshape(from));
  }
  /// `parts`, of one dtype, joined along a dimension; torch.cat. A negative dimension counts from
  /// the end. `out` may not overlap the parts.
  void concat(Tensor out, std::span<const Tensor> parts, int dim) {
    const int at = out.shape().index(dim);
    std::int64_t length = 0;
    for (const Tensor& part : parts) {
      check(part.shape().rank() == out.shape().rank() &&
                part.shape().with(at, 1) == out.shape().with(at, 1),
            "concat", "part and out", part, out);
      check_dtypes(part.dtype() == out.dtype(), "concat", part, out);
      length += part.dim(at);
    }
    check(length == out.dim(at), "concat", "lengths of parts and out",
          parts.empty() ? Tensor() : parts.front(), out);
    if (out.count() != 0) do_concat(out, parts, out.shape().count(0, at));
  }
  void concat(Tensor out, std::initializer_list<Tensor> parts, int dim) {
    concat(std::move(out), std::span<const Tensor>(parts.begin(), parts.size()), dim);
  }

 protected:
  virtual void do_linear(Tensor out, const Tensor& x, const LinearWeight& w, const Tensor& bias,
                         Compute) = 0;
  virtual void do_linear_group(std::span<const LinearTask> tasks, const Tensor& x) {
    for (const LinearTask& task : tasks) linear(task.out, x, *task.weight, task.bias, task.compute);
  }
  virtual void do_linear_add(Tensor sum, const Tensor& x, const LinearWeight& w, const Tensor& bias,
                             Compute compute, Tensor scratch) {
    do_linear(scratch, x, w, bias, compute);
    do_add(sum, sum, scratch);
  }
  virtual void do_normed_linear_group(std::span<const LinearTask> tasks, const NormedInput& x) {
    do_rms_norm(x.scratch, x.x, x.weight, x.eps);
    do_linear_group(tasks, x.scratch);
  }
  virtual void do_gated_linear_unit(const LinearTask& gate, const LinearTask& up,
                                    const NormedInput& x, Activation act) {
    do_normed_linear_group(std::array{gate, up}, x);
    do_gated_activation(gate.out, gate.out, up.out, act);
  }
  virtual void do_linear_gated_add(Tensor sum, const Tensor& x, const LinearWeight& w,
                                   const Tensor& alpha, Compute compute, Tensor scratch) {
    do_linear(scratch, x, w, {}, compute);
    do_gated_add(sum, scratch, alpha);
  }
  virtual void do_matmul(Tensor out, const Tensor& a, const Tensor& b) = 0;
  virtual void do_attention(Tensor out, const Tensor& q, const Tensor& k, const Tensor& v,
                            std::span<const AttentionSegment> segments, float scale) = 0;
  virtual void do_attention_weights(Tensor out, const Tensor& q, const Tensor& k,
                                    std::span<const AttentionSegment> segments,
                                    std::span<const std::int32_t> queries, float scale) = 0;
  virtual void do_softmax(Tensor out, const Tensor& x) = 0;
  virtual void do_argmax(Tensor out, const Tensor& x) = 0;
  /// The default is for backends whose tensors are in the host's memory.
  virtual void do_greedy_choice(Tensor out, const Tensor& base, const Tensor& additional,
                                const ForbiddenTokens& forbidden) {
    detail::greedy_choice(std::move(out), base, additional, forbidden);
  }
  virtual void do_rms_norm(Tensor out, const Tensor& x, const Tensor& weight, float eps) = 0;
  virtual void do_layer_norm(Tensor out, const Tensor& x, const Tensor& weight, const Tensor& bias,
                             float eps) = 0;
  virtual void do_rope(Tensor x, const Tensor& cos, const Tensor& sin,
                       std::span<const std::int32_t> positions) = 0;
  virtual void do_rope_and_cache(Tensor q, Tensor k, const Tensor& v, const KeysAndValues& cache,
                                 std::span<const std::int32_t> rows, const Tensor& cos,
                                 const Tensor& sin, std::span<const std::int32_t> positions) {
    do_rope(q, cos, sin, positions);
    do_rope(k, cos, sin, positions);
    do_scatter_rows(cache.k, rows, k);
    do_scatter_rows(cache.v, rows, v);
  }
  virtual void do_embedding(Tensor out, std::span<const std::int32_t> ids, const Tensor& table,
                            const Tensor& additional) = 0;
  virtual void do_unfold_patches(Tensor out, const Tensor& pixels, std::int64_t patch) = 0;
  virtual void do_activation(Tensor out, const Tensor& x, Activation act) = 0;
  virtual void do_gated_activation(Tensor out, const Tensor& gate, const Tensor& up,
                                   Activation act) = 0;
  virtual void do_add(Tensor out, const Tensor& x, const Tensor& y) = 0;
  virtual void do_multiply(Tensor out, const Tensor& x, const Tensor& y) = 0;
  virtual void do_scale(Tensor out, const Tensor& x, float factor) = 0;
  virtual void do_gated_add(Tensor x, const Tensor& y, const Tensor& alpha) = 0;
  virtual void do_scatter_rows(Tensor out, std::span<const std::int32_t> rows, const Tensor& x) = 0;
  virtual void do_gather_rows(Tensor out, const Tensor& x, std::span<const std::int32_t> rows) = 0;
  /// Swaps dimensions 1 and 3: out [outer,b,middle,a,inner], x [outer,a,middle,b,inner], not empty.
  virtual void do_transpose(Tensor out, const Tensor& x) = 0;
  /// Each tensor consists of `rows` runs of contiguous elements; a run of `out` is those of all
  /// parts in turn. `out` is not empty, but parts may be.
  virtual void do_concat(Tensor out, std::span<const Tensor> parts, std::int64_t rows) = 0;
};

}}  // namespace idefics::v0
