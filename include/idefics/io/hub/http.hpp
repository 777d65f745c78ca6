// One GET request to the hub after another, as redirects lead, through libcurl. The token goes to the
// host of the endpoint only, and nothing that began with https continues without it. Addresses are
// not checked as those of pictures are (io/url.hpp): the user has chosen the endpoint, and what
// arrives is compared with the hash that it lists.
#pragma once

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <idefics/core/error.hpp>

#ifndef IDEFICS_NO_CURL
#include <idefics/io/http_fetch.hpp>
#endif

namespace idefics { inline namespace v0 { namespace detail {

/// How the hub is reached.
struct HubAccess {
  std::string endpoint;                     // without a slash at the end
  std::string token;                        // or ""
  std::chrono::seconds stall{30};           // without a byte
  std::chrono::milliseconds pause{1000};    // after the first fault, doubled after each
  int attempts = 6;                         // in a row without a new byte
  const std::atomic<bool>* stop = nullptr;  // set by another thread to stop everything
};

/// What the head of an answer says.
struct HubAnswer {
  long status = 0;
  std::string etag{};
  std::string linked_etag{};  // what the hub itself calls the file that it redirects to
  std::string next_page{};    // the URL in a Link header
  std::optional<std::uint64_t> length{}, first{}, total{};  // Content-Length, Content-Range
  std::optional<std::uint64_t> retry_after{};               // seconds
};

/// A fault after which the same request may succeed. `wait`: as the server asks.
struct HubFault {
  std::string why;
  std::optional<std::uint64_t> status{}, wait{};
  bool restart = false;  // what was received is of no use
};

inline std::optional<std::uint64_t> leading_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  return read.ec == std::errc() ? std::optional(value) : std::nullopt;
}

/// An ETag without its quotes and its mark as weak.
inline std::string bare_etag(std::string_view text) {
  if (text.starts_with("W/")) text.remove_prefix(2);
  if (text.starts_with('"')) text.remove_prefix(1);
  return std::string(text.substr(0, text.find('"')));
}

/// Reads one line of a head into `answer`.
inline void read_hub_header(std::string_view line, HubAnswer& answer) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return;
  std::string name(line.substr(0, colon));
  std::ranges::transform(name, name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  while (!value.empty() && (value.back() == '\r' || value.back() == '\n' || value.back() == ' '))
    value.remove_suffix(1);
  if (name == "content-length") answer.length = leading_number(value);
  if (name == "retry-after") answer.retry_after = leading_number(value);
  if (name == "x-linked-etag") answer.linked_etag = bare_etag(value);
  if (name == "etag") answer.etag = bare_etag(value);
  if (name == "link" && value.find("rel=\"next\"") != std::string_view::npos &&
      value.starts_with('<'))
    answer.next_page = value.substr(1, value.find('>') - 1);
  if (name == "content-range" && value.starts_with("bytes ")) {  // bytes 5-9/10, bytes */10
    answer.first = leading_number(value.substr(6));
    if (const auto slash = value.find('/'); slash != std::string_view::npos)
      answer.total = leading_number(value.substr(slash + 1));
  }
}

#ifndef IDEFICS_NO_CURL

class HubClient {
 public:
  /// Called once, before the body, with an answer of 200 or 206.
  using OnAnswer = std::function<void(const HubAnswer&)>;
  using OnBody = std::function<void(std::span<const std::byte>)>;

  explicit HubClient(const HubAccess& access) : access_(access) {
    const auto seconds = static_cast<long>(access.stall.count());
    handle_.set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);  // those of a proxy
    handle_.set(CURLOPT_CONNECTTIMEOUT, seconds);
    handle_.set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    handle_.set(CURLOPT_LOW_SPEED_TIME, seconds);
    handle_.set(CURLOPT_USERAGENT, options_.user_agent.c_str());
    handle_.set(CURLOPT_HEADERFUNCTION, &HubClient::on_header);
    handle_.set(CURLOPT_HEADERDATA, this);
    handle_.set(CURLOPT_WRITEFUNCTION, &HubClient::on_bytes);
    handle_.set(CURLOPT_WRITEDATA, this);
  }
  HubClient(const HubClient&) = delete;
  HubClient& operator=(const HubClient&) = delete;

  /// GETs `url`, from byte `first` on. Throws `HubFault`; `cancelled`; `model_not_found` for 404;
  /// `fetch_failed` for what another attempt would not change; and what the callbacks throw.
  void get(std::string url, std::uint64_t first, const OnAnswer& on_answer, const OnBody& on_body) {
    on_answer_ = &on_answer, on_body_ = &on_body;
    answer_ = {};
    const std::string range = std::to_string(first) + "-";
    handle_.set(CURLOPT_RANGE, first == 0 ? nullptr : range.c_str());
    for (int hop = 0; !url.empty(); ++hop) {
      if (hop > 10) refuse(url, "too many redirects");
      url = request(url);
    }
  }

 private:
  [[noreturn]] static void refuse(const std::string& url, const std::string& why,
                                  std::optional<std::uint64_t> status = {}) {
    fail(ErrorCode::fetch_failed, why, {.file = url_without_secrets(url), .actual = status});
  }

  /// Scheme, host and port: what precedes the path.
  static std::string origin_of(const std::string& url) {
    const auto host = url.find("://");
    return host == std::string::npos ? "" : url.substr(0, url.find_first_of("/?#", host + 3));
  }

  /// Returns the URL that this one redirects to, or "".
  std::string request(const std::string& url) {
    const UrlParts parts = check_url(url);
    using List = std::unique_ptr<curl_slist, void (*)(curl_slist*)>;
    List headers(nullptr, curl_slist_free_all);
    if (!access_.token.empty() && origin_of(url) == origin_of(access_.endpoint)) {
      headers.reset(curl_slist_append(nullptr, ("Authorization: Bearer " + access_.token).c_str()));
      if (!headers) throw std::bad_alloc();
    }
    handle_.set(CURLOPT_HTTPHEADER, headers.get());
    handle_.set(CURLOPT_PROXY, proxy_for(parts.scheme, parts.host, "").c_str());
    handle_.set(CURLOPT_URL, url.c_str());
    announced_ = false;
    const CURLcode code = handle_.perform();
    if (code == CURLE_ABORTED_BY_CALLBACK) fail(ErrorCode::cancelled, "stopped by the caller");
    if (code != CURLE_OK) throw HubFault{handle_.why(code)};
    if (answer_.status >= 300) return check_status(url, parts.scheme == "https");
    announce();  // of an empty file
    return "";
  }

  /// For all answers without the file: returns where they redirect to, or throws.
  std::string check_status(const std::string& url, bool secure) {
    const long status = answer_.status;
    const auto number = static_cast<std::uint64_t>(status);
    const char* next = handle_.info<char*>(CURLINFO_REDIRECT_URL);
    if (next != nullptr && secure && !std::string_view(next).starts_with("https://"))
      refuse(url, "the hub redirects to an address without https");
    if (next != nullptr) return next;
    const std::string text = "HTTP status " + std::to_string(status);
    if (status == 401 || status == 403)
      refuse(url,
             "the hub refuses access, with " + text +
                 ": the name is wrong, or HF_TOKEN must be a token that may read this repository",
             number);
    if (status == 404)
      fail(ErrorCode::model_not_found, "the hub has no such repository, revision or file",
           {.file = url_without_secrets(url), .actual = number});
    if (status == 408 || status == 416 || status == 429 || status >= 500)
      throw HubFault{text, number, answer_.retry_after, status == 416};
    refuse(url, text, number);
  }

  void announce() {
    if (!std::exchange(announced_, true)) (*on_answer_)(answer_);
  }

  static std::size_t on_header(char* data, std::size_t size, std::size_t count,
                               void* self) noexcept {
    auto& client = *static_cast<HubClient*>(self);
    return client.handle_.guarded(
        [&] {
          client.read_header({data, size * count});
          return size * count;
        },
        std::size_t{0});
  }
  void read_header(std::string_view line) {
    if (!line.starts_with("HTTP/")) return read_hub_header(line, answer_);
    answer_ = {.linked_etag = std::move(answer_.linked_etag)};
    if (const auto space = line.find(' '); space != std::string_view::npos)
      answer_.status = static_cast<long>(leading_number(line.substr(space + 1)).value_or(0));
  }
  static std::size_t on_bytes(char* data, std::size_t size, std::size_t count,
                              void* self) noexcept {
    auto& client = *static_cast<HubClient*>(self);
    if (client.answer_.status >= 300) return size * count;  // a page about a fault
    const auto* first = reinterpret_cast<const std::byte*>(data);
    return client.handle_.guarded(
        [&] {
          client.announce();
          (*client.on_body_)({first, size * count});
          return size * count;
        },
        std::size_t{0});
  }

  const HubAccess& access_;
  FetchOptions options_{.max_bytes = std::numeric_limits<std::uint64_t>::max(),
                        .on_progress = [this](std::uint64_t, std::uint64_t) {
                          return access_.stop == nullptr || !*access_.stop;
                        }};
  CurlHandle handle_{options_, CurlHandle::Clock::now() + std::chrono::hours(24 * 365)};
  const OnAnswer* on_answer_ = nullptr;
  const OnBody* on_body_ = nullptr;
  HubAnswer answer_;
  bool announced_ = false;
};

#else

/// Without libcurl: every request is refused.
class HubClient {
 public:
  using OnAnswer = std::function<void(const HubAnswer&)>;
  using OnBody = std::function<void(std::span<const std::byte>)>;
  explicit HubClient(const HubAccess&) {
    fail(ErrorCode::url_refused,
         "this build has no libcurl, which pull needs: install it and build again");
  }
  void get(const std::string&, std::uint64_t, const OnAnswer&, const OnBody&) {}
};

#endif

}}}  // namespace idefics::v0::detail
