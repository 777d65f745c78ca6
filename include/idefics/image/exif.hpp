// The orientation of a picture, from EXIF data or XMP, as Pillow's Image.getexif finds it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <idefics/image/tiff_directory.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// How a decoded picture has to be turned and mirrored to be upright.
struct Orientation {
  unsigned value = 1;    // 1 to 8, as in EXIF; all other values count as 1
  bool found = false;    // anywhere, with whatever value
  bool damaged = false;  // the EXIF data is not a TIFF header: looking for it fails in Pillow
};

/// The number after the first "tiff:Orientation=" or "tiff:Orientation>" that has one.
inline std::optional<unsigned> xmp_orientation(std::string_view xmp) {
  constexpr std::string_view key = "tiff:Orientation";
  for (auto at = xmp.find(key); at != xmp.npos; at = xmp.find(key, at + 1)) {
    std::string_view rest = xmp.substr(at + key.size());
    if (rest.starts_with("=\""))
      rest.remove_prefix(2);
    else if (rest.starts_with(">"))
      rest.remove_prefix(1);
    else
      continue;
    if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9')
      return static_cast<unsigned>(rest[0] - '0');
  }
  return {};
}

/// The orientation that `exif`, which may begin with "Exif" and two zeros, and `xmp` say.
inline Orientation read_orientation(std::span<const std::byte> exif, std::string_view xmp,
                                    const std::string& name) {
  constexpr std::string_view mark("Exif\0\0", 6);
  while (starts_with(exif, mark)) exif = exif.subspan(mark.size());
  std::optional<unsigned> value;
  if (!exif.empty()) {
    const ByteReader in(exif, name);
    const auto header = read_tiff_header(in);
    if (!header) return {.damaged = true};
    value = TiffDirectory(in, *header, header->first).orientation();
  }
  if (!value) value = xmp_orientation(xmp);
  return {.value = value && *value >= 1 && *value <= 8 ? *value : 1, .found = value.has_value()};
}

}}}  // namespace idefics::v0::detail
