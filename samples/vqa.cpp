// Visual question answering: an instruction, a picture and a question.
#include <iostream>

#include "guide.hpp"

int main(int argc, char** argv) try {
  const std::string checkpoint = model_argument(argc, argv);
  auto processor = idefics::Processor::from_pretrained(checkpoint);
  auto model =
      idefics::Model::from_pretrained(checkpoint, {.dtype = idefics::DType::bf16,
                                                   .quantization_config = four_bits(argc, argv),
                                                   .device_map = "auto"});

  auto inputs =
      processor({"Instruction: Provide an answer to the question. Use the image to answer.\n",
                 picture("orange-moon-and-green-mushroom.png"),
                 "Question: Where is the green mushroom? Answer:"});
  auto output =
      model.generate(inputs, {.max_new_tokens = 20, .bad_words_ids = processor.image_token_ids()});
  std::cout << processor.batch_decode(output.sequences, {.skip_special_tokens = true})[0] << '\n';
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
