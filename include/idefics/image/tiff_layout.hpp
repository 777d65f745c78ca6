// The forms of pixels in TIFF files that Pillow knows, under its names: a mode, which the picture
// has, and a raw mode, which the data has.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/image/decode_pnm.hpp>
#include <idefics/image/palette.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// What the tags of a TIFF say about its pixels.
struct TiffForm {
  bool big_endian = false;
  std::int64_t photometric = 0, fill_order = 1;
  std::vector<std::int64_t> sample_format{1}, bits{1}, extra{};
};

struct TiffMode {
  std::string mode{}, raw{};
};

/// Grey, or the index of a colour: one sample, perhaps with alpha.
inline std::optional<TiffMode> find_tiff_grey(const TiffForm& form) {
  using List = std::vector<std::int64_t>;
  const bool white_is_zero = form.photometric == 0, palette = form.photometric == 3;
  const std::int64_t bits = form.bits[0], format = form.sample_format[0];
  const std::string order = form.fill_order == 2 ? "R" : "", intel = form.big_endian ? "B" : "";
  if (form.bits == List{8, 8} && form.fill_order == 1 && format == 1 && !white_is_zero) {
    if (form.extra == List{2}) return palette ? TiffMode{"PA", "PA"} : TiffMode{"LA", "LA"};
    if (palette && form.extra == List{0} && !form.big_endian) return TiffMode{"P", "PX"};
    return {};
  }
  if (form.bits.size() != 1 || !form.extra.empty()) return {};
  if (format == 1 && (bits == 1 || bits == 2 || bits == 4 || bits == 8)) {
    const std::string base = palette ? "P" : bits == 1 ? "1" : "L";
    std::string suffix = bits == 8 || base == "1" ? "" : std::to_string(bits);
    suffix += (white_is_zero ? "I" : "") + order;
    return TiffMode{base, suffix.empty() ? base : base + ";" + suffix};
  }
  if (palette) return {};
  if (form.fill_order == 2)
    return format == 1 && bits == 16 && !form.big_endian && !white_is_zero
               ? std::optional(TiffMode{"I;16", "I;16R"})
               : std::nullopt;
  if (format == 3 && bits == 32) return TiffMode{"F", "F;32" + intel + "F"};
  if (format == 1 && bits == 16 && !(white_is_zero && form.big_endian))
    return TiffMode{"I;16" + intel, "I;16" + intel};
  if (white_is_zero) return {};
  if (format == 2 && bits == 8) return TiffMode{"L", "L"};
  if (format == 2 && (bits == 16 || bits == 32))
    return TiffMode{"I", "I;" + std::to_string(bits) + intel + "S"};
  if (format == 1 && bits == 12 && !form.big_endian) return TiffMode{"I;16", "I;12"};
  if (format == 1 && bits == 32 && !form.big_endian) return TiffMode{"I", "I;32N"};
  return {};
}

/// Several samples of 8 or 16 bits: red, green and blue, or four inks, and more.
inline std::optional<TiffMode> find_tiff_colours(const TiffForm& form) {
  const bool ink = form.photometric == 5;
  const std::int64_t bits = form.bits[0];
  const std::size_t count = form.bits.size(), colours = ink ? 4 : 3, more = form.extra.size();
  const bool equal = std::ranges::all_of(form.bits, [bits](auto b) { return b == bits; });
  if (!equal || (bits != 8 && bits != 16) || count < colours || form.sample_format[0] != 1)
    return {};
  const std::string suffix = bits == 8 ? "" : form.big_endian ? ";16B" : ";16L";
  if (form.fill_order == 2)
    return count == 3 && more == 0 && bits == 8 && !ink ? std::optional(TiffMode{"RGB", "RGB;R"})
                                                        : std::nullopt;
  const std::size_t skipped = count - colours;
  const bool others_unknown = more == 0 || std::all_of(form.extra.begin() + 1, form.extra.end(),
                                                       [](auto e) { return e == 0; });
  if (ink) {
    const bool known = skipped == more && others_unknown && (more == 0 || form.extra[0] == 0) &&
                       skipped <= (bits == 8 ? 2u : 0u);
    return known ? std::optional(TiffMode{"CMYK", "CMYK" + std::string(skipped, 'X') + suffix})
                 : std::nullopt;
  }
  if (count == 3) return more == 0 ? std::optional(TiffMode{"RGB", "RGB" + suffix}) : std::nullopt;
  if (count == 4 && more == 0) return TiffMode{"RGBA", "RGBA" + suffix};  // the tag is missing
  if (skipped != more || !others_unknown || skipped > (bits == 8 ? 3u : 1u)) return {};
  const std::string rest(skipped - 1, 'X');
  switch (form.extra[0]) {
    case 0: return TiffMode{"RGB", "RGBX" + rest + suffix};
    case 1: return TiffMode{"RGBA", "RGBa" + rest + suffix};
    case 2: return TiffMode{"RGBA", "RGBA" + rest + suffix};
    case 999:  // of CorelDRAW 10
      return bits == 8 && more == 1 ? std::optional(TiffMode{"RGBA", "RGBA"}) : std::nullopt;
    default: return {};
  }
}

/// The mode of a TIFF; nothing if Pillow has none for it.
inline std::optional<TiffMode> find_tiff_mode(const TiffForm& form) {
  if (form.sample_format.size() != 1 || form.bits.empty() ||
      (form.fill_order != 1 && form.fill_order != 2))
    return {};
  switch (form.photometric) {
    case 0:
    case 1:
    case 3: return find_tiff_grey(form);
    case 2:
    case 5: return find_tiff_colours(form);
    case 6:
    case 8: {
      const bool bytes = std::ranges::all_of(form.bits, [](auto b) { return b == 8; });
      if (!bytes || form.sample_format[0] != 1 || form.fill_order != 1 || !form.extra.empty())
        return {};
      if (form.bits.size() == 1 && form.photometric == 6) return TiffMode{"L", "L"};
      if (form.bits.size() != 3) return {};
      return form.photometric == 6 ? TiffMode{"RGB", "RGBX"} : TiffMode{"LAB", "LAB"};
    }
    default: return {};
  }
}

}}}  // namespace idefics::v0::detail
