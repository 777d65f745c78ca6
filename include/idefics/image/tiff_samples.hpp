// Pixels of TIFF data, in each of Pillow's raw modes, to bytes.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <idefics/image/bitmap.hpp>
#include <idefics/image/decode_pnm.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Samples of a picture in a mode: grey and indices 1, with alpha 2, colours 3, inks and colours
/// with alpha 4.
inline std::size_t tiff_channels(std::string_view mode) {
  if (mode == "RGB" || mode == "LAB") return 3;
  if (mode == "RGBA" || mode == "CMYK") return 4;
  return mode == "LA" || mode == "PA" ? 2 : 1;
}

/// Turns rows of one raw mode into samples of 8 bits: the high byte of 16 in colours; anything else
/// that is longer saturates at 255.
class TiffUnpacker {
 public:
  /// Nothing if Pillow has no such raw mode for this mode.
  static std::optional<TiffUnpacker> find(std::string_view mode, std::string_view raw) {
    constexpr std::array<std::array<std::string_view, 2>, 11> known{
        {{"1", "1 1;I 1;R 1;IR"},
         {"L", "L L;2 L;2I L;2R L;2IR L;4 L;4I L;4R L;4IR L;I L;R"},
         {"I;16", "I;16 I;12 I;16R I;16N"},
         {"I;16B", "I;16B I;16N"},
         {"I", "I I;16S I;16BS I;32N I;32S I;32BS"},
         {"F", "F F;32F F;32BF"},
         {"LA", "LA"},
         {"P", "P P;1 P;2 P;4 P;R PX"},
         {"PA", "PA"},
         {"RGB",
          "RGB RGB;R RGBX RGBXX RGBXXX RGB;16L RGB;16B RGB;16N RGBX;16L RGBX;16B RGBX;16N "
          "R G B R;16N G;16N B;16N"},
         {"RGBA",
          "RGBA RGBAX RGBAXX RGBa RGBaX RGBaXX RGBA;16L RGBA;16B RGBA;16N RGBa;16L "
          "RGBa;16B RGBa;16N R G B A R;16N G;16N B;16N A;16N"}}};
    constexpr std::string_view inks = "CMYK CMYKX CMYKXX CMYK;16L CMYK;16B CMYK;16N C M Y K";
    for (const auto& [name, list] : known)
      if (name == mode && has_word(list, raw)) return TiffUnpacker(mode, raw);
    if (mode == "CMYK" && has_word(inks, raw)) return TiffUnpacker(mode, raw);
    return {};
  }
  /// One sample of several, from data that has each in a plane of its own.
  static TiffUnpacker plane(std::string_view mode, std::size_t band, unsigned bits) {
    TiffUnpacker unpacker(mode, bits == 16 ? "R;16N" : "R");
    unpacker.band_ = band;
    return unpacker;
  }

  /// Bits of a pixel in the data.
  std::uint64_t bits() const { return bits_; }

  /// Unpacks `count` pixels to samples of the picture.
  void operator()(const std::uint8_t* from, std::uint8_t* to, std::uint64_t count) const {
    for (std::uint64_t i = 0; i < count; ++i, to += channels_) {
      if (channels_ == 1) {
        *to = level(from, i);
      } else if (band_) {
        to[*band_] = byte(from + i * bytes_, 0);
      } else {
        for (std::size_t c = 0; c < channels_; ++c) to[c] = byte(from + i * samples_ * bytes_, c);
        if (premultiplied_) divide(to);
      }
    }
  }

  /// Divides colours by their alpha; those of alpha zero become zero.
  static void divide(std::uint8_t* pixel) {
    const unsigned alpha = pixel[3];
    for (std::size_t c = 0; c < 3; ++c)
      pixel[c] =
          static_cast<std::uint8_t>(alpha == 0 ? 0 : std::min(255u, pixel[c] * 255u / alpha));
  }

 private:
  TiffUnpacker(std::string_view mode, std::string_view raw)
      : channels_(tiff_channels(mode)), levels_(mode != "P") {
    const auto semicolon = std::min(raw.find(';'), raw.size());
    const std::string_view base = raw.substr(0, semicolon);
    std::string_view flags = raw.substr(semicolon);
    const auto has = [&flags](char c) { return flags.find(c) != flags.npos; };
    unsigned digits = 0;
    for (const char c : flags)
      if (c >= '0' && c <= '9') digits = digits * 10 + static_cast<unsigned>(c - '0');
    const bool word = base == "I" || base == "F";
    sample_bits_ = digits != 0 ? digits : base == "1" ? 1 : word ? 32 : 8;
    bytes_ = sample_bits_ / 8;
    samples_ = base.size();
    bits_ = sample_bits_ * samples_;
    inverted_ = has('I'), reversed_ = has('R'), is_signed_ = has('S');
    is_float_ = base == "F";
    const bool native = has('N') || (word && flags.empty());
    big_ = has('B') || (native && std::endian::native == std::endian::big);
    premultiplied_ = base.find('a') != base.npos;
    if (samples_ == 1 && channels_ > 1) band_ = mode.find(base);
  }

  static bool has_word(std::string_view list, std::string_view word) {
    for (std::size_t at = 0; at < list.size();) {
      const auto end = std::min(list.find(' ', at), list.size());
      if (list.substr(at, end - at) == word) return true;
      at = end + 1;
    }
    return false;
  }

  static unsigned reverse(unsigned byte) {
    unsigned result = 0;
    for (unsigned i = 0; i < 8; ++i) result |= (byte >> i & 1) << (7 - i);
    return result;
  }

  /// Sample `c` of a pixel of bytes, or the high byte of one of 16 bits.
  std::uint8_t byte(const std::uint8_t* pixel, std::size_t c) const {
    const std::uint8_t value = pixel[c * bytes_ + (bytes_ == 2 && !big_ ? 1 : 0)];
    return static_cast<std::uint8_t>(reversed_ ? reverse(value) : value);
  }

  /// The level, or index, of pixel `i` of a row.
  std::uint8_t level(const std::uint8_t* row, std::uint64_t i) const {
    if (sample_bits_ == 12) {
      const std::uint8_t* pair = row + i / 2 * 3;
      const unsigned first = pair[0], middle = pair[1], last = pair[2];
      const unsigned value = i % 2 == 0 ? first << 4 | middle >> 4 : (middle & 15u) << 8 | last;
      return saturate(value);
    }
    if (sample_bits_ > 8) return saturate_word(row + i * bytes_);
    const unsigned step = static_cast<unsigned>(samples_);
    if (sample_bits_ == 8) {
      const unsigned value = reversed_ ? reverse(row[i * step]) : row[i * step];
      return static_cast<std::uint8_t>(inverted_ ? 255 - value : value);
    }
    const unsigned most = (1u << sample_bits_) - 1, per_byte = 8 / sample_bits_;
    const unsigned packed = reversed_ ? reverse(row[i / per_byte]) : row[i / per_byte];
    const unsigned shift = 8 - sample_bits_ * (static_cast<unsigned>(i % per_byte) + 1);
    const unsigned value = (packed >> shift & most) * (levels_ ? 255 / most : 1);
    return static_cast<std::uint8_t>(inverted_ ? 255 - value : value);
  }

  static std::uint8_t saturate(std::int64_t value) {
    return static_cast<std::uint8_t>(std::clamp<std::int64_t>(value, 0, 255));
  }

  std::uint8_t saturate_word(const std::uint8_t* at) const {
    std::uint32_t value = 0;
    for (std::size_t k = 0; k < bytes_; ++k) {
      const unsigned b = at[big_ ? k : bytes_ - 1 - k];
      value = value << 8 | (reversed_ ? reverse(b) : b);
    }
    if (is_float_) return level_of_float(std::bit_cast<float>(value));
    if (bytes_ == 4) return saturate(static_cast<std::int32_t>(value));
    return saturate(is_signed_ ? static_cast<std::int16_t>(value) : std::int64_t{value});
  }

  std::size_t channels_;
  bool levels_;  // fewer than 8 bits are stretched; indices are not
  unsigned sample_bits_ = 8;
  std::size_t bytes_ = 1, samples_ = 1;
  std::uint64_t bits_ = 8;
  bool inverted_ = false, reversed_ = false, is_signed_ = false, is_float_ = false, big_ = false,
       premultiplied_ = false;
  std::optional<std::size_t> band_{};
};

}}}  // namespace idefics::v0::detail
