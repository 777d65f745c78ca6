// Compressed TIFF data through libtiff, with the calls that Pillow makes.
#pragma once

#include <idefics/core/config.hpp>
#include <idefics/image/tiff_plain.hpp>

#ifndef IDEFICS_NO_TIFF

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <tiffio.h>

namespace idefics { inline namespace v0 { namespace detail {

/// A file in memory, as libtiff reads it; the first fault that it reports is kept for the message.
/// Nothing here allocates: an exception must not unwind through libtiff.
struct TiffMemory {
  std::span<const std::byte> bytes;
  std::uint64_t at = 0;
  std::array<char, 200> error{};

  static TiffMemory& of(thandle_t handle) { return *static_cast<TiffMemory*>(handle); }
  static tmsize_t read(thandle_t handle, void* to, tmsize_t size) {
    TiffMemory& file = of(handle);
    const std::uint64_t left =
                            file.bytes.size() - std::min<std::uint64_t>(file.at, file.bytes.size()),
                        count =
                            std::min(left, static_cast<std::uint64_t>(std::max<tmsize_t>(size, 0)));
    if (count > 0) std::memcpy(to, file.bytes.data() + file.at, count);
    file.at += count;
    return static_cast<tmsize_t>(count);
  }
  static tmsize_t write(thandle_t, void*, tmsize_t) { return 0; }
  static toff_t seek(thandle_t handle, toff_t offset, int whence) {
    TiffMemory& file = of(handle);
    const std::uint64_t base = whence == SEEK_CUR   ? file.at
                               : whence == SEEK_END ? file.bytes.size()
                                                    : 0;
    return file.at = base + offset;
  }
  static int close(thandle_t) { return 0; }
  static toff_t size(thandle_t handle) { return of(handle).bytes.size(); }
  static int map(thandle_t handle, void** base, toff_t* size) {
    const auto bytes = of(handle).bytes;
    *base = const_cast<std::byte*>(bytes.data()), *size = bytes.size();
    return 1;
  }
  static void unmap(thandle_t, void*, toff_t) {}
  static int on_error(TIFF*, void* self, const char*, const char* format, va_list values) {
    auto& error = static_cast<TiffMemory*>(self)->error;
    if (error[0] == '\0') std::vsnprintf(error.data(), error.size(), format, values);
    return 1;
  }
  static int on_warning(TIFF*, void*, const char*, const char*, va_list) { return 1; }
};

class TiffFile {
 public:
  TiffFile(std::span<const std::byte> bytes, const ImageLimits& limits) : memory_{bytes} {
    const std::unique_ptr<TIFFOpenOptions, void (*)(TIFFOpenOptions*)> options(
        TIFFOpenOptionsAlloc(), TIFFOpenOptionsFree);
    if (!options) throw std::bad_alloc();
    TIFFOpenOptionsSetMaxSingleMemAlloc(
        options.get(),
        static_cast<tmsize_t>(std::min<std::uint64_t>(limits.max_decoded_bytes, 1ull << 62)));
    TIFFOpenOptionsSetErrorHandlerExtR(options.get(), TiffMemory::on_error, &memory_);
    TIFFOpenOptionsSetWarningHandlerExtR(options.get(), TiffMemory::on_warning, &memory_);
    tiff_ = TIFFClientOpenExt("picture", "rC", &memory_, TiffMemory::read, TiffMemory::write,
                              TiffMemory::seek, TiffMemory::close, TiffMemory::size,
                              TiffMemory::map, TiffMemory::unmap, options.get());
  }
  TiffFile(const TiffFile&) = delete;
  TiffFile& operator=(const TiffFile&) = delete;
  ~TiffFile() {
    if (tiff_ != nullptr) TIFFClose(tiff_);
  }
  explicit operator bool() const { return tiff_ != nullptr; }
  operator TIFF*() const { return tiff_; }
  std::string error() const { return memory_.error.data(); }

  template <class T>
  T field(std::uint32_t tag, T missing) const {
    T value = missing;
    return TIFFGetFieldDefaulted(tiff_, tag, &value) == 1 ? value : missing;
  }

 private:
  TiffMemory memory_;
  TIFF* tiff_ = nullptr;
};

/// One picture of a TIFF file, decoded by libtiff.
class TiffDecoder {
 public:
  TiffDecoder(std::span<const std::byte> bytes, const TiffPicture& picture,
              const ImageLimits& limits, const std::string& name)
      : file_(bytes, limits), picture_(picture), limits_(limits), name_(name) {
    if (!file_) refuse("libtiff cannot open it");
  }

  /// Decodes the picture whose directory is at `offset`. As in Pillow, a directory that libtiff
  /// does not accept is a picture of zeros.
  void read(std::uint64_t offset, std::string raw, Bitmap& to) {
    if (offset > std::numeric_limits<std::uint32_t>::max()) refuse("its directory is too far away");
    if (TIFFSetSubDirectory(file_, offset) == 0) return;
    std::uint32_t width = 0, height = 0;
    TIFFGetField(file_, TIFFTAG_IMAGEWIDTH, &width);
    TIFFGetField(file_, TIFFTAG_IMAGELENGTH, &height);
    if (width != picture_.width || height != picture_.height) refuse("its size is ambiguous");
    std::uint16_t photometric = 0, compression = 0;
    TIFFGetField(file_, TIFFTAG_PHOTOMETRIC, &photometric);
    TIFFGetField(file_, TIFFTAG_COMPRESSION, &compression);
    const auto planar = file_.field<std::uint16_t>(TIFFTAG_PLANARCONFIG, 0);
    const auto unpacker = TiffUnpacker::find(picture_.mode.mode, raw);
    if (!unpacker) refuse_tiff(picture_.mode.mode + " from " + raw, name_);
    if (TIFFIsCODECConfigured(compression) == 0)
      refuse_tiff("libtiff lacks compression " + std::to_string(compression), name_);
    bool as_rgba = photometric == PHOTOMETRIC_YCBCR;
    if (as_rgba && compression == COMPRESSION_JPEG && planar == PLANARCONFIG_CONTIG) {
      TIFFSetField(file_, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
      as_rgba = false;
    }
    if (as_rgba) return read_as_rgba(*unpacker, to);
    choose_unpackers(*unpacker, planar, to);
    TIFFIsTiled(file_) != 0 ? read_tiles(to) : read_strips(to);
    divide_by_alpha(to);
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    fail(ErrorCode::invalid_image,
         "damaged TIFF: " + (file_ && !file_.error().empty() ? file_.error() : why),
         {.file = name_});
  }

  /// One for all samples, or one for each plane. Alpha next to grey in planes of its own gets lost,
  /// as in Pillow.
  void choose_unpackers(const TiffUnpacker& unpacker, std::uint16_t planar, const Bitmap& to) {
    bits_ = unpacker.bits();
    if (planar != PLANARCONFIG_SEPARATE || to.channels == 1) {
      unpackers_ = {unpacker};
      return;
    }
    const auto bits = file_.field<std::uint16_t>(TIFFTAG_BITSPERSAMPLE, 8);
    if (bits != 8 && bits != 16) refuse("planes of neither 8 nor 16 bits");
    for (std::size_t band = 0; band < to.channels; ++band)
      unpackers_.push_back(TiffUnpacker::plane(picture_.mode.mode, band, bits));
  }
  std::size_t planes() const { return unpackers_.size(); }
  bool keeps(std::size_t plane, const Bitmap& to) const { return plane == 0 || to.channels != 2; }

  /// A buffer for a strip or tile, within the limit.
  void allocate(tmsize_t size) {
    if (size <= 0) refuse("a strip or tile without data");
    check_memory(static_cast<std::uint64_t>(size) + picture_.width * picture_.height * 5, limits_,
                 name_);
    buffer_.assign(static_cast<std::size_t>(size), 0);
  }

  void put(std::size_t plane, const std::uint8_t* from, std::uint64_t x, std::uint64_t y,
           std::uint64_t count, Bitmap& to) const {
    if (keeps(plane, to))
      unpackers_[plane](from, &to.samples[(y * to.width + x) * to.channels], count);
  }

  void read_tiles(Bitmap& to) {
    const tmsize_t size = TIFFTileSize(file_), row = TIFFTileRowSize(file_);
    std::uint32_t width = 0, height = 0;
    TIFFGetField(file_, TIFFTAG_TILEWIDTH, &width);
    TIFFGetField(file_, TIFFTAG_TILELENGTH, &height);
    constexpr std::uint32_t most = std::numeric_limits<std::int32_t>::max();
    if (size <= 0 || row <= 0 || row > size || width == 0 || height == 0 || width > most ||
        height > most)
      refuse("its tiles have no size");
    if (static_cast<std::uint64_t>(size) >
        (std::uint64_t{height} * bits_ / planes() + 7) / 8 * width)
      refuse("its tiles are larger than their pixels");
    allocate(size);
    for (std::uint64_t y = 0; y < to.height; y += height)
      for (std::size_t plane = 0; plane < planes(); ++plane)
        for (std::uint64_t x = 0; x < to.width; x += width) {
          if (TIFFReadTile(file_, buffer_.data(), static_cast<std::uint32_t>(x),
                           static_cast<std::uint32_t>(y), 0,
                           static_cast<std::uint16_t>(plane)) == -1)
            refuse("a tile cannot be decoded");
          const std::uint64_t columns = std::min<std::uint64_t>(width, to.width - x),
                              rows = std::min<std::uint64_t>(height, to.height - y);
          require_row((columns * unpack_bits(plane) + 7) / 8, row);
          for (std::uint64_t k = 0; k < rows; ++k)
            put(plane, &buffer_[k * static_cast<std::uint64_t>(row)], x, y + k, columns, to);
        }
  }

  std::uint64_t unpack_bits(std::size_t plane) const { return unpackers_[plane].bits(); }
  void require_row(std::uint64_t needed, tmsize_t row) const {
    if (needed > static_cast<std::uint64_t>(row)) refuse("its rows are shorter than their pixels");
  }

  void read_strips(Bitmap& to) {
    std::uint32_t rows_per_strip = 0;
    if (TIFFGetField(file_, TIFFTAG_ROWSPERSTRIP, &rows_per_strip) != 1 ||
        rows_per_strip == std::numeric_limits<std::uint32_t>::max())
      rows_per_strip = static_cast<std::uint32_t>(to.height);
    const tmsize_t size = TIFFStripSize(file_), row = TIFFScanlineSize(file_);
    const std::uint64_t needed = (to.width * bits_ / planes() + 7) / 8;
    if (rows_per_strip == 0 || row <= 0 || size <= 0 || size > std::numeric_limits<int>::max())
      refuse("its strips have no size");
    if (static_cast<std::uint64_t>(size) > needed * rows_per_strip)
      refuse("its strips are larger than their pixels");
    require_row(std::max(needed, (to.width * unpack_bits(0) + 7) / 8), row);
    allocate(size);
    for (std::uint64_t y = 0; y < to.height; y += rows_per_strip)
      for (std::size_t plane = 0; plane < planes(); ++plane) {
        const auto strip = TIFFComputeStrip(file_, static_cast<std::uint32_t>(y),
                                            static_cast<std::uint16_t>(plane));
        if (TIFFReadEncodedStrip(file_, strip, buffer_.data(), size) == -1)
          refuse("a strip cannot be decoded");
        const std::uint64_t rows = std::min<std::uint64_t>(rows_per_strip, to.height - y);
        for (std::uint64_t k = 0; k < rows; ++k)
          put(plane, &buffer_[k * static_cast<std::uint64_t>(row)], 0, y + k, to.width, to);
      }
  }

  /// Luma and chroma other than JPEG's are converted by libtiff.
  void read_as_rgba(const TiffUnpacker& unpacker, Bitmap& to) {
    std::uint32_t rows = 0;
    const std::uint32_t tag = TIFFIsTiled(file_) != 0 ? TIFFTAG_TILELENGTH : TIFFTAG_ROWSPERSTRIP;
    if (TIFFGetFieldDefaulted(file_, tag, &rows) != 1 ||
        rows == std::numeric_limits<std::uint32_t>::max() || rows == 0)
      rows = static_cast<std::uint32_t>(to.height);
    char message[1024] = "";
    TIFFRGBAImage image{};
    if (TIFFRGBAImageOK(file_, message) == 0 || TIFFRGBAImageBegin(&image, file_, 0, message) == 0)
      refuse(message);
    const std::unique_ptr<TIFFRGBAImage, void (*)(TIFFRGBAImage*)> release(&image,
                                                                           TIFFRGBAImageEnd);
    image.orientation = image.req_orientation = ORIENTATION_TOPLEFT;
    image.col_offset = 0;
    rows = static_cast<std::uint32_t>(std::min<std::uint64_t>(rows, to.height));
    allocate(static_cast<tmsize_t>(std::uint64_t{rows} * to.width * 4));
    for (std::uint64_t y = 0; y < to.height; y += rows) {
      image.row_offset = static_cast<int>(y);
      const std::uint64_t count = std::min<std::uint64_t>(rows, to.height - y);
      if (TIFFRGBAImageGet(&image, reinterpret_cast<std::uint32_t*>(buffer_.data()),
                           static_cast<std::uint32_t>(to.width),
                           static_cast<std::uint32_t>(count)) == 0)
        refuse("its pixels cannot be converted");
      for (std::uint64_t k = 0; k < count; ++k)
        unpacker(&buffer_[k * to.width * 4], &to.samples[(y + k) * to.width * to.channels],
                 to.width);
    }
  }

  /// Of planes, alpha is the last, so that the colours can be divided only now.
  void divide_by_alpha(Bitmap& to) const {
    if (planes() <= 3 || picture_.mode.mode != "RGBA") return;
    std::uint16_t count = 0, *kinds = nullptr;
    TIFFGetFieldDefaulted(file_, TIFFTAG_EXTRASAMPLES, &count, &kinds);
    if (count < 1 || (kinds[0] != EXTRASAMPLE_UNSPECIFIED && kinds[0] != EXTRASAMPLE_ASSOCALPHA))
      return;
    for (std::size_t i = 0; i < to.samples.size(); i += 4) TiffUnpacker::divide(&to.samples[i]);
  }

  TiffFile file_;
  const TiffPicture& picture_;
  const ImageLimits& limits_;
  const std::string& name_;
  std::uint64_t bits_ = 0;
  std::vector<TiffUnpacker> unpackers_;
  std::vector<std::uint8_t> buffer_;
};

/// Whether this build can decode compressed TIFF.
inline constexpr bool has_tiff_library = true;

inline void read_packed_tiff(const ByteReader& in, std::uint64_t directory,
                             const TiffPicture& picture, const std::string& raw,
                             const ImageLimits& limits, Bitmap& to) {
  TiffDecoder(in.bytes(), picture, limits, in.name()).read(directory, raw, to);
}

}}}  // namespace idefics::v0::detail

#else

namespace idefics { inline namespace v0 { namespace detail {

inline constexpr bool has_tiff_library = false;

inline void read_packed_tiff(const ByteReader& in, std::uint64_t, const TiffPicture&,
                             const std::string&, const ImageLimits&, Bitmap&) {
  fail(ErrorCode::unsupported_image, "compressed TIFF: this build has no libtiff",
       {.file = in.name()});
}

}}}  // namespace idefics::v0::detail

#endif
