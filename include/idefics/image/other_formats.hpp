// Names of formats that are not read, for the message about such a file.
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <string_view>

#include <idefics/image/guards.hpp>

namespace idefics { inline namespace v0 { namespace detail {

struct OtherFormat {
  std::string_view name, magic;
  std::size_t at = 0;  // where the file has the magic
};

inline constexpr std::array other_formats{
    OtherFormat{"a JPEG 2000 picture", {"\0\0\0\x0cjP  ", 8}},
    OtherFormat{"a JPEG 2000 picture", "\xff\x4f\xff\x51"},
    OtherFormat{"a JPEG XL picture", {"\0\0\0\x0cJXL ", 8}},
    OtherFormat{"a JPEG XL picture", "\xff\x0a"},
    OtherFormat{"a JPEG XR picture", "II\xbc"},
    OtherFormat{"a Photoshop document", "8BPS"},
    OtherFormat{"a DDS texture", "DDS "},
    OtherFormat{"an Apple icon", "icns"},
    OtherFormat{"an SGI picture", "\x01\xda"},
    OtherFormat{"a Sun raster picture", "\x59\xa6\x6a\x95"},
    OtherFormat{"a PAM picture", "P7\n"},
    OtherFormat{"an OpenEXR picture", "\x76\x2f\x31\x01"},
    OtherFormat{"a Radiance HDR picture", "#?R"},
    OtherFormat{"an XBM picture", "#define"},
    OtherFormat{"an XPM picture", "/* XPM */"},
    OtherFormat{"a FITS file", "SIMPLE"},
    OtherFormat{"a DICOM file", "DICM", 128},
    OtherFormat{"an HDF5 file", "\x89HDF"},
    OtherFormat{"a Windows metafile", "\xd7\xcd\xc6\x9a"},
    OtherFormat{"an enhanced metafile", " EMF", 40},
    OtherFormat{"PostScript", "%!PS"},
    OtherFormat{"PostScript", "\xc5\xd0\xd3\xc6"},
    OtherFormat{"a PDF document", "%PDF"},
    OtherFormat{"an MNG animation", "\x8aMNG"},
    OtherFormat{"a Matroska or WebM video", "\x1a\x45\xdf\xa3"},
    OtherFormat{"an AVI video", "AVI ", 8},
    OtherFormat{"a WAV sound", "WAVE", 8},
    OtherFormat{"an MPEG video", {"\0\0\1\xba", 4}},
    OtherFormat{"an MPEG video", {"\0\0\1\xb3", 4}},
    OtherFormat{"a Flash video", "FLV\1"},
    OtherFormat{"an Ogg file", "OggS"},
    OtherFormat{"an MP3 sound", "ID3"},
    OtherFormat{"an MP4 video, or another file of its container", "ftyp", 4},
    OtherFormat{"a zip archive", "PK\3\4"},
    OtherFormat{"a gzip archive", "\x1f\x8b"},
    OtherFormat{"an ELF program",
                "\x7f"
                "ELF"},
};

/// Whether a text in capital or small letters begins with `start`, which is in small ones.
inline bool begins_text(std::string_view text, std::string_view start) {
  const auto lower = [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  return text.size() >= start.size() &&
         std::ranges::equal(text.substr(0, start.size()), start, {}, lower);
}

/// Whether the name is that of text: no picture that another program could show.
inline bool is_text_format(std::string_view name) {
  return name == "JSON" || name == "an HTML page" || name == "an XML document";
}

/// What a file is that is not a picture of a format that is read; empty if that is not known.
inline std::string_view name_other_format(std::span<const std::byte> encoded) {
  const std::string_view text = text_of(encoded.first(std::min<std::size_t>(encoded.size(), 1024)));
  for (const OtherFormat& other : other_formats)
    if (text.size() > other.at && text.substr(other.at).starts_with(other.magic)) return other.name;
  std::string_view markup = text;
  if (markup.starts_with("\xef\xbb\xbf")) markup.remove_prefix(3);
  markup.remove_prefix(std::min(markup.find_first_not_of(" \t\r\n"), markup.size()));
  if (begins_text(markup, "<svg")) return "an SVG drawing";
  if (begins_text(markup, "<!doctype html") || begins_text(markup, "<html")) return "an HTML page";
  if (begins_text(markup, "<?xml") || begins_text(markup, "<!doctype"))
    return markup.find("<svg") != markup.npos ? "an SVG drawing" : "an XML document";
  if (markup.starts_with('{') || markup.starts_with("[\n")) return "JSON";
  // a version of PCX, and run-length encoding
  if (text.size() > 3 && text[0] == '\x0a' && text[1] <= 5 && text[2] <= 1) return "a PCX picture";
  return {};
}

}}}  // namespace idefics::v0::detail
