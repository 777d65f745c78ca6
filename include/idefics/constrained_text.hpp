// Answers that match a regular expression or a JSON schema, token by token: a token is allowed if the
// text with it can still become one that matches, and the end is allowed once it does. Source: OpenAI's
// response_format; the tokens of a state are found as by outlines (Willard & Louf 2023).
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/generation/options/config.hpp>
#include <idefics/text/pattern/json_schema.hpp>
#include <idefics/text/tokenizer.hpp>

namespace idefics { inline namespace v0 {

/// What the text of an answer must match. An answer may begin with a space, as the first token of most
/// tokenizers does. If max_new_tokens ends an answer before its end, it does not match yet.
class ConstrainedText {
 public:
  /// A regular expression (text/pattern/regex.hpp). All of these throw `invalid_option`, naming `field`.
  static ConstrainedText regex(std::string_view expression, const std::string& field = "regex") {
    detail::Patterns p(field);
    const int root = detail::RegexParser(p, expression, field).parse();
    return {p, root, field};
  }
  /// A JSON schema: types, properties, items and their numbers, enum, const, anyOf, $ref.
  static ConstrainedText json_schema(const Json& schema, const std::string& field = "json_schema") {
    detail::Patterns p(field);
    const int root = detail::SchemaPattern(p, schema, field).parse();
    return {p, root, field};
  }
  /// Any JSON object, up to five deep.
  static ConstrainedText json_object() {
    detail::Patterns p("json_object");
    const int root = detail::JsonPatterns(p).object(5);
    return {p, root, "json_object"};
  }

  /// For GenerationConfig::prefix_allowed_tokens_fn of one call: what may follow prompts of
  /// `prompt_columns` columns. `ends` are the tokens that end an answer.
  PrefixAllowedTokens allowed_tokens(const Tokenizer& tokenizer, std::int64_t prompt_columns,
                                     std::vector<std::int32_t> ends) const;

  /// Whether a text matches.
  bool matches(std::string_view text) const;

 private:
  ConstrainedText(const detail::Patterns& patterns, int root, const std::string& field)
      : states_(std::make_shared<const detail::PatternStates>(patterns, root, field)) {}

  std::shared_ptr<const detail::PatternStates> states_;
};

namespace detail {

/// Which tokens may follow, for each state of the automaton that an answer reaches.
class AllowedTokens {
 public:
  AllowedTokens(std::shared_ptr<const PatternStates> pattern, const Tokenizer& tokenizer,
                std::size_t prompt, std::vector<std::int32_t> ends)
      : pattern_(pattern),
        automaton_(std::move(pattern)),
        texts_(tokenizer.token_texts()),
        prompt_(prompt),
        ends_(std::move(ends)) {
    std::vector<bool> added(texts_->size());
    for (const AddedToken& token : tokenizer.added_tokens())
      if (static_cast<std::size_t>(token.id) < added.size())
        added[static_cast<std::size_t>(token.id)] = true;
    for (std::size_t id = 0; id < texts_->size(); ++id)
      if (!(*texts_)[id].empty() && !added[id]) sorted_.push_back(static_cast<std::int32_t>(id));
    std::ranges::sort(sorted_, {}, [this](std::int32_t id) { return text(id); });
  }

  const std::vector<std::int32_t>& after(std::span<const std::int32_t> so_far) {
    int state = automaton_.begin(pattern_->answer());
    for (const std::int32_t id : so_far.subspan(std::min(prompt_, so_far.size()))) {
      if (std::ranges::find(ends_, id) != ends_.end()) return ends_;
      for (const char byte : text(id))
        if (state >= 0) state = automaton_.step(state, static_cast<std::uint8_t>(byte));
    }
    if (state < 0) return ends_;  // forced by another option
    const auto at = static_cast<std::size_t>(state);
    if (at >= allowed_.size()) allowed_.resize(at + 1);
    if (allowed_[at]) return *allowed_[at];
    if (kept_++ == most_kept) {
      allowed_.assign(allowed_.size(), std::nullopt);
      kept_ = 1;
    }
    return allowed_[at].emplace(find(state));
  }

 private:
  static constexpr int most_kept = 64;  // lists, each as long as the vocabulary at most

  std::string_view text(std::int32_t id) const { return (*texts_)[static_cast<std::size_t>(id)]; }

  /// Tokens in order of their texts: what two neighbours have in common is read once.
  std::vector<std::int32_t> find(int state) {
    std::vector<std::int32_t> allowed;
    std::vector<int> path{state};  // states after each byte of the last token, until none is left
    std::string_view last;
    for (const std::int32_t id : sorted_) {
      const std::string_view now = text(id);
      const auto common =
          static_cast<std::size_t>(std::ranges::mismatch(last, now).in1 - last.begin());
      last = now;
      if (path.size() > common + 1) path.resize(common + 1);
      while (path.back() >= 0 && path.size() <= now.size())
        path.push_back(
            automaton_.step(path.back(), static_cast<std::uint8_t>(now[path.size() - 1])));
      if (path.back() >= 0) allowed.push_back(id);
    }
    if (automaton_.matches(state)) allowed.insert(allowed.end(), ends_.begin(), ends_.end());
    if (allowed.empty())
      refuse_pattern("the tokens of the model cannot spell any text that matches",
                     pattern_->field());
    return allowed;
  }

  std::shared_ptr<const PatternStates> pattern_;
  TextAutomaton automaton_;
  std::shared_ptr<const std::vector<std::string>> texts_;
  std::vector<std::int32_t> sorted_;  // tokens with a text
  std::size_t prompt_;
  std::vector<std::int32_t> ends_;
  std::vector<std::optional<std::vector<std::int32_t>>> allowed_;  // by state
  int kept_ = 0;
};

}  // namespace detail

inline PrefixAllowedTokens ConstrainedText::allowed_tokens(const Tokenizer& tokenizer,
                                                           std::int64_t prompt_columns,
                                                           std::vector<std::int32_t> ends) const {
  auto allowed = std::make_shared<detail::AllowedTokens>(
      states_, tokenizer, static_cast<std::size_t>(prompt_columns), std::move(ends));
  return [allowed](std::int64_t, std::span<const std::int32_t> so_far) {
    return allowed->after(so_far);
  };
}

inline bool ConstrainedText::matches(std::string_view text) const {
  detail::TextAutomaton automaton(states_);
  int state = automaton.begin(states_->start());
  for (const char byte : text)
    if (state >= 0) state = automaton.step(state, static_cast<std::uint8_t>(byte));
  return state >= 0 && automaton.matches(state);
}

}}  // namespace idefics::v0
