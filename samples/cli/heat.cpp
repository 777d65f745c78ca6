// Tints, tiles, PNG files and contact sheets.
#include "cli/heat.hpp"

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <new>

#include <idefics/image/resize.hpp>
#include <idefics/text/utf8.hpp>

#include "cli/base64.hpp"
#include "cli/letters.hpp"

namespace cli {

using namespace idefics;

namespace {

constexpr std::int64_t tile_side = 192;
using Rgba = std::array<std::uint8_t, 4>;

/// The shares of the patches of a word's picture.
std::span<const float> patches_of(const AttendedWords& all, std::size_t word, std::size_t picture) {
  const auto p = static_cast<std::size_t>(all.looks.rows * all.looks.columns);
  return all.looks.patches.as<float>().subspan((word * all.pictures.size() + picture) * p, p);
}

/// The tint for a share between none (0) and the word's most (1).
Rgba tint(double t) {
  constexpr std::array<std::array<double, 4>, 3> stops{
      {{24, 20, 90, 130}, {205, 40, 110, 150}, {255, 225, 60, 170}}};
  const std::size_t at = t < 0.5 ? 0 : 1;
  const double part = 2 * t - static_cast<double>(at);
  Rgba colour{};
  for (std::size_t i = 0; i < 4; ++i)
    colour[i] = static_cast<std::uint8_t>(
        std::lround(stops[at][i] + part * (stops[at + 1][i] - stops[at][i])));
  return colour;
}

std::string big_endian(std::uint64_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 0xff);
  return bytes;
}

std::string png_chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  const auto sum =
      crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return big_endian(data.size()) + body + big_endian(sum);
}

std::string compressed(const std::string& data) {
  uLongf size = compressBound(static_cast<uLong>(data.size()));
  std::string out(size, '\0');
  if (compress(reinterpret_cast<Bytef*>(out.data()), &size,
               reinterpret_cast<const Bytef*>(data.data()),
               static_cast<uLong>(data.size())) != Z_OK)
    throw std::bad_alloc();
  out.resize(size);
  return out;
}

}  // namespace

Look look_of(const AttendedWords& all, std::size_t word, std::size_t picture) {
  const std::size_t at = word * all.pictures.size() + picture;
  const auto patches = patches_of(all, word, picture);
  const auto most = std::ranges::max_element(patches) - patches.begin();
  Look look{.class_token = static_cast<double>(all.looks.class_token.as<float>()[at]),
            .learned_latents = static_cast<double>(all.looks.learned_latents.as<float>()[at]),
            .most = static_cast<double>(patches[static_cast<std::size_t>(most)]),
            .row = most / all.looks.columns + 1,
            .column = most % all.looks.columns + 1};
  for (const float share : patches) look.patches += static_cast<double>(share);
  look.share = look.patches + look.class_token + look.learned_latents;
  return look;
}

std::string percent(double share) { return std::to_string(std::lround(100 * share)) + "%"; }

std::string summary(const Look& look) {
  if (look.most == 0) return "not seen";
  return percent(look.share) + " of its attention, " + percent(look.patches) +
         " on patches, most at row " + std::to_string(look.row) + ", column " +
         std::to_string(look.column);
}

std::string png_file(const Canvas& c) {
  std::string lines;
  const auto size = static_cast<std::size_t>(c.width * c.channels);
  for (std::size_t y = 0; y < static_cast<std::size_t>(c.height); ++y) {
    lines += '\0';  // the filter: none
    lines.append(reinterpret_cast<const char*>(c.samples.data()) + y * size, size);
  }
  std::string header = big_endian(static_cast<std::uint64_t>(c.width)) +
                       big_endian(static_cast<std::uint64_t>(c.height));
  header += {8, c.channels == 4 ? '\6' : '\2', 0, 0, 0};
  return "\x89PNG\r\n\x1a\n" + png_chunk("IHDR", header) + png_chunk("IDAT", compressed(lines)) +
         png_chunk("IEND", "");
}

std::string png_url(const Canvas& canvas) {
  const std::string file = png_file(canvas);
  return "data:image/png;base64," + base64(std::as_bytes(std::span(file)));
}

Canvas tile_of(const Image& picture) {
  const double scale =
      static_cast<double>(tile_side) / static_cast<double>(std::max(picture.width, picture.height));
  const auto scaled = [scale](std::int64_t side) {
    return std::max<std::int64_t>(1, std::lround(scale * static_cast<double>(side)));
  };
  Image small = resize_bicubic(picture, scaled(picture.width), scaled(picture.height));
  return {.width = small.width, .height = small.height, .samples = std::move(small.rgb)};
}

Canvas tint_of(const AttendedWords& all, std::size_t word, std::size_t picture) {
  double most = 0;
  for (std::size_t i = 0; i < all.pictures.size(); ++i)
    most = std::max(most, look_of(all, word, i).most);
  Canvas canvas{.width = all.looks.columns, .height = all.looks.rows, .channels = 4};
  for (const float share : patches_of(all, word, picture)) {
    const Rgba colour = tint(most > 0 ? static_cast<double>(share) / most : 0);
    canvas.samples.insert(canvas.samples.end(), colour.begin(), colour.end());
  }
  return canvas;
}

SheetLayout::SheetLayout(const AttendedWords& all) {
  line_height = gap + label;
  for (const Image& picture : all.pictures) {
    tiles.push_back(tile_of(picture));
    tile_width = std::max(tile_width, tiles.back().width);
    line_height += tiles.back().height + gap;
  }
  const std::int64_t words = std::max<std::int64_t>(1, std::ssize(all.words));
  words_per_line = std::min(words_per_line, words);
  width = gap + words_per_line * (tile_width + gap);
  height = (words + words_per_line - 1) / words_per_line * line_height;
}

std::array<std::int64_t, 2> SheetLayout::label_at(std::size_t word) const {
  const auto w = static_cast<std::int64_t>(word);
  return {gap + w % words_per_line * (tile_width + gap), gap + w / words_per_line * line_height};
}

std::array<std::int64_t, 2> SheetLayout::tile_at(std::size_t word, std::size_t picture) const {
  auto [x, y] = label_at(word);
  y += label;
  for (std::size_t i = 0; i < picture; ++i) y += tiles[i].height + gap;
  return {x, y};
}

namespace {

/// Writes a word from (x,y) on, in dots of 2 x 2 pixels, or of one if it is long.
void write_label(Canvas& sheet, std::string_view word, std::int64_t x, std::int64_t y,
                 std::int64_t most) {
  const auto length = std::ssize(word);
  const std::int64_t dot = length * 2 * (letter_width + 1) <= most ? 2 : 1;
  const std::int64_t end = x + most;
  while (!word.empty() && x + dot * letter_width <= end) {
    const auto letter = idefics::detail::first_character(word);
    for (std::int64_t i = 0; i < dot * letter_height; ++i)
      for (std::int64_t j = 0; j < dot * letter_width; ++j)
        if (has_dot(letter.code, static_cast<int>(i / dot), static_cast<int>(j / dot)))
          std::fill_n(sheet.samples.begin() + ((y + i) * sheet.width + x + j) * 3, 3, 0x22);
    word.remove_prefix(std::min(letter.bytes, word.size()));
    x += dot * (letter_width + 1);
  }
}

/// Draws a tile at (x,y), under its tint.
void draw_tile(Canvas& sheet, const Canvas& tile, const Canvas& over, std::int64_t x0,
               std::int64_t y0) {
  for (std::int64_t y = 0; y < tile.height; ++y)
    for (std::int64_t x = 0; x < tile.width; ++x) {
      const auto patch = static_cast<std::size_t>(y * over.height / tile.height * over.width +
                                                  x * over.width / tile.width);
      for (std::int64_t i = 0; i < 3; ++i) {
        const int below = tile.samples[static_cast<std::size_t>((y * tile.width + x) * 3 + i)],
                  above = over.samples[4 * patch + static_cast<std::size_t>(i)],
                  alpha = over.samples[4 * patch + 3];
        sheet.samples[static_cast<std::size_t>(((y0 + y) * sheet.width + x0 + x) * 3 + i)] =
            static_cast<std::uint8_t>((below * (255 - alpha) + above * alpha + 127) / 255);
      }
    }
}

}  // namespace

std::string heat_png(const AttendedWords& all) {
  const SheetLayout layout(all);
  constexpr std::int64_t most_bytes = 1 << 30;  // a chunk of a PNG file has less than 2^31
  if (3 * layout.width > most_bytes / layout.height)
    fail(ErrorCode::image_too_large, "the answer has too many words for a PNG file: write .svg",
         {.field = "output",
          .actual = static_cast<std::uint64_t>(3 * layout.width * layout.height),
          .limit = static_cast<std::uint64_t>(most_bytes)});
  Canvas sheet{.width = layout.width, .height = layout.height};
  sheet.samples.assign(static_cast<std::size_t>(layout.width * layout.height * 3), 0xff);
  for (std::size_t word = 0; word < all.words.size(); ++word) {
    const auto [x, y] = layout.label_at(word);
    write_label(sheet, all.words[word].text, x, y, layout.tile_width);
    for (std::size_t i = 0; i < all.pictures.size(); ++i) {
      const auto [left, top] = layout.tile_at(word, i);
      draw_tile(sheet, layout.tiles[i], tint_of(all, word, i), left, top);
    }
  }
  return png_file(sheet);
}

}  // namespace cli
