// The first frame of a GIF as Pillow shows it: on a screen that is enlarged to contain the frame.
// Around the frame the screen is transparent if the frame has a transparent index, else of colour
// 0. All pixels of the frame must be present; what follows them is ignored.
#pragma once

#include <algorithm>
#include <optional>
#include <string>

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

/// Reads `count` colours at `at`. Nothing if they are a ramp of grey levels that begins with black.
inline std::optional<Palette> read_gif_palette(const ByteReader& in, std::uint64_t at,
                                               std::uint64_t count) {
  Palette palette = black_palette();
  bool ramp = true;
  for (std::uint64_t i = 0; i < count; ++i)
    for (std::uint64_t c = 0; c < 3; ++c) {
      const std::uint64_t level = in.byte(at + 3 * i + c);
      palette[i][c] = static_cast<std::uint8_t>(level);
      ramp = ramp && level == i;
    }
  if (ramp) return {};
  return palette;
}

/// A block of an extension at `at`, after its length; empty if the length is zero. Moves `at`.
inline std::span<const std::byte> read_gif_block(const ByteReader& in, std::uint64_t& at) {
  const std::uint64_t length = in.byte(at++);
  const auto block = in.part(at, length);
  at += length;
  return block;
}

/// Reads an extension, after its '!', and returns the position after it. Only the transparent index
/// is used. As in Pillow, an extension that begins with an empty block has one more block after it,
/// unless it is a comment.
inline std::uint64_t read_gif_extension(const ByteReader& in, std::uint64_t at, GifFrame& frame) {
  constexpr std::uint64_t graphic_control = 249, comment = 254, application = 255;
  const std::uint64_t label = in.byte(at++);
  auto block = read_gif_block(in, at);
  if (label == graphic_control && !block.empty()) {
    const bool clear = (block[0] & std::byte{1}) != std::byte{0};
    if (block.size() < (clear ? 4u : 3u))
      fail(ErrorCode::invalid_image, "the graphic control extension of the GIF is too short",
           {.file = in.name(), .offset = at});
    if (clear) frame.transparent = static_cast<std::uint8_t>(block[3]);
  }
  if (label == application && starts_with(block, "NETSCAPE2.0")) (void)read_gif_block(in, at);
  if (label == comment && block.empty()) return at;
  while (!read_gif_block(in, at).empty()) {
  }
  return at;
}

/// Reads the position of the frame, and its own palette.
inline void read_gif_frame(const ByteReader& in, std::uint64_t at, bool has_palette,
                           GifFrame& frame) {
  frame.x = in.little_endian(at, 2), frame.y = in.little_endian(at + 2, 2);
  frame.width = in.little_endian(at + 4, 2), frame.height = in.little_endian(at + 6, 2);
  frame.screen_width = std::max(frame.screen_width, frame.x + frame.width);
  frame.screen_height = std::max(frame.screen_height, frame.y + frame.height);
  const std::uint64_t flags = in.byte(at + 8);
  frame.interlaced = (flags & 0x40) != 0;
  at += 9;
  if ((flags & 0x80) != 0) {
    const std::uint64_t count = std::uint64_t{2} << (flags & 7);
    // As in Pillow, a ramp of grey counts only if the screen has no palette of its own.
    if (const auto palette = read_gif_palette(in, at, count))
      frame.palette = *palette;
    else if (!has_palette)
      frame.palette = grey_palette();
    at += 3 * count;
  }
  frame.codes = at;
}

inline GifFrame read_gif_header(const ByteReader& in, const ImageLimits& limits,
                                const std::string& name) {
  GifFrame frame{.screen_width = in.little_endian(6, 2), .screen_height = in.little_endian(8, 2)};
  const std::uint64_t flags = in.byte(10);
  std::uint64_t at = 13;
  bool has_palette = false;
  if ((flags & 0x80) != 0) {
    const std::uint64_t count = std::uint64_t{2} << (flags & 7);
    const auto palette = read_gif_palette(in, at, count);
    if (palette) frame.palette = *palette, has_palette = true;
    at += 3 * count;
  }
  for (;;) {
    const std::uint64_t kind = in.byte(at++);
    if (kind == ';') fail(ErrorCode::invalid_image, "the GIF contains no picture", {.file = name});
    if (kind == '!') at = read_gif_extension(in, at, frame);
    if (kind == ',') break;
  }
  read_gif_frame(in, at, has_palette, frame);
  check_size(frame.screen_width, frame.screen_height, limits, name);
  // As in Pillow, a frame without columns at the left edge has the size of the screen.
  if (frame.x == 0 && frame.width == 0)
    frame.y = 0, frame.width = frame.screen_width, frame.height = frame.screen_height;
  check_size(frame.width, frame.height, limits, name);
  return frame;
}

/// Codes of varying width, lowest bit first, from blocks of up to 255 bytes. An incomplete block is
/// an error.
class GifCodes {
 public:
  GifCodes(const ByteReader& in, std::uint64_t at) : in_(in), at_(at), fed_(at) {}
  unsigned next(unsigned bits) {
    for (; held_ < bits; held_ += 8, --left_) {
      while (left_ == 0) {
        while (at_ >= fed_ || at_ + 1 + in_.byte(at_) > fed_) grow();
        left_ = in_.byte(at_++);
      }
      buffer_ |= static_cast<unsigned>(in_.byte(at_++)) << held_;
    }
    const unsigned code = buffer_ & ((1u << bits) - 1);
    buffer_ >>= bits, held_ -= bits;
    return code;
  }
  /// One more piece of the file, which is read in pieces of 64 KiB. Refuses a file that has none.
  void grow() {
    if (fed_ >= in_.size())
      fail(ErrorCode::invalid_image, "the GIF ends before its last pixel", {.file = in_.name()});
    fed_ = std::min<std::uint64_t>(in_.size(), fed_ + (1u << 16));
  }

 private:
  const ByteReader& in_;
  std::uint64_t at_, fed_, left_ = 0;  // the next byte, the end of the pieces, bytes of the block
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
  if (index_bits > 12) refuse("the codes of the GIF have too many bits");
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
    if (code == clear + 1) {  // an end, after which Pillow goes on if there is another piece
      codes.grow();
      continue;
    }
    if (code > (last == clear ? clear : strings.next())) refuse("the GIF uses an undefined code");
    const bool ahead = code == strings.next();  // the string that this very code completes
    const unsigned string = ahead ? last : code;
    if (string >= GifStrings::capacity) refuse("the GIF uses an undefined code");
    const std::uint8_t first = strings.append(string, indices);
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

inline Bitmap decode_gif(std::span<const std::byte> encoded, const std::string& name,
                         const ImageLimits& limits) {
  const ByteReader in(encoded, name);
  GifFrame frame = read_gif_header(in, limits, name);
  check_memory(frame.screen_width * frame.screen_height * 6, limits, name);
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
