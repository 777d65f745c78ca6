// One parser under test: its name, what it does with bytes, and how much memory and time it may use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <span>
#include <string>
#include <string_view>

#include <idefics/core/error.hpp>

#include "support/counting_malloc.hpp"

namespace fuzz {

using Bytes = std::span<const std::byte>;

struct Target {
  std::string_view name;
  void (*run)(Bytes input);
  std::int64_t factor, constant;  // peak heap <= factor * size of the input + constant
};

/// Seconds of CPU time that an input may take, of which sanitizers take most.
inline constexpr double max_seconds = 1;

/// Ends the program, which libFuzzer and the replay count as a finding.
[[noreturn]] inline void finding(std::string_view what) {
  std::fprintf(stderr, "finding: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

inline void expect(bool holds, std::string_view what) {
  if (!holds) finding(what);
}

inline std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Runs a target on one input. Typed errors are valid results; everything else is a finding.
inline void run(const Target& target, Bytes input) {
  const heap::Peak peak;
  const std::clock_t begin = std::clock();
  try {
    target.run(input);
  } catch (const idefics::Error& error) {
    expect(std::string_view(error.what()).size() < 4096, "an error message of more than 4 KiB");
    expect(error.code() != idefics::ErrorCode::invalid_argument, error.what());
  }
  const std::int64_t allowed =
      target.factor * static_cast<std::int64_t>(input.size()) + target.constant;
  if (peak.bytes() > allowed)
    finding("peak heap of " + std::to_string(peak.bytes()) + " bytes, allowed " +
            std::to_string(allowed));
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  if (seconds > max_seconds) finding("an input that takes " + std::to_string(seconds) + " s");
}

}  // namespace fuzz
