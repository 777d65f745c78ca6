// Conversation with an instruct checkpoint: a hand-written prompt as in the guide, then class Chat.
#include <iostream>

#include "guide.hpp"

int main(int argc, char** argv) try {
  const std::string checkpoint = model_argument(argc, argv);
  auto processor = idefics::Processor::from_pretrained(checkpoint);
  auto model =
      idefics::Model::from_pretrained(checkpoint, {.dtype = idefics::DType::bf16,
                                                   .quantization_config = four_bits(argc, argv),
                                                   .device_map = "auto"});

  auto inputs = processor({"User: What is this?", picture("pink-boat.png"), "<end_of_utterance>",
                           "\nAssistant: a pink boat<end_of_utterance>",
                           "\nUser:", picture("orange-moon-and-green-mushroom.png"),
                           "What is this?<end_of_utterance>", "\nAssistant:"},
                          {.add_end_of_utterance_token = false});
  auto exit_condition = processor.tokenizer().encode("<end_of_utterance>");
  auto output = model.generate(inputs, {.max_length = 100,
                                        .eos_token_id = exit_condition,
                                        .bad_words_ids = processor.image_token_ids()});
  std::cout << processor.batch_decode(output.sequences, {.skip_special_tokens = true})[0] << '\n';

  idefics::Chat chat(model, processor, {.max_new_tokens = 40});
  auto print = [](const std::string& piece) {
    std::cout << piece << std::flush;
    return true;  // false would stop the answer
  };
  chat.ask("What is this?", {picture("blue-cat-and-pink-fish.png")}, print);
  std::cout << '\n';
  chat.ask("What is left of the fish?", {}, print);  // the picture is not encoded again
  std::cout << '\n';
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
