// What a run of generation prints with --json and --timings.
// Letters: I pictures, S positions, L latents, H heads, V vocabulary, A added tokens, r rows of the
// output, s steps.
#include "cli/generation_json.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>

namespace cli {

using namespace idefics;

namespace {

/// The 50 highest finite values of [s,r,V+A] by row and step, in descending order, ties by id.
Json best_of_steps(const Tensor& all) {
  constexpr std::size_t shown = 50;
  const auto steps = all.dim(0), rows = all.dim(1);
  const auto v = static_cast<std::size_t>(all.dim(2));
  Json by_row(static_cast<std::size_t>(rows), Json::array());
  for (std::int64_t i = 0; i < steps * rows; ++i) {
    const auto values = all.as<float>().subspan(static_cast<std::size_t>(i) * v, v);
    std::vector<std::pair<float, std::int32_t>> best;  // (-value, id), for ascending order
    for (std::size_t id = 0; id < v; ++id)
      if (std::isfinite(values[id])) best.emplace_back(-values[id], static_cast<std::int32_t>(id));
    std::ranges::sort(best);
    best.resize(std::min(shown, best.size()));
    Json step = Json::array();
    for (const auto& [negated, id] : best) step.push_back({id, -negated});
    by_row[static_cast<std::size_t>(i % rows)].push_back(std::move(step));
  }
  return by_row;
}

Json logprobs_json(const GenerationOutput& out) {
  Json rows = Json::array();
  for (const auto& row : out.logprobs) {
    Json steps = Json::array();
    for (const TokenLogProbs& step : row) {
      Json top = Json::array();
      for (const TokenLogProb& other : step.top) top.push_back({other.id, other.logprob});
      steps.push_back({{"id", step.chosen.id}, {"logprob", step.chosen.logprob}, {"top", top}});
    }
    rows.push_back(std::move(steps));
  }
  return rows;
}

/// Attention weights by row, step, layer, head and picture position, to six decimals.
Json attentions_json(const GenerationOutput& out) {
  const Tensor& all = out.cross_attentions;  // [s,r,cross layers,H,I*L]; I*S without a resampler
  const auto rounded = [](float x) { return std::round(1e6 * static_cast<double>(x)) / 1e6; };
  Json rows = Json::array();
  for (std::int64_t row = 0; row < all.dim(1); ++row) {
    Json steps = Json::array();
    for (std::int64_t step = 0; step < out.lengths[static_cast<std::size_t>(row)]; ++step) {
      Json layers = Json::array();
      std::int64_t at = (step * all.dim(1) + row) * all.dim(2) * all.dim(3) * all.dim(4);
      for (std::int64_t layer = 0; layer < all.dim(2); ++layer) {
        Json heads(static_cast<std::size_t>(all.dim(3)), Json::array());
        for (Json& head : heads)
          for (std::int64_t i = 0; i < all.dim(4); ++i)
            head.push_back(rounded(all.as<float>()[static_cast<std::size_t>(at++)]));
        layers.push_back(std::move(heads));
      }
      steps.push_back(std::move(layers));
    }
    rows.push_back(std::move(steps));
  }
  return rows;
}

}  // namespace

Json timings_json(const GenerationTimings& t, double load_s) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto rate = [](std::int64_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  return {{"load_s", load_s},
          {"vision_s", t.vision_s},
          {"prefill_s", t.prefill_s},
          {"prefill_tokens", t.prefill_tokens},
          {"prefill_tokens_per_s", rate(t.prefill_tokens, t.prefill_s)},
          {"decode_s", t.decode_s},
          {"decode_tokens", t.decode_tokens},
          {"decode_tokens_per_s", rate(t.decode_tokens, t.decode_s)},
          {"peak_rss_bytes", std::int64_t{usage.ru_maxrss} * 1024}};
}

Json timings_json(const GenerationOutput& out, double load_s) {
  Json json = timings_json(out.timings, load_s);
  if (!out.rounds.empty()) json["decode_passes"] = out.rounds.size();
  return json;
}

Json generation_json(const Processor& processor, const GenerationOutput& out) {
  const DecodeOptions plain{.skip_special_tokens = true};
  Json json{{"sequences", out.sequences},
            {"new_tokens", out.new_tokens},
            {"text", processor.batch_decode(out.sequences, plain)},
            {"new_text", processor.batch_decode(out.new_tokens, plain)}};
  if (!out.sequences_scores.empty()) json["sequences_scores"] = out.sequences_scores;
  if (out.scores) json["scores"] = best_of_steps(out.scores);
  if (out.logits) json["logits"] = best_of_steps(out.logits);
  if (out.cross_attentions) json["cross_attentions"] = attentions_json(out);
  if (!out.logprobs.empty()) json["logprobs"] = logprobs_json(out);
  return json;
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace cli
