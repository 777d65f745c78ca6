// The JSON reader: an accepted value must survive being written and read again.
#pragma once

#include <idefics/io/json.hpp>

#include "fuzz/target.hpp"

namespace fuzz {

inline void json(Bytes input) {
  const idefics::Json value = idefics::parse_json(text_of(input), "input");
  expect(idefics::parse_json(value.dump(), "again", {.bytes = ~std::uint64_t{0}}) == value,
         "a value changes when it is written and read");
}

}  // namespace fuzz
