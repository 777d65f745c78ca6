// Wall-clock time between two points of a run.
#pragma once

#include <chrono>
#include <utility>

#include <idefics/core/config.hpp>

namespace idefics { inline namespace v0 { namespace detail {

class Stopwatch {
 public:
  /// Seconds since the previous lap, or since construction.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(last_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}}}  // namespace idefics::v0::detail
