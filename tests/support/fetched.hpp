// Fetching in tests: without the proxies of this machine, and with errors as values.
#pragma once

#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include <idefics/io/url.hpp>

namespace testing {

using idefics::Error;
using idefics::FetchOptions;

inline std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The text that was fetched, or the code of the error.
inline std::string outcome(const std::string& url, const FetchOptions& options,
                           std::string* message = nullptr) {
  try {
    return text_of(idefics::fetch_url(url, options));
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return std::string(error.code_name());
  }
}

/// Options without the proxies of this machine.
inline FetchOptions alone() {
  for (const char* name : {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
                           "no_proxy", "NO_PROXY", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"})
    ::unsetenv(name);
  return {.timeout = std::chrono::milliseconds(5000)};
}

inline FetchOptions local() {
  FetchOptions options = alone();
  options.allow_private = true;
  return options;
}

}  // namespace testing
