// A conversation with an instruct checkpoint: its messages, the prompt made of them, and the next
// answer (docs/chat.md). Source of the prompt format: the guide "Image tasks with IDEFICS".
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <idefics/generation/run/streamer.hpp>
#include <idefics/model.hpp>
#include <idefics/processor.hpp>
#include <idefics/text/chat_template.hpp>
#include <idefics/text/template_turns.hpp>

namespace idefics { inline namespace v0 {

/// One turn: pictures, then words. Words that look like a special token stay words.
struct ChatMessage {
  std::string role;  // "user", "assistant", "system", or another one that the chat template knows
  std::vector<Image> pictures{};
  std::string text{};
};

/// What happens when a conversation no longer fits in the model's context.
enum class ContextOverflow {
  drop,  // the oldest turns are left out of the prompt
  fail,  // `context_overflow`
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

/// The prompt for the assistant's next turn: by the tokenizer's chat template if it has one, else
/// in the format of the published instruct checkpoints. If the last turn is the assistant's, it is
/// continued. `dropped`: the number of oldest messages to leave out, not counting system texts at
/// the beginning. Throws what render_chat_template throws, and `image_count_mismatch` if the
/// template omits pictures. Process the prompt without adding end-of-utterance tokens.
IDEFICS_ENGINE_INLINE Prompt chat_prompt(const std::vector<ChatMessage>& messages,
                                         const Tokenizer& tokenizer, std::size_t dropped = 0);

/// Belongs to one thread; conversations of several threads can share a model.
class Chat {
 public:
  /// `model` and `processor` must outlive the conversation.
  Chat(Model& model, const Processor& processor, GenerationConfig options = {})
      : config(answer_config(processor, std::move(options))),
        model_(model),
        processor_(processor) {}

  /// Adds a message that needs no answer: a system text, a turn of the past, the result of a tool.
  void add(ChatMessage message) { messages_.push_back(std::move(message)); }

  /// The answer to a text and the pictures shown with it; both turns join the conversation.
  /// Pictures of earlier turns are not encoded again. A callback that returns false ends the answer
  /// early. If an error is thrown, the conversation is unchanged.
  std::string ask(std::string text, std::vector<Image> pictures = {},
                  const PieceCallback& on_piece = {}) {
    messages_.push_back({"user", std::move(pictures), std::move(text)});
    try {
      return reply(on_piece);
    } catch (...) {
      messages_.pop_back();
      throw;
    }
  }
  /// The answer to the messages so far. If the last one is the assistant's, the answer continues
  /// it, and is appended to it.
  IDEFICS_ENGINE_INLINE std::string reply(const PieceCallback& on_piece = {});

  void reset() { messages_.clear(), past_.clear(), dropped_ = 0; }
  /// Continues with other messages: what was read is kept where both begin alike.
  void restore(std::vector<ChatMessage> messages) { messages_ = std::move(messages), dropped_ = 0; }
  /// All of them, also those that no longer fit in the context.
  const std::vector<ChatMessage>& messages() const { return messages_; }
  /// The number of oldest messages that have been dropped from the prompt.
  std::size_t dropped() const { return dropped_; }
  /// The tokens and timings of the last answer.
  const GenerationOutput& output() const { return output_; }

  GenerationConfig config;  // may be changed between turns
  ContextOverflow context_overflow = ContextOverflow::drop;

 private:
  Inputs inputs_that_fit(std::size_t& dropped) const;

  Model& model_;
  const Processor& processor_;
  std::vector<ChatMessage> messages_;
  std::size_t dropped_ = 0;
  GenerationOutput output_;
  PastKeyValues past_;  // so that earlier turns are not read again
};

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <algorithm>
#include <optional>
#include <string_view>

namespace idefics { inline namespace v0 {

namespace detail {

/// Special tokens that were typed are text. So that a template cannot make tokens of them, a
/// character that occurs in no message is put into each before the template is rendered; afterwards
/// it is taken out, and no token is found across the place where it was.
class TypedMarkers {
 public:
  TypedMarkers(const std::vector<ChatMessage>& messages, const Tokenizer& tokenizer) {
    for (const AddedToken& token : tokenizer.added_tokens())
      if (token.special && !token.content.empty()) tokens_.push_back(token.content);
    int wanted = 0;
    // noncharacters, then the private use area; as text and as JSON and repr() write them
    for (unsigned code = 0xfdd0; wanted < 2; code = code == 0xfdef ? 0xe000 : code + 1) {
      if (code == 0xf900)
        fail(ErrorCode::invalid_prompt, "the messages use all private characters");
      std::string text{static_cast<char>(0xe0 | code >> 12),
                       static_cast<char>(0x80 | (code >> 6 & 63)),
                       static_cast<char>(0x80 | (code & 63))},
          escaped = "\\u";
      for (int shift = 12; shift >= 0; shift -= 4)
        escaped.push_back("0123456789abcdef"[code >> shift & 15]);
      if (std::ranges::any_of(messages, [&](const ChatMessage& message) {
            return message.text.find(text) != std::string::npos ||
                   message.text.find(escaped) != std::string::npos;
          }))
        continue;
      (wanted++ == 0 ? mark_ : tag) = text;
      if (wanted == 1) escaped_ = escaped;
    }
  }

  /// Where typed tokens have to be broken: after the first character of each.
  std::vector<std::size_t> places(std::string_view text) const {
    std::vector<std::size_t> places;
    for (const std::string& token : tokens_)
      for (std::size_t at = 0; (at = text.find(token, at)) != std::string_view::npos; ++at) {
        std::size_t end = at + 1;
        while (end < at + token.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
          ++end;
        places.push_back(end);
      }
    std::ranges::sort(places);
    places.erase(std::unique(places.begin(), places.end()), places.end());
    return places;
  }
  std::string marked(std::string_view text) const {
    std::string out;
    std::size_t at = 0;
    for (const std::size_t place : places(text))
      out.append(text.substr(at, place - at)).append(mark_), at = place;
    return out.append(text.substr(at));
  }
  /// A text without the marks, and where they were.
  PromptItem unmarked(std::string_view text) const {
    std::string out;
    std::vector<std::size_t> breaks;
    for (std::size_t at = 0; at < text.size();) {
      const bool mark = text.substr(at).starts_with(mark_);
      if (!mark && !text.substr(at).starts_with(escaped_)) {
        out.push_back(text[at++]);
        continue;
      }
      breaks.push_back(out.size());
      at += mark ? mark_.size() : escaped_.size();
    }
    return PromptItem::text(std::move(out), std::move(breaks));
  }

  std::string tag;  // another such character

 private:
  std::vector<std::string> tokens_;
  std::string mark_, escaped_;
};

/// The messages of a prompt: system texts at the beginning, and the others but the oldest.
inline std::vector<const ChatMessage*> kept_messages(const std::vector<ChatMessage>& messages,
                                                     std::size_t dropped) {
  std::vector<const ChatMessage*> kept;
  std::size_t i = 0;
  for (; i < messages.size() && messages[i].role == "system"; ++i) kept.push_back(&messages[i]);
  for (i += dropped; i < messages.size(); ++i) kept.push_back(&messages[i]);
  return kept;
}

/// "User:" picture "words<end_of_utterance>" "\nAssistant:", as instruct checkpoints learned it. A
/// system text has neither name nor end; other roles are written like these two.
inline Prompt instruct_prompt(const std::vector<const ChatMessage*>& messages,
                              const TypedMarkers& markers) {
  Prompt prompt;
  std::string text;
  std::vector<std::size_t> breaks;
  const auto flush = [&] {
    prompt.push_back(PromptItem::text(std::exchange(text, {}), std::exchange(breaks, {})));
  };
  for (const ChatMessage* message : messages) {
    const bool system = message->role == "system";
    if (message != messages.front()) text += '\n';
    if (!system) {
      std::string name = message->role;
      if (!name.empty() && name[0] >= 'a' && name[0] <= 'z') name[0] -= 'a' - 'A';
      text += name + ":";
      if (message->pictures.empty() && !message->text.empty()) text += ' ';
    }
    for (const Image& picture : message->pictures) {
      if (!text.empty()) flush();
      prompt.emplace_back(picture);
    }
    for (const std::size_t place : markers.places(message->text))
      breaks.push_back(text.size() + place);
    text += message->text;
    const bool continued = message == messages.back() && message->role == "assistant";
    if (!system && !continued) text += Processor::end_of_utterance_token;
  }
  if (messages.empty() || messages.back()->role != "assistant")
    text += messages.empty() ? "Assistant:" : "\nAssistant:";
  flush();
  return prompt;
}

/// How the template of a tokenizer is rendered.
class TemplatePrompt {
 public:
  TemplatePrompt(const Tokenizer& tokenizer, const TypedMarkers& markers)
      : tokenizer_(tokenizer),
        markers_(markers),
        bos_(tokenizer.special_token("bos_token").value_or("")) {}

  /// The rendered text, split at <image>.
  Prompt of(const std::vector<const ChatMessage*>& messages) const {
    const bool parts = expects_parts();
    const bool continues = !messages.empty() && messages.back()->role == "assistant";
    std::vector<const Image*> pictures;
    std::vector<TemplateTurn> turns;
    for (const ChatMessage* message : messages) {
      for (const Image& picture : message->pictures) pictures.push_back(&picture);
      turns.push_back({.role = message->role,
                       .text = markers_.marked(message->text),
                       .pictures = message->pictures.size(),
                       .parts = parts || !message->pictures.empty()});
    }
    if (continues) turns.back().text += markers_.tag + " ";
    std::string text = rendered(turns, !continues);
    if (continues) cut_at_tag(text);
    if (text.starts_with(bos_)) text.erase(0, bos_.size());  // which the processor adds
    return split(text, pictures);
  }

 private:
  std::string rendered(const std::vector<TemplateTurn>& turns, bool generation) const {
    std::map<std::string, std::string> tokens{{"bos_token", ""}};  // the processor adds it
    for (const char* name : {"eos_token", "unk_token", "pad_token"})
      if (const auto token = tokenizer_.special_token(name)) tokens[name] = *token;
    return render_turns(tokenizer_.chat_template(), turns, generation, tokens);
  }

  /// Whether the template writes content that is a list of parts, rather than a text: it is tried.
  bool expects_parts() const {
    constexpr const char* probe = "Hello there";
    try {
      const std::string text = rendered({{.role = "user", .text = probe, .parts = true}}, true);
      return text.find(probe) != std::string::npos && text.find("'type'") == std::string::npos &&
             text.find("\"type\"") == std::string::npos;
    } catch (const Error& error) {
      // it may refuse this conversation, and accept others
      return error.code() == ErrorCode::invalid_prompt;
    }
  }

  /// Ends the text where the last message does, as continue_final_message does in the reference.
  void cut_at_tag(std::string& text) const {
    const std::size_t tag = text.rfind(markers_.tag);
    if (tag == std::string::npos)
      fail(ErrorCode::invalid_prompt,
           "the chat template omits the assistant's turn, which is to be continued",
           {.field = "chat_template"});
    const bool spaced = text.substr(tag + markers_.tag.size()).starts_with(' ');
    text.resize(tag);
    if (!spaced) text.erase(text.find_last_not_of(" \t\r\n\f\v") + 1);
  }

  Prompt split(std::string_view text, const std::vector<const Image*>& pictures) const {
    constexpr std::string_view token = Processor::image_token;
    Prompt prompt;
    std::size_t begin = 0, next = 0;
    // typed ones are marked, and not found
    for (std::size_t found;
         next < pictures.size() && (found = text.find(token, begin)) != std::string::npos;
         begin = found + token.size()) {
      if (found > begin) prompt.push_back(markers_.unmarked(text.substr(begin, found - begin)));
      prompt.emplace_back(*pictures[next++]);
    }
    if (next < pictures.size())
      fail(ErrorCode::image_count_mismatch, "the chat template omits pictures",
           {.field = "chat_template", .actual = next, .limit = pictures.size()});
    prompt.push_back(markers_.unmarked(text.substr(begin)));
    return prompt;
  }

  const Tokenizer& tokenizer_;
  const TypedMarkers& markers_;
  std::string bos_;
};

/// The number of messages to leave out, at least one more than now, so that the prompt begins with
/// a question; nothing if only the last question would be left out next.
inline std::optional<std::size_t> next_dropped(const std::vector<ChatMessage>& messages,
                                               std::size_t dropped) {
  const auto first = std::ranges::find_if(messages, [](auto& m) { return m.role != "system"; });
  for (auto at = first + static_cast<std::ptrdiff_t>(dropped); at != messages.end(); ++at)
    if (at != first + static_cast<std::ptrdiff_t>(dropped) && at->role == "user")
      return static_cast<std::size_t>(at - first);
  return std::nullopt;
}

}  // namespace detail

IDEFICS_ENGINE_INLINE Prompt chat_prompt(const std::vector<ChatMessage>& messages,
                                         const Tokenizer& tokenizer, std::size_t dropped) {
  const detail::TypedMarkers markers(messages, tokenizer);
  const auto kept = detail::kept_messages(messages, dropped);
  return tokenizer.chat_template().empty() ? detail::instruct_prompt(kept, markers)
                                           : detail::TemplatePrompt(tokenizer, markers).of(kept);
}

/// Turns are left out until the prompt leaves space for the answer, of which at most a quarter of
/// the context is reserved.
IDEFICS_ENGINE_INLINE Inputs Chat::inputs_that_fit(std::size_t& dropped) const {
  const auto context = model_.config().max_position_embeddings;
  const auto& defaults = model_.generation_config();
  const std::int64_t answer = config.max_new_tokens.value_or(defaults.max_new_tokens.value_or(20));
  for (;;) {
    Inputs inputs = processor_(chat_prompt(messages_, processor_.tokenizer(), dropped),
                               {.add_end_of_utterance_token = false});
    const std::int64_t tokens = inputs.input_ids.dim(1);
    if (!context || tokens + std::min(answer, *context / 4) <= *context) return inputs;
    const auto more = detail::next_dropped(messages_, dropped);
    if (context_overflow == ContextOverflow::drop && more) {
      dropped = *more;
      continue;
    }
    if (tokens <= *context) return inputs;
    fail(ErrorCode::context_overflow,
         more ? "the conversation has more tokens than the model's context"
              : "the question alone has more tokens than the model's context",
         {.field = "max_position_embeddings",
          .actual = static_cast<std::uint64_t>(tokens),
          .limit = static_cast<std::uint64_t>(*context)});
  }
}

IDEFICS_ENGINE_INLINE std::string Chat::reply(const PieceCallback& on_piece) {
  std::size_t dropped = dropped_;
  const Inputs inputs = inputs_that_fit(dropped);
  std::string answer;
  TextStreamer streamer(processor_.tokenizer(), [&](const std::string& piece) {
    answer += piece;
    return !on_piece || on_piece(piece);
  });
  output_ = model_.generate(inputs, config, {.past_key_values = &past_}, std::ref(streamer));
  streamer.finish();
  dropped_ = dropped;
  if (messages_.empty() || messages_.back().role != "assistant") {
    messages_.push_back({.role = "assistant", .text = answer});
    return answer;
  }
  // what is continued: the space before its first word is not part of an answer
  std::string text = messages_.back().text;
  const auto& ids = output_.sequences.at(0);
  const auto prompt = static_cast<std::size_t>(inputs.input_ids.dim(1));
  if (ids.size() > prompt && !text.empty() && !text.ends_with(' ') &&
      processor_.tokenizer().id_to_token(ids[prompt]).starts_with("▁"))
    text += ' ';
  messages_.back().text = std::move(text += answer);
  return answer;
}

}}  // namespace idefics::v0

#endif
