// SHA-256, which names large files of the hub, and SHA-1, with which Git names the others. Source:
// FIPS 180-4; Git's object format. Both are fed piece by piece.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace idefics { inline namespace v0 { namespace detail {

/// What the two hashes share: blocks of 64 bytes, and an end of 0x80, zeros and the length in bits.
/// `Rules` has the initial state and what a block does to it.
template <class Rules>
class Digest {
 public:
  void add(std::span<const std::byte> bytes) {
    total_ += bytes.size();
    if (filled_ > 0) {
      const std::size_t taken = std::min(bytes.size(), block_.size() - filled_);
      std::memcpy(block_.data() + filled_, bytes.data(), taken);
      filled_ += taken;
      bytes = bytes.subspan(taken);
      if (filled_ < block_.size()) return;
      Rules::mix(state_, block_.data());
      filled_ = 0;
    }
    for (; bytes.size() >= block_.size(); bytes = bytes.subspan(block_.size()))
      Rules::mix(state_, bytes.data());
    if (!bytes.empty()) std::memcpy(block_.data(), bytes.data(), bytes.size());
    filled_ = bytes.size();
  }
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }

  /// The hash of everything added, as hexadecimal digits. More can be added after it.
  std::string hex() const {
    Digest copy = *this;
    const std::uint64_t bits = total_ * 8;
    std::array<std::byte, 72> end{std::byte{0x80}};
    const std::size_t zeros = (119 - filled_) % 64;
    for (std::size_t i = 0; i < 8; ++i)
      end[1 + zeros + i] = static_cast<std::byte>(bits >> (56 - 8 * i));
    copy.add(std::span(end).first(9 + zeros));
    std::string text;
    for (const std::uint32_t word : copy.state_)
      for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[word >> shift & 15];
    return text;
  }

 private:
  std::array<std::uint32_t, Rules::initial.size()> state_ = Rules::initial;
  std::array<std::byte, 64> block_{};
  std::size_t filled_ = 0;
  std::uint64_t total_ = 0;
};

/// Word i of a block, which is big-endian.
inline std::uint32_t word_of(const std::byte* block, std::size_t i) {
  std::array<std::uint32_t, 4> b{};
  for (std::size_t j = 0; j < 4; ++j) b[j] = std::to_integer<std::uint32_t>(block[4 * i + j]);
  return b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
}

struct Sha256Rules {
  static constexpr std::array<std::uint32_t, 8> initial{0x6a09e667, 0xbb67ae85, 0x3c6ef372,
                                                        0xa54ff53a, 0x510e527f, 0x9b05688c,
                                                        0x1f83d9ab, 0x5be0cd19};
  static constexpr std::array<std::uint32_t, 64> constants{
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
      0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
      0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
      0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
      0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
      0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
      0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
      0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
      0xc67178f2};

  static void mix(std::array<std::uint32_t, 8>& state, const std::byte* block) {
    std::array<std::uint32_t, 64> w{};
    for (std::size_t i = 0; i < 16; ++i) w[i] = word_of(block, i);
    for (std::size_t i = 16; i < 64; ++i) {
      const std::uint32_t x = w[i - 15], y = w[i - 2];
      w[i] = w[i - 16] + (std::rotr(x, 7) ^ std::rotr(x, 18) ^ x >> 3) + w[i - 7] +
             (std::rotr(y, 17) ^ std::rotr(y, 19) ^ y >> 10);
    }
    auto [a, b, c, d, e, f, g, h] = state;
    // eight rounds at a time: instead of moving each word to the next name, the names move
    for (std::size_t i = 0; i < 64; i += 8) {
      round(a, b, c, d, e, f, g, h, constants[i] + w[i]);
      round(h, a, b, c, d, e, f, g, constants[i + 1] + w[i + 1]);
      round(g, h, a, b, c, d, e, f, constants[i + 2] + w[i + 2]);
      round(f, g, h, a, b, c, d, e, constants[i + 3] + w[i + 3]);
      round(e, f, g, h, a, b, c, d, constants[i + 4] + w[i + 4]);
      round(d, e, f, g, h, a, b, c, constants[i + 5] + w[i + 5]);
      round(c, d, e, f, g, h, a, b, constants[i + 6] + w[i + 6]);
      round(b, c, d, e, f, g, h, a, constants[i + 7] + w[i + 7]);
    }
    const std::array<std::uint32_t, 8> added{a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) state[i] += added[i];
  }

  static void round(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t& d,
                    std::uint32_t e, std::uint32_t f, std::uint32_t g, std::uint32_t& h,
                    std::uint32_t word) {
    const std::uint32_t sum =
        h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + ((e & f) ^ (~e & g)) + word;
    d += sum;
    h = sum + (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) +
        ((a & b) ^ (a & c) ^ (b & c));
  }
};

struct Sha1Rules {
  static constexpr std::array<std::uint32_t, 5> initial{0x67452301, 0xefcdab89, 0x98badcfe,
                                                        0x10325476, 0xc3d2e1f0};

  static void mix(std::array<std::uint32_t, 5>& state, const std::byte* block) {
    std::array<std::uint32_t, 80> w{};
    for (std::size_t i = 0; i < 16; ++i) w[i] = word_of(block, i);
    for (std::size_t i = 16; i < 80; ++i)
      w[i] = std::rotl(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    auto [a, b, c, d, e] = state;
    for (std::size_t i = 0; i < 80; ++i) {
      const std::uint32_t choice = i < 20   ? ((b & c) | (~b & d)) + 0x5a827999
                                   : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                                   : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
                                            : (b ^ c ^ d) + 0xca62c1d6;
      const std::uint32_t next = std::rotl(a, 5) + choice + e + w[i];
      e = d, d = c, c = std::rotl(b, 30), b = a, a = next;
    }
    const std::array<std::uint32_t, 5> added{a, b, c, d, e};
    for (std::size_t i = 0; i < 5; ++i) state[i] += added[i];
  }
};

using Sha256 = Digest<Sha256Rules>;
using Sha1 = Digest<Sha1Rules>;

/// The hash that the hub has of a file: SHA-256 of its bytes or, of files that are kept in Git
/// itself, Git's name of a blob.
class FileDigest {
 public:
  FileDigest(bool sha256, std::uint64_t size) : sha256_(sha256) {
    if (!sha256) sha1_.add("blob " + std::to_string(size) + std::string(1, '\0'));
  }
  void add(std::span<const std::byte> bytes) {
    if (sha256_)
      large_.add(bytes);
    else
      sha1_.add(bytes);
  }
  std::string hex() const { return sha256_ ? large_.hex() : sha1_.hex(); }

 private:
  bool sha256_;
  Sha256 large_;
  Sha1 sha1_;
};

}}}  // namespace idefics::v0::detail
