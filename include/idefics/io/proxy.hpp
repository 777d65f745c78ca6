// Which proxy a URL is fetched through, by the variables that libcurl follows: http_proxy,
// https_proxy, all_proxy and no_proxy. They are read here, so that what is checked before a request
// is what libcurl is told to do.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/core/ascii.hpp>
#include <idefics/io/address.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The value of an environment variable, if it is set.
using FindVariable = std::function<std::optional<std::string>(const char*)>;

inline std::optional<std::string> process_variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

/// Whether the first `bits` bits of two addresses of one family are equal.
inline bool same_network(const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& b,
                         std::size_t bits) {
  if (a.size() != b.size() || bits > 8 * a.size()) return false;
  for (std::size_t i = 0; i < bits; ++i)
    if (((a[i / 8] ^ b[i / 8]) >> (7 - i % 8) & 1) != 0) return false;
  return true;
}

/// Whether one entry of no_proxy names `host`: "*", a domain, an address, or a network as
/// "10.0.0.0/8".
inline bool no_proxy_entry_matches(std::string_view entry, std::string_view host) {
  const auto address = numeric_address(host);
  if (entry == "*") return true;
  if (!address.empty()) {
    const auto slash = entry.find('/');
    const auto network = numeric_address(entry.substr(0, slash));
    std::size_t bits = 8 * network.size();
    if (slash != std::string_view::npos) {
      const std::string_view digits = entry.substr(slash + 1);
      if (digits.empty() || digits.size() > 3 ||
          digits.find_first_not_of("0123456789") != std::string_view::npos)
        return false;
      bits = 0;
      for (const char c : digits) bits = bits * 10 + static_cast<std::size_t>(c - '0');
    }
    return !network.empty() && same_network(address, network, bits);
  }
  if (entry.starts_with('.')) entry.remove_prefix(1);
  if (entry.ends_with('.')) entry.remove_suffix(1);
  if (host.ends_with('.')) host.remove_suffix(1);
  if (entry.empty() || host.size() < entry.size()) return false;
  const std::size_t rest = host.size() - entry.size();
  return equal_ignoring_case(host.substr(rest), entry) && (rest == 0 || host[rest - 1] == '.');
}

inline bool in_no_proxy(std::string_view list, std::string_view host) {
  constexpr std::string_view separators = ", \t";
  while (!list.empty()) {
    const auto end = std::min(list.find_first_of(separators), list.size());
    if (end > 0 && no_proxy_entry_matches(list.substr(0, end), host)) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

/// The proxy for a URL, or "". `chosen` is that of the caller, which takes precedence over the
/// environment; no_proxy applies to either.
inline std::string proxy_for(const std::string& scheme, std::string_view host,
                             const std::string& chosen,
                             const FindVariable& variable = process_variable) {
  const auto first_of = [&](std::initializer_list<std::string> names) -> std::string {
    for (const std::string& name : names)
      if (const auto value = variable(name.c_str())) return *value;
    return {};
  };
  std::string proxy = chosen;
  if (proxy.empty() && scheme == "http") proxy = first_of({"http_proxy", "all_proxy", "ALL_PROXY"});
  if (proxy.empty() && scheme == "https")
    proxy = first_of({"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"});
  return proxy.empty() || in_no_proxy(first_of({"no_proxy", "NO_PROXY"}), host) ? "" : proxy;
}

}}}  // namespace idefics::v0::detail
