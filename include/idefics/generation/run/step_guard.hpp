// The end of a run within a step: when its time is over, or its caller wants no more of it.
#pragma once

#include <chrono>
#include <functional>
#include <limits>
#include <utility>

#include <idefics/generation/options/config.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Thrown within a step to end a run; searches drop the step and return what there is.
struct RunStopped {};

/// Decides within steps whether a run goes on. A step during which max_time ends may take `grace`
/// longer, so that short answers do not depend on the speed of the machine.
class StepGuard {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds grace{250}, interval{20};

  /// `proceed`, which may be empty, is called at most once per `interval`.
  StepGuard(const GenerationConfig& config, Clock::time_point started,
            std::function<bool()> proceed)
      : most_(config.max_time.value_or(std::numeric_limits<double>::infinity()) +
              std::chrono::duration<double>(grace).count()),
        started_(started),
        proceed_(std::move(proceed)) {}

  /// Throws RunStopped.
  void operator()() {
    const auto now = Clock::now();
    if (now < next_) return;
    next_ = now + interval;
    if (std::chrono::duration<double>(now - started_).count() > most_ || (proceed_ && !proceed_()))
      throw RunStopped{};
  }

 private:
  double most_;  // seconds
  Clock::time_point started_, next_ = started_;
  std::function<bool()> proceed_;
};

}}}  // namespace idefics::v0::detail
