// What a pass takes beside weights and caches: the buffers of the vision tower, the resampler and the
// decoder. Letters as in the files whose buffers are counted.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include <idefics/core/checked.hpp>
#include <idefics/model/config.hpp>

namespace idefics { inline namespace v0 {

/// For how much work memory is planned.
struct Workload {
  std::int64_t context = 512;                // tokens of a sequence, prompt and answer
  std::optional<std::int64_t> new_tokens{};  // of them in the answer; unset: it may be all
  std::int64_t batch = 1;                    // prompts
  std::int64_t beams = 1;                    // sequences of each prompt
  std::int64_t pictures = 1;                 // in all prompts together
  std::int64_t chunk = 256;                  // tokens per pass, ModelOptions::prefill_chunk
  std::int64_t threads = 1;
};

namespace detail {

inline Checked checked(std::int64_t value) { return Checked(static_cast<std::uint64_t>(value)); }
inline constexpr std::uint64_t float_bytes = sizeof(float);

/// Tokens of a prompt that a pass reads at most, or of all rows that are decoded together.
inline std::int64_t tokens_per_pass(const Workload& work) {
  const std::int64_t answer = std::min(work.new_tokens.value_or(0), work.context - 1);
  const Checked prompts = checked(work.batch) * checked(work.context - answer);
  const Checked rows = checked(work.batch) * checked(work.beams);
  const Checked chunk = checked(std::max<std::int64_t>(work.chunk, 1));
  return static_cast<std::int64_t>(std::max(rows, std::min(prompts, chunk)).value());
}

/// Pictures that the vision tower takes at a time (model/picture_encoding.hpp).
inline std::int64_t pictures_per_pass(const Workload& work) {
  return std::min<std::int64_t>(work.pictures, 4);
}

/// VisionTower::State, and while it begins the pixels and the unfolded patches.
inline Checked vision_floats(const VisionConfig& c, std::int64_t pictures) {
  const Checked n = checked(pictures), s = checked(c.num_positions()), d = checked(c.embed_dim);
  const Checked pixels = checked(c.num_channels) * checked(c.image_size) * checked(c.image_size);
  const Checked unfolded = checked(c.num_channels) * checked(c.patch_size) * checked(c.patch_size);
  return n * (pixels + s * (d * 6 + checked(c.intermediate_size)) + (s - 1) * (unfolded + d));
}

/// PerceiverResampler::State, and the pixels and features of the tower.
inline Checked resampler_floats(const Config& c, std::int64_t pictures) {
  const PerceiverConfig& p = c.perceiver;
  const Checked n = checked(pictures), s = checked(c.vision.num_positions());
  const Checked l = checked(p.latents), d = checked(c.vision.embed_dim);
  const Checked inner = checked(p.heads) * checked(p.head_dim);
  const Checked side = checked(c.vision.image_size);
  return n * (side * side * 3 + s * d * 2 + l * (d * 6 + inner * 2) + (s + l) * (d + inner * 2));
}

/// TextState, the last hidden states, logits and the rotary table.
inline Checked text_floats(const Config& c, const Workload& work) {
  const Checked rows = checked(work.batch) * checked(work.beams);
  const Checked m = checked(tokens_per_pass(work));
  const Checked d = checked(c.hidden_size);
  return m * (d * 6 + checked(c.intermediate_size) * 2) +
         rows * (d + checked(c.total_vocab_size())) + checked(work.context) * checked(c.head_dim());
}

/// What choosing tokens takes: scores of a row, or of all beams, and per token of the vocabulary what
/// LogitsPipeline keeps (TokenMarks and WarpScratch).
inline Checked search_bytes(const Config& c, const Workload& work) {
  constexpr std::uint64_t marks = 8, values = 4, probabilities = 8, order = 4;
  const Checked rows = work.beams > 1 ? checked(work.batch) * checked(work.beams) : Checked(1);
  return checked(c.total_vocab_size()) *
         (rows * float_bytes + (marks + values + probabilities + order));
}

/// What stands for each token of a sequence: its place in the cache, twice (CacheTable), its id, and with
/// beams the ids and parents of hypotheses that run, that come next and that have ended.
inline Checked sequence_bytes(const Workload& work) {
  const std::uint64_t ids = work.beams > 1 ? 6 : 1;
  return checked(work.batch) * checked(work.beams) * checked(work.context) * (2 + ids) *
         sizeof(std::int32_t);
}

/// Bytes that are taken while pictures are encoded, or while a run lives that has `kv_cache` bytes of keys
/// and values besides: they do not live at the same time.
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
