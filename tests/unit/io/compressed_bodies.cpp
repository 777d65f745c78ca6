// Bodies with a content or transfer encoding. The encoders are written here, so that a bomb can be
// made without the data that it stands for.
#include <idefics/io/url.hpp>

#include "support/catch.hpp"
#include "support/fetched.hpp"
#include "support/http_server.hpp"

using namespace idefics;
using testing::answer;
using testing::HttpServer;
using testing::local;
using testing::outcome;
using testing::Reply;

namespace {

/// Deflate, bit by bit.
class Deflate {
 public:
  void bits(unsigned value, int count) {
    for (int i = 0; i < count; ++i) bit(value >> i & 1);
  }
  void code(unsigned value, int count) {
    for (int i = count; i-- > 0;) bit(value >> i & 1);
  }
  /// A block of fixed codes: a zero byte, then `runs` times 258 copies of it.
  void zeros(std::size_t runs) {
    bits(1, 1), bits(1, 2), code(0x30, 8);
    for (std::size_t i = 0; i < runs; ++i) code(0xc5, 8), code(0, 5);
    code(0, 7);
  }
  void stored(const std::string& text) {
    const auto size = static_cast<unsigned>(text.size());
    bits(1, 3), bits(0, 5), bits(size, 16), bits(~size, 16);
    for (const char c : text) bits(static_cast<unsigned char>(c), 8);
  }
  std::string take() {
    while (used_ != 0) bit(0);
    return std::move(bytes_);
  }

 private:
  void bit(unsigned value) {
    if (used_ == 0) bytes_.push_back('\0');
    bytes_.back() = static_cast<char>(static_cast<unsigned char>(bytes_.back()) | value << used_);
    used_ = (used_ + 1) % 8;
  }
  std::string bytes_;
  int used_ = 0;
};

std::string little_endian(std::uint32_t value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string gzip(const std::string& text) {
  Deflate deflate;
  deflate.stored(text);
  std::uint32_t crc = ~0u;
  for (const char c : text) {
    crc ^= static_cast<unsigned char>(c);
    for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
  }
  return std::string("\x1f\x8b\x08\0\0\0\0\0\0\xff", 10) + deflate.take() + little_endian(~crc) +
         little_endian(static_cast<std::uint32_t>(text.size()));
}

std::string zlib(const std::string& text) {
  Deflate deflate;
  deflate.stored(text);
  std::uint32_t a = 1, b = 0;
  for (const char c : text) a = (a + static_cast<unsigned char>(c)) % 65521, b = (b + a) % 65521;
  std::string sum = little_endian(b << 16 | a);
  return "\x78\x01" + deflate.take() + std::string(sum.rbegin(), sum.rend());
}

/// 258 * runs + 1 zero bytes.
std::string zeros(std::size_t runs) {
  Deflate deflate;
  deflate.zeros(runs);
  return deflate.take();
}

std::string gzip_bomb(std::size_t runs) {
  return std::string("\x1f\x8b\x08\0\0\0\0\0\0\xff", 10) + zeros(runs);
}

Reply compressed_site(const std::string& target, const std::string& head) {
  const auto coded = [](const char* encoding, const std::string& body) {
    return answer("200 OK", body, "Content-Encoding: " + std::string(encoding) + "\r\n");
  };
  if (target == "/asked")
    return answer("200 OK", head.find("\r\nAccept-Encoding: gzip, deflate\r\n") != std::string::npos
                                ? "asked"
                                : "not asked");
  if (target == "/gzip") return coded("gzip", gzip("pixels"));
  if (target == "/x-gzip") return coded("x-gzip", gzip("pixels"));
  if (target == "/deflate") return coded("deflate", zlib("pixels"));
  if (target == "/raw") {
    Deflate deflate;
    deflate.stored("pixels");
    return coded("deflate", deflate.take());
  }
  if (target == "/twice") return coded("gzip, gzip", gzip(gzip("pixels")));
  if (target == "/transfer")
    return {.parts = {"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: gzip\r\n\r\n" +
                      gzip("pixels")}};
  if (target == "/damaged") return coded("gzip", gzip("pixels").replace(0, 2, "xx"));
  if (target == "/alien") return coded("rot13", "cvkryf");
  if (target == "/zeros") return coded("deflate", zeros(1000));
  if (target == "/bomb") return coded("gzip", gzip_bomb(1'000'000));  // 258 MB in 1.6 MB
  if (target == "/bombs") return coded("gzip, gzip", gzip(gzip_bomb(40'000).substr(0, 60'000)));
  return answer("404 Not Found", "none");
}

}  // namespace

TEST_CASE("compressed bodies are decoded, within the limit of the decoded size") {
  const HttpServer server(compressed_site);
  for (const char* path : {"/gzip", "/x-gzip", "/deflate", "/raw", "/twice", "/transfer"}) {
    INFO(path);
    CHECK(outcome(server.root() + path, local()) == "pixels");
    FetchOptions tight = local();
    tight.max_bytes = 5;
    CHECK(outcome(server.root() + path, tight) == "fetch_failed");
  }
  CHECK(outcome(server.root() + "/asked", local()) == "asked");
  CHECK(outcome(server.root() + "/damaged", local()) == "fetch_failed");
  CHECK(outcome(server.root() + "/alien", local()) == "fetch_failed");
  FetchOptions exact = local();
  exact.max_bytes = 258'001;
  CHECK(outcome(server.root() + "/zeros", exact) == std::string(258'001, '\0'));
  exact.max_bytes -= 1;
  CHECK(outcome(server.root() + "/zeros", exact) == "fetch_failed");
  std::string message;
  FetchOptions limited = local();
  limited.max_bytes = 4 << 20;
  for (const char* path : {"/bomb", "/bombs"}) {
    CHECK(outcome(server.root() + path, limited, &message) == "fetch_failed");
    CHECK(message.find("too large") != std::string::npos);
    CHECK(message.find("[limit: 4194304]") != std::string::npos);
  }
}
