// Captions a picture with every header a program usually includes; all warnings are errors.
#include <idefics/idefics.hpp>
#include <iostream>

int main(int, char** argv) {
  const std::string model_directory = argv[1];
  const auto processor = idefics::Processor::from_pretrained(model_directory);
  auto model = idefics::Model::from_pretrained(model_directory);
  const auto picture = idefics::Image::open(model_directory + "/../pictures/pink-boat.png");
  const auto output = model.generate(processor({picture}), {.max_new_tokens = 8});
  const auto text = processor.batch_decode(output.sequences, {.skip_special_tokens = true})[0];
  std::cout << text << '\n';
  return text.find("pink boat") == std::string::npos;
}
