// The CPU backend: chooses an instruction set once, divides the outputs of each operation among
// threads and calls the kernels. All instruction sets and thread counts give the same bits
// (docs/determinism.md).
#pragma once

#include <optional>

#include <idefics/backend/backend.hpp>
#include <idefics/backend/cpu/attention_tasks.hpp>
#include <idefics/backend/cpu/copies.hpp>
#include <idefics/backend/cpu/divide.hpp>
#include <idefics/backend/cpu/kernels.hpp>
#include <idefics/backend/cpu/linear_4bit.hpp>
#include <idefics/backend/cpu/linear_int8.hpp>
#include <idefics/backend/cpu/linear_plain.hpp>
#include <idefics/backend/cpu/matmul.hpp>

namespace idefics { inline namespace v0 {

/// Runs operations on the threads of core/threads.hpp. An object may be used by only one thread at
/// a time: it owns the scratch memory, which grows to the largest shapes seen and is then reused.
class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(Isa isa) : isa_(isa), kernels_(detail::cpu::kernels_for(isa)) {}

  std::string_view name() const override {
    switch (isa_) {
      case Isa::avx512: return "cpu-avx512";
      case Isa::avx2: return "cpu-avx2";
      case Isa::neon: return "cpu-neon";
      default: return "cpu-scalar";
    }
  }
  Isa isa() const { return isa_; }
  std::shared_ptr<Backend> fork() const override { return std::make_shared<CpuBackend>(isa_); }
  bool stops_within_pass() const override { return true; }

  void reserve_keys(std::int64_t keys, std::int64_t head_dim) override {
    (void)scratch_.floats(detail::cpu::attention_scratch(keys, head_dim) * num_threads());
  }

 protected:
  void do_linear(Tensor out, const Tensor& x, const LinearWeight& weight, const Tensor& bias,
                 Compute compute) override {
    const detail::cpu::LinearArgs args{.out = out.as_mutable<float>().data(),
                                       .x = x.as<float>().data(),
                                       .weight = weight.values.raw(),
                                       .bias = as_f32(bias, parameters_[0]),
                                       .m = x.dim(0),
                                       .n = weight.rows(),
                                       .k = weight.cols()};
    if (weight.packed) return four_bits_(args, weight.packed, compute, expected_rows());
    if (weight.int8) return int8_(args, weight.int8, compute, expected_rows());
    plain_(args, format_of(weight.values), compute, expected_rows());
  }

  void do_matmul(Tensor out, const Tensor& a, const Tensor& b) override {
    matmul_({.out = out.as_mutable<float>().data(),
             .x = a.as<float>().data(),
             .weight = reinterpret_cast<const std::byte*>(b.as<float>().data()),
             .bias = nullptr,
             .m = a.dim(0),
             .n = b.dim(1),
             .k = b.dim(0)});
  }

  void do_attention(Tensor out, const Tensor& q, const Tensor& k, const Tensor& v,
                    std::span<const AttentionSegment> segments, float scale) override {
    const detail::cpu::AttentionArgs args{.out = out.as_mutable<float>().data(),
                                          .q = q.as<float>().data(),
                                          .k = k.raw(),
                                          .v = v.raw(),
                                          .kv_dtype = k.dtype(),
                                          .heads = q.dim(1),
                                          .width = q.dim(2),
                                          .scale = scale};
    const detail::cpu::AttentionTasks tasks(segments, args.heads);
    std::int64_t keys = 0;
    for (const auto& s : segments) {
      check_segment(s, q.dim(0), k.dim(0));
      keys = std::max(keys, static_cast<std::int64_t>(s.key_rows.size()));
    }
    const std::int64_t size = detail::cpu::attention_scratch(keys, args.width);
    float* scratch = scratch_.floats(size * num_threads());
    detail::cpu::divide(tasks.count(), q.count() * keys, [&](std::int64_t i, int worker) {
      const auto task = tasks[i];
      kernels_.attention(args, *task.segment, task.head, task.head_end, task.query, task.query_end,
                         scratch + worker * size);
    });
  }

  void do_attention_weights(Tensor out, const Tensor& q, const Tensor& k,
                            std::span<const AttentionSegment> segments,
                            std::span<const std::int32_t> queries, float scale) override {
    const std::int64_t heads = q.dim(1), keys = out.dim(2);
    for (const auto& s : segments) check_segment(s, q.dim(0), k.dim(0));
    for (const auto query : queries) (void)detail::segment_of(segments, query);
    const std::int64_t size = detail::cpu::round_up(keys, 16);
    float* scratch = scratch_.floats(size * num_threads());
    float* to = out.as_mutable<float>().data();
    std::fill_n(to, out.count(), 0.0f);
    const std::int64_t tasks = out.dim(0) * heads;
    detail::cpu::divide(tasks, tasks * keys * q.dim(2), [&](std::int64_t i, int worker) {
      const std::int64_t query = queries[static_cast<std::size_t>(i / heads)];
      const detail::cpu::AttentionArgs args{.out = to + i * keys,
                                            .q = q.as<float>().data(),
                                            .k = k.raw(),
                                            .v = nullptr,
                                            .kv_dtype = k.dtype(),
                                            .heads = heads,
                                            .width = q.dim(2),
                                            .scale = scale};
      kernels_.attention_weights(args, detail::segment_of(segments, query), i % heads, query,
                                 scratch + worker * size);
    });
  }

  void do_softmax(Tensor out, const Tensor& x) override {
    const std::int64_t d = x.dim(-1), rows = x.count() / d, size = detail::cpu::round_up(d, 16);
    const std::int64_t some = grain(d);
    float *to = out.as_mutable<float>().data(), *scratch = scratch_.floats(size * num_threads());
    const float* from = x.as<float>().data();
    parallel_tasks(detail::cpu::ceil_div(rows, some), [&](std::int64_t task, int worker) {
      for (std::int64_t m = task * some; m < std::min(task * some + some, rows); ++m)
        kernels_.softmax(to + m * d, from + m * d, d, scratch + worker * size);
    });
  }

  void do_argmax(Tensor out, const Tensor& x) override {
    const std::int64_t d = x.dim(-1);
    std::int64_t* to = out.as_mutable<std::int64_t>().data();
    const float* from = x.as<float>().data();
    parallel_ranges(out.count(), grain(d), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t m = begin; m < end; ++m) to[m] = kernels_.argmax(from + m * d, d);
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
    combine(out, x, y, kernels_.add);
  }
  void do_multiply(Tensor out, const Tensor& x, const Tensor& y) override {
    combine(out, x, y, kernels_.multiply);
  }
  void do_scale(Tensor out, const Tensor& x, float factor) override {
    float* to = out.as_mutable<float>().data();
    const float* from = x.as<float>().data();
    parallel_ranges(x.count(), grain(1), [&](std::int64_t begin, std::int64_t end) {
      kernels_.scale(to + begin, from + begin, factor, end - begin);
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
    const auto place = [&](std::size_t i) {
      return std::pair{static_cast<std::size_t>(rows[i]), i};
    };
    if (out.dtype() == x.dtype()) return detail::cpu::copy_rows(out, x, rows.size(), place);
    if (rows.empty()) return;
    const std::int64_t width = x.count() / x.dim(0);
    parallel_ranges(x.dim(0), grain(width), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t m = begin; m < end; ++m)
        kernels_.narrow(out.raw_mutable() + rows[static_cast<std::size_t>(m)] * width * 2,
                        out.dtype(), x.raw() + m * width * 4, width);
    });
  }

  void do_gather_rows(Tensor out, const Tensor& x, std::span<const std::int32_t> rows) override {
    check_indices(rows, x.dim(0), "gather_rows row");
    detail::cpu::copy_rows(out, x, rows.size(), [&](std::size_t i) {
      return std::pair{i, static_cast<std::size_t>(rows[i])};
    });
  }

  void do_transpose(Tensor out, const Tensor& x) override {
    detail::cpu::transpose(kernels_, out, x);
  }
  void do_concat(Tensor out, std::span<const Tensor> parts, std::int64_t rows) override {
    detail::cpu::concat(out, parts, rows);
  }

 private:
  static std::int64_t grain(std::int64_t row) { return detail::cpu::grain(row); }

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

  /// Applies a kernel to the elements of x and y, which is repeated over the rows of x.
  template <class Kernel>
  void combine(Tensor& out, const Tensor& x, const Tensor& y, const Kernel& kernel) {
    const std::int64_t d = y.count();
    float* to = out.as_mutable<float>().data();
    const float *a = x.as<float>().data(), *b = as_f32(y, parameters_[0]);
    if (x.count() == d)
      parallel_ranges(d, grain(1), [&](std::int64_t begin, std::int64_t end) {
        kernel(to + begin, a + begin, b + begin, end - begin);
      });
    else
      parallel_ranges(x.count() / d, grain(d), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t m = begin; m < end; ++m) kernel(to + m * d, a + m * d, b, d);
      });
  }

  Isa isa_;
  detail::cpu::KernelTable kernels_;
  detail::cpu::Scratch scratch_, parameters_[2];
  detail::cpu::PlainLinear plain_{kernels_, scratch_};
  detail::cpu::FourBitLinear four_bits_{kernels_};
  detail::cpu::Int8Linear int8_{kernels_};
  detail::cpu::MatMul matmul_{kernels_, scratch_};
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
