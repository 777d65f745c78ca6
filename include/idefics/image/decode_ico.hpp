// ICO and CUR: the largest of the pictures in an icon or cursor, a PNG or the pixels of a BMP. In an
// icon a mask follows these pixels, which says where they are transparent.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <idefics/image/decode_bmp.hpp>
#include <idefics/image/decode_png.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// One picture of an icon, as its directory describes it.
struct IconEntry {
  std::uint64_t width = 0, height = 0, depth = 0, bits = 0, bytes = 0, at = 0;
};

/// The entry that Pillow shows: the largest, among equals that of the fewest bits, then the first.
inline IconEntry choose_icon(const ByteReader& in) {
  IconEntry best;
  for (std::uint64_t i = 0; i < in.little_endian(4, 2); ++i) {
    const std::uint64_t at = 6 + 16 * i, colours = in.byte(at + 2);
    const auto side = [&in](std::uint64_t where) {
      const std::uint64_t value = in.byte(where);
      return value == 0 ? 256 : value;
    };
    IconEntry entry{.width = side(at),
                    .height = side(at + 1),
                    .bits = in.little_endian(at + 6, 2),
                    .bytes = in.little_endian(at + 8, 4),
                    .at = in.little_endian(at + 12, 4)};
    entry.depth = entry.bits != 0 ? entry.bits
                  : colours > 1   ? static_cast<std::uint64_t>(std::bit_width(colours - 1))
                                  : 256;
    const std::uint64_t area = entry.width * entry.height, most = best.width * best.height;
    if (area > most || (area == most && entry.depth < best.depth)) best = entry;
  }
  if (best.width == 0)
    fail(ErrorCode::invalid_image, "the icon contains no picture", {.file = in.name()});
  return best;
}

/// Levels of transparency [Y,X]: every fourth byte of the pixels of an entry of 32 bits, else a bit
/// per pixel at the end of the entry. The last row comes first.
inline std::vector<std::uint8_t> read_icon_mask(const ByteReader& in, const IconEntry& entry,
                                                const BmpHeader& bmp) {
  std::vector<std::uint8_t> mask(bmp.width * bmp.height);
  const std::uint64_t stride = (bmp.width + 31) / 32 * 4, total = stride * bmp.height;
  if (entry.bits == 32) {
    const auto bytes = in.part(bmp.pixels, 4 * mask.size());
    for (std::size_t i = 0; i < mask.size(); ++i)
      mask[(bmp.height - 1 - i / bmp.width) * bmp.width + i % bmp.width] =
          static_cast<std::uint8_t>(bytes[4 * i + 3]);
    return mask;
  }
  if (entry.at + entry.bytes < total)
    fail(ErrorCode::invalid_image, "the icon is too short for its mask", {.file = in.name()});
  const std::uint64_t at = entry.at + entry.bytes - total;
  const auto bits = in.part(at, total - stride + (bmp.width + 7) / 8);
  for (std::uint64_t y = 0; y < bmp.height; ++y)
    for (std::uint64_t x = 0; x < bmp.width; ++x) {
      const auto byte = static_cast<unsigned>(bits[y * stride + x / 8]);
      mask[(bmp.height - 1 - y) * bmp.width + x] = (byte >> (7 - x % 8) & 1) != 0 ? 0 : 255;
    }
  return mask;
}

inline Bitmap decode_ico(std::span<const std::byte> encoded, const std::string& name,
                         const ImageLimits& limits) {
  const ByteReader in(encoded, name);
  const IconEntry entry = choose_icon(in);
  if (text_of(in.part_within(entry.at, 8)) == "\x89PNG\r\n\x1a\n") {
    Bitmap bitmap = decode_png(encoded.subspan(entry.at), name, limits, true);
    bitmap.orientation = {};  // metadata of the inner file does not count
    return bitmap;
  }
  BmpHeader bmp = read_bmp_header(in, entry.at, 0, name);
  check_size(bmp.width, bmp.height, limits, name);
  bmp.height /= 2;  // of the pixels and the mask together
  check_size(bmp.width, bmp.height, limits, name);
  const auto mask = read_icon_mask(in, entry, bmp);
  const Bitmap pixels = decode_bmp_pixels(in, bmp, limits);
  Bitmap bitmap = blank_bitmap(bmp.width, bmp.height, 4);
  for (std::size_t i = 0; i < mask.size(); ++i) {
    std::copy_n(&pixels.samples[i * pixels.channels], 3, &bitmap.samples[4 * i]);
    bitmap.samples[4 * i + 3] = mask[i];
  }
  return bitmap;
}

/// The offset of the header of the largest picture of a cursor. Nothing if it has none within the
/// file: then this is perhaps a TGA, whose header can begin like that of a cursor.
inline std::optional<std::uint64_t> find_cursor(std::span<const std::byte> encoded) {
  const std::string no_name;
  const ByteReader in(encoded, no_name);
  if (!starts_with(encoded, std::string_view("\0\0\2\0", 4)) || !in.has(4, 2)) return {};
  const std::uint64_t count = in.little_endian(4, 2);
  if (count == 0 || !in.has(6, 16 * count)) return {};
  std::uint64_t best = 6;
  for (std::uint64_t at = 6; at < 6 + 16 * count; at += 16)
    if (in.byte(at) > in.byte(best) && in.byte(at + 1) > in.byte(best + 1)) best = at;
  const std::uint64_t at = in.little_endian(best + 12, 4);
  const std::uint64_t header = at != 0 ? at : 6 + 16 * count;
  return in.has(header, 4) ? std::optional(header) : std::nullopt;
}

inline bool is_cursor(std::span<const std::byte> encoded) {
  return find_cursor(encoded).has_value();
}

inline Bitmap decode_cur(std::span<const std::byte> encoded, const std::string& name,
                         const ImageLimits& limits) {
  const ByteReader in(encoded, name);
  const std::uint64_t at = find_cursor(encoded).value_or(0);
  BmpHeader bmp = read_bmp_header(in, at, 0, name);
  bmp.alpha = at == 22;  // a cursor alone in its file
  bmp.height /= 2;
  return decode_bmp_pixels(in, bmp, limits);
}

}}}  // namespace idefics::v0::detail
