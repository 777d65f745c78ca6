// What the CPU's kernels keep between calls: rows packed in the order in which they are multiplied, and for
// each thread a panel of weight rows with their sums, or the keys and values of a head. Counted as far as
// it is touched; linear layers by their own shapes (backend/cpu/cpu_backend.hpp, linear_4bit.hpp).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <idefics/plan/scratch_bytes.hpp>
#include <idefics/plan/weight_bytes.hpp>

namespace idefics::inline v0 {

namespace detail {

/// Rows of x that the linear layer of `request` sees at once.
inline std::int64_t rows_of(const WeightRequest& request, const Config& c, const Workload& work) {
  const std::string_view name = request.name, component = component_of(name);
  const std::int64_t n = pictures_per_pass(work), s = c.vision.num_positions();
  const bool keys = name.ends_with("k_proj.weight") || name.ends_with("v_proj.weight");
  if (component == "vision tower") return n * s;
  if (component == "perceiver resampler") return n * (c.perceiver.latents + (keys ? s : 0));
  if (component == "output head") return work.batch * work.beams;
  const bool picture = component == "gated cross-attention" && keys;  // one after the other
  if (picture) return c.use_resampler ? c.perceiver.latents : s;
  return tokens_per_pass(work);
}

/// Floats that one kind of linear layer keeps.
struct KernelFloats {
  Checked packed = 0;  // of all threads together
  Checked per_thread = 0;

  void grow(Checked rows, Checked panel) {
    packed = std::max(packed, rows);
    per_thread = std::max(per_thread, panel);
  }
  Checked total(const Workload& work) const { return packed + per_thread * checked(work.threads); }
};

/// Sums of `columns` weight rows against the rows that are packed at a time.
inline Checked panel_floats(std::int64_t columns, std::int64_t rows, std::int64_t k) {
  return checked(columns) *
         (checked(std::min<std::int64_t>(k, 16 * cpu::block_vectors)) + checked(rows) * 16);
}

inline void count_plain(KernelFloats& floats, std::int64_t m, std::int64_t n, std::int64_t k,
                        const Workload& work) {
  constexpr std::int64_t row_block = 384, col_block = 48;
  if (m <= cpu::direct_rows_max) return floats.grow(checked(m) * checked(k), 0);
  const std::int64_t rows = cpu::ceil_div(m, cpu::ceil_div(m, row_block));
  const std::int64_t columns = std::clamp<std::int64_t>(n / (4 * work.threads), 1, col_block);
  floats.grow(checked(rows) * checked(k), panel_floats(columns, rows, k));
}

/// Few rows of x need no copy of the weight unless its blocks run over the ends of rows: then one row as
/// bf16 or eight as f32. Many rows need the sums of 48 weight rows, and in the f32 order their values.
inline void count_4bit(KernelFloats& floats, std::int64_t m, std::int64_t k, bool bf16) {
  constexpr std::int64_t row_block = 384, many_rows = 48, few_rows = 8, blocksize = 64;
  const Checked width = checked(k);
  const bool whole_blocks = k % blocksize == 0, few = m <= cpu::direct_rows_max;
  if (few && whole_blocks) return floats.grow(checked(m) * width, 0);
  if (bf16 && !whole_blocks) return floats.grow(checked(m) * width, checked(k / 2));
  if (few) return floats.grow(checked(m) * width, width * few_rows);
  const std::int64_t rows = cpu::ceil_div(m, cpu::ceil_div(m, row_block));
  const Checked sums = panel_floats(many_rows, rows, k);
  floats.grow(checked(rows) * width, bf16 ? sums : width * many_rows + sums);
}

/// Copies of the keys and values of a head, and scores.
inline std::int64_t attention_floats(const Config& c, const Workload& work) {
  const std::int64_t s = c.vision.num_positions(), l = c.perceiver.latents;
  const std::int64_t features = work.pictures * (c.use_resampler ? l : s);
  const std::int64_t text = std::max(std::min(work.context, tokens_per_pass(work)), features);
  return std::max({cpu::attention_scratch(s, c.vision.head_dim()),
                   cpu::attention_scratch(c.use_resampler ? s + l : 0, c.perceiver.head_dim),
                   cpu::attention_scratch(text, c.head_dim())});
}

}  // namespace detail

/// Bytes that the kernels keep for passes of this work; `in_4bit` says which weights are packed.
inline std::uint64_t kernel_bytes(const Config& c, const std::vector<WeightRequest>& table,
                                  const std::vector<bool>& in_4bit, const WeightOptions& options,
                                  const Workload& work) {
  detail::KernelFloats plain, packed;
  Checked inner = 0, sum = 0;  // of what an adapter adds beside 4 bits, LowRank::Scratch
  const BitsAndBytesConfig& quantization = options.quantization_config;
  const auto compute =
      quantization.bnb_4bit_compute_dtype ? quantization.bnb_4bit_compute_dtype : options.dtype;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const WeightRequest& request = table[i];
    if (request.role != WeightRole::matrix) continue;
    const std::int64_t m = detail::rows_of(request, c, work);
    const std::int64_t n = request.shape[0], k = request.shape[1];
    if (!in_4bit[i]) {
      detail::count_plain(plain, m, n, k, work);
      continue;
    }
    detail::count_4bit(packed, m, k, compute == DType::bf16);
    const auto rank = options.adapter == nullptr ? std::nullopt : options.adapter->rank(request);
    if (!rank) continue;
    inner = std::max(inner, detail::checked(m) * detail::checked(*rank));
    sum = std::max(sum, detail::checked(m) * detail::checked(n));
  }
  // attention and plain layers share their memory
  plain.per_thread = std::max(plain.per_thread, detail::checked(detail::attention_floats(c, work)));
  return ((plain.total(work) + packed.total(work) + inner + sum) * detail::float_bytes).value();
}

}  // namespace idefics::inline v0
