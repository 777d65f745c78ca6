// The embedded checkpoint: where it is, what it knows, and how sure of an answer it has to be.
#pragma once

#include <cmath>
#include <filesystem>
#include <iomanip>
#include <span>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <idefics/generation/run/output.hpp>

#include "cli/report.hpp"

namespace cli {

/// It is next to the executable, wherever that was built or installed.
inline std::string embedded_model() {
  std::error_code unknown;
  const auto executable = std::filesystem::read_symlink("/proc/self/exe", unknown);
  return (executable.parent_path() / IDEFICS_EMBEDDED_MODEL).lexically_normal().string();
}

inline constexpr const char* embedded_world =
    "this is the small embedded model: it knows drawings of up to three things out of sixteen, "
    "such as a cat, a boat or a star, in nine colours, and has no other words for anything else "
    "(idefics pull HuggingFaceM4/idefics-9b-instruct fetches one for photographs)";

/// As measured for its card (samples/tiny/README.md): from this probability on, answers about its
/// world can be trusted.
inline constexpr double trusted_probability = 0.64;

/// Whether answers are those of the embedded checkpoint and are to be judged.
inline bool is_judged(const std::string& model, bool quiet) {
  return !quiet && model == embedded_model();
}

/// Says once, on stderr, what the embedded checkpoint knows, and when an answer is too improbable.
inline void judge(double probability) {
  static bool introduced = false;
  if (!std::exchange(introduced, true)) note(std::string("note: ") + embedded_world);
  if (probability >= trusted_probability) return;
  std::ostringstream text;
  text << std::setprecision(2) << "note: the probability of this answer is " << probability
       << ", and the embedded model can be trusted from " << trusted_probability << " on";
  note(text.str());
}

/// The same for the tokens of each answer.
inline void judge(std::span<const std::vector<idefics::TokenLogProbs>> answers) {
  for (const auto& answer : answers) {
    double sum = 0;
    for (const auto& token : answer) sum += static_cast<double>(token.chosen.logprob);
    judge(std::exp(sum));
  }
}

}  // namespace cli
