// The end of a run within a step: when its time is over, or its caller wants no more of it.
#pragma once

#include <functional>
#include <limits>
#include <utility>

#include <idefics/generation/logits/run_clock.hpp>
#include <idefics/generation/options/config.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Thrown within a step to end a run; searches drop the step and return what there is.
struct RunStopped {};

/// Decides within steps whether a run goes on. A step during which max_time ends may take `grace`
/// longer, so that short answers do not depend on the speed of the machine.
class StepGuard {
 public:
  static constexpr double grace = 0.25, interval = 0.02;  // seconds

  /// `proceed`, which may be empty, is called at most once per `interval`.
  StepGuard(const GenerationConfig& config, const RunClock& clock, std::function<bool()> proceed)
      : most_(config.max_time.value_or(std::numeric_limits<double>::infinity()) + grace),
        clock_(clock),
        proceed_(std::move(proceed)) {}

  /// Throws RunStopped.
  void operator()() {
    const double now = clock_.seconds();
    if (now < next_) return;
    next_ = now + interval;
    if (now > most_ || !clock_.agreed(!proceed_ || proceed_())) throw RunStopped{};
  }

 private:
  double most_, next_ = 0;  // seconds
  RunClock clock_;
  std::function<bool()> proceed_;
};

}}}  // namespace idefics::v0::detail
