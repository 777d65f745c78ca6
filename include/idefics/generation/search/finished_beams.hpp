// The finished hypotheses of a group of beams, as beam search kept them before transformers 4.50,
// and group and constrained beam search until they were removed. Source: BeamHypotheses in
// transformers' (4.56.2) generation/beam_search.py. Unlike in beam_search.hpp, a hypothesis lacks
// its end token, scores are doubles, and beams that still run at the end compete as well.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include <idefics/generation/options/config.hpp>
#include <idefics/generation/search/beams.hpp>

namespace idefics { inline namespace v0 { namespace detail {

struct FinishedBeam {
  double score = 0;                 // penalized
  std::vector<std::int32_t> ids;    // padded prompt, then new tokens without the end token
  std::vector<std::int32_t> trace;  // the beam that each new token continued, end token included
};

class FinishedBeams {
 public:
  /// Allocates all memory.
  FinishedBeams(std::size_t beams, const GenerationConfig& config, const LengthLimits& limits)
      : length_penalty_(config.length_penalty.value_or(1.0)),
        early_stopping_(config.early_stopping.value_or(false)),
        limits_(limits),
        slots_(beams + 1) {
    for (FinishedBeam& slot : slots_) {
      slot.ids.reserve(static_cast<std::size_t>(limits.longest));
      slot.trace.reserve(static_cast<std::size_t>(limits.new_tokens()));
    }
  }

  /// The best hypotheses, at most `beams`, in order of insertion.
  std::span<const FinishedBeam> list() const { return std::span(slots_).first(size_); }

  /// `trace` has an entry for each new token that `sum` includes.
  void add(std::span<const std::int32_t> ids, std::span<const std::int32_t> trace, double sum) {
    const double score = penalized(sum, std::ssize(trace));
    if (is_full() && !(score > worst_)) return;
    FinishedBeam& slot = slots_[size_++];
    slot.score = score;
    slot.ids.assign(ids.begin(), ids.end());
    slot.trace.assign(trace.begin(), trace.end());
    if (size_ < slots_.size()) {
      worst_ = size_ == 1 ? score : std::min(worst_, score);
      return;
    }
    const auto worst = std::ranges::min_element(slots_, {}, &FinishedBeam::score);
    std::rotate(worst, worst + 1, slots_.end());
    --size_;
    worst_ = std::ranges::min_element(list(), {}, &FinishedBeam::score)->score;
  }

  /// Whether no running beam is expected to enter the list; the best of them has `best_sum`.
  bool is_done(double best_sum, std::int64_t new_tokens) const {
    if (!is_full()) return false;
    if (early_stopping_ == EarlyStopping::yes) return true;
    const bool longest = early_stopping_ == EarlyStopping::never && length_penalty_ > 0;
    return worst_ >= penalized(best_sum, longest ? limits_.new_tokens() : new_tokens);
  }

 private:
  bool is_full() const { return size_ + 1 == slots_.size(); }
  double penalized(double sum, std::int64_t new_tokens) const {
    const auto length = static_cast<double>(std::max<std::int64_t>(new_tokens, 1));
    return sum / std::pow(length, length_penalty_);
  }

  double length_penalty_;
  EarlyStopping early_stopping_;
  LengthLimits limits_;
  std::vector<FinishedBeam> slots_;  // [beams + 1]; the last is spare
  std::size_t size_ = 0;
  double worst_ = 0;
};

}}}  // namespace idefics::v0::detail
