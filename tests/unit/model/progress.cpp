// Progress is reported stage by stage; a callback that returns false stops the work and leaves
// nothing half done.
#include <idefics/processor.hpp>

#include <map>

#include "support/catch.hpp"
#include "support/golden_models.hpp"

using namespace idefics;

namespace {

const std::string samples = IDEFICS_SOURCE_DIR "/samples/";

Inputs question(const Processor& processor) {
  return processor({"User:", Image::open(samples + "pictures/pink-boat.png"),
                    "What is this?<end_of_utterance>", "\nAssistant:"},
                   {.add_end_of_utterance_token = false});
}

}  // namespace

TEST_CASE("every stage counts up to its total") {
  struct Count {
    std::int64_t calls = 0, last = 0, total = 0;
    bool ascending = true;
  };
  std::map<std::string, Count> stages;
  const auto processor = Processor::from_pretrained(samples + "tiny");
  auto model = Model::from_pretrained(
      samples + "tiny", {.prefill_chunk = 4, .progress = [&](const Progress& p) {
                           Count& count = stages[std::string(p.stage)];
                           count.ascending =
                               count.ascending && p.done > count.last && p.done <= p.total;
                           ++count.calls, count.last = p.done, count.total = p.total;
                           return true;
                         }});
  const auto output = model.generate(question(processor), {.max_new_tokens = 30});
  for (const char* stage : {"loading", "pictures", "prefill"}) {
    INFO(stage);
    CHECK(stages[stage].ascending);
    CHECK(stages[stage].calls > 0);
    CHECK(stages[stage].last == stages[stage].total);
  }
  CHECK(stages["loading"].total > 50);
  CHECK(stages["pictures"].total == 1);
  CHECK(stages["prefill"].total == output.timings.prefill_tokens);
  CHECK(stages["prefill"].calls == (output.timings.prefill_tokens + 3) / 4);
  CHECK(stages["generation"].total == 30);
  CHECK(stages["generation"].last == std::ssize(output.new_tokens[0]));
}

TEST_CASE("a callback that returns false stops any stage, and the next call is right") {
  const auto processor = Processor::from_pretrained(samples + "tiny");
  const Inputs inputs = question(processor);
  std::string stop;
  const ModelOptions options{.progress = [&stop](const Progress& p) { return p.stage != stop; }};
  auto model = Model::from_pretrained(samples + "tiny", options);
  const auto wanted = Model::from_pretrained(samples + "tiny").generate(inputs).new_tokens;
  for (const char* stage : {"pictures", "prefill", "generation"}) {
    INFO(stage);
    stop = stage;
    try {
      model.generate(inputs);
      FAIL("not stopped");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::cancelled);
    }
    stop.clear();
    CHECK(model.generate(inputs).new_tokens == wanted);
  }
  stop = "loading";
  CHECK_THROWS_AS(Model::from_pretrained(samples + "tiny", options), Error);
}
