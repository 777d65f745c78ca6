// Recorded prompts through the processor, against the ids, masks and pixels of IdeficsProcessor.
#include <idefics/io/json.hpp>
#include <idefics/io/safetensors.hpp>
#include <idefics/processor.hpp>

#include "support/catch.hpp"
#include "support/hash.hpp"

using namespace idefics;

namespace {

const std::filesystem::path data = IDEFICS_GOLDEN_DIR;

/// Pictures are decoded from their files; every second item is passed as raw pixels.
Prompt prompt_of(const Json& items, const SafetensorsFile& corpus) {
  Prompt prompt;
  for (const Json& item : items) {
    if (item.is_string()) {
      prompt.push_back(item.get<std::string>());
    } else {
      const Tensor file = corpus.tensor(item.at("image").get<std::string>());
      const Image image = Image::decode({file.raw(), file.bytes()});
      prompt.push_back(prompt.size() % 2 == 0
                           ? image
                           : Image::from_pixels(image.width, image.height, 3, image.rgb));
    }
  }
  return prompt;
}

ProcessorOptions options_of(const Json& json) {
  ProcessorOptions options{.image_size = json.value("image_size", 30)};
  if (json.contains("add_eos_token")) options.add_eos_token = json.at("add_eos_token").get<bool>();
  if (json.contains("add_end_of_utterance_token"))
    options.add_end_of_utterance_token = json.at("add_end_of_utterance_token").get<bool>();
  if (json.contains("padding_side")) options.padding_side = PaddingSide::right;
  if (json.contains("padding")) options.padding = Padding::max_length;
  if (json.contains("max_length")) options.max_length = json.at("max_length").get<std::int64_t>();
  options.truncation = json.value("truncation", false);
  if (json.contains("truncation_side")) options.truncation_side = TruncationSide::left;
  return options;
}

/// Appends the integers of nested JSON lists to `out`.
void flatten(const Json& json, std::vector<std::int64_t>& out) {
  if (!json.is_array()) return out.push_back(json.get<std::int64_t>());
  for (const Json& element : json) flatten(element, out);
}

std::vector<std::int64_t> values(const Tensor& t) {
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < t.count(); ++i)
    out.push_back(t.dtype() == DType::boolean ? t.as<std::uint8_t>()[static_cast<std::size_t>(i)]
                                              : t.as<std::int64_t>()[static_cast<std::size_t>(i)]);
  return out;
}

bool equal(const Tensor& ours, const Json& expected) {
  std::vector<std::int64_t> flat;
  flatten(expected, flat);
  return values(ours) == flat;
}

}  // namespace

TEST_CASE("prompts become the reference's tensors") {
  const auto corpus = SafetensorsFile::open(data / "pictures" / "corpus.safetensors");
  Json cases = read_json_file(data / "processor" / "cases.json");
  REQUIRE(cases.size() >= 150);
  for (const Json& one : read_json_file(data / "processor" / "lengths.json")) cases.push_back(one);
  for (const char* tokenizer : {"base", "instruct"}) {
    const Processor processor(Tokenizer::from_pretrained(data / "tokenizer" / tokenizer),
                              ImageProcessor{});
    for (const Json& one : cases) {
      if (one.at("tokenizer") != tokenizer) continue;
      INFO(tokenizer << " " << one.at("prompts").dump() << one.at("options").dump());
      std::vector<Prompt> batch;
      for (const Json& items : one.at("prompts")) batch.push_back(prompt_of(items, corpus));
      const Inputs in = processor(batch, options_of(one.at("options")));
      CHECK(equal(in.input_ids, one.at("input_ids")));
      CHECK(equal(in.attention_mask, one.at("attention_mask")));
      CHECK(equal(in.image_attention_mask, one.at("image_attention_mask")));
      CHECK((in.image_attention_mask.dtype() == DType::boolean) ==
            (one.at("image_attention_mask_dtype") == "bool"));
      CHECK(Json(std::vector<std::int64_t>(in.pixel_values.shape().dims().begin(),
                                           in.pixel_values.shape().dims().end())) ==
            one.at("pixel_values_shape"));
#ifndef IDEFICS_NO_LIBJPEG
      CHECK(std::to_string(testing::fnv1a({in.pixel_values.raw(), in.pixel_values.bytes()})) ==
            one.at("pixel_values_hash").get<std::string>());
#endif
    }
  }
}

TEST_CASE("the same strings count as URLs as in the reference") {
  for (const Json& one : read_json_file(data / "processor" / "urls.json")) {
    INFO(one.dump());
    CHECK(is_url(one.at(0).get<std::string>()) == one.at(1).get<bool>());
  }
}
