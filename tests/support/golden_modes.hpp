// Recorded generations in tests/golden/data/modes: batches, options, and what the reference
// generated.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <idefics/generation/options/read_config.hpp>
#include <idefics/io/json.hpp>
#include <idefics/text/tokenizer.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"

namespace golden {

inline idefics::Json mode_cases(const std::string& file) {
  return idefics::read_json_file(std::filesystem::path(IDEFICS_GOLDEN_DIR) / "modes" / file)
      .at("cases");
}

/// Models by name, each loaded once, with the pictures that their cases use.
class ModeModels {
 public:
  struct Entry {
    idefics::Model model;
    idefics::Tensor pool;  // [I,3,Y,X]
  };
  Entry& operator[](const std::string& name) {
    auto found = entries_.find(name);
    if (found == entries_.end()) {
      const auto pool =
          idefics::SafetensorsFile::open(models_dir() / name / "greedy_pool.safetensors");
      found =
          entries_
              .emplace(name, Entry{load(name, {.dtype = idefics::DType::f32}), pool.tensor("pool")})
              .first;
    }
    return found->second;
  }

 private:
  std::map<std::string, Entry> entries_;
};

/// The rows of a case as one batch, padded on the left.
inline idefics::Inputs mode_inputs(const idefics::Json& rows, const idefics::Tensor& pool) {
  using idefics::DType;
  using idefics::Tensor;
  std::size_t t = 0, n = 1;
  for (const auto& row : rows) {
    t = std::max(t, row.at("ids").size());
    n = std::max(n, row.at("images").size());
  }
  const auto b = std::ssize(rows), columns = static_cast<std::int64_t>(t),
             pictures = static_cast<std::int64_t>(n);
  idefics::Inputs in{
      Tensor::zeros(DType::i64, {b, columns}), Tensor::zeros(DType::i64, {b, columns}),
      Tensor::zeros(DType::f32, {b, pictures, pool.dim(1), pool.dim(2), pool.dim(3)}),
      Tensor::zeros(DType::i64, {b, columns, pictures})};
  std::size_t r = 0;
  for (const auto& row : rows) {
    const auto ids = row.at("ids").get<std::vector<std::int64_t>>();
    const auto images = row.at("images").get<std::vector<std::int64_t>>();
    const auto seen = row.at("seen").get<std::vector<std::int64_t>>();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::size_t at = r * t + t - ids.size() + i;
      in.input_ids.as_mutable<std::int64_t>()[at] = ids[i];
      in.attention_mask.as_mutable<std::int64_t>()[at] = 1;
      if (seen[i] >= 0)
        in.image_attention_mask
            .as_mutable<std::int64_t>()[at * n + static_cast<std::size_t>(seen[i])] = 1;
    }
    for (std::size_t i = 0; i < images.size(); ++i) {
      const Tensor one = pool.slice(images[i], images[i] + 1);
      std::memcpy(in.pixel_values.raw_mutable() + (r * n + i) * one.bytes(), one.raw(),
                  one.bytes());
    }
    ++r;
  }
  return in;
}

inline idefics::GenerationConfig mode_options(const idefics::Json& recorded) {
  auto config = idefics::generation_config_from_json(recorded.at("options"), "case");
  config.output_scores = recorded.contains("best_scores") || recorded.contains("beam_scores");
  if (!config.stop_strings.empty())
    config.token_texts = idefics::Tokenizer::from_pretrained(
                             std::filesystem::path(IDEFICS_SOURCE_DIR) / "samples/tiny")
                             .token_texts();
  if (recorded.contains("stop_from"))  // the recorder's FromId
    config.stopping_criteria.push_back([first = recorded.at("stop_from").get<std::int32_t>()](
                                           auto so_far) { return so_far.back() >= first; });
  return config;
}

/// How far a score may differ from the recorded one: 1e-4. A negative length penalty multiplies
/// sums of log-probabilities, and so their errors, by the length instead of dividing them.
inline double score_bound(const idefics::Json& options) {
  const double penalty = options.value("length_penalty", 1.0);
  const auto tokens = options.at("max_new_tokens").get<double>();
  return 1e-4 * std::max(1.0, std::pow(tokens, -penalty));
}

/// Compares the highest processed score of every step, of rows that have not ended, with the
/// recorded one.
inline void compare_best_scores(const idefics::Json& recorded,
                                const idefics::GenerationOutput& output) {
  const auto width = static_cast<std::size_t>(output.scores.dim(2));
  for (std::size_t step = 0, at = 0; step < output.new_tokens[0].size(); ++step) {
    for (std::size_t row = 0; row < output.lengths.size(); ++row, ++at) {
      if (std::cmp_greater_equal(step, output.lengths[row])) continue;
      const auto scores = output.scores.as<float>().subspan(at * width, width);
      const auto expected = recorded.at("best_scores")[step][row].get<double>();
      // contrasts of raw hidden states can be large: f32 then has fewer digits after the decimal
      // point
      const double bound = 1e-4 * std::max(1.0, std::abs(expected) / 10);
      CHECK(std::abs(static_cast<double>(std::ranges::max(scores)) - expected) < bound);
    }
  }
}

/// Checks that the scores of every step of a returned row are those of a beam whose highest score
/// was recorded, and that the scores of the row's tokens add up to its own.
inline void compare_beam_scores(const idefics::Json& recorded,
                                const idefics::GenerationOutput& output) {
  const idefics::Json& options = recorded.at("options");
  const auto width = static_cast<std::size_t>(output.scores.dim(2)), rows = output.lengths.size();
  const std::size_t answers = rows / recorded.at("rows").size();
  const double penalty = options.value("length_penalty", 1.0);
  for (std::size_t row = 0; row < rows; ++row) {
    const auto length = static_cast<std::size_t>(output.lengths[row]);
    double sum = 0;
    for (std::size_t step = 0; step < length; ++step) {
      const auto scores = output.scores.as<float>().subspan((step * rows + row) * width, width);
      const double best = static_cast<double>(std::ranges::max(scores));
      const auto expected =
          recorded.at("beam_scores")[step][row / answers].get<std::vector<double>>();
      CHECK(std::ranges::any_of(expected, [best](double b) { return std::abs(b - best) < 1e-4; }));
      sum += static_cast<double>(scores[static_cast<std::size_t>(output.new_tokens[row][step])]);
    }
    const auto ends = options.at("eos_token_id").get<std::vector<std::int32_t>>();
    // the first of several end tokens may stand in for any of them
    if (ends.size() > 1 && output.new_tokens[row][length - 1] == ends.front()) continue;
    const auto found = static_cast<double>(output.sequences_scores[row]);
    if (found < -1e6) continue;  // continues a beam that starts at -1e9
    CHECK(std::abs(sum / std::pow(static_cast<double>(length), penalty) - found) <
          score_bound(options));
  }
}

/// Checks that the sequences and, where recorded, parents and scores equal the recorded ones.
/// Returns false if they differ where the reference itself was not sure.
inline bool compare_case(const idefics::Json& recorded, const idefics::GenerationOutput& output) {
  constexpr double sure = 1e-4;  // margins below this are ties of the reference
  using Rows = std::vector<std::vector<std::int32_t>>;
  const auto expected = recorded.at("new_tokens").get<Rows>();
  if (output.new_tokens != expected && recorded.at("margin").get<double>() < sure) return false;
  INFO(recorded.dump());
  CHECK(output.new_tokens == expected);
  if (recorded.contains("beam_indices"))
    CHECK(output.beam_indices == recorded.at("beam_indices").get<Rows>());
  if (recorded.contains("best_scores")) compare_best_scores(recorded, output);
  if (recorded.contains("beam_scores")) compare_beam_scores(recorded, output);
  if (!recorded.contains("scores")) return true;
  const auto scores = recorded.at("scores").get<std::vector<double>>();
  REQUIRE(output.sequences_scores.size() == scores.size());
  for (std::size_t i = 0; i < scores.size(); ++i)
    CHECK(std::abs(static_cast<double>(output.sequences_scores[i]) - scores[i]) <
          score_bound(recorded.at("options")));
  return true;
}

/// Runs every case of a file and returns how many were compared, near ties not counted.
inline std::size_t compare_cases(const std::string& file) {
  ModeModels models;
  std::size_t compared = 0, ties = 0;
  for (const idefics::Json& recorded : mode_cases(file)) {
    auto& [model, pool] = models[recorded.at("model").get<std::string>()];
    const bool same = compare_case(
        recorded, model.generate(mode_inputs(recorded.at("rows"), pool), mode_options(recorded)));
    ++(same ? compared : ties);
  }
  std::printf("%s: %zu cases compared, %zu near ties of the reference differ\n", file.c_str(),
              compared, ties);
  CHECK(ties <= 5);
  return compared;
}

}  // namespace golden
