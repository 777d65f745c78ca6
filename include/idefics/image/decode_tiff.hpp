// The first picture of a TIFF: its tags by Pillow's rules, its pixels by them where they are not
// compressed, and through libtiff where they are. It is turned upright as its orientation says,
// whatever the options are, since Pillow does.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/image/cmyk.hpp>
#include <idefics/image/tiff_library.hpp>

namespace idefics { inline namespace v0 { namespace detail {

inline bool is_tiff(std::span<const std::byte> file) {
  const std::string no_name;
  const ByteReader in(file, no_name);
  return read_tiff_header(in).has_value();
}

/// Bits, formats and kinds of the samples.
inline TiffForm read_tiff_form(const TiffDirectory& tags, std::int64_t compression,
                               const std::string& name) {
  constexpr std::int64_t old_jpeg = 6;
  const auto list = [&](std::uint64_t tag, std::vector<std::int64_t> missing) {
    if (!tags.contains(tag)) return missing;
    return tags.integers(tag, 8).value_or(std::vector<std::int64_t>());
  };
  TiffForm form{.big_endian = tags.header().big_endian,
                .photometric = compression == old_jpeg ? 6 : tags.integer(262, 0),
                .fill_order = tags.integer(266, 1),
                .sample_format = list(339, {1}),
                .bits = list(258, {1}),
                .extra = list(338, {})};
  if (std::ranges::all_of(form.sample_format, [](auto f) { return f == 1; }))
    form.sample_format = {1};
  const std::int64_t samples = tags.integer(277, compression == old_jpeg ? 3 : 1);
  constexpr std::int64_t most = 6;
  if (samples > most || samples < 1)
    refuse_tiff(std::to_string(samples) + " samples per pixel", name);
  if (form.bits.size() == 1) form.bits.resize(static_cast<std::size_t>(samples), form.bits[0]);
  if (form.bits.size() < static_cast<std::size_t>(samples))
    fail(ErrorCode::invalid_image, "the samples of the TIFF have contradicting numbers",
         {.file = name});
  form.bits.resize(static_cast<std::size_t>(samples));
  return form;
}

/// The raw mode of data that libtiff has decoded: in the machine's byte order, and with the bits of
/// a byte in the usual one.
inline std::string packed_raw_mode(TiffPicture& picture, std::int64_t compression) {
  if (picture.form.fill_order == 2) {
    picture.form.fill_order = 1;
    if (const auto mode = find_tiff_mode(picture.form)) picture.mode = *mode;
  }
  std::string raw = picture.mode.raw;
  constexpr std::int64_t jpeg = 7;
  if (picture.form.photometric == 6 && compression == jpeg && picture.planes == 1) return "RGB";
  if (raw == "I;16") return "I;16N";
  if (raw.ends_with(";16B") || raw.ends_with(";16L")) raw.back() = 'N';
  return raw;
}

inline Palette read_tiff_palette(const TiffDirectory& tags, const std::string& name) {
  const auto values = tags.integers(320, 4096);
  if (!values) fail(ErrorCode::invalid_image, "the TIFF has no palette", {.file = name});
  const std::size_t colours = values->size() / 3;
  if (colours > 256) refuse_tiff("a palette of more than 256 colours", name);
  Palette palette = black_palette();
  for (std::size_t i = 0; i < colours; ++i)
    for (std::size_t c = 0; c < 3; ++c)
      palette[i][c] = static_cast<std::uint8_t>((*values)[c * colours + i] / 256);
  return palette;
}

/// Samples in the picture's mode as grey or RGB, with or without alpha.
inline Bitmap finish_tiff(Bitmap bitmap, const TiffDirectory& tags, const std::string& mode,
                          const std::string& name) {
  if (mode == "CMYK") {
    convert_cmyk(bitmap.samples.data(), bitmap.samples.data(), bitmap.samples.size() / 4, false);
    bitmap.channels = 3;
    bitmap.samples.resize(3 * bitmap.width * bitmap.height);
  }
  if (mode == "P" || mode == "PA")
    return apply_palette_with_alpha(bitmap, read_tiff_palette(tags, name));
  return bitmap;
}

inline TiffPicture read_tiff_tags(const TiffDirectory& tags, std::int64_t compression,
                                  const ImageLimits& limits, const std::string& name) {
  if (tags.contains(0xbc01)) refuse_tiff("it is a Windows Media photo", name);
  const std::int64_t width = tags.integer(256, 0), height = tags.integer(257, 0);
  check_size(static_cast<std::uint64_t>(std::max<std::int64_t>(width, 0)),
             static_cast<std::uint64_t>(std::max<std::int64_t>(height, 0)), limits, name);
  TiffPicture picture{.width = static_cast<std::uint64_t>(width),
                      .height = static_cast<std::uint64_t>(height),
                      .planes = tags.integer(284, 1),
                      .form = read_tiff_form(tags, compression, name)};
  const auto mode = find_tiff_mode(picture.form);
  if (!mode) {
    std::string bits;
    for (const auto b : picture.form.bits) bits += (bits.empty() ? "" : ", ") + std::to_string(b);
    refuse_tiff("samples of " + bits + " bits, photometric interpretation " +
                    std::to_string(picture.form.photometric),
                name);
  }
  if (mode->mode == "LAB") refuse_tiff("CIE L*a*b* colours", name);
  picture.mode = *mode;
  return picture;
}

/// The orientation of a TIFF: of its tag, or if it has none of its XMP.
inline unsigned tiff_orientation(const TiffDirectory& tags) {
  auto value = tags.orientation();
  if (!value) value = xmp_orientation(text_of(tags.bytes(700)));
  return value.value_or(1);
}

inline Bitmap decode_tiff(std::span<const std::byte> encoded, const std::string& name,
                          const ImageLimits& limits) {
  const ByteReader in(encoded, name);
  const auto header = read_tiff_header(in);
  if (!header || header->first == 0)
    fail(ErrorCode::invalid_image, "the TIFF contains no picture", {.file = name});
  const TiffDirectory tags(in, *header, header->first);
  const std::int64_t compression = tags.integer(259, 1);
  constexpr std::array<std::int64_t, 17> known{
      1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000, 50001};
  if (std::ranges::find(known, compression) == known.end())
    refuse_tiff("compression " + std::to_string(compression), name);
  TiffPicture picture = read_tiff_tags(tags, compression, limits, name);
  const std::string raw = compression == 1 ? "" : packed_raw_mode(picture, compression);
  check_memory(picture.width * picture.height * 5, limits, name);
  Bitmap bitmap = blank_bitmap(picture.width, picture.height, tiff_channels(picture.mode.mode));
  if (compression == 1)
    read_plain_tiff(in, tags, picture, bitmap);
  else
    read_packed_tiff(in, tags.offset(), picture, raw, limits, bitmap);
  bitmap = finish_tiff(std::move(bitmap), tags, picture.mode.mode, name);
  return make_upright(std::move(bitmap), tiff_orientation(tags));
}

}}}  // namespace idefics::v0::detail
