// What a fetch of a URL may do, and how messages show a URL.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <idefics/io/data_url.hpp>

namespace idefics { inline namespace v0 {

/// A URL as messages and names show it: scheme, host and path. User, password, query and fragment
/// may be secrets and are left out, as is everything if they cannot be told apart, and the data of
/// a data: URL.
inline std::string url_without_secrets(std::string_view url) {
  constexpr std::size_t longest = 200;
  if (is_data_url(url)) return "data:";
  const auto colon = url.find("://");
  if (colon == std::string_view::npos) return "a URL";
  const std::string scheme(url.substr(0, std::min(colon, std::size_t{20})));
  std::string_view rest = url.substr(colon + 3);
  rest = rest.substr(0, rest.find_first_of("?#"));
  std::string_view host = rest.substr(0, rest.find_first_of("/\\"));
  rest.remove_prefix(host.size());
  host.remove_prefix(host.rfind('@') + 1);  // npos + 1 is 0
  // a password with a slash in it looks like a port and a path
  const auto port = host.rfind(':');
  const bool has_port = port != std::string_view::npos && !host.ends_with(']');
  if (has_port && (rest.find('@') != std::string_view::npos ||
                   host.find_first_not_of("0123456789", port + 1) != std::string_view::npos))
    return scheme + "://";
  std::string shown = scheme + "://" + std::string(host) + std::string(rest);
  if (shown.size() > longest) shown.resize(longest);
  return shown;
}

struct FetchOptions {
  std::uint64_t max_bytes = 64u << 20;        // of the body, as transferred and as decoded
  std::chrono::milliseconds timeout{30'000};  // in total: names, proxies, redirects and bodies
  int max_redirects = 8;
  bool allow_private = false;  // loopback, private, link-local and other special addresses
  bool offline = false;        // also set by HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE
  std::string proxy{};         // unset: http_proxy, https_proxy, all_proxy and no_proxy, as in curl
  /// Some sites refuse requests without one.
  std::string user_agent = "idefics/" IDEFICS_VERSION " (libcurl)";
  /// Called periodically with the bytes received and the total, 0 if unknown; returning false stops
  /// with `cancelled`.
  std::function<bool(std::uint64_t received, std::uint64_t total)> on_progress{};
};

}}  // namespace idefics::v0
