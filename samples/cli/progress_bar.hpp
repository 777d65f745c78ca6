// A progress bar on stderr for stages that take longer than 200 ms, if stderr is a terminal.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>

#include <idefics/core/progress.hpp>

#include "cli/interrupt.hpp"

namespace cli {

namespace state {
inline bool bar_is_shown = false;
}

/// Erases the bar; call it before writing anything else to the terminal.
inline void clear_bar() {
  if (state::bar_is_shown) std::cerr << "\r\033[K" << std::flush;
  state::bar_is_shown = false;
}

/// Shows one line of text until the terminal is written to again; an empty one only clears.
inline void show_status(const std::string& text) {
  clear_bar();
  if (text.empty()) return;
  std::cerr << text << std::flush;
  state::bar_is_shown = true;
}

inline bool bars_are_wanted() {
  const char *term = std::getenv("TERM"), *off = std::getenv("HF_HUB_DISABLE_PROGRESS_BARS");
  return ::isatty(STDERR_FILENO) != 0 && (term == nullptr || std::string_view(term) != "dumb") &&
         (off == nullptr || std::string_view(off) != "1");
}

/// The progress callback: draws bars, unless `wanted` is false, and lets Ctrl-C stop every stage
/// but generation. With `streaming`, generation has no bar: something else shows the progress.
class ProgressBar {
 public:
  ProgressBar(bool wanted, bool streaming) : wanted_(wanted), streaming_(streaming) {}

  bool operator()(const idefics::Progress& progress) {
    const bool generation = progress.stage == "generation";
    if (wanted_ && !(generation && streaming_)) show(progress);
    return generation || !interrupted();  // generation stops itself, to print its text
  }

 private:
  using Clock = std::chrono::steady_clock;

  void show(const idefics::Progress& progress) {
    const auto now = Clock::now();
    if (progress.stage != stage_)
      stage_ = progress.stage, next_ = now + std::chrono::milliseconds(200);
    if (progress.done >= progress.total) return clear_bar();
    if (now < next_) return;
    next_ = now + std::chrono::milliseconds(50);
    constexpr std::size_t width = 30;
    const auto full =
        width * static_cast<std::size_t>(progress.done) / static_cast<std::size_t>(progress.total);
    std::cerr << "\r\033[K" << stage_ << " [" << std::string(full, '#')
              << std::string(width - full, ' ') << "] " << progress.done << '/' << progress.total
              << std::flush;
    state::bar_is_shown = true;
  }

  bool wanted_, streaming_;
  std::string stage_;
  Clock::time_point next_{};
};

}  // namespace cli
