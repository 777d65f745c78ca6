// PBM, PGM, PPM and PFM (P1 to P6, Pf), and a few relatives of Pillow's own, as Pillow reads them:
// numbers as digits or as bytes, scaled to 0 to 255.
#pragma once

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include <idefics/image/bitmap.hpp>
#include <idefics/image/cmyk.hpp>
#include <idefics/image/pnm_digits.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// What the header says: kind "P6" and so on, and the offset of the pixels.
struct PnmHeader {
  std::string kind{};
  std::uint64_t width = 0, height = 0, max = 1, pixels = 0;
  double scale = 0;  // of PFM: negative for little-endian numbers
  bool digits = false;
  unsigned channels = 1;
};

class PnmHeaderReader {
 public:
  explicit PnmHeaderReader(const ByteReader& in) : in_(in) {}

  PnmHeader read() {
    PnmHeader pnm{.kind = read_kind()};
    constexpr std::array<std::pair<std::string_view, unsigned>, 12> kinds{{{"P1", 1},
                                                                           {"P2", 1},
                                                                           {"P3", 3},
                                                                           {"P4", 1},
                                                                           {"P5", 1},
                                                                           {"P6", 3},
                                                                           {"P0CMYK", 4},
                                                                           {"Pf", 1},
                                                                           {"PyP", 1},
                                                                           {"PyRGBA", 4},
                                                                           {"PyCMYK", 4},
                                                                           {"", 0}}};
    const auto known =
        std::ranges::find(kinds, pnm.kind, [](const auto& kind) { return kind.first; });
    if (known == kinds.end() || known->second == 0) refuse("it is of an unknown kind");
    pnm.channels = known->second;
    pnm.digits = pnm.kind == "P1" || pnm.kind == "P2" || pnm.kind == "P3";
    pnm.width = size(), pnm.height = size();
    if (pnm.kind == "Pf") {
      pnm.scale = scale();
    } else if (pnm.kind != "P1" && pnm.kind != "P4") {
      const auto max = integer();
      if (max <= 0 || max >= 65'536) refuse("its largest value is not from 1 to 65535");
      pnm.max = static_cast<std::uint64_t>(max);
    }
    pnm.pixels = at_;
    return pnm;
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    fail(ErrorCode::invalid_image, "damaged PNM: " + why, {.file = in_.name(), .offset = at_});
  }

  std::string read_kind() {
    std::string kind;
    while (kind.size() < 6 && at_ < in_.size()) {
      const auto c = static_cast<char>(in_.byte(at_++));
      if (is_pnm_space(c)) break;
      kind.push_back(c);
    }
    return kind;
  }

  /// The text up to the next space; comments end with their line.
  std::string token() {
    std::string text;
    while (text.size() <= 10 && at_ < in_.size()) {
      const auto c = static_cast<char>(in_.byte(at_++));
      if (is_pnm_space(c)) {
        if (text.empty()) continue;
        break;
      }
      if (c == '#') {
        while (at_ < in_.size()) {
          const std::uint64_t skipped = in_.byte(at_++);
          if (skipped == '\r' || skipped == '\n') break;
        }
        continue;
      }
      text.push_back(c);
    }
    if (text.empty()) refuse("it ends within its header");
    if (text.size() > 10) refuse("a number of its header is too long");
    return text;
  }
  std::int64_t integer() {
    const auto value = parse_pnm_integer(token());
    if (!value) refuse("its header has something other than numbers");
    return *value;
  }
  std::uint64_t size() {
    const std::int64_t value = integer();
    return value < 0 ? 0 : static_cast<std::uint64_t>(value);
  }
  double scale() {
    std::string text = token();
    if (text.starts_with('+')) text.erase(0, 1);
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) ||
        value == 0)
      refuse("its scale is not a finite number other than zero");
    return value;
  }

  const ByteReader& in_;
  std::uint64_t at_ = 0;
};

/// Levels of one byte each from numbers of one or two. Grey of two bytes saturates at 255.
inline void read_pnm_bytes(const ByteReader& in, const PnmHeader& pnm, Bitmap& to) {
  const unsigned wide = pnm.max < 256 ? 1 : 2;
  const bool saturates = wide == 2 && pnm.kind == "P5";
  const auto bytes = in.part(pnm.pixels, to.samples.size() * wide);
  if (pnm.max == 255) {
    std::memcpy(to.samples.data(), bytes.data(), bytes.size());
    return;
  }
  for (std::size_t i = 0; i < to.samples.size(); ++i)
    to.samples[i] = scale_pnm(in.big_endian(pnm.pixels + i * wide, wide), pnm.max, saturates);
}

/// One bit per pixel, of which 1 is black.
inline void read_pnm_bits(const ByteReader& in, const PnmHeader& pnm, Bitmap& to) {
  const std::uint64_t stride = (pnm.width + 7) / 8;
  const auto bits = in.part(pnm.pixels, stride * pnm.height);
  for (std::uint64_t y = 0; y < pnm.height; ++y)
    for (std::uint64_t x = 0; x < pnm.width; ++x) {
      const auto byte = static_cast<unsigned>(bits[y * stride + x / 8]);
      to.samples[y * pnm.width + x] = (byte >> (7 - x % 8) & 1) != 0 ? 0 : 255;
    }
}

/// A float as a level, without its fraction; anything else than 0 to 255 saturates.
constexpr std::uint8_t level_of_float(float value) {
  return value >= 255 ? 255 : value > 0 ? static_cast<std::uint8_t>(value) : std::uint8_t{0};
}

/// Floats, the last row first.
inline void read_pnm_floats(const ByteReader& in, const PnmHeader& pnm, Bitmap& to) {
  (void)in.part(pnm.pixels, 4 * to.samples.size());
  for (std::size_t i = 0; i < to.samples.size(); ++i) {
    const auto bits = static_cast<std::uint32_t>(in.number(pnm.pixels + 4 * i, 4, pnm.scale > 0));
    const std::size_t row = pnm.height - 1 - i / pnm.width;
    to.samples[row * pnm.width + i % pnm.width] = level_of_float(std::bit_cast<float>(bits));
  }
}

inline Bitmap decode_pnm(std::span<const std::byte> encoded, const std::string& name,
                         const ImageLimits& limits) {
  const ByteReader in(encoded, name);
  const PnmHeader pnm = PnmHeaderReader(in).read();
  check_size(pnm.width, pnm.height, limits, name);
  check_memory(pnm.width * pnm.height * pnm.channels, limits, name);
  if (!pnm.digits)  // the pixels are at least this long: nothing is allocated for a header alone
    (void)in.part(pnm.pixels, pnm.kind == "P4" ? (pnm.width + 7) / 8 * pnm.height
                                               : pnm.width * pnm.height * pnm.channels);
  Bitmap bitmap = blank_bitmap(pnm.width, pnm.height, pnm.channels);
  if (pnm.kind == "P1")
    PnmDigits(in, pnm.pixels).read_bits(bitmap.samples);
  else if (pnm.digits)
    PnmDigits(in, pnm.pixels).read_levels(bitmap.samples, pnm.max, pnm.channels == 1);
  else if (pnm.kind == "P4")
    read_pnm_bits(in, pnm, bitmap);
  else if (pnm.kind == "Pf")
    read_pnm_floats(in, pnm, bitmap);
  else
    read_pnm_bytes(in, pnm, bitmap);
  if (pnm.kind == "P0CMYK" || pnm.kind == "PyCMYK") {
    convert_cmyk(bitmap.samples.data(), bitmap.samples.data(), pnm.width * pnm.height, false);
    bitmap.channels = 3;
    bitmap.samples.resize(3 * pnm.width * pnm.height);
  }
  if (pnm.kind == "PyP") std::ranges::fill(bitmap.samples, std::uint8_t{0});  // it has no palette
  return bitmap;
}

}}}  // namespace idefics::v0::detail
