// Shared by the samples of the guide: command-line options, sample pictures, base64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include <idefics/idefics.hpp>

/// The model to load: `--model DIR_OR_REPO`, else $IDEFICS_MODEL, else the embedded checkpoint.
inline std::string model_argument(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; ++i)
    if (std::string_view(argv[i]) == "--model") return argv[i + 1];
  const char* named = std::getenv("IDEFICS_MODEL");
  return named != nullptr && *named != '\0' ? named : IDEFICS_TINY_MODEL;
}

/// `--load-in-4bit [nf4|fp4]` (fp4 by default); `--double-quant` quantizes the constants as well.
inline idefics::BitsAndBytesConfig four_bits(int argc, char** argv) {
  idefics::BitsAndBytesConfig config;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i], next = i + 1 < argc ? argv[i + 1] : "";
    if (word == "--double-quant") config.bnb_4bit_use_double_quant = true;
    if (word != "--load-in-4bit") continue;
    config.load_in_4bit = true;
    if (next == "nf4") config.bnb_4bit_quant_type = idefics::QuantType::nf4;
  }
  return config;
}

/// Opens a picture of samples/pictures.
inline idefics::Image picture(const std::string& name) {
  return idefics::Image::open(IDEFICS_PICTURES "/" + name);
}

/// Encodes bytes in base64, for a data: URL.
inline std::string base64(std::span<const std::byte> bytes) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group =
          group << 8 | (i + k < bytes.size() ? std::to_integer<std::uint32_t>(bytes[i + k]) : 0);
    for (std::size_t k = 0; k < 4; ++k)
      text += i + k <= bytes.size() ? digits[group >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}
