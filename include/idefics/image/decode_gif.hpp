// The first frame of a GIF as Pillow shows it: on a screen that is enlarged to contain the frame.
// Around the frame the screen is transparent if the frame has a transparent index, else of colour
// 0. All pixels of the frame must be present; what follows them is ignored.
#pragma once

#include <algorithm>
#include <optional>
#include <string>

#include <idefics/image/guards.hpp>
#include <idefics/image/palette.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The position of the first frame on the screen, its colours, and the offset of its codes.
struct GifFrame {
  std::uint64_t screen_width = 0, screen_height = 0;
  std::uint64_t x = 0, y = 0, width = 0, height = 0;
  bool interlaced = false;
  Palette palette = grey_palette();
  std::optional<std::uint8_t> transparent{};
  std::uint64_t codes = 0;  // offset of the byte with the number of bits of an index
};

/// Reads `count` colours at `at`. A grey ramp that begins with black is treated as no palette.
inline Palette read_gif_palette(const ByteReader& in, std::uint64_t at, std::uint64_t count) {
  Palette palette = black_palette();
  bool ramp = true;
  for (std::uint64_t i = 0; i < count; ++i)
    for (std::uint64_t c = 0; c < 3; ++c) {
      const std::uint64_t level = in.byte(at + 3 * i + c);
      palette[i][c] = static_cast<std::uint8_t>(level);
      ramp = ramp && level == i;
    }
  return ramp ? grey_palette() : palette;
}

/// Reads an extension, after its '!', and returns the position after it. Only the transparent index
/// is used.
inline std::uint64_t read_gif_extension(const ByteReader& in, std::uint64_t at, GifFrame& frame) {
  constexpr std::uint64_t graphic_control = 249;
  const std::uint64_t label = in.byte(at++);
  if (label == graphic_control && in.byte(at) >= 4 && (in.byte(at + 1) & 1) != 0)
    frame.transparent = static_cast<std::uint8_t>(in.byte(at + 4));
  while (const std::uint64_t length = in.byte(at++)) at += length;
  return at;
}

inline GifFrame read_gif_header(const ByteReader& in, const ImageLimits& limits,
                                const std::string& name) {
  GifFrame frame{.screen_width = in.little_endian(6, 2), .screen_height = in.little_endian(8, 2)};
  auto palette_at = [&](std::uint64_t& at, std::uint64_t flags) {
    if ((flags & 0x80) == 0) return;
    const std::uint64_t count = std::uint64_t{2} << (flags & 7);
    frame.palette = read_gif_palette(in, at, count);
    at += 3 * count;
  };
  std::uint64_t at = 13;
  palette_at(at, in.byte(10));
  for (;;) {
    const std::uint64_t kind = in.byte(at++);
    if (kind == ';') fail(ErrorCode::invalid_image, "the GIF contains no picture", {.file = name});
    if (kind == '!') at = read_gif_extension(in, at, frame);
    if (kind == ',') break;
  }
  frame.x = in.little_endian(at, 2), frame.y = in.little_endian(at + 2, 2);
  frame.width = in.little_endian(at + 4, 2), frame.height = in.little_endian(at + 6, 2);
  frame.screen_width = std::max(frame.screen_width, frame.x + frame.width);
  frame.screen_height = std::max(frame.screen_height, frame.y + frame.height);
  check_size(frame.width, frame.height, limits, name);
  check_size(frame.screen_width, frame.screen_height, limits, name);
  const std::uint64_t flags = in.byte(at + 8);
  frame.interlaced = (flags & 0x40) != 0;
  at += 9;
  palette_at(at, flags);
  frame.codes = at;
  return frame;
}

/// Codes of varying width, lowest bit first, from blocks of up to 255 bytes. An incomplete block is
/// an error.
class GifCodes {
 public:
  GifCodes(const ByteReader& in, std::uint64_t at) : in_(in), at_(at) {}
  unsigned next(unsigned bits) {
    for (; held_ < bits; held_ += 8, --left_) {
      while (left_ == 0) {
        left_ = in_.byte(at_++);
        (void)in_.part(at_, left_);
      }
      buffer_ |= static_cast<unsigned>(in_.byte(at_++)) << held_;
    }
    const unsigned code = buffer_ & ((1u << bits) - 1);
    buffer_ >>= bits, held_ -= bits;
    return code;
  }

 private:
  const ByteReader& in_;
  std::uint64_t at_, left_ = 0;  // the next byte, and the bytes left in its block
  unsigned buffer_ = 0, held_ = 0;
};

/// The strings of codes: each is the string of an earlier code and one more index.
class GifStrings {
 public:
  explicit GifStrings(unsigned clear) : clear_(clear), next_(clear + 2) {}
  unsigned next() const { return next_; }
  void clear() { next_ = clear_ + 2; }
  void add(unsigned prefix, std::uint8_t last) {
    prefix_[next_] = prefix, last_[next_] = last;
    ++next_;
  }
  /// Appends the string of `code`; returns its first index.
  std::uint8_t append(unsigned code, std::vector<std::uint8_t>& to) const {
    const std::size_t begin = to.size();
    for (; code >= clear_; code = prefix_[code]) to.push_back(last_[code]);
    to.push_back(static_cast<std::uint8_t>(code));
    std::reverse(to.begin() + static_cast<std::ptrdiff_t>(begin), to.end());
    return to[begin];
  }
  static constexpr unsigned capacity = 4096;

 private:
  unsigned clear_, next_;
  std::array<unsigned, capacity> prefix_{};
  std::array<std::uint8_t, capacity> last_{};
};

/// The indices of a frame in file order, at least `count`. Nothing after the last pixel is read,
/// not even the end code.
inline std::vector<std::uint8_t> unpack_gif(const ByteReader& in, std::uint64_t at,
                                            std::uint64_t count, const std::string& name) {
  const auto index_bits = static_cast<unsigned>(in.byte(at));
  auto refuse = [&](const char* why) {
    fail(ErrorCode::invalid_image, why, {.file = name, .offset = at});
  };
  if (index_bits > 11) refuse("the codes of the GIF have too many bits");
  const unsigned clear = 1u << index_bits;
  GifCodes codes(in, at + 1);
  GifStrings strings(clear);
  std::vector<std::uint8_t> indices;
  unsigned bits = index_bits + 1, last = clear;  // `clear`: no previous string
  while (indices.size() < count) {
    const unsigned code = codes.next(bits);
    if (code == clear) {
      strings.clear(), bits = index_bits + 1, last = clear;
      continue;
    }
    if (code == clear + 1) refuse("the GIF ends before its last pixel");
    if (code > (last == clear ? clear : strings.next())) refuse("the GIF uses an undefined code");
    const bool ahead = code == strings.next();  // the string that this very code completes
    const std::uint8_t first = strings.append(ahead ? last : code, indices);
    if (ahead) indices.push_back(first);
    if (last != clear && strings.next() < GifStrings::capacity) {
      strings.add(last, first);
      if (strings.next() == 1u << bits && bits < 12) ++bits;
    }
    last = code;
  }
  return indices;
}

/// The row that is stored at index `i` of an interlaced frame: first every 8th row, then those
/// halfway between, and so on.
inline std::uint64_t interlaced_row(std::uint64_t i, std::uint64_t height) {
  constexpr std::array<std::array<std::uint64_t, 2>, 4> passes{{{0, 8}, {4, 8}, {2, 4}, {1, 2}}};
  for (const auto& [first, step] : passes) {
    const std::uint64_t rows = height > first ? (height - first + step - 1) / step : 0;
    if (i < rows) return first + i * step;
    i -= rows;
  }
  return i;
}

inline Image decode_gif(std::span<const std::byte> encoded, const std::string& name,
                        const ImageLimits& limits) {
  const ByteReader in(encoded, name);
  GifFrame frame = read_gif_header(in, limits, name);
  const auto indices = unpack_gif(in, frame.codes, frame.width * frame.height, name);
  std::vector<std::uint8_t> screen(frame.screen_width * frame.screen_height,
                                   frame.transparent.value_or(0));
  for (std::uint64_t i = 0; i < frame.height; ++i) {
    const std::uint64_t row = frame.y + (frame.interlaced ? interlaced_row(i, frame.height) : i);
    std::copy_n(&indices[i * frame.width], frame.width,
                &screen[row * frame.screen_width + frame.x]);
  }
  if (frame.transparent) frame.palette[*frame.transparent][3] = 0;
  return apply_palette(frame.screen_width, frame.screen_height, screen, frame.palette);
}

}}}  // namespace idefics::v0::detail
