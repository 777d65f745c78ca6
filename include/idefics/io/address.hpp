// Which network addresses belong to the public internet. A program that fetches URLs for others
// must not reach what only this machine can reach: itself, its neighbours, the metadata service of
// its cloud. Source: IANA's special-purpose address registries (RFC 6890).
#pragma once

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/core/config.hpp>

namespace idefics { inline namespace v0 { namespace detail {

constexpr bool is_public_ipv4(std::uint32_t address) {
  struct Block {
    std::uint32_t first;
    int bits;
  };
  constexpr std::array<Block, 15> reserved{{
      {0x00000000, 8},   // this network
      {0x0a000000, 8},   // private
      {0x64400000, 10},  // shared by a provider's customers (carrier-grade NAT)
      {0x7f000000, 8},   // loopback
      {0xa9fe0000, 16},  // link-local, and the metadata service of clouds
      {0xac100000, 12},  // private
      {0xc0000000, 24},  // protocol assignments
      {0xc0000200, 24},  // documentation
      {0xc0586300, 24},  // 6to4 relays
      {0xc0a80000, 16},  // private
      {0xc6120000, 15},  // benchmarks
      {0xc6336400, 24},  // documentation
      {0xcb007100, 24},  // documentation
      {0xe0000000, 4},   // multicast
      {0xf0000000, 4},   // reserved, and broadcast
  }};
  for (const Block& block : reserved)
    if ((address ^ block.first) >> (32 - block.bits) == 0) return false;
  return true;
}

/// Only 2000::/3 is public. An address that embeds an IPv4 address is as public as that one.
constexpr bool is_public_ipv6(const std::array<std::uint8_t, 16>& a) {
  auto ipv4_at = [&a](std::size_t i) {
    return std::uint32_t{a[i]} << 24 | std::uint32_t{a[i + 1]} << 16 |
           std::uint32_t{a[i + 2]} << 8 | a[i + 3];
  };
  auto word = [&a](std::size_t i) { return a[2 * i] << 8 | a[2 * i + 1]; };
  auto zero = [&](std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i)
      if (word(i) != 0) return false;
    return true;
  };
  if (zero(0, 5) && word(5) == 0xffff) return is_public_ipv4(ipv4_at(12));  // ::ffff:a.b.c.d
  if (word(0) == 0x64 && word(1) == 0xff9b && zero(2, 6))
    return is_public_ipv4(ipv4_at(12));                      // NAT64
  if (word(0) == 0x2002) return is_public_ipv4(ipv4_at(2));  // 6to4
  if (word(0) == 0x2001 && word(1) < 0x200) return false;    // Teredo and other protocols
  if (word(0) == 0x2001 && word(1) == 0xdb8) return false;   // documentation
  return a[0] >> 5 == 1;                                     // 2000::/3
}

/// Whether an address is public. Families other than IPv4 and IPv6 are not.
inline bool is_public(const sockaddr& address, std::size_t bytes) {
  if (address.sa_family == AF_INET && bytes >= sizeof(sockaddr_in)) {
    sockaddr_in ipv4{};
    std::memcpy(&ipv4, &address, sizeof ipv4);
    return is_public_ipv4(ntohl(ipv4.sin_addr.s_addr));
  }
  if (address.sa_family == AF_INET6 && bytes >= sizeof(sockaddr_in6)) {
    sockaddr_in6 ipv6{};
    std::memcpy(&ipv6, &address, sizeof ipv6);
    std::array<std::uint8_t, 16> raw{};
    std::memcpy(raw.data(), &ipv6.sin6_addr, raw.size());
    return is_public_ipv6(raw);
  }
  return false;
}

/// "127.0.0.1" or "fe80::1".
inline std::string to_string(const sockaddr& address, std::size_t bytes) {
  std::array<char, NI_MAXHOST> text{};
  const int failed = ::getnameinfo(&address, static_cast<socklen_t>(bytes), text.data(),
                                   static_cast<socklen_t>(text.size()), nullptr, 0, NI_NUMERICHOST);
  return failed != 0 ? "an unknown address" : text.data();
}

/// The bytes of a numeric address, 4 for IPv4 and 16 for IPv6, with or without brackets; empty for
/// any other text.
inline std::vector<std::uint8_t> numeric_address(std::string_view text) {
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  const std::string host(text);
  std::vector<std::uint8_t> bytes(16);
  if (::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1) return bytes;
  bytes.resize(4);
  if (::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1) return bytes;
  return {};
}

}}}  // namespace idefics::v0::detail
