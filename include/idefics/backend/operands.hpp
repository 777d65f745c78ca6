// What operations take besides tensors: weights of linear layers, keys and values, and the segments
// of attention.
//
// Letters: M rows, N outputs, K inputs, J keys, H heads, E head width.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include <idefics/backend/choices.hpp>
#include <idefics/core/tensor.hpp>
#include <idefics/quant/blockwise.hpp>
#include <idefics/quant/int8.hpp>

namespace idefics { inline namespace v0 {

/// The matrix of a linear layer, [N,K] as checkpoints store it. At most one of the members is set.
struct LinearWeight {
  Tensor values{};           // [N,K] f32, f16 or bf16
  QuantizedTensor packed{};  // [N,K] in 4 bits
  Int8Matrix int8{};         // [N,K] in int8

  std::int64_t rows() const { return shape()[0]; }
  std::int64_t cols() const { return shape()[1]; }
  const Shape& shape() const {
    return packed ? packed.shape : int8 ? int8.codes.shape() : values.shape();
  }
  bool is_quantized() const { return packed || int8; }
  explicit operator bool() const { return is_quantized() || values; }
};

/// One of several products that share the same x.
struct LinearTask {
  Tensor out{};  // [M,N]
  const LinearWeight* weight = nullptr;
  Tensor bias{};  // [N] or empty
  Compute compute = Compute::f32;
};

/// RMSNorm of x as the input of products. A device may compute it where it is read; the contents of
/// `scratch` are unspecified afterwards.
struct NormedInput {
  Tensor x;       // [M,K]
  Tensor weight;  // [K]
  float eps = 1e-6f;
  Tensor scratch;  // [M,K]
};

/// Keys and values of a layer.
struct KeysAndValues {
  Tensor k, v;  // [J,H,E]
};

/// Queries that attend to the same keys. Instead of passing a mask, the caller lists the visible keys.
struct AttentionSegment {
  std::int64_t query_begin = 0;  // rows of q and out
  std::int64_t query_end = 0;
  std::span<const std::int32_t> key_rows{};  // rows of k and v, in order of summation; may be empty
  bool causal = false;                       // query i of n sees the first keys - (n - 1 - i) keys
};

namespace detail {

/// Whether keys and values may be stored like this.
inline bool f32_or_bf16(const Tensor& t) {
  return t.dtype() == DType::f32 || t.dtype() == DType::bf16;
}

/// The segment that contains a query. Throws `invalid_argument` if no segment does.
inline const AttentionSegment& segment_of(std::span<const AttentionSegment> segments,
                                          std::int64_t query) {
  const auto found = std::ranges::find_if(segments, [query](const AttentionSegment& s) {
    return s.query_begin <= query && query < s.query_end;
  });
  require(found != segments.end(), "a query is not in any attention segment");
  return *found;
}

}  // namespace detail

}}  // namespace idefics::v0
