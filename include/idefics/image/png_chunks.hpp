// The chunks of a PNG, read as Pillow reads them: what comes before the pixels has to be without a
// fault, and after their first chunk no checksum is looked at.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <idefics/image/guards.hpp>
#include <idefics/image/inflate.hpp>

namespace idefics { inline namespace v0 { namespace detail {

constexpr std::uint64_t png_type(const char (&name)[5]) {
  std::uint64_t type = 0;
  for (std::size_t i = 0; i < 4; ++i) type = type << 8 | static_cast<unsigned char>(name[i]);
  return type;
}

/// Part of the canvas: the columns x0 to x1 - 1 and the rows y0 to y1 - 1.
struct PngBox {
  std::uint64_t x0 = 0, y0 = 0, x1 = 0, y1 = 0;
};

/// A value of metadata. Pillow has it as bytes or as text, and fails where it needs the other.
struct PngText {
  std::string value{};
  bool is_bytes = false;
};

/// What the chunks say. Later ones override earlier ones.
struct PngInfo {
  std::uint64_t width = 0, height = 0;
  /// Colour types: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha. The depth is 0
  /// until a header has a combination that the format allows.
  unsigned depth = 0, colour_type = 0;
  bool interlaced = false;
  std::optional<std::span<const std::byte>> palette{}, transparency{};
  // of animations
  std::optional<std::uint64_t> frames{}, sequence{};
  std::optional<PngBox> box{};
  bool default_image = false;                           // the pixels are not the first frame
  std::map<std::string, PngText, std::less<>> texts{};  // by key, if the orientation may be there
  std::uint64_t text_bytes = 0;                         // of all texts, kept or not
};

/// Whether the format allows this depth for this colour type.
constexpr bool png_allows(unsigned colour_type, unsigned depth) {
  const bool bytes = depth == 8 || depth == 16, less = depth == 1 || depth == 2 || depth == 4;
  switch (colour_type) {
    case 0: return bytes || less;
    case 3: return depth == 8 || less;
    default: return bytes && (colour_type == 2 || colour_type == 4 || colour_type == 6);
  }
}

/// One chunk: its type, and its body from `at`.
struct PngChunk {
  std::uint64_t type = 0, at = 0, length = 0;
};

/// Reads chunks one after the other, and what they say into a PngInfo.
class PngChunks {
 public:
  PngChunks(const ByteReader& in, std::uint64_t at, PngInfo& info)
      : in_(in), at_(at), info_(info) {}

  std::uint64_t at() const { return at_; }
  void skip(std::uint64_t bytes) { at_ += bytes; }

  /// The next chunk, whose body follows. Nothing if the file ends, or if there is no chunk here.
  std::optional<PngChunk> next() {
    if (!in_.has(at_, 8)) return {};
    PngChunk chunk{
        .type = in_.big_endian(at_ + 4, 4), .at = at_ + 8, .length = in_.big_endian(at_, 4)};
    for (unsigned i = 0; i < 4; ++i) {
      const auto c = static_cast<unsigned char>(in_.byte(at_ + 4 + i));
      const bool word =
          (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
      if (!word) return {};
    }
    at_ += 8;
    return chunk;
  }

  /// Reads the body of a chunk. False if it has pixels, or is the end: then the next byte is the
  /// first of the pixels.
  bool read(const PngChunk& chunk) {
    if (chunk.type == png_type("IEND")) return false;
    const bool frame = chunk.type == png_type("fdAT");
    if (frame) read_sequence(chunk);
    if (frame || chunk.type == png_type("IDAT")) {
      if (!info_.box && info_.frames) info_.default_image = true;
      if (info_.depth != 0) return false;
      // without a header before them, Pillow takes pixels for a chunk that it does not know
      if (frame) refuse("the PNG has pixels before its header", chunk.at);
    }
    read_body(chunk.type, in_.part(chunk.at, chunk.length));
    at_ = chunk.at + chunk.length;
    return true;
  }

  /// The number of a frame's data, which its pixels follow.
  void read_sequence(const PngChunk& chunk) {
    if (chunk.length < 4) refuse("a frame of the PNG has no number", chunk.at);
    check_sequence(in_.big_endian(chunk.at, 4), false);
    at_ = chunk.at + 4;
  }

  void check_sum(const PngChunk& chunk) {
    const auto body = in_.part(chunk.at - 4, chunk.length + 4);
    const auto sum =
        crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
    if (sum != in_.big_endian(at_, 4)) refuse("a PNG chunk has a wrong checksum", chunk.at - 8);
    at_ += 4;
  }

  [[noreturn]] void refuse(const std::string& why, std::uint64_t at) const {
    fail(ErrorCode::invalid_image, why, {.file = in_.name(), .offset = at});
  }

 private:
  using Body = std::span<const std::byte>;

  static std::uint64_t number(Body body, std::size_t at, std::size_t bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i)
      value = value << 8 | static_cast<std::uint64_t>(body[at + i]);
    return value;
  }
  void require_length(Body body, std::size_t length, const char* name) const {
    if (body.size() < length)
      refuse("the " + std::string(name) + " chunk of the PNG is too short", at_);
  }

  void read_body(std::uint64_t type, Body body) {
    switch (type) {
      case png_type("IHDR"): return read_header(body);
      case png_type("PLTE"):
        if (info_.colour_type == 3 && info_.depth != 0) info_.palette = body;
        return;
      case png_type("tRNS"): return read_transparency(body);
      case png_type("iCCP"): return read_profile(body);
      case png_type("tEXt"): return read_text(body);
      case png_type("zTXt"): return read_packed_text(body);
      case png_type("iTXt"): return read_international_text(body);
      case png_type("eXIf"):
        info_.texts["exif"] = {.value = std::string(text_of(body)), .is_bytes = true};
        return;
      case png_type("gAMA"): return require_length(body, 4, "gAMA");
      case png_type("sRGB"): return require_length(body, 1, "sRGB");
      case png_type("pHYs"): return require_length(body, 9, "pHYs");
      case png_type("cHRM"):
        if (body.size() % 4 != 0) refuse("the cHRM chunk of the PNG has a wrong length", at_);
        return;
      case png_type("acTL"): return read_animation(body);
      case png_type("fcTL"): return read_frame(body);
      default: return;
    }
  }

  void read_header(Body body) {
    require_length(body, 13, "IHDR");
    info_.width = number(body, 0, 4), info_.height = number(body, 4, 4);
    const auto depth = static_cast<unsigned>(body[8]), type = static_cast<unsigned>(body[9]);
    if (png_allows(type, depth)) info_.depth = depth, info_.colour_type = type;
    if (body[12] != std::byte{0}) info_.interlaced = true;
    if (body[11] != std::byte{0}) refuse("the PNG has an unknown kind of filters", at_ + 11);
  }

  void read_transparency(Body body) {
    if (info_.depth == 0 || info_.colour_type > 3) return;
    if (info_.colour_type != 3) require_length(body, info_.colour_type == 0 ? 2 : 6, "tRNS");
    info_.transparency = body;
  }

  void read_profile(Body body) {
    const auto end = text_of(body).find('\0');
    const std::size_t method = end == std::string_view::npos ? 0 : end + 1;
    require_length(body, method + 1, "iCCP");
    if (body[method] != std::byte{0}) refuse("the PNG has a profile of unknown compression", at_);
    (void)unpack(body.subspan(method + 1));
  }

  void read_text(Body body) {
    const auto [key, value] = split(text_of(body));
    if (key.empty()) return;
    count(value.size());
    keep(key, {.value = std::string(value), .is_bytes = key == "exif"});
  }

  void read_packed_text(Body body) {
    auto [key, value] = split(text_of(body));
    if (!value.empty() && value[0] != '\0')
      refuse("the PNG has a text of unknown compression", at_);
    if (!value.empty()) value.remove_prefix(1);
    std::string text = unpack(std::as_bytes(std::span(value))).value_or("");
    if (!key.empty()) keep(key, {.value = std::move(text)});
  }

  void read_international_text(Body body) {
    const auto whole = text_of(body);
    if (whole.find('\0') == whole.npos) return;
    auto [key, rest] = split(whole);
    if (rest.size() < 2) return;
    const bool packed = rest[0] != '\0', known = rest[1] == '\0';
    rest.remove_prefix(2);
    for (int skipped = 0; skipped < 2; ++skipped) {  // a language, and the key in that language
      if (rest.find('\0') == rest.npos) return;
      rest = split(rest).second;
    }
    if (packed && !known) return;
    if (!packed) count(rest.size());
    const auto text = packed ? unpack(std::as_bytes(std::span(rest))) : std::string(rest);
    if (!text) return;
    if (key == "XML:com.adobe.xmp") info_.texts["xmp"] = {.value = *text, .is_bytes = true};
    keep(key, {.value = *text});
  }

  void read_animation(Body body) {
    require_length(body, 8, "acTL");
    const std::uint64_t frames = number(body, 0, 4);
    if (info_.frames) {
      info_.frames.reset();
    } else if (frames != 0 && frames <= 0x80000000) {
      info_.frames = frames;
    }
  }

  void read_frame(Body body) {
    require_length(body, 26, "fcTL");
    check_sequence(number(body, 0, 4), !info_.sequence);
    const std::uint64_t x = number(body, 12, 4), y = number(body, 16, 4);
    const PngBox box{x, y, x + number(body, 4, 4), y + number(body, 8, 4)};
    if (box.x1 > info_.width || box.y1 > info_.height)
      refuse("a frame of the PNG is outside its canvas", at_);
    info_.box = box;
  }

  void check_sequence(std::uint64_t number, bool is_first) {
    if (is_first ? number != 0 : !info_.sequence || *info_.sequence + 1 != number)
      refuse("the frames of the PNG are not in order", at_);
    info_.sequence = number;
  }

  static std::pair<std::string_view, std::string_view> split(std::string_view text) {
    const auto end = text.find('\0');
    if (end == text.npos) return {text, {}};
    return {text.substr(0, end), text.substr(end + 1)};
  }

  /// Unpacks metadata. Nothing if it is damaged, which Pillow passes over; refuses what is too
  /// large.
  std::optional<std::string> unpack(Body packed) {
    constexpr std::size_t limit = 1u << 20;
    Unpacked result = unpack_text(packed, limit);
    if (result.too_large)
      fail(ErrorCode::image_too_large, "metadata of the PNG unpacks to more than the limit",
           {.file = in_.name(), .offset = at_, .limit = limit});
    count(result.text.size());
    if (result.damaged) return {};
    return std::move(result.text);
  }
  void count(std::size_t bytes) {
    constexpr std::uint64_t limit = 64u << 20;
    info_.text_bytes += bytes;
    if (info_.text_bytes > limit)
      fail(ErrorCode::image_too_large, "the PNG has too much metadata",
           {.file = in_.name(), .actual = info_.text_bytes, .limit = limit});
  }

  void keep(std::string_view key, PngText text) {
    if (key == "XML:com.adobe.xmp" || key == "Raw profile type exif" || key == "exif" ||
        key == "xmp")
      info_.texts[std::string(key)] = std::move(text);
  }

  const ByteReader& in_;
  std::uint64_t at_;
  PngInfo& info_;
};

}}}  // namespace idefics::v0::detail
