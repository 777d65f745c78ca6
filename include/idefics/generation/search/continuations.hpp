// Log-probabilities of several continuations of one prompt: the prompt is read once, and each
// continuation starts from its keys and values. The bits are those of reading prompt and
// continuation together.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include <idefics/generation/logits/sampler.hpp>
#include <idefics/generation/run/output.hpp>
#include <idefics/generation/run/text_run.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Most continuations that are read in one pass.
inline constexpr std::int64_t continuations_per_pass = 16;

/// The options of a run over the prompt: copy 0 holds the prompt, each other copy one continuation.
inline detail::TextRunOptions continuation_options(std::span<const Continuation> continuations) {
  detail::TextRunOptions options;
  options.copies = 1 + std::min(std::ssize(continuations), continuations_per_pass);
  for (const Continuation& ids : continuations)
    options.tokens_per_step = std::max(options.tokens_per_step, std::ssize(ids));
  return options;
}

/// log p of every token of every continuation of the single prompt of `run`, which has not been
/// read yet. The run was made with continuation_options, and with the length of the longest
/// continuation as its number of new tokens.
inline std::vector<std::vector<double>> continuation_logprobs(
    detail::TextRun& run, std::span<const Continuation> continuations, std::size_t vocabulary) {
  std::vector<float> logits(vocabulary);  // [V+A]
  const auto logprob = [&logits](std::int32_t id) {
    return static_cast<double>(logits[static_cast<std::size_t>(id)]) - log_sum_exp(logits);
  };
  std::vector<std::vector<double>> result;
  run.prefill([&](std::size_t, std::int64_t, auto base, auto additional) {
    join_logits(logits, base, additional);
  });
  for (const Continuation& ids : continuations) result.push_back({logprob(ids.front())});

  std::vector<std::int32_t> rows;
  const std::int64_t prompt = run.length(0);
  for (std::size_t first = 0; first < continuations.size(); first += rows.size()) {
    const auto count = std::min(run.rows() - 1, std::ssize(continuations.subspan(first)));
    rows.resize(static_cast<std::size_t>(count));
    std::iota(rows.begin(), rows.end(), 1);
    run.reorder(rows, std::vector<std::int32_t>(rows.size(), 0));
    for (const std::int32_t row : rows) {
      const Continuation& ids = continuations[first + static_cast<std::size_t>(row) - 1];
      if (ids.size() > 1) run.add(row, std::span(ids).first(ids.size() - 1));
    }
    run.pass([&](std::size_t row, std::int64_t token, auto base, auto additional) {
      join_logits(logits, base, additional);
      const auto next = static_cast<std::size_t>(token - prompt + 1);
      result[first + row - 1].push_back(logprob(continuations[first + row - 1][next]));
    });
  }
  return result;
}

}}}  // namespace idefics::v0::detail
