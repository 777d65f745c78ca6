// Finds many words in a text in one pass, however many and however long they are (Aho and Corasick
// 1975). At one position the longest word wins, as in the reference ("leftmost longest").
//
// The words are stored backwards, and the text is read from its end: then the words that the
// automaton recognizes at a position are those that begin there, and the longest of them is known
// without reading on. Reading forwards, a longer word may fail after any number of characters, which
// then have to be read again.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace idefics { inline namespace v0 { namespace detail {

class WordFinder {
 public:
  struct Match {
    std::size_t begin, end;
    std::uint32_t word;  // index in `words`; of equal words the first
  };

  /// Words must not be empty. O(n) time and 13 bytes per byte of the words.
  explicit WordFinder(std::span<const std::string> words) {
    lengths_.reserve(words.size());
    for (const std::string& word : words)
      lengths_.push_back(static_cast<std::uint32_t>(word.size()));
    build(words);
    link();
  }

  /// The matches from left to right, none overlapping another. Where the longest word at a position
  /// would span a break (an offset, ascending), none is found. O(n) time.
  std::vector<Match> find(std::string_view text, std::span<const std::size_t> breaks = {}) const {
    std::vector<Match> starts;  // the longest word at each position that has one, right to left
    std::uint32_t state = 0;
    for (std::size_t at = text.size(); at-- > 0;) {
      state = next(state, text[at]);
      if (const std::uint32_t word = longest_[state];
          word != none && !has_break(breaks, at, at + lengths_[word]))
        starts.push_back({at, at + lengths_[word], word});
    }
    std::vector<Match> chosen;
    for (std::size_t i = starts.size(); i-- > 0;)
      if (chosen.empty() || starts[i].begin >= chosen.back().end) chosen.push_back(starts[i]);
    return chosen;
  }

 private:
  static bool has_break(std::span<const std::size_t> breaks, std::size_t begin, std::size_t end) {
    const auto found = std::ranges::upper_bound(breaks, begin);
    return found != breaks.end() && *found < end;
  }

  static constexpr std::uint32_t none = UINT32_MAX;

  /// States in breadth-first order, so that the children of a state are neighbours.
  void build(std::span<const std::string> words) {
    std::vector<std::string> backwards;
    backwards.reserve(words.size());
    for (const std::string& word : words) backwards.emplace_back(word.rbegin(), word.rend());
    std::vector<std::uint32_t> order(words.size());
    std::iota(order.begin(), order.end(), 0u);
    std::ranges::stable_sort(
        order, [&](std::uint32_t a, std::uint32_t b) { return backwards[a] < backwards[b]; });

    using Range = std::pair<std::size_t, std::size_t>;  // of `order`: words with a common beginning
    std::vector<Range> level{{0, order.size()}};
    label_.push_back('\0');
    for (std::size_t depth = 0; !level.empty(); ++depth) {
      std::vector<Range> below;
      for (auto [first, last] : level) {
        const bool ends = first < last && backwards[order[first]].size() == depth;
        longest_.push_back(ends ? order[first] : none);
        first_child_.push_back(static_cast<std::uint32_t>(label_.size()));
        while (first < last && backwards[order[first]].size() == depth) ++first;
        while (first < last) {
          const char c = backwards[order[first]][depth];
          const std::size_t begin = first;
          while (first < last && backwards[order[first]][depth] == c) ++first;
          label_.push_back(c);
          below.emplace_back(begin, first);
        }
      }
      level = std::move(below);
    }
    first_child_.push_back(static_cast<std::uint32_t>(label_.size()));
    for (std::uint32_t s = first_child_[0]; s < first_child_[1]; ++s)
      root_[static_cast<unsigned char>(label_[s])] = s;
  }

  /// The state of the longest proper suffix of each state, and the longest word that ends there.
  void link() {
    fail_.resize(label_.size(), 0);
    for (std::uint32_t s = 0; s < label_.size(); ++s)
      for (std::uint32_t child = first_child_[s]; child < first_child_[s + 1]; ++child) {
        fail_[child] = s == 0 ? 0 : next(fail_[s], label_[child]);
        // a state's own word is longer than any word of a suffix
        if (longest_[child] == none) longest_[child] = longest_[fail_[child]];
      }
  }

  std::uint32_t next(std::uint32_t state, char c) const {
    while (state != 0) {
      const auto first = label_.begin() + first_child_[state],
                 last = label_.begin() + first_child_[state + 1];
      const auto child = std::lower_bound(first, last, c, [](char a, char b) {
        return static_cast<unsigned char>(a) < static_cast<unsigned char>(b);
      });
      if (child != last && *child == c) return static_cast<std::uint32_t>(child - label_.begin());
      state = fail_[state];
    }
    return root_[static_cast<unsigned char>(c)];
  }

  std::vector<std::uint32_t> lengths_;  // by word
  // by state; state 0 is the empty word
  std::vector<char> label_;                 // the last character
  std::vector<std::uint32_t> first_child_;  // and one more entry, the end of the last state's
  std::vector<std::uint32_t> fail_;
  std::vector<std::uint32_t> longest_;  // the longest word that is a suffix, or none
  std::array<std::uint32_t, 256> root_{};
};

}}}  // namespace idefics::v0::detail
