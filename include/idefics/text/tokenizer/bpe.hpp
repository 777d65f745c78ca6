// Byte-pair encoding (Sennrich et al. 2016) as the reference's fast tokenizers do it: a piece begins
// as its characters, and the pair of neighbours whose merge has the lowest rank is merged, the
// leftmost of equals first, until no pair has a merge. Source: tokenizers' BPE.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <idefics/core/error.hpp>
#include <idefics/text/utf8.hpp>

namespace idefics { inline namespace v0 { namespace detail {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>()(text);
  }
};
template <class T>
using StringMap = std::unordered_map<std::string, T, StringHash, std::equal_to<>>;

/// What the files say about the model. An id that no token has is a hole.
struct BpeModel {
  struct Merge {
    std::int32_t left, right, merged;
  };
  StringMap<std::int32_t> ids{};
  std::vector<Merge> merges{};             // in order of rank; of equal pairs the last counts
  std::optional<std::string> unk_token{};  // for characters without a token
  bool fuse_unk = false;                   // one unknown token for a run of such characters
  bool byte_fallback = false;              // "<0xNN>" for each byte of them instead
  bool ignore_merges = false;              // a piece that is a token needs no merges
};

/// The name of a byte's token: "<0x0A>".
inline std::string byte_token(unsigned byte) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  return {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
}

class Bpe {
 public:
  explicit Bpe(BpeModel model) : model_(std::move(model)) {
    for (unsigned byte = 0; byte < 256; ++byte) bytes_[byte] = id(byte_token(byte)).value_or(-1);
    ranks_.reserve(model_.merges.size());
    for (std::size_t rank = 0; rank < model_.merges.size(); ++rank) {
      const auto& merge = model_.merges[rank];
      ranks_[pair(merge.left, merge.right)] = {static_cast<std::uint32_t>(rank), merge.merged};
    }
    model_.merges = {};
  }

  const BpeModel& model() const { return model_; }
  std::int64_t size() const { return std::ssize(model_.ids); }
  std::optional<std::int32_t> id(std::string_view token) const {
    const auto it = model_.ids.find(token);
    return it == model_.ids.end() ? std::nullopt : std::optional(it->second);
  }

  /// Appends the ids of a piece, in O(n log n) time. Throws `invalid_tokenizer` for a character that
  /// needs the unknown token, if that has no id.
  void encode(std::string_view piece, std::vector<std::int32_t>& ids) const {
    if (piece.empty()) return;
    if (model_.ignore_merges)
      if (const auto whole = id(piece)) return ids.push_back(*whole);
    std::vector<Symbol> symbols = characters(piece);
    merge(symbols);
    for (const Symbol& symbol : symbols)
      if (!symbol.merged_away) ids.push_back(symbol.id);
  }

 private:
  struct Rank {
    std::uint32_t rank;
    std::int32_t merged;
  };
  struct Symbol {
    std::int32_t id;
    std::int32_t previous, next;  // indices; -1 at the ends
    bool merged_away = false;
  };
  struct Candidate {
    std::uint32_t rank, at;
    std::int32_t merged;
    bool operator>(const Candidate& other) const {
      return std::pair(rank, at) > std::pair(other.rank, other.at);
    }
  };

  static std::uint64_t pair(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
           static_cast<std::uint32_t>(right);
  }

  std::int32_t unknown() const {
    const auto found = id(*model_.unk_token);
    if (!found)
      fail(ErrorCode::invalid_tokenizer,
           "a character needs the unknown token \"" + *model_.unk_token +
               "\", which is not in the vocabulary",
           {.field = "model.unk_token"});
    return *found;
  }

  std::vector<Symbol> characters(std::string_view piece) const {
    std::vector<Symbol> symbols;
    symbols.reserve(piece.size());
    auto add = [&symbols](std::int32_t id) {
      const auto at = static_cast<std::int32_t>(symbols.size());
      symbols.push_back({.id = id, .previous = at - 1, .next = at + 1});
    };
    std::optional<std::int32_t> pending;  // an unknown token: the next may be fused with it
    for (std::size_t at = 0, length = 0; at < piece.size(); at += length) {
      length = first_character(piece.substr(at)).bytes;
      const std::string_view character = piece.substr(at, length);
      if (const auto known = id(character)) {
        if (pending) add(*std::exchange(pending, std::nullopt));
        add(*known);
      } else if (model_.byte_fallback && all_bytes(character)) {
        // as in the reference, bytes may precede an unknown token that came before them
        for (const char byte : character) add(bytes_[static_cast<unsigned char>(byte)]);
      } else if (model_.unk_token) {
        if (pending && !model_.fuse_unk) add(*pending);
        if (!pending || !model_.fuse_unk) pending = unknown();
      }
    }
    if (pending) add(*pending);
    if (!symbols.empty()) symbols.back().next = -1;
    return symbols;
  }

  bool all_bytes(std::string_view character) const {
    return std::ranges::all_of(
        character, [this](char c) { return bytes_[static_cast<unsigned char>(c)] >= 0; });
  }

  using Queue = std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>>;

  void consider(const std::vector<Symbol>& symbols, std::int32_t at, Queue& queue) const {
    if (at < 0) return;
    const Symbol& left = symbols[static_cast<std::size_t>(at)];
    if (left.next < 0) return;
    const auto it = ranks_.find(pair(left.id, symbols[static_cast<std::size_t>(left.next)].id));
    if (it != ranks_.end())
      queue.push({it->second.rank, static_cast<std::uint32_t>(at), it->second.merged});
  }

  void merge(std::vector<Symbol>& symbols) const {
    std::vector<Candidate> storage;
    storage.reserve(symbols.size());
    Queue queue(std::greater<>(), std::move(storage));
    for (std::int32_t at = 0; at < std::ssize(symbols); ++at) consider(symbols, at, queue);
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      Symbol& left = symbols[best.at];
      if (left.merged_away || left.next < 0) continue;
      Symbol& right = symbols[static_cast<std::size_t>(left.next)];
      // the pair may have changed since; as in the reference, another with the same result will do
      const auto it = ranks_.find(pair(left.id, right.id));
      if (it == ranks_.end() || it->second.merged != best.merged) continue;
      left.id = best.merged;
      left.next = right.next;
      right.merged_away = true;
      if (right.next >= 0)
        symbols[static_cast<std::size_t>(right.next)].previous = static_cast<std::int32_t>(best.at);
      consider(symbols, left.previous, queue);
      consider(symbols, static_cast<std::int32_t>(best.at), queue);
    }
  }

  BpeModel model_;
  std::array<std::int32_t, 256> bytes_{};  // ids of byte tokens, or -1
  std::unordered_map<std::uint64_t, Rank> ranks_;
};

}}}  // namespace idefics::v0::detail
