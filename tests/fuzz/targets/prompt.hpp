// Prompt files, and preprocessor_config.json.
#pragma once

#include <idefics/prompt_file.hpp>
#include <idefics/text/markdown_pictures.hpp>

#include "fuzz/scratch_dir.hpp"
#include "fuzz/target.hpp"

namespace fuzz {

inline void prompt_file(Bytes input) {
  std::size_t bytes = 0;
  for (const auto& part : idefics::split_markdown_pictures(text_of(input)))
    bytes += part.text.size() + (part.is_url ? 5 : 0);
  expect(bytes <= input.size(), "parts that are longer than the text");
  static const ScratchDir directory;
  directory.set("prompt.json", text_of(input));
  for (const auto& prompt : idefics::read_prompt_file(directory.path() / "prompt.json"))
    for (const auto& item : prompt)
      if (item.image() == nullptr) (void)item.names_picture(item.string());
}

inline void preprocessor_config(Bytes input) {
  static const ScratchDir directory;
  directory.set("preprocessor_config.json", text_of(input));
  const auto read = idefics::ImageProcessor::from_pretrained(directory.path());
  expect(read.image_size > 0, "pictures without pixels");
  for (const float deviation : read.std) expect(deviation > 0, "a deviation that is not positive");
}

}  // namespace fuzz
