// Pictures from a file, from encoded bytes, from pixels and from URLs.
#include <iostream>

#include "guide.hpp"

int main(int argc, char** argv) try {
  const std::string checkpoint = model_argument(argc, argv);
  auto processor = idefics::Processor::from_pretrained(checkpoint);
  auto model =
      idefics::Model::from_pretrained(checkpoint, {.dtype = idefics::DType::bf16,
                                                   .quantization_config = four_bits(argc, argv),
                                                   .device_map = "auto"});

  const std::string path = IDEFICS_PICTURES "/pink-boat.png";
  auto file = idefics::Image::open(path);

  auto mapped = idefics::MappedFile::open(path);  // or bytes from anywhere else
  auto bytes = idefics::Image::decode(mapped->bytes());

  // rows of RGB pixels; a fourth channel is alpha, composited over white
  auto pixels = idefics::Image::from_pixels(file.width, file.height, 3, file.rgb);

  // an http or https URL is fetched; a data: URL contains the picture itself
  auto url = idefics::PromptItem::image_url("data:image/png;base64," + base64(mapped->bytes()));

  for (const idefics::PromptItem& item :
       {idefics::PromptItem(file), idefics::PromptItem(bytes), idefics::PromptItem(pixels), url}) {
    auto output = model.generate(processor({item}), {.max_new_tokens = 20});
    std::cout << processor.batch_decode(output.new_tokens, {.skip_special_tokens = true})[0]
              << '\n';
  }
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
