// Bytes of data: URLs.
#pragma once

#include <idefics/io/data_url.hpp>

#include "fuzz/target.hpp"

namespace fuzz {

inline void data_url(Bytes input) {
  constexpr std::uint64_t limit = 4096;
  const auto bytes = idefics::decode_data_url(text_of(input), limit);
  expect(bytes.size() <= limit + 2 && bytes.size() <= input.size(),
         "more bytes than the text encodes");
}

}  // namespace fuzz
