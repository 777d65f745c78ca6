// Running inference in batch mode: several prompts in one call, padded on the left.
#include <iostream>

#include "guide.hpp"

int main(int argc, char** argv) try {
  const std::string checkpoint = model_argument(argc, argv);
  auto processor = idefics::Processor::from_pretrained(checkpoint);
  auto model =
      idefics::Model::from_pretrained(checkpoint, {.dtype = idefics::DType::bf16,
                                                   .quantization_config = four_bits(argc, argv),
                                                   .device_map = "auto"});

  auto inputs = processor(std::vector<idefics::Prompt>{
      {picture("pink-boat.png"), "This is an image of"},
      {picture("orange-moon-and-green-mushroom.png"), "A picture of"},
      {picture("yellow-boat-and-purple-sun.png"), "I can see"},
  });
  auto output =
      model.generate(inputs, {.max_new_tokens = 20, .bad_words_ids = processor.image_token_ids()});
  auto texts = processor.batch_decode(output.sequences, {.skip_special_tokens = true});
  for (std::size_t i = 0; i < texts.size(); ++i) std::cout << i << ": " << texts[i] << '\n';
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
