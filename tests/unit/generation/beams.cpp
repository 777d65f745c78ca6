// Beams: what a step moves, which cache rows beams use, and how the best candidates are chosen.
#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/generation/run/cache_table.hpp>
#include <idefics/generation/search/beams.hpp>

#include "support/catch.hpp"
#include "support/counting_backend.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"

using namespace idefics;

namespace {
using Ids = std::vector<std::int32_t>;
}

TEST_CASE("a beam step writes the keys and values of its new tokens and moves no others") {
  auto backend = std::make_shared<testing::CountingBackend>(make_cpu_backend());
  auto model = golden::load("published", {.dtype = DType::f32, .backend = backend});
  const Config& c = model.config();
  std::mt19937 random(11);
  std::vector<testing::RandomPrompt> prompts;
  for (int i = 0; i < 2; ++i) prompts.push_back(testing::random_prompt(random, c, 6, 1));
  std::vector<std::size_t> scattered, gathered;
  model.generate(testing::batch_of(prompts, c, true),
                 {.max_new_tokens = 10, .eos_token_id = Ids{}, .num_beams = 4}, {}, [&](auto) {
                   scattered.push_back(backend->scattered_bytes);
                   gathered.push_back(backend->gathered_bytes);
                   return true;
                 });
  REQUIRE(scattered.size() == 10);
  const auto row = static_cast<std::size_t>(c.hidden_size) * sizeof(float);
  const std::size_t rows = 2 * 4, layers = static_cast<std::size_t>(c.num_hidden_layers);
  for (std::size_t i = 1; i < scattered.size(); ++i) {
    CHECK(scattered[i] - scattered[i - 1] == rows * 2 * layers * row);  // one key and one value
    CHECK(gathered[i] - gathered[i - 1] == rows * row);                 // rows that the head reads
  }
}

TEST_CASE("cache tables: copies share the prompt, follow their parents and write their own rows") {
  const std::vector<std::int64_t> lengths{2, 1};
  detail::CacheTable table(lengths, 2, 3);
  CHECK(table.pool_rows() == 2 + 1 + 4 * 3);
  auto rows = [&table](std::size_t row) {
    return Ids(table.rows(row).begin(), table.rows(row).end());
  };
  table.append(0), table.append(0);
  table.append(2);
  table.reorder(Ids{0, 1, 2, 3}, Ids{0, 0, 2, 2});
  CHECK(rows(1) == Ids{0, 1});
  CHECK(rows(3) == Ids{2});
  CHECK(table.append(0) == 3);  // first own row of sequence 0
  CHECK(table.append(1) == 6);  // of sequence 1
  table.reorder(Ids{0, 1}, Ids{1, 0});
  CHECK(rows(0) == Ids{0, 1, 6});
  CHECK(rows(1) == Ids{0, 1, 3});
  CHECK(table.append(0) == 4);  // its second own row, whatever its parent
  table.reorder(Ids{1}, Ids{0});
  CHECK(rows(1) == Ids{0, 1, 6, 4});
}

TEST_CASE(
    "cache tables: after a branch of one token, copies share past rows and own their newest") {
  const std::vector<std::int64_t> lengths{2, 1};
  detail::CacheTable table(lengths, 3, 4, detail::Branches::one_token);
  CHECK(table.pool_rows() == 2 + 1 + 2 * (3 + 4 - 1));
  auto rows = [&table](std::size_t row) {
    return Ids(table.rows(row).begin(), table.rows(row).end());
  };
  table.append(0), table.append(0), table.append(3);
  table.reorder(Ids{0, 1, 2, 3, 4}, Ids{0, 0, 0, 3, 3});
  CHECK(Ids{table.append(0), table.append(1), table.append(2)} == Ids{3, 4, 5});
  CHECK(Ids{table.append(3), table.append(4)} == Ids{6, 7});
  table.reorder(Ids{0, 1, 2}, Ids{1, 1, 1});
  CHECK(Ids{table.append(0), table.append(1), table.append(2)} == Ids{3, 9, 5});  // row 4 is kept
  table.reorder(Ids{0, 2}, Ids{0, 0});
  CHECK(Ids{table.append(0), table.append(2)} == Ids{10, 5});
  table.reorder(Ids{0, 1, 2}, Ids{2, 2, 2});
  CHECK(Ids{table.append(0), table.append(1), table.append(2)} == Ids{10, 9, 11});
  CHECK(rows(1) == Ids{0, 1, 4, 3, 5, 9});
  table.reorder(Ids{3, 4, 5}, Ids{4, 4, 4});
  CHECK(Ids{table.append(3), table.append(4), table.append(5)} == Ids{6, 12, 8});
}

TEST_CASE("the best candidates are sorted by score, and equal ones by position") {
  const std::vector<float> sums{1, 5, 3, 5, 2, 4};  // two beams, three ids
  std::vector<detail::Candidate> best;
  best.reserve(5);
  detail::best_candidates(sums, 3, 4, best);
  REQUIRE(best.size() == 4);
  CHECK((best[0].beam == 0 && best[0].id == 1));
  CHECK((best[1].beam == 1 && best[1].id == 0));
  CHECK((best[2].beam == 1 && best[2].id == 2));
  CHECK((best[3].beam == 0 && best[3].id == 2));
}

TEST_CASE("a callback ends beam search after any step, with the beams of that step") {
  auto model = golden::load("published", {.dtype = DType::f32});
  std::mt19937 random(3);
  const auto inputs = testing::batch_of({testing::random_prompt(random, model.config(), 5, 1)},
                                        model.config(), true);
  int steps = 0;
  const auto output = model.generate(
      inputs,
      {.max_new_tokens = 9, .eos_token_id = Ids{}, .num_return_sequences = 2, .num_beams = 3}, {},
      [&steps](auto) { return ++steps < 4; });
  REQUIRE(output.new_tokens.size() == 2);
  CHECK(output.new_tokens[0].size() == 4);
  const auto expected = model.generate(
      inputs,
      {.max_new_tokens = 4, .eos_token_id = Ids{}, .num_return_sequences = 2, .num_beams = 3});
  CHECK(expected.new_tokens == output.new_tokens);
  CHECK(expected.sequences_scores == output.sequences_scores);
}

TEST_CASE("diverse and constrained beams stop when a criterion holds for all beams of a prompt") {
  auto model = golden::load("published", {.dtype = DType::f32});
  std::mt19937 random(8);
  const auto inputs = testing::batch_of({testing::random_prompt(random, model.config(), 5, 1),
                                         testing::random_prompt(random, model.config(), 3, 1)},
                                        model.config(), true);
  const auto prompt = static_cast<std::size_t>(inputs.input_ids.dim(1));
  GenerationConfig diverse{.eos_token_id = Ids{}, .num_beams = 4};
  GenerationConfig constrained = diverse;
  diverse.num_beam_groups = 2, diverse.diversity_penalty = 0.5;
  constrained.force_words_ids = {{{7, 8}}};
  for (GenerationConfig config : {diverse, constrained}) {
    config.max_new_tokens = 3;
    const auto three = model.generate(inputs, config);
    config.max_new_tokens = 9;
    const auto nine = model.generate(inputs, config);
    const auto longer_by = [prompt](std::size_t n) {
      return [=](std::span<const std::int32_t> ids) { return ids.size() >= prompt + n; };
    };
    config.stopping_criteria = {longer_by(3)};
    const auto stopped = model.generate(inputs, config);
    CHECK(stopped.new_tokens == three.new_tokens);
    CHECK(stopped.sequences_scores == three.sequences_scores);

    int calls = 0;  // never true for all beams at once
    config.stopping_criteria = {[&calls](auto) { return ++calls % 2 == 0; }};
    CHECK(model.generate(inputs, config).new_tokens == nine.new_tokens);

    config.stopping_criteria.clear();
    config.stop_strings = {"aaa"};
    config.token_texts = std::make_shared<const std::vector<std::string>>(
        static_cast<std::size_t>(model.config().total_vocab_size()), "a");
    CHECK(model.generate(inputs, config).new_tokens[0].size() == 1);

    config.stop_strings.clear();
    config.max_time = 1e-9;
    CHECK(model.generate(inputs, config).new_tokens[0].size() == 1);
  }
}
