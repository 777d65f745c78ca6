// TGA as Pillow reads it, plain or run-length encoded. It has no signature: any other file whose
// header would do as one is a TGA.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <idefics/image/palette.hpp>

namespace idefics { inline namespace v0 { namespace detail {

struct TgaHeader {
  std::uint64_t id_bytes = 0, has_map = 0, type = 0, width = 0, height = 0, depth = 0, flags = 0;
  std::uint64_t map_first = 0, map_count = 0, map_depth = 0;

  bool encoded() const { return (type & 8) != 0; }
  bool top_down() const { return (flags & 0x20) != 0; }
  bool mirrored() const { return (flags & 0x10) != 0; }
  std::uint64_t kind() const { return type & 7; }  // 1 palette, 2 colour, 3 grey
};

/// The header at the start of a file. A width of zero: it is not that of a TGA.
inline TgaHeader read_tga_header(const ByteReader& in) {
  if (in.size() < 18) return {};
  TgaHeader tga{.id_bytes = in.byte(0),
                .has_map = in.byte(1),
                .type = in.byte(2),
                .width = in.little_endian(12, 2),
                .height = in.little_endian(14, 2),
                .depth = in.byte(16),
                .flags = in.byte(17),
                .map_first = in.little_endian(3, 2),
                .map_count = in.little_endian(5, 2),
                .map_depth = in.byte(7)};
  const auto one_of = [](std::uint64_t value, std::initializer_list<std::uint64_t> allowed) {
    return std::ranges::find(allowed, value) != allowed.end();
  };
  if (tga.has_map > 1 || tga.height == 0 || !one_of(tga.depth, {1, 8, 16, 24, 32}) ||
      !one_of(tga.type, {1, 2, 3, 9, 10, 11}) ||
      (tga.has_map == 1 && !one_of(tga.map_depth, {16, 24, 32})))
    return {};
  return tga;
}

[[noreturn]] inline void refuse_tga(const std::string& what, const std::string& name) {
  fail(ErrorCode::unsupported_image, "unsupported TGA: " + what, {.file = name});
}

/// A colour of 16 bits: 5 each, and a bit that is set where it is transparent.
inline std::array<std::uint8_t, 4> tga_colour16(std::uint64_t pixel) {
  const auto level = [pixel](unsigned shift) {
    return static_cast<std::uint8_t>((pixel >> shift & 31) * 255 / 31);
  };
  return {level(10), level(5), level(0), static_cast<std::uint8_t>((pixel >> 15) != 0 ? 0 : 255)};
}

inline Palette read_tga_palette(const ByteReader& in, const TgaHeader& tga, std::uint64_t at) {
  const std::uint64_t bytes = tga.map_depth / 8;
  const auto data = in.part_within(at, bytes * tga.map_count);
  if (tga.map_depth == 32) refuse_tga("a palette of 32 bits", in.name());
  if (tga.map_first + data.size() / bytes > 256)
    refuse_tga("a palette of more than 256 colours", in.name());
  Palette palette = black_palette();
  // entries before the first are zero: as 16 bits, that is an opaque colour
  for (std::uint64_t i = 0; (i + 1) * bytes <= data.size(); ++i) {
    auto& colour = palette[tga.map_first + i];
    const ByteReader entry(data.subspan(i * bytes), in.name());
    if (bytes == 2)
      colour = tga_colour16(entry.little_endian(0, 2));
    else
      for (std::size_t c = 0; c < 3; ++c) colour[c] = static_cast<std::uint8_t>(entry.byte(2 - c));
  }
  return palette;
}

/// Unpacks runs and literals into rows of `row` bytes. A literal may go on in the next row, a run
/// may not.
inline std::vector<std::uint8_t> unpack_tga(const ByteReader& in, std::uint64_t at,
                                            std::uint64_t row, std::uint64_t count,
                                            std::uint64_t step) {
  std::vector<std::uint8_t> bytes;
  while (bytes.size() < count) {
    const std::uint64_t head = in.byte(at++), length = ((head & 127) + 1) * step;
    if ((head & 128) == 0) {
      const auto literal = in.part(at, length);
      for (const std::byte b : literal) bytes.push_back(static_cast<std::uint8_t>(b));
      at += length;
      continue;
    }
    if (bytes.size() % row + length > row)
      fail(ErrorCode::invalid_image, "a run of the TGA is longer than its row",
           {.file = in.name(), .offset = at});
    const auto pixel = in.part(at, step);
    for (std::uint64_t i = 0; i < length; ++i)
      bytes.push_back(static_cast<std::uint8_t>(pixel[i % step]));
    at += step;
  }
  bytes.resize(count);
  return bytes;
}

/// Puts the pixels of a row into the bitmap. Grey and indices are copied.
inline void put_tga_row(const TgaHeader& tga, const std::uint8_t* from, std::uint8_t* to) {
  for (std::uint64_t x = 0; x < tga.width; ++x) {
    if (tga.depth == 1) {
      *to++ = (from[x / 8] >> (7 - x % 8) & 1) != 0 ? 255 : 0;
    } else if (tga.kind() != 2) {
      for (std::uint64_t c = 0; c < tga.depth / 8; ++c) *to++ = *from++;
    } else if (tga.depth == 16) {
      to = std::ranges::copy(tga_colour16(from[0] | std::uint64_t{from[1]} << 8), to).out;
      from += 2;
    } else {
      *to++ = from[2], *to++ = from[1], *to++ = from[0];
      if (tga.depth == 32) *to++ = from[3];
      from += tga.depth / 8;
    }
  }
}

inline Bitmap decode_tga(std::span<const std::byte> encoded, const std::string& name,
                         const ImageLimits& limits) {
  const ByteReader in(encoded, name);
  const TgaHeader tga = read_tga_header(in);
  check_size(tga.width, tga.height, limits, name);
  const bool grey = tga.kind() == 3;
  const bool known = tga.kind() == 1 ? tga.depth == 8 && tga.has_map == 1
                     : grey          ? tga.depth <= 16 && !(tga.depth == 1 && tga.has_map == 1)
                                     : tga.depth >= 16 && tga.has_map == 0;
  if (!known || (tga.depth == 1 && tga.encoded()))
    refuse_tga(std::to_string(tga.depth) + " bits of type " + std::to_string(tga.type), name);
  const std::uint64_t map = 18 + tga.id_bytes,
                      pixels = map + tga.has_map * tga.map_count * (tga.map_depth / 8),
                      row = (tga.width * tga.depth + 7) / 8;
  check_memory(tga.width * tga.height * 9, limits, name);
  const std::size_t channels = grey              ? std::max<std::size_t>(1, tga.depth / 8)
                               : tga.kind() == 1 ? 1
                               : tga.depth == 24 ? 3
                                                 : 4;
  std::vector<std::uint8_t> unpacked;
  if (tga.encoded()) unpacked = unpack_tga(in, pixels, row, row * tga.height, tga.depth / 8);
  const std::uint8_t* data =
      tga.encoded()
          ? unpacked.data()
          : reinterpret_cast<const std::uint8_t*>(in.part(pixels, row * tga.height).data());
  Bitmap bitmap = blank_bitmap(tga.width, tga.height, channels);
  for (std::uint64_t y = 0; y < tga.height; ++y) {
    const std::uint64_t place = tga.top_down() ? y : tga.height - 1 - y;
    put_tga_row(tga, data + y * row, &bitmap.samples[place * tga.width * channels]);
  }
  if (tga.has_map == 1) bitmap = apply_palette_with_alpha(bitmap, read_tga_palette(in, tga, map));
  return tga.mirrored() ? make_upright(std::move(bitmap), 2) : bitmap;
}

}}}  // namespace idefics::v0::detail
