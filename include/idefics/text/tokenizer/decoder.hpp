// From tokens to text, token by token: the steps of a tokenizer.json's decoder, applied to a stream.
// Source: tokenizers' decoders.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <idefics/text/tokenizer/steps.hpp>
#include <idefics/text/utf8.hpp>

namespace idefics { inline namespace v0 { namespace detail {

struct ByteFallbackStep {
};                   // "<0xNN>" to bytes: runs of them are text, or one U+FFFD for each byte
struct FuseStep {};  // all tokens become one
struct StripTokenStep {
  std::string content = " ";        // one character, removed from the ends of every token
  std::size_t start = 0, stop = 0;  // at most so often
};
struct JoinBySpacesStep {};  // what no decoder at all does
using DecoderStep = std::variant<ReplaceStep, ByteFallbackStep, FuseStep, StripTokenStep,
                                 MetaspaceStep, JoinBySpacesStep>;
using Decoder = std::vector<DecoderStep>;

/// The value of a token like "<0x0A>", or -1. Unlike encoding, the reference takes digits in either
/// case here, and even a plus sign.
constexpr int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int value = 0;
  for (const std::size_t i : {std::size_t{3}, std::size_t{4}}) {
    const char c = token[i];
    const bool upper = c >= 'A' && c <= 'F', lower = c >= 'a' && c <= 'f';
    if (c == '+' && i == 3) continue;
    if (!upper && !lower && (c < '0' || c > '9')) return -1;
    value = value * 16 + (upper ? c - 'A' + 10 : lower ? c - 'a' + 10 : c - '0');
  }
  return value;
}

/// Applies the steps to a stream of tokens. The texts that `push` and `finish` return add up to the
/// text of all tokens; what a later token may change is held back.
class DecodeStream {
 public:
  /// `decoder` must outlive the stream.
  explicit DecodeStream(const Decoder& decoder) : decoder_(decoder), states_(decoder.size()) {}

  std::string push(std::string_view token) { return run(0, {std::string(token)}, false); }
  std::string finish() { return run(0, {}, true); }

 private:
  using Tokens = std::vector<std::string>;
  struct State {
    std::string held{};    // bytes of a run, or the text so far
    bool started = false;  // a token has passed
    std::size_t cut = 0;   // characters removed from the start
    bool fused = false;    // the tokens that arrive are parts of a single one
  };

  std::string run(std::size_t step, Tokens tokens, bool last) {
    bool fused = false;
    for (; step < decoder_.size(); ++step) {
      State& state = states_[step];
      state.fused = fused;
      std::visit([&](const auto& known) { tokens = apply(known, state, std::move(tokens), last); },
                 decoder_[step]);
      fused = fused || std::holds_alternative<FuseStep>(decoder_[step]);
    }
    std::string text;
    for (const std::string& token : tokens) text += token;
    return text;
  }

  /// After Fuse a step sees one token, which is complete only at the end: most steps wait for it.
  static bool wait(State& state, Tokens& tokens, bool last) {
    if (!state.fused) return false;
    for (std::string& token : tokens) state.held += token;
    tokens.clear();
    if (last) tokens.push_back(std::exchange(state.held, {}));
    return !last;
  }

  static Tokens apply(const ReplaceStep& step, State& state, Tokens tokens, bool last) {
    if (wait(state, tokens, last)) return {};
    for (std::string& token : tokens) replace_all(token, step.pattern, step.content);
    return tokens;
  }

  static Tokens apply(const FuseStep&, State&, Tokens tokens, bool) { return tokens; }

  static Tokens apply(const JoinBySpacesStep&, State& state, Tokens tokens, bool) {
    for (std::string& token : tokens)
      if (std::exchange(state.started, true)) token.insert(0, " ");
    return tokens;
  }

  static Tokens apply(const MetaspaceStep& step, State& state, Tokens tokens, bool last) {
    if (wait(state, tokens, last)) return {};
    for (std::string& token : tokens) {
      const bool first = !std::exchange(state.started, true);
      const bool drop = first && step.scheme != PrependScheme::never;
      replace_all(token, step.replacement, drop ? "" : " ");
    }
    return tokens;
  }

  static void append_bytes(std::string run, Tokens& tokens) {
    if (run.empty()) return;
    if (valid_utf8_prefix(run) == run.size()) return tokens.push_back(std::move(run));
    for (std::size_t i = 0; i < run.size(); ++i) tokens.emplace_back("\xEF\xBF\xBD");
  }

  static Tokens apply(const ByteFallbackStep&, State& state, Tokens tokens, bool last) {
    if (state.fused && wait(state, tokens, last)) return {};
    Tokens result;
    for (std::string& token : tokens) {
      if (const int byte = byte_of_token(token); byte >= 0) {
        state.held.push_back(static_cast<char>(byte));
        continue;
      }
      append_bytes(std::exchange(state.held, {}), result);
      result.push_back(std::move(token));
    }
    if (last) append_bytes(std::exchange(state.held, {}), result);
    return result;
  }

  /// Removes `content` from both ends of a whole token.
  static void strip(const StripTokenStep& step, std::string& token) {
    for (std::size_t i = 0; i < step.start && token.starts_with(step.content); ++i)
      token.erase(0, step.content.size());
    for (std::size_t i = 0; i < step.stop && token.ends_with(step.content); ++i)
      token.resize(token.size() - step.content.size());
  }

  static Tokens apply(const StripTokenStep& step, State& state, Tokens tokens, bool last) {
    if (state.fused && step.stop == 0) {
      // the beginning of the single token: known as soon as it arrives
      for (std::string& token : tokens) {
        while (!token.empty() && state.cut < step.start && token.starts_with(step.content))
          token.erase(0, step.content.size()), ++state.cut;
        if (!token.empty()) state.cut = step.start;
      }
      return tokens;
    }
    if (wait(state, tokens, last)) return {};
    for (std::string& token : tokens) strip(step, token);
    return tokens;
  }

  const Decoder& decoder_;
  std::vector<State> states_;
};

/// The text of a token in the middle of others; of a byte token its byte.
inline std::string text_within(const Decoder& decoder, const std::string& token) {
  const bool bytes = std::ranges::any_of(decoder, [](const DecoderStep& step) {
    return std::holds_alternative<ByteFallbackStep>(step);
  });
  if (const int byte = byte_of_token(token); bytes && byte >= 0) return {static_cast<char>(byte)};
  std::string text = token;
  for (const DecoderStep& step : decoder)
    if (const auto* replace = std::get_if<ReplaceStep>(&step))
      replace_all(text, replace->pattern, replace->content);
    else if (const auto* metaspace = std::get_if<MetaspaceStep>(&step))
      replace_all(text, metaspace->replacement, " ");
  return text;
}

/// Removes spaces before punctuation and English contractions. Source: transformers'
/// clean_up_tokenization.
inline std::string cleaned_up(std::string text) {
  static constexpr std::pair<const char*, const char*> rules[] = {
      {" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
      {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : rules) replace_all(text, from, to);
  return text;
}

/// The end of the part of a text whose cleaning does not depend on what follows: a rule reaches over
/// spaces, apostrophes, marks, and the letters of "ve", "re" and "n't", but over no other pair.
inline std::size_t clean_up_boundary(std::string_view text) {
  constexpr std::string_view part_of_rule = " '.?!,";
  auto is_inside = [&](char c) { return part_of_rule.find(c) != std::string_view::npos; };
  for (std::size_t at = text.size(); at-- > 1;) {
    const char left = text[at - 1], right = text[at];
    const bool contraction = right == 'e' && (left == 'v' || left == 'r');
    if (!is_inside(left) && !is_inside(right) && !contraction) return at;
  }
  return 0;
}

}}}  // namespace idefics::v0::detail
