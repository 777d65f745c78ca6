// UTF-8, against a decoder that computes every code point.
#pragma once

#include <idefics/text/utf8.hpp>

#include "fuzz/target.hpp"

namespace fuzz {

/// The length of the sequence at the beginning, by definition; 0 if it is invalid.
inline std::size_t naive_sequence(std::string_view text) {
  const auto lead = static_cast<std::uint8_t>(text[0]);
  std::size_t length = 0;
  std::uint32_t point = 0;
  if (lead < 0x80) length = 1, point = lead;
  if (lead >> 5 == 6) length = 2, point = lead & 0x1fu;
  if (lead >> 4 == 14) length = 3, point = lead & 0x0fu;
  if (lead >> 3 == 30) length = 4, point = lead & 0x07u;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    const auto byte = static_cast<std::uint8_t>(text[i]);
    if (byte >> 6 != 2) return 0;
    point = point << 6 | (byte & 0x3fu);
  }
  constexpr std::uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = point >= 0xd800 && point <= 0xdfff;
  return point < smallest[length] || point > 0x10ffff || surrogate ? 0 : length;
}

inline void utf8(Bytes input) {
  const std::string_view text = text_of(input);
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t length = naive_sequence(text.substr(at));
    expect(idefics::detail::utf8_sequence_length(text.substr(at)) == length,
           "sequence lengths differ");
    if (length == 0) break;
    at += length;
  }
  expect(idefics::detail::valid_utf8_prefix(text) == at, "valid prefixes differ");
}

}  // namespace fuzz
