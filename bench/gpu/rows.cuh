// Norms, rotation, activations, additions and lookups: bytes in and out relative to the read
// bandwidth, for the single row of a decode step and the 512 rows of a prompt. Copies of the
// operands are used in turn.
#pragma once

#include <numeric>

#include "harness.cuh"

namespace idefics::bench::gpu {

/// Times operation(backend, out, in) for `in` and `out` f32 [M,D] and prints its row. The reference
/// must give the same result, from an `out` that begins as a copy of `in`.
template <class Operation>
void measure_rows(Harness& h, const std::string& name, Shape shape, double bytes_per_value,
                  const Operation& operation) {
  const Tensor host = random_tensor(DType::f32, shape, 1.0f, 1);
  const std::size_t copies = h.copies(2 * host.bytes());
  const auto in = uploaded(h, host, copies);
  auto out = uploaded(h, host, copies);
  Tensor expected = Tensor::empty(DType::f32, shape);
  std::memcpy(expected.raw_mutable(), host.raw(), host.bytes());
  operation(h.reference, expected, host);
  operation(static_cast<Backend&>(h.device), out[0], in[0]);
  check_close(h, name, out[0], expected);
  const double seconds = device_seconds(h, [&](std::size_t i) {
    operation(static_cast<Backend&>(h.device), out[i % copies], in[i % copies]);
  });
  print_bytes(h, name + ", " + shape.to_string(), seconds,
              bytes_per_value * static_cast<double>(shape.count()));
}

/// A tensor on host and device; on() returns the one that `backend` reads.
struct Both {
  Tensor host, device;
  Both(Harness& h, const Tensor& values) : host(values), device(h.device.upload(values)) {}
  const Tensor& on(const Harness& h, const Backend& backend) const {
    return &backend == &h.reference ? host : device;
  }
};

inline void measure_rows(Harness& h, std::int64_t m) {
  const std::int64_t d = h.quick ? 68 : 4096, f = h.quick ? 72 : 11008, heads = h.quick ? 2 : 32;
  const Both weight(h, random_tensor(DType::bf16, {d}, 1.0f, 2));
  const Both bias(h, random_tensor(DType::bf16, {d}, 1.0f, 3));
  const Both alpha(h, random_tensor(DType::bf16, {1}, 1.0f, 4));
  const std::int64_t half = d / heads / 2, vocabulary = h.quick ? 100 : 32000;
  const Both cosines(h, random_tensor(DType::f32, {m, half}, 1.0f, 5));
  const Both sines(h, random_tensor(DType::f32, {m, half}, 1.0f, 6));
  const Both table(h, random_tensor(DType::bf16, {vocabulary, d}, 1.0f, 7));
  std::vector<std::int32_t> positions(static_cast<std::size_t>(m));
  std::iota(positions.begin(), positions.end(), 0);
  std::vector<std::int32_t> ids = positions;
  for (auto& id : ids) id = static_cast<std::int32_t>(id * 37 % vocabulary);

  measure_rows(h, "rms_norm", {m, d}, 8, [&](Backend& b, Tensor& out, const Tensor& in) {
    b.rms_norm(out, in, weight.on(h, b), 1e-6f);
  });
  measure_rows(h, "layer_norm", {m, d}, 8, [&](Backend& b, Tensor& out, const Tensor& in) {
    b.layer_norm(out, in, weight.on(h, b), bias.on(h, b), 1e-5f);
  });
  measure_rows(h, "rope", {m, heads, 2 * half}, 8, [&](Backend& b, Tensor& out, const Tensor&) {
    b.rope(out, cosines.on(h, b), sines.on(h, b), positions);
  });
  measure_rows(h, "gated_activation", {m, f}, 12, [&](Backend& b, Tensor& out, const Tensor& in) {
    b.gated_activation(out, in, in, Activation::silu);
  });
  measure_rows(h, "add", {m, d}, 12,
               [&](Backend& b, Tensor& out, const Tensor& in) { b.add(out, in, in); });
  measure_rows(h, "multiply", {m, d}, 12,
               [&](Backend& b, Tensor& out, const Tensor& in) { b.multiply(out, in, in); });
  measure_rows(h, "softmax", {m, d}, 8,
               [&](Backend& b, Tensor& out, const Tensor& in) { b.softmax(out, in); });
  measure_rows(h, "transpose", {d, m}, 8, [&](Backend& b, Tensor& out, const Tensor& in) {
    b.transpose(out.reshape({m, d}), in, 0, 1);
  });
  measure_rows(h, "gated_add", {m, d}, 12, [&](Backend& b, Tensor& out, const Tensor& in) {
    b.gated_add(out, in, alpha.on(h, b));
  });
  measure_rows(h, "embedding", {m, d}, 6, [&](Backend& b, Tensor& out, const Tensor&) {
    b.embedding(out, ids, table.on(h, b), {});
  });
}

inline void measure_rows(Harness& h) {
  print_header("norms and rows");
  for (const std::int64_t m :
       h.quick ? std::vector<std::int64_t>{1, 3} : std::vector<std::int64_t>{1, 512})
    measure_rows(h, m);
}

}  // namespace idefics::bench::gpu
