// What each word of an answer looked at, as JSON.
#include "cli/attention_json.hpp"

#include <cmath>

namespace cli {

using namespace idefics;

namespace {

/// What token or word `at` looked at, by picture.
Json looks(const AttentionRollout& all, std::int64_t at) {
  const auto rounded = [](double x) { return std::round(1e6 * x) / 1e6; };
  const std::int64_t n = all.class_token.dim(1), p = all.rows * all.columns;
  Json pictures = Json::array();
  for (std::int64_t i = at * n; i < (at + 1) * n; ++i) {
    const auto one = static_cast<std::size_t>(i), count = static_cast<std::size_t>(p);
    const auto patches = all.patches.as<float>().subspan(one * count, count);
    const double class_token = static_cast<double>(all.class_token.as<float>()[one]),
                 learned = static_cast<double>(all.learned_latents.as<float>()[one]);
    double share = class_token + learned;
    Json rows(static_cast<std::size_t>(all.rows), Json::array());
    for (std::size_t j = 0; j < count; ++j) {
      share += static_cast<double>(patches[j]);
      rows[j / static_cast<std::size_t>(all.columns)].push_back(
          rounded(static_cast<double>(patches[j])));
    }
    pictures.push_back({{"share", rounded(share)},
                        {"class_token", rounded(class_token)},
                        {"learned_latents", rounded(learned)},
                        {"patches", std::move(rows)}});
  }
  return pictures;
}

Json or_null(const std::optional<std::int64_t>& number) { return number ? Json(*number) : Json(); }

}  // namespace

Json attention_json(const Tokenizer& tokenizer, std::span<const std::int32_t> ids,
                    const AttentionRollout& tokens, const AttentionRolloutOptions& options) {
  Json json{{"grid", {tokens.rows, tokens.columns}},
            {"layer", or_null(options.layer)},
            {"head", or_null(options.head)},
            {"rollout", options.vision},
            {"words", Json::array()},
            {"tokens", Json::array()}};
  const auto spans = word_spans(tokenizer, ids);
  const AttentionRollout words = mean_of_words(tokens, spans);
  for (std::size_t i = 0; i < spans.size(); ++i)
    json["words"].push_back({{"text", spans[i].text},
                             {"tokens", {spans[i].begin, spans[i].end}},
                             {"pictures", looks(words, static_cast<std::int64_t>(i))}});
  for (std::int64_t i = 0; i < tokens.class_token.dim(0); ++i) {
    const std::int32_t id = ids[static_cast<std::size_t>(i)];
    json["tokens"].push_back(
        {{"id", id}, {"text", tokenizer.decode({&id, 1})}, {"pictures", looks(tokens, i)}});
  }
  return json;
}

}  // namespace cli
