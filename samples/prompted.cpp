// Prompted image captioning: the model continues a text about the picture.
#include <iostream>

#include "guide.hpp"

int main(int argc, char** argv) try {
  const std::string checkpoint = model_argument(argc, argv);
  auto processor = idefics::Processor::from_pretrained(checkpoint);
  auto model =
      idefics::Model::from_pretrained(checkpoint, {.dtype = idefics::DType::bf16,
                                                   .quantization_config = four_bits(argc, argv),
                                                   .device_map = "auto"});

  auto inputs = processor({picture("orange-moon-and-green-mushroom.png"), "This is an image of"});
  auto output =
      model.generate(inputs, {.max_new_tokens = 20, .bad_words_ids = processor.image_token_ids()});
  std::cout << processor.batch_decode(output.sequences, {.skip_special_tokens = true})[0] << '\n';
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
