// What caption and generate share: loading once, one run of generation, and its printed form.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <idefics/io/json.hpp>

#include "cli/args.hpp"
#include "cli/generation_flags.hpp"

namespace cli {

struct GeneratorOptions {
  CommonOptions common;
  GenerationFlags generation;
  std::string assistant;  // --assistant-model
  std::string bad_words;  // --bad-words, a JSON list
  bool interpolate_pos_encoding = false;

  void add_to(CLI::App& app);
};

/// A loaded model with its processor and options, ready for any number of prompts.
class Generator {
 public:
  /// For an answer rather than free text, `for_answers` ends it at the end of an utterance and
  /// forbids picture tokens.
  Generator(const GeneratorOptions& options, idefics::Processor processor, bool for_answers);

  const idefics::Processor& processor() const { return processor_; }
  const idefics::Model& model() const { return model_; }
  /// The options of every run.
  idefics::GenerationConfig& config() { return config_; }

  /// Generates until an end or Ctrl-C, and judges an answer of the embedded checkpoint; with --stream, prints the text as it is generated, and with
  /// `answer_only` without the prompt.
  idefics::GenerationOutput run(const idefics::Inputs& inputs, bool answer_only);

  /// The texts of all rows, or with --json one object. Prints --timings on stderr if there is no
  /// object to hold them.
  std::vector<std::string> lines(const idefics::GenerationOutput& out, bool answer_only) const;
  /// The object that --json prints.
  idefics::Json json(const idefics::GenerationOutput& out) const;

 private:
  idefics::GenerationOutput generate(const idefics::Inputs& inputs,
                                     const idefics::GenerationConfig& config, bool answer_only);

  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  const GeneratorOptions& options_;
  idefics::Processor processor_;
  idefics::Model model_;
  std::optional<idefics::Model> assistant_;
  idefics::GenerationConfig config_;
  double load_s_ = 0;
};

}  // namespace cli
