// A SentencePiece model as byte-pair merges, as the reference converts it: every way to cut a piece
// into two pieces is a merge, ranked by the score of the piece. Source: transformers'
// convert_slow_tokenizer.py (generate_merges, LlamaConverter).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include <idefics/text/tokenizer/bpe.hpp>
#include <idefics/text/tokenizer/sentencepiece_model.hpp>

namespace idefics { inline namespace v0 { namespace detail {

constexpr bool begins_character(char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }

inline std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, begins_character));
}

/// Finds parts of strings among the pieces by hashes that are known for every prefix, so that all
/// cuts of a piece together take linear time.
class PieceTable {
 public:
  explicit PieceTable(const std::vector<Piece>& pieces) : pieces_(pieces) {
    for (std::size_t id = 0; id < pieces.size(); ++id)
      table_.emplace(hash(pieces[id].text), static_cast<std::int32_t>(id));
  }

  /// Calls f(id of the left part, id of the right part, characters of the left part) for every cut
  /// between two characters of which both sides are pieces.
  template <class F>
  void for_each_cut(std::string_view text, const F& f) {
    while (powers_.size() <= text.size()) powers_.push_back(powers_.back() * base);
    const std::uint64_t whole = hash(text);
    std::uint64_t left = 0;
    std::size_t characters = 0;
    for (std::size_t cut = 1; cut < text.size(); ++cut) {
      left = left * base + byte(text[cut - 1]);
      characters += begins_character(text[cut - 1]);
      if (!begins_character(text[cut])) continue;
      const auto first = find(left, text.substr(0, cut));
      if (!first) continue;
      const std::uint64_t right = whole - left * powers_[text.size() - cut];
      if (const auto second = find(right, text.substr(cut))) f(*first, *second, characters);
    }
  }

 private:
  static constexpr std::uint64_t base = 0x100000001b3u;
  static std::uint64_t byte(char c) { return static_cast<unsigned char>(c); }
  static std::uint64_t hash(std::string_view text) {
    std::uint64_t value = 0;
    for (const char c : text) value = value * base + byte(c);
    return value;
  }
  std::optional<std::int32_t> find(std::uint64_t hash, std::string_view text) const {
    const auto [first, last] = table_.equal_range(hash);
    for (auto it = first; it != last; ++it)
      if (pieces_[static_cast<std::size_t>(it->second)].text == text) return it->second;
    return std::nullopt;
  }

  const std::vector<Piece>& pieces_;
  std::unordered_multimap<std::uint64_t, std::int32_t> table_;
  std::vector<std::uint64_t> powers_{1};  // of `base`
};

/// The tokens of the model in order, each once; a duplicate changes the score, and the id.
struct ScoredTokens {
  struct Token {
    std::string text;
    float score;
  };
  std::vector<Token> tokens;
  StringMap<std::int32_t> ids;
};

/// `names`: what the tokens 0, 1 and 2 are called, which other files may change.
inline ScoredTokens scored_tokens(const SentencePieceModel& model,
                                  const std::array<std::string, 3>& names) {
  ScoredTokens result;
  StringMap<std::size_t> position;
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const bool named = id < names.size();
    const std::string& text = named ? names[id] : model.pieces[id].text;
    const float score = named ? 0.0f : model.pieces[id].score;
    result.ids.insert_or_assign(text, static_cast<std::int32_t>(id));
    if (const auto [it, added] = position.emplace(text, result.tokens.size()); added)
      result.tokens.push_back({text, score});
    else
      result.tokens[it->second].score = score;
  }
  return result;
}

/// A token as two pieces.
struct PieceCut {
  float score;
  std::size_t left_length, right_length;  // in characters
  std::int32_t left, right;               // ids of pieces
  std::size_t token;
};

/// All cuts of all tokens, those of the best score first.
inline std::vector<PieceCut> ranked_cuts(const std::vector<ScoredTokens::Token>& tokens,
                                         const std::vector<Piece>& pieces) {
  std::vector<PieceCut> cuts;
  PieceTable table(pieces);
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    const auto first_cut = std::ssize(cuts);
    const std::size_t length = count_characters(tokens[t].text);
    table.for_each_cut(tokens[t].text, [&](auto left, auto right, std::size_t characters) {
      cuts.push_back({tokens[t].score, characters, length - characters, left, right, t});
    });
    std::sort(cuts.begin() + first_cut, cuts.end(), [](const PieceCut& a, const PieceCut& b) {
      return std::pair(a.left, a.right) < std::pair(b.left, b.right);
    });
  }
  std::ranges::stable_sort(cuts, [](const PieceCut& a, const PieceCut& b) {
    return std::tuple(a.score, a.left_length, a.right_length) >
           std::tuple(b.score, b.left_length, b.right_length);
  });
  return cuts;
}

/// Throws `invalid_tokenizer` where a merge needs a piece that was renamed.
inline BpeModel bpe_from_sentencepiece(const SentencePieceModel& model,
                                       const std::array<std::string, 3>& names,
                                       const std::string& file) {
  auto [tokens, ids] = scored_tokens(model, names);
  BpeModel bpe{.ids = std::move(ids),
               .merges = {},
               .unk_token = model.unk_piece,
               .fuse_unk = true,
               .byte_fallback = true};
  auto id_of = [&](std::string_view text) {
    const auto it = bpe.ids.find(text);
    if (it == bpe.ids.end())
      fail(ErrorCode::invalid_tokenizer,
           "a merge needs \"" + std::string(text.substr(0, 64)) +
               "\", to which another file gives another name",
           {.file = file});
    return it->second;
  };
  const std::vector<PieceCut> cuts = ranked_cuts(tokens, model.pieces);
  bpe.merges.reserve(cuts.size());
  for (const PieceCut& cut : cuts)
    bpe.merges.push_back({id_of(model.pieces[static_cast<std::size_t>(cut.left)].text),
                          id_of(model.pieces[static_cast<std::size_t>(cut.right)].text),
                          id_of(tokens[cut.token].text)});
  return bpe;
}

}}}  // namespace idefics::v0::detail
