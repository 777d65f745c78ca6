// One http or https request after another, as redirects lead, through libcurl. Nothing is requested
// whose address was not checked:
//
//   directly          every address is checked when it is about to be connected to, so that a name
//                     cannot resolve differently between check and use
//   through a proxy   the host is resolved and checked here, and the proxy is asked to connect to
//                     the address that was checked, not to the name
//
// No exception leaves through libcurl: callbacks keep it, stop the transfer, and it is thrown again
// afterwards.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <curl/curl.h>

#include <idefics/io/fetch_options.hpp>
#include <idefics/io/proxy.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The parts of a URL that are needed here, as libcurl understands them. An IPv4 address is in its
/// usual form, however the URL spells it.
struct UrlParts {
  std::string scheme, host;  // an IPv6 address without brackets
  std::string port;          // the scheme's default if the URL has none
};

/// Throws `url_refused`.
inline UrlParts split_url(const std::string& url) {
  const std::unique_ptr<CURLU, void (*)(CURLU*)> parsed(curl_url(), curl_url_cleanup);
  const auto part = [&parsed](CURLUPart which) {
    char* text = nullptr;
    if (curl_url_get(parsed.get(), which, &text, CURLU_DEFAULT_PORT) != CURLUE_OK)
      return std::string();
    const std::unique_ptr<char, void (*)(void*)> owner(text, curl_free);
    return std::string(text);
  };
  if (!parsed) fail(ErrorCode::out_of_memory, "cannot allocate a URL");
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
    fail(ErrorCode::url_refused, "this is not a URL", {.file = url_without_secrets(url)});
  UrlParts parts{
      .scheme = part(CURLUPART_SCHEME), .host = part(CURLUPART_HOST), .port = part(CURLUPART_PORT)};
  if (parts.host.starts_with('[')) parts.host = parts.host.substr(1, parts.host.size() - 2);
  return parts;
}

/// Throws `url_refused` for a URL that is not requested, whatever its address is.
inline UrlParts check_url(const std::string& url) {
  UrlParts parts = split_url(url);
  const auto refuse = [&url](const char* why) {
    fail(ErrorCode::url_refused, why, {.file = url_without_secrets(url)});
  };
  if (parts.scheme != "http" && parts.scheme != "https")
    refuse("only http, https and data: URLs are fetched");
  // libcurl would map such characters to others, depending on the locale: circled digits to digits
  if (std::ranges::any_of(parts.host, [](char c) { return c <= ' ' || c >= 0x7f; }))
    refuse("the host is not in ASCII: write it with xn--");
  if (parts.host.empty()) refuse("the URL has no host");
  return parts;
}

/// A libcurl handle, and what its callbacks need.
class CurlHandle {
 public:
  using Clock = std::chrono::steady_clock;

  CurlHandle(const FetchOptions& options, Clock::time_point deadline)
      : options_(options), deadline_(deadline), curl_(make(), curl_easy_cleanup) {
    if (!curl_) fail(ErrorCode::out_of_memory, "cannot initialize libcurl");
#if LIBCURL_VERSION_NUM >= 0x075500
    set(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    set(CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    set(CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
    set(CURLOPT_QUICK_EXIT, 1L);  // do not wait for a look-up that the deadline has ended
#endif
    set(CURLOPT_NOPROGRESS, 0L);
    set(CURLOPT_XFERINFOFUNCTION, &CurlHandle::on_progress);
    set(CURLOPT_XFERINFODATA, this);
    set(CURLOPT_NOPROXY, "");  // proxy_for has decided
  }
  CurlHandle(const CurlHandle&) = delete;
  CurlHandle& operator=(const CurlHandle&) = delete;

  template <class T>
  void set(CURLoption option, T value) {
    if (curl_easy_setopt(curl_.get(), option, value) == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
  }

  /// Performs the transfer. Throws what a callback has thrown.
  CURLcode perform() {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
    if (left <= 0) return CURLE_OPERATION_TIMEDOUT;
    constexpr std::int64_t longest = 1'000'000'000;  // libcurl counts milliseconds in a long
    set(CURLOPT_TIMEOUT_MS, static_cast<long>(std::min<std::int64_t>(left, longest)));
    set(CURLOPT_ERRORBUFFER, why_.data());
    const CURLcode code = curl_easy_perform(curl_.get());
    set(CURLOPT_ERRORBUFFER, static_cast<char*>(nullptr));
    if (code == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
    return code;
  }
  /// libcurl's own message about the last transfer.
  std::string why(CURLcode code) const {
    return why_[0] != '\0' ? why_.data() : curl_easy_strerror(code);
  }

  template <class T>
  T info(CURLINFO which) const {
    T value{};
    curl_easy_getinfo(curl_.get(), which, &value);
    return value;
  }

  /// Calls `f`; if it throws, keeps the exception and returns `failed`, which stops the transfer.
  template <class F, class T>
  T guarded(const F& f, T failed) noexcept {
    try {
      return f();
    } catch (...) {
      thrown_ = std::current_exception();
      return failed;
    }
  }

  /// Whether more bytes than allowed have arrived, before they were decoded.
  bool received_too_much() const { return received_too_much_; }

 private:
  static CURL* make() {
    static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    return ready == CURLE_OK ? curl_easy_init() : nullptr;
  }

  static int on_progress(void* self, curl_off_t total, curl_off_t received, curl_off_t,
                         curl_off_t) noexcept {
    auto& handle = *static_cast<CurlHandle*>(self);
    return handle.guarded(
        [&] {
          const FetchOptions& options = handle.options_;
          const auto bytes = static_cast<std::uint64_t>(std::max<curl_off_t>(received, 0));
          handle.received_too_much_ = bytes > options.max_bytes;
          const bool go_on = !options.on_progress ||
                             options.on_progress(
                                 bytes, static_cast<std::uint64_t>(std::max<curl_off_t>(total, 0)));
          return go_on && !handle.received_too_much_ ? 0 : 1;
        },
        1);
  }

  const FetchOptions& options_;
  Clock::time_point deadline_;
  std::unique_ptr<CURL, void (*)(CURL*)> curl_;
  std::array<char, CURL_ERROR_SIZE> why_{};
  std::exception_ptr thrown_;
  bool received_too_much_ = false;
};

/// Resolves a host within the deadline, by a transfer of libcurl that ends where it would connect.
class HostLookup {
 public:
  struct Address {
    std::string text;  // numeric
    bool is_public, is_ipv4;
  };

  HostLookup(const FetchOptions& options, CurlHandle::Clock::time_point deadline)
      : handle_(options, deadline) {}

  /// The addresses that would be connected to; empty if nothing was resolved.
  std::vector<Address> operator()(const std::string& host, const std::string& port) {
    const bool ipv6 = host.find(':') != std::string::npos;
    const std::string url = "http://" + (ipv6 ? "[" + host + "]" : host) + ":" + port + "/";
    handle_.set(CURLOPT_URL, url.c_str());
    handle_.set(CURLOPT_PROXY, "");
    handle_.set(CURLOPT_CONNECT_ONLY, 1L);
    handle_.set(CURLOPT_OPENSOCKETFUNCTION, &HostLookup::on_socket);
    handle_.set(CURLOPT_OPENSOCKETDATA, this);
    code_ = handle_.perform();
    return std::move(found_);
  }
  /// Why the list is empty.
  CURLcode code() const { return code_; }

 private:
  static curl_socket_t on_socket(void* self, curlsocktype, curl_sockaddr* peer) noexcept {
    auto& lookup = *static_cast<HostLookup*>(self);
    return lookup.handle_.guarded(
        [&]() -> curl_socket_t {
          lookup.found_.push_back({.text = to_string(peer->addr, peer->addrlen),
                                   .is_public = is_public(peer->addr, peer->addrlen),
                                   .is_ipv4 = peer->family == AF_INET});
          return CURL_SOCKET_BAD;
        },
        CURL_SOCKET_BAD);
  }

  CurlHandle handle_;
  std::vector<Address> found_;
  CURLcode code_ = CURLE_OK;
};

class HttpFetch {
 public:
  explicit HttpFetch(const FetchOptions& options)
      : options_(options),
        deadline_(CurlHandle::Clock::now() + std::min(options.timeout, longest)) {}

  std::vector<std::byte> operator()(std::string url) {
    CurlHandle handle(options_, deadline_);
    configure(handle);
    for (int hop = 0; !url.empty(); ++hop) {
      if (hop > options_.max_redirects)
        refuse(ErrorCode::fetch_failed, "too many redirects",
               static_cast<std::uint64_t>(options_.max_redirects));
      url = get(handle, url);
    }
    return std::move(body_);
  }

 private:
  using HeaderList = std::unique_ptr<curl_slist, void (*)(curl_slist*)>;
  static constexpr std::chrono::milliseconds longest{std::chrono::hours(24 * 365)};

  void configure(CurlHandle& handle) {
    handle_ = &handle;
    handle.set(CURLOPT_FAILONERROR, 1L);
    handle.set(CURLOPT_USERAGENT, options_.user_agent.c_str());
    handle.set(CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
    const std::uint64_t limit = std::min<std::uint64_t>(options_.max_bytes, INT64_MAX);
    handle.set(CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(limit));
    handle.set(CURLOPT_WRITEFUNCTION, &HttpFetch::on_body);
    handle.set(CURLOPT_WRITEDATA, this);
    handle.set(CURLOPT_OPENSOCKETFUNCTION, &HttpFetch::on_socket);
    handle.set(CURLOPT_OPENSOCKETDATA, this);
  }

  /// Fetches one URL into `body_`; returns the URL that it redirects to, or "".
  std::string get(CurlHandle& handle, const std::string& url) {
    shown_ = url_without_secrets(url);
    const UrlParts parts = check_url(url);
    body_.clear();
    const std::string proxy = proxy_for(parts.scheme, parts.host, options_.proxy);
    proxied_ = !proxy.empty();
    HeaderList target(nullptr, curl_slist_free_all);
    if (proxied_ && !options_.allow_private) target = checked_target(parts);
    handle.set(CURLOPT_CONNECT_TO, target.get());
    handle.set(CURLOPT_PROXY, proxy.c_str());
    handle.set(CURLOPT_URL, url.c_str());
    check(handle, handle.perform());
    handle.set(CURLOPT_CONNECT_TO, static_cast<curl_slist*>(nullptr));
    const char* next = handle.info<char*>(CURLINFO_REDIRECT_URL);
    if (next == nullptr && status() / 100 == 3) fail_status();
    return next == nullptr ? "" : next;
  }

  /// The address that a proxy is to connect to for this URL, as libcurl's option has it.
  HeaderList checked_target(const UrlParts& parts) {
    HostLookup lookup(options_, deadline_);
    const auto addresses = lookup(parts.host, parts.port);
    if (lookup.code() == CURLE_OPERATION_TIMEDOUT) fail_timeout();
    if (lookup.code() == CURLE_ABORTED_BY_CALLBACK)
      refuse(ErrorCode::cancelled, "stopped by the caller");
    if (addresses.empty())
      refuse(ErrorCode::url_refused,
             "the host cannot be resolved here, so that the address that the proxy would use "
             "cannot be checked: allow_private (--allow-private-urls) leaves that to the proxy");
    for (const auto& address : addresses)
      if (!address.is_public) fail_private(address.text);
    const auto* chosen = &addresses.front();  // proxies that only know IPv4 are common
    for (const auto& address : addresses)
      if (address.is_ipv4 && !chosen->is_ipv4) chosen = &address;
    const std::string to =
        "::" + (chosen->is_ipv4 ? chosen->text : "[" + chosen->text + "]") + ":" + parts.port;
    HeaderList list(curl_slist_append(nullptr, to.c_str()), curl_slist_free_all);
    if (!list) throw std::bad_alloc();
    return list;
  }

  /// Called with the very address that is about to be connected to. The address of a proxy may be
  /// private, since the user chose it.
  static curl_socket_t on_socket(void* self, curlsocktype, curl_sockaddr* peer) noexcept {
    auto& fetch = *static_cast<HttpFetch*>(self);
    return fetch.handle_->guarded(
        [&]() -> curl_socket_t {
          if (!fetch.proxied_ && !fetch.options_.allow_private &&
              !is_public(peer->addr, peer->addrlen)) {
            fetch.refused_ = to_string(peer->addr, peer->addrlen);
            return CURL_SOCKET_BAD;
          }
          return ::socket(peer->family, peer->socktype | SOCK_CLOEXEC, peer->protocol);
        },
        CURL_SOCKET_BAD);
  }

  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self) noexcept {
    auto& fetch = *static_cast<HttpFetch*>(self);
    return fetch.handle_->guarded(
        [&]() -> std::size_t {
          const std::size_t bytes = size * count;
          if (bytes > fetch.options_.max_bytes - fetch.body_.size()) {
            fetch.too_large_ = true;
            return stopped;
          }
          const auto* first = reinterpret_cast<const std::byte*>(data);
          fetch.body_.insert(fetch.body_.end(), first, first + bytes);
          return bytes;
        },
        stopped);
  }
  static constexpr std::size_t stopped = ~std::size_t{0};  // not the number of bytes, so an error

  void check(CurlHandle& handle, CURLcode code) {
    if (code == CURLE_OK) return;
    if (too_large_ || handle.received_too_much() || code == CURLE_FILESIZE_EXCEEDED)
      refuse(ErrorCode::fetch_failed, "the file is too large", options_.max_bytes);
    if (code == CURLE_OPERATION_TIMEDOUT) fail_timeout();
    if (const long answer = handle.info<long>(CURLINFO_HTTP_CONNECTCODE); answer >= 300)
      fail(ErrorCode::fetch_failed,
           "the proxy refused to connect to the address that was checked, with HTTP status " +
               std::to_string(answer),
           {.file = shown_, .actual = static_cast<std::uint64_t>(answer)});
    if (code == CURLE_HTTP_RETURNED_ERROR) fail_status();
    if (code == CURLE_ABORTED_BY_CALLBACK) refuse(ErrorCode::cancelled, "stopped by the caller");
    if (code == CURLE_PARTIAL_FILE)
      fail(ErrorCode::fetch_failed, "the connection was closed before the end of the file",
           {.file = shown_, .actual = body_.size()});
    if (!refused_.empty()) fail_private(refused_);
    refuse(ErrorCode::fetch_failed, handle.why(code));
  }

  long status() const { return handle_->info<long>(CURLINFO_RESPONSE_CODE); }
  [[noreturn]] void refuse(ErrorCode code, const std::string& why,
                           std::optional<std::uint64_t> limit = {}) const {
    fail(code, why, {.file = shown_, .limit = limit});
  }
  [[noreturn]] void fail_status() const {
    fail(ErrorCode::fetch_failed,
         "the server answered with HTTP status " + std::to_string(status()),
         {.file = shown_, .actual = static_cast<std::uint64_t>(status())});
  }
  [[noreturn]] void fail_timeout() const {
    refuse(ErrorCode::fetch_failed, "the server timed out (limit in milliseconds)",
           static_cast<std::uint64_t>(options_.timeout.count()));
  }
  [[noreturn]] void fail_private(const std::string& address) const {
    refuse(ErrorCode::url_refused,
           "the address " + address +
               " is not public: allow_private (--allow-private-urls) permits it");
  }

  const FetchOptions& options_;
  CurlHandle::Clock::time_point deadline_;
  CurlHandle* handle_ = nullptr;
  std::string shown_;  // the URL, for messages
  bool proxied_ = false, too_large_ = false;
  std::string refused_;  // the last address that was refused
  std::vector<std::byte> body_;
};

}}}  // namespace idefics::v0::detail
