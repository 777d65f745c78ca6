// The CUDA backend: one stream, a pool of device memory, and the kernels of this folder. Operations
// are submitted without waiting; `download` waits, which ends a pass (stream.cuh). Errors of a
// kernel are thrown by the next call that waits.
#pragma once

#include <idefics/backend/backend.hpp>

#include "activation.cuh"
#include "attention.cuh"
#include "elementwise.cuh"
#include "embedding.cuh"
#include "find_hopper.hpp"
#include "matmul.cuh"
#include "memory.cuh"
#include "norm.cuh"
#include "patch.cuh"
#include "products.hpp"
#include "require_device.cuh"
#include "rope.cuh"
#include "softmax.cuh"
#include "transpose.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// Operations on one GPU. An object serves one calling thread at a time. Its operands are in device
/// memory: they come from `empty` and `upload`.
class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(int gpu = 0)
      : gpu_(usable(gpu)),
        name_("cuda:" + std::to_string(gpu)),
        hopper_(find_hopper(gpu)),
        products_(stream_, staging_, scratch_, hopper_) {
    device_->before_freeing([this] { stream_.wait(); });
  }
  ~CudaBackend() override { device_->before_freeing({}); }

  std::string_view name() const override { return name_; }
  std::string description() const override { return describe_device(gpu_.index(), hopper_); }

  Tensor empty(DType dtype, Shape shape) override {
    const Checked bytes = Checked(static_cast<std::uint64_t>(shape.count())) * size_of(dtype);
    auto memory = device_->get(bytes.size());
    return Tensor::over(dtype, shape, memory.get(), memory);
  }
  Tensor download(const Tensor& tensor) override {
    if (!tensor) return tensor;
    auto memory = pinned_->get(tensor.bytes());
    cuda::check(cudaMemcpyAsync(memory.get(), tensor.raw(), tensor.bytes(), cudaMemcpyDeviceToHost,
                                stream_.native()),
                "copying to the host");
    stream_.wait();
    staging_.begin_pass();
    return Tensor::over(tensor.dtype(), tensor.shape(), memory.get(), memory);
  }
  /// The stream of all its work, for timing.
  Stream& stream() { return stream_; }
  void write(Tensor to, const Tensor& host) override {
    require(to.bytes() == host.bytes(), "write: the tensors differ in size");
    upload_(to.raw_mutable(), host.raw(), host.bytes());
  }
  std::optional<std::uint64_t> memory_left() const override {
    gpu_.make_current();
    std::size_t left = 0, total = 0;
    cuda::check(cudaMemGetInfo(&left, &total), "querying its memory");
    return left;
  }

 protected:
  Tensor place(const Tensor& host, std::string_view) override {
    if (!host) return host;
    Tensor copy = empty(host.dtype(), host.shape());
    upload_(copy.raw_mutable(), host.raw(), host.bytes());
    return copy;
  }
  void do_linear(Tensor out, const Tensor& x, const LinearWeight& weight, const Tensor& bias,
                 Compute compute) override {
    products_(to(out), x, weight, {floats(bias), nullptr}, compute);
  }
  void do_linear_group(std::span<const LinearTask> tasks, const Tensor& x) override {
    if (!products_.together(tasks, x)) Backend::do_linear_group(tasks, x);
  }
  void do_linear_add(Tensor sum, const Tensor& x, const LinearWeight& weight, const Tensor& bias,
                     Compute compute, Tensor /*scratch*/) override {
    products_(to(sum), x, weight, {floats(bias), from(sum)}, compute);
  }
  void do_normed_linear_group(std::span<const LinearTask> tasks, const NormedInput& x) override {
    if (!products_.together(tasks, x)) Backend::do_normed_linear_group(tasks, x);
  }
  void do_gated_linear_unit(const LinearTask& gate, const LinearTask& up, const NormedInput& x,
                            Activation act) override {
    if (act != Activation::silu || !products_.gated(gate, up, x))
      Backend::do_gated_linear_unit(gate, up, x, act);
  }
  void do_linear_gated_add(Tensor sum, const Tensor& x, const LinearWeight& weight,
                           const Tensor& alpha, Compute compute, Tensor scratch) override {
    if (x.dim(0) > max_gemv_rows || !reads_rounded(weight, compute))
      return Backend::do_linear_gated_add(sum, x, weight, alpha, compute, scratch);
    products_(to(sum), x, weight,
              {.residual = from(sum), .alpha = floats(alpha), .one_alpha = alpha.count() == 1},
              compute);
  }
  void do_matmul(Tensor out, const Tensor& a, const Tensor& b) override {
    cuda::matmul(stream_, to(out), from(a), from(b), a.dim(0), b.dim(1), b.dim(0));
  }
  void do_attention(Tensor out, const Tensor& q, const Tensor& k, const Tensor& v,
                    std::span<const AttentionSegment> segments, float scale) override;
  void do_attention_weights(Tensor out, const Tensor& q, const Tensor& k,
                            std::span<const AttentionSegment> segments,
                            std::span<const std::int32_t> queries, float scale) override;

  void do_softmax(Tensor out, const Tensor& x) override {
    const std::int64_t d = x.dim(-1);
    cuda::softmax(stream_, to(out), from(x), x.count() / d, d);
  }
  void do_argmax(Tensor out, const Tensor& x) override {
    cuda::argmax(stream_, out.as_mutable<std::int64_t>().data(), from(x), out.count(), x.dim(-1));
  }
  void do_greedy_choice(Tensor out, const Tensor& base, const Tensor& additional,
                        const ForbiddenTokens& forbidden) override {
    const auto [ids, ends] = staging_(forbidden.ids, forbidden.ends);
    cuda::greedy_choice(stream_, out.as_mutable<std::int32_t>().data(),
                        {.base = from(base),
                         .additional = additional ? from(additional) : nullptr,
                         .v = base.dim(-1),
                         .a = additional ? additional.dim(-1) : 0,
                         .forbidden = ids,
                         .ends = ends},
                        out.count());
  }

  void do_rms_norm(Tensor out, const Tensor& x, const Tensor& weight, float eps) override {
    const std::int64_t d = weight.count();
    cuda::rms_norm(stream_, to(out), from(x), floats(weight), x.count() / d, d, eps);
  }
  void do_layer_norm(Tensor out, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     float eps) override {
    const std::int64_t d = weight.count();
    cuda::layer_norm(stream_, to(out), from(x), floats(weight), floats(bias), x.count() / d, d,
                     eps);
  }

  void do_rope(Tensor x, const Tensor& cos, const Tensor& sin,
               std::span<const std::int32_t> positions) override {
    check_indices(positions, std::min(cos.dim(0), sin.dim(0)), "rope position");
    const auto [on_device] = staging_(positions);
    cuda::rope(stream_, to(x), floats(cos), floats(sin), on_device, x.dim(0), x.dim(1), x.dim(2));
  }
  void do_rope_and_cache(Tensor q, Tensor k, const Tensor& v, const KeysAndValues& cache,
                         std::span<const std::int32_t> rows, const Tensor& cos, const Tensor& sin,
                         std::span<const std::int32_t> positions) override {
    check_indices(positions, cos.dim(0), "rope position");
    check_indices(rows, cache.k.dim(0), "cache row");
    const auto [to_rows, at] = staging_(rows, positions);
    with_kv_type(cache.k, [&, to_rows = to_rows, at = at]<class T>(T) {
      Tensor keys = cache.k, values = cache.v;
      cuda::rope_and_cache(stream_,
                           RopeCache<T>{.q = to(q),
                                        .k = from(k),
                                        .v = from(v),
                                        .cache_k = keys.as_mutable<T>().data(),
                                        .cache_v = values.as_mutable<T>().data(),
                                        .rows = to_rows,
                                        .positions = at,
                                        .cosines = floats(cos),
                                        .sines = floats(sin),
                                        .heads = static_cast<int>(q.dim(1)),
                                        .half = static_cast<int>(q.dim(2) / 2)},
                           q.dim(0));
    });
  }
  void do_embedding(Tensor out, std::span<const std::int32_t> ids, const Tensor& table,
                    const Tensor& additional) override {
    const std::int64_t vocabulary = table.dim(0);
    check_indices(ids, vocabulary + (additional ? additional.dim(0) : 0), "token id",
                  ErrorCode::invalid_token_id);
    const auto [on_device] = staging_(ids);
    cuda::embedding(stream_, to(out), on_device, floats(table), vocabulary, floats(additional),
                    std::ssize(ids), table.dim(1));
  }
  void do_unfold_patches(Tensor out, const Tensor& pixels, std::int64_t patch) override {
    cuda::unfold_patches(stream_, to(out), from(pixels), pixels.dim(0), pixels.dim(1),
                         pixels.dim(2), pixels.dim(3), patch);
  }

  void do_activation(Tensor out, const Tensor& x, Activation act) override {
    cuda::gated_activation(stream_, to(out), from(x), nullptr, x.count(), act);
  }
  void do_gated_activation(Tensor out, const Tensor& gate, const Tensor& up,
                           Activation act) override {
    cuda::gated_activation(stream_, to(out), from(gate), from(up), gate.count(), act);
  }
  void do_add(Tensor out, const Tensor& x, const Tensor& y) override {
    const std::int64_t d = y.count();
    cuda::add(stream_, to(out), from(x), floats(y), x.count() / d, d);
  }
  void do_multiply(Tensor out, const Tensor& x, const Tensor& y) override {
    const std::int64_t d = y.count();
    cuda::multiply(stream_, to(out), from(x), floats(y), x.count() / d, d);
  }
  void do_scale(Tensor out, const Tensor& x, float factor) override {
    cuda::scale(stream_, to(out), from(x), factor, x.count());
  }
  void do_gated_add(Tensor x, const Tensor& y, const Tensor& alpha) override {
    const std::int64_t d = x.dim(-1);
    cuda::gated_add(stream_, to(x), from(y), floats(alpha), alpha.count(), x.count() / d, d);
  }
  void do_scatter_rows(Tensor out, std::span<const std::int32_t> rows, const Tensor& x) override {
    check_indices(rows, out.dim(0), "scatter_rows row");
    if (rows.empty()) return;
    const auto [on_device] = staging_(rows);
    const std::int64_t m = std::ssize(rows), width = x.count() / m;
    if (x.dtype() == DType::bf16)
      cuda::scatter_rows(stream_, halves(out), on_device, x.as<bf16_t>().data(), m, width);
    else if (out.dtype() == DType::bf16)
      cuda::scatter_rows(stream_, halves(out), on_device, from(x), m, width);
    else
      cuda::scatter_rows(stream_, to(out), on_device, from(x), m, width);
  }
  void do_gather_rows(Tensor out, const Tensor& x, std::span<const std::int32_t> rows) override {
    check_indices(rows, x.dim(0), "gather_rows row");
    if (rows.empty()) return;
    const auto [on_device] = staging_(rows);
    cuda::gather_rows(stream_, to(out), from(x), on_device, std::ssize(rows),
                      out.count() / out.dim(0));
  }
  void do_transpose(Tensor out, const Tensor& x) override {
    cuda::transpose(stream_, out.raw_mutable(), x.raw(), x.dim(0),
                    {.a = x.dim(1), .middle = x.dim(2), .b = x.dim(3), .inner = x.dim(4)},
                    static_cast<std::int64_t>(size_of(x.dtype())));
  }
  void do_concat(Tensor out, std::span<const Tensor> parts, std::int64_t rows) override {
    const std::int64_t out_run = static_cast<std::int64_t>(out.bytes()) / rows;
    std::byte* to = out.raw_mutable();
    for (const Tensor& part : parts) {
      const std::int64_t run = static_cast<std::int64_t>(part.bytes()) / rows;
      cuda::concat(stream_, to, part.raw(), rows, run, out_run);
      to += run;
    }
  }

 private:
  static Gpu usable(int gpu) {
    require_device(activations::activate_all<Activation::silu>, gpu);
    return Gpu(gpu);
  }
  static float* to(Tensor& t) { return t.as_mutable<float>().data(); }
  static bf16_t* halves(Tensor& t) { return t.as_mutable<bf16_t>().data(); }
  static const float* from(const Tensor& t) { return t.as<float>().data(); }
  /// Calls function(T()) with the type of keys and values.
  template <class Function>
  static void with_kv_type(const Tensor& keys, const Function& function) {
    if (keys.dtype() == DType::bf16)
      function(bf16_t());
    else
      function(0.0f);
  }

  struct Tiles;
  Tiles stage(const std::vector<AttentionTile>& tiles, std::span<const AttentionSegment> segments);
  /// Calls function(operands) with those of the type of k. `v` may be empty.
  template <class Function>
  static void with_operands(const Tensor& q, const Tensor& k, const Tensor& v, const Tiles& tiles,
                            float scale, const Function& function);

  static constexpr std::int64_t few_queries = 4;  // per segment, on average

  Gpu gpu_;
  std::string name_;
  std::shared_ptr<MemoryPool> device_ =
      std::make_shared<MemoryPool>(MemoryPool::Kind::device, gpu_);
  std::shared_ptr<MemoryPool> pinned_ =
      std::make_shared<MemoryPool>(MemoryPool::Kind::pinned, gpu_);
  Scratch scratch_{device_};
  Stream stream_{gpu_};  // destroyed before the memory that its work uses
  Staging staging_{stream_, pinned_, device_};
  Uploader upload_{stream_, pinned_};
  Counters finished_{stream_, device_};
  Hopper hopper_;
  Products products_;
  std::vector<std::int32_t> key_rows_;
};

/// The tiles of a call and the key rows that they refer to, on the device.
struct CudaBackend::Tiles {
  const AttentionTile* tiles;
  const std::int32_t* key_rows;
  std::int64_t count, most_keys;
};

inline CudaBackend::Tiles CudaBackend::stage(const std::vector<AttentionTile>& tiles,
                                             std::span<const AttentionSegment> segments) {
  key_rows_.clear();
  std::size_t most = 0;
  for (const AttentionSegment& s : segments) {
    key_rows_.insert(key_rows_.end(), s.key_rows.begin(), s.key_rows.end());
    most = std::max(most, s.key_rows.size());
  }
  const auto [on_device, rows] =
      staging_(std::span<const AttentionTile>(tiles), std::span<const std::int32_t>(key_rows_));
  // Rounded up, so that a step with one key more has the same grid as the previous one.
  const std::int64_t most_keys = ceil_div(static_cast<std::int64_t>(most), 512) * 512;
  return {on_device, rows, std::ssize(tiles), most_keys};
}

template <class Function>
void CudaBackend::with_operands(const Tensor& q, const Tensor& k, const Tensor& v,
                                const Tiles& tiles, float scale, const Function& function) {
  with_kv_type(k, [&]<class T>(T) {
    function(AttentionOperands<T>{.q = from(q),
                                  .k = k.as<T>().data(),
                                  .v = v ? v.as<T>().data() : nullptr,
                                  .key_rows = tiles.key_rows,
                                  .heads = static_cast<int>(q.dim(1)),
                                  .width = static_cast<int>(q.dim(2)),
                                  .scale = scale});
  });
}

inline void CudaBackend::do_attention(Tensor out, const Tensor& q, const Tensor& k, const Tensor& v,
                                      std::span<const AttentionSegment> segments, float scale) {
  std::int64_t queries = 0;
  for (const AttentionSegment& s : segments) {
    check_segment(s, q.dim(0), k.dim(0));
    queries += s.query_end - s.query_begin;
  }
  const std::int64_t heads = q.dim(1), width = q.dim(2);
  // With few queries per segment, larger tiles are mostly empty; bits are equal (attention.cuh).
  const bool few = queries <= few_queries * std::ssize(segments);
  const std::int64_t large = k.dtype() == DType::bf16 ? attention_tile_queries<bf16_t>(width)
                                                      : attention_tile_queries(width);
  const std::int64_t most = few ? 1 : large;
  const Tiles t = stage(attention_tiles(segments, most), segments);
  float* const partial =
      most > 1 ? nullptr
               : scratch_.get<float>(attention_scratch(t.count, heads, width, t.most_keys));
  with_operands(q, k, v, t, scale, [&](const auto& operands) {
    cuda::attention(stream_, to(out), operands, t.tiles, t.count, most == 1, t.most_keys, partial,
                    most > 1 ? nullptr : finished_.get(t.count * heads));
  });
}

inline void CudaBackend::do_attention_weights(Tensor out, const Tensor& q, const Tensor& k,
                                              std::span<const AttentionSegment> segments,
                                              std::span<const std::int32_t> queries, float scale) {
  for (const AttentionSegment& s : segments) check_segment(s, q.dim(0), k.dim(0));
  for (const std::int32_t query : queries) (void)idefics::detail::segment_of(segments, query);
  const auto all = attention_tiles(segments, 1);
  std::vector<AttentionTile> chosen;
  for (const std::int32_t query : queries)
    chosen.push_back(*std::ranges::find(all, query, &AttentionTile::query));
  if (chosen.empty() || out.count() == 0) return;
  const Tiles t = stage(chosen, segments);
  with_operands(q, k, {}, t, scale, [&](const auto& operands) {
    cuda::attention_weights(stream_, to(out), operands, t.tiles, t.count, out.dim(2));
  });
}

}}}  // namespace idefics::v0::cuda
