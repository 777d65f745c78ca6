// The steps around the model, as data that tokenizer.json describes: a normalizer rewrites a piece of
// text, a pre-tokenizer marks and cuts it. Source: tokenizers' normalizers and pre_tokenizers.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <idefics/text/utf8.hpp>

namespace idefics { inline namespace v0 { namespace detail {

inline void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (text.find(from) == std::string::npos) return;
  std::string result;
  std::size_t at = 0;
  for (std::size_t found; (found = text.find(from, at)) != std::string::npos;
       at = found + from.size())
    result.append(text, at, found - at).append(to);
  text = std::move(result.append(text, at));
}

struct PrependStep {
  std::string text;  // in front of every piece that is not empty
};
struct ReplaceStep {
  std::string pattern, content;
};
struct StripStep {
  bool left = false, right = false;  // white space at the ends
};
using NormalizerStep = std::variant<PrependStep, ReplaceStep, StripStep>;
using Normalizer = std::vector<NormalizerStep>;

inline void normalize_step(std::string& text, const PrependStep& step) {
  if (!text.empty()) text.insert(0, step.text);
}
inline void normalize_step(std::string& text, const ReplaceStep& step) {
  replace_all(text, step.pattern, step.content);
}
inline void normalize_step(std::string& text, const StripStep& step) {
  if (step.right) text.resize(text.size() - trailing_white_space(text));
  if (step.left) text.erase(0, leading_white_space(text));
}

inline std::string normalized(std::string_view text, const Normalizer& steps) {
  std::string result(text);
  for (const NormalizerStep& step : steps)
    std::visit([&](const auto& known) { normalize_step(result, known); }, step);
  return result;
}

enum class PrependScheme { always, first, never };

/// Spaces become `replacement`, which is also put in front of pieces that do not begin with it.
struct MetaspaceStep {
  std::string replacement = "▁";
  PrependScheme scheme = PrependScheme::always;  // first: only at the beginning of the whole text
  bool split = true;                             // cut before every replacement
};

/// A piece of a text between added tokens.
struct TextPiece {
  std::string text;
  bool at_start = false;  // at the beginning of the whole text
};

inline std::vector<TextPiece> pre_tokenized(TextPiece piece, const MetaspaceStep& step) {
  replace_all(piece.text, " ", step.replacement);
  const bool wanted = step.scheme == PrependScheme::always ||
                      (step.scheme == PrependScheme::first && piece.at_start);
  if (wanted && !piece.text.starts_with(step.replacement)) piece.text.insert(0, step.replacement);
  std::vector<TextPiece> pieces;
  std::size_t begin = 0;
  for (std::size_t cut = 0; step.split && cut != std::string::npos; begin = cut) {
    cut = piece.text.find(step.replacement, begin + 1);
    if (cut == std::string::npos) break;
    pieces.push_back({piece.text.substr(begin, cut - begin), piece.at_start && begin == 0});
  }
  pieces.push_back({piece.text.substr(begin), piece.at_start && begin == 0});
  return pieces;
}

}}}  // namespace idefics::v0::detail
