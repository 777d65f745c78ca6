// model.safetensors.index.json.
#pragma once

#include <idefics/io/checkpoint.hpp>

#include "fuzz/target.hpp"

namespace fuzz {

inline void index(Bytes input) {
  for (const auto& [tensor, shard] : idefics::detail::parse_index(text_of(input), "input"))
    expect(shard.find('/') == std::string::npos && shard.find('\0') == std::string::npos &&
               shard != "." && shard != "..",
           "a shard outside the directory");
}

}  // namespace fuzz
