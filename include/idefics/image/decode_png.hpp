// PNG, and the first picture of an animated one, by Pillow's rules for what is damaged, and for
// palettes, transparency and 16 bits.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include <idefics/image/palette.hpp>
#include <idefics/image/png_chunks.hpp>
#include <idefics/image/png_pixels.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The data of the pixels: the bodies of one chunk after the other, as Pillow passes them to zlib.
class PngData {
 public:
  PngData(const ByteReader& in, PngChunks& chunks, const PngChunk& first)
      : in_(in), chunks_(chunks), left_(first.at + first.length - chunks.at()) {}

  /// The next piece. Refuses a picture whose data has ended.
  std::span<const std::byte> next() {
    while (left_ == 0) {
      chunks_.skip(4);  // a checksum
      const auto chunk = chunks_.next();
      const bool pixels =
          chunk && (chunk->type == png_type("IDAT") || chunk->type == png_type("DDAT") ||
                    chunk->type == png_type("fdAT"));
      if (!pixels) chunks_.refuse("the pixels of the PNG end early", chunks_.at());
      if (chunk->type == png_type("fdAT")) chunks_.read_sequence(*chunk);
      left_ = chunk->at + chunk->length - chunks_.at();
    }
    constexpr std::uint64_t most = 1u << 16;
    const std::uint64_t count = std::min(most, left_);
    const auto piece = in_.part_within(chunks_.at(), count);
    if (piece.empty()) chunks_.refuse("the PNG is cut off", in_.size());
    left_ -= count;
    chunks_.skip(piece.size());
    return piece;
  }
  /// Bytes of the last chunk that were not needed.
  std::uint64_t left() const { return left_; }

 private:
  const ByteReader& in_;
  PngChunks& chunks_;
  std::uint64_t left_;
};

/// Reads the chunks after the pixels, which may contain transparency and metadata.
inline void read_png_end(const ByteReader& in, PngChunks& chunks, std::uint64_t left,
                         bool animated) {
  chunks.skip(std::min<std::uint64_t>(left, in.size() - std::min(chunks.at(), in.size())));
  for (;;) {
    chunks.skip(4);  // a checksum
    const auto chunk = chunks.next();
    if (!chunk || chunk->type == png_type("IEND")) return;
    if (chunk->type == png_type("fcTL") && animated) return;  // the next frame
    if (!chunks.read(*chunk)) {
      (void)in.part(chunk->at, chunk->length);  // pixels that are too many
      chunks.skip(chunk->at + chunk->length - chunks.at());
    }
  }
}

/// The bytes that hexadecimal digits after the third line say. Nothing if there is anything else.
inline std::optional<std::string> read_png_raw_profile(std::string_view text) {
  for (int line = 0; line < 3; ++line) {
    const auto end = text.find('\n');
    text = end == text.npos ? std::string_view() : text.substr(end + 1);
  }
  const auto value = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  std::string bytes;
  int high = -1;
  for (const char c : text) {
    if (c == '\n') continue;
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    if (space && high < 0) continue;
    const int digit = value(c);
    if (digit < 0) return {};
    if (high >= 0) bytes.push_back(static_cast<char>(high * 16 + digit));
    high = high >= 0 ? -1 : digit;
  }
  if (high >= 0) return {};
  return bytes;
}

inline Orientation read_png_orientation(const PngInfo& info, const std::string& name) {
  const auto find = [&info](std::string_view key) {
    const auto found = info.texts.find(key);
    return found == info.texts.end() ? nullptr : &found->second;
  };
  std::string exif;
  if (const PngText* text = find("exif")) {
    if (!text->is_bytes && !text->value.empty()) return {.damaged = true};
    exif = text->value;
  } else if (const PngText* raw = find("Raw profile type exif")) {
    const auto bytes = read_png_raw_profile(raw->value);
    if (!bytes) return {.damaged = true};
    exif = *bytes;
  }
  const auto bytes = std::as_bytes(std::span(exif));
  const PngText* xmp = find("XML:com.adobe.xmp");
  if (xmp != nullptr && !xmp->value.empty()) return read_orientation(bytes, xmp->value, name);
  xmp = find("xmp");
  if (xmp == nullptr || xmp->is_bytes)
    return read_orientation(bytes, xmp == nullptr ? std::string_view() : xmp->value, name);
  Orientation orientation = read_orientation(bytes, {}, name);
  orientation.damaged |= !orientation.found && !xmp->value.empty();
  return orientation;
}

/// The colour of each level in the file. Fewer than 8 bits of grey are stretched to 0 to 255; a
/// level is transparent if it then equals the low byte of the number in the tRNS chunk.
inline Palette png_palette_of(const PngInfo& info, const std::string& name) {
  const auto level = [](std::byte b) { return static_cast<std::uint8_t>(b); };
  if (info.colour_type == 0) {
    Palette grey = grey_palette();
    const unsigned stretch = info.depth >= 8 ? 1 : 255u / ((1u << info.depth) - 1);
    for (auto& colour : grey) {
      const auto value = static_cast<std::uint8_t>(colour[0] * stretch);
      colour = {value, value, value, 255};
      if (info.transparency && level((*info.transparency)[1]) == value) colour[3] = 0;
    }
    return grey;
  }
  Palette palette = black_palette();
  const auto colours = info.palette.value_or(std::span<const std::byte>());
  if (colours.size() / 3 > 256)
    fail(ErrorCode::invalid_image, "the palette of the PNG has more than 256 colours",
         {.file = name, .actual = colours.size() / 3, .limit = 256});
  for (std::size_t i = 0; i < colours.size() / 3; ++i)
    for (std::size_t c = 0; c < 3; ++c) palette[i][c] = level(colours[3 * i + c]);
  if (!info.transparency) return palette;
  // One transparent index among opaque ones is all that counts, even before a line end.
  auto alphas = *info.transparency;
  const auto opaque = [](std::byte b) { return b == std::byte{255}; };
  const auto clear = std::ranges::find_if_not(alphas, opaque);
  const auto next =
      clear == alphas.end() ? clear : std::find_if_not(clear + 1, alphas.end(), opaque);
  const bool line_end = next != alphas.end() && *next == std::byte{10} && next + 1 == alphas.end();
  if (clear != alphas.end() && *clear == std::byte{0} && line_end)
    alphas = alphas.first(alphas.size() - 1);
  if (alphas.size() > 256)
    fail(ErrorCode::invalid_image, "the PNG has more than 256 levels of transparency",
         {.file = name, .actual = alphas.size(), .limit = 256});
  for (std::size_t i = 0; i < alphas.size(); ++i) palette[i][3] = level(alphas[i]);
  return palette;
}

/// Reads everything up to the first pixels; returns their chunk.
inline PngChunk read_png_start(PngChunks& chunks, const PngInfo& info, const ImageLimits& limits,
                               const std::string& name) {
  for (;;) {
    const auto chunk = chunks.next();
    if (!chunk) chunks.refuse("the PNG is cut off, or its chunks are damaged", chunks.at());
    if (chunks.read(*chunk)) {
      chunks.check_sum(*chunk);
      continue;
    }
    if (info.depth == 0) chunks.refuse("the PNG has an invalid colour type or depth", chunk->at);
    check_size(info.width, info.height, limits, name);
    if (chunk->type == png_type("IEND")) chunks.refuse("the PNG has no pixel data", chunk->at);
    return *chunk;
  }
}

/// The part of the canvas that the first pixels are for: an animation's first frame may be smaller.
inline PngBox png_box_of(const PngInfo& info, const std::string& name) {
  const PngBox whole{0, 0, info.width, info.height};
  if (!info.box || (info.box->x0 == 0 && info.box->x1 == 0)) return whole;
  const auto& [x0, y0, x1, y1] = *info.box;
  if (x1 <= x0 || y1 <= y0 || x1 > info.width || y1 > info.height)
    fail(ErrorCode::invalid_image, "a frame of the PNG has no pixels", {.file = name});
  return *info.box;
}

/// `colour_only`: what a tRNS chunk says does not count, as in an icon.
inline Bitmap decode_png(std::span<const std::byte> encoded, const std::string& name,
                         const ImageLimits& limits, bool colour_only = false) {
  const ByteReader in(encoded, name);
  PngInfo info;
  PngChunks chunks(in, 8, info);
  const PngChunk first = read_png_start(chunks, info, limits, name);
  const bool has_palette = info.colour_type == 0 || info.colour_type == 3;
  check_memory(info.width * info.height * (has_palette ? 5 : 4), limits, name);
  PngPixels pixels(info, png_box_of(info, name), name);
  PngInfo later = info;
  PngChunks rest(in, chunks.at(), later);
  PngData data(in, rest, first);
  while (!pixels.feed(data.next())) {
  }
  const std::uint64_t frames = info.frames.value_or(1) + (info.frames && info.default_image);
  read_png_end(in, rest, data.left(), frames > 1);
  // What follows the pixels can change the transparency, and nothing else of them.
  info.transparency = colour_only ? std::nullopt : later.transparency;
  Bitmap bitmap = pixels.take();
  const bool plain = info.colour_type == 0 && info.depth >= 8 && !info.transparency;
  if (has_palette && !plain)
    bitmap = apply_palette(bitmap.width, bitmap.height, bitmap.samples, png_palette_of(info, name));
  bitmap.orientation = read_png_orientation(later, name);
  return bitmap;
}

}}}  // namespace idefics::v0::detail
