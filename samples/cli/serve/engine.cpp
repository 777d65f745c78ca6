// Generations.
#include "cli/serve/engine.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <idefics/io/json.hpp>

#include "cli/serve/errors.hpp"
#include "cli/serve/stop_text.hpp"

namespace cli::serve {

using namespace idefics;

namespace {

// new tokens, as on the command line
constexpr std::int64_t usual_tokens = 20, usual_chat_tokens = 256;

/// The text of one answer as its tokens come.
class AnswerText {
 public:
  AnswerText(const Tokenizer& tokenizer, const std::vector<std::string>& stop)
      : decoder_(tokenizer, {.skip_special_tokens = true}), stop_(stop) {}

  /// The text of the prompt, in which no stop is looked for.
  std::string read(std::span<const std::int32_t> prompt) {
    std::string text;
    for (const std::int32_t id : prompt) text += decoder_.push(id);
    return text;
  }
  std::string push(std::int32_t id) { return stop_.push(decoder_.push(id)); }
  std::string finish() {
    std::string text = stop_.push(decoder_.finish());
    return text + stop_.finish();
  }
  bool stopped() const { return stop_.stopped(); }

 private:
  TextDecoder decoder_;
  StopText stop_;
};

std::int64_t count_tokens(const Inputs& inputs) {
  const auto mask = inputs.attention_mask.as<std::int64_t>();
  return std::accumulate(mask.begin(), mask.end(), std::int64_t{0});
}

/// Throws `context_overflow` for more text than any context holds, before it is tokenized.
void check_size(std::size_t bytes) {
  constexpr std::size_t most = 1 << 20;
  if (bytes > most)
    fail(ErrorCode::context_overflow, "the prompt has too many bytes of text",
         {.actual = bytes, .limit = most});
}

void push_text(Job& job, std::size_t row, std::string text) {
  if (!text.empty()) job.push({row, std::move(text)});
}

}  // namespace

/// With the texts of tokens, where they are needed, and with `usual` new tokens or what is allowed.
GenerationConfig Engine::completed(GenerationConfig config, std::int64_t usual) const {
  const GenerationConfig& defaults = model_.generation_config();
  const std::int64_t tokens = std::min(usual, max_tokens_);
  if (!config.max_new_tokens && !config.max_length && !defaults.max_new_tokens &&
      !defaults.max_length && tokens != usual_tokens)
    config.max_new_tokens = tokens;
  if (!config.stop_strings.empty() || !model_.generation_config().stop_strings.empty())
    config.token_texts = processor_.tokenizer().token_texts();
  return config;
}

/// The same with answers that have the form asked for.
Generation Engine::constrained(Generation generation,
                               const std::optional<ConstrainedText>& format) const {
  if (!format) return generation;
  const GenerationConfig all = generation.config.merged_over(model_.generation_config());
  const Tokenizer& tokenizer = processor_.tokenizer();
  auto ends = all.eos_token_id.value_or(GenerationConfig::Ids{});
  if (ends.empty()) ends = {tokenizer.eos_id()};
  generation.config.prefix_allowed_tokens_fn =
      format->allowed_tokens(tokenizer, generation.inputs.input_ids.dim(1), std::move(ends));
  return generation;
}

Generation Engine::chat(const ChatRequest& request, const PictureLoader& load) const {
  std::vector<ChatMessage> messages;
  std::size_t bytes = 0;
  for (const Message& message : request.messages) check_size(bytes += message.text.size());
  for (const Message& message : request.messages) {
    ChatMessage& added = messages.emplace_back();
    added.role = message.role;
    added.text = message.text;
    for (const PictureSource& source : message.pictures) added.pictures.push_back(load(source));
  }
  GenerationConfig config = answer_config(processor_, request.options.config);
  const Prompt prompt = chat_prompt(messages, processor_.tokenizer());
  return constrained({processor_(prompt, {.add_end_of_utterance_token = false}),
                      completed(std::move(config), usual_chat_tokens), request.options.stop},
                     request.options.format);
}

Generation Engine::completion(const CompletionRequest& request, const PictureLoader& load) const {
  std::vector<Prompt> prompts;
  std::size_t bytes = 0;
  for (const PromptParts& parts : request.prompts)
    for (const PromptPart& part : parts) check_size(bytes += part.text.size());
  for (const PromptParts& parts : request.prompts) {
    Prompt& prompt = prompts.emplace_back();
    for (const PromptPart& part : parts)
      if (part.picture.url.empty())
        prompt.push_back(PromptItem::text(part.text));
      else
        prompt.emplace_back(load(part.picture));
  }
  return constrained({processor_(prompts), completed(request.options.config, usual_tokens),
                      request.options.stop, request.echo},
                     request.options.format);
}

bool Engine::streams(const Generation& generation) const {
  const GenerationConfig all = generation.config.merged_over(model_.generation_config());
  return all.num_beams.value_or(1) == 1 && !all.best_of && all.force_words_ids.empty();
}

std::size_t Engine::count_answers(const Generation& generation) const {
  const GenerationConfig all = generation.config.merged_over(model_.generation_config());
  // as many as the limits allow; more are refused by the model
  const auto each = std::clamp<std::int64_t>(all.num_return_sequences.value_or(1), 1, 1 << 10);
  return static_cast<std::size_t>(generation.inputs.input_ids.dim(0) * each);
}

bool Engine::is_end(const GenerationConfig& config, std::int32_t id) const {
  const auto& ends =
      config.eos_token_id ? config.eos_token_id : model_.generation_config().eos_token_id;
  return ends && std::ranges::find(*ends, id) != ends->end();
}

Answer Engine::answer_of(const Generation& generation, const GenerationOutput& out,
                         std::size_t row) const {
  const auto length = static_cast<std::size_t>(out.lengths[row]);
  const auto ids = std::span(out.new_tokens[row]).first(length);
  AnswerText text(processor_.tokenizer(), generation.stop);
  Answer answer{.text = {}, .finish_reason = "length", .logprobs = {}};
  if (generation.echo)
    answer.text =
        text.read(std::span(out.sequences[row])
                      .first(static_cast<std::size_t>(generation.inputs.input_ids.dim(1))));
  for (const std::int32_t id : ids) answer.text += text.push(id);
  answer.text += text.finish();
  const bool ended = length > 0 && is_end(generation.config, ids.back());
  const GenerationConfig all = generation.config.merged_over(model_.generation_config());
  const std::string whole = processor_.tokenizer().decode(ids, {.skip_special_tokens = true});
  const bool found = std::ranges::any_of(all.stop_strings, [&](const std::string& string) {
    return whole.find(string) != std::string::npos;
  });
  if (ended || found || text.stopped()) answer.finish_reason = "stop";
  if (row >= out.logprobs.size()) return answer;
  answer.logprobs = out.logprobs[row];
  if (ended && !answer.logprobs.empty()) answer.logprobs.pop_back();  // the end is not text
  return answer;
}

Answers Engine::run(Job& job, const Generation& generation, bool live) {
  std::vector<AnswerText> texts;
  for (std::size_t row = 0; row < count_answers(generation); ++row)
    texts.emplace_back(processor_.tokenizer(), generation.stop);
  if (live && generation.echo) {
    const auto prompts = padded_rows(generation.inputs.input_ids);
    for (std::size_t row = 0; row < texts.size(); ++row)
      push_text(job, row, texts[row].read(prompts[row * prompts.size() / texts.size()]));
  }
  const auto on_step = [&](std::span<const std::pair<std::int32_t, std::int32_t>> chosen) {
    for (const auto& [row, id] : chosen) {
      if (!live) break;
      const auto at = static_cast<std::size_t>(row);
      push_text(job, at, texts.at(at).push(id));
    }
    return job.wanted();
  };
  const GenerationOutput out = model_.generate(
      generation.inputs, generation.config, {.proceed = [&job] { return job.wanted(); }}, on_step);
  if (out.new_tokens.empty() || out.new_tokens.front().empty()) {
    if (!job.wanted()) fail(ErrorCode::cancelled, "the client has left");
    throw Refusal(504, "timeout", "the time was over before the first token", "max_time");
  }
  Answers answers{.list = {}, .prompt_tokens = count_tokens(generation.inputs)};
  for (std::size_t row = 0; row < out.new_tokens.size(); ++row) {
    answers.list.push_back(answer_of(generation, out, row));
    answers.new_tokens += out.lengths[row];
    if (live) push_text(job, row, texts.at(row).finish());
  }
  return answers;
}

}  // namespace cli::serve
