// Runs that share passes and a cache of keys and values: every answer has the bits that it has when it
// runs by itself, although others join, leave and stop meanwhile and some have to wait for rows.
#include <array>
#include <atomic>
#include <thread>

#include <idefics/backend/cpu/cpu_backend.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/own_memory.hpp"
#include "support/questions.hpp"

using namespace idefics;
using testing::equal, testing::Question, testing::questions;

namespace {

/// As many as one run of `questions` takes are 3 beams of 6 + 5 tokens; a few of them fit.
constexpr std::int64_t few_tokens = 70;

std::vector<GenerationOutput> answers(const Model& model, const std::vector<Question>& list) {
  std::vector<GenerationOutput> result;
  for (const Question& q : list) result.push_back(model.generate(q.inputs, q.config));
  return result;
}

/// Calls ask(i) with i < count from `threads` threads, and returns how often it was false or threw.
template <class Ask>
std::size_t failures(std::size_t threads, std::size_t count, const Ask& ask) {
  std::atomic<std::size_t> failed = 0, next = 0;
  std::vector<std::jthread> workers;
  for (std::size_t worker = 0; worker < threads; ++worker)
    workers.emplace_back([&] {
      for (std::size_t i = next++; i < count; i = next++) try {
          failed += !ask(i);
        } catch (...) {
          ++failed;
        }
    });
  workers.clear();
  return failed;
}

/// With modes that run by themselves.
std::vector<Question> mixed_questions(const Config& config) {
  auto list = questions(config, 48, 6);
  list[10].config.penalty_alpha = 0.5, list[10].config.top_k = 3, list[10].config.num_beams.reset();
  list[20].config.guidance_scale = 1.5;
  list[24].config.dola_layers = DolaLayers{.bucket = "low"};
  list[32].config.output_attentions = true;
  list[36].config.num_return_sequences = 3, list[36].config.do_sample = true;
  return list;
}

std::string name() { return golden::model_names().front(); }

}  // namespace

TEST_CASE("runs that share passes have the bits that they have alone") {
  const std::array<ModelOptions, 4> forms{
      {{.image_cache_size = 2},
       {.dtype = DType::bf16, .image_cache_size = 2},
       {.quantization_config = {.load_in_8bit = true}, .image_cache_size = 2},
       {.quantization_config = {.load_in_4bit = true}, .image_cache_size = 2}}};
  for (ModelOptions form : forms)
    for (const std::int64_t tokens : {few_tokens, std::int64_t{4096}}) {
      const Model alone = golden::load(name(), form);
      const auto list = mixed_questions(alone.config());
      const auto expected = answers(alone, list);
      form.shared_cache_tokens = tokens;
      const Model model = golden::load(name(), form);
      CHECK(failures(16, 400, [&](std::size_t i) {
              const Question& q = list[i * 7 % list.size()];
              return equal(model.generate(q.inputs, q.config), expected[i * 7 % list.size()]);
            }) == 0);
      const BatchStatistics done = model.batch_statistics();
      CHECK(done.passes > 0);
      CHECK(static_cast<double>(done.shares) > 1.5 * static_cast<double>(done.passes));
      CHECK(done.running == 0);
      CHECK(done.waiting == 0);
      CHECK(done.free_tokens == tokens);
    }
}

TEST_CASE("a device with memory of its own is used by the thread of the batch alone") {
  const Model alone = golden::load(name());
  const auto list = mixed_questions(alone.config());
  const auto expected = answers(alone, list);
  const Model model =
      golden::load(name(), {.image_cache_size = 2,
                            .shared_cache_tokens = 200,
                            .backend = std::make_shared<testing::OwnMemory>(make_cpu_backend())});
  CHECK(failures(8, 96, [&](std::size_t i) {
          const Question& q = list[i % list.size()];
          return equal(model.generate(q.inputs, q.config), expected[i % list.size()]);
        }) == 0);
  CHECK(model.batch_statistics().passes > 0);
}

TEST_CASE("continuations are read in shared passes") {
  const Model alone = golden::load(name());
  const Model model = golden::load(name(), {.shared_cache_tokens = 4096});
  const auto list = questions(alone.config(), 8, 3);
  const std::vector<Continuation> continuations{{3, 4}, {5}, {6, 7, 8}};
  CHECK(failures(8, 64, [&](std::size_t i) {
          const Inputs& prompt = list[i % list.size()].inputs;
          return model.continuation_logprobs(prompt, continuations) ==
                 alone.continuation_logprobs(prompt, continuations);
        }) == 0);
  CHECK(model.batch_statistics().passes > 0);
}

TEST_CASE("prompts longer than a chunk are read between the steps of others") {
  const Model alone = golden::load(name());
  std::mt19937 random(3);
  std::vector<Question> list;
  std::vector<GenerationOutput> expected;
  for (int i = 0; i < 12; ++i) {
    const auto prompt = testing::random_prompt(random, alone.config(), i % 3 == 0 ? 60 : 4, 2);
    list.push_back({testing::batch_of({prompt}, alone.config(), true),
                    {.max_new_tokens = 6, .eos_token_id = GenerationConfig::Ids{}}});
  }
  expected = answers(alone, list);
  const Model model = golden::load(name(), {.prefill_chunk = 5, .shared_cache_tokens = 300});
  CHECK(failures(6, 120, [&](std::size_t i) {
          const Question& q = list[i % list.size()];
          return equal(model.generate(q.inputs, q.config), expected[i % list.size()]);
        }) == 0);
}

TEST_CASE("a newcomer gets its first token after two steps of others and its own prompt") {
  class Slow final : public testing::CountingBackend {
   public:
    using CountingBackend::CountingBackend;

   protected:
    void do_embedding(Tensor out, Ids ids, const Tensor& table, const Tensor& added) override {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));  // a pass of a larger model
      CountingBackend::do_embedding(std::move(out), ids, table, added);
    }
  };
  constexpr std::int64_t chunk = 16;
  const Model model = golden::load(name(), {.prefill_chunk = chunk,
                                            .shared_cache_tokens = 20'000,
                                            .backend = std::make_shared<Slow>(make_cpu_backend())});
  const auto list = questions(model.config(), 4, 2);
  std::mt19937 random(9);
  const auto prompt = testing::random_prompt(random, model.config(), 60, 2);
  const Inputs newcomer = testing::batch_of({prompt}, model.config(), true);
  const std::int64_t own = (std::ssize(prompt.ids) + chunk - 1) / chunk;
  std::atomic<bool> ended = false;
  std::vector<std::jthread> others;
  for (const Question& q : list)
    others.emplace_back([&] {
      (void)model.generate(q.inputs,
                           {.max_new_tokens = 4000, .eos_token_id = GenerationConfig::Ids{}}, {},
                           [&](auto) { return !ended; });
    });
  while (model.batch_statistics().running < 4) std::this_thread::yield();
  // the fewest of some rounds, since this thread may have to wait for a core before it is in the batch
  std::int64_t fewest = 1000;
  for (int round = 0; round < 20; ++round) {
    const std::int64_t before = model.batch_statistics().passes;
    std::int64_t first = 0;
    (void)model.generate(newcomer, {.max_new_tokens = 1}, {}, [&](auto) {
      first = model.batch_statistics().passes;
      return true;
    });
    fewest = std::min(fewest, first - before);
  }
  CHECK(fewest <= 2 + own);
  CHECK(fewest >= own);
  ended = true;
}

TEST_CASE("a run that stops leaves its rows to others, even while it waits for some") {
  const Model model = golden::load(name(), {.shared_cache_tokens = few_tokens});
  const auto list = questions(model.config(), 40, 3);
  const auto expected = answers(golden::load(name()), list);
  CHECK(failures(12, 240, [&](std::size_t i) {
          const Question& q = list[i % list.size()];
          const std::size_t after = i % 5;
          std::size_t steps = 0, asked = 0;
          const auto output = model.generate(
              q.inputs, q.config, {.proceed = [&] { return i % 3 != 0 || ++asked <= after; }},
              [&](auto) { return i % 3 != 1 || ++steps <= after; });
          return i % 3 != 2 || equal(output, expected[i % list.size()]);
        }) == 0);
  CHECK(model.batch_statistics().free_tokens == few_tokens);
  CHECK(answers(model, list).back().sequences == expected.back().sequences);
}

TEST_CASE("a run that needs more than the whole cache runs by itself") {
  const Model model = golden::load(name(), {.shared_cache_tokens = 4});
  const auto list = questions(model.config(), 4, 1);
  CHECK(equal(model.generate(list[0].inputs, list[0].config),
              golden::load(name()).generate(list[0].inputs, list[0].config)));
  CHECK(model.batch_statistics().passes == 0);
}

TEST_CASE("a run within a step of another one does not wait for it") {
  const Model model = golden::load(name(), {.shared_cache_tokens = 12});
  const auto list = questions(model.config(), 1, 1);
  const auto alone = golden::load(name()).generate(list[0].inputs, list[0].config);
  std::size_t steps = 0;
  (void)model.generate(list[0].inputs, list[0].config, {}, [&](auto) {
    ++steps;
    CHECK(equal(model.generate(list[0].inputs, list[0].config), alone));
    return true;
  });
  CHECK(steps == 5);
}

TEST_CASE("a failed pass ends the runs that shared it, and no others") {
  class Failing final : public testing::CountingBackend {
   public:
    using CountingBackend::CountingBackend;
    std::atomic<bool> fails = false;

   protected:
    void do_gated_add(Tensor x, const Tensor& y, const Tensor& alpha) override {
      if (fails.exchange(false)) fail(ErrorCode::out_of_memory, "planted", {.field = "planted"});
      CountingBackend::do_gated_add(std::move(x), y, alpha);
    }
  };
  const auto backend = std::make_shared<Failing>(make_cpu_backend());
  const Model model = golden::load(name(), {.shared_cache_tokens = 200, .backend = backend});
  const auto list = questions(model.config(), 8, 2);
  const auto expected = answers(model, list);
  std::atomic<std::size_t> failed = 0;
  CHECK(failures(4, 80, [&](std::size_t i) {
          if (i == 20) backend->fails = true;
          try {
            return equal(model.generate(list[i % 8].inputs, list[i % 8].config), expected[i % 8]);
          } catch (const Error& error) {
            ++failed;
            return error.context().field == "planted";
          }
        }) == 0);
  CHECK(failed >= 1);
  CHECK(failed <= 4);
  CHECK(model.batch_statistics().free_tokens == 200);
}
