// Patterns of texts, and the automaton that reads a text byte by byte and knows whether it can still
// become one that matches. Patterns are compiled to an automaton with many states at once (Thompson
// 1968), of which sets are numbered as a text reaches them, so that only what is used is built.
#pragma once

#include <algorithm>
#include <bitset>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/core/error.hpp>

namespace idefics { inline namespace v0 { namespace detail {

using ByteSet = std::bitset<256>;

/// Limits on patterns and what they are compiled to, since strangers may send them.
inline constexpr std::size_t most_pattern_states = 100'000, most_text_states = 20'000;
inline constexpr std::size_t most_text_work = 100'000'000, most_kept_states = 8'000'000;

[[noreturn]] inline void refuse_pattern(const std::string& why, const std::string& field,
                                        std::optional<std::uint64_t> limit = {}) {
  fail(ErrorCode::invalid_option, why, {.field = field, .limit = limit});
}

/// Expressions over bytes; an expression is a number that the functions return.
class Patterns {
 public:
  enum class Kind { bytes, sequence, either, repeat, joined };
  struct Node {
    Kind kind;
    ByteSet bytes{};
    std::vector<int> parts{};
    int min = 0, max = 0;  // max < 0: without a limit
  };

  /// `field` is named by errors: that of the option with the pattern.
  explicit Patterns(std::string field) : field_(std::move(field)) {}

  int bytes(ByteSet set) { return add({.kind = Kind::bytes, .bytes = set}); }
  int sequence(std::vector<int> parts) { return add({Kind::sequence, {}, std::move(parts)}); }
  int either(std::vector<int> parts) { return add({Kind::either, {}, std::move(parts)}); }
  int repeat(int part, int min, int max) { return add({Kind::repeat, {}, {part}, min, max}); }
  int optional(int part) { return repeat(part, 0, 1); }
  /// One or more of `part` with `separator` between them.
  int joined(int part, int separator) { return add({Kind::joined, {}, {part, separator}}); }
  int text(std::string_view text) {
    std::vector<int> parts;
    for (const char c : text) parts.push_back(bytes(one(c)));
    return sequence(std::move(parts));
  }
  /// A character outside ASCII, in UTF-8.
  int beyond_ascii() {
    const int tail = bytes(range(0x80, 0xbf));
    const auto lead = [&](int low, int high, int second_low, int second_high, int tails) {
      std::vector<int> parts{bytes(range(low, high)), bytes(range(second_low, second_high))};
      parts.insert(parts.end(), static_cast<std::size_t>(tails), tail);
      return sequence(std::move(parts));
    };
    return either({lead(0xc2, 0xdf, 0x80, 0xbf, 0), lead(0xe0, 0xe0, 0xa0, 0xbf, 1),
                   lead(0xe1, 0xec, 0x80, 0xbf, 1), lead(0xed, 0xed, 0x80, 0x9f, 1),
                   lead(0xee, 0xef, 0x80, 0xbf, 1), lead(0xf0, 0xf0, 0x90, 0xbf, 2),
                   lead(0xf1, 0xf3, 0x80, 0xbf, 2), lead(0xf4, 0xf4, 0x80, 0x8f, 2)});
  }

  static ByteSet one(char c) { return ByteSet().set(static_cast<std::uint8_t>(c)); }
  static ByteSet range(int low, int high) {
    ByteSet set;
    for (int b = low; b <= high; ++b) set.set(static_cast<std::size_t>(b));
    return set;
  }
  const Node& operator[](int node) const { return nodes_[static_cast<std::size_t>(node)]; }

 private:
  int add(Node node) {
    if (nodes_.size() == most_pattern_states)
      refuse_pattern("is too large", field_, most_pattern_states);
    nodes_.push_back(std::move(node));
    return static_cast<int>(nodes_.size()) - 1;
  }
  std::string field_;
  std::vector<Node> nodes_;
};

/// A pattern as states between which bytes lead. Throws `invalid_option` naming `field` if there would
/// be too many.
class PatternStates {
 public:
  PatternStates(const Patterns& patterns, int root, std::string field) : field_(std::move(field)) {
    add({});  // the end
    start_ = Builder{patterns, *this}.build(root, 0);
    const int space = add({Patterns::one(' '), start_});
    answer_ = add({{}, -1, {start_, space}});
  }

  struct State {
    ByteSet bytes{};
    int next = -1;             // after one of `bytes`
    std::vector<int> empty{};  // states that this one also is
  };
  int start() const { return start_; }
  /// The start of an answer, which may begin with a space.
  int answer() const { return answer_; }
  const std::string& field() const { return field_; }
  const State& operator[](int state) const { return states_[static_cast<std::size_t>(state)]; }
  std::size_t size() const { return states_.size(); }

 private:
  int add(State state) {
    if (states_.size() == most_pattern_states)
      refuse_pattern("is too large", field_, most_pattern_states);
    states_.push_back(std::move(state));
    return static_cast<int>(states_.size()) - 1;
  }

  struct Builder {
    const Patterns& patterns;
    PatternStates& to;
    std::map<std::pair<int, int>, int> built{};

    /// States that match `node` and lead to `next`; returns the first. Built once, however many
    /// expressions have the node as a part.
    int build(int node, int next) {
      const auto known = built.find({node, next});
      if (known != built.end()) return known->second;
      const int first = build_anew(patterns[node], next);
      built.emplace(std::pair(node, next), first);
      return first;
    }
    int build_anew(const Patterns::Node& n, int next) {
      switch (n.kind) {
        case Patterns::Kind::bytes: return to.add({n.bytes, next});
        case Patterns::Kind::sequence:
          for (auto part = n.parts.rbegin(); part != n.parts.rend(); ++part)
            next = build(*part, next);
          return next;
        case Patterns::Kind::either: {
          std::vector<int> starts;
          for (const int part : n.parts) starts.push_back(build(part, next));
          return to.add({{}, -1, std::move(starts)});
        }
        case Patterns::Kind::repeat: return build_repeat(n, next);
        case Patterns::Kind::joined: {
          const int after = to.add({{}, -1, {next}}), part = build(n.parts[0], after);
          also(after, build(n.parts[1], part));
          return part;
        }
      }
      return next;
    }
    int build_repeat(const Patterns::Node& n, int next) {
      int start = next;
      if (n.max < 0) {
        start = to.add({{}, -1, {next}});
        also(start, build(n.parts[0], start));
      }
      for (int i = n.min; i < n.max; ++i) {
        const int once = build(n.parts[0], start);
        start = to.add({{}, -1, {once, next}});
      }
      for (int i = 0; i < n.min; ++i) start = build(n.parts[0], start);
      return start;
    }
    void also(int state, int other) {
      to.states_[static_cast<std::size_t>(state)].empty.push_back(other);
    }
  };

  std::string field_;
  std::vector<State> states_;
  int start_ = 0, answer_ = 0;
};

/// Reads texts. A state is a number; -1 is one from which no text matches any more.
class TextAutomaton {
 public:
  explicit TextAutomaton(std::shared_ptr<const PatternStates> pattern)
      : states_(std::move(pattern)), seen_(states_->size()) {}

  /// The state of a text that has not begun, in one of the pattern's states.
  int begin(int state) { return number({state}); }
  bool matches(int state) const { return texts_[static_cast<std::size_t>(state)].matches; }

  /// The state after another byte. Throws `invalid_option` if texts reach too many states.
  int step(int state, std::uint8_t byte) {
    int next = texts_[static_cast<std::size_t>(state)].after[byte];
    if (next != unknown) return next;
    std::vector<int> reached;
    for (const int s : texts_[static_cast<std::size_t>(state)].states)
      if ((*states_)[s].bytes.test(byte)) reached.push_back((*states_)[s].next);
    next = reached.empty() ? -1 : number(std::move(reached));
    texts_[static_cast<std::size_t>(state)].after[byte] = next;
    return next;
  }

 private:
  static constexpr int unknown = -2;
  struct Text {
    std::vector<int> states;  // ascending, only those with bytes
    std::vector<int> after = std::vector<int>(256, unknown);
    bool matches = false;
  };

  /// The number of a set of states, with those that they also are.
  int number(std::vector<int> reached) {
    std::vector<int> states;
    for (std::size_t i = 0; i < reached.size(); ++i) {
      const int s = reached[i];
      if (std::exchange(seen_[static_cast<std::size_t>(s)], 1) != 0) continue;
      states.push_back(s);
      for (const int other : (*states_)[s].empty)
        if (seen_[static_cast<std::size_t>(other)] == 0) reached.push_back(other);
    }
    for (const int s : states) seen_[static_cast<std::size_t>(s)] = 0;
    work_ += reached.size();
    if (work_ > most_text_work) refuse_pattern("takes too long", states_->field(), most_text_work);
    const bool matches = std::ranges::find(states, 0) != states.end();
    std::erase_if(states, [this](int s) { return (*states_)[s].next < 0; });
    std::ranges::sort(states);
    const auto [known, added] =
        numbers_.try_emplace({states, matches}, static_cast<int>(texts_.size()));
    if (!added) return known->second;
    if (states.empty() && !matches) return known->second = -1;
    kept_ += states.size();
    if (texts_.size() == most_text_states || kept_ > most_kept_states)
      refuse_pattern("needs too many states", states_->field(), most_text_states);
    texts_.push_back({.states = std::move(states), .matches = matches});
    return known->second;
  }

  std::shared_ptr<const PatternStates> states_;
  std::vector<char> seen_;  // scratch of `number`
  std::map<std::pair<std::vector<int>, bool>, int> numbers_;
  std::vector<Text> texts_;
  std::size_t work_ = 0, kept_ = 0;  // states that were reached, and those of all texts
};

}}}  // namespace idefics::v0::detail
