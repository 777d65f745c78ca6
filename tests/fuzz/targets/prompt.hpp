// Prompt files, and preprocessor_config.json.
#pragma once

#include <idefics/processor.hpp>

#include "fuzz/scratch_dir.hpp"
#include "fuzz/target.hpp"

namespace fuzz {

inline void prompt_file(Bytes input) {
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
