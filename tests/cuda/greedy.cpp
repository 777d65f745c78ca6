// Whole models on the CUDA backend, run by tests/support/cuda_on_cpu/, give the ids of the CPU
// backend.
#include <cuda_runtime.h>

#include <idefics/idefics.hpp>
#include <idefics/io/json.hpp>

#include "support/backends.hpp"
#include "support/catch.hpp"
#include "support/golden_models.hpp"

using namespace idefics;

namespace {

const std::filesystem::path samples = std::filesystem::path(IDEFICS_SOURCE_DIR) / "samples";

std::shared_ptr<Backend> cuda_backend() {
  static const auto backend = testing::cuda_subject().backend;
  return backend;
}

/// The new ids of each row, from a model loaded with these options.
std::vector<std::vector<std::int32_t>> ids(const std::filesystem::path& checkpoint,
                                           ModelOptions options, const Inputs& inputs,
                                           const GenerationConfig& config) {
  auto model = Model::from_pretrained(checkpoint.string(), std::move(options));
  return model.generate(inputs, config).new_tokens;
}

}  // namespace

TEST_CASE("the embedded checkpoint captions a picture on the CUDA backend, in every format") {
  const auto processor = Processor::from_pretrained((samples / "tiny").string());
  const Json expected = read_json_file(samples / "pictures" / "expected.json");
  const Json& scene = expected.at(0);
  const auto picture = Image::open(samples / "pictures" / scene.at("image").get<std::string>());
  const Inputs inputs = processor({picture}, {.add_end_of_utterance_token = false});
  const GenerationConfig config{.max_new_tokens = 12, .bad_words_ids = processor.image_token_ids()};
  for (const auto dtype : {DType::f32, DType::bf16, DType::f16})
    for (const BitsAndBytesConfig& form :
         {BitsAndBytesConfig{},
          {.load_in_4bit = true, .bnb_4bit_use_double_quant = true},
          {.load_in_8bit = true}}) {
      INFO(name_of(dtype) << (form.load_in_4bit ? " in 4 bits" : "")
                          << (form.load_in_8bit ? " in int8" : ""));
      ModelOptions options{.dtype = dtype, .quantization_config = form, .device_map = "cpu"};
      const auto on_cpu = ids(samples / "tiny", options, inputs, config);
      options.backend = cuda_backend();
      CHECK(ids(samples / "tiny", options, inputs, config) == on_cpu);
    }
}

TEST_CASE("from the third token on, each step of the CUDA backend is one graph") {
  const std::string name = golden::model_names().front();
  const Inputs inputs = golden::forward_cases(name).front().inputs;
  auto model =
      Model::from_pretrained((golden::models_dir() / name).string(), {.backend = cuda_backend()});
  const ForwardOptions forward = golden::options_for(model.config(), inputs);
  for (const std::int64_t beams : {1, 3}) {
    GenerationConfig config{.max_new_tokens = 12};
    config.min_new_tokens = 12;
    config.num_beams = beams;
    const int before = cuda_on_cpu::graphs_started;
    (void)model.generate(inputs, config, forward);
    INFO(beams << " beams");
    CHECK(cuda_on_cpu::graphs_started - before == 10);
  }
}
