// Memory that the CPU kernels keep between calls: rows packed in the order of multiplication and,
// for each thread, a panel of weight rows with their sums, or the scores of an attention task.
// Computed by backend/cpu/linear_scratch.hpp from the shapes of all linear layers, for the
// instruction set of this machine.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <idefics/backend/cpu/kernels.hpp>
#include <idefics/backend/cpu/linear_scratch.hpp>
#include <idefics/plan/scratch_bytes.hpp>
#include <idefics/plan/weight_bytes.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The kernels that a weight needs.
enum class Form { plain, four_bit, int8 };

inline Form form_of(const WeightBytes& bytes) {
  return bytes.packed ? Form::four_bit : bytes.int8 ? Form::int8 : Form::plain;
}

/// Whether `request` is the kernel of the patch convolution, which runs as a matrix product.
inline bool is_patch_embedding(const WeightRequest& request) {
  return request.name.ends_with("patch_embedding.weight");
}

/// Rows of x that the linear layer of `request` processes at a time.
inline std::int64_t rows_of(const WeightRequest& request, const Config& c, const Workload& work) {
  const std::string_view name = request.name, component = component_of(name);
  const std::int64_t n = pictures_per_pass(work), s = c.vision.num_positions();
  if (is_patch_embedding(request)) return n * (s - 1);
  const bool keys = name.ends_with("k_proj.weight") || name.ends_with("v_proj.weight");
  if (component == "vision tower") return n * s;
  if (component == "perceiver resampler") return n * (c.perceiver.latents + (keys ? s : 0));
  if (component == "output head") return work.batch * work.beams;
  const bool picture = component == "gated cross-attention" && keys;  // one at a time
  if (picture) return c.use_resampler ? c.perceiver.latents : s;
  return tokens_per_pass(work);
}

/// Scratch for the matrix of `request` in 4 bits, with the block size that loading uses.
inline cpu::LinearScratch packed_scratch(const cpu::KernelTable& kernels, bool pairs,
                                         std::int64_t m, const WeightRequest& request,
                                         std::int64_t threads) {
  const cpu::FourBitMatrix matrix{nullptr, nullptr, request.shape[0], request.shape[1],
                                  QuantizeOptions{}.blocksize};
  return cpu::four_bit_scratch(kernels, pairs, m, matrix, threads);
}

/// Scratch for the matrix of `request` if it is plain.
inline cpu::LinearScratch plain_scratch(const cpu::LinearKernels& kernels, std::int64_t m,
                                        const WeightRequest& request, std::int64_t threads) {
  const std::int64_t n = request.shape[0], k = request.shape.count() / n;
  return m <= kernels.gemv_rows ? cpu::gemv_scratch(kernels, m, k)
                                : cpu::gemm_scratch(kernels, m, n, k, threads);
}

/// Scores of an attention task, with its queries, their sums, and a block of keys or values.
inline std::int64_t attention_floats(const Config& c, const Workload& work) {
  const std::int64_t s = c.vision.num_positions(), l = c.perceiver.latents;
  const std::int64_t features = work.pictures * (c.use_resampler ? l : s);
  const std::int64_t text = std::max(std::min(work.context, tokens_per_pass(work)), features);
  return std::max({cpu::attention_scratch(s, c.vision.head_dim()),
                   c.use_resampler ? cpu::attention_scratch(s + l, c.perceiver.head_dim) : 0,
                   cpu::attention_scratch(text, c.head_dim())});
}

/// Bytes that the kernels keep for passes of `work`, for weights in these forms.
inline std::uint64_t kernel_bytes(const Config& c, const std::vector<WeightRequest>& table,
                                  const std::vector<Form>& forms, const WeightOptions& options,
                                  const Workload& work) {
  const detail::cpu::KernelTable kernels = detail::cpu::kernels_for(available_isas().back());
  const BitsAndBytesConfig& quantization = options.quantization_config;
  const auto compute =
      quantization.bnb_4bit_compute_dtype ? quantization.bnb_4bit_compute_dtype : options.dtype;
  const auto linear_kernels = [&](bool pairs) -> const detail::cpu::LinearKernels& {
    return pairs ? kernels.linear_bf16 : kernels.linear_f32;
  };
  const bool pairs = options.dtype == DType::bf16, packed_pairs = compute == DType::bf16;
  detail::cpu::LinearScratch plain, packed, int8;
  Checked inner = 0, sum = 0;  // LowRank::Scratch of adapters on quantized layers
  for (std::size_t i = 0; i < table.size(); ++i) {
    const WeightRequest& request = table[i];
    if (request.role != WeightRole::matrix && !is_patch_embedding(request)) continue;
    const std::int64_t m = rows_of(request, c, work);
    if (forms[i] == Form::plain) {
      plain.grow(plain_scratch(linear_kernels(pairs), m, request, work.threads));
      continue;
    }
    if (forms[i] == Form::int8)
      int8.grow(cpu::int8_scratch(m, request.shape[1]));
    else
      packed.grow(packed_scratch(kernels, packed_pairs, m, request, work.threads));
    const auto rank = options.adapter == nullptr ? std::nullopt : options.adapter->rank(request);
    if (!rank) continue;
    inner = std::max(inner, checked(m) * checked(*rank));
    sum = std::max(sum, checked(m) * checked(request.shape[0]));
  }
  // attention and plain layers share their memory
  plain.of_thread = std::max(plain.of_thread, checked(attention_floats(c, work)));
  const Checked per_thread = plain.of_thread + packed.of_thread + packed.constants;
  return ((plain.packed + packed.packed + int8.packed + per_thread * checked(work.threads) + inner +
           sum) *
          float_bytes)
      .value();
}

}}}  // namespace idefics::v0::detail
