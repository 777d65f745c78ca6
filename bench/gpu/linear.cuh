// Linear layers in every weight format: the bytes of weights relative to the read bandwidth for few
// rows, flops relative to cuBLAS in bf16 for many rows. The shapes are those of idefics-9b.
#pragma once

#include <optional>

#include <idefics/backend/cpu/quantize.hpp>

#include "harness.cuh"

namespace idefics::bench::gpu {

struct Format {
  const char* name;
  DType dtype;
  Compute compute;
  int bits = 0;  // 4, or 5 for 4 with double quantization
};

inline constexpr Format formats[] = {{"bf16", DType::bf16, Compute::bf16},
                                     {"f16", DType::f16, Compute::bf16},
                                     {"f32", DType::f32, Compute::f32},
                                     {"nf4", DType::bf16, Compute::bf16, 4},
                                     {"nf4+double", DType::bf16, Compute::bf16, 5}};

struct Product {
  std::int64_t m, n, k;
};

inline std::string name_of(const Format& f, const Product& p) {
  return std::string(f.name) + ", " + std::to_string(p.m) + " x " + std::to_string(p.n) + " x " +
         std::to_string(p.k);
}

/// A random matrix in format `f`, on the host.
inline LinearWeight random_weight(const Format& f, std::int64_t n, std::int64_t k) {
  const Tensor values = random_tensor(f.dtype, {n, k}, 0.02f, 1);
  if (f.bits == 0) return {.values = values};
  const QuantizeOptions options{.double_quant = f.bits == 5};
  return {.packed = quantize_4bit(values, options)};
}

inline LinearWeight uploaded(Harness& h, LinearWeight w) {
  if (w.values) return {.values = h.device.upload(w.values)};
  for (Tensor* part :
       {&w.packed.codes, &w.packed.absmax, &w.packed.nested.absmax, &w.packed.nested.map})
    *part = h.device.upload(*part);
  return w;
}

inline std::size_t bytes_of(const LinearWeight& w) {
  return w.values ? w.values.bytes() : w.packed.codes.bytes() + w.packed.absmax.bytes();
}

/// Compares the product on the device with the reference, for the last rows of x and, if the matrix
/// can be sliced, the last rows of it. Packed matrices are checked only if they are small.
inline void check_product(Harness& h, const Format& f, const Product& p, const LinearWeight& weight,
                          const LinearWeight& on_device, const Tensor& x) {
  if (f.bits != 0 && p.n * p.k > 4096 * 4096) return;
  const std::int64_t m = std::min<std::int64_t>(p.m, 3);
  const std::int64_t n = f.bits != 0 ? p.n : std::min<std::int64_t>(p.n, 37);
  Tensor out = h.device.empty(DType::f32, {p.m, p.n});
  h.device.linear(out, h.device.upload(x), on_device, {}, f.compute);
  const Tensor all = h.device.download(out);
  Tensor found = Tensor::empty(DType::f32, {m, n}), expected = Tensor::empty(DType::f32, {m, n});
  for (std::int64_t i = 0; i < m; ++i)
    std::memcpy(found.raw_mutable() + i * n * 4,
                all.raw() + ((p.m - m + i) * p.n + p.n - n) * std::int64_t{4},
                static_cast<std::size_t>(n) * 4);
  const LinearWeight rows =
      f.bits != 0 ? weight : LinearWeight{.values = weight.values.slice(p.n - n, p.n)};
  h.reference.linear(expected, x.slice(p.m - m, p.m), rows, {}, f.compute);
  check_close(h, name_of(f, p), h.device.upload(found), expected);
}

/// Seconds of cuBLAS for the same product in bf16, with copies of the matrix in turn; nothing
/// without cuBLAS.
inline std::optional<double> cublas_seconds(Harness& h, const Product& p) {
  if (!has_cublas) return {};
  const auto weights = uploaded(h, random_tensor(DType::bf16, {p.n, p.k}, 0.02f, 1),
                                h.copies(static_cast<std::size_t>(p.n * p.k) * 2));
  const Tensor x = h.device.upload(random_tensor(DType::bf16, {p.m, p.k}, 1.0f, 99));
  Tensor out = h.device.empty(DType::bf16, {p.m, p.n});
  return library_seconds(
      h, [&](std::size_t i) { h.cublas->linear(out, x, weights[i % weights.size()]); });
}

/// Seconds of one product on the device, with copies of the matrix in turn, after checking it.
inline double product_seconds(Harness& h, const Format& f, const Product& p,
                              const LinearWeight& weight) {
  std::vector<LinearWeight> weights;
  while (weights.size() < h.copies(bytes_of(weight))) weights.push_back(uploaded(h, weight));
  const Tensor host_x = random_tensor(DType::f32, {p.m, p.k}, 1.0f, 99);
  check_product(h, f, p, weight, weights[0], host_x);
  const Tensor x = h.device.upload(host_x);
  Tensor out = h.device.empty(DType::f32, {p.m, p.n});
  return device_seconds(h, [&](std::size_t i) {
    h.device.linear(out, x, weights[i % weights.size()], {}, f.compute);
  });
}

/// Decoding: every format, with the matrices of the decoder and of its head.
inline void measure_few_rows(Harness& h) {
  print_header("linear, few rows (M x N x K)");
  const std::int64_t scale = h.quick ? 64 : 1;
  for (const Product& shape : {Product{1, 4096, 4096}, Product{1, 11008, 4096},
                               Product{1, 4096, 11008}, Product{1, 22016, 4096}})
    for (const Format& f : formats) {
      if (f.dtype != DType::bf16 && shape.n != 4096) continue;
      const LinearWeight weight = random_weight(f, shape.n / scale, shape.k / scale);
      for (const std::int64_t m : {1, 4, 8}) {
        if (m > 1 && f.dtype != DType::bf16) continue;
        const Product p{m, shape.n / scale, shape.k / scale};
        print_bytes(h, name_of(f, p), product_seconds(h, f, p, weight),
                    static_cast<double>(bytes_of(weight)));
      }
    }
  for (const std::int64_t m : {1, 8}) {
    const Product p{m, 4096 / scale, 11008 / scale};
    if (const auto seconds = cublas_seconds(h, p))
      print_bytes(h, "cuBLAS bf16, " + name_of(formats[0], p).substr(6), *seconds,
                  static_cast<double>(p.n * p.k * 2));
  }
}

/// Prompts and pictures, compared with cuBLAS in bf16 with bf16 outputs; ours and x are f32.
inline void measure_many_rows(Harness& h) {
  print_header("linear, many rows (M x N x K)");
  const std::int64_t scale = h.quick ? 64 : 1;
  for (const Product& p :
       {Product{64, 4096, 4096}, Product{64, 11008, 4096}, Product{512, 4096, 4096},
        Product{512, 11008, 4096}, Product{512, 4096, 11008}, Product{1028, 4096, 4096},
        Product{257, 1280, 1280}, Product{257, 5120, 1280}, Product{257, 1280, 5120},
        Product{1028, 1280, 1280}, Product{1028, 5120, 1280}, Product{1028, 1280, 5120}}) {
    const Product small{h.quick ? std::min<std::int64_t>(p.m, 20) : p.m, p.n / scale, p.k / scale};
    const std::optional<double> other = cublas_seconds(h, small);
    for (const Format& f : {formats[0], formats[4]}) {
      if (f.bits != 0 && p.n < 4096) continue;
      const LinearWeight weight = random_weight(f, small.n, small.k);
      print_row(name_of(f, small), product_seconds(h, f, small, weight),
                2.0 * static_cast<double>(small.m * small.n * small.k), true, other.value_or(0),
                other ? "cuBLAS bf16" : "no cuBLAS");
    }
  }
}

inline void measure_linear(Harness& h) {
  measure_few_rows(h);
  measure_many_rows(h);
}

}  // namespace idefics::bench::gpu
