// URLs as prompts have them, and the addresses and lists of hosts that decide what is fetched.
#pragma once

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <memory>

#include <idefics/io/proxy.hpp>
#include <idefics/io/url.hpp>

#include "fuzz/target.hpp"

namespace fuzz {

/// The input as a URL, and as the user, the password and the rest of one.
inline void url(Bytes input) {
  const std::string text(text_of(input));
  (void)idefics::is_url(text);
  expect(idefics::url_without_secrets(text).size() <= 200, "a long URL in a message");
  const auto half = text.size() / 2;
  const std::string first = text.substr(0, half), rest = text.substr(half);
  if (first.find_first_of("/\\?#@") == std::string::npos &&
      text.find("SECRET") == std::string::npos)
    expect(idefics::url_without_secrets("http://" + first + ":SECRET@" + rest).find("SECRET") ==
               std::string::npos,
           "a password in a message");
#ifndef IDEFICS_NO_CURL
  const auto parts = idefics::detail::check_url(text);
  expect(parts.scheme == "http" || parts.scheme == "https", "another scheme");
  for (const char c : parts.host) expect(c > ' ' && c < 0x7f, "a host that is not in ASCII");
#endif
}

/// The input as the 16 bytes of an address and as the text of one, each compared with the system's
/// own reading, and as an entry of no_proxy.
inline void address(Bytes input) {
  using namespace idefics::detail;
  std::array<std::uint8_t, 16> raw{};
  std::memcpy(raw.data(), input.data(), std::min(raw.size(), input.size()));
  std::array<char, INET6_ADDRSTRLEN> text{};
  expect(::inet_ntop(AF_INET6, raw.data(), text.data(), text.size()) != nullptr, "no text");
  expect(std::ranges::equal(numeric_address(text.data()), raw), "an address changes as text");
  const std::uint32_t ipv4 = std::uint32_t{raw[12]} << 24 | std::uint32_t{raw[13]} << 16 |
                             std::uint32_t{raw[14]} << 8 | raw[15];
  auto mapped = raw;
  std::ranges::fill(std::span(mapped).first(10), std::uint8_t{0});
  mapped[10] = mapped[11] = 0xff;
  expect(is_public_ipv6(mapped) == is_public_ipv4(ipv4), "an IPv4 address inside IPv6");
  if (is_public_ipv6(raw) && raw[0] != 0) expect(raw[0] >> 5 == 1, "a public address elsewhere");

  const std::string_view line = text_of(input);
  const std::string list(line.substr(0, line.size() / 2)), host(line.substr(line.size() / 2));
  const auto find = [&list](const char* name) -> std::optional<std::string> {
    if (std::string_view(name) == "no_proxy") return list;
    return std::string(name) == "http_proxy" ? std::optional<std::string>("proxy") : std::nullopt;
  };
  const bool excluded = in_no_proxy(list, host);
  expect(proxy_for("http", host, "", find).empty() == excluded, "a proxy despite no_proxy");
  if (excluded && list.find('*') == std::string::npos)
    expect(!host.empty() && !in_no_proxy("", host), "a host that no entry names");
  if (const auto bytes = numeric_address(host); !bytes.empty())
    expect(in_no_proxy(host, host) || host.front() == '.' || host.find('\0') != std::string::npos,
           "an address that is not itself");
}

}  // namespace fuzz
