// Records of every step of a generation, kept on request, and the collection of the rows that it
// returns.
// Letters: G new tokens, V vocabulary, A added tokens, r rows of the run.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <idefics/core/available_memory.hpp>
#include <idefics/generation/logits/pipeline.hpp>
#include <idefics/generation/run/output.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Moves the chosen rows, which begin with a padded prompt of `prompt` ids, into `output`, padded
/// to the longest with the pad id, or else with the first end token.
inline void return_rows(const GenerationConfig& config, std::int64_t prompt,
                        std::vector<std::vector<std::int32_t>>& sequences,
                        std::span<const std::size_t> rows, GenerationOutput& output) {
  const auto eos = config.eos_token_id.value_or(GenerationConfig::Ids{});
  const std::int32_t pad = config.pad_token_id.value_or(eos.empty() ? 0 : eos.front());
  std::size_t longest = 0;
  for (const std::size_t row : rows) {
    longest = std::max(longest, sequences[row].size());
    output.lengths.push_back(std::ssize(sequences[row]) - prompt);
  }
  for (const std::size_t row : rows) {
    auto& ids = output.sequences.emplace_back(std::move(sequences[row]));
    ids.resize(longest, pad);
    output.new_tokens.emplace_back(ids.begin() + prompt, ids.end());
  }
}

/// Records scores, logits and log-probabilities of every step. All memory is allocated at the
/// start.
class StepRecords {
 public:
  /// Throws `out_of_memory`.
  StepRecords(const GenerationConfig& config, const LogitsContext& context, std::int64_t rows)
      : vocabulary_(static_cast<std::int64_t>(context.vocabulary)),
        rows_(rows),
        beams_(config.num_beams.value_or(1) > 1),
        output_logits_(config.output_logits.value_or(false)) {
    const Shape all{context.limits.new_tokens(), rows, vocabulary_};
    const bool scores = config.output_scores.value_or(false);
    const bool logits = output_logits_ || (beams_ && config.top_logprobs);
    top_ = top_of(config, context);
    if (const Checked needed = bytes(config, context, rows); needed > 0)
      require_memory(needed, "the scores of every step", option(config));
    if (scores) scores_ = Tensor::empty(DType::f32, all);
    if (logits) logits_ = Tensor::empty(DType::f32, all);
    if (!config.top_logprobs && !config.best_of) return;
    order_.resize(context.vocabulary);
    logprobs_.resize(static_cast<std::size_t>(rows));
    for (auto& row : logprobs_) {
      row.resize(static_cast<std::size_t>(context.limits.new_tokens()));
      for (auto& entry : row) entry.top.reserve(top_);
    }
  }

  /// What the records of `rows` rows take, with the copy of `returned` of them in the output.
  static Checked bytes(const GenerationConfig& config, const LogitsContext& context,
                       std::int64_t rows, std::int64_t returned = 0) {
    const auto number = [](std::int64_t n) { return Checked(static_cast<std::uint64_t>(n)); };
    const bool scores = config.output_scores.value_or(false),
               logits = config.output_logits.value_or(false),
               chosen_later = config.num_beams.value_or(1) > 1 && config.top_logprobs && !logits;
    const Checked steps = number(context.limits.new_tokens());
    const Checked of_step = Checked(context.vocabulary) * sizeof(float);
    const Checked entry =
        config.top_logprobs || config.best_of
            ? Checked(top_of(config, context)) * sizeof(TokenLogProb) + sizeof(TokenLogProbs)
            : Checked(0);
    const std::uint64_t outputs = std::uint64_t{scores} + logits;
    const Checked per_row = of_step * outputs + entry;
    return steps * (number(rows) * (per_row + of_step * std::uint64_t{chosen_later}) +
                    number(returned) * per_row);
  }
  /// The option that makes records large.
  static const char* option(const GenerationConfig& config) {
    return config.output_scores.value_or(false)   ? "output_scores"
           : config.output_logits.value_or(false) ? "output_logits"
                                                  : "top_logprobs";
  }

  /// Whether nothing is recorded.
  bool empty() const { return !scores_ && !logits_ && logprobs_.empty(); }

  void keep_scores(std::size_t row, std::int64_t step, std::span<const float> scores) {
    keep(scores_, row, step, scores);
  }
  void keep_logits(std::size_t row, std::int64_t step, std::span<const float> logits) {
    keep(logits_, row, step, logits);
    if (logprobs_.empty()) return;
    log_sum_ = log_sum_exp(logits);
    auto& entry = logprobs_[row][static_cast<std::size_t>(step)];
    std::ranges::generate(order_, [id = std::int32_t{0}]() mutable { return id++; });
    std::ranges::partial_sort(order_, order_.begin() + static_cast<std::ptrdiff_t>(top_),
                              [&](std::int32_t a, std::int32_t b) {
                                const float x = logits[static_cast<std::size_t>(a)];
                                const float y = logits[static_cast<std::size_t>(b)];
                                return x != y ? x > y : a < b;
                              });
    for (const std::int32_t id : std::span(order_).first(top_))
      entry.top.push_back({id, logprob(logits[static_cast<std::size_t>(id)])});
  }
  /// After keep_logits for the same row and step: records the chosen token and its logit.
  void keep_choice(std::size_t row, std::int64_t step, std::int32_t id, float logit) {
    if (!logprobs_.empty())
      logprobs_[row][static_cast<std::size_t>(step)].chosen = {id, logprob(logit)};
  }

  /// Mean log-probability of the first `length` new tokens of a row.
  double mean_logprob(std::size_t row, std::int64_t length) const {
    double sum = 0;
    for (std::int64_t i = 0; i < length; ++i)
      sum += static_cast<double>(logprobs_[row][static_cast<std::size_t>(i)].chosen.logprob);
    return sum / static_cast<double>(length);
  }

  /// Adds the records of the returned rows to `output`, which already has their new tokens and
  /// lengths. Step `step` of returned row i was recorded as row source(i, step).
  template <class Source>
  void finish(GenerationOutput& output, const Source& source) {
    output.scores = select(scores_, output.lengths, source);
    if (output_logits_) output.logits = select(logits_, output.lengths, source);
    if (logprobs_.empty()) return;
    for (std::size_t i = 0; i < output.lengths.size(); ++i) {
      auto& row = output.logprobs.emplace_back();
      for (std::size_t step = 0; step < static_cast<std::size_t>(output.lengths[i]); ++step) {
        const std::size_t from = source(i, step);
        row.push_back(logprobs_[from][step]);
        if (beams_) row.back().chosen = chosen(from, step, output.new_tokens[i][step]);
      }
    }
  }

 private:
  static std::size_t top_of(const GenerationConfig& config, const LogitsContext& context) {
    return std::min(static_cast<std::size_t>(config.top_logprobs.value_or(0)), context.vocabulary);
  }
  float logprob(float logit) const {
    return static_cast<float>(static_cast<double>(logit) - log_sum_);
  }
  /// With beams several tokens can continue a row, and the chosen one is known only at the end.
  TokenLogProb chosen(std::size_t row, std::size_t step, std::int32_t id) {
    const auto logits = record(logits_, row, static_cast<std::int64_t>(step));
    log_sum_ = log_sum_exp(logits);
    return {id, logprob(logits[static_cast<std::size_t>(id)])};
  }
  std::span<float> record(Tensor& all, std::size_t row, std::int64_t step) const {
    const auto offset =
        static_cast<std::size_t>((step * rows_ + static_cast<std::int64_t>(row)) * vocabulary_);
    return all.as_mutable<float>().subspan(offset, static_cast<std::size_t>(vocabulary_));
  }
  void keep(Tensor& all, std::size_t row, std::int64_t step, std::span<const float> values) {
    if (all) std::ranges::copy(values, record(all, row, step).begin());
  }

  /// The returned rows up to the last step; minus infinity after the end of a row.
  template <class Source>
  Tensor select(Tensor& all, std::span<const std::int64_t> lengths, const Source& source) const {
    if (!all) return {};
    const std::int64_t steps = *std::ranges::max_element(lengths);
    const auto r = std::ssize(lengths);
    Tensor result = Tensor::empty(DType::f32, {steps, r, vocabulary_});
    const auto out = result.as_mutable<float>();
    const auto v = static_cast<std::size_t>(vocabulary_);
    for (std::int64_t step = 0; step < steps; ++step) {
      for (std::size_t i = 0; i < lengths.size(); ++i) {
        const auto to = out.subspan((static_cast<std::size_t>(step * r) + i) * v, v);
        if (step < lengths[i])
          std::ranges::copy(record(all, source(i, static_cast<std::size_t>(step)), step),
                            to.begin());
        else
          std::ranges::fill(to, forbidden);
      }
    }
    return result;
  }

  std::int64_t vocabulary_, rows_;
  bool beams_, output_logits_;
  Tensor scores_, logits_;                            // [G,r,V+A] or empty
  std::vector<std::vector<TokenLogProbs>> logprobs_;  // [r][G] or empty
  std::size_t top_ = 0;
  std::vector<std::int32_t> order_;  // [V+A], scratch
  double log_sum_ = 0;               // of the logits recorded last
};
}}}  // namespace idefics::v0::detail
