// Criteria that end a row. Source: transformers' generation/stopping_criteria.py.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/generation/logits/run_clock.hpp>
#include <idefics/generation/options/config.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// StopStringCriteria: a row ends when a stop string ends within the text of its last token. The
/// token may continue after the string, and the string may begin in the prompt.
class StopStrings {
 public:
  StopStrings(std::vector<std::string> strings, TokenTexts texts)
      : strings_(std::move(strings)), texts_(std::move(texts)) {
    std::size_t longest_token = 0;
    for (const auto& s : strings_) longest_ = std::max(longest_, s.size());
    if (texts_)
      for (const auto& t : *texts_) longest_token = std::max(longest_token, t.size());
    tail_.reserve(longest_ + 2 * longest_token);
  }

  bool operator()(std::span<const std::int32_t> so_far) const {
    if (strings_.empty() || so_far.empty()) return false;
    const std::string_view last = text_of(so_far.back());
    std::size_t first = so_far.size() - 1, before = 0;  // bytes of text before the last token
    while (first > 0 && before + 1 < longest_) before += text_of(so_far[--first]).size();
    tail_.clear();
    for (const std::int32_t id : so_far.subspan(first)) tail_ += text_of(id);
    return std::ranges::any_of(strings_, [&](const std::string& stop) {
      const std::size_t earliest_end = tail_.size() - last.size() + 1;
      const std::size_t from = earliest_end > stop.size() ? earliest_end - stop.size() : 0;
      const auto found = tail_.find(stop, from);
      return !last.empty() && found != std::string::npos;
    });
  }

 private:
  /// Empty for ids beyond those of the tokenizer.
  std::string_view text_of(std::int32_t id) const {
    const auto index = static_cast<std::size_t>(id);
    return index < texts_->size() ? std::string_view((*texts_)[index]) : std::string_view();
  }

  std::vector<std::string> strings_;
  TokenTexts texts_;
  std::size_t longest_ = 0;   // bytes of the longest stop string
  mutable std::string tail_;  // scratch: the text at the end of a row
};

/// All criteria of a run: end tokens, length, stop strings and the caller's own; and a time limit,
/// which ends all rows at once.
class StoppingCriteria {
 public:
  StoppingCriteria(const GenerationConfig& config, const LengthLimits& limits,
                   const RunClock& clock)
      : longest_(limits.longest),
        eos_(config.eos_token_id.value_or(GenerationConfig::Ids{})),
        stop_strings_(config.stop_strings, config.token_texts),
        own_(config.stopping_criteria),
        max_time_(config.max_time),
        clock_(clock) {}

  /// Whether the row, which ends in the token just chosen, is complete.
  bool ends(std::span<const std::int32_t> so_far) const {
    return std::ssize(so_far) >= longest_ || std::ranges::find(eos_, so_far.back()) != eos_.end() ||
           stop_strings_(so_far) ||
           std::ranges::any_of(own_, [&](const StoppingCriterion& rule) { return rule(so_far); });
  }

  bool out_of_time() const { return max_time_ && clock_.seconds() > *max_time_; }

 private:
  std::int64_t longest_;  // columns
  std::vector<std::int32_t> eos_;
  StopStrings stop_strings_;
  std::vector<StoppingCriterion> own_;
  std::optional<double> max_time_;  // seconds
  RunClock clock_;
};

}}}  // namespace idefics::v0::detail
