// Some rows of a matrix: the part that one rank of a run keeps (backend/tensor_parallel.hpp).
//
// Letters: N outputs, K inputs.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <numeric>

#include <idefics/backend/operands.hpp>
#include <idefics/ranks/communicator.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Widths of layers whose columns are attention heads, and the widths of these heads.
using HeadWidths = std::map<std::int64_t, std::int64_t>;

/// How ranks share the rows of a matrix, which are its outputs: by heads, or else in whole vectors,
/// and in multiples of `grain`.
inline Sharding shard_outputs(std::int64_t n, const HeadWidths& heads, std::int64_t grain = 1) {
  constexpr std::int64_t vector = 16;
  const auto found = heads.find(n);
  return {n, std::lcm(found != heads.end() ? found->second : vector, grain)};
}

/// How many rows a part must be a multiple of, so that it begins at a block of 4-bit values and, with
/// double quantization, at a block of their constants. 1 for other formats.
inline std::int64_t row_grain(const LinearWeight& weight /*[N,K]*/) {
  if (!weight.packed || weight.cols() == 0) return 1;
  const std::int64_t block = weight.packed.blocksize * (weight.packed.double_quant() ? 256 : 1);
  return block / std::gcd(block, weight.cols());
}

/// Elements [begin, end) of a tensor. A read-only view, such as one of a mapped file, is not copied;
/// other memory is, so that the rest of it can be freed.
inline Tensor elements_of(const Tensor& tensor, std::int64_t begin, std::int64_t end) {
  if (!tensor) return tensor;
  const Tensor part = tensor.reshape({tensor.count()}).slice(begin, end);
  if (!tensor.writable()) return part;
  Tensor copy = Tensor::empty(part.dtype(), part.shape());
  if (copy.bytes() != 0) std::memcpy(copy.raw_mutable(), part.raw(), copy.bytes());
  return copy;
}

/// Rows [begin, end) of a matrix on the host; `begin` is a multiple of its row_grain.
inline LinearWeight rows_of(const LinearWeight& weight /*[N,K]*/, std::int64_t begin,
                            std::int64_t end) {
  const std::int64_t k = weight.cols(), rows = end - begin;
  if (weight.values)
    return {.values = elements_of(weight.values, begin * k, end * k).reshape({rows, k})};
  if (weight.int8)
    return {.int8 = {elements_of(weight.int8.codes, begin * k, end * k).reshape({rows, k}),
                     elements_of(weight.int8.absmax, begin, end), weight.int8.threshold}};
  QuantizedTensor q = weight.packed;
  const auto blocks = [&](std::int64_t n, std::int64_t size) { return (n + size - 1) / size; };
  const std::int64_t first = begin * k / q.blocksize, last = blocks(end * k, q.blocksize);
  q.shape = {rows, k};
  q.codes = elements_of(q.codes, begin * k / 2, blocks(end * k, 2));
  q.absmax = elements_of(q.absmax, first, last);
  if (q.double_quant())
    q.nested.absmax = elements_of(q.nested.absmax, first / 256, blocks(last, 256));
  return {.packed = std::move(q)};
}

}}}  // namespace idefics::v0::detail
