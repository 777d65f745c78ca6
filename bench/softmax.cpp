// Probabilities, and the index of the largest score: bytes against the read bandwidth, for rows of
// attention scores and for the logits of a vocabulary.
#include "bench.hpp"

namespace idefics::bench {
namespace {

/// Reads x only, so the bytes of x are compared with reading as many.
void largest(Context& c, const std::string& name, const Tensor& x) {
  Tensor out = Tensor::empty(DType::i64, {x.dim(0)}),
         expected = Tensor::empty(DType::i64, {x.dim(0)});
  c.fast.argmax(out, x);
  c.reference.argmax(expected, x);
  if (std::memcmp(out.raw(), expected.raw(), out.bytes()) != 0) {
    std::fprintf(stderr, "%s: result differs from the reference\n", name.c_str());
    std::exit(1);
  }
  const auto times = interleaved({[&] {
                                    read_all({x.raw(), x.bytes()});
                                  },
                                  [&] { c.fast.argmax(out, x); }},
                                 c.rounds());
  const auto work = static_cast<double>(x.bytes());
  print_rate(name, times[1], work, "GB/s", work / times[0] / 1e9, "read bandwidth");
}

}  // namespace

void bench_softmax(Context& c) {
  for (const std::int64_t d : {512, 32002}) {
    const std::int64_t rows = (c.quick ? 8 : 16384) * 512 / d + 1;
    const Tensor x = random_tensor(DType::f32, {rows, d}, 8.0f, 1);
    Tensor out = Tensor::empty(DType::f32, {rows, d}),
           expected = Tensor::empty(DType::f32, {rows, d});
    const std::string size = ", rows of " + std::to_string(d);
    const auto softmax = [&](Backend& b, Tensor& to) { b.softmax(to, x); };
    compare_bytes(c, "softmax" + size, softmax, out, expected, 2 * x.bytes());
    largest(c, "argmax" + size, x);
  }
}

}  // namespace idefics::bench
