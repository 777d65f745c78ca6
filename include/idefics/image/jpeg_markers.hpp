// The markers of a JPEG before its first scan, which Pillow reads itself, before libjpeg does: what
// it refuses, and the metadata that has the orientation.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/image/exif.hpp>

namespace idefics { inline namespace v0 { namespace detail {

struct JpegInfo {
  std::uint64_t width = 0, height = 0;
  unsigned components = 0;
  std::uint64_t frame = 0;  // the marker of the frame: its kind of coding
  std::string exif{}, xmp{};
  bool has_density = false;  // in pixels per inch or centimetre, in the JFIF segment
};

/// The orientation. Where there is no density, Pillow looks for one in the EXIF data at once; if
/// that is damaged, it is not looked at again.
inline Orientation read_jpeg_orientation(const JpegInfo& info, const std::string& name) {
  const auto exif = std::as_bytes(std::span(info.exif));
  const Orientation orientation = read_orientation(exif, info.xmp, name);
  return orientation.damaged && !info.has_density ? Orientation{} : orientation;
}

class JpegMarkers {
 public:
  explicit JpegMarkers(const ByteReader& in) : in_(in) {}

  /// Reads up to the first scan.
  JpegInfo read() {
    for (std::uint64_t at = 2;;) {
      // whatever is between segments is skipped
      while (in_.byte(at) != 0xff) ++at;
      while (in_.byte(at) == 0xff) ++at;
      const std::uint64_t marker = in_.byte(at++);
      if (marker == 0) continue;
      if (marker < 0xc0) refuse("an unknown marker", at - 2);
      if (has_segment(marker)) at = read_segment(marker, at);
      if (marker == 0xda) break;
    }
    if (info_.components == 0) refuse("no frame before the first scan", 0);
    return std::move(info_);
  }

 private:
  using Body = std::span<const std::byte>;

  static bool has_segment(std::uint64_t marker) {
    const bool restart = marker >= 0xd0 && marker <= 0xd9;  // also start and end of the file
    const bool reserved = marker == 0xc8 || (marker >= 0xf0 && marker <= 0xfd);
    return !restart && !reserved && marker != 0xff;
  }
  static bool is_frame(std::uint64_t marker) {
    return (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 &&
            marker != 0xcc) ||
           marker == 0xde;
  }

  [[noreturn]] void refuse(const std::string& why, std::uint64_t at) const {
    fail(ErrorCode::invalid_image, "damaged JPEG: " + why, {.file = in_.name(), .offset = at});
  }
  [[noreturn]] void refuse_feature(const std::string& what) const {
    fail(ErrorCode::unsupported_image, "unsupported JPEG: " + what, {.file = in_.name()});
  }

  std::uint64_t read_segment(std::uint64_t marker, std::uint64_t at) {
    const std::uint64_t length = in_.big_endian(at, 2), count = length < 2 ? 0 : length - 2;
    const Body body = in_.part(at + 2, count);
    if (is_frame(marker)) read_frame(marker, body, at);
    if (marker == 0xdb) check_tables(body, at);
    if (marker >= 0xe0 && marker <= 0xef) read_application(marker, body, at);
    return at + 2 + count;
  }

  void read_frame(std::uint64_t marker, Body body, std::uint64_t at) {
    if (body.size() < 6) refuse("the frame is too short", at);
    const ByteReader in(body, in_.name());
    const std::uint64_t bits = in.byte(0);
    if (bits != 8) refuse_feature(std::to_string(bits) + " bits per component");
    info_.height = in.big_endian(1, 2), info_.width = in.big_endian(3, 2);
    info_.components = static_cast<unsigned>(in.byte(5));
    info_.frame = marker;
    if (info_.components != 1 && info_.components != 3 && info_.components != 4)
      refuse_feature(std::to_string(info_.components) + " components");
    if ((body.size() - 6) % 3 != 0) refuse("the frame has a wrong length", at);
    if (!profiles_.empty() && std::ranges::min(profiles_).size() < 14)
      refuse("a part of its colour profile has no number", at);
    profiles_.clear();
  }

  void check_tables(Body body, std::uint64_t at) const {
    while (!body.empty()) {
      const std::size_t length = 1 + 64 * (static_cast<unsigned>(body[0]) >> 4 == 0 ? 1u : 2u);
      if (body.size() < length) refuse("a quantization table is too short", at);
      body = body.subspan(length);
    }
  }

  void read_application(std::uint64_t marker, Body body, std::uint64_t at) {
    const std::string_view text = text_of(body);
    const auto is = [&](std::uint64_t number, std::string_view name) {
      return marker == 0xe0 + number && text.starts_with(name);
    };
    constexpr std::string_view exif("Exif\0\0", 6), xmp("http://ns.adobe.com/xap/1.0/\0", 29),
        profile("ICC_PROFILE\0", 12), photoshop("Photoshop 3.0\0", 14);
    if ((is(0, "JFIF") || is(14, "Adobe")) && body.size() < 7)
      refuse("the JFIF or Adobe segment is too short", at);
    if (is(0, "JFIF") && body.size() >= 12 && (body[7] == std::byte{1} || body[7] == std::byte{2}))
      info_.has_density = true;
    if (is(1, exif)) info_.exif += text.substr(info_.exif.empty() ? 0 : exif.size());
    if (is(1, xmp)) info_.xmp = text.substr(xmp.size());
    if (is(2, profile)) profiles_.emplace_back(text);
    if (is(13, photoshop)) check_photoshop(body, at);
  }

  /// The only fault of these blocks that counts is a name that has no length.
  void check_photoshop(Body body, std::uint64_t at) const {
    const ByteReader in(body, in_.name());
    for (std::uint64_t block = 14; text_of(in.part_within(block, 4)) == "8BIM";) {
      if (!in.has(block + 4, 2)) return;
      const std::uint64_t code = in.big_endian(block + 4, 2);
      if (!in.has(block + 6, 1)) refuse("a block of the Photoshop segment is cut off", at);
      block += 7 + in.byte(block + 6);
      block += block & 1;
      if (!in.has(block, 4)) return;
      const std::uint64_t size = in.big_endian(block, 4);
      constexpr std::uint64_t resolution = 0x3ed, resolution_bytes = 14;
      if (code == resolution && in.part_within(block + 4, size).size() < resolution_bytes) return;
      block += 4 + size;
      block += block & 1;
    }
  }

  const ByteReader& in_;
  JpegInfo info_;
  std::vector<std::string> profiles_;  // segments of a colour profile
};

}}}  // namespace idefics::v0::detail
