// The time of a run.
#pragma once

#include <chrono>
#include <functional>
#include <utility>

namespace idefics { inline namespace v0 { namespace detail {

/// Counts from its construction. Ranks that compute together take decisions that depend on time, or
/// on a caller, as the first of them does: all must stop at the same token.
class RunClock {
 public:
  /// `agreed` returns the value that the first rank passes to it (Backend::agreed).
  explicit RunClock(std::function<double(double)> agreed = {}) : agreed_(std::move(agreed)) {}

  double seconds() const {
    const std::chrono::duration<double> own = std::chrono::steady_clock::now() - started_;
    return agreed_ ? agreed_(own.count()) : own.count();
  }
  bool agreed(bool decision) const {
    return agreed_ ? agreed_(decision ? 1.0 : 0.0) != 0.0 : decision;
  }

 private:
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::function<double(double)> agreed_;
};

}}}  // namespace idefics::v0::detail
