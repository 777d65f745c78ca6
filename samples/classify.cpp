// Image classification: by generation, then by ranking the log-likelihoods of the labels.
#include <iostream>

#include "guide.hpp"

int main(int argc, char** argv) try {
  const std::string checkpoint = model_argument(argc, argv);
  auto processor = idefics::Processor::from_pretrained(checkpoint);
  auto model =
      idefics::Model::from_pretrained(checkpoint, {.dtype = idefics::DType::bf16,
                                                   .quantization_config = four_bits(argc, argv),
                                                   .device_map = "auto"});

  const std::vector<std::string> categories{"cat", "boat", "sun", "apple"};
  auto prompt = idefics::category_prompt(picture("pink-boat.png"), categories);
  auto inputs = processor(prompt);
  auto output =
      model.generate(inputs, {.max_new_tokens = 6, .bad_words_ids = processor.image_token_ids()});
  std::cout << processor.batch_decode(output.sequences, {.skip_special_tokens = true})[0] << '\n';

  auto ranking = idefics::rank_labels(model, processor, prompt, categories);
  for (std::size_t i = 0; i < categories.size(); ++i)
    std::cout << categories[i] << ": " << ranking.scores[i] << '\n';
  std::cout << "best: " << categories[ranking.best] << '\n';
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
