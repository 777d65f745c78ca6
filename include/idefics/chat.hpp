// A conversation with an instruct checkpoint: its messages, the prompt made of them, and the next
// answer. Source of the prompt format: the guide "Image tasks with IDEFICS".
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <idefics/generation/run/streamer.hpp>
#include <idefics/model.hpp>
#include <idefics/processor.hpp>
#include <idefics/text/chat_template.hpp>

namespace idefics { inline namespace v0 {

/// One turn: pictures, then words.
struct ChatMessage {
  std::string role;  // "user" or "assistant"
  std::vector<Image> pictures{};
  std::string text{};
};

/// Options for an answer rather than free text: it ends at </s> or <end_of_utterance>, and contains
/// no picture tokens. The published generation configs leave both to the caller.
inline GenerationConfig answer_config(const Processor& processor, GenerationConfig config = {}) {
  const Tokenizer& tokenizer = processor.tokenizer();
  const auto turn = tokenizer.token_to_id(Processor::end_of_utterance_token);
  if (config.bad_words_ids.empty()) config.bad_words_ids = processor.image_token_ids();
  if (!config.eos_token_id && turn) config.eos_token_id = {tokenizer.eos_id(), *turn};
  return config;
}

/// The prompt for the assistant's next turn: by the tokenizer's chat_template if it has one, else
/// in the format of the published instruct checkpoints. Throws `invalid_tokenizer` for a template
/// that this engine cannot render. Process the prompt without adding end-of-utterance tokens.
IDEFICS_ENGINE_INLINE Prompt chat_prompt(const std::vector<ChatMessage>& messages,
                                         const Tokenizer& tokenizer);

class Chat {
 public:
  /// `model` and `processor` must outlive the conversation.
  Chat(Model& model, const Processor& processor, GenerationConfig options = {})
      : config(answer_config(processor, std::move(options))),
        model_(model),
        processor_(processor) {}

  /// The answer to a text and the pictures shown with it; both turns join the conversation.
  /// Pictures of earlier turns are not encoded again. A callback that returns false ends the answer
  /// early. If an error is thrown, the conversation is unchanged.
  std::string ask(std::string text, std::vector<Image> pictures = {},
                  const PieceCallback& on_piece = {}) {
    messages_.push_back({"user", std::move(pictures), std::move(text)});
    try {
      const Inputs inputs = processor_(chat_prompt(messages_, processor_.tokenizer()),
                                       {.add_end_of_utterance_token = false});
      std::string answer;
      TextStreamer streamer(processor_.tokenizer(), [&](const std::string& piece) {
        answer += piece;
        return !on_piece || on_piece(piece);
      });
      output_ = model_.generate(inputs, config, {.past_key_values = &past_}, std::ref(streamer));
      streamer.finish();
      messages_.push_back({.role = "assistant", .text = answer});
      return answer;
    } catch (...) {
      messages_.pop_back();
      throw;
    }
  }

  void reset() { messages_.clear(), past_.clear(); }
  const std::vector<ChatMessage>& messages() const { return messages_; }
  /// The tokens and timings of the last answer.
  const GenerationOutput& output() const { return output_; }

  GenerationConfig config;  // may be changed between turns

 private:
  Model& model_;
  const Processor& processor_;
  std::vector<ChatMessage> messages_;
  GenerationOutput output_;
  PastKeyValues past_;  // so that earlier turns are not read again
};

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <idefics/io/json.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// "User:" picture "words<end_of_utterance>" "\nAssistant:", as instruct checkpoints learned it.
inline Prompt instruct_prompt(const std::vector<ChatMessage>& messages) {
  const std::string end = Processor::end_of_utterance_token;
  Prompt prompt;
  std::string text;
  for (const ChatMessage& message : messages) {
    text += prompt.empty() && text.empty() ? "" : "\n";
    text += message.role == "user" ? "User:" : "Assistant:";
    if (message.pictures.empty() && !message.text.empty()) text += ' ';
    for (const Image& picture : message.pictures) {
      if (!text.empty()) prompt.push_back(PromptItem::text(std::exchange(text, {})));
      prompt.emplace_back(picture);
    }
    text += message.text + end;
  }
  prompt.push_back(PromptItem::text(text + "\nAssistant:"));
  return prompt;
}

/// The prompt that the tokenizer's own template makes of the messages, split at <image>.
inline Prompt template_prompt(const std::vector<ChatMessage>& messages,
                              const Tokenizer& tokenizer) {
  Json list = Json::array();
  std::vector<const Image*> pictures;
  for (const ChatMessage& message : messages) {
    Json content = Json::array();
    for (const Image& picture : message.pictures) {
      content.push_back({{"type", "image"}});
      pictures.push_back(&picture);
    }
    content.push_back({{"type", "text"}, {"text", message.text}});
    list.push_back({{"role", message.role}, {"content", std::move(content)}});
  }
  const std::string text = render_chat_template(
      tokenizer.chat_template(), {{"messages", std::move(list)},
                                  {"add_generation_prompt", true},
                                  {"bos_token", ""},  // the processor adds it to every prompt
                                  {"eos_token", tokenizer.id_to_token(tokenizer.eos_id())}});
  constexpr std::string_view token = Processor::image_token;
  Prompt prompt;
  std::size_t begin = 0, next = 0;
  for (std::size_t found;
       next < pictures.size() && (found = text.find(token, begin)) != std::string::npos;
       begin = found + token.size()) {
    if (found > begin) prompt.push_back(PromptItem::text(text.substr(begin, found - begin)));
    prompt.emplace_back(*pictures[next++]);
  }
  if (next < pictures.size())
    fail(ErrorCode::image_count_mismatch, "the chat template omits pictures",
         {.field = "chat_template", .actual = next, .limit = pictures.size()});
  prompt.push_back(PromptItem::text(text.substr(begin)));
  return prompt;
}

}  // namespace detail

IDEFICS_ENGINE_INLINE Prompt chat_prompt(const std::vector<ChatMessage>& messages,
                                         const Tokenizer& tokenizer) {
  return tokenizer.chat_template().empty() ? detail::instruct_prompt(messages)
                                           : detail::template_prompt(messages, tokenizer);
}

}}  // namespace idefics::v0

#endif
