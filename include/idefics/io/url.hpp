// Fetches the bytes of a URL: http and https through libcurl, data: without it. No other scheme is
// fetched, nothing on a private network unless allowed, never more than the limits, and nothing
// when offline. Every redirect is subject to the same rules.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/io/address.hpp>
#include <idefics/io/data_url.hpp>

#ifndef IDEFICS_NO_CURL
#include <curl/curl.h>
#endif

namespace idefics { inline namespace v0 {

/// Whether a string names a picture on the web: no space, and a scheme and a host according to
/// Python's urlparse, which ignores leading control characters, and tabs and line ends anywhere.
inline bool is_url(std::string_view text) {
  if (text.find(' ') != std::string_view::npos) return false;
  std::string url;
  for (const char c : text)
    if (c != '\t' && c != '\n' && c != '\r' && !(url.empty() && c >= 0 && c <= ' '))
      url.push_back(c);
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto in_scheme = [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
  };
  const auto colon = url.find("://");
  if (colon == std::string::npos || colon == 0 || !letter(url[0])) return false;
  const std::string_view scheme(url.data(), colon), rest = std::string_view(url).substr(colon + 3);
  return std::ranges::all_of(scheme, in_scheme) &&
         !rest.substr(0, rest.find_first_of("/?#")).empty();
}

struct FetchOptions {
  std::uint64_t max_bytes = 64u << 20;        // of the body
  std::chrono::milliseconds timeout{30'000};  // in total, including redirects
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

namespace detail {

inline std::string variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? "" : value;
}

/// Whether the environment asks for offline mode, by the rules of huggingface_hub.
inline bool offline_by_environment() {
  for (const char* name : {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}) {
    std::string value = variable(name);
    std::ranges::transform(value, value.begin(), [](char c) {
      return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    });
    if (value == "1" || value == "ON" || value == "YES" || value == "TRUE") return true;
  }
  return false;
}

#ifndef IDEFICS_NO_CURL

/// The parts of a URL that are needed here.
struct UrlParts {
  std::string scheme, host, port;
  std::string shown;  // for messages: without user and password, cut short
};

inline UrlParts split_url(const std::string& url, unsigned flags = CURLU_NON_SUPPORT_SCHEME) {
  const std::unique_ptr<CURLU, void (*)(CURLU*)> parsed(curl_url(), curl_url_cleanup);
  auto part = [&parsed](CURLUPart which) {
    char* text = nullptr;
    if (curl_url_get(parsed.get(), which, &text, 0) != CURLUE_OK) return std::string();
    std::string result = text;
    curl_free(text);
    return result;
  };
  if (!parsed) fail(ErrorCode::out_of_memory, "cannot allocate a URL");
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), flags) != CURLUE_OK)
    fail(ErrorCode::url_refused, "this is not a URL");
  UrlParts parts{.scheme = part(CURLUPART_SCHEME),
                 .host = part(CURLUPART_HOST),
                 .port = part(CURLUPART_PORT),  // empty: the scheme's default
                 .shown = {}};
  if (parts.host.starts_with('[')) parts.host = parts.host.substr(1, parts.host.size() - 2);
  curl_url_set(parsed.get(), CURLUPART_USER, nullptr, 0);
  curl_url_set(parsed.get(), CURLUPART_PASSWORD, nullptr, 0);
  parts.shown = part(CURLUPART_URL).substr(0, 200);
  return parts;
}

/// One fetch: a libcurl handle and the state of its callbacks.
class Fetch {
 public:
  explicit Fetch(const FetchOptions& options)
      : options_(options), curl_(make(), curl_easy_cleanup) {
    if (!curl_) fail(ErrorCode::out_of_memory, "cannot initialize libcurl");
  }

  std::vector<std::byte> operator()(std::string url) {
    const auto deadline = std::chrono::steady_clock::now() + options_.timeout;
    for (int hop = 0; !url.empty(); ++hop) {
      if (hop > options_.max_redirects)
        fail(ErrorCode::fetch_failed, "too many redirects",
             {.file = at_.shown, .limit = static_cast<std::uint64_t>(options_.max_redirects)});
      url = get(url, deadline);
    }
    return std::move(body_);
  }

 private:
  static CURL* make() {
    static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    return ready == CURLE_OK ? curl_easy_init() : nullptr;
  }

  /// Fetches one URL into `body_`; returns the URL that it redirects to, or "".
  std::string get(const std::string& url, std::chrono::steady_clock::time_point deadline) {
    at_ = split_url(url);
    if (at_.scheme != "http" && at_.scheme != "https")
      fail(ErrorCode::url_refused, "only http, https and data: URLs are fetched",
           {.file = at_.shown});
    body_.clear();
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) fail_timeout();
    check_proxy();
    configure(url, left.count());
    std::array<char, CURL_ERROR_SIZE> why{};
    set(CURLOPT_ERRORBUFFER, why.data());
    const CURLcode code = curl_easy_perform(curl_.get());
    set(CURLOPT_ERRORBUFFER, static_cast<char*>(nullptr));
    check(code, why.data());
    char* next = nullptr;
    curl_easy_getinfo(curl_.get(), CURLINFO_REDIRECT_URL, &next);
    if (next == nullptr && status() / 100 == 3) fail_status();
    return next == nullptr ? "" : next;
  }

  void configure(const std::string& url, std::int64_t milliseconds) {
    set(CURLOPT_URL, url.c_str());
#if LIBCURL_VERSION_NUM >= 0x075500
    set(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    set(CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_FAILONERROR, 1L);
    set(CURLOPT_USERAGENT, options_.user_agent.c_str());
    set(CURLOPT_TIMEOUT_MS, static_cast<long>(milliseconds));
    set(CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(options_.max_bytes));
    if (!options_.proxy.empty()) set(CURLOPT_PROXY, options_.proxy.c_str());
    set(CURLOPT_WRITEFUNCTION, &Fetch::on_body);
    set(CURLOPT_WRITEDATA, this);
    set(CURLOPT_OPENSOCKETFUNCTION, &Fetch::on_socket);
    set(CURLOPT_OPENSOCKETDATA, this);
    set(CURLOPT_NOPROGRESS, options_.on_progress ? 0L : 1L);
    set(CURLOPT_XFERINFOFUNCTION, &Fetch::on_progress);
    set(CURLOPT_XFERINFODATA, this);
  }

  /// A proxy resolves host names itself, so they are resolved and checked here as well. The address
  /// of the proxy may be private, since the user chose it.
  void check_proxy() {
    std::string proxy = options_.proxy;
    for (const std::string& name : {at_.scheme + "_proxy", std::string("HTTPS_PROXY"),
                                    std::string("all_proxy"), std::string("ALL_PROXY")})
      if (proxy.empty() && (name != "HTTPS_PROXY" || at_.scheme == "https")) proxy = variable(name);
    proxy_.clear();
    if (proxy.empty()) return;
    const UrlParts parts = split_url(proxy, CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME);
    proxy_ = resolve(parts.host, parts.port.empty() ? "1080" : parts.port);
    // numeric, since service names need a file that minimal systems lack
    const std::string port = at_.scheme == "https" ? "443" : "80";
    for (const SocketAddress& address : resolve(at_.host, at_.port.empty() ? port : at_.port))
      if (!allowed(*reinterpret_cast<const sockaddr*>(address.data()), address.size()))
        fail_private();
  }

  bool allowed(const sockaddr& address, std::size_t bytes) {
    if (options_.allow_private || is_public(address, bytes)) return true;
    refused_ = to_string(address, bytes);
    return false;
  }

  bool is_proxy(const curl_sockaddr& peer) const {
    return std::ranges::any_of(proxy_, [&peer](const SocketAddress& known) {
      return known.size() == peer.addrlen &&
             std::memcmp(known.data(), &peer.addr, known.size()) == 0;
    });
  }

  /// Called with the very address that is about to be connected to, so that a name cannot resolve
  /// differently between check and use.
  static curl_socket_t on_socket(void* self, curlsocktype, curl_sockaddr* peer) {
    auto& fetch = *static_cast<Fetch*>(self);
    if (!fetch.is_proxy(*peer) && !fetch.allowed(peer->addr, peer->addrlen)) return CURL_SOCKET_BAD;
    return ::socket(peer->family, peer->socktype | SOCK_CLOEXEC, peer->protocol);
  }

  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self) {
    auto& fetch = *static_cast<Fetch*>(self);
    const std::size_t bytes = size * count;
    if (bytes > fetch.options_.max_bytes - fetch.body_.size())
      return 0;  // fails with CURLE_WRITE_ERROR
    const auto* first = reinterpret_cast<const std::byte*>(data);
    fetch.body_.insert(fetch.body_.end(), first, first + bytes);
    return bytes;
  }

  static int on_progress(void* self, curl_off_t total, curl_off_t received, curl_off_t,
                         curl_off_t) {
    const auto& options = static_cast<Fetch*>(self)->options_;
    return options.on_progress(static_cast<std::uint64_t>(received),
                               static_cast<std::uint64_t>(total))
               ? 0
               : 1;
  }

  void check(CURLcode code, const char* why) const {
    switch (code) {
      case CURLE_OK: return;
      case CURLE_OPERATION_TIMEDOUT: fail_timeout();
      case CURLE_HTTP_RETURNED_ERROR: fail_status();
      case CURLE_ABORTED_BY_CALLBACK:
        fail(ErrorCode::cancelled, "stopped by the caller", {.file = at_.shown});
      case CURLE_FILESIZE_EXCEEDED:
      case CURLE_WRITE_ERROR:
        fail(ErrorCode::fetch_failed, "the file is too large",
             {.file = at_.shown, .limit = options_.max_bytes});
      case CURLE_PARTIAL_FILE:
        fail(ErrorCode::fetch_failed, "the connection was closed before the end of the file",
             {.file = at_.shown, .actual = body_.size()});
      default: break;
    }
    if (!refused_.empty()) fail_private();
    fail(ErrorCode::fetch_failed, why[0] != '\0' ? why : curl_easy_strerror(code),
         {.file = at_.shown});
  }

  long status() const {
    long value = 0;
    curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &value);
    return value;
  }
  [[noreturn]] void fail_status() const {
    fail(ErrorCode::fetch_failed,
         "the server answered with HTTP status " + std::to_string(status()),
         {.file = at_.shown, .actual = static_cast<std::uint64_t>(status())});
  }
  [[noreturn]] void fail_timeout() const {
    fail(ErrorCode::fetch_failed, "the server timed out (limit in milliseconds)",
         {.file = at_.shown, .limit = static_cast<std::uint64_t>(options_.timeout.count())});
  }
  [[noreturn]] void fail_private() const {
    fail(ErrorCode::url_refused, "the address " + refused_ + " is not public", {.file = at_.shown});
  }

  template <class T>
  void set(CURLoption option, T value) {
    curl_easy_setopt(curl_.get(), option, value);
  }

  const FetchOptions& options_;
  std::unique_ptr<CURL, void (*)(CURL*)> curl_;
  UrlParts at_;
  std::vector<SocketAddress> proxy_;
  std::string refused_;  // the last address that was refused
  std::vector<std::byte> body_;
};

#endif

}  // namespace detail

/// The bytes of an http, https or data: URL. Throws `url_refused` if it may not be fetched,
/// `fetch_failed` with the HTTP status or the limit if that fails, `cancelled`.
inline std::vector<std::byte> fetch_url(const std::string& url, const FetchOptions& options = {}) {
  if (is_data_url(url)) return decode_data_url(url, options.max_bytes);
  if (options.offline || detail::offline_by_environment())
    fail(ErrorCode::url_refused, "offline: nothing is fetched", {.file = url.substr(0, 200)});
#ifdef IDEFICS_NO_CURL
  fail(ErrorCode::url_refused, "this build has no libcurl: only data: URLs can be read",
       {.file = url.substr(0, 200)});
#else
  return detail::Fetch(options)(url);
#endif
}

}}  // namespace idefics::v0
