// Pictures with one fault each: of every format, what is refused and with which code.
#include <sys/stat.h>

#include <zlib.h>

#include <idefics/image/decode.hpp>
#include <idefics/image/decode_webp.hpp>

#include "support/fault.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;
using enum ErrorCode;

namespace {

const std::filesystem::path source = IDEFICS_SOURCE_DIR;
const std::filesystem::path picture = source / "samples/pictures/pink-boat.png";

/// A fault that writes one file and opens it as a picture.
testing::Fault opening(const char* what, ErrorCode code, std::string content, bool limit = false) {
  const auto act = [content = std::move(content)] {
    const testing::TempDir directory;
    (void)Image::open(directory.write("picture", content));
  };
  return {what, code, act, "picture", "", "", limit};
}

std::string little_endian(std::uint32_t value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

/// A file of the fuzzers' corpus, with `change` made to it.
std::string corpus(const std::string& name, const std::function<void(std::string&)>& change = {}) {
  std::string file = detail::read_file(source / "tests/fuzz/corpus" / name, 1 << 16);
  if (change) change(file);
  return file;
}

/// A chunk of a PNG.
std::string png_chunk(const std::string& type, const std::string& body) {
  const std::string whole = type + body;
  const auto sum =
      crc32(0, reinterpret_cast<const Bytef*>(whole.data()), static_cast<uInt>(whole.size()));
  const auto big_endian = [](std::uint64_t value) {
    return std::string{static_cast<char>(value >> 24), static_cast<char>(value >> 16),
                       static_cast<char>(value >> 8), static_cast<char>(value)};
  };
  return big_endian(body.size()) + whole + big_endian(sum);
}

/// A PNG of the corpus with another chunk after its header.
std::string png(const std::string& type, const std::string& body) {
  return corpus("image/png_rgb",
                [&](std::string& file) { file.insert(33, png_chunk(type, body)); });
}

/// A PNG of the corpus with something before the chunk of this type.
std::string png_before(const char* name, const char* type, const std::string& inserted) {
  return corpus(name, [&](std::string& file) { file.insert(file.find(type) - 4, inserted); });
}

/// The error message of a picture.
std::string message(const std::string& file, const ImageOptions& options = {}) {
  try {
    (void)Image::decode(std::as_bytes(std::span(file)), "picture", options);
  } catch (const Error& error) {
    return error.what();
  }
  return "decoded";
}

}  // namespace

TEST_CASE("pictures that cannot be decoded are refused") {
  const std::string png = detail::read_file(picture, 1 << 20), signature("\x89PNG\r\n\x1a\n");
  const std::string header("\0\0\0\x0dIHDR", 8);
  std::string damaged = png;
  damaged[damaged.size() / 2] ^= 1;
  std::string two_billion = "BM" + std::string(8, '\0') + little_endian(54) + little_endian(40) +
                            little_endian(2'000'000) + little_endian(10) +
                            std::string("\1\0\x18\0", 4) + std::string(24, '\0');
  const std::string large(4, '\xff'), bomb = "GIF89a" + large + std::string(3, '\0') + "," +
                                             std::string(4, '\0') + large + std::string(3, '\0');
  const testing::Fault faults[] = {
      opening("an empty file", invalid_image, ""),
      opening("a text", invalid_image, "this is not a picture"),
      opening("a Git LFS pointer", git_lfs_pointer, "version https://git-lfs.github.com/spec/v1\n"),
      opening("a truncated PNG", invalid_image, png.substr(0, png.size() / 2)),
      opening("a flipped bit", invalid_image, damaged),
      opening("a PNG without a header", invalid_image, signature),
      opening("a PNG truncated within its header", invalid_image, signature + header, true),
      opening("a BMP wider than allowed", image_too_large, two_billion, true),
      opening("a GIF of 65535 x 65535", image_too_large, bomb, true),
  };
  for (const auto& fault : faults) testing::check(fault);
  testing::check({"no file", file_not_found, [] { (void)Image::open("/nowhere/a.png"); }, "a.png"});
  testing::check(
      {"a directory", file_not_found, [] { (void)Image::open(source / "samples/tiny"); }, "tiny"});
  testing::check({"a pipe", file_not_found,
                  [] {
                    const testing::TempDir directory;
                    ::mkfifo((directory.path() / "pipe").c_str(), 0600);
                    (void)Image::open(directory.path() / "pipe");
                  },
                  "pipe"});
  testing::check({"a file larger than allowed", image_too_large,
                  [] { (void)Image::open(picture, {.limits = {.max_file_bytes = 100}}); }, ".png",
                  "", "", true});
  testing::check({"more pixels than allowed", image_too_large,
                  [] { (void)Image::open(picture, {.limits = {.max_pixels = 100}}); }, ".png", "",
                  "", true});
  testing::check({"more memory than allowed", image_too_large,
                  [] { (void)Image::open(picture, {.limits = {.max_decoded_bytes = 100}}); },
                  ".png", "", "", true});
}

TEST_CASE("a sound picture with an unsupported feature is not called damaged") {
  const auto jpeg = [](std::size_t at, char value) {  // counted from the frame's marker
    return corpus("image/jpeg_0",
                  [=](std::string& file) { file[file.find("\xff\xc0") + at] = value; });
  };
  const testing::Fault faults[] = {
      opening("12 bits per component", unsupported_image, jpeg(4, 12)),
      opening("lossless JPEG", unsupported_image, jpeg(1, '\xc3')),
      opening("two components", unsupported_image, jpeg(9, 2)),
      opening("a BMP of 2 bits", unsupported_image,
              corpus("image/bmp_l", [](std::string& file) { file[28] = 2; })),
      opening("a TIFF of unknown compression", unsupported_image,
              std::string("II*\0\x08\0\0\0\3\0", 10) + std::string("\0\1\3\0\1\0\0\0\1\0\0\0", 12) +
                  std::string("\1\1\3\0\1\0\0\0\1\0\0\0", 12) +
                  std::string("\3\1\3\0\1\0\0\0\x63\0\0\0\0\0\0\0", 16)),
      opening("a PDF document", unsupported_image, "%PDF-1.7\n"),
      opening("an HTML page", invalid_image, "\n<!DOCTYPE html><html></html>"),
      opening("a JPEG XL picture", unsupported_image, "\xff\x0a\x7f\x01"),
      opening("an MP4 video", unsupported_image, std::string("\0\0\0\030ftypisom1234", 16)),
      opening("a Photoshop document", unsupported_image, "8BPS\1"),
  };
  for (const auto& fault : faults) testing::check(fault);
}

TEST_CASE("damaged files of the newer formats are refused") {
  [[maybe_unused]] const auto cut = [](std::string& file) { file.resize(file.size() * 2 / 3); };
  const testing::Fault faults[] = {
      opening("an icon without pictures", invalid_image, std::string("\0\0\1\0\0\0", 6)),
      opening("a PGM with a pixel above its largest", invalid_image, "P2 1 1 7 8 "),
      opening("a PPM that is cut off", invalid_image, "P6 2 2 255 abc", true),
      opening("a QOI that is cut off", invalid_image,
              corpus("image/qoi_form_r0", [](std::string& file) { file.resize(20); }), true),
      opening("a TGA without pixels", invalid_image,
              std::string("\0\0\2\0\0\0\0\0\0\0\0\0\4\0\4\0\x18\0", 18), true),
      opening("a TIFF without a directory", invalid_image, std::string("II*\0\0\0\0\0", 8)),
#ifndef IDEFICS_NO_AVIF
      opening("an AVIF that is cut off", invalid_image,
              corpus("avif/avif_form_RGB_4_2_0_full", cut)),
#endif
#ifndef IDEFICS_NO_HEIF
      opening("a HEIC that is cut off", invalid_image, corpus("avif/heic_form_RGB_444_2", cut)),
#endif
  };
  for (const auto& fault : faults) testing::check(fault);
}

/// A JPEG that begins so many scans.
[[maybe_unused]] std::string jpeg_of_scans(int count) {
  const std::string jpeg = corpus("image/jpeg_progressive");
  const std::size_t scan = jpeg.find("\xff\xda"),
                    length = 2 + static_cast<unsigned char>(jpeg[scan + 3]);
  std::string scans = jpeg.substr(0, scan);
  for (int i = 0; i < count; ++i) scans += jpeg.substr(scan, length);
  return scans;
}

TEST_CASE("files that claim or cost too much are refused") {
  std::string packed(1u << 14, '\0');
  uLongf size = packed.size();
  const std::string zeros(3u << 20, '\0');
  REQUIRE(compress(reinterpret_cast<Bytef*>(packed.data()), &size,
                   reinterpret_cast<const Bytef*>(zeros.data()), zeros.size()) == Z_OK);
  packed.resize(size);
  const std::string rle = corpus("image/bmp_rgb", [](std::string& file) { file[30] = 1; });
  const testing::Fault faults[] = {
#ifndef IDEFICS_NO_LIBJPEG
      opening("120 scans", unsupported_image, jpeg_of_scans(120), true),
#endif
      opening("a text of 3 MiB", image_too_large, png("zTXt", std::string("k\0\0", 3) + packed),
              true),
      opening("a text of unknown compression", invalid_image,
              png("zTXt", std::string("k\0\1", 3) + packed)),
      opening("frames out of order", invalid_image,
              png("fcTL", std::string("\0\0\0\1", 4) + std::string(22, '\0'))),
      opening("a frame outside its canvas", invalid_image,
              png("fcTL", std::string(4, '\0') + std::string(22, '\1'))),
      opening("runs of colours", unsupported_image, rle),
      opening("a run of a TGA longer than its row", invalid_image,
              std::string("\0\0\x0b\0\0\0\0\0\0\0\0\0\4\0\4\0\x08\0\xff\0", 20)),
  };
  for (const auto& fault : faults) testing::check(fault);
}

TEST_CASE("a PNG whose chunks contradict the format is refused") {
  const std::string frame = png_chunk("fcTL", std::string(26, '\0')), number("\0\0\0\1", 4);
  const std::string text(1u << 20, ' ');
  std::string packed(1u << 14, '\0'), texts;
  uLongf size = packed.size();
  REQUIRE(compress(reinterpret_cast<Bytef*>(packed.data()), &size,
                   reinterpret_cast<const Bytef*>(text.data()), text.size()) == Z_OK);
  for (int i = 0; i < 65; ++i)
    texts += png_chunk("zTXt", std::string("k\0\0", 3) + packed.substr(0, size));
  const auto changed = [](std::size_t at, char value) {
    return corpus("image/png_rgb", [&](std::string& file) { file[at] = value; });
  };
  const testing::Fault faults[] = {
      opening("a palette of 257 colours", invalid_image,
              png_before("image/png_p", "IDAT", png_chunk("PLTE", std::string(3 * 257, ' '))),
              true),
      opening("257 levels of transparency", invalid_image,
              png_before("image/png_p", "IDAT", png_chunk("tRNS", std::string(257, ' '))), true),
      opening("a short header", invalid_image, png("IHDR", std::string(12, '\0'))),
      opening("pixels of a frame before the header", invalid_image,
              png_before("image/png_rgb", "IHDR", frame + png_chunk("fdAT", number))),
      opening("a frame without a number", invalid_image, png("fdAT", "abc")),
      opening("a frame in a still picture", invalid_image, png("fdAT", number)),
      opening("colours of a wrong length", invalid_image, png("cHRM", "abc")),
      opening("a profile of unknown compression", invalid_image,
              png("iCCP", std::string("k\0\1", 3))),
      opening("an unknown kind of filters", invalid_image, changed(16 + 11, 1)),
      opening("no pixels", invalid_image, png("IEND", "")),
      opening("65 MiB of texts", image_too_large, png_before("image/png_rgb", "IDAT", texts), true),
  };
  for (const auto& fault : faults) testing::check(fault);
  // what Pillow passes over
  CHECK(message(png("acTL", number + number)) == "decoded");
  CHECK(message(png_before(
            "image/png_rgb", "IDAT",
            png_chunk("acTL", number + number) + png_chunk("acTL", number + number))) == "decoded");
  CHECK(message(png_before("image/png_rgb", "IEND", png_chunk("IDAT", "more"))) == "decoded");
  for (const char* profile : {"4A4b\n4C", "4a 4", "4g", "4:", "4G", "4", "\t4\v4\x1f"}) {
    const std::string file =
        png("tEXt", std::string("Raw profile type exif\0\nexif\n 3\n", 32) + profile);
    CHECK(message(file) == "decoded");
    CHECK(message(file, ImageOptions::load_image()).starts_with("the EXIF data"));
  }
}

TEST_CASE("what a file is, or where it ends, is part of the message") {
  CHECK(message("%PDF-1.7") == "this is a PDF document, which is not supported [file: picture]");
#ifndef IDEFICS_NO_LIBJPEG
  CHECK(message(corpus("image/jpeg_cut")) ==
        "damaged JPEG: it ends before its last row [file: picture]");
#endif
#ifndef IDEFICS_NO_LIBJPEG
  const std::string profile("\xff\xe2\0\x0eICC_PROFILE\0", 16);
  CHECK(message(corpus("image/jpeg_0", [&](std::string& file) {
          file.insert(2, profile);
        })).find("a part of its colour profile has no number") != std::string::npos);
#endif
  CHECK(message("this is not a picture") == "not a picture of a known format [file: picture]");
  const auto named = [](const std::string& file) { return message(file).substr(0, 26); };
  CHECK(named("\xef\xbb\xbf <?xml version=\"1.0\"?><svg/>") == "this is an SVG drawing, wh");
  CHECK(named("<svg xmlns=\"\"/>") == "this is an SVG drawing, wh");
  CHECK(named("<!DOCTYPE note><note/>") == "this is an XML document, n");
  CHECK(named("<html></html>") == "this is an HTML page, not ");
  CHECK(named("{\"a\": 1}") == "this is JSON, not a pictur");
  CHECK(named("[\n1]") == "this is JSON, not a pictur");
}

TEST_CASE("limits for servers are lower, and pictures of many pixels are a warning") {
  const std::string large = "P5 9000 5000 255 ";  // of which the pixels are not even there
  CHECK(message(large).starts_with("the picture is cut off"));
  const ImageOptions server{.limits = ImageLimits::for_servers()};
  CHECK(message(large, server).starts_with("9000 x 5000 pixels"));
#ifndef IDEFICS_NO_LIBJPEG
  const std::string huge = corpus("image/jpeg_0", [](std::string& file) {
    file.replace(file.find("\xff\xc0") + 5, 4, "\x24\xf3\x24\xf3");
  });
  CHECK(message(huge, server).starts_with("9459 x 9459 pixels"));
  CHECK(message(jpeg_of_scans(40), server).starts_with("unsupported JPEG: more scans"));
  CHECK_FALSE(message(jpeg_of_scans(40)).starts_with("unsupported JPEG: more scans"));
#endif
  std::string warning;
  const ImageOptions options{.limits = {.warn_pixels = 5},
                             .on_warning = [&](const std::string& text) { warning = text; }};
  const std::string small = "P5 3 2 255 abcdef";
  CHECK(message(small, options) == "decoded");
  CHECK(warning == "the picture has 6 pixels [file: picture]");
}

TEST_CASE("a GIF without a palette is grey, and a comment of a PGM may be long") {
  const std::string gif("GIF89a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2\x4c\1\0;", 28);
  const Image grey = Image::decode(std::as_bytes(std::span(gif)), "picture");
  CHECK(grey.rgb == std::vector<std::uint8_t>{1, 1, 1});
  const std::string pgm = "P2 2 1 255 7 #" + std::string(3u << 20, 'x') + "\n 9";
  CHECK(Image::decode(std::as_bytes(std::span(pgm)), "picture").rgb ==
        std::vector<std::uint8_t>{7, 7, 7, 9, 9, 9});
}

#ifndef IDEFICS_NO_WEBP
TEST_CASE("only WebP pictures that may be lossless ask for the address space of tables") {
  const auto asks = [](const char* name) {
    const std::string file = corpus(name);
    return detail::may_be_lossless(
        {reinterpret_cast<const std::uint8_t*>(file.data()), file.size()});
  };
  CHECK(!asks("image/webp"));
  CHECK(asks("image/webp_lossless"));
  CHECK(asks("image/webp_form_RGBAx"));  // with alpha, which is stored without loss
}
#endif
