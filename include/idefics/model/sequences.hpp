// From padded tensors to ragged sequences. Padding is dropped here, and no later step knows of it:
// each row of a batch is computed exactly as it would be alone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <idefics/model/config.hpp>
#include <idefics/model/inputs.hpp>

namespace idefics { inline namespace v0 {

/// Consecutive tokens that see the same pictures (none, before the first picture).
struct PictureRun {
  std::int64_t begin = 0, end = 0;     // token indices within the sequence
  std::vector<std::int32_t> pictures;  // picture indices within the row, ascending
};

/// One row of a batch without its padding.
struct Sequence {
  std::vector<std::int32_t> ids;      // without padding
  std::vector<std::int64_t> columns;  // of each token in the padded row
  std::vector<PictureRun> runs;       // cover all tokens, in order
};

namespace detail {

inline std::int64_t mask_at(const Tensor& mask, std::int64_t i) {
  if (mask.dtype() == DType::boolean) return mask.as<std::uint8_t>()[static_cast<std::size_t>(i)];
  return mask.as<std::int64_t>()[static_cast<std::size_t>(i)];
}

inline void check_inputs(const Inputs& in) {
  auto check = [](bool good, const char* field, const Tensor& t, const char* want) {
    if (!good)
      fail(ErrorCode::shape_mismatch,
           std::string(field) + " is " + t.shape().to_string() + ", expected " + want,
           {.field = field});
  };
  check(in.input_ids.shape().rank() == 2 && in.input_ids.dim(0) > 0, "input_ids", in.input_ids,
        "[B,T]");
  check(in.attention_mask.shape() == in.input_ids.shape(), "attention_mask", in.attention_mask,
        "the shape of input_ids");
  const Tensor& pixels = in.pixel_values;
  check(pixels.shape().rank() == 5 && pixels.dim(0) == in.input_ids.dim(0), "pixel_values", pixels,
        "[B,I,3,Y,X]");
  const Tensor& seen = in.image_attention_mask;
  check(seen.shape().rank() == 3 && seen.dim(0) == in.input_ids.dim(0) &&
            seen.dim(1) == in.input_ids.dim(1) && seen.dim(2) == pixels.dim(1),
        "image_attention_mask", seen, "[B,T,I]");
}

/// The pictures that the token in `column` of `row` sees.
inline std::vector<std::int32_t> pictures_seen(const Tensor& mask, std::int64_t row,
                                               std::int64_t column) {
  std::vector<std::int32_t> seen;
  const std::int64_t n = mask.dim(2), base = (row * mask.dim(1) + column) * n;
  for (std::int64_t i = 0; i < n; ++i)
    if (mask_at(mask, base + i) != 0) seen.push_back(static_cast<std::int32_t>(i));
  return seen;
}

/// Throws `invalid_token_id` for an id outside the vocabulary.
inline void check_id(std::int64_t id, const Config& config) {
  if (id >= 0 && id < config.total_vocab_size()) return;
  fail(ErrorCode::invalid_token_id, "token id " + std::to_string(id) + " is not in the vocabulary",
       {.field = "input_ids", .limit = static_cast<std::uint64_t>(config.total_vocab_size())});
}

/// The sequences of a batch. Throws `shape_mismatch`, `invalid_token_id`, or `empty_prompt` for a
/// row whose attention mask is all zero.
inline std::vector<Sequence> make_sequences(const Inputs& in, const Config& config) {
  detail::check_inputs(in);
  const auto ids = in.input_ids.as<std::int64_t>();
  const std::int64_t rows = in.input_ids.dim(0), columns = in.input_ids.dim(1);
  std::vector<Sequence> sequences(static_cast<std::size_t>(rows));
  for (std::int64_t b = 0; b < rows; ++b) {
    Sequence& sequence = sequences[static_cast<std::size_t>(b)];
    for (std::int64_t t = 0; t < columns; ++t) {
      if (detail::mask_at(in.attention_mask, b * columns + t) == 0) continue;
      const std::int64_t id = ids[static_cast<std::size_t>(b * columns + t)];
      check_id(id, config);
      const auto index = static_cast<std::int64_t>(sequence.ids.size());
      auto seen = detail::pictures_seen(in.image_attention_mask, b, t);
      if (sequence.runs.empty() || sequence.runs.back().pictures != seen)
        sequence.runs.push_back({index, index, std::move(seen)});
      sequence.runs.back().end = index + 1;
      sequence.ids.push_back(static_cast<std::int32_t>(id));
      sequence.columns.push_back(t);
    }
    if (sequence.ids.empty())
      fail(ErrorCode::empty_prompt, "row " + std::to_string(b) + " of the batch has no tokens",
           {.field = "attention_mask"});
  }
  return sequences;
}

}  // namespace detail

}}  // namespace idefics::v0
