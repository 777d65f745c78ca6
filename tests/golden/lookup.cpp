// Guesses of prompt lookup, against transformers' own class (tests/reference/make_lookup.py).
#include <cstdio>

#include "support/catch.hpp"
#include "support/golden_modes.hpp"

using namespace idefics;

TEST_CASE("guesses are those of transformers, up to the tokens that there is room for") {
  std::size_t guessed = 0, compared = 0;
  for (const Json& recorded : golden::mode_cases("lookup.json")) {
    INFO(recorded.dump());
    const auto ids = recorded.at("ids").get<std::vector<std::int32_t>>();
    const auto room = recorded.at("room").get<std::int64_t>();
    const auto p = std::ssize(ids);
    const LogitsContext context{.vocabulary = 40,
                                .base_vocabulary = 40,
                                .limits = {.prompt = p, .longest = p + room + 1, .shortest = 0},
                                .prompts = {ids}};
    PromptLookup lookup(golden::mode_options(recorded), context);
    const IdSpan guess = lookup.guess(ids, room);
    auto theirs = recorded.at("guess").get<std::vector<std::int32_t>>();
    theirs.resize(std::min(theirs.size(), static_cast<std::size_t>(room)));
    CHECK(std::vector(guess.begin(), guess.end()) == theirs);
    guessed += !theirs.empty(), ++compared;
  }
  std::printf("lookup.json: %zu cases compared, %zu with a guess\n", compared, guessed);
  CHECK(guessed > 200);
}
