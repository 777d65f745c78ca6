// The memory plan against complete runs: every allocation from the start of a load to the end of an
// answer is counted, so that the system, its page size and its free lists have no influence.
#include <idefics/model.hpp>
#include <idefics/plan/require_fit.hpp>
#include <idefics/processor.hpp>
#include <idefics/quant/double_quant.hpp>

#include "support/catch.hpp"
#include "support/counting_malloc.hpp"

using namespace idefics;

namespace {

const std::filesystem::path source_dir = IDEFICS_SOURCE_DIR;
const std::filesystem::path tiny = source_dir / "samples/tiny";
constexpr std::int64_t new_tokens = 40;

using Pictures = std::vector<const char*>;

/// Prompts for a caption of each picture.
Inputs captions(const Processor& processor, const Pictures& pictures) {
  std::vector<Prompt> prompts;
  for (const char* picture : pictures)
    prompts.push_back({Image::open((source_dir / "samples/pictures" / picture).string()),
                       "This is an image of "});
  return processor(prompts);
}

/// The most bytes in use while a model is loaded and answers twice, the second time about other
/// pictures: only then are pictures read while kernels keep all the scratch memory that they have
/// needed. The image cache holds one picture for each prompt.
std::int64_t peak_bytes(const WeightOptions& form, std::span<const Inputs> questions,
                        std::int64_t beams, bool mmap) {
  const heap::Peak peak;
  auto model = Model::from_pretrained(tiny.string(),
                                      {.dtype = form.dtype,
                                       .quantization_config = form.quantization_config,
                                       .mmap = mmap,
                                       .image_cache_size = questions.front().input_ids.dim(0)});
  for (const Inputs& inputs : questions)
    (void)model.generate(inputs, {.max_new_tokens = new_tokens, .num_beams = beams});
  return peak.bytes();
}

MemoryPlan plan_of(const WeightOptions& form, const Workload& work, bool mmap) {
  const Checkpoint checkpoint = Checkpoint::open(tiny, mmap);
  const Config config = Config::from_file(tiny / "config.json");
  WeightTable table;
  const Idefics layers(table, config);
  return plan_memory(config, table.requests(), &checkpoint, form, work);
}

void check_form(const NamedWeightOptions& form, std::span<const Inputs> questions,
                std::int64_t beams, bool mmap = true) {
  const std::int64_t batch = questions.front().input_ids.dim(0);
  const MemoryPlan plan = plan_of(form.options,
                                  {.context = questions.front().input_ids.dim(1) + new_tokens,
                                   .new_tokens = new_tokens,
                                   .batch = batch,
                                   .beams = beams,
                                   .pictures = batch,
                                   .threads = num_threads()},
                                  mmap);
  auto real = static_cast<double>(peak_bytes(form.options, questions, beams, mmap));
  if (form.options.quantization_config.bnb_4bit_use_double_quant)
    real += static_cast<double>(detail::nearest_of_step().size());  // allocated once per process
  const auto planned = static_cast<double>(plan.anonymous_bytes());
  CAPTURE(form.name, batch, beams, mmap, num_threads(), planned, real);
  CHECK(planned > 0.97 * real);
  CHECK(planned < 1.03 * real);
}

}  // namespace

TEST_CASE("a run uses the memory that was planned for it within 3 %, in every form") {
  const auto processor = Processor::from_pretrained(tiny.string());
  const Inputs one[] = {captions(processor, {"pink-boat.png"}),
                        captions(processor, {"blue-cat-and-pink-fish.png"})};
  const Inputs two[] = {captions(processor, {"pink-boat.png", "blue-cat-and-pink-fish.png"}),
                        captions(processor, {"orange-moon-and-green-mushroom.png",
                                             "yellow-boat-and-purple-sun.png"})};
  (void)detail::nearest_of_step();
  for (const int threads : {1, 2}) {
    set_num_threads(threads);
    for (const NamedWeightOptions& form : weight_forms()) {
      check_form(form, one, 1);
      check_form(form, one, 1, false);
      check_form(form, one, 4);
      check_form(form, two, 1);
    }
  }
  set_num_threads(0);
}
