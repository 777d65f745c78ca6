// Memory that a pass needs in addition to weights and caches: the buffers of the vision tower, the
// resampler and the decoder. Variables are named as in the files that declare the buffers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include <idefics/core/checked.hpp>
#include <idefics/model/config.hpp>

namespace idefics { inline namespace v0 {

/// The work for which memory is planned.
struct Workload {
  std::int64_t context = 512;                // tokens of a sequence, prompt and answer
  std::optional<std::int64_t> new_tokens{};  // of these in the answer; unset: up to all
  std::int64_t batch = 1;                    // prompts
  std::int64_t beams = 1;                    // sequences per prompt
  std::int64_t pictures = 1;                 // in all prompts combined
  std::int64_t chunk = 256;                  // tokens per pass, ModelOptions::prefill_chunk
  std::int64_t threads = 1;
  std::int64_t ranks = 1;  // that compute together: the plan is that of the largest share
};

namespace detail {

inline Checked checked(std::int64_t value) { return Checked(static_cast<std::uint64_t>(value)); }
inline constexpr std::uint64_t float_bytes = sizeof(float);

/// The most tokens of a pass: those of a prefill chunk, or one for each row of a decode step, which
/// takes several passes if there are more.
inline std::int64_t tokens_per_pass(const Workload& work) {
  const std::int64_t answer = std::min(work.new_tokens.value_or(0), work.context - 1);
  const Checked prompts = checked(work.batch) * checked(work.context - answer);
  const Checked rows = checked(work.batch) * checked(work.beams);
  const Checked chunk = checked(std::max<std::int64_t>(work.chunk, 1));
  return static_cast<std::int64_t>(std::min(std::max(rows, prompts), chunk).value());
}

/// Pictures that the vision tower encodes at a time (model/picture_encoding.hpp).
inline std::int64_t pictures_per_pass(const Workload& work) {
  return std::min<std::int64_t>(work.pictures, 4);
}

/// VisionTower::State, and the pixels, unfolded patches and patch embeddings that fill it.
inline Checked vision_floats(const VisionConfig& c, std::int64_t pictures) {
  const Checked n = checked(pictures), s = checked(c.num_positions()), d = checked(c.embed_dim);
  const Checked pixels = checked(c.num_channels) * checked(c.image_size) * checked(c.image_size);
  const Checked unfolded = checked(c.num_channels) * checked(c.patch_size) * checked(c.patch_size);
  return n * (pixels + s * (d * 6 + checked(c.intermediate_size)) + (s - 1) * (unfolded + d));
}

/// PerceiverResampler::State, and the pixels and features of the vision tower.
inline Checked resampler_floats(const Config& c, std::int64_t pictures) {
  const PerceiverConfig& p = c.perceiver;
  const Checked n = checked(pictures), s = checked(c.vision.num_positions());
  const Checked l = checked(p.latents), d = checked(c.vision.embed_dim);
  const Checked inner = checked(p.heads) * checked(p.head_dim);
  const Checked side = checked(c.vision.image_size);
  return n * (side * side * 3 + s * d * 2 + l * (d * 6 + inner * 2) + (s + l) * (d + inner * 2));
}

/// TextState, the last hidden states, the logits and the rotary table.
inline Checked text_floats(const Config& c, const Workload& work) {
  const Checked rows = checked(work.batch) * checked(work.beams);
  const Checked m = checked(tokens_per_pass(work));
  const Checked d = checked(c.hidden_size);
  return m * (d * 6 + checked(c.intermediate_size) * 2) +
         rows * (d + checked(c.total_vocab_size())) + checked(work.context) * checked(c.head_dim());
}

/// Memory for choosing tokens: the scores of one row, or of all beams, and what LogitsPipeline
/// keeps for each token of the vocabulary (TokenMarks and WarpScratch).
inline Checked search_bytes(const Config& c, const Workload& work) {
  constexpr std::uint64_t marks = 8, values = 4, probabilities = 8, order = 4;
  const Checked rows = work.beams > 1 ? checked(work.batch) * checked(work.beams) : Checked(1);
  return checked(c.total_vocab_size()) *
         (rows * float_bytes + (marks + values + probabilities + order));
}

/// Bookkeeping for each token of a sequence: its cache row, twice (CacheTable), its id and, with
/// beams, the ids and parents of running beams, of the next ones and of finished hypotheses.
inline Checked sequence_bytes(const Workload& work) {
  const std::uint64_t ids = work.beams > 1 ? 6 : 1;
  return checked(work.batch) * checked(work.beams) * checked(work.context) * (2 + ids) *
         sizeof(std::int32_t);
}

/// Bytes for encoding pictures and for a run, on top of the run's `kv_cache` bytes of keys and
/// values. The two do not overlap in time, so encoding counts only for what exceeds `kv_cache`.
inline std::uint64_t scratch_bytes(const Config& c, const Workload& work, Checked kv_cache) {
  const std::int64_t n = detail::pictures_per_pass(work);
  Checked pictures = detail::vision_floats(c.vision, n);
  if (c.use_resampler) pictures = std::max(pictures, detail::resampler_floats(c, n));
  pictures = pictures * detail::float_bytes;
  const Checked run = detail::text_floats(c, work) * detail::float_bytes +
                      detail::search_bytes(c, work) + detail::sequence_bytes(work);
  return std::max(run, pictures - std::min(pictures, kv_cache)).value();
}

}  // namespace detail

}}  // namespace idefics::v0
