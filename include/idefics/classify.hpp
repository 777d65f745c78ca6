// Which of some labels goes on with a prompt best: ranked by log-likelihood, or generated with
// nothing but labels allowed.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <idefics/model.hpp>
#include <idefics/processor.hpp>

namespace idefics::inline v0 {

/// The guide's prompt: an instruction that lists the labels, the picture, "Category:".
inline Prompt category_prompt(const PromptItem& picture, std::span<const std::string> labels) {
  std::string list;
  for (const auto& label : labels) list += (list.empty() ? "'" : ", '") + label + "'";
  return {PromptItem::text("Instruction: Classify the following image into a single category from "
                           "the following list: [" +
                           list + "].\n"),
          picture, PromptItem::text("Category:")};
}

struct Ranking {
  std::vector<double> scores;  // log-likelihood of each label; per token if normalized
  std::size_t best = 0;        // the first of the highest
};

namespace detail {

/// Ids of a row, padding dropped.
inline std::vector<std::int32_t> unpadded(const Inputs& in, std::int64_t row) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = row * in.input_ids.dim(1); i < (row + 1) * in.input_ids.dim(1); ++i)
    if (mask_at(in.attention_mask, i) != 0)
      ids.push_back(
          static_cast<std::int32_t>(in.input_ids.as<std::int64_t>()[static_cast<std::size_t>(i)]));
  return ids;
}

/// `prompt` with " label" behind its last text, as the tokenizer reads the two together.
inline Prompt continued(Prompt prompt, const std::string& label) {
  require(!prompt.empty() && prompt.back().image() == nullptr, "a prompt for labels ends in text");
  prompt.back() = PromptItem::text(prompt.back().string() + " " + label);
  return prompt;
}

inline void check_labels(std::span<const std::string> labels) {
  for (const auto& label : labels)
    if (label.empty() || label.front() == ' ' || label.back() == ' ')
      fail(ErrorCode::invalid_option, "a label is empty or has spaces at its ends",
           {.field = "labels"});
  if (labels.empty()) fail(ErrorCode::invalid_option, "there are no labels", {.field = "labels"});
}

inline std::size_t common_prefix(const std::vector<std::int32_t>& a,
                                 const std::vector<std::int32_t>& b) {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

/// log softmax(logits)[id], in double.
inline double log_probability(std::span<const float> logits, std::int32_t id) {
  const double highest = std::ranges::max(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit} - highest);
  return double{logits[static_cast<std::size_t>(id)]} - highest - std::log(sum);
}

}  // namespace detail

/// Log-likelihood of every label behind the prompt, whose last item is a text: the sum over the
/// label's tokens, or with `normalize` their mean. Throws `invalid_option` for labels that are
/// empty, `non_finite_logits`.
inline Ranking rank_labels(Model& model, const Processor& processor, const Prompt& prompt,
                           std::span<const std::string> labels, bool normalize = false,
                           const ProcessorOptions& options = {}) {
  detail::check_labels(labels);
  const auto alone = detail::unpadded(processor(prompt, options), 0);
  Ranking ranking;
  for (const std::string& label : labels) {
    const Inputs in = processor(detail::continued(prompt, label), options);
    const auto ids = detail::unpadded(in, 0);
    const Tensor logits = model.forward(in).logits;  // [1,T,V+A]
    const auto values = logits.as<float>();
    const auto width = static_cast<std::size_t>(logits.dim(2));
    const std::size_t first = detail::common_prefix(alone, ids);
    double score = 0;
    for (std::size_t t = first; t < ids.size(); ++t)
      score += detail::log_probability(values.subspan((t - 1) * width, width), ids[t]);
    if (!std::isfinite(score))
      fail(ErrorCode::non_finite_logits, "the label \"" + label + "\" has no likelihood");
    ranking.scores.push_back(normalize ? score / static_cast<double>(ids.size() - first) : score);
  }
  ranking.best =
      static_cast<std::size_t>(std::ranges::max_element(ranking.scores) - ranking.scores.begin());
  return ranking;
}

/// A constraint under which generation behind the prompt gives one of the labels and then an end
/// token: for GenerationConfig::prefix_allowed_tokens_fn, with one prompt.
inline PrefixAllowedTokens only_labels(const Processor& processor, const Prompt& prompt,
                                       std::span<const std::string> labels,
                                       const ProcessorOptions& options = {}) {
  detail::check_labels(labels);
  const auto alone = detail::unpadded(processor(prompt, options), 0);
  std::vector<std::vector<std::int32_t>> endings;
  for (const std::string& label : labels) {
    auto ids = detail::unpadded(processor(detail::continued(prompt, label), options), 0);
    if (detail::common_prefix(alone, ids) != alone.size())
      fail(ErrorCode::invalid_option, "the label \"" + label + "\" does not begin at a token",
           {.field = "labels"});
    ids.erase(ids.begin(), ids.begin() + std::ssize(alone));
    ids.push_back(processor.tokenizer().eos_id());
    endings.push_back(std::move(ids));
  }
  return [endings, length = alone.size()](std::int64_t, std::span<const std::int32_t> so_far) {
    const auto chosen = so_far.subspan(std::min(length, so_far.size()));
    std::vector<std::int32_t> allowed;
    for (const auto& ending : endings)
      if (chosen.size() < ending.size() &&
          std::ranges::equal(chosen, std::span(ending).first(chosen.size())))
        allowed.push_back(ending[chosen.size()]);
    return allowed;
  };
}

}  // namespace idefics::inline v0
