// How classify decides: the label that greedy search generates when restricted to the labels, or the
// likeliest one.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <idefics/classify.hpp>

namespace cli {

struct LabelOptions {
  bool rank = false, normalize = false;
  bool scores = false;  // compute them also if they do not decide
  idefics::ProcessorOptions processor{};
};

struct Classified {
  std::string label;
  std::vector<double> scores;        // empty if they were not needed
  std::size_t best = 0;              // the index of the highest, if there are any
  idefics::GenerationOutput output;  // with rank, empty
};

/// Greedy search restricted to the labels; if it is cut short, the text is not one of them. With
/// `logprobs`, the output has those of its tokens.
inline idefics::GenerationOutput generate_label(idefics::Model& model,
                                                const idefics::Processor& processor,
                                                const idefics::Prompt& prompt,
                                                const std::vector<std::string>& labels,
                                                const idefics::ProcessorOptions& options,
                                                bool logprobs) {
  std::size_t longest = 0;
  for (const auto& label : labels) longest = std::max(longest, label.size());
  idefics::GenerationConfig config{
      .max_new_tokens = static_cast<std::int64_t>(longest) + 2,  // a token has at least one byte
      .eos_token_id = std::vector<std::int32_t>{processor.tokenizer().eos_id()},
      .prefix_allowed_tokens_fn = idefics::only_labels(processor, prompt, labels, options)};
  if (logprobs) config.top_logprobs = 0;
  return model.generate(processor(prompt, options), config);
}

/// With `logprobs`, the output of a generation has those of its tokens.
inline Classified choose_label(idefics::Model& model, const idefics::Processor& processor,
                               const idefics::Prompt& prompt,
                               const std::vector<std::string>& labels, const LabelOptions& options,
                               bool logprobs = false) {
  Classified found;
  if (!options.rank) {
    found.output = generate_label(model, processor, prompt, labels, options.processor, logprobs);
    found.label =
        processor.batch_decode(found.output.new_tokens, {.skip_special_tokens = true}).at(0);
  }
  const bool known = std::ranges::find(labels, found.label) != labels.end();
  if (known && !options.scores) return found;
  const idefics::Ranking ranking =
      idefics::rank_labels(model, processor, prompt, labels, options.normalize, options.processor);
  found.scores = ranking.scores;
  found.best = ranking.best;
  if (!known) found.label = labels[ranking.best];
  return found;
}

}  // namespace cli
