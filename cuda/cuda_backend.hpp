// The CUDA backend: one stream, a pool of device memory, and the kernels of this folder. Operations
// are submitted without waiting; `download` waits, which ends a pass (stream.cuh). Errors of a
// kernel are thrown by the next call that waits.
#pragma once

#include <array>
#include <bit>

#include <idefics/backend/backend.hpp>

#include "activation.cuh"
#include "attention.cuh"
#include "elementwise.cuh"
#include "embedding.cuh"
#include "find_hopper.hpp"
#include "linear.cuh"
#include "linear_4bit.cuh"
#include "linear_4bit_gemm.cuh"
#include "memory.cuh"
#include "norm.cuh"
#include "patch.cuh"
#include "require_device.cuh"
#include "rope.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// Operations on one GPU. An object serves one calling thread at a time. Its operands are in device
/// memory: they come from `empty` and `upload`.
class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(int gpu = 0) : gpu_(usable(gpu)), name_("cuda:" + std::to_string(gpu)) {
    hopper_ = find_hopper(gpu);
    device_->before_freeing([this] { stream_.wait(); });
  }
  ~CudaBackend() override { device_->before_freeing({}); }

  std::string_view name() const override { return name_; }

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
                 Compute compute) override;
  void do_linear_group(std::span<const LinearTask> tasks, const Tensor& x) override;
  void do_linear_add(Tensor sum, const Tensor& x, const LinearWeight& weight, const Tensor& bias,
                     Compute compute, Tensor scratch) override;
  void do_attention(Tensor out, const Tensor& q, const Tensor& k, const Tensor& v,
                    std::span<const AttentionSegment> segments, float scale) override;
  void do_attention_weights(Tensor out, const Tensor& q, const Tensor& k,
                            std::span<const AttentionSegment> segments,
                            std::span<const std::int32_t> queries, float scale) override;

  void do_rms_norm(Tensor out, const Tensor& x, const Tensor& weight, float eps) override {
    const std::int64_t d = weight.count();
    cuda::rms_norm(stream_, to(out), const_cast<float*>(from(x)), nullptr, floats(weight),
                   x.count() / d, d, eps);
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
  void do_gated_add(Tensor x, const Tensor& y, const Tensor& alpha) override {
    const std::int64_t d = x.dim(-1);
    cuda::gated_add(stream_, to(x), from(y), floats(alpha), alpha.count(), x.count() / d, d);
  }
  void do_scatter_rows(Tensor out, std::span<const std::int32_t> rows, const Tensor& x) override {
    check_indices(rows, out.dim(0), "scatter_rows row");
    if (rows.empty()) return;
    const auto [on_device] = staging_(rows);
    cuda::scatter_rows(stream_, to(out), on_device, from(x), std::ssize(rows),
                       x.count() / x.dim(0));
  }
  void do_gather_rows(Tensor out, const Tensor& x, std::span<const std::int32_t> rows) override {
    check_indices(rows, x.dim(0), "gather_rows row");
    if (rows.empty()) return;
    const auto [on_device] = staging_(rows);
    cuda::gather_rows(stream_, to(out), from(x), on_device, std::ssize(rows),
                      out.count() / out.dim(0));
  }

 private:
  static Gpu usable(int gpu) {
    require_device(activations::activate_all<Activation::silu>, gpu);
    return Gpu(gpu);
  }
  static float* to(Tensor& t) { return t.as_mutable<float>().data(); }
  static const float* from(const Tensor& t) { return t.as<float>().data(); }
  static DeviceFloats floats(const Tensor& t) { return {t.raw(), t.dtype()}; }

  /// Scratch memory that the next operation may reuse: operations run in the order of the stream.
  template <class T>
  T* scratch(std::int64_t count) {
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
    if (bytes > scratch_bytes_) {
      scratch_ = device_->get(bytes);
      scratch_bytes_ = bytes;
    }
    return reinterpret_cast<T*>(scratch_.get());
  }

  bf16_t* round(const Tensor& x, std::int64_t k);
  void multiply(float* out, const float* x, bf16_t* rounded, const LinearWeight& weight,
                LinearEnd end, Compute compute, std::int64_t m);
  template <class X>
  void multiply_together(std::span<const LinearTask> tasks, const GemvRows<X>& x);
  FourBitMatrix four_bits(const QuantizedTensor& q);
  struct Tiles;
  Tiles stage(const std::vector<AttentionTile>& tiles, AttentionOperands operands,
              std::span<const AttentionSegment> segments);

  static constexpr std::int64_t few_queries = 4;  // per segment, on average

  Gpu gpu_;
  std::string name_;
  std::shared_ptr<MemoryPool> device_ =
      std::make_shared<MemoryPool>(MemoryPool::Kind::device, gpu_);
  std::shared_ptr<MemoryPool> pinned_ =
      std::make_shared<MemoryPool>(MemoryPool::Kind::pinned, gpu_);
  std::shared_ptr<std::byte> scratch_;
  std::size_t scratch_bytes_ = 0;
  Stream stream_{gpu_};  // destroyed before the memory that its work uses
  Staging staging_{stream_, pinned_, device_};
  Uploader upload_{stream_, pinned_};
  std::vector<std::int32_t> key_rows_;
  Hopper hopper_;
};

/// Whether a product reads x in bf16.
inline bool reads_rounded(const LinearWeight& weight, Compute compute) {
  return compute == Compute::bf16 &&
         (!weight.packed || weight.cols() % weight.packed.blocksize == 0);
}

/// x in bf16, in scratch memory; null if it is rounded later.
inline bf16_t* CudaBackend::round(const Tensor& x, std::int64_t k) {
  const std::int64_t m = x.count() / k;
  if (m <= gemv_rows_rounded_late) return nullptr;
  bf16_t* const rounded = scratch<bf16_t>(m * rounded_width(k));
  round_rows(stream_, rounded, from(x), m, k);
  return rounded;
}

/// One product of x [M,K], which is in f32 or, if already rounded, in bf16.
inline void CudaBackend::multiply(float* out, const float* x, bf16_t* rounded,
                                  const LinearWeight& weight, LinearEnd end, Compute compute,
                                  std::int64_t m) {
  const std::int64_t n = weight.rows(), k = weight.cols();
  const bool bf16 = compute == Compute::bf16;
  if (weight.packed) {
    const FourBitMatrix matrix = four_bits(weight.packed);
    if (reads_rounded(weight, compute))
      cuda::linear_4bit_bf16(stream_, out, rounded ? nullptr : x, rounded, matrix, end, m, n);
    else
      cuda::linear_4bit_f32(stream_, out, x, matrix, bf16, end, m, n);
  } else if (bf16) {
    cuda::linear_bf16(stream_, out, rounded ? nullptr : x, rounded, floats(weight.values), end, m,
                      n, k, hopper_);
  } else {
    cuda::linear_f32(stream_, out, x, floats(weight.values), end, m, n, k);
  }
}

inline void CudaBackend::do_linear(Tensor out, const Tensor& x, const LinearWeight& weight,
                                   const Tensor& bias, Compute compute) {
  bf16_t* const rounded = reads_rounded(weight, compute) ? round(x, weight.cols()) : nullptr;
  multiply(to(out), from(x), rounded, weight, {floats(bias), nullptr}, compute, x.dim(0));
}

inline void CudaBackend::do_linear_add(Tensor sum, const Tensor& x, const LinearWeight& weight,
                                       const Tensor& bias, Compute compute, Tensor /*scratch*/) {
  bf16_t* const rounded = reads_rounded(weight, compute) ? round(x, weight.cols()) : nullptr;
  multiply(to(sum), from(x), rounded, weight, {floats(bias), from(sum)}, compute, x.dim(0));
}

/// Whether gemv_bf16 or gemv_4bit can process the weights of all tasks in one launch.
inline bool are_alike(std::span<const LinearTask> tasks) {
  const LinearWeight& first = *tasks[0].weight;
  return std::ranges::all_of(tasks, [&](const LinearTask& task) {
    const LinearWeight& w = *task.weight;
    if (w.packed) return first.packed && w.packed.type == first.packed.type;
    return !first.packed && w.values.dtype() == first.values.dtype();
  });
}

/// x is rounded once for all tasks; up to 16 rows and three matrices of a kind need one launch.
inline void CudaBackend::do_linear_group(std::span<const LinearTask> tasks, const Tensor& x) {
  const bool rounds = std::ranges::all_of(
      tasks, [](const LinearTask& task) { return reads_rounded(*task.weight, task.compute); });
  if (tasks.empty() || !rounds) return Backend::do_linear_group(tasks, x);
  const std::int64_t k = tasks[0].weight->cols(), m = x.count() / k;
  bf16_t* const rounded = round(x, k);
  if (m > 0 && m <= max_gemv_rows && tasks.size() <= 3 && are_alike(tasks)) {
    if (rounded) return multiply_together(tasks, gemv_rows(rounded, m, k));
    return multiply_together(tasks, gemv_rows(from(x), m, k));
  }
  for (const LinearTask& task : tasks) {
    Tensor out = task.out;
    multiply(to(out), from(x), rounded, *task.weight, {floats(task.bias), nullptr}, task.compute,
             m);
  }
}

template <class X>
void CudaBackend::multiply_together(std::span<const LinearTask> tasks, const GemvRows<X>& x) {
  const std::int64_t k = tasks[0].weight->cols();
  const auto part_of = [](const LinearTask& task, auto weights) {
    Tensor out = task.out;
    return GemvPart<decltype(weights)>{
        to(out), weights, {floats(task.bias), nullptr}, task.weight->rows()};
  };
  if (tasks[0].weight->packed) {
    std::array<GemvPart<FourBitMatrix>, 3> parts;
    for (std::size_t i = 0; i < tasks.size(); ++i)
      parts[i] = part_of(tasks[i], four_bits(tasks[i].weight->packed));
    // Staging invalidates earlier spans, so all parts use the last of their (equal) tables.
    for (auto& part : parts) part.weights.table = parts[tasks.size() - 1].weights.table;
    return gemv_4bit<X>(stream_, std::span(parts).first(tasks.size()), x);
  }
  with_float_type(floats(tasks[0].weight->values), [&]<class W>(const W*) {
    std::array<GemvPart<const W*>, 3> parts;
    for (std::size_t i = 0; i < tasks.size(); ++i)
      parts[i] = part_of(tasks[i], tasks[i].weight->values.template as<W>().data());
    gemv_bf16<W>(stream_, std::span(parts).first(tasks.size()), x, k);
  });
}

inline FourBitMatrix CudaBackend::four_bits(const QuantizedTensor& q) {
  const Codebook values = q.table();
  const auto [table] = staging_(std::span<const float>(values));
  const auto data = [](const Tensor& t) { return reinterpret_cast<const float*>(t.raw()); };
  return {.codes = reinterpret_cast<const std::uint8_t*>(q.codes.raw()),
          .absmax = q.absmax.raw(),
          .nested = q.double_quant() ? data(q.nested.absmax) : nullptr,
          .map = q.double_quant() ? data(q.nested.map) : nullptr,
          .offset = q.nested.offset,
          .block_shift = std::countr_zero(static_cast<std::uint64_t>(q.blocksize)),
          .width = q.shape[1],
          .table = table};
}

/// The tiles of a call and the key rows that they refer to, on the device.
struct CudaBackend::Tiles {
  const AttentionTile* tiles;
  AttentionOperands operands;
  std::int64_t count, most_keys;
};

inline CudaBackend::Tiles CudaBackend::stage(const std::vector<AttentionTile>& tiles,
                                             AttentionOperands operands,
                                             std::span<const AttentionSegment> segments) {
  key_rows_.clear();
  std::size_t most = 0;
  for (const AttentionSegment& s : segments) {
    key_rows_.insert(key_rows_.end(), s.key_rows.begin(), s.key_rows.end());
    most = std::max(most, s.key_rows.size());
  }
  const auto [on_device, rows] =
      staging_(std::span<const AttentionTile>(tiles), std::span<const std::int32_t>(key_rows_));
  operands.key_rows = rows;
  // Rounded up, so that a step with one key more has the same grid as the previous one.
  const std::int64_t most_keys = ceil_div(static_cast<std::int64_t>(most), 512) * 512;
  return {on_device, operands, std::ssize(tiles), most_keys};
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
  const std::int64_t most = few ? 1 : attention_tile_queries(width);
  const Tiles t = stage(attention_tiles(segments, most),
                        {.q = from(q),
                         .k = from(k),
                         .v = from(v),
                         .key_rows = nullptr,
                         .heads = static_cast<int>(heads),
                         .width = static_cast<int>(width),
                         .scale = scale},
                        segments);
  float* const partial =
      most > 1 ? nullptr : scratch<float>(attention_scratch(t.count, heads, width, t.most_keys));
  cuda::attention(stream_, to(out), t.operands, t.tiles, t.count, most == 1, t.most_keys, partial);
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
  const Tiles t = stage(chosen,
                        {.q = from(q),
                         .k = from(k),
                         .v = nullptr,
                         .key_rows = nullptr,
                         .heads = static_cast<int>(q.dim(1)),
                         .width = static_cast<int>(q.dim(2)),
                         .scale = scale},
                        segments);
  cuda::attention_weights(stream_, to(out), t.operands, t.tiles, t.count, out.dim(2));
}

}}}  // namespace idefics::v0::cuda
