// What each word of an answer looked at.
#include <idefics/attention_rollout.hpp>
#include <idefics/io/json.hpp>

#include "cli/attention_json.hpp"
#include "cli/serve/engine.hpp"
#include "cli/serve/errors.hpp"

namespace cli::serve {

using namespace idefics;

// The most words times pictures of an answer: each has a weight for every patch.
constexpr std::int64_t most_looks = 4096;

Json Engine::attend(Job& job, Generation generation) {
  if (count_answers(generation) != 1)
    fail(ErrorCode::invalid_option, "must be 1: words of one answer are looked at",
         {.field = "num_return_sequences"});
  generation.config.output_attentions = true;
  const GenerationOutput out = model_.generate(generation.inputs, generation.config,
                                               {.proceed = [&job] { return job.wanted(); }});
  if (!job.wanted()) fail(ErrorCode::cancelled, "the client has left");
  if (out.new_tokens.empty() || out.new_tokens.front().empty())
    throw Refusal(504, "timeout", "the time was over before the first token", "max_time");
  const auto ids = std::span(out.new_tokens[0]).first(static_cast<std::size_t>(out.lengths[0]));
  if (std::ssize(ids) * generation.inputs.pixel_values.dim(1) > most_looks)
    fail(ErrorCode::invalid_option, "the answer is too long for so many pictures",
         {.field = "max_new_tokens", .limit = most_looks});
  const AttentionRollout looks = attention_rollout(model_, generation.inputs, out, {});
  Json json = attention_json(processor_.tokenizer(), ids, looks, {});
  json.erase("tokens");
  json["object"] = "attention";
  json["text"] = answer_of(generation, out, 0).text;
  return json;
}

}  // namespace cli::serve
