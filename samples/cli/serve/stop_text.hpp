// Ends a text before the first of several strings, piece by piece: what may be the beginning of one
// is held back until it is known.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cli::serve {

class StopText {
 public:
  explicit StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// The text that is certain after this piece.
  std::string push(std::string_view piece) {
    if (stopped_) return {};
    held_ += piece;
    std::size_t end = std::string::npos;
    for (const std::string& stop : stops_) end = std::min(end, held_.find(stop));
    if (end != std::string::npos) {
      stopped_ = true;
      held_.resize(end);
      return std::exchange(held_, {});
    }
    const std::size_t certain = held_.size() - beginning_of_a_stop();
    std::string text = held_.substr(0, certain);
    held_.erase(0, certain);
    return text;
  }
  /// The text that was held back, after the last piece.
  std::string finish() { return std::exchange(held_, {}); }

  /// Whether one of the strings was found.
  bool stopped() const { return stopped_; }

 private:
  /// The length of the longest end of the text with which one of the strings begins.
  std::size_t beginning_of_a_stop() const {
    std::size_t longest = 0;
    for (const std::string& stop : stops_)
      for (std::size_t n = std::min(held_.size(), stop.size() - 1); n > longest; --n)
        if (std::string_view(held_).substr(held_.size() - n) == std::string_view(stop).substr(0, n))
          longest = n;
    return longest;
  }

  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace cli::serve
