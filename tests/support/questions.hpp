// Questions about a few shared pictures, for tests in which several threads ask one model.
#pragma once

#include <cstring>
#include <random>
#include <vector>

#include <idefics/model.hpp>

#include "support/random_prompts.hpp"

namespace testing {

using namespace idefics;

struct Question {
  Inputs inputs;
  GenerationConfig config;
};

/// Questions about `pictures` pictures in every way that a search uses a run.
inline std::vector<Question> questions(const Config& config, std::size_t count,
                                       std::size_t pictures) {
  std::mt19937 random(5);
  std::vector<RandomPrompt> shared;
  while (shared.size() < pictures) {
    shared.push_back(random_prompt(random, config, 6, 1));
    if (shared.back().pictures.empty()) shared.pop_back();
  }
  std::vector<Question> list;
  for (std::size_t i = 0; i < count; ++i) {
    RandomPrompt prompt = random_prompt(random, config, 6, 1);
    const auto& picture = shared[random() % pictures];
    prompt.pictures = picture.pictures;
    prompt.seen.assign(prompt.ids.size(), 0);
    GenerationConfig options{.max_new_tokens = 5, .eos_token_id = GenerationConfig::Ids{}};
    options.output_scores = true;
    switch (i % 4) {
      case 1: options.do_sample = true, options.seed = i; break;
      case 2: options.num_beams = 3; break;
      case 3: options.prompt_lookup_num_tokens = 2; break;
      default: break;
    }
    list.push_back({batch_of({prompt}, config, true), options});
  }
  return list;
}

inline bool equal(const GenerationOutput& a, const GenerationOutput& b) {
  if (a.sequences != b.sequences || a.sequences_scores != b.sequences_scores) return false;
  const auto x = a.scores.as<float>(), y = b.scores.as<float>();
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size_bytes()) == 0;
}

}  // namespace testing
