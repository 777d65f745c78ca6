// zlib's inflate, with errors as values and memory released by destructors.
#pragma once

#include <cstdint>
#include <new>
#include <span>
#include <string>

#include <zlib.h>

namespace idefics { inline namespace v0 { namespace detail {

/// One stream of compressed data, which is fed in pieces.
class Inflate {
 public:
  Inflate() {
    if (inflateInit(&stream_) != Z_OK) throw std::bad_alloc();
  }
  Inflate(const Inflate&) = delete;
  Inflate& operator=(const Inflate&) = delete;
  ~Inflate() { inflateEnd(&stream_); }

  void set_input(std::span<const std::byte> bytes) {
    stream_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes.data()));
    stream_.avail_in = static_cast<uInt>(bytes.size());
  }
  bool has_input() const { return stream_.avail_in > 0; }
  /// Fills `out` as far as the input goes; returns the number of bytes written.
  std::size_t read(std::span<std::uint8_t> out) {
    stream_.next_out = out.data();
    stream_.avail_out = static_cast<uInt>(out.size());
    status_ = ::inflate(&stream_, Z_NO_FLUSH);
    if (status_ == Z_MEM_ERROR) throw std::bad_alloc();
    return out.size() - stream_.avail_out;
  }
  bool ended() const { return status_ == Z_STREAM_END; }
  bool damaged() const { return status_ < 0 && status_ != Z_BUF_ERROR; }
  bool needs_dictionary() const { return status_ == Z_NEED_DICT; }
  std::string message() const { return stream_.msg == nullptr ? "damaged data" : stream_.msg; }

 private:
  z_stream stream_{};
  int status_ = Z_OK;
};

/// The result of unpacking metadata of a picture.
struct Unpacked {
  std::string text{};
  bool too_large = false, damaged = false;
};

/// Unpacks at most `limit` bytes. `too_large` if more input follows then.
inline Unpacked unpack_text(std::span<const std::byte> packed, std::size_t limit) {
  Unpacked result;
  Inflate stream;
  stream.set_input(packed);
  while (stream.has_input() && !stream.ended()) {
    const std::size_t begin = result.text.size();
    if (begin == limit) {
      result.too_large = true;
      return result;
    }
    constexpr std::size_t step = 1u << 14;
    result.text.resize(std::min(limit, begin + step));
    const std::size_t count = stream.read(
        {reinterpret_cast<std::uint8_t*>(result.text.data()) + begin, result.text.size() - begin});
    result.text.resize(begin + count);
    result.damaged = stream.damaged() || stream.needs_dictionary();
    if (result.damaged) return result;
  }
  return result;
}

}}}  // namespace idefics::v0::detail
