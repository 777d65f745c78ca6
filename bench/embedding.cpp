// Rows of a bf16 table: bytes in and out against the read bandwidth.
#include "bench.hpp"

namespace idefics::bench {

void bench_embedding(Context& c) {
  const std::int64_t tokens = c.quick ? 8 : 8192, vocabulary = c.quick ? 64 : 32000, d = 4096;
  const Tensor table = random_tensor(DType::bf16, {vocabulary, d}, 1.0f, 1);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens));
  for (std::size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<std::int32_t>(i * 7919 % static_cast<std::size_t>(vocabulary));
  Tensor out = Tensor::empty(DType::f32, {tokens, d}),
         expected = Tensor::empty(DType::f32, {tokens, d});
  const auto look_up = [&](Backend& b, Tensor& to) { b.embedding(to, ids, table, {}); };
  compare_bytes(c, "embedding", look_up, out, expected, out.bytes() / 2 + out.bytes());
}

}  // namespace idefics::bench
