// Options within their ranges that would cost quadratic time or more, and the fast forms against
// plain ones: words, biases, constraints, prompt lookup, the choice of beams.
#include <chrono>
#include <map>
#include <random>
#include <set>

#include <idefics/generation/options/limits.hpp>
#include <idefics/generation/search/candidates.hpp>
#include <idefics/generation/search/constrained_beams.hpp>

#include "support/catch.hpp"
#include "support/fault.hpp"

using namespace idefics;

namespace {

using Ids = std::vector<std::int32_t>;

double seconds_of(const auto& act) {
  const auto begin = std::chrono::steady_clock::now();
  act();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

Ids random_ids(std::mt19937& random, std::size_t size, unsigned vocabulary) {
  Ids ids(size);
  for (auto& id : ids) id = static_cast<std::int32_t>(random() % vocabulary);
  return ids;
}

/// Prompt lookup as the reference states it: longer n-grams first, then earlier ones.
Ids looked_up(const Ids& text, std::size_t longest, std::size_t most, const std::set<int>& bad) {
  for (std::size_t n = std::min(longest, text.size() - 1); n > 0; --n)
    for (std::size_t begin = 0; begin + n < text.size(); ++begin) {
      if (!std::equal(text.end() - static_cast<std::ptrdiff_t>(n), text.end(),
                      text.begin() + static_cast<std::ptrdiff_t>(begin)))
        continue;
      Ids found;
      for (std::size_t i = begin + n; i < text.size() && found.size() < most; ++i) {
        if (bad.contains(text[i])) break;
        found.push_back(text[i]);
      }
      if (!found.empty()) return found;
    }
  return {};
}

detail::LogitsContext context_of(std::int64_t longest, std::size_t vocabulary) {
  return {.vocabulary = vocabulary,
          .base_vocabulary = vocabulary,
          .limits = {.prompt = 1, .longest = longest, .shortest = 0},
          .prompts = {{1}}};
}

}  // namespace

TEST_CASE("prompt lookup drafts what the plain search finds, at once in long texts") {
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    const unsigned vocabulary = 2 + random() % 4;
    const Ids text = random_ids(random, 2 + random() % 40, vocabulary);
    GenerationConfig config{.prompt_lookup_num_tokens = 1 + random() % 5,
                            .max_matching_ngram_size = 1 + random() % 8};
    std::set<int> bad;
    for (unsigned id = 0; id < vocabulary; ++id)
      if (random() % 3 == 0) bad.insert(static_cast<int>(id));
    config.suppress_tokens.assign(bad.begin(), bad.end());
    detail::PromptLookup lookup(config, context_of(64, vocabulary));
    const auto found = lookup.guess(text, 100);
    CHECK(Ids(found.begin(), found.end()) ==
          looked_up(text, static_cast<std::size_t>(*config.max_matching_ngram_size),
                    static_cast<std::size_t>(*config.prompt_lookup_num_tokens), bad));
  }
  // the same token 20,000 times, every continuation forbidden, n-grams of any length
  constexpr std::int64_t size = 20'000;
  detail::PromptLookup lookup({.max_matching_ngram_size = INT64_MAX, .suppress_tokens = {3}},
                              context_of(size + 1, 8));
  const Ids text(size, 3);
  CHECK(seconds_of([&] { CHECK(lookup.guess(text, 10).empty()); }) < testing::seconds_allowed);
}

TEST_CASE("phrases continue as a plain search over them says, in their own order") {
  std::mt19937 random(2);
  for (int i = 0; i < 2000; ++i) {
    std::vector<Ids> phrases;
    const auto count = 1 + random() % 8;
    for (std::size_t p = 0; p < count; ++p)
      phrases.push_back(random_ids(random, 1 + random() % 4, 3));
    const auto begins = [](const Ids& phrase, const Ids& begun) {
      return phrase.size() >= begun.size() &&
             std::equal(begun.begin(), begun.end(), phrase.begin());
    };
    bool clash = false;
    for (std::size_t a = 0; a < count; ++a)
      for (std::size_t b = 0; b < count; ++b)
        clash = clash || (a != b && begins(phrases[a], phrases[b]));
    if (clash) {
      CHECK_THROWS_AS(detail::Constraint(phrases), Error);
      continue;
    }
    const detail::Constraint constraint(phrases);
    for (int trial = 0; trial < 10; ++trial) {
      const Ids begun = random_ids(random, random() % 4, 3);
      Ids expected{7}, ids{7};
      for (const Ids& phrase : phrases)
        if (phrase.size() > begun.size() && begins(phrase, begun) &&
            std::find(expected.begin() + 1, expected.end(), phrase[begun.size()]) == expected.end())
          expected.push_back(phrase[begun.size()]);
      constraint.append_next(begun, ids);
      CHECK(ids == expected);
      CHECK(constraint.ends_with(begun) == (expected.size() == 1));
      for (std::int32_t id = 0; id < 3; ++id)
        CHECK(constraint.continues(begun, id) ==
              (std::find(expected.begin() + 1, expected.end(), id) != expected.end()));
    }
  }
}

TEST_CASE("the best continuations are those of a sort, in a tie the first") {
  std::mt19937 random(3);
  for (int i = 0; i < 500; ++i) {
    const std::size_t vocabulary = 1 + random() % 20, beams = 1 + random() % 6;
    std::vector<float> sums(vocabulary * beams);
    for (float& sum : sums) sum = static_cast<float>(random() % 7) - 3;
    if (i % 3 == 0) sums[random() % sums.size()] = detail::forbidden;
    std::vector<std::size_t> order(sums.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, std::greater<>(), [&](std::size_t at) { return sums[at]; });
    const std::size_t count = 1 + random() % sums.size();
    std::vector<detail::Candidate> best;
    detail::best_candidates(sums, vocabulary, count, best);
    REQUIRE(best.size() == count);
    for (std::size_t rank = 0; rank < count; ++rank)
      CHECK(static_cast<std::size_t>(best[rank].beam) * vocabulary +
                static_cast<std::size_t>(best[rank].id) ==
            order[rank]);

    // drawn without replacement; when no probability is left, the best of the rest follow
    std::ranges::fill(sums, detail::forbidden);
    sums[sums.size() / 2] = 1;
    std::vector<double> scratch(sums.size());
    std::vector<detail::Candidate> drawn;
    detail::draw_candidates(
        sums, vocabulary, count, [](std::size_t) { return 0.5; }, scratch, drawn);
    std::set<std::pair<int, int>> distinct;
    for (const auto& c : drawn) distinct.insert({c.beam, c.id});
    CHECK(distinct.size() == count);
    CHECK(drawn[0].score == 1);
  }
  std::vector<float> sums(4'000'000);
  for (float& sum : sums) sum = static_cast<float>(random() % 1'000'000);
  std::vector<detail::Candidate> best;
  CHECK(seconds_of([&] { detail::best_candidates(sums, 1000, 40'000, best); }) <
        3 * testing::seconds_allowed);
}

TEST_CASE("long lists of biases and phrases are read in linear time, and the last bias counts") {
  std::vector<SequenceBias> biases{{{5}, 2.0}, {{7, 5}, 1.0}, {{5}, -3.0}, {{7, 5}, 4.0}};
  std::vector<float> scores(10, 0.0f);
  detail::SequenceBiases{biases}(scores, Ids{1, 7});
  CHECK(scores[5] == 1.0f);
  std::vector<Ids> phrases;
  biases.clear();
  for (std::int32_t i = 0; i < 200'000; ++i) {
    phrases.push_back({i % 1000, i / 1000, 7});
    biases.push_back({{i % 1000, i / 1000}, 1.0});
  }
  CHECK(seconds_of([&] { (void)detail::SequenceBiases{biases}; }) < 5 * testing::seconds_allowed);
  CHECK(seconds_of([&] {
          const detail::Constraint constraint(phrases);
          Ids ids;
          for (int i = 0; i < 10; ++i) ids.clear(), constraint.append_next({}, ids);
          CHECK(ids.size() == 1000);
        }) < 5 * testing::seconds_allowed);
}

TEST_CASE("lengths and limits refuse by name, without overflow") {
  const auto refused = [](const auto& act) {
    try {
      act();
    } catch (const Error& error) {
      return std::string(error.code_name()) + " " + error.context().field + " " +
             std::to_string(error.context().limit.value_or(0));
    }
    return std::string("accepted");
  };
  for (const std::int64_t many : {std::int64_t{6}, INT64_MAX - 7, INT64_MAX})
    CHECK(refused([&] {
            detail::length_limits({.max_new_tokens = 5, .min_new_tokens = many}, 7, {});
          }) == "invalid_option min_new_tokens 12");
  const GenerationLimits limits{.new_tokens = 10,
                                .prompt_tokens = 100,
                                .rows = 8,
                                .listed_ids = 6,
                                .listed_entries = 3,
                                .max_time = 2};
  const auto apply = [&](GenerationConfig config, std::int64_t prompts = 2, std::int64_t copies = 1,
                         std::int64_t prompt = 5) {
    const auto lengths = detail::length_limits(config, prompt, {});
    return refused([&] { detail::apply_limits(limits, config, lengths, prompts, copies); });
  };
  CHECK(apply({.max_new_tokens = 10}) == "accepted");
  CHECK(apply({.max_new_tokens = 11}) == "invalid_option max_new_tokens 10");
  CHECK(apply({.max_length = 16}) == "invalid_option max_length 10");
  CHECK(apply({.max_new_tokens = 1}, 2, 1, 101) == "invalid_option input_ids 100");
  CHECK(apply({.max_new_tokens = 1}, 9) == "invalid_option input_ids 8");
  CHECK(apply({.max_new_tokens = 1, .num_beams = 4}, 2, 4) == "accepted");
  CHECK(apply({.max_new_tokens = 1, .num_beams = 5}, 2, 5) == "invalid_option num_beams 4");
  CHECK(apply({.max_new_tokens = 1, .best_of = 9}, 1, 9) == "invalid_option best_of 8");
  CHECK(apply({.max_new_tokens = 1, .bad_words_ids = {{1, 2, 3}, {4, 5, 6}}}) == "accepted");
  CHECK(apply({.max_new_tokens = 1, .bad_words_ids = {{1, 2, 3}, {4, 5, 6, 7}}}) ==
        "invalid_option bad_words_ids 6");
  CHECK(apply({.max_new_tokens = 1,
               .sequence_bias = {{{1}, 1.0}, {{2}, 1.0}, {{3}, 1.0}, {{4}, 1.0}}}) ==
        "invalid_option sequence_bias 3");
  GenerationConfig config{.max_new_tokens = 1, .max_time = 7.0};
  detail::apply_limits(limits, config, {.prompt = 1, .longest = 2, .shortest = 0}, 1, 1);
  CHECK(config.max_time == 2.0);
  config.max_time = 1.0;
  detail::apply_limits(limits, config, {.prompt = 1, .longest = 2, .shortest = 0}, 1, 1);
  CHECK(config.max_time == 1.0);
}
