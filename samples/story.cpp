// Image-guided text generation: a story, generated with beam search.
#include <iostream>

#include "guide.hpp"

int main(int argc, char** argv) try {
  const std::string checkpoint = model_argument(argc, argv);
  auto processor = idefics::Processor::from_pretrained(checkpoint);
  auto model =
      idefics::Model::from_pretrained(checkpoint, {.dtype = idefics::DType::bf16,
                                                   .quantization_config = four_bits(argc, argv),
                                                   .device_map = "auto"});

  auto inputs = processor({"Instruction: Use the image to write a story.\n",
                           picture("blue-cat-and-pink-fish.png"), "Story:\n"});
  auto output = model.generate(
      inputs,
      {.max_new_tokens = 200, .num_beams = 2, .bad_words_ids = processor.image_token_ids()});
  std::cout << processor.batch_decode(output.sequences, {.skip_special_tokens = true})[0] << '\n';
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
