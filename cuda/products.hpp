// Linear layers: rounds x to bf16 once where several products read it, and chooses the kernels.
//
// Letters: M rows, N outputs, K inputs.
#pragma once

#include <algorithm>
#include <array>
#include <bit>

#include <idefics/backend/operands.hpp>

#include "linear.cuh"
#include "linear_4bit_hopper.cuh"
#include "linear_int8.cuh"
#include "memory.cuh"
#include "norm.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline DeviceFloats floats(const Tensor& t) { return {t.raw(), t.dtype()}; }

/// Products by weights of any format, in the order of a stream.
class Products {
 public:
  Products(Stream& stream, Staging& staging, Scratch& scratch, Hopper hopper)
      : stream_(stream), staging_(staging), scratch_(scratch), hopper_(hopper) {}

  /// out [M,N] = x [M,K] times a weight [N,K], with `end`.
  void operator()(float* out, const Tensor& x, const LinearWeight& weight, LinearEnd end,
                  Compute compute);
  /// Several products, of which x is rounded once; up to 16 rows and three matrices of a kind need
  /// one launch. False if not all of them read x in bf16: then nothing has been done.
  bool together(std::span<const LinearTask> tasks, const Tensor& x);
  /// The same for rms_norm of x, which is computed where x is read or as a kernel that writes bf16.
  bool together(std::span<const LinearTask> tasks, const NormedInput& x);
  /// gate.out = silu(gate) * up for rms_norm of up to 16 rows of x, in one launch besides that of the
  /// norm. False if weights or x do not allow it: then nothing has been done.
  bool gated(const LinearTask& gate, const LinearTask& up, const NormedInput& x);

 private:
  static float* out_of(const LinearTask& task) {
    Tensor out = task.out;
    return out.as_mutable<float>().data();
  }
  bf16_t* round(const Tensor& x, std::int64_t k);
  void multiply(float* out, const float* x, bf16_t* rounded, const LinearWeight& weight,
                LinearEnd end, Compute compute, std::int64_t m);
  bf16_t* norm(const NormedInput& x, std::int64_t m, std::int64_t k);
  void multiply_all(std::span<const LinearTask> tasks, const float* x, bf16_t* rounded,
                    std::int64_t m);
  template <class X>
  void multiply_together(std::span<const LinearTask> tasks, const GemvRows<X>& x);
  FourBitMatrix four_bits(const QuantizedTensor& q);
  void multiply_int8(float* out, const float* x, const Int8Matrix& w, LinearEnd end, bool bf16,
                     std::int64_t m);

  Stream& stream_;
  Staging& staging_;
  Scratch& scratch_;
  Hopper hopper_;
};

/// Whether a product reads x in bf16.
inline bool reads_rounded(const LinearWeight& weight, Compute compute) {
  return compute == Compute::bf16 && !weight.int8 &&
         (!weight.packed || weight.cols() % weight.packed.blocksize == 0);
}

/// x in bf16, in scratch memory, with room for a second copy after it; null if it is rounded later.
inline bf16_t* Products::round(const Tensor& x, std::int64_t k) {
  const std::int64_t m = x.count() / k;
  if (rounded_late(m, k)) return nullptr;
  bf16_t* const rounded = scratch_.get<bf16_t>(2 * m * rounded_width(k));
  round_rows(stream_, rounded, x.as<float>().data(), m, k);
  return rounded;
}

/// One product of x [M,K], which is in f32 or, if already rounded, in bf16.
inline void Products::multiply(float* out, const float* x, bf16_t* rounded,
                               const LinearWeight& weight, LinearEnd end, Compute compute,
                               std::int64_t m) {
  const std::int64_t n = weight.rows(), k = weight.cols();
  const bool bf16 = compute == Compute::bf16;
  if (weight.int8) return multiply_int8(out, x, weight.int8, end, bf16, m);
  if (weight.packed) {
    const FourBitMatrix matrix = four_bits(weight.packed);
    if (reads_rounded(weight, compute))
      cuda::linear_4bit_bf16(stream_, out, rounded ? nullptr : x, rounded,
                             rounded ? rounded + m * rounded_width(k) : nullptr, matrix, end, m, n,
                             hopper_);
    else
      cuda::linear_4bit_f32(stream_, out, x, matrix, bf16, end, m, n);
  } else if (bf16) {
    cuda::linear_bf16(stream_, out, rounded ? nullptr : x, rounded, floats(weight.values), end, m,
                      n, k, hopper_);
  } else {
    cuda::linear_f32(stream_, out, x, floats(weight.values), end, m, n, k);
  }
}

inline void Products::operator()(float* out, const Tensor& x, const LinearWeight& weight,
                                 LinearEnd end, Compute compute) {
  bf16_t* const rounded = reads_rounded(weight, compute) ? round(x, weight.cols()) : nullptr;
  multiply(out, x.as<float>().data(), rounded, weight, end, compute, x.dim(0));
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

/// Whether all tasks read x in bf16.
inline bool read_rounded(std::span<const LinearTask> tasks) {
  return !tasks.empty() && std::ranges::all_of(tasks, [](const LinearTask& task) {
    return reads_rounded(*task.weight, task.compute);
  });
}
/// Whether one launch can compute them.
inline bool are_few(std::span<const LinearTask> tasks, std::int64_t m) {
  return m > 0 && m <= max_gemv_rows && tasks.size() <= 3 && are_alike(tasks);
}

/// Products of x [M,K], in f32 or, if already rounded, in bf16.
inline void Products::multiply_all(std::span<const LinearTask> tasks, const float* x,
                                   bf16_t* rounded, std::int64_t m) {
  const std::int64_t k = tasks[0].weight->cols();
  if (are_few(tasks, m))
    return rounded ? multiply_together(tasks, gemv_rows(rounded, m, k))
                   : multiply_together(tasks, gemv_rows(x, m, k));
  for (const LinearTask& task : tasks)
    multiply(out_of(task), x, rounded, *task.weight, {floats(task.bias), nullptr}, task.compute, m);
}

inline bool Products::together(std::span<const LinearTask> tasks, const Tensor& x) {
  if (!read_rounded(tasks)) return false;
  const std::int64_t k = tasks[0].weight->cols();
  multiply_all(tasks, x.as<float>().data(), round(x, k), x.count() / k);
  return true;
}

/// Whether the norm of x [M,K] can be a part of products.
inline bool joins_products(const NormedInput& x, std::int64_t k) {
  return x.weight.dtype() == DType::f32 && k % k_step == 0;
}
/// rms_norm of x in bf16, in scratch memory.
inline bf16_t* Products::norm(const NormedInput& x, std::int64_t m, std::int64_t k) {
  bf16_t* const rounded = scratch_.get<bf16_t>(m * k);
  rms_norm(stream_, rounded, x.x.as<float>().data(), floats(x.weight), m, k, x.eps);
  return rounded;
}

inline bool Products::together(std::span<const LinearTask> tasks, const NormedInput& x) {
  if (!read_rounded(tasks)) return false;
  const std::int64_t k = tasks[0].weight->cols(), m = x.x.count() / k;
  if (!joins_products(x, k)) return false;
  if (are_few(tasks, m) && normed_late(m, k))
    multiply_together(tasks,
                      gemv_rows(x.x.as<float>().data(), m, k, x.weight.as<float>().data(), x.eps));
  else
    multiply_all(tasks, nullptr, norm(x, m, k), m);
  return true;
}

inline bool Products::gated(const LinearTask& gate, const LinearTask& up, const NormedInput& x) {
  const std::array tasks{gate, up};
  const std::int64_t k = gate.weight->cols(), m = x.x.count() / k;
  if (!read_rounded(tasks) || !are_few(tasks, m) || !joins_products(x, k) || gate.weight->packed ||
      gate.bias || up.bias)
    return false;
  with_float_type(floats(gate.weight->values), [&]<class W>(const W*) {
    const auto part = [&](const LinearTask& task) {
      return GemvPart<const W*>{
          out_of(gate), task.weight->values.template as<W>().data(), {}, task.weight->rows()};
    };
    const std::array parts{part(gate), part(up)};
    const std::span<const GemvPart<const W*>> both(parts);
    if (normed_late(m, k))
      gemv_bf16<W>(stream_, both,
                   gemv_rows(x.x.as<float>().data(), m, k, x.weight.as<float>().data(), x.eps), k,
                   gemv_least_blocks, true);
    else
      gemv_bf16<W>(stream_, both, gemv_rows(static_cast<const bf16_t*>(norm(x, m, k)), m, k), k,
                   gemv_least_blocks, true);
  });
  return true;
}

template <class X>
void Products::multiply_together(std::span<const LinearTask> tasks, const GemvRows<X>& x) {
  const std::int64_t k = tasks[0].weight->cols();
  const auto part_of = [](const LinearTask& task, auto weights) {
    return GemvPart<decltype(weights)>{
        out_of(task), weights, {floats(task.bias), nullptr}, task.weight->rows()};
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

/// x is quantized in scratch memory.
inline void Products::multiply_int8(float* out, const float* x, const Int8Matrix& w, LinearEnd end,
                                    bool bf16, std::int64_t m) {
  const std::int64_t n = w.codes.dim(0), k = w.codes.dim(1);
  const auto* const codes = w.codes.as<std::int8_t>().data();
  cuda::linear_int8(stream_, out, x, {codes, w.absmax.as<float>().data(), n, k, in_quads(codes, k)},
                    w.threshold, bf16, end.bias, end.residual,
                    scratch_.get<std::byte>(Int8Rows::bytes(m, k)), m);
}

inline FourBitMatrix Products::four_bits(const QuantizedTensor& q) {
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

}}}  // namespace idefics::v0::cuda
