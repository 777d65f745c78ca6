// Greedy search and sampling with candidate tokens: a pass reads the last token and the candidates
// for those that follow, and yields the logits after each of them. They are used in order, each
// like the logits of a separate step, until the chosen token differs from the candidate. The answer
// is therefore that of the plain mode, token by token and bit by bit, whatever the candidates are:
// logits do not depend on how many tokens a pass has, processors see exactly the tokens before
// theirs, and draws are keyed by their step. Source: transformers'
// GenerationMixin._assisted_decoding.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <idefics/generation/search/candidates.hpp>
#include <idefics/generation/search/token_search.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The answer of token_search to one prompt, in fewer passes where candidates are accepted. `run`
/// allows candidates.longest() + 1 tokens per step. `on_step` is called token by token.
inline GenerationOutput assisted_search(detail::TextRun& run,
                                        detail::CandidateGenerator& candidates,
                                        const GenerationConfig& config,
                                        const detail::LogitsContext& context,
                                        const StepCallback& on_step) {
  Stopwatch watch;
  GenerationOutput output;
  TokenSearch search(config, context, nullptr, nullptr);
  output.rounds.reserve(static_cast<std::size_t>(context.limits.new_tokens()));
  std::vector<std::int32_t> tokens;  // the last of the row, and the candidates
  tokens.reserve(static_cast<std::size_t>(candidates.longest()) + 1);

  const auto answer = [&] {
    run.prefill([&search](std::size_t row, std::int64_t, auto base, auto additional) {
      search.take_prompt(row, base, additional);
    });
    output.timings.prefill_s = watch.lap();
    for (bool running = end_step(search, on_step); running;) {
      const detail::IdSpan so_far = search.sequence(0);
      const detail::IdSpan draft =
          candidates.guess(so_far, context.limits.longest - std::ssize(so_far) - 1);
      tokens.assign(1, so_far.back());
      tokens.insert(tokens.end(), draft.begin(), draft.end());
      const std::int64_t known = run.length(0);
      std::size_t taken = 0;
      bool matched = true;
      run.add(0, tokens);
      run.pass([&](std::size_t row, std::int64_t, auto base, auto additional) {
        if (!matched) return;
        search.take(row, base, additional);
        running = end_step(search, on_step);
        ++taken;
        matched = running && taken < tokens.size() && search.sequence(0).back() == tokens[taken];
      });
      const auto read = static_cast<std::int64_t>(taken);
      run.truncate(0, known + read);
      output.rounds.push_back({.guesses = std::ssize(draft), .accepted = read - 1});
      candidates.learn(output.rounds.back());
    }
  };
  try {
    answer();
  } catch (const detail::RunStopped&) {
    search.drop_step();
  }
  output.timings.decode_s = watch.lap();
  search.finish(output, run);
  output.timings.decode_tokens = std::max<std::int64_t>(0, output.lengths.front() - 1);
  return output;
}

}}}  // namespace idefics::v0::detail
