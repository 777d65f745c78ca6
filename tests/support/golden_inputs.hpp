// Batches of the recordings of make_generation.py.
#pragma once

#include <cstring>
#include <vector>

#include <idefics/io/json.hpp>
#include <idefics/model/inputs.hpp>

namespace golden {

using idefics::DType;
using idefics::Inputs;
using idefics::Json;
using idefics::Tensor;

inline Tensor i64(const Json& nested, idefics::Shape shape) {
  Tensor t = Tensor::empty(DType::i64, shape);
  std::size_t i = 0;
  const auto fill = [&](const auto& self, const Json& value) -> void {
    if (value.is_number())
      t.as_mutable<std::int64_t>()[i++] = value.get<std::int64_t>();
    else
      for (const Json& inner : value) self(self, inner);
  };
  fill(fill, nested);
  return t;
}

/// The batch of a case of make_generation.py. Pictures are numbers of rows of `pool`.
inline Inputs inputs_of(const Json& one, const Tensor& pool) {
  const auto b = std::ssize(one.at("input_ids")), t = std::ssize(one.at("input_ids")[0]);
  const auto n = std::ssize(one.at("image_attention_mask")[0][0]);
  Tensor pixels = Tensor::zeros(DType::f32, {b, n, pool.dim(1), pool.dim(2), pool.dim(3)});
  for (std::int64_t row = 0; row < b; ++row) {
    const auto pictures =
        one.at("images")[static_cast<std::size_t>(row)].get<std::vector<std::int32_t>>();
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      const Tensor picture = pool.slice(pictures[i], pictures[i] + 1);
      const auto place = static_cast<std::size_t>(row * n) + i;
      std::memcpy(pixels.raw_mutable() + place * picture.bytes(), picture.raw(), picture.bytes());
    }
  }
  return {i64(one.at("input_ids"), {b, t}), i64(one.at("attention_mask"), {b, t}), pixels,
          i64(one.at("image_attention_mask"), {b, t, n})};
}

}  // namespace golden
