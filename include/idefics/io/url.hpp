// Fetches the bytes of a URL: http and https through libcurl, data: without it. No other scheme is
// fetched, nothing on a private network unless allowed, never more than the limits, and nothing
// when offline. Every redirect is subject to the same rules. io/http_fetch.hpp has the fetching.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/io/fetch_options.hpp>

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

/// Limits on all that is fetched for one request, as a server needs them; FetchOptions limits each
/// file on its own.
struct FetchLimits {
  std::uint64_t files = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t bytes = std::numeric_limits<std::uint64_t>::max();   // after decoding
  std::chrono::milliseconds time{std::chrono::milliseconds::max()};  // spent in fetching
};

/// The bytes of an http, https or data: URL. Throws `url_refused` if it may not be fetched,
/// `fetch_failed` with the HTTP status or the limit if that fails, `cancelled`, and what
/// `on_progress` throws.
IDEFICS_ENGINE_INLINE std::vector<std::byte> fetch_url(const std::string& url,
                                                       const FetchOptions& options = {});

/// fetch_url within limits on all calls together, for ProcessorOptions::fetch: one for each request
/// of a server. Copies share what is left. Several threads may call it at once; each then may
/// exceed the limits by what the others are fetching.
class Fetcher {
 public:
  explicit Fetcher(FetchOptions options = {}, FetchLimits limits = {})
      : options_(std::move(options)), limits_(limits), spent_(std::make_shared<Spent>()) {}

  /// Throws what fetch_url throws, and `fetch_failed` with the limit that is reached.
  IDEFICS_ENGINE_INLINE std::vector<std::byte> operator()(const std::string& url) const;

 private:
  struct Spent {
    std::atomic<std::uint64_t> files{0}, bytes{0};
    std::atomic<std::int64_t> milliseconds{0};
  };
  FetchOptions options_;
  FetchLimits limits_;
  std::shared_ptr<Spent> spent_;
};

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <idefics/io/offline.hpp>

#ifndef IDEFICS_NO_CURL
#include <idefics/io/http_fetch.hpp>
#endif

namespace idefics { inline namespace v0 {

IDEFICS_ENGINE_INLINE std::vector<std::byte> fetch_url(const std::string& url,
                                                       const FetchOptions& options) {
  if (is_data_url(url)) return decode_data_url(url, options.max_bytes);
  if (options.offline || detail::offline_by_environment())
    fail(ErrorCode::url_refused, "offline: nothing is fetched", {.file = url_without_secrets(url)});
#ifdef IDEFICS_NO_CURL
  fail(ErrorCode::url_refused, "this build has no libcurl: only data: URLs can be read",
       {.file = url_without_secrets(url)});
#else
  return detail::HttpFetch(options)(url);
#endif
}

IDEFICS_ENGINE_INLINE std::vector<std::byte> Fetcher::operator()(const std::string& url) const {
  using std::chrono::milliseconds;
  const auto check = [&url](const char* what, std::uint64_t spent, std::uint64_t limit) {
    if (spent >= limit)
      fail(ErrorCode::fetch_failed, std::string("the request may not fetch more ") + what,
           {.file = url_without_secrets(url), .limit = limit});
    return limit - spent;
  };
  FetchOptions options = options_;
  check("files", spent_->files++, limits_.files);
  options.max_bytes = std::min(options.max_bytes, check("bytes", spent_->bytes, limits_.bytes));
  options.timeout = std::min(
      options.timeout,
      milliseconds(check("milliseconds long", static_cast<std::uint64_t>(spent_->milliseconds),
                         static_cast<std::uint64_t>(limits_.time.count()))));
  const auto begin = std::chrono::steady_clock::now();
  const auto count = [&] {
    spent_->milliseconds +=
        std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begin).count();
  };
  try {
    auto bytes = fetch_url(url, options);
    count();
    spent_->bytes += bytes.size();
    return bytes;
  } catch (...) {
    count();
    throw;
  }
}

}}  // namespace idefics::v0

#endif
