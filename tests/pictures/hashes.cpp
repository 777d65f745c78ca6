// Reads lines "white PATH" or "loaded PATH"; answers each with the size and the hash of the pixels,
// as the picture of a file or of a URL, or with "!" and the error. For campaign.py.
#include <iostream>
#include <string>

#include <idefics/image/decode.hpp>

#include "support/hash.hpp"

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto space = line.find(' ');
    const bool loaded = line.substr(0, space) == "loaded";
    try {
      const auto image =
          idefics::Image::open(line.substr(space + 1), loaded ? idefics::ImageOptions::load_image()
                                                              : idefics::ImageOptions{});
      std::cout << image.width << 'x' << image.height << ' '
                << testing::fnv1a(std::as_bytes(std::span(image.rgb))) << std::endl;
    } catch (const idefics::Error& error) {
      std::cout << "! " << error.what() << std::endl;
    }
  }
}
