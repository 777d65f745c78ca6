// Which of several labels best continues a prompt: by log-likelihood, or by constrained generation.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <idefics/model.hpp>
#include <idefics/processor.hpp>

namespace idefics { inline namespace v0 {

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
  std::size_t best = 0;        // index of the highest score, the first if tied
};

namespace detail {

/// The ids of a row without padding.
inline std::vector<std::int32_t> unpadded(const Inputs& in, std::int64_t row) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = row * in.input_ids.dim(1); i < (row + 1) * in.input_ids.dim(1); ++i)
    if (mask_at(in.attention_mask, i) != 0)
      ids.push_back(
          static_cast<std::int32_t>(in.input_ids.as<std::int64_t>()[static_cast<std::size_t>(i)]));
  return ids;
}

/// `prompt` with " label" appended to its last text, so that both are tokenized together.
inline Prompt continued(Prompt prompt, const std::string& label) {
  require(!prompt.empty() && prompt.back().image() == nullptr,
          "a prompt for labels must end in text");
  prompt.back() = PromptItem::text(prompt.back().string() + " " + label);
  return prompt;
}

inline void check_labels(std::span<const std::string> labels) {
  for (const auto& label : labels)
    if (label.empty() || label.front() == ' ' || label.back() == ' ')
      fail(ErrorCode::invalid_option, "a label is empty, or begins or ends with a space",
           {.field = "labels"});
  if (labels.empty()) fail(ErrorCode::invalid_option, "there are no labels", {.field = "labels"});
}

inline std::size_t common_prefix(const std::vector<std::int32_t>& a,
                                 const std::vector<std::int32_t>& b) {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

/// The first `count` tokens of one prompt without padding, and the pictures that they see.
inline Inputs first_tokens(const Inputs& in, std::int64_t count) {
  const auto cut = [count](const Tensor& all /*[1,T,...]*/) {
    const Shape& shape = all.shape();
    if (shape.rank() == 2) return all.reshape({shape[1]}).slice(0, count).reshape({1, count});
    const Tensor rows = all.reshape({shape[1], shape[2]}).slice(0, count);
    return rows.reshape({1, count, shape[2]});
  };
  return {cut(in.input_ids), cut(in.attention_mask), in.pixel_values, cut(in.image_attention_mask)};
}

}  // namespace detail

/// The log-likelihood of every label after the prompt, whose last item must be a text: the sum over
/// the label's tokens or, with `normalize`, their mean. The common prefix of the prompt and all
/// labels is read once. Throws `invalid_option` for empty labels, and `non_finite_logits`.
inline Ranking rank_labels(Model& model, const Processor& processor, const Prompt& prompt,
                           std::span<const std::string> labels, bool normalize = false,
                           const ProcessorOptions& options = {}) {
  detail::check_labels(labels);
  const Inputs prompt_only = processor(prompt, options);
  const auto prompt_ids = detail::unpadded(prompt_only, 0);
  std::vector<Continuation> rows;
  std::vector<std::size_t> label_begins;  // in tokens of each label's row
  for (const std::string& label : labels) {
    rows.push_back(detail::unpadded(processor(detail::continued(prompt, label), options), 0));
    label_begins.push_back(detail::common_prefix(prompt_ids, rows.back()));
  }
  const std::size_t shared = std::ranges::min(label_begins);
  for (Continuation& ids : rows)
    ids.erase(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(shared));
  const auto logprobs = model.continuation_logprobs(
      detail::first_tokens(prompt_only, static_cast<std::int64_t>(shared)), rows);
  Ranking ranking;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto label = std::span(logprobs[i]).subspan(label_begins[i] - shared);
    const double score = std::accumulate(label.begin(), label.end(), 0.0);
    if (!std::isfinite(score))
      fail(ErrorCode::non_finite_logits,
           "the log-likelihood of \"" + labels[i] + "\" is not finite");
    ranking.scores.push_back(normalize ? score / static_cast<double>(label.size()) : score);
  }
  ranking.best =
      static_cast<std::size_t>(std::ranges::max_element(ranking.scores) - ranking.scores.begin());
  return ranking;
}

/// A constraint under which generation after the prompt gives one of the labels and then an end
/// token: for GenerationConfig::prefix_allowed_tokens_fn, with one prompt.
inline PrefixAllowedTokens only_labels(const Processor& processor, const Prompt& prompt,
                                       std::span<const std::string> labels,
                                       const ProcessorOptions& options = {}) {
  detail::check_labels(labels);
  const auto prompt_ids = detail::unpadded(processor(prompt, options), 0);
  std::vector<std::vector<std::int32_t>> continuations;
  for (const std::string& label : labels) {
    auto ids = detail::unpadded(processor(detail::continued(prompt, label), options), 0);
    if (detail::common_prefix(prompt_ids, ids) != prompt_ids.size())
      fail(ErrorCode::invalid_option,
           "the label \"" + label + "\" does not begin at a token boundary", {.field = "labels"});
    ids.erase(ids.begin(), ids.begin() + std::ssize(prompt_ids));
    ids.push_back(processor.tokenizer().eos_id());
    continuations.push_back(std::move(ids));
  }
  return [continuations, length = prompt_ids.size()](std::int64_t,
                                                     std::span<const std::int32_t> so_far) {
    const auto chosen = so_far.subspan(std::min(length, so_far.size()));
    std::vector<std::int32_t> allowed;
    for (const auto& continuation : continuations)
      if (chosen.size() < continuation.size() &&
          std::ranges::equal(chosen, std::span(continuation).first(chosen.size())))
        allowed.push_back(continuation[chosen.size()]);
    return allowed;
  };
}

}}  // namespace idefics::v0
