// Options of a generation, as far as they are used without a model: validated, limited, and applied
// to some steps.
#pragma once

#include <idefics/generation/options/effective.hpp>
#include <idefics/generation/options/limits.hpp>
#include <idefics/generation/options/read_config.hpp>
#include <idefics/generation/search/candidates.hpp>
#include <idefics/generation/search/constrained_beams.hpp>
#include <idefics/io/json.hpp>

#include "fuzz/target.hpp"

namespace fuzz {

inline void options(Bytes input) {
  using namespace idefics;
  constexpr std::size_t vocabulary = 60, added = 4;
  const std::vector<std::int32_t> prompt{1, 5, 7, 5, 7, 63, 2};
  const GenerationConfig read = generation_config_from_json(parse_json(text_of(input), "options"),
                                                            "options", UnknownKeys::ignore);
  (void)option_warnings(read, {});
  GenerationConfig config = detail::effective_options(read, {}, vocabulary + added);
  const auto lengths = detail::length_limits(config, std::ssize(prompt), 512);
  expect(lengths.new_tokens() > 0 && lengths.shortest <= lengths.longest, "lengths in disorder");
  const std::int64_t copies = std::max(config.num_beams.value_or(1), config.best_of.value_or(1));
  detail::apply_limits({.new_tokens = 300, .rows = 8, .listed_ids = 4096}, config, lengths, 1,
                       copies);

  const detail::LogitsContext context{.vocabulary = vocabulary + added,
                                      .base_vocabulary = vocabulary,
                                      .limits = lengths,
                                      .prompts = {prompt}};
  detail::LogitsPipeline pipeline(config, context);
  std::vector<std::int32_t> row = prompt;
  for (int step = 0; step < 3 && std::ssize(row) < lengths.longest; ++step) {
    std::vector<float> scores(vocabulary + added);
    for (std::size_t i = 0; i < scores.size(); ++i)
      scores[i] = static_cast<float>((i * 37 + static_cast<std::size_t>(step)) % 64) - 30;
    pipeline.process(scores, row, 0);
    row.push_back(static_cast<std::int32_t>(7 - 2 * step));
  }
  detail::PromptLookup lookup(config, context);
  expect(std::ssize(lookup.guess(row, lengths.longest - std::ssize(row))) <= lengths.longest,
         "a draft that is too long");
  std::vector<detail::Constraint> constraints;
  for (const auto& phrases : config.force_words_ids) constraints.emplace_back(phrases);
  if (constraints.size() > 64) return;
  detail::ConstraintState state(constraints);
  std::vector<std::int32_t> next;
  for (int step = 0; step < 50 && !state.completed(); ++step) {
    state.advance(next);
    expect(!next.empty(), "no token advances the constraints");
    state.add(next[static_cast<std::size_t>(step) % next.size()]);
  }
}

}  // namespace fuzz
