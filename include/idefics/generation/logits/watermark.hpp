// WatermarkLogitsProcessor: before each choice, a fraction of the vocabulary, drawn with a seed
// from the preceding text, is preferred; with the key, this preference can be detected in the text.
// The draw is torch's: its Mersenne twister is std::mt19937, and its randperm swaps each entry with
// a later one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <idefics/generation/logits/processors.hpp>

namespace idefics { inline namespace v0 { namespace detail {

class Watermark {
 public:
  /// `base_vocabulary` is the model's vocabulary without added tokens, which are never preferred.
  Watermark(WatermarkingConfig config, std::size_t base_vocabulary, std::size_t vocabulary)
      : config_(std::move(config)),
        permutation_(base_vocabulary),
        greens_(static_cast<std::size_t>(static_cast<double>(base_vocabulary) *
                                         config_.greenlist_ratio)) {
    if (config_.seeding_scheme != "selfhash") return;
    best_.resize(vocabulary);
    table_.resize(table_size);
    permute(table_, table_size, static_cast<std::uint64_t>(config_.hashing_key));
  }

  void operator()(Scores scores, IdSpan so_far) {
    const auto width = static_cast<std::size_t>(config_.context_width);
    if (so_far.size() < width) return;
    if (config_.seeding_scheme == "selfhash") return prefer_self_chosen(scores, so_far);
    draw_greens(left_hash(config_.hashing_key, so_far.back()));
    for (const std::int32_t id : greens()) add_bias(scores, id);
  }

 private:
  static constexpr std::size_t table_size = 1'000'003;
  static constexpr std::size_t candidates = 40;  // the most likely tokens, which selfhash tries

  /// The first `count` entries of torch.randperm(list.size()) with this seed.
  static void permute(std::vector<std::int32_t>& list, std::size_t count, std::uint64_t seed) {
    std::mt19937 random(static_cast<std::uint32_t>(seed));
    std::iota(list.begin(), list.end(), 0);
    for (std::size_t i = 0; i < count && i + 1 < list.size(); ++i)
      std::swap(list[i], list[i + random() % (list.size() - i)]);
  }

  void draw_greens(std::uint64_t seed) { permute(permutation_, greens_, seed); }
  IdSpan greens() const { return IdSpan(permutation_).first(greens_); }
  void add_bias(Scores scores, std::int32_t id) const {
    at(scores, id) += static_cast<float>(config_.bias);
  }

  /// Prefers those of the most likely tokens that are green in the context they would end.
  void prefer_self_chosen(Scores scores, IdSpan so_far) {
    std::iota(best_.begin(), best_.end(), 0);
    const std::size_t tried = std::min(candidates, best_.size());
    std::ranges::partial_sort(best_, best_.begin() + static_cast<std::ptrdiff_t>(tried),
                              [&](std::int32_t a, std::int32_t b) {
                                const float x = at(scores, a), y = at(scores, b);
                                return x != y ? x > y : a < b;
                              });
    std::size_t chosen = 0;
    for (std::size_t i = 0; i < tried; ++i) {
      draw_greens(self_hash(so_far, best_[i]));
      if (std::ranges::find(greens(), best_[i]) != greens().end()) best_[chosen++] = best_[i];
    }
    for (std::size_t i = 0; i < chosen; ++i) add_bias(scores, best_[i]);
  }

  /// key * id modulo 2^64 - 1, as Python computes it: without overflow, and never negative.
  static std::uint64_t left_hash(std::int64_t key, std::int32_t id) {
    constexpr std::uint64_t modulus = ~std::uint64_t{0}, low_half = 0xffffffff;
    const auto bits = static_cast<std::uint64_t>(key), factor = static_cast<std::uint64_t>(id);
    const std::uint64_t magnitude = key < 0 ? 0 - bits : bits;
    const std::uint64_t low = (magnitude & low_half) * factor, high = (magnitude >> 32) * factor;
    // the product is high * 2^32 + low, and 2^64 is 1
    const std::uint64_t part = high << 32;
    std::uint64_t sum = part + low;
    std::uint64_t carries = (high >> 32) + (sum < part ? 1 : 0);
    sum += carries;
    if (sum < carries) ++sum;
    const std::uint64_t rest = sum == modulus ? 0 : sum;
    return key < 0 && rest != 0 ? modulus - rest : rest;
  }

  /// The smallest key * entry(id) * entry(candidate) over the ids of the context and the candidate,
  /// with torch's wrapping products and Python's modulo.
  std::uint64_t self_hash(IdSpan so_far, std::int32_t candidate) const {
    const auto entry = [this](std::int32_t id) {
      return static_cast<std::uint64_t>(table_[static_cast<std::size_t>(id) % table_size]) + 1;
    };
    const auto key = static_cast<std::uint64_t>(config_.hashing_key);
    const auto product = [&](std::int32_t id) {
      return static_cast<std::int64_t>(key * entry(id) * entry(candidate));
    };
    std::int64_t least = product(candidate);
    for (const std::int32_t id : so_far.last(static_cast<std::size_t>(config_.context_width - 1)))
      least = std::min(least, product(id));
    return least < 0 ? static_cast<std::uint64_t>(least) - 1 : static_cast<std::uint64_t>(least);
  }

  WatermarkingConfig config_;
  std::vector<std::int32_t> permutation_;  // [V]
  std::size_t greens_;                     // the number of its first entries that are preferred
  std::vector<std::int32_t> best_;         // [V+A] with selfhash
  std::vector<std::int32_t> table_;        // with selfhash
};

}}}  // namespace idefics::v0::detail
