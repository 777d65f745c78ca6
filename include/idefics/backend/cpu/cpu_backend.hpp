// The CPU backend: chooses an instruction set once, divides the outputs of each operation among
// threads and calls the kernels. All instruction sets and thread counts give the same bits
// (docs/determinism.md).
#pragma once

#include <optional>

#include <idefics/backend/backend.hpp>
#include <idefics/backend/cpu/kernels.hpp>
#include <idefics/backend/cpu/linear_4bit.hpp>
#include <idefics/backend/cpu/linear_scratch.hpp>
#include <idefics/backend/cpu/scratch.hpp>
#include <idefics/core/threads.hpp>

namespace idefics { inline namespace v0 {

/// Runs operations on the threads of core/threads.hpp. An object may be used by only one thread at
/// a time: it owns the scratch memory, which grows to the largest shapes seen and is then reused.
class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(Isa isa)
      : isa_(isa), kernels_(detail::cpu::kernels_for(isa)), four_bits_(kernels_) {}

  std::string_view name() const override {
    return isa_ == Isa::avx512 ? "cpu-avx512" : isa_ == Isa::avx2 ? "cpu-avx2" : "cpu-scalar";
  }
  Isa isa() const { return isa_; }

  void reserve_keys(std::int64_t keys, std::int64_t head_dim) override {
    (void)scratch_.floats(detail::cpu::attention_scratch(keys, head_dim) * num_threads());
  }

 protected:
  void do_linear(Tensor out, const Tensor& x, const LinearWeight& weight, const Tensor& bias,
                 Compute compute) override {
    const auto& kernels = compute == Compute::bf16 ? kernels_.linear_bf16 : kernels_.linear_f32;
    detail::cpu::LinearArgs args{.out = out.as_mutable<float>().data(),
                                 .x = x.as<float>().data(),
                                 .weight = weight.values.raw(),
                                 .bias = as_f32(bias, parameters_[0]),
                                 .m = x.dim(0),
                                 .n = weight.rows(),
                                 .k = weight.cols()};
    if (weight.packed) return four_bits_(args, weight.packed, compute, expected_rows());
    const auto dtype = format_of(weight.values);
    if (args.m < expected_rows()) reserve_scratch(args, kernels);
    if (args.m <= detail::cpu::gemv_rows_max && kernels.gemv[dtype] != nullptr)
      linear_gemv(args, kernels, dtype, compute == Compute::bf16);
    else
      linear_gemm(args, kernels, dtype, compute == Compute::bf16);
  }

  void do_attention(Tensor out, const Tensor& q, const Tensor& k, const Tensor& v,
                    std::span<const AttentionSegment> segments, float scale) override {
    const detail::cpu::AttentionArgs args{.out = out.as_mutable<float>().data(),
                                          .q = q.as<float>().data(),
                                          .k = k.as<float>().data(),
                                          .v = v.as<float>().data(),
                                          .heads = q.dim(1),
                                          .width = q.dim(2),
                                          .scale = scale};
    std::int64_t blocks = 0, keys = 0;
    for (const auto& s : segments) {
      check_segment(s, q.dim(0), k.dim(0));
      blocks += blocks_of(s);
      keys = std::max(keys, static_cast<std::int64_t>(s.key_rows.size()));
    }
    const std::int64_t size = detail::cpu::attention_scratch(keys, args.width);
    float* scratch = scratch_.floats(size * num_threads());
    const std::int64_t products = q.count() * keys;
    divide(blocks * args.heads, products, [&](std::int64_t i, int worker) {
      std::int64_t block = i / args.heads;
      const AttentionSegment* s = segments.data();
      for (; block >= blocks_of(*s); ++s) block -= blocks_of(*s);
      const std::int64_t begin = s->query_begin + block * query_block;
      kernels_.attention(args, *s, i % args.heads, begin,
                         std::min(begin + query_block, s->query_end), scratch + worker * size);
    });
  }

  void do_attention_weights(Tensor out, const Tensor& q, const Tensor& k,
                            std::span<const AttentionSegment> segments,
                            std::span<const std::int32_t> queries, float scale) override {
    const std::int64_t heads = q.dim(1), keys = out.dim(2);
    for (const auto& s : segments) check_segment(s, q.dim(0), k.dim(0));
    for (const auto query : queries) (void)detail::segment_of(segments, query);
    const std::int64_t size = detail::cpu::attention_scratch(keys, 0);
    float* scratch = scratch_.floats(size * num_threads());
    float* to = out.as_mutable<float>().data();
    std::fill_n(to, out.count(), 0.0f);
    const std::int64_t tasks = out.dim(0) * heads;
    divide(tasks, tasks * keys * q.dim(2), [&](std::int64_t i, int worker) {
      const std::int64_t query = queries[static_cast<std::size_t>(i / heads)];
      const detail::cpu::AttentionArgs args{.out = to + i * keys,
                                            .q = q.as<float>().data(),
                                            .k = k.as<float>().data(),
                                            .v = nullptr,
                                            .heads = heads,
                                            .width = q.dim(2),
                                            .scale = scale};
      kernels_.attention_weights(args, detail::segment_of(segments, query), i % heads, query,
                                 scratch + worker * size);
    });
  }

  void do_rms_norm(Tensor out, const Tensor& x, const Tensor& weight, float eps) override {
    const std::int64_t d = weight.count();
    float* to = out.as_mutable<float>().data();
    const float *from = x.as<float>().data(), *scale = as_f32(weight, parameters_[0]);
    parallel_ranges(x.count() / d, grain(d), [&](std::int64_t begin, std::int64_t end) {
      kernels_.rms_norm(to + begin * d, from + begin * d, scale, eps, end - begin, d);
    });
  }

  void do_layer_norm(Tensor out, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     float eps) override {
    const std::int64_t d = weight.count();
    float* to = out.as_mutable<float>().data();
    const float *from = x.as<float>().data(), *scale = as_f32(weight, parameters_[0]),
                *shift = as_f32(bias, parameters_[1]);
    parallel_ranges(x.count() / d, grain(d), [&](std::int64_t begin, std::int64_t end) {
      kernels_.layer_norm(to + begin * d, from + begin * d, scale, shift, eps, end - begin, d);
    });
  }

  void do_rope(Tensor x, const Tensor& cos, const Tensor& sin,
               std::span<const std::int32_t> positions) override {
    check_indices(positions, std::min(cos.dim(0), sin.dim(0)), "rope position");
    const std::int64_t heads = x.dim(1), half = cos.dim(1), row = heads * 2 * half;
    float* to = x.as_mutable<float>().data();
    const float *c = as_f32(cos, parameters_[0]), *s = as_f32(sin, parameters_[1]);
    parallel_ranges(x.dim(0), grain(row), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t m = begin; m < end; ++m) {
        const std::int64_t at = positions[static_cast<std::size_t>(m)] * half;
        kernels_.rope(to + m * row, c + at, s + at, heads, half);
      }
    });
  }

  void do_embedding(Tensor out, std::span<const std::int32_t> ids, const Tensor& table,
                    const Tensor& additional) override {
    const std::int64_t first = table.dim(0), d = table.dim(1);
    check_indices(ids, first + (additional ? additional.dim(0) : 0), "token id",
                  ErrorCode::invalid_token_id);
    (void)format_of(table);
    if (additional) (void)format_of(additional);
    float* to = out.as_mutable<float>().data();
    parallel_ranges(out.count() / d, grain(d), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t m = begin; m < end; ++m) {
        const std::int64_t id = ids[static_cast<std::size_t>(m)];
        const Tensor& from = id < first ? table : additional;
        const auto row_bytes = d * static_cast<std::int64_t>(size_of(from.dtype()));
        kernels_.convert(to + m * d, from.raw() + (id < first ? id : id - first) * row_bytes,
                         from.dtype(), d);
      }
    });
  }

  void do_unfold_patches(Tensor out, const Tensor& pixels, std::int64_t patch) override {
    const std::int64_t channels = pixels.dim(1), height = pixels.dim(2), width = pixels.dim(3);
    const std::int64_t across = width / patch, count = (height / patch) * across;
    const std::int64_t size = channels * patch * patch;
    float* to = out.as_mutable<float>().data();
    const float* from = pixels.as<float>().data();
    parallel_ranges(pixels.dim(0) * count, grain(size), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        kernels_.unfold_patch(to + i * size,
                              from + i / count * channels * height * width +
                                  i % count / across * patch * width + i % across * patch,
                              channels, height, width, patch);
    });
  }

  void do_activation(Tensor out, const Tensor& x, Activation act) override {
    float* to = out.as_mutable<float>().data();
    const float* from = x.as<float>().data();
    parallel_ranges(x.count(), grain(1), [&](std::int64_t begin, std::int64_t end) {
      kernels_.gated_activation(to + begin, from + begin, nullptr, end - begin, act);
    });
  }

  void do_gated_activation(Tensor out, const Tensor& gate, const Tensor& up,
                           Activation act) override {
    float* to = out.as_mutable<float>().data();
    const float *g = gate.as<float>().data(), *u = up.as<float>().data();
    parallel_ranges(gate.count(), grain(1), [&](std::int64_t begin, std::int64_t end) {
      kernels_.gated_activation(to + begin, g + begin, u + begin, end - begin, act);
    });
  }

  void do_add(Tensor out, const Tensor& x, const Tensor& y) override {
    const std::int64_t d = y.count();
    float* to = out.as_mutable<float>().data();
    const float *a = x.as<float>().data(), *b = as_f32(y, parameters_[0]);
    if (x.count() == d)
      parallel_ranges(d, grain(1), [&](std::int64_t begin, std::int64_t end) {
        kernels_.add(to + begin, a + begin, b + begin, end - begin);
      });
    else
      parallel_ranges(x.count() / d, grain(d), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t m = begin; m < end; ++m) kernels_.add(to + m * d, a + m * d, b, d);
      });
  }

  void do_gated_add(Tensor x, const Tensor& y, const Tensor& alpha) override {
    const std::int64_t d = alpha.count();
    float* to = x.as_mutable<float>().data();
    const float* from = y.as<float>().data();
    float* gate = parameters_[1].floats(d);
    kernels_.tanh(gate, as_f32(alpha, parameters_[0]), d);
    if (d == 1)
      parallel_ranges(x.count(), grain(1), [&](std::int64_t begin, std::int64_t end) {
        kernels_.scaled_add_one(to + begin, from + begin, gate[0], end - begin);
      });
    else
      parallel_ranges(x.count() / d, grain(d), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t m = begin; m < end; ++m)
          kernels_.scaled_add(to + m * d, from + m * d, gate, d);
      });
  }

  void do_scatter_rows(Tensor out, std::span<const std::int32_t> rows, const Tensor& x) override {
    check_indices(rows, out.dim(0), "scatter_rows row");
    copy_rows(out, x, rows.size(), [&](std::size_t i) {
      return std::pair{static_cast<std::size_t>(rows[i]), i};
    });
  }

  void do_gather_rows(Tensor out, const Tensor& x, std::span<const std::int32_t> rows) override {
    check_indices(rows, x.dim(0), "gather_rows row");
    copy_rows(out, x, rows.size(), [&](std::size_t i) {
      return std::pair{i, static_cast<std::size_t>(rows[i])};
    });
  }

 private:
  static constexpr std::int64_t query_block = 32;          // queries of one attention task
  static constexpr std::int64_t thread_work = 16384;       // elements that justify another thread
  static constexpr std::int64_t thread_products = 131072;  // products that justify all threads

  static std::int64_t grain(std::int64_t row) {
    return std::max<std::int64_t>(1, thread_work / row);
  }

  /// Runs tasks on all threads if their products justify waking them, else on this one.
  template <class Body>
  static void divide(std::int64_t tasks, std::int64_t products, const Body& body) {
    if (products >= thread_products) return parallel_tasks(tasks, body);
    for (std::int64_t i = 0; i < tasks; ++i) body(i, 0);
  }

  static Checked threads() { return detail::cpu::floats(num_threads()); }

  static std::int64_t blocks_of(const AttentionSegment& s) {
    return detail::cpu::ceil_div(s.query_end - s.query_begin, query_block);
  }

  /// Index of a weight's dtype in f32, f16, bf16.
  static std::size_t format_of(const Tensor& t) {
    switch (t.dtype()) {
      case DType::f32: return 0;
      case DType::f16: return 1;
      case DType::bf16: return 2;
      default: fail(ErrorCode::dtype_mismatch, "weights must be f32, f16 or bf16");
    }
  }

  /// A small parameter as aligned f32: in place, or a copy in `scratch`; null if empty.
  const float* as_f32(const Tensor& t, detail::cpu::Scratch& scratch) const {
    if (!t) return nullptr;
    const bool aligned = reinterpret_cast<std::uintptr_t>(t.raw()) % alignof(float) == 0;
    if (format_of(t) == 0 && aligned) return reinterpret_cast<const float*>(t.raw());
    float* values = scratch.floats(t.count());
    kernels_.convert(values, t.raw(), t.dtype(), t.count());
    return values;
  }

  /// Allocates the scratch that the product will need for the expected number of rows.
  void reserve_scratch(const detail::cpu::LinearArgs& args,
                       const detail::cpu::LinearKernels& kernels) {
    const std::int64_t rows = std::min(expected_rows(), detail::cpu::row_block);
    const auto need = detail::cpu::gemm_scratch(kernels, rows, args.n, args.k, num_threads());
    (void)packed_.floats(need.packed);
    (void)scratch_.floats(need.of_thread * threads());
  }

  void linear_gemv(detail::cpu::LinearArgs args, const detail::cpu::LinearKernels& kernels,
                   std::size_t dtype, bool flush) {
    float* packed = packed_.floats(detail::cpu::gemv_scratch(kernels, args.m, args.k).packed);
    kernels.pack_rows(packed, args.x, 0, args.m, args.m, args.k);
    args.x = packed;
    // Contiguous runs of about 256 KiB keep the hardware prefetchers of all threads busy.
    const std::int64_t row_bytes = std::max<std::int64_t>(1, 2 * args.k);
    const std::int64_t block = std::clamp<std::int64_t>(
        (262144 / row_bytes + 7) / 8 * 8, 8, detail::cpu::round_up(args.n / num_threads() + 1, 8));
    divide(detail::cpu::ceil_div(args.n, block), args.m * args.n * args.k,
           [&](std::int64_t i, int) {
             const detail::cpu::FlushSubnormals mode(flush);
             kernels.gemv[dtype](args, i * block, std::min((i + 1) * block, args.n));
           });
  }

  void linear_gemm(const detail::cpu::LinearArgs& full, const detail::cpu::LinearKernels& kernels,
                   std::size_t dtype, bool flush) {
    using detail::cpu::ceil_div;
    const std::int64_t rows = detail::cpu::rows_at_once(kernels, full.m);
    const std::int64_t cols = detail::cpu::cols_at_once(kernels, full.n, num_threads());
    const auto need = detail::cpu::gemm_scratch(kernels, full.m, full.n, full.k, num_threads());
    float* packed = packed_.floats(need.packed);
    float* scratch = scratch_.floats(need.of_thread * threads());
    for (std::int64_t m = 0; m < full.m; m += rows) {
      auto args = full;
      args.m = std::min(rows, full.m - m);
      args.out += m * full.n;
      const float* x = full.x + m * full.k;
      divide(ceil_div(args.m, kernels.tile_x_rows), 8 * args.m * args.k,
             [&](std::int64_t i, int) { kernels.pack_tiles(packed, x, i, i + 1, args.m, args.k); });
      args.x = packed;
      divide(ceil_div(args.n, cols), args.m * args.n * args.k, [&](std::int64_t i, int worker) {
        const detail::cpu::FlushSubnormals mode(flush);
        kernels.gemm[dtype](args, i * cols, std::min((i + 1) * cols, args.n),
                            scratch + static_cast<std::size_t>(worker) * need.of_thread.size());
      });
    }
  }

  /// Copies `count` rows; place(i) returns the row numbers {target, source} of the i-th copy.
  template <class Place>
  static void copy_rows(Tensor& out, const Tensor& x, std::size_t count, const Place& place) {
    if (out.dtype() != x.dtype())
      fail(ErrorCode::dtype_mismatch, "rows can only be copied between tensors of the same dtype");
    if (count == 0) return;
    const std::size_t bytes = out.bytes() / static_cast<std::size_t>(out.dim(0));
    std::byte* to = out.raw_mutable();
    const auto row = static_cast<std::int64_t>(bytes / sizeof(float) + 1);
    parallel_ranges(static_cast<std::int64_t>(count), grain(row),
                    [&](std::int64_t begin, std::int64_t end) {
                      for (auto i = begin; i < end; ++i) {
                        const auto [target, source] = place(static_cast<std::size_t>(i));
                        std::memcpy(to + target * bytes, x.raw() + source * bytes, bytes);
                      }
                    });
  }

  Isa isa_;
  detail::cpu::KernelTable kernels_;
  detail::cpu::FourBitLinear four_bits_;
  detail::cpu::Scratch packed_, scratch_, parameters_[2];
};

/// A CPU backend for the best instruction set of this machine, or for `isa`. Throws
/// `device_unavailable` if the CPU lacks it.
inline std::shared_ptr<Backend> make_cpu_backend(std::optional<Isa> isa = std::nullopt) {
  const Isa chosen = isa.value_or(available_isas().back());
  if (!detail::cpu::has(chosen))
    fail(ErrorCode::device_unavailable, "this CPU lacks the requested instruction set");
  return std::make_shared<CpuBackend>(chosen);
}

}}  // namespace idefics::v0
